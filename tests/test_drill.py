"""The balance of `make drill` detects lost, doubled and stuck orders."""

from collections import Counter
from typing import Any

import pytest

from benchmarks.drill import Ledger, balance
from handlers.api.faults import kills

KILLER = next(event_id for event_id in map(str, range(10_000)) if kills(event_id))
NEIGHBOUR = next(event_id for event_id in map(str, range(10_000)) if not kills(event_id))


class Drill:
    """The result of a run: three accepted orders, of which one fails by design, and one that was refused."""

    def __init__(self, **different: Any) -> None:
        self._left = {
            "statuses": Counter(succeeded=2, failed=1),
            "results": Counter({"D-0": 1, "D-1": 1}),
            "dead_letters": {"id-2"},
            **different,
        }
        self.died: set[str] = different.get("died", {KILLER})

    def __getattr__(self, name: str) -> Any:
        return lambda: self._left[name]


def wrong(drill: Drill, **different: Any) -> set[str]:
    ids = {f"D-{number}": f"id-{number}" for number in range(3)}
    ledger = Ledger(**{"sent": 4, "refused": 1, "ids": ids, "failing": {"D-2"}, **different})
    return {what for what, _, right in balance(drill, ledger) if not right}  # type: ignore[arg-type]


def test_a_correct_run_balances() -> None:
    assert wrong(Drill()) == set()


@pytest.mark.parametrize(
    ("left", "found"),
    [
        ({"results": Counter({"D-0": 1})}, {"lost"}),
        ({"results": Counter({"D-0": 1, "D-1": 2})}, {"effects doubled"}),
        ({"statuses": Counter(succeeded=1, queued=1, failed=1)}, {"succeeded"}),
        ({"statuses": Counter(succeeded=1, failed=2)}, {"succeeded", "failed, by design"}),
        ({"dead_letters": set()}, {"in the dead letters"}),
        ({"dead_letters": {"id-1", "id-2"}}, {"in the dead letters"}),
        ({"died": {KILLER, NEIGHBOUR}}, {"neighbours of these in the dead letters"}),
        ({"died": set()}, {"killed their workers, and redriven"}),
    ],
)
def test_lost_doubled_and_stuck_orders_are_found(left: dict[str, Any], found: set[str]) -> None:
    assert wrong(Drill(**left)) == found


def test_an_order_without_a_response_or_with_two_ids_is_found() -> None:
    assert wrong(Drill(), sent=5) == {"accepted"}
    assert wrong(Drill(), doubled={"D-1"}) == {"effects doubled"}
