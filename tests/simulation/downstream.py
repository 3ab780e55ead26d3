"""Whole outages in memory: workers side by side, the breaker function each minute, and what the processor calls.

Time is simulated. Each worker is a thread, one of which runs at a time: whoever sleeps hands over to whoever wakes up
next, so a history follows from its seed. Worker, circuit and breaker function are the real ones. Their edges are
replaced: the tables, SQS, the event source mapping, and the call of the user's function.
"""

import heapq
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

from handlers.api import breaker, circuit, storing, worker
from handlers.api.breaker import Breaker
from handlers.api.circuit import Circuit, CircuitStore
from handlers.api.circuit_state import FEWEST_WORKERS, State
from handlers.api.events import Envelope
from handlers.api.items import Completion
from handlers.api.processing import Answer, ProcessingTimeoutError
from handlers.api.settings import WorkerSettings
from handlers.api.worker import Worker
from handlers.processor import Unavailable
from handlers.shared import metrics, queues
from handlers.shared.dynamodb import TableError
from handlers.shared.log import logger
from tests.simulation.world import SETTINGS as PLAIN
from tests.simulation.world import mark

FUNCTION_SECONDS = 30.0
VISIBILITY_SECONDS = 180.0
BATCH = 10
MINUTE = 60.0
SETTINGS = replace(
    PLAIN,
    max_attempts=5,
    backoff_base_seconds=2,
    backoff_maximum_seconds=900,
    circuit_failure_threshold=10,
    circuit_recovery_seconds=60,
    circuit_key_failure_threshold=3,
    maximum_concurrency=10,
)

real_sleep = time.sleep


class Killed(BaseException):
    """The breaker function is killed here."""


def _locked() -> threading.Lock:
    """Return a lock that somebody else's release opens; a semaphore of Python's does the same at ten times the cost."""
    lock = threading.Lock()
    lock.acquire()
    return lock


