"""The circuit around the user's function: while what it calls is out, events wait and use no attempt.

It tells a part from the whole. Where most of the last events fail by an outage, the whole circuit opens: the worker's
event source mapping is switched off, so that messages wait in the queue and gain no receives. With a key
(`circuit_breaker.key_field`), a key of which nothing succeeds is held back alone: its messages return to the queue.
After the circuit has closed, workers begin slowly. docs/circuit-breaker.md
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from handlers.api import outcomes
from handlers.api.circuit_counts import KeyFailures, Paced, Window
from handlers.api.circuit_state import FEWEST_WORKERS, State
from handlers.api.decisions import Delivery
from handlers.api.paths import text_of, value_at
from handlers.api.processing import Answer, CircuitOpenError
from handlers.api.settings import WorkerSettings
from handlers.shared import aws, metrics
from handlers.shared.backoff import backoff
from handlers.shared.dynamodb import Table, outside_errors
from handlers.shared.log import logger
from handlers.shared.times import timestamp

# The id of its item. No event has it: theirs are UUIDs.
NAME = "circuit#processor"
# How long a worker may go on without knowing that another one changed the circuit; each second costs it one read.
STATE_CACHE_SECONDS = 1
CHANGE_ATTEMPTS = 5
# SQS hides a message for 12 hours in all.
MAXIMUM_DELAY_SECONDS = 42_000
# An event does not wait longer for its turn within a run.
MAXIMUM_TURN_SECONDS = 20
# What Lambda answers while an event source mapping is still changing:
# https://docs.aws.amazon.com/lambda/latest/api/API_UpdateEventSourceMapping.html
CHANGING = ("ResourceConflictException", "ResourceInUseException")


class CircuitStore:
    """The circuit's item. Its methods raise `outside_errors`."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._state = State()
        self._seen: object = 0
        self._read_at = float("-inf")

    def read(self, at_most_old_seconds: float = 0) -> State:
        """Return the state."""
        if time.time() - self._read_at >= at_most_old_seconds:
            item = self._table.item({"id": NAME})
            self._state, self._read_at = State.of(item), time.time()
            # As it is stored, be it no number: what a hand has written must not stay for good.
            self._seen = (item or {}).get("change_count", 0)
        return self._state

    def change(self, transition: Callable[[State], State | None]) -> tuple[State, State] | None:
        """Write what `transition` makes of the state. Returns both; None if it makes nothing of it.

        If another one writes in between, the transition is made again of what is there then.
        """
        for attempt in range(1, CHANGE_ATTEMPTS + 1):
            before = self.read()
            changed = transition(before)
            if changed is None:
                return None
            after = replace(changed, change_count=before.change_count + 1)
            item = {"id": NAME, **after.attributes()}
            unchanged = "attribute_not_exists(change_count) OR change_count = :seen"
            if self._table.put_if(item, unchanged, {"seen": self._seen}):
                self._state, self._seen = after, after.change_count
                return before, after
            time.sleep(backoff(attempt, 0.05, 0.5))
        logger.warning("the circuit was not changed: others change it all the time")
        return None


