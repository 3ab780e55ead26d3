"""Ten thousand histories of the worker, and that they find its former faults."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from handlers.api import decisions, worker
from handlers.api.decisions import Delivery, Failed, Failure, Limits, Outcome, Start
from handlers.api.storing import Storing
from handlers.api.worker import Clock
from tests.simulation.world import histories

CHUNK = 1_000


@pytest.mark.parametrize("chunk", range(10))
def test_no_event_is_lost_or_harmed_by_another(chunk: int) -> None:
    histories(range(chunk * CHUNK, (chunk + 1) * CHUNK))


plan = decisions.plan


def without_marks(delivery: Delivery, item: Mapping[str, Any] | None, limits: Limits, now: float) -> Start | Outcome:
    """Nobody finds out of which event a worker died."""
    planned = plan(delivery, item, limits, now)
    return replace(planned, marked=False) if isinstance(planned, Start) else planned


def by_receives(delivery: Delivery, item: Mapping[str, Any] | None, limits: Limits, now: float) -> Start | Outcome:
    """SQS's receive count is taken for the number of attempts."""
    planned = plan(delivery, item, limits, now)
    if not isinstance(planned, Start):
        return planned
    if delivery.receives > limits.max_attempts:
        return Failed(limits.max_attempts, Failure("gave_up", ""))
    return replace(planned, attempt=delivery.receives)


def test_it_finds_a_killer_that_nobody_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "plan", without_marks)
    with pytest.raises(AssertionError, match="the queue is never empty"):
        histories(range(CHUNK))


def test_it_finds_attempts_that_are_counted_by_receives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "plan", by_receives)
    with pytest.raises(AssertionError, match=r"harmed|attempts"):
        histories(range(CHUNK))


def test_it_finds_events_that_lose_attempts_for_lack_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clock, "is_full", lambda *_: True)
    with pytest.raises(AssertionError, match=r"harmed|attempts"):
        histories(range(CHUNK))


def test_it_finds_neighbours_whose_finished_work_dies_with_a_killer(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Storing.store

    def at_the_end(self: Storing) -> None:
        if not any(each.open for each in self._deliveries):
            store(self)

    monkeypatch.setattr(Storing, "store", at_the_end)
    with pytest.raises(AssertionError, match=r"harmed|ran too often|never empty"):
        histories(range(5 * CHUNK))


def test_it_finds_a_group_that_loses_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "behind", lambda _: None)
    with pytest.raises(AssertionError, match=r"out of order|ran too often"):
        histories(range(CHUNK))
