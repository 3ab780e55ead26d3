"""Rows as Parquet, written in pieces. A writer continued from a state writes the same bytes as one that never stopped.

No library's writer can be continued: each keeps the metadata of all row groups until it closes the file
(docs/decisions/0006-parquet.md). A flat table needs only a little of the format:
https://parquet.apache.org/docs/file-format/, https://github.com/apache/parquet-format

    "PAR1", then row groups: for each column a chunk of pages (gzip), one page per block of rows, after a dictionary if
    its values repeat; then the footer, its length, "PAR1"

A column that is not required is OPTIONAL. Names and field numbers of the metadata:
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from handlers.csv import thrift
from handlers.csv.checks import Check
from handlers.csv.column_types import COLUMN_TYPES
from handlers.csv.columns import Cells, Column
from handlers.csv.parquet_chunks import Chunk, ChunkEntry, column_chunk

MAGIC = b"PAR1"
CREATOR = "DataPipeline"
# Compressed size. Readers prefer few, large row groups; the open one is held in memory and in every checkpoint.
ROW_GROUP_BYTES = 4 * 2**20

_REQUIRED, _OPTIONAL = 0, 1


class ParquetWriter:
    """A Parquet file: `encode` blocks in order, then `finish`. `state` and `rests` let another writer continue."""

    def __init__(self, state: Mapping[str, Any] | None = None, rests: Sequence[bytes] = ()) -> None:
        # For each finished row group: the number of rows, and the entries of its chunks.
        self._groups: list[Any] = list(state["groups"]) if state else []
        self._rows: int = state["rows"] if state else 0
        self._saved = list(zip(state["chunks"], rests, strict=True)) if state else []
        self._chunks: list[Chunk] = []

    def encode(self, checks: Sequence[Check], columns: Sequence[Cells], count: int, *, is_plain: bool) -> bytes:  # noqa: ARG002
        """Add `count` rows. Return the bytes to append to the file: none, or a row group. Implements `Encode`."""
        self._open([check.column for check in checks])
        for chunk, cells in zip(self._chunks, columns, strict=True):
            chunk.add(cells, count)
        self._rows += count
        return self._end_group() if sum(len(chunk.pages) for chunk in self._chunks) >= ROW_GROUP_BYTES else b""

    def finish(self, columns: Sequence[Column]) -> bytes:
        """Return the end of the file, or nothing if there were no rows. The state does not change."""
        if not self._rows and not self._groups:
            return b""
        data, group = b"", []
        if self._rows:
            self._open(columns)
            data, entries = self._group()
            group = [[self._rows, entries]]
        footer = _footer(columns, [*self._groups, *group])
        return b"".join([data, footer, struct.pack("<I", len(footer)), MAGIC])

    def state(self) -> dict[str, Any]:
        """Return the state that, with `rests`, lets another writer continue. JSON can represent it."""
        chunks = [chunk.state() for chunk in self._chunks] or [saved for saved, _ in self._saved]
        return {"groups": self._groups, "rows": self._rows, "chunks": chunks}

    @property
    def rests(self) -> list[bytes]:
        """The pages of the open row group, column by column."""
        return [bytes(chunk.pages) for chunk in self._chunks] or [pages for _, pages in self._saved]

    def _open(self, columns: Sequence[Column]) -> None:
        """Open a row group, or the one of an earlier writer."""
        if not self._chunks:
            saved = self._saved or [(None, b"")] * len(columns)
            self._chunks = [Chunk(column, len(columns), *each) for column, each in zip(columns, saved, strict=True)]
            self._saved = []

    def _end_group(self) -> bytes:
        data, entries = self._group()
        self._groups.append([self._rows, entries])
        self._rows, self._chunks = 0, []
        return data

    def _group(self) -> tuple[bytes, list[ChunkEntry]]:
        chunks = [chunk.end() for chunk in self._chunks]
        start = b"" if self._groups else MAGIC
        return b"".join([start, *(data for data, _ in chunks)]), [entry for _, entry in chunks]


def _footer(columns: Sequence[Column], groups: Sequence[Any]) -> bytes:
    offset = len(MAGIC)
    row_groups = []
    for rows, entries in groups:
        chunks, size = [], 0
        # From a checkpoint they are lists.
        for column, entry in zip(columns, (ChunkEntry(*each) for each in entries), strict=True):
            chunks.append(column_chunk(column, rows, offset, entry))
            offset += entry.compressed
            size += entry.size
        row_groups.append(thrift.struct({1: thrift.array(chunks), 2: thrift.i64(size), 3: thrift.i64(rows)}))
    root = thrift.struct({4: thrift.text("schema"), 5: thrift.i32(len(columns))})
    return thrift.struct(
        {
            1: thrift.i32(1),
            2: thrift.array([root, *map(_schema_element, columns)]),
            3: thrift.i64(sum(rows for rows, _ in groups)),
            4: thrift.array(row_groups),
            6: thrift.text(CREATOR),
            # Without it readers do not use the bounds.
            7: thrift.array([thrift.struct({1: thrift.EMPTY})] * len(columns)),
        }
    ).data


def _schema_element(column: Column) -> thrift.Value:
    parquet = COLUMN_TYPES[column.type].parquet(column)
    fields = {
        1: thrift.i32(parquet.physical),
        3: thrift.i32(_REQUIRED if column.required else _OPTIONAL),
        4: thrift.text(column.name),
    }
    if parquet.converted is not None:
        fields[6] = thrift.i32(parquet.converted)
    if parquet.logical is not None:
        fields[10] = parquet.logical
    return thrift.struct(dict(sorted({**fields, **parquet.element}.items())))
