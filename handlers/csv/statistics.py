"""Statistics of columns, computed in one pass with bounded memory."""

import math
import re
from collections.abc import Callable, Sequence
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from functools import cache
from typing import Any, Literal, TypeVar, assert_never
from zlib import crc32

from handlers.csv.distributions import Sample
from handlers.shared.places import described

# The maximum number of distinct strings kept for exact counts: of all columns together, and of one column.
EXACT_VALUES_OF_ALL = 200_000
EXACT_VALUES = 10_000
EXACT_CHARACTERS_PER_VALUE = 64
# The same for the hashes of approximate counts; FEWEST_HASHES takes precedence. With n hashes the standard error is
# 1 / sqrt(n): 2.2 percent for 2,048, 12.6 percent for 64. A column may hold SLACK times as many before it sorts them.
HASHES_OF_ALL = 200_000
MOST_HASHES = 2_048
FEWEST_HASHES = 64
SLACK = 2
LARGEST_HASH = 2**63
# Enough for every sum of numbers with up to 300 digits on each side of the point. Nothing is trapped.
_EXACT = Context(prec=2_000, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[])
_RELATIVE_ERROR = 2.0**-51
# Sums of cells with more digits after the point than this are added up as decimals.
MOST_PLACES = 12


class Distinct:
    """A count of distinct strings: exact up to a bound, then approximate.

    Beyond the bound it keeps the smallest hashes (K. Beyer et al., "On synopses for distinct-value estimation
    under multiset operations", 2007). Python's hash of a string differs between processes, CRC-32 does not, and
    the hash of a tuple spreads it over 64 bits at the speed of C.
    """

    def __init__(self, exact_values: int, hashes: int = MOST_HASHES) -> None:
        self._bound = exact_values
        self._hashes = hashes
        self._values: set[str] | None = set()
        self._characters = 0
        self._smallest: set[int] = set()
        self._limit = LARGEST_HASH

    def add(self, cells: Sequence[str]) -> None:
        """Count strings. None may contain NUL."""
        if self._values is None:
            self._sample(cells)
            return
        new = set(cells) - self._values
        self._values |= new
        self._characters += sum(map(len, new))
        if len(self._values) > self._bound or self._characters > self._bound * EXACT_CHARACTERS_PER_VALUE:
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
        """True if the count is an estimate."""
        return self._values is None

    def count(self) -> int:
        """Return the number of distinct strings."""
        if self._values is not None:
            return len(self._values)
        self._trim()
        if len(self._smallest) < self._hashes:
            return len(self._smallest)
        different_crcs = (self._hashes - 1) * 2 * LARGEST_HASH / (max(self._smallest) + LARGEST_HASH)
        # Correct for strings that share a 32-bit CRC, which count once.
        share = min(different_crcs / 2**32, 0.999)
        return round(-math.log1p(-share) * 2**32)

    def state(self) -> dict[str, Any]:
        """Return the state for `restore`. JSON can represent it."""
        self._trim()
        return {
            "values": None if self._values is None else sorted(self._values),
            "smallest": sorted(self._smallest),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state`."""
        self._values = None if state["values"] is None else set(state["values"])
        self._characters = sum(map(len, self._values or ()))
        self._smallest = set(state["smallest"])
        self._limit = LARGEST_HASH
        self._trim()


# How the values of a column type are summarised besides the counts of values and nulls:
# distinct strings; sum, average, minimum and maximum; minimum and maximum of the texts, or of times in UTC; not at all.
StatisticsKind = Literal["distinct", "integers", "numbers", "range", "times", "counts"]


T = TypeVar("T")


class ColumnStatistics:
    """Statistics of one column's cells in the processed rows.

    `columns`: how many share the room for samples. `add` takes the output texts, "" for null. Sums are exact.
    """

    def __init__(self, kind: StatisticsKind, distinct_columns: int, columns: int = 1) -> None:
        self._kind = kind
        self.sample = Sample(columns)
        self.count = 0
        self.nulls = 0
        self.failure: str | None = None
        """The error that ended these statistics. A statistic never fails a file."""
        self._sum: int | Decimal = Decimal() if kind == "numbers" else 0
        self._places = 2
        self._min: Any = None
        self._max: Any = None
        self._distinct = distinct_of(distinct_columns) if kind == "distinct" else None

    def add(self, cells: Sequence[str]) -> None:
        """Count cells."""
        if "" in cells:
            present: Sequence[str] = [cell for cell in cells if cell]
            self.nulls += len(cells) - len(present)
        else:
            present = cells
        if present:
            self.count += len(present)
            self.guarded(lambda: self._summarise(present), None)

    def guarded(self, compute: Callable[[], T], otherwise: T) -> T:
        """Return a statistic, or `otherwise` once one has failed. The report names the failure."""
        if self.failure is None:
            try:
                return compute()
            except Exception as error:  # noqa: BLE001  the rows are worth more than any statistic of them
                self.failure = described(error)
        return otherwise

    def _summarise(self, cells: Sequence[str]) -> None:
        self.sample.add(cells)
        match self._kind:
            case "distinct":
                if self._distinct is not None:
                    self._distinct.add(cells)
            case "integers":
                integers = list(map(int, cells))
                self._sum += sum(integers)
                self._extend(min(integers), max(integers))
            case "numbers":
                numbers = list(map(float, cells))
                low, high = min(numbers), max(numbers)
                self._sum = _EXACT.add(self._sum, self._sum_of(cells, numbers, max(-low, high)))
                self._extend(low, high)
            case "range":
                self._extend(min(cells), max(cells))
            case "times":
                # Nanoseconds are more digits, so texts are in the order of times without the Z at their end.
                texts = [cell[:-1] for cell in cells]
                self._extend(min(texts), max(texts))
            case "counts":
                pass
            case _:
                assert_never(self._kind)

    def _sum_of(self, cells: Sequence[str], numbers: Sequence[float], largest: float) -> Decimal:
        """Return the exact sum of decimals, by way of their doubles if these determine it, which is quicker.

        The sum has no more digits after the point than the cells. If the doubles' errors together stay below half of
        the last digit, rounding to it gives the exact sum.
        """
        joined = "\n".join(cells)
        while self._places <= MOST_PLACES and _has_places(self._places + 1)(joined):
            self._places += 1
        error = len(cells) * largest * _RELATIVE_ERROR
        if self._places > MOST_PLACES or error >= 10.0**-self._places or "e" in joined or "E" in joined:
            with localcontext(_EXACT):
                return sum(map(Decimal, cells), Decimal())
        return Decimal(math.fsum(numbers)).quantize(Decimal((0, (1,), -self._places)), context=_EXACT)

    def _extend(self, low: Any, high: Any) -> None:
        self._min = low if self._min is None else min(self._min, low)
        self._max = high if self._max is None else max(self._max, high)

    def report(self) -> dict[str, Any]:
        """Return `count` (of cells that are not null), `nulls` and what the kind adds, or `failure`."""
        report: dict[str, Any] = {"count": self.count, "nulls": self.nulls}
        nothing: dict[str, Any] = {}
        report |= self.guarded(self._of_kind, nothing)
        return report if self.failure is None else {**report, "failure": self.failure}

    def _of_kind(self) -> dict[str, Any]:
        match self._kind:
            case "integers" | "numbers":
                return {**_sum_and_average(self._sum, self.count), "min": self._min, "max": self._max}
            case "range":
                return {"min": self._min, "max": self._max}
            case "times":
                return {"min": self._min and self._min + "Z", "max": self._max and self._max + "Z"}
            case "distinct" if self._distinct is not None:
                return {"distinct": self._distinct.count(), "distinct_is_approximate": self._distinct.approximate}
            case "counts" | "distinct":
                return {}
            case _:
                assert_never(self._kind)

    def state(self) -> dict[str, Any]:
        """Return the state for `restore`. JSON can represent it."""
        return {
            "count": self.count,
            "nulls": self.nulls,
            "failure": self.failure,
            "sample": self.sample.state(),
            "sum": str(self._sum) if isinstance(self._sum, Decimal) else self._sum,
            "places": self._places,
            "min": self._min,
            "max": self._max,
            "distinct": self._distinct.state() if self._distinct else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state`."""
        self.count, self.nulls, self.failure = state["count"], state["nulls"], state["failure"]
        self._sum = Decimal(state["sum"]) if self._kind == "numbers" else state["sum"]
        self._places, self._min, self._max = state["places"], state["min"], state["max"]
        self.sample.restore(state["sample"])
        if self._distinct:
            self._distinct.restore(state["distinct"])


def distinct_of(columns: int) -> Distinct:
    """Return the count of one of several columns, which share the limits of strings and hashes."""
    return Distinct(
        min(EXACT_VALUES, EXACT_VALUES_OF_ALL // columns),
        max(FEWEST_HASHES, min(MOST_HASHES, HASHES_OF_ALL // SLACK // columns)),
    )


@cache
def _has_places(places: int) -> Callable[[str], object]:
    return re.compile(rf"\.[0-9]{{{places}}}").search


def _sum_and_average(total: int | Decimal, count: int) -> dict[str, Any]:
    """Return `sum` and `avg`, None where a double cannot hold them; and `exact_sum` if it is not what `sum` shows."""
    if isinstance(total, int):
        return {"sum": total, "avg": total / count if count else None}
    nearest = float(total)
    average = float(_EXACT.divide(total, Decimal(count))) if count else None
    exact = (
        {}
        if math.isfinite(nearest) and Decimal(repr(nearest)) == total
        else {"exact_sum": str(total.normalize(_EXACT))}
    )
    return {"sum": _finite(nearest), **exact, "avg": average}


def _finite(number: float) -> float | None:
    """Return None for an infinite sum, which JSON cannot represent."""
    return number if math.isfinite(number) else None
