"""Reads of the table of events: items by id, and the time index."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from typing import Any, cast

from handlers.api.items import (
    IN_PARTITION,
    CountedItem,
    EventItem,
    EventItemWithResult,
    IndexEntry,
    is_expired,
    key_of,
)
from handlers.shared import aws
from handlers.shared.dynamodb import Table

TIME_INDEX = "by-time"
# The ids of ten calls for items: what a summary holds of the index at once, and how often it looks at the clock.
INDEX_PAGE = 1_000


class EventReader:
    """The table of events, for reading. Without a time index `time_index_shards` is not used."""

    def __init__(self, name: str, *, time_index_shards: int) -> None:
        self._table = Table(name)
        self._shards = time_index_shards

    def read(self, ids: Iterable[str]) -> dict[str, EventItem]:
        """Return the items that exist, by id, strongly consistent."""
        return cast("dict[str, EventItem]", self._items(ids, EventItem, consistent=True))

    def read_with_result(self, event_id: str) -> EventItemWithResult | None:
        """Return one item with the result that is stored in it, strongly consistent."""
        found = self._items([event_id], EventItemWithResult, consistent=True)
        return cast("EventItemWithResult | None", found.get(event_id))

    def listed(self, ids: Iterable[str]) -> dict[str, EventItem]:
        """Return the items that exist, by id. Eventually consistent, at half the price, as a list may be."""
        return cast("dict[str, EventItem]", self._items(ids, EventItem, consistent=False))

    def outcomes(self, ids: Iterable[str]) -> dict[str, CountedItem]:
        """Return what a summary counts, by id. Eventually consistent, at half the price: what is done stays so."""
        return cast("dict[str, CountedItem]", self._items(ids, CountedItem, consistent=False))

    def note(self, name: str) -> dict[str, Any] | None:
        """Return an item that is no event, strongly consistent."""
        return next(iter(self._table.get([key_of(name)])), None)

    def put_note(self, name: str, attributes: Mapping[str, Any], seen: int) -> bool:
        """Write an item that is no event. Returns False if its `change_count` is not `seen`: others have changed it."""
        unchanged = "attribute_not_exists(change_count) OR change_count = :seen"
        return self._table.put_if({**key_of(name), **attributes}, unchanged, {"seen": seen})

    def _items(self, ids: Iterable[str], kind: type[Any], *, consistent: bool) -> dict[str, Any]:
        keys = [key_of(event_id) for event_id in dict.fromkeys(ids)]
        found = self._table.get(keys, list(kind.__annotations__), consistent=consistent)
        return {item["id"]: item for item in found if not is_expired(cast("CountedItem", item))}

    def newest(self, shard_day: date, before: str, since: str, limit: int) -> list[IndexEntry]:
        """Return a day's index entries below the key `before` and at least `since`, newest first."""

        def newest_of_shard(shard: int) -> list[Any]:
            # BETWEEN takes both ends, and `before` is where the previous page ended: one more than the limit.
            return next(self._query(f"{shard_day.isoformat()}#{shard}", since, before, limit + 1, newest_first=True))

        entries: list[IndexEntry] = [
            entry for entries in aws.each(newest_of_shard, range(self._shards)) for entry in entries
        ]
        entries = [entry for entry in entries if entry["time_key"] < before]
        return sorted(entries, key=lambda entry: entry["time_key"], reverse=True)[:limit]

    def partitions(self, since: str, until: str) -> list[str]:
        """Return the partitions of the index that hold the events of a window, oldest first."""
        # A window that ends at midnight has no event of the day that begins then.
        days = [day for day in days_back(until, since) if until > f"{day.isoformat()}T00:00:00.000000Z"]
        return [f"{day.isoformat()}#{shard}" for day in sorted(days) for shard in range(self._shards)]

    def pages(self, partition: str, since: str, until: str) -> Iterator[list[str]]:
        """Yield the ids of a partition's events from `since` (included) until `until` (excluded), oldest first."""
        # A key is longer than a time alone, so BETWEEN leaves `until` out.
        for page in self._query(partition, since, until, INDEX_PAGE):
            yield [entry["id"] for entry in page]

    def _query(
        self, partition: str, first: str, last: str, limit: int, *, newest_first: bool = False
    ) -> Iterator[list[Any]]:
        return self._table.query(
            IndexName=TIME_INDEX,
            KeyConditionExpression=IN_PARTITION,
            values={"partition": partition, "first": first, "last": last},
            ScanIndexForward=not newest_first,
            Limit=limit,
        )


def days_back(newest: str, oldest: str) -> Iterator[date]:
    """Yield the days from one time or `time_key` back to another; none unless that is before it."""
    day, last = date.fromisoformat(newest[:10]), date.fromisoformat(oldest[:10])
    while day >= last and newest > oldest:
        yield day
        day -= timedelta(days=1)
