"""What a report says of a column, in one pass and bounded memory."""

import math
from collections.abc import Sequence
from typing import Any
from zlib import crc32

from handlers.csv.columns import ColumnType

# Different strings that all columns together may keep for exact counts, and how many one column may.
EXACT_VALUES_OF_ALL = 200_000
EXACT_VALUES = 10_000
EXACT_CHARACTERS_A_VALUE = 64
# The same for the hashes of approximate counts; the fewest win. The standard error is one in the root of how many a
# count is made from: 2.2 percent of 2,048, 12.6 of 64. In between a column holds so many times more: sorting is rare.
HASHES_OF_ALL = 200_000
MOST_HASHES = 2_048
FEWEST_HASHES = 64
SLACK = 2
LARGEST_HASH = 2**63


class Distinct:
    """How many different strings: exact up to a bound, then approximate.

    Past the bound it keeps some of the smallest hashes (K. Beyer et al., "On synopses for distinct-value estimation
    under multiset operations", 2007). Python's own hash of a string differs from run to run; CRC-32 does not, and the
    hash of a tuple spreads it over 64 bits at C's speed.
    """

    def __init__(self, exact_values: int, hashes: int = MOST_HASHES) -> None:
        self._bound = exact_values
        self._hashes = hashes
        self._values: set[str] | None = set()
        self._characters = 0
        self._smallest: set[int] = set()
        self._limit = LARGEST_HASH

    def add(self, cells: Sequence[str]) -> None:
        """Counts strings without NUL in them."""
        if self._values is None:
            self._sample(cells)
            return
        new = set(cells) - self._values
        self._values |= new
        self._characters += sum(map(len, new))
        if len(self._values) > self._bound or self._characters > self._bound * EXACT_CHARACTERS_A_VALUE:
            values, self._values = self._values, None
            self._sample(list(values))

    def _sample(self, cells: Sequence[str]) -> None:
        if not cells:
            return
        crcs = map(crc32, "\0".join(cells).encode().split(b"\0"))
        limit = self._limit
        self._smallest.update([value for value in map(hash, zip(crcs, strict=False)) if value < limit])
        if len(self._smallest) > SLACK * self._hashes:
            self._trim()

    def _trim(self) -> None:
        self._smallest = set(sorted(self._smallest)[: self._hashes])
        if len(self._smallest) == self._hashes:
            self._limit = max(self._smallest)

    @property
    def approximate(self) -> bool:
        """Whether the count is an estimate."""
        return self._values is None

    def count(self) -> int:
        """How many different strings there were."""
        if self._values is not None:
            return len(self._values)
        self._trim()
        if len(self._smallest) < self._hashes:
            return len(self._smallest)
        different_crcs = (self._hashes - 1) * 2 * LARGEST_HASH / (max(self._smallest) + LARGEST_HASH)
        # Strings that share their 32-bit CRC count once: what that hides is made up for.
        share = min(different_crcs / 2**32, 0.999)
        return round(-math.log1p(-share) * 2**32)

    def state(self) -> dict[str, Any]:
        """What `restore` goes on from, fit for JSON."""
        self._trim()
        return {
            "values": None if self._values is None else sorted(self._values),
            "smallest": sorted(self._smallest),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a `state`."""
        self._values = None if state["values"] is None else set(state["values"])
        self._characters = sum(map(len, self._values or ()))
        self._smallest = set(state["smallest"])
        self._limit = LARGEST_HASH
        self._trim()


class ColumnStatistics:
    """Of the processed rows' cells in one column.

    `add` takes their output texts, "" for null. Sums of integers are exact; sums of numbers are rounded once a block.
    """

    def __init__(self, column_type: ColumnType, string_columns: int) -> None:
        self._type = column_type
        self.count = 0
        self.nulls = 0
        self._sum: int | float = 0
        self._min: Any = None
        self._max: Any = None
        self._distinct = distinct_of(string_columns) if column_type == "string" else None

    def add(self, cells: Sequence[str]) -> None:
        """Counts cells."""
        if "" in cells:
            present: Sequence[str] = [cell for cell in cells if cell]
            self.nulls += len(cells) - len(present)
        else:
            present = cells
        if not present:
            return
        self.count += len(present)
        match self._type:
            case "string":
                if self._distinct is not None:
                    self._distinct.add(present)
            case "integer":
                integers = list(map(int, present))
                self._sum += sum(integers)
                self._extend(min(integers), max(integers))
            case "number":
                numbers = list(map(float, present))
                self._sum = _sum([self._sum, _sum(numbers)])
                self._extend(min(numbers), max(numbers))
            case "date":
                self._extend(min(present), max(present))

    def _extend(self, low: Any, high: Any) -> None:
        self._min = low if self._min is None else min(self._min, low)
        self._max = high if self._max is None else max(self._max, high)

    def report(self) -> dict[str, Any]:
        """`count` (not null), `nulls`; numbers `sum`, `avg`, `min`, `max`; dates `min`, `max`; strings `distinct`."""
        report: dict[str, Any] = {"type": self._type, "count": self.count, "nulls": self.nulls}
        if self._type in ("integer", "number"):
            average = self._sum / self.count if self.count else None
            report |= {"sum": _finite(self._sum), "avg": _finite(average), "min": self._min, "max": self._max}
        if self._type == "date":
            report |= {"min": self._min, "max": self._max}
        if self._distinct is not None:
            report |= {"distinct": self._distinct.count(), "distinct_is_approximate": self._distinct.approximate}
        return report

    def state(self) -> dict[str, Any]:
        """What `restore` goes on from, fit for JSON."""
        return {
            "count": self.count,
            "nulls": self.nulls,
            "sum": self._sum,
            "min": self._min,
            "max": self._max,
            "distinct": self._distinct.state() if self._distinct else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a `state`."""
        self.count, self.nulls, self._sum = state["count"], state["nulls"], state["sum"]
        self._min, self._max = state["min"], state["max"]
        if self._distinct:
            self._distinct.restore(state["distinct"])


def distinct_of(string_columns: int) -> Distinct:
    """One of so many columns, which share what may be kept of strings and of hashes."""
    return Distinct(
        min(EXACT_VALUES, EXACT_VALUES_OF_ALL // string_columns),
        max(FEWEST_HASHES, min(MOST_HASHES, HASHES_OF_ALL // SLACK // string_columns)),
    )


def _sum(numbers: Sequence[float]) -> float:
    try:
        return math.fsum(numbers)
    except OverflowError:
        return sum(numbers)


def _finite(number: float | None) -> float | None:
    """JSON has no infinity: a sum that ran over is none."""
    return number if number is None or math.isfinite(number) else None
