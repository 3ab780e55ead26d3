"""The table of readings: partition key `device_id`, sort key `time_key`.

A reading is `device_id`, `time_key` (its time in UTC and a hash of its metrics), `metrics` (a map of exact numbers) and
`expires_at` (epoch seconds, from when its object arrived). The alert state of a device stands in the same partition
under the sort key `state`, behind every time: `state` (JSON text), `revision`, `expires_at`.

Readings are written 25 to a call. They need no condition, because a repeat overwrites itself. States need one each, and
go 25 to a call as PartiQL statements, each with its own condition and answer.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchExecuteStatement.html
"""

import random
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from handlers.iot.alerting import DeviceState
from handlers.iot.readings import EARLIEST, Reading, first_key
from handlers.shared import aws

WRITES_A_CALL = 25
STATEMENTS_A_CALL = 25
KEYS_A_CALL = 100
WRITE_ATTEMPTS = 8
STATE_KEY = "state"

_LATEST = datetime(9999, 1, 1, tzinfo=UTC)


class ReadingTableError(Exception):
    """DynamoDB did not take something for a reason that is no condition of ours, such as throttling."""


@dataclass(frozen=True, slots=True)
class StoredState:
    """A device's state as the table has it. `revision` changes at each write; empty: there is no item."""

    state: DeviceState
    revision: str = ""


class ReadingTable:
    """Readings and alert states of devices."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._client = aws.client("dynamodb")

    # Readings

    def put(self, readings: Sequence[Reading], expires_at: int) -> None:
        """Stores readings. What DynamoDB leaves out is sent again, later each time. Raises ReadingTableError."""

        def put(part: Sequence[Reading]) -> None:
            self._put_call([{"PutRequest": {"Item": _item(reading, expires_at)}} for reading in part])

        aws.each(put, aws.chunks(list(readings), WRITES_A_CALL))

    def _put_call(self, requests: Sequence[Any]) -> None:
        pending = requests
        for attempt in range(WRITE_ATTEMPTS):
            if attempt:
                time.sleep(min(0.05 * 2**attempt, 5) * random.uniform(0.5, 1))  # noqa: S311  no secret
            answer = self._client.batch_write_item(RequestItems={self._name: pending})
            pending = answer.get("UnprocessedItems", {}).get(self._name, [])
            if not pending:
                return
        raise ReadingTableError(
            f"{self._name} left out {len(pending)} of {len(requests)} readings, {WRITE_ATTEMPTS} times"
        )

    def between(
        self,
        device_id: str,
        since: datetime = EARLIEST,
        until: datetime = _LATEST,
        *,
        newest_first: bool = False,
    ) -> Iterator[Reading]:
        """A device's readings by time, `since` (included) to `until` (excluded).

        A query of one partition, read a page at a time as it is asked for.
        """
        query: dict[str, Any] = {
            "TableName": self._name,
            "KeyConditionExpression": "device_id = :device AND time_key BETWEEN :since AND :until",
            # TTL deletes late: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/TTL.html
            "FilterExpression": "expires_at > :now",
            "ExpressionAttributeValues": {
                ":device": {"S": device_id},
                ":since": {"S": first_key(since)},
                ":until": {"S": first_key(until)},
                ":now": {"N": str(int(time.time()))},
            },
            "ScanIndexForward": not newest_first,
        }
        while True:
            answer = self._client.query(**query)
            yield from (_reading(item) for item in answer["Items"])
            if "LastEvaluatedKey" not in answer:
                return
            query["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def latest(self, device_id: str) -> Reading | None:
        """The newest reading of a device."""
        return next(self.between(device_id, newest_first=True), None)

    # States

    def states(self, device_ids: Iterable[str]) -> dict[str, StoredState]:
        """The states of devices; those that have none are new."""
        found = {device_id: StoredState(DeviceState()) for device_id in device_ids}
        pending = [{"device_id": {"S": device_id}, "time_key": {"S": STATE_KEY}} for device_id in found]
        while pending:
            now, pending = pending[:KEYS_A_CALL], pending[KEYS_A_CALL:]
            answer = self._client.batch_get_item(RequestItems={self._name: {"Keys": now, "ConsistentRead": True}})
            for item in answer["Responses"].get(self._name, []):
                state = StoredState(DeviceState.from_json(item["state"]["S"]), item["revision"]["S"])
                found[item["device_id"]["S"]] = state
            pending += answer.get("UnprocessedKeys", {}).get(self._name, {}).get("Keys", [])
        return found

    def replace_states(
        self,
        changes: Mapping[str, tuple[StoredState, DeviceState]],
        expires_at: int,
    ) -> dict[str, StoredState]:
        """Writes the states of devices, each if the table still has the one it was made from; returns those written."""
        devices = list(changes)
        revision = uuid.uuid4().hex
        statements = [self._replacement(device, *changes[device], revision, expires_at) for device in devices]
        answers = aws.each(self._execute_call, aws.chunks(statements, STATEMENTS_A_CALL))
        done = [answer for answers_of_call in answers for answer in answers_of_call]
        return {
            device: StoredState(changes[device][1], revision)
            for device, written in zip(devices, done, strict=True)
            if written
        }

    def _replacement(
        self,
        device_id: str,
        stored: StoredState,
        state: DeviceState,
        revision: str,
        expires_at: int,
    ) -> dict[str, Any]:
        values = [{"S": state.to_json()}, {"S": revision}, {"N": str(expires_at)}, {"S": device_id}, {"S": STATE_KEY}]
        if not stored.revision:
            return {
                "Statement": f'INSERT INTO "{self._name}" VALUE '
                "{'state': ?, 'revision': ?, 'expires_at': ?, 'device_id': ?, 'time_key': ?}",
                "Parameters": values,
            }
        return {
            "Statement": f'UPDATE "{self._name}" SET "state"=? SET "revision"=? SET "expires_at"=? '  # noqa: S608  values are parameters
            'WHERE "device_id"=? AND "time_key"=? AND "revision"=?',
            "Parameters": [*values, {"S": stored.revision}],
        }

    def _execute_call(self, statements: list[dict[str, Any]]) -> list[bool]:
        answer = self._client.batch_execute_statement(Statements=statements)
        return [_held(response.get("Error")) for response in answer["Responses"]]


def _held(error: Mapping[str, Any] | None) -> bool:
    if error is None:
        return True
    if error["Code"] in ("ConditionalCheckFailed", "DuplicateItem"):
        return False
    raise ReadingTableError(f"{error['Code']}: {error.get('Message', '')}")


def _item(reading: Reading, expires_at: int) -> dict[str, Any]:
    return {
        "device_id": {"S": reading.device_id},
        "time_key": {"S": reading.time_key},
        "metrics": {"M": {name: {"N": str(number)} for name, number in reading.metrics.items()}},
        "expires_at": {"N": str(expires_at)},
    }


def _reading(item: Mapping[str, Any]) -> Reading:
    metrics = {name: Decimal(number["N"]) for name, number in item["metrics"]["M"].items()}
    return Reading(item["device_id"]["S"], item["time_key"]["S"], metrics)