class Clock:
    """Simulated seconds. One thread runs at a time."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self._waiting: list[tuple[float, int, threading.Lock]] = []
        self._numbers = itertools.count()
        self._handed_over = _locked()
        self._over = False
        self._failures: list[BaseException] = []
        self._threads: list[threading.Thread] = []
        # Other tests of this process may have left some, such as moto's and the emulator's, which sleep for real.
        self._strangers = set(threading.enumerate())

    def sleep(self, seconds: float) -> None:
        """Let the others run for so long."""
        if threading.current_thread() in self._strangers:
            real_sleep(seconds)
            return
        mine = _locked()
        heapq.heappush(self._waiting, (self.now + max(0.0, seconds), next(self._numbers), mine))
        self._handed_over.release()
        mine.acquire()
        if self._over:
            raise SystemExit

    def start(self, run: Callable[[], None]) -> None:
        """Run something beside the others."""
        mine = _locked()

        def thread() -> None:
            mine.acquire()
            try:
                if not self._over:
                    run()
            except SystemExit:
                pass
            except BaseException as error:  # noqa: BLE001  raised again where the test sees it
                self._failures.append(error)
            self._handed_over.release()

        self._threads.append(threading.Thread(target=thread, daemon=True))
        self._threads[-1].start()
        heapq.heappush(self._waiting, (self.now, next(self._numbers), mine))

    def run(self, seconds: float) -> None:
        """Let so much time go by."""
        end = self.now + seconds
        while self._waiting and self._waiting[0][0] <= end and not self._failures:
            self.now, _, waiting = heapq.heappop(self._waiting)
            waiting.release()
            self._handed_over.acquire()
        if self._failures:
            raise self._failures[0]
        self.now = end

    def stop(self) -> None:
        """End all threads."""
        self._over = True
        while self._waiting:
            _, _, waiting = heapq.heappop(self._waiting)
            waiting.release()
            self._handed_over.acquire()
        for thread in self._threads:
            thread.join()


@dataclass
class Message:
    """A message of the queue."""

    id: str
    body: str
    visible_at: float
    receives: int = 0
    deleted: bool = False


@dataclass
class Run:
    """The context of one run."""

    clock: Clock
    ends_at: float
    aws_request_id: str = "run"

    def get_remaining_time_in_millis(self) -> int:
        return int((self.ends_at - self.clock.now) * 1_000)


@dataclass
class Outage:
    """One history. `answer(data)` is what the processor calls: it raises, or not. `seconds`: how long a call takes."""

    answer: Callable[["Outage", Mapping[str, Any]], None]
    seconds: float = 0.01
    seed: int = 0
    settings: WorkerSettings = SETTINGS
    clock: Clock = field(default_factory=Clock)
    messages: dict[str, Message] = field(default_factory=dict)
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    circuit_item: dict[str, Any] | None = None
    dead: list[str] = field(default_factory=list)
    data: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    done: dict[str, float] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    on: bool = True
    workers: int = 10
    paused_seconds: float = 0.0
    table_is_out: bool = False
    breaker_dies: Callable[[str], bool] = lambda _call: False

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)  # noqa: S311  no secret
        self.started_at = self.clock.now

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return self.clock.now - self.started_at

    # What a test says

    def send(self, data: Mapping[str, Any]) -> str:
        """Accept an event."""
        event_id = f"00000000-0000-4000-8000-{len(self.data):012}"
        envelope = Envelope(event_id, "t", "2026-01-01T00:00:00.000000Z", "", "", "", "", {**data, "id": event_id})
        self.data[event_id] = data
        self.messages[event_id] = Message(event_id, envelope.to_message(), self.clock.now)
        return event_id

    def arrive(self, a_second: float, data: Callable[[int], Mapping[str, Any]]) -> None:
        """Accept events from now on."""

        def run() -> None:
            for number in itertools.count():
                self.send(data(number))
                self.clock.sleep(1 / a_second)

        self.clock.start(run)

    def state(self) -> State:
        """The circuit's state."""
        return State.of(self.circuit_item)

    def finished(self, of: Callable[[Mapping[str, Any]], bool] = lambda _: True) -> int:
        """The number of events that succeeded."""
        return sum(of(self.data[event_id]) for event_id in self.done)

    def attempts(self) -> int:
        """The attempts that events have used which have not succeeded."""
        return sum(item["attempts"] for item in self.items.values() if item["status"] != "succeeded")

    # The queue

    def receive(self, most: int, hidden_seconds: float = VISIBILITY_SECONDS) -> list[dict[str, Any]]:
        ready = [each for each in self.messages.values() if each.visible_at <= self.clock.now]
        batch = self.chance.sample(ready, min(most, len(ready)))
        for each in batch:
            each.receives += 1
            each.visible_at = self.clock.now + hidden_seconds
        return [
            {
                "messageId": each.id,
                "receiptHandle": each.id,
                "body": each.body,
                "attributes": {"ApproximateReceiveCount": str(each.receives)},
            }
            for each in batch
        ]

    def receive_one(self, _url: str, hidden_seconds: int) -> dict[str, Any] | None:
        self._breaker_call("receive")
        return next(iter(self.receive(1, hidden_seconds)), None)

    def delete(self, _url: str, handles: Sequence[str]) -> list[bool]:
        self._breaker_call("delete")
        for handle in handles:
            self.messages.pop(handle, None)
        return [True] * len(handles)

    def depth(self, _url: str) -> int:
        return len(self.messages)

    def send_dead(self, _url: str, messages: Sequence[Any]) -> list[bool]:
        self.dead += [message.attributes["event_id"] for message in messages]
        return [True] * len(messages)

    def return_after(self, _url: str, delays: Mapping[str, int]) -> None:
        for handle, delay in delays.items():
            self.messages[handle].visible_at = self.clock.now + delay

    # The tables

    def read(self, ids: Iterator[str]) -> dict[str, dict[str, Any]]:
        self.clock.sleep(0.005)
        return {each: dict(self.items[each]) for each in ids if each in self.items}

    def mark(
        self, envelope: Envelope, attempt: int, until: int, message_id: str, receives: int, _item: object = None
    ) -> None:
        self.clock.sleep(0.005)
        mark(self.items, envelope, attempt, until, message_id, receives)

    def complete(self, completions: Sequence[Completion], _known: object) -> list[None]:
        if completions:
            self.clock.sleep(0.005)
        for each in completions:
            item = self.items.setdefault(each.envelope.id, {"id": each.envelope.id})
            item |= {
                "status": each.status,
                "attempts": each.attempts,
                "running_until": None,
                "error": each.error,
                "error_type": each.error_type,
                "noted_message_id": each.noted_message_id,
                "noted_receives": each.noted_receives,
            }
            if each.status == "succeeded":
                self.done.setdefault(each.envelope.id, self.now)
        return [None] * len(completions)

    def claim_minute(self, _name: str) -> bool:
        return False

    def item(self, _key: object) -> dict[str, Any] | None:
        """The circuit's item."""
        self._breaker_call("read")
        if self.table_is_out:
            raise TableError("throttled")
        return self.circuit_item

    def put_if(self, item: dict[str, Any], _condition: str, values: Mapping[str, object]) -> bool:
        """Write the circuit's item, unless another one has."""
        self._breaker_call("before the write")
        if self.table_is_out:
            raise TableError("throttled")
        if self.circuit_item and self.circuit_item.get("change_count", values["seen"]) != values["seen"]:
            return False
        self.circuit_item = item
        self._breaker_call("after the write")
        return True

    def _breaker_call(self, call: str) -> None:
        if threading.current_thread().name == "breaker" and self.breaker_dies(call):
            raise Killed

    # The mapping

    def begin(self) -> None:
        self.on, self.workers = False, FEWEST_WORKERS

    def agree(self, state: State) -> None:
        self._breaker_call("before the switch")
        self.on = not state.open
        self.workers = state.workers if state.pace else self.settings.maximum_concurrency
        self._breaker_call("after the switch")

    # The processor

    def call(self, _process: object, data: Mapping[str, Any], _context: object, seconds: float) -> Answer:
        self.calls["calls"] += 1
        self.clock.sleep(min(seconds, self.seconds))
        if self.seconds > seconds:
            return Answer(seconds, error=ProcessingTimeoutError("no result"))
        try:
            self.answer(self, data)
        except Exception as error:  # noqa: BLE001  as the worker does
            self.calls["failed"] += 1
            return Answer(self.seconds, error=error)
        return Answer(self.seconds, "1")

    # The functions

    def _environment(self, number: int) -> None:
        guard = Circuit(self.settings, "s", CircuitStore(self), self.begin)  # type: ignore[arg-type]
        function = Worker(self.settings, lambda *_: None, "s", guard)
        while True:
            records = self.receive(BATCH) if self.on and number < self.workers else []
            if not records:
                self.clock.sleep(0.5)
                continue
            answer = function.handle(records, Run(self.clock, self.clock.now + FUNCTION_SECONDS))
            returning = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
            for record in records:
                if record["messageId"] not in returning:
                    self.messages.pop(record["messageId"], None)
            self.clock.sleep(0.02)

    def _minutes(self) -> None:
        threading.current_thread().name = "breaker"
        store = CircuitStore(self)  # type: ignore[arg-type]
        function = Breaker(self.settings, lambda *_: None, "s", store)
        while True:
            self.clock.sleep(MINUTE)
            with suppress(Killed, TableError):
                function.run(Run(self.clock, self.clock.now + FUNCTION_SECONDS))

    def _watch(self) -> None:
        while True:
            self.clock.sleep(1)
            self.paused_seconds += not self.on

    def start(self) -> None:
        """Start the functions."""
        for number in range(self.settings.maximum_concurrency):
            self.clock.start(lambda number=number: self._environment(number))  # type: ignore[misc]
        self.clock.start(self._minutes)
        self.clock.start(self._watch)


