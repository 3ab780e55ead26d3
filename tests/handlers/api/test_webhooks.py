"""Webhooks: what their senders signed is accepted as an event with its exact bytes, and nothing else is."""

import base64
import gzip
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Lock
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handlers.api import webhooks
from handlers.api.events import Envelope
from handlers.api.settings import IngestSettings
from handlers.api.signatures import SENDERS, Rule, sign
from handlers.api.submissions import Submissions
from handlers.processor import Context
from handlers.shared import aws, metrics, queues
from handlers.shared.bodies import FORM_TYPE, unpacked
from handlers.shared.http import Request, answer
from tests.api_pipeline import Answer, Pipeline, Time
from tests.crash_points import Killed, broken, points, record
from tests.strategies import json_values

# A dummy value that every scheme accepts as its secret.
SECRET = base64.b64encode(b"a secret of a test").decode()
OTHER = base64.b64encode(b"another one").decode()
BODY = b'{ "type": "order.paid",\n  "id": "evt_1", "amount": 12.50, "name": "K\xc3\xa4the" }'
RULES: Mapping[str, Rule] = {
    **{scheme: Rule(scheme) for scheme in SENDERS if scheme != "hmac"},
    "hmac": Rule("hmac", header="X-Signature", algorithm="sha512", encoding="base64", prefix="sig="),
}
TIMED = ("stripe", "slack", "standard")
DELIVERY: Mapping[str, Mapping[str, str]] = {
    "github": {"x-github-event": "order.paid", "x-github-delivery": "evt_1"},
    "shopify": {"x-shopify-topic": "order.paid", "x-shopify-event-id": "evt_1"},
}

each_scheme = pytest.mark.parametrize("scheme", RULES)


