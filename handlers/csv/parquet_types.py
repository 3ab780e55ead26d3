"""Parquet's types and the encoding of their values.

https://github.com/apache/parquet-format/blob/master/LogicalTypes.md
https://github.com/apache/parquet-format/blob/master/Encodings.md
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from handlers.csv import thrift
from handlers.csv.checks import instant_of

_FIRST_DAY = date(1970, 1, 1).toordinal()
_FIRST_INSTANT = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class ParquetType(NamedTuple):
    """A physical type, its values, their encoders, the converted type (for old readers) and the logical type."""

    physical: int
    values: Callable[[Sequence[str]], Sequence[Any]]
    """The values of cells, which Python orders as Parquet does."""
    plain: Callable[[Sequence[Any]], bytes]
    bound: Callable[[Any], bytes]
    """The encoding of a smallest or largest value."""
    converted: int | None = None
    logical: thrift.Value | None = None
    element: Mapping[int, thrift.Value] = {}
    """More fields of the schema's element."""


def bits(flags: Sequence[bool]) -> bytes:
    """Pack eight flags into a byte, the first into the lowest bit."""
    digits = bytes(flags).translate(b"01".ljust(256))[::-1]
    return int(digits or b"0", 2).to_bytes((len(flags) + 7) // 8, "little")


def _byte_arrays(texts: Sequence[str]) -> bytes:
    data = list(map(str.encode, texts))
    interleaved = [b""] * (2 * len(data))
    interleaved[::2] = map(struct.Struct("<I").pack, map(len, data))
    interleaved[1::2] = data
    return b"".join(interleaved)


def _booleans(cells: Sequence[str]) -> list[bool]:
    return [cell == "true" for cell in cells]


def _days(cells: Sequence[str]) -> list[int]:
    days = {cell: date.fromisoformat(cell).toordinal() - _FIRST_DAY for cell in set(cells)}
    return list(map(days.__getitem__, cells))


def _microseconds(cells: Sequence[str]) -> list[int]:
    return [(instant_of(cell) - _FIRST_INSTANT) // _MICROSECOND for cell in cells]


def _fixed(physical: int, values: Callable[[Sequence[str]], Sequence[Any]], code: str, *more: Any) -> ParquetType:
    """Return a type whose values struct packs with a code."""
    return ParquetType(
        physical,
        values,
        lambda found: struct.pack(f"<{len(found)}{code}", *found),
        lambda value: struct.pack(f"<{code}", value),
        *more,
    )


def decimal(scale: int, precision: int) -> ParquetType:
    """Return decimals with so many digits after the point, as multiples of the smallest one.

    https://github.com/apache/parquet-format/blob/master/LogicalTypes.md#decimal
    """

    def multiples(cells: Sequence[str]) -> list[int]:
        parts = (cell.partition(".") for cell in cells)
        return [int(whole + fraction.ljust(scale, "0")[:scale]) for whole, _, fraction in parts]

    fields = thrift.struct({1: thrift.i32(scale), 2: thrift.i32(precision)})
    element = {7: thrift.i32(scale), 8: thrift.i32(precision)}
    return _fixed(2, multiples, "q", 5, thrift.struct({5: fields}), element)


_UTC_MICROSECONDS = thrift.struct({1: thrift.TRUE, 2: thrift.struct({2: thrift.EMPTY})})

# The order of UTF-8's bytes is that of characters.
STRING = ParquetType(6, list, _byte_arrays, str.encode, 0, thrift.struct({1: thrift.EMPTY}))
INT64 = _fixed(2, lambda cells: list(map(int, cells)), "q")
DOUBLE = _fixed(5, lambda cells: list(map(float, cells)), "d")
BOOLEAN = ParquetType(0, _booleans, bits, lambda value: bytes([value]))
DATE = _fixed(1, _days, "i", 6, thrift.struct({6: thrift.EMPTY}))
TIMESTAMP = _fixed(2, _microseconds, "q", 10, thrift.struct({8: _UTC_MICROSECONDS}))
