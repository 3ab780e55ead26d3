"""The CSV engine: blocks of bytes in, good rows and rejected rows out, every row in one of them.

A file is taken in blocks of 256 KiB (more when a row is longer) that begin where a row begins. What a block makes
depends on its own bytes and the state at its beginning only, so a file that is continued from a saved state gives the
same bytes as one that is read in one go. That is why blocks are cut by bytes and not by what happened to be read.

A quote that is opened and not closed as CSV asks for costs the line it stands on; reading goes on with the next line.
"""

import csv
import gc
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from json.encoder import encode_basestring
from typing import Any, Protocol

from handlers.csv.checks import Check
from handlers.csv.column_types import COLUMN_TYPES, check_of
from handlers.csv.columns import Cells, Column, FileFormat, Problem, normalised
from handlers.csv.json_lines import json_lines
from handlers.csv.statistics import ColumnStatistics
from handlers.csv.text import (
    LONGEST_ROW_BYTES,
    FileError,
    complete_lines,
    detect_encoding,
    encoding_named,
    known_names,
    plain_columns,
    read_header,
    split_lines,
)

BLOCK_BYTES = 2**18
RAW_CHARACTERS_OF_ENDLESS_ROW = 1_000

_not_text = re.compile("[\x00\ud800-\udfff]").search
_surrogate = re.compile("[\ud800-\udfff]").search
# The same, but for line ends: these are in no cell where there are no quotes.
_ESCAPED_BYTES = bytes({*range(32), *b'"\\'} - {*b"\r\n"})


def _is_plain(text: str) -> bool:
    """Whether no cell of a text has anything that JSON escapes. Deleting bytes is five times as fast as a regex."""
    return text.isascii() and len(text.encode().translate(None, _ESCAPED_BYTES)) == len(text)


def _has_undecoded(text: str) -> bool:
    return not text.isascii() and _surrogate(text) is not None


@dataclass(frozen=True)
class Block:
    """What became of a block: `consumed` bytes of it, and what its processed and its rejected rows add to the outputs.

    `consumed` 0: it holds no whole row; give more of the file.
    """

    consumed: int
    processed: bytes = b""
    rejected: bytes = b""


@dataclass(frozen=True)
class Output:
    """A column of the output: where it stands in a row (None: nowhere, always null), its check and its statistics."""

    name: str
    position: int | None
    check: Check
    statistics: ColumnStatistics


@dataclass
class _Rows:
    """The rows of a block. `starts` are the lines they begin at, with the end of the last; `broken` were no CSV."""

    lines: Sequence[str]
    rows: list[list[str]]
    starts: Sequence[int]
    broken: dict[int, Problem] = field(default_factory=dict)

    def raw(self, position: int) -> str:
        """A row as it stands in the file, without the end of its last line."""
        text = "".join(self.lines[self.starts[position] : self.starts[position + 1]])
        return text.removesuffix("\n").removesuffix("\r")


@dataclass
class _Columns:
    """The rows of a block, column by column, each of them a line."""

    columns: list[list[str]]
    delimiter: str

    @property
    def starts(self) -> Sequence[int]:
        """As in `_Rows`."""
        return range(len(self.columns[0]) + 1)

    def raw(self, position: int) -> str:
        """A row as it stands in the file, without the end of its line."""
        return self.delimiter.join([column[position] for column in self.columns])


class Encode(Protocol):
    """What `count` processed rows (one at least) add to the output, from the cells of its columns.

    `is_plain`: no cell has a character that JSON escapes.
    """

    def __call__(  # noqa: D102  the class says it
        self, checks: Sequence[Check], columns: Sequence[Cells], count: int, *, is_plain: bool
    ) -> bytes: ...


