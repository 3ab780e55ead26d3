"""The first rejected rows of a file, as a table in which the cells to blame are marked."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Column, Table
from rich.text import Text

from cli.core.terminal import TABLE, cell, inert
from handlers.csv.columns import FileFormat
from handlers.csv.engine import CsvEngine

SHOWN_ROWS = 10
_CONTEXT_CHARACTERS = 40
_LONGEST_MARK = 60
_MARK = "bold red"

Span = tuple[int, int]


class RejectedRows:
    """Keeps the first rejected rows of a file."""

    def __init__(self) -> None:
        self._rows: list[Mapping[str, Any]] = []

    def add(self, lines: bytes) -> None:
        """Take rejected rows as JSON Lines."""
        for line in lines.split(b"\n", SHOWN_ROWS)[: SHOWN_ROWS - len(self._rows)] if self.has_room else ():
            if line:
                self._rows.append(json.loads(line))

    @property
    def has_room(self) -> bool:
        """True until enough rows are kept."""
        return len(self._rows) < SHOWN_ROWS

    def table(self, engine: CsvEngine, file_format: FileFormat) -> Table | None:
        """Return the table, or None if no row was rejected."""
        if not self._rows or engine.table is None:
            return None
        title = f"Rejected rows (the first {len(self._rows)} of {engine.rejected})"
        table = Table("line", Column("row, >cell to blame<", overflow="fold"), "why", title=title, **TABLE)
        positions, delimiter = engine.table.positions(), engine.table.delimiter
        for row in self._rows:
            spans = cell_spans(row["raw"], delimiter, file_format)
            blamed = {positions.get(error["column"]) for error in row["errors"] if error["column"]}
            marked = [span for position, span in enumerate(spans) if position in blamed]
            why = ", ".join(f"{error['column'] or '(row)'}: {error['reason']}" for error in row["errors"])
            table.add_row(str(row["line"]), marked_row(row["raw"], marked), cell(why))
        return table


def cell_spans(raw: str, delimiter: str, file_format: FileFormat) -> list[Span]:
    """Return where each cell of a row begins and ends, quotes included."""
    quote = "" if file_format.quoting == "none" else re.escape(file_format.quote)
    escape = re.escape(file_format.escape or "")
    escaped = rf"{escape}.|" if escape else ""
    quoted = rf"{quote}(?:{escaped}{quote}{quote}|[^{quote}])*+{quote}?" if quote else ""
    start = rf" *{quoted}|" if file_format.skip_initial_space and quote else f"{quoted}|" if quote else ""
    find = re.compile(rf"(?:{start})(?:{escaped}(?!{re.escape(delimiter)}).)*+", re.DOTALL)
    spans, position = [], 0
    while True:
        match = find.match(raw, position)
        end = match.end() if match else position
        spans.append((position, end))
        if end >= len(raw):
            return spans
        position = end + len(delimiter)


def marked_row(raw: str, spans: Sequence[Span]) -> Text:
    """Return a row's text with marks around some of its cells, and not much of what is far from them."""
    text, end = Text(), 0
    for start, stop in spans:
        text.append(_between(raw[end:start], is_first=end == 0))
        shown = raw[start:stop]
        text.append(f">{inert(shown[:_LONGEST_MARK])}{'...' if len(shown) > _LONGEST_MARK else ''}<", style=_MARK)
        end = stop
    rest = raw[end:]
    limit = _CONTEXT_CHARACTERS if spans else 2 * _CONTEXT_CHARACTERS
    text.append(inert(rest[:limit]) + ("..." if len(rest) > limit else ""), style="" if spans else _MARK)
    return text


def _between(text: str, *, is_first: bool) -> str:
    """Return a text before a mark, its middle left out if it is long; of the first one, its beginning."""
    if is_first and len(text) > _CONTEXT_CHARACTERS:
        return "..." + inert(text[-_CONTEXT_CHARACTERS:])
    if len(text) > 2 * _CONTEXT_CHARACTERS:
        return f"{inert(text[:_CONTEXT_CHARACTERS])}...{inert(text[-_CONTEXT_CHARACTERS:])}"
    return inert(text)
