"""Events that wait for messages which are lost: found in the time index, and counted.

An event is looked at once, when it is so old that no queue can have its message. Those that wait then are kept in an
item and looked at again each hour until they are done, for their messages may have been sent again since.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from handlers.api.counts import STUCK_EVENTS
from handlers.api.items import WAITING, EventItem, is_declared_lost, is_lost, key_of
from handlers.api.reader import EventReader
from handlers.api.settings import ReconcilerSettings
from handlers.shared import aws, metrics
from handlers.shared.dynamodb import Table
from handlers.shared.log import logger
from handlers.shared.times import timestamp

FOUND = "stuck#found"
# They are read each hour. While there are as many, younger events are not looked at.
MAXIMUM_FOUND = 1_000
LOOK_SECONDS = 3_600
LOGGED_IDS = 20
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def _always() -> bool:
    return True


def waiting(
    table: EventReader, since: datetime, until: datetime, has_time: Callable[[], bool] = _always
) -> list[EventItem] | None:
    """Return the events received in a window that are `queued` or `retrying`; None if time ran out before its end."""
    first, last = timestamp(since), timestamp(until)
    found: list[EventItem] = []
    lock = threading.Lock()

    def look(partition: str) -> bool:
        for ids in table.pages(partition, first, last):
            if not has_time():
                return False
            items = [item for item in table.listed(ids).values() if item["status"] in WAITING]
            with lock:
                found.extend(items)
        return True

    return found if all(aws.each(look, table.partitions(first, last))) else None


@dataclass(frozen=True)
class _Found:
    """The item: the time up to which events were looked at, those that waited then, and how many were counted."""

    until: datetime
    ids: Sequence[str]
    stuck: int


class StuckEvents:
    """Counts events whose messages are lost. Those that an operator declared lost are dealt with, and not counted."""

    def __init__(self, settings: ReconcilerSettings) -> None:
        self._reader = EventReader(settings.table_name, time_index_shards=settings.time_index_shards)
        self._table = Table(settings.table_name)
        self._lost_after_seconds = settings.lost_after_seconds
        self._kept = timedelta(days=settings.items_expire_after_days)
        # Of a first run, which has weeks to look at. A day that is too much for one run is looked at by the hour.
        self._longest = DAY
        self._looked_at: float | None = None

    def look(self, has_time: Callable[[], bool]) -> None:
        """Count, once an hour. Raises botocore's errors and TableError; it is run again."""
        if self._looked_at is not None and time.monotonic() < self._looked_at + LOOK_SECONDS:
            return
        now = datetime.now(UTC)
        before = self._read(now)
        until, items, is_over = self._collect(before, now - timedelta(seconds=self._lost_after_seconds), has_time)
        stuck = [each["id"] for each in items if is_lost(each, self._lost_after_seconds) and not is_declared_lost(each)]
        # The alarm stays as it is without data, so that nothing is billed while there are none.
        if stuck or before.stuck:
            metrics.emit({STUCK_EVENTS: len(stuck)})
            said = {"stuck": len(stuck), "ids": sorted(stuck)[:LOGGED_IDS]}
            logger.warning("events wait for messages that are lost", extra=said)
        self._write(_Found(until, [item["id"] for item in items], len(stuck)))
        self._looked_at = time.monotonic() if is_over else None

    def _collect(
        self, before: _Found, end: datetime, has_time: Callable[[], bool]
    ) -> tuple[datetime, Sequence[EventItem], bool]:
        """Return up to when all was looked at, what waits, and whether there is nothing more to look at now."""
        until, known = before.until, self._reader.listed(before.ids).values()
        items = {item["id"]: item for item in known if item["status"] in WAITING}
        while until + HOUR <= end and len(items) < MAXIMUM_FOUND:
            window = self._longest if until + self._longest <= end else HOUR
            found = waiting(self._reader, until, until + window, has_time) if has_time() else None
            if found is None:
                self._longest = HOUR
                return until, list(items.values()), False
            items |= {item["id"]: item for item in found}
            if len(items) <= MAXIMUM_FOUND:
                until += window
        return until, list(items.values())[:MAXIMUM_FOUND], True

    def _read(self, now: datetime) -> _Found:
        oldest = (now - self._kept).replace(minute=0, second=0, microsecond=0)
        item = self._reader.note(FOUND)
        if item is None:
            return _Found(oldest, (), 0)
        until = max(oldest, datetime.fromisoformat(item["received_at"]))
        return _Found(until, str(item["ids"]).split(), item["stuck"])

    def _write(self, found: _Found) -> None:
        item = {
            "received_at": timestamp(found.until),
            "ids": " ".join(found.ids),
            "stuck": found.stuck,
            "expires_at": int(time.time() + self._kept.total_seconds()),
        }
        (refusal,) = self._table.execute([self._table.update_statement(key_of(FOUND), item)])
        if refusal:
            self._table.execute([self._table.insert_statement({**key_of(FOUND), **item})])
