"""The table of readings: partition key `device_id`, sort key `time_key`.

The alert state of a device is in the partition of its readings, under a sort key behind every time. Readings are
written without a condition, because a duplicate overwrites itself; states each with one.

Two indexes, with keys only, find devices. They are sparse, because only states have their keys: `by-device` by the id,
and `by-due-at`, if silence is watched, by the time at which the watcher is to look at a device.
"""

import time
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import NotRequired, TypedDict, cast

from handlers.iot.alerting import DeviceState
from handlers.iot.readings import EARLIEST, Reading, first_key
from handlers.shared.dynamodb import Item, Statement, Table

STATE_KEY = "state"
DEVICE_INDEX = "by-device"
DUE_INDEX = "by-due-at"
# An index's partition takes a thousand writes a second, and thousands of devices may fall silent at once.
SHARDS = 8

_LATEST = datetime(9999, 1, 1, tzinfo=UTC)


class ReadingItem(TypedDict):
    """The item of a reading."""

    device_id: str
    time_key: str
    """The time in UTC and a hash of the metrics."""
    metrics: Mapping[str, Decimal]
    """Exact numbers."""
    upload: str
    """The source of the upload that wrote the item last: key, `#`, version or ETag."""
    arrived_at: int
    """Epoch seconds at which that upload arrived."""
    expires_at: int
    """Epoch seconds, from when the object arrived."""


class StateItem(TypedDict):
    """The item of a device's alert state."""

    device_id: str
    time_key: str
    """`STATE_KEY`."""
    state: str
    """JSON text."""
    revision: str
    """Changes at each write."""
    expires_at: int
    """Epoch seconds, as in a reading."""
    device_shard: str
    """The partition of the device in the indexes."""
    due_at: NotRequired[int]
    """Epoch seconds at which the watcher is to look at the device. Not there: not before its next upload."""


# `between`, with expired items left out: TTL deletes late.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/TTL.html
_BETWEEN = "device_id = :device AND time_key BETWEEN :since AND :until"
_NOT_EXPIRED = "expires_at > :now"


@dataclass(frozen=True, slots=True)
class StoredReading(Reading):
    """A reading, the source of the upload that wrote it last, and when that arrived, in epoch seconds.

    Items of earlier versions have neither: the source is empty and the time 0.
    """

    upload: str
    arrived_at: int


@dataclass(frozen=True, slots=True)
class StoredState:
    """A device's state as the table has it. `revision` changes at each write; empty: there is no item.

    `is_listed` and `due_at` are the place of the item in the indexes: not what its state says if an earlier version
    wrote the item. `expires_at`: epoch seconds.
    """

    state: DeviceState
    revision: str = ""
    due_at: int | None = None
    is_listed: bool = False
    expires_at: int = 0

    @property
    def is_misplaced(self) -> bool:
        """Whether the device is not where it belongs in the indexes, such as a new one."""
        return not self.is_listed or self.due_at != self.state.due_at


