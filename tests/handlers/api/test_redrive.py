"""Redrive of dead letters: previews, filters, and that no message is lost whatever fails."""

import json
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from botocore.exceptions import ClientError

from handlers.api.causes import EventCauses
from handlers.api.events import Envelope
from handlers.processor import Rejected
from handlers.shared import backlog, dead_letters, queues
from handlers.shared.dead_letters import DeadLetters, Held
from handlers.shared.letters import Cause, Letter, Wanted
from handlers.shared.passes import Control, Pass
from handlers.shared.redrive import STOPPING_SECONDS
from tests.api_pipeline import Answer, Pipeline, Time
from tests.crash_points import Killed, broken, points, record

UNREADABLE = "no event of ours"


@pytest.fixture(autouse=True)
def _does_not_wait_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    # moto has one server, so a short poll misses no message.
    monkeypatch.setattr(dead_letters, "POLL_SECONDS", 0)


def process(event: Mapping[str, Any]) -> str:
    if event["fails"] == "Rejected":
        raise Rejected("never going to work")
    if event["fails"]:
        raise {"TimeoutError": TimeoutError, "KeyError": KeyError}[event["fails"]]("not now")
    return "done"


def succeeds(_event: Mapping[str, Any]) -> str:
    return "done"


def kill(pipeline: Pipeline, *fails: str) -> list[str]:
    """Dead-letter events, each for its reason; return their ids. The worker moves `Rejected` ones, SQS the others."""
    ids = [result["id"] for result in pipeline.post([{"fails": reason} for reason in fails]).body["results"]]
    pipeline.drain(pipeline.worker(process))
    return ids


def bury(pipeline: Pipeline, body: str, **attributes: str) -> None:
    """Put a message into the dead-letter queue."""
    pipeline.root("sqs").send_message(
        QueueUrl=pipeline.outputs["dead_letter_queue_url"],
        MessageBody=body,
        MessageAttributes={name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()},
    )


def preview(pipeline: Pipeline, **parameters: str) -> Answer:
    return pipeline.request("GET", "/redrive/preview", parameters=parameters)


def start(pipeline: Pipeline, time: Time | None = None, **body: Any) -> Answer:
    return pipeline.request("POST", "/redrive/start", body, context=time or Time())


def visible(pipeline: Pipeline) -> int:
    """Return the number of visible dead letters."""
    answer = pipeline.root("sqs").get_queue_attributes(
        QueueUrl=pipeline.outputs["dead_letter_queue_url"],
        AttributeNames=["ApproximateNumberOfMessages"],
    )
    return int(answer["Attributes"]["ApproximateNumberOfMessages"])


# Looking


def test_every_dead_letter_is_shown_once_and_stays_where_it_is(pipeline: Pipeline) -> None:
    ids = kill(pipeline, *["Rejected"] * 12, *["TimeoutError"] * 11)
    for _ in range(2):
        answer = preview(pipeline)
        assert answer.status == 200
        assert Counter(message["id"] for message in answer.body["messages"]) == dict.fromkeys(ids, 1)
        assert len({message["message_id"] for message in answer.body["messages"]}) == 23
        assert (answer.body["complete"], answer.body["remaining"], answer.body["not_matching"]) == (True, 23, 0)
        assert visible(pipeline) == 23


def test_a_message_is_shown_with_age_attempts_and_error_but_without_its_payload(pipeline: Pipeline) -> None:
    (event_id,) = kill(pipeline, "TimeoutError")
    letter = preview(pipeline).body["messages"][0]
    assert letter.pop("message_id")
    assert 0 <= letter.pop("age_seconds") < 60
    assert letter == {
        "id": event_id,
        "type": "default",
        "attempts": 3,
        "error_type": "TimeoutError",
        "error": "TimeoutError: not now",
    }


