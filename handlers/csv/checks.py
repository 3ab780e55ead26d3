"""Checks of cells: one check per column, applied to a whole column of a block of rows at once.

An empty cell is null, whatever the type. Each type has one spelling in the output, so that readers infer the same types
from every file: times are in UTC. Numbers keep their digits. Nothing is guessed: `1,234.50`, `1_000`, ` 1 `, `NaN` and
`1e999` are not numbers; `20240115` is not a date.

The checks work on columns because one C call over a thousand cells costs less than ten Python calls: a million rows of
five columns take 1.5 seconds instead of 8 (benchmarks/csv.py).
"""

import contextlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from itertools import compress, count
from typing import Any

from handlers.csv.columns import Column, Problem

REMEMBERED_CELLS = 50_000
SHOWN_CHARACTERS = 100
BLOCKS_BETWEEN_TRIES = 32

_BOOLEANS = {"true": "true", "1": "true", "yes": "true", "false": "false", "0": "false", "no": "false"} | {
    "t": "true",
    "y": "true",
    "f": "false",
    "n": "false",
}
_is_date = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch
_has_nanoseconds = re.compile(r"\.[0-9]{6}[0-9]*[1-9]").search
_fraction = re.compile(r"\.([0-9]+)").search
_is_datetime = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)?",
).fullmatch


class CellError(Exception):
    """A cell does not satisfy the type or the conditions of its column."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass
class Reading:
    """The result of checking a column's cells, by position."""

    problems: dict[int, Problem] = field(default_factory=dict)
    changed: dict[int, str] = field(default_factory=dict)
    """Cells whose output differs from their text: `+07` becomes 7, `Yes` becomes true."""


class Check:
    """Base class, and the check of strings without conditions."""

    def __init__(self, column: Column) -> None:
        self.column = column
        self._blocks_without_repetition = 0

    def read(self, cells: Sequence[str]) -> Reading:
        """Check the cells of the column."""
        reading = Reading()
        for position in self._suspects_by_value(cells):
            self._read_cell(position, cells[position], reading)
        return reading

    def _read_cell(self, position: int, cell: str, reading: Reading) -> None:
        try:
            text = self.text(cell)
        except CellError as error:
            reading.problems[position] = Problem(self.column.name, error.reason, str(error), cell)
        else:
            if text != cell:
                reading.changed[position] = text

    def text(self, cell: str) -> str:
        """Return a cell's text in the output. Raises CellError."""
        if cell:
            return self._text(cell)
        if self.column.required:
            raise CellError("required", "is required and empty")
        return cell

    def _text(self, cell: str) -> str:
        return cell

    def _suspects_by_value(self, cells: Sequence[str]) -> Iterable[int]:
        """Return the `_suspects`, checking each distinct value once if values repeat (tested every few blocks)."""
        if self._blocks_without_repetition % BLOCKS_BETWEEN_TRIES:
            self._blocks_without_repetition += 1
            return self._suspects(cells)
        different = list(set(cells))
        if len(different) * 4 > len(cells):
            self._blocks_without_repetition += 1
            return self._suspects(cells)
        suspects = {different[position] for position in self._suspects(different)}
        return _positions(suspects, cells)

    def _suspects(self, cells: Sequence[str]) -> Iterable[int]:
        """Return the positions of cells that need an individual check. All others are valid as they are."""
        if self.column.required and "" in cells:
            return [position for position, cell in enumerate(cells) if not cell]
        return ()


class PatternCheck(Check):
    """Strings that fully match a pattern."""

    def __init__(self, column: Column) -> None:
        super().__init__(column)
        self._matches = re.compile(column.pattern or "").fullmatch

    def _suspects(self, cells: Sequence[str]) -> Iterable[int]:
        found = list(map(self._matches, cells))
        suspects: list[int] = []
        for _ in range(found.count(None)):
            suspects.append(found.index(None, suspects[-1] + 1 if suspects else 0))
        # A pattern can match the empty string, but a required cell must not be empty.
        return {*suspects, *super()._suspects(cells)}

    def _text(self, cell: str) -> str:
        if not self._matches(cell):
            raise CellError("pattern", f"{shown(cell)} does not match {self.column.pattern}")
        return cell


class RememberingCheck(Check):
    """Base class of checks that remember valid cells: columns of dates, booleans and choices have few distinct ones."""

    def __init__(self, column: Column) -> None:
        super().__init__(column)
        self._good: set[str] = set()
        self._changed: dict[str, str] = {}
        """Texts of valid cells that differ from them."""

    def read(self, cells: Sequence[str]) -> Reading:  # noqa: D102
        positions = self._suspects_by_value(cells)
        reading, known = Reading(), self._changed
        for position in positions:
            cell = cells[position]
            if (text := known.get(cell)) is not None:
                reading.changed[position] = text
            else:
                self._read_cell(position, cell, reading)
        return reading

    def _suspects(self, cells: Sequence[str]) -> Iterable[int]:
        if len(self._good) + len(self._changed) > REMEMBERED_CELLS:
            self._good, self._changed = set(), {}
        suspects: set[str] = set()
        for cell in set(cells) - self._good:
            suspects.add(cell)
            if cell in self._changed:
                continue
            try:
                text = self.text(cell)
            except CellError:
                continue
            if text != cell:
                self._changed[cell] = text
                continue
            self._good.add(cell)
            suspects.discard(cell)
        return _positions(suspects, cells)


