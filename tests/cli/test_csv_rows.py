"""Cells are found in the text of a row as the engine reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.csv_rows import cell_spans, marked_row
from handlers.csv.columns import Column, FileFormat
from handlers.csv.dialect import dialect_of


def cells(raw: str, delimiter: str = ",", **options: str) -> list[str]:
    form = FileFormat((Column("a"),), **options)  # type: ignore[arg-type]  # of str here
    return [raw[start:end] for start, end in cell_spans(raw, delimiter, form)]


@pytest.mark.parametrize(
    ("raw", "delimiter", "options", "expected"),
    [
        ("", ",", {}, [""]),
        ("a,,", ",", {}, ["a", "", ""]),
        ('"a,""b",c', ",", {}, ['"a,""b"', "c"]),
        ('"a,b', ",", {}, ['"a,b']),
        ('a"b,c', ",", {}, ['a"b', "c"]),
        ('"a,b"', ",", {"quoting": "none"}, ['"a', 'b"']),
        ("a\\,b,c", ",", {"escape": "\\"}, ["a\\,b", "c"]),
        ('"a\\",b",c', ",", {"escape": "\\"}, ['"a\\",b"', "c"]),
        ("a~|~b~|~", "~|~", {}, ["a", "b", ""]),
        ('a, "b,c"', ",", {"skip_initial_space": True}, ["a", ' "b,c"']),
        ("a, b", ",", {"quoting": "none"}, ["a", " b"]),
        ("'a,b'|c", "|", {"quote": "'"}, ["'a,b'", "c"]),
    ],
)
def test_cells_are_found_in_a_row(raw: str, delimiter: str, options: dict[str, str], expected: list[str]) -> None:
    assert cells(raw, delimiter, **options) == expected


@given(st.lists(st.text(st.sampled_from('a,"\n\\ '), max_size=4), min_size=1, max_size=5))
def test_as_many_cells_are_found_as_were_written(written: list[str]) -> None:
    raw = ",".join('"' + cell.replace('"', '""') + '"' for cell in written)
    found = cells(raw)
    dialect = dialect_of(FileFormat((Column("a"),)), ",")
    assert [next(dialect.reader([cell], ","))[0] for cell in found] == [
        next(dialect.reader([cell], ","))[0] for cell in ('"' + cell.replace('"', '""') + '"' for cell in written)
    ]


def test_only_what_is_near_a_mark_is_shown() -> None:
    raw = "a" * 100 + ",b," + "c" * 200 + ",d," + "e" * 100
    spans = [span for span in cell_spans(raw, ",", FileFormat((Column("a"),))) if span[1] - span[0] == 1]
    assert marked_row(raw, spans).plain == (f"...{'a' * 39},>b<,{'c' * 39}...{'c' * 39},>d<,{'e' * 39}...")
    assert marked_row("x" * 200, [(0, 200)]).plain == f">{'x' * 60}...<"
    assert marked_row("x" * 200, []).plain == "x" * 80 + "..."
