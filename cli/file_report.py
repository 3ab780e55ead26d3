"""The report on a CSV file, printed as tables."""

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.core.terminal import TABLE, cell, inert

MEASURES = ("count", "nulls", "distinct", "sum", "avg", "min", "max")
SHOWN_REASONS = 20
SHOWN_NAMES = 10
NO_ROWS = (
    "blank_lines", "comment_lines", "footer_rows", "repeated_headers", "byte_order_marks", "padding_characters",
    "trailing_bytes",
)  # fmt: skip


def show_report(report: Mapping[str, Any], console: Console, rejected_rows: Table | None = None) -> None:
    """Print the counts, the reasons for rejected rows, what may help, and the columns of a file."""
    console.print(f"{inert(report['key'])}: {report['status']}", markup=False, highlight=False)
    if report.get("error"):
        console.print(f"{report['reason']}: {inert(report['error'])}", markup=False, highlight=False, soft_wrap=True)
    rows = report["rows"]
    share = f" ({percent(report['processed'] / rows)})" if rows else ""
    console.print(
        f"{rows} rows: {report['processed']} processed{share}, {report['rejected']} rejected, "
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
    if rejected_rows:
        console.print(rejected_rows)
    for line in notes(report):
        console.print(Text(inert(line)), soft_wrap=True)
    if report["columns"]:
        console.print(_columns(report["columns"]))


def percent(share: float) -> str:
    """Return a share as a percentage, rounded down: only all of it is 100 %."""
    # Its shortest text, as 0.29 * 10,000 is below 2,900.
    return f"{int(Decimal(repr(share)) * 10_000) / 100:g} %"


def notes(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a report says in words: what was left out or assumed, and what may help."""
    if report["status"] != "succeeded" and (read := report.get("rows_read")):
        yield f"{read} rows were read; none of them is in an output"
    no_rows = [f"{count} {name.replace('_', ' ')}" for name in NO_ROWS if (count := report.get(name))]
    if no_rows:
        yield f"Not rows: {', '.join(no_rows)}"
    for name, column in report["columns"].items():
        if failure := column.get("failure"):
            yield f"No statistics of {name}: {failure}"
    if failure := report.get("suggestions_failure"):
        yield f"No suggestions: {failure}"
    for name in ("missing_columns", "unknown_columns"):
        if columns := report.get(name):
            more = f" and {len(columns) - SHOWN_NAMES} more" if len(columns) > SHOWN_NAMES else ""
            yield f"{name.replace('_', ' ').capitalize()}: {', '.join(columns[:SHOWN_NAMES])}{more}"
    for each in report.get("assumptions", ()):
        yield f"Assumed: {each['setting']} is {each['value']!r}: {each['reason']}"
    for each in report.get("suggestions", ()):
        yield f"Suggestion: {each['setting']}: {' or '.join(map(as_yaml, each['values']))}  ({each['reason']})"


def as_yaml(value: Any) -> str:
    """Return a value as one line of YAML, for a stack file."""
    line: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6, sort_keys=False)
    line = line.removesuffix("\n").removesuffix("\n...")
    if line.isprintable():
        return line
    # YAML breaks quoted texts at their line ends. JSON does not, and it is YAML, too.
    text = json.dumps(value, ensure_ascii=False)
    return "".join(each if each.isprintable() else f"\\U{ord(each):08x}" for each in text)


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
