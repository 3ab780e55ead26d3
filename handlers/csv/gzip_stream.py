"""One gzip member, written in pieces. A stream continued from a state writes the same bytes as one that never stopped.

Several members in a row are valid, too, but common decompressors read only the first one, silently: zlib's own, Perl's,
Java's in some places. So the pieces share one header and one trailer (https://www.rfc-editor.org/rfc/rfc1952). Each
piece is compressed for itself and flushed to a whole byte, so no compressor has to be kept between runs.
"""

import struct
from collections.abc import Sequence

from isal import isal_zlib

LEVEL = 1
_RAW = -15
# No name, no time, so that the same rows give the same bytes; the system is unknown.
_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_LAST_BLOCK = b"\x03\0"


class GzipStream:
    """`write` pieces in order, then append `finish`. `state` lets another stream continue."""

    def __init__(self, state: Sequence[int] | None = None) -> None:
        self._crc, self._size = state or (0, 0)

    def write(self, data: bytes) -> bytes:
        """Return the bytes to append to the file for a piece of its content."""
        if not data:
            return b""
        start = b"" if self._size else _HEADER
        self._crc = isal_zlib.crc32(data, self._crc)
        self._size += len(data)
        compressor = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, _RAW)
        return b"".join([start, compressor.compress(data), compressor.flush(isal_zlib.Z_FULL_FLUSH)])

    def finish(self) -> bytes:
        """Return the end of the file; nothing if it has no content. The state does not change."""
        return _LAST_BLOCK + struct.pack("<2I", self._crc, self._size % 2**32) if self._size else b""

    def state(self) -> list[int]:
        """Return the state that lets another stream continue. JSON can represent it."""
        return [self._crc, self._size]
