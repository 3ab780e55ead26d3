"""The function behind the queue: processes a batch of events, stores what became of them, returns only failed messages.

Whatever is done twice has one effect, and the steps stand in an order that loses nothing wherever the function dies:
results and archive are written first, the alert goes out, messages that cannot succeed go to the dead letters, and only
then the items say that events are done. A batch that comes again finds what is done, and repeats the rest. Outcome
events follow the items, so that whoever hears of an outcome finds it there; a message returns until its own is told.

Attempts are SQS's receive counts. On the last one a failure is final: the event is `failed`, and SQS moves the message.

With a circuit breaker (docs/circuit-breaker.md) a delivery that meets an open circuit is no attempt. SQS counts it all
the same and would move the message too early, so it is given more receives, and we put it with the dead letters.
"""

import copy
import json
import os
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from handlers.api import notices, objects, outcomes
from handlers.api.events import Envelope, UnreadableMessageError
from handlers.api.items import DIED_ON_LAST_ATTEMPT, Completion
from handlers.api.items import EventItem as Item
from handlers.api.processing import CircuitOpenError, Process, ProcessingTimeoutError, load_processor, time_limit
from handlers.api.settings import WorkerSettings
from handlers.api.table import EventTable
from handlers.processor import Rejected
from handlers.shared import aws, metrics, queues
from handlers.shared.dynamodb import TableError
from handlers.shared.log import logger
from handlers.shared.times import timestamp

if TYPE_CHECKING:
    from handlers.api.circuit import Circuit, Probe

if TYPE_CHECKING:
    from handlers.api.faults import Faults

OutsideError = (BotoCoreError, ClientError, TableError)

# What is left of the function's time for storing, when processing has to stop; the timeout is at least 10 seconds.
STORING_SECONDS = 5
ERROR_LENGTH = 1_000
LONGEST_REFUSAL_SECONDS = 3_600
ALERTED_ERROR_LENGTH = 200
EVENTS_A_LOG_LINE = 100
# DynamoDB's items take 400 KB: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
INLINE_RESULT_BYTES = 350_000
# Of an item, what its outcome event says besides.
OUTCOME_ATTRIBUTES = ("status", "attempts", "completed_at", "result_key", "error", "error_type")


class Context(Protocol):
    """Of Lambda's context object, what is used here."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends the function."""


@dataclass
class Delivery:
    """One message of a batch and what has become of it.

    `outcome`: `open` until something is known; then
    - `done`: an earlier delivery, or another message of this batch, stands for the event;
    - `succeeded`;
    - `failed`: that was the last attempt; SQS moves the message when it returns, unless we did (`moved`);
    - `rejected`: can never succeed; we put it with the dead letters;
    - `conflict`: as `rejected`, but the item with its id is another event's;
    - `retry`: returns to the queue; `unreadable`: does so, too, and nothing is known of it;
    - `held`: returns as well, behind another message of its group;
    - `refused`: the circuit is open; returns to the queue, and that was no attempt.

    `group`: of a FIFO queue, whose order stays within a group; else empty.
    """

    message_id: str
    receipt_handle: str
    body: str
    receives: int
    refusals: int = 0
    group: str = ""
    envelope: Envelope | None = None
    outcome: str = "open"
    result: str | None = None
    error: str = ""
    error_type: str = ""
    moved: bool = False
    stored: Mapping[str, Any] | None = None
    """What the item says of the event, once it is done."""
    untold: bool = False
    """Returns to the queue, though the event is done: its outcome event did not get to the bus."""

    @property
    def attempt(self) -> int:
        """Which attempt this is: deliveries that the circuit refused are none."""
        return max(1, self.receives - self.refusals)

    @property
    def returns(self) -> bool:
        """Whether the message goes back to the queue."""
        if self.outcome in ("failed", "unreadable"):
            return not self.moved
        return self.outcome in ("retry", "refused", "held") or self.untold

    @property
    def event(self) -> Envelope:
        """The event of a message that has one."""
        if self.envelope is None:
            raise ValueError("a message that is no event was taken for one")
        return self.envelope

    def end(self, outcome: str, error: BaseException) -> None:
        """Takes down why this attempt did not succeed."""
        own_words = isinstance(
            error, Rejected | ConflictError | UnreadableMessageError | CircuitOpenError | LastAttemptError
        )
        self.outcome = outcome
        text = str(error) if own_words else f"{type(error).__name__}: {error}"
        # Only what every service stores: no half surrogate pairs, no control characters.
        self.error = "".join(character if character.isprintable() else " " for character in text[:ERROR_LENGTH])
        self.error_type = type(error).__name__


