"""The running API and whatever can be sent to it: made by Schemathesis from our own OpenAPI document, and by hand.

No answer is a server's error, every answer is as documented, nothing that was refused is stored, no worker dies of a
request, and none keeps what it was sent.
"""

import base64
import gzip
import http.client
import json
import os
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import pytest
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection

from handlers.api.signatures import Rule, sign
from handlers.shared.bodies import FORM_TYPE
from tests.graphs import SAMPLES
from tests.processes import living

from .conftest import SECRETS, WEBHOOKS, Client, Start
from .hostile import AnyCase, Json, Target

EXAMPLES = {
    "POST /events": 12,
    "GET /events": 8,
    "GET /events/{id}": 4,
    "GET /health": 1,
    "HEAD /events": 2,
    "HEAD /events/{id}": 1,
    "HEAD /health": 1,
    "GET /redrive/preview": 3,
    "POST /redrive/start": 3,
    "POST /webhooks/shop": 6,
    "GET /webhooks/shop": 3,
}


class Traces(NamedTuple):
    """Traces of events: ids in the table and the bucket, and the number of dead letters without a failed item."""

    ids: set[str]
    strays: int


class Events(Target):
    """An API that takes events."""

    def wait_for_queue(self) -> None:
        """Returns when no event is on its way."""
        self.client.until(lambda: self.client.depth(self.client.outputs["queue_url"]) == 0)

    def traces(self) -> Traces:
        """The traces of all events so far, as soon as none is on its way."""
        self.wait_for_queue()
        client = self.client
        items, objects = client.items(), client.objects("")
        failed = sum(item["status"] == "failed" for item in items.values())
        return Traces(
            {*items, *(key.rsplit("/", 1)[1].removesuffix(".json") for key in objects)},
            client.depth(client.outputs["dead_letter_queue_url"]) - failed,
        )


@pytest.fixture(scope="module")
def anything(dev: Client) -> Events:
    return Events(dev)


@pytest.fixture(scope="module")
def orders(start: Start) -> Iterator[Events]:
    api = {"kind": "rest", "auth": "api_key", "schemas": ["order"], "max_batch": 5, "max_depth": 8}
    worker = {"processor": "processors.orders:process"}
    with start(api=api, worker=worker, queue={"redrive_api": {}}, webhooks=WEBHOOKS) as client:
        key = client.aws("apigateway").get_api_key(apiKey=client.outputs["api_key_id"], includeValue=True)["value"]
        yield Events(client, {"x-api-key": key})


@pytest.fixture(scope="module")
def grouped(start: Start) -> Iterator[Events]:
    with start(queue={"fifo": {"group_field": "customer"}}) as client:
        yield Events(client)


@pytest.fixture(params=["anything", "orders", "grouped"])
def api(request: pytest.FixtureRequest) -> Events:
    found: Events = request.getfixturevalue(request.param)
    return found


def accepted(status: int, body: bytes) -> set[str]:
    """The ids that an answer says are accepted."""
    if status != 202:
        return set()
    answer = json.loads(body)
    return {result["id"] for result in answer.get("results", [answer]) if "id" in result}


def assert_stored(api: Events, before: Traces, ids: set[str]) -> None:
    """What is stored since then is what was accepted, no more and no less."""
    now = api.traces()
    assert (now.ids - before.ids, now.strays) == (ids, before.strays)


def meant(case: AnyCase) -> AnyCase:
    """A case that keeps to what the document says in words: where keys go and what they are, and what a cursor is."""
    case.query.pop("cursor", None)
    if case.method in ("GET", "HEAD"):
        return case
    case.headers.pop("Idempotency-Key", None)
    body: Json = case.body
    match body:
        case list() as batch:
            case.body = [without_key(event) for event in batch]
        case {"events": list() as batch} if len(body) == 1:
            case.body = {"events": [without_key(event) for event in batch]}
        case {"idempotency_key": str() as key} if not key.isprintable():
            case.body = without_key(body)
    return case


