"""What SQS moves to the dead letters: its events are failed, told and alerted of, and no letter goes."""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from handlers.api import archive, reconciler
from handlers.api.events import Envelope
from handlers.api.reader import EventReader
from handlers.api.reconciler import Reconciler
from handlers.api.report import Reporter
from handlers.api.summary import Window
from handlers.processor import Rejected
from handlers.shared import dead_letters
from handlers.shared.dead_letters import DeadLetters
from handlers.shared.letters import Letter
from tests.api_pipeline import Pipeline, Time
from tests.crash_points import Killed, broken, points, record

NOT_PROCESSED = "NotProcessedError"


@pytest.fixture(autouse=True)
def _letters_say_who_moved_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS and the emulator say of a message that SQS moved where it comes from; moto does not."""
    receive = DeadLetters._receive

    def marked(self: DeadLetters, at_once: int = 1) -> tuple[list[Letter], float]:
        letters, now = receive(self, at_once)
        return [replace(letter, moved_by_sqs=not letter.attributes) for letter in letters], now

    monkeypatch.setattr(DeadLetters, "_receive", marked)
    monkeypatch.setattr(dead_letters, "POLL_SECONDS", 0)


def process(event: Mapping[str, Any]) -> str:
    if event.get("fails") == "Rejected":
        raise Rejected("never")
    if event.get("fails"):
        raise TimeoutError("not now")
    return "done"


def post(pipeline: Pipeline, *events: Mapping[str, Any]) -> list[str]:
    return [result["id"] for result in pipeline.post(list(events)).body["results"]]


def sqs_gives_up(pipeline: Pipeline) -> None:
    """Lower the queue's `maxReceiveCount`, as an operator might, until SQS has moved all of its messages."""
    sqs, url = pipeline.root("sqs"), pipeline.outputs["queue_url"]
    policy = json.loads(
        sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])["Attributes"]["RedrivePolicy"]
    )

    def limit(receives: int) -> None:
        changed = json.dumps({**policy, "maxReceiveCount": receives})
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": changed})

    limit(1)
    for _ in range(2):
        pipeline.show_again(pipeline.receive())
    limit(policy["maxReceiveCount"])


def letters(pipeline: Pipeline) -> int:
    """Return the number of visible dead letters."""
    names = ["ApproximateNumberOfMessages"]
    answer = pipeline.root("sqs").get_queue_attributes(
        QueueUrl=pipeline.outputs["dead_letter_queue_url"], AttributeNames=names
    )
    return int(answer["Attributes"][names[0]])


def reconcile(pipeline: Pipeline) -> None:
    pipeline.reconciler().run(Time(60))


def test_events_of_a_worker_that_never_started_are_failed_told_and_alerted_of_once(pipeline: Pipeline) -> None:
    ids = post(pipeline, {"n": 1}, {"n": 2}, {"n": 3})
    sqs_gives_up(pipeline)
    assert {pipeline.shown(event_id).body["status"] for event_id in ids} == {"queued"}
    reconcile(pipeline)
    for event_id in ids:
        shown = pipeline.shown(event_id).body
        assert (shown["status"], shown["attempts"]) == ("failed", 0)
        assert "the worker did not start" in shown["error"]
        assert shown["completed_at"]
    (alert,) = pipeline.alerts()
    assert (alert["failed"], alert["error_type"]) == (3, NOT_PROCESSED)
    assert {event["id"] for event in alert["events"]} == set(ids)
    told = pipeline.told()
    assert {(each["detail-type"], each["detail"]["id"], each["detail"]["error_type"]) for each in told} == {
        ("Event Failed", event_id, NOT_PROCESSED) for event_id in ids
    }
    archived = [line for body in pipeline.objects("archive/").values() for line in archive.lines(body)]
    assert {(line.envelope["id"], line.outcome["status"]) for line in archived} == {
        (event_id, "failed") for event_id in ids
    }
    for _ in range(2):
        reconcile(pipeline)
    assert (letters(pipeline), pipeline.alerts(), pipeline.told()) == (3, [], [])
    listed = pipeline.request("GET", "/redrive/preview").body
    assert listed["by_error"] == {NOT_PROCESSED: 3}


def test_a_report_counts_them_as_failed(pipeline: Pipeline) -> None:
    post(pipeline, {"n": 1})
    sqs_gives_up(pipeline)
    reconcile(pipeline)
    now = datetime.now(UTC)
    window = Window("on demand", now - timedelta(hours=1), now + timedelta(hours=1))
    reporter = Reporter(
        EventReader(pipeline.outputs["table_name"], time_index_shards=8),
        queue_url=pipeline.outputs["queue_url"],
        dead_letter_queue_url=pipeline.outputs["dead_letter_queue_url"],
        items_expire_after_days=90,
        service="test",
    )
    report = reporter.report(window)
    assert (report["by_status"]["failed"], report["failures"]) == (1, {NOT_PROCESSED: 1})


