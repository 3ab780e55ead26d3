"""Requests read into entries: events that are valid, or the reasons why they are not."""

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from handlers.api import cloudevents, events, identity
from handlers.api.entries import Entry
from handlers.api.events import Envelope, EventTooLargeError, InvalidEventError, Submission
from handlers.api.identity import Key
from handlers.api.paths import without
from handlers.api.settings import IngestSettings
from handlers.shared.bodies import FORM_TYPE, form_fields, json_text, media_type
from handlers.shared.errors import ApiError, BadRequestError, TooLargeError
from handlers.shared.http import Request
from handlers.shared.problems import Validate


class Submissions:
    """Reads the events of requests. `schemas` maps a type, or `""` for all types, to its JSON Schema."""

    def __init__(
        self, settings: IngestSettings, schemas: Mapping[str, Mapping[str, Any]], read_id_secret: Callable[[], bytes]
    ) -> None:
        self._settings = settings
        self._schemas = schemas
        self._read_id_secret = read_id_secret
        self._ignored: list[str] = json.loads(settings.ignore_when_comparing or "[]")

    @cached_property
    def _validators(self) -> dict[str, Validate]:
        if not self._schemas:
            return {}
        # At the first event, not for requests that only read.
        from handlers.shared.schemas import compile_schemas  # noqa: PLC0415

        return compile_schemas(self._schemas)

    @cached_property
    def _id_secret(self) -> bytes:
        # Read at the first event that may be recognised, and kept.
        return self._read_id_secret()

    def read(self, request: Request) -> tuple[list[Entry], bool]:
        """Return the entries of a request, and whether it is a batch. Raises ApiError for a request without events."""
        submission = self._submission(request)
        for header in ("Idempotency-Key", self._settings.idempotency_header):
            if submission.batch and not submission.cloud and header.lower() in request.headers:
                message = f"{header} goes with one event; in a batch, put {events.KEY_FIELD} into each event"
                raise BadRequestError("key_for_a_batch", message)
        times = events.received_times(len(submission.events))
        entries = [
            self._entry(event, request, received_at, cloud=submission.cloud)
            for event, received_at in zip(submission.events, times, strict=True)
        ]
        return entries, submission.batch

    def _submission(self, request: Request) -> Submission:
        settings, headers = self._settings, request.headers
        match cloudevents.mode_of(media_type(headers), headers):
            case "binary":
                return Submission([cloudevents.from_binary(headers, request.body)], batch=False, cloud=True)
            case "structured":
                return Submission([events.parse_json(json_text(request.body, headers))], batch=False, cloud=True)
            case "batched":
                given = events.read_batch(events.parse_json(json_text(request.body, headers)), settings.max_batch)
                return Submission(given, batch=True, cloud=True)
        if settings.accept_forms and media_type(headers) == FORM_TYPE:
            return Submission([form_fields(request.body, headers)], batch=False)
        return events.read_body(json_text(request.body, headers), settings.max_batch)

    def _entry(self, event: Any, request: Request, received_at: str, *, cloud: bool) -> Entry:
        settings = self._settings
        try:
            event = cloudevents.canonical(event) if cloud else event
            event_type, text = events.check(
                event,
                max_depth=settings.max_depth,
                type_field="type" if cloud else settings.type_field,
                validators=self._validators,
            )
            group = group_of(event, settings)
            key = self._key(event, request, cloud=cloud)
            is_recognised = key is not None or settings.deduplicate == "content"
            fingerprint = identity.fingerprint(without(event, self._ignored)) if is_recognised else ""
            envelope = Envelope(
                id=self.id_of(request.owner, key or (Key("content", fingerprint) if fingerprint else None)),
                type=event_type,
                received_at=received_at,
                source_ip=request.source_ip,
                user_agent=request.user_agent,
                correlation_id=request.correlation_id,
                fingerprint=fingerprint,
                data=event,
                idempotency_key=key.text if key else "",
            )
            return Entry(envelope, events.message_of(envelope, text), group, sends=True)
        except InvalidEventError as error:
            return Entry(refusal=refusal_of(error))

    def _key(self, event: Mapping[str, Any], request: Request, *, cloud: bool) -> Key | None:
        settings, headers = self._settings, request.headers
        header = headers.get("idempotency-key")
        if cloud:
            # Its source and id are its key. Some clients send the header with every request, so it is not refused.
            if header is not None:
                identity.named_key(header, "Idempotency-Key")
            return cloudevents.key_of(event)
        key = identity.client_key(event, header)
        return key or identity.configured_key(event, headers, settings.idempotency_field, settings.idempotency_header)

    def check_delivery(self, event_type: str, event: Mapping[str, Any]) -> None:
        """Raise InvalidEventError if an event of a webhook does not satisfy the schema of its type, or that of all.

        A sender has types that the stack does not know; they have no schema.
        """
        if validate := self._validators.get("") or self._validators.get(event_type):
            events.satisfy(event, validate)

    def id_of(self, caller: str, key: Key | None) -> str:
        """Return the id of an event: the same for the same key of a caller, a new one without a key."""
        return identity.keyed_id(self._id_secret, caller, key) if key else identity.new_id()


def group_of(event: Mapping[str, Any], settings: IngestSettings) -> str:
    """Return the group of an event in a FIFO or a fair queue, empty where there is none. Raises InvalidEventError."""
    if settings.group_field:
        return events.group(event, settings.group_field)
    return events.tenant(event, settings.fair_field) if settings.fair_field else ""


def refusal_of(error: InvalidEventError) -> ApiError:
    """Return the error that the client of an invalid event sees."""
    if isinstance(error, EventTooLargeError):
        return TooLargeError("event_too_large", f"the event {error}", error.problems)
    return BadRequestError("invalid_event", "the event is invalid", error.problems)