def without_key(event: Json) -> Json:
    return (
        {name: value for name, value in event.items() if name != "idempotency_key"}
        if isinstance(event, dict)
        else event
    )


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["good", "bad"])
def test_what_the_document_allows_is_taken_and_what_it_forbids_is_refused_as_documented(
    api: Events, mode: GenerationMode
) -> None:
    before, ids = api.traces(), set[str]()
    # GET /health takes nothing that could be wrong.
    examples = EXAMPLES if mode == GenerationMode.POSITIVE else {**EXAMPLES, "GET /health": 0, "HEAD /health": 0}

    def try_case(case: AnyCase) -> None:
        sent = meant(case) if mode == GenerationMode.POSITIVE else case
        answer = api.call(sent)
        ids.update(accepted(answer.status_code, answer.content))
        # Schemathesis does not know that 413 is a refusal, nor that one bad event does not sink its neighbours; and
        # what it makes of a parameter can be right again once it is written into a URL: PATHS has those.
        partly = answer.status_code == 202 and answer.json().get("rejected")
        other = answer.status_code == 413 or partly or case.method in ("GET", "HEAD")
        sent.validate_response(answer, excluded_checks=[negative_data_rejection] if other else None)

    api.try_cases(mode, examples, try_case)
    assert ids or mode == GenerationMode.NEGATIVE
    assert_stored(api, before, ids)


@pytest.mark.parametrize(
    "headers",
    [{}, {"x_api_key": ""}, {"x_api_key": "another"}, {"Authorization": "KEY"}],  # pragma: allowlist secret
)
def test_without_its_key_nobody_is_let_in(orders: Events, headers: dict[str, str]) -> None:
    key = orders.headers["x-api-key"]
    stranger = Target(orders.client)
    given = {name: value.replace("KEY", key) for name, value in headers.items()}
    for method, path in (
        ("POST", "/events"),
        ("GET", "/events"),
        ("GET", "/events/x"),
        ("GET", f"/events?x-api-key={key}"),
    ):
        status, answer = stranger.send(
            method, path, b'{"orderId": "1", "amount": 1}' if method == "POST" else None, **given
        )
        assert (status, set(json.loads(answer))) == (403, {"error"})
    assert stranger.send("GET", "/health")[0] == 200


@pytest.fixture(scope="module")
def event_id(anything: Events) -> str:
    status, body = anything.send("POST", "/events", b'{"n": 1}')
    assert status == 202
    (found,) = accepted(status, body)
    return found


@pytest.mark.parametrize("kind", ["anything", "orders"])
@pytest.mark.parametrize("secret", SECRETS)
def test_either_kind_of_api_accepts_what_a_webhook_s_sender_signed_once(
    request: pytest.FixtureRequest, kind: str, secret: str
) -> None:
    api: Events = request.getfixturevalue(kind)
    # No gateway may touch these bytes.
    body = '{ "name": "K\u00e4the",\r\n  "n": 1.50, "x": "\\ud83d\\ude00" }\n'.encode()
    delivery = {"X-GitHub-Event": "order.paid", "X-GitHub-Delivery": f"{secret}-1"}
    signed = {**delivery, **sign(Rule("github"), SECRETS[secret], body, message_id="", now=0)}
    before = api.traces()
    status, text = Target(api.client).send("POST", "/webhooks/shop", body, **signed)
    assert status == 202, text
    (event_id,) = accepted(status, text)
    assert json.loads(text)["duplicate"] is False
    again = Target(api.client).send("POST", "/webhooks/shop", body, **signed)
    assert json.loads(again[1])["duplicate"] is True
    assert_stored(api, before, {event_id})
    shown = json.loads(api.send("GET", f"/events/{event_id}")[1])
    assert (shown["type"], shown["attempts"]) == ("order.paid", 1)


# The body, its content type and its encoding.
SIGNED: dict[str, tuple[bytes, str, str]] = {
    "compressed": (gzip.compress(b'{"a": 1}'), "application/json", "gzip"),
    "every byte": (bytes(range(256)), "application/octet-stream", ""),
    "parts": (
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\r\n--x--',
        "multipart/form-data; boundary=x",
        "",
    ),
    "a form": (b"a=%C3%A4&b=1+2", FORM_TYPE, ""),
    "no type": (b'\xef\xbb\xbf{"a": 1}', "", ""),
}


@pytest.mark.parametrize("kind", ["anything", "orders"])
def test_neither_kind_of_api_changes_the_bytes_that_a_sender_signed(request: pytest.FixtureRequest, kind: str) -> None:
    stranger = Target(request.getfixturevalue(kind).client)
    for what, (body, content_type, encoding) in SIGNED.items():
        signed = sign(Rule("github"), SECRETS["webhook_shop"], body, message_id="", now=0)
        headers = {"Content-Type": content_type, "Content-Encoding": encoding, **signed}
        status, text = stranger.send_pairs(
            "POST", "/webhooks/shop", body, [each for each in headers.items() if each[1]]
        )
        assert (what, status) == (what, 202), text


