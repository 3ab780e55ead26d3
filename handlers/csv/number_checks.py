"""Checks of numbers and integers."""

import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from handlers.csv.checks import CellError, Check, check_limits, shown
from handlers.csv.columns import SCALE, Column

# 64 bits, as in every database and in Parquet.
SMALLEST_INTEGER, LARGEST_INTEGER = -(2**63), 2**63 - 1
LARGEST_NUMBER = 1.7976931348623157e308
# A double preserves this many significant digits unless it is close to zero (DBL_DIG in C).
DIGITS_OF_A_DOUBLE = 15
DIGITS_OF_AN_EXPONENT = 4
# The digits of any decimal that 64 bits hold.
PRECISION = 18


class NumericCheck(Check):
    """Numbers. Cells that are valid JSON numbers within the limits need no individual check."""

    # A JSON number. Every other cell is checked individually.
    plain = r"-?(?:0|[1-9][0-9]{0,299}+)(?:\.[0-9]{1,300}+)?(?:[eE][+-]?[0-9]{1,3})?"
    # Possessive, with leading zeros that only a digit can follow: a cell of many zeros would take quadratic time.
    lax = re.compile(r"([+-]?)(?:0(?=[0-9]))*+((?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?)")
    convert: Callable[[str | float], float] = float
    reason, article = "not_a_number", "a number like 1234.50"
    lowest: float = -LARGEST_NUMBER
    highest: float = LARGEST_NUMBER
    _holds = "a double"

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
        harmless = str(self.convert(low))
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
        if not self.lowest <= value <= self.highest or _exponent_digits(text) > DIGITS_OF_AN_EXPONENT:
            raise CellError("out_of_range", f"{shown(cell)} is out of the range of {self._holds}")
        check_limits(self.column, cell, value, self.column.min, self.column.max)
        return text


class DoubleCheck(NumericCheck):
    """Numbers that a double represents exactly enough to print the same value again."""

    def _suspects(self, cells: Sequence[str]) -> Iterable[int]:
        suspects = super()._suspects(cells)
        if max(map(len, cells)) <= DIGITS_OF_A_DOUBLE and "e" not in (joined := "".join(cells)) and "E" not in joined:
            return suspects
        return {*suspects, *(position for position, cell in enumerate(cells) if _may_be_inexact(cell))}

    def _text(self, cell: str) -> str:
        text = super()._text(cell)
        try:
            is_exact = Decimal(text) == Decimal(repr(float(text)))
        except InvalidOperation:  # the exponent is out of Decimal's range
            is_exact = False
        if not is_exact:
            raise CellError("not_exact", f"{shown(cell)} has more digits than a double preserves")
        return text


class IntegerCheck(NumericCheck):
    """Integers of 64 bits."""

    plain = r"-?(?:0|[1-9][0-9]{0,18}+)"
    lax = re.compile(r"([+-]?)(?:0(?=[0-9]))*+([0-9]++)")
    convert = int
    reason, article = "not_an_integer", "a whole number like 42"
    lowest, highest = SMALLEST_INTEGER, LARGEST_INTEGER
    _holds = "a 64-bit integer"


class DecimalCheck(NumericCheck):
    """Decimals with a fixed number of digits after the point, which an integer of 64 bits holds exactly."""

    reason, article = "not_a_decimal", "a number like 1234.50"

    def __init__(self, column: Column) -> None:
        self._scale = SCALE if column.scale is None else column.scale
        self._holds = f"a decimal of {PRECISION} digits, {self._scale} of them after the point"
        fraction = rf"(?:\.[0-9]{{1,{self._scale}}}+)?" if self._scale else ""
        whole = PRECISION - self._scale
        self.plain = rf"-?(?:0|[1-9][0-9]{{0,{whole - 1}}}+){fraction}" if whole else rf"-?0{fraction}"
        super().__init__(column)

    def _text(self, cell: str) -> str:
        text = super()._text(cell)
        sign, digits, exponent = Decimal(text).as_tuple()
        if not any(digits):
            return "0"
        # Zeros at the end are no digits of the value.
        significant = "".join(map(str, digits)).rstrip("0")
        places = -int(exponent) - (len(digits) - len(significant))
        if places > self._scale:
            raise CellError("not_exact", f"{shown(cell)} has more than {self._scale} digits after the point (scale)")
        if len(significant) - places > PRECISION - self._scale:
            raise CellError("out_of_range", f"{shown(cell)} is out of the range of {self._holds}")
        return f"{Decimal((sign, tuple(map(int, significant)), -places)):f}"


def _may_be_inexact(cell: str) -> bool:
    return len(cell) > DIGITS_OF_A_DOUBLE or "e" in cell or "E" in cell


def _exponent_digits(text: str) -> int:
    return len(text.lower().partition("e")[2].lstrip("+-0"))


def _as_json(digits: str) -> str:
    """Return unsigned digits without leading zeros as a JSON number: `.5` becomes 0.5, `5.` becomes 5."""
    if digits[0] in ".eE":
        digits = "0" + digits
    return re.sub(r"\.(?=[eE]|$)", "", digits)
