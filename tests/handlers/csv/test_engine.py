"""Properties of the engine: it never loses, duplicates or changes a row, in any dialect and after any interruption."""

import csv
import gzip
import io
import json
import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from handlers.csv import engine as engine_module
from handlers.csv.columns import Column, FileFormat
from handlers.csv.content import Content
from handlers.csv.encodings import DIRECT_ENCODINGS
from handlers.csv.engine import CsvEngine, blocks
from handlers.csv.statistics import EXACT_VALUES, FEWEST_HASHES, HASHES_OF_ALL, Distinct, distinct_of
from handlers.csv.text import DELIMITERS, FileError, plain_columns, split_lines
from tests.handlers.csv.reading import read_all

FORMAT = FileFormat(
    columns=(Column("text"), Column("number", "number"), Column("integer", "integer"), Column("day", "date")),
    unknown_columns="keep",
)
NAMES = ["text", "number", "integer", "day"]

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
numbers = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30).map(str)
integers = st.integers(-(2**63), 2**63 - 1).map(str)
days = st.dates().map(str)
good_rows = st.tuples(texts, numbers | st.just(""), integers | st.just(""), days | st.just(""))
# Rows of nothing but delimiters are blank lines; test_corpus.py has them.
rows = st.lists(
    (good_rows | st.lists(texts, min_size=1, max_size=6).map(tuple)).filter(lambda row: any(map(str.strip, row))),
    max_size=30,
)


@st.composite
def dialects(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "delimiter": draw(st.sampled_from(",;\t|^:")),
        "lineterminator": draw(st.sampled_from(["\n", "\r\n", "\r"])),
        "quoting": draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])),
    }


def written(table: list[tuple[str, ...]], dialect: dict[str, Any]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, **dialect)
    # csv.writer does not quote a lone CR or LF that is not the dialect's line end, so readers would split the row.
    writer.writerow(NAMES)
    for row in table:
        plain = all("\r" not in cell and "\n" not in cell for cell in row) and row != ("",)
        (writer if plain else csv.writer(out, **{**dialect, "quoting": csv.QUOTE_ALL})).writerow(row)
    return out.getvalue()


def is_good(row: tuple[str, ...]) -> bool:
    """Decide independently of the engine."""
    if len(row) != 4 or not row[1].isascii():
        return False
    try:
        number_is_good = not row[1] or (row[1].strip() == row[1] and "_" not in row[1] and Decimal(row[1]).is_finite())
        return number_is_good and all(
            not cell or ok(cell) for cell, ok in zip(row[2:], (_is_integer, _is_day), strict=True)
        )
    except ArithmeticError:
        return False


def _is_integer(cell: str) -> bool:
    return (
        cell.isascii()
        and cell.lstrip("+-").isdigit()
        and cell[1:].isdigit() | (len(cell) == 1)
        and abs(int(cell)) <= 2**63
    )


def _is_day(cell: str) -> bool:
    return len(cell) == 10 and cell.isascii() and cell[4] + cell[7] == "--" and cell.replace("-", "").isdigit()


@given(
    table=rows,
    dialect=dialects(),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be"]),
    size=st.integers(60, 2_000),
)
def test_every_row_of_any_table_is_preserved_or_rejected(
    table: list[tuple[str, ...]],
    dialect: dict[str, Any],
    encoding: str,
    size: int,
) -> None:
    data = written(table, dialect).encode(encoding)
    name = encoding.removesuffix("-sig")
    file_format = FileFormat(FORMAT.columns, delimiter=dialect["delimiter"], encodings=(name,))
    reader = CsvEngine(file_format)
    with patch.object(engine_module, "BLOCK_BYTES", size):
        processed, rejected = read_all(reader, io.BytesIO(data).read)
    found = [json.loads(line, parse_float=Decimal, parse_int=Decimal) for line in processed.splitlines()]
    expected = [row for row in table if is_good(row)]
    assert [line["text"] for line in found] == [row[0] or None for row in expected]
    assert [line["day"] for line in found] == [row[3] or None for row in expected]
    for column, position in (("number", 1), ("integer", 2)):
        assert [line[column] for line in found] == [
            Decimal(row[position]) if row[position] else None for row in expected
        ]
    refused = [json.loads(line) for line in rejected.splitlines()]
    assert [line["row"] for line in refused] == [number for number, row in enumerate(table, 1) if not is_good(row)]
    assert reader.rows == len(table) == reader.processed + reader.rejected


