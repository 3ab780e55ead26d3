"""The columns of the output for a header: its names matched with the configured columns."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from handlers.csv.column_types import COLUMN_TYPES, check_of
from handlers.csv.columns import Column, FileFormat, normalised
from handlers.csv.outputs import Output
from handlers.csv.statistics import ColumnStatistics
from handlers.csv.text import FileError

UNKNOWN_SHOWN = 1_000


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


@dataclass(frozen=True)
class Plan:
    """The columns of a file and of the output."""

    outputs: list[Output]
    missing: list[str]
    """Configured columns that the file lacks."""
    unknown: list[str]
    """Columns of the file that are not configured, by their names in the output if they are kept."""


def named_width(header: Sequence[str]) -> int:
    """Return the number of a header's columns without those at its end that have no name."""
    return next((count for count in range(len(header), 0, -1) if header[count - 1].strip()), len(header))


def plan_columns(header: Sequence[str], delimiter: str, file_format: FileFormat) -> Plan:
    """Return the columns of the output for a header. Raises FileError."""
    found, unknown = _places(header, file_format)
    missing = [column for column in file_format.columns if column.name not in found]
    shown = f"it has, split at {delimiter!r}: {', '.join(header)[:1_000]}"
    if required := [column.name for column in missing if column.required]:
        raise FileError("missing_columns", f"the header lacks {', '.join(required)}; {shown}")
    if file_format.columns and not found:
        raise FileError(
            "no_known_columns",
            f"the header has none of the configured columns; {shown}; send a CSV file with a header line, or add its "
            "names to input.columns",
        )
    if unknown and file_format.unknown_columns == "reject":
        raise FileError("unknown_columns", f"the header has unknown columns: {', '.join(unknown)[:1_000]}")
    kept = unknown if file_format.unknown_columns == "keep" else {}
    places = found | kept
    columns = [*file_format.columns, *map(Column, kept)]
    return Plan(
        _outputs(columns, places, file_format), [column.name for column in missing], list(unknown)[:UNKNOWN_SHOWN]
    )


def _outputs(columns: Sequence[Column], places: Mapping[str, int], file_format: FileFormat) -> list[Output]:
    kinds = [COLUMN_TYPES[column.type].statistics for column in columns]
    distinct_columns = kinds.count("distinct")
    return [
        Output(
            column.name,
            places.get(column.name),
            check_of(column, file_format.numbers, file_format.null_values),
            ColumnStatistics(kind, distinct_columns, len(columns)),
        )
        for column, kind in zip(columns, kinds, strict=True)
    ]


def _places(header: Sequence[str], file_format: FileFormat) -> tuple[dict[str, int], dict[str, int]]:
    """Return the positions of the configured columns in a header, and of the others. Raises FileError."""
    found: dict[str, int] = {}
    others: dict[int, str] = {}
    for position, name in enumerate(Names(file_format).of(header[: named_width(header)])):
        if name is None:
            others[position] = normalised(header[position]) or f"column_{position + 1}"
        elif name in found:
            raise FileError(
                "duplicate_columns", f"the header has two columns of the name {name!r}: {', '.join(header)[:1_000]}"
            )
        else:
            found[name] = position
    return found, _numbered(others, {column.name for column in file_format.columns})


def _numbered(names: Mapping[int, str], configured: AbstractSet[str]) -> dict[str, int]:
    """Return the positions by name. The second column of a name gets `_2`, unless a column has that name."""
    taken = configured | set(names.values())
    positions: dict[str, int] = {}
    numbers: dict[str, int] = {}
    for position, name in names.items():
        # A name's numbers only go up: to begin anew with each of its columns would take quadratic time.
        number = numbers.get(name, 1)
        unique = name if number == 1 else f"{name}_{number}"
        while unique in positions or unique in configured or (number > 1 and unique in taken):
            number += 1
            unique = f"{name}_{number}"
        numbers[name] = number
        positions[unique] = position
    return positions


def _configured_column(cell: str, names: Mapping[str, str]) -> str | None:
    """Return the configured column of a header's cell: by its exact name, else by its normalised name."""
    return names.get(cell) or names.get(normalised(cell))


def _configured_names(file_format: FileFormat) -> dict[str, str]:
    """Return the configured column for each of its exact and normalised names. Exact names take precedence."""
    exact = {name: column.name for column in file_format.columns for name in (column.name, *column.aliases)}
    return {normalised(name): column for name, column in exact.items() if normalised(name)} | exact
