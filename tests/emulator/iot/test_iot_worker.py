"""The worker on the emulator: what is stored, what is refused, who is told, also when workers race."""

import gzip
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from handlers.iot import notices, worker
from handlers.iot.table import ReadingTable
from handlers.iot.thresholds import Alert
from handlers.iot.worker import ContendedError
from handlers.shared import aws
from handlers.shared.alerts import AlertTopic

from .conftest import Iot, lines, reading

DAY = "2026-11-20T"


@pytest.mark.parametrize("pack", [str.encode, lambda text: gzip.compress(text.encode())], ids=["plain", "gzip"])
def test_good_readings_are_stored_exactly_and_bad_ones_recorded_with_their_reason(iot: Iot, pack: Any) -> None:
    bad = [
        {},
        reading("d1", 1, "21.5"),
        reading("d2", 2, {"inside": 1}),
        {**reading("d1", 3), "timestamp": f"{DAY}00:03:00"},
    ]
    text = lines(reading("d1", 0, 0.1), *bad, reading("d2", 4, 25)) + "not JSON\n"
    iot.take(pack(text))
    assert iot.readings() == [
        ("d1", f"{DAY}00:00:00.000000000Z", {"temperature": "0.1"}),
        ("d2", f"{DAY}00:04:00.000000000Z", {"temperature": "25"}),
    ]
    assert [(each["position"], each["reason"]) for each in iot.rejections()] == [
        (1, "device_id is missing"),
        (2, 'temperature must be a number, not "21.5"'),
        (3, "temperature must be a number, not an object"),
        (4, f'timestamp must be RFC 3339 with its zone, like 2026-11-21T08:46:09Z, not "{DAY}00:03:00"'),
        (6, "not JSON: no value"),
    ]
    assert {each["object"].rpartition(".")[2] for each in iot.rejections()} == {"held-back"}


@pytest.mark.parametrize(
    ("content", "settings", "reason"),
    [
        (b"", {}, "the object holds no reading"),
        (b"\x1f\x8bnot a gzip", {}, "the object is not the gzip that it begins as"),
        (b"\x00\xff\xfe" * 100, {}, "not JSON: no value"),
        (b" " * 1_001, {"max_object_bytes": 1_000}, "the object holds more than 1000 bytes"),
        (gzip.compress(bytes(5_000_000)), {"max_object_bytes": 1_000_000}, "the object holds more than 1000000 bytes"),
        (
            lines(*[reading("d1", minute) for minute in range(3)]),
            {"max_readings": 2},
            "the object holds more than 2 readings",
        ),
    ],
    ids=["empty", "no gzip", "binary", "too large", "too large unzipped", "too many"],
)
def test_an_object_that_is_unusable_as_a_whole_is_recorded_and_not_tried_again(
    iot: Iot,
    content: str | bytes,
    settings: dict[str, Any],
    reason: str,
) -> None:
    iot.settings = settings
    iot.take(content)  # raises nothing, so Lambda does not try again
    assert iot.readings() == []
    (rejection,) = iot.rejections()
    assert rejection["reason"].startswith(reason)


def test_an_object_that_is_gone_is_recorded(iot: Iot) -> None:
    iot.worker().handle(iot.notification("readings/gone.json"), "run")
    assert [each["reason"] for each in iot.rejections()] == ["the object was deleted before it was read"]


