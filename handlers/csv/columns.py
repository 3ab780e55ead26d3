"""What a cell must be: one check a column, made for whole columns of a block of rows at once.

An empty cell is null, whatever the type. What a cell says comes out as it came in: numbers keep their digits, dates
their text. Nothing is guessed: `1,234.50`, `1_000`, ` 1 `, `NaN`, `1e999` are no numbers, `20240115` is no date.

The checks work on columns because a call in C over a thousand cells costs less than ten calls in Python (a million rows
of five columns a second and a half instead of eight; benchmarks/csv.py).
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from itertools import compress, count
from typing import Any, Literal, Self

# The cells of an output column, "" for null; None: the file does not have the column, all are null.
Cells = Sequence[str] | None
ColumnType = Literal["string", "integer", "number", "boolean", "date", "datetime"]

# 64 bits, as in every database and in Parquet.
SMALLEST_INTEGER, LARGEST_INTEGER = -(2**63), 2**63 - 1
LARGEST_NUMBER = 1.7976931348623157e308
# So many significant digits come back from every double that is not next to zero (C's DBL_DIG).
DIGITS_OF_A_DOUBLE = 15
REMEMBERED_CELLS = 50_000
SHOWN_CHARACTERS = 100
BLOCKS_BETWEEN_TRIES = 32

_BOOLEANS = {"true": "true", "1": "true", "yes": "true", "false": "false", "0": "false", "no": "false"}
_is_date = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch
_is_datetime = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?(?:Z|[+-][0-9]{2}:[0-9]{2})?",
).fullmatch


@dataclass(frozen=True)
class Column:
    """One column of the config. `min` and `max` limit numbers and dates, and the length of a string in characters."""

    name: str
    type: ColumnType = "string"
    required: bool = False
    aliases: tuple[str, ...] = ()
    min: float | str | None = None
    max: float | str | None = None
    pattern: str | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class FileFormat:
    """How files are read. `delimiter` None: sniffed; `encoding` None: by its byte order mark, else UTF-8."""

    columns: tuple[Column, ...]
    unknown_columns: Literal["keep", "drop", "reject"] = "drop"
    delimiter: str | None = None
    encoding: str | None = None
    max_expansion: int = 250
    """A gzip file that grows to more than so many times its size is not read on."""
    numbers: Literal["text", "double"] = "text"
    """What the output holds of a number: all its digits, or a double, which not every number comes back from."""

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The format in the JSON that components/options/csv.py writes."""
        values = json.loads(text)
        columns = tuple(
            Column(**{**column, "aliases": tuple(column["aliases"]), "choices": tuple(column["choices"])})
            for column in values.pop("columns")
        )
        return cls(columns=columns, **values)


@dataclass(frozen=True)
class Problem:
    """Why a row is rejected: `reason` is a code to count by, `message` is for people. `column` None: the whole row."""

    column: str | None
    reason: str
    message: str


class CellError(Exception):
    """A cell is not what its column asks for."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass
class Reading:
    """What a check made of the cells of a column, by position."""

    problems: dict[int, Problem] = field(default_factory=dict)
    changed: dict[int, str] = field(default_factory=dict)
    """Cells whose text in the output differs from their own: `+07` is 7, `Yes` is true."""


class Check:
    """Base: a column of strings without conditions. `quoted`: the output is a JSON string, else a JSON literal."""

    quoted = True

    def __init__(self, column: Column) -> None:
        self.column = column
        self._blocks_without_repetition = 0

    def read(self, cells: Sequence[str]) -> Reading:
        """Checks the cells of a column."""
        reading = Reading()
        for position in self._suspects_by_value(cells):
            cell = cells[position]
            try:
                text = self.text(cell)
            except CellError as error:
                reading.problems[position] = Problem(self.column.name, error.reason, str(error))
            else:
                if text != cell:
                    reading.changed[position] = text
        return reading

    def text(self, cell: str) -> str:
        """A cell's text in the output. Raises CellError."""
        if cell:
            return self._text(cell)
        if self.column.required:
            raise CellError("required", "is required and empty")
        return cell

    def _text(self, cell: str) -> str:
        return cell

    def _suspects_by_value(self, cells: Sequence[str]) -> Iterable[int]:
        """As `_suspects`, which sees each different cell once where cells repeat; whether they do is tried rarely."""
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
        """The positions of the cells that have to be looked at one by one; the others are good as they are."""
        if self.column.required and "" in cells:
            return [position for position, cell in enumerate(cells) if not cell]
        return ()