def test_an_error_type_selects_its_own_messages_only(pipeline: Pipeline) -> None:
    reasons = ["TimeoutError"] * 3 + ["KeyError"] * 2 + ["Rejected"] * 2
    ids = kill(pipeline, *reasons)
    bury(pipeline, UNREADABLE)
    envelope = Envelope.from_message(body_of(pipeline, ids[0]))
    # One without a recorded cause, and one whose item is another event's.
    bury(pipeline, replace(envelope, id=str(uuid.uuid4())).to_message())
    bury(pipeline, replace(envelope, fingerprint="0" * 64).to_message())
    expected = {
        **{
            reason: {event_id for event_id, each in zip(ids, reasons, strict=True) if each == reason}
            for reason in reasons
        },
        "UnreadableMessageError": {None},
    }
    for error_type, wanted in expected.items():
        answer = preview(pipeline, error_type=error_type)
        assert {message["id"] for message in answer.body["messages"]} == wanted
        assert {message["error_type"] for message in answer.body["messages"]} == {error_type}
        assert (answer.body["not_matching"], answer.body["complete"]) == (10 - len(answer.body["messages"]), True)
    for error_type in ("unknown", "ConflictError"):
        assert len(preview(pipeline, error_type=error_type).body["messages"]) == 1
    assert preview(pipeline, error_type="Timeout").body["messages"] == []
    moved = start(pipeline, error_type="TimeoutError")
    assert moved.body == {
        "redriven": 3,
        "not_sent": 0,
        "not_deleted": 0,
        "not_matching": 7,
        "by_error": {"TimeoutError": 3},
        "remaining": 7,
        "complete": True,
        "hidden": 0,
        "held_back": False,
    }
    assert {json.loads(message["body"])["id"] for message in pipeline.receive()} == expected["TimeoutError"]
    assert visible(pipeline) == 7


def body_of(pipeline: Pipeline, event_id: str) -> str:
    causes = EventCauses(pipeline.outputs["table_name"])
    found, _ = DeadLetters(pipeline.outputs["dead_letter_queue_url"], causes).find(event_id, 10)
    assert found
    return found.letter.body


def test_ages_select_the_messages_between_them(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    (old,) = kill(pipeline, "Rejected")
    (sent,) = (letter["Attributes"]["SentTimestamp"] for letter in received(pipeline))
    while time.time() < (int(sent) + 2) / 1_000:
        pass
    kill(pipeline, "Rejected")
    now = int(sent) / 1_000 + 3_600
    monkeypatch.setattr(dead_letters, "parsedate_to_datetime", lambda _: datetime.fromtimestamp(now, UTC))
    assert [message["age_seconds"] for message in preview(pipeline).body["messages"]] == [3_600, 3_599]
    (shown,) = preview(pipeline, min_age_seconds="3600").body["messages"]
    assert shown["id"] == old
    assert preview(pipeline, min_age_seconds="3601").body["messages"] == []
    (shown,) = preview(pipeline, max_age_seconds="3599").body["messages"]
    assert shown["id"] != old
    assert preview(pipeline, max_age_seconds="3598").body["messages"] == []
    assert start(pipeline, min_age_seconds=3_600, max_age_seconds=3_600).body["redriven"] == 1
    assert [json.loads(message["body"])["id"] for message in pipeline.receive()] == [old]


def received(pipeline: Pipeline) -> list[dict[str, Any]]:
    """Receive the dead letters, and leave them visible."""
    return list(
        pipeline.root("sqs")
        .receive_message(
            QueueUrl=pipeline.outputs["dead_letter_queue_url"],
            MaxNumberOfMessages=10,
            AttributeNames=["All"],
            VisibilityTimeout=0,
        )
        .get("Messages", []),
    )


@pytest.mark.parametrize(("maximum", "complete"), [(3, False), (10, False), (12, False), (13, True), (14, True)])
def test_a_preview_is_complete_only_if_it_shows_all_messages(
    pipeline: Pipeline, *, maximum: int, complete: bool
) -> None:
    for _ in range(13):
        bury(pipeline, UNREADABLE)
    answer = preview(pipeline, max_messages=str(maximum)).body
    assert (len(answer["messages"]), answer["complete"], answer["remaining"]) == (min(maximum, 13), complete, 13)


def test_type_field_and_id_select_their_own_messages_only(pipeline: Pipeline) -> None:
    orders = [{"event_type": "order", "fails": "Rejected", "customer": {"id": number % 3}} for number in range(6)]
    ids = [result["id"] for result in pipeline.post([*orders, {"fails": "TimeoutError"}]).body["results"]]
    pipeline.drain(pipeline.worker(process))
    # A customer's name may be text, and another event may hold the same value elsewhere.
    bury(pipeline, UNREADABLE)

    def found(**parameters: str) -> set[str]:
        answer = preview(pipeline, **parameters).body
        assert answer["not_matching"] == 8 - len(answer["messages"])
        return {message["id"] for message in answer["messages"]}

    assert found(type="order") == set(ids[:6])
    assert found(type="default") == set(ids[6:])
    assert found(field="customer.id=1") == {ids[1], ids[4]}
    assert found(field="customer.id=1", error_type="TimeoutError") == set()
    assert found(field="customer=1") == found(field="type=none") == set()
    assert found(id=ids[2]) == {ids[2]}
    assert start(pipeline, field="customer.id=2", type="order").body["redriven"] == 2
    assert {json.loads(message["body"])["id"] for message in pipeline.receive()} == {ids[2], ids[5]}


def test_letters_are_counted_by_error_also_beyond_those_that_are_shown(pipeline: Pipeline) -> None:
    kill(pipeline, *["TimeoutError"] * 3, *["Rejected"] * 4)
    answer = preview(pipeline, max_messages="2").body
    assert (len(answer["messages"]), answer["by_error"]) == (2, {"TimeoutError": 3, "Rejected": 4})
    assert preview(pipeline, error_type="Rejected").body["by_error"] == {"Rejected": 4}


def test_letters_that_somebody_else_looks_at_are_counted_as_hidden_and_the_pass_is_not_complete(
    pipeline: Pipeline,
) -> None:
    for _ in range(12):
        bury(pipeline, UNREADABLE)
    sqs, url = pipeline.root("sqs"), pipeline.outputs["dead_letter_queue_url"]
    others = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=30)["Messages"]
    answer = preview(pipeline).body
    assert (len(answer["messages"]), answer["complete"], answer["hidden"], answer["remaining"]) == (2, False, 10, 12)
    moved = start(pipeline).body
    assert (moved["redriven"], moved["complete"], moved["hidden"], moved["remaining"]) == (2, False, 10, 10)
    for message in others:
        sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    moved = start(pipeline).body
    assert (moved["redriven"], moved["complete"], moved["hidden"], moved["remaining"]) == (10, True, 0, 0)