def test_the_event_that_s3_sends_to_try_a_notification_is_passed_over(iot: Iot) -> None:
    iot.worker().handle({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": iot.bucket}, "run")
    assert iot.items() == []


def test_several_records_in_one_notification_are_all_taken(iot: Iot) -> None:
    one, other = (iot.upload(lines(reading(device, 0))) for device in ("d1", "d2"))
    iot.worker().handle({"Records": one["Records"] + other["Records"]}, "run")
    assert [device for device, _, _ in iot.readings()] == ["d1", "d2"]


def test_an_object_delivered_again_changes_nothing_and_tells_nobody(iot: Iot) -> None:
    event = iot.upload(lines(reading("d1", 0, 20), reading("d1", 0, 20), {}, reading("d1", 5, 31)))
    iot.worker().handle(event, "first")
    readings, states, rejections = iot.readings(), iot.states(), iot.rejections()
    assert iot.alerts() == ["d1 temperature crossed 31"]
    iot.worker().handle(event, "second")
    assert (iot.readings(), iot.states(), iot.rejections()) == (readings, states, rejections)
    assert iot.alerts() == []
    assert len(readings) == 2


def test_more_readings_than_one_call_takes_are_all_stored(iot: Iot) -> None:
    iot.take(lines(*[reading(f"d{number % 60}", number) for number in range(1_003)]))
    assert len(iot.readings()) == 1_003
    assert len(iot.states()) == 60


def test_what_the_table_leaves_out_is_written_again(iot: Iot, monkeypatch: pytest.MonkeyPatch) -> None:
    client = aws.client("dynamodb")
    whole = client.batch_write_item
    calls = []

    def leaving_out(*, RequestItems: dict[str, list[Any]]) -> Any:  # noqa: N803  botocore's name
        ((table, requests),) = RequestItems.items()
        calls.append(len(requests))
        if len(requests) > 10:
            whole(RequestItems={table: requests[:10]})
            return {"UnprocessedItems": {table: requests[10:]}}
        return whole(RequestItems=RequestItems)

    monkeypatch.setattr(client, "batch_write_item", leaving_out)
    iot.take(lines(*[reading("d1", number) for number in range(25)]))
    assert calls == [25, 15, 5]
    assert len(iot.readings()) == 25


def test_an_alert_says_all_that_is_known_and_carries_attributes_to_filter_by(iot: Iot) -> None:
    iot.take(lines(reading("cold-1", 7, 31.5)))
    (notice,) = iot.notices()
    assert notice["Subject"] == "test: cold-1 temperature crossed critical"
    assert json.loads(notice["Message"]) == {
        "service": "test",
        "step": "device",
        "runbook": "docs/alarms.md#limits",
        "summary": f"cold-1: temperature is 31.5, above 30 (critical), at {DAY}00:07:00Z",
        "kind": "crossed",
        "device_id": "cold-1",
        "metric": "temperature",
        "value": "31.5",
        "bound": "max",
        "limit": "30",
        "severity": "critical",
        "timestamp": f"{DAY}00:07:00Z",
    }
    attributes = {name: attribute["Value"] for name, attribute in notice["MessageAttributes"].items()}
    assert attributes == {"kind": "crossed", "device_id": "cold-1", "metric": "temperature", "severity": "critical"}


def test_the_worker_counts_what_the_alarms_and_the_dashboard_look_at(
    iot: Iot,
    capsys: pytest.CaptureFixture[str],
) -> None:
    half = {**reading("d2", 1), "metrics": {"temperature": 20, "humidity": None}}
    iot.take(lines(reading("d1", 1, 20), reading("d1", 1, 20), reading("d1", 2, 40), half, {}))
    written = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
    assert len(written) == 1
    (directive,) = written[0]["_aws"]["CloudWatchMetrics"]
    assert (directive["Namespace"], directive["Dimensions"]) == ("DataPipeline", [["service"]])
    counts = {
        metric["Name"]: written[0][metric["Name"]] for metric in directive["Metrics"] if metric["Unit"] == "Count"
    }
    assert counts == {
        "Objects": [1],
        "Received": [5],
        "Stored": [3],
        "Repeated": [1],
        "Rejected": [1],
        "Partial": [1],
        "Devices": [2],
        "DevicesWithBadMetrics": [1],
        "Alerts": [1],
    }
    assert [metric["Name"] for metric in directive["Metrics"] if metric["Unit"] == "Milliseconds"] == ["Latency"]


def test_a_crossing_and_a_recovery_over_several_objects_are_one_alert_each(iot: Iot) -> None:
    for minute, value in enumerate([20, 31, 32, 33, 29.5, 20, 20]):
        iot.take(lines(reading("d1", minute, value)))
    assert iot.alerts() == ["d1 temperature crossed 31", "d1 temperature recovered 20"]


def test_a_late_object_flips_nothing(iot: Iot) -> None:
    iot.take(lines(reading("d1", 5, 20)), lines(reading("d1", 4, 40)))
    assert iot.alerts() == []
    iot.take(lines(reading("d1", 6, 40)), lines(reading("d1", 3, 20)))
    assert iot.alerts() == ["d1 temperature crossed 40"]
    assert len(iot.readings()) == 4


def test_hundreds_of_alerts_of_one_object_are_one_message_published_once(iot: Iot) -> None:
    iot.take(lines(*[reading(f"d{number:03}", 1, 31) for number in range(260)]))
    (message,) = [json.loads(notice["Message"]) for notice in iot.notices()]
    assert (message["kind"], message["count"], len(message["alerts"])) == ("crossed", 260, 50)
    assert all(state["pending"] == [] for state in iot.states().values())


def together(iot: Iot, events: list[Any]) -> None:
    """Runs a worker on each event, all at once."""
    barrier = threading.Barrier(len(events))
    workers = [iot.worker() for _ in events]

    def run(number: int) -> None:
        barrier.wait()
        workers[number].handle(events[number], f"run-{number}")

    with ThreadPoolExecutor(len(events)) as pool:
        list(pool.map(run, range(len(events))))


def test_eight_workers_on_one_crossing_tell_of_it_once(iot: Iot) -> None:
    for attempt in range(3):
        device = f"d{attempt}"
        together(iot, [iot.upload(lines(reading(device, minute, 31 + minute))) for minute in range(8)])
        assert len(iot.alerts()) == 1
        together(iot, [iot.upload(lines(reading(device, minute, 20))) for minute in range(10, 18)])
        (recovery,) = iot.alerts()
        assert recovery == f"{device} temperature recovered 20"
        assert len([each for each in iot.readings() if each[0] == device]) == 16


def test_eight_workers_on_the_very_same_object_tell_of_it_once(iot: Iot) -> None:
    event = iot.upload(lines(reading("d1", 1, 40), reading("d2", 2, 40), reading("d1", 0, 20)))
    together(iot, [event] * 8)
    assert iot.alerts() == ["d1 temperature crossed 40", "d2 temperature crossed 40"]
    assert len(iot.readings()) == 3


def test_alerts_of_a_run_that_died_are_published_by_the_next_one_and_not_before_its_lease_is_over(
    iot: Iot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def die(_topic: AlertTopic, _alerts: list[Alert]) -> list[Alert]:
        raise SystemExit

    event = iot.upload(lines(reading("d1", 1, 40)))
    with monkeypatch.context() as patch:
        patch.setattr(notices, "publish_alerts", die)
        with pytest.raises(SystemExit):
            iot.worker().handle(event, "dies")
    assert len(iot.states()["d1"]["pending"]) == 1
    # Another object's run leaves the alert to the one that decided it.
    iot.take(lines(reading("d1", 2, 41)))
    assert iot.alerts() == []
    # The same object again, as another run: it does not end well before the alert is out.
    with monkeypatch.context() as patch:
        patch.setattr(worker, "STALLED_ROUNDS", 3)
        with pytest.raises(ContendedError):
            iot.worker().handle(event, "another")
    later = time.time() + worker.LEASE_SECONDS + 1
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: later)
        iot.take(lines(reading("d1", 3, 42)))
    assert iot.alerts() == ["d1 temperature crossed 40"]
    assert iot.states()["d1"]["pending"] == []


def test_lambda_s_own_retry_publishes_what_the_run_left_at_once(iot: Iot, monkeypatch: pytest.MonkeyPatch) -> None:
    event = iot.upload(lines(reading("d1", 1, 40)))
    with monkeypatch.context() as patch:
        patch.setattr(notices, "publish_alerts", lambda *_: [])
        with pytest.raises(notices.NotPublishedError):
            iot.worker().handle(event, "the same request id")
    assert iot.alerts() == []
    iot.worker().handle(event, "the same request id")
    assert iot.alerts() == ["d1 temperature crossed 40"]


def test_a_topic_that_takes_some_alerts_only_is_asked_for_the_rest_again(
    iot: Iot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = notices.publish_alerts
    asked = []

    def first_only(topic: AlertTopic, alerts: list[Alert]) -> list[Alert]:
        asked.append(len(alerts))
        return whole(topic, alerts[:1])

    monkeypatch.setattr(notices, "publish_alerts", first_only)
    iot.take(lines(reading("d1", 1, 40), reading("d2", 1, 40)))
    assert asked == [2, 1]
    assert len(iot.alerts()) == 2


def test_a_range_is_a_query_of_one_device_in_either_order(iot: Iot) -> None:
    iot.take(lines(*[reading(device, minute, minute) for device in ("d1", "d2") for minute in range(5)]))
    table = ReadingTable(iot.outputs["table_name"])
    since, until = (datetime(2026, 11, 20, 0, minute, tzinfo=UTC) for minute in (1, 3))
    assert [int(each.metrics["temperature"]) for each in table.between("d1", since, until)] == [1, 2]
    assert [int(each.metrics["temperature"]) for each in table.between("d2", newest_first=True)] == [4, 3, 2, 1, 0]
    assert list(table.between("d3")) == []


def test_a_reading_that_the_stack_s_own_schema_refuses_is_recorded_with_its_reasons(iot: Iot) -> None:
    iot.schema = {
        "properties": {
            "device_id": {"pattern": "^d"},
            "metrics": {"required": ["temperature"], "properties": {"temperature": {"maximum": 100}}},
        },
    }
    flat = {"device_id": "d1", "timestamp": "2026-11-20T00:03:00Z", "temperature": 100.5}
    event = iot.upload(lines(reading("d1", 1, 20.25), reading("x1", 2, 20), flat))
    iot.worker().handle(event, "run")
    assert [(device, metrics) for device, _, metrics in iot.readings()] == [("d1", {"temperature": "20.25"})]
    reasons = sorted(rejection["reason"] for rejection in iot.rejections())
    assert len(reasons) == 2
    assert reasons[0].startswith("/device_id must match pattern")
    assert reasons[1].startswith("/metrics/temperature must be smaller than or equal to 100")


def test_a_reading_dated_ahead_does_not_mute_the_alerts_of_its_device(iot: Iot) -> None:
    # Somebody else's upload about the same device, as far ahead as is allowed.
    ahead = (datetime.now(UTC) + timedelta(seconds=290)).isoformat()
    iot.take(lines({"device_id": "freezer", "timestamp": ahead, "metrics": {"temperature": 20}}))
    now = datetime.now(UTC).isoformat()
    iot.take(lines({"device_id": "freezer", "timestamp": now, "metrics": {"temperature": 45}}))
    assert iot.alerts() == ["freezer temperature crossed 45"]
