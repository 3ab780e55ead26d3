"""The circuit in outages that were seen, and in what its worst user does to it. Each is played in memory."""

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.queue import MAXIMUM_RECEIVES
from handlers.api import circuit_counts
from handlers.api.circuit import CircuitStore, digest_of
from handlers.api.circuit_counts import KeyFailures, Paced, Window
from handlers.api.circuit_state import (
    FEWEST_WORKERS,
    MAXIMUM_HOLD_SECONDS,
    MAXIMUM_KEYS,
    MAXIMUM_WAIT_SECONDS,
    Held,
    State,
    wait_seconds,
)
from handlers.shared.log import logger
from tests.simulation.downstream import SETTINGS, Limited, Outage, playing, refuse

BY_CUSTOMER = replace(SETTINGS, circuit_key_field="customer.id")


def one_in_ten_is_down(_outage: Outage, data: Mapping[str, Any]) -> None:
    if data["customer"]["id"] % 10 == 0:
        refuse()


def is_healthy(data: Mapping[str, Any]) -> bool:
    return bool(data["customer"]["id"] % 10)


def of_customer(number: int) -> dict[str, Any]:
    return {"customer": {"id": number % 50}}


def nothing(_number: int = 0) -> dict[str, Any]:
    return {}


def healthy(_outage: Outage, _data: Mapping[str, Any]) -> None:
    """It always answers."""


# A part, and the whole


def test_a_part_that_is_down_does_not_stop_the_rest() -> None:
    with playing(Outage(one_in_ten_is_down)) as outage:
        outage.arrive(10, of_customer)
        outage.clock.run(120)
        assert outage.finished(is_healthy) >= 1_070
        assert (outage.state().open, outage.paused_seconds) == (False, 0)


def test_it_finds_a_circuit_that_takes_five_failures_in_a_row_for_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    def five_in_a_row(self: Window, **_: object) -> bool:
        return list(self._failed.values())[-5:] == [True] * 5

    def every_failure(self: Window, name: str, _now: float, *, failed: bool, again: bool) -> None:
        count(self, name, 0, failed=failed, again=again and False)

    count = Window.count
    monkeypatch.setattr(Window, "is_outage", five_in_a_row)
    monkeypatch.setattr(Window, "count", every_failure)
    with playing(Outage(one_in_ten_is_down)) as outage:
        outage.arrive(10, of_customer)
        outage.clock.run(120)
        assert outage.finished(is_healthy) < 1_000


def test_with_a_key_only_its_events_are_held_back_and_they_use_no_attempt() -> None:
    with playing(Outage(one_in_ten_is_down, settings=BY_CUSTOMER)) as outage:
        outage.arrive(10, of_customer)
        outage.clock.run(120)
        attempts, failed = outage.attempts(), outage.calls["failed"]
        outage.clock.run(120)
        # Each failure since then was a trial.
        assert outage.calls["failed"] > failed
        assert outage.attempts() == attempts
        assert outage.finished(is_healthy) >= 2_150
        assert sorted(held.name for held in outage.state().keys.values()) == ["0", "10", "20", "30", "40"]
        # A key can be a person's address: the log has its digest, as the item has, and `pipeline circuit show` the key.
        logged = [call.kwargs["extra"] for call in vars(logger)["warning"].call_args_list]
        held_back = [extra for extra in logged if "key_digest" in extra]
        assert {extra["key_digest"] for extra in held_back} == set(outage.state().keys)
        assert all(extra.keys() == {"key_digest"} for extra in held_back)
        # Without a circuit it were 1,200: each of 240 events five times.
        assert outage.calls["failed"] < 120
        assert (outage.state().open, outage.dead) == (False, [])
        outage.answer = healthy
        outage.clock.run(240)
        assert outage.finished() >= len(outage.data) - 20
        assert (outage.state().keys, outage.dead) == ({}, [])


