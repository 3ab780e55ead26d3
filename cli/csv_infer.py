"""`pipeline csv infer`: columns for a stack file, as a file at hand suggests them, for a person to edit."""

import csv
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

from cli.core.json_text import write_json
from cli.core.terminal import inert, write_lines
from cli.csv_profile import Guess, Profile
from cli.file_report import as_yaml
from handlers.csv.checks import Check
from handlers.csv.columns import Cells, Column, FileFormat, normalised
from handlers.csv.content import Content
from handlers.csv.encodings import marked_encoding
from handlers.csv.engine import BLOCK_BYTES, CsvEngine, blocks
from handlers.csv.text import BYTE_ORDER_MARK, DELIMITERS, FileError, OtherEncodingError, complete_lines, split_lines
from local.errors import LocalError

ENCODINGS = ("utf-8", "windows-1252")
CELLS = 2_000_000
LINES_SEARCHED = 100
REMARKS = {
    "encodings": "  # the file is not UTF-8, and this is a guess: look at its letters",
    "header": "  # name the columns",
}
QUOTES = ('"', "'")

_is_name = re.compile(r"[a-z][a-z0-9_]{0,99}").fullmatch
_is_value = re.compile(r"[+-]?[0-9][0-9.,:/ -]*(?:e[+-]?[0-9]+)?", re.IGNORECASE).fullmatch


@dataclass(frozen=True)
class Found:
    """A column of the file. `name` None: the header's name cannot be configured, for the reason in `remark`."""

    header: str
    name: str | None
    guess: Guess
    remark: str = ""

    def options(self) -> dict[str, Any]:
        """Return the column as in a stack file."""
        name = self.name or ""
        alias = {} if normalised(self.header) == name or not self.header else {"aliases": [self.header]}
        kind = {} if self.guess.kind == "string" else {"type": self.guess.kind}
        options = {key: list(value) if isinstance(value, tuple) else value for key, value in self.guess.options.items()}
        return {"name": name, **alias, **kind, **options}


def run_csv_infer(file: str, rows: int, *, as_json: bool) -> int:
    """Print the columns of a file. Return 1 if it cannot be read."""
    path = Path(file)
    try:
        with path.open("rb") as source:
            form = _layout(source, path.name)
            engine, profiles = _profile(source, form, rows)
    except OSError as problem:
        raise LocalError(f"{problem.filename}: {problem.strerror}") from problem
    except FileError as problem:
        raise LocalError(f"{path.name}: {problem.reason}: {problem}") from problem
    columns = list(found_columns(engine, profiles, form))
    settings = _settings(form, engine)
    if as_json:
        described = [{**each.options(), "header": each.header, "share": each.guess.share} for each in columns]
        write_json({"rows": engine.processed, "rejected": engine.rejected, "input": settings, "columns": described})
        return 0
    unread = f", {engine.rejected} rows could not be split into cells" if engine.rejected else ""
    write_lines(
        [
            f"# {inert(path.name)}: {engine.processed} rows looked at{unread}.",
            "# Beside each column: the share of these rows that fit.",
            "config:",
            "  datapipeline:input:",
            *(f"    {key}: {as_yaml(value)}{REMARKS.get(key, '')}" for key, value in settings.items()),
            "    columns:",
            *map(line_of, columns),
        ]
    )
    return 0


def line_of(column: Found) -> str:
    """Return a column as a line of the stack file, with a comment."""
    guess = column.guess
    remarks = "; ".join((*filter(None, [column.remark]), *guess.remarks))
    # Rounded down: only what all rows fit is 100 %.
    comment = f"# {int(guess.share * 1_000) / 10:g} %{'; ' if remarks else ''}{remarks}"
    if column.name is None:
        return inert(f"      # {column.header!r}: {column.remark}")
    return f"      - {as_yaml(column.options())}  {inert(comment)}"


# Reading


def _layout(source: BinaryIO, name: str) -> FileFormat:
    """Return how a file is laid out, from its first block: encoding, delimiter and where its header is."""
    content = Content(source.read, FileFormat(()).max_expansion)
    start = b""
    while len(start) < BLOCK_BYTES and (piece := content.read(BLOCK_BYTES - len(start))):
        start += piece
    marked = marked_encoding(start)
    encoding = marked[0] if marked else None
    text = encoding.decode(start, final=False) if encoding else start.decode("utf-8", "replace")
    lines = split_lines(complete_lines(text) or text)[:LINES_SEARCHED]
    lines = [line.removeprefix(BYTE_ORDER_MARK) for line in lines]
    if not any(map(str.strip, lines)):
        raise LocalError(f"{name}: the file is empty")
    quotes = QUOTES[: 1 if any(QUOTES[0] in line for line in lines) else None]
    shapes = [(delimiter, quote, _rows(lines, delimiter, quote)) for quote in quotes for delimiter in DELIMITERS]
    delimiter, quote, rows = max(shapes, key=lambda shape: _fit(shape[2]))
    width = _usual(rows)
    at = next((number for number, (_, cells) in enumerate(rows) if len(cells) == width), 0)
    # Rows may end with a delimiter that the header does not have.
    if at and _is_header(rows[at - 1][1], width - 1) and not _is_header(rows[at][1], width):
        at -= 1
    first, header = rows[at]
    long_rows: Literal["reject", "drop_empty_cells"] = "reject" if len(header) == width else "drop_empty_cells"
    form = FileFormat(
        (), "keep", skip_lines=first, delimiter=delimiter, quote=quote, encodings=ENCODINGS, long_rows=long_rows
    )
    if _is_header(header, len(header)):
        return form
    columns = tuple(Column(f"column_{number}") for number in range(1, len(header) + 1))
    return replace(form, columns=columns, header="none")


