"""Columns that say where a processed row comes from: `_file` and `_row`. Columns of files cannot have these names."""

from bisect import bisect_left
from collections.abc import Sequence

from handlers.csv.checks import Check
from handlers.csv.columns import Cells, Column
from handlers.csv.rows import Rows

COLUMNS = (Column("_file", required=True), Column("_row", "integer", required=True))


class Provenance:
    """The two columns of the rows of one file. `source` is its name."""

    def __init__(self, source: str) -> None:
        self._source = source
        self.checks = [Check(column) for column in COLUMNS]
        """They are not used as checks: outputs take the columns from them."""
        self.is_plain = source.isprintable() and not set(source) & {'"', "\\"}
        """The name has no character that JSON escapes."""

    def cells(self, rows: Rows, good: Sequence[int], rows_before: int) -> list[Cells]:
        """Return the cells of those of the rows at `good` that have no problems.

        Rows are counted as in the rejected output, from 1; `rows_before` are those of earlier blocks.
        """
        kept = [position for position in good if position not in rows.problems] if rows.problems else good
        skipped = sorted(rows.skipped)
        first = rows_before + 1
        if skipped:
            numbers = [str(first + position - bisect_left(skipped, position)) for position in kept]
        else:
            numbers = [str(first + position) for position in kept]
        return [[self._source] * len(numbers), numbers]
