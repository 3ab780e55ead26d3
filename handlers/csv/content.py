"""A file's bytes, decompressed if they begin with the magic number of gzip (whatever the file's name).

If the engine cannot read the file's encoding, they are converted to UTF-8.
"""

import zlib
from collections.abc import Callable
from typing import Any

from isal import isal_zlib

from handlers.csv.encodings import UTF_8, Conversion, Encoding
from handlers.csv.text import FileError

GZIP_MAGIC = b"\x1f\x8b"
COMPRESSED_BYTES_PER_READ = 2**17
# The limit of expansion does not apply below this size.
EXPANSION_FREE_BYTES = 64 * 2**20
# A gzip can hold little for its size (empty members and blocks, padding): above this, at least half its size.
OVERHEAD_FREE_BYTES = 16 * 2**20
_GZIP = 16 + zlib.MAX_WBITS
_GZIP_ERROR: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # isal's stubs say object


class Content:
    """The content of a file whose `read(n)` returns at most n bytes, and b"" only at the end.

    `is_start`: `read` begins at the start of the file; otherwise, it continues a file that is read as it is.
    isal decompresses in a fifth of zlib's time.
    """

    def __init__(
        self, read: Callable[[int], bytes], max_expansion: int, encoding: Encoding = UTF_8, *, is_start: bool = True
    ) -> None:
        self._source = read
        self._max_expansion = max_expansion
        self._held = b""
        while is_start and len(self._held) < len(GZIP_MAGIC) and (piece := read(len(GZIP_MAGIC) - len(self._held))):
            self._held += piece
        self.is_compressed = self._held == GZIP_MAGIC
        self._member: Any = isal_zlib.decompressobj(_GZIP) if self.is_compressed else None
        self._compressed_bytes = len(self._held)
        self._bytes = 0
        self._ended = False
        self.trailing_bytes = 0
        """Bytes after the compressed content, once it has been read."""
        self.is_converted = encoding.is_converted
        self._conversion = Conversion(self._read, encoding) if self.is_converted else None

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most `size`; b"" only at the end. Raises FileError."""
        return self._conversion.read(size) if self._conversion else self._read(size)

    def _read(self, size: int) -> bytes:
        if self.is_compressed:
            return self._decompress(size)
        if self._held:
            held, self._held = self._held[:size], self._held[size:]
            return held
        return self._source(size)

    def skip(self, size: int) -> None:
        """Skip the bytes read by an earlier run. Raises FileError."""
        while size and (piece := self.read(min(size, 2**20))):
            size -= len(piece)
        if size:
            raise FileError("changed", "the file is shorter than when it was last read")

    def _decompress(self, size: int) -> bytes:
        while True:
            if self._ended:
                return b""
            if self._member.eof:
                if not (rest := self._next_member()):
                    return b""
                self._member, self._held = isal_zlib.decompressobj(_GZIP), rest
            self._held = self._held or self._more()
            at_end = not self._held
            data = self._inflate(size)
            if data:
                return data
            if at_end and not self._member.eof:
                raise FileError("gzip_truncated", "the gzip file is truncated: its end is missing")

    def _next_member(self) -> bytes:
        """Return the start of the next member of a gzip file; b"" at the end. Anything else is counted, not read."""
        rest: bytes = self._member.unused_data
        self.trailing_bytes = 0
        while True:
            start = rest.lstrip(b"\0")
            self.trailing_bytes += len(rest) - len(start)
            if start.startswith(GZIP_MAGIC):
                return start
            # Half of the magic number may still become a whole one.
            if start not in (b"", GZIP_MAGIC[:1]) or not (piece := self._more()):
                break
            rest = start + piece
        self.trailing_bytes += len(start)
        while piece := self._more():
            self.trailing_bytes += len(piece)
        self._ended = True
        return b""

    def _inflate(self, size: int) -> bytes:
        try:
            data: bytes = self._member.decompress(self._held, size)
        except _GZIP_ERROR as error:
            raise FileError("gzip_corrupt", f"the gzip file is corrupt: {error}") from error
        self._held = self._member.unconsumed_tail
        self._bytes += len(data)
        if self._bytes > max(EXPANSION_FREE_BYTES, self._max_expansion * self._compressed_bytes):
            raise FileError(
                "expands_too_much",
                f"the gzip file expands to more than {self._max_expansion} times its size (input.max_expansion)",
            )
        return data

    def _more(self) -> bytes:
        piece = self._source(COMPRESSED_BYTES_PER_READ)
        self._compressed_bytes += len(piece)
        if self._compressed_bytes > OVERHEAD_FREE_BYTES + 2 * self._bytes:
            said = "the gzip file holds less than half of its own size: it has many empty or tiny parts, or padding"
            raise FileError("gzip_corrupt", f"{said}; compress the content as a whole")
        return piece
