"""Round trips: one table as several programs write it, read with the preset for it.

These files are written by hand after each program's documentation. Those of test_peers.py are the programs' own.
"""

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from components.config import load
from components.options.csv import CsvPipelineConfig
from handlers.csv.columns import FileFormat
from tests.handlers.csv.reading import read_file

COLUMNS = [
    {"name": "id", "type": "integer"},
    {"name": "name"},
    {"name": "note"},
    {"name": "price", "type": "number"},
    {"name": "active", "type": "boolean"},
    {"name": "day", "type": "date"},
    {"name": "at", "type": "datetime"},
]
NOON = datetime(2024, 1, 31, 12, 30, tzinfo=UTC)
NIGHT = datetime(2024, 1, 31, 23, 59, 59, tzinfo=UTC)
TABLE: list[list[Any]] = [
    [1, "Café", 'say "hi", then; C:\\new\tx', 1234.5, True, "2024-01-31", NOON],
    [1234567, "two\nlines", None, -0.001, False, None, NIGHT],
    [None, "00501", "\\N", None, None, "1999-12-01", None],
]

# SELECT ... INTO OUTFILE; https://dev.mysql.com/doc/refman/8.4/en/load-data.html
MYSQL = (
    '1\tCafé\tsay "hi", then; C:\\\\new\\\tx\t1234.5\t1\t2024-01-31\t2024-01-31 12:30:00\n'
    "1234567\ttwo\\\nlines\t\\N\t-0.001\t0\t\\N\t2024-01-31 23:59:59\n"
    "\\N\t00501\t\\\\N\t\\N\t\\N\t1999-12-01\t\\N\n"
)
# "CSV" and "CSV UTF-8" of Excel, whose cells are as they are shown
EXCEL_DE = (
    "id;name;note;price;active;day;at\r\n"
    '1;Café;"say ""hi"", then; C:\\new\tx";1.234,50;WAHR;31.01.2024;31.01.2024 12:30\r\n'
    '1.234.567;"two\nlines";;-0,001;FALSCH;;31.01.2024 23:59:59\r\n'
    ";00501;\\N;;;01.12.1999;\r\n"
)
EXCEL_US = (
    "id,name,note,price,active,day,at\r\n"
    '1,Café,"say ""hi"", then; C:\\new\tx","1,234.50",TRUE,1/31/2024,1/31/2024 12:30\r\n'
    '"1,234,567","two\nlines",,-0.001,FALSE,,1/31/2024 11:59:59 PM\r\n'
    ",00501,\\N,,,12/1/1999,\r\n"
)


def file_format(preset: str | None, columns: Any = COLUMNS, **options: Any) -> FileFormat:
    values = {"columns": columns, "preset": preset, **options}
    given = {
        "datapipeline:variant": "csv",
        "datapipeline:environment": "dev",
        "datapipeline:input": json.dumps(values),
    }
    config = load(given, file="Pulumi.dev.yaml")
    assert isinstance(config, CsvPipelineConfig)
    return FileFormat.from_json(config.format_json())


def values(data: bytes, form: FileFormat) -> list[list[Any]]:
    """Return the rows of a file without a rejected one, with times as instants."""
    _, processed, rejected = read_file(io.BytesIO(data), form)
    assert rejected == b""
    rows = [list(json.loads(line).values()) for line in processed.split(b"\n") if line]
    for row in rows:
        if len(row) == len(COLUMNS) and row[-1]:
            at = datetime.fromisoformat(row[-1])
            row[-1] = at if at.tzinfo else at.replace(tzinfo=UTC)
    return rows


@pytest.mark.parametrize(
    ("preset", "text", "encoding"),
    [
        ("mysql", MYSQL, "utf-8"),
        ("excel-de", EXCEL_DE, "utf-8-sig"),
        ("excel-de", EXCEL_DE, "windows-1252"),
        ("excel-us", EXCEL_US, "utf-8-sig"),
        ("excel-us", EXCEL_US, "windows-1252"),
    ],
)
def test_a_table_of_all_types_is_read_as_it_was_written(preset: str | None, text: str, encoding: str) -> None:
    assert values(text.encode(encoding), file_format(preset)) == TABLE


