"""The function behind the API: accepts events into the queue, and returns their status.

The order of writes ensures, wherever the function dies, that no accepted event is lost and no refused one is stored:

- An event without an idempotency key is sent first and then recorded as `queued`, so that no item is about a message
  that does not exist. If the worker was faster, its item stays.
- An event with a key first claims its id (status `accepting`, shown to no client), so that only one body is ever sent
  for it. Then it is sent, then recorded as `queued`. A repeat that finds such a claim sends the event, too, because the
  first request may have died in between; the worker deduplicates the messages.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from handlers.api import events, objects
from handlers.api.events import Envelope, EventTooLargeError, InvalidEventError
from handlers.api.items import EventItem, description, resent, result_of
from handlers.api.listing import PARAMETERS, list_events
from handlers.api.settings import IngestSettings
from handlers.api.table import EventTable
from handlers.shared import metrics, queues
from handlers.shared.bodies import FORM_TYPE, form_fields, json_text, media_type
from handlers.shared.dynamodb import TableError
from handlers.shared.errors import (
    ApiError,
    BadRequestError,
    ConflictError,
    NotFoundError,
    TooLargeError,
    UnavailableError,
)
from handlers.shared.http import Request, answer, error_body, known_parameters, read_route, response
from handlers.shared.log import logger
from handlers.shared.schemas import Validate, compile_schemas

if TYPE_CHECKING:
    from handlers.api.faults import Faults

SCHEMAS_FILE = Path(__file__).parents[2] / "schemas.json"

SUBMIT, HEALTH = "POST /events", "GET /health"
LOGGED_IDS = 20
# Lambda limits a response to 6 MB. This number of problems of the maximum length takes less than 5 MB.
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
PROBLEMS_A_BATCH = 500

OutsideError = (BotoCoreError, ClientError, TableError)


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

    @property
    def outcome(self) -> ApiError | None:
        """Why it was not accepted, None if it was."""
        return self.leader.refusal if self.leader else self.refusal


class Ingest:
    """The routes of the API. `schemas` maps a type, or `""` for all types, to its JSON Schema."""

    def __init__(self, settings: IngestSettings, schemas: Mapping[str, Mapping[str, Any]]) -> None:
        self._settings = settings
        self._schemas = schemas
        self._faults: Faults | None = None
        if settings.fault_parameter_name:
            from handlers.api import faults  # noqa: PLC0415  not imported unless it is on

            self._faults = faults.Faults(settings.fault_parameter_name)
        self._table = EventTable(
            settings.table_name,
            time_index_shards=settings.time_index_shards,
            items_expire_after_days=settings.items_expire_after_days,
        )

    @cached_property
    def _validators(self) -> dict[str, Validate]:
        # Compiled at the first event, not for requests that only read.
        return compile_schemas(self._schemas)

    def handle(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Return the response to a request of API Gateway."""
        if read_route(event) == HEALTH:
            # Headers and body are not read, so they cannot make it fail.
            unread = ("headers", "multiValueHeaders", "body", "rawQueryString", "multiValueQueryStringParameters")
            event = {**event, **dict.fromkeys(unread)}
        # Errors after sending are handled for each event, so an error of a service here means nothing was sent.
        return answer(event, self._route, OutsideError, _count_refused_body)

    def _route(self, request: Request, facts: dict[str, Any]) -> dict[str, Any]:
        match request.route:
            case "POST /events":
                known_parameters(request, ())
                return self._submit(request, facts)
            case "GET /events/{id}":
                known_parameters(request, ())
                return self._show(request.event_id)
            case "GET /events" if self._settings.time_index_shards:
                parameters = known_parameters(request, PARAMETERS)
                return response(200, list_events(self._table, parameters, self._settings.items_expire_after_days))
            case "GET /events":
                raise NotFoundError("no_time_index", "events are not listed here: storage.time_index is off")
            case "GET /health":
                return response(200, {"status": "ok"})
            case _:
                raise NotFoundError("no_such_route", "there is no such route")

    def _show(self, event_id: str) -> dict[str, Any]:
        item = self._table.read_with_result(event_id) if events.is_id(event_id) else None
        if item is None or item["status"] == "accepting":
            raise NotFoundError("no_such_event", "there is no event with this id")
        shown = description(item)
        if key := item.get("result_key"):
            shown["result_url"] = objects.result_url(self._settings.bucket_name, key)
        elif item.get("result"):
            shown["result"] = result_of(item)
        return response(200, shown)

    # Submitting

    def _submit(self, request: Request, facts: dict[str, Any]) -> dict[str, Any]:
        submission = self._submission(request)
        header = request.headers.get("idempotency-key")
        if submission.batch and header is not None:
            raise BadRequestError(
                "key_for_a_batch",
                f"Idempotency-Key goes with one event; in a batch, put {events.KEY_FIELD} into each event",
            )
        times = events.received_times(len(submission.events))
        entries = [
            self._read(event, request, header, received_at)
            for event, received_at in zip(submission.events, times, strict=True)
        ]
        self._recognise_repeats([entry for entry in entries if entry.envelope and entry.envelope.fingerprint])
        self._send([entry for entry in entries if entry.sends])
        facts.update(_report(entries))
        return _answer_batch(entries) if submission.batch else _answer_one(entries[0], request.path)

    def _submission(self, request: Request) -> events.Submission:
        if self._settings.accept_forms and media_type(request.headers) == FORM_TYPE:
            return events.Submission([form_fields(request.body, request.headers)], batch=False)
        return events.read_body(json_text(request.body, request.headers), self._settings.max_batch)

    def _read(self, event: Any, request: Request, header: str | None, received_at: str) -> Entry:
        settings = self._settings
        try:
            event_type = events.check(
                event,
                max_depth=settings.max_depth,
                type_field=settings.type_field,
                validators=self._validators,
            )
            group = events.group(event, settings.group_field) if settings.group_field else ""
            key = events.idempotency_key(event, header)
            is_recognised = key is not None or settings.deduplicate == "content"
            fingerprint = events.fingerprint(event) if is_recognised else ""
            envelope = Envelope(
                id=events.event_id(key, fingerprint),
                type=event_type,
                received_at=received_at,
                source_ip=request.source_ip,
                user_agent=request.user_agent,
                correlation_id=request.correlation_id,
                fingerprint=fingerprint,
                data=event,
                idempotency_key=key or "",
            )
            return Entry(envelope, events.message_of(envelope), group, sends=True)
        except EventTooLargeError as error:
            return Entry(refusal=TooLargeError("event_too_large", f"the event {error}", error.problems))
        except InvalidEventError as error:
            return Entry(refusal=BadRequestError("invalid_event", "the event is invalid", error.problems))

    def _recognise_repeats(self, keyed: Sequence[Entry]) -> None:
        """Claim the ids of new keyed events, mark repeats, and refuse events whose key was used with another body."""
        groups: dict[str, list[Entry]] = {}
        for entry in keyed:
            groups.setdefault(_envelope(entry).id, []).append(entry)
        firsts = [_envelope(group[0]) for group in groups.values()]
        if not firsts:
            return
        if self._settings.track:
            holders = self._table.claim(firsts)
        else:
            items = self._table.read(envelope.id for envelope in firsts)
            holders = [items.get(envelope.id) for envelope in firsts]
        for group, holder in zip(groups.values(), holders, strict=True):
            _settle(group, holder)

    def _send(self, entries: Sequence[Entry]) -> None:
        """Send events, record those that are in the queue, and refuse those that SQS did not store."""
        messages = [_outgoing(entry) for entry in entries]
        sent = queues.send(self._settings.queue_url, messages)
        if self._faults and self._faults.sends_twice:
            taken = [message for message, arrived in zip(messages, sent, strict=True) if arrived]
            # With another deduplication id, or a FIFO queue drops it.
            again = [replace(message, deduplication_id=f"{message.deduplication_id}-again") for message in taken]
            queues.send(self._settings.queue_url, again)
        for entry, arrived in zip(entries, sent, strict=True):
            if not arrived:
                entry.refusal = UnavailableError("queue_unavailable", "the queue did not take the event; send it again")
        if not self._settings.track:
            return
        self._after_sending(self._table.record_queued, [entry for entry in entries if not entry.refusal])
        self._after_sending(
            self._table.release, [entry for entry in entries if entry.refusal and _envelope(entry).fingerprint]
        )

    def _after_sending(self, write: Callable[[Sequence[Envelope]], None], entries: Sequence[Entry]) -> None:
        if not entries:
            return
        try:
            write([_envelope(entry) for entry in entries])
        except OutsideError:
            # An event in the queue is accepted even without its item, which the worker writes. A claim that was not
            # given up is shown to no client, and the next request with its key takes it over.
            logger.exception("items were not written", extra={"ids": [_envelope(entry).id for entry in entries]})


