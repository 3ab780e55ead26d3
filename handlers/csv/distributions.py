"""Distribution of a column's values, estimated from a sample of bounded size."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from handlers.csv.checks import instant_of

# The values kept of one column, and of all together; FEWEST_VALUES takes precedence.
MOST_VALUES = 1_000
VALUES_OF_ALL = 100_000
FEWEST_VALUES = 20
LONGEST_VALUE = 64
BINS = 10
# A column of strings has categories if there are few different ones, each of which occurs often.
MOST_CATEGORIES = 12
FEWEST_OCCURRENCES = 5
_QUANTILES = (5, 25, 50, 75, 95)


class Sample:
    """Every n-th value, from the first one on. n doubles when there is no room, so it follows from the values alone."""

    def __init__(self, columns: int = 1) -> None:
        self._room = max(FEWEST_VALUES, min(MOST_VALUES, VALUES_OF_ALL // max(1, columns)))
        self._every = 1
        self._next = 0
        self.values: list[str] = []

    def add(self, cells: Sequence[str]) -> None:
        """Take cells into account."""
        taken = cells[self._next :: self._every]
        self._next += self._every * len(taken) - len(cells)
        self.values += [cell[:LONGEST_VALUE] for cell in taken]
        while len(self.values) > self._room:
            if len(self.values) % 2:
                self._next += self._every
            self._every *= 2
            del self.values[1::2]

    def state(self) -> list[Any]:
        """Return the state for `restore`. JSON can represent it."""
        return [self._every, self._next, self.values]

    def restore(self, state: Sequence[Any]) -> None:
        """Continue from a `state`."""
        self._every, self._next, self.values = state[0], state[1], list(state[2])


def distribution(kind: str, values: Sequence[str]) -> dict[str, Any] | None:
    """Return the distribution of a column of type `kind`, or None if there is none to show.

    `values` or `bins` with their shares of the sampled values; of numbers also quantiles, by nearest rank.
    """
    if not values:
        return None
    match kind:
        case "number" | "integer" | "decimal":
            numbers = sorted(number for number in map(float, values) if math.isfinite(number))
            ranks = {f"p{each}": numbers[max(0, math.ceil(each * len(numbers) / 100) - 1)] for each in _QUANTILES}
            return {"sampled": len(numbers), "bins": _bins(numbers, lambda number: number), "quantiles": ranks}
        case "date":
            days = sorted(float(date.fromisoformat(value).toordinal()) for value in values)
            return {"sampled": len(days), "bins": _bins(days, _day)}
        case "datetime":
            moments = sorted(_seconds(value) for value in values)
            return {"sampled": len(moments), "bins": _bins(moments, _moment)}
        case _:
            counts = Counter(values)
            if kind == "string" and not _are_categories(counts):
                return None
            shares = [{"value": value, "share": count / len(values)} for value, count in counts.most_common()]
            return {"sampled": len(values), "values": shares}


def _are_categories(counts: Mapping[str, int]) -> bool:
    if len(counts) > MOST_CATEGORIES or any(len(value) == LONGEST_VALUE for value in counts):
        return False
    return sum(counts.values()) >= FEWEST_OCCURRENCES * len(counts)


def _bins(numbers: Sequence[float], shown: Callable[[float], Any]) -> list[dict[str, Any]]:
    """Return ranges of equal width with their shares of sorted numbers. The end of a range belongs to the next one."""
    low, high = numbers[0], numbers[-1]
    # Halves, so that no difference overflows.
    width = (high / 2 - low / 2) / BINS * 2
    if not width:
        return [{"from": shown(low), "to": shown(high), "share": 1.0}]
    places = Counter(min(BINS - 1, int((number / 2 - low / 2) / (width / 2))) for number in numbers)
    edges = [low * (1 - place / BINS) + high * (place / BINS) for place in range(BINS)] + [high]
    return [
        {"from": shown(edges[place]), "to": shown(edges[place + 1]), "share": places[place] / len(numbers)}
        for place in range(BINS)
    ]


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_SECOND = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds()
_LAST_SECOND = (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - _EPOCH).total_seconds()


def _day(ordinal: float) -> str:
    return date.fromordinal(round(ordinal)).isoformat()


def _seconds(value: str) -> float:
    return (instant_of(value) - _EPOCH).total_seconds()


def _moment(seconds: float) -> str:
    # An offset can make a time of the first or the last day one outside the calendar.
    within = min(max(seconds, _FIRST_SECOND), _LAST_SECOND)
    return (_EPOCH + timedelta(seconds=round(within))).isoformat().replace("+00:00", "Z")