class Sender:
    """What posts to a webhook, as its sender would. The secrets are in moto's Secrets Manager and Parameter Store."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.arns = [
            pipeline.root("secretsmanager").create_secret(Name="hook", SecretString=SECRET)["ARN"],
            self._parameter("/hook/other", OTHER),
        ]

    def _parameter(self, name: str, value: str) -> str:
        self.pipeline.root("ssm").put_parameter(Name=name, Type="SecureString", Value=value)
        return f"arn:aws:ssm:us-east-1:123456789012:parameter{name}"

    def configured(self, scheme: str, **fields: Any) -> "Sender":
        rule = RULES[scheme]
        hmac = {name: vars(rule)[name] for name in ("header", "algorithm", "encoding", "prefix")}
        webhook = {
            "signature": rule.scheme,
            "secrets": self.arns[:1],
            "max_body_bytes": 10_000,
            **(hmac if scheme == "hmac" else {}),
            **({"type_field": "type", "key_field": "id"} if scheme in ("hmac", "slack") else {}),
            **fields,
        }
        self.rule = rule
        self.pipeline.settings["webhooks"] = json.dumps({"shop": webhook})
        return self

    def headers(
        self, body: bytes = BODY, *, secret: str = SECRET, message_id: str = "evt_1", now: float = 0
    ) -> dict[str, str]:
        moment = int(now or time.time())
        signed = sign(self.rule, secret, body, message_id=message_id, now=moment)
        delivery = DELIVERY.get(self.rule.scheme, {})
        return {"content-type": "application/json", **delivery, **{n.lower(): v for n, v in signed.items()}}

    def post(self, body: bytes = BODY, headers: Mapping[str, str] | None = None, **more: Any) -> Answer:
        given = self.headers(body) if headers is None else headers
        return self.pipeline.request("POST", "/webhooks/shop", text=body, headers=given, **more)

    def seen(self) -> list[tuple[Any, Context]]:
        """What the processor was called with for what is in the queue."""
        calls: list[tuple[Any, Context]] = []

        def process(event: Any, context: Context) -> None:
            calls.append((event, context))

        self.pipeline.drain(self.pipeline.worker(process))
        return calls

    def stored_nothing(self) -> bool:
        return not self.pipeline.items() and not self.pipeline.receive()


@pytest.fixture
def sender(pipeline: Pipeline) -> Sender:
    return Sender(pipeline)


@each_scheme
def test_the_processor_gets_a_genuine_request_with_its_exact_bytes_and_headers(sender: Sender, scheme: str) -> None:
    sender.configured(scheme, headers=["X-Region"])
    answer = sender.post(headers={**sender.headers(), "x-region": "eu", "cookie": "c", "authorization": "a"})
    assert (answer.status, answer.body["duplicate"]) == (202, False)
    ((event, context),) = sender.seen()
    assert event == json.loads(BODY)
    assert context.body == BODY
    assert (context.type, context.idempotency_key) == ("order.paid", "evt_1")
    expected = {"content-type": "application/json", "x-region": "eu", **DELIVERY.get(scheme, {})}
    if scheme == "standard":
        expected |= {"webhook-id": "evt_1", "webhook-timestamp": context.headers["webhook-timestamp"]}
    assert context.headers == expected


def forgeries(sender: Sender) -> Mapping[str, tuple[bytes, Mapping[str, str]]]:
    """Requests that the sender did not make, by what is wrong with them."""
    good = sender.headers()
    named = next(name for name, value in good.items() if "signature" in name or "hmac" in name)
    signature = good[named]
    start = len(signature) - 10
    swapped = signature[:start] + ("0" if signature[start] != "0" else "1") + signature[start + 1 :]
    requests: dict[str, tuple[bytes, Mapping[str, str]]] = {
        "another body": (BODY + b" ", good),
        "no body": (b"", good),
        "another secret": (BODY, sender.headers(secret=OTHER)),
        "another signature": (BODY, {**good, named: swapped}),
        "an empty signature": (BODY, {**good, named: ""}),
        "a header twice": (BODY, {**good, named: f"{signature},{signature}"}),
        "another encoding": (BODY, {**good, named: signature.swapcase()}),
        "a percent-encoded signature": (BODY, {**good, named: signature.replace("=", "%3D").replace("a", "%61")}),
        "no ASCII": (BODY, {**good, named: signature + "é"}),
        "gzip of the same body": (gzip.compress(BODY), {**good, "content-encoding": "gzip"}),
    }
    for header in sign(sender.rule, SECRET, BODY, message_id="m", now=1):
        requests[f"no {header}"] = (BODY, {n: v for n, v in good.items() if n != header.lower()})
    return requests


@each_scheme
def test_forged_requests_are_all_answered_alike_and_nothing_is_stored(
    sender: Sender, scheme: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    sender.configured(scheme)
    for what, (body, headers) in forgeries(sender).items():
        capsys.readouterr()
        answer = sender.post(body, headers)
        assert (what, answer.status) == (what, 401)
        error = {"code": "unauthorized", "message": "the request is not authentic", "details": []}
        assert answer.body == {"error": error}
        (metric,) = (json.loads(line) for line in capsys.readouterr().out.splitlines())
        assert (what, metric["WebhookForged"], metric["webhook"]) == (what, [1.0], "shop")
        assert [set(each) for each in metric["_aws"]["CloudWatchMetrics"][0]["Dimensions"]] == [{"service", "webhook"}]
        logged = vars(caplog.records[-1])
        assert (logged["webhook"], logged["signature"], logged["status"]) == ("shop", "forged", 401)
    assert sender.stored_nothing()


def test_an_accepted_delivery_counts_as_an_event_and_as_one_of_its_webhook(
    sender: Sender, capsys: pytest.CaptureFixture[str]
) -> None:
    sender.configured("github")
    for accepted, duplicate in ((1.0, 0.0), (0.0, 1.0)):
        sender.post()
        event, webhook = (json.loads(line) for line in capsys.readouterr().out.splitlines())
        assert (event["Accepted"], event["Duplicate"], event["Rejected"]) == ([accepted], [duplicate], [0.0])
        assert event["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["service"]]
        assert (webhook["WebhookAccepted"], webhook["webhook"]) == ([1.0], "shop")


@pytest.mark.parametrize("scheme", TIMED)
@pytest.mark.parametrize("age_seconds", [400, -400])
def test_a_request_from_another_time_is_refused_as_a_forged_one_is(
    sender: Sender, scheme: str, age_seconds: int, capsys: pytest.CaptureFixture[str]
) -> None:
    sender.configured(scheme)
    late = sender.headers(now=time.time() - age_seconds)
    answer = sender.post(headers=late)
    assert (answer.status, answer.body["error"]["code"]) == (401, "unauthorized")
    assert json.loads(capsys.readouterr().out)["WebhookStale"] == [1.0]
    assert sender.stored_nothing()
    assert sender.configured(scheme, tolerance_seconds=500).post(headers=late).status == 202


@each_scheme
def test_while_a_secret_is_rotated_either_is_right(sender: Sender, scheme: str) -> None:
    sender.configured(scheme, secrets=sender.arns)
    assert sender.post(headers=sender.headers(secret=OTHER)).status == 202
    assert sender.post(headers=sender.headers(secret=SECRET)).body["duplicate"] is True
    sender.configured(scheme, secrets=sender.arns[:1])
    assert sender.post(headers=sender.headers(secret=OTHER)).status == 401


@each_scheme
def test_a_repeat_is_one_event_though_its_sender_changed_details(sender: Sender, scheme: str) -> None:
    sender.configured(scheme)
    again = BODY.replace(b"12.50", b'12.5, "attempt": 2')
    first, repeat = sender.post(), sender.post(again)
    assert (repeat.status, repeat.body["id"], repeat.body["duplicate"]) == (202, first.body["id"], True)
    assert [event for event, _ in sender.seen()] == [json.loads(BODY)]


def test_an_id_is_of_one_webhook_and_type(sender: Sender) -> None:
    sender.configured("shopify")
    first = sender.post().body["id"]
    other_topic = sender.post(headers={**sender.headers(), "x-shopify-topic": "order.created"}).body["id"]
    client = sender.pipeline.post({"n": 1}, Idempotency_Key="evt_1").body["id"]
    both = json.loads(sender.pipeline.settings["webhooks"])
    sender.pipeline.settings["webhooks"] = json.dumps({**both, "other": both["shop"]})
    elsewhere = sender.pipeline.request("POST", "/webhooks/other", text=BODY, headers=sender.headers()).body["id"]
    assert len({first, other_topic, client, elsewhere}) == 4


def test_without_an_id_each_request_is_an_event_unless_content_decides(sender: Sender) -> None:
    sender.configured("hmac", key_field="")
    assert sender.post().body["id"] != sender.post().body["id"]
    sender.pipeline.settings["deduplicate"] = "content"
    first, repeat = sender.post(), sender.post()
    assert (first.body["duplicate"], repeat.body["duplicate"]) == (False, True)


@pytest.mark.parametrize(
    ("body", "content_type", "data"),
    [
        (b"[1, 2]", "application/json", {"data": [1, 2]}),
        (b"\xef\xbb\xbf{}", "application/json; charset=utf-8", {}),
        (b"a=1&a=2&b=", FORM_TYPE, {"a": ["1", "2"], "b": ""}),
        (b"payload=%7B%22n%22%3A1%7D", FORM_TYPE, {"n": 1}),
        (b"payload=%5B1%5D", FORM_TYPE, {"payload": "[1]"}),
        (b"payload=no", FORM_TYPE, {"payload": "no"}),
        (b"<order n='1'/>", "application/xml", {"data": "<order n='1'/>"}),
        (b"\xff\x00", "application/octet-stream", {"data_base64": "/wA="}),
    ],
)
def test_bodies_of_any_kind_are_events_and_keep_their_bytes(
    sender: Sender, body: bytes, content_type: str, data: Any
) -> None:
    sender.configured("github")
    headers = {**sender.headers(body), "content-type": content_type}
    assert sender.post(body, headers).status == 202
    ((event, context),) = sender.seen()
    assert (event, context.body, context.headers["content-type"]) == (data, body, content_type)


def test_a_compressed_body_is_verified_as_it_was_sent(sender: Sender) -> None:
    sender.configured("github")
    body = gzip.compress(BODY, mtime=0)
    assert sender.post(body, {**sender.headers(body), "content-encoding": "gzip"}).status == 202
    ((event, context),) = sender.seen()
    assert (event, context.body) == (json.loads(BODY), body)
    bomb = gzip.compress(bytes(7_000_000), mtime=0)
    assert sender.post(bomb, {**sender.headers(bomb), "content-encoding": "gzip"}).status == 413
    cut = body[:-3]
    assert sender.post(cut, {**sender.headers(cut), "content-encoding": "gzip"}).status == 400


@pytest.mark.parametrize(
    ("body", "more", "status", "code"),
    [
        (b"{", {}, 400, "invalid_json"),
        (b'{"a": 1, "a": 2}', {}, 400, "invalid_json"),
        (b'{"a": NaN}', {}, 400, "invalid_json"),
        (b"", {}, 400, "invalid_json"),
        (b"[" * 9_000, {}, 400, "too_deep"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, {}, 400, "invalid_event"),
        (b"{}" + b" " * 10_000, {}, 413, "body_too_large"),
        (b"{}", {"query": "a=1"}, 400, "invalid_parameter"),
    ],
)
def test_a_genuine_request_that_is_no_event_is_refused_with_its_reason(
    sender: Sender, body: bytes, more: dict[str, str], status: int, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sender.configured("github")
    answer = sender.post(body, None, **more)
    assert (answer.status, answer.body["error"]["code"]) == (status, code)
    assert sender.stored_nothing()
    if status == 400:
        assert json.loads(capsys.readouterr().out)["Rejected"] == [1.0]


TYPES = ["application/json", "text/json; charset=latin-1", FORM_TYPE, "text/plain", "image/png", "", "a/b+json", "é"]
bodies = st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()) | st.text().map(str.encode)


@given(bodies, st.sampled_from(TYPES), st.sampled_from(["", "gzip", "GZIP", "br"]), st.text(max_size=300))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_sender_signs_is_an_event_or_refused_with_a_reason(
    webhook: tuple[webhooks.Webhooks, Sender], body: bytes, kind: str, encoding: str, text: str
) -> None:
    known, sender = webhook
    # What says that it is compressed is not always.
    sent = gzip.compress(body) if encoding == "gzip" else body
    headers = {**sender.headers(sent), "content-type": kind, "content-encoding": encoding, "x-github-event": text}
    event = {
        "routeKey": "POST /webhooks/shop",
        "rawPath": "/webhooks/shop",
        "headers": headers,
        "body": base64.b64encode(sent).decode(),
        "isBase64Encoded": True,
        "requestContext": {"requestId": "r", "http": {}},
    }
    messages: list[str] = []

    def route(request: Request, facts: dict[str, Any]) -> dict[str, Any]:
        return known.answer(request, facts, lambda entries, _: messages.extend(each.message for each in entries))

    answered = answer(event, route, tuple)
    assert answered["statusCode"] in (202, 400, 415)
    assert (answered["statusCode"] == 202) == bool(messages)
    for message in messages:
        assert unpacked(Envelope.from_message(message).body or "") == sent


@pytest.fixture
def webhook(sender: Sender) -> tuple[webhooks.Webhooks, Sender]:
    """The webhooks alone, without queue and table."""
    sender.configured("github")
    known = sender.pipeline._settings(IngestSettings, "ingest")
    return webhooks.Webhooks(known, Submissions(known, {}, lambda: b"s")), sender


def test_an_unusable_id_is_refused_and_an_unusable_type_is_the_default(sender: Sender) -> None:
    sender.configured("github")
    refused = sender.post(headers={**sender.headers(), "x-github-delivery": "x" * 257})
    assert (refused.status, refused.body["error"]["details"][0]["path"]) == (400, "X-GitHub-Delivery")
    assert sender.post(headers={**sender.headers(), "x-github-event": "ü" * 300}).status == 202
    ((_, context),) = sender.seen()
    assert context.type == "default"


@pytest.mark.parametrize("value", ["{}", "[]", "true", '"' + "x" * 257 + '"', '"a\\nb"', '""', "1.5e300"])
def test_a_field_that_cannot_be_an_id_is_refused_rather_than_taken_for_none(sender: Sender, value: str) -> None:
    sender.configured("hmac", key_field="delivery.id")
    refused = sender.post(f'{{"delivery": {{"id": {value}}}}}'.encode())
    assert (refused.status, refused.body["error"]["details"][0]["path"]) == (400, "/delivery/id")
    assert sender.stored_nothing()


def test_numbers_and_text_are_one_id_and_null_is_none(sender: Sender) -> None:
    sender.configured("hmac")
    answers = [sender.post(f'{{"id": {value}}}'.encode()).body for value in ("7", '"7"', "7.0")]
    assert [each["duplicate"] for each in answers] == [False, True, True]
    assert not any(sender.post(body).body["duplicate"] for body in (b'{"id": null}', b'{"id": null}', b"{}"))


def test_a_schema_of_a_type_holds_for_webhooks_too_and_other_types_are_the_sender_s(sender: Sender) -> None:
    """Otherwise a webhook could hand the processor an event of a client's type that its schema forbids."""
    sender.pipeline.schemas = {"order.paid": {"properties": {"amount": {"type": "integer"}}}}
    refused = sender.configured("github").post()
    assert (refused.status, refused.body["error"]["code"]) == (400, "invalid_event")
    assert refused.body["error"]["details"] == [{"path": "/amount", "message": "must be integer"}]
    assert sender.stored_nothing()
    assert sender.post(headers={**sender.headers(), "x-github-event": "ping"}).status == 202
    assert sender.post(b'{"amount": 12}').status == 202


