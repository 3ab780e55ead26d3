"""Whole histories of the worker in memory.

A queue duplicates, reorders and delays, a table throttles, workers die at any step, processors fail, kill and hang. A
history follows from its seed, so that one that goes wrong can be played again. The worker is the real one. Only its
edges are replaced: the table, SQS, SNS, and the call of the user's function.
"""

import logging
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

from handlers.api import storing, worker
from handlers.api.events import Envelope
from handlers.api.items import Completion
from handlers.api.processing import Answer, ProcessingTimeoutError
from handlers.api.settings import WorkerSettings
from handlers.api.worker import Worker
from handlers.processor import Rejected, SecretError
from handlers.shared import queues
from handlers.shared.dynamodb import TableError
from handlers.shared.log import logger

MAX_ATTEMPTS = 3
FUNCTION_SECONDS = 30.0
VISIBILITY_SECONDS = 180.0
EVENT_SECONDS = 1.0
# A history that has not ended by then never ends.
MAXIMUM_DELIVERIES = 400

SETTINGS = WorkerSettings(
    table_name="t",
    queue_url="q",
    results="inline",
    time_index_shards=1,
    items_expire_after_days=1,
    dead_letter_queue_url="d",
    alerts_topic_arn="a",
    alerts_runbook="docs/alarms.md",
    processor="p",
    max_attempts=MAX_ATTEMPTS,
    backoff_base_seconds=1,
    backoff_maximum_seconds=60,
    archive=False,
)


def mark(
    items: dict[str, dict[str, Any]], envelope: Envelope, attempt: int, until: int, message_id: str, receives: int
) -> None:
    """Record in the items that an attempt begins, as `EventTable.mark` does."""
    item = items.setdefault(envelope.id, {"id": envelope.id, "status": "queued"})
    item |= {
        "attempts": attempt,
        "running_until": until,
        "noted_message_id": message_id,
        "noted_receives": receives,
    }


class Died(BaseException):
    """The worker's process ends here. No code may catch it."""


real_time = time.time


@dataclass
class Event:
    """An event: what its processor does, and what became of it."""

    id: str
    kind: str
    """`fine`, `kills`, `fails` (always), `recovers` (fails once), `rejects`, `hangs`, `reads` (a secret)."""
    group: str
    runs: int = 0
    deaths: int = 0
    """Workers that died with its message in their batch."""
    troubles: int = 0
    """Batches with its message in which a service did not answer."""
    cuts: int = 0
    """Runs that had less than all the time."""
    finished_at: int | None = None
    """The place of its first success among all."""


@dataclass
class Message:
    """A message of the queue."""

    id: str
    event: Event
    body: str
    receives: int = 0
    visible_at: float = 0.0
    deleted: bool = False