def test_the_clock_of_this_machine_says_nothing_about_letters(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        bury(pipeline, UNREADABLE)
    minutes_ahead = timedelta(minutes=4)
    receive = DeadLetters._receive

    def of_a_server_ahead(self: DeadLetters, at_once: int) -> tuple[list[Letter], float]:
        letters, now = receive(self, at_once)
        ahead = minutes_ahead.total_seconds()
        return [replace(letter, sent_at=letter.sent_at + ahead) for letter in letters], now + ahead

    monkeypatch.setattr(DeadLetters, "_receive", of_a_server_ahead)
    answer = preview(pipeline, max_age_seconds="60").body
    assert (len(answer["messages"]), answer["complete"]) == (3, True)


# A pass that lasts


def letters_of(pipeline: Pipeline) -> DeadLetters:
    return DeadLetters(pipeline.outputs["dead_letter_queue_url"], EventCauses(pipeline.outputs["table_name"]))


def test_a_stopped_pass_shows_all_again_and_says_that_it_is_not_complete(pipeline: Pipeline) -> None:
    for _ in range(35):
        bury(pipeline, UNREADABLE)
    rounds: list[int] = []

    def stop(_: float) -> bool:
        rounds.append(visible(pipeline))
        return len(rounds) == 2

    seen, done = letters_of(pipeline).look(Wanted(), 100, 10, Control(wait=stop))
    assert (rounds, len(seen)) == ([25, 0], 35)
    assert (done.complete, done.remaining, visible(pipeline)) == (False, 35, 35)


def test_many_letters_are_received_several_tens_at_once(pipeline: Pipeline) -> None:
    for _ in range(100):
        bury(pipeline, UNREADABLE)
    assert record(lambda: letters_of(pipeline).look(Wanted(), 100, 10)).count("sqs:ReceiveMessage") == 1 + 4 * 4


def test_a_letter_that_two_receives_of_a_round_return_is_seen_once(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    bury(pipeline, UNREADABLE)
    receive = DeadLetters._receive

    def doubled(self: DeadLetters, at_once: int) -> tuple[list[Letter], float]:
        letters, now = receive(self, at_once)
        return [*letters, *letters], now

    monkeypatch.setattr(DeadLetters, "_receive", doubled)
    assert len(preview(pipeline).body["messages"]) == 1


def test_a_pass_hides_its_letters_for_as_long_as_it_goes_on(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "HIDDEN_SECONDS", 2)
    monkeypatch.setattr(dead_letters, "RENEWED_SECONDS", 1.5)
    for _ in range(3):
        bury(pipeline, UNREADABLE)
    begun = time.monotonic()

    def wait(_: float) -> bool:
        # Rounds of a pass that has more to do.
        while time.monotonic() < begun + 3:
            time.sleep(0.2)
            held.renew()
            assert visible(pipeline) == 0
        return True

    held = Held(pipeline.outputs["dead_letter_queue_url"])
    letters = letters_of(pipeline)
    held.add(letters._receive()[0])
    assert len(held) == 3
    assert wait(0)
    held.show_again()
    assert visible(pipeline) == 3


def test_letters_are_moved_at_the_pace_that_is_asked_for(pipeline: Pipeline) -> None:
    for number in range(25):
        bury(pipeline, f"{UNREADABLE} {number}")
    begun, waited, told = time.monotonic(), list[float](), list[int]()

    def wait(seconds: float) -> bool:
        waited.append(seconds)
        time.sleep(seconds)
        return False

    control = Control(a_second=20, wait=wait, progress=lambda done: told.append(done.done))
    done = letters_of(pipeline).redrive(pipeline.outputs["queue_url"], Wanted(), 100, 10, control)
    assert (done.done, done.complete, told) == (25, True, [10, 20, 25])
    # The last five need no pause after them; with it, a pass ends when all of its time is up.
    assert time.monotonic() - begun >= 1
    assert max(waited) <= 1


def test_the_whole_backlog_is_moved_also_what_is_hidden_at_first(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "WAIT_SECONDS", 0.1)
    for number in range(15):
        bury(pipeline, f"{UNREADABLE} {number}")
    sqs, url = pipeline.root("sqs"), pipeline.outputs["dead_letter_queue_url"]
    sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=1)
    letters, told = letters_of(pipeline), list[int]()

    def redrive(control: Control) -> Pass:
        return letters.redrive(pipeline.outputs["queue_url"], Wanted(), float("inf"), 10, control)

    done = backlog.whole(redrive, Control(progress=lambda done: told.append(done.done)))
    assert (done.counts["redriven"], done.complete, done.hidden, done.remaining) == (15, True, 0, 0)
    assert done.by_error == {"UnreadableMessageError": 15}
    assert (told[0], told[-1]) == (5, 15)
    # Letters that do not come back are waited for, not for ever.
    monkeypatch.setattr(backlog, "PATIENCE_SECONDS", 0.3)
    bury(pipeline, UNREADABLE)
    sqs.receive_message(QueueUrl=url, VisibilityTimeout=600)
    done = backlog.whole(redrive, Control())
    assert (done.complete, done.hidden, done.done) == (False, 1, 0)


# Moving


def test_a_redriven_event_is_processed_again_and_loses_its_error(pipeline: Pipeline) -> None:
    ids = kill(pipeline, "TimeoutError", "Rejected")
    assert {pipeline.shown(event_id).body["status"] for event_id in ids} == {"failed"}
    assert start(pipeline).body["redriven"] == 2
    # The status changes only when the event is processed again.
    assert {pipeline.shown(event_id).body["status"] for event_id in ids} == {"failed"}
    pipeline.drain(pipeline.worker(succeeds))
    for event_id in ids:
        shown = pipeline.shown(event_id).body
        assert (shown["status"], shown["error"]) == ("succeeded", None)
    assert pipeline.dead_letters() == []


def test_a_redriven_event_that_is_rejected_again_is_a_dead_letter_again_with_its_new_error(pipeline: Pipeline) -> None:
    (event_id,) = kill(pipeline, "TimeoutError")
    start(pipeline)

    def reject(_event: Mapping[str, Any]) -> None:
        raise Rejected("now we know")

    pipeline.drain(pipeline.worker(reject))
    (letter,) = preview(pipeline).body["messages"]
    assert (letter["id"], letter["error_type"], letter["error"]) == (event_id, "Rejected", "now we know")


def test_a_message_that_fails_again_during_a_redrive_is_not_moved_again(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    bury(pipeline, UNREADABLE)
    send = queues.send

    def with_a_quick_worker(url: str, messages: Sequence[queues.Outgoing]) -> list[bool]:
        for _ in messages:
            bury(pipeline, UNREADABLE)
        return send(url, messages)

    monkeypatch.setattr(queues, "send", with_a_quick_worker)
    moved = start(pipeline).body
    assert (moved["redriven"], moved["not_matching"], moved["remaining"], moved["complete"]) == (1, 0, 1, True)
    assert visible(pipeline) == 1


def test_a_message_goes_back_without_the_attributes_of_its_cause(pipeline: Pipeline) -> None:
    bury(pipeline, UNREADABLE, error="e", error_type="t", event_id="i")
    assert start(pipeline).body["redriven"] == 1
    (message,) = pipeline._messages(pipeline.outputs["queue_url"])
    assert (message["Body"], message.get("MessageAttributes", {})) == (UNREADABLE, {})


def test_at_most_the_maximum_is_moved_and_the_rest_is_counted(pipeline: Pipeline) -> None:
    kill(pipeline, *["Rejected"] * 25)
    first = start(pipeline, max_messages=12).body
    assert (first["redriven"], first["remaining"], first["complete"]) == (12, 13, False)
    assert visible(pipeline) == 13
    second = start(pipeline, max_messages=13).body
    assert (second["redriven"], second["remaining"], second["complete"]) == (13, 0, True)
    assert len(pipeline._messages(pipeline.outputs["queue_url"])) == 25


def test_a_pass_stops_before_the_function_s_time_is_up_and_counts_the_rest(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill(pipeline, *["Rejected"] * 25)
    rounds: list[int] = []
    receive = DeadLetters._receive

    def counted(self: DeadLetters, at_once: int) -> tuple[list[Letter], float]:
        rounds.append(at_once)
        return receive(self, 1)

    with monkeypatch.context() as patched:
        patched.setattr(DeadLetters, "_receive", counted)
        patched.setattr(
            dead_letters, "time", SimpleNamespace(sleep=time.sleep, monotonic=lambda: 0 if len(rounds) < 2 else 100)
        )
        partly = start(pipeline).body
    assert (partly["redriven"], partly["remaining"], partly["complete"]) == (20, 5, False)
    assert visible(pipeline) == 5
    none = start(pipeline, time=Time(STOPPING_SECONDS)).body
    assert (none["redriven"], none["remaining"], none["complete"]) == (0, 5, False)


def test_a_message_that_the_queue_refused_is_not_deleted(pipeline: Pipeline) -> None:
    ids = kill(pipeline, *["Rejected"] * 12)
    pipeline.settings = {"queue_url": f"{pipeline.outputs['queue_url']}-that-is-not-there"}
    answer = start(pipeline)
    # No second round is made.
    assert (answer.body["redriven"], answer.body["not_sent"], answer.body["remaining"]) == (0, 10, 12)
    assert not answer.body["complete"]
    assert {message["id"] for message in preview(pipeline).body["messages"]} == set(ids)


def test_a_message_that_could_not_be_deleted_is_in_both_queues_and_counted(pipeline: Pipeline) -> None:
    (event_id,) = kill(pipeline, "TimeoutError")
    with patch.object(queues, "delete", lambda _url, handles: [False for _ in handles]):
        answer = start(pipeline)
    assert (answer.body["redriven"], answer.body["not_deleted"], answer.body["remaining"]) == (0, 1, 1)
    pipeline.drain(pipeline.worker(succeeds))
    assert pipeline.shown(event_id).body["status"] == "succeeded"
    (left,) = preview(pipeline).body["messages"]
    assert (left["id"], left["error_type"]) == (event_id, "TimeoutError")
    # After another redrive the worker finds that it is done, and deletes it.
    start(pipeline)
    pipeline.drain(pipeline.worker(process))
    assert pipeline.shown(event_id).body["status"] == "succeeded"
    assert pipeline.dead_letters() == []


def test_if_a_service_fails_the_response_counts_the_work_before_it_and_the_rest_is_visible(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill(pipeline, *["Rejected"] * 15)
    explain, calls = EventCauses.__call__, []

    def failing(self: EventCauses, letters: Sequence[Letter]) -> list[Cause]:
        calls.append(letters)
        if len(calls) == 2:
            raise ClientError({"Error": {"Code": "InternalServerError", "Message": "no"}}, "BatchGetItem")
        return explain(self, letters)

    monkeypatch.setattr(EventCauses, "__call__", failing)
    answer = start(pipeline)
    assert (answer.status, answer.body["error"]["code"]) == (503, "unavailable")
    assert (answer.body["redriven"], answer.body["remaining"], answer.body["complete"]) == (10, 5, False)
    assert visible(pipeline) == 5


def test_a_message_that_sqs_delivers_twice_in_one_pass_is_moved_once(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    (event_id,) = kill(pipeline, "Rejected")
    # With a visibility timeout of zero it is received again in the next round. The third round ends the pass.
    receive, rounds = DeadLetters._receive, []

    def again(self: DeadLetters, at_once: int) -> tuple[list[Letter], float]:
        rounds.append(1)
        return receive(self, at_once) if len(rounds) < 3 else ([], 0)

    monkeypatch.setattr(dead_letters, "HIDDEN_SECONDS", 0)
    monkeypatch.setattr(DeadLetters, "_receive", again)
    assert [message["id"] for message in preview(pipeline).body["messages"]] == [event_id]
    assert len(rounds) == 3


# Crash points


def test_nothing_is_lost_and_nothing_doubled_wherever_redrive_fails_or_dies(pipeline: Pipeline) -> None:
    worker = pipeline.worker(succeeds)

    def prepare() -> list[str]:
        """Make two dead letters, one with a recorded cause. Return their ids."""
        pipeline.clear()
        pipeline.post([{"n": 1}, {"n": 2}])
        messages = pipeline.receive()
        pipeline.settle(messages, {"batchItemFailures": []})
        for message, attributes in zip(messages, ({}, {"error_type": "Rejected"}), strict=True):
            bury(pipeline, message["body"], **attributes)
        return [json.loads(message["body"])["id"] for message in messages]

    prepare()
    calls = record(lambda: start(pipeline))
    assert calls == [
        "sqs:ReceiveMessage",
        "dynamodb:BatchGetItem",
        "sqs:SendMessageBatch",
        "sqs:DeleteMessageBatch",
        "sqs:ReceiveMessage",
        "sqs:GetQueueAttributes",
    ]
    for point in points(calls):
        ids = prepare()
        with suppress(Killed), broken(point):
            start(pipeline)
        dead, alive = depth(pipeline, "dead_letter_queue_url"), depth(pipeline, "queue_url")
        assert dead + alive >= 2, f"{point}: lost"
        if point.position == 0 and point.way.endswith("after"):
            # The handles are lost with the answer, so the messages become visible after their timeout.
            assert dead == 2, point
            continue
        assert visible(pipeline) == dead, f"{point}: hidden"
        pipeline.drain(worker)
        assert start(pipeline).body["complete"], point
        pipeline.drain(worker)
        assert {pipeline.shown(event_id).body["status"] for event_id in ids} == {"succeeded"}, point
        results = [key.rsplit("/", 1)[1].removesuffix(".json") for key in pipeline.objects("results/")]
        assert sorted(results) == sorted(ids), point
        assert (depth(pipeline, "dead_letter_queue_url"), depth(pipeline, "queue_url")) == (0, 0), point


def depth(pipeline: Pipeline, queue: str) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    answer = pipeline.root("sqs").get_queue_attributes(QueueUrl=pipeline.outputs[queue], AttributeNames=names)
    return sum(int(value) for value in answer["Attributes"].values())


def test_messages_of_a_killed_function_become_visible_after_its_time(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill(pipeline, "Rejected")
    monkeypatch.setattr(dead_letters, "HIDDEN_SECONDS", 2)
    monkeypatch.setattr(dead_letters, "RENEWED_SECONDS", 1)
    with patch.object(Held, "show_again"):
        letters = DeadLetters(pipeline.outputs["dead_letter_queue_url"], EventCauses(pipeline.outputs["table_name"]))
        letters.look(Wanted(), 10, 10)
    assert visible(pipeline) == 0
    deadline = time.monotonic() + 3
    while not visible(pipeline):
        assert time.monotonic() < deadline
        time.sleep(0.05)


# FIFO queues


def test_in_a_fifo_queue_a_message_keeps_its_group_and_is_deduplicated(pipeline: Pipeline) -> None:
    sqs = pipeline.root("sqs")
    dead, alive = (
        sqs.create_queue(QueueName=f"{name}.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
        for name in ("dead", "alive")
    )
    for group in ("a", "b"):
        sqs.send_message(
            QueueUrl=dead, MessageBody=UNREADABLE, MessageGroupId=group, MessageDeduplicationId=f"first-{group}"
        )
    letters = DeadLetters(dead, EventCauses(pipeline.outputs["table_name"]))
    with patch.object(queues, "delete", lambda _url, handles: [False for _ in handles]):
        assert letters.redrive(alive, Wanted(), 10, 10).counts["not_deleted"] == 2
    assert letters.redrive(alive, Wanted(), 10, 10).counts["redriven"] == 2
    messages = sqs.receive_message(QueueUrl=alive, MaxNumberOfMessages=10, AttributeNames=["All"])["Messages"]
    assert sorted(message["Attributes"]["MessageGroupId"] for message in messages) == ["a", "b"]


def line(pipeline: Pipeline, name: str, count: int) -> str:
    """Create a FIFO queue with numbered messages of one group. Return its URL."""
    sqs = pipeline.root("sqs")
    url = sqs.create_queue(QueueName=f"{name}.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    for number in range(count):
        sqs.send_message(
            QueueUrl=url, MessageBody=f"{number}", MessageGroupId="a", MessageDeduplicationId=f"letter-{number}"
        )
    return str(url)


def bodies_in_order(pipeline: Pipeline, url: str) -> list[str]:
    """Receive and delete all messages of a queue. Return their bodies."""
    sqs, bodies = pipeline.root("sqs"), list[str]()
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            bodies.append(message["Body"])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return bodies


def test_a_pass_that_leaves_messages_of_a_fifo_queue_is_held_back(pipeline: Pipeline) -> None:
    letters = DeadLetters(line(pipeline, "line", 12), EventCauses(pipeline.outputs["table_name"]))
    seen, done = letters.look(Wanted(), 100, 10)
    assert (len(seen), done.complete, done.held_back) == (10, False, True)
    seen, done = letters.look(Wanted(), 5, 10)
    assert (len(seen), done.complete, done.held_back) == (5, False, False), "no more were asked for"
    done = letters.redrive("unused", Wanted("another"), 100, 10)
    assert (done.not_matching, done.complete, done.held_back) == (10, False, True)


@pytest.mark.parametrize("maximum", [7, 20, 100])
def test_a_repeated_redrive_empties_a_group_in_order(pipeline: Pipeline, maximum: int) -> None:
    dead, alive = line(pipeline, f"long-{maximum}", 50), line(pipeline, f"behind-{maximum}", 0)
    letters = DeadLetters(dead, EventCauses(pipeline.outputs["table_name"]))
    passes = 0
    while not (done := letters.redrive(alive, Wanted(), maximum, 10)).complete:
        assert (done.held_back, done.counts["redriven"]) == (False, maximum)
        passes += 1
    assert passes == 50 // maximum
    assert (letters.depth(), bodies_in_order(pipeline, alive)) == (0, [str(number) for number in range(50)])


def test_letters_of_a_group_go_back_in_the_order_in_which_their_events_were_accepted(pipeline: Pipeline) -> None:
    first, *others = (
        Envelope(str(uuid.uuid4()), "default", f"2026-11-21T08:00:0{number}.000000Z", "", "", "", "", {})
        for number in range(9)
    )
    # The first one was redriven and failed again. Another group, and what is no event, keep their places.
    dead, alive = line(pipeline, "again", 2), line(pipeline, "ordered", 0)
    for group, envelopes in (("b", [*others[:4], first]), ("c", [others[5]]), ("b", others[4:5]), ("c", [others[4]])):
        for envelope in envelopes:
            pipeline.root("sqs").send_message(
                QueueUrl=dead,
                MessageBody=envelope.to_message(),
                MessageGroupId=group,
                MessageDeduplicationId=f"{group}{envelope.id}",
            )
    letters = DeadLetters(dead, EventCauses(pipeline.outputs["table_name"]))
    assert letters.redrive(alive, Wanted(), 100, 10).counts["redriven"] == 10
    bodies = bodies_in_order(pipeline, alive)
    assert [body for body in bodies if len(body) == 1] == ["0", "1"]
    ordered = [first, *others[:5], others[4], others[5]]
    assert [body for body in bodies if len(body) > 1] == [envelope.to_message() for envelope in ordered]
