"""Rows as Parquet, written in pieces. A writer continued from a state writes the same bytes as one that never stopped.

No library's writer can be continued: each keeps the metadata of all row groups until it closes the file
(docs/decisions/0006-parquet.md). A flat table needs only a little of the format:
https://parquet.apache.org/docs/file-format/, https://github.com/apache/parquet-format

    "PAR1", then row groups: for each column a chunk of pages (plain encoding, gzip), one page per block of rows;
    then the footer, its length, "PAR1"

A column that is not required is OPTIONAL. Names and field numbers of the metadata:
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from isal import igzip

from handlers.csv import thrift
from handlers.csv.checks import Check
from handlers.csv.column_types import COLUMN_TYPES
from handlers.csv.columns import Cells, Column
from handlers.csv.parquet_types import bits

MAGIC = b"PAR1"
CREATOR = "DataPipeline"
# Compressed size. Readers prefer few, large row groups; the open one is held in memory and in every checkpoint.
ROW_GROUP_BYTES = 4 * 2**20
COMPRESSION = 1

_DATA_PAGE, _GZIP, _PLAIN, _RLE = thrift.i32(0), thrift.i32(2), thrift.i32(0), thrift.i32(3)
_REQUIRED, _OPTIONAL = 0, 1


class ParquetWriter:
    """A Parquet file: `encode` blocks in order, then `finish`. `state` and `rests` let another writer continue."""

    def __init__(self, state: Mapping[str, Any] | None = None, rests: Sequence[bytes] = ()) -> None:
        # For each row group: the number of rows, and each column's bytes before and after compression.
        self._groups: list[Any] = list(state["groups"]) if state else []
        self._rows: int = state["rows"] if state else 0
        self._sizes: list[int] = list(state["sizes"]) if state else []
        self._chunks = list(map(bytearray, rests))

    def encode(self, checks: Sequence[Check], columns: Sequence[Cells], count: int, *, is_plain: bool) -> bytes:  # noqa: ARG002
        """Add `count` rows. Return the bytes to append to the file: none, or a row group. Implements `Encode`."""
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
        """Return the end of the file, or nothing if there were no rows. The state does not change."""
        group = [self._group()] if self._rows else []
        if not group and not self._groups:
            return b""
        data = self._group_bytes() if group else b""
        footer = _footer(columns, [*self._groups, *group])
        return b"".join([data, footer, struct.pack("<I", len(footer)), MAGIC])

    def state(self) -> dict[str, Any]:
        """Return the state that, with `rests`, lets another writer continue. JSON can represent it."""
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
    """Return a page of `count` cells: its header, its compressed body, and the body's size before compression."""
    levels = b""
    present: Sequence[str] = cells or ()
    if not column.required:
        levels = _presence([bool(cell) for cell in cells] if cells else [False] * count)
        present = [cell for cell in present if cell]
    data = levels + COLUMN_TYPES[column.type].parquet.values(present)
    body = igzip.compress(data, COMPRESSION, mtime=0)
    data_header = thrift.struct({1: thrift.i32(count), 2: _PLAIN, 3: _RLE, 4: _RLE})
    header = thrift.struct({1: _DATA_PAGE, 2: thrift.i32(len(data)), 3: thrift.i32(len(body)), 5: data_header})
    return header.data, body, len(data)


def _footer(columns: Sequence[Column], groups: Sequence[Any]) -> bytes:
    offset = len(MAGIC)
    row_groups = []
    for rows, sizes in groups:
        chunks = []
        for column, (size, compressed) in zip(columns, sizes, strict=True):
            chunks.append(_chunk(column, rows, offset, size, compressed))
            offset += compressed
        row_groups.append(
            thrift.struct({1: thrift.array(chunks), 2: thrift.i64(sum(size for size, _ in sizes)), 3: thrift.i64(rows)})
        )
    root = thrift.struct({4: thrift.text("schema"), 5: thrift.i32(len(columns))})
    return thrift.struct(
        {
            1: thrift.i32(1),
            2: thrift.array([root, *map(_schema_element, columns)]),
            3: thrift.i64(sum(rows for rows, _ in groups)),
            4: thrift.array(row_groups),
            6: thrift.text(CREATOR),
        }
    ).data


def _schema_element(column: Column) -> thrift.Value:
    parquet = COLUMN_TYPES[column.type].parquet
    fields = {
        1: thrift.i32(parquet.physical),
        3: thrift.i32(_REQUIRED if column.required else _OPTIONAL),
        4: thrift.text(column.name),
    }
    if parquet.converted is not None:
        fields[6] = thrift.i32(parquet.converted)
    if parquet.logical is not None:
        fields[10] = parquet.logical
    return thrift.struct(fields)


def _chunk(column: Column, rows: int, offset: int, size: int, compressed: int) -> thrift.Value:
    metadata = {
        1: thrift.i32(COLUMN_TYPES[column.type].parquet.physical),
        2: thrift.array([_PLAIN, _RLE]),
        3: thrift.array([thrift.text(column.name)]),
        4: _GZIP,
        5: thrift.i64(rows),
        6: thrift.i64(size),
        7: thrift.i64(compressed),
        9: thrift.i64(offset),
    }
    return thrift.struct({2: thrift.i64(offset), 3: thrift.struct(metadata)})


def _presence(flags: Sequence[bool]) -> bytes:
    """Return the definition levels of a column, which mark nulls, as one run of RLE or of bits."""
    if all(flags):
        run = thrift.unsigned(len(flags) << 1) + b"\1"
    else:
        packed = bits(flags)
        run = thrift.unsigned(len(packed) << 1 | 1) + packed
    return struct.pack("<I", len(run)) + run
