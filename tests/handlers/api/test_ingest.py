"""The ingest function: its answers, and what it leaves in queue and table."""

import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from handlers.api import identity
from handlers.api.table import EventTable
from handlers.shared.bodies import FORM_TYPE
from handlers.shared.dynamodb import Table
from handlers.shared.log import logger
from tests.api_pipeline import Pipeline
from tests.crash_points import broken, points, record

ORDER = {"orderId": "A-17", "amount": 12.5}
CASES = Path(__file__).parents[2] / "cases" / "api" / "requests"


def messages(pipeline: Pipeline) -> list[dict[str, Any]]:
    return [json.loads(record["body"]) for record in pipeline.receive()]


def test_one_event_is_accepted_queued_and_recorded(pipeline: Pipeline) -> None:
    answer = pipeline.post(ORDER)
    event_id = answer.body["id"]
    assert (answer.status, answer.body) == (202, {"id": event_id, "status": "queued", "duplicate": False})
    assert answer.headers["Location"] == f"/events/{event_id}"
    (message,) = messages(pipeline)
    assert message["data"] == ORDER
    assert message["id"] == event_id
    shown = pipeline.shown(event_id)
    assert shown.status == 200
    assert shown.body == {
        "id": event_id,
        "type": "default",
        "status": "queued",
        "received_at": message["received_at"],
        "completed_at": None,
        "attempts": 0,
        "error": None,
    }


def test_fields_of_the_envelope_are_the_server_s_and_the_event_is_unchanged(pipeline: Pipeline) -> None:
    event = {
        "event_type": "order",
        "source_ip": "10.0.0.1",
        "user_agent": "mine",
        "correlation_id": "mine",
        "type": "x",
    }
    pipeline.post(event, x_correlation_id="request of a test")
    (message,) = messages(pipeline)
    assert message["data"] == event
    assert {name: message[name] for name in ("type", "source_ip", "user_agent", "correlation_id")} == {
        "type": "order",
        "source_ip": "192.0.2.1",
        "user_agent": "test",
        "correlation_id": "request of a test",
    }


def test_the_request_id_is_the_default_correlation_id(pipeline: Pipeline) -> None:
    pipeline.post(ORDER)
    assert messages(pipeline)[0]["correlation_id"] == "request-1"


def test_an_invalid_event_does_not_affect_its_neighbours(pipeline: Pipeline) -> None:
    answer = pipeline.post([ORDER, "text", {"idempotency_key": 5}, ORDER])
    assert answer.status == 202
    assert (answer.body["accepted"], answer.body["rejected"]) == (2, 2)
    first, second, third, fourth = answer.body["results"]
    assert first == {"index": 0, "id": first["id"], "status": "queued"}
    assert second == {
        "index": 1,
        "status": "rejected",
        "errors": [{"path": "", "message": "an event is a JSON object, not text"}],
    }
    assert [error["path"] for error in third["errors"]] == ["/idempotency_key"]
    assert fourth["id"] != first["id"]
    assert len(messages(pipeline)) == 2
    assert set(pipeline.items()) == {first["id"], fourth["id"]}


