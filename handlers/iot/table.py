"""The table of readings: partition key `device_id`, sort key `time_key`.

The alert state of a device is in the partition of its readings, under a sort key behind every time. Readings are
written without a condition, because a duplicate overwrites itself; states each with one.
"""

import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TypedDict, cast

from handlers.iot.alerting import DeviceState
from handlers.iot.readings import EARLIEST, Reading, first_key
from handlers.shared.dynamodb import Item, Statement, Table

STATE_KEY = "state"

_LATEST = datetime(9999, 1, 1, tzinfo=UTC)


class ReadingItem(TypedDict):
    """The item of a reading."""

    device_id: str
    time_key: str
    """The time in UTC and a hash of the metrics."""
    metrics: Mapping[str, Decimal]
    """Exact numbers."""
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


# `between`, with expired items left out: TTL deletes late.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/TTL.html
_BETWEEN = "device_id = :device AND time_key BETWEEN :since AND :until"
_NOT_EXPIRED = "expires_at > :now"


@dataclass(frozen=True, slots=True)
class StoredState:
    """A device's state as the table has it. `revision` changes at each write; empty: there is no item."""

    state: DeviceState
    revision: str = ""


class ReadingTable:
    """Readings and alert states of devices."""

    def __init__(self, name: str) -> None:
        self._table = Table(name, number=Decimal)

    # Readings

    def put(self, readings: Sequence[Reading], expires_at: int) -> None:
        """Store readings. Raises TableError."""

        def item_of(reading: Reading) -> Mapping[str, object]:
            return ReadingItem(
                device_id=reading.device_id, time_key=reading.time_key, metrics=reading.metrics, expires_at=expires_at
            )

        self._table.put(readings, item_of)

    def between(
        self,
        device_id: str,
        since: datetime = EARLIEST,
        until: datetime = _LATEST,
        *,
        newest_first: bool = False,
    ) -> Iterator[Reading]:
        """Yield a device's readings by time, `since` (included) to `until` (excluded).

        This is a query of one partition, whose pages are read when they are asked for.
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
        )
        for page in pages:
            for item in cast("list[ReadingItem]", page):
                yield Reading(item["device_id"], item["time_key"], dict(item["metrics"]))

    # States

    def states(self, device_ids: Iterable[str]) -> dict[str, StoredState]:
        """Return the states of devices, strongly consistent; a device without an item is new. Raises TableError."""
        found = {device_id: StoredState(DeviceState()) for device_id in device_ids}
        for item in cast("list[StateItem]", self._table.get([_key(device_id) for device_id in found])):
            found[item["device_id"]] = StoredState(DeviceState.from_json(item["state"]), item["revision"])
        return found

    def replace_states(
        self,
        changes: Mapping[str, tuple[StoredState, DeviceState]],
        expires_at: int,
    ) -> dict[str, StoredState]:
        """Write the states of devices, each if the table still has the one it was made from. Returns those written.

        Raises TableError.
        """
        revision = uuid.uuid4().hex
        statements = [
            self._replacement(device, stored, state, revision, expires_at)
            for device, (stored, state) in changes.items()
        ]
        return {
            device: StoredState(state, revision)
            for (device, (_, state)), refusal in zip(changes.items(), self._table.execute(statements), strict=True)
            if refusal is None
        }

    def _replacement(
        self, device_id: str, stored: StoredState, state: DeviceState, revision: str, expires_at: int
    ) -> Statement:
        values = {"state": state.to_json(), "revision": revision, "expires_at": expires_at}
        if not stored.revision:
            return self._table.insert_statement({**_key(device_id), **values})
        return self._table.update_statement(_key(device_id), values, ("revision", "=", stored.revision))


def _key(device_id: str) -> Item:
    return {"device_id": device_id, "time_key": STATE_KEY}