SEEN = """
import base64

def process(event, context):
    return {"body": base64.b64encode(context.body).decode(), "headers": dict(context.headers), "event": event}
"""


def test_the_deployed_processor_gets_the_exact_bytes_and_headers(anything: Events) -> None:
    body = b"payload=%7B%22n%22%3A+1.50%7D"
    signed = sign(Rule("github"), SECRETS["webhook_shop"], body, message_id="", now=0)
    echo = (SAMPLES / "processors" / "echo.py").read_text()
    anything.client.use_processor("processors/echo.py", SEEN)
    try:
        sent = {**signed, "X-GitHub-Event": "push", "Content-Type": FORM_TYPE, "Cookie": "private"}
        status, text = Target(anything.client).send("POST", "/webhooks/shop", body, **sent)
        assert status == 202, text
        shown = anything.client.finished(json.loads(text)["id"])
        with urlopen(shown["result_url"]) as result:
            seen = json.load(result)
    finally:
        anything.client.use_processor("processors/echo.py", echo)
    assert base64.b64decode(seen["body"]) == body
    assert seen["event"] == {"n": 1.5}
    assert seen["headers"] == {"content-type": FORM_TYPE, "x-github-event": "push"}


@pytest.mark.parametrize("kind", ["anything", "orders"])
def test_either_kind_of_api_refuses_what_nobody_signed_and_stores_nothing(
    request: pytest.FixtureRequest, kind: str
) -> None:
    api: Events = request.getfixturevalue(kind)
    stranger, before = Target(api.client), api.traces()
    good = sign(Rule("github"), SECRETS["webhook_shop"], b"{}", message_id="", now=0)["X-Hub-Signature-256"]
    tried: dict[str, tuple[bytes, list[str]]] = {
        "no signature": (b"{}", []),
        "another body": (b"{} ", [good]),
        "other bytes of the same text": (b"\xef\xbb\xbf{}", [good]),
        "no text": (b"\xff\xfe", [good]),
        "not JSON": (b"{", [good]),
        "a header twice": (b"{}", [good, good]),
        "another header first": (b"{}", ["sha256=00", good]),
    }
    for what, (body, signatures) in tried.items():
        headers = [("Content-Type", "application/json"), *(("X-Hub-Signature-256", each) for each in signatures)]
        status, text = stranger.send_pairs("POST", "/webhooks/shop", body, headers)
        assert (what, status) == (what, 401)
        assert json.loads(text)["error"]["code"] == "unauthorized"
    assert stranger.send("GET", "/webhooks/shop?challenge=a-1") == (200, b"a-1")
    assert_stored(api, before, set())


