"""Behaviour of the rooms' tables, as functions that run on any DynamoDB.

tests/handlers/shared/test_tables.py runs them in memory, tests/emulator/tables/test_tables_agree.py in the emulator.
"""

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from cli.csv_files import STATUSES, files_of
from handlers.api.events import Envelope, received_times
from handlers.api.identity import new_id
from handlers.api.items import Completion, description, is_lost
from handlers.api.table import EventTable
from handlers.csv.file_table import FileTable, LostError
from handlers.csv.files import FAILED, PROCESSING, SUCCEEDED, File, FileItem, Pointer, Upload
from handlers.iot.alerting import DeviceState
from handlers.iot.readings import Reading, first_key
from handlers.iot.silence import Hearing
from handlers.iot.table import ReadingTable, StoredReading, StoredState
from handlers.iot.thresholds import State
from handlers.shared.dynamodb import Table, TableError

EVENTS, FILES, READINGS = "events", "files", "readings"
SHARDS = 3
OTHER = "f" * 64


def events(**settings: int) -> EventTable:
    return EventTable(EVENTS, **{"time_index_shards": SHARDS, "items_expire_after_days": 7, **settings})


def envelopes(count: int = 1, fingerprint: str = "") -> list[Envelope]:
    return [
        Envelope(new_id(), "order", received, "", "", "", fingerprint, {"n": n})
        for n, received in enumerate(received_times(count))
    ]


def succeeded(envelope: Envelope, **more: Any) -> Completion:
    return Completion(envelope, "succeeded", 1, envelope.received_at, result_key="results/a.json", **more)


def failed(envelope: Envelope) -> Completion:
    return Completion(envelope, "failed", 3, envelope.received_at, error="no", error_type="KeyError")


# The table of events


def a_claim_is_made_once_and_names_its_holder() -> None:
    table, (envelope,) = events(), envelopes(fingerprint="a" * 64)
    assert table.claim([envelope]) == [None]
    (holder,) = table.claim([envelope])
    assert holder is not None
    assert (holder["id"], holder["status"], holder["fingerprint"]) == (envelope.id, "accepting", "a" * 64)


def an_expired_item_does_not_hold_its_id() -> None:
    (envelope,) = envelopes(fingerprint="a" * 64)
    assert events(items_expire_after_days=-1).claim([envelope]) == [None]
    assert events().read([envelope.id]) == {}
    assert events().claim([envelope]) == [None]
    assert events().read([envelope.id])[envelope.id]["status"] == "accepting"


def a_claim_that_is_given_up_is_free_again_unless_another_request_went_on_with_it() -> None:
    table, (ours, theirs) = events(), envelopes(2, fingerprint="a" * 64)
    table.claim([ours, theirs])
    table.record_queued([theirs])
    table.release([ours, theirs])
    assert set(table.read([ours.id, theirs.id])) == {theirs.id}
    table.release([ours])
    assert table.claim([ours]) == [None]


def queued_is_recorded_for_new_and_claimed_events_and_changes_no_later_status() -> None:
    table, (plain,), (keyed, done) = events(), envelopes(), envelopes(2, fingerprint="a" * 64)
    table.claim([keyed, done])
    assert table.complete([succeeded(done)], known=[done.id]) == [None]
    table.record_queued([plain, keyed, done])
    statuses = {event_id: item["status"] for event_id, item in table.read([plain.id, keyed.id, done.id]).items()}
    assert statuses == {plain.id: "queued", keyed.id: "queued", done.id: "succeeded"}


def an_outcome_is_recorded_with_and_without_an_item() -> None:
    table, (known, new, unexpected) = events(), envelopes(3)
    table.record_queued([known, unexpected])
    assert table.complete([succeeded(each) for each in (known, new, unexpected)], known=[known.id]) == [None] * 3
    assert {item["status"] for item in table.read([known.id, new.id, unexpected.id]).values()} == {"succeeded"}


