"""Storing while the worker goes on: what finishes in the middle of a round is stored in the next one, completely."""

from collections.abc import Sequence
from dataclasses import replace
from unittest.mock import patch

import pytest

from handlers.api import objects
from handlers.api.decisions import Delivery, Failed, Failure, Outcome, Succeeded
from handlers.api.events import Envelope
from handlers.api.items import Completion
from handlers.api.storing import Storing
from handlers.shared import queues
from tests.simulation.world import SETTINGS

SUCCEEDED, FAILED = Succeeded(1, "1"), Failed(5, Failure("Error", "no"))


class Table:
    """A table that calls back in the middle of a round."""

    def __init__(self) -> None:
        self.completed: list[str] = []

    def complete(self, completions: Sequence[Completion], _known: object) -> list[None]:
        self.completed += [each.envelope.id for each in completions]
        return [None] * len(completions)

    def claim_minute(self, _name: str) -> bool:
        return False


def delivery(event_id: str, outcome: Outcome | None) -> Delivery:
    envelope = Envelope(event_id, "t", "2026-01-01T00:00:00.000000Z", "", "", "", "", {})
    return Delivery(event_id, event_id, "", 1, envelope=envelope, outcome=outcome)


@pytest.mark.parametrize("finishes", [SUCCEEDED, FAILED])
def test_an_event_that_finishes_while_results_are_stored_is_not_completed_without_its_own(finishes: Outcome) -> None:
    first, second = delivery("first", SUCCEEDED), delivery("second", None)
    table, stored, dead = Table(), list[str](), list[str]()
    storing = Storing(replace(SETTINGS, results="object"), table, "s", [first, second], lambda _: 1)  # type: ignore[arg-type]

    def put_result(_bucket: str, key: str, _result: str) -> None:
        second.outcome = finishes
        stored.append(key.rpartition("/")[2])

    def send(_url: str, messages: Sequence[queues.Outgoing]) -> list[bool]:
        dead.extend(message.attributes["event_id"] for message in messages)
        return [True] * len(messages)

    with patch.object(objects, "put_result", put_result), patch.object(queues, "send", send):
        storing.store()
        assert (table.completed, stored, dead) == (["first"], ["first.json"], [])
        storing.store()
    assert table.completed == ["first", "second"]
    assert (stored, dead) == (
        (["first.json", "second.json"], []) if finishes is SUCCEEDED else (["first.json"], ["second"])
    )
