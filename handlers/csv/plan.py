"""The columns of the output for a header: its names matched with the configured columns."""

from collections.abc import Mapping, Sequence

from handlers.csv.column_types import COLUMN_TYPES, check_of
from handlers.csv.columns import Column, FileFormat, normalised
from handlers.csv.outputs import Output
from handlers.csv.statistics import ColumnStatistics
from handlers.csv.text import FileError


class Names:
    """The configured columns, by the names in headers."""

    def __init__(self, file_format: FileFormat) -> None:
        self._columns = _configured_names(file_format)
        self.required = [column.name for column in file_format.columns if column.required]

    def of(self, cells: Sequence[str]) -> list[str | None]:
        """Return the configured column that each cell of a header names."""
        return [_configured_column(cell, self._columns) for cell in cells]

    def count(self, cells: Sequence[str]) -> int:
        """Return how many cells of a header name a configured column."""
        return sum(name is not None for name in self.of(cells))

    def has_required(self, cells: Sequence[str]) -> bool:
        """Return True if a header has all required columns."""
        return set(self.required) <= set(self.of(cells))


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
