"""The files of tests/cases/csv_own: the kinds of tests/cases/csv in other shapes, written for this project."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from components.config import load
from components.options.csv import CsvPipelineConfig
from handlers.csv.columns import FileFormat
from handlers.csv.text import FileError
from tests.handlers.csv.reading import read_file

DIRECTORY = Path(__file__).parents[2] / "cases" / "csv_own"
COLUMNS: dict[str, dict[str, Any]] = {
    "id": {"type": "integer", "required": True},
    "item": {"required": True},
    "price": {"type": "number", "required": True},
    "sold_on": {"type": "date"},
}


@dataclass(frozen=True)
class Case:
    """A file's right outcome, and the options that it needs."""

    rows: list[list[Any]] = field(default_factory=list)
    rejected: list[tuple[int, str]] = field(default_factory=list)
    """Row and first reason."""
    failed: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    """Of `input`."""
    columns: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Options of columns, by name, besides those of COLUMNS."""


DAY = "2024-03-01"
LAMP = [1, "Lamp", 12.5, DAY]
CHAIR = [2, "Chair", 40, "2024-03-02"]


def number(**options: Any) -> dict[str, Any]:
    return {"price": options}


CASES: dict[str, Case] = {
    "sep-line-quoted-bar.csv": Case([LAMP]),
    "utf16be-tabs-behind-a-preamble.csv": Case([LAMP], options={"header": "find"}),
    "swiss-apostrophes.csv": Case(
        [[1, "Lamp", 1234.5, DAY], [2, "Desk", 1234.5, None]], [(3, "number_format")], columns=number(group="'")
    ),
    "accounting-negatives-and-euros.csv": Case(
        [[1, "Lamp", -1234.5, None], [2, "Desk", 12, None]],
        [(3, "number_format")],
        columns=number(decimal=",", group=".", strip=["€", " "]),
    ),
    "percent-with-comma.csv": Case(
        [[1, "Lamp", 12.5, None]], [(2, "number_format")], columns=number(decimal=",", strip=["%", " "])
    ),
    "null-words-of-german-excel.csv": Case(
        [[1, "Lamp", 1, None]], [(2, "required"), (3, "required")], options={"null_values": ["#NV", "k.A."]}
    ),
    "dates-of-two-countries.csv": Case(
        [[1, "Lamp", 1, "2024-01-31"], [3, "Sofa", 3, "2024-01-31"], [4, "Bed", 4, "2024-02-02"]],
        [(2, "ambiguous_date")],
        columns={"sold_on": {"format": ["%d/%m/%Y", "%m/%d/%Y"]}},
    ),
    "three-lines-with-quotes-to-skip.csv": Case([LAMP], options={"skip_lines": 3}),
    "found-header-in-latin-1.csv": Case([[1, "Lämp", 12.5, DAY]], options={"header": "find", "encodings": ["latin-1"]}),
    "headerless-tabs.csv.gz": Case([LAMP, CHAIR], options={"header": "none"}),
    "two-footer-rows-between-blank-lines.csv": Case([LAMP, CHAIR], options={"footer": {"last_rows": 2}}),
    "subtotal-among-the-rows.csv": Case(
        [LAMP, CHAIR], [(2, "footer_before_rows")], options={"footer": {"starts_with": ["Total"]}}
    ),
    "comments-of-two-characters.csv": Case(
        [[1, "Lamp\n// no comment", 12.5, DAY], [2, "//", 40, "2024-03-02"]], options={"comment": "//"}
    ),
    "percent-comments-with-cr.csv": Case([LAMP], options={"comment": "%"}),
    "single-quotes-around-line-breaks.csv": Case(
        [[1, "two\r\nlines, it's", 12.5, DAY], [2, '"Chair"', 40, "2024-03-02"]], options={"quote": "'"}
    ),
    "backslashes-in-semicolons.csv": Case(
        [
            [1, "Lamp; red", 12.5, DAY],
            [2, '5" disk', 40, "2024-03-02"],
            [3, "C:\\new", 1, None],
            [4, "a\\nb", 1, None],
            [5, "two\nlines", 1, None],
        ],
        options={"escape": "\\"},
    ),
    "inches-between-bars.csv": Case(
        [[1, '"5', 12.5, DAY], [2, 'Chair"', 40, "2024-03-02"], [3, '""', 1, None]], options={"quoting": "none"}
    ),
    "spaces-before-quotes.csv": Case(
        [[1, "Lamp; red", 12.5, DAY], CHAIR], [(3, "bad_quoting")], options={"skip_initial_space": True}
    ),
    "double-bars.csv": Case(
        [[1, "a||b", 12.5, DAY], [2, "a|b", 40, "2024-03-02"]], [(3, "not_a_number")], options={"delimiter": "||"}
    ),
    "unit-separators.csv": Case([[1, 'Lamp, red; "x', 12.5, DAY]], options={"delimiter": "\x1f"}),
    "three-tsv-rows-in-two-quotes.csv": Case([LAMP, [5, *CHAIR[1:]]], [(2, "ambiguous_quoting")]),
    "euc-jp.csv": Case([[1, "ランプ", 12.5, DAY]], options={"encodings": ["euc-jp"]}),
    "shift-jis-with-a-backslash-byte.csv": Case(
        [[1, "表,ソ", 12.5, DAY], [2, "能", 40, "2024-03-02"]],
        options={"encodings": ["shift_jis"], "escape": "\\"},
    ),
    "gb18030-of-four-bytes.csv": Case([[1, "灯😀é", 12.5, DAY]], options={"encoding": "gb18030"}),
    "windows-1252-with-an-euro-sign.csv": Case(
        [[1, "Lamp €", 12.5, DAY]], options={"encodings": ["utf-8", "windows-1252"]}
    ),
    "one-byte-of-latin-1-in-the-last-row.csv": Case(
        [*[[1, "Caf\u00c3\u00a9", 1, None]] * 3, [2, "é", 1, None]], options={"encodings": ["utf-8", "latin-1"]}
    ),
    "mac-roman-with-cr.csv": Case(
        [[1, "Größe", 12.5, DAY], [2, "Stück", 40, "2024-03-02"]], options={"encodings": ["utf-8", "mac-roman"]}
    ),
    "dos-850-tail-of-ctrl-z.csv": Case([[1, "Größe", 12.5, DAY]], options={"encoding": "cp850"}),
    "nul-padding-behind-an-open-line.csv": Case([LAMP]),
    "gzip-with-a-signature-behind-it.csv.gz": Case([LAMP]),
    "two-files-with-marks-appended.csv": Case([LAMP, CHAIR]),
    "quoted-header-appended.csv": Case([LAMP, CHAIR]),
    "appended-without-a-line-end.csv": Case([CHAIR], [(1, "too_many_cells")]),
    "value-under-a-nameless-column.csv": Case([LAMP], [(2, "nameless_column")], options={"unknown_columns": "reject"}),
    "three-columns-of-one-name.csv": Case(
        [[1, "Lamp", 12.5, None, "a", "b", "c"]], options={"unknown_columns": "keep"}
    ),
    "times-of-databases.csv": Case(
        [
            [1, "2024-03-01T10:00:00.000000Z"],
            [2, "2024-03-01T10:00:00.123456789Z"],
            [3, "2024-03-01T13:30:00.000000Z"],
        ],
        [(4, "not_a_datetime"), (5, "not_a_datetime")],
        options={"columns": [{"name": "id", "type": "integer"}, {"name": "at", "type": "datetime"}]},
    ),
    "an-id-in-two-spellings.csv": Case(
        [[7, "Lamp", 1, None], [8, "Lamp", 2, None]], [(3, "not_unique")], columns={"id": {"unique": True}}
    ),
    "postgres-with-header-line.csv": Case(
        [[1, "La\tmp", 12.5, None], [2, "\\N", 40, "2024-03-02"]], options={"preset": "postgres", "header": "first"}
    ),
    "mysql-in-quotes.csv": Case(
        [[1, 'La,"mp', 12.5, None], [2, "C:\\new\nline", 40, "2024-03-02"]],
        options={"preset": "mysql", "delimiter": ",", "quoting": "standard"},
    ),
    "german-excel-with-sep-line.csv": Case(
        [[1001, "Lampe", 1234.5, DAY], [2, "Stuhl", 40, "2024-03-02"]],
        [(3, "number_format")],
        options={"preset": "excel-de"},
    ),
    "us-excel-with-short-dates.csv": Case(
        [[1, "Lamp", 1234.5, DAY]], [(2, "not_a_date")], options={"preset": "excel-us"}
    ),
    "short-rows-without-the-last-cells.csv": Case(
        [[1, "Lamp", 12.5, None]], [(2, "required")], options={"short_rows": "pad"}
    ),
    "tabs-at-the-end-of-rows.csv": Case([LAMP], [(2, "too_many_cells")], options={"long_rows": "drop_empty_cells"}),
    "rows-of-tabs.csv": Case([LAMP], [(1, "empty_row"), (3, "not_an_integer")], options={"empty_rows": "reject"}),
    "sign-in-page.csv": Case(failed="not_csv"),
    "headerless-text.csv": Case(failed="missing_columns"),
    "delimiter-of-two-kinds.csv": Case(failed="ambiguous_delimiter", options={"header": "none"}),
    "lone-cr-in-tabs.csv": Case([[1, "Lamp\rred", 12.5, DAY], [2, "Chair\rold", 40, "2024-03-02"]]),
}


def format_of(case: Case) -> FileFormat:
    columns = [{"name": name, **options, **case.columns.get(name, {})} for name, options in COLUMNS.items()]
    given = {"datapipeline:variant": "csv", "datapipeline:environment": "dev"}
    given["datapipeline:input"] = json.dumps({"columns": columns, **case.options})
    config = load(given, file="Pulumi.dev.yaml")
    assert isinstance(config, CsvPipelineConfig)
    return FileFormat.from_json(config.format_json())


def test_every_file_has_a_case() -> None:
    assert {path.name for path in DIRECTORY.iterdir()} == set(CASES)


def outcome(name: str, case: Case) -> Case:
    """Read the case's file."""
    with (DIRECTORY / name).open("rb") as file:
        try:
            _, processed, rejected = read_file(file, format_of(case))
        except FileError as error:
            return replace(case, rows=[], rejected=[], failed=error.reason)
    errors = [(each["row"], each["errors"][0]["reason"]) for each in map(json.loads, rejected.splitlines())]
    rows = [list(json.loads(line).values()) for line in processed.split(b"\n") if line]
    return replace(case, rows=rows, rejected=errors, failed=None)


@pytest.mark.parametrize("name", CASES)
def test_a_file_of_our_own_has_its_right_outcome(name: str) -> None:
    assert outcome(name, CASES[name]) == CASES[name]