def test_one_schema_for_all_events_holds_for_webhooks_too(sender: Sender) -> None:
    sender.pipeline.schemas = {"": {"required": ["orderId"]}}
    assert sender.configured("github").post().status == 400
    assert sender.post(b'{"orderId": 1}').status == 202


def test_a_forged_request_is_unauthorized_whatever_its_query_is(sender: Sender) -> None:
    sender.configured("github")
    assert sender.post(headers=sender.headers(secret=OTHER), query="a=1&a=2").status == 401
    refused = sender.post(query="a=1&a=2")
    assert refused.body["error"]["message"] == "a is repeated; give it once"


def test_in_a_fifo_queue_events_without_a_group_keep_the_order_of_their_webhook(sender: Sender) -> None:
    sender.configured("github")
    sender.pipeline.settings["group_field"] = "customer.id"
    groups: list[str] = []

    def noted(self: webhooks.Webhooks, name: str, data: Any) -> str:
        groups.append(group(self, name, data))
        return ""

    group = webhooks.Webhooks._group
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(webhooks.Webhooks, "_group", noted)
        assert sender.post().status == 202
        assert sender.post(b'{"customer": {"id": 7}}').status == 202
    assert groups == ["shop", "7"]
    assert sender.post(b'{"customer": {"id": []}}').status == 400


