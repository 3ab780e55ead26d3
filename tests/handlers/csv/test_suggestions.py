"""Suggestions: what a report says may let a file pass. Each is tried: with it, the file does pass."""

import io
import json
from collections.abc import Mapping
from typing import Any

import pytest

from handlers.csv.engine import CsvEngine, blocks
from handlers.csv.text import FileError
from tests.handlers.csv.test_presets import file_format

COLUMNS: list[dict[str, Any]] = [
    {"name": "id", "type": "integer", "required": True},
    {"name": "name"},
    {"name": "price", "type": "number"},
    {"name": "active", "type": "boolean"},
    {"name": "day", "type": "date"},
    {"name": "at", "type": "datetime"},
]
HEADER = "id,name,price,active,day,at\n"
Json = Mapping[str, Any]


def read(data: bytes, columns: Any = COLUMNS, **options: Any) -> tuple[Json, str | None]:
    """Return the report on a file, and the reason for which it fails."""
    engine = CsvEngine(file_format(None, columns, **options))
    try:
        for _ in blocks(engine, io.BytesIO(data).read):
            pass
    except FileError as error:
        return engine.report(), error.reason
    return engine.report(), None


def suggested(text: str, encoding: str = "utf-8", **options: Any) -> dict[str, list[Any]]:
    """Return the settings suggested for a file, with their values."""
    report, _ = read(text.encode(encoding), **options)
    found: dict[str, list[Any]] = {}
    for each in report["suggestions"]:
        found.setdefault(each["setting"].removeprefix("input."), []).extend(each["values"])
    return found


def row(number: str = "1", name: str = "", price: str = "", active: str = "", day: str = "", at: str = "") -> str:
    return ",".join(f'"{cell}"' if "," in cell else cell for cell in (number, name, price, active, day, at)) + "\n"


OF_CELLS = [
    (row(price="1.234,50"), "price", {"decimal": ",", "group": "."}),
    (row(price="3,5"), "price", {"decimal": ","}),
    (row(price="1,234.5"), "price", {"group": ","}),
    (row(price="1 234,5"), "price", {"decimal": ",", "group": " "}),
    (row(price="$5") + row(price="$6"), "price", {"strip": ["$"]}),
    (row(price="5.50 EUR"), "price", {"strip": ["EUR", " "]}),
    (row(price="(12.50)"), "price", {"decimal": "."}),
    (row(price="n/a"), "price", {"null_values": ["n/a"]}),
    (row(active="WAHR") + row(active="FALSCH"), "active", {"true_values": ["WAHR"], "false_values": ["FALSCH"]}),
    (row(day="31.01.2024"), "day", {"format": ["%d.%m.%Y"]}),
    (row(day="31/12/2024"), "day", {"format": ["%d/%m/%Y"]}),
    (row(day="12/31/2024"), "day", {"format": ["%m/%d/%Y"]}),
    (row(day="20240131"), "day", {"format": ["%Y%m%d"]}),
    (row(day="31-Jan-2024"), "day", {"format": ["%d-%b-%Y"]}),
    (row(day="2024-01-31 00:00:00"), "day", {"format": ["%Y-%m-%d %H:%M:%S"]}),
    (row(at="31.01.2024 12:30"), "at", {"format": ["%d.%m.%Y %H:%M"]}),
    (row(at="1/31/2024 1:30 PM"), "at", {"format": ["%m/%d/%Y %I:%M %p"]}),
    (row(number="3.0"), "id", {"type": "number"}),
]


@pytest.mark.parametrize(("rows", "column", "options"), OF_CELLS)
def test_options_of_a_column_are_suggested_with_which_its_cells_are_read(
    rows: str, column: str, options: dict[str, Any]
) -> None:
    assert suggested(HEADER + rows) == {f"columns.{column}": [options]}
    columns = [each | (options if each["name"] == column else {}) for each in COLUMNS]
    report, _ = read((HEADER + rows).encode(), columns)
    assert (report["rejected"], report["suggestions"]) == (0, [])


@pytest.mark.parametrize(
    ("rows", "column", "values"),
    [
        (row(day="01/02/2024"), "day", [{"format": ["%d/%m/%Y"]}, {"format": ["%m/%d/%Y"]}]),
        (row(price="1,234"), "price", [{"decimal": ","}, {"group": ","}]),
    ],
)
def test_what_can_be_read_in_two_ways_is_left_to_a_person(rows: str, column: str, values: list[Any]) -> None:
    assert suggested(HEADER + rows) == {f"columns.{column}": values}