def a_success_is_final_and_returned_and_a_failure_is_not() -> None:
    table, (envelope,) = events(), envelopes()
    assert table.complete([failed(envelope)], known=[]) == [None]
    assert table.complete([succeeded(envelope)], known=[envelope.id]) == [None]
    item = table.read([envelope.id])[envelope.id]
    assert (item["status"], item["error"], item["error_type"]) == ("succeeded", None, None)
    (found,) = table.complete([failed(envelope)], known=[envelope.id])
    assert found is not None
    assert (found["status"], found["result_key"]) == ("succeeded", "results/a.json")


def an_outcome_of_another_event_with_the_same_key_is_refused() -> None:
    table, (envelope,) = events(), envelopes(fingerprint="a" * 64)
    table.record_queued([envelope])
    other = Envelope(**{**vars(envelope), "fingerprint": OTHER})
    (found,) = table.complete([succeeded(other)], known=[envelope.id])
    assert found is not None
    assert (found["status"], found["fingerprint"]) == ("queued", "a" * 64)


def notes_are_written_with_and_without_an_item() -> None:
    table, (known, new) = events(), envelopes(2)
    table.record_queued([known])
    for envelope in (known, new):
        table.mark(envelope, 2, 1_000, "message", 3)
    items = table.read([known.id, new.id])
    noted = ("attempts", "running_until", "noted_message_id", "noted_receives")
    assert [[items[each.id].get(name) for name in noted] for each in (known, new)] == [[2, 1_000, "message", 3]] * 2
    failed = Completion(
        known, "retrying", 2, None, error="no", next_attempt_at="later", noted_message_id="message", noted_receives=4
    )
    assert table.complete([failed], known=[known.id]) == [None]
    item = table.read([known.id])[known.id]
    assert (item["status"], item.get("running_until"), item.get("noted_receives")) == ("retrying", None, 4)
    assert description(item)["next_attempt_at"] == "later"


def an_attempt_is_marked_by_one_of_two_workers_that_read_the_same_item() -> None:
    table, (known, new) = events(), envelopes(2)
    table.record_queued([known])
    read = table.read([known.id])
    for envelope in (known, new):
        assert table.mark(envelope, 1, 1_000, "message", 1, read.get(envelope.id)) is None
        found = table.mark(envelope, 1, 1_000, "another", 1, read.get(envelope.id))
        assert found is not None
        assert (found["attempts"], found.get("noted_message_id")) == (1, "message")


def a_lost_message_is_declared_lost_and_sent_again_once_unless_something_was_recorded_since() -> None:
    table, (lost, done) = events(), envelopes(2)
    table.record_queued([lost, done])
    read = table.read([lost.id, done.id])
    assert not any(is_lost(item, 3_600) for item in read.values())
    events(items_expire_after_days=8).complete([succeeded(done)], known=[done.id])
    assert table.declare_lost(list(read.values())) == 1
    (declared,) = table.read([lost.id]).values()
    assert (is_lost(declared, 3_600), declared["status"]) == (True, "queued")
    later = events(items_expire_after_days=8)
    later.record_resent([declared])
    (resent,) = later.read([lost.id]).values()
    assert (is_lost(resent, 3_600), resent.get("lost")) == (False, None)
    assert resent.get("sent_at") == pytest.approx(time.time(), abs=60)
    # Another repeat, which read the item before, too.
    events(items_expire_after_days=9).record_resent([declared])
    assert later.read([lost.id])[lost.id]["expires_at"] == resent["expires_at"]


def every_write_puts_the_expiry_of_an_item_off() -> None:
    sent, later = envelopes(4), events(items_expire_after_days=30)
    plain, marked, done, moved = sent
    events().record_queued(sent)
    items = later.read([each.id for each in sent])
    later.mark(marked, 1, 1_000, "message", 1)
    later.complete([failed(done)], known=[done.id])
    assert later.give_up([(failed(moved), items[moved.id])]) == [True]
    kept = {each.id: round((later.read([each.id])[each.id]["expires_at"] - time.time()) / 86_400) for each in sent}
    assert kept == {plain.id: 7, marked.id: 30, done.id: 30, moved.id: 30}


