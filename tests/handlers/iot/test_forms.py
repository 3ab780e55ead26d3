"""Readings as real devices send them: bad metrics, other field names, epoch times, numbers as text."""

import json
import time
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.iot.contents import Contents, read
from handlers.iot.forms import Form
from handlers.iot.readings import timestamp_of
from handlers.shared.keys import has_suffix

LATEST = datetime(2026, 11, 21, 12, 5, tzinfo=UTC)
GOOD: dict[str, Any] = {"device_id": "cold-1", "timestamp": "2026-01-01T12:00:00Z"}
NESTED = Form(
    device_id=(("device_id",), ("dev", "id")),
    timestamp=(("timestamp",), ("ts",)),
    metrics=(("metrics",), ("data",)),
    time_formats=("iso8601", "epoch_seconds", "epoch_milliseconds", "epoch_microseconds"),
    numbers_as_text=True,
)


def contents(*values: Any, form: Form = NESTED) -> Contents:
    text = "\n".join(value if isinstance(value, str) else json.dumps(value) for value in values)
    return read(text, latest=LATEST, maximum_readings=1_000_000, form=form)


def metrics_of(found: Contents) -> dict[str, str]:
    (reading,) = found.readings
    return {name: f"{number:f}" for name, number in reading.metrics.items()}


# Partial readings


@pytest.mark.parametrize(
    ("value", "names", "reason"),
    [
        ({**GOOD, "metrics": {"t": 45.5, "humidity": None}}, ("humidity",), "humidity must be a number, not null"),
        ({**GOOD, "metrics": {"t": 45.5, "h": float("nan")}}, ("h",), "h must be a number, not NaN"),
        ({**GOOD, "t": 45.5, "online": True}, ("online",), "online must be a number, not true"),
        ({**GOOD, "t": 45.5, "firmware": "1.2.3"}, ("firmware",), 'firmware must be a number, not "1.2.3"'),
        ({**GOOD, "metrics": {"t": 45.5, "a b": 1}}, ("a b",), "a metric's name must be a letter and up to 63"),
        ({**GOOD, "metrics": {"t": 45.5}, "h": 1}, ("h",), '"h" is beside metrics; move it inside, or drop it with'),
        (
            {**GOOD, "metrics": {"t": 45.5, "a": None, "b": None, "c": None, "d": None, "e": None}},
            ("a", "b", "c", "d", "e"),
            "a must be a number, not null; b must be a number, not null; c must be a number, not null; and 2 more",
        ),
    ],
)
def test_an_unusable_metric_costs_that_metric_and_not_the_reading(
    value: Any, names: tuple[str, ...], reason: str
) -> None:
    found = contents(value)
    assert metrics_of(found) == {"t": "45.5"}
    (rejection,) = found.rejections
    assert (rejection.position, rejection.metrics) == (0, names)
    assert rejection.reason.startswith(reason)
    assert json.loads(rejection.text, parse_constant=str)["device_id"] == "cold-1"
    assert (found.rejected_readings, found.partial_readings, found.devices_with_bad_metrics) == (0, 1, {"cold-1"})

    (whole,) = contents(value, form=replace(NESTED, partial=False)).rejections
    assert whole.metrics == ()
    assert whole.reason == rejection.reason


def test_a_reading_without_a_usable_metric_is_rejected_as_a_whole() -> None:
    found = contents({**GOOD, "metrics": {"a": None}}, {**GOOD, "a": "x"})
    assert found.readings == []
    assert [(each.metrics, each.reason) for each in found.rejections] == [
        ((), "a must be a number, not null"),
        ((), 'a must be a number, not "x"'),
    ]
    assert (found.rejected_readings, found.partial_readings, found.devices_with_bad_metrics) == (2, 0, set())


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.one_of(st.integers(-9, 9), st.none(), st.text()), min_size=1))
def test_every_metric_is_either_stored_or_recorded(metrics: dict[str, Any]) -> None:
    found = contents({**GOOD, "metrics": metrics}, form=Form())
    good = {name: Decimal(value) for name, value in metrics.items() if isinstance(value, int)}
    assert [dict(each.metrics) for each in found.readings] == ([good] if good else [])
    recorded = {name for each in found.rejections for name in each.metrics}
    assert recorded == (metrics.keys() - good.keys() if good else set())


def test_a_hundred_thousand_readings_with_a_thousand_bad_metrics_leave_a_thousand_records() -> None:
    lines = []
    for number in range(100_000):
        bad = "null" if number % 100 == 0 else "50"
        moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
        lines.append(
            f'{{"device_id": "d{number % 7}", "timestamp": "{moment:%Y-%m-%dT%H:%M:%SZ}", '
            f'"metrics": {{"temperature": 4.5, "humidity": {bad}}}}}'
        )
    text = "\n".join(lines)
    started = time.process_time()
    found = contents(text)
    assert time.process_time() - started < 30
    assert (len(found.readings), len(found.rejections), found.partial_readings) == (100_000, 1_000, 1_000)
    assert sum("humidity" in reading.metrics for reading in found.readings) == 99_000


