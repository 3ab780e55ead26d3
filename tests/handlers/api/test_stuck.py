"""Events whose messages are lost are counted, listed, released, and sent again from the archive."""

import itertools
import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli import replay_archive, stuck_events
from cli.stuck_events import Stuck, run_stuck
from handlers.api import reconciler, stuck
from handlers.api.events import Envelope
from handlers.api.identity import new_id
from handlers.api.items import Completion
from handlers.api.reader import EventReader
from handlers.api.settings import ReconcilerSettings
from handlers.api.stuck import FOUND, StuckEvents, waiting
from handlers.api.table import EventTable
from handlers.shared.times import timestamp
from local.errors import LocalError
from tests.api_pipeline import Pipeline, Time
from tests.crash_points import Killed, broken, points, record

DAYS = 24
LOST_AFTER = timedelta(days=20)
NOW = datetime.now(UTC)
OLD = NOW - LOST_AFTER - timedelta(hours=3)


def table_of(pipeline: Pipeline) -> EventTable:
    return EventTable(pipeline.outputs["table_name"], time_index_shards=8, items_expire_after_days=DAYS)


def received(pipeline: Pipeline, *moments: datetime, event_type: str = "order") -> list[Envelope]:
    """Events that are `queued` since these moments; their messages are in no queue."""
    sent = [Envelope(new_id(), event_type, timestamp(each), "", "", "", "", {"n": 1}) for each in moments]
    table_of(pipeline).record_queued(sent)
    return sent


Emitted = Callable[[], list[float]]


@pytest.fixture
def emitted(capsys: pytest.CaptureFixture[str]) -> Emitted:
    """Returns the counts that were written since the last call."""

    def read() -> list[float]:
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
        return [each for line in lines for each in line.get("StuckEvents", [])]

    return read


@pytest.fixture
def counter(pipeline: Pipeline) -> StuckEvents:
    return make(pipeline)


def make(pipeline: Pipeline) -> StuckEvents:
    return StuckEvents(
        ReconcilerSettings(
            table_name=pipeline.outputs["table_name"],
            time_index_shards=8,
            items_expire_after_days=DAYS,
            dead_letter_queue_url="",
            alerts_topic_arn="",
            alerts_runbook="",
            lost_after_seconds=int(LOST_AFTER.total_seconds()),
        )
    )


def look(counter: StuckEvents, has_time: Callable[[], bool] = lambda: True) -> None:
    counter._looked_at = None
    counter.look(has_time)


# Counting


def test_events_that_nothing_processes_any_more_are_counted_until_there_are_none(
    pipeline: Pipeline, counter: StuckEvents, emitted: Emitted
) -> None:
    look(counter)
    assert emitted() == [], "what is not there costs nothing"
    first, second, done = received(pipeline, OLD, OLD - timedelta(days=1), OLD)
    received(pipeline, NOW - timedelta(days=1))
    table = table_of(pipeline)
    _finish(table, done)
    # Another run of the function, which has to begin where the first one ended: at an hour before these.
    look(make(pipeline))
    assert emitted() == [], "these hours were looked at already"
    _forget(pipeline)
    look(counter)
    look(counter)
    assert emitted() == [2, 2]
    _finish(table, first)
    table.declare_lost(list(table.read([second.id]).values()))
    look(counter)
    look(counter)
    assert emitted() == [0], "one is done, somebody has dealt with the other; and no more is said"


def _finish(table: EventTable, envelope: Envelope) -> None:
    assert table.complete([Completion(envelope, "succeeded", 1, envelope.received_at)], known=[envelope.id]) == [None]


def _forget(pipeline: Pipeline) -> None:
    pipeline.root("dynamodb").delete_item(TableName=pipeline.outputs["table_name"], Key={"id": {"S": FOUND}})


def test_one_that_was_sent_again_is_looked_at_again_when_the_second_message_is_old(
    pipeline: Pipeline, counter: StuckEvents, emitted: Emitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sent,) = received(pipeline, OLD)
    table = table_of(pipeline)
    table.record_resent(list(table.read([sent.id]).values()))
    look(counter)
    assert emitted() == []
    later = time.time() + LOST_AFTER.total_seconds() + 60
    monkeypatch.setattr("handlers.api.items.time", SimpleNamespace(time=lambda: later))
    # An item lives longer than that here.
    monkeypatch.setattr("handlers.api.reader.is_expired", lambda _: False)
    look(counter)
    assert emitted() == [1]