@pytest.mark.parametrize(
    "cell", ["=1+1", "+1", "-cmd|' /C calc'!A0", "@SUM(A1)", "\t=1+1", "[red]", "\x1b[2J", "\u2028"]
)
def test_cells_that_a_spreadsheet_or_terminal_would_execute_are_only_text_in_json(cell: str) -> None:
    processed, rejected = read_all(
        CsvEngine(FORMAT), io.BytesIO(f'text,number\n"{cell}",1\n"{cell}",x\n'.encode()).read
    )
    assert json.loads(processed)["text"] == cell
    (refused,) = (json.loads(line) for line in rejected.decode().split("\n") if line)
    assert refused["raw"] == f'"{cell}",x' or cell in refused["raw"]


def pieces(data: bytes, sizes: Iterator[int]) -> Any:
    """Read `data` in pieces of any size, as from a connection."""
    stream = io.BytesIO(data)
    return lambda size: stream.read(max(1, min(size, next(sizes))))


def continued(data: bytes) -> tuple[bytes, bytes, dict[str, Any]]:
    """Read each block with a new engine, restored from the previous one's state through JSON."""
    processed, rejected, state = b"", b"", None
    while True:
        reader = CsvEngine(FORMAT, json.loads(json.dumps(state)) if state else None)
        stream = io.BytesIO(data)
        stream.seek(reader.offset)
        block = next(blocks(reader, stream.read), None)
        if block is None:
            return processed, rejected, reader.report()
        processed, rejected, state = processed + block.processed, rejected + block.rejected, reader.state()


lines = st.lists(
    st.sampled_from(['"', '""', "a", "é", ",", ";", "\n", "\r\n", "\r", "\0", "1.5", "2024-01-02", "x" * 50]),
    max_size=80,
).map("".join)


@given(body=lines, size=st.integers(40, 90), longest=st.integers(90, 200), seed=st.integers(0, 99))
@example(body='"' + "\n" * 100, size=40, longest=90, seed=0)
@example(body="x" * 500, size=40, longest=90, seed=0)
def test_a_file_continued_after_every_block_gives_the_same_bytes(
    body: str,
    size: int,
    longest: int,
    seed: int,
) -> None:
    data = ",".join(NAMES).encode() + b"\n" + body.encode()
    chance = random.Random(seed)  # noqa: S311
    with patch.multiple(engine_module, BLOCK_BYTES=size, LONGEST_ROW_BYTES=longest):
        reader = CsvEngine(FORMAT)
        whole = read_all(reader, pieces(data, iter(lambda: chance.randint(1, 60), None)))
        assert continued(data) == (*whole, reader.report())
    assert reader.offset == len(data)
    assert reader.rows == reader.processed + reader.rejected == sum(map(len, map(bytes.splitlines, whole)))


@given(
    widths=st.lists(st.sampled_from([1, 2, 3, 3, 3, 4, 6]), max_size=6),
    cells=st.lists(st.sampled_from(["", "a", "é", " ", "\u2028", "'"]), min_size=36, max_size=36),
    ends=st.lists(st.sampled_from(["\n", "\r\n", "\r"]), min_size=6, max_size=6),
    uniform=st.booleans(),
    rest=st.sampled_from(["", "a,b,c", '"', "\n", "\n\n", ",\n"]),
)
@example(widths=[2, 4], cells=["a"] * 36, ends=["\n"] * 6, uniform=True, rest="")
@example(widths=[3, 6], cells=["a"] * 36, ends=["\n"] * 6, uniform=True, rest="")
def test_columns_split_without_csv_reader_equal_its_result(
    widths: list[int],
    cells: list[str],
    ends: list[str],
    rest: str,
    *,
    uniform: bool,
) -> None:
    given_cells = iter(cells)
    rows = [",".join(next(given_cells) for _ in range(width)) for width in widths]
    text = "".join(row + (ends[0] if uniform else end) for row, end in zip(rows, ends, strict=False)) + rest
    columns = plain_columns(text, ",", 3)
    if columns is not None:
        assert list(map(list, zip(*columns, strict=True))) == list(csv.reader(split_lines(text), strict=True))
    else:
        assert not (uniform and rest == "" and ends[0] != "\r" and set(widths) == {3})