class Circuit:
    """The circuit in one worker. `service` names the pipeline; `pause` switches the worker off."""

    def __init__(self, settings: WorkerSettings, service: str, store: CircuitStore, pause: Callable[[], None]) -> None:
        self._settings = settings
        self._service = service
        self._store = store
        self._pause = pause
        self._window = Window(settings.circuit_failure_threshold, by_key=bool(settings.circuit_key_field))
        self._keys = KeyFailures(settings.circuit_key_failure_threshold)
        self._paced = Paced()
        self._next_turn = 0.0

    def call(self, delivery: Delivery, process: Callable[[], Answer], seconds: float) -> Answer:
        """Return what `process` returns, within `seconds`. Raises CircuitOpenError instead of calling it."""
        key = key_of(delivery, self._settings.circuit_key_field)
        digest = digest_of(key) if key else ""
        self._refuse(self._known(), digest)
        if not (delivery.start and delivery.start.alone):
            self._wait_for_turn(seconds)
        state = self._known()
        self._refuse(state, digest)
        tried = digest in state.keys
        if tried and not self._try_key(digest, seconds):
            raise CircuitOpenError("another event of the same key is tried first", self._delay(state, digest))
        answer = process()
        self._learn(delivery, digest, key, answer)
        # What it takes to find out whether an outage is over is no attempt.
        return replace(answer, trial_wait_seconds=self._delay(self._known(), digest)) if tried else answer

    def _known(self) -> State:
        try:
            return self._store.read(STATE_CACHE_SECONDS)
        except outside_errors():
            # The breaker must not become an outage itself.
            logger.warning("the circuit was not read; it is taken for closed", exc_info=True)
            return State()

    def _refuse(self, state: State, digest: str) -> None:
        if state.open:
            self._window.clear()
            raise CircuitOpenError("what the processor calls is out; the event waits", self._delay(state, ""))
        held = state.keys.get(digest)
        if held and not held.is_due(int(time.time())):
            said = "what the processor calls is out for the event's key; it waits"
            raise CircuitOpenError(said, self._delay(state, digest))

    def _delay(self, state: State, digest: str) -> int:
        """Return the seconds until a message comes back, not at once with all others."""
        recovery = self._settings.circuit_recovery_seconds
        held = state.keys.get(digest)
        # Of an open circuit messages wait in the queue: they need not be hidden until it is probed.
        left = max(0, held.until - int(time.time())) if held else recovery
        return min(MAXIMUM_DELAY_SECONDS, left + 1 + round(backoff(1, recovery, recovery) / 2))

    def _wait_for_turn(self, seconds: float) -> None:
        """Wait as long as the pace says."""
        gap, now = self._known().gap_seconds, time.time()
        if not gap:
            return
        wait = self._next_turn - now
        if wait > min(MAXIMUM_TURN_SECONDS, seconds / 2):
            raise CircuitOpenError("the worker goes slowly after an outage; the event waits", 1 + round(10 * gap))
        if wait > 0:
            time.sleep(wait)
        self._next_turn = max(now, self._next_turn) + gap

    # What is learnt of an answer

    def _learn(self, delivery: Delivery, digest: str, key: str, answer: Answer) -> None:
        failed, now = answer.is_outage, int(time.time())
        if answer.error is not None and not failed:
            return
        try:
            if digest:
                self._learn_of_key(delivery, digest, key, failed=failed)
            again = delivery.start is not None and delivery.start.attempt > 1
            self._window.count(digest or delivery.event.id, now, failed=failed, again=again)
            state = self._store.read(STATE_CACHE_SECONDS)
            self._pace(state, now, failed=failed)
            if self._window.is_outage(paced=bool(state.pace)):
                self._open(now, f"{type(answer.error).__name__}: {answer.error}"[:200])
        except outside_errors():
            # What was counted stays, so that the next failure opens it.
            logger.exception("the circuit was not changed")

    def _learn_of_key(self, delivery: Delivery, digest: str, key: str, *, failed: bool) -> None:
        if not failed:
            self._keys.succeeded(digest)
            if digest in self._store.read(STATE_CACHE_SECONDS).keys:
                self._store.change(lambda state: state.key_closed(digest))
                logger.warning("events of a key are no longer held back", extra={"key_digest": digest})
        elif self._keys.is_outage(digest, delivery.event.id, delivery.start.attempt if delivery.start else 1):
            now, recovery = int(time.time()), self._settings.circuit_recovery_seconds
            if self._store.change(lambda state: state.key_opened(digest, key, now, recovery)):
                self._keys.succeeded(digest)
                logger.warning("events of a key are held back: nothing of it succeeds", extra={"key_digest": digest})
                metrics.emit({"CircuitKeysOpened": 1})

    def _try_key(self, digest: str, seconds: float) -> bool:
        recovery = self._settings.circuit_recovery_seconds
        try:
            return bool(
                self._store.change(lambda state: state.key_tried(digest, int(time.time()), recovery, int(seconds) + 1))
            )
        except outside_errors():
            logger.exception("the circuit was not changed")
            return False

    def _pace(self, state: State, now: int, *, failed: bool) -> None:
        if not state.pace or state.open:
            return
        self._paced.count(state.paced_at, failed=failed)
        failures = self._paced.failures()
        if self._paced.is_overload(state.usual_failures):
            change = self._store.change(
                lambda current: current.slower(now, failures or 0.0) if current.paced_at == state.paced_at else None
            )
        elif state.faster(now, failures):
            change = self._store.change(
                lambda current: current.faster(now, failures) if current.paced_at == state.paced_at else None
            )
        else:
            return
        if change:
            logger.info("the pace changed", extra={"events_per_second": change[1].pace, "failures": failures})

    def _open(self, now: int, reason: str) -> None:
        change = self._store.change(lambda state: state.opened(now, self._settings.circuit_recovery_seconds, reason))
        self._window.clear()
        if change is None:
            return
        try:
            self._pause()
        except outside_errors():
            logger.exception("the worker was not paused; the breaker function does it within a minute")
        tell(change, self._service, self._settings.event_bus_name)