@pytest.mark.parametrize(
    ("body", "tenant"),
    [(b"{}", "shop"), (b'{"customer": {"id": 7}}', "7"), (b'{"customer": {"id": []}}', None)],
)
def test_in_a_fair_queue_a_webhook_is_the_tenant_of_events_that_name_none(
    sender: Sender, body: bytes, tenant: str | None
) -> None:
    sender.configured("github")
    sender.pipeline.settings["fair_field"] = "customer.id"
    assert sender.post(body).status == 202
    assert [each["attributes"].get("MessageGroupId") for each in sender.pipeline.receive()] == [tenant]


def test_slacks_handshake_is_answered_if_it_is_signed_and_stored_nowhere(sender: Sender) -> None:
    sender.configured("slack")
    body = json.dumps({"type": "url_verification", "challenge": "c-1", "token": "t"}).encode()
    answer = sender.post(body)
    assert (answer.status, answer.body) == (200, {"challenge": "c-1"})
    assert sender.post(body, sender.headers(secret=OTHER)).status == 401
    for challenge in ("null", "{}", "1"):
        assert sender.post(f'{{"type": "url_verification", "challenge": {challenge}}}'.encode()).status == 400
    assert sender.stored_nothing()


def test_slacks_users_see_no_answer_of_ours(sender: Sender) -> None:
    sender.configured("slack")
    body = b"command=%2Fship&text=17"
    answer = sender.pipeline.ingest().handle(
        {
            "routeKey": "POST /webhooks/shop",
            "rawPath": "/webhooks/shop",
            "headers": {**sender.headers(body), "content-type": FORM_TYPE},
            "body": body.decode(),
            "requestContext": {"requestId": "r", "http": {}},
        }
    )
    assert (answer["statusCode"], answer["body"]) == (200, "")
    ((event, _),) = sender.seen()
    assert event == {"command": "/ship", "text": "17"}