def test_a_reading_of_nothing_but_bad_fields_leaves_one_small_record() -> None:
    fields = {f"x{number}": None for number in range(50_000)}
    tracemalloc.start()
    found = contents({**GOOD, "metrics": {"t": 1}, **fields})
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    (rejection,) = found.rejections
    assert len(rejection.reason) < 500
    assert len(rejection.text) == 2_000
    assert peak_bytes < 60_000_000


# Fields and names


def test_fields_are_found_by_path_and_the_first_path_of_a_reading_counts() -> None:
    old = {**GOOD, "metrics": {"temperature": 21.5}}
    new = {"dev": {"id": "cold-4", "model": "x"}, "ts": 1767268800, "data": {"temperature": 21.5}}
    flat = {"dev": {"id": "cold-5"}, "ts": 1767268800, "temperature": 21.5}
    found = contents(old, new, flat)
    assert found.rejections == []
    assert [reading.device_id for reading in found.readings] == ["cold-1", "cold-4", "cold-5"]
    assert {timestamp_of(reading.time_key) for reading in found.readings} == {"2026-01-01T12:00:00Z"}
    assert {tuple(reading.metrics) for reading in found.readings} == {("temperature",)}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"dev": 5, "ts": 1767268800, "t": 1}, "device_id or dev.id is missing"),
        ({"dev": {"id": ""}, "ts": 1767268800, "t": 1}, "dev.id must be 1 to 128 letters"),
        ({"dev": {"id": "d"}, "t": 1}, "timestamp or ts is missing"),
        ({"dev": {"id": "d"}, "ts": 1767268800, "data": 5}, "data must be an object of names and numbers, not 5"),
    ],
)
def test_a_reason_names_the_path(value: Any, reason: str) -> None:
    (rejection,) = contents(value).rejections
    assert rejection.reason.startswith(reason)


@pytest.mark.parametrize(
    "nulls", [{"metrics": None}, {"data": None}, {"dev": None}, {"dev": {"id": None}}, {"ts": None}]
)
def test_null_stands_for_a_field_that_is_not_there(nulls: Any) -> None:
    found = contents({**nulls, **GOOD, "t": 45.5})
    assert metrics_of(found) == {"t": "45.5"}
    assert found.rejections == []


ENVELOPE = replace(
    NESTED,
    device_id=(("payload", "id"),),
    timestamp=(("payload", "ts"),),
    metrics=(("payload", "data"),),
)


def test_a_field_beside_nested_metrics_is_recorded_and_not_lost() -> None:
    payload = {"id": "d", "ts": 1767268800, "data": {"t": 1}, "h": 2}
    found = contents({"payload": payload}, form=ENVELOPE)
    assert metrics_of(found) == {"t": "1"}
    (rejection,) = found.rejections
    assert (rejection.metrics, rejection.reason) == (
        ("h",),
        '"payload.h" is beside payload.data; move it inside, or drop it with readings.metric_names',
    )
    assert contents({"payload": payload}, form=replace(ENVELOPE, metric_names={"h": None})).rejections == []
    # Also where the metrics are beside the group.
    found = contents({"payload": {"id": "d", "ts": 1767268800, "h": 2}, "t": 1}, form=ENVELOPE)
    assert (metrics_of(found), found.rejections[0].metrics) == ({"t": "1"}, ("h",))
    (rejection,) = contents({"payload": {"id": "d", "ts": 1767268800, "h": 2}}, form=ENVELOPE).rejections
    assert rejection.reason.startswith('"payload.h" is beside payload.data')


def test_device_and_time_among_the_metrics_are_none() -> None:
    flat = {"payload": {"id": "d", "ts": 1767268800, "t": 1, "h": 2}}
    found = contents(flat, form=replace(ENVELOPE, metrics=(("payload",),)))
    assert (metrics_of(found), found.rejections) == ({"t": "1", "h": "2"}, [])


def test_metrics_are_renamed_and_dropped() -> None:
    form = replace(NESTED, metric_names={"temp": "temperature", "fw": None, "note": None})
    found = contents({**GOOD, "metrics": {"temp": 1, "fw": "1.2", "rpm": 2}, "note": "x"}, form=form)
    assert metrics_of(found) == {"temperature": "1", "rpm": "2"}
    assert found.rejections == []
    found = contents({**GOOD, "temp": 1, "temperature": 2}, form=form)
    assert metrics_of(found) == {"temperature": "1"}
    assert found.rejections[0].reason == '"temperature" is a second value of the metric temperature'
    (rejection,) = contents({**GOOD, "fw": 1}, form=form).rejections
    assert rejection.reason == "readings.metric_names drops every metric of the reading"


# Times and numbers


