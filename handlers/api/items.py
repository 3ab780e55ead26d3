"""The items of the events table, one per event, and the names of their attributes.

`status` is

- `accepting`: claimed for an idempotency key, and not yet known to be in the queue. No client is shown such an item.
- `queued`, `retrying`, `succeeded`, `failed`: as in the API.

An item `alert#{cause}` holds, as `received_at`, the minute of the last alert for a cause. The item `secret#ids` holds
the stack's secret: whoever can read it can read the events, too, and it is in no state, log or environment.
"""

import json
import time
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NotRequired, TypedDict

from handlers.api.events import Envelope
from handlers.shared.dynamodb import Condition

SECONDS_A_DAY = 86_400


class CountedItem(TypedDict):
    """The attributes that a summary counts."""

    id: str
    type: str
    status: str
    received_at: str
    expires_at: int
    """Epoch seconds. TTL deletes late, so an expired item counts as none."""
    completed_at: NotRequired[str | None]
    error_type: NotRequired[str | None]


class EventItem(CountedItem):
    """The attributes that the API and the worker read."""

    attempts: int
    """Calls of the processor with the event."""
    fingerprint: NotRequired[str]
    """Set for an event with an idempotency key."""
    error: NotRequired[str | None]
    next_attempt_at: NotRequired[str | None]
    """Of a retrying event."""
    noted_message_id: NotRequired[str | None]
    """The message of the delivery that wrote the last failed attempt, or the last mark."""
    noted_receives: NotRequired[int | None]
    """How often that message had been received."""
    running_until: NotRequired[int | None]
    """Epoch seconds, set while an event is processed on its own, because a worker died with it before."""
    rejected_message_id: NotRequired[str | None]
    """The message that the worker put with the dead letters."""
    result_key: NotRequired[str | None]
    replay: NotRequired[str | None]
    """The last replay that began the event anew."""
    sent_at: NotRequired[int | None]
    """Epoch seconds, set when the event's message was sent again."""
    lost: NotRequired[int | None]
    """Set when an operator declared the message lost: the value that `expires_at` had. Any later write changes that,
    and so takes the declaration back."""


class EventItemWithResult(EventItem):
    """An item with the result that is stored in it, as JSON text."""

    result: NotRequired[str | None]


class IndexKeys(TypedDict):
    """The keys of the time index: a partition for each day and shard, and the time with the id."""

    day_shard: str
    time_key: str


class IndexEntry(TypedDict):
    """An event in the time index."""

    id: str
    type: str
    time_key: str


@dataclass(frozen=True)
class Completion:
    """The outcome of an event, or of an attempt at it.

    With `succeeded` it has `result_key` or `result`, with `failed` the error and the message that is with the dead
    letters, with `retrying` the error, the time of the next attempt, and the delivery that failed.
    """

    envelope: Envelope
    status: str
    attempts: int
    completed_at: str | None
    result_key: str | None = None
    result: str | None = None
    error: str | None = None
    error_type: str | None = None
    rejected_message_id: str | None = None
    next_attempt_at: str | None = None
    noted_message_id: str | None = None
    noted_receives: int | None = None

    def attributes(self) -> dict[str, Any]:
        """Return what is stored. All of it is set: a redriven event that succeeds must lose the error it had."""
        retried = ("next_attempt_at", "noted_message_id", "noted_receives")
        omitted = ("envelope", "status", *(() if self.status == "retrying" else retried))
        stored = {name: value for name, value in vars(self).items() if name not in omitted}
        return stored if self.status == "succeeded" else {**stored, "running_until": None}


# What a replay takes from the item of an event that it begins anew. Its result stays until there is another one.
RENEWED = (
    "completed_at",
    "error",
    "error_type",
    "next_attempt_at",
    "noted_message_id",
    "noted_receives",
    "rejected_message_id",
    "running_until",
)

# An event with such a status promises that there is a message.
WAITING = ("queued", "retrying")

# Conditions and keys

ID_SECRET = "secret#ids"  # noqa: S105  its key

IS_ACCEPTING: Condition = ("status", "=", "accepting")
NOT_SUCCEEDED: Condition = ("status", "<>", "succeeded")
# The id is not taken by an item that counts: DynamoDB deletes expired ones up to days late.
IS_FREE = "attribute_not_exists(id) OR expires_at <= :now"
IN_PARTITION = "day_shard = :partition AND time_key BETWEEN :first AND :last"