def test_a_batch_of_invalid_events_is_a_400_with_every_reason(pipeline: Pipeline) -> None:
    answer = pipeline.post([1, {"idempotency_key": 2}])
    assert answer.status == 400
    assert answer.body["error"]["code"] == "all_rejected"
    assert [result["status"] for result in answer.body["results"]] == ["rejected", "rejected"]
    assert not pipeline.items()


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [
        ("", 400, "empty_body"),
        ("null", 400, "not_an_object"),
        ("[]", 400, "empty_batch"),
        ('{"events": []}', 400, "empty_batch"),
        ('"text"', 400, "not_an_object"),
        ("7", 400, "not_an_object"),
        ('{"a": ', 400, "invalid_json"),
        ('{"a": NaN}', 400, "invalid_json"),
        ('{"a": -Infinity}', 400, "invalid_json"),
        ('{"a": 1e999}', 400, "invalid_json"),
        ('{"a": ' + "9" * 5_000 + "}", 400, "invalid_json"),
        ("[" * 10_000 + "]" * 10_000, 400, "too_deep"),
        ('{"a":' * 70 + "1" + "}" * 70, 400, "invalid_event"),
        ('{"a": "\\ud800"}', 400, "invalid_event"),
        ('{"idempotency_key": 5}', 400, "invalid_event"),
        (json.dumps({"a": "x" * 2_000_000}), 413, "event_too_large"),
        (json.dumps([{}] * 501), 413, "too_many_events"),
    ],
)
def test_invalid_input_is_refused_as_documented_and_leaves_nothing(
    pipeline: Pipeline,
    text: str,
    status: int,
    code: str,
) -> None:
    answer = pipeline.request("POST", "/events", text=text)
    assert (answer.status, answer.body["error"]["code"]) == (status, code)
    assert set(answer.body["error"]) == {"code", "message", "details"}
    assert "Traceback" not in json.dumps(answer.body)
    assert not pipeline.items()
    assert not pipeline.receive()


@pytest.mark.parametrize("event", sorted(CASES.glob("webhook-*.json")), ids=lambda path: path.stem)
def test_a_sender_s_own_id_stays_its_own(pipeline: Pipeline, event: Path) -> None:
    answer = pipeline.request("POST", "/events", text=event.read_text())
    assert answer.status == 202
    (message,) = messages(pipeline)
    assert message["data"] == json.loads(event.read_text())
    assert message["id"] == answer.body["id"] != message["data"]["id"]


@pytest.mark.parametrize(
    ("text", "headers"),
    [
        (gzip.compress(json.dumps(ORDER).encode(), mtime=0), {"Content-Encoding": "gzip"}),
        (b"\xef\xbb\xbf" + json.dumps(ORDER).encode(), {"Content-Type": "application/vnd.shop+json"}),
        ("\ufeff" + json.dumps(ORDER), {}),
    ],
)
def test_the_same_event_is_read_from_each_encoding(
    pipeline: Pipeline, text: str | bytes, headers: dict[str, str]
) -> None:
    assert pipeline.request("POST", "/events", text=text, headers=headers).status == 202
    assert [message["data"] for message in messages(pipeline)] == [ORDER]


@pytest.mark.parametrize(
    ("text", "headers", "status", "code"),
    [
        (b"<order/>", {"Content-Type": "text/xml"}, 415, "unsupported_media_type"),
        (b"a=1", {"Content-Type": FORM_TYPE}, 415, "unsupported_media_type"),
        (b"{}", {"Content-Encoding": "br"}, 415, "unsupported_encoding"),
        (gzip.compress(b"{}", mtime=0)[:-3], {"Content-Encoding": "gzip"}, 400, "invalid_gzip"),
        (gzip.compress(bytes(30_000_000), mtime=0), {"Content-Encoding": "gzip"}, 413, "body_too_large"),
    ],
)
def test_a_body_of_another_kind_is_refused_by_name(
    pipeline: Pipeline, text: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = pipeline.request("POST", "/events", text=text, headers=headers)
    assert (answer.status, answer.body["error"]["code"]) == (status, code)
    assert not pipeline.items()
    assert not pipeline.receive()


def test_a_form_is_an_event_where_the_config_says_so(pipeline: Pipeline) -> None:
    pipeline.settings["accept_forms"] = True
    headers = {"Content-Type": f"{FORM_TYPE}; charset=utf-8"}
    assert pipeline.request("POST", "/events", text=b"event_type=order&item=a&item=b", headers=headers).status == 202
    assert pipeline.post(ORDER).status == 202
    form, order = sorted(messages(pipeline), key=lambda message: message["received_at"])
    assert (form["data"], form["type"]) == ({"event_type": "order", "item": ["a", "b"]}, "order")
    assert order["data"] == ORDER


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/events"), ("GET", "/events"), ("GET", "/events/{id}"), ("HEAD", "/events")],
)
@pytest.mark.parametrize("query", ["colour=red", "limit=1&limit=2", "limit=1&colour=red"])
def test_unknown_and_repeated_parameters_are_refused(pipeline: Pipeline, method: str, path: str, query: str) -> None:
    answer = pipeline.request(method, path, ORDER, query=query, event_id=identity.new_id())
    assert answer.status == 400
    assert not pipeline.items()


