"""Finding and reading the header of a file."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from handlers.csv.columns import FileFormat
from handlers.csv.dialect import Dialect, dialect_of
from handlers.csv.plan import Names
from handlers.csv.rows import invalid_character
from handlers.csv.text import BYTE_ORDER_MARK, DELIMITERS, FileError, ends_with_cr, split_lines

# With `header: find`, the header is one of these lines.
LINES_SEARCHED = 1_000
# A header whose quoted cells contain more line breaks is not read.
_LINES_OF_HEADER = 100

_separator_line = re.compile(r'"?sep=([^"\r\n\0])"?[\r\n]*', re.IGNORECASE).fullmatch


@dataclass(frozen=True)
class Header:
    """The header of a file."""

    cells: list[str]
    delimiter: str
    line: int | None
    """The number of its first line, from 1; None without a header."""
    text: str
    """Its text in the file."""
    lines: int
    """Lines up to its end."""
    ends_with_cr: bool
    """A lone CR ends it. Without a header: CRs are the only line ends, for a CR in the first row may be text."""
    delimiter_is_detected: bool


@dataclass(frozen=True)
class _Candidate:
    """A line read with one of the possible delimiters."""

    cells: list[str]
    dialect: Dialect
    lines: int


class HeaderReader:
    """Finds the header in the lines at the start of a file. `at_cr`: lone CRs end them."""

    def __init__(self, file_format: FileFormat, encoding: str, *, at_cr: bool) -> None:
        self._format = file_format
        self._encoding = encoding
        self._at_cr = at_cr
        self._names = Names(file_format)
        self._delimiters: Sequence[str] = DELIMITERS if file_format.delimiter is None else (file_format.delimiter,)

    def read(self, lines: Sequence[str], *, final: bool) -> Header | None:
        """Return the header, or None if more lines are needed. `final`: there are no more. Raises FileError."""
        start = self._next_line(lines, self._format.skip_lines)
        if start < len(lines) and (setting := _separator_line(lines[start])):
            self._delimiters = (setting[1],)
            start = self._next_line(lines, start + 1)
        if start >= len(lines) and final:
            raise FileError(*self._nothing_found())
        if start >= len(lines) or (self._format.header == "none" and self._at_cr and not final):
            return None
        self._check_characters(lines[start])
        found = self._found(lines, start) if self._format.header == "find" else self._first(lines, start, final=final)
        if found is None and final:
            raise FileError(*self._nothing_found())
        return found

    def _next_line(self, lines: Sequence[str], start: int) -> int:
        """Return the first line from `start` on that is neither blank nor a comment."""
        comment = self._format.comment
        for position, line in enumerate(islice(lines, start, None), start):
            text = line.removeprefix(BYTE_ORDER_MARK)
            if text.strip("\r\n") and not (comment and text.startswith(comment)):
                return position
        return len(lines)

    def _first(self, lines: Sequence[str], start: int, *, final: bool) -> Header | None:
        try:
            candidates = self._candidates(lines, start)
        except csv.Error as error:
            if final:
                raise FileError("no_header", f"the header line cannot be read: {error}") from error
            return None
        if self._format.header == "none":
            return self._by_position(candidates, start)
        best = max(candidates, key=lambda each: (self._names.count(each.cells), len(each.cells)))
        return self._header(best, lines, start)

    def _by_position(self, candidates: Sequence[_Candidate], start: int) -> Header:
        """Return the header of a file without one: the configured columns."""
        names = [column.name for column in self._format.columns]
        fitting = [each for each in candidates if len(each.cells) == len(names)]
        if len(fitting) > 1 and len(names) > 1:
            raise FileError(
                "ambiguous_delimiter",
                f"the first row has {len(names)} cells with each of the delimiters "
                f"{', '.join(repr(each.dialect.delimiter) for each in fitting)}: set input.delimiter",
            )
        best = fitting[0] if fitting else max(candidates, key=lambda each: len(each.cells))
        if len(best.cells) == len(names) and set(self._names.of(best.cells)) == set(names):
            # A header all the same: RowChecks finds it among the rows, for it is repeated there.
            if self._names.of(best.cells) != names:
                raise FileError(
                    "unexpected_header",
                    f"the file has a header line, with the columns in another order: {', '.join(best.cells)[:1_000]}; "
                    "set input.header to first",
                )
            names = best.cells
        return Header(names, best.dialect.delimiter, None, "", start, self._at_cr, len(self._delimiters) > 1)

    def _found(self, lines: Sequence[str], start: int) -> Header | None:
        """Return the first line that has the names of all required columns."""
        for position in range(start, min(len(lines), self._format.skip_lines + LINES_SEARCHED)):
            try:
                candidates = self._candidates(lines, position)
            except csv.Error:
                continue
            if complete := [each for each in candidates if self._names.has_required(each.cells)]:
                best = max(complete, key=lambda each: self._names.count(each.cells))
                self._check_characters(lines[position])
                return self._header(best, lines, position)
        return None

    def _header(self, best: _Candidate, lines: Sequence[str], start: int) -> Header:
        end = start + best.lines
        cr = ends_with_cr(lines, end - 1)
        text = "".join(lines[start:end]).strip(f"\r\n{BYTE_ORDER_MARK}")
        return Header(best.cells, best.dialect.delimiter, start + 1, text, end, cr, len(self._delimiters) > 1)

    def _candidates(self, lines: Sequence[str], start: int) -> list[_Candidate]:
        """Read a line with each delimiter. Raises csv.Error if it is readable with none."""
        text = "".join(lines[start : start + _LINES_OF_HEADER]).lstrip(BYTE_ORDER_MARK)
        candidates = []
        problem = csv.Error("the line is empty")
        if not text:
            raise problem
        for delimiter in self._delimiters:
            dialect = dialect_of(self._format, delimiter)
            prepared, separator, stand_ins = dialect.prepare(text, "", at_cr=self._at_cr)
            prepared_lines = split_lines(prepared, at_cr=self._at_cr)
            reader = dialect.reader(prepared_lines, separator)
            try:
                cells = next(reader)
            except csv.Error as error:
                problem = error
                continue
            if stand_ins.are_used:
                stand_ins.put_back([cells])
            used = split_lines(stand_ins.raw("".join(prepared_lines[: reader.line_num])), at_cr=self._at_cr)
            candidates.append(_Candidate(cells, dialect, len(used)))
        if not candidates:
            raise problem
        return candidates

    def _check_characters(self, line: str) -> None:
        if invalid := invalid_character(line):
            raise FileError(
                "not_text",
                "the first line has NUL characters: a binary file, or UTF-16 without a byte order mark"
                if invalid == "\0"
                else f"the first line is not text in {self._encoding}: a binary file, or a file in an encoding "
                "that is not in input.encodings",
            )

    def _nothing_found(self) -> tuple[str, str]:
        if self._format.header == "none":
            return "empty_file", "the file has no rows"
        if self._format.header == "find":
            return "missing_columns", (
                f"none of the first {LINES_SEARCHED:,} lines has the names of all required columns: "
                f"{', '.join(self._names.required)} (input.header is find)"
            )
        return "no_header", "the file has no header line"
