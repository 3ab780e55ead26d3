"""The scheduled reconciler: it notes in the table what SQS has moved to the dead letters.

A worker that cannot start, or may not read its table, cannot say of any event that it failed. SQS moves the messages
after `maxReceiveCount`, and without this function their events would stay `queued`. It looks at the dead letters that
SQS moved, and has no right to delete any.

While letters are hidden by the pass, their items become `failed` and outcome events tell it; at its end comes one alert
a cause. Only then the items name their letter, by which the next run knows that nothing is left to do. A run that dies
halfway is made up for by the next one: an outcome event may be told twice, and none is left out.

Where there is a time index, it also counts the events whose messages are lost (stuck.py).
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from handlers.api import archive, notices
from handlers.api.counts import OLDEST_LETTER
from handlers.api.decisions import DIED, NOT_PROCESSED, NOT_PROCESSED_TYPE, Delivery, Failed, Failure
from handlers.api.events import Envelope, UnreadableMessageError
from handlers.api.items import Completion, EventItem
from handlers.api.reporting import tell
from handlers.api.settings import ReconcilerSettings
from handlers.api.stuck import StuckEvents
from handlers.api.table import EventTable
from handlers.shared import aws, metrics
from handlers.shared.alerts import AlertTopic
from handlers.shared.context import LambdaContext
from handlers.shared.dead_letters import DeadLetters
from handlers.shared.letters import UNKNOWN, Cause, Found, Letter, Wanted
from handlers.shared.log import logger
from handlers.shared.passes import Pass
from handlers.shared.times import timestamp

# Reserved at the end of the function's time for the alerts and the last writes.
STOPPING_SECONDS = 20
# Letters are looked at when their number has changed, and besides so often: one may have gone while another came.
LOOK_SECONDS = 3_600
ALERT_MINUTES = 60
EVENTS_A_LOG_LINE = 100


@dataclass
class _Moved:
    """A letter that SQS moved, and what it comes to."""

    delivery: Delivery
    completion: Completion
    item: EventItem | None


class Reconciler:
    """Compares the dead letters with the items. `service` names the pipeline."""

    def __init__(self, settings: ReconcilerSettings, service: str) -> None:
        self._settings = settings
        self._service = service
        self._letters = DeadLetters(settings.dead_letter_queue_url, _no_causes)
        self._table = EventTable(
            settings.table_name,
            time_index_shards=settings.time_index_shards,
            items_expire_after_days=settings.items_expire_after_days,
        )
        # Of the last complete look: the number of letters, the age of the oldest one, and when.
        self._looked: tuple[int, int, float] | None = None

    def run(self, context: LambdaContext) -> None:
        """Note what SQS moved since the last run. Raises botocore's errors and TableError; it is run again."""
        depth = self._letters.depth()
        now = time.monotonic()
        if depth == 0:
            self._looked = None
            return
        if self._looked and self._looked[0] == depth and now < self._looked[2] + LOOK_SECONDS:
            metrics.emit({OLDEST_LETTER: self._looked[1] + int(now - self._looked[2])})
            return
        self._look(context.get_remaining_time_in_millis() / 1_000 - STOPPING_SECONDS)

    def _look(self, seconds: float) -> None:
        noted: list[_Moved] = []
        oldest = 0

        def note(found: Sequence[Found], _: Pass) -> Sequence[Found]:
            nonlocal oldest
            oldest = max(oldest, *(each.age_seconds for each in found))
            noted.extend(self._note(found))
            return ()

        done = self._letters.go_through(Wanted(), float("inf"), seconds, note, Pass({}))
        self._alert([each.delivery for each in noted])
        self._table.name_letters([each.completion for each in noted])
        metrics.emit({OLDEST_LETTER: oldest, **({"Failed": len(noted)} if noted else {})})
        for part in aws.chunks([notices.described(each.delivery) for each in noted], EVENTS_A_LOG_LINE):
            logger.warning("SQS moved messages to the dead letters; their events are failed", extra={"events": part})
        if done.error is not None:
            raise done.error
        self._looked = (done.remaining or 0, oldest, time.monotonic()) if done.complete else None

    def _note(self, found: Sequence[Found]) -> list[_Moved]:
        """Make the items of letters `failed`, and tell it. Returns what has been told."""
        envelopes = {each.letter.message_id: _envelope(each.letter) for each in found}
        items = self._table.read(envelope.id for envelope in envelopes.values() if envelope)
        now = timestamp(datetime.now(UTC))
        moved = [
            _moved(each.letter, envelope, items.get(envelope.id), now)
            for each in found
            if (envelope := envelopes[each.letter.message_id])
            and _is_open(each.letter, items.get(envelope.id), envelope)
        ]
        # Two messages of one event: the second one finds its item in the next run.
        moved = list({each.completion.envelope.id: each for each in moved}.values())
        written = self._table.give_up([(each.completion, each.item) for each in moved])
        moved = [each for each, is_written in zip(moved, written, strict=True) if is_written]
        tell(self._settings.event_bus_name, self._service, [each.delivery for each in moved])
        if self._settings.bucket_name:
            archive.keep(self._settings.bucket_name, [each.delivery for each in moved])
        return [each for each in moved if not each.delivery.untold]

    def _alert(self, dead: Sequence[Delivery]) -> None:
        for cause, failures in notices.by_cause(dead).items():
            name = f"alert#moved#{cause}"
            # Claimed afterwards: an alert that was claimed and not published would be missing for an hour.
            if not self._table.is_claimed(name, minutes=ALERT_MINUTES):
                notices.publish_failures(AlertTopic.of(self._settings, self._service), cause, failures)
                self._table.claim_minute(name, minutes=ALERT_MINUTES)


