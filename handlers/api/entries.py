"""The events of one request, their outcomes, and the response that follows from these."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from handlers.api import events
from handlers.api.events import Envelope
from handlers.api.items import EventItem, description, resent
from handlers.shared import queues
from handlers.shared.errors import ApiError, BadRequestError, ConflictError, UnavailableError
from handlers.shared.http import error_body, response

# Lambda limits a response to 6 MB. This number of problems of the maximum length takes less than 5 MB.
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
PROBLEMS_A_BATCH = 500


@dataclass
class Entry:
    """One event of a request, and its outcome so far.

    In the end exactly one is true: it has a `refusal`, it is sent (`sends`), or it is a `duplicate` of an entry of the
    same request (`leader`) or of an earlier one, whose `status` it has.
    """

    envelope: Envelope | None = None
    message: str = ""
    group: str = ""
    refusal: ApiError | None = None
    sends: bool = False
    duplicate: bool = False
    leader: "Entry | None" = None
    status: str = "queued"
    lost: EventItem | None = None
    """The item of an event whose message was lost, and which is sent again."""

    @property
    def outcome(self) -> ApiError | None:
        """Why it was not accepted, None if it was."""
        return self.leader.refusal if self.leader else self.refusal


def envelope_of(entry: Entry) -> Envelope:
    """Return the event of an entry that was not refused when it was read."""
    if entry.envelope is None:
        raise ValueError("the entry has no event: it was refused")
    return entry.envelope


def outgoing(entry: Entry) -> queues.Outgoing:
    """Return the message of an event. A FIFO queue drops its duplicates, but not another event with the same key."""
    envelope = envelope_of(entry)
    deduplication_id = f"{envelope.id}-{envelope.fingerprint[:32]}"
    if entry.lost:
        # Another one than that of the lost message, which SQS remembers for minutes.
        deduplication_id += f"-{entry.lost['expires_at']}"
    return queues.Outgoing(entry.message, {}, entry.group, deduplication_id)


def settle(group: Sequence[Entry], holder: EventItem | None, *, lost: bool) -> None:
    """Decide about the entries of one idempotency key, in the order of the request. `holder` is its item.

    With `lost`, the message of that item is lost: it is sent again as if the event were new.
    """
    # An item without one is of an event that was replayed from an archive which does not have it.
    owner = (holder and holder.get("fingerprint")) or envelope_of(group[0]).fingerprint
    leader: Entry | None = None
    for entry in group:
        envelope = envelope_of(entry)
        entry.sends = False
        if envelope.fingerprint != owner:
            entry.refusal = ConflictError("idempotency_conflict", "the idempotency key was used with another event")
        elif leader is not None:
            entry.duplicate, entry.leader = True, leader
        elif holder is None or lost or holder["status"] == "accepting":
            leader, entry.sends, entry.duplicate = entry, True, holder is not None and not lost
            if holder is not None:
                entry.lost = holder if lost else None
                entry.envelope, entry.message = _resent(envelope, holder, lost=lost)
        else:
            entry.duplicate, entry.status = True, description(holder)["status"]


def _resent(envelope: Envelope, holder: EventItem, *, lost: bool) -> tuple[Envelope, str]:
    """Return an event as it is sent again, and its message."""
    same = resent(envelope, holder)
    if lost:
        marked = replace(same, resent=True)
        # A message of a few bytes below SQS's limit has no room for the mark.
        with suppress(events.EventTooLargeError):
            return marked, events.message_of(marked)
    return same, events.message_of(same)


def answer_one(entry: Entry, path: str = "") -> dict[str, Any]:
    """Return the response to a request with one event, whose own path is below `path`. Raises its refusal."""
    if entry.outcome is not None:
        raise entry.outcome
    event_id = envelope_of(entry).id
    body = {"id": event_id, "status": entry.status, "duplicate": entry.duplicate}
    return response(202, body, {"Location": f"{path}/{event_id}"} if path else None)


def answer_batch(entries: Sequence[Entry]) -> dict[str, Any]:
    """Return the response to a batch."""
    listed = max(1, PROBLEMS_A_BATCH // len(entries))
    results = [_result(index, entry, listed) for index, entry in enumerate(entries)]
    refusals = [entry.outcome for entry in entries if entry.outcome is not None]
    body = {"accepted": len(entries) - len(refusals), "rejected": len(refusals), "results": results}
    if len(refusals) < len(entries):
        return response(202, body)
    # Nothing was accepted. If a service failed for any event, a retry can help.
    outside = next((refusal for refusal in refusals if isinstance(refusal, UnavailableError)), None)
    error = outside or BadRequestError("all_rejected", "none of the events was accepted; see results")
    return response(error.status, {**body, **error_body(error)})


def _result(index: int, entry: Entry, listed: int) -> dict[str, Any]:
    refusal = entry.outcome
    if refusal is not None:
        return {
            "index": index,
            "status": "rejected",
            "errors": refusal.details[:listed] or [{"path": "", "message": refusal.message}],
        }
    repeat = {"duplicate": True} if entry.duplicate else {}
    return {"index": index, "id": envelope_of(entry).id, "status": entry.status, **repeat}
