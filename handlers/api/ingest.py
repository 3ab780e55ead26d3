"""The function behind the API: accepts events into the queue, and returns their status.

The order of writes ensures, wherever the function dies, that no accepted event is lost and no refused one is stored:

- An event without an idempotency key is sent first and then recorded as `queued`, so that no item is about a message
  that does not exist. If the worker was faster, its item stays.
- An event with a key first claims its id (status `accepting`, shown to no client), so that only one body is ever sent
  for it. Then it is sent, then recorded as `queued`. A repeat that finds such a claim sends the event, too, because the
  first request may have died in between; the worker deduplicates the messages.
- A repeat of an event whose message is lost sends it again, and then records when. Until that is recorded, another
  repeat sends it, too.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handlers.api import events
from handlers.api.entries import Entry, answer_batch, answer_one, envelope_of, outgoing, settle
from handlers.api.events import Envelope
from handlers.api.items import description, is_lost, result_of
from handlers.api.listing import PARAMETERS, list_events
from handlers.api.settings import IngestSettings
from handlers.api.table import EventTable
from handlers.shared import metrics, queues
from handlers.shared.dynamodb import outside_errors
from handlers.shared.errors import NotFoundError, UnavailableError
from handlers.shared.http import Request, answer, known_parameters, read_route, response
from handlers.shared.log import logger

if TYPE_CHECKING:
    from handlers.api.faults import Faults
    from handlers.api.submissions import Submissions
    from handlers.api.webhooks import Webhooks

SCHEMAS_FILE = Path(__file__).parents[2] / "schemas.json"

SUBMIT, HEALTH = "POST /events", "GET /health"
LOGGED_IDS = 20


class Ingest:
    """The routes of the API. `schemas` maps a type, or `""` for all types, to its JSON Schema."""

    def __init__(self, settings: IngestSettings, schemas: Mapping[str, Mapping[str, Any]]) -> None:
        self._settings = settings
        self._faults: Faults | None = None
        if settings.fault_parameter_name:
            from handlers.api import faults  # noqa: PLC0415  not imported unless it is on

            self._faults = faults.Faults(settings.fault_parameter_name)
        self._schemas = schemas

    # Not before a request asks for them: GET /health reads no events, and needs nothing of AWS.

    @cached_property
    def _submissions(self) -> "Submissions":
        from handlers.api.submissions import Submissions  # noqa: PLC0415  as said above

        return Submissions(self._settings, self._schemas, self._table.id_secret)

    @cached_property
    def _webhooks(self) -> "Webhooks | None":
        if not self._settings.webhooks:
            return None
        from handlers.api.webhooks import Webhooks  # noqa: PLC0415  most stacks have none

        return Webhooks(self._settings, self._submissions)

    @cached_property
    def _table(self) -> EventTable:
        return EventTable(
            self._settings.table_name,
            time_index_shards=self._settings.time_index_shards,
            items_expire_after_days=self._settings.items_expire_after_days,
        )

    def handle(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Return the response to a request of API Gateway."""
        if read_route(event) == HEALTH:
            # Headers and body are not read, so they cannot make it fail.
            unread = ("headers", "multiValueHeaders", "body", "rawQueryString", "multiValueQueryStringParameters")
            event = {**event, **dict.fromkeys(unread)}
        # Errors after sending are handled for each event, so an error of a service here means nothing was sent.
        return answer(event, self._route, outside_errors, _count_refused_body)

    def _route(self, request: Request, facts: dict[str, Any]) -> dict[str, Any]:
        match request.route:
            case "POST /events":
                known_parameters(request, ())
                return self._submit(request, facts)
            case "GET /events/{id}":
                known_parameters(request, ())
                return self._show(request.event_id)
            case "GET /events" if self._settings.time_index:
                parameters = known_parameters(request, PARAMETERS)
                return response(200, list_events(self._table, parameters, self._settings.items_expire_after_days))
            case "GET /events":
                raise NotFoundError("no_time_index", "events are not listed here: storage.time_index is off")
            case "GET /health":
                return response(200, {"status": "ok"})
            case _ if self._webhooks is not None:
                return self._webhooks.answer(request, facts, self._accept)
            case _:
                raise NotFoundError("no_such_route", "there is no such route")

    def _show(self, event_id: str) -> dict[str, Any]:
        item = self._table.read_with_result(event_id) if events.is_id(event_id) else None
        if item is None or item["status"] == "accepting":
            raise NotFoundError("no_such_event", "there is no event with this id")
        shown = description(item)
        # Without a bucket the operator has let go of results that are in it: docs/changes.md.
        if (key := item.get("result_key")) and self._settings.bucket_name:
            from handlers.api import objects  # noqa: PLC0415  only such a result needs S3

            shown["result_url"] = objects.result_url(self._settings.bucket_name, key)
        elif item.get("result"):
            shown["result"] = result_of(item)
        return response(200, shown)

    # Submitting

    def _submit(self, request: Request, facts: dict[str, Any]) -> dict[str, Any]:
        entries, is_batch = self._submissions.read(request)
        self._accept(entries, facts)
        return answer_batch(entries) if is_batch else answer_one(entries[0], request.path)

    def _accept(self, entries: Sequence[Entry], facts: dict[str, Any]) -> None:
        """Put what can be accepted into the queue. Each entry has its outcome then."""
        self._recognise_repeats([entry for entry in entries if entry.envelope and entry.envelope.fingerprint])
        self._send([entry for entry in entries if entry.sends])
        facts.update(_report(entries))

    def _recognise_repeats(self, keyed: Sequence[Entry]) -> None:
        """Claim the ids of new keyed events, mark repeats, and refuse events whose key was used with another body."""
        groups: dict[str, list[Entry]] = {}
        for entry in keyed:
            groups.setdefault(envelope_of(entry).id, []).append(entry)
        firsts = [envelope_of(group[0]) for group in groups.values()]
        if not firsts:
            return
        if self._settings.track:
            holders = self._table.claim(firsts)
        else:
            items = self._table.read(envelope.id for envelope in firsts)
            holders = [items.get(envelope.id) for envelope in firsts]
        for group, holder in zip(groups.values(), holders, strict=True):
            settle(group, holder, lost=holder is not None and is_lost(holder, self._settings.lost_after_seconds))

    def _send(self, entries: Sequence[Entry]) -> None:
        """Send events, record those that are in the queue, and refuse those that SQS did not store."""
        messages = [outgoing(entry) for entry in entries]
        sent = queues.send(self._settings.queue_url, messages)
        if self._faults and self._faults.sends_twice:
            taken = [message for message, arrived in zip(messages, sent, strict=True) if arrived]
            # With another deduplication id, or a FIFO queue drops it.
            again = [replace(message, deduplication_id=f"{message.deduplication_id}-again") for message in taken]
            queues.send(self._settings.queue_url, again)
        for entry, arrived in zip(entries, sent, strict=True):
            if not arrived:
                entry.refusal = UnavailableError("queue_unavailable", "the queue did not take the event; send it again")
        if self._settings.archive_accepted:
            self._after_sending(self._archive, [entry for entry in entries if not entry.refusal])
        if not self._settings.track:
            return
        accepted = [entry for entry in entries if not entry.refusal]
        self._after_sending(self._table.record_queued, [entry for entry in accepted if not entry.lost])
        items = [entry.lost for entry in accepted if entry.lost]
        self._after_sending(lambda _: self._table.record_resent(items), [entry for entry in accepted if entry.lost])
        self._after_sending(
            self._table.release, [entry for entry in entries if entry.refusal and envelope_of(entry).fingerprint]
        )

    def _archive(self, envelopes: Sequence[Envelope]) -> None:
        from handlers.api import archive  # noqa: PLC0415  most stacks do not need S3 here

        archive.accept(self._settings.bucket_name, envelopes)

    def _after_sending(self, write: Callable[[Sequence[Envelope]], None], entries: Sequence[Entry]) -> None:
        if not entries:
            return
        try:
            write([envelope_of(entry) for entry in entries])
        except outside_errors():
            # An event in the queue is accepted even without its item, which the worker writes. A claim that was not
            # given up is shown to no client, and the next request with its key takes it over.
            logger.exception(
                "items or lines of the archive were not written",
                extra={"ids": [envelope_of(entry).id for entry in entries]},
            )


