"""Stores what became of a batch's events, in an order that loses nothing wherever the function dies.

Results are written first, alerts go out, messages that will not be tried again go to the dead letters, and
only then the items say what became of the events. A batch that comes again finds what is done, and repeats the rest.

Finished work is stored while the batch goes on, so that a neighbour which kills the worker does not take it along. A
fast batch is stored once, at its end.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from handlers.api import notices, objects
from handlers.api.decisions import (
    Conflict,
    Covered,
    Dead,
    Delivery,
    Failed,
    Retrying,
    Returned,
    Succeeded,
    Unreadable,
    behind,
    conflict,
)
from handlers.api.items import Completion
from handlers.api.processing import failure_of
from handlers.api.settings import WorkerSettings
from handlers.api.table import EventTable
from handlers.shared import aws, queues
from handlers.shared.alerts import AlertTopic
from handlers.shared.dynamodb import outside_errors
from handlers.shared.log import logger
from handlers.shared.times import timestamp

# The promise is that finished work is stored within a second; the rest is for the calls. A constant, because nobody
# has a reason to wait longer, and shorter would cost more than one round of writes for an ordinary batch.
STORE_AFTER_SECONDS = 0.7


def _of(deliveries: Sequence[Delivery], *kinds: type) -> list[Delivery]:
    return [each for each in deliveries if isinstance(each.outcome, kinds)]


class Storing:
    """Stores the events of one batch. `backoff` returns the seconds until the next attempt."""

    def __init__(
        self,
        settings: WorkerSettings,
        table: EventTable,
        service: str,
        deliveries: Sequence[Delivery],
        backoff: Callable[[int], int],
    ) -> None:
        self._settings = settings
        self._table = table
        self._service = service
        self._deliveries = deliveries
        self._backoff = backoff
        self._known: set[str] = set()
        self._delays: dict[str, int] = {}
        self._one_at_a_time = threading.Lock()
        self._changed = threading.Condition()
        self._waiting_since: float | None = None
        self._over = False

    def knows(self, ids: Sequence[str]) -> None:
        """Take note of the events that have an item."""
        self._known |= set(ids)

    def delay_seconds(self, delivery: Delivery) -> int:
        """Return the seconds until the next attempt of an event that failed."""
        if isinstance(delivery.outcome, Retrying) and delivery.outcome.wait_seconds:
            return delivery.outcome.wait_seconds
        return self._delays.setdefault(delivery.message_id, self._backoff(max(1, delivery.attempts)))

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Store in the background while the block runs, and what is left at its end. Raises botocore's errors."""
        thread = threading.Thread(target=self._store_in_time, daemon=True)
        thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._over = True
                self._changed.notify()
            thread.join()
        self.store()

    def finished(self) -> None:
        """Tell that an event has finished."""
        with self._changed:
            if self._waiting_since is None:
                self._waiting_since = time.monotonic()
                self._changed.notify()

    def _store_in_time(self) -> None:
        while True:
            with self._changed:
                while not self._over and self._seconds_left() > 0:
                    self._changed.wait(None if self._waiting_since is None else self._seconds_left())
                if self._over:
                    return
            try:
                self.store()
            except outside_errors():
                logger.exception("finished events were not stored; the end of the batch tries again")
                return

    def _seconds_left(self) -> float:
        if self._waiting_since is None:
            return float("inf")
        return self._waiting_since + STORE_AFTER_SECONDS - time.monotonic()

    def store(self) -> None:
        """Store every finished event that is not stored yet. Raises `outside_errors`."""
        with self._one_at_a_time:
            with self._changed:
                self._waiting_since = None
            # The worker goes on meanwhile: an event that finishes now takes all steps in the next round, or none of its
            # result would be stored, or its message would be dead-lettered twice.
            now = [each for each in self._deliveries if not each.recorded and each.outcome]
            self._store_results(_of(now, Succeeded))
            behind(self._deliveries)
            self._give_up(_of(now, Failed, Conflict, Unreadable))
            self._complete(_of(now, Succeeded, Retrying, Failed))

    def _store_results(self, succeeded: Sequence[Delivery]) -> None:
        if self._settings.results != "object":
            return

        def store(delivery: Delivery) -> None:
            assert isinstance(delivery.outcome, Succeeded)  # noqa: S101  for mypy: only these are asked for
            key = objects.result_key(delivery.event)
            try:
                objects.put_result(self._settings.bucket_name, key, delivery.outcome.result)
            except outside_errors() as error:
                logger.warning("a result was not stored; the message returns to the queue", exc_info=True)
                delivery.outcome = self.unavailable(delivery, error)

        aws.each(store, succeeded)

    def unavailable(self, delivery: Delivery, error: Exception | None = None) -> Returned:
        """A service of AWS did not answer: that is no attempt of the event."""
        wait = queues.patient_seconds(delivery.receives, self._settings.backoff_base_seconds)
        return Returned("unavailable", wait, failure_of(error) if error else None)

    def _give_up(self, dead: Sequence[Delivery]) -> None:
        """Alert, and send messages to the dead letters."""
        if not dead:
            return
        self._alert(dead)
        messages = [
            queues.Outgoing(
                each.body,
                {
                    "event_id": each.envelope.id if each.envelope else "",
                    "error": each.failure.text if each.failure else "",
                    "error_type": each.failure.type if each.failure else "",
                    "attempts": str(each.outcome.attempt) if isinstance(each.outcome, Failed) else "",
                },
                each.group or each.tenant,
                # Not the event's id: a message that fails again after a redrive must not be dropped.
                each.message_id,
            )
            for each in dead
        ]
        for each, sent in zip(dead, queues.send(self._settings.dead_letter_queue_url, messages), strict=True):
            if not sent:
                each.outcome = self.unavailable(each)
            elif not isinstance(each.outcome, Failed):
                each.recorded = True
        behind(self._deliveries)

    def _alert(self, dead: Sequence[Delivery]) -> None:
        try:
            for cause, failures in notices.by_cause(dead).items():
                # One alert for each cause and minute, from whichever worker comes first.
                if self._table.claim_minute(f"alert#{cause}"):
                    notices.publish_failures(AlertTopic.of(self._settings, self._service), cause, failures)
        except outside_errors():
            # The alarm on the dead letters rings all the same; to fail the batch would help nobody.
            logger.exception("an alert was not published")

    def _complete(self, finished: Sequence[Delivery]) -> None:
        now = datetime.now(UTC)
        completions = [self._completion(each, now) for each in finished]
        items = self._table.complete(completions, self._known)
        self._known |= {each.event.id for each in finished}
        late: list[Delivery] = []
        for delivery, completion, item in zip(finished, completions, items, strict=True):
            if item is None:
                delivery.recorded = True
                delivery.stored = vars(completion) if completion.completed_at else None
            elif item.get("fingerprint", "") != delivery.event.fingerprint:
                delivery.outcome = conflict()
                late.append(delivery)
            else:
                delivery.outcome, delivery.stored, delivery.recorded = Covered(item), item, True
        self._give_up(late)

    def _completion(self, delivery: Delivery, now: datetime) -> Completion:
        envelope, outcome = delivery.event, delivery.outcome
        match outcome:
            case Succeeded(attempt, result):
                inline = self._settings.results == "inline"
                return Completion(
                    envelope,
                    "succeeded",
                    attempt,
                    timestamp(now),
                    result=result if inline else None,
                    result_key=None if inline else objects.result_key(envelope),
                )
            case Failed(attempt, failure):
                return Completion(
                    envelope,
                    "failed",
                    attempt,
                    timestamp(now),
                    error=failure.text,
                    error_type=failure.type,
                    rejected_message_id=delivery.message_id,
                )
            case Retrying(attempt, failure):
                return Completion(
                    envelope,
                    "retrying",
                    attempt,
                    None,
                    error=failure.text,
                    error_type=failure.type,
                    next_attempt_at=timestamp(now + timedelta(seconds=self.delay_seconds(delivery))),
                    noted_message_id=delivery.message_id,
                    noted_receives=delivery.receives,
                )
            case _:
                raise TypeError(f"{outcome} does not complete an event")


__all__ = ["Dead", "Storing"]
