"""Histories of lost messages: two repeats send each event again, and it is processed once, whatever dies."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from handlers.api import worker
from handlers.api.decisions import Covered, Delivery, Limits, Outcome, Start, plan
from tests.simulation.world import MAX_ATTEMPTS, Message, World, edges

SEEDS = range(600)


class LostWorld(World):
    """A world whose queue is purged before the first delivery."""

    def purge(self) -> None:
        """Lose all messages. Two repeats at once send each event again."""
        for message in list(self.messages):
            message.deleted = True
            self.items[message.event.id] = {"id": message.event.id, "status": "queued", "attempts": 0}
            body = json.dumps({**json.loads(message.body), "resent": True})
            self.messages += [Message(f"{message.id}-{copy}", message.event, body) for copy in range(2)]


def check(world: World) -> None:
    """Raise AssertionError for an event that was lost again, or succeeded and ran more often than deaths explain.

    The second message of an event that failed looks like one that was redriven: it begins anew, and fails again.
    """
    for event in world.events.values():
        item = world.items[event.id]
        said = f"seed {world.seed}, {event}, {item}"
        explained = event.deaths + event.troubles + event.cuts
        if item["status"] == "succeeded":
            assert event.runs <= 1 + (event.kind == "recovers") + explained, f"ran too often: {said}"
        else:
            assert item["status"] == "failed", f"not done: {said}"
            assert world.dead[event.id], f"failed, and not dead-lettered: {said}"
            assert event.kind not in ("fine", "recovers") or explained >= MAX_ATTEMPTS, f"harmed: {said}"


def histories(seeds: range) -> Counter[str]:
    """Play and check a history for each seed. Return how its events ended."""
    ends: Counter[str] = Counter()
    with edges() as enter:
        for seed in seeds:
            world = LostWorld(seed)
            enter(world)
            world.purge()
            world.play()
            check(world)
            ends.update(item["status"] for item in world.items.values())
    return ends


def test_each_lost_event_is_processed_once_of_two_repeats() -> None:
    ends = histories(SEEDS)
    assert set(ends) == {"succeeded", "failed"}


def test_it_finds_two_messages_of_which_each_is_processed(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(delivery: Delivery, item: Mapping[str, Any] | None, limits: Limits, now: float) -> Start | Outcome:
        planned = plan(delivery, item, limits, now)
        return Start(1, marked=True) if isinstance(planned, Covered) else planned

    monkeypatch.setattr(worker, "plan", forgetful)
    with pytest.raises(AssertionError, match="ran too often"):
        histories(SEEDS)
