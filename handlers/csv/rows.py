"""From lines to rows: parsing, and the problems of rows as a whole."""

import csv
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from handlers.csv.columns import FileFormat, Problem
from handlers.csv.text import split_lines, without_lone_cr

_invalid_character = re.compile("[\x00\ud800-\udfff]").search
_surrogate = re.compile("[\ud800-\udfff]").search
# The bytes that JSON escapes, without line ends: cells without quotes contain none.
_ESCAPED_BYTES = bytes({*range(32), *b'"\\'} - {*b"\r\n"})


@dataclass(kw_only=True)
class Rows(ABC):
    """The rows of a block, the problems found in them, and the blank lines among them, which are not rows."""

    problems: dict[int, list[Problem]] = field(default_factory=dict)
    blank: set[int] = field(default_factory=set)

    starts: Sequence[int]
    """The line at which each row begins, and the end of the last row."""

    @abstractmethod
    def raw(self, position: int) -> str:
        """Return a row as written in the file, without its final line end."""


@dataclass
class ParsedRows(Rows):
    """Rows parsed by csv.reader."""

    lines: Sequence[str]
    rows: list[list[str]]

    def raw(self, position: int) -> str:  # noqa: D102
        text = "".join(self.lines[self.starts[position] : self.starts[position + 1]])
        return text.removesuffix("\n").removesuffix("\r")

    def put_back(self, stand_in: str, character: str) -> None:
        """Replace the stand-in for a character that csv.reader would have misread."""
        self.lines = [line.replace(stand_in, character) for line in self.lines]
        self.rows = [[cell.replace(stand_in, character) for cell in row] for row in self.rows]

    def check(self, text: str, width: int, delimiter: str, encoding: str, file_format: FileFormat) -> None:
        """Find blank lines and the problems of whole rows. `text` contains all the rows."""
        self._check_empty(width, delimiter, file_format)
        self._check_widths(width, file_format)
        if has_invalid_characters(text):
            self._check_characters(encoding)

    def _check_empty(self, width: int, delimiter: str, file_format: FileFormat) -> None:
        """Find rows of nothing but delimiters, and of spaces if the number of cells is wrong, too."""
        has_width = list(map(width.__eq__, map(len, self.rows)))
        if width == 1 or (all(has_width) and all(map(any, self.rows))):
            return
        for position, row in enumerate(self.rows):
            if any(row) and (has_width[position] or any(map(str.strip, row))):
                continue
            # A quoted cell is written on purpose, even if it is empty.
            if not row or position in self.problems or self.raw(position).strip(f"{delimiter} \t"):
                continue
            if file_format.empty_rows == "skip":
                self.blank.add(position)
            else:
                self.problems[position] = [Problem(None, "empty_row", "the row has nothing but delimiters")]

    def _check_widths(self, width: int, file_format: FileFormat) -> None:
        lengths = list(map(len, self.rows))
        if lengths.count(width) == len(lengths):
            return
        for position, length in enumerate(lengths):
            if length == width or position in self.problems or position in self.blank:
                continue
            row = self.rows[position]
            if length == 0:
                self.blank.add(position)
            elif length < width and file_format.short_rows == "pad":
                row += [""] * (width - length)
            elif file_format.long_rows == "drop_empty_cells" and length > width and not any(row[width:]):
                del row[width:]
            else:
                reason, relation = ("too_few_cells", "fewer") if length < width else ("too_many_cells", "more")
                message = f"the row has {length} cells, {relation} than the header's {width}"
                self.problems[position] = [Problem(None, reason, message)]

    def _check_characters(self, encoding: str) -> None:
        for position, row in enumerate(self.rows):
            if position not in self.problems and (invalid := invalid_character("".join(row))):
                self.problems[position] = [
                    Problem(None, "nul", "the row has a NUL character")
                    if invalid == "\0"
                    else Problem(None, "undecodable", f"the row is not text in {encoding}"),
                ]


@dataclass
class ColumnRows(Rows):
    """Rows of one line each, stored by column."""

    columns: list[list[str]]
    delimiter: str

    def raw(self, position: int) -> str:  # noqa: D102
        return self.delimiter.join([column[position] for column in self.columns])


def has_invalid_characters(text: str) -> bool:
    """Return True if a text has NUL characters or undecodable bytes."""
    return "\0" in text or (not text.isascii() and _surrogate(text) is not None)


def invalid_character(text: str) -> str | None:
    """Return the first NUL character or undecodable byte of a text."""
    match = _invalid_character(text)
    return match and match[0]


def is_plain(text: str) -> bool:
    """Return True if no cell needs JSON escapes. Deleting bytes is five times as fast as a regular expression."""
    return text.isascii() and len(text.encode().translate(None, _ESCAPED_BYTES)) == len(text)


def parse_text(
    before: Sequence[str], text: str, delimiter: str, *, at_cr: bool, final: bool, full: bool
) -> tuple[ParsedRows, str]:
    """Parse the rows of the text that follows the lines `before`. Also return the text as it was parsed.

    `at_cr`: a lone CR ends a line. Otherwise, it is text.
    """
    text, stand_in = (text, "") if at_cr else without_lone_cr(text)
    parsed = parse_rows([*before, *split_lines(text, at_cr=at_cr)], len(before), delimiter, final=final, full=full)
    if stand_in:
        parsed.put_back(stand_in, "\r")
    return parsed, text


def parse_rows(lines: Sequence[str], start: int, delimiter: str, *, final: bool, full: bool) -> ParsedRows:
    """Parse lines from `start` on. A last row that is cut is left out, unless the block is the `final` one.

    `full`: the block has the maximum size, so a quote still open at its end is invalid.
    """
    rows: list[list[str]] = []
    try:
        # list.extend keeps the rows before an exception, and runs in C: five times as fast as a loop.
        rows.extend(csv.reader(lines[start:] if start else lines, delimiter=delimiter, strict=True))
    except csv.Error:
        return _parse_row_by_row(lines, start, delimiter, final=final, full=full)
    if len(rows) == len(lines) - start:
        return ParsedRows(lines, rows, starts=range(start, len(lines) + 1))
    return _parse_row_by_row(lines, start, delimiter, final=final, full=full)


def _parse_row_by_row(lines: Sequence[str], start: int, delimiter: str, *, final: bool, full: bool) -> ParsedRows:
    """Parse rows that span lines or have invalid quotes."""
    parsed = ParsedRows(lines, [], starts=(starts := [start]))
    end = len(lines)
    while starts[-1] < end:
        at = starts[-1]
        rest = iter(lines)
        rest.__setstate__(at)  # type: ignore[attr-defined]  # moves a list's iterator without iterating
        reader = csv.reader(rest, delimiter=delimiter, strict=True)
        try:
            for row in reader:
                parsed.rows.append(row)
                starts.append(at + reader.line_num)
        except csv.Error as error:
            row_is_cut = str(error) == "unexpected end of data" and not final
            if row_is_cut and not (full and starts[-1] == start):
                return parsed
            problem = Problem(None, "bad_quoting", f"the quotes are not valid CSV: {error}")
            parsed.problems[len(parsed.rows)] = [problem]
            parsed.rows.append([])
            starts.append(starts[-1] + 1)
            if row_is_cut:
                # A full block can hold millions of short rows: they are read in blocks of usual size.
                return parsed
    return parsed
