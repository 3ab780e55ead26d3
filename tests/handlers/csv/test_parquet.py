"""Parquet files as read by pyarrow: they contain every processed row exactly, also after interruptions."""

import csv
import io
import json
import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import pyarrow as pa  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import dataset, parquet

from handlers.csv import engine as engine_module
from handlers.csv import parquet as parquet_module
from handlers.csv import parquet_chunks
from handlers.csv.columns import Column, FileFormat
from handlers.csv.engine import CsvEngine, blocks
from handlers.csv.parquet import ParquetWriter

OPTIONAL = (
    Column("text"),
    Column("integer", "integer"),
    Column("number", "number"),
    Column("flag", "boolean"),
    Column("day", "date"),
    Column("time", "datetime"),
)
REQUIRED = tuple(Column(column.name, column.type, required=True) for column in OPTIONAL)

SCHEMA = {
    "text": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "flag": pa.bool_(),
    "day": pa.date32(),
    "time": pa.timestamp("us", tz="UTC"),
}

# Within the calendar in UTC, whatever the offset.
times = st.datetimes(
    datetime(1, 1, 2),  # noqa: DTZ001  a limit
    datetime(9999, 12, 30),  # noqa: DTZ001
    timezones=st.integers(-1_439, 1_439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
filled = st.tuples(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.dates(),
    times,
)
rows_with_nulls = st.tuples(filled, st.tuples(*[st.booleans()] * 6)).map(
    lambda drawn: tuple(value if there else None for value, there in zip(*drawn, strict=True)),
)


def file_format(columns: Sequence[Column], **more: Any) -> FileFormat:
    return FileFormat(tuple(columns), numbers="double", **more)


def written(table: Sequence[Sequence[Any]]) -> bytes:
    """Return Python values as a CSV file."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerow([column.name for column in OPTIONAL])
    writer.writerows([["" if value is None else str(value) for value in row] for row in table])
    return out.getvalue().encode()


def converted(data: bytes, how: FileFormat) -> tuple[bytes, CsvEngine]:
    writer = ParquetWriter()
    reader = CsvEngine(how, encode=writer.encode)
    pieces = [block.processed for block in blocks(reader, io.BytesIO(data).read)]
    return b"".join([*pieces, writer.finish([check.column for check in reader.checks])]), reader


def continued(data: bytes, how: FileFormat) -> bytes:
    """Convert each block with a new engine and writer, restored from the previous ones' state through JSON."""
    written, state, rests = b"", None, list[bytes]()
    while True:
        kept = json.loads(json.dumps(state))
        writer = ParquetWriter(kept and kept[1], rests)
        reader = CsvEngine(how, kept and kept[0], writer.encode)
        stream = io.BytesIO(data)
        stream.seek(reader.offset)
        block = next(blocks(reader, stream.read), None)
        if block is None:
            return written + writer.finish([check.column for check in reader.checks])
        written += block.processed
        state, rests = [reader.state(), writer.state()], writer.rests


def read(data: bytes) -> Any:
    table = parquet.read_table(io.BytesIO(data))
    table.validate(full=True)
    return table


@settings(deadline=None)  # pyarrow imports parts of itself on first use
@given(table=st.lists(rows_with_nulls, min_size=1, max_size=40), size=st.integers(100, 3_000))
def test_every_value_of_any_table_is_preserved(table: list[tuple[Any, ...]], size: int) -> None:
    with patch.object(engine_module, "BLOCK_BYTES", size), patch.object(parquet_module, "ROW_GROUP_BYTES", 2 * size):
        data, reader = converted(written(table), file_format(OPTIONAL))
    found = read(data)
    assert reader.processed == len(table)
    assert {field.name: field.type for field in found.schema} == SCHEMA
    assert [tuple(row.values()) for row in found.to_pylist()] == table


@settings(deadline=None)  # pyarrow imports parts of itself on first use
@given(table=st.lists(filled, min_size=1, max_size=40))
def test_required_columns_are_preserved_and_not_nullable(table: list[tuple[Any, ...]]) -> None:
    data, _ = converted(written(table), file_format(REQUIRED))
    found = read(data)
    assert not any(field.nullable for field in found.schema)
    assert [tuple(row.values()) for row in found.to_pylist()] == table


@settings(deadline=None)  # pyarrow imports parts of itself on first use
@given(table=st.lists(rows_with_nulls, min_size=1, max_size=40), groups=st.integers(1, 1_000))
def test_a_file_continued_after_every_block_gives_the_same_bytes(
    table: list[tuple[Any, ...]],
    groups: int,
) -> None:
    content = written(table)
    with patch.object(engine_module, "BLOCK_BYTES", 300), patch.object(parquet_module, "ROW_GROUP_BYTES", groups):
        whole, _ = converted(content, file_format(OPTIONAL))
        assert continued(content, file_format(OPTIONAL)) == whole


def test_a_large_file_has_few_row_groups_and_several_pages_in_each() -> None:
    content = b"text,integer\n" + b"".join(b"name %d,%d\n" % (number, number) for number in range(100_000))
    columns = (Column("text", required=True), Column("integer", "integer"))
    with patch.object(parquet_module, "ROW_GROUP_BYTES", 2**18):
        data, _ = converted(content, file_format(columns))
    metadata = parquet.ParquetFile(io.BytesIO(data)).metadata
    assert (metadata.num_rows, metadata.num_row_groups) == (100_000, 2)
    groups = [metadata.row_group(position).column(0) for position in range(2)]
    assert sum(chunk.total_compressed_size for chunk in groups) < len(data)
    # Each text has a length of four bytes, each page a header of about 20 bytes.
    size = sum(4 + len(f"name {number}") for number in range(100_000))
    assert size < sum(chunk.total_uncompressed_size for chunk in groups) < size + 1_000
    assert read(data)["integer"].to_pylist() == list(range(100_000))


def test_missing_columns_are_null_and_unknown_columns_are_strings() -> None:
    how = file_format((Column("a", "integer"), Column("b", "date"), Column("c")), unknown_columns="keep")
    data, _ = converted("Extra One,a,größe\nx,1,y\n,2,\n".encode(), how)
    found = read(data)
    assert [str(field.type) for field in found.schema] == ["int64", "date32[day]", "string", "string", "string"]
    assert found.to_pylist() == [
        {"a": 1, "b": None, "c": None, "extra_one": "x", "größe": "y"},
        {"a": 2, "b": None, "c": None, "extra_one": None, "größe": None},
    ]


def test_more_columns_than_a_short_thrift_list_allows_are_written() -> None:
    names = [f"column_{number}" for number in range(200)]
    data, _ = converted(
        ",".join(names).encode() + b"\n" + b",".join([b"7"] * 200),
        file_format([Column(name, "integer") for name in names]),
    )
    assert read(data).to_pylist() == [dict.fromkeys(names, 7)]


def test_there_is_no_file_without_processed_rows() -> None:
    assert converted(b"text\n", file_format((Column("text", required=True),)))[0] == b""
    assert converted(b"text,x\n,1\n", file_format((Column("text", required=True),)))[0] == b""


def test_a_time_without_an_offset_is_utc() -> None:
    data, _ = converted(b"time\n2024-01-02 03:04\n2024-01-02T03:04:05.000006+01:00\n", file_format(OPTIONAL[5:]))
    assert read(data)["time"].to_pylist() == [
        datetime(2024, 1, 2, 3, 4, tzinfo=UTC),
        datetime(2024, 1, 2, 2, 4, 5, 6, tzinfo=UTC),
    ]


def test_the_first_and_last_dates_and_times_are_written() -> None:
    data, _ = converted(
        b"day,time\n0001-01-01,0001-01-01T00:00:00+00\n9999-12-31,9999-12-31T23:59:59.999999Z\n",
        file_format(OPTIONAL[4:]),
    )
    found = read(data)
    assert found["day"].to_pylist() == [date.min, date.max]
    first = datetime(1970, 1, 1, tzinfo=UTC)
    limits = [datetime.min.replace(tzinfo=UTC) - first, datetime.max.replace(tzinfo=UTC) - first]
    assert found["time"].cast(pa.int64()).to_pylist() == [limit // timedelta(microseconds=1) for limit in limits]


# Dictionaries and bounds


@settings(deadline=None)  # pyarrow imports parts of itself on first use
@given(
    table=st.lists(rows_with_nulls, min_size=1, max_size=8),
    order=st.lists(st.integers(0, 7), min_size=20, max_size=80),
    room=st.sampled_from([2, 5, 4_096]),
    size=st.integers(200, 2_000),
)
def test_values_that_repeat_are_preserved_whatever_fits_the_dictionary(
    table: list[tuple[Any, ...]], order: list[int], room: int, size: int
) -> None:
    rows = [table[number % len(table)] for number in order]
    with (
        patch.object(engine_module, "BLOCK_BYTES", size),
        patch.object(parquet_module, "ROW_GROUP_BYTES", 2 * size),
        patch.object(parquet_chunks, "MOST_TEXTS", room),
    ):
        data, reader = converted(written(rows), file_format(OPTIONAL))
        assert continued(written(rows), file_format(OPTIONAL)) == data
    assert reader.processed == len(rows)
    assert [tuple(row.values()) for row in read(data).to_pylist()] == rows
    in_bounds(data)


def in_bounds(data: bytes) -> None:
    """Assert that each chunk's bounds and number of nulls are those of its values."""
    file = parquet.ParquetFile(io.BytesIO(data))
    for group in range(file.num_row_groups):
        values = file.read_row_group(group)
        for position, name in enumerate(values.column_names):
            found = file.metadata.row_group(group).column(position).statistics
            cells = [cell for cell in values[name].to_pylist() if cell is not None]
            assert found.null_count == len(values) - len(cells)
            if cells and all(len(cell) <= 64 for cell in cells if isinstance(cell, str)):
                low, high = min(cells), max(cells)
                assert (found.min, found.max) == (low, high)
                if name == "number":
                    # Both zeros are within the bounds.
                    assert low or math.copysign(1, found.min) < 0
                    assert high or math.copysign(1, found.max) > 0
            else:
                assert not found.has_min_max


def encodings(rows: int, different: int) -> tuple[set[str], int]:
    text = "text,number\n" + "".join(f"value {number % different},{number % different}\n" for number in range(rows))
    data, _ = converted(text.encode(), file_format((Column("text"), Column("number", "number"))))
    assert read(data)["text"].to_pylist() == [f"value {number % different}" for number in range(rows)]
    assert read(data)["number"].to_pylist() == [number % different for number in range(rows)]
    in_bounds(data)
    return set(parquet.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(0).encodings), len(data)


def test_few_different_values_are_written_once() -> None:
    few, small = encodings(40_000, 3)
    more, _ = encodings(40_000, 1_000)
    all_different, large = encodings(40_000, 40_000)
    assert "RLE_DICTIONARY" in few
    assert "RLE_DICTIONARY" in more
    assert "RLE_DICTIONARY" not in all_different
    assert small * 20 < large


def test_a_long_value_has_no_bounds_and_no_dictionary() -> None:
    text = "text\n" + ("x" * 65 + "\n") * 10
    data, _ = converted(text.encode(), file_format((Column("text"),)))
    chunk = parquet.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(0)
    assert (chunk.statistics.has_min_max, "RLE_DICTIONARY" in chunk.encodings) == (False, False)
    assert read(data)["text"].to_pylist() == ["x" * 65] * 10


def test_a_reader_skips_row_groups_by_their_bounds() -> None:
    text = "text,number\n" + "".join(f"{number:06},{number}\n" for number in range(20_000))
    with patch.object(engine_module, "BLOCK_BYTES", 2**14), patch.object(parquet_module, "ROW_GROUP_BYTES", 2**13):
        data, _ = converted(text.encode(), file_format((Column("text"), Column("number", "number"))))
    fragment = dataset.ParquetFileFormat().make_fragment(pa.BufferReader(data))
    assert len(fragment.row_groups) > 5
    assert len(fragment.subset(dataset.field("number") == 19_999).row_groups) == 1
    assert len(fragment.subset(dataset.field("text") == "000001").row_groups) == 1


# Numbers that a double does not preserve


def numbers(*texts: str) -> tuple[list[float], list[tuple[int, str]]]:
    """Return the written numbers of a column, and the rejected rows."""
    how = file_format((Column("number", "number"), Column("x")))
    content = "number,x\n" + "".join(f"{text},x\n" for text in texts)
    writer = ParquetWriter()
    reader = CsvEngine(how, encode=writer.encode)
    done = list(blocks(reader, io.BytesIO(content.encode()).read))
    data = b"".join([block.processed for block in done]) + writer.finish([check.column for check in reader.checks])
    refused = [json.loads(line) for block in done for line in block.rejected.splitlines()]
    return (
        read(data)["number"].to_pylist() if data else [],
        [(row["row"], row["errors"][0]["reason"]) for row in refused],
    )


@pytest.mark.parametrize(
    "text",
    [
        "12.50",
        "0.1",
        "-0.0",
        "123456789012345",
        "0.00000000000001",
        "1e22",
        "1.7976931348623157e308",
        "5e-324",
        "+07.0",
    ],
)
def test_a_number_that_a_double_preserves_is_written(text: str) -> None:
    assert numbers(text) == ([float(text)], [])


@pytest.mark.parametrize(
    "text",
    [
        "0.1000000000000000055511151231257827",
        "9007199254740993",
        "100000000000000001",
        "1e-400",
        "1e-9999",
    ],
)
def test_a_number_that_a_double_would_change_is_rejected(text: str) -> None:
    assert numbers("1.5", text, "2.5") == ([1.5, 2.5], [(2, "not_exact")])


@settings(deadline=None)  # pyarrow imports parts of itself on first use
@given(texts=st.lists(st.decimals(allow_nan=False, allow_infinity=False, places=None).map(str), max_size=20))
def test_every_written_number_equals_the_one_read(texts: list[str]) -> None:
    found, refused = numbers(*texts)
    gone = {row for row, _ in refused}
    kept = [text for row, text in enumerate(texts, 1) if row not in gone]
    assert [Decimal(repr(value)) for value in found] == [Decimal(text) for text in kept]


def test_json_lines_keep_digits_that_parquet_would_lose() -> None:
    reader = CsvEngine(FileFormat((Column("number", "number"),)))
    (block,) = blocks(reader, io.BytesIO(b"number\n9007199254740993\n").read)
    assert block.processed == b'{"number":9007199254740993.0}\n'


def test_a_time_that_microseconds_do_not_hold_is_rejected() -> None:
    columns = (Column("a", "datetime"),)
    text = b"a\n2024-01-02 03:04:05.123456789+00\n2024-01-02 03:04:05.123456000+00\n"
    engine = CsvEngine(FileFormat(columns, numbers="double"))
    block = engine.take(text, final=True)
    assert (engine.processed, json.loads(block.rejected)["errors"][0]["reason"]) == (1, "not_exact")
    assert CsvEngine(FileFormat(columns)).take(text, final=True).rejected == b""