def test_the_cause_is_what_the_item_knows(pipeline: Pipeline) -> None:
    pipeline.settings = {"max_attempts": 9}
    (retried,) = post(pipeline, {"fails": "TimeoutError"})
    records = pipeline.receive()
    pipeline.deliver(pipeline.worker(process), records)
    assert pipeline.shown(retried).body["status"] == "retrying"
    (running,) = post(pipeline, {"n": 2})
    (message,) = pipeline.receive()
    table, envelope = pipeline.worker(process)._table, Envelope.from_message(message["body"])
    table.mark(envelope, 2, 2_000_000_000, message["messageId"], 2)
    pipeline.show_again([*records, message])
    sqs_gives_up(pipeline)
    reconcile(pipeline)
    shown = [pipeline.shown(event_id).body for event_id in (retried, running)]
    assert [(each["status"], each["attempts"], each["error"].partition(":")[0]) for each in shown] == [
        ("failed", 1, "TimeoutError"),
        ("failed", 2, "the worker died while it processed the event"),
    ]
    assert {alert["error_type"]: alert["failed"] for alert in pipeline.alerts()} == {
        "TimeoutError": 1,
        "WorkerDiedError": 1,
    }


def test_a_redrive_turns_it_back_and_a_second_move_is_noted_again(pipeline: Pipeline) -> None:
    (event_id,) = post(pipeline, {"n": 1})
    sqs_gives_up(pipeline)
    reconcile(pipeline)
    first = pipeline.items()[event_id]
    assert pipeline.request("POST", "/redrive/start", {}).body["redriven"] == 1
    sqs_gives_up(pipeline)
    reconcile(pipeline)
    second = pipeline.items()[event_id]
    assert (first["status"], second["status"], first["completed_at"] < second["completed_at"]) == (
        "failed",
        "failed",
        True,
    )
    assert first["rejected_message_id"] != second["rejected_message_id"]
    # One alert a cause and hour.
    assert (len(pipeline.alerts()), len(pipeline.told())) == (1, 2)
    pipeline.request("POST", "/redrive/start", {})
    pipeline.drain(pipeline.worker(process))
    shown = pipeline.shown(event_id).body
    assert (shown["status"], shown["error"]) == ("succeeded", None)
    reconcile(pipeline)
    assert pipeline.shown(event_id).body["status"] == "succeeded"


def test_what_is_not_sqs_s_doing_is_left_alone(pipeline: Pipeline) -> None:
    # The worker's own letter, and no event.
    (rejected,) = post(pipeline, {"fails": "Rejected"})
    pipeline.drain(pipeline.worker(process))
    sqs, url = pipeline.root("sqs"), pipeline.outputs["dead_letter_queue_url"]
    sqs.send_message(QueueUrl=url, MessageBody="no event")
    # Leftovers: of an event that has succeeded since, of one that another message retries, of another one's key.
    succeeded, retried = post(pipeline, {"n": 1}, {"fails": "TimeoutError"})
    records = pipeline.receive()
    bodies = {json.loads(each["body"])["id"]: each["body"] for each in records}
    pipeline.settings = {"max_attempts": 9}
    pipeline.deliver(pipeline.worker(process), records)
    for event_id in (succeeded, retried):
        sqs.send_message(QueueUrl=url, MessageBody=bodies[event_id])
    other = replace(Envelope.from_message(bodies[succeeded]), id=retried, fingerprint="0" * 64)
    sqs.send_message(QueueUrl=url, MessageBody=other.to_message())
    before = pipeline.items()
    pipeline.alerts(), pipeline.told()
    reconcile(pipeline)
    assert pipeline.items() == before
    assert {before[rejected]["status"], before[succeeded]["status"], before[retried]["status"]} == {
        "failed",
        "succeeded",
        "retrying",
    }
    assert (letters(pipeline), pipeline.alerts(), pipeline.told()) == (5, [], [])


def test_an_event_without_an_item_gets_one_and_one_still_accepting_is_failed(pipeline: Pipeline) -> None:
    pipeline.settings = {"track": False}
    (untracked,) = post(pipeline, {"n": 1})
    pipeline.settings = {}
    accepting = pipeline.request("POST", "/events", {"n": 2}, headers={"idempotency-key": "k"}).body["id"]
    pipeline.root("dynamodb").update_item(
        TableName=pipeline.outputs["table_name"],
        Key={"id": {"S": accepting}},
        UpdateExpression="SET #s = :s",
        ExpressionAttributeNames={"#s": "status"},
        ExpressionAttributeValues={":s": {"S": "accepting"}},
    )
    sqs_gives_up(pipeline)
    reconcile(pipeline)
    for event_id in (untracked, accepting):
        assert pipeline.shown(event_id).body["status"] == "failed"


