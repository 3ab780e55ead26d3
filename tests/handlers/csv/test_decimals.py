"""Decimals: what is accepted, and that no digit is lost on the way to Parquet."""

import io
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet  # type: ignore[import-untyped]

from components.options.csv_columns import ColumnOptions
from handlers.csv.column_types import check_of
from handlers.csv.columns import Column, FileFormat
from handlers.csv.engine import CsvEngine, blocks
from handlers.csv.parquet import ParquetWriter


def read(cell: str, scale: int | None) -> str:
    """Return the text of a cell, or why it is rejected."""
    reading = check_of(Column("a", "decimal", scale=scale)).read([cell])
    return reading.problems[0].reason if reading.problems else reading.changed.get(0, cell)


@pytest.mark.parametrize(
    ("cell", "scale", "expected"),
    [
        ("1.50", None, "1.50"),
        ("1.5000", None, "1.5"),
        ("1.501", None, "not_exact"),
        ("15e-1", None, "1.5"),
        ("-.5", None, "-0.5"),
        ("0.000", None, "0"),
        ("40", 0, "40"),
        ("40.0", 0, "40"),
        ("40.5", 0, "not_exact"),
        ("9999999999999999.99", None, "9999999999999999.99"),
        ("10000000000000000.00", None, "out_of_range"),
        ("1e16", None, "out_of_range"),
        ("1e-300", None, "not_exact"),
        ("0.123456789012345678", 18, "0.123456789012345678"),
        ("1", 18, "out_of_range"),
        ("-999999999999999999", 0, "-999999999999999999"),
        ("1,5", None, "not_a_decimal"),
        ("NaN", None, "not_a_decimal"),
    ],
)
def test_a_cell_is_a_decimal_or_rejected_with_the_reason(cell: str, scale: int | None, expected: str) -> None:
    assert read(cell, scale) == expected


@given(scale=st.integers(0, 18), numbers=st.lists(st.integers(-(10**18) + 1, 10**18 - 1), min_size=1, max_size=50))
def test_every_decimal_reaches_parquet_and_its_sum_as_it_was(scale: int, numbers: list[int]) -> None:
    values = [Decimal(number).scaleb(-scale) for number in numbers]
    data = "a\n" + "".join(f"{value:f}\n" for value in values)
    columns = (Column("a", "decimal", required=True, scale=scale),)
    writer = ParquetWriter()
    engine = CsvEngine(FileFormat(columns, numbers="double"), encode=writer.encode)
    written = b"".join(block.processed for block in blocks(engine, io.BytesIO(data.encode()).read))
    table = parquet.read_table(io.BytesIO(written + writer.finish(columns)))
    assert str(table.schema.field("a").type) == f"decimal128(18, {scale})"
    assert table["a"].to_pylist() == values
    bounds = (
        parquet.ParquetFile(io.BytesIO(written + writer.finish(columns))).metadata.row_group(0).column(0).statistics
    )
    assert (bounds.min, bounds.max) == (min(values), max(values))
    report = engine.report()["columns"]["a"]
    assert Decimal(report.get("exact_sum", str(report["sum"]))) == sum(values)


def test_a_wrong_scale_is_refused_by_the_config() -> None:
    assert ColumnOptions(name="a", type="decimal", scale=0).scale == 0
    with pytest.raises(ValueError, match="scale goes with type decimal, not 'number'"):
        ColumnOptions(name="a", type="number", scale=0)
