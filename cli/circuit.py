"""`pipeline circuit`: the circuit of a stack with `worker.circuit_breaker`. It reads and writes the table's item."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from cli.core.json_text import write_json
from cli.core.stack import Stack
from cli.core.terminal import write_lines
from components.options.api import ApiPipelineConfig
from handlers.api.circuit import CircuitStore
from handlers.api.circuit_state import MAXIMUM_HOLD_SECONDS, State
from handlers.shared.dynamodb import Table
from local.errors import LocalError


def run_show(stack: str, *, as_json: bool) -> int:
    """Print the circuit's state."""
    state = store_of(stack).read()
    write_json(_described(state)) if as_json else write_lines(_lines(stack, state))
    return 0


def run_open(stack: str, length: timedelta, reason: str, *, as_json: bool) -> int:
    """Open the circuit for a time. The worker takes no messages, and nothing is probed before the time is over."""
    seconds = int(length.total_seconds())
    if not 0 < seconds <= MAXIMUM_HOLD_SECONDS:
        raise LocalError(f"--for is at most {MAXIMUM_HOLD_SECONDS // 3_600} hours: open it again before it ends")
    return _change(stack, lambda state: state.held(int(time.time()), seconds, reason), as_json=as_json)


def run_close(stack: str, *, at_once: bool, as_json: bool) -> int:
    """Close the circuit, and hold no key back. The worker begins slowly, or `at_once` with all there is."""

    def closed(state: State) -> State:
        return replace(state.closed(int(time.time()), at_once=at_once) or state, keys={})

    return _change(stack, closed, as_json=as_json)


def store_of(stack: str) -> CircuitStore:
    """Return the stored circuit. Raises LocalError for a stack without one."""
    guarded = Stack(stack)
    if guarded.config_as(ApiPipelineConfig).worker.circuit_breaker is None:
        raise LocalError(f"Pulumi.{stack}.yaml: there is no circuit: set worker.circuit_breaker: {{}}")
    guarded.aim_aws_clients()
    return CircuitStore(Table(guarded.output("table_name")))


def _change(stack: str, transition: Callable[[State], State], *, as_json: bool) -> int:
    changed = store_of(stack).change(transition)
    if changed is None:
        raise LocalError("the circuit changes all the time: try again")
    if as_json:
        write_json(_described(changed[1]))
    else:
        write_lines([*_lines(stack, changed[1]), "The breaker function switches the worker within a minute."])
    return 0


def _described(state: State) -> dict[str, object]:
    return {
        "state": "OPEN" if state.open else "CLOSED",
        "since": _time(state.since),
        "until": _time(state.until),
        "by_operator": state.by_operator,
        "reason": state.reason or None,
        "events_per_second": state.pace or None,
        "keys": [
            {"key": held.name, "since": _time(held.since), "until": _time(held.until)} for held in state.keys.values()
        ],
    }


def _lines(stack: str, state: State) -> Iterator[str]:
    if state.open:
        who = "held open by an operator" if state.by_operator else "open"
        yield f"{stack}: {who} since {_time(state.since)}" + (f": {state.reason}" if state.reason else "")
        yield f"    not probed before {_time(state.until)}"
    elif state.pace:
        yield f"{stack}: closed, and slow after an outage: {state.pace:.1f} events a second"
    else:
        yield f"{stack}: closed"
    for held in state.keys.values():
        yield f"    held back: {held.name!r} since {_time(held.since)}, tried again at {_time(held.until)}"


def _time(seconds: int) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z") if seconds else None