def test_hours_are_looked_at_once_and_what_time_does_not_allow_is_looked_at_next(
    pipeline: Pipeline, counter: StuckEvents, emitted: Emitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first one is in the window whose look is cut short.
    received(pipeline, NOW - timedelta(days=DAYS) + timedelta(hours=2), OLD)
    windows: list[tuple[datetime, datetime]] = []

    def counted(table: EventReader, since: datetime, until: datetime, has_time: Callable[[], bool]) -> Any:
        windows.append((since, until))
        return waiting(table, since, until, has_time)

    monkeypatch.setattr(stuck, "waiting", counted)
    left = iter([True, True, False])
    look(counter, lambda: next(left, False))
    assert counter._looked_at is None, "the next run goes on"
    look(counter)
    assert emitted()[-1] == 2
    # In days as long as there was time, then by the hour; of each moment once, from end to end.
    whole = [each for each in windows if each[1] - each[0] == timedelta(hours=1)]
    assert whole
    looked = sorted(set(windows))
    assert all(one[1] >= other[0] for one, other in itertools.pairwise(looked))
    assert looked[-1][1] <= datetime.now(UTC) - LOST_AFTER < looked[-1][1] + timedelta(hours=1)
    windows.clear()
    look(counter)
    assert windows == []


def test_it_looks_once_an_hour(pipeline: Pipeline, counter: StuckEvents, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(stuck, "time", SimpleNamespace(monotonic=lambda: now, time=time.time))
    assert record(lambda: counter.look(lambda: True))
    now += stuck.LOOK_SECONDS - 1
    assert record(lambda: counter.look(lambda: True)) == []
    now += 1
    assert record(lambda: counter.look(lambda: True))
    assert pipeline.items() == {}


def test_more_than_it_can_keep_are_not_forgotten(
    pipeline: Pipeline, counter: StuckEvents, emitted: Emitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stuck, "MAXIMUM_FOUND", 3)
    sent = received(pipeline, *(OLD + timedelta(seconds=n) for n in range(5)), OLD + timedelta(hours=1, minutes=30))
    look(counter)
    assert emitted() == [3]
    table, done = table_of(pipeline), 0
    for _ in sent:
        (item,) = table._table.get([{"id": FOUND}])
        for event_id in item["ids"].split():
            _finish(table, next(each for each in sent if each.id == event_id))
            done += 1
        look(counter)
    assert (done, emitted()) == (len(sent), [3, 0])


def test_the_scheduled_function_counts_where_it_is_told_to(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, emitted: Emitted
) -> None:
    received(pipeline, NOW - timedelta(days=30))
    for name, value in pipeline.environments["reconciler"].items():
        monkeypatch.setenv(name, value)
    for cached in (reconciler._reconciler, reconciler._stuck):
        cached.cache_clear()
    reconciler.handler({}, Time(60))
    assert emitted() == [1]
    reconciler._stuck.cache_clear()
    monkeypatch.delenv("LOST_AFTER_SECONDS")
    assert reconciler._stuck() is None
    for cached in (reconciler._reconciler, reconciler._stuck):
        cached.cache_clear()


def test_no_stuck_event_is_missed_wherever_a_look_fails_or_dies(pipeline: Pipeline, emitted: Emitted) -> None:
    # A few hours only, or there are hundreds of calls.
    def fresh() -> StuckEvents:
        counter = make(pipeline)
        counter._kept = LOST_AFTER + timedelta(hours=6)
        return counter

    def prepare() -> None:
        pipeline.clear()
        received(pipeline, OLD)
        emitted()

    prepare()
    calls = record(lambda: look(fresh()))
    assert {"dynamodb:Query", "dynamodb:BatchGetItem", "dynamodb:BatchExecuteStatement"} == set(calls)
    # The queries of the first hours are alike.
    for point in [each for each in points(calls) if each.position not in range(8, len(calls) - 12)]:
        prepare()
        with suppress(Killed, Exception), broken(point):
            look(fresh())
        look(fresh())
        assert emitted()[-1:] == [1], point


# `pipeline events --stuck`


@pytest.fixture
def stack(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    config = SimpleNamespace(
        lost_after_seconds=int(LOST_AFTER.total_seconds()),
        storage=SimpleNamespace(
            time_index=True, time_index_shards=8, items_expire_after_days=DAYS, archives_accepted=True
        ),
        queue=SimpleNamespace(fifo=None, fair=None),
    )
    fake = SimpleNamespace(
        name="shop",
        directory=tmp_path,
        config_as=lambda _: config,
        config=config,
        aim_aws_clients=lambda: None,
        output=lambda name: pipeline.outputs[name],
    )
    monkeypatch.setattr(stuck_events, "Stack", lambda _: fake)
    return fake


def run(stack: Any, capsys: pytest.CaptureFixture[str], **more: Any) -> tuple[list[Mapping[str, Any]], list[str]]:
    """Return the events that the command shows, and what it says about them."""
    wanted = {"since": None, "lost_before": None, "event_type": None, "maximum": 100}
    release = more.pop("release", False)
    capsys.readouterr()
    assert run_stuck(stack.name, Stuck(**{**wanted, **more}), release=release, as_json=True) == 0
    said = capsys.readouterr()
    return [json.loads(line) for line in said.out.splitlines()], said.err.splitlines()


def test_it_lists_what_is_lost_oldest_first_and_released_ones_as_such(
    pipeline: Pipeline, stack: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(stack, capsys) == ([], ["no event waits for a message that is lost"])
    newer, older = received(pipeline, OLD, OLD - timedelta(days=1))
    (other,) = received(pipeline, OLD, event_type="refund")
    received(pipeline, NOW)
    shown, said = run(stack, capsys)
    assert shown[0]["id"] == older.id
    assert {each["id"] for each in shown} == {newer.id, older.id, other.id}
    assert {each["released"] for each in shown} == {False}
    assert said[0] == "3 events wait for messages that are lost"
    assert [each["id"] for each in run(stack, capsys, event_type="refund")[0]] == [other.id]
    assert [each["id"] for each in run(stack, capsys, since=OLD - timedelta(hours=1), maximum=1)[0]] != [older.id]
    _, said = run(stack, capsys, event_type="refund", release=True)
    assert said[1] == "1 are released: a repeat by a client sends them again"
    assert {each["id"]: each["released"] for each in run(stack, capsys)[0]} == {
        newer.id: False,
        older.id: False,
        other.id: True,
    }


def test_what_a_purge_took_is_declared_lost_and_what_came_later_is_not(
    pipeline: Pipeline, stack: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    keyed = {"Idempotency_Key": "order-17"}
    done = pipeline.post({"n": 2}).body["id"]
    pipeline.drain(pipeline.worker(lambda _: 1))
    before = pipeline.post({"n": 1}, **keyed).body["id"]
    pipeline.root("sqs").purge_queue(QueueUrl=pipeline.outputs["queue_url"])
    purged_at = datetime.now(UTC)
    after = pipeline.post({"n": 3}).body["id"]
    assert run(stack, capsys)[0] == []
    shown, _ = run(stack, capsys, lost_before=purged_at, release=True)
    assert [each["id"] for each in shown] == [before]
    assert pipeline.post({"n": 1}, **keyed).body["duplicate"] is False
    pipeline.drain(pipeline.worker(lambda _: 1))
    assert [pipeline.shown(each).body["status"] for each in (before, done, after)] == ["succeeded"] * 3


def test_a_time_to_come_is_refused(stack: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LocalError, match="must not be in the future"):
        run(stack, capsys, lost_before=datetime.now(UTC) + timedelta(hours=1))
    stack.config.storage.time_index = False
    with pytest.raises(LocalError, match="no time index"):
        run(stack, capsys)


# `pipeline replay --stuck`


def test_released_events_are_sent_again_from_the_archive_and_no_others(
    pipeline: Pipeline, stack: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.settings = {"archive_accepted": True}
    done = pipeline.post({"event_type": "order", "n": 1}).body["id"]
    runs: list[Any] = []
    pipeline.drain(pipeline.worker(lambda event: runs.append(event["n"])))
    lost = pipeline.post({"event_type": "order", "n": 2}).body["id"]
    pipeline.root("sqs").purge_queue(QueueUrl=pipeline.outputs["queue_url"])
    purged_at = datetime.now(UTC)
    kept = pipeline.post({"event_type": "order", "n": 3}).body["id"]
    _, said = run(stack, capsys, lost_before=purged_at, release=True)
    assert "replay --stack shop --from" in said[-1]

    def replay() -> int:
        wanted = replay_archive.selection(NOW - timedelta(hours=1), None, [], stuck=True)
        return replay_archive.run_replay_archive(stack, wanted, rate=100, dry_run=False, sure=True, as_json=True)

    assert replay() == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["events"] == [
        {"type": "order", "state": "queued", "events": 1}
    ]
    pipeline.drain(pipeline.worker(lambda event: runs.append(event["n"])))
    assert sorted(runs) == [1, 2, 3]
    assert [pipeline.shown(each).body["status"] for each in (done, lost, kept)] == ["succeeded"] * 3
    assert replay() == 0
    assert "nothing waits for a message that is lost" in capsys.readouterr().err
    assert pipeline.receive() == []