def _report(entries: Sequence[Entry]) -> dict[str, Any]:
    """Count a request's events. Returns the facts for its log line."""
    accepted = [entry for entry in entries if entry.outcome is None]
    repeats = sum(entry.duplicate for entry in accepted)
    counts = {"Accepted": len(accepted) - repeats, "Duplicate": repeats, "Rejected": len(entries) - len(accepted)}
    return {**_counted(counts), "ids": [envelope_of(entry).id for entry in accepted[:LOGGED_IDS]]}


def _count_refused_body(facts: dict[str, Any]) -> None:
    """Count a body that was refused as a whole as one event: the number of its events is unknown."""
    submits = facts["route"] == SUBMIT or facts.get("signature") == "genuine"
    if submits and "rejected" not in facts:
        facts.update(_counted({"Accepted": 0, "Duplicate": 0, "Rejected": 1}))


def _counted(counts: Mapping[str, int]) -> dict[str, int]:
    """Write counts as metrics. Returns them for the log line."""
    metrics.emit(counts)
    return {name.lower(): count for name, count in counts.items()}


@cache
def _ingest() -> Ingest:
    return Ingest(IngestSettings.from_environment(), json.loads(SCHEMAS_FILE.read_text()))


def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """Answer a request of API Gateway. The Lambda entry point."""
    return _ingest().handle(event)