def test_head_answers_as_get_without_a_body(pipeline: Pipeline) -> None:
    event_id = pipeline.post(ORDER).body["id"]
    for path, status in {"/events": 200, "/events/{id}": 200, "/health": 200, "/nowhere": 404}.items():
        answer = pipeline.request("HEAD", path, event_id=event_id)
        assert (answer.status, answer.body) == (status, None)


@pytest.mark.parametrize(
    "headers",
    [
        {"Idempotency-Key": "k" * 10_000},
        {"Idempotency-Key": ""},
        {"Idempotency-Key": "a\x00b"},
        {"X-Correlation-Id": "a\x07b"},
        {"X-Correlation-Id": "c" * 201},
    ],
)
def test_invalid_headers_are_refused(pipeline: Pipeline, headers: dict[str, str]) -> None:
    answer = pipeline.request("POST", "/events", ORDER, headers=headers)
    assert answer.status == 400
    assert answer.body["error"]["details"][0]["path"] in ("Idempotency-Key", "X-Correlation-Id")
    assert not pipeline.items()


def test_a_header_key_does_not_go_with_a_batch(pipeline: Pipeline) -> None:
    answer = pipeline.post([ORDER], Idempotency_Key="k")
    assert (answer.status, answer.body["error"]["code"]) == (400, "key_for_a_batch")


def test_a_repeat_answers_with_the_first_id_and_another_body_is_a_conflict(pipeline: Pipeline) -> None:
    first = pipeline.post(ORDER, Idempotency_Key="key-1")
    again = pipeline.post(dict(reversed(ORDER.items())), Idempotency_Key="key-1")
    other = pipeline.post({**ORDER, "amount": 13}, Idempotency_Key="key-1")
    assert (first.body["duplicate"], again.status, again.body["duplicate"]) == (False, 202, True)
    assert again.body["id"] == first.body["id"]
    assert (other.status, other.body["error"]["code"]) == (409, "idempotency_conflict")
    assert len(messages(pipeline)) == 1


def test_two_callers_with_one_key_have_an_event_each_and_learn_nothing_of_the_others(pipeline: Pipeline) -> None:
    def posted(signer: str, amount: int) -> Any:
        headers = {"idempotency-key": "key-1"}
        return pipeline.request("POST", "/events", {**ORDER, "amount": amount}, headers=headers, signer=signer)

    ann = posted("arn:aws:sts::123456789012:assumed-role/shop/ann", 1)
    bob = posted("arn:aws:iam::123456789012:user/bob", 2)
    ann_again = posted("arn:aws:sts::123456789012:assumed-role/shop/ann-tomorrow", 1)
    assert [each.status for each in (ann, bob, ann_again)] == [202] * 3
    assert ann.body["id"] == ann_again.body["id"] != bob.body["id"]
    assert [each.body["duplicate"] for each in (ann, bob, ann_again)] == [False, False, True]


