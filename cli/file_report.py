"""The report on a CSV file, printed as tables."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from cli.core.terminal import TABLE, cell, inert

MEASURES = ("count", "nulls", "distinct", "sum", "avg", "min", "max")
SHOWN_REASONS = 20


def show_report(report: Mapping[str, Any], console: Console) -> None:
    """Print the counts, the reasons for rejected rows and the columns of a file."""
    console.print(f"{inert(report['key'])}: {report['status']}", markup=False, highlight=False)
    if report.get("error"):
        console.print(f"{report['reason']}: {inert(report['error'])}", markup=False, highlight=False, soft_wrap=True)
    rate = report["success_rate"]
    share = "" if rate is None else f" ({rate:.2%})"
    console.print(
        f"{report['rows']} rows: {report['processed']} processed{share}, {report['rejected']} rejected, "
        f"in {report['duration_seconds']:.2f} s",
        highlight=False,
    )
    for name in ("processed_key", "rejected_key", "report_key"):
        if report.get(name):
            place = f"{name.removesuffix('_key'):<9} {report['output_bucket']}/{inert(report[name])}"
            console.print(place, markup=False, highlight=False, soft_wrap=True)
    if report["reasons"]:
        reasons = Table("column", "rejected for", "rows", title="Rejected", **TABLE)
        for reason in report["reasons"][:SHOWN_REASONS]:
            reasons.add_row(cell(reason["column"] or "(row)"), cell(reason["reason"]), str(reason["count"]))
        console.print(reasons)
    if report["columns"]:
        console.print(_columns(report["columns"]))


def _columns(columns: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table("column", "type", *MEASURES, title="Columns of the processed rows", **TABLE)
    for name, column in columns.items():
        # Estimates are marked with ~.
        about = "~" if column.get("distinct_is_approximate") else ""
        cells = [
            f"{about if measure == 'distinct' else ''}{_number(column[measure])}" if measure in column else ""
            for measure in MEASURES
        ]
        table.add_row(cell(name), column["type"], *map(cell, cells))
    return table


def _number(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, float) else "" if value is None else str(value)
