"""The circuit's item: it is written only over what was read, whatever a hand or a former release has left in it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from handlers.api.circuit import NAME, CircuitStore
from handlers.api.circuit_state import State
from handlers.shared.dynamodb import Table, typed
from tests.memory_table import MemoryDynamoDB, MemoryTable


@pytest.fixture
def table(aws_in_process: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryTable]:  # noqa: ARG001  a region
    monkeypatch.setattr("time.sleep", lambda _: None)
    made = MemoryTable(("id",))
    with MemoryDynamoDB(t=made).answering():
        yield made


def opened(state: State) -> State | None:
    return state.opened(1_000, 60, "out")


@pytest.mark.parametrize(
    "left",
    [
        None,
        {"state": "HALF_OPEN", "opened_at": 7},
        {"state": "CLOSED", "change_count": "1"},
        {"state": "CLOSED", "change_count": 1.5},
        {"state": "CLOSED", "change_count": 41},
    ],
)
def test_what_is_left_behind_can_be_changed(table: MemoryTable, left: dict[str, Any] | None) -> None:
    if left is not None:
        table.items[NAME,] = typed({"id": NAME, **left})
    store = CircuitStore(Table("t"))
    change = store.change(lambda state: replace(state, open=True, reason="seen"))
    assert change is not None
    assert (change[1].open, CircuitStore(Table("t")).read().reason) == (True, "seen")


def test_of_two_who_open_it_at_once_one_does(table: MemoryTable) -> None:
    first, second = CircuitStore(Table("t")), CircuitStore(Table("t"))
    meanwhile: list[object] = []

    def overtaken(state: State) -> State | None:
        if not meanwhile:
            meanwhile.append(second.change(opened))
        return opened(state)

    assert first.change(overtaken) is None
    assert meanwhile != [None]
    assert first.read().change_count == 1
    assert len(table.items) == 1


def test_changes_at_once_do_not_undo_each_other(table: MemoryTable) -> None:
    first, second = CircuitStore(Table("t")), CircuitStore(Table("t"))
    meanwhile: list[object] = []

    def overtaken(state: State) -> State | None:
        if not meanwhile:
            meanwhile.append(second.change(lambda other: other.key_opened("b", "b", 0, 60)))
        return state.key_opened("a", "a", 0, 60)

    assert first.change(overtaken) is not None
    assert set(second.read().keys) == {"a", "b"}
    assert table.items
