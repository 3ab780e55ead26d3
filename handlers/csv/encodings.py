"""Encodings of files.

The engine reads UTF-8, UTF-16 and the common encodings of one byte a character as they are: they turn text back into
exactly the same bytes, so offsets can be computed. A file in any other encoding is converted to UTF-8 before the engine
reads it, and a run that continues such a file converts its start again.
"""

import codecs
from collections.abc import Callable
from dataclasses import dataclass

from handlers.csv.text import BYTE_ORDER_MARK, FileError

_BYTES_PER_PIECE = 2**16
_LONGEST_MARK = 3

_Decoder = Callable[[bytes, str, bool], tuple[str, int]]


def _decoder(name: str) -> _Decoder:
    decode = codecs.getdecoder(name)
    return lambda data, errors, _final: decode(data, errors)


_DECODERS: dict[str, _Decoder] = {
    "utf-8": codecs.utf_8_decode,
    "utf-16-le": codecs.utf_16_le_decode,
    "utf-16-be": codecs.utf_16_be_decode,
    **{name: _decoder(name) for name in ("iso-8859-1", "iso-8859-15", "windows-1250", "windows-1251", "windows-1252")},
}
DIRECT_ENCODINGS = tuple(_DECODERS)
_DIRECT = {codecs.lookup(name).name: name for name in DIRECT_ENCODINGS}
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


@dataclass(frozen=True)
class Encoding:
    """The encoding of a file."""

    name: str
    codec: str
    """The encoding that the engine reads: that of the file, or UTF-8 after a conversion."""
    errors: str
    """The error handler that decodes invalid bytes to lone surrogates, which valid text does not contain."""

    @property
    def is_converted(self) -> bool:
        """True if the file is converted to UTF-8."""
        return self.name not in _DECODERS

    def decode(self, data: bytes, *, final: bool) -> str:
        """Decode the complete characters of `data`; if it is `final`, all of its bytes."""
        text, used = _DECODERS[self.codec](data, self.errors, final and not self._is_wide)
        if final and used < len(data):
            # Half a character of UTF-16 at the end of the file.
            text += "\udcff"
        return text

    def length(self, text: str) -> int:
        """Return the length of a text in bytes."""
        if text.isascii():
            return len(text) * (2 if self._is_wide else 1)
        return len(text.encode(self.codec, self.errors))

    @property
    def _is_wide(self) -> bool:
        return self.codec.startswith("utf-16")


def encoding_named(name: str) -> Encoding:
    """Return an encoding by a name that Python knows."""
    direct = _DIRECT.get(codecs.lookup(name).name)
    if direct is None:
        return Encoding(name, "utf-8", "surrogatepass")
    return Encoding(direct, direct, "surrogatepass" if direct.startswith("utf-16") else "surrogateescape")


UTF_8 = encoding_named("utf-8")


def marked_encoding(start: bytes) -> tuple[Encoding, int] | None:
    """Return the encoding of a file's byte order mark and the length of the mark, or None without a mark."""
    for mark, name in _MARKS:
        if start.startswith(mark):
            return encoding_named(name), len(mark)
    return None


class Conversion:
    """Converts the content of a file to UTF-8, unless it begins with a byte order mark, which has precedence."""

    def __init__(self, read: Callable[[int], bytes], encoding: Encoding) -> None:
        self._source = read
        self._ended = False
        self._has_text = False
        self._buffer = bytearray()
        while len(self._buffer) < _LONGEST_MARK and (piece := read(_LONGEST_MARK - len(self._buffer))):
            self._buffer += piece
        self._decoder: codecs.IncrementalDecoder | None = None
        # UTF-32 has a mark that begins like that of UTF-16.
        if encoding.name.lower().startswith("utf-32") or not marked_encoding(bytes(self._buffer)):
            self._decoder = codecs.getincrementaldecoder(encoding.name)("lone_surrogates")
            start, self._buffer = bytes(self._buffer), bytearray()
            self._convert(start, self._decoder, final=False)

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most `size`; b"" only at the end."""
        if self._decoder is None:
            if not self._buffer:
                return self._source(size)
        else:
            while len(self._buffer) < size and not self._ended:
                piece = self._source(_BYTES_PER_PIECE)
                self._ended = not piece
                self._convert(piece, self._decoder, final=self._ended)
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _convert(self, piece: bytes, decoder: codecs.IncrementalDecoder, *, final: bool) -> None:
        try:
            text = decoder.decode(piece, final=final)
        except UnicodeError as error:
            raise FileError("not_text", f"the file cannot be decoded: {error}") from error
        if text and not self._has_text:
            text = text.removeprefix(BYTE_ORDER_MARK)
            self._has_text = True
        self._buffer += text.encode("utf-8", "surrogatepass")


def _lone_surrogates(error: UnicodeError) -> tuple[str, int]:
    """Decode invalid bytes to lone surrogates. `surrogateescape` does so only with bytes from 128 on."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error("lone_surrogates", _lone_surrogates)