def _envelope(entry: Entry) -> Envelope:
    if entry.envelope is None:
        raise ValueError("the entry has no event: it was refused")
    return entry.envelope


def _outgoing(entry: Entry) -> queues.Outgoing:
    """Return the message of an event. A FIFO queue drops its duplicates, but not another event with the same key."""
    envelope = _envelope(entry)
    return queues.Outgoing(entry.message, {}, entry.group, f"{envelope.id}-{envelope.fingerprint[:32]}")


def _settle(group: Sequence[Entry], holder: EventItem | None) -> None:
    """Decide about the entries of one idempotency key, in the order of the request. `holder` is its item."""
    owner = holder["fingerprint"] if holder else _envelope(group[0]).fingerprint
    leader: Entry | None = None
    for entry in group:
        envelope = _envelope(entry)
        entry.sends = False
        if envelope.fingerprint != owner:
            entry.refusal = ConflictError("idempotency_conflict", "the idempotency key was used with another event")
        elif leader is not None:
            entry.duplicate, entry.leader = True, leader
        elif holder is None or holder["status"] == "accepting":
            leader, entry.sends, entry.duplicate = entry, True, holder is not None
            if holder is not None:
                entry.envelope = resent(envelope, holder)
                entry.message = events.message_of(entry.envelope)
        else:
            entry.duplicate, entry.status = True, description(holder)["status"]


