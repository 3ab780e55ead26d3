"""Uploads over days and weeks: how long states are kept, old readings, and a topic that refuses alerts."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from handlers.iot.notices import NotPublishedError
from handlers.iot.table import ReadingTable
from handlers.iot.thresholds import Thresholds
from handlers.shared import aws

from .fleet import START, TABLE, Fleet

DAY = 1_440
LIMIT = {"min": None, "max": "30", "hysteresis": "1", "cooldown_minutes": 0}


@pytest.fixture
def fleet(aws_in_process: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:  # noqa: ARG001  credentials
    monkeypatch.setattr(aws, "CALLS_AT_ONCE", 1)
    made = Fleet({})
    limits = {metric: {"": {"critical": LIMIT}} for metric in ("temperature", "humidity")}
    made.thresholds = Thresholds.from_json(json.dumps(limits))
    with made.running():
        # A run that waits takes time, as it does elsewhere.
        monkeypatch.setattr(time, "sleep", lambda seconds: setattr(made, "minutes", made.minutes + seconds / 60))
        yield made


def upload(fleet: Fleet, *temperatures: float, age_minutes: float = 0) -> Any:
    """Return the notification of an upload that arrives now; its readings are a minute apart."""
    arrived_at = datetime.fromtimestamp(START + fleet.minutes * 60, UTC)
    newest = arrived_at - timedelta(minutes=age_minutes)
    readings: list[Mapping[str, Any]] = [
        {
            "device_id": "d1",
            "timestamp": (newest - timedelta(minutes=len(temperatures) - 1 - position)).isoformat(),
            "metrics": {"temperature": temperature},
        }
        for position, temperature in enumerate(temperatures)
    ]
    return fleet.upload_bytes(json.dumps(readings).encode(), arrived_at)


def expires_in_days(fleet: Fleet) -> float:
    """Days from now until the device's state expires."""
    stored = ReadingTable(TABLE).states(["d1"])["d1"]
    return (stored.expires_at - START - fleet.minutes * 60) / 86_400


def test_an_upload_that_is_taken_late_does_not_shorten_the_memory_of_its_device(fleet: Fleet) -> None:
    moment = datetime.fromtimestamp(START, UTC)
    reading = {"device_id": "d1", "timestamp": moment.isoformat(), "humidity": 20}
    # Of another metric, so that it changes the state.
    late = fleet.upload_bytes(json.dumps(reading).encode(), moment)
    fleet.minutes = 13 * DAY
    fleet.take(upload(fleet, 45))
    assert expires_in_days(fleet) == 90
    before = ReadingTable(TABLE).states(["d1"])["d1"].revision
    fleet.take(late)
    assert ReadingTable(TABLE).states(["d1"])["d1"].revision != before
    assert expires_in_days(fleet) == 90


def test_an_alert_that_stays_open_without_a_change_does_not_expire(fleet: Fleet) -> None:
    fleet.take(upload(fleet, 45))
    for day in range(0, 400, 10):
        fleet.minutes = day * DAY
        # Within the limit, and not by the hysteresis: nothing changes.
        fleet.take(upload(fleet, 29.5))
        assert expires_in_days(fleet) > 40
    fleet.take(upload(fleet, 20))
    assert fleet.told() == ["d1 crossed", "d1 recovered"]


def test_a_state_that_does_not_change_is_written_seldom(fleet: Fleet) -> None:
    fleet.take(upload(fleet, 45))
    first = ReadingTable(TABLE).states(["d1"])["d1"].revision
    fleet.minutes = 40 * DAY
    fleet.take(upload(fleet, 29.5))
    assert ReadingTable(TABLE).states(["d1"])["d1"].revision == first


def test_sixty_days_in_one_upload_are_one_alert_about_now(fleet: Fleet) -> None:
    fleet.settings = {"max_alert_age_minutes": 60}
    fleet.take(upload(fleet, *[45 if hour % 2 else 20 for hour in range(60 * 24)]))
    assert fleet.told() == ["d1 crossed"]


def test_a_crossing_that_was_old_when_it_was_uploaded_is_stored_and_not_told(fleet: Fleet) -> None:
    fleet.settings = {"max_alert_age_minutes": 60}
    fleet.take(upload(fleet, 45, age_minutes=61))
    assert fleet.told() == []
    # It is the age at the upload that counts: a run that comes late tells what was news then.
    waiting = upload(fleet, 45, age_minutes=60)
    fleet.minutes = 600
    fleet.take(waiting)
    assert fleet.told() == ["d1 crossed"]
    fleet.take(upload(fleet, 20, age_minutes=300))
    assert fleet.told() == ["d1 recovered"]


def test_a_topic_that_refuses_for_days_does_not_fill_the_state(fleet: Fleet) -> None:
    fleet.refused_messages = 1_000_000
    for hour in range(301):
        fleet.minutes = hour * 60
        with suppress(NotPublishedError):
            fleet.take(upload(fleet, 20 if hour % 2 else 45))
    (state,) = (item["state"]["S"] for item in fleet.memory.tables[TABLE].items.values() if "state" in item)
    assert len(state) < 2_000
    fleet.refused_messages = 0
    fleet.minutes += 60
    fleet.take(upload(fleet, 45))
    assert fleet.told() == ["d1 recovered", "d1 crossed"]


def test_uploads_that_were_overwritten_before_they_were_read_leave_a_record_each(fleet: Fleet) -> None:
    moment = datetime.fromtimestamp(START, UTC)
    events = [
        fleet.upload_bytes(
            json.dumps({"device_id": f"d{number}", "timestamp": moment.isoformat(), "t": 1}).encode(),
            moment,
            "readings/latest.json",
        )
        for number in range(40)
    ]
    for event in events:
        fleet.take(event)
    records = [json.loads(body) for key, body in fleet.objects.items() if key.startswith("rejected/")]
    assert len(records) == 39
    assert {each["reason"].partition(",")[0] for each in records} == {"the object was overwritten before it was read"}
    assert {(each["object"], each["position"]) for each in records} == {("readings/latest.json", None)}
    (stored,) = (item for item in fleet.memory.tables[TABLE].items.values() if "metrics" in item)
    assert stored["device_id"]["S"] == "d39"
    # The same bytes again are the same upload to read.
    same = fleet.objects["readings/latest.json"]
    fleet.take(fleet.upload_bytes(same, moment, "readings/latest.json"))
    fleet.take(events[-1])
    assert len([key for key in fleet.objects if key.startswith("rejected/")]) == 39
