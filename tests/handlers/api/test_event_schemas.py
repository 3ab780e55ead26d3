"""The schemas that ship, as the ingest function applies them."""

import itertools
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from fastjsonschema.draft07 import CodeGeneratorDraft07

from handlers.shared.problems import Validate
from handlers.shared.schemas import LINEAR_FORMATS, compile_schemas

FOLDER = Path(__file__).parents[2] / "samples" / "schemas"
ORDER: dict[str, Any] = {"orderId": "A-17", "amount": 9.5}
LINES: dict[str, Any] = {"orderId": "A-17", "lines": [{"sku": "tea", "quantity": 2, "unit_price": "3.50"}]}
PAGE_VIEW = {"user_id": "u", "page": "/"}
PURCHASE = {"user_id": "u", "amount": 0.01}


def validator(event_type: str) -> Validate:
    schema = json.loads((FOLDER / f"{event_type}.json").read_text())
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    return compile_schemas({"": schema})[""]


@pytest.mark.parametrize(
    ("event_type", "event"),
    [
        ("page_view", PAGE_VIEW),
        ("purchase", PURCHASE),
        ("order", ORDER),
        ("order", LINES),
        ("order", {**LINES, **ORDER}),
    ],
)
def test_a_valid_event_is_accepted_even_with_fields_unknown_to_the_schema(
    event_type: str, event: dict[str, Any]
) -> None:
    assert validator(event_type)(event) == []
    assert validator(event_type)({**event, "event_type": event_type, "more": [1]}) == []


@pytest.mark.parametrize(
    ("event_type", "event", "path"),
    [
        ("page_view", {"user_id": "u"}, ""),
        ("page_view", {"page": "/"}, ""),
        ("page_view", {**PAGE_VIEW, "user_id": ""}, "/user_id"),
        ("page_view", {**PAGE_VIEW, "page": ""}, "/page"),
        ("page_view", {**PAGE_VIEW, "page": 7}, "/page"),
        ("purchase", {"user_id": "u"}, ""),
        ("purchase", {"amount": 1}, ""),
        ("purchase", {**PURCHASE, "user_id": 7}, "/user_id"),
        ("purchase", {**PURCHASE, "amount": 0}, "/amount"),
        ("purchase", {**PURCHASE, "amount": "1"}, "/amount"),
        ("purchase", {**PURCHASE, "amount": True}, "/amount"),
        ("order", {"amount": 1}, ""),
        ("order", {"orderId": "A-17"}, ""),
        ("order", {**ORDER, "orderId": ""}, "/orderId"),
        ("order", {**ORDER, "amount": 0}, "/amount"),
        ("order", {**ORDER, "amount": "9.5"}, "/amount"),
        ("order", {**LINES, "lines": []}, "/lines"),
        ("order", {**LINES, "lines": [{"quantity": 0, "unit_price": 1}]}, "/lines/0/quantity"),
        ("order", {**LINES, "lines": [{"quantity": 1}]}, "/lines/0"),
    ],
)
def test_an_invalid_event_is_refused_with_the_place_of_its_problem(
    event_type: str, event: dict[str, Any], path: str
) -> None:
    assert [problem["path"] for problem in validator(event_type)(event)] == [path]


@pytest.mark.parametrize("name", LINEAR_FORMATS)
def test_an_address_is_judged_as_the_schema_library_judges_it(name: str) -> None:
    judged = re.compile(CodeGeneratorDraft07.FORMAT_REGEXS[name])
    for length in range(7):
        for characters in itertools.product("a.@\n", repeat=length):
            text = "".join(characters)
            assert LINEAR_FORMATS[name](text) == bool(judged.search(text)), text


SAME: list[list[Any]] = [
    [1, 1.0],
    [0, -0.0],
    [{"a": [1], "b": 2}, {"b": 2.0, "a": [1.0]}],
    [None, None],
    ["a", "a"],
    [True, True],
    [[], []],
]
OTHER: list[list[Any]] = [
    [1, True],
    [0, False],
    [1, "1"],
    ["", None],
    [[1], 1],
    [{}, []],
    [{"a": 1}, [["a", 1]]],
    [[1, 2], [2, 1]],
    [1.5, 1],
]


@pytest.mark.parametrize(
    ("items", "unique"), [*((items, False) for items in SAME), *((items, True) for items in OTHER), ([], True)]
)
@pytest.mark.parametrize("draft", ["04", "06", "07"])
def test_unique_items_are_different_json_values(items: list[Any], *, unique: bool, draft: str) -> None:
    schema = {"$schema": f"http://json-schema.org/draft-{draft}/schema#", "properties": {"x": {"uniqueItems": True}}}
    expected = [] if unique else [{"path": "/x", "message": "must contain unique items"}]
    assert compile_schemas({"": schema})[""]({"x": items}) == expected


def test_numbers_with_one_hash_do_not_make_the_check_of_unique_items_hang() -> None:
    validate = compile_schemas({"": {"properties": {"x": {"uniqueItems": True}, "y": {"uniqueItems": False}}}})[""]
    started = time.process_time()
    numbers = [number * (2**61 - 1) for number in range(50_000)]
    assert validate({"x": numbers, "y": [1, 1]}) == []
    # The library's own check takes 20 seconds.
    assert time.process_time() - started < 2


@pytest.mark.parametrize("name", CodeGeneratorDraft07.FORMAT_REGEXS)
def test_no_format_of_a_schema_makes_a_long_text_hang_the_function(name: str) -> None:
    validate = compile_schemas({"": {"properties": {"x": {"format": name}}}})[""]
    units = ("a", "a.", "..", "@", "/", "~0", "{a", "1:", "-", "a-", "%41", "2020-")
    started = time.process_time()
    for start, unit, end in itertools.product(("", "a@", "/", "http://"), units, ("", "@", "\n", "!")):
        validate({"x": start + unit * (80_000 // len(unit)) + end})
    # The library's own expression for an address takes 15 seconds for one of these texts.
    assert time.process_time() - started < 5
