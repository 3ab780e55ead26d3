"""The CSV engine: turns blocks of bytes into processed and rejected rows. Every row is in exactly one of the outputs.

A file is read in blocks of 256 KiB (more if a row is longer) that begin at the start of a row. The output of a block
depends only on its bytes and the state before it, so a file continued from a saved state gives the same output as one
read in a single run. That is why blocks have fixed sizes and do not follow the pieces that the source returns.

A quote that is never closed rejects its line. Reading continues at the next line.
"""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from handlers.csv.checks import Check
from handlers.csv.columns import Cells, FileFormat, Problem
from handlers.csv.counts import Counts
from handlers.csv.header import HeaderReader
from handlers.csv.json_lines import json_lines, rejected_line
from handlers.csv.outputs import check_cells
from handlers.csv.rows import ColumnRows, ParsedRows, Rows, is_plain
from handlers.csv.signatures import refuse_binary, refuse_markup
from handlers.csv.table import Table
from handlers.csv.text import (
    BYTE_ORDER_MARK,
    LONGEST_ROW_BYTES,
    FileError,
    complete_lines,
    detect_encoding,
    encoding_named,
    ends_with_cr,
    split_lines,
)

BLOCK_BYTES = 2**18
PADDING = "\0\x1a"
RAW_CHARACTERS_OF_OVERLONG_ROW = 1_000


@dataclass(frozen=True)
class Block:
    """The output of a block of which `consumed` bytes were read. 0: it has no complete row; pass more of the file."""

    consumed: int
    processed: bytes = b""
    rejected: bytes = b""


class Encode(Protocol):
    """Encode `count` processed rows (at least one), given as the cells of the output's columns.

    `is_plain`: no cell contains a character that JSON escapes.
    """

    def __call__(  # noqa: D102  documented by the class
        self, checks: Sequence[Check], columns: Sequence[Cells], count: int, *, is_plain: bool
    ) -> bytes: ...