def key_of(event_id: str) -> dict[str, str]:
    """Return the key of an event's item."""
    return {"id": event_id}


def is_ours(envelope: Envelope) -> list[Condition]:
    """Return the conditions under which a claim is still the one that this event made."""
    return [IS_ACCEPTING, ("received_at", "=", envelope.received_at)]


def same_event(envelope: Envelope) -> list[Condition]:
    """Return the conditions under which an item is not another event's with the same idempotency key."""
    return [("fingerprint", "=", envelope.fingerprint)] if envelope.fingerprint else []


# Items


def expires_at(expire_seconds: int) -> int:
    """Return when an item that is written now expires. Each later write puts it off.

    A dead letter that is sent back for the third time is older than `storage.items_expire_after_days`.
    """
    return int(time.time()) + expire_seconds


def is_live() -> Condition:
    """Return the condition that an item has not expired."""
    return ("expires_at", ">", int(time.time()))


def has_expired() -> Condition:
    """Return the condition that DynamoDB should have deleted an item by now."""
    return ("expires_at", "<=", int(time.time()))


def new_item(envelope: Envelope, status: str, expire_seconds: int) -> EventItem:
    """Return the item of an event that is not in the time index."""
    item = EventItem(
        id=envelope.id,
        type=envelope.type,
        status=status,
        received_at=envelope.received_at,
        attempts=0,
        expires_at=expires_at(expire_seconds),
    )
    if envelope.fingerprint:
        item["fingerprint"] = envelope.fingerprint
    if envelope.replay:
        item["replay"] = envelope.replay
        # At the latest: the worker has the message in its hands.
        item["sent_at"] = int(time.time())
    return item


def resent(envelope: Envelope, claimed: EventItem) -> Envelope:
    """Return the event as the request sent it that claimed its item."""
    return replace(envelope, received_at=claimed["received_at"])


def is_expired(item: CountedItem) -> bool:
    """Return True for an item that DynamoDB should have deleted by now."""
    return item["expires_at"] <= time.time()


def is_declared_lost(item: EventItem) -> bool:
    """Return True if an operator declared the message of a waiting event lost, and nothing was recorded since."""
    return item["status"] in WAITING and item.get("lost") == item["expires_at"]


def is_lost(item: EventItem, lost_after_seconds: int) -> bool:
    """Return True if an event waits for a message that no queue can have any more, or that was declared lost.

    With `lost_after_seconds` of 0, none is too old for a queue.
    """
    if item["status"] not in WAITING:
        return False
    return is_declared_lost(item) or 0 < lost_after_seconds <= time.time() - _last_sign(item)


def _last_sign(item: EventItem) -> float:
    """Return a time (epoch seconds) at or after which the event's message was sent for the last time.

    A redrive sends it without writing to the table. But it redrives a failed event, which waits again when the worker
    has begun an attempt, and the item says when.
    """
    times = [datetime.fromisoformat(at).timestamp() for at in (item["received_at"], item.get("next_attempt_at")) if at]
    return max(*times, item.get("sent_at") or 0, item.get("running_until") or 0)


def alert_minute(now: int, minutes: int = 1) -> tuple[dict[str, Any], Condition]:
    """Return the attributes of an item `alert#{cause}` at a time (epoch seconds), and that it holds another minute.

    `minutes` of more than one make an alert rarer: one in each span of so many.
    """
    minute = str(now // (60 * minutes))
    return {"received_at": minute, "expires_at": now + SECONDS_A_DAY}, ("received_at", "<>", minute)


def latency_ms(item: CountedItem) -> int | None:
    """Return the time from received to completed, None for an event that is not completed."""
    completed_at = item.get("completed_at")
    if not completed_at:
        return None
    taken = datetime.fromisoformat(completed_at) - datetime.fromisoformat(item["received_at"])
    return max(0, round(taken / timedelta(milliseconds=1)))


def description(item: EventItem) -> dict[str, Any]:
    """Return an item as the API shows it, without its result."""
    shown: dict[str, Any] = {
        "id": item["id"],
        "type": item["type"],
        "status": item["status"],
        "received_at": item["received_at"],
        "completed_at": item.get("completed_at"),
        "attempts": item["attempts"],
        "error": item.get("error"),
    }
    if item["status"] == "retrying":
        shown["next_attempt_at"] = item.get("next_attempt_at")
    return shown


def result_of(item: EventItemWithResult) -> Any:
    """Return the result that is stored in the item, None if there is none."""
    return json.loads(item.get("result") or "null")
