"""The type of a column by its cells, with the options that read most of them."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from handlers.csv.column_types import check_of
from handlers.csv.columns import Column
from handlers.csv.spellings import NULL_WORDS, options_of

# A type is proposed if it reads so much of the column; the rest may be mistakes.
SMALLEST_SHARE = 0.9
# So many different cells decide which spellings are tried on all of them.
FIRST_CELLS = 1_000
_CELLS_FOR_OPTIONS = 20
_MOST_FORMATS = 3
_ENOUGH_ROWS = 10
_WORTH_A_FORMAT = 0.01

_has_leading_zero = re.compile(r"[+-]?0[0-9]").match
_KINDS = ("boolean", "integer", "number", "date", "datetime")
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Guess:
    """A type, its options, and the share of the rows whose cells are read or null."""

    kind: str
    options: Options = field(default_factory=dict)
    share: float = 1.0
    remarks: tuple[str, ...] = ()


class Profile:
    """The cells of one column."""

    def __init__(self) -> None:
        self.cells: Counter[str] = Counter()

    def add(self, cells: Iterable[str]) -> None:
        """Count cells."""
        self.cells.update(cells)

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.cells.total()

    @property
    def is_unique(self) -> bool:
        """True if no value occurs twice in enough rows."""
        return len(self.cells) >= _ENOUGH_ROWS and "" not in self.cells and len(self.cells) == self.rows

    def guess(self) -> Guess:
        """Return the narrowest type that reads enough of the cells; a string, if none does."""
        values = Counter({cell: count for cell, count in self.cells.items() if cell and cell not in NULL_WORDS})
        words = sorted(cell for cell in self.cells if cell in NULL_WORDS)
        if not values:
            return Guess("string", {"null_values": words} if words else {}, remarks=("no values",))
        guess = self._typed(values)
        if guess is None:
            empty = tuple(word for word in words if word in ("NULL", "\\N", "#N/A", "(null)"))
            remarks = (f"null_values? {', '.join(empty)}",) if empty else ()
            return Guess("string", self._required({}), remarks=(*self._why_text(values), *remarks))
        options = {**guess.options, **({"null_values": words} if words else {})}
        share = round((guess.share * values.total() + self.rows - values.total()) / self.rows, 9)
        return Guess(guess.kind, self._required(options), share, guess.remarks)

    def _required(self, options: Options) -> dict[str, Any]:
        is_full = "" not in self.cells and not options.get("null_values")
        return {**({"required": True} if is_full and self.rows else {}), **options}

    def _why_text(self, values: Counter[str]) -> tuple[str, ...]:
        if any(map(_has_leading_zero, values)) and all(cell.strip("+-").isdecimal() for cell in values):
            return ("digits with leading zeros, so no number",)
        options = {str(each) for each in _ambiguous_numbers(values)}
        return (f"a number that can be read in several ways: {' or '.join(sorted(options))}",) if options else ()

    def _typed(self, values: Counter[str]) -> Guess | None:
        first = Counter(dict(islice(values.items(), FIRST_CELLS)))
        for kind in _KINDS:
            if kind == "boolean" and not values.keys().isdisjoint(("0", "1")):
                continue
            if kind in ("integer", "number") and (any(map(_has_leading_zero, values)) or _ambiguous_numbers(values)):
                continue
            likely = [each for each in _options(kind, first) if _share(kind, each, first) >= SMALLEST_SHARE / 2]
            shares = {position: _share(kind, each, values) for position, each in enumerate(likely)}
            best = max(shares, key=lambda position: shares[position], default=None)
            if best is None:
                continue
            guess = Guess(kind, likely[best], shares[best])
            if kind in ("date", "datetime"):
                guess = _with_formats(guess, likely, values)
            if guess.share >= SMALLEST_SHARE:
                return guess
        return None


def _options(kind: str, cells: Counter[str]) -> list[Options]:
    """Return the options worth trying, none at all first."""
    found: list[Options] = [{}]
    samples = [cell for cell, _ in cells.most_common(_CELLS_FOR_OPTIONS)]
    for cell in samples if kind in ("date", "datetime") else samples[:1]:
        found += options_of(kind, [cell] if kind in ("date", "datetime") else list(cells))
    return [options for number, options in enumerate(found) if options not in found[:number]]


def _share(kind: str, options: Options, values: Counter[str]) -> float:
    """Return the share of cells that a column of a type reads."""
    cells = list(values)
    problems = check_of(Column("column", kind, **options)).read(cells).problems
    return 1 - sum(values[cells[position]] for position in problems) / values.total()


def _with_formats(guess: Guess, likely: Sequence[Options], values: Counter[str]) -> Guess:
    """Return a guess with the formats that read more cells, and with those between which a person must choose."""
    formats: tuple[str, ...] = guess.options.get("format", ())
    others = [each["format"][0] for each in likely if each and each["format"][0] not in formats]
    if twins := [each for each in others if formats and _share(guess.kind, {"format": (each,)}, values) == guess.share]:
        both = (*formats, *twins)
        share = _share(guess.kind, {"format": both}, values)
        if share < guess.share:
            return Guess(guess.kind, {"format": both}, guess.share, (f"keep the right one of {', '.join(both)}",))
    for each in others:
        more = _share(guess.kind, {"format": (*formats, each)}, values)
        if len(formats) < _MOST_FORMATS and more > guess.share + _WORTH_A_FORMAT:
            formats = (*formats, each)
            guess = Guess(guess.kind, {"format": formats}, more)
    return guess


def _ambiguous_numbers(values: Counter[str]) -> list[Options]:
    """Return the options that read all cells as numbers, but not as the same numbers."""
    readings: dict[tuple[str, ...], Options] = {}
    cells = list(islice(values, FIRST_CELLS))
    for options in _number_options(cells):
        reading = check_of(Column("column", "number", **options)).read(cells)
        if not reading.problems:
            readings.setdefault(tuple(reading.changed.get(at, cell) for at, cell in enumerate(cells)), options)
    return list(readings.values()) if len(readings) > 1 else []


def _number_options(cells: Sequence[str]) -> Iterator[Options]:
    """Yield the options with which to read numbers, as they are first, and with a point between thousands."""
    yield {}
    yield from options_of("number", cells)