def of_an_event_that_was_received_long_ago_the_item_is_kept_as_long_as_of_a_new_one() -> None:
    long_ago = (datetime.now(UTC) - timedelta(days=60)).isoformat(timespec="microseconds").replace("+00:00", "Z")
    old = [Envelope(**{**vars(each), "received_at": long_ago}) for each in envelopes(2)]
    events().complete([succeeded(old[0])], known=[])
    events().mark(old[1], 1, 1_000, "message", 1)
    assert set(events().read([each.id for each in old])) == {each.id for each in old}


def an_expired_item_is_none_for_what_the_worker_writes() -> None:
    """DynamoDB deletes expired items up to days late."""
    expired, table = events(items_expire_after_days=-1), events()
    one, two, three, four = (Envelope(**{**vars(each), "fingerprint": "a" * 64}) for each in envelopes(4))
    for each in (one, two, three, four):
        expired.complete([succeeded(each, result='"old"')], known=[])
    # A client uses a key again after its item has expired.
    one, two = (Envelope(**{**vars(each), "fingerprint": OTHER}) for each in (one, two))
    assert table.complete([succeeded(one)], known=[]) == [None]
    table.mark(two, 1, 1_000, "message", 1)
    assert table.give_up([(failed(three), None)]) == [True]
    table.record_queued([four])
    items = table.read([each.id for each in (one, two, three, four)])
    assert [items[each.id]["status"] for each in (one, two, three, four)] == ["succeeded", "queued", "failed", "queued"]
    assert [items[each.id].get("fingerprint") for each in (one, two)] == [OTHER, OTHER]
    assert items[two.id].get("completed_at") is None
    found = table.read_with_result(four.id)
    assert found is not None
    assert found.get("result") is None
    # And from now on they count.
    (holder,) = table.complete([succeeded(Envelope(**{**vars(one), "fingerprint": "a" * 64}))], known=[one.id])
    assert holder is not None
    assert holder["fingerprint"] == OTHER


def a_minute_is_claimed_once() -> None:
    table = events()
    assert [table.claim_minute(f"alert#{each}") for each in "aab"].count(True) in (2, 3)


def answers_of_several_calls_stay_in_order() -> None:
    table, sent = events(), envelopes(60, fingerprint="a" * 64)
    table.claim(sent[::2])
    holders = table.claim(sent)
    assert [holder and holder["id"] for holder in holders] == [
        None if position % 2 else envelope.id for position, envelope in enumerate(sent)
    ]


def reads_take_any_number_of_ids_and_each_of_them_once() -> None:
    table, sent = events(), envelopes(130)
    table.record_queued(sent)
    ids = [envelope.id for envelope in sent]
    assert set(table.read([*ids, *ids, "unknown"])) == set(ids)
    assert table.read([]) == {}


def a_read_returns_only_what_it_is_for() -> None:
    table, (envelope,) = events(), envelopes()
    table.complete([succeeded(envelope, result='{"a": 1}')], known=[])
    shown, counted = table.read([envelope.id])[envelope.id], table.outcomes([envelope.id])[envelope.id]
    with_result = table.read_with_result(envelope.id)
    assert with_result is not None
    assert "result" not in shown
    assert with_result == {**shown, "result": '{"a": 1}'}
    assert counted == {name: shown[name] for name in counted}  # type: ignore[literal-required]
    assert set(counted) == {"id", "type", "status", "received_at", "completed_at", "error_type", "expires_at"}
    assert table.read_with_result("unknown") is None


def the_index_lists_events_newest_first_and_page_by_page() -> None:
    table, sent = events(), envelopes(20)
    table.record_queued(sent)
    since, ids = sent[0].received_at, [envelope.id for envelope in sent]
    day = date.fromisoformat(since[:10])
    newest = table.newest(day, "9999", since, 5)
    assert [(entry["id"], entry["type"]) for entry in newest] == [(event_id, "order") for event_id in ids[:-6:-1]]
    rest = table.newest(day, newest[-1]["time_key"], since, 100)
    assert [entry["id"] for entry in rest] == ids[14::-1]
    end = (datetime.fromisoformat(sent[10].received_at)).isoformat(timespec="microseconds").replace("+00:00", "Z")
    found = [
        event_id
        for partition in table.partitions(since, end)
        for page in table.pages(partition, since, end)
        for event_id in page
    ]
    assert sorted(found) == sorted(ids[:10])


