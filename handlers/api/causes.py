"""Causes of the dead letters of the api variant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from handlers.api.decisions import NOT_PROCESSED, NOT_PROCESSED_TYPE
from handlers.api.events import Envelope, UnreadableMessageError
from handlers.api.items import EventItem, description
from handlers.api.paths import text_of, value_at
from handlers.api.reader import EventReader
from handlers.shared.letters import SUCCEEDED_SINCE, UNKNOWN, Cause, Letter, recorded


@dataclass(frozen=True)
class _Event:
    """The event of a letter, without the client's object: many letters are held at once."""

    id: str
    type: str
    received_at: str
    fingerprint: str
    body: str
    moved_by_sqs: bool

    def value_at(self, path: str) -> str | None:
        return text_of(value_at(Envelope.from_message(self.body).data, path))


class EventCauses:
    """Explain why messages of events are dead, with one read for a hundred. Error types are names of exceptions."""

    def __init__(self, table_name: str) -> None:
        self._table = EventReader(table_name, time_index_shards=0)

    def __call__(self, letters: Sequence[Letter]) -> list[Cause]:
        """Return the causes, in order. Raises `outside_errors`."""
        causes = [recorded(letter, "event_id") for letter in letters]
        events = [_event(letter) for letter in letters]
        asked = [
            event.id for cause, event in zip(causes, events, strict=True) if cause is None and isinstance(event, _Event)
        ]
        items = self._table.read(asked)
        return [_cause(cause, event, items) for cause, event in zip(causes, events, strict=True)]


def _event(letter: Letter) -> _Event | Cause:
    try:
        envelope = Envelope.from_message(letter.body)
    except UnreadableMessageError as error:
        return Cause(None, type(error).__name__, str(error))
    return _Event(
        envelope.id, envelope.type, envelope.received_at, envelope.fingerprint, letter.body, letter.moved_by_sqs
    )


def _cause(known: Cause | None, event: _Event | Cause, items: Mapping[str, EventItem]) -> Cause:
    if isinstance(event, Cause):
        return known or event
    cause = known or _of_event(event, items.get(event.id))
    return replace(cause, type=event.type, received_at=event.received_at, value_at=event.value_at)


def _of_event(event: _Event, item: EventItem | None) -> Cause:
    unknown = (NOT_PROCESSED_TYPE, NOT_PROCESSED) if event.moved_by_sqs else (UNKNOWN, None)
    if item is None:
        return Cause(event.id, *unknown)
    if item.get("fingerprint", "") != event.fingerprint:
        # The worker sent this letter: a large message has no room for attributes.
        return Cause(event.id, "ConflictError", "the idempotency key was used with another event, which came first")
    if item["status"] == "succeeded":
        return Cause(event.id, UNKNOWN, SUCCEEDED_SINCE)
    known = item.get("error_type")
    error_type, error = (known, description(item)["error"]) if known else unknown
    return Cause(event.id, error_type, error, item["attempts"])
