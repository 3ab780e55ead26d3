"""What the worker decides, as values. It contains no AWS code, so every history can be tested in memory.

A delivery of an event is planned from the event's item (`plan`), its call of the processor is judged (`judge`), and the
batch is put in an order in which no event harms another (`in_order`, `behind`).

An attempt is one call of the processor with the event. Attempts are counted in the item, never by SQS's receive count:
a message that came back because its worker died, because the time was up before its turn, because it stood behind
another of its group, or because the circuit was open, has used none.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from handlers.api.events import Envelope

ERROR_CHARACTERS = 1_000
# An event that had less than this share of the time it may use was cut short by its batch: that is no attempt.
FULL_TIME_SHARE = 0.95

CONFLICT = "the idempotency key was used with another event, which came first"
DIED = "the worker died while it processed the event: out of memory, os._exit, a crash, or the function's timeout"
TIMEOUT = "ProcessingTimeoutError"
NOT_PROCESSED_TYPE = "NotProcessedError"
NOT_PROCESSED = (
    "SQS moved the message to the dead letters before any attempt was recorded: the worker did not start, or could not "
    "reach its table; its log says why"
)


@dataclass(frozen=True)
class Failure:
    """Why something did not succeed: the name of an error and its text, in printable characters."""

    type: str
    text: str


# What a delivery comes to. Each but `Unread` is final for this delivery.


@dataclass(frozen=True)
class Covered:
    """An earlier delivery, or another message of the batch, already covers the event."""

    item: Mapping[str, Any] | None = None
    """The item that says so, None for another message of the batch."""


@dataclass(frozen=True)
class Succeeded:
    """The processor returned. `result` is JSON text."""

    attempt: int
    result: str


@dataclass(frozen=True)
class Retrying:
    """The attempt failed, and the event has attempts left. `attempt` counts those that it has used."""

    attempt: int
    failure: Failure
    wait_seconds: int = 0
    """Until the next attempt; 0: as `worker.backoff` says."""


@dataclass(frozen=True)
class Failed:
    """The event will not be tried again; its message goes to the dead letters."""

    attempt: int
    failure: Failure


@dataclass(frozen=True)
class Conflict:
    """The item with the event's id belongs to another event; this one's message goes to the dead letters."""

    failure: Failure


@dataclass(frozen=True)
class Unreadable:
    """The message holds no event; it goes to the dead letters."""

    failure: Failure


@dataclass(frozen=True)
class Returned:
    """The message returns to the queue, and the event has used no attempt."""

    reason: str
    """For the log: `not its turn`, `held`, `circuit open`, `at work`, `unavailable`."""
    delay_seconds: int = 0
    failure: Failure | None = None


Outcome = Covered | Succeeded | Retrying | Failed | Conflict | Unreadable | Returned
# These have used up what the queue can do for an event.
Dead = Failed | Conflict | Unreadable


@dataclass(frozen=True)
class Start:
    """The processor is to be called."""

    attempt: int
    """The number of this attempt, from 1."""
    marked: bool = False
    """The item is to say so first: another worker may be at this event, or may have died of it."""
    alone: bool = False
    """The last try was cut short: only a whole run of the function is enough."""


@dataclass
class Delivery:
    """One message of a batch: the event in it, what is planned, and what it comes to."""

    message_id: str
    receipt_handle: str
    body: str
    receives: int
    group: str = ""
    """Of a FIFO queue, whose order stays within a group; else empty."""
    tenant: str = ""
    """The group of a fair queue, which has no order; else empty."""
    envelope: Envelope | None = None
    item: Mapping[str, Any] | None = None
    """The event's item as it was read; None if there was none."""
    start: Start | None = None
    outcome: Outcome | None = None
    stored: Mapping[str, Any] | None = None
    """What the item says of an event that is done; the outcome event repeats it."""
    untold: bool = False
    """The event is done, and the bus did not take its outcome event: the message returns."""
    recorded: bool = field(default=False)
    """Everything about the outcome is written."""

    @property
    def event(self) -> Envelope:
        """The event of a message that has one."""
        if self.envelope is None:
            raise ValueError("the message holds no event")
        return self.envelope

    @property
    def is_again(self) -> bool:
        """Return True if another worker may be at the event, or may have died of it."""
        return self.receives > 1 or self.event.resent is True

    @property
    def open(self) -> bool:
        """Return True while the processor is still to be called."""
        return self.outcome is None and self.start is not None

    @property
    def returns(self) -> bool:
        """Return True if the message goes back to the queue."""
        return isinstance(self.outcome, Retrying | Returned) or self.outcome is None or self.untold

    @property
    def attempts(self) -> int:
        """The attempts that the event has used, as far as this delivery knows."""
        return self.outcome.attempt if isinstance(self.outcome, Succeeded | Retrying | Failed) else 0

    @property
    def failure(self) -> Failure | None:
        """Why the delivery did not succeed."""
        return None if isinstance(self.outcome, Covered | Succeeded | None) else self.outcome.failure


class Limits(Protocol):
    """The settings that decisions depend on."""

    @property
    def max_attempts(self) -> int:
        """Attempts before an event is failed."""