# The table of files

FILE = File("bucket", "raw/a.csv", "v1", "etag", 12, {})


def claimed(table: FileTable, file: File, owner: str, *, now: int = 100, until: int = 200) -> Any:
    return table.claim(file, owner, now=now, until=until, started_at="then", expires_at=9_999)


def of_key(key: str) -> File:
    return File("bucket", key, "v1", "etag", 12, {})


def a_file_is_claimed_by_one_run_until_its_lease_is_over() -> None:
    table, file = FileTable(FILES), of_key("lease")
    item = claimed(table, file, "one")
    assert (item["owner"], item["attempts"], item["key"], item["size"]) == ("one", 1, "lease", 12)
    assert claimed(table, file, "two", now=200) is None
    again = claimed(table, file, "two", now=201, until=300)
    assert (again["owner"], again["attempts"], again["started_at"]) == ("two", 2, "then")
    assert (again["day"], again["status_time"]) == ("then", "processing#then")


def a_run_that_lost_its_file_changes_nothing() -> None:
    table, file = FileTable(FILES), of_key("lost")
    claimed(table, file, "one")
    claimed(table, file, "two", now=201)
    for change in (
        lambda: table.release(file.id, "one", "late"),
        lambda: table.restart(file.id, "one"),
        lambda: table.finish(file.id, "one", {"status": FAILED, "completed_at": "end"}),
        lambda: table.checkpoint(file.id, "one", {"state_key": "s", "offset": 1, "rows": 1}, keep=True),
    ):
        with pytest.raises(LostError):
            change()
    item = table.read(file.id)
    assert item is not None
    assert (item["owner"], item.get("error")) == ("two", None)


def a_checkpoint_resets_the_attempts_and_a_restart_removes_it() -> None:
    table, file = FileTable(FILES), of_key("checkpoint")
    claimed(table, file, "one")
    table.checkpoint(file.id, "one", {"state_key": "s", "offset": 10, "rows": 3}, keep=False)
    item = claimed(table, file, "two", now=101)
    assert (item["attempts"], item["state_key"], item["offset"], item["rows"]) == (1, "s", 10, 3)
    table.progress(file.id, "two", {"rows_so_far": 4, "bytes_so_far": 20})
    with pytest.raises(LostError):
        table.progress(file.id, "one", {"rows_so_far": 9, "bytes_so_far": 90})
    seen = table.read(file.id)
    assert seen is not None
    assert (seen["rows"], seen["rows_so_far"], seen["bytes_so_far"]) == (3, 4, 20)
    table.restart(file.id, "two")
    found = table.read(file.id)
    assert found is not None
    assert (found["lease_until"], found.get("state_key"), found.get("rows")) == (0, None, None)
    assert "rows_so_far" not in found


def a_finished_file_keeps_its_numbers_and_is_begun_again_once() -> None:
    table, file = FileTable(FILES), of_key("finish")
    claimed(table, file, "one")
    outcome = {
        "status": FAILED,
        "completed_at": "end",
        "success_rate": 0.25,
        "rows": 4,
        "reason": "r",
        "failed_message_id": "m",
    }
    item = table.finish(file.id, "one", {**outcome, "processed_key": None})
    assert (item["success_rate"], item["rows"], item["processed_key"], item["settled"]) == (0.25, 4, None, False)
    assert (item["day"], item["status_time"]) == ("then", "failed#end")
    assert claimed(table, file, "two", now=999) is None
    table.settle(file.id)
    again = begun_again(table, file, item, "two")
    assert again is not None
    assert (again["status"], again["attempts"], again["started_at"]) == ("processing", 1, "now")
    assert (again["day"], again["status_time"]) == ("now", "processing#now")
    assert (again["sequencer"], again["generation"], again["owner"]) == ("9", 1, "two")
    assert not {"reason", "error", "settled", "rows", "failed_message_id", "success_rate"} & set(again)
    # As two others saw it that were slower.
    assert begun_again(table, file, item, "three") is None


