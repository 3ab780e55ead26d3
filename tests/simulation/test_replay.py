"""Histories with replays: what is done is processed once more for each replay, whatever dies and comes twice."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from handlers.api import worker
from handlers.api.decisions import begins_anew
from handlers.api.events import Envelope
from handlers.api.processing import Answer
from tests.simulation.world import MAX_ATTEMPTS, Message, World, edges

REPLAYS = ("2026-01-02T00:00:00.000000Z", "2026-01-03T00:00:00.000000Z")
SEEDS = range(600)


class ReplayWorld(World):
    """A world whose table knows replays. After a history, each event is sent again, by some replays twice."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.replays: Sequence[str] = ()
        self.begun: dict[str, dict[str, int]] = {}
        self.runs: Counter[str] = Counter()

    def reopen(self, events: Sequence[tuple[Envelope, Any]]) -> dict[str, Any]:
        """Begin events anew, as the table does: only an item that is as it was read."""
        self.step()
        for envelope, read in events:
            item = self.items.get(envelope.id)
            if item == read:
                self.items[envelope.id] = {
                    "id": envelope.id,
                    "status": "queued",
                    "attempts": 0,
                    "replay": envelope.replay,
                }
        self.step()
        return {envelope.id: dict(self.items[envelope.id]) for envelope, _ in events}

    def call(self, process: object, data: Mapping[str, Any], context: object, seconds: float) -> Answer:
        """Count runs of each event since the replays began."""
        self.runs[data["id"]] += 1
        return super().call(process, data, context, seconds)

    def forget(self) -> None:
        """Restore the table from an older day, or let items expire: some say `queued`, some are gone."""
        for event_id in list(self.items):
            match self.chance.randint(0, 5):
                case 0:
                    self.items[event_id] = {"id": event_id, "status": "queued", "attempts": 0}
                case 1:
                    del self.items[event_id]

    def replay(self, replays: Sequence[str]) -> None:
        """Send all events again: as `pipeline replay` does after a kill, some of them twice."""
        self.replays, self.runs, self.dead = replays, Counter(), Counter()
        originals = {message.event.id: message for message in self.messages}
        for message in originals.values():
            # SQS delivers some again although they were deleted long ago.
            message.deleted = self.items.get(message.event.id, {}).get("status") == "queued" or (
                message.event.id not in self.items or self.chance.random() > 0.1
            )
        for event in self.events.values():
            event.deaths = event.troubles = event.cuts = 0
            queued = self.items.get(event.id, {}).get("status") == "queued"
            for replay in replays:
                body = originals[event.id].body
                body = body if queued else json.dumps({**json.loads(body), "replay": replay})
                for copy in range(1 + (self.chance.random() < 0.3)):
                    self.messages.append(Message(f"{event.id}-{replay}-{copy}", event, body))


def check(world: ReplayWorld) -> None:
    """Raise AssertionError for an event that was lost, or ran more often than replays, deaths and lacks explain."""
    for event in world.events.values():
        item, runs = world.items[event.id], world.runs[event.id]
        said = f"seed {world.seed}, {event}, {runs} runs in the replays, {item}"
        assert item["status"] in ("succeeded", "failed"), f"not done: {said}"
        assert runs or event.deaths, f"not processed again: {said}"
        explained = event.deaths + event.troubles + event.cuts
        if event.kind in ("fine", "recovers"):
            assert runs <= len(world.replays) + (event.kind == "recovers") + explained, f"ran too often: {said}"
            assert item["status"] == "succeeded" or explained >= MAX_ATTEMPTS, f"harmed: {said}"
        if item["status"] == "failed":
            assert world.dead[event.id], f"failed, and not dead-lettered: {said}"


def histories(seeds: range, replays: Sequence[str]) -> None:
    with edges() as enter:
        for seed in seeds:
            world = ReplayWorld(seed)
            enter(world)
            world.play()
            world.forget()
            world.replay(replays)
            world.play()
            check(world)


@pytest.mark.parametrize("replays", [REPLAYS[:1], REPLAYS, REPLAYS[::-1]])
def test_each_replay_processes_an_event_once_and_loses_none(replays: Sequence[str]) -> None:
    histories(SEEDS, replays)


def test_it_finds_copies_that_begin_anew_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def always(envelope: Envelope, item: Mapping[str, Any] | None) -> bool:
        return begins_anew(envelope, {**item, "replay": ""} if item else item)

    monkeypatch.setattr(worker, "begins_anew", always)
    with pytest.raises(AssertionError, match="ran too often"):
        histories(SEEDS, REPLAYS[:1])


def test_it_finds_replayed_events_that_are_taken_for_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "begins_anew", lambda *_: False)
    with pytest.raises(AssertionError, match="not processed again"):
        histories(SEEDS, REPLAYS[:1])
