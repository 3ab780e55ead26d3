"""`output.provenance`: each processed row says of which file and which of its rows it is."""

import io
import json
from typing import Any

import pytest
from pyarrow import parquet  # type: ignore[import-untyped]

from handlers.csv import engine as engine_module
from handlers.csv.columns import Column, FileFormat
from handlers.csv.engine import CsvEngine, blocks
from handlers.csv.parquet import ParquetWriter

from .reading import read_all

FORMAT = FileFormat((Column("n", "integer", unique=True), Column("text")), provenance=True, comment="#")
KEY = 'raw/a "b"\\ü.csv'


def text(count: int, *, quoted: bool) -> str:
    """Return rows of which some are rejected, and lines between them that are no rows."""
    quote = '"' if quoted else ""
    lines = [f"{'x' if each % 5 == 0 else each},{quote}t{each}{quote}\n" for each in range(1, count + 1)]
    lines[3] += "\n# no row\n"
    lines[10] += "1,again\n"
    lines[20] += "too,many,cells\n\n\n"
    return "n,text\n" + "".join(lines)


@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize("block_bytes", [50, 2**18])
@pytest.mark.parametrize("key", ["raw/a.csv", KEY])
def test_rows_are_counted_as_in_the_rejected_output(
    monkeypatch: pytest.MonkeyPatch, key: str, block_bytes: int, *, quoted: bool
) -> None:
    monkeypatch.setattr(engine_module, "BLOCK_BYTES", block_bytes)
    data = text(40, quoted=quoted)
    engine = CsvEngine(FORMAT, source=key)
    processed, rejected = read_all(engine, io.BytesIO(data.encode()).read)
    good, bad = ([json.loads(line) for line in part.splitlines()] for part in (processed, rejected))
    rows = [line for line in data.splitlines()[1:] if line and not line.startswith("#")]
    assert len(good) + len(bad) == engine.rows == len(rows) == 42
    assert sorted([each["_row"] for each in good] + [each["row"] for each in bad]) == list(range(1, 43))
    assert [rows[each["_row"] - 1].replace('"', "") for each in good] == [f"{row['n']},{row['text']}" for row in good]
    assert {each["_file"] for each in good} == {key}
    assert {*engine.report()["columns"]} == {"n", "text"}


def test_a_continued_file_goes_on_counting_and_parquet_has_the_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "BLOCK_BYTES", 50)
    data = text(40, quoted=False).encode()
    writer = ParquetWriter()
    engine = CsvEngine(FORMAT, encode=writer.encode, source=KEY)
    first = next(blocks(engine, io.BytesIO(data).read))
    state, written = json.loads(json.dumps(engine.state())), first.processed
    other = ParquetWriter(json.loads(json.dumps(writer.state())), writer.rests)
    engine = CsvEngine(FORMAT, state, other.encode, source=KEY)
    written += read_all(engine, io.BytesIO(data[first.consumed :]).read)[0]
    written += other.finish([check.column for check in engine.checks])
    found: list[dict[str, Any]] = parquet.read_table(io.BytesIO(written)).to_pylist()
    assert [row["_row"] for row in found[:5]] == [1, 2, 3, 4, 6]
    assert (len(found), {row["_file"] for row in found}) == (engine.processed, {KEY})
    schema = parquet.read_schema(io.BytesIO(written))
    assert [(name, str(schema.field(name).type), schema.field(name).nullable) for name in ("_file", "_row")] == [
        ("_file", "string", False),
        ("_row", "int64", False),
    ]


def test_without_the_option_there_are_no_such_columns() -> None:
    engine = CsvEngine(FileFormat(FORMAT.columns), source=KEY)
    processed, _ = read_all(engine, io.BytesIO(b"n,text\n1,a\n").read)
    assert json.loads(processed) == {"n": 1, "text": "a"}
