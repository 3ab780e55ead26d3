"""Requests of senders that are not ours: the SDKs of Standard Webhooks and CloudEvents."""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from handlers.api.cloudevents import BATCH_TYPE
from handlers.api.signatures import Rule, key_of, sign, verify
from tests.api_pipeline import Answer, Pipeline

STANDARD = Rule("standard")
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)

secrets = st.binary(min_size=1, max_size=64).map(lambda key: base64.b64encode(key).decode())
forms = st.sampled_from([lambda text: text, lambda text: f"whsec_{text}", lambda text: text.rstrip("=")])
ids = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=64)


@given(secrets, forms, ids, st.text())
def test_what_the_sdk_of_standard_webhooks_signs_is_genuine(secret: str, form: Any, message_id: str, body: str) -> None:
    signed = Webhook(form(secret)).sign(message_id, NOW, body)
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(NOW.timestamp())),
        "webhook-signature": f"v1,bm8= {signed}",
    }
    assert verify(STANDARD, [key_of(STANDARD, form(secret))], headers, body.encode(), NOW.timestamp()) == "genuine"


@given(secrets, ids, st.text())
def test_the_sdk_of_standard_webhooks_takes_what_we_sign(secret: str, message_id: str, body: str) -> None:
    now = datetime.now(UTC)
    headers = sign(STANDARD, secret, body.encode(), message_id=message_id, now=int(now.timestamp()))
    Webhook(secret).verify(body, headers, json_parse=False)
    late = sign(STANDARD, secret, body.encode(), message_id=message_id, now=int((now - timedelta(hours=1)).timestamp()))
    for wrong in (late, {**headers, "webhook-id": f"{message_id}x"}):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body, wrong, json_parse=False)


ATTRIBUTES = {
    "id": "A-17",
    "source": "/shop/Köln orders".replace(" ", "%20").replace("ö", "%C3%B6"),
    "type": "com.example.order.placed",
    "time": NOW,
    "subject": 'Größe 50% "neu"',
    "partitionkey": "7",
}
PAYLOADS: Mapping[str, tuple[str, Any, Mapping[str, Any]]] = {
    "JSON": ("application/json", {"n": 1.5, "name": "Käthe"}, {"data": {"n": 1.5, "name": "Käthe"}}),
    "text": ("text/plain", "Käthe", {"data": "Käthe"}),
    "bytes": ("application/octet-stream", b"\x00\xff", {"data_base64": "AP8="}),
}


@pytest.mark.parametrize("payload", PAYLOADS)
def test_one_event_of_the_sdk_of_cloudevents_is_one_event_in_every_mode(pipeline: Pipeline, payload: str) -> None:
    content_type, data, expected = PAYLOADS[payload]
    event = CloudEvent({**ATTRIBUTES, "datacontenttype": content_type}, data)
    structured, binary = to_structured_event(event), to_binary_event(event)
    first, second = sent(pipeline, structured), sent(pipeline, binary)
    batch = HTTPMessage({"content-type": BATCH_TYPE}, b"[" + bytes(structured.body) + b"]")
    (third,) = sent(pipeline, batch).body["results"]
    assert (first.status, second.status, first.body["duplicate"]) == (202, 202, False), (first, second)
    for repeat in (second.body, third):
        assert (repeat["id"], repeat["duplicate"]) == (first.body["id"], True)
    (record,) = pipeline.receive()
    given = json.loads(record["body"])["data"]
    attributes = {**ATTRIBUTES, "specversion": "1.0", "datacontenttype": content_type, "time": given["time"]}
    assert given == {**attributes, **expected}
    assert datetime.fromisoformat(given["time"]) == NOW


def sent(pipeline: Pipeline, message: HTTPMessage) -> Answer:
    return pipeline.request("POST", "/events", text=bytes(message.body), headers=message.headers)
