"""The alerts of a device with two levels for each metric, in any order, and after changes of the config."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.iot.alerting import Claim, DeviceState, Pending, advanced, earliest_told
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


def take(
    state: DeviceState, thresholds: Thresholds, *readings: Reading, not_before: str = ""
) -> tuple[DeviceState, list[Alert]]:
    """Return the state after readings that arrive together, and their alerts; all are published."""
    in_order = sorted(readings, key=lambda reading: reading.time_key)
    state = advanced(state, thresholds, in_order, CLAIM, not_before)
    return DeviceState.from_json(replace(state, pending=()).to_json()), state.ours(CLAIM)


def take_each(state: DeviceState, thresholds: Thresholds, *readings: Reading) -> tuple[DeviceState, list[Alert]]:
    """Return the state after readings that arrive one after the other, and their alerts; all are published."""
    alerts: list[Alert] = []
    for reading in readings:
        state, found = take(state, thresholds, reading)
        alerts += found
    return state, alerts


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
    _, alerts = take_each(DeviceState(), of_temperature(WARNING, CRITICAL), *readings)
    assert told(alerts) == [each.replace("ed ", "ed max ") for each in expected]


def test_a_cooldown_holds_for_its_own_level_only() -> None:
    thresholds = of_temperature(level("warning", None, 10, cooldown_minutes=60), level("critical", None, 20))
    readings = [at(minute, temperature=value) for minute, value in enumerate([25, 5, 25, 5])]
    _, alerts = take_each(DeviceState(), thresholds, *readings)
    assert [alert.kind for alert in alerts if alert.severity == "warning"] == ["crossed", "recovered"]
    assert [alert.kind for alert in alerts if alert.severity == "critical"] == ["crossed", "recovered"] * 2


# Whatever comes in whatever order


def model(levels: Mapping[str, Sequence[Threshold]], batches: Sequence[Sequence[Reading]]) -> list[str]:
    """The alerts by a plain rule: of all readings so far outside the hysteresis, the newest one decides.

    A crossing is told by the first batch that brings a newest reading beyond the limit, after the cooldown.
    """
    seen: dict[str, dict[str, Reading]] = defaultdict(dict)
    out: dict[str, bool] = defaultdict(bool)
    told_at: dict[str, int] = {}
    alerts = []
    limits = [
        (metric, threshold, bound, limit, sign)
        for metric, of_metric in levels.items()
        for threshold in of_metric
        for bound, limit, sign in (("min", threshold.min, -1), ("max", threshold.max, 1))
        if limit is not None
    ]
    for batch in batches:
        for metric, threshold, bound, limit, sign in limits:
            name = f"{threshold.severity} {bound} {metric}"
            newest_before = max(seen[name], default="")
            for reading in batch:
                value = reading.metrics.get(metric)
                if value is not None and not -threshold.hysteresis < (value - limit) * sign <= 0:
                    seen[name][reading.time_key] = reading
            key = max(seen[name], default="")
            if key == newest_before:
                continue
            value = seen[name][key].metrics[metric]
            beyond = (value - limit) * sign > 0
            if beyond == out[name]:
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
        state, alerts = take_each(state, thresholds, *moved)
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


@given(st.lists(readings, max_size=6), st.lists(st.integers(5, 30), min_size=1, max_size=5))
def test_a_limit_that_was_taken_away_and_put_back_is_as_one_that_is_new(
    before: list[Reading], after: list[int]
) -> None:
    thresholds = of_temperature(level("warning", None, 10, cooldown_minutes=60))
    state, _ = take(DeviceState(), thresholds, *before)
    # Any reading of the device while the limit is away.
    state, _ = take(state, Thresholds({}), at(40, humidity=1))
    later = [at(50 + minute, temperature=value) for minute, value in enumerate(after)]
    assert take_each(state, thresholds, *later) == take_each(DeviceState(), thresholds, *later)


# Uploads of many readings, and of old ones


def test_an_upload_causes_alerts_of_the_state_after_it_and_not_of_what_was_over_before() -> None:
    sixty_days = [at(minute, temperature=25 if minute % 2 else 5) for minute in range(120)]
    thresholds = of_temperature(WARNING, level("critical", None, 20, cooldown_minutes=60))
    state, alerts = take(DeviceState(), thresholds, *sixty_days)
    assert told(alerts) == ["warning crossed max 25", "critical crossed max 25"]
    assert {alert.timestamp for alert in alerts} == {"2026-11-21T01:59:00Z"}
    state, alerts = take(state, thresholds, at(120, temperature=5), at(121, temperature=25))
    assert alerts == []
    _, alerts = take(state, thresholds, at(122, temperature=25), at(123, temperature=5))
    assert told(alerts) == ["warning recovered max 5", "critical recovered max 5"]


def test_an_excursion_that_was_not_told_starts_no_cooldown() -> None:
    thresholds = of_temperature(level("warning", None, 10, cooldown_minutes=60))
    state, alerts = take(DeviceState(), thresholds, at(0, temperature=15), at(1, temperature=5))
    assert alerts == []
    _, alerts = take(state, thresholds, at(2, temperature=15))
    assert told(alerts) == ["warning crossed max 15"]


def test_a_reading_between_limit_and_hysteresis_at_the_end_of_an_upload_hides_nothing() -> None:
    _, alerts = take(DeviceState(), of_temperature(WARNING), at(0, temperature=15), at(1, temperature=10))
    assert [(alert.kind, alert.value, alert.timestamp) for alert in alerts] == [
        ("crossed", "15", "2026-11-21T00:00:00Z")
    ]


def test_a_crossing_that_was_old_at_its_upload_is_not_told_and_a_recovery_is() -> None:
    thresholds = of_temperature(WARNING)
    not_before = earliest_told(START + timedelta(minutes=70), 60)
    state, alerts = take(DeviceState(), thresholds, at(9, temperature=15), not_before=not_before)
    assert alerts == []
    # The same excursion is told by its first reading that is new enough.
    state, alerts = take(state, thresholds, at(10, temperature=16), not_before=not_before)
    assert told(alerts) == ["warning crossed max 16"]
    not_before = earliest_told(START + timedelta(minutes=7_000), 60)
    _, alerts = take(state, thresholds, at(11, temperature=5), not_before=not_before)
    assert told(alerts) == ["warning recovered max 5"]
    assert earliest_told(START, 0) == ""


@given(st.lists(readings, min_size=1, max_size=6))
def test_the_newest_reading_outside_of_the_hysteresis_decides_in_whatever_uploads_they_come(
    each: list[Reading],
) -> None:
    thresholds = Thresholds({metric: {"": levels} for metric, levels in LEVELS.items()})
    together, _ = take(DeviceState(), thresholds, *each)
    apart, _ = take_each(DeviceState(), thresholds, *each)
    assert {name: limit.out_of_bounds for name, limit in together.limits.items()} == {
        name: limit.out_of_bounds for name, limit in apart.limits.items()
    }


def test_while_the_topic_refuses_alerts_two_of_a_limit_stay_pending() -> None:
    state = DeviceState()
    for minute in range(1_001):
        state = advanced(state, of_temperature(WARNING), [at(minute, temperature=5 if minute % 2 else 15)], CLAIM)
    state = advanced(state, of_temperature(WARNING), [at(1_001, humidity=1)], CLAIM)
    assert told(state.ours(CLAIM)) == ["warning recovered max 5", "warning crossed max 15"]
    others = Pending(Alert("crossed", "d1", "humidity", "1", "max", "0", "warning", "2026"), CLAIM)
    state = advanced(replace(state, pending=(others, *state.pending)), Thresholds({}), [at(1_002, rpm=1)], CLAIM)
    assert told(state.ours(CLAIM)) == ["warning crossed max 1", "warning crossed max 15", "warning recovered max"]
