"""The CSV engine: turns blocks of bytes into processed and rejected rows. Every row is in exactly one of the outputs.

A file is read in blocks of 256 KiB (more if a row is longer) that begin at the start of a row. The output of a block
depends only on its bytes and the state before it, so a file continued from a saved state gives the same output as one
read in a single run. That is why blocks have fixed sizes and do not follow the pieces that the source returns.

A quote that is never closed rejects its line. Reading continues at the next line.
"""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handlers.csv.checks import Check
from handlers.csv.columns import FileFormat, Problem
from handlers.csv.counts import Counts
from handlers.csv.encodings import encoding_named, marked_encoding
from handlers.csv.evidence import Evidence
from handlers.csv.file_report import file_report
from handlers.csv.header import HeaderReader
from handlers.csv.header_suggestions import header_suggestions
from handlers.csv.json_lines import json_lines, rejected_line
from handlers.csv.outputs import Encode, check_cells
from handlers.csv.provenance import Provenance
from handlers.csv.rows import ColumnRows, ParsedRows, Rows, has_surrogates, is_plain
from handlers.csv.signatures import refuse_binary, refuse_markup
from handlers.csv.table import Table
from handlers.csv.text import (
    LONGEST_ROW_BYTES,
    FileError,
    OtherEncodingError,
    complete_lines,
    split_lines,
)

BLOCK_BYTES = 2**18
PADDING = "\0\x1a"
# A block of padding that is this long is taken as the end of the file, until rows follow it.
LONG_PADDING = 2**17
RAW_CHARACTERS_OF_OVERLONG_ROW = 1_000


@dataclass(frozen=True)
class Block:
    """The output of a block of which `consumed` bytes were read. 0: it has no complete row; pass more of the file."""

    consumed: int
    processed: bytes = b""
    rejected: bytes = b""