@contextmanager
def playing(outage: Outage) -> Iterator[Outage]:
    """Replace the edges by those of an outage, and start its functions."""

    @contextmanager
    def beside(self: storing.Storing) -> Iterator[None]:
        # No thread: the clock is the outage's.
        yield
        self.store()

    def ignored(*_given: object, **_named: object) -> None:
        pass

    pause = type("Pause", (), {"__init__": lambda *_: None, "agree": lambda _, state: outage.agree(state)})
    with (
        patch.object(worker, "call", outage.call),
        patch.object(worker, "report", ignored),
        patch.object(worker, "EventTable", lambda *_given, **_named: outage),
        patch.object(breaker, "Pause", pause),
        patch.object(metrics, "emit", outage.counts.update),
        patch.object(queues, "return_after", outage.return_after),
        patch.object(queues, "send", outage.send_dead),
        patch.object(queues, "receive", outage.receive_one),
        patch.object(queues, "delete", outage.delete),
        patch.object(queues, "depth", outage.depth),
        patch.object(storing.Storing, "beside", beside),
        patch.object(logger, "append_keys", ignored),
        patch.object(logger, "remove_keys", ignored),
        patch.object(logger, "set_correlation_id", ignored),
        patch.object(logger, "info", ignored),
        patch.object(logger, "warning"),
        patch.object(logger, "exception", ignored),
        patch.object(time, "time", lambda: outage.clock.now),
        patch.object(time, "sleep", outage.clock.sleep),
    ):
        outage.start()
        try:
            yield outage
        finally:
            outage.clock.stop()


def refuse(text: str = "503") -> None:
    """What is called does not answer."""
    raise Unavailable(text)


class Limited:
    """It takes so many calls a second, and refuses the others."""

    def __init__(self, a_second: float) -> None:
        self.a_second = a_second
        self._tokens, self._at = a_second, 0.0

    def __call__(self, outage: Outage, _data: Mapping[str, Any]) -> None:
        self._tokens = min(self.a_second, self._tokens + (outage.now - self._at) * self.a_second)
        self._at = outage.now
        if self._tokens < 1:
            refuse("429")
        self._tokens -= 1


__all__ = ["Killed", "Limited", "Outage", "circuit", "playing", "refuse"]