@dataclass
class World:
    """One history. `fifo`: the queue keeps the order within a group."""

    seed: int
    fifo: bool = False
    now: float = 1_000_000.0
    left: float = FUNCTION_SECONDS
    messages: list[Message] = field(default_factory=list)
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    expire_seconds: float = math.inf
    """How long an item is kept after its last write."""
    expires: dict[str, float] = field(default_factory=dict)
    dead: Counter[str] = field(default_factory=Counter)
    events: dict[str, Event] = field(default_factory=dict)
    in_trouble: bool = False
    table_back_at: float = 0.0
    secrets_back_at: float = 0.0
    finished: int = 0
    circuit: Any = None
    aws_request_id: str = "run"

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)  # noqa: S311  no secret
        self.harm = self.chance.choice([0.0, 0.0, 0.02, 0.1])
        kinds = ["fine"] * 6 + ["kills", "fails", "recovers", "rejects", "hangs"]
        for number in range(self.chance.randint(1, 6)):
            group = self.chance.choice("ab") if self.fifo else ""
            event = Event(f"00000000-0000-4000-8000-{number:012}", self.chance.choice(kinds), group)
            self.events[event.id] = event
            envelope = Envelope(event.id, "t", "2026-01-01T00:00:00.000000Z", "", "", "", "", {"id": event.id})
            self.messages.append(Message(f"m{number}", event, envelope.to_message()))

    # The queue

    def receive(self) -> list[Message]:
        """Return the next batch; time goes on until there is one."""
        waiting = [each for each in self.messages if not each.deleted]
        if self.fifo:
            # A group waits for its first message; a batch may hold several of a group, in order.
            blocked = {
                each.event.group
                for each in waiting
                if each.visible_at > self.now and each is self._first(waiting, each)
            }
            ready = [each for each in waiting if each.event.group not in blocked and each.visible_at <= self.now]
            ready = [each for each in ready if all(other in ready for other in self._before(waiting, each))]
        else:
            ready = [each for each in waiting if each.visible_at <= self.now]
            self.chance.shuffle(ready)
        if not ready and waiting:
            self.now = min(each.visible_at for each in waiting if each.visible_at > self.now)
            return self.receive()
        batch = ready[: self.chance.randint(1, 4)]
        for each in batch:
            each.receives += 1
            each.visible_at = self.now + VISIBILITY_SECONDS
        return batch

    def _first(self, waiting: Sequence[Message], of: Message) -> Message:
        return next(each for each in waiting if each.event.group == of.event.group)

    def _before(self, waiting: Sequence[Message], of: Message) -> list[Message]:
        return [each for each in waiting[: waiting.index(of)] if each.event.group == of.event.group]

    def send(self, _url: str, messages: Sequence[Any]) -> list[bool]:
        """Take dead letters."""
        self.step()
        for message in messages:
            self.dead[message.attributes["event_id"]] += 1
        self.step()
        return [True] * len(messages)

    def return_after(self, _url: str, delays: Mapping[str, int]) -> None:
        """Set when messages come back."""
        self.step()
        for message in self.messages:
            if message.id in delays:
                message.visible_at = self.now + delays[message.id]

    # The table

    def step(self) -> None:
        """Something can go wrong here: the worker dies, or a service does not answer."""
        if self.chance.random() < self.harm:
            if self.chance.random() < 0.5:
                raise Died
            self.in_trouble = True
            raise TableError("throttled")

    def read(self, ids: Iterator[str]) -> dict[str, dict[str, Any]]:
        """Return the items of events."""
        if self.now < self.table_back_at:
            raise TableError("throttled")
        self.step()
        self._expire()
        return {each: dict(self.items[each]) for each in ids if each in self.items}

    def _expire(self) -> None:
        """Forget expired items: whether TTL has deleted them or not, the table takes them for absent."""
        self.items = {each: item for each, item in self.items.items() if self.expires.get(each, math.inf) > self.now}

    def mark(
        self, envelope: Envelope, attempt: int, until: int, message_id: str, receives: int, _item: object = None
    ) -> None:
        """Record that an attempt begins."""
        self.step()
        self._expire()
        mark(self.items, envelope, attempt, until, message_id, receives)
        self.expires[envelope.id] = self.now + self.expire_seconds
        self.step()

    def complete(self, completions: Sequence[Completion], _known: object) -> list[dict[str, Any] | None]:
        """Record what became of events, or of attempts."""
        self.step()
        self._expire()
        answers: list[dict[str, Any] | None] = []
        for each in completions:
            item = self.items.setdefault(each.envelope.id, {"id": each.envelope.id})
            if item.get("status") == "succeeded":
                answers.append(dict(item))
                continue
            self.expires[each.envelope.id] = self.now + self.expire_seconds
            item |= {
                "status": each.status,
                "attempts": each.attempts,
                "error": each.error,
                "error_type": each.error_type,
                "rejected_message_id": each.rejected_message_id,
            }
            if each.status != "succeeded":
                item["running_until"] = None
            if each.status == "retrying":
                item |= {"noted_message_id": each.noted_message_id, "noted_receives": each.noted_receives}
            answers.append(None)
            if each.status == "succeeded":
                self.finished += 1
                self.events[each.envelope.id].finished_at = self.finished
        self.step()
        return answers

    def claim_minute(self, _name: str) -> bool:
        """Take part in no alert."""
        return False

    # The processor

    def call(self, _process: object, data: Mapping[str, Any], _context: object, seconds: float) -> Answer:
        """Return the outcome of the user's function, or die as it does."""
        event = self.events[data["id"]]
        event.runs += 1
        took = EVENT_SECONDS * self.chance.choice([0.1, 1, 5, 12])
        if event.kind == "kills":
            raise Died
        if event.kind == "hangs" or took > seconds:
            self.left -= seconds
            event.cuts += 1
            return Answer(seconds, error=ProcessingTimeoutError("no result"))
        self.left -= took
        if event.kind == "reads" and self.now < self.secrets_back_at:
            return Answer(took, error=SecretError("the secret 'key' could not be read: ThrottlingException"))
        if event.kind == "rejects":
            return Answer(took, error=Rejected("never"))
        if event.kind == "fails" or (event.kind == "recovers" and event.runs == 1):
            return Answer(took, error=RuntimeError("not now"))
        return Answer(took, "1")

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until Lambda ends the function."""
        return int(self.left * 1_000)

    # The history

    def play(self, maximum_deliveries: int = MAXIMUM_DELIVERIES) -> None:
        """Deliver until the queue is empty. Raises AssertionError for a history that never ends."""
        for _ in range(maximum_deliveries):
            if all(message.deleted for message in self.messages):
                return
            self.deliver(self.receive())
        raise AssertionError(f"seed {self.seed}: the queue is never empty: {self.items}")

    def deliver(self, batch: Sequence[Message]) -> None:
        """Run the worker on a batch, as Lambda does."""
        self.left, self.in_trouble = FUNCTION_SECONDS, False
        records = [
            {
                "messageId": each.id,
                "receiptHandle": each.id,
                "body": each.body,
                "attributes": {
                    "ApproximateReceiveCount": str(each.receives),
                    **({"MessageGroupId": each.event.group} if self.fifo else {}),
                },
            }
            for each in batch
        ]
        function = Worker.__new__(Worker)
        settings = replace(SETTINGS, queue_url="q.fifo") if self.fifo else SETTINGS
        function._settings, function._service, function._circuit = settings, "s", self.circuit
        function._faults, function._process, function._table = None, lambda *_: None, self  # type: ignore[assignment]
        try:
            answer = function.handle(records, self)
        except Died:
            for each in batch:
                each.event.deaths += 1
            return
        finally:
            for each in batch:
                each.event.troubles += self.in_trouble
            self.now += FUNCTION_SECONDS - self.left
        returning = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        for each in batch:
            # SQS may deliver a message again that it was told to delete.
            if each.id not in returning and self.chance.random() > 0.1:
                each.deleted = True


@contextmanager
def edges() -> Iterator[Callable[[World], World]]:
    """Replace the worker's edges by those of the world that the returned function is given."""
    current: list[World] = []

    @contextmanager
    def beside(self: storing.Storing) -> Iterator[None]:
        # No thread: the clock is the world's.
        yield
        self.store()

    with (
        patch.object(worker, "call", lambda *given: current[-1].call(*given)),  # noqa: PLW0108
        patch.object(worker, "report", lambda *_given, **_named: None),
        patch.object(queues, "return_after", lambda *given: current[-1].return_after(*given)),  # noqa: PLW0108
        patch.object(queues, "send", lambda *given: current[-1].send(*given)),  # noqa: PLW0108
        patch.object(storing.Storing, "beside", beside),
        patch.object(logger, "append_keys"),
        patch.object(logger, "remove_keys"),
        patch.object(logger, "set_correlation_id"),
        patch.object(logger, "warning"),
        patch.object(logger, "exception"),
        # A thread that another test left, such as the emulator's, may ask before there is a world.
        patch.object(time, "time", lambda: current[-1].now if current else real_time()),
    ):

        def enter(world: World) -> World:
            current[:] = [world]
            return world

        yield enter


