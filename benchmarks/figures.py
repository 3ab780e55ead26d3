"""Figures of the benchmarks: how often a part measures, and what its values come to.

A part returns rows: names of rows to names of columns to one value per round. Columns whose name begins with `ratio`
carry over to other machines; each of their values compares what was measured side by side in one round.
"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Rows = Mapping[str, Mapping[str, Sequence[float]]]
"""Values by row and column, a value per round."""

RATIO = "ratio"
# Two runs of the same code on two machines differ by less than this.
TOLERANCE = 0.15
DIGITS = 4


@dataclass(frozen=True)
class Size:
    """The amount of work of a run. `tiny` is for tests: every part does all it does, and the figures mean nothing."""

    rounds: int = 3
    cold_starts: int = 9
    events: int = 1_000
    csv_rows: int = 1_000_000
    csv_copies: int = 5
    """The largest file is this many times as long."""
    compared_rows: int = 100_000
    iot_divisor: int = 1
    """Objects of readings are smaller by this factor."""
    load_events: int = 400


FULL = Size()
TINY = Size(
    rounds=1,
    cold_starts=1,
    events=100,
    csv_rows=2_000,
    csv_copies=2,
    compared_rows=500,
    iot_divisor=100,
    load_events=32,
)


@dataclass(frozen=True)
class Figure:
    """The median of the rounds, and the lowest and highest value."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Figure":
        """Summarise values. Raises ValueError when there are none."""
        if not values:
            raise ValueError("a figure needs at least one value")
        return cls(*(rounded(value) for value in (statistics.median(values), min(values), max(values))))

    def text(self, form: str) -> str:
        """Return the median with the spread behind it, where there is one: `137 (131-152)`."""
        median, low, high = (form.format(value) for value in (self.median, self.low, self.high))
        return median if low == high else f"{median} ({low}-{high})"


Figures = Mapping[str, Mapping[str, Figure]]
"""Figures by row and column."""


def rounded(value: float) -> float:
    """Return the value with as many digits as a measurement has."""
    return value if value == 0 else round(value, DIGITS - 1 - math.floor(math.log10(abs(value))))


def summarise(rows: Rows) -> dict[str, dict[str, Figure]]:
    """Return the figures of a part."""
    return {row: {column: Figure.of(values) for column, values in columns.items()} for row, columns in rows.items()}


def to_json(parts: Mapping[str, Figures]) -> dict[str, Any]:
    """Return the figures of all parts as JSON: `{part: {row: {column: {median, low, high}}}}`."""
    return {
        part: {row: {column: asdict(figure) for column, figure in columns.items()} for row, columns in figures.items()}
        for part, figures in parts.items()
    }


def from_json(parts: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Figure]]]:
    """Return what `to_json` was given."""
    return {
        part: {
            row: {column: Figure(**figure) for column, figure in columns.items()} for row, columns in figures.items()
        }
        for part, figures in parts.items()
    }


@dataclass(frozen=True)
class Difference:
    """A ratio in two runs."""

    name: str
    before: float
    after: float

    @property
    def share(self) -> float:
        """The difference as a share of the earlier value."""
        return abs(self.after / self.before - 1)

    @property
    def is_within(self) -> bool:
        """Return True if the two runs agree."""
        return self.share <= TOLERANCE


def differences(before: Mapping[str, Figures], after: Mapping[str, Figures]) -> Iterator[Difference]:
    """Compare the ratios that two runs have in common."""
    for part, figures in after.items():
        for row, columns in figures.items():
            for column, figure in columns.items():
                earlier = before.get(part, {}).get(row, {}).get(column)
                if column.startswith(RATIO) and earlier and earlier.median:
                    yield Difference(f"{part}: {row}: {column}", earlier.median, figure.median)
