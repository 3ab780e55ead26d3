"""Causes of the dead letters of the api variant."""

from collections.abc import Sequence

from handlers.api.events import Envelope, UnreadableMessageError
from handlers.api.items import EventItem, description
from handlers.api.reader import EventReader
from handlers.shared.dead_letters import SUCCEEDED_SINCE, UNKNOWN, Cause, Letter, recorded


class EventCauses:
    """Explain why messages of events are dead, with one read for ten of them. Error types are names of exceptions."""

    def __init__(self, table_name: str) -> None:
        self._table = EventReader(table_name, time_index_shards=0)

    def __call__(self, letters: Sequence[Letter]) -> list[Cause]:
        """Return the causes, in order. Raises `outside_errors`."""
        read = [recorded(letter, "event_id") or _envelope(letter) for letter in letters]
        items = self._table.read(each.id for each in read if isinstance(each, Envelope))
        return [_of_event(each, items.get(each.id)) if isinstance(each, Envelope) else each for each in read]


def _envelope(letter: Letter) -> Envelope | Cause:
    try:
        return Envelope.from_message(letter.body)
    except UnreadableMessageError as error:
        return Cause(None, type(error).__name__, str(error))


def _of_event(envelope: Envelope, item: EventItem | None) -> Cause:
    if item is None:
        return Cause(envelope.id, UNKNOWN, None)
    if item.get("fingerprint", "") != envelope.fingerprint:
        # The worker sent this letter: a large message has no room for attributes.
        return Cause(envelope.id, "ConflictError", "the idempotency key was used with another event, which came first")
    if item["status"] == "succeeded":
        return Cause(envelope.id, UNKNOWN, SUCCEEDED_SINCE)
    return Cause(envelope.id, item.get("error_type") or UNKNOWN, description(item)["error"], item["attempts"])