# Bodies: what they are, the bytes, the answer of an API that takes any event.
BODIES: dict[str, tuple[bytes, int]] = {
    "nothing": (b"", 400),
    "blank": (b" \r\n\t", 400),
    "NaN": (b'{"n": NaN}', 400),
    "1e999": (b'{"n": 1e999}', 400),
    "10**400": (b'{"n": 1' + b"0" * 400 + b"}", 202),
    "10**5000": (b'{"n": 1' + b"0" * 5_000 + b"}", 400),
    "a name twice": (b'{"a": 1, "a": 2}', 400),
    "a name twice, escaped": (b'{"a": 1, "\\u0061": 2}', 400),
    "half a pair": (b'{"a": "\\ud800"}', 400),
    "half a pair in a name": (b'{"\\udfff": 1}', 400),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), 400),
    "byte order mark": (b'\xef\xbb\xbf{"a": 1}', 202),
    "gzip": (gzip.compress(b'{"a": 1}'), 400),
    "deep array": (b"[" * 50_000, 400),
    "deep object": (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, 400),
    "a level too many": (b'{"a":' * 66 + b"1" + b"}" * 66, 400),
    "NUL": (b'{"a": "\\u0000", "event_type": "\\u0000"}', 202),
    "NUL as a byte": (b'{"a": "\x00"}', 400),
    "trailing garbage": (b'{"a": 1}{"b": 2}', 400),
    "long text": (json.dumps({"a": "x" * 900_000}).encode(), 202),
    "too long a text": (json.dumps({"a": "x" * 1_100_000}).encode(), 413),
    "many names": (json.dumps({str(number): number for number in range(20_000)}).encode(), 202),
    "prototype": (b'{"__proto__": {"admin": true}, "constructor": {}, "__class__": "x"}', 202),
    "an id of its own": (b'{"id": "9b2d3c1e-0000-4000-8000-123456789abc"}', 202),
    "a time of its own": (b'{"received_at": "2026-11-21T08:00:00.000000Z"}', 202),
    "names of the envelope": (b'{"type": "x", "source_ip": "::1", "fingerprint": "f", "data": 1, "status": "x"}', 202),
    "too many events": (json.dumps([{}] * 501).encode(), 413),
    "events in events": (b'{"events": [{"events": [{}]}]}', 202),
    "formula": (b'{"a": "=cmd|\' /C calc\'!A0", "event_type": "=1+1"}', 202),
    "markup": (b'{"event_type": "<script>alert(1)</script>"}', 202),
    "path": (b'{"event_type": "../../../etc/passwd"}', 202),
    "a type that is no text": (b'{"event_type": {"a": ["b"]}}', 202),
    "a key that is no text": (b'{"idempotency_key": ["a"]}', 400),
    "five hundred times one key": (json.dumps([{"n": n, "idempotency_key": "one"} for n in range(500)]).encode(), 202),
}

# Sent as bytes: of a body of a type that is text, the gateway replaces what is not UTF-8 before we see it.
BYTES = {
    "half a pair as bytes": b'{"a": "\xed\xa0\x80"}',
    "no UTF-8": b'{"a": "\xff\xfe"}',
    "overlong UTF-8": b'{"a": "\xc0\xaf"}',
    "gzip as bytes": gzip.compress(b'{"a": 1}'),
}
BODIES |= {name: (body, 400) for name, body in BYTES.items()}

# Gzipped bodies, which the header says.
GZIPPED = {
    "a gzipped event": (gzip.compress(b'{"a": 1}'), 202),
    "truncated": (gzip.compress(b'{"a": 1}')[:-2], 400),
    "compressed twice": (gzip.compress(gzip.compress(b'{"a": 1}')), 400),
    "a bomb": (gzip.compress(bytes(30_000_000)), 413),
}
BODIES |= GZIPPED | {"more than Lambda takes": (b" " * 6_291_457, 413)}

# Headers beside a good body.
HEADERS: dict[str, tuple[dict[str, str], int]] = {
    "text": ({"Content_Type": "text/plain"}, 415),
    "form": ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
    "no type": ({"Content_Type": "x" * 500}, 415),
    "long user agent": ({"User_Agent": "x" * 8_000}, 202),
    "terminal in the user agent": ({"User_Agent": "\x9b31m\xff\t"}, 202),
    "long correlation id": ({"X_Correlation_Id": "x" * 8_000}, 400),
    "no ASCII in the correlation id": ({"X_Correlation_Id": "\xff"}, 400),
    "encoded lines": ({"X_Correlation_Id": "a%0d%0aSet-Cookie: a=b"}, 202),
    "long key": ({"Idempotency_Key": "x" * 8_000}, 400),
    "no printable key": ({"Idempotency_Key": "a\x9bb"}, 400),
    "another method": ({"X_HTTP_Method_Override": "GET", "X_Original_URL": "/health"}, 202),
    "control character in the key": ({"Idempotency_Key": "a\x01b"}, 400),
    "rubout in the correlation id": ({"X_Correlation_Id": "a\x7f"}, 400),
    "JSON in the correlation id": ({"X_Correlation_Id": '","level":"ERROR","x":"'}, 202),
    "compressed, it says": ({"Content_Encoding": "gzip"}, 400),
    "compressed otherwise": ({"Content_Encoding": "br"}, 415),
    "expects": ({"Expect": "the moon"}, 202),
    "another path": ({"X_Rewrite_URL": "/redrive/start", "X_Original_URL": "/redrive/start"}, 202),
    "the gateway's own": ({"X_Amzn_Request_Context": "{}", "X_Amzn_Apigateway_Api_Id": "x"}, 202),
    "large header": ({"X_Large": "x" * 60_000}, 202),
    "another host": ({"X_Forwarded_Host": "example.org", "Forwarded": "host=example.org"}, 202),
}