def a_file_that_is_unknown_has_no_item_and_is_not_settled() -> None:
    table = FileTable(FILES)
    table.settle("unknown")
    assert table.read("unknown") is None


def files_are_listed_by_the_day_on_which_they_were_begun() -> None:
    table, upload = FileTable(FILES), Upload(sequencer="9", uploaded_at="now")

    def begin(key: str, at: str) -> File:
        file = of_key(f"listed/{key}")
        table.claim(file, "one", now=100, until=200, started_at=at, expires_at=9_999)
        return file

    def end(file: File, status: str, at: str) -> FileItem:
        done = table.finish(file.id, "one", {"status": status, "completed_at": at, "report_key": file.key})
        table.settle(file.id)
        return done

    def listed(day: int, *statuses: str) -> list[str]:
        found = files_of(Table(FILES), date(2026, 11, day), statuses or STATUSES)
        return [item["key"].removeprefix("listed/") for item in found]

    a, b, _, d = (begin(key, f"2026-11-20T0{hour}:00") for hour, key in enumerate("abcd", 1))
    end(a, SUCCEEDED, "2026-11-20T09:00")
    last = end(b, FAILED, "2026-11-21T01:00")
    end(d, SUCCEEDED, "2026-11-20T08:00")
    assert listed(20) == ["b", "a", "d", "c"]
    assert (listed(20, SUCCEEDED), listed(20, FAILED), listed(20, PROCESSING)) == (["a", "d"], ["b"], ["c"])
    table.begin_again(b, last, "two", until=300, started_at="2026-11-21T02:00", upload=upload)
    assert (listed(20), listed(21), listed(22)) == (["a", "d", "c"], ["b"], [])


def a_pointer_moves_only_from_where_it_was_seen() -> None:
    table, file = FileTable(FILES), of_key("pointer")

    def at(file_id: str) -> Pointer:
        keys = {"processed_key": "p", "rejected_key": None, "report_key": f"{file_id}.json"}
        return {"file_id": file_id, "sequencer": "1", "completed_at": "now", **keys}  # type: ignore[typeddict-item]

    assert table.pointer(file) is None
    assert table.point(file, at("one"), None)
    assert not table.point(file, at("two"), None)
    assert table.point(file, at("two"), at("one"))
    assert not table.point(file, at("three"), at("one"))
    found = table.pointer(file)
    assert found is not None
    assert (found["file_id"], found["processed_key"], found["rejected_key"]) == ("two", "p", None)


def begun_again(table: FileTable, file: File, seen: FileItem, owner: str) -> FileItem | None:
    upload: Upload = {"sequencer": "9", "uploaded_at": "now"}
    return table.begin_again(file, seen, owner, until=300, started_at="now", upload=upload)


def a_file_that_is_begun_again_keeps_the_keys_of_its_outputs_until_it_succeeds() -> None:
    table, file = FileTable(FILES), of_key("again")
    claimed(table, file, "one")
    outputs = {"processed_key": "p", "rejected_key": None, "report_key": "r"}
    item = table.finish(file.id, "one", {"status": SUCCEEDED, "completed_at": "then", "generation": 0, **outputs})
    assert begun_again(table, file, item, "two") is None
    table.settle(file.id)
    again = begun_again(table, file, item, "two")
    assert again is not None
    assert (again["status"], again["generation"], again["previous_outputs"]) == ("processing", 1, ["p"])
    assert not {"settled", "completed_at", "processed_key", "report_key"} & set(again)
    table.finish(file.id, "two", {"status": SUCCEEDED, "completed_at": "then", **outputs, "processed_key": "q"})
    table.settle(file.id)
    seen = table.read(file.id)
    assert seen is not None
    third = begun_again(table, file, seen, "three")
    assert third is not None
    assert (third["generation"], third["previous_outputs"]) == (2, ["p", "q"])


# The table of readings

START = datetime(2026, 11, 20, tzinfo=UTC)


