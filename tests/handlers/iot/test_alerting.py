"""The alerts of a device with two levels for each metric, in any order, and after changes of the config."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.iot.alerting import ALERTS_A_WRITE, Claim, DeviceState, advanced
from handlers.iot.readings import Reading, first_key
from handlers.iot.thresholds import Alert, State, Threshold, Thresholds

START = datetime(2026, 11, 21, tzinfo=UTC)
CLAIM = Claim("run", "upload", 0)


def level(
    severity: str, low: int | None, high: int | None, hysteresis: int = 1, cooldown_minutes: int = 0
) -> Threshold:
    return Threshold(
        min=None if low is None else Decimal(low),
        max=None if high is None else Decimal(high),
        hysteresis=Decimal(hysteresis),
        cooldown=timedelta(minutes=cooldown_minutes),
        severity=severity,
    )


WARNING, CRITICAL = level("warning", 0, 10), level("critical", -5, 20, hysteresis=3)


def of_temperature(*levels: Threshold) -> Thresholds:
    return Thresholds({"temperature": {"": levels}})


def at(minute: int, marker: object = 0, **metrics: int) -> Reading:
    values = {name: Decimal(value) for name, value in metrics.items()}
    return Reading("d1", f"{first_key(START + timedelta(minutes=minute))}#{marker}", values)


def take(state: DeviceState, thresholds: Thresholds, *readings: Reading) -> tuple[DeviceState, list[Alert]]:
    """Return the state after readings that arrive together, and their alerts; all are published."""
    left: Sequence[Reading] = sorted(readings, key=lambda reading: reading.time_key)
    alerts: list[Alert] = []
    while left:
        state, left = advanced(state, thresholds, left, CLAIM)
        alerts += state.ours(CLAIM)
        state = DeviceState(state.limits)
    return DeviceState.from_json(state.to_json()), alerts


def told(alerts: Sequence[Alert]) -> list[str]:
    return [f"{alert.severity} {alert.kind} {alert.bound} {alert.value}".rstrip() for alert in alerts]


# Levels


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            [5, 11, 21, 17, 9],
            ["warning crossed 11", "critical crossed 21", "critical recovered 17", "warning recovered 9"],
        ),
        ([5, 25, 5], ["warning crossed 25", "critical crossed 25", "warning recovered 5", "critical recovered 5"]),
        # Between critical's limit and its hysteresis nothing changes.
        ([25, 19, 25, 18, 21], ["warning crossed 25", "critical crossed 25"]),
        ([11, 12, 10, 11], ["warning crossed 11"]),
    ],
)
def test_each_level_says_when_it_is_entered_and_left(values: list[int], expected: list[str]) -> None:
    readings = [at(minute, temperature=value) for minute, value in enumerate(values)]
    _, alerts = take(DeviceState(), of_temperature(WARNING, CRITICAL), *readings)
    assert told(alerts) == [each.replace("ed ", "ed max ") for each in expected]


def test_a_cooldown_holds_for_its_own_level_only() -> None:
    thresholds = of_temperature(level("warning", None, 10, cooldown_minutes=60), level("critical", None, 20))
    readings = [at(minute, temperature=value) for minute, value in enumerate([25, 5, 25, 5])]
    _, alerts = take(DeviceState(), thresholds, *readings)
    assert [alert.kind for alert in alerts if alert.severity == "warning"] == ["crossed", "recovered"]
    assert [alert.kind for alert in alerts if alert.severity == "critical"] == ["crossed", "recovered"] * 2


# Whatever comes in whatever order


def model(levels: Mapping[str, Sequence[Threshold]], batches: Sequence[Sequence[Reading]]) -> list[str]:
    """The alerts by a plain rule: of all readings so far outside the hysteresis, the newest one decides.

    A crossing is told by the first reading beyond the limit, and newer than all of those, after the cooldown.
    """
    seen: dict[str, dict[str, bool]] = defaultdict(dict)
    out: dict[str, bool] = defaultdict(bool)
    told_at: dict[str, int] = {}
    alerts = []
    every = [reading for batch in batches for reading in sorted(batch, key=lambda each: each.time_key)]
    limits = [
        (metric, threshold, bound, limit, sign)
        for metric, of_metric in levels.items()
        for threshold in of_metric
        for bound, limit, sign in (("min", threshold.min, -1), ("max", threshold.max, 1))
        if limit is not None
    ]
    for reading in every:
        for metric, threshold, bound, limit, sign in limits:
            if metric not in reading.metrics:
                continue
            name, key, value = f"{threshold.severity} {bound} {metric}", reading.time_key, reading.metrics[metric]
            over = (value - limit) * sign
            if -threshold.hysteresis < over <= 0:
                continue
            beyond = over > 0
            newest_like_it = all(key > other for other, was_beyond in seen[name].items() if was_beyond == beyond)
            seen[name][key] = beyond
            if not newest_like_it or seen[name][max(seen[name])] != beyond or beyond == out[name]:
                continue
            if beyond and minute_of(key) - told_at.get(name, -99) < threshold.cooldown / timedelta(minutes=1):
                continue
            out[name] = beyond
            if beyond:
                told_at[name] = minute_of(key)
            alerts.append(f"{threshold.severity} {'crossed' if beyond else 'recovered'} {bound} {value:f}")
    return alerts


def minute_of(time_key: str) -> int:
    return int(time_key[14:16])


metrics = st.dictionaries(st.sampled_from(["temperature", "humidity"]), st.sampled_from(range(-10, 30)), min_size=1)
readings = st.builds(lambda minute, values: at(minute, sorted(values.items()), **values), st.integers(0, 30), metrics)
batches = st.lists(st.lists(readings, max_size=6), max_size=8)
LEVELS = {"temperature": [WARNING, CRITICAL], "humidity": [level("warning", 0, 10, cooldown_minutes=7)]}


@given(batches, st.data())
def test_readings_in_any_order_with_repeats_and_gaps_give_the_alerts_of_a_simple_model(
    parts: list[list[Reading]], data: st.DataObject
) -> None:
    again = data.draw(st.lists(st.sampled_from(parts), max_size=3)) if parts else []
    thresholds = Thresholds({metric: {"": levels} for metric, levels in LEVELS.items()})
    state, alerts = DeviceState(), []
    for batch in [*parts, *again]:
        state, found = take(state, thresholds, *batch)
        alerts += found
    assert sorted(told(alerts)) == sorted(model(LEVELS, [*parts, *again]))


levels = st.lists(
    st.sampled_from([WARNING, CRITICAL, level("warning", None, 15), level("critical", -8, None)]), max_size=2
)


@given(st.lists(st.tuples(levels, st.lists(readings, min_size=1, max_size=4)), max_size=6))
def test_after_any_changes_of_the_config_every_alert_has_ended_or_is_of_a_limit_that_exists(
    history: list[tuple[list[Threshold], list[Reading]]],
) -> None:
    state = DeviceState()
    open_alerts: set[tuple[str, str]] = set()
    for position, (configured, batch) in enumerate(history):
        unique = {each.severity: each for each in configured}
        thresholds = of_temperature(*unique.values())
        # Later than all before.
        moved = [
            at(position * 100 + minute, **{name: int(value) for name, value in each.metrics.items()})
            for minute, each in enumerate(batch)
        ]
        state, alerts = take(state, thresholds, *moved)
        for alert in alerts:
            key = (alert.bound, alert.severity)
            assert (key in open_alerts) == (alert.kind == "recovered")
            open_alerts ^= {key}
        assert all(thresholds.has("temperature", "d1", *key) for key in open_alerts)
    _, alerts = take(state, Thresholds({}), at(10_000, humidity=1))
    assert {(alert.bound, alert.severity) for alert in alerts} == open_alerts


# Changes of the config


@pytest.mark.parametrize(
    "after",
    [Thresholds({}), of_temperature(), of_temperature(level("warning", 0, None)), of_temperature(CRITICAL)],
    ids=["metric", "levels", "limit", "level"],
)
def test_an_alert_of_what_is_no_longer_configured_ends_with_the_next_reading_of_any_metric(after: Thresholds) -> None:
    state, alerts = take(DeviceState(), of_temperature(WARNING), at(0, temperature=15))
    assert told(alerts) == ["warning crossed max 15"]
    state, alerts = take(state, after, at(1, humidity=1))
    assert alerts == [
        Alert("recovered", "d1", "temperature", "", "max", "", "warning", "2026-11-21T00:01:00Z"),
    ]
    assert take(state, after, at(2, humidity=1)) == (state, [])


def test_a_limit_that_moved_is_decided_by_the_next_reading() -> None:
    state, _ = take(DeviceState(), of_temperature(WARNING), at(0, temperature=15))
    _, alerts = take(state, of_temperature(level("warning", 0, 30)), at(1, temperature=15))
    assert told(alerts) == ["warning recovered max 15"]
    _, alerts = take(state, of_temperature(level("warning", 0, 12)), at(1, temperature=15))
    assert alerts == []


def test_a_state_from_before_there_were_levels_ends_its_alert() -> None:
    state = DeviceState({"temperature#max": State(beyond="2026", announced=True)})
    _, alerts = take(state, of_temperature(WARNING), at(0, temperature=5))
    assert told(alerts) == ["warning recovered max"]


def test_many_alerts_are_decided_in_several_writes() -> None:
    many = [at(minute, temperature=15 if minute % 2 else 5) for minute in range(5 * ALERTS_A_WRITE)]
    state, left = advanced(DeviceState(), of_temperature(WARNING), many, CLAIM)
    assert len(state.pending) == ALERTS_A_WRITE
    assert left
    _, alerts = take(DeviceState(), of_temperature(WARNING), *many)
    assert len(alerts) == 5 * ALERTS_A_WRITE - 1
