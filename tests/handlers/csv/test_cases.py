"""The files of tests/cases/csv, each with the options it needs and its right outcome (expected.txt, in numbers)."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.config import ConfigError, load
from components.options.csv import CsvPipelineConfig
from handlers.csv.columns import FileFormat
from handlers.csv.text import FileError
from tests.handlers.csv.reading import read_file

DIRECTORY = Path(__file__).parents[2] / "cases" / "csv"
Row = list[Any]


@dataclass(frozen=True)
class Right:
    """The right outcome of a case."""

    rows: list[Row] = field(default_factory=list)
    """The processed rows, as values."""
    rejected: list[tuple[int, str]] = field(default_factory=list)
    """Row and first reason of the rejected rows."""
    failed: str | None = None
    """The reason for which the whole file fails; `config`: the configuration is refused."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of `input`, besides those of the case's config.yaml."""
    columns: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Options of columns, by name."""


LAMP = [1, "Lamp", 12.5, "2024-03-01"]
CHAIR = [2, "Chair", 40, "2024-03-02"]
LAMP_1 = [1, "Lamp", 1, "2024-03-01"]

CASES: dict[str, Right] = {
    "01-excel-sep-line": Right([LAMP, CHAIR]),
    "02-decimal-comma": Right(
        [
            [1, "Lamp", 12.5, "2024-03-01"],
            [2, "Desk", 950, "2024-03-02"],
            [3, "Sofa", 1234, "2024-03-02"],
            [4, "Bed", 1234.5, "2024-03-02"],
        ],
        columns={"price": {"decimal": ",", "group": "."}},
    ),
    "04-null-tokens": Right(
        [
            ["A", None, None, "2024-01-01"],
            ["B", None, None, None],
            ["C", None, None, "2024-01-02"],
            ["D", None, "ok", None],
            ["E", None, "fine", None],
        ],
        options={"null_values": ["", "NA", "N/A", "NULL", "n/a", "\\N", "-", "-999"]},
    ),
    "05-date-formats": Right(
        [
            [1, "Lamp", 1, "2024-01-31"],
            [2, "Desk", 2, "2024-02-01"],
            [4, "Bed", 4, "2024-01-31"],
            [5, "Rug", 5, "2024-01-31"],
            [6, "Pot", 6, "2024-01-05"],
            [7, "Pan", 7, "2024-01-31"],
        ],
        [(3, "not_a_date")],
        columns={
            "sold_on": {"format": ["%d/%m/%Y", "%d.%m.%Y", "%Y%m%d", "%Y/%m/%d", "%Y-%m-%d", "%Y-%m-%d %H:%M:%S"]}
        },
    ),
    "07-preamble-and-footer": Right(
        [LAMP, CHAIR], options={"header": "find", "footer": {"starts_with": ["Total", '"Printed']}}
    ),
    "08-footer-only": Right([LAMP, CHAIR], options={"footer": {"last_rows": 2}}),
    "09-comment-lines": Right([LAMP, [3, "Desk", 90, "2024-03-02"]], options={"comment": "#"}),
    "10-units-row": Right([LAMP], [(1, "required")]),
    "11-backslash-escapes": Right(
        [
            ["1", 'TV 50"', "wall"],
            ["2", 'Say "hi"', "x"],
            ["4", "plain", "z"],
            ["5", "a, b", "w"],
        ],
        [(3, "bad_quoting")],
        options={"escape": "\\"},
    ),
    "13-quotes-inside-unquoted": Right(
        [["1", '7" x 10"', "in stock"], ["2", 'Toys "r" Us', "ok"], ["3", 'The ""best"" one', "ok"]]
    ),
    "14-tsv-without-quoting-two-rows-swallowed": Right(
        [["1", '"Old Town" Theatre', "A"], ["2", '"Big', "B"], ["3", 'small"', "C"], ["4", "end", "D"]],
        options={"quoting": "none"},
    ),
    "15-quote-begins-cell-then-text": Right([["3", "ok", "z"]], [(1, "bad_quoting"), (2, "bad_quoting")]),
    "16-unclosed-quote": Right(
        [["2", "bat", "x"], ["3", "ok", "y"], ["4", "q", "r"], ["5", "z", "z"]], [(1, "bad_quoting")]
    ),
    "17-unclosed-quote-meets-empty-quoted": Right(
        [["2", None, "x"], ["3", "ok", "y"], ["4", "q", "r"]], [(1, "bad_quoting")]
    ),
    "18-space-after-delimiter": Right(
        [[1, "Lamp, brass", 12.5, "2024-03-01"], CHAIR],
        options={"skip_initial_space": True},
        columns={"price": {"strip": [" "]}},
    ),
    "19-trailing-delimiter-in-rows": Right([LAMP, CHAIR], options={"long_rows": "drop_empty_cells"}),
    "21-nameless-columns-at-end": Right([LAMP]),
    "22-short-rows": Right(
        [[1, "Lamp", 12.5, None], CHAIR, [3, "Desk", 90, None]],
        options={"short_rows": "pad"},
    ),
    "23-rows-of-delimiters-only": Right([["a", "b", "c"]]),
    "25-int-as-float": Right([], [(1, "not_an_integer"), (2, "not_an_integer"), (3, "not_an_integer")]),
    "30-no-column-recognised-all-null": Right(failed="no_known_columns"),
    "32-headerless-required-columns": Right([LAMP, CHAIR], options={"header": "none"}),
    "33-unit-signs-in-names-one-column": Right([["A", None, 51], ["B", None, 49]]),
    "35-currency-in-names": Right([["A", 10, None], ["B", 20, None]]),
    "37-duplicate-names-of-unknown-columns-dropped": Right([[1, "Lamp", 12.5, None]]),
    "38-non-latin-names": Right([["太郎", 25, 1.8]]),
    "39-decomposed-umlaut-in-name": Right([["A", 1.8]]),
    "41-cp1252-not-configured": Right([CHAIR], [(1, "undecodable")]),
    "42-utf8-where-cp1252-is-configured": Right(
        [[1, "Café", 12.5, "2024-03-01"]], options={"encoding": None, "encodings": ["utf-8", "windows-1252"]}
    ),
    "43-utf16le-without-mark": Right(failed="not_text"),
    "45-cr-only": Right([LAMP, CHAIR]),
    "46-mixed-ends-and-embedded-breaks": Right(
        [[1, "Lamp\r\nbrass", 12.5, "2024-03-01"], [2, "Chair\nold", 40, "2024-03-02"]]
    ),
    "47-ctrl-z-at-end": Right([LAMP]),
    "50-xlsx-named-csv": Right(failed="not_csv"),
    "51-gzip-members": Right([LAMP_1, CHAIR]),
    "52-plain-named-gz": Right([LAMP_1]),
    "54-header-with-commas-semicolon-file": Right([["1", "Lamp, brass", 12.5, "2024-03-01"]]),
    "55-two-character-delimiter": Right([LAMP_1], options={"delimiter": "~|~"}),
    "56-single-quotes": Right([[1, "Lamp, brass", 12.5, "2024-03-01"]], options={"quote": "'"}),
    "57-leading-zeros": Right([["01730", 7], ["00501", 1]]),
    "59-null-words-in-strings": Right(
        [["1", None], ["2", None], ["3", None]], options={"null_values": ["", "NULL", "\\N", "n/a"]}
    ),
    "61-parquet-int-and-long-decimals": Right([["3", 1e5]], [(1, "not_exact"), (2, "not_exact")]),
    "64-wanted-column-and-its-percent": Right([["A", 10]]),
    "66-misspelt-optional-column": Right([[1, "Lamp", 1, None]]),
    "67-nul-utf16-hint-of-config": Right(failed="not_csv"),
    "68-old-xls": Right(failed="not_csv"),
    "70-json-named-csv": Right(failed="not_csv"),
    "71-nel-and-u2028-in-cells": Right([[1, "a\u2028b", "c\x85d"], [2, "x\vy", "z\f"]]),
    "72-arabic-and-full-width-digits": Right([[3, "Lamp", 5, "2024-03-01"]], [(1, "not_an_integer")]),
    "73-big-int-ids": Right([[1577134800018226901, "Lamp", 1, None]], [(2, "out_of_range")]),
    "74-empty-gz": Right(failed="empty_file"),
    "75-gz-cut": Right(failed="gzip_truncated"),
    "77-double-bom": Right([LAMP_1]),
    "78-header-in-two-lines-quoted": Right([LAMP_1]),
    "79-one-column-file": Right([["a@example.com"], ["b@example.com"]]),
    "80-semicolon-with-tab-header": Right([[1, "Lamp; old, red", 1, "2024-03-01"]]),
    "81-space-delimited": Right([LAMP_1]),
    "82-ctrl-a": Right([LAMP_1]),
    "83-windows-crlf-in-quoted-and-lf": Right([[1, "a\rb"], [2, "c"]]),
    "84-alias-equal-to-other-name": Right(failed="config"),
    "86-sign-only-header": Right([[1, 5, "Lamp"]]),
    "87-cr-cr-lf": Right([[1, "a"], [2, "b"]]),
    "89-lone-cr-whose-rest-is-a-row": Right([[3, "ok"]], [(1, "too_many_cells")]),
}


def outcome(name: str, right: Right) -> Right:
    """Read the case's file with its configuration."""
    config = yaml.safe_load((DIRECTORY / name / "config.yaml").read_text())["config"]
    given = config["datapipeline:input"]
    given |= right.options
    given["columns"] = [column | right.columns.get(column["name"], {}) for column in given["columns"]]
    values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    try:
        options = load(values, file="config.yaml")
    except ConfigError as error:
        if "would both claim" not in str(error):
            raise
        return replace(right, rows=[], rejected=[], failed="config")
    assert isinstance(options, CsvPipelineConfig)
    (path,) = (DIRECTORY / name).glob("x.csv*")
    file_format = FileFormat.from_json(options.format_json())
    with path.open("rb") as file:
        try:
            _, processed, rejected = read_file(file, file_format)
        except FileError as error:
            return replace(right, rows=[], rejected=[], failed=error.reason)
    return replace(
        right,
        rows=[list(json.loads(line).values()) for line in processed.split(b"\n") if line],
        rejected=[(each["row"], each["errors"][0]["reason"]) for each in map(json.loads, rejected.splitlines())],
        failed=None,
    )


def test_every_case_has_a_right_outcome() -> None:
    assert {path.name for path in DIRECTORY.iterdir()} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_a_case_has_its_right_outcome(name: str) -> None:
    assert outcome(name, CASES[name]) == CASES[name]
