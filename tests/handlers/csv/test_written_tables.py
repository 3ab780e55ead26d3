"""Tables written in any shape that the options describe are read back, value for value."""

import io
import json
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from handlers.csv import engine as engine_module
from handlers.csv.columns import Column, FileFormat, Footer
from handlers.csv.content import Content
from handlers.csv.engine import CsvEngine, blocks

COLUMNS = (Column("first", required=True), Column("second"))
Table = list[tuple[str, str]]


@dataclass(frozen=True)
class Shape:
    """Format of a written table."""

    delimiter: str
    quote: str
    escape: bool
    space: bool
    end: str
    header: str
    encoding: str
    last_rows: int
    noise: tuple[str, ...]
    """Lines that are no rows, one after each row."""

    def format(self) -> FileFormat:
        """Return the format that reads it."""
        return FileFormat(
            COLUMNS,
            header=self.header,  # type: ignore[arg-type]  # drawn from its values
            skip_lines=0 if self.header == "find" else 2,
            comment="#",
            footer=Footer(last_rows=self.last_rows) if self.last_rows else Footer(starts_with=("Total", "Sum")),
            delimiter=self.delimiter,
            quote=self.quote or '"',
            escape="\\" if self.escape else None,
            quoting="standard" if self.quote else "none",
            skip_initial_space=self.space,
            encodings=(self.encoding,),
        )

    def write(self, table: Table) -> bytes:
        """Return the file."""
        names = [] if self.header == "none" else ["first" + self.delimiter + "second"]
        lines = ["A report", 'of "May"', *names]
        for number, row in enumerate(table):
            lines.append(self.delimiter.join(self._cell(cell) for cell in row))
            if self.noise:
                lines.append(self.noise[number % len(self.noise)])
        footer = [f"{number}{self.delimiter}x" for number in range(self.last_rows)] or ["Total", "", 'Sum "']
        return (self.end.join([*lines, *footer]) + self.end).encode(self.encoding)

    def _cell(self, cell: str) -> str:
        before = " " if self.space else ""
        special = any(each in cell for each in (*self.delimiter, self.quote or "\n", "\n", "\r", "\\"))
        if not special and not cell.startswith((" ", "#", "Total", "Sum")):
            return before + cell
        if self.quote:
            escaped = cell.replace("\\", "\\\\") if self.escape else cell
            return before + self.quote + escaped.replace(self.quote, self.quote * 2) + self.quote
        for each in ("\\", "\n", self.delimiter):
            cell = cell.replace(each, "\\" + each)
        return before + cell

    def can_write(self, cell: str) -> bool:
        """Return True if the shape has a spelling for a cell."""
        if self.quote:
            return True
        # Only quotes make a space or a mark at the start of a cell text, or a part of a delimiter.
        if cell.startswith((" ", "#", "Total", "Sum")) or "\r" in cell:
            return False
        if len(self.delimiter) > 1 and set(self.delimiter) & set(cell):
            return False
        return self.escape or not any(each in cell for each in (self.delimiter, "\n", "\\"))


shapes = st.builds(
    Shape,
    delimiter=st.sampled_from([",", ";", "\t", "|", "||", "~|~", "\x01"]),
    quote=st.sampled_from(['"', "'", ""]),
    escape=st.booleans(),
    space=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
    header=st.sampled_from(["first", "find", "none"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16-le", "utf-16", "windows-1252", "gb18030", "utf-32-be"]),
    last_rows=st.integers(0, 3),
    noise=st.lists(st.sampled_from(["", "#", '# "open', "#first"]), max_size=2).map(tuple),
)
parts = st.sampled_from(["a", "é", "0", " ", ",", "|", "~", '"', "'", "\\", "\n", "\r", "#", "Total"])
cells = st.lists(parts, max_size=5)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Shape, Table]:
    shape = draw(shapes)
    texts = cells.map("".join).filter(shape.can_write)
    return shape, draw(st.lists(st.tuples(texts.filter(bool), texts), max_size=8))


@given(case=cases(), size=st.integers(4, 200))
def test_a_table_in_any_shape_is_read_back_with_a_checkpoint_after_every_block(
    case: tuple[Shape, Table], size: int
) -> None:
    shape, table = case
    data, file_format = shape.write(table), shape.format()
    processed, rejected, state = b"", b"", None
    with patch.object(engine_module, "BLOCK_BYTES", size):
        while True:
            engine = CsvEngine(file_format, json.loads(json.dumps(state)))
            content = Content(io.BytesIO(data).read, 250, engine.encoding)
            content.skip(engine.offset)
            block = next(blocks(engine, content.read), None)
            if block is None:
                break
            processed, rejected, state = processed + block.processed, rejected + block.rejected, engine.state()
    found: list[Any] = [tuple(json.loads(line).values()) for line in processed.split(b"\n") if line]
    assert (found, rejected) == ([(first, second or None) for first, second in table], b"")
    report = engine.report()
    noise = [shape.noise[number % len(shape.noise)] for number in range(len(table)) if shape.noise]
    comments = sum(line.startswith("#") for line in noise)
    assert (report["comment_lines"], report["footer_rows"]) == (comments, shape.last_rows or 2)
