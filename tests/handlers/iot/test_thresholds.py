"""Crossings and alerts of limits, in any order of the readings."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.iot.readings import Reading, first_key
from handlers.iot.thresholds import BOUNDS, Alert, Bound, State, Threshold, Thresholds, evaluate, side

START = datetime(2026, 11, 21, tzinfo=UTC)


def threshold(
    low: str | None = "-10",
    high: str | None = "30",
    *,
    hysteresis: str = "2",
    cooldown_minutes: int = 0,
) -> Threshold:
    return Threshold(
        min=None if low is None else Decimal(low),
        max=None if high is None else Decimal(high),
        hysteresis=Decimal(hysteresis),
        cooldown=timedelta(minutes=cooldown_minutes),
        severity="critical",
    )


def at(minute: float, value: str, marker: str = "0") -> Reading:
    return Reading("d1", f"{first_key(START + timedelta(minutes=minute))}#{marker}", {"temperature": Decimal(value)})


def run(
    readings: Sequence[Reading],
    limits: Threshold,
    bound: Bound = "max",
    state: State | None = None,
) -> tuple[State, list[Alert]]:
    state = state or State()
    alerts = []
    for reading in readings:
        if side(limits, bound, reading.metrics["temperature"]) is None:
            continue
        state, alert = evaluate(limits, bound, state, reading, "temperature")
        if alert:
            alerts.append(alert)
    return state, alerts


def kinds(values: Sequence[str], limits: Threshold, bound: Bound = "max") -> list[str]:
    _, alerts = run([at(minute, value) for minute, value in enumerate(values)], limits, bound)
    return [f"{alert.kind} {alert.value}" for alert in alerts]


def test_one_alert_at_the_crossing_and_one_at_the_recovery() -> None:
    assert kinds(["20", "31", "35", "33", "20", "19"], threshold()) == ["crossed 31", "recovered 20"]
    assert kinds(["0", "-11", "-20", "-5", "0"], threshold(), "min") == ["crossed -11", "recovered -5"]


def test_a_reading_at_the_limit_is_not_beyond_it() -> None:
    assert kinds(["30", "30.000000001"], threshold()) == ["crossed 30.000000001"]
    assert kinds(["-10", "-10.1"], threshold(), "min") == ["crossed -10.1"]


def test_between_the_limit_and_the_hysteresis_nothing_changes() -> None:
    assert kinds(["29", "31", "29", "31", "28.1", "28"], threshold()) == ["crossed 31", "recovered 28"]
    assert kinds(["31", "30", "31"], threshold(hysteresis="0")) == ["crossed 31", "recovered 30", "crossed 31"]


def test_an_alert_says_device_metric_value_limit_severity_and_time() -> None:
    _, (alert,) = run([at(1, "3.1E+1")], threshold())
    assert alert == Alert("crossed", "d1", "temperature", "31", "max", "30", "critical", "2026-11-21T00:01:00Z")


def test_a_crossing_within_the_cooldown_is_told_when_it_is_over_if_it_lasts() -> None:
    limits = threshold(cooldown_minutes=10)
    readings = [at(0, "31"), at(1, "20"), at(2, "31"), at(9.9, "32"), at(10, "33"), at(11, "20")]
    _, alerts = run(readings, limits)
    assert [f"{alert.kind} {alert.value}" for alert in alerts] == [
        "crossed 31",
        "recovered 20",
        "crossed 33",
        "recovered 20",
    ]


def test_a_crossing_that_is_over_within_the_cooldown_is_not_told_at_all() -> None:
    _, alerts = run([at(0, "31"), at(1, "20"), at(2, "31"), at(3, "20"), at(30, "20")], threshold(cooldown_minutes=10))
    assert [alert.kind for alert in alerts] == ["crossed", "recovered"]


def test_a_late_reading_flips_nothing() -> None:
    state, _ = run([at(5, "20")], threshold())
    late, alerts = run([at(3, "31")], threshold(), state=state)
    assert not late.out_of_bounds
    assert alerts == []
    state, _ = run([at(5, "31")], threshold())
    late, alerts = run([at(3, "20")], threshold(), state=state)
    assert late.out_of_bounds
    assert alerts == []


def test_an_unknown_or_one_sided_limit_is_never_crossed() -> None:
    assert kinds(["1000", "-1000"], threshold(None, "2000")) == []
    assert kinds(["1000", "-1000"], threshold("-2000", None), "max") == []
    assert kinds(["1000", "-1000"], threshold(None, None), "min") == []


def test_a_device_of_its_own_has_its_own_limits_and_others_have_the_common_ones() -> None:
    common = {"min": None, "max": "30", "hysteresis": "1", "cooldown_minutes": 5}
    of_oven = {"warning": {**common, "max": "300.5"}}
    temperature = {"": {"warning": common}, "oven": of_oven, "kiln": {}}
    text = json.dumps({"temperature": temperature, "humidity": {"oven": {"warning": common}}})
    thresholds = Thresholds.from_json(text)
    assert thresholds.of("temperature", "fridge") == (
        Threshold(None, Decimal(30), Decimal(1), timedelta(minutes=5), "warning"),
    )
    (oven,) = thresholds.of("temperature", "oven")
    assert oven.max == Decimal("300.5")
    assert list(thresholds.of("temperature", "kiln")) == []
    assert list(thresholds.of("humidity", "fridge")) == []
    assert list(thresholds.of("pressure", "fridge")) == []


# Whatever comes in whatever order

values = st.sampled_from(["-30", "-10", "-9", "-8", "0", "27", "28", "29", "30", "31", "60"])
series = st.lists(st.tuples(st.integers(0, 60), values), max_size=30).map(
    lambda pairs: [at(minute, value, str(index)) for index, (minute, value) in enumerate(pairs)],
)
cooldowns = st.sampled_from([0, 7])


@given(series, st.sampled_from(BOUNDS), cooldowns)
def test_alerts_alternate_and_begin_with_a_crossing(readings: list[Reading], bound: Bound, cooldown: int) -> None:
    state, alerts = run(readings, threshold(cooldown_minutes=cooldown), bound)
    expected = ["crossed", "recovered"] * len(alerts)
    assert [alert.kind for alert in alerts] == expected[: len(alerts)]
    assert state.announced == (len(alerts) % 2 == 1)
    if not cooldown:
        assert state.announced == state.out_of_bounds


@given(series, st.sampled_from(BOUNDS), cooldowns)
def test_no_alert_without_a_crossing(readings: list[Reading], bound: Bound, cooldown: int) -> None:
    limits = threshold(cooldown_minutes=cooldown)
    harmless = [reading for reading in readings if not limits.beyond(bound, reading.metrics["temperature"])]
    state, alerts = run(harmless, limits, bound)
    assert alerts == []
    assert not state.out_of_bounds


@given(series, st.data(), st.sampled_from(BOUNDS), cooldowns)
def test_the_order_of_arrival_and_repeats_do_not_change_where_a_metric_ends(
    readings: list[Reading],
    data: st.DataObject,
    bound: Bound,
    cooldown: int,
) -> None:
    limits = threshold(cooldown_minutes=cooldown)
    in_order, _ = run(sorted(readings, key=lambda reading: reading.time_key), limits, bound)
    shuffled = data.draw(st.permutations(readings + readings[:5]))
    other, _ = run(shuffled, limits, bound)
    assert max(other.beyond, other.within) == max(in_order.beyond, in_order.within)
    assert other.out_of_bounds == in_order.out_of_bounds


@given(series, st.sampled_from(BOUNDS), cooldowns)
def test_the_same_readings_again_change_nothing_and_tell_nobody(
    readings: list[Reading],
    bound: Bound,
    cooldown: int,
) -> None:
    limits = threshold(cooldown_minutes=cooldown)
    state, _ = run(readings, limits, bound)
    again, alerts = run(readings, limits, bound, state)
    assert again == state
    assert alerts == []


@given(series, st.sampled_from(BOUNDS))
def test_in_order_the_alerts_are_those_of_a_plain_walk(readings: list[Reading], bound: Bound) -> None:
    limits = threshold()
    ordered = sorted(readings, key=lambda reading: reading.time_key)
    out, expected = False, []
    for reading in ordered:
        value = reading.metrics["temperature"]
        beyond = value > 30 if bound == "max" else value < -10
        back = value <= 28 if bound == "max" else value >= -8
        if (beyond and not out) or (back and out):
            out = not out
            expected.append(("crossed" if out else "recovered", str(value)))
    _, alerts = run(ordered, limits, bound)
    assert [(alert.kind, alert.value) for alert in alerts] == expected


@pytest.mark.parametrize("bound", BOUNDS)
def test_from_one_side_to_the_other_is_a_recovery_and_a_crossing(bound: Bound) -> None:
    assert kinds(["40", "-40", "40"], threshold(), bound) == (
        ["crossed 40", "recovered -40", "crossed 40"] if bound == "max" else ["crossed -40", "recovered 40"]
    )