def _report(entries: Sequence[Entry]) -> dict[str, Any]:
    """Count a request's events. Returns the facts for its log line."""
    accepted = [entry for entry in entries if entry.outcome is None]
    repeats = sum(entry.duplicate for entry in accepted)
    counts = {"Accepted": len(accepted) - repeats, "Duplicate": repeats, "Rejected": len(entries) - len(accepted)}
    return {**_counted(counts), "ids": [_envelope(entry).id for entry in accepted[:LOGGED_IDS]]}


def _count_refused_body(facts: dict[str, Any]) -> None:
    """Count a body that was refused as a whole as one event: the number of its events is unknown."""
    if facts["route"] == SUBMIT and "rejected" not in facts:
        facts.update(_counted({"Accepted": 0, "Duplicate": 0, "Rejected": 1}))


def _counted(counts: Mapping[str, int]) -> dict[str, int]:
    """Write counts as metrics. Returns them for the log line."""
    metrics.emit(counts)
    return {name.lower(): count for name, count in counts.items()}


def _answer_one(entry: Entry, path: str) -> dict[str, Any]:
    if entry.outcome is not None:
        raise entry.outcome
    event_id = _envelope(entry).id
    body = {"id": event_id, "status": entry.status, "duplicate": entry.duplicate}
    return response(202, body, {"Location": f"{path}/{event_id}"})


def _answer_batch(entries: Sequence[Entry]) -> dict[str, Any]:
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
    return {"index": index, "id": _envelope(entry).id, "status": entry.status, **repeat}


@cache
def _ingest() -> Ingest:
    return Ingest(IngestSettings.from_environment(), json.loads(SCHEMAS_FILE.read_text()))


def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """Answer a request of API Gateway. The Lambda entry point."""
    return _ingest().handle(event)