@pytest.mark.parametrize(
    ("stamp", "time"),
    [
        (1767268800, "2026-01-01T12:00:00Z"),
        (1767268800.25, "2026-01-01T12:00:00.25Z"),
        (1767268801500, "2026-01-01T12:00:01.5Z"),
        (1767268801500001, "2026-01-01T12:00:01.500001Z"),
        ("1767268800", "2026-01-01T12:00:00Z"),
        ("2026-01-01T13:00:00+01:00", "2026-01-01T12:00:00Z"),
    ],
)
def test_epoch_times_of_any_unit_are_exact(stamp: object, time: str) -> None:
    (reading,) = contents({**GOOD, "timestamp": stamp, "t": 1}).readings
    assert timestamp_of(reading.time_key) == time


@given(st.datetimes(datetime(2000, 1, 1), datetime(2026, 11, 21)), st.sampled_from(NESTED.time_formats[1:]))  # noqa: DTZ001
def test_every_moment_comes_back_from_every_unit(naive: datetime, unit: str) -> None:
    moment = naive.replace(tzinfo=UTC)
    microseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    digits = {"epoch_seconds": 6, "epoch_milliseconds": 3, "epoch_microseconds": 0}[unit]
    stamp = Decimal(microseconds).scaleb(-digits)
    found = contents(f'{{"device_id": "d", "ts": {stamp:f}, "t": 1}}')
    assert datetime.fromisoformat(timestamp_of(found.readings[0].time_key)) == moment


@pytest.mark.parametrize(
    ("stamp", "reason"),
    [
        (5, "timestamp is before 2000: 5"),
        (-1, "timestamp is not a possible time: -1"),
        (1e300, "timestamp is not a possible time: 1"),
        (99999999999, "timestamp is ahead of the clock by more than readings.max_ahead_seconds: 99999999999"),
        ([], "timestamp must be RFC 3339 with its zone, like 2026-11-21T08:46:09Z or epoch seconds or epoch milli"),
        (None, "timestamp or ts is missing"),
        ("yesterday", "timestamp must be RFC 3339"),
        (True, "timestamp must be RFC 3339"),
    ],
)
def test_a_time_that_is_none_says_why(stamp: object, reason: str) -> None:
    (rejection,) = contents({**GOOD, "timestamp": stamp, "t": 1}).rejections
    assert rejection.reason.startswith(reason)


def test_epoch_times_and_numbers_as_text_are_off_by_default() -> None:
    found = contents({**GOOD, "timestamp": 1767268800, "t": 1}, {**GOOD, "t": "1"}, form=Form())
    assert [each.reason for each in found.rejections] == [
        "timestamp must be RFC 3339 with its zone, like 2026-11-21T08:46:09Z, not 1767268800",
        't must be a number, not "1"',
    ]


@pytest.mark.parametrize("text", ["21.5", "-0.25", "1e3", "0"])
def test_a_string_that_is_a_json_number_is_that_number(text: str) -> None:
    as_text, as_number = (
        contents(f'{{"device_id": "d", "ts": 1767268800, "t": {each}}}') for each in (f'"{text}"', text)
    )
    assert as_text.readings == as_number.readings != []


@pytest.mark.parametrize("text", ["", " 1", "1_0", "0x1", "NaN", "Infinity", "+1", "1,5", "٣", "1" * 300, "01"])
def test_any_other_string_is_a_bad_metric(text: str) -> None:
    found = contents({**GOOD, "good": 1, "t": text})
    assert metrics_of(found) == {"good": "1"}
    assert found.rejections[0].metrics == ("t",)


# Keys


@pytest.mark.parametrize(
    ("key", "suffixes", "read"),
    [
        ("readings/a.json", ".json .gz", True),
        ("readings/A.JSON", ".json .gz", True),
        ("readings/a.json", ".JSON", True),
        ("readings/a.csv", ".json .gz", False),
        ("readings/2026/11/21/08/stream-1-2026-uuid", ".json .gz", False),
        ("readings/2026/11/21/08/stream-1-2026-uuid", "", True),
        ("readings/folder/", "", False),
    ],
)
def test_suffixes_match_in_any_case_and_none_means_all(key: str, suffixes: str, read: bool) -> None:  # noqa: FBT001
    assert has_suffix(key, suffixes) == read


def test_the_shared_cases_are_read_as_their_devices_meant_them() -> None:
    epoch = [
        '{"dev": {"id": "cold-4"}, "ts": 1767268800, "data": {"temperature": "21.5"}}',
        '{"dev": {"id": "cold-4"}, "ts": 1767268801500, "data": {"temperature": 21.6}}',
    ]
    found = contents(*epoch)
    assert found.rejections == []
    assert [timestamp_of(each.time_key) for each in found.readings] == [
        "2026-01-01T12:00:00Z",
        "2026-01-01T12:00:01.5Z",
    ]
    assert [str(each.metrics["temperature"]) for each in found.readings] == ["21.5", "21.6"]