def challenged(sender: Sender, method: str = "GET", **query: str) -> dict[str, Any]:
    event = {
        "routeKey": f"{method} /webhooks/shop",
        "rawPath": "/webhooks/shop",
        "queryStringParameters": query,
        "requestContext": {"requestId": "r", "http": {}},
    }
    return sender.pipeline.ingest().handle(event)


def test_a_get_with_a_challenge_is_answered_as_text(sender: Sender) -> None:
    sender.configured("hmac", challenge_parameter="hub.challenge")
    answer = challenged(sender, **{"hub.challenge": "<b>1</b>", "hub.mode": "subscribe"})
    assert (answer["statusCode"], answer["body"]) == (200, "<b>1</b>")
    assert answer["headers"] == {
        "Content-Type": "text/plain; charset=utf-8",
        "X-Content-Type-Options": "nosniff",
    }
    assert challenged(sender, "HEAD", **{"hub.challenge": "1"})["body"] == ""
    for query in ({}, {"hub.challenge": ""}, {"hub.challenge": "é"}, {"hub.challenge": "x" * 1_025}):
        assert challenged(sender, **query)["statusCode"] == 400


def test_a_challenge_with_the_wrong_token_is_refused(sender: Sender) -> None:
    token = {"token_parameter": "hub.verify_token", "token": sender.arns[1]}
    sender.configured("hmac", challenge_parameter="hub.challenge", **token)
    for query in ({}, {"hub.verify_token": "é"}, {"hub.verify_token": SECRET}):
        assert challenged(sender, **{"hub.challenge": "1", **query})["statusCode"] == 401
    assert challenged(sender, **{"hub.challenge": "1", "hub.verify_token": OTHER})["body"] == "1"


