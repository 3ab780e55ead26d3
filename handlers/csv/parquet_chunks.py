"""A column of an open row group: its pages, its dictionary and its bounds.

https://parquet.apache.org/docs/file-format/data-pages/encodings/
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from isal import igzip

from handlers.csv import thrift
from handlers.csv.column_types import COLUMN_TYPES
from handlers.csv.columns import Cells, Column
from handlers.csv.parquet_types import BOOLEAN, bits

COMPRESSION = 1
# Different texts in the dictionary of a chunk, of all columns together and of one. They are in every checkpoint.
TEXTS_OF_ALL = 100_000
MOST_TEXTS = 4_096
LONGEST_TEXT = 64

_DATA_PAGE, _DICTIONARY_PAGE = thrift.i32(0), thrift.i32(2)
_PLAIN, _RLE, _RLE_DICTIONARY = thrift.i32(0), thrift.i32(3), thrift.i32(8)
_GZIP = thrift.i32(2)
_BYTE_INDICES = 256


class ChunkEntry(NamedTuple):
    """A finished chunk for the footer: bytes before and after compression, with the dictionary; nulls and bounds."""

    size: int
    compressed: int
    dictionary: int
    """Compressed bytes of the dictionary, which come first; 0 without one."""
    nulls: int
    bounds: Sequence[Any] | None
    """The smallest and the largest value."""


class Chunk:
    """The pages of one column. `columns`: how many share the room for dictionaries."""

    def __init__(self, column: Column, columns: int, state: Sequence[Any] | None = None, pages: bytes = b"") -> None:
        self._column = column
        self._parquet = COLUMN_TYPES[column.type].parquet(column)
        self._room = min(MOST_TEXTS, TEXTS_OF_ALL // columns)
        self.pages = bytearray(pages)
        self._size, self._nulls = 0, 0
        self._bounds: list[Any] | None = None
        self._is_bounded = True
        # Bits are smaller than indices.
        self._uses_dictionary = self._parquet is not BOOLEAN
        self._texts: dict[str, int] = {}
        if state:
            self._size, self._nulls, self._bounds, self._is_bounded, self._uses_dictionary, texts = state
            self._texts = {text: index for index, text in enumerate(texts)}

    def state(self) -> list[Any]:
        """Return the state that, with `pages`, lets another chunk continue. JSON can represent it."""
        return [
            *(self._size, self._nulls, self._bounds, self._is_bounded, self._uses_dictionary),
            list(self._texts),
        ]

    def add(self, cells: Cells, count: int) -> None:
        """Add a page of `count` cells."""
        levels = b""
        present: Sequence[str] = cells or ()
        if not self._column.required:
            levels = _presence([bool(cell) for cell in cells] if cells else [False] * count)
            present = [cell for cell in present if cell]
        self._nulls += count - len(present)
        if present and self._uses_dictionary and self._takes(texts := list(dict.fromkeys(present)), len(present)):
            self._bound(self._parquet.values(texts))
            encoding, data = _RLE_DICTIONARY, self._indices(present)
        else:
            values = self._parquet.values(present)
            self._bound(values)
            encoding, data = _PLAIN, self._parquet.plain(values)
        header = thrift.struct({1: thrift.i32(count), 2: encoding, 3: _RLE, 4: _RLE})
        self._size += _append(self.pages, {1: _DATA_PAGE}, {5: header}, levels + data)

    def end(self) -> tuple[bytes, ChunkEntry]:
        """Return the bytes of the chunk, and what the footer says of it. The state does not change."""
        dictionary, size = bytearray(), 0
        if self._texts:
            header = thrift.struct({1: thrift.i32(len(self._texts)), 2: _PLAIN})
            data = self._parquet.plain(self._parquet.values(list(self._texts)))
            size = _append(dictionary, {1: _DICTIONARY_PAGE}, {7: header}, data)
        entry = ChunkEntry(
            self._size + size,
            len(dictionary) + len(self.pages),
            len(dictionary),
            self._nulls,
            self._bounds if self._is_bounded else None,
        )
        return bytes(dictionary + self.pages), entry

    def _takes(self, texts: Sequence[str], count: int) -> bool:
        """Take the different texts of `count` cells into the dictionary. If they are too many, it takes no more."""
        new = [text for text in texts if text not in self._texts]
        self._uses_dictionary = (
            len(self._texts) + len(new) <= self._room
            and 2 * len(new) <= count
            and all(len(text) <= LONGEST_TEXT for text in new)
        )
        if self._uses_dictionary:
            self._texts |= {text: len(self._texts) + position for position, text in enumerate(new)}
        return self._uses_dictionary

    def _indices(self, present: Sequence[str]) -> bytes:
        """Return the places of cells in the dictionary: one bit-packed run, with whole bytes so that it is quick."""
        width, code = (8, "B") if len(self._texts) <= _BYTE_INDICES else (16, "H")
        groups = (len(present) + 7) // 8
        indices = [*map(self._texts.__getitem__, present), *([0] * (groups * 8 - len(present)))]
        return b"".join(
            [bytes([width]), thrift.unsigned(groups << 1 | 1), struct.pack(f"<{len(indices)}{code}", *indices)]
        )

    def _bound(self, values: Sequence[Any]) -> None:
        if not values or not self._is_bounded:
            return
        low, high = min(values), max(values)
        if isinstance(low, str) and max(len(low), len(high)) > LONGEST_TEXT:
            self._is_bounded = False
        elif self._bounds is None:
            self._bounds = [low, high]
        else:
            self._bounds = [min(self._bounds[0], low), max(self._bounds[1], high)]


def column_chunk(column: Column, rows: int, offset: int, entry: ChunkEntry) -> thrift.Value:
    """Return the metadata of a chunk of `rows` rows that begins at an offset."""
    parquet = COLUMN_TYPES[column.type].parquet(column)
    bounds = {}
    if entry.bounds is not None:
        low, high = entry.bounds
        if isinstance(low, float):
            # Zero has two signs, and the bounds must include both.
            low, high = low or -0.0, high or 0.0
        bounds = {5: thrift.binary(parquet.bound(high)), 6: thrift.binary(parquet.bound(low))}
    encodings = [_PLAIN, _RLE, *([_RLE_DICTIONARY] if entry.dictionary else [])]
    metadata = {
        1: thrift.i32(parquet.physical),
        2: thrift.array(encodings),
        3: thrift.array([thrift.text(column.name)]),
        4: _GZIP,
        5: thrift.i64(rows),
        6: thrift.i64(entry.size),
        7: thrift.i64(entry.compressed),
        9: thrift.i64(offset + entry.dictionary),
        **({11: thrift.i64(offset)} if entry.dictionary else {}),
        12: thrift.struct({3: thrift.i64(entry.nulls), **bounds}),
    }
    return thrift.struct({2: thrift.i64(offset), 3: thrift.struct(metadata)})


def _append(pages: bytearray, kind: Mapping[int, thrift.Value], header: Mapping[int, thrift.Value], data: bytes) -> int:
    """Append a page. Return its size before compression."""
    body = igzip.compress(data, COMPRESSION, mtime=0)
    head = thrift.struct({**kind, 2: thrift.i32(len(data)), 3: thrift.i32(len(body)), **header})
    pages += head.data + body
    return len(head.data) + len(data)


def _presence(flags: Sequence[bool]) -> bytes:
    """Return the definition levels of a column, which mark nulls, as one run of RLE or of bits."""
    if all(flags):
        run = thrift.unsigned(len(flags) << 1) + b"\1"
    else:
        packed = bits(flags)
        run = thrift.unsigned(len(packed) << 1 | 1) + packed
    return struct.pack("<I", len(run)) + run
