"""Every column type from a cell to each output."""

import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet  # type: ignore[import-untyped]

from handlers.csv.column_types import COLUMN_TYPES
from handlers.csv.columns import Column, FileFormat
from handlers.csv.engine import CsvEngine, blocks
from handlers.csv.parquet import ParquetWriter

# Not representable as a double.
ODD = 2**53 + 1

# For each type: a cell, its value in JSON and in Parquet, and its statistics besides the counts.
NOON = "2024-02-29T12:00:00.000000Z"
CELLS: dict[str, tuple[str, Any, Any, dict[str, Any]]] = {
    "string": ('a "b"', 'a "b"', 'a "b"', {"distinct": 1, "distinct_is_approximate": False}),
    "integer": (f"+0{ODD}", ODD, ODD, {"sum": ODD, "avg": ODD / 1, "min": ODD, "max": ODD}),
    "number": (".50", 0.5, 0.5, {"sum": 0.5, "avg": 0.5, "min": 0.5, "max": 0.5}),
    "decimal": ("0.1e1", 1.0, Decimal("1.00"), {"sum": 1, "avg": 1.0, "min": 1, "max": 1}),
    "boolean": ("Yes", True, True, {}),
    "date": ("2024-02-29", "2024-02-29", date(2024, 2, 29), {"min": "2024-02-29", "max": "2024-02-29"}),
    "datetime": (
        "2024-02-29T12:00:00Z",
        NOON,
        datetime(2024, 2, 29, 12, tzinfo=UTC),
        {"min": NOON, "max": NOON},
    ),
}


def test_every_type_has_a_cell_here() -> None:
    assert set(CELLS) == set(COLUMN_TYPES)


@pytest.mark.parametrize("column_type", COLUMN_TYPES)
def test_the_documentation_lists_every_type_with_its_cells_and_its_parquet_type(column_type: str) -> None:
    lines = Path(__file__).parents[3].joinpath("docs", "csv.md").read_text().splitlines()
    assert sum(line.startswith((f"| `{column_type}` |", f"| `{column_type}`, and")) for line in lines) == 2


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("column_type", COLUMN_TYPES)
def test_a_cell_of_every_type_reaches_json_lines_parquet_and_statistics(column_type: str, *, required: bool) -> None:
    cell, json_value, parquet_value, statistics = CELLS[column_type]
    quoted = '"' + cell.replace('"', '""') + '"'
    columns = (Column("a", column_type, required=required), Column("b"))
    data = "\n".join(["a,b", f"{quoted},x", *([] if required else [",x"])]).encode()
    nulls: list[Any] = [] if required else [None]

    engine = CsvEngine(FileFormat(columns))
    lines = b"".join(block.processed for block in blocks(engine, io.BytesIO(data).read)).splitlines()
    assert [json.loads(line)["a"] for line in lines] == [json_value, *nulls]

    writer = ParquetWriter()
    parquet_engine = CsvEngine(FileFormat(columns, numbers="double"), encode=writer.encode)
    written = b"".join(block.processed for block in blocks(parquet_engine, io.BytesIO(data).read))
    table = parquet.read_table(io.BytesIO(written + writer.finish(columns)))
    table.validate(full=True)
    assert table["a"].to_pylist() == [parquet_value, *nulls]

    expected = {"type": column_type, "count": 1, "nulls": len(nulls), **statistics}
    assert engine.report()["columns"]["a"] == parquet_engine.report()["columns"]["a"] == expected