def key_of(delivery: Delivery, path: str) -> str:
    """Return the key of a delivery's event, empty if it has none."""
    return (text_of(value_at(delivery.event.data, path)) or "") if path else ""


def digest_of(key: str) -> str:
    """Return what stands for a key in the item: keys may be long."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:20]


def tell(change: tuple[State, State], service: str, bus_name: str) -> None:
    """Log, count and publish that the circuit opened or closed."""
    before, after = change
    if before.open == after.open:
        return
    words = {False: "CLOSED", True: "OPEN"}
    detail = {
        "from": words[before.open],
        "to": words[after.open],
        "opened_at": timestamp(datetime.fromtimestamp(max(before.since, after.since), UTC)),
        "reason": (after.reason or before.reason) or None,
    }
    logger.warning("the circuit changed", extra=detail)
    metrics.emit({"CircuitOpened": 1, "CircuitOpen": 1} if after.open else {"CircuitClosed": 1})
    if bus_name:
        outcome = outcomes.Outcome("Circuit Opened" if after.open else "Circuit Closed", detail)
        outcomes.publish(bus_name, service, [outcome])


class Pause:
    """The worker's event source mapping: whether the worker takes messages, and how many batches at a time.

    Nobody else switches it: while there is a circuit breaker, it is on exactly when the circuit is closed.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self._parameter = settings.mapping_parameter
        self._maximum_workers = settings.maximum_concurrency

    def begin(self) -> None:
        """Switches the mapping off, and prepares for a slow beginning. Raises botocore's errors."""
        self._update(on=False, workers=FEWEST_WORKERS)

    def agree(self, state: State) -> None:
        """Makes the mapping agree with the circuit. Raises botocore's errors."""
        mapping = aws.client("lambda").get_event_source_mapping(UUID=self._mapping)
        on = mapping["State"] in ("Enabled", "Enabling", "Creating")
        workers = state.workers if state.pace else FEWEST_WORKERS if state.open else self._maximum_workers
        workers = min(workers, self._maximum_workers)
        if on == state.open or mapping.get("ScalingConfig", {}).get("MaximumConcurrency") != workers:
            self._update(on=not state.open, workers=workers)

    def _update(self, *, on: bool, workers: int) -> None:
        """While a mapping is changing, Lambda takes no other change; the next minute tries again."""
        from botocore.exceptions import ClientError  # noqa: PLC0415  a worker that changes nothing does without

        try:
            aws.client("lambda").update_event_source_mapping(
                UUID=self._mapping, Enabled=on, ScalingConfig={"MaximumConcurrency": workers}
            )
        except ClientError as error:
            if error.response["Error"]["Code"] not in CHANGING:
                raise
            logger.warning("the event source mapping is still changing", extra={"wanted": on, "reason": str(error)})

    @cached_property
    def _mapping(self) -> str:
        """The id of the mapping. Of a parameter: the mapping needs the function first, so that cannot be told."""
        answer: Any = aws.client("ssm").get_parameter(Name=self._parameter)
        value: str = answer["Parameter"]["Value"]
        return value
