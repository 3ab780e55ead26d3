"""Events that clients submit, and their messages."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.api.events import (
    DEFAULT_TYPE,
    MAXIMUM_FIELD_LENGTH,
    MAXIMUM_TYPE_BYTES,
    Envelope,
    EventTooLargeError,
    InvalidEventError,
    UnreadableMessageError,
    check,
    message_of,
    read_body,
    received_times,
)
from handlers.shared.bodies import packed, unpacked
from handlers.shared.errors import BadRequestError, TooLargeError
from handlers.shared.problems import Problem, Validate
from handlers.shared.queues import MAXIMUM_MESSAGE_BYTES
from handlers.shared.schemas import compile_schemas
from tests.strategies import JsonObject, json_objects, json_values

MAX_BATCH = 500
MAX_DEPTH = 64

ENVELOPE = Envelope(
    id="9b2d3c1e-0000-4000-8000-123456789abc",
    type="page_view",
    received_at="2026-11-21T08:00:00.000000Z",
    source_ip="192.0.2.1",
    user_agent="curl/8.5",
    correlation_id="c-1",
    fingerprint="",
    data={"page": "/"},
)

PAGE_VIEW = {
    "type": "object",
    "required": ["page"],
    "properties": {"page": {"type": "string"}, "seconds": {"type": "number"}},
}
PURCHASE = {"type": "object", "properties": {"amount": {"type": "number"}}}
BY_TYPE = compile_schemas({"purchase": PURCHASE, "page_view": PAGE_VIEW})


def checked(event: object, validators: Mapping[str, Validate] | None = None, max_depth: int = MAX_DEPTH) -> str:
    return check(event, max_depth=max_depth, type_field="event_type", validators=validators or {})[0]


def problems(
    event: object, validators: Mapping[str, Validate] | None = None, max_depth: int = MAX_DEPTH
) -> list[Problem]:
    with pytest.raises(InvalidEventError) as raised:
        checked(event, validators, max_depth)
    return raised.value.problems


def nested(levels: int) -> JsonObject:
    event: JsonObject = {"a": 1}
    for _ in range(levels - 1):
        event = {"a": event}
    return event


# The body of a request


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("", "empty_body", "the body is empty"),
        (" \n\t ", "empty_body", "the body is empty"),
        ("null", "not_an_object", "not null"),
        ('"text"', "not_an_object", "not text"),
        ("7", "not_an_object", "not a number"),
        ("1.5", "not_an_object", "not a number"),
        ("true", "not_an_object", "not a truth value"),
        ("[]", "empty_batch", "no events"),
        ('{"events": []}', "empty_batch", "no events"),
        ('{"a": 1', "invalid_json", "not JSON"),
        ("{'a': 1}", "invalid_json", "not JSON"),
        ('{"a": 1} {"b": 2}', "invalid_json", "not JSON"),
        ('\ufeff{"a": 1}', "invalid_json", "not JSON"),
        ('{"a": NaN}', "invalid_json", "NaN is not a JSON number"),
        ('{"a": Infinity}', "invalid_json", "Infinity is not a JSON number"),
        ('{"a": -Infinity}', "invalid_json", "-Infinity is not a JSON number"),
        ('{"a": 1e999}', "invalid_json", "the number 1e999 is too large"),
        ('{"a": -1e999}', "invalid_json", "the number -1e999 is too large"),
        ('{"a": ' + "1" * 5_000 + "}", "invalid_json", "not JSON"),
        ('{"a": 1, "a": 1}', "invalid_json", 'duplicate key "a" in one object'),
        ('[{"b": {"a": 1, "c": {}, "a": 2}}]', "invalid_json", 'duplicate key "a" in one object'),
        ('{"a": 1, "\\u0061": 2}', "invalid_json", 'duplicate key "a" in one object'),
        ('{"\\ud800\\n": 1, "\\ud800\\n": 2}', "invalid_json", r'duplicate key "\ud800\n"'),
        ("{" + ",".join(['"' + "a" * 9_000 + '": 1'] * 2) + "}", "invalid_json", "duplicate key"),
    ],
)
def test_a_body_that_is_not_an_event_is_refused_with_its_problem(body: str, code: str, words: str) -> None:
    with pytest.raises(BadRequestError) as raised:
        read_body(body, MAX_BATCH)
    assert raised.value.code == code
    assert words in raised.value.message
    assert len(raised.value.message) <= 300


@pytest.mark.parametrize(("opening", "closing"), [('{"a":', "}"), ("[", "]")])
def test_ten_thousand_levels_are_refused_without_a_recursion_error(opening: str, closing: str) -> None:
    with pytest.raises((BadRequestError, InvalidEventError)) as raised:
        # If the JSON parser accepts this depth, the check of the event refuses it.
        checked(read_body(opening * 10_000 + "1" + closing * 10_000, MAX_BATCH).events[0])
    assert "nested" in str(raised.value) or "not a list" in str(raised.value)


@pytest.mark.parametrize("body", ["[{0}]", '{{"events": [{0}]}}'])
def test_the_limit_of_events_in_a_batch_is_exact(body: str) -> None:
    assert len(read_body(body.format(",".join(["{}"] * MAX_BATCH)), MAX_BATCH).events) == MAX_BATCH
    with pytest.raises(TooLargeError, match="501 events; allowed are 500") as raised:
        read_body(body.format(",".join(["{}"] * (MAX_BATCH + 1))), MAX_BATCH)
    assert raised.value.code == "too_many_events"


@pytest.mark.parametrize(
    "body",
    [
        '{"a": 1}',
        "{}",
        '{"events": [{"a": 1}], "x": 1}',
        '{"events": {"a": 1}}',
        '{"events": "all"}',
        '{"events": null}',
    ],
)
def test_an_object_that_is_not_just_a_list_of_events_is_one_event(body: str) -> None:
    submission = read_body(body, MAX_BATCH)
    assert (submission.events, submission.batch) == ([json.loads(body)], False)


@pytest.mark.parametrize("body", ['[{"a": 1}]', '{"events": [{"a": 1}]}'])
def test_a_list_of_one_event_is_a_batch(body: str) -> None:
    submission = read_body(body, MAX_BATCH)
    assert (submission.events, submission.batch) == ([{"a": 1}], True)


def test_a_batch_keeps_invalid_events_in_their_places() -> None:
    assert read_body('[{"a": 1}, null, 7]', MAX_BATCH).events == [{"a": 1}, None, 7]


@given(json_objects)
@settings(deadline=None)
def test_any_event_is_read_from_its_body_exactly(event: JsonObject) -> None:
    assert read_body(json.dumps([event, event]), MAX_BATCH).events == [event, event]


@given(st.text())
@settings(deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert read_body(text, MAX_BATCH).events
    except (BadRequestError, TooLargeError) as error:
        assert error.message  # noqa: PT017  whether it is refused is up to the text


# What is acceptable


@pytest.mark.parametrize("event", [None, [], "text", 7, 1.5, True])
def test_an_event_that_is_not_an_object_is_refused(event: object) -> None:
    (problem,) = problems(event)
    assert problem["path"] == ""
    assert "an event is a JSON object" in problem["message"]


def test_fields_named_as_those_of_the_envelope_are_the_client_s_own() -> None:
    given = {"id": "evt_0001", "received_at": None, "source_ip": 5, "a": 1}
    assert checked(given) == DEFAULT_TYPE
    (message,) = [json.loads(replace(ENVELOPE, data=given).to_message())]
    assert message["data"] == given
    assert message["id"] == ENVELOPE.id


@pytest.mark.parametrize("depth", [1, 2, MAX_DEPTH])
def test_the_depth_limit_is_exact(depth: int) -> None:
    assert checked(nested(depth), max_depth=depth) == DEFAULT_TYPE
    assert problems(nested(depth + 1), max_depth=depth) == [
        {"path": "", "message": f"is nested more than {depth} levels deep"}
    ]


def test_lists_count_as_levels_and_breadth_does_not() -> None:
    assert checked({"a": [[1]]}, max_depth=3) == DEFAULT_TYPE
    assert problems({"a": [[1]]}, max_depth=2)
    assert checked({str(key): [key] for key in range(1_000)}, max_depth=2) == DEFAULT_TYPE


@pytest.mark.parametrize("event", [{"a": "\ud800"}, {"\udfff": 1}, {"a": [{"b": "x\udc00y"}]}])
def test_half_a_surrogate_pair_is_refused_anywhere(event: JsonObject) -> None:
    # JSON can express it but UTF-8 cannot, so no service could store it.
    assert problems(event) == [{"path": "", "message": "has text with half a surrogate pair"}]


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert checked(read_body(r'{"a": "\ud83d\ude00"}', MAX_BATCH).events[0]) == DEFAULT_TYPE


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"event_type": "page_view"}, "page_view"),
        ({"event_type": "x" * MAXIMUM_TYPE_BYTES}, "x" * MAXIMUM_TYPE_BYTES),
        ({"event_type": "x" * (MAXIMUM_TYPE_BYTES + 1)}, DEFAULT_TYPE),
        ({"event_type": "__HIVE_DEFAULT_PARTITION__"}, DEFAULT_TYPE),
        # Nine characters each in a key of the archive.
        ({"event_type": "\u4e2d" * 56}, "\u4e2d" * 56),
        ({"event_type": "\u4e2d" * 57}, DEFAULT_TYPE),
        ({"event_type": ""}, DEFAULT_TYPE),
        ({"event_type": 7}, DEFAULT_TYPE),
        ({"event_type": None}, DEFAULT_TYPE),
        ({}, DEFAULT_TYPE),
    ],
)
def test_without_schemas_the_type_is_the_value_of_the_field_if_that_is_valid(event: JsonObject, expected: str) -> None:
    assert checked(event) == expected
    assert checked(event, compile_schemas({"": {"type": "object"}})) == expected


def test_the_type_is_read_from_the_configured_field() -> None:
    assert check({"kind": "a", "event_type": "b"}, max_depth=1, type_field="kind", validators={})[0] == "a"


def test_a_schema_for_all_types_checks_every_type() -> None:
    validators = compile_schemas({"": PAGE_VIEW})
    assert checked({"event_type": "anything", "page": "/"}, validators) == "anything"
    assert problems({"event_type": "anything"}, validators)
    assert problems({}, validators)


def test_each_type_has_its_own_schema() -> None:
    assert checked({"event_type": "purchase", "amount": 1}, BY_TYPE) == "purchase"
    assert checked({"event_type": "page_view", "page": "/", "amount": "text"}, BY_TYPE) == "page_view"
    (problem,) = problems({"event_type": "purchase", "amount": "text"}, BY_TYPE)
    assert problem["path"] == "/amount"


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"event_type": "refund"}, "unknown event type 'refund'; known: page_view, purchase"),
        ({"event_type": None}, "unknown event type None; known: page_view, purchase"),
        ({"event_type": ["page_view"]}, "unknown event type ['page_view']; known: page_view, purchase"),
        ({"page": "/"}, "is missing; known: page_view, purchase"),
    ],
)
def test_a_type_without_a_schema_is_refused_and_the_known_ones_are_named(event: JsonObject, message: str) -> None:
    assert problems(event, BY_TYPE) == [{"path": "/event_type", "message": message}]


def test_a_long_unknown_type_does_not_make_a_long_response() -> None:
    (problem,) = problems({"event_type": "x" * 100_000}, BY_TYPE)
    assert len(problem["message"]) <= 500


def test_every_problem_is_reported_with_its_json_pointer() -> None:
    schema = {
        "type": "object",
        "required": ["name"],
        "properties": {
            "count": {"type": "integer"},
            "lines": {"type": "array", "items": {"type": "object", "properties": {"a/b~c": {"type": "string"}}}},
        },
    }
    found = problems({"count": "x", "lines": [{"a/b~c": "y"}, {"a/b~c": 5}]}, compile_schemas({"": schema}))
    assert {problem["path"] for problem in found} == {"", "/count", "/lines/1/a~1b~0c"}
    assert {problem["path"]: problem["message"] for problem in found}["/count"] == "must be integer"
    assert "name" in {problem["path"]: problem["message"] for problem in found}[""]


def test_a_problem_has_its_place_even_if_names_have_dots_and_brackets() -> None:
    integer = {"type": "integer"}
    schema = {
        "properties": {
            "a.b": integer,
            "a": {"properties": {"b": {"type": "boolean"}, "x[0]": {"items": integer}, "": integer}},
            "n": {"items": {"required": ["p.q"], "properties": {"p.q": integer, "p": {"maxProperties": 0}}}},
        },
        "patternProperties": {"^z": integer},
    }
    event = {
        "a.b": "wrong",
        "a": {"b": "wrong too", "x[0]": [1, "x"], "": "x"},
        "n": [{"p": {"q": 1}}, {"p.q": "x"}],
        "z.[1].~/": "x",
    }
    found = {problem["path"]: problem["message"] for problem in problems(event, compile_schemas({"": schema}))}
    assert found == {
        "/a.b": "must be integer",
        "/a/b": "must be boolean",
        "/a/x[0]/1": "must be integer",
        "/a/": "must be integer",
        "/n/0": "must contain ['p.q'] properties",
        "/n/0/p": "must contain less than or equal to 0 properties",
        "/n/1/p.q": "must be integer",
        "/z.[1].~0~1": "must be integer",
    }


@pytest.mark.parametrize("others", [{}, {"text": 5}])
def test_an_integer_that_no_float_can_hold_is_refused_where_a_schema_divides(others: JsonObject) -> None:
    schema = {"properties": {"price": {"multipleOf": 0.01}, "text": {"type": "string"}}}
    found = problems({**others, "price": 10**400}, compile_schemas({"": schema}))
    assert found == [{"path": "", "message": "has an integer that is too large for its schema"}]


@pytest.mark.parametrize("value", [True, False, "1", "nan", "Infinity", "", None, [1]])
def test_true_is_not_a_number_in_a_schema(value: object) -> None:
    (problem,) = problems({"event_type": "purchase", "amount": value}, BY_TYPE)
    assert problem == {"path": "/amount", "message": "must be number"}


def test_a_schema_need_not_mention_the_idempotency_key() -> None:
    validators = compile_schemas({"": {"type": "object", "properties": {"a": {}}, "additionalProperties": False}})
    assert checked({"a": 1, "idempotency_key": "k"}, validators) == DEFAULT_TYPE
    assert problems({"a": 1, "other": "k"}, validators)


def test_a_schema_does_not_change_the_event() -> None:
    event: JsonObject = {"a": {}}
    schema = {"properties": {"a": {"properties": {"b": {"default": 5}}}, "c": {"default": 6}}}
    checked(event, compile_schemas({"": schema}))
    assert event == {"a": {}}


# The message


@given(json_objects)
@settings(deadline=None)
def test_any_event_survives_its_message_which_is_ascii(data: JsonObject) -> None:
    envelope = replace(ENVELOPE, data=data)
    message = envelope.to_message()
    assert message.isascii()
    assert Envelope.from_message(message) == envelope
    # In Python, 1 == 1.0 == True.
    assert json.dumps(Envelope.from_message(message).data) == json.dumps(data)


@given(st.fixed_dictionaries({"event_type": st.text(max_size=MAXIMUM_TYPE_BYTES + 1)}))
@settings(deadline=None)
def test_the_worker_can_read_every_accepted_type(event: JsonObject) -> None:
    # An event accepted with 202 must not be dead-lettered as unreadable.
    try:
        envelope = replace(ENVELOPE, type=checked(event), data=event)
    except InvalidEventError:
        return
    assert Envelope.from_message(envelope.to_message()) == envelope


@given(st.text() | json_values.map(json.dumps))
@settings(deadline=None)
def test_any_other_message_is_only_unreadable(body: str) -> None:
    with pytest.raises(UnreadableMessageError, match="not an event of this pipeline") as raised:
        Envelope.from_message(body)
    assert len(str(raised.value)) <= 400


@given(st.sampled_from([field.name for field in fields(Envelope)]), json_values)
@settings(deadline=None, max_examples=300)
def test_a_field_of_any_other_value_is_unreadable_or_usable(name: str, value: object) -> None:
    body = json.dumps({**vars(ENVELOPE), name: value})
    try:
        envelope = Envelope.from_message(body)
    except UnreadableMessageError:
        return
    assert getattr(envelope, name) == value
    kinds: dict[str, Any] = {"data": dict, "headers": dict | None, "body": str | None, "replay": str | None}
    kinds["resent"] = bool | None
    assert isinstance(value, kinds.get(name, str))
    assert envelope.body is None or unpacked(envelope.body) is not None


@given(st.binary(max_size=2_000), st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=3))
def test_bytes_and_headers_of_a_webhook_survive_the_message(body: bytes, headers: dict[str, str]) -> None:
    sent = replace(ENVELOPE, body=packed(body), headers=headers)
    received = Envelope.from_message(sent.to_message())
    assert received == sent
    assert unpacked(received.body or "") == body


@pytest.mark.parametrize("body", ["no base64", "AAAA", packed(bytes(100))[:-8], packed(bytes(6 * 1024 * 1024 + 1))])
def test_a_body_that_ingest_cannot_have_packed_is_unreadable(body: str) -> None:
    with pytest.raises(UnreadableMessageError, match="body"):
        Envelope.from_message(replace(ENVELOPE, body=body).to_message())


@pytest.mark.parametrize("missing", [field.name for field in fields(Envelope) if field.default is MISSING])
def test_a_message_without_one_of_the_fields_is_unreadable(missing: str) -> None:
    body = json.dumps({name: value for name, value in vars(ENVELOPE).items() if name != missing})
    with pytest.raises(UnreadableMessageError, match=missing):
        Envelope.from_message(body)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "../../secrets"),
        ("id", ENVELOPE.id.upper()),
        ("id", ENVELOPE.id + "\n"),
        ("received_at", "2026-11-21T08:00:00Z"),
        ("received_at", "2026-11-21 08:00:00.000000Z"),
        ("received_at", "2026-13-01T08:00:00.000000Z"),
        ("received_at", "2026-02-30T08:00:00.000000Z"),
        ("received_at", "2026-11-21T29:00:00.000000Z"),
        ("received_at", "2\u066326-11-21T08:00:00.000000Z"),
        ("fingerprint", "abc"),
        ("type", "a\nb"),
        ("user_agent", "x" * (MAXIMUM_FIELD_LENGTH + 1)),
        ("correlation_id", 7),
        ("data", []),
        ("data", None),
    ],
)
def test_a_message_with_a_forged_field_is_unreadable_and_does_not_fail_its_batch(name: str, value: object) -> None:
    with pytest.raises(UnreadableMessageError):
        Envelope.from_message(json.dumps({**vars(ENVELOPE), name: value}))


def test_a_message_with_endless_nesting_is_unreadable() -> None:
    with pytest.raises(UnreadableMessageError):
        Envelope.from_message('{"data":' + "[" * 100_000)


def test_fields_of_a_newer_version_are_ignored() -> None:
    assert Envelope.from_message(json.dumps({**vars(ENVELOPE), "added_later": {"x": 1}})) == ENVELOPE


def test_the_size_limit_is_exact_to_the_byte() -> None:
    room = MAXIMUM_MESSAGE_BYTES - len(replace(ENVELOPE, data={"x": ""}).to_message())
    assert len(message_of(replace(ENVELOPE, data={"x": "a" * room}))) == 1_048_576
    with pytest.raises(EventTooLargeError, match="1048577 bytes as a message, allowed are 1048576"):
        message_of(replace(ENVELOPE, data={"x": "a" * (room + 1)}))


def test_a_character_counts_as_its_bytes_in_the_message() -> None:
    with pytest.raises(EventTooLargeError):
        message_of(replace(ENVELOPE, data={"x": "é" * (MAXIMUM_MESSAGE_BYTES // 6)}))


def test_the_times_of_a_request_strictly_increase_and_are_utc() -> None:
    times = received_times(500)
    assert times == sorted(set(times))
    assert len(times) == 500
    assert all(datetime.fromisoformat(each).utcoffset() is not None and each.endswith("Z") for each in times)
