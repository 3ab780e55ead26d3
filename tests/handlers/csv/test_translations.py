"""Local spellings of cells: what they become, and that nothing ambiguous is guessed."""

import json

import pytest

from handlers.csv.column_types import check_of
from handlers.csv.columns import Column, FileFormat
from handlers.csv.engine import CsvEngine

EUROPEAN = Column("n", "number", decimal=",", group=".", strip=("€", "%", " "))


def read_cell(column: Column, cell: str, null_values: tuple[str, ...] = ()) -> str:
    """Return the cell's text in the output, or the reason of its rejection in angle brackets."""
    reading = check_of(column, null_values=null_values).read([cell])
    return f"<{reading.problems[0].reason}>" if reading.problems else reading.changed.get(0, cell)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("12,50", "12.50"),
        ("1.234", "1234"),
        ("1.234.567,8", "1234567.8"),
        ("1234,5", "1234.5"),
        ("€ 3", "3"),
        ("12 %", "12"),
        ("(12,50)", "-12.50"),
        ("(€ 12,50)", "-12.50"),
        ("-,5", "-0.5"),
        ("1,5e3", "1.5e3"),
        ("", ""),
        ("1.23", "<number_format>"),
        ("12.34.567", "<number_format>"),
        ("1,234.50", "<number_format>"),
        ("1.234.5", "<number_format>"),
        ("(-1)", "<number_format>"),
        ("€", "<number_format>"),
        ("NaN", "<number_format>"),
    ],
)
def test_a_number_is_read_with_its_separators_and_never_guessed(cell: str, text: str) -> None:
    assert read_cell(EUROPEAN, cell) == text


def test_a_point_in_a_number_with_a_decimal_comma_needs_group() -> None:
    column = Column("n", "number", decimal=",")
    assert read_cell(column, "1.234") == "<number_format>"
    problem = check_of(column).read(["1.234"]).problems[0]
    assert "see decimal, group and strip of the column" in problem.message


def test_groups_are_removed_from_integers() -> None:
    column = Column("n", "integer", group=",", max=2_000)
    assert read_cell(column, "1,234") == "1234"
    assert read_cell(column, "2,001") == "<too_large>"
    assert read_cell(column, "1,234.0") == "<not_an_integer>"


def test_a_date_that_two_formats_read_differently_is_rejected() -> None:
    column = Column("d", "date", format=("%d/%m/%Y", "%m/%d/%Y"), max="2024-12-31")
    cells = {"31/01/2024": "2024-01-31", "1/31/2024": "2024-01-31", "02/02/2024": "2024-02-02"}
    assert {cell: read_cell(column, cell) for cell in cells} == cells
    assert read_cell(column, "01/02/2024") == "<ambiguous_date>"
    assert read_cell(column, "31/01/2025") == "<too_large>"
    assert read_cell(Column("d", "date", format=("%Y-%m-%d %H:%M",)), "2024-01-31 10:00") == "<not_a_date>"


def test_a_time_in_a_format_is_written_in_iso_8601() -> None:
    column = Column("t", "datetime", format=("%d.%m.%Y %H:%M",), min="2024-01-01T00:00:00Z")
    assert read_cell(column, "31.01.2024 10:30") == "2024-01-31T10:30:00.000000Z"
    assert read_cell(column, "31.01.2023 10:30") == "<too_small>"
    assert read_cell(column, "2024-01-31T10:30Z") == "2024-01-31T10:30:00.000000Z"


def test_words_for_booleans_add_to_the_usual_ones() -> None:
    column = Column("b", "boolean", true_values=("ja", "0"), false_values=("nein",))
    cells = {"ja": "true", "nein": "false", "0": "true", "T": "true", "n": "false", "JA": "<not_a_boolean>"}
    assert {cell: read_cell(column, cell) for cell in cells} == cells


def test_null_tokens_of_a_column_replace_those_of_the_file() -> None:
    assert read_cell(Column("n", "number"), "NA", ("NA",)) == ""
    assert read_cell(Column("n", "number", required=True), "NA", ("NA",)) == "<required>"
    assert read_cell(Column("n", "number", null_values=("-",)), "NA", ("NA",)) == "<not_a_number>"
    assert read_cell(Column("a", null_values=()), "NA", ("NA",)) == "NA"


def test_translated_rows_and_null_tokens_of_unknown_columns_are_written() -> None:
    file_format = FileFormat((EUROPEAN,), unknown_columns="keep", null_values=("-",))
    engine = CsvEngine(file_format)
    block = engine.take(b"n;x\n1.234,5;-\n1.2;y\n-;z\n", final=True)
    assert [json.loads(line) for line in block.processed.splitlines()] == [
        {"n": 1234.5, "x": None},
        {"n": None, "x": "z"},
    ]
    assert [json.loads(line)["row"] for line in block.rejected.splitlines()] == [2]
    assert engine.report()["columns"]["n"]["sum"] == 1234.5