def check(world: World) -> None:
    """Raise AssertionError for a history in which an event was lost, harmed by another, or counted wrongly."""
    for event in world.events.values():
        said = f"seed {world.seed}, {event}, {world.items.get(event.id)}"
        item = world.items.get(event.id)
        assert item is not None, f"lost: {said}"
        dead = world.dead[event.id]
        # An event looks like a killer only if its workers were ended from outside, or could not record it, too often.
        endured = event.deaths + event.troubles + (event.kind == "recovers")
        unlucky = world.harm and endured >= MAX_ATTEMPTS and item["status"] == "failed"
        if event.kind in ("fine", "recovers") and not unlucky:
            assert item["status"] == "succeeded", f"harmed: {said}"
            # A second run for each death, outage and lack of time that its batch went through, and no more.
            once = 1 + (event.kind == "recovers")
            assert event.runs <= once + event.deaths + event.troubles + event.cuts, f"ran too often: {said}"
            unrecorded = event.kind == "recovers" and event.deaths
            assert world.harm or unrecorded or item["attempts"] == once, f"attempts are not exact: {said}"
            assert not dead, f"succeeded, and dead-lettered: {said}"
        else:
            assert item["status"] == "failed", f"not failed: {said}"
            assert dead >= 1, f"failed, and not dead-lettered: {said}"
            used = MAX_ATTEMPTS
            if event.kind == "rejects":
                # More than one only if workers died, or could not record it, before its end was recorded.
                used = item["attempts"] if world.harm else 1
            assert item["attempts"] == used, f"attempts are wrong: {said}"
            # A run that was cut short, or whose worker died before anybody was marked, is no attempt.
            assert event.runs <= used + event.deaths + event.troubles + event.cuts, f"ran too often: {said}"
            # A worker that dies between mark and call has used an attempt without a run: only the harmed may.
            assert world.harm or used <= event.runs, f"attempts without runs: {said}"
            if event.kind == "fails" and not event.deaths + event.troubles + event.cuts:
                assert event.runs == used, f"attempts are not exact: {said}"
    if world.fifo:
        for group in "ab":
            order = [each.finished_at for each in world.events.values() if each.group == group and each.finished_at]
            assert order == sorted(order), f"seed {world.seed}: group {group} is out of order: {order}"


def histories(seeds: range) -> None:
    """Play and check a history for each seed, half of them with a FIFO queue."""
    with edges() as enter:
        for seed in seeds:
            world = enter(World(seed, fifo=bool(seed % 2)))
            world.play()
            check(world)


if __name__ == "__main__":
    logging.disable()
    total = int(sys.argv[1])
    step = 10_000
    for begin in range(0, total, step):
        histories(range(begin, min(begin + step, total)))
        sys.stdout.write(f"{min(begin + step, total):,} histories\n")
        sys.stdout.flush()
