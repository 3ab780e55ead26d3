"""Rows, and the lines among them that are none."""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import Literal

from handlers.csv.columns import Problem
from handlers.csv.dialect import StandIns
from handlers.csv.text import split_lines

_invalid_character = re.compile("[\x00\ud800-\udfff]").search
_surrogate = re.compile("[\ud800-\udfff]").search
# The bytes that JSON escapes, except line ends: a text without quotes has none in its cells.
_ESCAPED_BYTES = bytes({*range(32), *b'"\\'} - {*b"\r\n"})

# Why lines are not a row.
NotARow = Literal["blank", "comment", "footer", "repeated_header"]


@dataclass(kw_only=True)
class Rows(ABC):
    """The rows of a block, and the problems found in them."""

    problems: dict[int, list[Problem]] = field(default_factory=dict)
    skipped: dict[int, NotARow] = field(default_factory=dict)
    """What is not a row, by position."""

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
    marks: int = 0
    """Byte order marks before rows and headers."""
    glued_headers: int = 0
    """Headers of appended files that stand at the end of a row, because the file before had no line end there."""
    stand_ins: StandIns | None = None
    """Characters that the lines have instead of text of the file."""

    def text(self, start: int, end: int | None = None) -> str:
        """Return some lines as written in the file."""
        text = "".join(self.lines[start:end])
        return self.stand_ins.raw(text) if self.stand_ins else text

    def raw(self, position: int) -> str:  # noqa: D102
        text = self.text(self.starts[position], self.starts[position + 1])
        return text.removesuffix("\n").removesuffix("\r")

    def begins_with(self, position: int, texts: tuple[str, ...]) -> bool:
        """Return True if a row begins with one of the texts."""
        start = self.starts[position]
        return self.text(start, start + 1).startswith(texts)

    def put_back(self, stand_ins: StandIns, *, at_cr: bool) -> None:
        """Replace stand-ins by what they stand for. An escaped line end makes two lines of one."""
        stand_ins.put_back(self.rows)
        self.stand_ins = stand_ins
        if not stand_ins.has_line_ends(at_cr=at_cr):
            return
        self.stand_ins = None
        lines = [split_lines(stand_ins.raw(line), at_cr=at_cr) for line in self.lines]
        ends = [0, *accumulate(map(len, lines))]
        self.starts = [ends[start] for start in self.starts]
        self.lines = list(chain.from_iterable(lines))

    def cut(self, position: int) -> None:
        """Remove the rows from a position on."""
        del self.rows[position:]
        self.starts = self.starts[: position + 1]
        self.problems = {each: problems for each, problems in self.problems.items() if each < position}
        self.skipped = {each: kind for each, kind in self.skipped.items() if each < position}

    def reject_first(self, problem: Problem) -> None:
        """Reject what stands first, even if it is a blank line."""
        self.skipped.pop(0, None)
        self.problems[0] = [problem]

    def skip(self, position: int, kind: NotARow) -> None:
        """Mark lines that are not a row."""
        self.skipped[position] = kind
        self.problems.pop(position, None)


@dataclass
class ColumnRows(Rows):
    """Rows of one line each, stored by column."""

    columns: list[list[str]]
    delimiter: str

    def raw(self, position: int) -> str:  # noqa: D102
        return self.delimiter.join([column[position] for column in self.columns])


def has_surrogates(text: str) -> bool:
    """Return True if a text has undecodable bytes."""
    return not text.isascii() and _surrogate(text) is not None


def has_invalid_characters(text: str) -> bool:
    """Return True if a text has NUL characters or undecodable bytes."""
    return "\0" in text or has_surrogates(text)


def invalid_character(text: str) -> str | None:
    """Return the first NUL character or undecodable byte of a text."""
    match = _invalid_character(text)
    return match and match[0]


def is_plain(text: str, quote: str) -> bool:
    """Return True if no cell needs JSON escapes. Deleting bytes is five times as fast as a regular expression."""
    if quote and quote in text:
        return False
    return text.isascii() and len(text.encode().translate(None, _ESCAPED_BYTES)) == len(text)