unquoted = st.lists(
    st.sampled_from(
        [b"a,1.5,7,2024-01-02", b"b,,8,", b"\xff,1,1,", b"\0,1,1,", b"a,b", b"", b",x,y,z", b"\xc3\xa9,1,2,"]
    )
)


@given(rows=unquoted, size=st.integers(40, 200))
@example(rows=[b"a,1.5,7,2024-01-02"] * 3 + [b"\0,1,1,"] + [b"a,1.5,7,2024-01-02"] * 3, size=40)
@example(rows=[b"a,1.5,7,2024-01-02"] * 3 + [b"\xff,1,1,"] + [b"a,1.5,7,2024-01-02"] * 3, size=40)
@example(rows=[b"a,1.5,7,2024-01-02"] * 3 + [b",x,y,z"] + [b"a,1.5,7,2024-01-02"] * 3, size=40)
def test_the_block_size_does_not_change_the_output(rows: list[bytes], size: int) -> None:
    # The first block has the header and is read by csv.reader; the others are not.
    data = b"".join(line + b"\n" for line in [",".join(NAMES).encode(), *rows])
    engines = [CsvEngine(FORMAT), CsvEngine(FORMAT)]
    whole = read_all(engines[0], io.BytesIO(data).read)
    with patch.object(engine_module, "BLOCK_BYTES", size):
        assert read_all(engines[1], io.BytesIO(data).read) == whole
    assert engines[0].report() == engines[1].report()


def test_a_file_without_quotes_is_read_without_csv_reader() -> None:
    content = b"text,number\n" + b"x,1\r\n" * 200_000
    with patch.object(csv, "reader", wraps=csv.reader) as made:
        processed, _ = read_all(CsvEngine(FORMAT), io.BytesIO(content).read)
    assert processed.count(b"\n") == 200_000
    # Once per delimiter tried for the header, and once for the rest of the first block.
    assert made.call_count == len(DELIMITERS) + 1


@given(
    data=st.binary(max_size=300) | lines.map(str.encode),
    encoding=st.sampled_from([None, *DIRECT_ENCODINGS]),
    size=st.integers(20, 60),
)
@example(data=b"\xff\xfea\x00,\x00\n\x00\x00\xd8\x31", encoding=None, size=20)
def test_arbitrary_bytes_raise_nothing_but_file_errors(data: bytes, encoding: str | None, size: int) -> None:
    file_format = FileFormat((Column("a"), Column("b")), unknown_columns="keep", encodings=(encoding or "utf-8",))
    with patch.multiple(engine_module, BLOCK_BYTES=size, LONGEST_ROW_BYTES=60):
        for prefix in ("", "a,b\n", "\n"):
            reader = CsvEngine(file_format)
            name = encoding or "utf-8"
            try:
                processed, rejected = read_all(reader, io.BytesIO(prefix.encode(name) + data).read)
            except FileError:
                continue
            assert len(processed.splitlines()) == reader.processed
            assert len(rejected.splitlines()) == reader.rejected
            for line in (*processed.splitlines(), *rejected.splitlines()):
                json.loads(line)


@given(
    data=st.binary(min_size=1, max_size=2_000),
    sizes=st.lists(st.integers(1, 300), min_size=1, max_size=5),
    members=st.integers(1, 3),
)
def test_gzip_is_decompressed_from_pieces_of_any_size(data: bytes, sizes: list[int], members: int) -> None:
    compressed = gzip.compress(data) * members
    endless = iter(lambda: random.choice(sizes), None)  # noqa: S311
    content = Content(pieces(compressed, endless), max_expansion=250)
    skipped = len(data) // 2
    content.skip(skipped)
    read = b""
    while piece := content.read(random.choice(sizes)):  # noqa: S311
        read += piece
    assert read == (data * members)[skipped:]


