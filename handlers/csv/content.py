"""A file's bytes, decompressed when they begin as gzip does (whatever the file is called)."""

import zlib
from collections.abc import Callable
from typing import Any

from isal import isal_zlib

from handlers.csv.text import FileError

GZIP_MAGIC = b"\x1f\x8b"
COMPRESSED_BYTES_AT_ONCE = 2**17
# Small files may expand as they like.
EXPANSION_FREE_BYTES = 64 * 2**20
_GZIP = 16 + zlib.MAX_WBITS
_GZIP_ERROR: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # isal's stubs say object


class Content:
    """`read(n)` gives at most n bytes and b"" at the end only, as `blocks` asks for. Raises FileError.

    isal instead of zlib: it compresses and decompresses at a fifth of the time.
    """

    def __init__(self, read: Callable[[int], bytes], max_expansion: int) -> None:
        self._source = read
        self._max_expansion = max_expansion
        self._held = b""
        while len(self._held) < len(GZIP_MAGIC) and (piece := read(len(GZIP_MAGIC) - len(self._held))):
            self._held += piece
        self.is_compressed = self._held == GZIP_MAGIC
        self._member: Any = isal_zlib.decompressobj(_GZIP) if self.is_compressed else None
        self._compressed_bytes = len(self._held)
        self._bytes = 0

    def read(self, size: int) -> bytes:
        """The next bytes, `size` at most. Raises FileError."""
        if self.is_compressed:
            return self._decompress(size)
        if self._held:
            held, self._held = self._held[:size], self._held[size:]
            return held
        return self._source(size)

    def skip(self, size: int) -> None:
        """Goes on to a place that an earlier run came to."""
        while size and (piece := self.read(min(size, 2**20))):
            size -= len(piece)
        if size:
            raise FileError("changed", "the file is shorter than when it was read before")

    def _decompress(self, size: int) -> bytes:
        while True:
            if self._member.eof:
                # Several gzip files in one are one file; zeros may fill it up.
                rest = self._member.unused_data.lstrip(b"\0")
                while not rest and (piece := self._more()):
                    rest = piece.lstrip(b"\0")
                if not rest:
                    return b""
                self._member, self._held = isal_zlib.decompressobj(_GZIP), rest
            self._held = self._held or self._more()
            at_end = not self._held
            data = self._inflate(size)
            if data:
                return data
            if at_end and not self._member.eof:
                raise FileError("gzip_truncated", "the gzip file is cut off: its end is missing")

    def _inflate(self, size: int) -> bytes:
        try:
            data: bytes = self._member.decompress(self._held, size)
        except _GZIP_ERROR as error:
            raise FileError("gzip_corrupt", f"the gzip file is damaged: {error}") from error
        self._held = self._member.unconsumed_tail
        self._bytes += len(data)
        if self._bytes > max(EXPANSION_FREE_BYTES, self._max_expansion * self._compressed_bytes):
            raise FileError(
                "expands_too_much",
                f"the gzip file grows to more than {self._max_expansion} times its size (max_expansion)",
            )
        return data

    def _more(self) -> bytes:
        piece = self._source(COMPRESSED_BYTES_AT_ONCE)
        self._compressed_bytes += len(piece)
        return piece
