"""Rows as Parquet, in pieces: a writer that goes on from a state makes the bytes that one without an end makes.

No library's writer can be continued, since each holds the metadata of all row groups until it ends
(docs/decisions/0006-parquet.md). A flat table needs little of the format:
https://parquet.apache.org/docs/file-format/, https://github.com/apache/parquet-format

    "PAR1", then row groups: for each column a chunk of pages (plain encoding, gzip), a page for each block of rows;
    then the footer, its length, "PAR1"

Types: string, integer (INT64), number (DOUBLE; `FileFormat.numbers`), boolean, date (DATE), datetime (TIMESTAMP in
microseconds of UTC). A column that is not required is OPTIONAL.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from isal import igzip

from handlers.csv.columns import Cells, Check, Column, ColumnType, instant_of

MAGIC = b"PAR1"
CREATOR = "DataPipeline"
# Compressed: readers want few, large row groups, and the open one is held in memory and in every checkpoint.
ROW_GROUP_BYTES = 4 * 2**20
COMPRESSION = 1

_FIRST_DAY = date(1970, 1, 1).toordinal()
_FIRST_INSTANT = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


# Values: https://github.com/apache/parquet-format/blob/master/Encodings.md


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
    return _bits([cell == "true" for cell in cells])


def _dates(cells: Sequence[str]) -> bytes:
    days = {cell: date.fromisoformat(cell).toordinal() - _FIRST_DAY for cell in set(cells)}
    return struct.pack(f"<{len(cells)}i", *map(days.__getitem__, cells))


def _datetimes(cells: Sequence[str]) -> bytes:
    return struct.pack(f"<{len(cells)}q", *((instant_of(cell) - _FIRST_INSTANT) // _MICROSECOND for cell in cells))


def _bits(flags: Sequence[bool]) -> bytes:
    """Eight to a byte, the first in the lowest bit."""
    digits = bytes(flags).translate(b"01".ljust(256))[::-1]
    return int(digits or b"0", 2).to_bytes((len(flags) + 7) // 8, "little")


def _presence(flags: Sequence[bool]) -> bytes:
    """The definition levels of a column: which cells are not null; one run of RLE, or of bits."""
    if all(flags):
        run = _unsigned(len(flags) << 1) + b"\1"
    else:
        bits = _bits(flags)
        run = _unsigned(len(bits) << 1 | 1) + bits
    return struct.pack("<I", len(run)) + run


# Metadata: Thrift's compact protocol
# https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
# https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift (names and field numbers)


class _Typed(NamedTuple):
    type: int
    data: bytes


def _unsigned(value: int) -> bytes:
    """A number in groups of seven bits, the lowest first."""
    data = bytearray()
    while value > 0x7F:  # noqa: PLR2004
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*data, value])


def _i32(value: int) -> _Typed:
    return _Typed(5, _unsigned(value << 1))  # zigzag; none of ours is negative


def _i64(value: int) -> _Typed:
    return _Typed(6, _unsigned(value << 1))


def _text(value: str) -> _Typed:
    data = value.encode()
    return _Typed(8, _unsigned(len(data)) + data)


def _list(values: Sequence[_Typed]) -> _Typed:
    (kind,) = {value.type for value in values}
    short = len(values) < 15  # noqa: PLR2004
    size = bytes([len(values) << 4 | kind]) if short else bytes([0xF0 | kind]) + _unsigned(len(values))
    return _Typed(9, size + b"".join(value.data for value in values))


def _struct(fields: Mapping[int, _Typed]) -> _Typed:
    """Fields by their numbers, which ascend by less than 16."""
    data, before = [], 0
    for number, field in fields.items():
        data += [bytes([(number - before) << 4 | field.type]), field.data]
        before = number
    return _Typed(12, b"".join(data) + b"\0")


_TRUE = _Typed(1, b"")
_EMPTY = _struct({})
_DATA_PAGE, _GZIP, _PLAIN, _RLE = _i32(0), _i32(2), _i32(0), _i32(3)
_REQUIRED, _OPTIONAL = 0, 1


class _Kind(NamedTuple):
    """How Parquet holds a column type: physical type, converted type (for old readers), logical type."""

    physical: int
    values: Callable[[Sequence[str]], bytes]
    converted: int | None = None
    logical: _Typed | None = None


_KINDS: Mapping[ColumnType, _Kind] = {
    "string": _Kind(6, _strings, 0, _struct({1: _EMPTY})),
    "integer": _Kind(2, _integers),
    "number": _Kind(5, _doubles),
    "boolean": _Kind(0, _booleans),
    "date": _Kind(1, _dates, 6, _struct({6: _EMPTY})),
    "datetime": _Kind(2, _datetimes, 10, _struct({8: _struct({1: _TRUE, 2: _struct({2: _EMPTY})})})),
}


class ParquetWriter:
    """Makes a Parquet file of blocks. `encode` them in order, then `finish`; or `state` and `rests` to go on."""

    def __init__(self, state: Mapping[str, Any] | None = None, rests: Sequence[bytes] = ()) -> None:
        # Of each row group: its rows, and of each column the bytes before and after compression.
        self._groups: list[Any] = list(state["groups"]) if state else []
        self._rows: int = state["rows"] if state else 0
        self._sizes: list[int] = list(state["sizes"]) if state else []
        self._chunks = list(map(bytearray, rests))

    def encode(self, checks: Sequence[Check], columns: Sequence[Cells], count: int, *, is_plain: bool) -> bytes:  # noqa: ARG002
        """What `count` rows add to the file: nothing, or a row group. An `Encode` of the engine."""
        if not self._chunks:
            self._sizes = [0] * len(checks)
            self._chunks = [bytearray() for _ in checks]
        for position, (check, cells) in enumerate(zip(checks, columns, strict=True)):
            header, body, size = _page(check.column, cells, count)
            self._chunks[position] += header + body
            self._sizes[position] += len(header) + size
        self._rows += count
        return self._end_group() if sum(map(len, self._chunks)) >= ROW_GROUP_BYTES else b""

    def finish(self, columns: Sequence[Column]) -> bytes:
        """The end of the file; nothing when there were no rows. The state stays as it was."""
        group = [self._group()] if self._rows else []
        if not group and not self._groups:
            return b""
        data = self._group_bytes() if group else b""
        footer = _footer(columns, [*self._groups, *group])
        return b"".join([data, footer, struct.pack("<I", len(footer)), MAGIC])

    def state(self) -> dict[str, Any]:
        """With `rests`, all that is needed to go on; fit for JSON."""
        return {"groups": self._groups, "rows": self._rows, "sizes": self._sizes}

    @property
    def rests(self) -> list[bytes]:
        """The pages of the open row group, column by column."""
        return list(map(bytes, self._chunks))

    def _end_group(self) -> bytes:
        data = self._group_bytes()
        self._groups.append(self._group())
        self._rows, self._sizes, self._chunks = 0, [], []
        return data

    def _group(self) -> list[Any]:
        return [self._rows, list(zip(self._sizes, map(len, self._chunks), strict=True))]

    def _group_bytes(self) -> bytes:
        return b"".join([b"" if self._groups else MAGIC, *self._chunks])


def _page(column: Column, cells: Cells, count: int) -> tuple[bytes, bytes, int]:
    """A page of `count` cells: its header, its compressed body, and the body's size before compression."""
    levels = b""
    present: Sequence[str] = cells or ()
    if not column.required:
        levels = _presence([bool(cell) for cell in cells] if cells else [False] * count)
        present = [cell for cell in present if cell]
    data = levels + _KINDS[column.type].values(present)
    body = igzip.compress(data, COMPRESSION, mtime=0)
    of_data = _struct({1: _i32(count), 2: _PLAIN, 3: _RLE, 4: _RLE})
    header = _struct({1: _DATA_PAGE, 2: _i32(len(data)), 3: _i32(len(body)), 5: of_data})
    return header.data, body, len(data)