class PatternCheck(Check):
    """Strings that match a pattern as a whole."""

    def __init__(self, column: Column) -> None:
        super().__init__(column)
        self._matches = re.compile(column.pattern or "").fullmatch

    def _suspects(self, cells: Sequence[str]) -> Iterable[int]:
        found = list(map(self._matches, cells))
        suspects: list[int] = []
        for _ in range(found.count(None)):
            suspects.append(found.index(None, suspects[-1] + 1 if suspects else 0))
        # A pattern may match nothing, too, and a required cell be empty all the same.
        return {*suspects, *super()._suspects(cells)}

    def _text(self, cell: str) -> str:
        if not self._matches(cell):
            raise CellError("pattern", f"{shown(cell)} does not match {self.column.pattern}")
        return cell


class RememberingCheck(Check):
    """Checks that look at each different cell once: dates, booleans, choices have few."""

    def __init__(self, column: Column) -> None:
        super().__init__(column)
        self._good: set[str] = set()

    def _suspects(self, cells: Sequence[str]) -> Iterable[int]:
        suspects: set[str] = set()
        for cell in set(cells) - self._good:
            try:
                unchanged = self.text(cell) == cell
            except CellError:
                unchanged = False
            (self._good if unchanged else suspects).add(cell)
        if len(self._good) > REMEMBERED_CELLS:
            self._good = set()
        return _positions(suspects, cells)


class StringCheck(RememberingCheck):
    """Strings with choices, limits of length or both, and a pattern besides."""

    def __init__(self, column: Column) -> None:
        super().__init__(column)
        self._matches = re.compile(column.pattern, 0).fullmatch if column.pattern is not None else None

    def _text(self, cell: str) -> str:
        column = self.column
        if column.choices and cell not in column.choices:
            raise CellError("choices", f"{shown(cell)} is none of {', '.join(column.choices)}")
        if column.min is not None and len(cell) < float(column.min):
            raise CellError("too_short", f"{shown(cell)} has fewer than {column.min:g} characters")
        if column.max is not None and len(cell) > float(column.max):
            raise CellError("too_long", f"{shown(cell)} has more than {column.max:g} characters")
        if self._matches and not self._matches(cell):
            raise CellError("pattern", f"{shown(cell)} does not match {column.pattern}")
        return cell


class BooleanCheck(RememberingCheck):
    """`true`, `yes`, `1` and `false`, `no`, `0`, in any case."""

    quoted = False

    def _text(self, cell: str) -> str:
        if (text := _BOOLEANS.get(cell.lower())) is None:
            raise CellError("not_a_boolean", f"{shown(cell)} is not true, false, yes, no, 1 or 0")
        return text


class DateCheck(RememberingCheck):
    """Days that exist, written `2024-01-31`."""

    def _text(self, cell: str) -> str:
        try:
            day = date.fromisoformat(cell) if _is_date(cell) else None
        except ValueError:
            day = None
        if day is None:
            raise CellError("not_a_date", f"{shown(cell)} is not a date like 2024-01-31")
        _within(cell, cell, self.column.min, self.column.max)
        return cell


class DatetimeCheck(RememberingCheck):
    """Times as RFC 3339 writes them: `2024-01-31T12:30:00Z`. One without an offset counts as UTC in limits."""

    def __init__(self, column: Column) -> None:
        super().__init__(column)
        self._min, self._max = (None if limit is None else instant_of(str(limit)) for limit in (column.min, column.max))

    def _text(self, cell: str) -> str:
        try:
            instant = instant_of(cell) if _is_datetime(cell) else None
        except (ValueError, OverflowError):
            instant = None
        if instant is None:
            raise CellError("not_a_datetime", f"{shown(cell)} is not a time like 2024-01-31T12:30:00Z")
        _within(cell, instant, self._min, self._max, self.column)
        return cell


class NumericCheck(Check):
    """Numbers. The cells that read like a JSON number and lie within the limits are good as they are."""

    quoted = False
    # As JSON has it; what is not is looked at one by one.
    plain = r"-?(?:0|[1-9][0-9]{0,299}+)(?:\.[0-9]{1,300}+)?(?:[eE][+-]?[0-9]{1,3})?"
    lax = re.compile(r"([+-]?)0*((?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)")
    convert: Callable[[str], float] = float
    reason, article = "not_a_number", "a number like 1234.50"
    lowest: float = -LARGEST_NUMBER
    highest: float = LARGEST_NUMBER

    def __init__(self, column: Column) -> None:
        super().__init__(column)
        self._low = self.lowest if column.min is None else column.min
        self._high = self.highest if column.max is None else column.max
        # One pass over the joined column that stops only at cells that are not plain.
        self._odd = re.compile(rf"^(?!{self.plain}$){'' if column.required else '(?=.)'}.*$", re.MULTILINE)

    def _suspects(self, cells: Sequence[str]) -> Iterable[int]:
        joined = "\n".join(cells)
        if joined.count("\n") != len(cells) - 1:
            return range(len(cells))
        suspects = []
        position = counted_to = 0
        for match in self._odd.finditer(joined):
            position += joined.count("\n", counted_to, match.start())
            counted_to = match.start()
            suspects.append(position)
        low: Any = self._low
        high: Any = self._high
        harmless = str(low)
        texts = [cell or harmless for cell in cells] if "" in cells else list(cells)
        for position in suspects:
            texts[position] = harmless
        values = list(map(self.convert, texts))
        if min(values) < low or max(values) > high:
            suspects += [position for position, value in enumerate(values) if not low <= value <= high]
        return suspects

    def _text(self, cell: str) -> str:
        match = self.lax.fullmatch(cell)
        if match is None:
            raise CellError(self.reason, f"{shown(cell)} is not {self.article}")
        sign, digits = ("-" if match[1] == "-" else ""), match[2]
        text = sign + _as_json(digits)
        try:
            value = self.convert(text)
        except ValueError:  # more digits than Python converts
            value = float("inf")
        if not self.lowest <= value <= self.highest:
            raise CellError("out_of_range", f"{shown(cell)} is beyond what {self._holds} holds")
        _within(cell, value, self.column.min, self.column.max)
        return text

    _holds = "a double"


