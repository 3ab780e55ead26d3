"""`pipeline csv schema`: readers read what the engine wrote, with the same types from every file."""

import io
import json
import subprocess
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from cli.csv_schema import TYPES, columns_of, schema
from handlers.csv.column_types import COLUMN_TYPES
from handlers.csv.columns import Column, FileFormat
from handlers.csv.engine import CsvEngine, blocks
from handlers.csv.files import File
from handlers.csv.gzip_stream import GzipStream
from handlers.csv.parquet import ParquetWriter
from tests.components.test_csv import loaded

from .conftest import Command

PEERS_PYTHON = Path(__file__).parents[2] / ".build/peers/bin/python"
COLUMNS = dict(zip(("na`me", "it's", 'pri"ce', "sum", "ok", "day", "at"), COLUMN_TYPES, strict=True))
# The numbers of the first begin with an integer, the second has nothing but nulls.
FILES = [
    (
        "n,i,p,s,o,d,a\nAda,9007199254740993,40,7,yes,2024-01-31,2024-01-31 12:30+02\n"
        "Bob,,2.5,0.10,,,2024-01-31T10:30:00.25Z\n"
    ),
    "n,i,p,s,o,d,a\nEve,,,,,,\n",
    "n,i,p,s,o,d,a\nKim,1,1e3,-12345678901234.56,no,9999-12-31,1999-12-31 00:00\n",
]
ROWS = [
    ["Ada", 9007199254740993, 40.0, "7.00", True, date(2024, 1, 31), datetime(2024, 1, 31, 10, 30, tzinfo=UTC)],
    ["Bob", None, 2.5, "0.10", None, None, datetime(2024, 1, 31, 10, 30, 0, 250_000, tzinfo=UTC)],
    ["Eve", None, None, None, None, None, None],
    ["Kim", 1, 1000.0, "-12345678901234.56", False, date(9999, 12, 31), datetime(1999, 12, 31, tzinfo=UTC)],
]
# What a reader's rows are printed with.
RUN = {
    "duckdb": "import duckdb, sys\nduckdb.sql(\"SET TimeZone = 'UTC'\")\nrows = duckdb.sql(sys.argv[1]).fetchall()\n",
    "polars": "import sys\nexec(sys.argv[1])\nrows = frame.rows()\n",
    "pyarrow": "import sys\nexec(sys.argv[1])\nrows = [list(row.values()) for row in table.to_pylist()]\n",
}
PRINT = (
    "import json\ntext = lambda each: each.isoformat() if hasattr(each, 'isoformat') else str(each)\n"
    "print(json.dumps(sorted(map(list, rows)), default=text))"
)


def write(folder: Path, output_format: str) -> None:
    """Write the outputs of the files as the worker does."""
    columns = tuple(
        Column(name, kind, aliases=(alias,)) for (name, kind), alias in zip(COLUMNS.items(), "nipsoda", strict=True)
    )
    for number, text in enumerate(FILES):
        target = folder / f"date={number}.csv" / f"{number}.{output_format}"
        target.parent.mkdir(parents=True)
        parquet, stream = ParquetWriter(), GzipStream()
        form = FileFormat(columns, numbers="double" if output_format == "parquet" else "text")
        engine = CsvEngine(form, encode=parquet.encode) if output_format == "parquet" else CsvEngine(form)
        data = b"".join(block.processed for block in blocks(engine, io.BytesIO(text.encode()).read))
        if output_format == "parquet":
            data += parquet.finish([check.column for check in engine.checks])
        elif output_format == "jsonl.gz":
            data = stream.write(data) + stream.finish()
        target.write_bytes(data)


@pytest.mark.parametrize("output_format", ["jsonl.gz", "jsonl", "parquet"])
@pytest.mark.parametrize("reader", RUN)
@pytest.mark.skipif(not PEERS_PYTHON.exists(), reason="`make peers` installs the readers")
def test_a_reader_reads_every_value_from_every_file(tmp_path: Path, reader: Any, output_format: str) -> None:
    folder = tmp_path / "it's"
    write(folder, output_format)
    text = "\n".join(schema(reader, COLUMNS, output_format, str(folder)))
    command = [str(PEERS_PYTHON), "-c", RUN[reader] + PRINT, text]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for row in found:
        row[5], row[6] = row[5] and date.fromisoformat(row[5]), row[6] and datetime.fromisoformat(row[6])
    assert found == ROWS