class CsvEngine:
    """Reads one file. `take` its blocks in order; `report` at the end, or `state` in between to go on elsewhere.

    Processed rows are written by `encode`, rejected ones as JSON Lines.
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
        """Bytes taken, after decompression."""
        self.rows = 0
        """Rows seen: the header and blank lines are none."""
        self.processed = 0
        self.rejected = 0
        self._blank_lines = 0
        self._lines = 0
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
        """Of the output's columns, which are known once the header is."""
        return [output.check for output in self._outputs]

    # Blocks

    def take(self, data: bytes, *, final: bool) -> Block:
        """Takes a block: the file's bytes from `offset` on, `final` when these are its last. Raises FileError."""
        # The collector of cyclic garbage would walk the rows of a block again and again: a fifth of all the time.
        collecting = gc.isenabled()
        gc.disable()
        try:
            return self._take_first(data, final=final) if self.offset == 0 else self._take(data, final=final)
        finally:
            if collecting:
                gc.enable()

    def _take_first(self, data: bytes, *, final: bool) -> Block:
        self._encoding, mark = detect_encoding(data, self._format.encoding)
        block = self._take(data[mark:], final=final)
        if block.consumed or final:
            self.offset += mark
            return Block(block.consumed + mark, block.processed, block.rejected)
        return block

    def _take(self, data: bytes, *, final: bool) -> Block:
        full = len(data) >= LONGEST_ROW_BYTES
        decoded = self._encoding.decode(data, final=final)
        text = decoded if final else complete_lines(decoded)
        if self._skipping or (not text and full):
            return self._skip(data, decoded, text, final=final)
        if self._header is not None and (columns := self._split(text)):
            parsed_columns = _Columns(columns, self._delimiter)
            end = parsed_columns.starts[-1]
            processed, rejected = self._process(parsed_columns, columns, range(end), {}, set(), text)
            return self._taken(data, decoded, len(text), end, processed, rejected, final=final)
        lines = split_lines(text)
        first_row = 0
        if self._header is None:
            first_row = self._take_header(lines, final=final or full)
            if first_row == 0 and not final:
                return Block(0)
        parsed = self._parse(lines, first_row, final=final, full=full)
        end = parsed.starts[-1]
        if end == 0 and not final:
            return Block(0)
        processed, rejected = self._process_rows(parsed, text)
        used = len(text) - sum(map(len, lines[end:]))
        return self._taken(data, decoded, used, end, processed, rejected, final=final)

    def _taken(
        self, data: bytes, decoded: str, used: int, lines: int, processed: bytes, rejected: bytes, *, final: bool
    ) -> Block:
        """The block of the first `used` characters, which are so many lines."""
        self._lines += lines
        consumed = len(data) if final else self._encoding.length(decoded[:used])
        self.offset += consumed
        return Block(consumed, processed, rejected)

    def _split(self, text: str) -> list[list[str]] | None:
        """The columns of a text where that is so simple that nothing can be wrong but cells."""
        if _has_undecoded(text) or "\0" in text:
            return None
        return plain_columns(text, self._delimiter, len(self._header or ()))

    def _skip(self, data: bytes, decoded: str, text: str, *, final: bool) -> Block:
        """Goes to the end of a line that is too long to be a row."""
        rejected = b""
        if not self._skipping:
            if self._header is None:
                raise FileError("no_header", f"the first line is longer than {LONGEST_ROW_BYTES} bytes")
            problem = Problem(None, "row_too_long", f"the row is longer than {LONGEST_ROW_BYTES} bytes")
            self.rows += 1
            rejected = self._reject(self.rows, self._lines + 1, [problem], decoded[:RAW_CHARACTERS_OF_ENDLESS_ROW])
        end = len(split_lines(text)[0]) if text else len(decoded)
        self._skipping = not text and not final
        self._lines += not self._skipping
        consumed = len(data) if final and not text else self._encoding.length(decoded[:end])
        self.offset += consumed
        return Block(consumed, b"", rejected)

    def finish(self) -> None:
        """To be called after the last block. Raises FileError when there was no header."""
        if self._header is None:
            reason = "no_header" if self.offset else "empty_file"
            raise FileError(reason, "the file has no header line" if self.offset else "the file is empty")

    # The header

    def _take_header(self, lines: Sequence[str], *, final: bool) -> int:
        """Reads the header. Returns how many lines it took, with blank ones before it."""
        blank = next((count for count, line in enumerate(lines) if line.strip("\r\n")), len(lines))
        if blank == len(lines):
            return blank
        if unfit := _not_text(lines[blank]):
            raise FileError("not_text", self._unfit(unfit[0]))
        try:
            self._delimiter, header, used = read_header(lines[blank:], self._format)
        except csv.Error as error:
            if final:
                raise FileError("no_header", f"the header line cannot be read: {error}") from error
            return 0
        self._plan(header)
        return blank + used

    def _unfit(self, character: str) -> str:
        if character == "\0":
            return "the first line has NUL characters: a binary file, or UTF-16 without a byte order mark"
        return (
            f"the first line is not text in {self._encoding.name}: a binary file, or another encoding than configured"
        )

    def _plan(self, header: Sequence[str]) -> None:
        """Finds the columns in the header. Raises FileError."""
        known = known_names(self._format)
        found: dict[str, int] = {}
        unknown: dict[str, int] = {}
        for position, cell in enumerate(header):
            name = known.get(normalised(cell))
            place, name = (unknown, normalised(cell) or f"column_{position + 1}") if name is None else (found, name)
            if name in place and (place is found or self._format.unknown_columns == "keep"):
                raise FileError("duplicate_columns", f"two columns of the header are {name!r}: {', '.join(header)}")
            place[name] = position
        if missing := [column.name for column in self._format.columns if column.required and column.name not in found]:
            raise FileError(
                "missing_columns",
                f"the header lacks {', '.join(missing)}; "
                f"it has, split at {self._delimiter!r}: {', '.join(header)[:1_000]}",
            )
        if unknown and self._format.unknown_columns == "reject":
            raise FileError("unknown_columns", f"the header has unknown columns: {', '.join(unknown)[:1_000]}")
        kept = unknown if self._format.unknown_columns == "keep" else {}
        columns = [*self._format.columns, *(Column(name) for name in kept if name not in found)]
        if clashing := [name for name in kept if name in {column.name for column in self._format.columns}]:
            raise FileError("duplicate_columns", f"unknown columns have names of known ones: {', '.join(clashing)}")
        places = found | kept
        kinds = [COLUMN_TYPES[column.type].statistics for column in columns]
        distinct_columns = kinds.count("distinct")
        self._outputs = [
            Output(
                column.name,
                places.get(column.name),
                check_of(column, self._format.numbers),
                ColumnStatistics(kind, distinct_columns),
            )
            for column, kind in zip(columns, kinds, strict=True)
        ]
        self._header = list(header)

    # Rows

    def _parse(self, lines: Sequence[str], start: int, *, final: bool, full: bool) -> _Rows:
        rows: list[list[str]] = []
        try:
            # list.extend keeps what came before an exception; all in C, five times as fast as a loop.
            rows.extend(csv.reader(lines[start:] if start else lines, delimiter=self._delimiter, strict=True))
        except csv.Error:
            return self._parse_slowly(lines, start, final=final, full=full)
        if len(rows) == len(lines) - start:
            return _Rows(lines, rows, range(start, len(lines) + 1))
        return self._parse_slowly(lines, start, final=final, full=full)

    def _parse_slowly(self, lines: Sequence[str], start: int, *, final: bool, full: bool) -> _Rows:
        """Row by row, where rows go over lines or break the rules of quoting."""
        parsed = _Rows(lines, [], starts := [start])
        end = len(lines)
        while starts[-1] < end:
            at = starts[-1]
            rest = iter(lines)
            rest.__setstate__(at)  # type: ignore[attr-defined]  # a list's iterator can be moved without going there
            reader = csv.reader(rest, delimiter=self._delimiter, strict=True)
            try:
                for row in reader:
                    parsed.rows.append(row)
                    starts.append(at + reader.line_num)
            except csv.Error as error:
                row_is_cut = str(error) == "unexpected end of data" and not final
                if row_is_cut and not (full and starts[-1] == start):
                    return parsed
                parsed.broken[len(parsed.rows)] = Problem(
                    None, "bad_quoting", f"quotes are not as CSV has them: {error}"
                )
                parsed.rows.append([])
                starts.append(starts[-1] + 1)
        return parsed

    def _process_rows(self, parsed: _Rows, text: str) -> tuple[bytes, bytes]:
        """What the processed and the rejected rows of a text add to the outputs."""
        rows = parsed.rows
        problems: dict[int, list[Problem]] = {position: [problem] for position, problem in parsed.broken.items()}
        blank = self._check_shapes(parsed, problems)
        if _has_undecoded(text) or "\0" in text:
            self._check_characters(parsed, problems)
        good: Sequence[int] = range(len(rows))
        if blank or problems:
            good = [position for position in good if position not in problems and position not in blank]
            rows = [rows[position] for position in good]
        return self._process(parsed, list(zip(*rows, strict=True)), good, problems, blank, text)

    def _process(
        self,
        parsed: _Rows | _Columns,
        columns: Sequence[Sequence[str]],
        good: Sequence[int],
        problems: dict[int, list[Problem]],
        blank: set[int],
        text: str,
    ) -> tuple[bytes, bytes]:
        """The same, of the columns of the rows at `good`, which have no problems so far."""
        cells, bad = self._check_cells(columns, good, problems)
        count = len(good) - len(bad)
        processed = b""
        if count:
            for output, column in zip(self._outputs, cells, strict=True):
                output.statistics.add([""] * count if column is None else column)
            processed = self._encode(self.checks, cells, count, is_plain=_is_plain(text))
        rejected = self._reject_all(parsed, problems, blank)
        self.rows += len(parsed.starts) - 1 - len(blank)
        self.processed += count
        self._blank_lines += len(blank)
        return processed, rejected

    def _check_shapes(self, parsed: _Rows, problems: dict[int, list[Problem]]) -> set[int]:
        """Finds rows that have too few or too many cells, and blank lines, which are no rows. Returns the latter."""
        width = len(self._header or ())
        lengths = list(map(len, parsed.rows))
        if lengths.count(width) == len(lengths):
            return set()
        blank = set()
        for position, length in enumerate(lengths):
            if length == width or position in problems:
                continue
            if length == 0:
                blank.add(position)
            else:
                reason, relation = ("too_few_cells", "below") if length < width else ("too_many_cells", "above")
                message = f"the row has {length} cells, {relation} the header's {width}"
                problems[position] = [Problem(None, reason, message)]
        return blank

    def _check_characters(self, parsed: _Rows, problems: dict[int, list[Problem]]) -> None:
        for position, row in enumerate(parsed.rows):
            if position in problems:
                continue
            if unfit := _not_text("".join(row)):
                problems[position] = [
                    Problem(None, "nul", "the row has a NUL character")
                    if unfit[0] == "\0"
                    else Problem(None, "undecodable", f"the row is not text in {self._encoding.name}"),
                ]

    def _check_cells(
        self,
        columns: Sequence[Sequence[str]],
        rows: Sequence[int],
        problems: dict[int, list[Problem]],
    ) -> tuple[list[Cells], set[int]]:
        """The output's cells, column by column, of the rows without problems; and which of `rows` had some."""
        bad: set[int] = set()
        cells: list[Cells] = []
        for output in self._outputs:
            if output.position is None or not columns:
                cells.append(None)
                continue
            column = columns[output.position]
            reading = output.check.read(column)
            for position, problem in reading.problems.items():
                problems.setdefault(rows[position], []).append(problem)
                bad.add(position)
            if reading.changed:
                column = list(column)
                for position, text in reading.changed.items():
                    column[position] = text
            cells.append(column)
        if bad:
            wanted = [position not in bad for position in range(len(rows))]
            cells = [column and list(compress(column, wanted)) for column in cells]
        return cells, bad

    def _reject_all(self, parsed: _Rows | _Columns, problems: Mapping[int, list[Problem]], blank: set[int]) -> bytes:
        lines = []
        blank_before = 0
        blanks = sorted(blank)
        for position in sorted(problems):
            while blank_before < len(blanks) and blanks[blank_before] < position:
                blank_before += 1
            row = self.rows + position - blank_before + 1
            line = self._lines + parsed.starts[position] + 1
            lines.append(self._reject(row, line, problems[position], parsed.raw(position)))
        return b"".join(lines)

    def _reject(self, row: int, line: int, problems: Sequence[Problem], raw: str) -> bytes:
        self.rejected += 1
        errors = []
        for problem in problems:
            self._reasons[problem.column, problem.reason] += 1
            column = "null" if problem.column is None else encode_basestring(problem.column)
            reason, message = encode_basestring(problem.reason), encode_basestring(problem.message)
            errors.append(f'{{"column":{column},"reason":{reason},"message":{message}}}')
        # By hand: json.dumps took a tenth of the whole time with three bad rows in a hundred.
        text = f'{{"row":{row},"line":{line},"errors":[{",".join(errors)}],"raw":{encode_basestring(raw)}}}\n'
        # Bytes that are no text stand as `\udcff`, as JSON escapes them.
        return text.encode("utf-8", "backslashreplace")

    # The end, and places to go on from

    def report(self) -> dict[str, Any]:
        """What became of the rows so far."""
        return {
            "rows": self.rows,
            "processed": self.processed,
            "rejected": self.rejected,
            "success_rate": round(self.processed / self.rows, 6) if self.rows else None,
            "blank_lines": self._blank_lines,
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
        """Everything needed to go on at `offset`, fit for JSON."""
        return {
            "offset": self.offset,
            "rows": self.rows,
            "processed": self.processed,
            "rejected": self.rejected,
            "blank_lines": self._blank_lines,
            "lines": self._lines,
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
        self._blank_lines, self._lines, self._skipping = state["blank_lines"], state["lines"], state["skipping"]
        self._reasons = Counter({(column, reason): count for column, reason, count in state["reasons"]})
        self._encoding, self._delimiter = encoding_named(state["encoding"]), state["delimiter"]
        if state["header"] is not None:
            self._plan(state["header"])
            for output, statistics in zip(self._outputs, state["statistics"], strict=True):
                output.statistics.restore(statistics)


def blocks(engine: CsvEngine, read: Callable[[int], bytes]) -> Iterator[Block]:
    """Takes a file from the engine's offset to its end. `read(n)` gives at most n bytes, b"" at the end only.

    Raises FileError, and whatever `read` raises.
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
        block = engine.take(bytes(held), final=ended)
        if block.consumed == 0:
            # Some row is longer than what is held.
            size = min(2 * size, LONGEST_ROW_BYTES)
            continue
        del held[: block.consumed]
        size = BLOCK_BYTES
        yield block
    engine.finish()


def read_all(engine: CsvEngine, read: Callable[[int], bytes]) -> tuple[bytes, bytes]:
    """The JSON Lines of all processed and all rejected rows: for files that fit in memory."""
    done = list(blocks(engine, read))
    return b"".join(block.processed for block in done), b"".join(block.rejected for block in done)