def test_an_outage_of_everything_stops_the_worker_and_loses_nothing() -> None:
    with playing(Outage(lambda outage, _: refuse() if 20 < outage.now < 600 else None)) as outage:
        outage.arrive(10, nothing)
        outage.clock.run(60)
        calls = outage.calls["calls"]
        outage.clock.run(540)
        # Five probes a minute.
        assert outage.calls["calls"] - calls <= 5 * 10
        assert (outage.counts["CircuitOpened"], outage.counts["CircuitClosed"]) == (1, 0)
        outage.clock.run(180)
        assert outage.finished() >= len(outage.data) - 10
        assert (outage.dead, outage.counts["CircuitClosed"]) == ([], 1)


def test_an_outage_of_everything_stops_the_worker_where_there_are_keys_too() -> None:
    down = Outage(lambda outage, _: refuse() if outage.now > 20 else None, settings=BY_CUSTOMER)
    with playing(down) as outage:
        outage.arrive(10, of_customer)
        outage.clock.run(60)
        assert (outage.state().open, outage.dead) == (True, [])


def test_a_third_of_failures_does_not_pause_the_queue() -> None:
    failing = Outage(lambda outage, _: refuse() if outage.chance.random() < 0.3 else None)
    with playing(failing) as outage:
        outage.arrive(10, nothing)
        outage.clock.run(300)
        assert (outage.paused_seconds, outage.counts["CircuitOpened"]) == (0, 0)


# After an outage


def test_a_backlog_is_worked_off_at_the_pace_that_is_taken() -> None:
    with playing(Outage(Limited(40))) as outage:
        for _ in range(1_500):
            outage.send({})
        outage.arrive(10, nothing)
        outage.clock.run(58)
        calls, failed = outage.calls["calls"], outage.calls["failed"]
        outage.clock.run(10)
        # 5 a second at first, after five seconds 10.
        assert 20 <= outage.calls["calls"] - calls <= 80
        assert outage.calls["failed"] == failed
        outage.clock.run(252)
        assert outage.finished() >= 4_600
        # It is paused once, when all workers began at once.
        assert (outage.dead, outage.counts["CircuitOpened"]) == ([], 1)
        assert outage.state().pace == 0


def test_more_than_is_taken_slows_the_worker_down_and_never_stops_it_again() -> None:
    with playing(Outage(Limited(40))) as outage:
        for _ in range(10_000):
            outage.send({})
        outage.clock.run(100)
        done, failed = outage.finished(), outage.calls["failed"]
        outage.clock.run(100)
        assert outage.finished() - done > 0.9 * 100 * 40
        assert outage.calls["failed"] - failed < 0.1 * 100 * 40
        assert (outage.dead, outage.counts["CircuitOpened"]) == ([], 1)


def test_it_finds_a_circuit_that_goes_on_at_full_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = State.closed
    monkeypatch.setattr(State, "closed", lambda self, now: closed(self, now, at_once=True))
    with playing(Outage(Limited(40))) as outage:
        for _ in range(1_500):
            outage.send({})
        outage.arrive(10, nothing)
        outage.clock.run(320)
        assert outage.finished() < 2_000
        assert outage.counts["CircuitOpened"] > 2


def test_a_downstream_that_comes_and_goes_loses_nothing() -> None:
    flapping = Outage(lambda outage, _: refuse() if int(outage.now / 30) % 2 else None)
    with playing(flapping) as outage:
        outage.arrive(5, nothing)
        outage.clock.run(300)
        outage.answer = healthy
        outage.clock.run(240)
        assert outage.finished() >= len(outage.data) - 10
        assert outage.dead == []


def test_without_events_the_pace_ends_by_itself() -> None:
    with playing(Outage(healthy)) as outage:
        outage.circuit_item = {"id": "circuit", **State(1, open=True, until=int(outage.clock.now)).attributes()}
        outage.clock.run(8 * 60)
        assert (outage.state().pace, outage.workers, outage.on) == (0, SETTINGS.maximum_concurrency, True)


# What is left behind