def plan(delivery: Delivery, item: Mapping[str, Any] | None, limits: Limits, now: float) -> Start | Outcome:
    """Return what an event's item says is to be done with a delivery. `now` is in epoch seconds."""
    if item is None:
        return Start(1, marked=delivery.is_again)
    if item.get("fingerprint", "") != delivery.event.fingerprint:
        return conflict()
    dead_before = item["status"] == "failed" and item.get("rejected_message_id") == delivery.message_id
    if item["status"] == "succeeded" or dead_before:
        return Covered(item)
    # Not by the message that failed: an attempt of a redriven message was begun since.
    marked = item.get("running_until") is not None and item.get("noted_message_id") != item.get("rejected_message_id")
    if item["status"] == "failed" and not marked:
        # A redriven message begins anew.
        return Start(1, marked=delivery.is_again)
    if (until := item.get("running_until")) is not None:
        return _after_a_mark(delivery, item, limits, now, until)
    return _next_attempt(delivery, item, limits)


def begins_anew(envelope: Envelope, item: Mapping[str, Any] | None) -> bool:
    """Return True if a replay has an event processed that is done, or that has no item any more.

    A copy of its message finds the replay in the item. So does one of an earlier replay, whose time is over.
    """
    if not envelope.replay or item is None:
        return envelope.replay is not None
    done = item["status"] in ("succeeded", "failed")
    same = item.get("fingerprint", "") == envelope.fingerprint
    return done and same and (item.get("replay") or "") < envelope.replay


def _next_attempt(delivery: Delivery, item: Mapping[str, Any], limits: Limits) -> Start | Outcome:
    used: int = item["attempts"]
    if used >= limits.max_attempts:
        return Failed(used, Failure(item.get("error_type") or "unknown", item.get("error") or ""))
    # A failure that the item tells of explains why the message came back.
    explained = _noted(item, delivery, receives=delivery.receives - 1)
    marked = delivery.is_again and not explained
    return Start(used + 1, marked=marked, alone=item.get("error_type") == TIMEOUT)


def _after_a_mark(
    delivery: Delivery, item: Mapping[str, Any], limits: Limits, now: float, until: int
) -> Start | Outcome:
    """Plan a delivery of an event whose attempt was begun and has not ended. That one is counted already."""
    # A message is not delivered again before its visibility timeout, six times the function's, or its return.
    again = item.get("noted_message_id") == delivery.message_id
    over = again and not _noted(item, delivery, receives=delivery.receives)
    if not over and until > now:
        return Returned("at work", int(until - now) + 1)
    used: int = item["attempts"]
    if used >= limits.max_attempts:
        return Failed(used, Failure("WorkerDiedError", DIED))
    return Start(used + 1, marked=True)


def _noted(item: Mapping[str, Any], delivery: Delivery, *, receives: int) -> bool:
    """Return True if the item's last note is of the delivery's message, when it had been received so often."""
    return item.get("noted_message_id") == delivery.message_id and item.get("noted_receives") == receives


def conflict() -> Conflict:
    """Two accepted events share an idempotency key and differ. The first stays."""
    return Conflict(Failure("ConflictError", CONFLICT))


def judge(start: Start, failure: Failure, limits: Limits, *, permanent: bool, cut_short: bool) -> Outcome:
    """Return what a failed call of the processor comes to.

    Args:
        start: the plan that the call followed.
        failure: what the processor raised.
        limits: the worker's settings.
        permanent: no other attempt can succeed.
        cut_short: the time limit ended a call that had less time than an event may use.
    """
    if permanent:
        return Failed(start.attempt, failure)
    if cut_short:
        return Retrying(start.attempt - 1, failure)
    if start.attempt >= limits.max_attempts:
        return Failed(start.attempt, failure)
    return Retrying(start.attempt, failure)


def leaders(deliveries: Iterable[Delivery], items: Mapping[str, Mapping[str, Any]]) -> list[Delivery]:
    """Return the first message of each event; the other messages get their outcome here.

    Another message of the same event is covered by it, one of another event with the same id is a conflict. Where an
    item has the id, it says whose the id is.
    """
    first: dict[str, Delivery] = {}
    for delivery in deliveries:
        if delivery.envelope is None:
            continue
        item = items.get(delivery.envelope.id)
        if item is not None and item.get("fingerprint", "") != delivery.event.fingerprint:
            delivery.outcome = conflict()
            continue
        leader = first.setdefault(delivery.envelope.id, delivery)
        if leader is not delivery:
            same = leader.event.fingerprint == delivery.event.fingerprint
            delivery.outcome = Covered() if same else conflict()
    return list(first.values())


def in_order(deliveries: Sequence[Delivery]) -> list[Delivery]:
    """Return a batch's events in the order in which they run.

    Those that failed, or died, before come last, so that neighbours are done before an event can harm them; an event
    that needs a whole run comes first, for it gets one there only. Groups keep their order, and a group comes as late
    as the event of it that failed most often.
    """

    def rank(delivery: Delivery) -> int:
        start = delivery.start
        return 0 if start is None or start.alone else start.attempt

    groups: dict[str, int] = {}
    for delivery in deliveries:
        if delivery.group:
            first = groups.setdefault(delivery.group, rank(delivery))
            groups[delivery.group] = first and max(groups[delivery.group], rank(delivery))
    return sorted(deliveries, key=lambda each: groups[each.group] if each.group else rank(each))


def behind(deliveries: Iterable[Delivery]) -> None:
    """Hold what stands behind a message of its group that returns: a FIFO queue's order is kept."""
    waiting: set[str] = set()
    for delivery in deliveries:
        if not delivery.group:
            continue
        if delivery.group in waiting:
            if not delivery.recorded and not isinstance(delivery.outcome, Retrying | Returned | Covered):
                delivery.outcome = Returned("held")
        elif isinstance(delivery.outcome, Retrying | Returned):
            waiting.add(delivery.group)