class DoubleCheck(NumericCheck):
    """Numbers that a double gives back as they were: of 15 significant digits, or by luck."""

    def _suspects(self, cells: Sequence[str]) -> Iterable[int]:
        suspects = super()._suspects(cells)
        if max(map(len, cells)) <= DIGITS_OF_A_DOUBLE and "e" not in (joined := "".join(cells)) and "E" not in joined:
            return suspects
        return {*suspects, *(position for position, cell in enumerate(cells) if _may_be_inexact(cell))}

    def _text(self, cell: str) -> str:
        text = super()._text(cell)
        try:
            is_exact = Decimal(text) == Decimal(repr(float(text)))
        except InvalidOperation:  # its exponent is beyond any
            is_exact = False
        if not is_exact:
            raise CellError("not_exact", f"{shown(cell)} has more digits than a double gives back")
        return text


def _may_be_inexact(cell: str) -> bool:
    return len(cell) > DIGITS_OF_A_DOUBLE or "e" in cell or "E" in cell


class IntegerCheck(NumericCheck):
    """Whole numbers of 64 bits."""

    plain = r"-?(?:0|[1-9][0-9]{0,18}+)"
    lax = re.compile(r"([+-]?)0*([0-9]+)")
    convert = int
    reason, article = "not_an_integer", "a whole number like 42"
    lowest, highest = SMALLEST_INTEGER, LARGEST_INTEGER
    _holds = "64 bits"


_CHECKS: Mapping[ColumnType, type[Check]] = {
    "integer": IntegerCheck,
    "number": NumericCheck,
    "boolean": BooleanCheck,
    "date": DateCheck,
    "datetime": DatetimeCheck,
}


def check_of(column: Column, numbers: Literal["text", "double"] = "text") -> Check:
    """The check of a column; `numbers` as in FileFormat."""
    if column.type == "number" and numbers == "double":
        return DoubleCheck(column)
    if column.type != "string":
        return _CHECKS[column.type](column)
    if column.choices or column.min is not None or column.max is not None:
        return StringCheck(column)
    return Check(column) if column.pattern is None else PatternCheck(column)


def _positions(wanted: set[str], cells: Sequence[str]) -> Iterable[int]:
    """Where in `cells` the wanted ones are."""
    return list(compress(count(), map(wanted.__contains__, cells))) if wanted else ()


def shown(cell: str) -> str:
    """A cell in a message: in quotes, cut when it is long."""
    return repr(cell if len(cell) <= SHOWN_CHARACTERS else cell[:SHOWN_CHARACTERS] + "...")


def _as_json(digits: str) -> str:
    """Unsigned digits without needless zeros before them, as JSON writes them: `.5` is 0.5, `5.` is 5."""
    if digits[0] in ".eE":
        digits = "0" + digits
    return re.sub(r"\.(?=[eE]|$)", "", digits)


def instant_of(text: str) -> datetime:
    """A time that DatetimeCheck has found good; without an offset it is one of UTC."""
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else datetime.fromisoformat(text + "+00:00")


def _within(cell: str, value: Any, low: Any, high: Any, column: Column | None = None) -> None:
    if low is not None and value < low:
        raise CellError("too_small", f"{shown(cell)} is below {column.min if column else low}")
    if high is not None and value > high:
        raise CellError("too_large", f"{shown(cell)} is above {column.max if column else high}")


def normalised(name: str) -> str:
    """A header's name as a column's: trimmed and in snake case: ` Order Date ` and `orderDate` are `order_date`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name.strip())
    return re.sub(r"[^\w]+", "_", spaced).strip("_").lower()