def test_functions_that_start_at_once_agree_on_the_secret_of_ids(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = EventTable(pipeline.outputs["table_name"], time_index_shards=1, items_expire_after_days=1)
    others: list[bytes] = []
    put_if = Table.put_if

    def slower(*given: Any) -> bool:
        monkeypatch.setattr(Table, "put_if", put_if)
        others.append(table.id_secret())
        return put_if(*given)

    monkeypatch.setattr(Table, "put_if", slower)
    assert [table.id_secret()] == others == [table.id_secret()]
    assert len(others[0]) == 32


def test_a_repeat_of_a_finished_event_has_its_status(pipeline: Pipeline) -> None:
    first = pipeline.post(ORDER, Idempotency_Key="key-1")
    pipeline.drain(pipeline.worker(lambda _event: None))
    again = pipeline.post(ORDER, Idempotency_Key="key-1")
    assert again.body == {"id": first.body["id"], "status": "succeeded", "duplicate": True}


def test_repeats_and_conflicts_within_one_batch_are_distinguished(pipeline: Pipeline) -> None:
    keyed = {**ORDER, "idempotency_key": "key-1"}
    answer = pipeline.post([keyed, keyed, {**keyed, "amount": 1}, ORDER])
    first, repeat, conflict, plain = answer.body["results"]
    assert repeat == {"index": 1, "id": first["id"], "status": "queued", "duplicate": True}
    assert conflict["status"] == "rejected"
    assert conflict["errors"][0]["message"] == "the idempotency key was used with another event"
    assert len({first["id"], plain["id"]}) == len(messages(pipeline)) == 2


def test_a_repeat_is_recognised_behind_a_conflict_in_the_same_batch(pipeline: Pipeline) -> None:
    keyed = {**ORDER, "idempotency_key": "key-1"}
    first = pipeline.post(keyed)
    answer = pipeline.post([{**keyed, "amount": 1}, keyed])
    conflict, repeat = answer.body["results"]
    assert conflict["status"] == "rejected"
    assert (repeat["id"], repeat["duplicate"]) == (first.body["id"], True)
    assert len(messages(pipeline)) == 1


def test_a_key_that_is_another_events_fingerprint_does_not_steal_its_id(pipeline: Pipeline) -> None:
    pipeline.settings = {"deduplicate": "content"}
    event = {"order": 17}
    thief = pipeline.post({"order": 18}, Idempotency_Key=identity.fingerprint(event))
    owner = pipeline.post(event)
    assert (thief.status, owner.status) == (202, 202)
    assert thief.body["id"] != owner.body["id"]
    assert owner.body["duplicate"] is False


def test_equal_events_without_a_key_are_deduplicated_only_by_content(pipeline: Pipeline) -> None:
    assert pipeline.post(ORDER).body["id"] != pipeline.post(ORDER).body["id"]
    pipeline.settings = {"deduplicate": "content"}
    first, again = pipeline.post(ORDER), pipeline.post(ORDER)
    assert (first.body["duplicate"], again.body["duplicate"]) == (False, True)
    assert first.body["id"] == again.body["id"]


def test_one_key_from_twenty_threads_is_one_event(pipeline: Pipeline) -> None:
    ingest = pipeline.ingest()

    def post(_number: int) -> dict[str, Any]:
        event = {
            "routeKey": "POST /events",
            "rawPath": "/events",
            "headers": {"idempotency-key": "one"},
            "body": json.dumps(ORDER),
            "requestContext": {"requestId": "r", "http": {"sourceIp": "", "userAgent": ""}},
        }
        return json.loads(ingest.handle(event)["body"])  # type: ignore[no-any-return]

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(post, range(20)))
    assert len({answer["id"] for answer in answers}) == 1
    assert [answer["duplicate"] for answer in answers].count(False) == 1
    pipeline.drain(pipeline.worker(lambda event: event))
    # Repeats before the first was recorded send the event, too, but the duplicates have no effect.
    assert len(pipeline.objects("results/")) == len(pipeline.items()) == 1
    assert pipeline.shown(answers[0]["id"]).body["status"] == "succeeded"


def test_an_expired_item_that_is_not_deleted_yet_does_not_hold_its_key(pipeline: Pipeline) -> None:
    first = pipeline.post(ORDER, Idempotency_Key="key-1")
    pipeline.root("dynamodb").update_item(
        TableName=pipeline.outputs["table_name"],
        Key={"id": {"S": first.body["id"]}},
        UpdateExpression="SET expires_at = :past",
        ExpressionAttributeValues={":past": {"N": "1"}},
    )
    assert pipeline.shown(first.body["id"]).status == 404
    again = pipeline.post({**ORDER, "amount": 1}, Idempotency_Key="key-1")
    assert (again.status, again.body["duplicate"]) == (202, False)
    assert pipeline.shown(first.body["id"]).body["status"] == "queued"


