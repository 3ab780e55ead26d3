"""Devices that fall silent and return: the worker and the watcher in memory, at any time and in any order."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import groupby
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handlers.iot import watcher
from handlers.iot.alerting import DeviceState
from handlers.iot.notices import NotPublishedError
from handlers.iot.silence import Hearing, SilenceAlert, Silences, told
from handlers.iot.table import ReadingTable, StoredState, shard_of
from handlers.iot.thresholds import Thresholds
from handlers.iot.watcher import NotRecordedError
from handlers.shared import aws
from handlers.shared.dynamodb import TableError
from tests.crash_points import WAYS, Killed, Point, broken, points, record

from .fleet import START, TABLE, Fleet, before_each_call


@pytest.fixture
def fleet(aws_in_process: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:  # noqa: ARG001  credentials
    monkeypatch.setattr(aws, "CALLS_AT_ONCE", 1)
    made = Fleet()
    with made.running():
        yield made


# Alerts


def test_a_device_causes_one_alert_when_it_falls_silent_and_one_when_it_is_back(fleet: Fleet) -> None:
    fleet.hear("d1")
    fleet.watch_until(29)
    assert fleet.told() == []
    fleet.watch_until(30)
    assert fleet.told() == ["d1 silent"]
    fleet.watch_until(300)
    assert fleet.told() == []
    fleet.hear("d1")
    fleet.hear("d1")
    fleet.watch_until(320)
    assert fleet.told() == ["d1 returned"]
    fleet.watch_until(400)
    assert fleet.told() == ["d1 silent"]


def test_an_alert_says_which_device_and_when_it_was_last_heard(fleet: Fleet) -> None:
    fleet.hear("cold-1")
    fleet.watch_until(30)
    fleet.hear("cold-1", at=29.99)  # before it was found silent, but too late to be of use
    fleet.hear("cold-1")
    fleet.watch_until(31)
    silent, returned = fleet.messages
    assert silent["Subject"] == "test: cold-1 silent"
    assert json.loads(silent["Message"]) == {
        "service": "test",
        "severity": "warning",
        "step": "device",
        "runbook": "docs/alarms.md#silent-devices",
        "summary": "cold-1 is silent: its last upload arrived at 2026-11-20T12:00:00Z",
        "kind": "silent",
        "device_id": "cold-1",
        "timestamp": "2026-11-20T12:00:00Z",
    }
    assert {name: each["StringValue"] for name, each in silent["MessageAttributes"].items()} == {
        "kind": "silent",
        "device_id": "cold-1",
    }
    assert json.loads(returned["Message"])["summary"] == (
        "cold-1 is no longer silent: an upload arrived at 2026-11-20T12:29:59Z"
    )


def test_ten_devices_have_a_message_each_and_more_share_one_that_names_the_first(fleet: Fleet) -> None:
    ten, many = [f"a{number}" for number in range(10)], [f"b{number:03}" for number in range(120)]
    fleet.hear(*ten)
    fleet.minutes = 1
    fleet.hear(*many)
    fleet.watch_until(30)
    assert fleet.told() == [f"{device} silent" for device in ten]
    fleet.watch_until(31)
    (entry,) = fleet.messages
    message = json.loads(entry["Message"])
    assert message["summary"] == "120 devices are silent: b000, b001, b002, b003, b004 and 115 more"
    assert (message["count"], len(message["devices"])) == (120, 100)
    assert message["devices"][99] == {"device_id": "b099", "timestamp": "2026-11-20T12:01:00Z"}
    assert entry["Subject"] == "test: 120 devices silent"
    fleet.messages.clear()
    # One upload each: still one message.
    for device in many:
        fleet.hear(device)
    fleet.watch_until(32)
    assert fleet.told() == ["120 returned"]


def test_ten_thousand_devices_that_fall_silent_at_once_are_one_message(fleet: Fleet) -> None:
    devices = [f"device-{number:0>100}" for number in range(10_000)]
    heard = DeviceState(hearing=Hearing(START, due_at=int(START) + 1_800))
    ReadingTable(TABLE).replace_states(dict.fromkeys(devices, (StoredState(DeviceState()), heard)), 9_999)
    fleet.minutes = 30
    fleet.watch()
    assert fleet.told() == ["10000 silent"]
    assert fleet.due() == {}


def test_devices_have_their_own_minutes_or_none(fleet: Fleet) -> None:
    fleet.silence = {"": 30, "fast": 5, "never": None}
    fleet.hear("fast", "never", "other")
    fleet.watch_until(5)
    assert fleet.told() == ["fast silent"]
    fleet.watch_until(100)
    assert fleet.told() == ["other silent"]
    assert fleet.hearing("never") is None


def test_only_named_devices_are_watched_without_common_minutes(fleet: Fleet) -> None:
    fleet.silence = {"": None, "d1": 5}
    fleet.hear("d1", "d2")
    fleet.watch_until(100)
    assert fleet.told() == ["d1 silent"]
    assert fleet.due() == {}


# Late uploads


def test_uploads_that_are_processed_late_count_as_of_their_arrival(fleet: Fleet) -> None:
    fleet.hear("d1")
    events = {minute: fleet.upload("d1", at=minute) for minute in (10, 20, 30, 40)}
    for minute, event in events.items():
        fleet.watch_until(minute + 15)
        fleet.take(event)
    assert fleet.told() == []
    fleet.watch_until(69)
    assert fleet.told() == []
    fleet.watch_until(70)
    assert fleet.told() == ["d1 silent"]


def test_an_upload_in_the_wrong_order_does_not_make_a_device_look_older(fleet: Fleet) -> None:
    fleet.hear("d1")
    fleet.minutes = 20
    fleet.hear("d1")
    fleet.hear("d1", at=1)
    fleet.watch_until(49)
    assert fleet.told() == []


def test_an_upload_that_waited_until_its_device_was_silent_again_is_no_return(fleet: Fleet) -> None:
    fleet.hear("d1")
    old, recent = fleet.upload("d1", at=10), fleet.upload("d1", at=100)
    fleet.watch_until(30)
    assert fleet.told() == ["d1 silent"]
    fleet.watch_until(110)
    fleet.take(old)
    fleet.watch_until(112)
    assert fleet.told() == []
    fleet.take(recent)
    fleet.watch_until(129)
    assert fleet.told() == ["d1 returned"]
    fleet.watch_until(130)
    assert fleet.told() == ["d1 silent"]


def test_an_upload_that_is_delivered_again_is_no_return_even_if_the_minutes_were_raised(fleet: Fleet) -> None:
    event = fleet.upload("d1")
    fleet.take(event)
    fleet.watch_until(30)
    assert fleet.told() == ["d1 silent"]
    fleet.silence = {"": 100}
    fleet.take(event)
    fleet.watch_until(40)
    assert fleet.told() == []


# Changes of the config


def test_a_device_that_was_stored_before_silence_was_configured_is_watched_from_its_next_upload(fleet: Fleet) -> None:
    fleet.silence = {}
    fleet.hear("d1", "gone")
    fleet.silence = {"": 30}
    fleet.watch_until(100)
    assert (fleet.told(), fleet.due()) == ([], {})
    fleet.hear("d1")
    assert fleet.due() == {"d1": 130}


def test_states_of_the_version_before_are_read() -> None:
    old = {"limits": {"t#max": {"beyond": "", "within": "", "announced": True, "alerted": ""}}, "pending": []}
    state = DeviceState.from_json(json.dumps(old))
    assert state.hearing is None
    assert state.limits["t#max"].announced
    hearing = Hearing(1.5, silent=True, due_at=None, pending=(SilenceAlert("silent", 1.5),))
    assert DeviceState.from_json(DeviceState(hearing=hearing).to_json()).hearing == hearing


def test_a_device_whose_state_the_version_before_wrote_again_leaves_the_index(fleet: Fleet) -> None:
    fleet.hear("d1")
    (item,) = (each for key, each in fleet.memory.tables[TABLE].items.items() if key == ("d1", "state"))
    item["state"] = {"S": '{"limits":{},"pending":[]}'}
    fleet.watch_until(31)
    assert (fleet.due(), fleet.told()) == ({}, [])
    fleet.hear("d1")
    assert fleet.due() == {"d1": 61}


def test_a_device_of_the_version_before_is_listed_from_its_next_upload_even_if_its_state_stays_as_it_is(
    fleet: Fleet,
) -> None:
    fleet.silence = {}
    fleet.hear("d1")
    del fleet.memory.tables[TABLE].items["d1", "state"]["device_shard"]
    assert list(ReadingTable(TABLE).devices()) == []
    fleet.hear("d1")
    assert list(ReadingTable(TABLE).devices()) == ["d1"]


def test_shorter_minutes_hold_from_the_time_at_which_the_device_was_due_at_the_latest(fleet: Fleet) -> None:
    fleet.hear("d1")
    fleet.silence = {"": 5}
    fleet.watch_until(29)
    assert fleet.told() == []
    fleet.watch_until(30)
    assert fleet.told() == ["d1 silent"]
    fleet.hear("d1")
    fleet.watch_until(36)
    assert fleet.told() == ["d1 returned", "d1 silent"]


def test_longer_minutes_hold_at_once(fleet: Fleet) -> None:
    fleet.hear("d1")
    fleet.silence = {"": 60}
    fleet.watch_until(59)
    assert fleet.told() == []
    fleet.watch_until(60)
    assert fleet.told() == ["d1 silent"]


def test_a_silent_device_that_is_no_longer_watched_ends_its_alert_with_its_next_upload(fleet: Fleet) -> None:
    old = fleet.upload("d1", "d2")
    fleet.take(old)
    fleet.watch_until(30)
    assert fleet.told() == ["d1 silent", "d2 silent"]
    fleet.silence = {"": 30, "d1": None}
    # An upload that is delivered again is no sign of life.
    fleet.take(old)
    fleet.watch_until(31)
    assert fleet.told() == []
    # Two uploads before the watcher looks.
    fleet.hear("d1")
    fleet.hear("d1")
    fleet.watch_until(32)
    assert fleet.told() == ["d1 returned"]
    assert fleet.hearing("d1") is None
    fleet.watch_until(200)
    assert (fleet.told(), fleet.due()) == ([], {})


def test_a_device_that_is_no_longer_watched_leaves_the_index_when_it_is_due(fleet: Fleet) -> None:
    fleet.hear("d1")
    fleet.silence = {"": None, "other": 1}
    fleet.watch_until(30)
    assert (fleet.told(), fleet.due(), fleet.hearing("d1")) == ([], {}, None)


def test_without_silence_in_the_config_the_worker_clears_it_with_the_next_upload(fleet: Fleet) -> None:
    fleet.hear("d1", "d2")
    fleet.watch_until(30)
    fleet.told()
    fleet.hear("d2")
    fleet.silence = {}
    fleet.hear("d1", "d2")
    assert (fleet.hearing("d1"), fleet.hearing("d2"), fleet.due()) == (None, None, {})
    # Switched on again, nothing is left of the time before.
    fleet.silence = {"": 30}
    fleet.watch_until(40)
    assert fleet.told() == []


# The table


def test_the_watcher_asks_the_index_and_reads_what_is_due_and_never_scans(fleet: Fleet) -> None:
    fleet.hear(*[f"d{number}" for number in range(30)])
    queries = ["dynamodb:Query"] * 8
    assert record(fleet.watch) == queries
    fleet.minutes = 30
    changes = ["dynamodb:BatchExecuteStatement"] * 2
    calls = record(fleet.watch)
    assert calls == [*queries, "dynamodb:BatchGetItem", *changes, "sns:PublishBatch", *changes]


def test_the_watcher_keeps_the_expiry_of_a_state(fleet: Fleet) -> None:
    fleet.hear("d1")
    items = fleet.memory.tables[TABLE].items
    before = items["d1", "state"]["expires_at"]
    fleet.watch_until(60)
    assert items["d1", "state"]["expires_at"] == before
    assert items["d1", "state"]["device_shard"] == {"S": shard_of("d1")}


def test_a_device_that_the_index_still_has_but_that_is_not_due_is_left_alone(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.hear("d1")
    fleet.watch_until(30)
    assert fleet.told() == ["d1 silent"]
    monkeypatch.setattr(ReadingTable, "due", lambda *_: iter(["d1", "never stored", "d1"]))
    before = dict(fleet.memory.tables[TABLE].items)
    fleet.watch()
    assert fleet.told() == []
    assert fleet.memory.tables[TABLE].items == before


def test_an_upload_costs_a_watched_device_one_write_where_nothing_else_changes_its_state(fleet: Fleet) -> None:
    limits = {"min": None, "max": "30", "hysteresis": "1", "cooldown_minutes": 0}
    watched, unwatched = {"": 30}, dict[str, int | None]()
    thresholds = Thresholds.from_json(json.dumps({"temperature": {"": {"warning": limits}}}))
    calls = {}
    for name, silence, of_metrics in (
        ("neither", unwatched, Thresholds({})),
        ("silence", watched, Thresholds({})),
        ("thresholds", unwatched, thresholds),
        ("both", watched, thresholds),
    ):
        fleet.silence, fleet.thresholds = silence, of_metrics
        fleet.hear(name)
        fleet.minutes += 10
        calls[name] = record(partial(fleet.hear, name))
    write = ["dynamodb:BatchExecuteStatement"]
    assert calls["neither"] == ["s3:GetObject", "dynamodb:BatchWriteItem", "dynamodb:BatchGetItem"]
    assert calls["silence"] == calls["thresholds"] == calls["both"] == calls["neither"] + write
    # The index is not written: the devices are still due when they were.
    assert fleet.due() == {"silence": 40, "both": 60}


# Races and deaths


def silent_and_back(fleet: Fleet) -> None:
    """Two devices fall silent, one of them returns: leaves the fleet at the moment at which that is to be told."""
    fleet.hear("d1", "d2")
    fleet.watch_until(30)
    fleet.minutes = 40
    fleet.hear("d1")
    fleet.minutes = 41


def test_watchers_that_run_at_once_publish_each_alert_once(fleet: Fleet) -> None:
    fleet.hear("d1", "d2")
    fleet.minutes = 30
    for position in range(len(record(fleet.watch))):
        fleet.memory.tables[TABLE].items.clear()
        fleet.messages.clear()
        fleet.minutes = 0
        fleet.hear("d1", "d2")
        fleet.minutes = 30
        with before_each_call(partial(at_call, position, fleet.watch)):
            fleet.watch()
        assert fleet.told() == ["d1 silent", "d2 silent"], position
        fleet.watch_until(60)
        assert fleet.told() == [], position


def test_a_watcher_whose_index_is_behind_leaves_an_alert_to_the_one_that_is_about_to_publish_it(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.hear("d1")
    fleet.minutes = 30
    monkeypatch.setattr(ReadingTable, "due", lambda *_: iter(["d1"]))

    def another_watch(call: str, _position: int) -> None:
        if call == "sns:PublishBatch":
            fleet.minutes += 0.5
            fleet.watch()
            assert fleet.told() == []

    with before_each_call(another_watch):
        fleet.watch()
    assert fleet.told() == ["d1 silent"]


def test_a_device_that_only_moves_in_the_index_keeps_its_alert_for_the_run_that_has_the_lease(fleet: Fleet) -> None:
    fleet.hear("d1")
    fleet.minutes = 30

    def another_watch(call: str, _position: int) -> None:
        if call == "sns:PublishBatch":
            fleet.memory.tables[TABLE].items["d1", "state"]["due_at"] = {"N": str(int(START))}
            fleet.minutes += 0.5
            fleet.watch()
            assert fleet.told() == []

    with before_each_call(another_watch):
        fleet.watch()
    assert fleet.told() == ["d1 silent"]


def test_an_upload_at_any_moment_of_a_watch_causes_both_alerts_in_order_or_none(fleet: Fleet) -> None:
    fleet.hear("d1")
    fleet.minutes = 30
    seen = set()
    for position in range(len(record(fleet.watch))):
        fleet.memory.tables[TABLE].items.clear()
        fleet.messages.clear()
        fleet.minutes = 0
        fleet.hear("d1")
        fleet.minutes = 30
        with before_each_call(partial(at_call, position, partial(fleet.hear, "d1"))):
            fleet.watch()
        fleet.watch_until(59)
        alerts = tuple(fleet.told())
        assert alerts in {(), ("d1 silent", "d1 returned")}, position
        seen.add(alerts)
        fleet.watch_until(61)
        assert fleet.told() == ["d1 silent"], position
    assert len(seen) == 2


def test_a_watch_at_any_moment_of_an_upload_causes_both_alerts_in_order_or_none(fleet: Fleet) -> None:
    fleet.hear("d1")
    calls = record(lambda: fleet.hear("d1"))
    for position in range(len(calls)):
        fleet.memory.tables[TABLE].items.clear()
        fleet.messages.clear()
        fleet.minutes = 0
        fleet.hear("d1")
        fleet.minutes = 30
        with before_each_call(partial(at_call, position, fleet.watch)):
            fleet.hear("d1")
        fleet.watch_until(59)
        assert fleet.told() in ([], ["d1 silent", "d1 returned"]), position


# Published, and the run that knew it is gone, or was told that the topic has not taken it.
MAY_TELL_TWICE = {
    ("sns:PublishBatch", "fails after"),
    ("sns:PublishBatch", "dies after"),
    ("dynamodb:BatchExecuteStatement", "dies before"),
}
WATCH = [
    *["dynamodb:Query"] * 8,
    "dynamodb:BatchGetItem",
    "dynamodb:BatchExecuteStatement",  # decides, and claims the alerts
    "sns:PublishBatch",  # silences
    "dynamodb:BatchExecuteStatement",  # says that they are out
    "sns:PublishBatch",  # returns
    "dynamodb:BatchExecuteStatement",
]


def attempt(fleet: Fleet, point: Point) -> None:
    """One watch with one of its calls broken. Ends as Lambda sees it end."""
    try:
        with broken(point):
            fleet.watch()
    except (Killed, NotPublishedError, aws.client("sns").exceptions.ClientError):
        return


def due_with_both_kinds(fleet: Fleet) -> None:
    """Of three devices one falls silent now, and one that was silent is back."""
    fleet.memory.tables[TABLE].items.clear()
    fleet.minutes = 0
    fleet.hear("back")
    fleet.watch_until(30)
    fleet.minutes = 40
    fleet.hear("back")
    fleet.hear("falls", at=10)
    fleet.hear("stays")
    fleet.messages.clear()


def test_the_watcher_loses_no_alert_wherever_it_fails_or_dies(fleet: Fleet) -> None:
    due_with_both_kinds(fleet)
    assert record(fleet.watch) == WATCH
    for point in points(WATCH):
        due_with_both_kinds(fleet)
        attempt(fleet, point)
        # The next runs come each minute; a lease of a dead one ends.
        fleet.watch_until(45)
        alerts = fleet.told()
        assert set(alerts) == {"falls silent", "back returned"}, f"{point}: {alerts}"
        may_tell_twice = (
            point.position > WATCH.index("sns:PublishBatch") - 1 and (point.call, point.way) in MAY_TELL_TWICE
        )
        assert len(alerts) - 2 <= may_tell_twice, f"{point}: {alerts}"
        assert fleet.due() == {"back": 70, "stays": 70}, point


def test_a_worker_that_fails_or_dies_anywhere_in_a_return_tells_it_once(fleet: Fleet) -> None:
    def silent() -> None:
        fleet.memory.tables[TABLE].items.clear()
        fleet.minutes = 0
        fleet.hear("d1")
        fleet.watch_until(40)
        fleet.messages.clear()

    silent()
    calls = record(lambda: fleet.hear("d1"))
    for point in points(calls):
        silent()
        event = fleet.upload("d1")
        try:
            with broken(point):
                fleet.take(event, "a request id")
        except (Killed, aws.client("sns").exceptions.ClientError):
            pass
        fleet.watch_until(42)
        fleet.take(event, "a request id")
        fleet.watch_until(60)
        assert fleet.told() == ["d1 returned"], point
        fleet.watch_until(70)
        assert fleet.told() == ["d1 silent"], point


def test_what_the_topic_refuses_is_published_after_the_lease_and_the_run_fails(fleet: Fleet) -> None:
    fleet.hear("d1", "d2")
    fleet.minutes = 30
    fleet.refused_messages = 1
    with pytest.raises(NotPublishedError, match="the topic did not take the alerts of 1 devices"):
        fleet.watch()
    assert fleet.told() == ["d2 silent"]
    fleet.watch_until(31)
    assert fleet.told() == []
    fleet.watch_until(33)
    assert fleet.told() == ["d1 silent"]


def test_a_return_while_the_watcher_that_publishes_its_silence_died_is_told_after_it(fleet: Fleet) -> None:
    fleet.hear("d1")
    fleet.minutes = 30
    attempt(fleet, Point(WATCH.index("sns:PublishBatch") - 0, "sns:PublishBatch", "dies before"))
    assert fleet.told() == []
    fleet.minutes = 30.5
    fleet.hear("d1")
    fleet.watch_until(31.5)
    assert fleet.told() == [], "the lease is not over"
    fleet.watch_until(35)
    assert fleet.told() == ["d1 silent", "d1 returned"]


def test_states_that_cannot_be_written_make_the_run_fail_after_its_attempts(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.hear("d1")
    fleet.minutes = 30
    whole = ReadingTable.replace_states
    calls = []

    def others_are_quicker(table: ReadingTable, changes: dict[str, tuple[StoredState, DeviceState]]) -> object:
        calls.append(len(changes))
        return whole(table, changes) if len(calls) == 1 else {}

    monkeypatch.setattr(ReadingTable, "replace_states", others_are_quicker)
    with pytest.raises(NotRecordedError, match="the states of 1 devices, d1 among them, were not written"):
        fleet.watch()
    assert len(calls) == 1 + watcher.RECORD_ROUNDS


def test_a_watch_that_takes_too_long_ends_counts_that_and_the_next_ones_begin_elsewhere(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    devices = [f"d{number}" for number in range(40)]
    fleet.hear(*devices)
    fleet.minutes = 30
    monkeypatch.setattr(watcher, "DEVICES_A_ROUND", 1)
    monkeypatch.setattr(watcher, "CLAIM_SECONDS", -1)
    fleet.watch()
    counts = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line][-1]
    assert (counts["IncompleteWatches"], counts["Silences"]) == ([1], [0])
    first = next(iter(ReadingTable(TABLE).due(START + 30 * 60)))
    later = next(iter(ReadingTable(TABLE).due(START + 31 * 60)))
    assert shard_of(first) != shard_of(later)


def test_alerts_that_are_claimed_before_the_table_refuses_are_published_and_the_run_fails(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.hear("d1", "d2", "d3")
    fleet.minutes = 30
    monkeypatch.setattr(watcher, "DEVICES_A_ROUND", 1)
    states, rounds = ReadingTable.states, []

    def throttled(table: ReadingTable, devices: list[str]) -> dict[str, StoredState]:
        rounds.extend(devices)
        if devices and len(rounds) == 3:
            raise TableError("DynamoDB throttled 1 entries at each of 5 attempts")
        return states(table, devices)

    monkeypatch.setattr(ReadingTable, "states", throttled)
    with pytest.raises(TableError):
        fleet.watch()
    assert fleet.told() == sorted(f"{device} silent" for device in rounds[:2])
    fleet.watch_until(31)
    assert fleet.told() == [f"{rounds[2]} silent"]


# Whatever happens in whatever order

# Minutes of arrival and of processing after it, the gap to the next one.
steps = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=14)


def model(uploads: list[tuple[int, int]], after: int, until: int) -> list[str]:
    """The alerts by a plain rule, minute by minute: uploads are `(arrives, is processed)`."""
    alerts: list[str] = []
    heard_at, silent = None, False
    for minute in range(until + 1):
        for arrives, processed in uploads:
            if processed != minute:
                continue
            if silent and arrives > (heard_at or 0) and arrives + after > minute:
                silent = False
                alerts.append("d1 returned")
            heard_at = max(heard_at or 0, arrives)
        if heard_at is not None and not silent and heard_at + after <= minute:
            # A return is told in this minute, and the silence after it in the next one.
            silent = True
            alerts.append("d1 silent")
    return alerts


@given(steps, st.sampled_from([2, 5, 9]), st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_uploads_at_any_time_late_or_twice_cause_the_alerts_of_a_simple_model(
    aws_in_process: None,  # noqa: ARG001  credentials
    gaps: list[tuple[int, int]],
    after: int,
    data: st.DataObject,
) -> None:
    uploads, now = [], 0
    for gap, delay in gaps:
        now += gap
        uploads.append((now, now + delay))
    uploads.sort(key=lambda each: each[1])
    again = data.draw(st.lists(st.sampled_from(uploads), max_size=3)) if uploads else []
    until = max([each[1] for each in uploads], default=0) + 20
    fleet = Fleet({"": after})
    with fleet.running():
        for minute in range(until + 1):
            fleet.minutes = minute
            for arrives, processed in uploads:
                if processed == minute:
                    event = fleet.upload("d1", at=arrives)
                    fleet.take(event)
                    if (arrives, processed) in again:
                        fleet.take(event)
            fleet.watch()
            check_rest(fleet.hearing("d1"))
        assert fleet.told() == model(uploads, after, until)


def at_call(position: int, act: Callable[[], None], _call: str, now: int) -> None:
    if now == position:
        act()


@given(st.randoms(use_true_random=False))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_whatever_dies_or_races_alerts_alternate_and_only_a_watcher_that_went_wrong_repeats_one(
    aws_in_process: None,  # noqa: ARG001  credentials
    chance: Random,
) -> None:
    """Workers and watchers run, die, fail and run within each other while the config changes; then all is quiet."""
    fleet, broken_watches = Fleet({"": 2}), 0

    def go_wrong(run: Callable[[], None]) -> None:
        point = Point(chance.randint(0, 13), "any", chance.choice(WAYS))
        with (
            suppress(Killed, NotPublishedError, NotRecordedError, aws.client("s3").exceptions.ClientError),
            broken(point),
        ):
            run()

    with fleet.running():
        for _ in range(chance.randint(5, 30)):
            fleet.minutes += chance.choice([0, 0.3, 1, 1, 2.5])
            fleet.silence = chance.choice([{"": 2}, {"": 2}, {"": 5}, {"": None, "another": 1}])
            event = fleet.upload("d1", at=fleet.minutes - chance.choice([0, 0, 0, 1, 5]))
            take = partial(fleet.take, event, "run")
            match chance.randint(0, 4):
                case 0:
                    take()
                case 1:
                    fleet.watch()
                case 2:
                    broken_watches += 1
                    go_wrong(fleet.watch)
                case 3:
                    go_wrong(take)
                    take()
                case 4:
                    runs: list[Callable[[], None]] = [fleet.watch, take]
                    inner, outer = chance.choices(runs, k=2)
                    with before_each_call(partial(at_call, chance.randint(0, 12), inner)):
                        outer()
            check_rest(fleet.hearing("d1"))
        fleet.silence = {"": 2}
        fleet.watch_until(fleet.minutes + 3)
        fleet.hear("d1")
        fleet.watch_until(fleet.minutes + 10)
        alerts = fleet.told()
        changes = [kind for kind, _ in groupby(alerts)]
        assert changes == [("d1 silent", "d1 returned")[position % 2] for position in range(len(changes))], alerts
        assert changes[-1] == "d1 silent"
        assert len(alerts) - len(changes) <= broken_watches
        assert fleet.due() == {}


def check_rest(hearing: Hearing | None) -> None:
    """A device is due unless it is silent and told."""
    if hearing is not None:
        assert (hearing.due_at is None) == (hearing.silent and not hearing.pending)


def test_an_alert_that_another_run_has_recorded_leaves_the_state_and_its_lease_as_they_are() -> None:
    returned = SilenceAlert("returned", 5)
    hearing = Hearing(5, due_at=200, pending=(returned,))
    assert told(hearing, Silences({"": 60}), "d1", (SilenceAlert("silent", 1),), 100) is hearing


def test_minutes_of_a_device_are_its_own_and_else_those_of_all() -> None:
    silences = Silences.from_json('{"": 30, "a": null, "b": 1}')
    assert [silences.after_seconds(device) for device in ("a", "b", "c")] == [None, 60, 1_800]
    assert silences.switched_on
    assert not Silences.from_json("{}").switched_on
