"""The way back out of a bad upload: what it wrote is removed, what others wrote stays, and no table is scanned."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cli.readings import Wanted, as_json, readings_of_device
from cli.remove_readings import Removal, chosen, remove
from components.config import load
from components.options.iot import IotPipelineConfig
from handlers.iot.objects import Upload
from handlers.iot.table import ReadingTable
from handlers.shared import aws
from local.errors import LocalError
from tests.crash_points import record

from .fleet import START, TABLE, Fleet, etag_of

KEY = "readings/a.json"
ARRIVED = datetime.fromtimestamp(START, UTC)


@pytest.fixture
def fleet(aws_in_process: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:  # noqa: ARG001  credentials
    monkeypatch.setattr(aws, "CALLS_AT_ONCE", 1)
    made = Fleet({})
    with made.running():
        yield made


def config(**readings: Any) -> IotPipelineConfig:
    found = load({"datapipeline:variant": "iot", "datapipeline:readings": json.dumps(readings)}, file="Pulumi.iot.yaml")
    assert isinstance(found, IotPipelineConfig)
    return found


def body(devices: str, minutes: range, temperature: float = 20) -> bytes:
    return "\n".join(
        json.dumps(
            {
                "device_id": device,
                "timestamp": (ARRIVED - timedelta(minutes=minute)).isoformat(),
                "metrics": {"temperature": temperature},
            }
        )
        for device in devices
        for minute in minutes
    ).encode()


def upload_of(content: bytes, key: str = KEY) -> Upload:
    return Upload("bucket", key, "", etag_of(content), ARRIVED, "")


def take(fleet: Fleet, content: bytes, key: str = KEY) -> Upload:
    fleet.take(fleet.upload_bytes(content, ARRIVED, key))
    return upload_of(content, key)


def left(fleet: Fleet) -> list[str]:
    """The device and minute of every stored reading."""
    items = (item for item in fleet.memory.tables[TABLE].items.values() if "metrics" in item)
    return sorted(f"{item['device_id']['S']} {item['time_key']['S'][14:16]}" for item in items)


def test_what_an_upload_wrote_is_removed_and_nothing_else(fleet: Fleet) -> None:
    take(fleet, body("ab", range(1, 4), 21), "readings/good.json")
    bad = take(fleet, body("ab", range(3), 99))
    table = ReadingTable(TABLE)
    assert len(left(fleet)) == 12
    assert remove(table, config(), bad, bad.source, dry_run=True) == Removal(6, 6, 0, 2)
    assert len(left(fleet)) == 12
    calls = record(lambda: remove(table, config(), bad, bad.source, dry_run=False))
    assert calls == ["s3:GetObject", *["dynamodb:Query", "dynamodb:BatchExecuteStatement"] * 2]
    assert left(fleet) == ["a 57", "a 58", "a 59", "b 57", "b 58", "b 59"]
    assert remove(table, config(), bad, bad.source, dry_run=False) == Removal(6, 0, 0, 0)


def test_a_reading_that_another_upload_wrote_again_stays(fleet: Fleet) -> None:
    first = take(fleet, body("a", range(3)))
    take(fleet, body("a", range(1)), "readings/again.json")
    assert remove(ReadingTable(TABLE), config(), first, first.source, dry_run=False) == Removal(3, 2, 2, 1)
    assert left(fleet) == ["a 00"]


def test_an_upload_that_was_overwritten_is_removed_by_the_devices_and_times_of_the_one_after_it(fleet: Fleet) -> None:
    bad = take(fleet, body("a", range(3), 99))
    corrected = take(fleet, body("a", range(3), 21))
    found = chosen([corrected], KEY, bad.etag)
    assert found == (corrected, bad.source)
    assert remove(ReadingTable(TABLE), config(), *found, dry_run=False) == Removal(3, 3, 3, 1)
    (reading, *_) = readings_of_device(ReadingTable(TABLE), Wanted("a"))
    assert (str(reading.metrics["temperature"]), reading.upload) == ("21", corrected.source)


def test_metrics_may_have_other_names_now(fleet: Fleet) -> None:
    bad = take(fleet, body("a", range(3), 99))
    renamed = config(metric_names={"temperature": "celsius"})
    assert remove(ReadingTable(TABLE), renamed, bad, bad.source, dry_run=False).removed == 3
    assert left(fleet) == []


def test_a_reading_says_which_upload_wrote_it_and_when_that_arrived(fleet: Fleet) -> None:
    upload = take(fleet, body("a", range(1)), "readings/a#b.json")
    (reading,) = readings_of_device(ReadingTable(TABLE), Wanted("a"))
    shown = as_json(reading, ["temperature"])
    assert (shown["object"], shown["version"], shown["arrived_at"]) == (
        "readings/a#b.json",
        upload.etag,
        "2026-11-20T12:00:00.000000Z",
    )
    # Items of earlier versions do not say.
    for item in fleet.memory.tables[TABLE].items.values():
        for name in ("upload", "arrived_at"):
            item.pop(name, None)
    (reading,) = readings_of_device(ReadingTable(TABLE), Wanted("a"))
    shown = as_json(reading, ["temperature"])
    assert (shown["object"], shown["version"], shown["arrived_at"]) == (None, None, None)


def test_of_several_versions_one_must_be_chosen() -> None:
    older, newer = (Upload("bucket", KEY, version, f"etag-{version}", ARRIVED, "") for version in ("v1", "v2"))
    with pytest.raises(LocalError, match=r"several versions; choose one with --version:\n  v2  2026-.*\n  v1  2026-"):
        chosen([newer, older], KEY, None)
    assert chosen([newer, older], KEY, "v1") == (older, f"{KEY}#v1")
    assert chosen([newer], KEY, None) == (newer, f"{KEY}#v2")
    with pytest.raises(LocalError, match=r"there is no object 'readings/a\.json' in the bucket"):
        chosen([], KEY, "v1")


def test_an_upload_that_cannot_be_read_says_why(fleet: Fleet) -> None:
    fleet.objects[KEY] = b""
    with pytest.raises(LocalError, match=r"readings/a\.json: the object holds no reading"):
        remove(ReadingTable(TABLE), config(), upload_of(b""), f"{KEY}#x", dry_run=False)