def test_untracked_events_appear_when_they_are_processed_and_repeats_are_recognised(pipeline: Pipeline) -> None:
    pipeline.settings = {"track": False}
    first = pipeline.post(ORDER, Idempotency_Key="key-1")
    assert first.status == 202
    assert pipeline.shown(first.body["id"]).status == 404
    pipeline.post(ORDER, Idempotency_Key="key-1")
    runs: list[object] = []
    pipeline.drain(pipeline.worker(runs.append))
    assert len(runs) == 1
    assert pipeline.shown(first.body["id"]).body["status"] == "succeeded"
    again = pipeline.post(ORDER, Idempotency_Key="key-1")
    assert again.body == {"id": first.body["id"], "status": "succeeded", "duplicate": True}
    assert pipeline.post({"other": 1}, Idempotency_Key="key-1").status == 409


def test_untracked_events_that_share_a_key_and_differ_are_not_lost(pipeline: Pipeline) -> None:
    pipeline.settings = {"track": False}
    first = pipeline.post(ORDER, Idempotency_Key="key-1")
    assert pipeline.post({"other": 1}, Idempotency_Key="key-1").status == 202  # the first has no item yet
    pipeline.drain(pipeline.worker(lambda event: event))
    assert json.loads(*pipeline.objects("results/").values()) == ORDER
    (letter,) = pipeline.dead_letters()
    assert json.loads(letter["Body"])["data"] == {"other": 1}
    assert letter["MessageAttributes"]["error_type"]["StringValue"] == "ConflictError"
    (alert,) = pipeline.alerts()
    assert alert["events"][0]["id"] == first.body["id"]


def test_if_the_queue_refuses_events_the_response_is_503_and_no_event_is_shown_as_queued(pipeline: Pipeline) -> None:
    url, pipeline.settings = pipeline.outputs["queue_url"], {"queue_url": "http://127.0.0.1:1/nowhere"}
    single = pipeline.post(ORDER)
    keyed = pipeline.post(ORDER, Idempotency_Key="key-1")
    batch = pipeline.post([ORDER, ORDER])
    assert (single.status, keyed.status, batch.status) == (503, 503, 503)
    assert single.body["error"]["code"] == "queue_unavailable"
    assert [result["status"] for result in batch.body["results"]] == ["rejected", "rejected"]
    assert not pipeline.items()
    pipeline.settings = {"queue_url": url}
    assert pipeline.post({"another": "body"}, Idempotency_Key="key-1").status == 202


def test_if_the_table_fails_only_events_without_a_key_are_accepted(
    pipeline: Pipeline,
) -> None:
    calls = record(lambda: pipeline.post(ORDER))
    assert calls == ["sqs:SendMessageBatch", "dynamodb:BatchExecuteStatement"]
    pipeline.clear()
    with broken(next(point for point in points(calls) if (point.position, point.way) == (1, "fails before"))):
        accepted = pipeline.post(ORDER)
    assert accepted.status == 202
    pipeline.drain(pipeline.worker(lambda event: event))
    assert pipeline.shown(accepted.body["id"]).body["status"] == "succeeded"
    calls = record(lambda: pipeline.post(ORDER, Idempotency_Key="key-9"))
    pipeline.clear()
    with broken(points(calls)[0]):
        refused = pipeline.post(ORDER, Idempotency_Key="key-9")
    assert (refused.status, refused.body["error"]["code"]) == (503, "unavailable")
    assert not pipeline.receive()


