"""CloudEvents in every mode, as the cases and the specification have them."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.api.cloudevents import canonical, from_binary, key_of, mode_of
from handlers.api.events import InvalidEventError
from handlers.api.identity import Key
from handlers.processor import Context
from tests.api_pipeline import Answer, Pipeline
from tests.strategies import json_values

CASES = Path(__file__).parents[2] / "cases" / "api" / "requests"
STRUCTURED = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
BATCHED = {"Content-Type": "application/cloudevents-batch+json"}
EVENT = {"specversion": "1.0", "id": "A234-1234", "source": "/shop/orders", "type": "order.placed"}


def binary_case() -> tuple[dict[str, str], bytes]:
    head, _, body = (CASES / "cloudevent-binary.http").read_text().partition("\n\n")
    return dict(line.split(": ", 1) for line in head.splitlines()[1:]), body.strip().encode()


def post(pipeline: Pipeline, event: object, headers: dict[str, str] = STRUCTURED) -> Answer:
    return pipeline.request("POST", "/events", event, headers=headers)


def problem(event: object) -> str:
    with pytest.raises(InvalidEventError) as raised:
        canonical(event)
    (found,) = raised.value.problems
    return f"{found['path']} {found['message']}"


def test_one_event_in_three_modes_is_one_event(pipeline: Pipeline) -> None:
    event = json.loads((CASES / "cloudevent-structured.json").read_text())
    del event["time"]
    headers, body = binary_case()
    first = post(pipeline, event)
    assert (first.status, first.body["duplicate"]) == (202, False)
    again = pipeline.request("POST", "/events", text=body, headers=headers)
    assert (again.status, again.body["id"], again.body["duplicate"]) == (202, first.body["id"], True)
    third = post(pipeline, [event], BATCHED).body["results"][0]
    assert (third["id"], third["duplicate"]) == (first.body["id"], True)
    (record,) = pipeline.receive()
    message = json.loads(record["body"])
    assert message["data"] == event
    assert message["type"] == "com.example.order.placed"
    assert message["id"] == first.body["id"] != event["id"]
    assert message["idempotency_key"] == "/shop/orders A234-1234"


def test_a_batch_with_both_kinds_of_data(pipeline: Pipeline) -> None:
    answer = pipeline.request("POST", "/events", text=(CASES / "cloudevents-batch.json").read_text(), headers=BATCHED)
    assert (answer.status, answer.body["accepted"]) == (202, 2)
    data = [json.loads(record["body"])["data"]["data"] for record in pipeline.receive()]
    assert sorted(each["n"] for each in data) == [1, 2]


def test_what_is_as_long_as_it_may_be_reaches_the_processor(pipeline: Pipeline) -> None:
    event = {**EVENT, "id": "i" * 256, "source": "/" + "s" * 1_023, "type": "ü" * 1_024, "subject": "x" * 1_024}
    assert post(pipeline, event).status == 202
    calls: list[tuple[Any, Context]] = []

    def process(given: Any, context: Context) -> None:
        calls.append((given, context))

    pipeline.drain(pipeline.worker(process))
    ((given, context),) = calls
    assert given == event
    assert context.idempotency_key == f"{event['source']} {event['id']}"
    assert pipeline.dead_letters() == []


def test_a_key_in_a_header_must_be_one_and_changes_nothing(pipeline: Pipeline) -> None:
    assert post(pipeline, EVENT, {**STRUCTURED, "Idempotency-Key": "k1"}).body["duplicate"] is False
    assert post(pipeline, EVENT, {**STRUCTURED, "Idempotency-Key": "k2"}).body["duplicate"] is True
    refused = post(pipeline, EVENT, {**STRUCTURED, "Idempotency-Key": "x" * 257})
    assert (refused.status, refused.body["error"]["details"][0]["path"]) == (400, "Idempotency-Key")


def test_the_same_source_and_id_with_another_payload_is_a_conflict(pipeline: Pipeline) -> None:
    assert post(pipeline, {**EVENT, "data": 1}).status == 202
    assert post(pipeline, {**EVENT, "data": 2}).status == 409
    assert post(pipeline, {**EVENT, "source": "/other", "data": 2}).body["duplicate"] is False


@pytest.mark.parametrize("version", ["0.3", "1.1", "2.0", "1"])
def test_another_specversion_is_refused_by_name(pipeline: Pipeline, version: str) -> None:
    answer = post(pipeline, {**EVENT, "specversion": version})
    assert answer.status == 400
    (detail,) = answer.body["error"]["details"]
    assert detail == {"path": "/specversion", "message": f"must be 1.0, not {version!r}"}
    assert not pipeline.items()


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"ce-id": "1", "ce-source": "/s", "ce-type": "t"}, b"{}", 400),
        ({"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s"}, b"{}", 400),
        ({"ce-specversion": "1.0", "ce-id": "%ff", "ce-source": "/s", "ce-type": "t"}, b"{}", 400),
        ({**STRUCTURED, "ce-specversion": "0.3"}, json.dumps(EVENT).encode(), 202),
        ({"Content-Type": "application/cloudevents+avro"}, b"x", 415),
        (BATCHED, b"{}", 400),
        (BATCHED, b"[]", 400),
        (STRUCTURED, b"[]", 400),
    ],
)
def test_requests_that_are_half_a_cloudevent(
    pipeline: Pipeline, headers: dict[str, str], body: bytes, status: int
) -> None:
    assert pipeline.request("POST", "/events", text=body, headers=headers).status == status


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id": ""}, "/id is missing"),
        ({"source": None}, "/source is missing"),
        ({"type": 5.5}, "/type must be text"),
        ({"type": 5}, "/type must be text of 1 to 1024 characters"),
        ({"id": 7}, "/id must be text of 1 to 256 printable ASCII characters"),
        ({"id": "x" * 257}, "/id must be text of 1 to 256"),
        ({"id": "a\nb"}, "/id must be text of 1 to 256"),
        ({"source": "/a b"}, "/source must be text of 1 to 1024 printable ASCII characters without spaces"),
        ({"subject": "a\nb"}, "/subject must be text of at most 1024 characters on one line"),
        ({"time": "yesterday"}, "/time must be an RFC 3339 time"),
        ({"time": "2026-01-01T12:00:00"}, "/time must be an RFC 3339 time"),
        ({"Upper": "x"}, "/Upper is no name of an attribute"),
        ({"nested": {"a": 1}}, "/nested must be text"),
        ({"data": 1, "data_base64": "MQ=="}, "/data_base64 cannot be combined"),
        ({"data_base64": "%%"}, "/data_base64 is not base64"),
        ({"data_base64": 1234}, "/data_base64 must be text"),
        ({"time": "2026-W01-1T00:00:00Z"}, "/time must be an RFC 3339 time"),
        ({"time": "20260101T000000Z"}, "/time must be an RFC 3339 time"),
        ({"time": "2026-01-01T25:00:00Z"}, "/time must be an RFC 3339 time"),
        ({"data_base64": base64.b64encode(b"{").decode()}, "/data the body is not JSON"),
        ({"data_base64": base64.b64encode(b"\xff").decode()}, "/data is not UTF-8"),
    ],
)
def test_what_breaks_the_specification_is_refused_by_its_attribute(change: dict[str, Any], said: str) -> None:
    assert problem({**EVENT, **change}).startswith(said)


@pytest.mark.parametrize(
    "time", ["2026-01-01t00:00:00.123456789z", "2016-12-31T23:59:60Z", "2026-01-01 00:00:00-14:00"]
)
def test_each_form_of_a_time_in_rfc_3339_is_kept_as_it_is(time: str) -> None:
    assert canonical({**EVENT, "time": time})["time"] == time


@pytest.mark.parametrize("quoted", ['"evt-1"', r'"e\vt-1"', "evt%2D1", '"evt%2d1"'])
def test_a_quoted_header_is_the_text_between_its_quotes(quoted: str) -> None:
    headers = {f"ce-{name}": value for name, value in EVENT.items()}
    assert canonical(from_binary({**headers, "ce-id": quoted}, b"{}"))["id"] == "evt-1"


def test_text_in_another_charset_is_refused_as_an_http_api_changes_its_bytes(pipeline: Pipeline) -> None:
    headers = {f"ce-{name}": value for name, value in EVENT.items()}
    latin = pipeline.request(
        "POST", "/events", text=b"\xe4", headers={**headers, "Content-Type": "text/plain; charset=iso-8859-1"}
    )
    assert (latin.status, latin.body["error"]["code"]) == (415, "unsupported_media_type")
    image = {**headers, "Content-Type": "image/svg; charset=iso-8859-1"}
    assert pipeline.request("POST", "/events", text=b"\xe4", headers=image).status == 202


def test_an_object_is_no_batch(pipeline: Pipeline) -> None:
    answer = post(pipeline, EVENT, BATCHED)
    assert answer.body["error"]["message"] == "a batch is a JSON array, not an object"


def test_a_list_is_no_cloudevent() -> None:
    assert problem([EVENT]) == " a CloudEvent is a JSON object"


@pytest.mark.parametrize(
    ("given", "payload"),
    [
        ({}, {}),
        ({"data": None}, {}),
        ({"data": 0}, {"datacontenttype": "application/json", "data": 0}),
        ({"data": "<a/>", "datacontenttype": "text/xml"}, {"datacontenttype": "text/xml", "data": "<a/>"}),
        ({"data_base64": "PGEvPg==", "datacontenttype": "text/xml"}, {"datacontenttype": "text/xml", "data": "<a/>"}),
        (
            {"data_base64": "/w==", "datacontenttype": "text/xml"},
            {"datacontenttype": "text/xml", "data_base64": "/w=="},
        ),
        (
            {"data_base64": "aGk=", "datacontenttype": "image/png"},
            {"datacontenttype": "image/png", "data_base64": "aGk="},
        ),
        (
            {"data_base64": "eyJuIjogMn0=", "datacontenttype": "application/json; charset=utf-8"},
            {"datacontenttype": "application/json", "data": {"n": 2}},
        ),
    ],
)
def test_payloads_have_one_form(given: dict[str, Any], payload: dict[str, Any]) -> None:
    assert canonical({**EVENT, **given}) == {**EVENT, **payload}


def test_extension_attributes_are_kept_as_text_in_every_mode() -> None:
    structured = canonical({**EVENT, "priority": 5, "sampled": True, "unset": None, "trace": "é x"})
    headers = {f"ce-{name}": value for name, value in EVENT.items()}
    binary = canonical(
        from_binary({**headers, "ce-priority": "5", "ce-sampled": "true", "ce-trace": "%C3%A9%20x", "host": "h"}, b"")
    )
    assert structured == binary == {**EVENT, "priority": "5", "sampled": "true", "trace": "é x"}


def test_the_key_is_source_and_id() -> None:
    assert key_of(EVENT) == Key("cloudevent", "/shop/orders A234-1234")


def test_the_content_type_decides_before_the_headers() -> None:
    assert mode_of("application/cloudevents+json", {"ce-id": "1"}) == "structured"
    assert mode_of("application/json", {"ce-id": "1"}) == "binary"
    assert mode_of("application/json", {"ce-custom": "1"}) is None


@given(json_values)
def test_json_reads_the_same_from_structured_and_binary_mode(data: Any) -> None:
    headers = {f"ce-{name}": value for name, value in EVENT.items()} | {"content-type": "application/json"}
    binary = canonical(from_binary(headers, json.dumps(data).encode()))
    structured = canonical({**EVENT, "datacontenttype": "application/json", "data": data})
    if data is not None:
        assert json.dumps(binary, sort_keys=True) == json.dumps(structured, sort_keys=True)


@given(st.dictionaries(st.sampled_from([*EVENT, "data", "data_base64", "x"]), json_values) | json_values)
def test_anything_is_a_cloudevent_or_refused(event: Any) -> None:
    try:
        assert key_of(canonical(event)).kind == "cloudevent"
    except InvalidEventError as error:
        assert error.problems  # noqa: PT017  it is refused with a reason