# Statistics


def test_the_report_has_the_statistics_of_every_column() -> None:
    text = "text,number,integer,day\n" + "x,0.1,9223372036854775807,2024-01-02\n" * 10 + "y,,1,\n,-2.5,,1999-12-31\n"
    reader = CsvEngine(FORMAT)
    read_all(reader, io.BytesIO(text.encode()).read)
    assert reader.report()["columns"] == {
        "text": {"type": "string", "count": 11, "nulls": 1, "distinct": 2, "distinct_is_approximate": False},
        "number": {"type": "number", "count": 11, "nulls": 1, "sum": -1.5, "avg": -1.5 / 11, "min": -2.5, "max": 0.1},
        "integer": {
            "type": "integer",
            "count": 11,
            "nulls": 1,
            "sum": 92233720368547758071,
            "avg": 92233720368547758071 / 11,
            "min": 1,
            "max": 2**63 - 1,
        },
        "day": {"type": "date", "count": 11, "nulls": 1, "min": "1999-12-31", "max": "2024-01-02"},
    }


@pytest.mark.parametrize("shape", ["user{}@example.com", "{:08}", "{:x}"])
def test_distinct_counts_are_exact_up_to_the_bound_and_then_marked_as_approximate(shape: str) -> None:
    distinct = Distinct(EXACT_VALUES)
    for start in range(0, EXACT_VALUES, 1_000):
        distinct.add([shape.format(number) for number in range(start, start + 1_000)] * 2)
    assert (distinct.count(), distinct.approximate) == (EXACT_VALUES, False)
    for start in range(EXACT_VALUES, 300_000, 10_000):
        distinct.add([shape.format(number) for number in range(start, start + 10_000)])
    assert distinct.approximate
    assert distinct.count() == pytest.approx(300_000, rel=0.08)
    again = Distinct(EXACT_VALUES)
    again.restore(json.loads(json.dumps(distinct.state())))
    for start in range(0, 300_000, 10_000):
        again.add([shape.format(number) for number in range(start, start + 10_000)])
    assert again.count() == distinct.count()


@pytest.mark.parametrize(("columns", "error"), [(1, 0.022), (48, 0.022), (100, 0.032), (1_000, 0.1), (5_000, 0.126)])
def test_string_columns_share_the_limits_and_estimates_are_as_accurate_as_documented(
    columns: int, error: float
) -> None:
    distinct = distinct_of(columns)
    for start in range(0, 50_000, 50):
        distinct.add([f"{number}" for number in range(start, start + 50)])
        strings, hashes = len(distinct._values or ()), len(distinct._smallest)
        # The minimum counts twice because of SLACK.
        assert strings + hashes <= max(HASHES_OF_ALL // columns, 2 * FEWEST_HASHES)
    assert distinct.approximate
    # Four standard errors; the sample is deterministic.
    assert distinct.count() == pytest.approx(50_000, rel=4 * error)


def test_a_wide_file_has_the_same_counts_in_one_run_and_in_many() -> None:
    names = [FORMAT.columns[0].name, *(f"c{number}" for number in range(2_500))]
    data = "\n".join([",".join(names), *(",".join(f"{row}{name}" for name in names) for row in range(100))]).encode()
    engine = CsvEngine(FORMAT)
    list(blocks(engine, io.BytesIO(data).read))
    # The four configured columns come first.
    assert {len(column["distinct"]["smallest"]) for column in engine.state()["table"]["statistics"][4:]} == {
        FEWEST_HASHES
    }
    assert continued(data)[2] == engine.report()


def test_long_strings_do_not_exhaust_memory() -> None:
    distinct = Distinct(100)
    distinct.add([f"{number}{'x' * 1_000}" for number in range(50)])
    assert distinct.approximate
    assert distinct.count() == 50