def test_large_events_are_spread_over_calls_that_sqs_takes(pipeline: Pipeline) -> None:
    big = {"text": "x" * 400_000}
    answer = pipeline.post([big] * 5)
    assert (answer.status, answer.body["accepted"]) == (202, 5)
    assert sum(len(batch) for batch in iter(pipeline.receive, [])) == 5


def test_a_large_event_that_a_schema_refuses_is_refused_with_a_short_answer(pipeline: Pipeline) -> None:
    pipeline.schemas = {"": {"properties": {"a": {"items": {"type": "string"}}}}}
    large = pipeline.post({"a": [1] * 200_000})
    assert (large.status, len(large.body["error"]["details"])) == (400, 1)
    small = pipeline.post({"a": [1] * 200})
    assert (small.status, len(small.body["error"]["details"])) == (400, 20)


HOSTILE_TEXTS = [
    "\ud800",
    "a\udfffb",
    "\x00",
    "\r\nX: 1",
    "",
    "\u2028",
    "\N{GRINNING FACE}" * 600,
    "9" * 5_000,
    "../..",
]
IN_A_REQUEST = [
    "idempotency-key",
    "x-correlation-id",
    "user-agent",
    "since",
    "until",
    "type",
    "status",
    "limit",
    "cursor",
]


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=ascii)
def test_hostile_text_is_accepted_or_refused_and_never_an_error(pipeline: Pipeline, text: str) -> None:
    """Half surrogate pairs and control characters: JSON can express them although no HTTP client sends them."""
    given = [{name: text} for name in (*IN_A_REQUEST, text)]
    answers = [pipeline.request("GET", "/events", parameters=each) for each in given]
    answers += [pipeline.request("POST", "/events", {"n": 1}, headers=each) for each in given]
    answers += [pipeline.request("POST", "/events", {"event_type": text, text: [text]}), pipeline.shown(text or "-")]
    answers.append(pipeline.request("POST", "/events", text=text))
    assert {answer.status for answer in answers} <= {200, 202, 400, 404}
    accepted = {answer.body["id"] for answer in answers if answer.status == 202}
    assert pipeline.items().keys() == accepted
    pipeline.drain(pipeline.worker(lambda _event: None))
    assert {item["status"] for item in pipeline.items().values()} == {"succeeded"}


NUMBERS = {"additionalProperties": {"additionalProperties": {"type": "integer"}}}
CHOICES = {"additionalProperties": {"enum": ["\N{GRINNING FACE}" * 600]}}


@pytest.mark.parametrize(
    ("schema", "event", "count"),
    [
        pytest.param(NUMBERS, {"n" * 9_000: {str(field): "x" for field in range(40)}}, 300, id="long names"),
        pytest.param(NUMBERS, {"\N{GRINNING FACE}" * 49: dict.fromkeys("abcdefghijklmnopqrstuvwxyz")}, 500, id="paths"),
        pytest.param(NUMBERS, {"\N{GRINNING FACE}" * 200_000: {"a": "x"}}, 3, id="a very long name"),
        pytest.param(CHOICES, {str(field): "x" for field in range(40)}, 500, id="long messages"),
        pytest.param({"required": ["a"]}, {}, 500, id="short"),
    ],
)
def test_the_response_to_any_invalid_batch_fits_lambda_s_limit(
    pipeline: Pipeline, schema: dict[str, Any], event: dict[str, Any], count: int
) -> None:
    pipeline.schemas = {"": schema}
    answer = pipeline.post([event] * count)
    assert (answer.status, answer.body["rejected"]) == (400, count)
    assert all(result["errors"][0]["message"] for result in answer.body["results"])
    # In Lambda's response the body is text within JSON. https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
    assert len(json.dumps(json.dumps(answer.body, separators=(",", ":")))) < 6 * 1024 * 1024


def test_a_problem_in_a_field_with_a_long_name_has_the_path_of_the_enclosing_field(pipeline: Pipeline) -> None:
    pipeline.schemas = {"": {"additionalProperties": NUMBERS}}
    answer = pipeline.post({"a": {"b": {"c": "x"}, "n" * 200: {"d": "x"}}})
    assert sorted(detail["path"] for detail in answer.body["error"]["details"]) == ["/a", "/a/b/c"]