class ReadingTable:
    """Readings and alert states of devices."""

    def __init__(self, name: str) -> None:
        self._table = Table(name, number=Decimal)

    # Readings

    def put(self, readings: Sequence[Reading], upload: str, arrived_at: int, expires_at: int) -> None:
        """Store readings of an upload. Raises TableError."""

        def item_of(reading: Reading) -> Mapping[str, object]:
            return ReadingItem(
                device_id=reading.device_id,
                time_key=reading.time_key,
                metrics=reading.metrics,
                upload=upload,
                arrived_at=arrived_at,
                expires_at=expires_at,
            )

        self._table.put(readings, item_of)

    def between(
        self,
        device_id: str,
        since: datetime = EARLIEST,
        until: datetime = _LATEST,
        *,
        newest_first: bool = False,
        page_size: int | None = None,
    ) -> Iterator[StoredReading]:
        """Yield a device's readings by time, `since` (included) to `until` (excluded).

        This is a query of one partition, whose pages are read when they are asked for. `page_size` is for a caller that
        wants a few readings only: a page has up to a megabyte.
        """
        pages = self._table.query(
            KeyConditionExpression=_BETWEEN,
            FilterExpression=_NOT_EXPIRED,
            values={
                "device": device_id,
                "since": first_key(since),
                "until": first_key(until),
                "now": int(time.time()),
            },
            ScanIndexForward=not newest_first,
            **({} if page_size is None else {"Limit": page_size}),
        )
        for page in pages:
            for item in cast("list[ReadingItem]", page):
                yield StoredReading(
                    item["device_id"],
                    item["time_key"],
                    dict(item["metrics"]),
                    # Items of earlier versions have neither.
                    item.get("upload", ""),
                    int(item.get("arrived_at", 0)),
                )

    def written_by(self, upload: str, device_id: str, first: str, last: str) -> list[Item]:
        """Return the keys of a device's readings that an upload wrote last, among those from one time to another.

        `first` and `last` are keys of readings, both included. Expired items count, too.
        """
        pages = self._table.query(
            KeyConditionExpression=_BETWEEN,
            FilterExpression="upload = :upload",
            ProjectionExpression="device_id, time_key",
            # The time alone: what the metrics were called may have changed since.
            values={
                "device": device_id,
                "since": first.partition("#")[0],
                "until": f"{last.partition('#')[0]}$",
                "upload": upload,
            },
            ConsistentRead=True,
        )
        return [item for page in pages for item in page]

    def remove(self, keys: Sequence[Item], upload: str) -> int:
        """Delete readings that an upload still is the last writer of; return their number. Raises TableError."""
        statements = [self._table.delete_statement(key, ("upload", "=", upload)) for key in keys]
        return sum(refusal is None for refusal in self._table.execute(statements))

    # States

    def states(self, device_ids: Iterable[str]) -> dict[str, StoredState]:
        """Return the states of devices, strongly consistent; a device without an item is new. Raises TableError."""
        found = {device_id: StoredState(DeviceState()) for device_id in device_ids}
        for item in cast("list[StateItem]", self._table.get([_key(device_id) for device_id in found])):
            due_at = int(item["due_at"]) if "due_at" in item else None
            state = DeviceState.from_json(item["state"])
            is_listed, expires_at = "device_shard" in item, int(item["expires_at"])
            found[item["device_id"]] = StoredState(
                state, item["revision"], due_at, is_listed=is_listed, expires_at=expires_at
            )
        return found

    def replace_states(
        self,
        changes: Mapping[str, tuple[StoredState, DeviceState]],
        expires_at: int = 0,
    ) -> dict[str, StoredState]:
        """Write the states of devices, each if the table still has the one it was made from. Returns those written.

        A state that would expire later than at `expires_at` still does: an upload that is taken late must not shorten
        the memory of its device. Raises TableError.
        """
        revision = uuid.uuid4().hex
        statements = [
            self._replacement(device, stored, state, revision, expires_at)
            for device, (stored, state) in changes.items()
        ]
        return {
            device: StoredState(
                state, revision, state.due_at, is_listed=True, expires_at=max(expires_at, stored.expires_at)
            )
            for (device, (stored, state)), refusal in zip(changes.items(), self._table.execute(statements), strict=True)
            if refusal is None
        }

    def _replacement(
        self, device_id: str, stored: StoredState, state: DeviceState, revision: str, expires_at: int
    ) -> Statement:
        values: dict[str, object] = {
            "state": state.to_json(),
            "revision": revision,
            "device_shard": shard_of(device_id),
            "expires_at": max(expires_at, stored.expires_at),
        }
        if state.due_at is not None:
            values["due_at"] = state.due_at
        if not stored.revision:
            return self._table.insert_statement({**_key(device_id), **values})
        removed = ("due_at",) if state.due_at is None and stored.due_at is not None else ()
        unchanged = ("revision", "=", stored.revision)
        return self._table.update_statement(_key(device_id), values, unchanged, removed=removed)

    # Indexes

    def devices(self, prefix: str = "") -> Iterator[str]:
        """Yield the ids of devices that begin with a prefix, those of a shard in order."""
        condition = "device_shard = :shard AND begins_with(device_id, :prefix)" if prefix else "device_shard = :shard"
        return self._indexed(DEVICE_INDEX, condition, {"prefix": prefix} if prefix else {}, range(SHARDS))

    def due(self, now: float) -> Iterator[str]:
        """Yield the ids of devices that the watcher is to look at. They begin with another shard each minute.

        The index is behind the table by moments: the state says whether a device is still due.
        """
        first = int(now // 60) % SHARDS
        shards = [*range(first, SHARDS), *range(first)]
        return self._indexed(DUE_INDEX, "device_shard = :shard AND due_at <= :now", {"now": int(now)}, shards)

    def _indexed(self, index: str, condition: str, values: Item, shards: Iterable[int]) -> Iterator[str]:
        for shard in shards:
            pages = self._table.query(
                IndexName=index, KeyConditionExpression=condition, values={**values, "shard": str(shard)}
            )
            for page in pages:
                yield from (str(item["device_id"]) for item in page)


def shard_of(device_id: str) -> str:
    """Return the partition of a device in the indexes."""
    return str(zlib.crc32(device_id.encode()) % SHARDS)


def _key(device_id: str) -> Item:
    return {"device_id": device_id, "time_key": STATE_KEY}
