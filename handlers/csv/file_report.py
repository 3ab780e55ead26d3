"""The report on what was read of a file."""

from collections.abc import Mapping
from typing import Any

from handlers.csv.assumptions import assumptions
from handlers.csv.columns import FileFormat
from handlers.csv.counts import Counts
from handlers.csv.evidence import Evidence
from handlers.csv.suggestions import similar_names, suggestions
from handlers.csv.table import Table
from handlers.shared.places import described

# Longer headers are cut: a report is for people.
HEADER_CHARACTERS = 100_000


def file_report(
    file_format: FileFormat,
    table: Table | None,
    counts: Counts,
    evidence: Evidence,
    encoding: str,
    encoding_position: int,
    *,
    has_outputs: bool,
) -> dict[str, Any]:
    """Return the counts, the statistics, the reasons of rejections and what may help. `table` None: no header yet.

    Without outputs nothing is counted but `rows_read`: the rows are nowhere.
    """
    plan = table.plan if table else None
    # Before the columns, which name what failed.
    distributions = table.distributions() if table and has_outputs else {}
    return {
        **(counts if has_outputs else Counts()).report(),
        "rows_read": counts.rows,
        "encoding": encoding,
        "delimiter": table.delimiter if table else None,
        "header_line": table.header_line if table else None,
        "header": table.header_text[:HEADER_CHARACTERS] if table else None,
        "assumptions": assumptions(file_format, encoding, encoding_position, table),
        "missing_columns": plan.missing if plan else [],
        "unknown_columns": plan.unknown if plan else [],
        **_suggestions(file_format, table, counts, evidence),
        "columns": table.report() if table and has_outputs else {},
        "distributions": distributions,
    }


def _suggestions(
    file_format: FileFormat, table: Table | None, counts: Counts, evidence: Evidence
) -> Mapping[str, list[Mapping[str, Any]] | str]:
    if table is None:
        return {"suggestions": evidence.of_header}
    good = {each.name: (each.statistics.sample.values, each.statistics.count) for each in table.outputs}
    try:
        of_rows = suggestions(file_format, evidence, counts.reasons, table.delimiter, len(table.header), good)
    except Exception as error:  # noqa: BLE001  as for statistics: what may help must not fail a file
        return {"suggestions": [], "suggestions_failure": described(error)}
    return {"suggestions": [*similar_names(table.plan.missing, table.plan.unknown), *of_rows]}