def test_each_type_has_its_schema_and_every_problem_is_named(pipeline: Pipeline) -> None:
    number = {"type": "object", "properties": {"n": {"type": "number"}, "s": {"type": "string"}}, "required": ["n"]}
    pipeline.schemas = {"count": number}
    assert pipeline.post({"event_type": "count", "n": 1}).status == 202
    wrong = pipeline.post({"event_type": "count", "n": True, "s": 1})
    assert {problem["path"] for problem in wrong.body["error"]["details"]} == {"/n", "/s"}
    unknown = pipeline.post({"event_type": "other"})
    assert unknown.body["error"]["details"] == [
        {"path": "/event_type", "message": "unknown event type 'other'; known: count"},
    ]
    assert pipeline.post({"n": 1}).status == 400


def test_an_unknown_id_is_a_404(pipeline: Pipeline) -> None:
    assert pipeline.shown(identity.new_id()).status == 404
    assert pipeline.shown("x" * 5_000).status in (400, 404)
    assert pipeline.request("GET", "/nowhere").body["error"]["code"] == "no_such_route"


def test_health_makes_no_call(pipeline: Pipeline) -> None:
    assert record(lambda: pipeline.request("GET", "/health")) == []
    assert pipeline.request("GET", "/health").body == {"status": "ok"}


