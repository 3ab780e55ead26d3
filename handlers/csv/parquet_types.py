"""Parquet's types and the encoding of their values.

https://github.com/apache/parquet-format/blob/master/LogicalTypes.md
https://github.com/apache/parquet-format/blob/master/Encodings.md
"""

import struct
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from handlers.csv import thrift
from handlers.csv.checks import instant_of

_FIRST_DAY = date(1970, 1, 1).toordinal()
_FIRST_INSTANT = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class ParquetType(NamedTuple):
    """A physical type, the encoder of its values, the converted type (for old readers) and the logical type."""

    physical: int
    values: Callable[[Sequence[str]], bytes]
    converted: int | None = None
    logical: thrift.Value | None = None


def bits(flags: Sequence[bool]) -> bytes:
    """Pack eight flags into a byte, the first into the lowest bit."""
    digits = bytes(flags).translate(b"01".ljust(256))[::-1]
    return int(digits or b"0", 2).to_bytes((len(flags) + 7) // 8, "little")


def _strings(cells: Sequence[str]) -> bytes:
    texts = list(map(str.encode, cells))
    interleaved = [b""] * (2 * len(texts))
    interleaved[::2] = map(struct.Struct("<I").pack, map(len, texts))
    interleaved[1::2] = texts
    return b"".join(interleaved)


def _integers(cells: Sequence[str]) -> bytes:
    return struct.pack(f"<{len(cells)}q", *map(int, cells))


def _doubles(cells: Sequence[str]) -> bytes:
    return struct.pack(f"<{len(cells)}d", *map(float, cells))


def _booleans(cells: Sequence[str]) -> bytes:
    return bits([cell == "true" for cell in cells])


def _dates(cells: Sequence[str]) -> bytes:
    days = {cell: date.fromisoformat(cell).toordinal() - _FIRST_DAY for cell in set(cells)}
    return struct.pack(f"<{len(cells)}i", *map(days.__getitem__, cells))


def _datetimes(cells: Sequence[str]) -> bytes:
    return struct.pack(f"<{len(cells)}q", *((instant_of(cell) - _FIRST_INSTANT) // _MICROSECOND for cell in cells))


_UTC_MICROSECONDS = thrift.struct({1: thrift.TRUE, 2: thrift.struct({2: thrift.EMPTY})})

STRING = ParquetType(6, _strings, 0, thrift.struct({1: thrift.EMPTY}))
INT64 = ParquetType(2, _integers)
DOUBLE = ParquetType(5, _doubles)
BOOLEAN = ParquetType(0, _booleans)
DATE = ParquetType(1, _dates, 6, thrift.struct({6: thrift.EMPTY}))
TIMESTAMP = ParquetType(2, _datetimes, 10, thrift.struct({8: _UTC_MICROSECONDS}))