def left_behind(now: int) -> dict[str, dict[str, Any] | None]:
    """Items that a crash, a restored table, a former release or a hand may leave."""
    return {
        "open in the future": State(1, open=True, since=now, until=now + 10**6).attributes(),
        "held in the future": State(1, open=True, until=now + 10**6, by_operator=True).attributes(),
        "half open without a lease": {"state": "HALF_OPEN", "opened_at": now},
        "open, of a former release": {"state": "OPEN", "opened_at": now + 10**6, "failure_count": 5},
        "deleted while the worker is paused": None,
        "no state": {"change_count": 3},
        "texts for numbers": {"state": "OPEN", "until": "soon", "change_count": "1", "pace": None},
        "a key in the future": State(1, keys={digest_of("0"): Held("0", now, now + 10**6)}).attributes(),
        "a pace of nothing": State(1, pace=1e-9, paced_at=now, workers=2).attributes(),
        "a pace without workers": State(1, pace=5.0, paced_at=now + 10**6).attributes(),
    }


@pytest.mark.parametrize("left", left_behind(0))
def test_every_state_that_is_left_behind_ends_by_itself_in_minutes(left: str) -> None:
    with playing(Outage(healthy, settings=BY_CUSTOMER)) as outage:
        item = left_behind(int(outage.clock.now))[left]
        outage.circuit_item, outage.on = item and {"id": "circuit", **item}, False
        outage.arrive(2, of_customer)
        outage.clock.run(10 * 60)
        assert (outage.on, outage.state().open, outage.state().pace, outage.state().keys) == (True, False, 0, {})
        assert outage.finished() >= len(outage.data) - 5


NUMBERS = st.integers(-(10**10), 10**10) | st.none() | st.text("1a", max_size=3) | st.booleans()


@given(
    st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(["change_count", "since", "until", "paced_at", "workers", "pace", "by_operator"], NUMBERS),
            "state": st.sampled_from(["OPEN", "CLOSED", "HALF_OPEN", "", None]),
        },
    )
)
def test_whatever_an_item_holds_is_probed_in_hours_and_paced_by_a_number(item: dict[str, Any]) -> None:
    state, now = State.of(item), 1_800_000_000
    assert any(state.is_due(now + later) for later in (0, MAXIMUM_WAIT_SECONDS, MAXIMUM_HOLD_SECONDS))
    assert 0 <= state.gap_seconds < float("inf")
    assert State.of(state.attributes()) == state


def test_wherever_the_breaker_function_dies_the_next_minutes_end_the_pause() -> None:
    for position in range(100):
        calls: list[str] = []

        def dies(call: str, calls: list[str] = calls, position: int = position) -> bool:
            calls.append(call)
            return len(calls) == position + 1

        # It is out when the events come, and back when the first minute is over.
        with playing(Outage(lambda outage, _: refuse() if outage.now < 50 else None)) as outage:
            outage.breaker_dies = dies
            for number in range(60):
                outage.send(of_customer(number))
            # A message that it had received is hidden for as long as the function may run.
            outage.clock.run(400)
            assert (outage.on, outage.state().open, outage.dead) == (True, False, []), calls[position]
            assert outage.finished() == 60, calls[position]
            if outage.counts["CircuitOpen"] and calls[: position + 1].count("after the switch") > 1:
                break
    assert {"read", "before the write", "after the write", "receive", "delete", "before the switch"} <= set(calls)
    assert position > 10


def test_of_two_that_want_to_probe_one_does() -> None:
    outage = Outage(healthy)
    outage.circuit_item = {"id": "circuit", **State(1, open=True).attributes()}
    with patch.object(time, "time", lambda: 1_000.0):
        first, second = CircuitStore(outage), CircuitStore(outage)  # type: ignore[arg-type]
        assert first.change(lambda state: state.probed(1_000, 30)) is not None
        assert second.change(lambda state: state.probed(1_000, 30)) is None


def test_a_table_that_does_not_answer_stops_no_event() -> None:
    with playing(Outage(one_in_ten_is_down, settings=BY_CUSTOMER)) as outage:
        outage.table_is_out = True
        outage.arrive(5, of_customer)
        outage.clock.run(60)
        assert outage.finished(is_healthy) >= 260
        outage.table_is_out = False
        outage.clock.run(60)
        assert outage.state().keys