@pytest.mark.parametrize("body", ["", "{", "[]", '{"a": 1, "a": 2}', json.dumps([{}] * 501)])
def test_a_body_that_is_refused_as_a_whole_is_counted_and_logged_once(
    pipeline: Pipeline, body: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert pipeline.request("POST", "/events", text=body).status in (400, 413)
    (metric,) = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (metric["Accepted"], metric["Rejected"], metric["Duplicate"]) == ([0.0], [1.0], [0.0])
    (line,) = (vars(record) for record in caplog.records)
    assert (line["route"], line["rejected"], logger.get_correlation_id()) == ("POST /events", 1, "request-1")


def test_an_event_that_is_refused_on_its_own_is_counted_once(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pipeline.post({"idempotency_key": 5}).status == 400
    (metric,) = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert metric["Rejected"] == [1.0]


def test_a_read_request_counts_no_event(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert pipeline.request("GET", "/events", headers={"x-correlation-id": "é"}).status == 400
    assert capsys.readouterr().out == ""
    (line,) = (vars(record) for record in caplog.records)
    assert (line["route"], line["status"], logger.get_correlation_id()) == ("GET /events", 400, "request-1")


def test_health_ignores_headers_and_body(pipeline: Pipeline) -> None:
    answer = pipeline.request("GET", "/health", headers={"x-correlation-id": "a\nb"}, text="\ud800")
    assert (answer.status, answer.body) == (200, {"status": "ok"})


def test_events_are_listed_newest_first_by_page_type_and_status(pipeline: Pipeline) -> None:
    sent = [pipeline.post({"event_type": kind, "n": n}).body["id"] for n, kind in enumerate("abab")]
    pipeline.deliver(pipeline.worker(lambda event: event), [r for r in pipeline.receive() if '"n":3' in r["body"]])

    def listed(**parameters: str) -> list[str]:
        answer = pipeline.request("GET", "/events", parameters=parameters)
        assert answer.status == 200, answer
        return [event["id"] for event in answer.body["events"]]

    assert listed() == sent[::-1]
    assert listed(type="a") == [sent[2], sent[0]]
    assert listed(status="succeeded") == [sent[3]]
    assert listed(status="failed") == []
    first = pipeline.request("GET", "/events", parameters={"limit": "3"})
    assert [event["id"] for event in first.body["events"]] == sent[:0:-1]
    assert listed(cursor=first.body["cursor"]) == sent[:1]
    received = pipeline.shown(sent[1]).body["received_at"]
    assert listed(since=received) == [sent[3], sent[2], sent[1]]
    assert listed(until=received) == [sent[0]]
    bad = pipeline.request("GET", "/events", parameters={"limit": "1000"})
    assert (bad.status, bad.body["error"]["details"][0]["path"]) == (400, "limit")


def test_without_a_time_index_the_list_is_a_404_with_the_reason(pipeline: Pipeline) -> None:
    pipeline.settings = {"time_index": False}
    answer = pipeline.request("GET", "/events")
    assert (answer.status, answer.body["error"]["code"]) == (404, "no_time_index")


def test_events_that_were_accepted_without_a_time_index_are_listed_once_there_is_one(pipeline: Pipeline) -> None:
    pipeline.settings = {"time_index": False}
    before = [pipeline.post(ORDER).body["id"] for _ in range(3)]
    pipeline.drain(pipeline.worker(lambda _event: None))
    # DynamoDB fills a new index with the items that have its keys.
    pipeline.settings = {}
    after = pipeline.post(ORDER).body["id"]
    listed = [event["id"] for event in pipeline.request("GET", "/events").body["events"]]
    assert listed == [after, *before[::-1]]


def test_with_more_shards_all_events_are_listed(pipeline: Pipeline) -> None:
    pipeline.settings = {"time_index_shards": 4}
    before = {pipeline.post(ORDER).body["id"] for _ in range(20)}
    pipeline.settings = {"time_index_shards": 16}
    after = {pipeline.post(ORDER).body["id"] for _ in range(20)}
    listed = pipeline.request("GET", "/events", parameters={"limit": "100"}).body["events"]
    assert {event["id"] for event in listed} == before | after


def test_a_result_is_found_where_it_was_stored_whatever_the_option_says_now(pipeline: Pipeline) -> None:
    shown = {}
    for stored in ("object", "inline"):
        pipeline.settings = {"results": stored}
        shown[stored] = pipeline.post(ORDER).body["id"]
        pipeline.drain(pipeline.worker(lambda _event: "done"))
    for now in ("object", "inline"):
        pipeline.settings = {"results": now}
        assert f"{shown['object']}.json" in pipeline.shown(shown["object"]).body["result_url"]
        assert pipeline.shown(shown["inline"]).body["result"] == "done"


def test_a_result_in_a_bucket_that_was_let_go_of_is_no_error(pipeline: Pipeline) -> None:
    event_id = pipeline.post(ORDER).body["id"]
    pipeline.drain(pipeline.worker(lambda _event: "done"))
    pipeline.settings = {"results": "inline", "bucket_name": ""}
    shown = pipeline.shown(event_id)
    assert (shown.status, shown.body["status"]) == (200, "succeeded")
    assert "result_url" not in shown.body


def test_an_event_s_own_field_is_its_key_and_some_fields_may_differ(pipeline: Pipeline) -> None:
    pipeline.settings |= {"idempotency_field": "order.number", "ignore_when_comparing": '["sent_at"]'}
    first = pipeline.post({"order": {"number": 17}, "sent_at": 1}).body
    repeat = pipeline.post({"order": {"number": 17}, "sent_at": 2}).body
    assert (repeat["id"], repeat["duplicate"]) == (first["id"], True)
    assert pipeline.post({"order": {"number": 17}, "amount": 1}).status == 409
    assert pipeline.post({"order": {}}).body["duplicate"] is False
    assert pipeline.post({"order": {"number": []}}).status == 400


def test_a_header_of_the_sender_s_own_is_the_key_of_one_event(pipeline: Pipeline) -> None:
    pipeline.settings["idempotency_header"] = "X-Delivery"
    first, repeat = (pipeline.post(ORDER, X_Delivery="d-1").body for _ in range(2))
    assert (repeat["id"], repeat["duplicate"]) == (first["id"], True)
    assert pipeline.post([ORDER], X_Delivery="d-1").body["error"]["code"] == "key_for_a_batch"