class CsvEngine:
    """Reads one file: `take` its blocks in order, then `finish`. `state` lets another engine continue.

    `encode` encodes processed rows; rejected rows are JSON Lines. `encoding_position`: which of the encodings is tried;
    after OtherEncodingError, read the file again with the next one. `source`: the file's name in `_file`.
    """

    def __init__(
        self,
        file_format: FileFormat,
        state: Mapping[str, Any] | None = None,
        encode: Encode = json_lines,
        encoding_position: int = 0,
        source: str = "",
    ) -> None:
        self._format = file_format
        self._provenance = Provenance(source) if file_format.provenance else None
        self._encode = encode
        self.offset = 0
        """Bytes read, after decompression and conversion to UTF-8."""
        self.counts = Counts()
        self._evidence = Evidence()
        self._lines = 0
        self._skipping = False
        self.encoding_position = encoding_position
        encodings = file_format.encodings
        self.encoding = encoding_named(encodings[encoding_position % len(encodings)])
        """The encoding of the file; until the first block is read, the one that is tried."""
        self._may_be_other = len(encodings) > 1 and encoding_position < len(encodings)
        self.table: Table | None = None
        """None until the header is read."""
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
        checks = self.table.checks if self.table else []
        return [*checks, *self._provenance.checks] if checks and self._provenance else checks

    # Blocks

    def take(self, data: bytes, *, final: bool) -> Block:
        """Read a block: the file's bytes from `offset` on. `final`: they are its last.

        Raises FileError, OtherEncodingError.
        """
        # The cyclic garbage collector would traverse the block's rows repeatedly, at a fifth of the total time.
        collecting = gc.isenabled()
        gc.disable()
        try:
            return self._take_first(data, final=final) if self.offset == 0 else self._take(data, final=final)
        except FileError as error:
            if self._may_be_other and error.reason == "not_text":
                raise OtherEncodingError(self.encoding.name) from error
            if self.table is None:
                text = self.encoding.decode(data, final=True)
                self._evidence.of_header = header_suggestions(error.reason, self._format, data, text)
            raise
        finally:
            if collecting:
                gc.enable()

    def _take_first(self, data: bytes, *, final: bool) -> Block:
        refuse_binary(data)
        mark = 0
        if marked := marked_encoding(data):
            self.encoding, mark = marked
            self._may_be_other = False
        refuse_markup(self.encoding.decode(data[mark : mark + RAW_CHARACTERS_OF_OVERLONG_ROW], final=False))
        block = self._take(data[mark:], final=final)
        if block.consumed or final:
            self.offset += mark
            return Block(block.consumed + mark, block.processed, block.rejected)
        return block

    def _take(self, data: bytes, *, final: bool) -> Block:
        full = len(data) >= LONGEST_ROW_BYTES
        decoded = self.encoding.decode(data, final=final)
        if self._may_be_other and has_surrogates(decoded):
            raise OtherEncodingError(self.encoding.name)
        padding_before = self.counts.padding
        at_cr = self.table is None or self.table.cr_ends_rows
        text = self._without_padding(decoded) if final else complete_lines(decoded, at_cr=at_cr)
        if self._skipping or (not text and full):
            return self._skip(data, decoded, text, final=final)
        before: list[str] = []
        if self.table is None:
            before = self._take_header(text, final=final or full)
            if self.table is None:
                return Block(0)
        elif not final and len(decoded) >= LONG_PADDING and not decoded.strip(PADDING):
            self.counts.padding += len(decoded)
            return self._taken(data, decoded, len(decoded), 0, b"", b"", final=False)
        elif not padding_before and (plain := self.table.plain_columns(text, final=final)):
            columns, used = plain
            end = len(columns[0])
            rows = ColumnRows(columns, self.table.delimiter, starts=range(end + 1))
            processed, rejected = self._process(rows, columns, range(end), text)
            return self._taken(data, decoded, used, end, processed, rejected, final=final)
        rest = text[sum(map(len, before)) :]
        parsed, shown = self.table.parse(before, rest, final=final, full=full)
        end = parsed.starts[-1]
        if end == 0 and not final:
            # Escaped line ends can make a row of any length.
            return self._skip(data, decoded, text, final=final) if full else Block(0)
        if padding_before and parsed.rows:
            # It is not at the end of the file, so the row begins with it.
            self.counts.padding -= padding_before
            parsed.reject_first(Problem(None, "nul", "the row begins with NUL or Ctrl-Z characters"))
        processed, rejected = self._process_parsed(parsed, shown)
        used = len(text) - len(parsed.text(end))
        return self._taken(data, decoded, used, end, processed, rejected, final=final)

    def _take_header(self, text: str, *, final: bool) -> list[str]:
        """Find the header, and with it the table. Return the lines up to its end; none if more lines are needed."""
        at_cr = self._format.header != "none" or "\n" not in text
        lines = split_lines(text, at_cr=at_cr)
        header = HeaderReader(self._format, self.encoding.name, at_cr=at_cr).read(lines, final=final)
        if header is None:
            return []
        cr_ends_rows = self._format.line_ending == "any" or header.ends_with_cr
        self.table = Table(
            header.cells,
            header.delimiter,
            self.encoding.name,
            self._format,
            cr_ends_rows=cr_ends_rows,
            detected=header.delimiter_is_detected,
            header_line=header.line,
            header_text=header.text,
        )
        return lines[: header.lines]

    def _without_padding(self, text: str) -> str:
        """Return the file's last text without NUL and Ctrl-Z at its end, which old programs write."""
        unpadded = text.rstrip(PADDING)
        self.counts.padding += len(text) - len(unpadded)
        return unpadded

    def _taken(
        self, data: bytes, decoded: str, used: int, lines: int, processed: bytes, rejected: bytes, *, final: bool
    ) -> Block:
        """Return the block of the first `used` characters, which are `lines` lines."""
        self._lines += lines
        consumed = len(data) if final else self.encoding.length(decoded[:used])
        self.offset += consumed
        return Block(consumed, processed, rejected)

    def _skip(self, data: bytes, decoded: str, text: str, *, final: bool) -> Block:
        """Skip to the end of a line that is too long to be a row."""
        rejected = b""
        if not self._skipping:
            if self.table is None:
                raise FileError("no_header", f"the first line is longer than {LONGEST_ROW_BYTES} bytes")
            problem = Problem(None, "row_too_long", f"the row is longer than {LONGEST_ROW_BYTES} bytes")
            self.counts.rows += 1
            rejected = self._reject(
                self.counts.rows, self._lines + 1, [problem], decoded[:RAW_CHARACTERS_OF_OVERLONG_ROW]
            )
        at_cr = self.table is None or self.table.cr_ends_rows
        end = len(split_lines(text, at_cr=at_cr)[0]) if text else len(decoded)
        self._skipping = not text and not final
        self._lines += not self._skipping
        consumed = len(data) if final and not text else self.encoding.length(decoded[:end])
        self.offset += consumed
        return Block(consumed, b"", rejected)

    def finish(self) -> None:
        """Check that the file was not empty, after its last block. Raises FileError."""
        if self.table is None:
            raise FileError("empty_file", "the file is empty")

    # Rows

    def _process_parsed(self, parsed: ParsedRows, text: str) -> tuple[bytes, bytes]:
        """Return the processed and the rejected output of a text's rows."""
        rows = parsed.rows
        good: Sequence[int] = range(len(rows))
        if parsed.skipped or parsed.problems:
            good = [position for position in good if position not in parsed.problems and position not in parsed.skipped]
            rows = [rows[position] for position in good]
        self.counts.marks += parsed.marks
        self.counts.skipped["repeated_header"] += parsed.glued_headers
        return self._process(parsed, list(zip(*rows, strict=True)), good, text)

    def _process(
        self, rows: Rows, columns: Sequence[Sequence[str]], good: Sequence[int], text: str
    ) -> tuple[bytes, bytes]:
        """Return the processed and the rejected output. `columns` are those of the rows at `good`, still unchecked."""
        outputs, unique = (self.table.outputs, self.table.unique) if self.table else ([], {})
        cells, count = check_cells(outputs, columns, good, rows.problems, unique)
        processed = b""
        if count:
            for output, column in zip(outputs, cells, strict=True):
                output.statistics.add([""] * count if column is None else column)
            plain = is_plain(text, self._format.quote)
            if self._provenance:
                cells += self._provenance.cells(rows, good, self.counts.rows)
                plain = plain and self._provenance.is_plain
            processed = self._encode(self.checks, cells, count, is_plain=plain)
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
        self._evidence.add(problems, raw)
        return rejected_line(row, line, problems, raw)

    # Report and state

    def report(self, *, has_outputs: bool = True) -> dict[str, Any]:
        """Return the counts, the statistics and the reasons of rejections so far; `has_outputs` as in `file_report`."""
        read = self.table, self.counts, self._evidence, self.encoding.name, self.encoding_position
        return file_report(self._format, *read, has_outputs=has_outputs)

    def state(self) -> dict[str, Any]:
        """Return the state that lets another engine continue at `offset`. JSON can represent it."""
        return {
            "offset": self.offset,
            "counts": self.counts.state(),
            "evidence": self._evidence.state(),
            "lines": self._lines,
            "skipping": self._skipping,
            "encoding": self.encoding.name,
            "encoding_position": self.encoding_position,
            "may_be_other": self._may_be_other,
            "table": self.table and self.table.state(),
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.offset, self._lines, self._skipping = state["offset"], state["lines"], state["skipping"]
        self.counts = Counts.restored(state["counts"])
        self._evidence = Evidence.restored(state["evidence"])
        self.encoding, self.encoding_position = encoding_named(state["encoding"]), state["encoding_position"]
        self._may_be_other = state["may_be_other"]
        if state["table"]:
            self.table = Table.restored(state["table"], self.encoding.name, self._format)


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