def readings(device: str, count: int) -> list[Reading]:
    return [
        Reading(device, f"{first_key(START + timedelta(minutes=n))}#h", {"t": Decimal(f"{n}.10"), "x": Decimal(n)})
        for n in range(count)
    ]


def readings_are_stored_exactly_and_read_by_time_in_either_order() -> None:
    table, sent = ReadingTable(READINGS), readings("order", 60)
    future = int(time.time()) + 60
    table.put(sent, "a#1", 1, future)
    table.put(sent, "b#1", 2, future)
    stored = [StoredReading(each.device_id, each.time_key, each.metrics, "b#1", 2) for each in sent]
    assert list(table.between("order")) == stored
    assert list(table.between("order", START + timedelta(minutes=1), START + timedelta(minutes=3))) == stored[1:3]
    assert next(table.between("order", newest_first=True)) == stored[-1]
    assert list(table.between("another")) == []


def expired_readings_are_left_out() -> None:
    table = ReadingTable(READINGS)
    table.put(readings("expired", 2), "a#1", 1, int(time.time()) - 1)
    assert list(table.between("expired")) == []


def readings_of_an_upload_are_found_and_removed_unless_another_wrote_them_since() -> None:
    table, sent = ReadingTable(READINGS), readings("removed", 60)
    table.put(sent, "readings/a#1.json#v1", 1, 9_999)
    table.put(sent[:10], "readings/a#1.json#v2", 2, 9_999)
    first, last = sent[5].time_key, sent[19].time_key
    keys = table.written_by("readings/a#1.json#v1", "removed", first, last)
    assert [key["time_key"] for key in keys] == [each.time_key for each in sent[10:20]]
    table.put(sent[10:11], "readings/a#1.json#v2", 2, 9_999)
    assert table.remove(keys, "readings/a#1.json#v1") == 9
    assert table.written_by("readings/a#1.json#v1", "removed", first, last) == []
    assert len(table.written_by("readings/a#1.json#v1", "removed", first, sent[-1].time_key)) == 40
    assert len(table.written_by("readings/a#1.json#v2", "removed", sent[0].time_key, last)) == 11


def a_state_is_replaced_only_from_the_one_it_was_made_from() -> None:
    table, new = ReadingTable(READINGS), StoredState(DeviceState())
    state = DeviceState({"t#max": State()})
    assert table.states(["s1", "s2"]) == {"s1": new, "s2": new}
    written = table.replace_states(dict.fromkeys(("s1", "s2"), (new, state)), 9_999)
    assert set(written) == {"s1", "s2"}
    assert table.states(["s1", "s2", "s3"]) == {**written, "s3": new}
    assert table.replace_states({"s1": (new, DeviceState())}, 9_999) == {}
    again = table.replace_states({"s1": (written["s1"], DeviceState()), "s3": (new, state)}, 9_999)
    assert set(again) == {"s1", "s3"}
    assert table.replace_states({"s1": (written["s1"], state)}, 9_999) == {}
    assert table.states(["s1"])["s1"] == again["s1"]
    assert list(table.between("s1")) == [], "a state is no reading"


def states_of_many_devices_take_several_calls() -> None:
    table, devices = ReadingTable(READINGS), [f"many-{number}" for number in range(130)]
    written = table.replace_states({each: (StoredState(DeviceState()), DeviceState()) for each in devices}, 9_999)
    assert table.states(devices) == written


def of_due(due_at: int | None) -> DeviceState:
    return DeviceState(hearing=Hearing(1.5, silent=due_at is None, due_at=due_at))


def devices_are_found_by_the_beginning_of_their_ids_and_readings_are_not() -> None:
    table, new = ReadingTable(READINGS), StoredState(DeviceState())
    ids = [f"found-{number}" for number in range(12)]
    table.put(readings("found-0", 3), "a#1", 1, 9_999)
    table.replace_states({each: (new, DeviceState()) for each in [*ids, "lost-1"]}, 9_999)
    assert sorted(table.devices("found-")) == sorted(ids)
    assert list(table.devices("found-11")) == ["found-11"]
    assert {*ids, "lost-1"} <= set(table.devices())