# Keys, and how often a message is received


def test_the_item_stays_small_however_many_keys_are_out_and_however_long_they_are() -> None:
    state = State()
    for number in range(10_000):
        key = f"{number:05}" + "k" * 1_000
        state = state.key_opened(digest_of(key), key, 0, 60) or state
    assert len(state.keys) == MAXIMUM_KEYS
    assert len(json.dumps(state.attributes())) < 64_000
    assert state.minute(MAXIMUM_WAIT_SECONDS + 60, 100) is None
    forgotten = state.minute(MAXIMUM_WAIT_SECONDS + 61, 100)
    assert forgotten is not None
    assert forgotten.keys == {}


def test_a_worker_counts_a_bounded_number_of_keys() -> None:
    failures = KeyFailures(3)
    for number in range(10_000):
        failures.is_outage(f"k{number}", "e", 1)
    assert len(failures._failing) == circuit_counts.MAXIMUM_KEYS_COUNTED


@pytest.mark.parametrize("key", [None, True, {}, "", "k" * 1_000, "\ud800", 7, 1.5])
def test_any_key_or_none_is_taken(key: object) -> None:
    with playing(Outage(lambda _outage, data: refuse() if "bad" in data else None, settings=BY_CUSTOMER)) as outage:
        for _ in range(3):
            outage.send({"customer": {"id": key}, "bad": True})
        outage.arrive(10, of_customer)
        outage.clock.run(20)
        usable = key in (7, 1.5) or (isinstance(key, str) and bool(key))
        assert len(outage.state().keys) in ((0, 1) if usable else (0,))
        assert outage.finished() >= 180


def test_more_keys_than_can_be_held_back_stop_no_other_key() -> None:
    def every_other_is_down(_outage: Outage, data: Mapping[str, Any]) -> None:
        if data["customer"]["id"] % 2 == 0:
            refuse()

    with playing(Outage(every_other_is_down, settings=BY_CUSTOMER)) as outage:
        outage.arrive(30, lambda _: {"customer": {"id": outage.chance.randrange(500)}})
        outage.clock.run(90)
        healthy_events = sum(data["customer"]["id"] % 2 for data in outage.data.values())
        assert outage.finished() >= healthy_events - 20
        assert outage.counts["CircuitOpened"] == 0
        assert 20 < len(outage.state().keys) <= MAXIMUM_KEYS


def test_a_worker_that_starts_with_retries_of_a_part_does_not_take_them_for_an_outage() -> None:
    window = Window(10, by_key=False)
    for second in range(20):
        window.count(f"e{second}", second, failed=True, again=True)
        assert window.is_outage(paced=False) == (second >= 19)


def test_chance_is_no_overload() -> None:
    paced = Paced()
    for number in range(10):
        paced.count(1, failed=number < 7)
    assert not paced.is_overload(usual_failures=0.5)
    assert paced.is_overload(usual_failures=0.2)


def test_one_event_that_looks_like_an_outage_holds_its_key_not_back() -> None:
    poison = Outage(lambda _outage, data: refuse() if "bad" in data else None, settings=BY_CUSTOMER)
    with playing(poison) as outage:
        outage.send({"customer": {"id": 7}, "bad": True})
        outage.clock.run(120)
        assert outage.state().keys == {}
        assert len(outage.dead) == 1


@pytest.mark.parametrize("recovery", [1, 60, 3_600])
def test_no_message_that_is_held_back_reaches_the_last_limit_of_the_queue(recovery: int) -> None:
    now, receives = 0, 0
    while now < 13 * 86_400:
        # A pause that a function ends lasts whole minutes; a key's does not.
        now += wait_seconds(recovery, 0, now) + 1
        receives += 1
    assert receives < MAXIMUM_RECEIVES / 2


def test_fewer_workers_than_the_slow_beginning_has_are_no_less() -> None:
    assert State(pace=5, workers=FEWEST_WORKERS).minute(10**9, FEWEST_WORKERS) == State()