class CsvEngine:
    """Reads one file: `take` its blocks in order, then `finish`. `state` lets another engine continue.

    `encode` encodes processed rows; rejected rows are JSON Lines.
    """

    def __init__(
        self,
        file_format: FileFormat,
        state: Mapping[str, Any] | None = None,
        encode: Encode = json_lines,
    ) -> None:
        self._format = file_format
        self._encode = encode
        self.offset = 0
        """Bytes read, after decompression."""
        self.counts = Counts()
        self._lines = 0
        self._skipping = False
        self._encoding = encoding_named("utf-8")
        self._table: Table | None = None
        if state is not None:
            self._restore(state)

    @property
    def rows(self) -> int:
        """Rows read, without the header and what is no row."""
        return self.counts.rows

    @property
    def processed(self) -> int:
        """Rows processed."""
        return self.counts.processed

    @property
    def rejected(self) -> int:
        """Rows rejected."""
        return self.counts.rejected

    @property
    def checks(self) -> list[Check]:
        """The checks of the output's columns. Empty until the header is read."""
        return self._table.checks if self._table else []

    # Blocks

    def take(self, data: bytes, *, final: bool) -> Block:
        """Read a block: the file's bytes from `offset` on. `final`: they are its last. Raises FileError."""
        # The cyclic garbage collector would traverse the block's rows repeatedly, at a fifth of the total time.
        collecting = gc.isenabled()
        gc.disable()
        try:
            return self._take_first(data, final=final) if self.offset == 0 else self._take(data, final=final)
        finally:
            if collecting:
                gc.enable()

    def _take_first(self, data: bytes, *, final: bool) -> Block:
        refuse_binary(data)
        self._encoding, mark = detect_encoding(data, self._format.encoding)
        refuse_markup(self._encoding.decode(data[mark : mark + RAW_CHARACTERS_OF_OVERLONG_ROW], final=False))
        block = self._take(data[mark:], final=final)
        if block.consumed or final:
            self.offset += mark
            return Block(block.consumed + mark, block.processed, block.rejected)
        return block

    def _take(self, data: bytes, *, final: bool) -> Block:
        full = len(data) >= LONGEST_ROW_BYTES
        decoded = self._encoding.decode(data, final=final)
        at_cr = self._table is None or self._table.cr_ends_rows
        text = self._without_padding(decoded) if final else complete_lines(decoded, at_cr=at_cr)
        if self._skipping or (not text and full):
            return self._skip(data, decoded, text, final=final)
        before: list[str] = []
        if self._table is None:
            lines = split_lines(text)
            header = HeaderReader(self._format, self._encoding.name).read(lines, final=final or full)
            if header is None:
                return Block(0)
            before = lines[: header.lines]
            cr_ends_rows = self._format.line_ending == "any" or ends_with_cr(lines, header.first_row_end)
            self._table = Table(
                header.cells, header.dialect.delimiter, self._encoding.name, self._format, cr_ends_rows=cr_ends_rows
            )
        elif plain := self._table.plain_columns(text, final=final):
            columns, used = plain
            end = len(columns[0])
            rows = ColumnRows(columns, self._table.delimiter, starts=list(range(end + 1)))
            processed, rejected = self._process(rows, columns, range(end), text)
            return self._taken(data, decoded, used, end, processed, rejected, final=final)
        rest = text[sum(map(len, before)) :]
        parsed, shown = self._table.parse(before, rest, final=final, full=full)
        end = parsed.starts[-1]
        if end == 0 and not final:
            # Escaped line ends can make a row of any length.
            return self._skip(data, decoded, text, final=final) if full else Block(0)
        processed, rejected = self._process_parsed(parsed, shown)
        used = len(text) - sum(map(len, parsed.lines[end:]))
        return self._taken(data, decoded, used, end, processed, rejected, final=final)

    def _without_padding(self, text: str) -> str:
        """Return the file's last text without NUL and Ctrl-Z at its end, which old programs write."""
        unpadded = text.rstrip(PADDING)
        self.counts.padding = len(text) - len(unpadded)
        return unpadded

    def _taken(
        self, data: bytes, decoded: str, used: int, lines: int, processed: bytes, rejected: bytes, *, final: bool
    ) -> Block:
        """Return the block of the first `used` characters, which are `lines` lines."""
        self._lines += lines
        consumed = len(data) if final else self._encoding.length(decoded[:used])
        self.offset += consumed
        return Block(consumed, processed, rejected)

    def _skip(self, data: bytes, decoded: str, text: str, *, final: bool) -> Block:
        """Skip to the end of a line that is too long to be a row."""
        rejected = b""
        if not self._skipping:
            if self._table is None:
                raise FileError("no_header", f"the first line is longer than {LONGEST_ROW_BYTES} bytes")
            problem = Problem(None, "row_too_long", f"the row is longer than {LONGEST_ROW_BYTES} bytes")
            self.counts.rows += 1
            rejected = self._reject(
                self.counts.rows, self._lines + 1, [problem], decoded[:RAW_CHARACTERS_OF_OVERLONG_ROW]
            )
        at_cr = self._table is None or self._table.cr_ends_rows
        end = len(split_lines(text, at_cr=at_cr)[0]) if text else len(decoded)
        self._skipping = not text and not final
        self._lines += not self._skipping
        consumed = len(data) if final and not text else self._encoding.length(decoded[:end])
        self.offset += consumed
        return Block(consumed, b"", rejected)

    def finish(self) -> None:
        """Check that the file was not empty, after its last block. Raises FileError."""
        if self._table is None:
            raise FileError("empty_file", "the file is empty")

    # Rows

    def _process_parsed(self, parsed: ParsedRows, text: str) -> tuple[bytes, bytes]:
        """Return the processed and the rejected output of a text's rows."""
        rows = parsed.rows
        good: Sequence[int] = range(len(rows))
        if parsed.skipped or parsed.problems:
            good = [position for position in good if position not in parsed.problems and position not in parsed.skipped]
            rows = [rows[position] for position in good]
        if BYTE_ORDER_MARK in text:
            self.counts.marks += sum(parsed.begins_with(each, (BYTE_ORDER_MARK,)) for each in range(len(parsed.rows)))
        return self._process(parsed, list(zip(*rows, strict=True)), good, text)

    def _process(
        self, rows: Rows, columns: Sequence[Sequence[str]], good: Sequence[int], text: str
    ) -> tuple[bytes, bytes]:
        """Return the processed and the rejected output. `columns` are those of the rows at `good`, still unchecked."""
        outputs = self._table.outputs if self._table else []
        cells, count = check_cells(outputs, columns, good, rows.problems)
        processed = b""
        if count:
            for output, column in zip(outputs, cells, strict=True):
                output.statistics.add([""] * count if column is None else column)
            processed = self._encode(self.checks, cells, count, is_plain=is_plain(text, self._format.quote))
        rejected = self._reject_all(rows)
        self.counts.rows += len(rows.starts) - 1 - len(rows.skipped)
        self.counts.processed += count
        self.counts.skipped.update(rows.skipped.values())
        return processed, rejected

    def _reject_all(self, rows: Rows) -> bytes:
        lines = []
        skipped_before = 0
        skipped = sorted(rows.skipped)
        for position in sorted(rows.problems):
            while skipped_before < len(skipped) and skipped[skipped_before] < position:
                skipped_before += 1
            row = self.counts.rows + position - skipped_before + 1
            line = self._lines + rows.starts[position] + 1
            lines.append(self._reject(row, line, rows.problems[position], rows.raw(position)))
        return b"".join(lines)

    def _reject(self, row: int, line: int, problems: Sequence[Problem], raw: str) -> bytes:
        self.counts.reject(problems)
        return rejected_line(row, line, problems, raw)

    # Report and state

    def report(self) -> dict[str, Any]:
        """Return the counts, the statistics and the reasons of rejections so far."""
        outputs = self._table.outputs if self._table else []
        return {
            **self.counts.report(),
            "encoding": self._encoding.name,
            "delimiter": self._table.delimiter if self._table else None,
            "columns": {
                output.name: {"type": output.check.column.type, **output.statistics.report()} for output in outputs
            },
        }

    def state(self) -> dict[str, Any]:
        """Return the state that lets another engine continue at `offset`. JSON can represent it."""
        return {
            "offset": self.offset,
            "counts": self.counts.state(),
            "lines": self._lines,
            "skipping": self._skipping,
            "encoding": self._encoding.name,
            "table": self._table and self._table.state(),
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.offset, self._lines, self._skipping = state["offset"], state["lines"], state["skipping"]
        self.counts = Counts.restored(state["counts"])
        self._encoding = encoding_named(state["encoding"])
        if state["table"]:
            self._table = Table.restored(state["table"], self._encoding.name, self._format)


def blocks(engine: CsvEngine, read: Callable[[int], bytes]) -> Iterator[Block]:
    """Read a file from the engine's offset to its end. `read(n)` returns at most n bytes, and b"" only at the end.

    Raises FileError, and the errors of `read`.
    """
    held = bytearray()
    size = BLOCK_BYTES
    ended = False
    while True:
        while len(held) < size and not ended:
            piece = read(size - len(held))
            ended = not piece
            held += piece
        if ended and not held:
            break
        block = engine.take(bytes(held[:size]), final=ended and len(held) <= size)
        if block.consumed == 0:
            # A row is longer than the block.
            size = min(2 * size, LONGEST_ROW_BYTES)
            continue
        del held[: block.consumed]
        size = BLOCK_BYTES
        yield block
    engine.finish()
