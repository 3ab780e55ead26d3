"""Outcome events, received by a rule and a queue of the test's own."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest

from handlers.api import identity, outcomes, processing, reporting
from handlers.api.decisions import Delivery
from handlers.api.events import Envelope
from handlers.processor import Rejected
from handlers.shared.dynamodb import TableError
from tests.api_pipeline import Pipeline

SCHEMA = Path(__file__).parents[3] / "schemas/outcome.json"


def process(event: Mapping[str, Any]) -> dict[str, Any]:
    match event["does"]:
        case "reject":
            raise Rejected("never")
        case "fail":
            raise RuntimeError("not now")
    return {"text": "of the client"}


def submit(pipeline: Pipeline, *does: str) -> list[str]:
    body = pipeline.post([{"does": each, "secret": "of the client"} for each in does], X_Correlation_Id="c-1").body
    return [result["id"] for result in body["results"]]


def test_an_outcome_event_matches_the_item_and_has_no_data_of_the_client(
    pipeline: Pipeline,
) -> None:
    ids = submit(pipeline, "succeed", "reject", "fail")
    pipeline.drain(pipeline.worker(process))
    heard = {event["detail"]["id"]: event for event in pipeline.told()}
    assert heard.keys() == set(ids)
    items = pipeline.items()
    validate = fastjsonschema.compile(json.loads(SCHEMA.read_text()))
    for event_id, event in heard.items():
        item, detail = items[event_id], event["detail"]
        validate(detail)
        assert event["source"] == "test"
        assert event["detail-type"] == f"Event {item['status'].capitalize()}"
        assert "of the client" not in json.dumps(event)
        assert detail == {
            "id": event_id,
            "type": "default",
            "correlation_id": "c-1",
            "received_at": item["received_at"],
            "status": item["status"],
            "attempts": int(item["attempts"]),
            "completed_at": item["completed_at"],
            **{
                name: None if item[name] is True else item[name]  # DynamoDB's NULL
                for name in ("result_key", "error", "error_type")
            },
        }
    assert [(heard[each]["detail"]["status"], heard[each]["detail"]["error_type"]) for each in ids] == [
        ("succeeded", None),
        ("failed", "Rejected"),
        ("failed", "RuntimeError"),
    ]


def test_an_outcome_event_follows_the_item(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    (event_id,) = submit(pipeline, "succeed")
    found = []

    def publish(*_request: object) -> list[bool]:
        found.append(pipeline.shown(event_id).body["status"])
        return [True]

    monkeypatch.setattr(outcomes, "publish", publish)
    pipeline.drain(pipeline.worker(process))
    assert found == ["succeeded"]


def test_an_outcome_event_that_the_bus_refuses_is_retried_without_processing_again(
    pipeline: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    processed = []

    def noted(event: Mapping[str, Any]) -> dict[str, Any]:
        processed.append(event["does"])
        return process(event)

    ids = submit(pipeline, "succeed", "reject")
    working = pipeline.worker(noted)
    records = pipeline.receive()
    with monkeypatch.context() as patch:
        patch.setattr(outcomes, "publish", lambda _bus, _service, told: [False] * len(told))
        returned = pipeline.deliver(working, records)
    assert sorted(returned) == sorted(record["messageId"] for record in records)
    assert pipeline.receive() == []  # with a back-off
    assert not pipeline.told()
    pipeline.show_again(records)
    pipeline.drain(working)
    assert sorted(processed) == ["reject", "succeed"]
    assert {event["detail"]["id"]: event["detail"]["status"] for event in pipeline.told()} == dict(
        zip(ids, ("succeeded", "failed"), strict=True)
    )
    assert len(pipeline.dead_letters()) == 1


def test_a_finished_event_is_published_even_if_the_rest_of_its_batch_fails(
    pipeline: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (done,) = submit(pipeline, "succeed")
    working = pipeline.worker(process)
    records = pipeline.receive()
    with monkeypatch.context() as patch:
        patch.setattr(outcomes, "publish", lambda _bus, _service, told: [False] * len(told))
        pipeline.deliver(working, records)
    pipeline.show_again(records)
    submit(pipeline, "succeed")

    def unavailable(*_request: object) -> None:
        raise TableError("throttled")

    both = pipeline.receive()
    assert len(both) == 2
    with monkeypatch.context() as patch:
        patch.setattr(working._table, "complete", unavailable)
        returned = pipeline.deliver(working, both)
    assert len(returned) == 1
    assert [event["detail"]["id"] for event in pipeline.told()] == [done]


def test_an_outcome_event_that_the_bus_never_takes_is_given_up_and_counted_and_no_dead_letter(
    pipeline: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    submit(pipeline, "succeed")
    monkeypatch.setattr(outcomes, "publish", lambda _bus, _service, told: [False] * len(told))
    monkeypatch.setattr(reporting, "TELLING_RECEIVES", 3)
    counts = []
    for _ in range(3):
        records = pipeline.receive()
        pipeline.deliver(pipeline.worker(process), records)
        pipeline.show_again(records)
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "OutcomesUndelivered" in line]
        counts.append(lines[0]["OutcomesUndelivered"])
    assert counts == [[0], [0], [1]]
    assert pipeline.receive() == []
    assert pipeline.dead_letters() == []


def test_unreadable_messages_and_conflicts_have_alerts_but_no_outcome_events(
    pipeline: Pipeline,
) -> None:
    pipeline.settings = {"track": False}
    first = pipeline.post({"does": "succeed", "n": 1}, Idempotency_Key="key").body["id"]
    assert pipeline.post({"does": "succeed", "n": 2}, Idempotency_Key="key").body["id"] == first
    pipeline.root("sqs").send_message(QueueUrl=pipeline.outputs["queue_url"], MessageBody="no event")
    pipeline.drain(pipeline.worker(process))
    assert [(event["detail"]["id"], event["detail"]["status"]) for event in pipeline.told()] == [(first, "succeeded")]
    assert len(pipeline.dead_letters()) == 2


def test_without_a_bus_neither_event_nor_metric_is_written(
    pipeline: Pipeline,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pipeline.settings = {"event_bus_name": ""}
    submit(pipeline, "succeed", "fail")
    pipeline.drain(pipeline.worker(process))
    assert not pipeline.told()
    written = capsys.readouterr().out
    assert "BatchItemFailures" in written
    assert "OutcomesUndelivered" not in written


def test_ten_of_the_largest_outcomes_fit_the_smallest_quota() -> None:
    """The default quota is 256 KB a call: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html."""
    text = "\U0001f600"
    envelope = Envelope(
        identity.new_id(), text * 128, "2026-01-01T00:00:00.000000Z", text * 512, text * 512, text * 512, "", {}
    )
    delivery = Delivery("m", "r", "", 1, envelope=envelope)
    failure = processing.failure_of(RuntimeError(text * 5_000))
    item = {"status": "failed", "attempts": 1, "completed_at": envelope.received_at, "result_key": "k" * 1_024}
    delivery.stored = {**item, "error": failure.text, "error_type": failure.type}
    entry = outcomes._entry("b" * 256, "s" * 256, reporting._outcome(delivery))
    assert failure.text.count(text) > 900
    assert 10 * len(json.dumps(entry, ensure_ascii=False).encode()) < 256_000