class ConflictError(Exception):
    """Two accepted events share an idempotency key and differ. The first stays; the other goes to the dead letters."""


class LastAttemptError(Exception):
    """The function died on an event's last attempt, and could not say so."""


class Worker:
    """`process` is the user's function; `service` names the pipeline in alerts."""

    def __init__(
        self, settings: WorkerSettings, process: Process, service: str, circuit: "Circuit | None" = None
    ) -> None:
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

    def handle(self, records: Sequence[Mapping[str, Any]], context: Context) -> dict[str, Any]:
        """`{"batchItemFailures": [{"itemIdentifier"}]}`: the messages that return to the queue."""
        deliveries = [_delivery(record) for record in records]
        for delivery in deliveries:
            _read(delivery, self._faults)
        # Whatever goes wrong from here on is found by the correlation id of each request that it may be about.
        logger.append_keys(correlation_ids=_correlation_ids(deliveries))
        try:
            self._run(deliveries, context)
        except OutsideError as error:
            logger.exception("a service did not answer; what is not done returns to the queue")
            for delivery in deliveries:
                if delivery.outcome not in ("done", "unreadable"):
                    delivery.end("retry", error)
        undelivered = self._tell(deliveries)
        returning = [delivery for delivery in deliveries if delivery.returns]
        self._schedule(returning)
        # The lines of the batch say it of each event.
        logger.remove_keys(["correlation_ids"])
        self._report(deliveries, returning, undelivered)
        return {"batchItemFailures": [{"itemIdentifier": delivery.message_id} for delivery in returning]}

    def probe(self, probe: "Probe", context: Context) -> str:
        """Works on one message that was not received just now. Returns what became of it, a `Delivery.outcome`."""
        delivery = Delivery(probe.message_id, "", probe.body, probe.receives, group=probe.group)
        _read(delivery, self._faults)
        self._run([delivery], context)
        self._report([delivery], [], self._tell([delivery]))
        return delivery.outcome

    def _run(self, deliveries: Sequence[Delivery], context: Context) -> None:
        items = self._table.read(delivery.envelope.id for delivery in deliveries if delivery.envelope)
        leaders = _leaders(deliveries, items)
        self._skip_done(leaders, items)
        open_events = [leader for leader in leaders if leader.outcome == "open"]
        if self._circuit is None:
            self._begin_final_attempts(open_events, context)
        self._process_all(open_events, deliveries, context)
        self._record_refusals(open_events)
        self._store_results([event for event in open_events if event.outcome == "succeeded"])
        self._hold(deliveries)
        completed = [event for event in leaders if event.outcome in ("succeeded", "failed", "rejected")]
        self._archive(completed)
        self._alert(deliveries)
        self._send_dead_letters([delivery for delivery in deliveries if self._is_ours_to_move(delivery)])
        self._complete([event for event in completed if event.outcome != "retry"], set(items))

    def _skip_done(self, leaders: Sequence[Delivery], items: Mapping[str, Item]) -> None:
        """Sets aside events that an earlier delivery finished: one read for the batch saves running them again."""
        for leader in leaders:
            item = items.get(leader.event.id)
            if item is not None:
                leader.refusals = item.get("refusals") or 0
                if _compare(leader, item) == "open" and leader.attempt > self._settings.max_receives:
                    _end_dead(leader, item)

    def _begin_final_attempts(self, events: Sequence[Delivery], context: Context) -> None:
        last = [event.event for event in events if self._is_last(event)]
        if last:
            self._table.begin_final_attempt(last, int(time.time() + context.get_remaining_time_in_millis() / 1_000) + 1)

    def _is_last(self, delivery: Delivery) -> bool:
        settings = self._settings
        return (
            delivery.attempt >= settings.max_receives
            or delivery.receives >= settings.max_receives + settings.spare_receives
        )

    def _is_ours_to_move(self, delivery: Delivery) -> bool:
        """Whether a message goes to the dead letters by our own hand. SQS moves the others when they return."""
        if delivery.outcome in ("rejected", "conflict"):
            return True
        return self._circuit is not None and delivery.outcome in ("failed", "unreadable") and self._is_last(delivery)

    def _hold(self, deliveries: Sequence[Delivery]) -> None:
        """Sets aside what stands behind a message of its group that comes back: a FIFO queue's order is kept.

        Not what is here for the last time, which SQS would move without a try. Behind a refused message all are
        refused: that is no attempt of theirs either.
        """
        waiting: dict[str, str] = {}
        for delivery in deliveries:
            last = self._is_last(delivery)
            if delivery.group in waiting:
                if delivery.outcome in ("open", "succeeded", "rejected") and not last:
                    delivery.outcome = waiting[delivery.group]
            elif delivery.group and delivery.outcome == "refused":
                waiting[delivery.group] = "refused"
            elif delivery.group and delivery.outcome in ("retry", "unreadable") and not last:
                waiting[delivery.group] = "held"

    def _process_all(self, events: Sequence[Delivery], deliveries: Sequence[Delivery], context: Context) -> None:
        """Runs the user's function on each event.

        Each gets its share of the time that is left. Those that failed before come last, so that an event that hangs
        does not starve the others at every attempt, and has the rest of the time when it is alone at the end. Not those
        with groups: they stay in order, and behind one that comes back.
        """
        ordered = sorted(events, key=lambda event: 0 if event.group else event.attempt)
        for position, event in enumerate(ordered):
            if event.group:
                self._hold(deliveries)
            if event.outcome != "open":
                continue
            seconds_left = context.get_remaining_time_in_millis() / 1_000 - STORING_SECONDS
            if seconds_left <= 0:
                self._retry(event, ProcessingTimeoutError("the function's time was up before its turn"))
                continue
            self._process_one(event, seconds_left / (len(ordered) - position), context)

    def _process_one(self, event: Delivery, seconds: float, context: Context) -> None:
        # For what the user's function logs, and what is logged of it.
        logger.set_correlation_id(event.event.correlation_id)
        try:
            event.result = self._result_text(self._answer(event, seconds, context))
            event.outcome = "succeeded"
        except Rejected as error:
            event.end("rejected", error)
        except CircuitOpenError as error:
            # One more receive, and SQS would move a message that claims to be queued.
            last_receive = self._settings.max_receives + self._settings.spare_receives
            event.end("failed" if event.receives >= last_receive else "refused", error)
        except (Exception, SystemExit) as error:  # noqa: BLE001  whatever the user's function raises is its answer
            self._retry(event, error)
        finally:
            logger.set_correlation_id(None)

    def _answer(self, event: Delivery, seconds: float, context: Context) -> Any:
        """What the user's function answers, or raises. Raises CircuitOpenError when it was not called."""

        def process() -> Any:
            with time_limit(seconds):
                return self._process(copy.deepcopy(event.event.data))

        def let_through() -> Any:
            # Not before: of an event that is refused, nothing must say that it was tried, whatever fails then.
            try:
                self._begin_final_attempts([event], context)
            except OutsideError:
                # Without the note another delivery would try it once more; that is better than to give it up untried.
                logger.exception("a last attempt was not noted", extra={"id": event.event.id})
            return process()

        if self._circuit is None:
            return process()
        return self._circuit.call(event.event.id, None if self._is_last(event) else event, let_through)

    def _record_refusals(self, events: Sequence[Delivery]) -> None:
        # A probe was not received, so that refusing it costs its message nothing.
        if refused := [event for event in events if event.outcome == "refused" and event.receipt_handle]:
            self._table.record_refusals([(event.event, event.refusals + 1) for event in refused])

    def _result_text(self, result: object) -> str:
        text = json.dumps(result, allow_nan=False)
        if self._settings.results == "inline" and len(text) > INLINE_RESULT_BYTES:
            raise Rejected(f"a result of {len(text)} bytes is too large for an item; use results: object")
        return text

    def _retry(self, event: Delivery, error: BaseException) -> None:
        event.end("failed" if self._is_last(event) else "retry", error)
        logger.warning(
            "an attempt failed",
            exc_info=error,
            extra={"id": event.event.id, "correlation_id": event.event.correlation_id, "attempt": event.attempt},
        )

    def _store_results(self, events: Sequence[Delivery]) -> None:
        if self._settings.results != "object":
            return

        def store(event: Delivery) -> None:
            try:
                objects.put_result(self._settings.bucket_name, objects.result_key(event.event), event.result or "")
            except OutsideError as error:
                self._retry(event, error)

        aws.each(store, events)

    def _archive(self, completed: Sequence[Delivery]) -> None:
        if self._settings.archive and completed:
            objects.archive(self._settings.bucket_name, [event.event for event in completed])

    def _alert(self, deliveries: Sequence[Delivery]) -> None:
        failures = [
            delivery
            for delivery in deliveries
            if delivery.outcome in ("failed", "rejected", "conflict")
            or (delivery.outcome == "unreadable" and self._is_last(delivery))
        ]
        if not failures:
            return
        try:
            notices.publish_failures(
                self._settings.alerts_topic_arn, self._service, [_failure(each) for each in failures]
            )
        except OutsideError:
            # The alarm on the dead letters tells the same story; failing the batch for it would help nobody.
            logger.exception("an alert was not published")

    def _complete(self, completed: Sequence[Delivery], known: set[str]) -> None:
        now = timestamp(datetime.now(UTC))
        inline = self._settings.results == "inline"
        completions = [
            Completion(
                envelope=event.event,
                status="succeeded" if event.outcome == "succeeded" else "failed",
                attempts=event.attempt,
                completed_at=now,
                result=event.result if inline else None,
                result_key=objects.result_key(event.event) if event.outcome == "succeeded" and not inline else None,
                error=event.error or None,
                error_type=event.error_type or None,
                rejected_message_id=event.message_id if event.moved else None,
            )
            for event in completed
        ]
        late_conflicts = []
        items = self._table.complete(completions, known)
        for event, completion, item in zip(completed, completions, items, strict=True):
            if item is None:
                event.stored = vars(completion)
            elif _compare(event, item) == "conflict":
                late_conflicts.append(event)
        self._alert(late_conflicts)
        self._send_dead_letters(late_conflicts)

    def _send_dead_letters(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        messages = [
            queues.Outgoing(
                delivery.body,
                {
                    "event_id": delivery.envelope.id if delivery.envelope else "",
                    "error": delivery.error,
                    "error_type": delivery.error_type,
                },
                delivery.group,
                # Not the event's id: sent again and rejected again, it must not be dropped.
                delivery.message_id,
            )
            for delivery in deliveries
        ]
        for delivery, sent in zip(deliveries, queues.send(self._settings.dead_letter_queue_url, messages), strict=True):
            delivery.moved = sent
            if not sent:
                delivery.outcome = "retry"

    def _tell(self, deliveries: Sequence[Delivery]) -> int:
        """Says on the bus what became of events that are done, also those that an earlier delivery finished.

        What the bus does not take returns; on its last receive it does not, and is counted: an event that is done is no
        dead letter. Returns that count.
        """
        told = [delivery for delivery in deliveries if delivery.stored is not None]
        if not told or not self._settings.event_bus_name:
            return 0
        sent = outcomes.publish(self._settings.event_bus_name, self._service, [_outcome(each) for each in told])
        missing = [delivery for delivery, arrived in zip(told, sent, strict=True) if not arrived]
        for delivery in missing:
            delivery.untold = not self._is_last(delivery)
        undelivered = [delivery for delivery in missing if not delivery.untold]
        if undelivered:
            now = datetime.now(UTC)
            logger.error("outcome events were given up", extra={"events": [_logged(each, now) for each in undelivered]})
        return len(undelivered)

    def _schedule(self, returning: Sequence[Delivery]) -> None:
        """Sets when messages come back: retries later each time; those that SQS is to move, at once."""
        delays = {delivery.receipt_handle: self._delay_seconds(delivery) for delivery in returning}
        try:
            queues.return_after(self._settings.queue_url, delays)
        except OutsideError:
            # They come back all the same, after the queue's own visibility timeout.
            logger.exception("the visibility of messages was not changed")

    def _delay_seconds(self, delivery: Delivery) -> int:
        if delivery.outcome == "retry" or delivery.untold:
            return self._backoff_seconds(delivery.attempt)
        if delivery.outcome == "refused":
            # Longer each time: Lambda takes its time to switch a mapping off, and spare receives are few.
            doubled: int = self._settings.circuit_recovery_seconds * 2**delivery.refusals
            return min(doubled, LONGEST_REFUSAL_SECONDS)
        return 0

    def _backoff_seconds(self, attempt: int) -> int:
        settings = self._settings
        doubled: int = settings.backoff_base_seconds * 2 ** min(attempt - 1, 16)
        # Jitter, so that messages that failed together do not come back together. The system's: environments that start
        # from one snapshot (worker.snap_start) would all draw the same.
        return max(1, round(min(doubled, settings.backoff_maximum_seconds) * random.SystemRandom().uniform(0.5, 1)))

    def _report(self, deliveries: Sequence[Delivery], returning: Sequence[Delivery], undelivered: int) -> None:
        counts = Counter(delivery.outcome for delivery in deliveries)
        now = datetime.now(UTC)
        metrics.emit(
            {
                "Messages": len(deliveries),
                "Processed": counts["succeeded"],
                "Failed": counts["failed"] + counts["rejected"] + counts["conflict"],
                "Repeated": counts["done"],
                "BatchItemFailures": len(returning),
                # A metric is paid for as soon as it is written.
                **({"OutcomesUndelivered": undelivered} if self._settings.event_bus_name else {}),
            },
            [_latency_ms(delivery, now) for delivery in deliveries if delivery.outcome == "succeeded"],
        )
        for part in aws.chunks(list(deliveries), EVENTS_A_LOG_LINE):
            logger.info("batch", extra={"events": [_logged(delivery, now) for delivery in part]})


def _delivery(record: Mapping[str, Any]) -> Delivery:
    return Delivery(
        message_id=record["messageId"],
        receipt_handle=record["receiptHandle"],
        body=record["body"],
        receives=int(record["attributes"]["ApproximateReceiveCount"]),
        group=record["attributes"].get("MessageGroupId", ""),
    )


def _read(delivery: Delivery, faults: "Faults | None") -> None:
    body = faults.received(delivery.message_id, delivery.body) if faults else delivery.body
    try:
        delivery.envelope = Envelope.from_message(body)
    except UnreadableMessageError as error:
        delivery.end("unreadable", error)


def _correlation_ids(deliveries: Sequence[Delivery]) -> list[str]:
    """Of a batch's events, each once; of a very large batch the first."""
    known = [delivery.envelope.correlation_id for delivery in deliveries if delivery.envelope]
    return list(dict.fromkeys(known))[:EVENTS_A_LOG_LINE]


def _leaders(deliveries: Sequence[Delivery], items: Mapping[str, Item]) -> list[Delivery]:
    """The first message of each event. Others of the same event are done with it, those of another one conflict.

    Where an item has the id, it says whose that is: else the first of the batch may be in conflict with the item, and
    the item's own with the first of the batch.
    """
    leaders: dict[str, Delivery] = {}
    for delivery in deliveries:
        if delivery.envelope is None:
            continue
        item = items.get(delivery.envelope.id)
        if item is not None and _is_other(delivery, item.get("fingerprint", "")):
            continue
        leader = leaders.setdefault(delivery.envelope.id, delivery)
        if leader is not delivery and not _is_other(delivery, leader.event.fingerprint):
            delivery.outcome = "done"
    return list(leaders.values())


def _compare(delivery: Delivery, item: Item) -> str:
    """What an item says of a delivery: nothing yet (its outcome stays), `done`, or `conflict`. Returns the outcome."""
    if not _is_other(delivery, item.get("fingerprint", "")):
        # We put that message with the dead letters already. Redriven from there, it has another id and is tried again.
        rejected_before = item["status"] == "failed" and item.get("rejected_message_id") == delivery.message_id
        if item["status"] == "succeeded" or rejected_before:
            delivery.outcome, delivery.stored = "done", item
    return delivery.outcome


def _end_dead(delivery: Delivery, item: Item) -> None:
    """Ends an event whose last attempt was begun and not ended. Where SQS moves messages, such a one does not come."""
    until = item.get("final_attempt_until")
    if until is not None:
        delivery.end("failed" if until < time.time() else "retry", LastAttemptError(DIED_ON_LAST_ATTEMPT))


def _is_other(delivery: Delivery, fingerprint: str) -> bool:
    """Whether an id stands for another event than the delivery's; then that one is in conflict."""
    if delivery.event.fingerprint == fingerprint:
        return False
    delivery.end("conflict", ConflictError("the idempotency key was used with another event, which came first"))
    return True


def _failure(delivery: Delivery) -> dict[str, Any]:
    """What an alert says of a failed message. Not the event: not all who are alerted may be allowed to see it."""
    known = delivery.envelope
    return {
        "message_id": delivery.message_id,
        "id": known and known.id,
        "type": known and known.type,
        "correlation_id": known and known.correlation_id,
        "attempts": delivery.attempt,
        "error_type": delivery.error_type,
        # SNS takes 256 KB, and the item has all of it.
        "error": delivery.error[:ALERTED_ERROR_LENGTH],
    }


def _outcome(delivery: Delivery) -> outcomes.Outcome:
    """What the bus is told of an event that is done: schemas/outcome.json. Not the client's object, nor the result."""
    envelope, stored = delivery.event, delivery.stored or {}
    detail = {
        "id": envelope.id,
        "type": envelope.type,
        "correlation_id": envelope.correlation_id,
        "received_at": envelope.received_at,
        **{name: stored.get(name) for name in OUTCOME_ATTRIBUTES},
    }
    return outcomes.Outcome("Event Succeeded" if detail["status"] == "succeeded" else "Event Failed", detail)


def _latency_ms(delivery: Delivery, now: datetime) -> float:
    """From received to completed."""
    return (now - datetime.fromisoformat(delivery.event.received_at)).total_seconds() * 1_000


def _logged(delivery: Delivery, now: datetime) -> dict[str, Any]:
    logged = {"outcome": delivery.outcome, **_failure(delivery)}
    if delivery.outcome == "succeeded":
        logged["latency_ms"] = round(_latency_ms(delivery, now))
    # Logs are paid for by the byte: the message's id is of use where there is no event's.
    return {name: value for name, value in logged.items() if value and not (name == "message_id" and delivery.envelope)}


@cache
def _worker() -> Worker:
    settings = WorkerSettings.from_environment()
    process, service = load_processor(settings.processor), os.environ["POWERTOOLS_SERVICE_NAME"]
    if not settings.circuit_failure_threshold:
        return Worker(settings, process, service)
    from handlers.api.circuit import Circuit, Pause  # noqa: PLC0415  see there what it costs

    return Worker(settings, process, service, Circuit(settings, service, Pause(settings).begin))


def handler(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """The Lambda entry point."""
    return _worker().handle(event["Records"], context)
