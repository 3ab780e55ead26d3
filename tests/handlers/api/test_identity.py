"""Idempotency keys, fingerprints and ids."""

import json
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.api.events import InvalidEventError, group, parse_json
from handlers.api.identity import MAXIMUM_KEY_LENGTH, Key, client_key, configured_key, fingerprint, keyed_id, new_id
from handlers.api.paths import without
from tests.strategies import JsonObject, json_objects

SECRET = bytes(range(32))

# Idempotency


def test_the_key_comes_from_the_header_or_the_event() -> None:
    assert client_key({}, None) is None
    assert client_key({"idempotency_key": None}, None) is None
    assert client_key({}, "k") == Key("key", "k")
    assert client_key({"idempotency_key": "k"}, None) == Key("key", "k")
    assert client_key({"idempotency_key": "k"}, "k") == Key("key", "k")


@pytest.mark.parametrize(
    "key", ["", "k" * (MAXIMUM_KEY_LENGTH + 1), "k" * 10_240, "a\nb", "a\x00b", "a\x7fb", "\u2028"]
)
def test_an_invalid_key_is_refused_with_its_place(key: str) -> None:
    message = "must be text of 1 to 256 printable characters"
    with pytest.raises(InvalidEventError) as raised:
        client_key({}, key)
    assert raised.value.problems == [{"path": "Idempotency-Key", "message": message}]
    with pytest.raises(InvalidEventError) as raised:
        client_key({"idempotency_key": key}, None)
    assert raised.value.problems == [{"path": "/idempotency_key", "message": message}]


@pytest.mark.parametrize("key", [7, True, ["k"], {"k": 1}, 0, False, []])
def test_a_key_in_the_event_must_be_text(key: object) -> None:
    with pytest.raises(InvalidEventError, match="must be text"):
        client_key({"idempotency_key": key}, None)


def test_a_key_of_the_maximum_length_is_accepted() -> None:
    assert client_key({}, "k" * MAXIMUM_KEY_LENGTH) == Key("key", "k" * MAXIMUM_KEY_LENGTH)


def test_two_keys_that_differ_are_refused() -> None:
    with pytest.raises(InvalidEventError) as raised:
        client_key({"idempotency_key": "a"}, "b")
    assert raised.value.problems == [
        {"path": "Idempotency-Key", "message": "differs from idempotency_key in the event"}
    ]


def shuffled(value: Any) -> Any:
    """Return the same JSON with the keys of every object in reverse order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(value)}
    return [shuffled(inner) for inner in value] if isinstance(value, list) else value


@given(json_objects)
@settings(deadline=None)
def test_order_of_keys_and_white_space_do_not_change_the_fingerprint(event: JsonObject) -> None:
    written = json.dumps(shuffled(event), indent=3, ensure_ascii=False)
    assert fingerprint(parse_json(written)) == fingerprint(event)


@given(json_objects, json_objects)
@settings(deadline=None)
def test_other_json_has_another_fingerprint(one: JsonObject, other: JsonObject) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (fingerprint(one) == fingerprint(other)) == same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": "1"}),
        ({"a": 1}, {"a": True}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
        ({"a": None}, {}),
        ({"a": ""}, {"a": None}),
    ],
)
def test_similar_json_has_another_fingerprint(one: JsonObject, other: JsonObject) -> None:
    assert fingerprint(one) != fingerprint(other)


def test_without_a_key_every_id_is_new() -> None:
    ids = {new_id() for _ in range(1_000)}
    assert len(ids) == 1_000
    assert all(str(uuid.UUID(each)) == each for each in ids)


@given(st.tuples(st.text(), st.text(), st.text()), st.tuples(st.text(), st.text(), st.text()))
@settings(deadline=None)
def test_a_key_of_a_caller_has_one_id_of_its_own(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    def made(of: tuple[str, str, str]) -> str:
        return keyed_id(SECRET, of[0], Key(of[1], of[2]))

    assert made(one) == made(one)
    assert (made(one) == made(other)) == (one == other)
    assert str(uuid.UUID(made(one))) == made(one)


def test_the_id_of_a_key_is_the_same_in_every_release() -> None:
    # A different id would make every repeat a new event after a deployment.
    assert keyed_id(b"secret", "shop", Key("key", "order-17")) == "23e036cf-daab-30a2-7cfc-676fef2f3ce1"


def test_another_stack_s_id_of_the_same_key_is_another() -> None:
    key = Key("key", "order-17")
    assert keyed_id(SECRET, "", key) != keyed_id(bytes(32), "", key)


@pytest.mark.parametrize(
    ("event", "key"),
    [
        ({"order": {"number": "A-17"}}, "A-17"),
        ({"order": {"number": 17}}, "17"),
        ({"order": {"number": 17.0}}, "17"),
        ({"order.number": "whole name"}, "whole name"),
        ({"order": {"number": None}}, None),
        ({"order": "A-17"}, None),
        ({}, None),
    ],
)
def test_a_configured_field_is_the_key(event: JsonObject, key: str | None) -> None:
    assert configured_key(event, {}, "order.number", "") == (key and Key("key", key))


@pytest.mark.parametrize("value", [True, [], {}, "", "a\nb", "k" * 257])
def test_a_configured_field_with_an_unusable_key_is_refused_by_its_path(value: object) -> None:
    with pytest.raises(InvalidEventError) as raised:
        configured_key({"order": {"number": value}}, {}, "order.number", "")
    assert [problem["path"] for problem in raised.value.problems] == ["/order/number"]


def test_a_configured_header_is_the_key() -> None:
    assert configured_key({}, {"x-delivery": "d-1"}, "", "X-Delivery") == Key("key", "d-1")
    assert configured_key({}, {}, "", "X-Delivery") is None
    assert configured_key({"order": 1}, {}, "", "") is None


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"customer": {"id": "c-1"}}, "c-1"),
        ({"customer": {"id": 5}}, "5"),
        ({"customer": {"id": 5.5}}, "5.5"),
        ({"customer": {"id": -(10**20)}}, "-100000000000000000000"),
    ],
)
def test_a_group_is_text_or_a_number_at_a_path(event: JsonObject, expected: str) -> None:
    assert group(event, "customer.id") == expected


@pytest.mark.parametrize("event", [{}, {"customer": {"id": True}}, {"customer": {"id": "a b"}}, {"customer": 5}])
def test_an_event_without_a_usable_group_is_refused_by_its_path(event: JsonObject) -> None:
    with pytest.raises(InvalidEventError) as raised:
        group(event, "customer.id")
    assert [problem["path"] for problem in raised.value.problems] == ["/customer/id"]


def test_fields_that_may_differ_are_left_out_wherever_they_stand() -> None:
    event = {"sent_at": 1, "a": {"sent_at": 2, "b": 3}, "c.d": 4, "c": {"d": 5}, "e": 6}
    assert without(event, ["sent_at", "a.sent_at", "c.d", "e.f", "g"]) == {"a": {"b": 3}, "c": {"d": 5}, "e": 6}
    assert event["sent_at"] == 1
