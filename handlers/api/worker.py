"""The function behind the queue: processes a batch of events, and returns only the messages that must be tried again.

Decisions are in decisions.py, calls of the user's function in processing.py, the order of writes in storing.py, and
reports in reporting.py. A duplicate delivery has no second effect.

SQS's receive count is no number of attempts: attempts are counted in the item, and the worker moves spent messages to
the dead letters itself. SQS's own limit is a last safety net, far above.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, cast

from handlers.api.decisions import (
    FULL_TIME_SHARE,
    Covered,
    Delivery,
    Outcome,
    Retrying,
    Returned,
    Start,
    Succeeded,
    Unreadable,
    begins_anew,
    behind,
    in_order,
    judge,
    leaders,
    plan,
)
from handlers.api.events import Envelope, UnreadableMessageError
from handlers.api.items import EventItem
from handlers.api.processing import (
    Answer,
    CircuitOpenError,
    Process,
    ProcessingTimeoutError,
    call,
    failure_of,
    load_processor,
)
from handlers.api.reporting import correlation_ids, report, tell
from handlers.api.results import ResultError
from handlers.api.settings import WorkerSettings
from handlers.api.storing import Storing
from handlers.api.table import EventTable
from handlers.processor import Context as EventContext
from handlers.shared import queues
from handlers.shared.bodies import unpacked
from handlers.shared.context import LambdaContext
from handlers.shared.dynamodb import outside_errors
from handlers.shared.log import logger

if TYPE_CHECKING:
    from handlers.api.faults import Faults

# Reserved for storing results at the end of the function's time; the timeout is at least 10 seconds.
STORING_SECONDS = 5
# DynamoDB's items take 400 KB: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
INLINE_RESULT_BYTES = 350_000


class Guard(Protocol):
    """Gate before the user's function: the circuit, or the breaker function's probes."""

    def call(self, delivery: Delivery, process: Callable[[], Answer], seconds: float, /) -> Answer:
        """Return what `process` returns, within `seconds`. Raises CircuitOpenError instead of calling it."""


class AtWorkError(Exception):
    """Another worker is at the event, or was. The message returns after `seconds`."""

    def __init__(self, seconds: int) -> None:
        super().__init__("another worker is at the event")
        self.seconds = seconds


class Clock:
    """The time of one run that events may use."""

    def __init__(self, context: LambdaContext, event_timeout_seconds: int) -> None:
        self._context = context
        self._limit = event_timeout_seconds or float("inf")
        self._full = min(self._limit, self._left())
        # The longest event of the run so far: another one is not begun when less is left.
        self._longest = 0.0

    def _left(self) -> float:
        return self._context.get_remaining_time_in_millis() / 1_000 - STORING_SECONDS

    def seconds(self) -> float:
        """Return the time that the next event may use."""
        return min(self._limit, self._left())

    def is_full(self, seconds: float) -> bool:
        """Return True if that is all the time that an event can ever have."""
        return seconds >= FULL_TIME_SHARE * self._full

    def is_enough(self, seconds: float) -> bool:
        """Return True if an event may begin with so much time."""
        return seconds > 0 and (seconds >= self._longest or self.is_full(seconds))

    def ran(self, seconds: float) -> None:
        """Take note of how long an event took."""
        self._longest = max(self._longest, seconds)

    def deadline(self) -> int:
        """Return when the function is over at the latest, in epoch seconds."""
        return int(time.time() + self._context.get_remaining_time_in_millis() / 1_000) + 1


class Worker:
    """`process` is the user's function; `service` names the pipeline in alerts."""

    def __init__(self, settings: WorkerSettings, process: Process, service: str, circuit: Guard | None = None) -> None:
        self._settings = settings
        self._faults: Faults | None = None
        if settings.fault_parameter_name:
            from handlers.api import faults  # noqa: PLC0415  nowhere else is it even imported

            self._faults = faults.Faults(settings.fault_parameter_name)
            process = self._faults.around(process)
        if settings.secrets:
            from handlers.api.secrets import Secrets  # noqa: PLC0415  as above

            process = Secrets(json.loads(settings.secrets)).around(process)
        self._process = process
        self._service = service
        self._circuit = circuit
        self._table = EventTable(
            settings.table_name,
            time_index_shards=settings.time_index_shards,
            items_expire_after_days=settings.items_expire_after_days,
        )

    def handle(self, records: Sequence[Mapping[str, Any]], context: LambdaContext) -> dict[str, Any]:
        """Process a batch. Returns `{"batchItemFailures": [{"itemIdentifier"}]}`: the messages that go back."""
        ordered = queues.is_fifo(self._settings.queue_url)
        deliveries = [_delivery(record, ordered=ordered) for record in records]
        self._read(deliveries)
        # Lines about the batch as a whole are found by the correlation id of each request in it.
        logger.append_keys(correlation_ids=correlation_ids(deliveries))
        storing = Storing(self._settings, self._table, self._service, deliveries, self._backoff_seconds)
        try:
            self._run(deliveries, storing, context)
        except outside_errors() as error:
            logger.exception("a service did not answer; the batch returns to the queue")
            for delivery in deliveries:
                if not delivery.recorded and not isinstance(delivery.outcome, Covered):
                    delivery.outcome = storing.unavailable(delivery, error)
        undelivered = tell(self._settings.event_bus_name, self._service, deliveries)
        if self._settings.archive:
            from handlers.api import archive  # noqa: PLC0415  most stacks have none

            archive.keep(self._settings.bucket_name, deliveries)
        returning = [delivery for delivery in deliveries if delivery.returns]
        self._schedule(returning, storing)
        logger.remove_keys(["correlation_ids"])
        report(deliveries, returning, undelivered, bus=bool(self._settings.event_bus_name))
        return queues.batch_response(delivery.message_id for delivery in returning)

    def _read(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            body = self._faults.received(delivery.message_id, delivery.body) if self._faults else delivery.body
            try:
                delivery.envelope = Envelope.from_message(body)
            except UnreadableMessageError as error:
                delivery.outcome = Unreadable(failure_of(error))

    def _run(self, deliveries: Sequence[Delivery], storing: Storing, context: LambdaContext) -> None:
        envelopes = [delivery.envelope for delivery in deliveries if delivery.envelope]
        items = self._table.read(envelope.id for envelope in envelopes)
        if replayed := [each for each in envelopes if each.replay]:
            items |= self._reopened(replayed, items)
        storing.knows(list(items))
        for leader in leaders(deliveries, items):
            leader.item = items.get(leader.event.id)
            planned = plan(leader, leader.item, self._settings, time.time())
            if isinstance(planned, Start):
                leader.start = planned
            else:
                leader.outcome = planned
                leader.stored = planned.item if isinstance(planned, Covered) else None
        clock = Clock(context, self._settings.event_timeout_seconds)
        with storing.beside():
            for delivery in in_order([each for each in deliveries if each.open]):
                behind(deliveries)
                if delivery.open:
                    self._take(delivery, storing, clock)

    def _reopened(self, replayed: Sequence[Envelope], items: Mapping[str, EventItem]) -> dict[str, EventItem]:
        """Begin events anew that a replay sends again. Of two replays, the later one counts."""
        by_age = sorted(replayed, key=lambda each: each.replay or "")
        anew = {each.id: each for each in by_age if begins_anew(each, items.get(each.id))}
        return self._table.reopen([(each, items.get(each.id)) for each in anew.values()]) if anew else {}

    def _take(self, delivery: Delivery, storing: Storing, clock: Clock) -> None:
        start, seconds = delivery.start, clock.seconds()
        if start is None or not clock.is_enough(seconds) or (start.alone and not clock.is_full(seconds)):
            delivery.outcome = Returned("not its turn")
            return

        def process() -> Answer:
            # Not before: an event that the circuit refuses must not be marked as running.
            if start.marked:
                storing.store()
                self._mark(delivery, start, clock.deadline())
                storing.knows([delivery.event.id])
            # Less than before: the event was marked, or the circuit let it wait for its turn.
            limit = min(seconds, clock.seconds())
            answer = self._call(delivery, start, limit)
            timed_out = isinstance(answer.error, ProcessingTimeoutError)
            return replace(answer, cut_short=timed_out and not clock.is_full(limit))

        # For what the user's function logs, and what is logged of it.
        logger.set_correlation_id(delivery.event.correlation_id)
        try:
            answer = self._circuit.call(delivery, process, seconds) if self._circuit else process()
        except CircuitOpenError as error:
            delivery.outcome = Returned("circuit open", error.seconds, failure_of(error))
            return
        except AtWorkError as error:
            delivery.outcome = Returned("at work", error.seconds)
            return
        finally:
            logger.set_correlation_id(None)
        clock.ran(answer.seconds)
        delivery.outcome = self._judged(delivery, start, answer)
        storing.finished()
        if start.marked:
            storing.store()

    def _mark(self, delivery: Delivery, start: Start, until: int) -> None:
        """Raise AtWorkError if another worker was faster."""
        item = cast("EventItem | None", delivery.item)
        now = self._table.mark(delivery.event, start.attempt, until, delivery.message_id, delivery.receives, item)
        if now is not None:
            raise AtWorkError(max(1, (now.get("running_until") or 0) - int(time.time()) + 1))

    def _call(self, delivery: Delivery, start: Start, seconds: float) -> Answer:
        envelope, ends = delivery.event, time.monotonic() + seconds
        context = EventContext(
            id=envelope.id,
            type=envelope.type,
            attempt=start.attempt,
            max_attempts=self._settings.max_attempts,
            received_at=envelope.received_at,
            correlation_id=envelope.correlation_id,
            idempotency_key=envelope.idempotency_key or None,
            headers=envelope.headers or {},
            body=None if envelope.body is None else unpacked(envelope.body),
            remaining_seconds=lambda: max(0.0, ends - time.monotonic()),
            # Powertools' Logger has the methods of logging's.
            logger=cast("logging.Logger", logger),
        )
        answer = call(self._process, envelope.data, context, seconds)
        if self._settings.results == "inline" and len(answer.result) > INLINE_RESULT_BYTES:
            size = f"result: {len(answer.result)} bytes are too large for an item; use storage.results: object"
            return Answer(answer.seconds, error=ResultError(size))
        return answer

    def _judged(self, delivery: Delivery, start: Start, answer: Answer) -> Outcome:
        if answer.error is None:
            return Succeeded(start.attempt, answer.result)
        failure = failure_of(answer.error)
        logger.warning(
            "an attempt failed",
            exc_info=answer.error,
            extra={
                "id": delivery.event.id,
                "correlation_id": delivery.event.correlation_id,
                "attempt": start.attempt,
            },
        )
        if not answer.is_attempt:
            patient = queues.patient_seconds(delivery.receives, self._settings.backoff_base_seconds)
            return Retrying(start.attempt - 1, failure, answer.trial_wait_seconds or patient)
        return judge(start, failure, self._settings, permanent=answer.is_permanent, cut_short=answer.cut_short)

    def _schedule(self, returning: Sequence[Delivery], storing: Storing) -> None:
        """Set when messages come back."""
        delays = {
            each.receipt_handle: each.outcome.delay_seconds
            if isinstance(each.outcome, Returned)
            else storing.delay_seconds(each)
            for each in returning
        }
        try:
            queues.return_after(self._settings.queue_url, delays)
        except outside_errors():
            # They come back all the same, after the queue's own visibility timeout.
            logger.exception("the visibility of messages was not changed")

    def _backoff_seconds(self, attempt: int) -> int:
        settings = self._settings
        return queues.backoff_seconds(attempt, settings.backoff_base_seconds, settings.backoff_maximum_seconds)


def _delivery(record: Mapping[str, Any], *, ordered: bool) -> Delivery:
    message = queues.Message.from_record(record)
    group, tenant = (message.group, "") if ordered else ("", message.group)
    return Delivery(message.id, message.receipt_handle, message.body, message.receives, group, tenant)


def log_like_the_pipeline(service: str) -> None:
    """Write what the user's function logs as the pipeline's own lines are: JSON, with the event's correlation id."""
    own = logging.getLogger(service)
    logging.root.handlers = list(own.handlers)
    logging.root.setLevel(own.level)
    # Its lines reached the root logger's handlers, too, otherwise.
    own.propagate = False


@cache
def _worker() -> Worker:
    settings = WorkerSettings.from_environment()
    service = os.environ["POWERTOOLS_SERVICE_NAME"]
    log_like_the_pipeline(service)
    process = load_processor(settings.processor)
    if not settings.circuit_failure_threshold:
        return Worker(settings, process, service)
    from handlers.api.circuit import Circuit, CircuitStore, Pause  # noqa: PLC0415  as above
    from handlers.shared.dynamodb import Table  # noqa: PLC0415

    store = CircuitStore(Table(settings.table_name))
    return Worker(settings, process, service, Circuit(settings, service, store, Pause(settings).begin))


def handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Process a batch of messages of the queue. The Lambda entry point."""
    return _worker().handle(event["Records"], context)
