"""Delimiters, quotes and escapes of a file."""

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

from handlers.csv.columns import EscapeStyle, FileFormat
from handlers.csv.text import BYTE_ORDER_MARK, FileError

if TYPE_CHECKING:
    import _csv

# Unicode reserves the first range for use inside a program, and the second for private use.
_STAND_INS = (range(0xFDD0, 0xFDF0), range(0xF0000, 0xFFFFE))
# Of a run of CRs, all stand before the LF, or all are lone: a look ahead from each would take quadratic time.
_crs = re.compile(r"\r+(\n?)").sub
# What a letter after a backslash means, by style. Any other character means itself.
_SEQUENCES: Mapping[EscapeStyle, Mapping[str, str]] = {
    "mysql": {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a"},
    "postgres": {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"},
}


class StandIns:
    """Characters that replace what csv.reader would misread in a text. None of them occurs in the text."""

    def __init__(self, text: str) -> None:
        self._free = (character for character in map(chr, chain(*_STAND_INS)) if character not in text)
        self._characters: dict[str, str] = {}
        self._cells: dict[int, str] = {}
        self._raw: dict[int, str] = {}
        self._null: str | None = None

    def of(self, raw: str, cell: str, *, is_null: bool = False) -> str:
        """Return the character that replaces `raw` in the text, and becomes `cell` in a cell.

        `is_null`: a cell of nothing else is null.
        """
        if raw not in self._characters:
            character = next(self._free, None)
            if character is None:
                raise FileError("not_text", "the file uses all characters of Unicode: it is not text")
            self._characters[raw] = character
            self._cells[ord(character)], self._raw[ord(character)] = cell, raw
            if is_null:
                self._null = character
        return self._characters[raw]

    def put_back(self, rows: list[list[str]]) -> None:
        """Replace the characters in cells by what they mean. Most rows have none, so they are looked for first."""
        find = re.compile(f"[{''.join(self._characters.values())}]").search
        for row in rows:
            if find("".join(row)):
                row[:] = ["" if cell == self._null else cell.translate(self._cells) for cell in row]

    def raw(self, text: str) -> str:
        """Return a text as it is written in the file."""
        return text.translate(self._raw) if self._raw else text

    def has_line_ends(self, *, at_cr: bool) -> bool:
        """Return True if one of the characters stands for a line end. `at_cr`: a lone CR is one."""
        return any("\n" in raw or (at_cr and "\r" in raw) for raw in self._characters)

    @property
    def has_nul(self) -> bool:
        """True if one of the characters means NUL."""
        return "\0" in self._cells.values()

    @property
    def are_used(self) -> bool:
        """True if there are any."""
        return bool(self._characters)


@dataclass(frozen=True)
class Dialect:
    """Delimiter, quote and escape rules of a file."""

    delimiter: str
    quote: str = '"'
    """Empty: quotes are text."""
    escape: str = ""
    """Empty: no character is an escape."""
    escape_style: EscapeStyle = "literal"
    skip_initial_space: bool = False

    def reader(self, lines: Iterable[str], delimiter: str) -> "_csv.Reader":
        """Return csv.reader for prepared lines. `delimiter`: that returned by `prepare`."""
        return csv.reader(
            lines,
            delimiter=delimiter,
            quotechar=self.quote or None,
            quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
            skipinitialspace=self.skip_initial_space,
            strict=True,
        )

    def prepare(self, text: str, appended: str, *, at_cr: bool) -> tuple[str, str, StandIns]:
        """Return a text that csv.reader can read, its delimiter, and the stand-ins in it.

        `appended`: a text that is not part of a row if it stands at the end of its line; "" for none.
        `at_cr`: a lone CR ends a line. Otherwise, it is text.
        """
        stand_ins = StandIns(text)
        if appended and appended in text:
            quote = re.escape(self.quote)
            glued = re.compile(rf"(?<=[^\r\n{BYTE_ORDER_MARK}])((?:{quote})?){re.escape(appended)}(?=[\r\n]|\Z)")
            # Nothing may follow a closing quote, so the stand-in comes before it.
            text = glued.sub(lambda match: stand_ins.of(appended, "") + match[1], text)
        if self.escape and self.escape in text:
            text = self._escape_pairs.sub(lambda match: self._escaped(match, stand_ins), text)
        text, delimiter = self.with_single_delimiter(text, stand_ins)
        if not at_cr and text.count("\r") != text.count("\r\n"):
            lone = stand_ins.of("\r", "\r")
            text = _crs(lambda match: match[0] if match[1] else lone * len(match[0]), text)
        return text, delimiter, stand_ins

    def with_single_delimiter(self, text: str, stand_ins: StandIns) -> tuple[str, str]:
        """Return a text with a delimiter of one character, and the delimiter."""
        if len(self.delimiter) == 1:
            return text, self.delimiter
        delimiter = stand_ins.of(self.delimiter, self.delimiter)
        return text.replace(self.delimiter, delimiter), delimiter

    @cached_property
    def _escape_pairs(self) -> re.Pattern[str]:
        return re.compile(f"{re.escape(self.escape)}({re.escape(self.delimiter)}|\r\n|.)", re.DOTALL)

    def _escaped(self, match: re.Match[str], stand_ins: StandIns) -> str:
        pair, text = match[0], match[1]
        if text in (self.delimiter, self.quote, self.escape, "\n", "\r", "\r\n"):
            return stand_ins.of(pair, text)
        if self.escape_style == "literal":
            return pair
        return stand_ins.of(pair, _SEQUENCES[self.escape_style].get(text, text), is_null=text == "N")

    def is_simple(self, text: str) -> bool:
        """Return True if a text is split right at its line ends and delimiters alone."""
        return (
            not (self.quote and self.quote in text)
            and not (self.escape and self.escape in text)
            and not (self.skip_initial_space and starts_a_line((" ",), text, after=("\n", self.delimiter)))
        )


def dialect_of(file_format: FileFormat, delimiter: str) -> Dialect:
    """Return the dialect of files whose cells are separated by `delimiter`."""
    return Dialect(
        delimiter,
        "" if file_format.quoting == "none" else file_format.quote,
        file_format.escape or "",
        file_format.escape_style,
        file_format.skip_initial_space,
    )


def starts_a_line(starts: Iterable[str], text: str, *, after: Iterable[str] = ("\n",)) -> bool:
    """Return True if the text or a line in it begins with one of the texts. Two finds cost less than a pattern."""
    return any(text.startswith(start) or any(before + start in text for before in after) for start in starts)