def test_nothing_is_suggested_that_would_reject_more_rows_than_it_reads() -> None:
    assert suggested(HEADER + row(price="1,5") + 2 * row(price="2.5")) == {}
    assert suggested(HEADER + 2 * row(price="1,5") + row(price="2.5")) == {"columns.price": [{"decimal": ","}]}
    # Only one of the meanings of 1,234 leaves 2.5 a number.
    assert suggested(HEADER + row(price="1,234") + row(price="2.5")) == {"columns.price": [{"group": ","}]}


def test_nothing_is_suggested_that_the_configuration_refuses() -> None:
    german = {"decimal": ",", "group": "."}
    columns = [each | (german if each["name"] == "price" else {}) for each in COLUMNS]
    report, _ = read((HEADER + row(price="1.5")).encode(), columns)
    assert (report["rejected"], report["suggestions"]) == (1, [])


@pytest.mark.parametrize(
    "rows",
    [row(price="5 kg") + row(price="7 g"), row(price="12-"), row(day="x"), row(number=""), row(day="32.1.2024")],
)
def test_nothing_is_suggested_where_nothing_fits(rows: str) -> None:
    assert suggested(HEADER + rows) == {}


OF_FILES = [
    ("Report\n\n" + HEADER + row(), {"header": ["find"]}),
    (row(day="2024-01-02", price="5"), {"header": ["none"]}),
    ("idd,name,price,active,day,at\n" + row(), {"columns.id.aliases": [["idd"]]}),
    (HEADER.replace("price", "prices") + row(), {"columns.price.aliases": [["prices"]]}),
    (HEADER + "1,Lamp,5\n", {"short_rows": ["pad"]}),
    (HEADER + row() + "Total,5\n", {"footer": [{"starts_with": ["Total"]}]}),
    (HEADER + "# by hand\n" + row(), {"comment": ["#"]}),
    (HEADER + row().replace("\n", ",\n"), {"long_rows": ["drop_empty_cells"]}),
    (HEADER + '1,"a \\"big\\" lamp",5,,,\n', {"escape": ["\\"]}),
    (HEADER + '1, "a, b",5,,,\n', {"skip_initial_space": [True]}),
    (HEADER + '1,"Old" lamp,5,,,\n', {"quoting": ["none"]}),
    (HEADER + row(day=" 2024-01-02"), {"skip_initial_space": [True]}),
]


@pytest.mark.parametrize(("text", "settings"), OF_FILES)
def test_settings_of_the_file_are_suggested_with_which_it_is_read(text: str, settings: dict[str, Any]) -> None:
    assert suggested(text) == settings
    ((setting, (value,)),) = settings.items()
    columns = [{**each} for each in COLUMNS]
    options: dict[str, Any] = {setting: value}
    if setting.startswith("columns."):
        _, name, key = setting.split(".")
        next(each for each in columns if each["name"] == name)[key] = value
        options = {}
    report, failed = read(text.encode(), columns, **options)
    assert (failed, report["rejected"], report["suggestions"]) == (None, 0, [])


@pytest.mark.parametrize(
    ("text", "encoding"),
    [(HEADER + row(name="Café"), "windows-1252"), ("é," + HEADER + "," + row(), "windows-1252"), (HEADER, "utf-16-le")],
)
def test_an_encoding_is_suggested_for_a_file_that_is_not_in_the_configured_ones(text: str, encoding: str) -> None:
    assert suggested(text, encoding) == {"encodings": [["utf-8", encoding]]}
    assert "encodings" not in suggested(text, encoding, encodings=[encoding])


def test_two_delimiters_and_a_header_where_none_is_expected_are_told_apart_by_a_person() -> None:
    columns = [{"name": "a"}, {"name": "b"}]
    assert suggested("1;2,3\n", columns=columns, header="none") == {"delimiter": [",", ";"]}
    assert suggested("b,a\n1,2\n", columns=columns, header="none") == {"header": ["first"]}


def test_a_resumed_file_has_the_suggestions_of_all_its_rows() -> None:
    data = (HEADER + row(day="31.01.2024") + row() * 20_000 + row(price="3,5")).encode()
    form = file_format(None, COLUMNS)
    first = CsvEngine(form)
    next(blocks(first, io.BytesIO(data).read))
    second = CsvEngine(form, json.loads(json.dumps(first.state())))
    for _ in blocks(second, io.BytesIO(data[first.offset :]).read):
        pass
    assert second.report()["suggestions"] == read(data)[0]["suggestions"]
    assert [each["setting"] for each in second.report()["suggestions"]] == [
        "input.columns.day",
        "input.columns.price",
    ]


def test_suggestions_stay_few_and_quick_however_many_columns_have_bad_cells() -> None:
    columns = [{"name": f"c{number}", "type": "date"} for number in range(2_000)]
    text = ",".join(each["name"] for each in columns) + "\n" + ",".join(["01.02.2024"] * 2_000) + "\n"
    assert len(read(text.encode(), columns)[0]["suggestions"]) == 20
