"""Events whose messages are lost: a repeat sends them again, and of two messages one is processed."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from handlers.api.events import Envelope
from handlers.api.items import EventItem, is_lost
from handlers.api.table import EventTable
from handlers.shared import queues
from handlers.shared.times import timestamp
from tests.api_pipeline import Pipeline, Time
from tests.crash_points import Killed, broken, points, record

EVENT = {"n": 1}
KEY = {"Idempotency_Key": "order-17"}
LOST_AFTER = 10_000


@pytest.fixture
def purged(pipeline: Pipeline) -> str:
    """Return the id of an event whose message is gone, and of which nobody knows it yet."""
    event_id: str = pipeline.post(EVENT, **KEY).body["id"]
    purge(pipeline)
    return event_id


def purge(pipeline: Pipeline) -> None:
    pipeline.root("sqs").purge_queue(QueueUrl=pipeline.outputs["queue_url"])


def table_of(pipeline: Pipeline) -> EventTable:
    return pipeline.ingest()._table


def declare(pipeline: Pipeline, event_id: str) -> int:
    table = table_of(pipeline)
    return table.declare_lost(list(table.read([event_id]).values()))


def grow_old(pipeline: Pipeline, event_id: str) -> None:
    """Let an event have been accepted so long ago that no queue can have its message."""
    seconds = pipeline.ingest()._settings.lost_after_seconds
    received = timestamp(datetime.now(UTC) - timedelta(seconds=seconds))
    pipeline.root("dynamodb").update_item(
        TableName=pipeline.outputs["table_name"],
        Key={"id": {"S": event_id}},
        UpdateExpression="SET received_at = :r",
        ExpressionAttributeValues={":r": {"S": received}},
    )


WAYS: Mapping[str, Callable[[Pipeline, str], object]] = {"declared lost": declare, "too old for any queue": grow_old}


# The rule


def item(status: str = "queued", age: float = 0.0, **more: Any) -> EventItem:
    received = timestamp(datetime.now(UTC) - timedelta(seconds=age))
    known = {"id": "i", "type": "t", "status": status, "received_at": received, "attempts": 0, "expires_at": 9}
    return EventItem(**{**known, **more})  # type: ignore[typeddict-item]


def ago(seconds: float) -> int:
    return int(time.time() - seconds)


def at(seconds_ago: float) -> str:
    return timestamp(datetime.now(UTC) - timedelta(seconds=seconds_ago))


OLD, YOUNG = 2 * LOST_AFTER, LOST_AFTER // 2


@pytest.mark.parametrize(
    ("of", "lost"),
    [
        (item(age=OLD), True),
        (item(age=LOST_AFTER), True),
        (item(age=YOUNG), False),
        (item("retrying", OLD, next_attempt_at=at(OLD)), True),
        (item("retrying", 3 * OLD, next_attempt_at=at(YOUNG)), False),
        (item(age=3 * OLD, sent_at=ago(YOUNG)), False),
        (item(age=3 * OLD, sent_at=ago(OLD)), True),
        (item(age=3 * OLD, running_until=ago(YOUNG)), False),
        (item(age=3 * OLD, running_until=None, next_attempt_at=None, sent_at=None, lost=None), True),
        (item(lost=9), True),
        (item("retrying", lost=9), True),
        # Something was written since.
        (item(lost=8), False),
        # These have no message, or have one and are not shown.
        (item("succeeded", OLD, lost=9), False),
        (item("failed", OLD, lost=9), False),
        (item("accepting", OLD, lost=9), False),
    ],
)
def test_a_message_is_lost_when_nothing_can_have_it_or_somebody_said_so(of: EventItem, lost: bool) -> None:  # noqa: FBT001
    assert is_lost(of, LOST_AFTER) is lost


def test_without_an_age_only_what_was_declared_lost_is() -> None:
    assert [is_lost(each, 0) for each in (item(age=OLD), item(lost=9))] == [False, True]


# Repeats


@pytest.mark.parametrize("way", WAYS)
def test_a_repeat_sends_a_lost_event_again_and_the_next_one_is_a_duplicate(
    pipeline: Pipeline, purged: str, way: str
) -> None:
    assert pipeline.post(EVENT, **KEY).body["duplicate"] is True
    assert pipeline.receive() == [], "nobody knows yet that it is lost"
    WAYS[way](pipeline, purged)
    again = pipeline.post(EVENT, **KEY)
    assert (again.status, again.body) == (202, {"id": purged, "status": "queued", "duplicate": False})
    assert pipeline.post(EVENT, **KEY).body["duplicate"] is True
    (message,) = pipeline.receive()
    assert json.loads(message["body"])["received_at"] == pipeline.shown(purged).body["received_at"]
    runs: list[Any] = []
    pipeline.deliver(pipeline.worker(runs.append), [message])
    assert (runs, pipeline.shown(purged).body["status"]) == ([EVENT], "succeeded")
    assert pipeline.post(EVENT, **KEY).body["duplicate"] is True
    assert pipeline.receive() == []


def test_so_does_a_repeat_of_the_same_content(pipeline: Pipeline) -> None:
    pipeline.settings = {"deduplicate": "content"}
    event_id = pipeline.post(EVENT).body["id"]
    purge(pipeline)
    declare(pipeline, event_id)
    assert pipeline.post(EVENT).body == {"id": event_id, "status": "queued", "duplicate": False}
    assert len(pipeline.receive()) == 1


def test_an_event_that_was_sent_again_is_old_when_the_second_message_is(pipeline: Pipeline, purged: str) -> None:
    grow_old(pipeline, purged)
    pipeline.post(EVENT, **KEY)
    (resent,) = table_of(pipeline).read([purged]).values()
    assert resent.get("sent_at") == pytest.approx(time.time(), abs=5)


def test_of_one_request_only_the_first_repeat_is_sent_and_another_event_with_the_key_is_refused(
    pipeline: Pipeline,
) -> None:
    event = {"n": 1, "idempotency_key": "order-17"}
    event_id = pipeline.post(event).body["id"]
    purge(pipeline)
    declare(pipeline, event_id)
    assert pipeline.post({**event, "n": 2}).status == 409
    first, second = pipeline.post([event, event]).body["results"]
    assert ("duplicate" in first, second["duplicate"]) == (False, True)
    assert len(pipeline.receive()) == 1


def test_what_the_queue_does_not_take_stays_lost_and_its_item_stays(
    pipeline: Pipeline, purged: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(pipeline, purged)
    with monkeypatch.context() as patch:
        patch.setattr(queues, "send", lambda _url, messages: [False] * len(messages))
        assert pipeline.post(EVENT, **KEY).status == 503
    assert pipeline.shown(purged).body["status"] == "queued"
    assert pipeline.post(EVENT, **KEY).body["duplicate"] is False
    assert len(pipeline.receive()) == 1


def test_a_retried_event_that_is_lost_goes_on_with_the_attempts_it_has_left(pipeline: Pipeline) -> None:
    def fails(_event: object) -> None:
        raise TimeoutError

    event_id = pipeline.post(EVENT, **KEY).body["id"]
    pipeline.deliver(pipeline.worker(fails), pipeline.receive())
    purge(pipeline)
    declare(pipeline, event_id)
    assert pipeline.post(EVENT, **KEY).body["duplicate"] is False
    pipeline.drain(pipeline.worker(lambda _: 1))
    shown = pipeline.shown(event_id).body
    assert (shown["status"], shown["attempts"]) == ("succeeded", 2)


def test_a_worker_that_has_the_message_after_all_takes_the_declaration_back(pipeline: Pipeline) -> None:
    def fails(_event: object) -> None:
        raise TimeoutError

    event_id = pipeline.post(EVENT, **KEY).body["id"]
    assert declare(pipeline, event_id) == 1
    # Writes are told apart by the second.
    time.sleep(1.1)
    pipeline.deliver(pipeline.worker(fails), pipeline.receive())
    assert pipeline.post(EVENT, **KEY).body == {"id": event_id, "status": "retrying", "duplicate": True}


def test_what_was_done_meanwhile_is_not_declared_lost(pipeline: Pipeline) -> None:
    event_id = pipeline.post(EVENT, **KEY).body["id"]
    table = table_of(pipeline)
    items = list(table.read([event_id]).values())
    pipeline.drain(pipeline.worker(lambda _: 1))
    assert table.declare_lost(items) == 0
    assert pipeline.post(EVENT, **KEY).body["status"] == "succeeded"


def test_a_message_without_room_for_the_mark_is_sent_without_it(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_id = pipeline.post(EVENT, **KEY).body["id"]
    (first,) = pipeline.receive()
    purge(pipeline)
    for room, marked in ((0, None), (14, True)):
        declare(pipeline, event_id)
        monkeypatch.setattr("handlers.api.events.MAXIMUM_MESSAGE_BYTES", len(first["body"]) + room)
        assert pipeline.post(EVENT, **KEY).body["duplicate"] is False
        (message,) = pipeline.receive()
        assert json.loads(message["body"]).get("resent") is marked


# Two at once


def test_two_repeats_at_once_lose_nothing_and_their_messages_are_processed_once(
    pipeline: Pipeline, purged: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(pipeline, purged)
    both, send = threading.Barrier(2), queues.send

    def send_together(*given: Any) -> Any:
        both.wait(5)
        return send(*given)

    monkeypatch.setattr(queues, "send", send_together)
    answers: list[Any] = []
    repeats = [threading.Thread(target=lambda: answers.append(pipeline.post(EVENT, **KEY).body)) for _ in range(2)]
    for each in repeats:
        each.start()
    for each in repeats:
        each.join()
    assert [each["id"] for each in answers] == [purged] * 2
    first, second = pipeline.receive()
    runs: list[Any] = []

    def process(event: Mapping[str, Any]) -> str:
        runs.append(event)
        # While one worker is at the event, another one gets the other message.
        assert pipeline.worker(runs.append).handle([second], Time())["batchItemFailures"]
        return "done"

    pipeline.deliver(pipeline.worker(process), [first])
    pipeline.deliver(pipeline.worker(runs.append), [second])
    assert (len(runs), pipeline.shown(purged).body["status"]) == (1, "succeeded")


def test_two_workers_that_read_the_item_at_once_process_it_once(
    pipeline: Pipeline, purged: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(pipeline, purged)
    pipeline.post(EVENT, **KEY)
    (message,) = pipeline.receive()
    copy = {**message, "messageId": "a copy"}
    runs: list[str] = []
    slow, quick = pipeline.worker(lambda _: runs.append("slow")), pipeline.worker(lambda _: runs.append("quick"))
    mark = slow._table.mark

    def later(*given: Any) -> Any:
        assert quick.handle([copy], Time()) == {"batchItemFailures": []}
        return mark(*given)

    monkeypatch.setattr(slow._table, "mark", later)
    assert slow.handle([message], Time())["batchItemFailures"], "it returns, and finds the event done"
    pipeline.deliver(pipeline.worker(lambda _: runs.append("third")), [message])
    assert runs == ["quick"]


def test_a_mark_that_was_sent_twice_by_the_client_is_one(pipeline: Pipeline, purged: str) -> None:
    table = table_of(pipeline)
    (read,) = table.read([purged]).values()
    envelope = Envelope(purged, "default", read["received_at"], "", "", "", read.get("fingerprint", ""), EVENT)
    assert [table.mark(envelope, 1, 2_000_000_000, "m", 1, read) for _ in range(2)] == [None, None]
    found = table.mark(envelope, 1, 2_000_000_000, "another", 1, read)
    assert found is not None
    assert found.get("noted_message_id") == "m"


# Crash points


def test_no_lost_event_is_lost_again_wherever_a_repeat_fails_or_dies(pipeline: Pipeline) -> None:
    def prepare() -> str:
        pipeline.clear()
        event_id: str = pipeline.post(EVENT, **KEY).body["id"]
        purge(pipeline)
        declare(pipeline, event_id)
        return event_id

    prepare()
    calls = record(lambda: pipeline.post(EVENT, **KEY))
    assert calls[-2:] == ["sqs:SendMessageBatch", "dynamodb:BatchExecuteStatement"]
    for point in points(calls):
        event_id = prepare()
        with suppress(Killed, Exception), broken(point):
            pipeline.post(EVENT, **KEY)
        pipeline.post(EVENT, **KEY)
        runs: list[Any] = []
        pipeline.drain(pipeline.worker(runs.append))
        assert (len(runs), pipeline.shown(event_id).body["status"]) == (1, "succeeded"), point