class StringCheck(RememberingCheck):
    """Strings with choices or limits of length, and optionally a pattern."""

    def __init__(self, column: Column) -> None:
        super().__init__(column)
        self._matches = re.compile(column.pattern, 0).fullmatch if column.pattern is not None else None

    def _text(self, cell: str) -> str:
        column = self.column
        if column.choices and cell not in column.choices:
            raise CellError("choices", f"{shown(cell)} is not one of {', '.join(column.choices)}")
        if column.min is not None and len(cell) < float(column.min):
            raise CellError("too_short", f"{shown(cell)} has fewer than {column.min:g} characters")
        if column.max is not None and len(cell) > float(column.max):
            raise CellError("too_long", f"{shown(cell)} has more than {column.max:g} characters")
        if self._matches and not self._matches(cell):
            raise CellError("pattern", f"{shown(cell)} does not match {column.pattern}")
        return cell


def string_check(column: Column) -> Check:
    """Return the cheapest check that covers the conditions of a column of strings."""
    if column.choices or column.min is not None or column.max is not None:
        return StringCheck(column)
    return Check(column) if column.pattern is None else PatternCheck(column)


class BooleanCheck(RememberingCheck):
    """`true`, `yes`, `1` and `false`, `no`, `0`, and `t`, `y`, `f`, `n`, in any case."""

    def _text(self, cell: str) -> str:
        if (text := _BOOLEANS.get(cell.lower())) is None:
            raise CellError("not_a_boolean", f"{shown(cell)} is not true, false, yes, no, t, f, y, n, 1 or 0")
        return text


class DateCheck(RememberingCheck):
    """Dates of the calendar, written `2024-01-31`."""

    def _text(self, cell: str) -> str:
        try:
            day = date.fromisoformat(cell) if _is_date(cell) else None
        except ValueError:
            day = None
        if day is None and (moment := moment_of(cell, self.column.format)) and moment.time() == time():
            day, cell = moment.date(), moment.date().isoformat()
        if day is None:
            raise CellError("not_a_date", f"{shown(cell)} is not a date like 2024-01-31")
        check_limits(self.column, cell, cell, self.column.min, self.column.max)
        return cell


class DatetimeCheck(RememberingCheck):
    """Times of ISO 8601: `2024-01-31T12:30:00Z`, `2024-01-31 12:30:00.123456789+00`. Without an offset they are UTC.

    Their text is `2024-01-31T12:30:00.000000Z`, with more digits only if the cell has them.
    """

    def __init__(self, column: Column) -> None:
        super().__init__(column)
        self._min, self._max = (None if limit is None else instant_of(str(limit)) for limit in (column.min, column.max))

    def _text(self, cell: str) -> str:
        try:
            instant = instant_of(cell) if _is_datetime(cell) else None
        except (ValueError, OverflowError):
            instant = None
        if instant is None and (moment := moment_of(cell, self.column.format)):
            cell = moment.isoformat()
            instant = instant_of(cell)
        if instant is None:
            raise CellError("not_a_datetime", f"{shown(cell)} is not a time like 2024-01-31T12:30:00Z")
        check_limits(self.column, cell, instant, self._min, self._max)
        return _in_utc(cell, instant)


def _in_utc(cell: str, instant: datetime) -> str:
    """Return the text of a time in UTC with the digits of its cell. Raises CellError."""
    # Most times are in UTC, and their text is quicker than their datetime. Some versions of Python read 24:00.
    if instant.tzinfo is UTC and not cell.startswith("24", 11):
        text = f"{cell[:10]}T{cell[11:16]}:{cell[17:19] or '00'}"
    else:
        try:
            text = instant.astimezone(UTC).isoformat()[:19]
        except OverflowError:
            raise CellError("out_of_range", f"{shown(cell)} is not in the years 1 to 9999 of UTC") from None
    if "." not in cell:
        return text + ".000000Z"
    digits = _fraction(cell)[1]  # type: ignore[index]  # there is a point
    return f"{text}.{digits[:6]:0<6}{digits[6:].rstrip('0')}Z"


class MicrosecondCheck(DatetimeCheck):
    """Times that microseconds hold exactly."""

    def _text(self, cell: str) -> str:
        text = super()._text(cell)
        if _has_nanoseconds(text):
            raise CellError("not_exact", f"{shown(cell)} has more digits than microseconds preserve")
        return text


def moment_of(cell: str, formats: Sequence[str]) -> datetime | None:
    """Return the time of a cell in one of the formats. Raises CellError if two formats read different times."""
    moments = set()
    for each in formats:
        with contextlib.suppress(ValueError):
            moments.add(datetime.strptime(cell, each))  # noqa: DTZ007  the cell has an offset, or limits treat it as UTC
    if len(moments) > 1:
        raise CellError(
            "ambiguous_date", f"{shown(cell)} is {len(moments)} different dates; leave one in the column's format"
        )
    return moments.pop() if moments else None


def check_limits(column: Column, cell: str, value: Any, low: Any, high: Any) -> None:
    """Compare the value of a cell with its column's limits. Raises CellError."""
    if low is not None and value < low:
        raise CellError("too_small", f"{shown(cell)} is below {column.min}")
    if high is not None and value > high:
        raise CellError("too_large", f"{shown(cell)} is above {column.max}")


def shown(cell: str) -> str:
    """Return a cell quoted for a message, and shortened if it is long."""
    return repr(cell if len(cell) <= SHOWN_CHARACTERS else cell[:SHOWN_CHARACTERS] + "...")


def instant_of(text: str) -> datetime:
    """Return a time accepted by DatetimeCheck as a datetime. Without an offset it is UTC."""
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else datetime.fromisoformat(text + "+00:00")


def _positions(wanted: set[str], cells: Sequence[str]) -> Iterable[int]:
    """Return the positions of the wanted values in `cells`."""
    return list(compress(count(), map(wanted.__contains__, cells))) if wanted else ()