@pytest.mark.parametrize("name", [*BODIES, *HEADERS])
def test_a_hostile_event_is_refused_or_stored_as_it_is(anything: Events, name: str) -> None:
    before = anything.traces()
    body, status = BODIES.get(name, (b'{"n": 1}', 0))
    as_bytes = {"Content_Type": "application/vnd.shop+json"} if name in BYTES else {}
    as_bytes |= {"Content_Encoding": "gzip"} if name in GZIPPED else {}
    headers, status = HEADERS.get(name, (as_bytes, status))
    answered, answer = anything.send("POST", "/events", body, **headers)
    assert answered == status, answer
    if status != 202:
        assert set(json.loads(answer)) == {"message" if name == "more than Lambda takes" else "error"}
        assert "Traceback" not in answer.decode()
    assert_stored(anything, before, accepted(answered, answer))


def cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


NO_TIME = "9999-12-31T23:59:59.999999Z"
PATHS: dict[str, int] = {
    "/events/..%2f..%2fetc%2fpasswd": 404,
    "/events/%2e%2e": 404,
    "/events/%00": 404,
    "/events/circuit%23processor": 404,
    "/events/%2e%2e/redrive/preview": 404,
    "/events/..;/redrive/preview": 404,
    "/events/{id}%0a": 404,
    "/events/%0a{id}": 404,
    "/events/%ff": 404,
    "/events/'%20OR%20'1'='1": 404,
    "/events/" + "x" * 5_000: 404,
    "/events/{id}%0d%0aSet-Cookie:%20a=b": 404,
    "/events/{ID}": 404,
    "/events/": 404,
    "/health/": 404,
    "/events/{id}/": 404,
    "/events/{id}/../../health": 404,
    "/EVENTS": 404,
    "/events.json": 404,
    "/events;a=b": 404,
    "/redrive/../events": 404,
    "/events?limit=0": 400,
    "/events?limit=101": 400,
    "/events?limit=1e1": 400,
    "/events?limit=1e9": 400,
    "/events?limit=1000000000": 400,
    "/events?limit=-1": 400,
    "/events?limit=%D9%A3": 400,
    "/events?status=accepting": 400,
    "/events?status=queued%00": 400,
    "/events?since=yesterday": 400,
    "/events?since=2026-11-21T08:00:00": 400,
    "/events?since=0001-01-01T00:00:00%2B14:00": 400,
    "/events?until=10000-01-01T00:00:00Z": 400,
    "/events?until=9999-12-31T23:59:59.999999-14:00": 400,
    "/events?since=0000-01-01T00:00:00Z": 400,
    "/events?since=0001-01-01T00:00:00Z": 200,
    "/events?until=0001-01-01T00:00:00Z": 200,
    "/events?since=2016-12-31T23:59:60Z": 400,
    "/events?since=2026-01-01T00:00:00%2B25:00": 400,
    "/events?since=9999-12-31T23:59:59Z": 200,
    "/events?type='%20OR%201=1": 200,
    "/events?type=%00&limit=1": 200,
    "/events?unknown=1&limit=1": 400,
    "/events?limit=1&limit=1": 400,
    "/events/{id}?limit=1": 400,
    "/health?limit=1&limit=1": 200,
    "/events?cursor=": 400,
    "/events?cursor=%ff": 400,
    "/events?cursor=" + "A" * 4_000: 400,
    "/events?cursor=" + cursor("2026-11-21"): 400,
    "/events?cursor=" + cursor(f"{NO_TIME}#"): 200,
    "/events?cursor=" + cursor(f"{NO_TIME}#")[:-8]: 400,
    "/events?cursor=" + cursor(f"{NO_TIME}#' OR ''='"): 400,
    "/events?cursor=" + cursor("2026-13-41T00:00:00.000000Z#"): 400,
}


@pytest.mark.parametrize("path", PATHS)
def test_a_hostile_path_or_query_is_answered_as_documented(anything: Events, event_id: str, path: str) -> None:
    status, answer = anything.send("GET", path.replace("{id}", event_id).replace("{ID}", event_id.upper()))
    assert status == PATHS[path], answer
    if status == 400:
        assert set(json.loads(answer)) == {"error"}


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "QWERTY"])
def test_a_method_that_is_no_route_s_does_nothing(anything: Events, method: str) -> None:
    before = anything.traces()
    assert anything.send(method, "/events", b'{"n": 1}')[0] in (403, 404, 405)
    assert_stored(anything, before, set())


