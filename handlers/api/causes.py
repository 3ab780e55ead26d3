"""Why the messages of events are dead."""

from collections.abc import Sequence

from handlers.api.events import Envelope, UnreadableMessageError
from handlers.api.table import EventTable, Item, description
from handlers.shared.dead_letters import SUCCEEDED_SINCE, UNKNOWN, Cause, Letter, recorded


class EventCauses:
    """Of events, one read of the table for ten of them. Error types are the names of exceptions."""

    def __init__(self, table_name: str) -> None:
        # Both numbers are for writing, which this does not.
        self._table = EventTable(table_name, time_index_shards=0, items_expire_after_days=0)

    def __call__(self, letters: Sequence[Letter]) -> list[Cause]:
        """See Explain."""
        read = [recorded(letter, "event_id") or _envelope(letter) for letter in letters]
        items = self._table.read(each.id for each in read if isinstance(each, Envelope))
        return [_of_event(each, items.get(each.id)) if isinstance(each, Envelope) else each for each in read]


def _envelope(letter: Letter) -> Envelope | Cause:
    try:
        return Envelope.from_message(letter.body)
    except UnreadableMessageError as error:
        return Cause(None, type(error).__name__, str(error))


def _of_event(envelope: Envelope, item: Item | None) -> Cause:
    if item is None:
        return Cause(envelope.id, UNKNOWN, None)
    if item.get("fingerprint", "") != envelope.fingerprint:
        # A message without room for attributes.
        return Cause(envelope.id, "ConflictError", "the idempotency key was used with another event, which came first")
    if item["status"] == "succeeded":
        return Cause(envelope.id, UNKNOWN, SUCCEEDED_SINCE)
    return Cause(envelope.id, item.get("error_type") or UNKNOWN, description(item)["error"])