@pytest.mark.parametrize("route", ["GET /webhooks/shop", "POST /webhooks/other", "POST /webhooks/", "POST /shop"])
def test_other_routes_are_none(sender: Sender, route: str) -> None:
    method, _, path = route.partition(" ")
    sender.configured("github")
    answer = sender.pipeline.request(method, path, text=BODY, headers=sender.headers())
    assert (answer.status, answer.body["error"]["code"]) == (404, "no_such_route")


def test_secrets_are_read_once_for_many_requests(sender: Sender) -> None:
    sender.configured("github", secrets=sender.arns)
    ingest = sender.pipeline.ingest()
    event = {
        "routeKey": "POST /webhooks/shop",
        "rawPath": "/webhooks/shop",
        "headers": {**sender.headers(), "x-hub-signature-256": "sha256=00"},
        "body": BODY.decode(),
        "requestContext": {"requestId": "r", "http": {}},
    }
    calls = record(lambda: [ingest.handle(event) for _ in range(5)])
    assert calls == ["secretsmanager:GetSecretValue", "ssm:GetParameter"]


def test_a_new_value_under_the_same_arn_is_right_at_once_and_forged_requests_cause_few_reads(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender.configured("github")
    event = {
        "routeKey": "POST /webhooks/shop",
        "rawPath": "/webhooks/shop",
        "headers": sender.headers(),
        "body": BODY.decode(),
        "requestContext": {"requestId": "r", "http": {}},
    }
    now = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    ingest = sender.pipeline.ingest()

    def status(secret: str) -> int:
        return int(ingest.handle({**event, "headers": sender.headers(secret=secret)})["statusCode"])

    assert status(SECRET) == 202
    changed = {"SecretId": "hook", "SecretString": OTHER}  # pragma: allowlist secret
    sender.pipeline.root("secretsmanager").put_secret_value(**changed)
    now[0] += webhooks.DOUBT_SECONDS
    assert (status(SECRET), status(OTHER), status(SECRET)) == (202, 202, 401)
    now[0] += webhooks.DOUBT_SECONDS
    assert record(lambda: [status("forged") for _ in range(9)]) == ["secretsmanager:GetSecretValue"]
    # What cannot be read again just now is still known.
    now[0] += webhooks.DOUBT_SECONDS
    monkeypatch.setattr(aws.client("secretsmanager"), "get_secret_value", unreadable("GetSecretValue", 500))
    assert (status("forged"), status(OTHER)) == (401, 202)


def test_forged_requests_to_one_webhook_do_not_delay_the_new_secret_of_another(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender.configured("github")
    (shop,) = json.loads(sender.pipeline.settings["webhooks"]).values()
    attacked = {**shop, "secrets": sender.arns[1:]}
    challenge = {"challenge_parameter": "c", "token_parameter": "t", "token": sender.arns[0]}
    sender.pipeline.settings["webhooks"] = json.dumps({"shop": {**shop, **challenge}, "attacked": attacked})
    now = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    ingest = sender.pipeline.ingest()

    def status(name: str, secret: str) -> int:
        common = {"rawPath": "/", "requestContext": {"requestId": "r", "http": {}}}
        if secret.startswith("token "):
            query = {"c": "1", "t": secret.removeprefix("token ")}
            return int(
                ingest.handle({**common, "routeKey": f"GET /webhooks/{name}", "queryStringParameters": query})[
                    "statusCode"
                ]
            )
        signed = {"headers": sender.headers(secret=secret), "body": BODY.decode()}
        return int(ingest.handle({**common, "routeKey": f"POST /webhooks/{name}", **signed})["statusCode"])

    assert (status("shop", SECRET), status("shop", f"token {SECRET}")) == (202, 200)
    new = "a new value"
    put = sender.pipeline.root("secretsmanager").put_secret_value
    put(SecretId="hook", SecretString=new)  # pragma: allowlist secret
    now[0] += webhooks.DOUBT_SECONDS
    assert status("attacked", "forged") == 401
    # Nor do forged challenges delay the secret with which requests are signed.
    assert status("shop", "token forged") == 401
    assert (status("shop", new), status("shop", f"token {new}")) == (202, 200)


def unreadable(service: str, status: int = 400) -> Callable[..., Any]:
    def refuse(**_request: Any) -> Any:
        error = {"Code": "AccessDeniedException", "Message": "no"}
        raise ClientError({"Error": error, "ResponseMetadata": {"HTTPStatusCode": status}}, service)  # type: ignore[typeddict-item]

    return refuse


def test_while_a_secret_cannot_be_read_only_what_another_one_signed_is_accepted(
    sender: Sender, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sender.configured("github", secrets=sender.arns)
    monkeypatch.setattr(aws.client("ssm"), "get_parameter", unreadable("GetParameter"))
    with caplog.at_level(logging.ERROR):
        unknown = sender.post(headers=sender.headers(secret=OTHER))
    assert (unknown.status, unknown.body["error"]["code"]) == (503, "unavailable")
    assert "AccessDeniedException" in str([vars(each).get("error") for each in caplog.records])
    assert sender.stored_nothing()
    assert sender.post().status == 202


def test_a_secret_that_is_not_base64_is_a_503_and_its_value_is_in_no_log(
    sender: Sender, caplog: pytest.LogCaptureFixture
) -> None:
    value = "whsec_no base64"
    stored = {"SecretId": "hook", "SecretString": value}  # pragma: allowlist secret
    sender.pipeline.root("secretsmanager").put_secret_value(**stored)
    sender.configured("standard")
    assert sender.post(headers=sender.headers()).status == 503
    assert value not in str([vars(each) for each in caplog.records])


@each_scheme
def test_secret_signature_and_body_are_in_no_log_and_no_metric(
    sender: Sender, scheme: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    sender.configured(scheme, secrets=sender.arns)
    body = BODY.replace(b"12.50", b'"private-17"')
    for headers in (sender.headers(body), sender.headers(body, secret="c" * 24), sender.headers(body, now=1_000)):
        sender.post(body, headers)
    said = capsys.readouterr().out + str([vars(each) for each in caplog.records])
    signatures = [value for name, value in sender.headers(body).items() if "sig" in name or "hmac" in name]
    for private in (SECRET, OTHER, "private-17", *signatures):
        assert private not in said


def test_wherever_ingest_fails_or_dies_the_sender_s_next_try_makes_it_one_event(sender: Sender) -> None:
    sender.configured("stripe")
    calls = record(sender.post)
    assert calls == [
        "secretsmanager:GetSecretValue",
        "dynamodb:BatchGetItem",  # finds no secret of ids
        "dynamodb:PutItem",
        "dynamodb:BatchGetItem",
        "dynamodb:BatchExecuteStatement",  # claims the id
        "sqs:SendMessageBatch",
        "dynamodb:BatchExecuteStatement",  # says that it is queued
    ]
    for point in points(calls):
        sender.pipeline.clear()
        promised = False
        with suppress(Killed), broken(point):
            answer = sender.post()
            assert answer.status in (202, 503), point
            promised = answer.status == 202
        first = sender.seen()
        assert len(first) <= 1, point
        assert first or not promised, f"{point}: promised and lost"
        again = sender.post()
        assert again.status == 202, point
        assert len([*first, *sender.seen()]) == 1, f"{point}: processed twice, or never"
        assert sender.pipeline.shown(again.body["id"]).body["status"] == "succeeded", point


def test_two_thousand_deliveries_with_repeats_from_sixteen_threads_have_one_effect_each(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender.configured("standard")
    # Moto's queue takes minutes for so many messages.
    messages: list[str] = []

    def send(_url: str, outgoing: Sequence[queues.Outgoing]) -> list[bool]:
        messages.extend(each.body for each in outgoing)
        return [True] * len(outgoing)

    monkeypatch.setattr(queues, "send", send)
    # Powertools keeps metrics for the whole process, and a function serves one request at a time.
    lock, emit = Lock(), metrics.emit

    def emit_alone(*counts: Any, **more: Any) -> None:
        with lock:
            emit(*counts, **more)

    monkeypatch.setattr(metrics, "emit", emit_alone)
    sender.pipeline.settings |= {"results": "inline", "archive": False, "event_bus_name": ""}
    ingest = sender.pipeline.ingest()

    def deliver(n: int) -> int:
        body = json.dumps({"type": "order", "n": n}).encode()
        event = {
            "routeKey": "POST /webhooks/shop",
            "rawPath": "/webhooks/shop",
            "headers": sender.headers(body, message_id=f"evt_{n}"),
            "body": body.decode(),
            "requestContext": {"requestId": "r", "http": {}},
        }
        return int(ingest.handle(event)["statusCode"])

    # Every fifth delivery is a repeat, and most of them come while the first is under way.
    order = [n for n in range(1_600) for _ in range(2 if n % 4 == 0 else 1)]
    assert len(order) == 2_000
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(deliver, order)) == {202}
    assert len(messages) >= 1_600
    worker = sender.pipeline.worker(lambda event: event["n"])
    for start in range(0, len(messages), 50):
        records = [
            {
                "messageId": str(number),
                "receiptHandle": "r",
                "body": body,
                "attributes": {"ApproximateReceiveCount": "1"},
            }
            for number, body in enumerate(messages[start : start + 50], start)
        ]
        assert worker.handle(records, Time()) == {"batchItemFailures": []}
    items = sender.pipeline.items().values()
    assert {item["status"] for item in items} == {"succeeded"}
    assert sorted(int(item["result"]) for item in items) == list(range(1_600))
