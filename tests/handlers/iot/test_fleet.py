"""A fleet of two hundred devices with every behaviour: what comes of it is exactly what the simulator expects."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from cli.readings import Wanted, periods_of, readings_of_device, readings_of_group
from cli.simulation import Expectation, Summary, recent_start, uploads
from handlers.iot.forms import Form
from handlers.iot.silence import Silences
from handlers.iot.table import ReadingTable
from handlers.iot.thresholds import Thresholds
from handlers.shared import aws
from tests.crash_points import record

from .fleet import START, TABLE, Fleet

FORM = {
    "device_id": [["device_id"], ["dev", "id"]],
    "timestamp": [["timestamp"], ["ts"]],
    "metrics": [["metrics"], ["data"]],
    "time_formats": ["iso8601", "epoch_seconds", "epoch_milliseconds"],
}
LEVELS: Mapping[str, Mapping[str, tuple[str | None, str, str]]] = {
    "temperature": {"warning": ("0", "28", "1"), "critical": ("-10", "35", "2")},
    "humidity": {"warning": (None, "80", "2")},
}
DEVICES, TURNS, SECONDS_A_TURN = 200, 12, 30


@pytest.fixture
def fleet(aws_in_process: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:  # noqa: ARG001  credentials
    monkeypatch.setattr(aws, "CALLS_AT_ONCE", 1)
    made = Fleet({"": 1})
    made.form = Form.from_json(json.dumps(FORM))
    made.thresholds = Thresholds.from_json(
        json.dumps(
            {
                metric: {
                    "": {
                        level: {"min": low, "max": high, "hysteresis": hysteresis, "cooldown_minutes": 10}
                        for level, (low, high, hysteresis) in levels.items()
                    }
                }
                for metric, levels in LEVELS.items()
            }
        )
    )
    with made.running():
        yield made


def alerts_of(fleet: Fleet) -> Counter[str]:
    """The alerts that were published, each device of a common message on its own; then there are none."""
    found: Counter[str] = Counter()
    for entry in fleet.messages:
        message: Any = json.loads(entry["Message"])
        kind = message["kind"]
        name = f"{message['severity']} {kind}" if kind in ("crossed", "recovered") else kind
        found[name] += message.get("count", 1)
    fleet.messages.clear()
    return found


def test_two_hundred_devices_with_every_behaviour_cause_exactly_what_the_simulator_expects(fleet: Fleet) -> None:
    silences = Silences({"": 60})
    start = recent_start(devices=DEVICES, count=DEVICES * TURNS, now=datetime.fromtimestamp(START, UTC))
    sent = uploads(
        devices=DEVICES,
        count=DEVICES * TURNS,
        seed=7,
        bad_share=0.1,
        rate=DEVICES / SECONDS_A_TURN,
        form=fleet.form,
        silences=silences,
        start=start,
    )
    summary, expectation = Summary(), Expectation(fleet.thresholds, silences, fleet.form)
    for upload in sent:
        fleet.watch_until(upload.at / 60)
        arrived_at = datetime.fromtimestamp(START, UTC) + timedelta(seconds=upload.at)
        fleet.take(fleet.upload_bytes(upload.body, arrived_at, upload.key))
        summary.add(upload)
        expectation.add(upload, summary)
    # Then nothing is sent.
    fleet.watch_until(fleet.minutes + 5)
    assert summary.silent_afterwards == DEVICES
    assert min(summary.alerts.values()) > 20
    levels = {f"{level} {kind}" for level in ("warning", "critical") for kind in ("crossed", "recovered")}
    assert set(summary.alerts) == {*levels, "silent", "returned"}
    assert alerts_of(fleet) == summary.alerts + Counter(silent=DEVICES)
    items = fleet.memory.tables[TABLE].items.values()
    assert sum("metrics" in item for item in items) == summary.good
    rejected = [
        line for key, body in fleet.objects.items() if key.startswith("rejected/") for line in body.splitlines()
    ]
    assert len(rejected) == summary.bad + summary.partial
    assert min(summary.bad, summary.partial, summary.repeated) > 100


def test_the_newest_reading_of_each_device_of_a_group_is_found_by_the_index_and_not_by_a_scan(fleet: Fleet) -> None:
    for minute in range(3):
        fleet.minutes = minute
        fleet.hear("sim-1", "sim-2", "other-1")
    fleet.minutes = 3
    fleet.hear("sim-2")
    table = ReadingTable(TABLE)
    calls = record(lambda: readings_of_group(table, Wanted("sim-*")))
    assert calls == ["dynamodb:Query"] * (8 + 2)
    newest = readings_of_group(table, Wanted("sim-*"))
    assert [(each.device_id, each.time_key[11:16]) for each in newest] == [("sim-1", "12:02"), ("sim-2", "12:03")]
    every = datetime.fromtimestamp(START, UTC)
    found = {
        pattern: len(readings_of_group(table, Wanted(pattern, every)))
        for pattern in ("*-1", "sim-?", "sim-[2-9]", "none-*", "*")
    }
    assert found == {"*-1": 6, "sim-?": 7, "sim-[2-9]": 4, "none-*": 0, "*": 10}
    assert readings_of_group(table, Wanted("sim-*", metric="humidity")) == []


def test_a_few_readings_of_a_device_are_asked_for_as_a_small_page(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for minute in range(5):
        fleet.minutes = minute
        fleet.hear("d1")
    whole, asked = fleet.memory.query, []

    def query(**request: Any) -> Any:
        asked.append(request.get("Limit"))
        return whole(**request)

    monkeypatch.setattr(fleet.memory, "query", query)
    monkeypatch.setattr("cli.readings.NEWEST", 2)
    found = readings_of_device(ReadingTable(TABLE), Wanted("d1"))
    assert [each.time_key[11:16] for each in found] == ["12:03", "12:04"]
    assert asked == [2]


def test_the_newest_readings_that_have_a_metric_are_found_behind_those_that_have_not(fleet: Fleet) -> None:
    moment = datetime.fromtimestamp(START, UTC)
    lines = [
        json.dumps({"device_id": "d1", "timestamp": (moment - timedelta(minutes=minute)).isoformat(), name: minute})
        for minute in range(100)
        for name in (["temperature"] if minute % 50 else ["temperature", "humidity"])
    ]
    fleet.take(fleet.upload_bytes("\n".join(lines).encode(), moment))
    table = ReadingTable(TABLE)
    found = readings_of_device(table, Wanted("d1", metric="humidity"))
    assert [int(each.metrics["humidity"]) for each in found] == [50, 0]
    (newest,) = readings_of_group(table, Wanted("d*", metric="humidity"))
    assert int(newest.metrics["humidity"]) == 0


def test_periods_of_devices_are_whole_and_read_by_the_index(fleet: Fleet) -> None:
    for minute in range(0, 120, 20):
        fleet.minutes = minute
        fleet.hear("sim-1", "sim-2")
    table = ReadingTable(TABLE)
    wanted = Wanted("sim-*", since=datetime.fromtimestamp(START + 90 * 60, UTC), every=timedelta(hours=1))
    calls = record(lambda: periods_of(table, wanted, timedelta(hours=1)))
    assert calls == ["dynamodb:Query"] * (8 + 2)
    found = periods_of(table, wanted, timedelta(hours=1))
    assert [(each.device_id, each.start.hour, each.count, each.mean) for each in found] == [
        ("sim-1", 13, 3, Decimal(20)),
        ("sim-2", 13, 3, Decimal(20)),
    ]


def test_of_a_large_file_with_a_bad_metric_in_each_hundredth_reading_exactly_these_metrics_are_recorded(
    fleet: Fleet,
) -> None:
    moment = datetime.fromtimestamp(START, UTC)
    readings = [
        {
            "device_id": f"d{number % 7}",
            "timestamp": (moment - timedelta(seconds=number)).isoformat(),
            "metrics": {"temperature": 20, "humidity": 50 if number % 100 else None},
        }
        for number in range(10_000)
    ]
    body = "".join(json.dumps(each) + "\n" for each in readings).encode()
    fleet.take(fleet.upload_bytes(body, moment, "readings/large.jsonl"))
    (records,) = (body.splitlines() for key, body in fleet.objects.items() if key.startswith("rejected/"))
    recorded = [json.loads(line) for line in records]
    assert [each["position"] for each in recorded] == list(range(0, 10_000, 100))
    assert {tuple(each["metrics"]) for each in recorded} == {("humidity",)}
    stored = [item["metrics"]["M"] for item in fleet.memory.tables[TABLE].items.values() if "metrics" in item]
    assert len(stored) == 10_000
    assert sum("humidity" in metrics for metrics in stored) == 9_900
