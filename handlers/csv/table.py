"""A file's table, once its header is known: how its rows are read, and the columns of the output."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Self

from handlers.csv.checks import Check
from handlers.csv.columns import FileFormat
from handlers.csv.dialect import StandIns, dialect_of, starts_a_line
from handlers.csv.distributions import distribution
from handlers.csv.footer import take_footer, without_last_lines
from handlers.csv.parsing import Parser
from handlers.csv.plan import named_width, plan_columns
from handlers.csv.row_checks import RowChecks
from handlers.csv.rows import ParsedRows, has_invalid_characters
from handlers.csv.text import BYTE_ORDER_MARK, plain_columns
from handlers.csv.unique import unique_columns


class Table:
    """Turns text into rows.

    `cr_ends_rows`: a lone CR is a line end, not text. `detected`: the delimiter is not configured. `header_line`,
    `header_text`: the number of the header's line and its text, or None and "".
    """

    def __init__(
        self,
        header: Sequence[str],
        delimiter: str,
        encoding: str,
        file_format: FileFormat,
        *,
        cr_ends_rows: bool,
        detected: bool,
        header_line: int | None,
        header_text: str,
    ) -> None:
        self.header = list(header)
        self.delimiter = delimiter
        self.cr_ends_rows = cr_ends_rows
        self.delimiter_is_detected = detected
        self.header_line = header_line
        self.header_text = header_text
        self._appended = BYTE_ORDER_MARK + header_text if header_text else ""
        self.plan = plan_columns(header, delimiter, file_format)
        self.outputs = self.plan.outputs
        self.unique = unique_columns([output.check.column for output in self.outputs])
        self._named = named_width(header)
        self._dialect = dialect_of(file_format, delimiter)
        self._parser = Parser(self._dialect, file_format.comment, self._appended, at_cr=cr_ends_rows)
        self._checks = RowChecks(header, self._dialect, encoding, file_format)
        self._footer = file_format.footer
        comments = () if file_format.comment is None else (file_format.comment,)
        self._special = (*comments, *self._footer.starts_with)

    @property
    def checks(self) -> list[Check]:
        """The checks of the output's columns."""
        return [output.check for output in self.outputs]

    def plain_columns(self, text: str, *, final: bool) -> tuple[list[list[str]], int] | None:
        """Return the columns of a text that needs no parser, and the characters read; None for any other text.

        This is the fast path: nearly all files without quotes take it.
        """
        if (
            (final and self._footer.last_rows)
            or has_invalid_characters(text)
            or not self._dialect.is_simple(text)
            or starts_a_line(self._special, text)
            or BYTE_ORDER_MARK in text
        ):
            return None
        columns = plain_columns(*self._dialect.with_single_delimiter(text, StandIns(text)), width=len(self.header))
        if columns is None or self.header[0] in columns[0] or any(map(any, columns[self._named :])):
            return None
        if held := self._footer.last_rows:
            # Each line is a row. These may be the footer.
            columns = [column[:-held] for column in columns]
            text = without_last_lines(text, held)
        return (columns, len(text)) if text else None

    def parse(self, before: Sequence[str], text: str, *, final: bool, full: bool) -> tuple[ParsedRows, str]:
        """Return the rows of the text that follows the lines `before`, and the text as it was parsed."""
        parsed, shown = self._parser.parse(before, text, final=final, full=full)
        self._checks.check(parsed, shown)
        take_footer(parsed, self._footer, final=final, full=full)
        if BYTE_ORDER_MARK in text:
            self._count_marks(parsed)
        return parsed, shown

    def _count_marks(self, parsed: ParsedRows) -> None:
        rows = range(len(parsed.rows))
        parsed.marks = sum(parsed.begins_with(position, (BYTE_ORDER_MARK,)) for position in rows)
        if self._appended:
            parsed.glued_headers = sum(
                self._appended in parsed.raw(position).lstrip(BYTE_ORDER_MARK) for position in rows
            )
            parsed.marks += parsed.glued_headers

    def report(self) -> dict[str, dict[str, Any]]:
        """Return the statistics of the output's columns by name."""
        report = {
            output.name: {"type": output.check.column.type, **output.statistics.report()} for output in self.outputs
        }
        for values in self.unique.values():
            report[values.column.name] |= values.report()
        return report

    def distributions(self) -> dict[str, dict[str, Any]]:
        """Return how the values of the output's columns are distributed, where that can be shown, by name."""
        found = {}
        for output in self.outputs:
            kind, statistics = output.check.column.type, output.statistics
            if shown := statistics.guarded(partial(distribution, kind, statistics.sample.values), None):
                found[output.name] = shown
        return found

    def state(self) -> dict[str, Any]:
        """Return the state for `restored`. JSON can represent it."""
        return {
            "header": self.header,
            "delimiter": self.delimiter,
            "cr_ends_rows": self.cr_ends_rows,
            "detected": self.delimiter_is_detected,
            "header_line": self.header_line,
            "header_text": self.header_text,
            "unique": [values.state() for values in self.unique.values()],
            "statistics": [output.statistics.state() for output in self.outputs],
        }

    def positions(self) -> dict[str, int]:
        """Return the positions of the output's columns in a row of the file, by name."""
        return {output.name: output.position for output in self.outputs if output.position is not None}

    @classmethod
    def restored(cls, state: Mapping[str, Any], encoding: str, file_format: FileFormat) -> Self:
        """Return the table of a `state`."""
        flags = {key: state[key] for key in ("cr_ends_rows", "detected", "header_line", "header_text")}
        table = cls(state["header"], state["delimiter"], encoding, file_format, **flags)
        for output, statistics in zip(table.outputs, state["statistics"], strict=True):
            output.statistics.restore(statistics)
        for values, saved in zip(table.unique.values(), state["unique"], strict=True):
            values.restore(saved)
        return table
