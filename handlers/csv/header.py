"""Headers: reading them, and matching them with the configured columns."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from handlers.csv.column_types import COLUMN_TYPES, check_of
from handlers.csv.columns import Column, FileFormat, normalised
from handlers.csv.outputs import Output
from handlers.csv.statistics import ColumnStatistics
from handlers.csv.text import DELIMITERS, FileError

_separator_line = re.compile(r'"?sep=([^"\r\n\0])"?[\r\n]*', re.IGNORECASE).fullmatch


def read_header(lines: Sequence[str], file_format: FileFormat) -> tuple[str, list[str], int]:
    """Return the delimiter, the header's cells, and the number of lines it spans.

    The detected delimiter is the one that yields the most configured names, then the most cells.
    A line `sep=;` before the header, which Excel understands, sets the delimiter.
    Raises csv.Error if no delimiter yields a header.
    """
    if setting := _separator_line(lines[0]):
        if len(lines) == 1:
            raise csv.Error("the line after sep= is missing")
        delimiter, header, used = read_header(lines[1:], replace(file_format, delimiter=setting[1]))
        return delimiter, header, used + 1
    names = _configured_names(file_format)
    candidates = []
    problem = csv.Error("empty")
    for delimiter in DELIMITERS if file_format.delimiter is None else (file_format.delimiter,):
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            header = next(reader)
        except csv.Error as error:
            problem = error
            continue
        known = sum(_configured_column(cell, names) is not None for cell in header)
        candidates.append((known, len(header), delimiter, header, reader.line_num))
    if not candidates:
        raise problem
    _, _, delimiter, header, used = max(candidates, key=lambda candidate: candidate[:2])
    return delimiter, header, used


def plan_outputs(header: Sequence[str], delimiter: str, file_format: FileFormat) -> list[Output]:
    """Return the columns of the output for a header. Raises FileError."""
    found, unknown = _places(header, file_format)
    if missing := [column.name for column in file_format.columns if column.required and column.name not in found]:
        raise FileError(
            "missing_columns",
            f"the header lacks {', '.join(missing)}; it has, split at {delimiter!r}: {', '.join(header)[:1_000]}",
        )
    if file_format.columns and not found:
        raise FileError(
            "no_known_columns",
            f"the header has none of the configured columns; it has, split at {delimiter!r}: "
            f"{', '.join(header)[:1_000]}; send a CSV file with a header line, or add its names to input.columns",
        )
    if unknown and file_format.unknown_columns == "reject":
        raise FileError("unknown_columns", f"the header has unknown columns: {', '.join(unknown)[:1_000]}")
    kept = unknown if file_format.unknown_columns == "keep" else {}
    if clashing := [name for name in kept if name in {column.name for column in file_format.columns}]:
        raise FileError("duplicate_columns", f"unknown columns have configured names: {', '.join(clashing)}")
    places = found | kept
    columns = [*file_format.columns, *map(Column, kept)]
    kinds = [COLUMN_TYPES[column.type].statistics for column in columns]
    distinct_columns = kinds.count("distinct")
    return [
        Output(
            column.name,
            places.get(column.name),
            check_of(column, file_format.numbers, file_format.null_values),
            ColumnStatistics(kind, distinct_columns),
        )
        for column, kind in zip(columns, kinds, strict=True)
    ]


def _places(header: Sequence[str], file_format: FileFormat) -> tuple[dict[str, int], dict[str, int]]:
    """Return the positions of the configured columns in a header, and of the others. Raises FileError."""
    known = _configured_names(file_format)
    found: dict[str, int] = {}
    unknown: dict[str, int] = {}
    for position, cell in enumerate(header):
        name = _configured_column(cell, known)
        places, name = (unknown, normalised(cell) or f"column_{position + 1}") if name is None else (found, name)
        if name in places and (places is found or file_format.unknown_columns == "keep"):
            raise FileError(
                "duplicate_columns", f"the header has two columns of the name {name!r}: {', '.join(header)}"
            )
        places[name] = position
    return found, unknown


def _configured_column(cell: str, names: Mapping[str, str]) -> str | None:
    """Return the configured column of a header's cell: by its exact name, else by its normalised name."""
    return names.get(cell) or names.get(normalised(cell))


def _configured_names(file_format: FileFormat) -> dict[str, str]:
    """Return the configured column for each of its exact and normalised names. Exact names take precedence."""
    exact = {name: column.name for column in file_format.columns for name in (column.name, *column.aliases)}
    return {normalised(name): column for name, column in exact.items() if normalised(name)} | exact