# Uploads whose names readers took for a column or for hidden files, when the names were folders of the outputs.
NAMES = {"columns": ["date=2020-01-01.csv", "date=2020-01-02/x.csv"], "hidden": ["_x.csv", ".x.csv", "plain.csv"]}
DEFAULTS = {
    "duckdb": "import duckdb, sys\n"
    "rows = duckdb.sql(f\"SELECT * FROM read_json('{sys.argv[1]}/**/*.jsonl.gz')\").fetchall()\n",
    "polars": "import polars as pl, sys\nrows = pl.scan_ndjson(f'{sys.argv[1]}/**/*.jsonl.gz').collect().rows()\n",
    "pyarrow": "import pyarrow.dataset as ds, sys\n"
    "table = ds.dataset(sys.argv[1], format='json', partitioning='hive').to_table()\n"
    "rows = [list(row.values()) for row in table.to_pylist()]\n",
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("reader", DEFAULTS)
@pytest.mark.skipif(not PEERS_PYTHON.exists(), reason="`make peers` installs the readers")
def test_no_name_of_an_upload_changes_what_a_reader_finds(tmp_path: Path, reader: str, names: list[str]) -> None:
    for number, name in enumerate(names):
        file = File("inputs", f"raw/{name}", "", "e", 1, {})
        target = tmp_path / file.output_key("processed/", datetime.now(UTC).isoformat(), ".jsonl.gz")
        target.parent.mkdir(parents=True, exist_ok=True)
        stream = GzipStream()
        target.write_bytes(stream.write(b'{"n":%d,"date":"x"}\n' % number) + stream.finish())
    command = [str(PEERS_PYTHON), "-c", DEFAULTS[reader] + PRINT, str(tmp_path / "processed")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[number, "x"] for number in range(len(names))]


def test_every_reader_has_every_type() -> None:
    assert {reader: set(types) for reader, types in TYPES.items()} == {reader: set(COLUMN_TYPES) for reader in TYPES}


def test_the_columns_of_provenance_are_in_the_schema() -> None:
    assert columns_of(loaded()) == {"a": "string"}
    assert columns_of(loaded(output={"provenance": True})) == {"a": "string", "_file": "string", "_row": "integer"}


def test_names_are_quoted_for_athena_and_spark() -> None:
    athena = schema("athena", COLUMNS, "jsonl.gz", "s3://b/processed")
    assert athena[1:4] == ["  `na``me` string,", "  `it's` bigint,", '  `pri"ce` double,']
    assert athena[4:6] == ["  `sum` decimal(18,2),", "  `ok` boolean,"]
    assert athena[7:] == [
        "  `at` string",
        ") ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'",
        "LOCATION 's3://b/processed/';",
        '-- A time: from_iso8601_timestamp("at")',
    ]
    assert schema("athena", {"at": "datetime"}, "parquet", "s3://b/processed")[1:] == [
        "  `at` timestamp",
        ") STORED AS PARQUET",
        "LOCATION 's3://b/processed/';",
    ]
    assert schema("spark", {'a`"b': "number"}, "jsonl", "s3://b/processed") == [
        'schema = "`a``\\"b` DOUBLE"',
        'reader = spark.read.schema(schema).option("recursiveFileLookup", "true")',
        'frame = reader.json("s3://b/processed")',
    ]


def test_the_command_prints_the_columns_of_the_stack(pipeline: Command) -> None:
    done = pipeline("csv", "schema", "--for", "duckdb")
    assert done.exit_code == 0
    first, second = done.stdout.splitlines()
    assert first == (
        "SELECT * FROM read_json('s3://OUTPUT_BUCKET/processed/**/*.jsonl.gz', format = 'newline_delimited', "
        "hive_partitioning = false,"
    )
    types = "'name': 'VARCHAR', 'email': 'VARCHAR', 'amount': 'DOUBLE', 'date': 'DATE', 'quantity': 'BIGINT'"
    assert second == f"  columns = {{{types}}});"
    done = pipeline("csv", "schema", "--for", "excel")
    assert (done.exit_code, done.stderr) == (
        1,
        "error: --for excel: choose one of athena, duckdb, spark, pyarrow, polars\n",
    )