def _footer(columns: Sequence[Column], groups: Sequence[Any]) -> bytes:
    offset = len(MAGIC)
    row_groups = []
    for rows, sizes in groups:
        chunks = []
        for column, (size, compressed) in zip(columns, sizes, strict=True):
            chunks.append(_chunk(column, rows, offset, size, compressed))
            offset += compressed
        row_groups.append(_struct({1: _list(chunks), 2: _i64(sum(size for size, _ in sizes)), 3: _i64(rows)}))
    root = _struct({4: _text("schema"), 5: _i32(len(columns))})
    return _struct(
        {
            1: _i32(1),
            2: _list([root, *map(_schema_element, columns)]),
            3: _i64(sum(rows for rows, _ in groups)),
            4: _list(row_groups),
            6: _text(CREATOR),
        }
    ).data


def _schema_element(column: Column) -> _Typed:
    kind = _KINDS[column.type]
    fields = {1: _i32(kind.physical), 3: _i32(_REQUIRED if column.required else _OPTIONAL), 4: _text(column.name)}
    if kind.converted is not None:
        fields[6] = _i32(kind.converted)
    if kind.logical is not None:
        fields[10] = kind.logical
    return _struct(fields)


def _chunk(column: Column, rows: int, offset: int, size: int, compressed: int) -> _Typed:
    metadata = {
        1: _i32(_KINDS[column.type].physical),
        2: _list([_PLAIN, _RLE]),
        3: _list([_text(column.name)]),
        4: _GZIP,
        5: _i64(rows),
        6: _i64(size),
        7: _i64(compressed),
        9: _i64(offset),
    }
    return _struct({2: _i64(offset), 3: _struct(metadata)})
