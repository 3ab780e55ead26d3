"""Settings with which a file's header might be found, for a file that fails for the lack of one."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from handlers.csv.column_types import check_of
from handlers.csv.columns import FileFormat, normalised
from handlers.csv.dialect import dialect_of
from handlers.csv.evidence import suggestion
from handlers.csv.plan import Names
from handlers.csv.suggestions import other_encoding, similar_names
from handlers.csv.text import BYTE_ORDER_MARK, DELIMITERS, split_lines

_LINES = 1_000
_CHARACTERS = 2**16
_WIDE_ENCODINGS = ("utf-16-le", "utf-16-be")


def header_suggestions(reason: str, file_format: FileFormat, start: bytes, text: str) -> list[Mapping[str, Any]]:
    """Return suggestions for a file that failed for `reason`, from its first bytes and their text."""
    match reason:
        case "missing_columns" | "no_known_columns":
            return _of_names(file_format, split_lines(text[:_CHARACTERS])[:_LINES])
        case "not_text":
            return list(_of_bytes(file_format, start[:_CHARACTERS]))
        case "unexpected_header":
            return [suggestion("input.header", ["first"], "the file has a header line")]
        case "ambiguous_delimiter":
            line = next((line for line in split_lines(text) if line.strip()), "")
            values = [each for each in DELIMITERS if each in line]
            return [suggestion("input.delimiter", values, "the first row can be split by each of them")]
        case _:
            return []


def _of_bytes(file_format: FileFormat, start: bytes) -> Iterator[Mapping[str, Any]]:
    if b"\0" not in start:
        # Only the last character may be cut.
        yield from other_encoding(file_format, start, "the first line is")
        return
    names = Names(file_format)
    for encoding in _WIDE_ENCODINGS:
        first = start.decode(encoding, "replace").split("\n")[0].rstrip("\r")
        if any(names.count(first.split(delimiter)) for delimiter in DELIMITERS):
            yield suggestion("input.encodings", [[*file_format.encodings, encoding]], f"the names are in {encoding}")


def _of_names(file_format: FileFormat, lines: Sequence[str]) -> list[Mapping[str, Any]]:
    names = Names(file_format)
    delimiters = dict.fromkeys((*(() if file_format.delimiter is None else (file_format.delimiter,)), *DELIMITERS))
    start = next((number for number, line in enumerate(lines) if line.strip()), 0)
    found = [
        (number, delimiter)
        for number, line in enumerate(lines)
        for delimiter in delimiters
        if _is_header(names, _cells(file_format, line, delimiter))
    ]
    if found:
        number, delimiter = found[0]
        if number > start and names.required and file_format.header == "first":
            return [suggestion("input.header", ["find"], f"line {number + 1} has the names of the columns")]
        if number > start:
            return [suggestion("input.skip_lines", [number], f"line {number + 1} has the names of the columns")]
        if delimiter != file_format.delimiter:
            return [
                suggestion("input.delimiter", [delimiter], "it splits the first line into the names of the columns")
            ]
    line = lines[start] if lines else ""
    rows = [_cells(file_format, line, delimiter) for delimiter in delimiters]
    if any(_is_row(file_format, cells) for cells in rows):
        return [suggestion("input.header", ["none"], "the first line is a row, if the columns are in this order")]
    cells = max(rows, key=len)
    known = set(names.of(cells))
    missing = [column.name for column in file_format.columns if column.name not in known]
    return similar_names(missing, [normalised(cell) for cell in cells if normalised(cell)])


def _cells(file_format: FileFormat, line: str, delimiter: str) -> list[str]:
    """Return the cells of a line as far as it can be read by itself."""
    dialect = dialect_of(file_format, delimiter)
    line = line.strip(f"\r\n{BYTE_ORDER_MARK}")
    try:
        return next(dialect.reader([line], delimiter), []) if len(delimiter) == 1 else line.split(delimiter)
    except csv.Error:
        return line.split(delimiter)


def _is_header(names: Names, cells: Sequence[str]) -> bool:
    return names.has_required(cells) if names.required else names.count(cells) > 1


def _is_row(file_format: FileFormat, cells: Sequence[str]) -> bool:
    """Return True if the cells have the types of the configured columns, in their order."""
    columns = file_format.columns
    if len(cells) != len(columns) or all(column.type == "string" and not column.pattern for column in columns):
        return False
    return not any(
        check_of(column, file_format.numbers, file_format.null_values).read([cell]).problems
        for column, cell in zip(columns, cells, strict=True)
    )