def test_an_item_that_changes_meanwhile_wins(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    (event_id,) = post(pipeline, {"n": 1})
    (message,) = pipeline.receive()
    pipeline.show_again([message])
    sqs_gives_up(pipeline)
    moved = reconciler._moved

    def late(*given: Any) -> Any:
        pipeline.worker(process).handle([message], Time())
        return moved(*given)

    monkeypatch.setattr(reconciler, "_moved", late)
    reconcile(pipeline)
    assert pipeline.shown(event_id).body["status"] == "succeeded"
    assert (pipeline.alerts(), [each["detail-type"] for each in pipeline.told()]) == ([], ["Event Succeeded"])


def test_another_attempt_meanwhile_wins(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline.settings = {"max_attempts": 9}
    (event_id,) = post(pipeline, {"fails": "TimeoutError"})
    first = pipeline.receive()
    pipeline.deliver(pipeline.worker(process), first)
    pipeline.show_again(first)
    second = pipeline.receive()
    pipeline.show_again(second)
    sqs_gives_up(pipeline)
    moved = reconciler._moved

    def late(*given: Any) -> Any:
        pipeline.worker(process).handle(second, Time())
        return moved(*given)

    monkeypatch.setattr(reconciler, "_moved", late)
    reconcile(pipeline)
    shown = pipeline.shown(event_id).body
    assert (shown["status"], shown["attempts"], pipeline.alerts()) == ("retrying", 2, [])


# When it looks


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The looks at the letters."""
    made: list[float] = []
    look = Reconciler._look

    def counted(self: Reconciler, seconds: float) -> None:
        made.append(seconds)
        look(self, seconds)

    monkeypatch.setattr(Reconciler, "_look", counted)
    return made


def test_it_looks_when_the_number_of_letters_has_changed_and_once_an_hour(
    pipeline: Pipeline, looks: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    function = pipeline.reconciler()

    def run() -> tuple[int, list[int]]:
        """Return the looks so far, and the age of the oldest letter that was told."""
        function.run(Time(60))
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
        return len(looks), [int(each) for line in lines for each in line.get("OldestDeadLetterSeconds", [])]

    assert run() == (0, []), "no letters"
    post(pipeline, {"n": 1})
    sqs_gives_up(pipeline)
    assert run()[0] == 1
    now = time.monotonic()
    monkeypatch.setattr(reconciler, "time", SimpleNamespace(monotonic=lambda: now))
    function._looked = (1, 100, now)
    now += 300
    assert run() == (1, [400])
    now += 3_600
    assert run()[0] == 2
    post(pipeline, {"n": 2})
    sqs_gives_up(pipeline)
    assert run()[0] == 3
    assert looks == [40, 40, 40]


# Crash points


def test_no_event_stays_queued_and_no_letter_goes_wherever_it_fails_or_dies(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "HIDDEN_SECONDS", 1)
    monkeypatch.setattr(dead_letters, "RENEWED_SECONDS", 0)

    def prepare() -> list[str]:
        pipeline.clear()
        ids = post(pipeline, {"n": 1}, {"n": 2})
        sqs_gives_up(pipeline)
        return ids

    prepare()
    calls = record(lambda: reconcile(pipeline))
    assert calls == [
        "sqs:GetQueueAttributes",
        "sqs:ReceiveMessage",
        "dynamodb:BatchGetItem",
        "dynamodb:BatchExecuteStatement",
        "events:PutEvents",
        "s3:PutObject",
        "sqs:ReceiveMessage",
        "sqs:GetQueueAttributes",
        "sqs:ChangeMessageVisibilityBatch",
        "dynamodb:BatchGetItem",
        "sns:Publish",
        "dynamodb:BatchExecuteStatement",
        "dynamodb:BatchExecuteStatement",
    ]
    for point in points(calls):
        ids = prepare()
        with suppress(Killed, Exception), broken(point):
            reconcile(pipeline)
        # What a dead run has hidden comes back.
        while letters(pipeline) < 2:
            time.sleep(0.05)
        reconcile(pipeline)
        assert {pipeline.shown(event_id).body["status"] for event_id in ids} == {"failed"}, point
        assert {each["detail"]["id"] for each in pipeline.told()} == set(ids), point
        assert letters(pipeline) == 2, point
        assert pipeline.alerts(), point
        reconcile(pipeline)
        assert (pipeline.told(), pipeline.alerts()) == ([], []), f"{point}: settled"