def test_a_forged_cursor_is_a_place_in_the_list_that_its_reader_may_see_anyway(anything: Events) -> None:
    """A cursor is no right: who may list may list all. It moves within the query, never past what the query asks."""
    ids = [accepted(*anything.send("POST", "/events", b'{"event_type": "mine"}')).pop() for _ in range(3)]
    listed = anything.client.request("GET", "/events?type=mine")[1]["events"]
    assert [event["id"] for event in listed] == ids[::-1]
    newest, oldest = listed[0]["received_at"], listed[-1]["received_at"]

    def found(query: str) -> list[str]:
        status, body = anything.send("GET", f"/events?type=mine&{query}&cursor={cursor(f'{NO_TIME}#')}")
        assert status == 200
        return [event["id"] for event in json.loads(body)["events"]]

    assert found("") == ids[::-1]
    assert found(f"until={newest}") == ids[1::-1]
    assert found(f"until={newest}&since={oldest}") == ids[1::-1]
    assert found(f"until={oldest}") == []
    assert found("status=failed") == []


@pytest.mark.parametrize(("query", "status"), [("", 202), ("?%0d%0aX-Mine:%203", 400)])
def test_an_answer_has_no_header_that_a_client_could_have_written(anything: Events, query: str, status: int) -> None:
    with closing(http.client.HTTPConnection(anything.place, timeout=20)) as connection:
        headers = {"X-Correlation-Id": "a%0d%0aX-Mine: 1", "Idempotency-Key": "%0d%0aX-Mine: 2"}
        connection.request("POST", f"{anything.path}/events{query}", b'{"n": 1}', headers)
        answer = connection.getresponse()
        body = json.loads(answer.read())
    assert answer.status == status
    location = answer.headers.get("Location", "")
    assert location.endswith(f"/events/{body['id']}") if status == 202 else location == ""
    assert not [value for value in answer.headers.values() if "Mine" in value]


def test_the_functions_keep_nothing_of_what_they_refuse_and_none_dies_of_it(anything: Events) -> None:
    refused = [body for body, status in BODIES.values() if status != 202]
    anything.assert_keeps_nothing(refused, lambda body: anything.send("POST", "/events", body))


def test_the_functions_keep_nothing_of_the_events_that_they_take(anything: Events) -> None:
    def submit(event: bytes) -> None:
        assert anything.send("POST", "/events", event)[0] == 202
        anything.wait_for_queue()

    anything.assert_keeps_nothing([BODIES["long text"][0]], submit)


def test_the_functions_keep_nothing_of_headers_and_parameters(anything: Events) -> None:
    def ask(text: bytes) -> None:
        half = text.decode()[: len(text) // 2]
        assert anything.send("GET", f"/events?cursor={half}", X_Large=half)[0] == 400

    anything.assert_keeps_nothing(20 * [b"x" * 60_000], ask)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_all_that_was_started_listens_on_this_machine_only_in_a_folder_that_is_closed_to_others(
    anything: Events,
) -> None:
    assert anything.send("POST", "/events", b'{"n": 1}')[0] == 202
    anything.wait_for_queue()
    emulator = anything.client.up.emulator
    group = [process.pid for process in living() if process.group == emulator.pid]
    assert emulator.pid in group
    assert anything.workers().keys() & set(group), "a function's worker is among them"
    sockets = {
        str(link.readlink()).removeprefix("socket:[").rstrip("]")
        # The engine runs in our own process, as it does in that of `pipeline local`.
        for pid in [*group, os.getpid()]
        for link in Path(f"/proc/{pid}/fd").iterdir()
        if link.is_symlink() and str(link.readlink()).startswith("socket:[")
    }
    tables = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}
    bound = [
        fields[1]
        for table, listening in tables.items()
        for fields in map(str.split, Path(f"/proc/net/{table}").read_text().splitlines()[1:])
        if fields[3] == listening and fields[9] in sockets
    ]
    assert f"0100007F:{emulator.port:04X}" in bound
    assert [address for address in bound if not address.startswith("0100007F:")] == []
    folders = [emulator.folder, *(folder for folder in emulator.folder.iterdir() if folder.is_dir())]
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}
