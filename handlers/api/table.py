"""Writes to the table of events, 25 statements to a call, each with its own condition and answer."""

import os
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from handlers.api.events import Envelope
from handlers.api.items import (
    ID_SECRET,
    IS_ACCEPTING,
    IS_FREE,
    NOT_SUCCEEDED,
    RENEWED,
    SECONDS_A_DAY,
    Completion,
    CountedItem,
    EventItem,
    EventItemWithResult,
    IndexKeys,
    alert_minute,
    expires_at,
    has_expired,
    is_expired,
    is_live,
    is_ours,
    key_of,
    new_item,
    same_event,
)
from handlers.api.reader import EventReader
from handlers.shared.dynamodb import Condition, Item, Refusal, Statement, TableError


@dataclass(frozen=True)
class _Write:
    """The statements that may record something of an event: there is no item, there is one, or an expired one.

    Each is made when it is needed: most events take one of them.
    """

    insert: Callable[[], Statement]
    update: Callable[[], Statement]
    renew: Callable[[], Statement]


class EventTable(EventReader):
    """The table of events."""

    def __init__(self, name: str, *, time_index_shards: int, items_expire_after_days: int) -> None:
        super().__init__(name, time_index_shards=time_index_shards)
        self._expire_seconds = items_expire_after_days * SECONDS_A_DAY

    # Accepting

    def id_secret(self) -> bytes:
        """Return the stack's secret, from which the ids of keyed events follow. The first caller makes it."""
        for _ in range(2):
            for item in self._table.get([key_of(ID_SECRET)]):
                return bytes.fromhex(item["secret"])
            made = {**key_of(ID_SECRET), "secret": os.urandom(32).hex()}
            self._table.put_if(made, IS_FREE, {"now": int(time.time())})
        raise TableError(f"{self._table.name}: the item {ID_SECRET} came and went while it was made")

    def claim(self, envelopes: Sequence[Envelope]) -> list[EventItem | None]:
        """Claim the ids of keyed events. Returns for each None if it is claimed, else the item that holds the id."""
        refusals = self._table.execute([self._insert(envelope, "accepting", indexed=False) for envelope in envelopes])
        held = [envelope.id for envelope, refusal in zip(envelopes, refusals, strict=True) if refusal]
        items = self.read(held)
        return [
            items.get(envelope.id) or self._claim_expired(envelope) if refusal else None
            for envelope, refusal in zip(envelopes, refusals, strict=True)
        ]

    def _claim_expired(self, envelope: Envelope) -> EventItem | None:
        """Replace an expired item that TTL has not deleted yet. One call, for a rare case."""
        item = self._new(envelope, "accepting")
        if self._table.put_if(cast("Item", item), IS_FREE, {"now": int(time.time())}):
            return None
        if found := self.read([envelope.id]).get(envelope.id):
            return found
        raise TableError(f"{self._table.name}: the item {envelope.id} came and went while it was claimed")

    def release(self, envelopes: Sequence[Envelope]) -> None:
        """Give up claims of events that are not in the queue. Another request's progress stays."""
        self._table.execute(
            [self._table.delete_statement(key_of(envelope.id), *is_ours(envelope)) for envelope in envelopes]
        )

    def record_queued(self, envelopes: Sequence[Envelope]) -> None:
        """Record events that are in the queue. An item that the worker has written already stays as it is."""
        self._upsert(
            [
                self._write(envelope, "queued", {}, {"status": "queued", **self._index_keys(envelope)}, IS_ACCEPTING)
                for envelope in envelopes
            ],
            insert_first=[not envelope.fingerprint for envelope in envelopes],
        )

    def record_resent(self, items: Sequence[EventItem]) -> None:
        """Record that lost messages were sent again, of events whose items are still as they were read."""
        self._table.execute([self._mended(item, {"sent_at": int(time.time()), "lost": None}) for item in items])

    def declare_lost(self, items: Sequence[EventItem]) -> int:
        """Let a repeat send waiting events again whose items are still as they were read. Returns their number."""
        changes = [self._mended(item, {"lost": item["expires_at"], "expires_at": item["expires_at"]}) for item in items]
        return sum(refusal is None for refusal in self._table.execute(changes))

    def _mended(self, item: EventItem, changes: Item) -> Statement:
        changes = {"expires_at": expires_at(self._expire_seconds), **changes}
        return self._table.update_statement(
            key_of(item["id"]),
            changes,
            ("status", "=", item["status"]),
            # Each write changes it.
            ("expires_at", "=", item["expires_at"]),
        )

    # Replaying

    def reopen(self, events: Sequence[tuple[Envelope, EventItem | None]]) -> dict[str, EventItem]:
        """Begin replayed events anew: each with the item that was read, None if there was none.

        From then on they are like events that were just accepted. Their messages are in the caller's hands, so no item
        claims one that does not exist. Returns the items as they are now: another worker may have been faster.
        """
        refusals = self._upsert(
            [self._reopening(envelope, item) for envelope, item in events],
            insert_first=[item is None for _, item in events],
        )
        return {
            envelope.id: cast("EventItem", refusal.item) if refusal else self._new(envelope, "queued")
            for (envelope, _), refusal in zip(events, refusals, strict=True)
        }

    def _reopening(self, envelope: Envelope, item: EventItem | None) -> _Write:
        insert, renew = partial(self._insert, envelope, "queued"), partial(self._renew, envelope, "queued", {})
        if item is None:
            return _Write(insert, renew, renew)
        changes: dict[str, Any] = {
            **dict.fromkeys(RENEWED),
            **self._new(envelope, "queued"),
            **self._index_keys(envelope),
        }
        del changes["id"]
        as_read = ("status", "attempts", "completed_at")
        update = partial(self._update, envelope, changes, *((name, "=", item.get(name)) for name in as_read))
        return _Write(insert, update, renew)

    # Completing

    def mark(
        self,
        envelope: Envelope,
        attempt: int,
        until: int,
        message_id: str,
        receives: int,
        item: EventItem | None = None,
    ) -> EventItem | None:
        """Record that an attempt at an event begins, which is over at `until` (epoch seconds) at the latest.

        Returns None, or, if it does not have the attempts of `item` (as read) any more, the item as it is now: another
        worker was faster.
        """
        note = {
            "attempts": attempt,
            "running_until": until,
            "noted_message_id": message_id,
            "noted_receives": receives,
        }
        as_read = ("attempts", "=", item["attempts"] if item else 0)
        (refusal,) = self._upsert([self._write(envelope, "queued", note, note, as_read)], insert_first=[False])
        found = refusal.item if refusal else None
        # With the same note, botocore has sent it twice.
        return None if found is None or found.items() >= note.items() else cast("EventItem", found)

    def claim_minute(self, name: str, *, minutes: int = 1) -> bool:
        """Return True for the first caller of a minute, or of more, whichever function it is in."""
        minute, another = alert_minute(int(time.time()), minutes)
        (refusal,) = self._table.execute([self._table.insert_statement({**key_of(name), **minute})])
        if refusal is None:
            return True
        (refusal,) = self._table.execute([self._table.update_statement(key_of(name), minute, another)])
        return refusal is None

    def is_claimed(self, name: str, *, minutes: int) -> bool:
        """Return True if `claim_minute` has been called in this span of so many minutes."""
        minute, _ = alert_minute(int(time.time()), minutes)
        return any(item["received_at"] == minute["received_at"] for item in self._table.get([key_of(name)]))

    def complete(self, completions: Sequence[Completion], known: Iterable[str]) -> list[EventItem | None]:
        """Record the outcomes of events; `known` are the ids that have an item.

        Returns for each None if it is recorded, else the item: of an event that has succeeded, or of another one.
        """
        known = set(known)
        refusals = self._upsert(
            [self._finish(each) for each in completions],
            insert_first=[each.envelope.id not in known for each in completions],
        )
        return [cast("EventItem | None", refusal.item) if refusal else None for refusal in refusals]

    def _finish(self, completion: Completion) -> _Write:
        envelope, outcome = completion.envelope, completion.attributes()
        changes = {"status": completion.status, **outcome, **self._index_keys(envelope)}
        return self._write(envelope, completion.status, outcome, changes, NOT_SUCCEEDED, *same_event(envelope))

    def give_up(self, completions: Sequence[tuple[Completion, EventItem | None]]) -> list[bool]:
        """Record failed events, where their items are still as they were read; none for an event that has no item.

        Returns for each whether it is recorded. The items do not name their letters yet: `name_letters` does.
        """
        refusals = self._table.execute(
            [
                self._insert(each.envelope, each.status, _without_letter(each))
                if item is None
                else self._update(
                    each.envelope,
                    {"status": each.status, **_without_letter(each), **self._index_keys(each.envelope)},
                    ("status", "=", item["status"]),
                    ("attempts", "=", item["attempts"]),
                    *same_event(each.envelope),
                )
                for each, item in completions
            ]
        )
        held = [
            position
            for position, (_, item) in enumerate(completions)
            if item is None and refusals[position] is not None
        ]
        renewed = [
            self._renew(each.envelope, each.status, _without_letter(each))
            for each, _ in (completions[position] for position in held)
        ]
        for position, refusal in zip(held, self._table.execute(renewed), strict=True):
            refusals[position] = refusal
        return [refusal is None for refusal in refusals]

    def name_letters(self, completions: Sequence[Completion]) -> None:
        """Record which letters events that `give_up` recorded have, unless something else has become of them."""
        self._table.execute(
            [
                self._update(
                    each.envelope,
                    {"rejected_message_id": each.rejected_message_id},
                    ("status", "=", "failed"),
                    ("completed_at", "=", each.completed_at),
                )
                for each in completions
            ]
        )

    # Statements

    def _index_keys(self, envelope: Envelope) -> Mapping[str, object]:
        # Also where there is no index: DynamoDB puts what has the keys into one that is made later. While this code is
        # deployed, it runs with the environment of a version before, which had 0 shards then.
        shard = zlib.crc32(envelope.id.encode()) % max(1, self._shards)
        return IndexKeys(
            day_shard=f"{envelope.received_at[:10]}#{shard}", time_key=f"{envelope.received_at}#{envelope.id}"
        )

    def _new(self, envelope: Envelope, status: str) -> EventItem:
        return new_item(envelope, status, self._expire_seconds)

    def _insert(
        self, envelope: Envelope, status: str, more: Mapping[str, Any] | None = None, *, indexed: bool = True
    ) -> Statement:
        item = self._new(envelope, status)
        return self._table.insert_statement({**item, **(self._index_keys(envelope) if indexed else {}), **(more or {})})

    def _update(self, envelope: Envelope, changes: Item, *conditions: Condition) -> Statement:
        kept = {"expires_at": expires_at(self._expire_seconds)}
        return self._table.update_statement(key_of(envelope.id), {**changes, **kept}, *conditions)

    def _renew(self, envelope: Envelope, status: str, more: Mapping[str, Any]) -> Statement:
        """Return the statement that puts a new item in place of an expired one, of which nothing stays."""
        new: dict[str, Any] = {**self._new(envelope, status), **self._index_keys(envelope), **more}
        changes = {**dict.fromkeys(EventItemWithResult.__annotations__), "fingerprint": envelope.fingerprint, **new}
        del changes["id"]
        return self._table.update_statement(key_of(envelope.id), changes, has_expired())

    def _write(
        self,
        envelope: Envelope,
        status: str,
        more: Mapping[str, Any],
        changes: Item,
        *conditions: Condition,
    ) -> _Write:
        """Return how to record something of an event: as a new item with `more`, or as changes of the one there is."""
        return _Write(
            partial(self._insert, envelope, status, more),
            partial(self._update, envelope, changes, is_live(), *conditions),
            partial(self._renew, envelope, status, more),
        )

    def _upsert(self, writes: Sequence[_Write], *, insert_first: Sequence[bool]) -> list[Refusal | None]:
        """Run the statement of each write that should fit, and another one where it did not.

        PartiQL has no statement that does all. An insert is refused where an item is, an update where none is, or an
        expired one; a fourth round is for an item that came or went in between. An update's refusal with an item that
        has not expired is final.
        """
        wanted = ["insert" if first else "update" for first in insert_first]
        refusals: list[Refusal | None] = [None] * len(writes)
        open_positions = list(range(len(writes)))
        for _ in range(4):
            statements = [getattr(writes[position], wanted[position])() for position in open_positions]
            again = []
            for position, refusal in zip(open_positions, self._table.execute(statements), strict=True):
                refusals[position] = refusal
                if refusal and (following := _after(wanted[position], refusal)):
                    wanted[position] = following
                    again.append(position)
            open_positions = again
        if open_positions:
            raise TableError(f"{self._table.name}: {len(open_positions)} items came and went while they were written")
        return refusals


def _after(statement: str, refusal: Refusal) -> str:
    """Return the statement that may fit where one was refused, "" where none does."""
    if statement == "insert":
        return "update"
    if refusal.item is None:
        return "insert"
    if statement == "renew":
        return "update"
    return "renew" if is_expired(cast("CountedItem", refusal.item)) else ""


def _without_letter(completion: Completion) -> dict[str, Any]:
    return {**completion.attributes(), "rejected_message_id": None}