def _no_causes(letters: Sequence[Letter]) -> list[Cause]:
    """The items say the causes, and are read with all that they say."""
    return [Cause(None, UNKNOWN, None) for _ in letters]


def _envelope(letter: Letter) -> Envelope | None:
    """Return the event of a letter that SQS moved; None for a letter of the worker's, and for no event."""
    if not letter.moved_by_sqs:
        return None
    try:
        return Envelope.from_message(letter.body)
    except UnreadableMessageError:
        return None


def _is_open(letter: Letter, item: EventItem | None, envelope: Envelope) -> bool:
    """Return True if the item does not say yet that this letter's event failed."""
    if item is None:
        return True
    if item.get("fingerprint", "") != envelope.fingerprint or item["status"] == "succeeded":
        return False
    if item["status"] == "failed":
        # Another letter's failure is one before a redrive: this letter is what became of the redriven message.
        return item.get("rejected_message_id") != letter.message_id
    # Another message of the event is at work.
    return item.get("noted_message_id") in (None, letter.message_id)


def _failure(item: EventItem | None) -> Failure:
    # What a failed item says is of a message before a redrive.
    known = item if item and item["status"] != "failed" else None
    if known and known.get("running_until") is not None:
        return Failure("WorkerDiedError", DIED)
    error_type = known.get("error_type") if known else None
    if known is None or error_type is None:
        return Failure(NOT_PROCESSED_TYPE, NOT_PROCESSED)
    return Failure(error_type, known.get("error") or "")


def _moved(letter: Letter, envelope: Envelope, item: EventItem | None, now: str) -> _Moved:
    failure = _failure(item)
    attempts = item["attempts"] if item and item["status"] != "failed" else 0
    completion = Completion(
        envelope,
        "failed",
        attempts,
        now,
        error=failure.text,
        error_type=failure.type,
        rejected_message_id=letter.message_id,
    )
    delivery = Delivery(letter.message_id, "", "", receives=0, envelope=envelope, stored=vars(completion))
    delivery.outcome = Failed(attempts, failure)
    return _Moved(delivery, completion, item)


@cache
def _reconciler() -> Reconciler:
    return Reconciler(ReconcilerSettings.from_environment(), os.environ["POWERTOOLS_SERVICE_NAME"])


@cache
def _stuck() -> StuckEvents | None:
    settings = ReconcilerSettings.from_environment()
    return StuckEvents(settings) if settings.lost_after_seconds else None


def handler(_event: Mapping[str, Any], context: LambdaContext) -> None:
    """Note what SQS moved, and count the events whose messages are lost. The Lambda entry point."""
    _reconciler().run(context)
    if stuck := _stuck():
        stuck.look(lambda: context.get_remaining_time_in_millis() > STOPPING_SECONDS * 1_000)