def _is_header(cells: Sequence[str], width: int) -> bool:
    """Return True if a row of the right width has no numbers, dates or times."""
    return len(cells) == width > 0 and not any(map(_is_value, cells))


def _rows(lines: Sequence[str], delimiter: str, quote: str) -> list[tuple[int, list[str]]]:
    """Return the lines at which rows begin, and the rows."""
    rows: list[tuple[int, list[str]]] = []
    reader = csv.reader(lines, delimiter=delimiter, quotechar=quote)
    before = 0
    try:
        for row in reader:
            if any(row):
                rows.append((before, row))
            before = reader.line_num
    except csv.Error:
        return rows or [(0, [])]
    return rows or [(0, [])]


def _usual(rows: Sequence[tuple[int, Sequence[str]]]) -> int:
    return max(Counter(len(cells) for _, cells in rows).items(), key=lambda each: (each[1], each[0]), default=(1, 0))[0]


def _fit(rows: Sequence[tuple[int, Sequence[str]]]) -> tuple[bool, float, int]:
    """Return how well rows of one width fit: whether they have several cells, the share of such rows, their width."""
    width = _usual(rows)
    share = sum(len(cells) == width for _, cells in rows) / max(1, len(rows))
    return width > 1, round(share, 1), width


class _Collector:
    """Collects the cells of processed rows instead of encoding them."""

    def __init__(self) -> None:
        self.profiles: list[Profile] = []

    def __call__(self, checks: Sequence[Check], columns: Sequence[Cells], count: int, *, is_plain: bool) -> bytes:
        del is_plain
        self.profiles = self.profiles or [Profile() for _ in checks]
        for profile, cells in zip(self.profiles, columns, strict=True):
            profile.add([""] * count if cells is None else cells)
        return b""


def _profile(source: BinaryIO, form: FileFormat, rows: int) -> tuple[CsvEngine, list[Profile]]:
    """Return the engine that read the file's first rows, and the cells of its columns. Raises FileError."""
    for position in range(len(form.encodings) + 1):
        source.seek(0)
        collect = _Collector()
        engine = CsvEngine(form, encode=collect, encoding_position=position)
        content = Content(source.read, form.max_expansion, engine.encoding)
        try:
            for _ in blocks(engine, content.read):
                if engine.rows >= min(rows, CELLS // max(1, len(collect.profiles))):
                    break
        except OtherEncodingError:
            continue
        return engine, collect.profiles
    raise AssertionError("the engine reads a file at last in the first encoding")


# Columns


def found_columns(engine: CsvEngine, profiles: Sequence[Profile], form: FileFormat) -> Iterator[Found]:
    """Yield the columns of a file in its order."""
    header = [] if engine.table is None or form.header == "none" else engine.table.header
    names = [check.column.name for check in engine.checks]
    places = engine.table.positions() if engine.table else {}
    ordered = sorted(range(len(names)), key=lambda at: places[names[at]])
    claims = Counter(normalised(cell) for cell in header)
    taken = set(names)
    for at in ordered:
        text = header[places[names[at]]] if header else ""
        profile = profiles[at] if at < len(profiles) else Profile()
        guess = profile.guess()
        remark = "all different: unique?" if profile.is_unique and guess.kind in ("integer", "string") else ""
        if header and not text.strip():
            yield Found(text, None, guess, f"column {places[names[at]] + 1} has no name, so it cannot be configured")
        elif claims[normalised(text)] > 1 and header:
            yield Found(text, None, guess, "several columns have this name, so it cannot be configured")
        else:
            yield Found(text, _name(names[at], places[names[at]] + 1, taken), guess, remark)


def _name(name: str, number: int, taken: set[str]) -> str:
    """Return a name that a stack file may have: the column's own, or one made from it."""
    if _is_name(name):
        return name
    folded = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()[:100].strip("_")
    made = folded if _is_name(folded) and folded not in taken else f"column_{number}"
    while made in taken:
        made += "_"
    taken.add(made)
    return made


def _settings(form: FileFormat, engine: CsvEngine) -> dict[str, Any]:
    """Return the keys of `input` that differ from the defaults."""
    settings: dict[str, Any] = {}
    if form.header == "none":
        settings["header"] = "none"
    if form.skip_lines:
        settings["skip_lines"] = form.skip_lines
    if form.quote != QUOTES[0]:
        settings["quote"] = form.quote
    if form.long_rows != "reject":
        settings["long_rows"] = form.long_rows
    if len(engine.checks) > 1:
        settings["delimiter"] = form.delimiter
    if engine.encoding_position:
        settings["encodings"] = list(form.encodings)
    return settings
