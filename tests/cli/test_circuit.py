"""`pipeline circuit`: what it shows, and what the worker and the breaker function find afterwards."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from cli import circuit
from handlers.api.circuit import CircuitStore
from handlers.api.circuit_state import MAXIMUM_HOLD_SECONDS, Held, State
from local.errors import LocalError
from tests.graphs import SAMPLES
from tests.simulation.downstream import Outage


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> Outage:
    """A table whose item of the circuit the commands use."""
    made = Outage(lambda *_: None)
    monkeypatch.setattr(circuit, "store_of", lambda _stack: CircuitStore(made))  # type: ignore[arg-type]
    monkeypatch.setattr("time.time", lambda: 1_800_000_000.0)
    return made


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Callable[[], dict[str, object]]:
    def show() -> dict[str, object]:
        capsys.readouterr()
        assert circuit.run_show("dev", as_json=True) == 0
        answer: dict[str, object] = json.loads(capsys.readouterr().out)
        return answer

    return show


@pytest.mark.usefixtures("outage")
def test_a_circuit_that_nobody_changed_is_closed(shown: Callable[[], dict[str, object]]) -> None:
    assert shown() == {
        "state": "CLOSED", "since": None, "until": None, "by_operator": False, "reason": None,
        "events_per_second": None, "keys": [],
    }  # fmt: skip


def test_it_is_held_open_for_a_time_and_not_probed_before(
    outage: Outage, shown: Callable[[], dict[str, object]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert circuit.run_open("dev", timedelta(hours=2), "the bank moves", as_json=False) == 0
    said = capsys.readouterr().out
    assert "held open by an operator since 2027-01-15T08:00:00Z: the bank moves" in said
    assert shown() == {
        "state": "OPEN", "since": "2027-01-15T08:00:00Z", "until": "2027-01-15T10:00:00Z", "by_operator": True,
        "reason": "the bank moves", "events_per_second": None, "keys": [],
    }  # fmt: skip
    state, now = outage.state(), 1_800_000_000
    assert [state.is_due(now + later) for later in (0, 7_199, 7_200)] == [False, False, True]


@pytest.mark.parametrize("length", [timedelta(0), timedelta(hours=12, seconds=1)])
def test_nobody_holds_it_open_without_an_end(outage: Outage, length: timedelta) -> None:
    with pytest.raises(LocalError, match="at most 12 hours"):
        circuit.run_open("dev", length, "", as_json=False)
    assert outage.circuit_item is None
    assert MAXIMUM_HOLD_SECONDS == 12 * 3_600


@pytest.mark.parametrize("at_once", [True, False])
def test_closing_it_holds_no_key_back_and_begins_slowly_unless_told_otherwise(
    outage: Outage, shown: Callable[[], dict[str, object]], *, at_once: bool
) -> None:
    keys = {"a": Held("shop-7", 1_799_999_000, 1_800_000_500)}
    outage.circuit_item = replace(State(open=True, since=1_799_999_000, until=1_800_000_100), keys=keys).attributes()
    assert shown()["keys"] == [{"key": "shop-7", "since": "2027-01-15T07:43:20Z", "until": "2027-01-15T08:08:20Z"}]
    assert circuit.run_close("dev", at_once=at_once, as_json=True) == 0
    assert (outage.state().open, outage.state().keys) == (False, {})
    assert shown()["events_per_second"] == (None if at_once else 5)


def test_a_stack_without_a_circuit_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SAMPLES)
    with pytest.raises(LocalError, match=r"there is no circuit: set worker.circuit_breaker"):
        circuit.store_of("dev")
