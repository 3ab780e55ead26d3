"""The columns of the output."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import compress
from typing import Protocol

from handlers.csv.checks import Check
from handlers.csv.columns import Cells, Problem
from handlers.csv.statistics import ColumnStatistics
from handlers.csv.unique import UniqueValues, find_duplicates


class Encode(Protocol):
    """Encode `count` processed rows (at least one), given as the cells of the output's columns.

    `is_plain`: no cell contains a character that JSON escapes.
    """

    def __call__(  # noqa: D102  documented by the class
        self, checks: Sequence[Check], columns: Sequence[Cells], count: int, *, is_plain: bool
    ) -> bytes: ...


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
    unique: Mapping[int, UniqueValues],
) -> tuple[list[Cells], int]:
    """Check the `columns` of the `rows`, and add the problems found. `unique`: the columns without duplicates.

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
    cells = _without(cells, bad, len(rows))
    if not unique:
        return cells, len(rows) - len(bad)
    good = [row for position, row in enumerate(rows) if position not in bad]
    duplicates = find_duplicates(unique, cells, len(good))
    problems.update({good[position]: found for position, found in duplicates.items()})
    return _without(cells, duplicates.keys(), len(good)), len(good) - len(duplicates)


def _without(cells: list[Cells], bad: AbstractSet[int], count: int) -> list[Cells]:
    """Return the cells of all of `count` rows but the bad ones."""
    if not bad:
        return cells
    wanted = [position not in bad for position in range(count)]
    return [column and list(compress(column, wanted)) for column in cells]
