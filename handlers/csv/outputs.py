"""The columns of the output."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

from handlers.csv.checks import Check
from handlers.csv.columns import Cells, Problem
from handlers.csv.statistics import ColumnStatistics


@dataclass(frozen=True)
class Output:
    """A column of the output. `position` is its place in a row; None if the file lacks the column."""

    name: str
    position: int | None
    check: Check
    statistics: ColumnStatistics


def check_cells(
    outputs: Sequence[Output],
    columns: Sequence[Sequence[str]],
    rows: Sequence[int],
    problems: dict[int, list[Problem]],
) -> tuple[list[Cells], int]:
    """Check the `columns` of the `rows`, and add the problems found.

    Returns the output's columns of the rows without problems, and the number of these rows.
    """
    bad: set[int] = set()
    cells: list[Cells] = []
    for output in outputs:
        if output.position is None or not columns:
            cells.append(None)
            continue
        column = columns[output.position]
        reading = output.check.read(column)
        for position, problem in reading.problems.items():
            problems.setdefault(rows[position], []).append(problem)
            bad.add(position)
        if reading.changed:
            column = list(column)
            for position, text in reading.changed.items():
                column[position] = text
        cells.append(column)
    if bad:
        wanted = [position not in bad for position in range(len(rows))]
        cells = [column and list(compress(column, wanted)) for column in cells]
    return cells, len(rows) - len(bad)
