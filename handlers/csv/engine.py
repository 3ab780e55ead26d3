"""The CSV engine: turns blocks of bytes into processed and rejected rows. Every row is in exactly one of the outputs.

A file is read in blocks of 256 KiB (more if a row is longer) that begin at the start of a row. The output of a block
depends only on its bytes and the state before it, so a file continued from a saved state gives the same output as one
read in a single run. That is why blocks have fixed sizes and do not follow the pieces that the source returns.

A quote that is never closed rejects its line. Reading continues at the next line.
"""

import csv
import gc
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from handlers.csv.checks import Check
from handlers.csv.columns import Cells, FileFormat, Problem
from handlers.csv.header import plan_outputs, read_header
from handlers.csv.json_lines import json_lines, rejected_line
from handlers.csv.outputs import Output, check_cells
from handlers.csv.rows import (
    ColumnRows,
    ParsedRows,
    Rows,
    has_invalid_characters,
    invalid_character,
    is_plain,
    parse_text,
)
from handlers.csv.signatures import refuse_binary, refuse_markup
from handlers.csv.text import (
    LONGEST_ROW_BYTES,
    FileError,
    complete_lines,
    detect_encoding,
    encoding_named,
    ends_with_cr,
    plain_columns,
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
        self.rows = 0
        """Rows read, without the header and blank lines."""
        self.processed = 0
        self.rejected = 0
        self._blank_lines = 0
        self._lines = 0
        self._padding = 0
        self._cr_ends_rows = True
        """A lone CR is a line end, not text. True until the header line shows how lines end."""
        self._skipping = False
        self._reasons: Counter[tuple[str | None, str]] = Counter()
        self._encoding = encoding_named("utf-8")
        self._delimiter = ","
        self._header: list[str] | None = None
        self._outputs: list[Output] = []
        if state is not None:
            self._restore(state)

    @property
    def checks(self) -> list[Check]:
        """The checks of the output's columns. Empty until the header is read."""
        return [output.check for output in self._outputs]

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
        text = self._without_padding(decoded) if final else complete_lines(decoded, at_cr=self._cr_ends_rows)
        if self._skipping or (not text and full):
            return self._skip(data, decoded, text, final=final)
        if self._header is not None and not has_invalid_characters(text):
            columns = plain_columns(text, self._delimiter, len(self._header))
            if columns:
                end = len(columns[0])
                rows = ColumnRows(columns, self._delimiter, starts=range(end + 1))
                processed, rejected = self._process(rows, columns, range(end), text)
                return self._taken(data, decoded, len(text), end, processed, rejected, final=final)
        before: list[str] = []
        if self._header is None:
            lines = split_lines(text)
            before = lines[: self._take_header(lines, final=final or full)]
            if not before and not final:
                return Block(0)
        rest = text[sum(map(len, before)) :]
        at_cr = self._cr_ends_rows
        parsed, shown = parse_text(before, rest, self._delimiter, at_cr=at_cr, final=final, full=full)
        end = parsed.starts[-1]
        if end == 0 and not final:
            return Block(0)
        processed, rejected = self._process_parsed(parsed, shown)
        used = len(text) - sum(map(len, parsed.lines[end:]))
        return self._taken(data, decoded, used, end, processed, rejected, final=final)

    def _without_padding(self, text: str) -> str:
        """Return the file's last text without NUL and Ctrl-Z at its end, which old programs write."""
        unpadded = text.rstrip(PADDING)
        self._padding = len(text) - len(unpadded)
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
            if self._header is None:
                raise FileError("no_header", f"the first line is longer than {LONGEST_ROW_BYTES} bytes")
            problem = Problem(None, "row_too_long", f"the row is longer than {LONGEST_ROW_BYTES} bytes")
            self.rows += 1
            rejected = self._reject(self.rows, self._lines + 1, [problem], decoded[:RAW_CHARACTERS_OF_OVERLONG_ROW])
        end = len(split_lines(text, at_cr=self._cr_ends_rows)[0]) if text else len(decoded)
        self._skipping = not text and not final
        self._lines += not self._skipping
        consumed = len(data) if final and not text else self._encoding.length(decoded[:end])
        self.offset += consumed
        return Block(consumed, b"", rejected)

    def finish(self) -> None:
        """Check that the file had a header, after its last block. Raises FileError."""
        if self._header is None:
            reason = "no_header" if self.offset else "empty_file"
            raise FileError(reason, "the file has no header line" if self.offset else "the file is empty")

    # The header

    def _take_header(self, lines: Sequence[str], *, final: bool) -> int:
        """Read the header. Return the number of its lines, including blank lines before it; 0 if it is incomplete."""
        blank = next((count for count, line in enumerate(lines) if line.strip("\r\n")), len(lines))
        if blank == len(lines):
            return blank
        if invalid := invalid_character(lines[blank]):
            raise FileError(
                "not_text",
                "the first line has NUL characters: a binary file, or UTF-16 without a byte order mark"
                if invalid == "\0"
                else f"the first line is not text in {self._encoding.name}: a binary file, or a file in an encoding "
                "other than the configured one",
            )
        try:
            self._delimiter, header, used = read_header(lines[blank:], self._format)
        except csv.Error as error:
            if final:
                raise FileError("no_header", f"the header line cannot be read: {error}") from error
            return 0
        self._set_header(header)
        self._cr_ends_rows = self._format.line_ending == "any" or ends_with_cr(lines, blank + used - 1)
        return blank + used

    def _set_header(self, header: list[str]) -> None:
        self._outputs = plan_outputs(header, self._delimiter, self._format)
        self._header = header

    # Rows

    def _process_parsed(self, parsed: ParsedRows, text: str) -> tuple[bytes, bytes]:
        """Return the processed and the rejected output of a text's rows."""
        parsed.check(text, len(self._header or ()), self._delimiter, self._encoding.name, self._format)
        rows = parsed.rows
        good: Sequence[int] = range(len(rows))
        if parsed.blank or parsed.problems:
            good = [position for position in good if position not in parsed.problems and position not in parsed.blank]
            rows = [rows[position] for position in good]
        return self._process(parsed, list(zip(*rows, strict=True)), good, text)

    def _process(
        self, rows: Rows, columns: Sequence[Sequence[str]], good: Sequence[int], text: str
    ) -> tuple[bytes, bytes]:
        """Return the processed and the rejected output. `columns` are those of the rows at `good`, still unchecked."""
        cells, count = check_cells(self._outputs, columns, good, rows.problems)
        processed = b""
        if count:
            for output, column in zip(self._outputs, cells, strict=True):
                output.statistics.add([""] * count if column is None else column)
            processed = self._encode(self.checks, cells, count, is_plain=is_plain(text))
        rejected = self._reject_all(rows)
        self.rows += len(rows.starts) - 1 - len(rows.blank)
        self.processed += count
        self._blank_lines += len(rows.blank)
        return processed, rejected

    def _reject_all(self, rows: Rows) -> bytes:
        lines = []
        blank_before = 0
        blanks = sorted(rows.blank)
        for position in sorted(rows.problems):
            while blank_before < len(blanks) and blanks[blank_before] < position:
                blank_before += 1
            row = self.rows + position - blank_before + 1
            line = self._lines + rows.starts[position] + 1
            lines.append(self._reject(row, line, rows.problems[position], rows.raw(position)))
        return b"".join(lines)

    def _reject(self, row: int, line: int, problems: Sequence[Problem], raw: str) -> bytes:
        self.rejected += 1
        self._reasons.update((problem.column, problem.reason) for problem in problems)
        return rejected_line(row, line, problems, raw)

    # Report and state

    def report(self) -> dict[str, Any]:
        """Return the counts, the statistics and the reasons of rejections so far."""
        return {
            "rows": self.rows,
            "processed": self.processed,
            "rejected": self.rejected,
            "success_rate": round(self.processed / self.rows, 6) if self.rows else None,
            "blank_lines": self._blank_lines,
            "padding_characters": self._padding,
            "encoding": self._encoding.name,
            "delimiter": self._delimiter if self._header is not None else None,
            "columns": {
                output.name: {"type": output.check.column.type, **output.statistics.report()}
                for output in self._outputs
            },
            "reasons": [
                {"column": column, "reason": reason, "count": count}
                for (column, reason), count in sorted(self._reasons.items(), key=lambda each: (-each[1], str(each[0])))
            ],
        }

    def state(self) -> dict[str, Any]:
        """Return the state that lets another engine continue at `offset`. JSON can represent it."""
        return {
            "offset": self.offset,
            "rows": self.rows,
            "processed": self.processed,
            "rejected": self.rejected,
            "blank_lines": self._blank_lines,
            "lines": self._lines,
            "padding": self._padding,
            "cr_ends_rows": self._cr_ends_rows,
            "skipping": self._skipping,
            "reasons": [[*key, count] for key, count in self._reasons.items()],
            "encoding": self._encoding.name,
            "delimiter": self._delimiter,
            "header": self._header,
            "statistics": [output.statistics.state() for output in self._outputs],
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.offset, self.rows = state["offset"], state["rows"]
        self.processed, self.rejected = state["processed"], state["rejected"]
        self._padding, self._cr_ends_rows = state["padding"], state["cr_ends_rows"]
        self._blank_lines, self._lines, self._skipping = state["blank_lines"], state["lines"], state["skipping"]
        self._reasons = Counter({(column, reason): count for column, reason, count in state["reasons"]})
        self._encoding, self._delimiter = encoding_named(state["encoding"]), state["delimiter"]
        if state["header"] is not None:
            self._set_header(state["header"])
            for output, statistics in zip(self._outputs, state["statistics"], strict=True):
                output.statistics.restore(statistics)


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
