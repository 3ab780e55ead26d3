"""The function that looks after the circuit each minute: it finds out whether an outage is over, and ends the pause.

While the circuit is open, the worker takes no messages. This function receives some and runs them by the worker's own
code, so that an event whose probe succeeds is done. Whatever dies halfway, the next minute compares the circuit with
the worker's event source mapping and makes them agree.
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from handlers.api.circuit import CircuitStore, Pause, tell
from handlers.api.circuit_state import State
from handlers.api.decisions import Delivery
from handlers.api.processing import Answer, Process, load_processor
from handlers.api.settings import WorkerSettings
from handlers.api.worker import STORING_SECONDS, Worker, log_like_the_pipeline
from handlers.shared import metrics, queues
from handlers.shared.context import LambdaContext
from handlers.shared.dynamodb import Table

# Events that fail before an outage goes on. They are random ones of the queue, so a part that is out does not keep the
# rest waiting for long.
PROBE_FAILURES = 5
# Others say nothing: they are done already, or fail for reasons of their own.
MAXIMUM_PROBES = 10


class _Trial:
    """A circuit that lets every event through and keeps what it came to. A failure is no attempt."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self.answer: Answer | None = None

    def call(self, _delivery: Delivery, process: Callable[[], Answer], _seconds: float) -> Answer:
        self.answer = replace(process(), trial_wait_seconds=self._settings.circuit_recovery_seconds)
        return self.answer


class Breaker:
    """Runs once a minute. What it raises is botocore's, or TableError; it is run again."""

    def __init__(self, settings: WorkerSettings, process: Process, service: str, store: CircuitStore) -> None:
        self._settings = settings
        self._service = service
        self._store = store
        self._pause = Pause(settings)
        self._trial = _Trial(settings)
        self._worker = Worker(settings, process, service, self._trial)

    def run(self, context: LambdaContext) -> None:
        """Probe if it is time to, and switch the worker's event source mapping as the circuit then is."""
        state = self._store.read()
        # First: a probe can take a while, and one that fails must not look like the end of the trouble.
        metrics.emit({"CircuitOpen": int(state.open)})
        if state.open and state.is_due(int(time.time())):
            self._probe(context)
        self._store.change(lambda now: now.minute(int(time.time()), self._settings.maximum_concurrency))
        state = self._store.read()
        self._pause.agree(state)
        counts = {"CircuitKeysHeld": len(state.keys)} if self._settings.circuit_key_field else {}
        metrics.emit({"CircuitOpen": int(state.open), **counts})

    def _probe(self, context: LambdaContext) -> None:
        lease = context.get_remaining_time_in_millis() // 1_000 + 1
        if self._store.change(lambda state: state.probed(int(time.time()), lease)) is None:
            return
        recovered = self._is_over(context)
        recovery = self._settings.circuit_recovery_seconds

        def found(state: State) -> State | None:
            now = int(time.time())
            return state.closed(now) if recovered else state.still_out(now, recovery)

        if change := self._store.change(found):
            tell(change, self._service, self._settings.event_bus_name)

    def _is_over(self, context: LambdaContext) -> bool:
        """Return True if an event of the queue succeeds, or if none is left that could tell."""
        failures = 0
        for _ in range(MAXIMUM_PROBES):
            seconds = context.get_remaining_time_in_millis() // 1_000
            if failures == PROBE_FAILURES or seconds <= STORING_SECONDS:
                break
            message = queues.receive(self._settings.queue_url, seconds + 1)
            if message is None:
                # Messages that are hidden can tell once they are visible.
                return not failures and queues.depth(self._settings.queue_url) == 0
            answer = self._try(message, context)
            if answer and answer.error is None:
                return True
            failures += bool(answer and answer.is_outage)
        return not failures

    def _try(self, message: Mapping[str, Any], context: LambdaContext) -> Answer | None:
        """Return what an event's call came to, None if there was none."""
        self._trial.answer = None
        if not self._worker.handle([message], context)["batchItemFailures"]:
            queues.delete(self._settings.queue_url, [message["receiptHandle"]])
        return self._trial.answer


@cache
def _breaker() -> Breaker:
    settings = WorkerSettings.from_environment()
    service = os.environ["POWERTOOLS_SERVICE_NAME"]
    log_like_the_pipeline(service)
    process = load_processor(settings.processor)
    return Breaker(settings, process, service, CircuitStore(Table(settings.table_name)))


def handler(_event: Mapping[str, Any], context: LambdaContext) -> None:
    """The Lambda entry point."""
    _breaker().run(context)
