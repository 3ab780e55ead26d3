"""From bytes to lines: encodings, delimiters, headers."""

import codecs
import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from handlers.csv.columns import FileFormat, normalised

DELIMITERS = (",", ";", "\t", "|")
# A line, or a quoted cell with its line breaks, may be this long; block sizes end here, too.
LONGEST_ROW_BYTES = 8 * 2**20

csv.field_size_limit(LONGEST_ROW_BYTES)


class FileError(Exception):
    """The file as a whole cannot be read: `reason` is a code, the message is for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Encoding:
    """An encoding whose text can be turned back into its very bytes, so that places in them can be counted."""

    name: str
    errors: str
    """How undecodable bytes become characters (lone surrogates) that no good text has."""

    def decode(self, data: bytes, *, final: bool) -> str:
        """The text of the whole characters that `data` begins with; all of it when it is `final`."""
        text, used = _DECODERS[self.name](data, self.errors, final and not self._is_wide)
        if final and used < len(data):
            # Half a character of UTF-16 at the end of the file.
            text += "\udcff"
        return text

    def length(self, text: str) -> int:
        """How many bytes a text is."""
        if text.isascii():
            return len(text) * (2 if self._is_wide else 1)
        return len(text.encode(self.name, self.errors))

    @property
    def _is_wide(self) -> bool:
        return self.name.startswith("utf-16")


def _decoder(name: str) -> Callable[[bytes, str, bool], tuple[str, int]]:
    decode = codecs.getdecoder(name)
    return lambda data, errors, _final: decode(data, errors)


_DECODERS: dict[str, Callable[[bytes, str, bool], tuple[str, int]]] = {
    "utf-8": codecs.utf_8_decode,
    "utf-16-le": codecs.utf_16_le_decode,
    "utf-16-be": codecs.utf_16_be_decode,
    **{name: _decoder(name) for name in ("iso-8859-1", "iso-8859-15", "windows-1250", "windows-1251", "windows-1252")},
}
ENCODINGS = tuple(_DECODERS)

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


def encoding_named(name: str) -> Encoding:
    """One of ENCODINGS."""
    return Encoding(name, "surrogatepass" if name.startswith("utf-16") else "surrogateescape")


def detect_encoding(start: bytes, configured: str | None) -> tuple[Encoding, int]:
    """The encoding of a file that starts so, and the length of its byte order mark, which decides over the config."""
    for mark, name in _MARKS:
        if start.startswith(mark):
            return encoding_named(name), len(mark)
    return encoding_named(configured or "utf-8"), 0


def split_lines(text: str) -> list[str]:
    """Lines with their ends: CR LF, LF or CR; str.splitlines also breaks at characters that are part of cells."""
    return list(io.StringIO(text, newline=""))


def complete_lines(text: str) -> str:
    """`text` without the line that it ends in the middle of."""
    end = text.rfind("\n") + 1
    # A CR at the very end may be half a CR LF.
    return text[: end or text.rfind("\r", 0, max(len(text) - 1, 0)) + 1]


def plain_columns(text: str, delimiter: str, width: int) -> list[list[str]] | None:
    """The columns of whole lines without quotes that all have `width` cells; None where that does not hold.

    What csv.reader makes of them, in half of its time: no list is made for a row.
    """
    if width < 2 or '"' in text or not text.endswith("\n"):  # noqa: PLR2004  a blank line looks like a row of one cell
        return None
    rows, end = text.count("\n"), "\n"
    if "\r" in text:
        if not text.count("\r") == text.count("\r\n") == rows:
            return None
        end = "\r\n"
    # A row's end becomes a cell's end, and a line feed before the first cell of the next row.
    cells = text.replace(end, f"{delimiter}\n").split(delimiter)
    if len(cells) != rows * width + 1:
        return None
    firsts = "".join(cells[::width]).split("\n")
    # As many line feeds as rows, none of them elsewhere than there: every row is as wide as it should be.
    if len(firsts) != rows + 1:
        return None
    return [firsts[:-1], *(cells[position::width] for position in range(1, width))]


def read_header(lines: Sequence[str], file_format: FileFormat) -> tuple[str, list[str], int]:
    """The delimiter, the header's cells, and how many lines it takes.

    A delimiter that is not configured is the one that makes most of the configured columns' names, then most cells.
    Raises csv.Error when no delimiter makes a header of what there is.
    """
    names = known_names(file_format)
    candidates = []
    problem = csv.Error("empty")
    for delimiter in DELIMITERS if file_format.delimiter is None else (file_format.delimiter,):
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            header = next(reader)
        except csv.Error as error:
            problem = error
            continue
        known = sum(normalised(cell) in names for cell in header)
        candidates.append((known, len(header), delimiter, header, reader.line_num))
    if not candidates:
        raise problem
    _, _, delimiter, header, used = max(candidates, key=lambda candidate: candidate[:2])
    return delimiter, header, used


def known_names(file_format: FileFormat) -> dict[str, str]:
    """The configured column for each name, normalised, that it goes by."""
    return {normalised(name): column.name for column in file_format.columns for name in (column.name, *column.aliases)}
