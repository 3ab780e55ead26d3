"""Round trips: files that other programs wrote (`written/`, made by peers.py), read with the preset for them."""

import io
import json
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.handlers.csv.peers import COLUMNS, PEERS, TABLE
from tests.handlers.csv.reading import read_file
from tests.handlers.csv.test_presets import file_format

ROOT = Path(__file__).parents[3]
WRITTEN = Path(__file__).parent / "written"
PEERS_PYTHON = ROOT / ".build/peers/bin/python"
# What a workbook makes of a cell: numbers are doubles, and XML ends lines with LF.
EXCEL: Mapping[Any, Any] = {
    Decimal("-12345678901234567890.12"): Decimal("-1.234567890123457e+19"),
    "a\r\nb\rc": "a\nb\nc",
}


def value_of(kind: str, cell: Any) -> Any:
    """Return a value of the output as one of the table."""
    match kind:
        case _ if cell is None:
            return None
        case "date":
            return date.fromisoformat(cell)
        case "datetime":
            at = datetime.fromisoformat(cell)
            return at if at.tzinfo else at.replace(tzinfo=UTC)
        case _:
            return cell


def table_of(data: bytes, preset: str | None) -> list[list[Any]]:
    """Return the values of a file without rejected rows."""
    form = file_format(preset, columns=[{"name": name, "type": kind} for name, kind in COLUMNS.items()])
    _, processed, rejected = read_file(io.BytesIO(data), form)
    assert rejected == b""
    rows = [json.loads(line, parse_float=Decimal) for line in processed.split(b"\n") if line]
    return [[value_of(kind, row[name]) for name, kind in COLUMNS.items()] for row in rows]


def exact(table: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Return a table with the shortest decimals for its doubles."""
    return [[Decimal(repr(cell)) if isinstance(cell, float) else cell for cell in row] for row in table]


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("pandas.csv", "rfc4180"),
        ("pandas.csv", None),
        ("polars.csv", "rfc4180"),
        ("duckdb.csv", "rfc4180"),
        ("postgres.csv", "rfc4180"),
        ("postgres.txt", "postgres"),
        ("openpyxl.csv", "excel-us"),
    ],
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["no mark", "mark"])
def test_every_value_that_another_program_wrote_is_read(name: str, preset: str | None, mark: bytes) -> None:
    changed = EXCEL if name == "openpyxl.csv" else {}
    right = [[changed.get(cell, cell) for cell in row] for row in TABLE]
    assert table_of(mark + (WRITTEN / name).read_bytes(), preset) == exact(right)


def test_the_end_mark_of_old_versions_of_postgres_is_no_row() -> None:
    data = (WRITTEN / "postgres.txt").read_bytes() + b"\\.\n"
    assert table_of(data, "postgres") == exact(TABLE)


def test_there_is_a_file_of_each_program() -> None:
    assert sorted(path.name for path in WRITTEN.iterdir()) == sorted(
        file for _, files in PEERS.values() for file in files
    )


@pytest.mark.skipif(not PEERS_PYTHON.exists(), reason="`make peers` installs the other programs")
def test_the_other_programs_still_write_these_files(tmp_path: Path) -> None:
    command = [str(PEERS_PYTHON), str(Path(__file__).with_name("peers.py")), str(tmp_path)]
    written = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert {"pandas.csv", "polars.csv", "duckdb.csv", "openpyxl.csv"} <= set(written)
    assert {name: (tmp_path / name).read_bytes() for name in written} == {
        name: (WRITTEN / name).read_bytes() for name in written
    }