def devices_are_found_when_they_are_due_and_not_when_they_no_longer_are() -> None:
    table, new = ReadingTable(READINGS), StoredState(DeviceState())
    written = table.replace_states(
        {"due-1": (new, of_due(100)), "due-2": (new, of_due(200)), "due-3": (new, of_due(None))}, 9_999
    )
    assert list(table.due(99)) == []
    assert list(table.due(100.5)) == ["due-1"]
    assert sorted(table.due(200)) == ["due-1", "due-2"]
    after = {"due-1": of_due(None), "due-2": of_due(300), "due-3": of_due(300)}
    moved = table.replace_states({each: (written[each], state) for each, state in after.items()})
    assert {each: stored.state for each, stored in table.states(after).items()} == after
    assert list(table.due(299)) == []
    assert sorted(table.due(300)) == ["due-2", "due-3"]
    table.replace_states({each: (stored, DeviceState()) for each, stored in moved.items()})
    assert list(table.due(300)) == []


# The edge itself


def deleting_what_is_not_there_is_no_refusal() -> None:
    table = Table(EVENTS)
    assert table.execute([table.delete_statement({"id": "absent"}, ("status", "=", "x"))]) == [None]


def an_update_of_what_is_not_there_is_a_refusal_without_an_item() -> None:
    table = Table(EVENTS)
    (refusal,) = table.execute([table.update_statement({"id": "absent"}, {"status": "x"})])
    assert refusal is not None
    assert refusal.item is None


def a_statement_that_is_wrong_is_an_error() -> None:
    table = Table(EVENTS)
    with pytest.raises(TableError):
        table.execute([table.insert_statement({"status": "without a key"})])


SCENARIOS: list[Callable[[], None]] = [
    a_claim_is_made_once_and_names_its_holder,
    an_expired_item_does_not_hold_its_id,
    a_claim_that_is_given_up_is_free_again_unless_another_request_went_on_with_it,
    queued_is_recorded_for_new_and_claimed_events_and_changes_no_later_status,
    an_outcome_is_recorded_with_and_without_an_item,
    a_success_is_final_and_returned_and_a_failure_is_not,
    an_outcome_of_another_event_with_the_same_key_is_refused,
    notes_are_written_with_and_without_an_item,
    an_attempt_is_marked_by_one_of_two_workers_that_read_the_same_item,
    a_lost_message_is_declared_lost_and_sent_again_once_unless_something_was_recorded_since,
    every_write_puts_the_expiry_of_an_item_off,
    of_an_event_that_was_received_long_ago_the_item_is_kept_as_long_as_of_a_new_one,
    an_expired_item_is_none_for_what_the_worker_writes,
    a_minute_is_claimed_once,
    answers_of_several_calls_stay_in_order,
    reads_take_any_number_of_ids_and_each_of_them_once,
    a_read_returns_only_what_it_is_for,
    the_index_lists_events_newest_first_and_page_by_page,
    a_file_is_claimed_by_one_run_until_its_lease_is_over,
    a_run_that_lost_its_file_changes_nothing,
    a_checkpoint_resets_the_attempts_and_a_restart_removes_it,
    a_finished_file_keeps_its_numbers_and_is_begun_again_once,
    a_file_that_is_unknown_has_no_item_and_is_not_settled,
    files_are_listed_by_the_day_on_which_they_were_begun,
    a_pointer_moves_only_from_where_it_was_seen,
    a_file_that_is_begun_again_keeps_the_keys_of_its_outputs_until_it_succeeds,
    readings_are_stored_exactly_and_read_by_time_in_either_order,
    expired_readings_are_left_out,
    readings_of_an_upload_are_found_and_removed_unless_another_wrote_them_since,
    a_state_is_replaced_only_from_the_one_it_was_made_from,
    states_of_many_devices_take_several_calls,
    devices_are_found_by_the_beginning_of_their_ids_and_readings_are_not,
    devices_are_found_when_they_are_due_and_not_when_they_no_longer_are,
    deleting_what_is_not_there_is_no_refusal,
    an_update_of_what_is_not_there_is_a_refusal_without_an_item,
    a_statement_that_is_wrong_is_an_error,
]
