"""From lines to rows."""

import csv
from collections.abc import Iterator, Sequence

from handlers.csv.columns import Problem
from handlers.csv.dialect import Dialect, starts_a_line
from handlers.csv.rows import ParsedRows
from handlers.csv.text import BYTE_ORDER_MARK, split_lines


class Parser:
    """Parses the text of blocks.

    `appended`: how another file begins that may have been appended, its byte order mark and header; "" if unknown.
    """

    def __init__(self, dialect: Dialect, comment: str | None, appended: str, *, at_cr: bool) -> None:
        self._dialect = dialect
        self._comment = comment
        self._at_cr = at_cr
        self._appended = appended
        # Lines that begin with one of these are not passed to csv.reader as they are.
        self._special = (BYTE_ORDER_MARK,) if comment is None else (BYTE_ORDER_MARK, comment)

    def parse(self, before: Sequence[str], text: str, *, final: bool, full: bool) -> tuple[ParsedRows, str]:
        """Parse the rows of the text that follows the lines `before`. Also return the text as it was parsed.

        A last row that is cut is left out, unless the block is the `final` one.
        `full`: the block has the maximum size, so a quote still open at its end is invalid.
        """
        prepared, delimiter, stand_ins = self._dialect.prepare(text, self._appended, at_cr=self._at_cr)
        lines = [*before, *split_lines(prepared, at_cr=self._at_cr)]
        # If the last line end is escaped, the last row is cut.
        is_cut = not final and len(lines) > len(before) and not lines[-1].endswith(("\n", "\r"))
        cut = [lines.pop()] if is_cut else []
        if starts_a_line(self._special, prepared, after=("\n", "\r") if self._at_cr else ("\n",)):
            parsed = self._row_by_row(lines, len(before), delimiter, final=final, full=full)
        else:
            parsed = self._at_once(lines, len(before), delimiter, final=final, full=full)
        if stand_ins.are_used:
            parsed.lines = [*parsed.lines, *cut]
            parsed.put_back(stand_ins, at_cr=self._at_cr)
        return parsed, prepared + ("\0" if stand_ins.has_nul else "")

    def _at_once(self, lines: list[str], start: int, delimiter: str, *, final: bool, full: bool) -> ParsedRows:
        """Parse lines that most often are a row each."""
        rows: list[list[str]] = []
        try:
            # list.extend keeps the rows before an exception, and runs in C: five times as fast as a loop.
            rows.extend(self._dialect.reader(lines[start:] if start else lines, delimiter))
        except csv.Error:
            return self._row_by_row(lines, start, delimiter, final=final, full=full)
        if len(rows) == len(lines) - start:
            return ParsedRows(lines, rows, starts=range(start, len(lines) + 1))
        return self._row_by_row(lines, start, delimiter, final=final, full=full)

    def _row_by_row(self, lines: list[str], start: int, delimiter: str, *, final: bool, full: bool) -> ParsedRows:
        """Parse rows that span lines or have invalid quotes, with special lines between them."""
        parsed = ParsedRows(lines, [], starts=(starts := [start]))
        readable = list(lines)
        while starts[-1] < len(lines):
            try:
                self._read(parsed, starts, readable, delimiter)
            except csv.Error as error:
                row_is_cut = str(error) == "unexpected end of data" and not final
                if row_is_cut and not (full and starts[-1] == start):
                    return parsed
                parsed.problems[len(parsed.rows)] = [_bad_quoting(error)]
                parsed.rows.append([])
                starts.append(starts[-1] + 1)
                if row_is_cut:
                    # A full block can hold millions of short rows: they are read in blocks of usual size.
                    return parsed
        return parsed

    def _read(self, parsed: ParsedRows, starts: list[int], lines: list[str], delimiter: str) -> None:
        """Read the rows after those that are parsed, up to the end. Raises csv.Error at an invalid one."""
        at = starts[-1]
        rest = iter(lines)
        rest.__setstate__(at)  # type: ignore[attr-defined]  # moves a list's iterator without iterating
        reader = self._dialect.reader(rest, delimiter)
        at += self._pass_special(parsed, starts, lines, rest)
        for row in reader:
            parsed.rows.append(row)
            starts.append(at + reader.line_num)
            at += self._pass_special(parsed, starts, lines, rest)

    def _pass_special(self, parsed: ParsedRows, starts: list[int], lines: list[str], rest: Iterator[str]) -> int:
        """Pass comments, and remove a byte order mark from the next line. Return the number of comments."""
        position = first = starts[-1]
        while position < len(lines) and lines[position].startswith(self._special):
            lines[position] = lines[position].lstrip(BYTE_ORDER_MARK)
            if self._comment is None or not lines[position].startswith(self._comment):
                break
            next(rest)
            parsed.skipped[len(parsed.rows)] = "comment"
            parsed.rows.append([])
            position += 1
            starts.append(position)
        return position - first


def _bad_quoting(error: csv.Error) -> Problem:
    advice = "if quotes are text in this file, set input.quoting to none"
    return Problem(None, "bad_quoting", f"the quotes are not valid CSV: {error}; {advice}")