@pytest.mark.parametrize(
    ("preset", "cell", "delimiter"),
    [
        ("excel-us", "2024-01-31 00:00:00", ","),
        ("excel-us", "1/31/2024 0:00", ","),
        ("excel-us", "1/31/2024 12:00:00 AM", ","),
        ("excel-de", "2024-01-31 00:00:00", ";"),
        ("excel-de", "31.01.2024 00:00", ";"),
    ],
)
def test_excels_dates_may_have_a_time_of_midnight_and_no_other(preset: str, cell: str, delimiter: str) -> None:
    columns = [{"name": "day", "type": "date"}, {"name": "note"}]
    form = file_format(preset, columns=columns)
    text = f"day{delimiter}note\n{cell}{delimiter}x\n"
    assert values(text.encode(), form) == [["2024-01-31", "x"]]
    _, processed, rejected = read_file(io.BytesIO(text.replace("00", "01").replace("0:01", "0:02").encode()), form)
    assert (processed, json.loads(rejected)["errors"][0]["reason"]) == (b"", "not_a_date")


@pytest.mark.parametrize(
    ("preset", "cell", "delimiter"),
    [("excel-us", "1/31/2024", ","), ("excel-de", "31.01.2024", ";"), ("rfc4180", "2024-01-31", ",")],
)
def test_a_time_that_is_written_as_a_date_is_its_midnight(preset: str, cell: str, delimiter: str) -> None:
    form = file_format(preset, columns=[{"name": "at", "type": "datetime"}, {"name": "note"}])
    assert values(f"at{delimiter}note\n{cell}{delimiter}x\n".encode(), form) == [["2024-01-31T00:00:00.000000Z", "x"]]


def test_keys_that_are_set_replace_those_of_the_preset() -> None:
    form = file_format("mysql", header="first", delimiter=",", quoting="standard", encoding="cp850")
    assert (form.header, form.delimiter, form.quoting, form.escape) == ("first", ",", "standard", "\\")
    german = file_format("excel-de", columns=[{"name": "n", "type": "number", "group": " "}], encoding="cp850")
    assert (german.columns[0].decimal, german.columns[0].group, german.encodings) == (",", " ", ("cp850",))


cells = st.none() | st.text(
    st.characters(exclude_characters="\0\ufeff", exclude_categories=["Cs"]), min_size=1, max_size=8
)
tables = st.lists(st.tuples(cells, cells), min_size=1, max_size=5)
TWO = [{"name": "some_text"}, {"name": "other_text"}]


def dumped(cell: str | None, escapes: dict[str, str]) -> str:
    return "\\N" if cell is None else "".join(escapes.get(each, each) for each in cell)


@pytest.mark.parametrize(
    ("preset", "escapes"),
    [
        (
            "postgres",
            {"\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"},
        ),
        ("mysql", {each: f"\\{each}" for each in "\\\n\t"}),
    ],
)
@given(table=tables)
@example(table=[("\\N", None), (None, None), ("\\.", "#"), ("a\rb", '"')])
@example(table=[("\r", None)])
@example(table=[("A", "\rA"), ("\r\n", "\r\nx")])
def test_any_table_survives_the_dumps_of_databases(
    preset: str, escapes: dict[str, str], table: list[tuple[str | None, str | None]]
) -> None:
    # MySQL does not escape a CR, so one before the end of a row is a part of the line end.
    assume(preset == "postgres" or not any((row[1] or "").endswith("\r") for row in table))
    text = "".join("\t".join(dumped(cell, escapes) for cell in row) + "\n" for row in table)
    assert values(text.encode(), file_format(preset, columns=TWO)) == [list(row) for row in table]
