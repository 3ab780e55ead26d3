"""The table of events: one item an event, by id.

Statements go 25 to a call, each with its own condition and its own answer (BatchExecuteStatement): for ten events a
tenth of the calls of PutItem or UpdateItem at the same price.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchExecuteStatement.html

An item: `id`, `type`, `status`, `received_at`, `attempts`, `expires_at` (epoch seconds), `fingerprint` (events with an
idempotency key), `day_shard` and `time_key` (the time index), and when it is done `completed_at` and `result_key` or
`result` (JSON text) or `error`, `error_type` and `rejected_message_id`. `status` is

- `accepting`: claimed for an idempotency key, not yet known to be in the queue. Nobody is shown such an item.
- `queued`, `retrying`, `succeeded`, `failed`: as the API says them. A retrying event has `error`, `error_type` and
  `next_attempt_at`.

`attempts` counts calls of the processor. `running_until` (epoch seconds) is set while an event is processed on its own,
because a worker died with it before; `noted_message_id` and `noted_receives` say which delivery wrote that, or the
failed attempt.

An item `alert#{cause}` holds the minute (`received_at`) of the last alert for a cause.
"""

import json
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from handlers.api.events import Envelope
from handlers.shared import aws
from handlers.shared.dynamodb import TableError

STATEMENTS_A_CALL = 25
KEYS_A_CALL = 100
SECONDS_A_DAY = 86_400
TIME_INDEX = "by-time"
# Ten calls for items: what a summary holds of the index at once, and how often it looks at the clock.
INDEX_PAGE = 1_000
READ_ATTRIBUTES = (
    "id",
    "type",
    "status",
    "received_at",
    "completed_at",
    "attempts",
    "error",
    "error_type",
    "expires_at",
    "fingerprint",
    "next_attempt_at",
    "noted_message_id",
    "noted_receives",
    "rejected_message_id",
    "result_key",
    "running_until",
)
OUTCOME_ATTRIBUTES = (
    "id",
    "type",
    "status",
    "received_at",
    "completed_at",
    "error_type",
    "expires_at",
)
# DynamoDB answers these for one statement, within an answer that is a success: botocore does not try them again.
PASSING = ("ThrottlingError", "ProvisionedThroughputExceeded", "RequestLimitExceeded", "InternalServerError")
PASSING_ATTEMPTS = 4
PAUSE_SECONDS = 0.1

Item = Mapping[str, Any]


@dataclass(frozen=True)
class Statement:
    """One PartiQL statement and its parameters, in DynamoDB's JSON."""

    text: str
    parameters: Sequence[Item]


@dataclass(frozen=True)
class Refusal:
    """A statement's condition did not hold. `item` is what stands there, None when nothing does or it is not known."""

    code: str
    item: Item | None


@dataclass(frozen=True)
class Completion:
    """What became of an event, or of an attempt at it.

    With `succeeded` it has `result_key` or `result`, with `failed` the error and the message that is with the dead
    letters, with `retrying` the error, the time of the next attempt, and the delivery that failed.
    """

    envelope: Envelope
    status: str
    attempts: int
    completed_at: str | None
    result_key: str | None = None
    result: str | None = None
    error: str | None = None
    error_type: str | None = None
    rejected_message_id: str | None = None
    next_attempt_at: str | None = None
    noted_message_id: str | None = None
    noted_receives: int | None = None


class EventReader:
    """What is read of the table. `time_index_shards` is 0 when there is no time index."""

    def __init__(self, name: str, *, time_index_shards: int) -> None:
        self._client = aws.client("dynamodb")
        self._name = name
        self._shards = time_index_shards

    def read(self, ids: Iterable[str], *, results: bool = False) -> dict[str, Item]:
        """The items that exist, by id, strongly consistent. Expired ones are left out: TTL deletes late.

        With `results` those that stand in the items come, too.
        """
        return self._items(ids, [*READ_ATTRIBUTES, *(["result"] if results else [])], consistent=True)

    def listed(self, ids: Iterable[str]) -> dict[str, Item]:
        """As `read`, eventually consistent: a list is old when it is shown, and this costs half."""
        return self._items(ids, READ_ATTRIBUTES, consistent=False)

    def outcomes(self, ids: Iterable[str]) -> dict[str, Item]:
        """As `read`, of each item only what a summary counts; at half the price, as what is done stays so."""
        return self._items(ids, OUTCOME_ATTRIBUTES, consistent=False)

    def _items(self, ids: Iterable[str], names: Sequence[str], *, consistent: bool) -> dict[str, Item]:
        found: dict[str, Item] = {}
        pending = [{"id": {"S": event_id}} for event_id in dict.fromkeys(ids)]
        while pending:
            now, pending = pending[:KEYS_A_CALL], pending[KEYS_A_CALL:]
            wanted = {
                "Keys": now,
                "ConsistentRead": consistent,
                "ProjectionExpression": ", ".join(f"#{name}" for name in names),
                "ExpressionAttributeNames": {f"#{name}": name for name in names},
            }
            answer = self._client.batch_get_item(RequestItems={self._name: wanted})
            items = [_plain(item) for item in answer["Responses"].get(self._name, [])]
            found.update({item["id"]: item for item in items if item["expires_at"] > time.time()})
            if unprocessed := answer.get("UnprocessedKeys", {}).get(self._name, {}).get("Keys", []):
                # https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html asks for a pause.
                time.sleep(PAUSE_SECONDS)
                pending += unprocessed
        return found

    def newest(self, shard_day: date, before: str, since: str, limit: int) -> list[Item]:
        """A day's index entries (`id`, `type`, `time_key`) below the key `before`, at least `since`, newest first."""

        def of_shard(shard: int) -> list[Item]:
            answer = self._client.query(
                TableName=self._name,
                IndexName=TIME_INDEX,
                KeyConditionExpression="day_shard = :shard AND time_key BETWEEN :since AND :before",
                ExpressionAttributeValues={
                    ":shard": {"S": f"{shard_day.isoformat()}#{shard}"},
                    ":since": {"S": since},
                    ":before": {"S": before},
                },
                ScanIndexForward=False,
                Limit=limit + 1,
            )
            return [_plain(item) for item in answer["Items"]]

        entries = [entry for entries in aws.each(of_shard, range(self._shards)) for entry in entries]
        # BETWEEN takes both ends; `before` is where the page before this one ended.
        entries = [entry for entry in entries if entry["time_key"] < before]
        return sorted(entries, key=lambda entry: str(entry["time_key"]), reverse=True)[:limit]

    def partitions(self, since: str, until: str) -> list[str]:
        """The partitions of the index that events of a time are in, oldest first."""
        # A window that ends at midnight has nothing of the day that begins then.
        days = [day for day in days_back(until, since) if until > f"{day.isoformat()}T00:00:00.000000Z"]
        return [f"{day.isoformat()}#{shard}" for day in sorted(days) for shard in range(self._shards)]

    def pages(self, partition: str, since: str, until: str) -> Iterator[list[str]]:
        """The ids of a partition's events from `since` (included) until `until` (not), oldest first, page by page."""
        start: dict[str, Any] = {}
        while True:
            answer = self._client.query(
                TableName=self._name,
                IndexName=TIME_INDEX,
                # A key is a time and more, so that none is equal to a time alone, and BETWEEN leaves `until` out.
                KeyConditionExpression="day_shard = :partition AND time_key BETWEEN :since AND :until",
                ExpressionAttributeValues={
                    ":partition": {"S": partition},
                    ":since": {"S": since},
                    ":until": {"S": until},
                },
                Limit=INDEX_PAGE,
                **start,
            )
            yield [entry["id"]["S"] for entry in answer["Items"]]
            if "LastEvaluatedKey" not in answer:
                return
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}


class EventTable(EventReader):
    """`time_index_shards` is 0 when there is no time index."""

    def __init__(self, name: str, *, time_index_shards: int, items_expire_after_days: int) -> None:
        super().__init__(name, time_index_shards=time_index_shards)
        self._expire_seconds = items_expire_after_days * SECONDS_A_DAY

    # Accepting

    def claim(self, envelopes: Sequence[Envelope]) -> list[Item | None]:
        """Takes the ids of keyed events. For each: None when it is ours now, or the item that holds the id already."""
        refusals = self._execute(
            [self._insert(self._item(envelope, "accepting", indexed=False)) for envelope in envelopes]
        )
        held = [envelope.id for envelope, refusal in zip(envelopes, refusals, strict=True) if refusal]
        items = self.read(held)
        return [
            items.get(envelope.id) or self._claim_expired(envelope) if refusal else None
            for envelope, refusal in zip(envelopes, refusals, strict=True)
        ]

    def _claim_expired(self, envelope: Envelope) -> Item | None:
        """An item that should have been deleted by now stands in the way: replaces it. One call, for a rare case."""
        try:
            self._client.put_item(
                TableName=self._name,
                Item=_typed(self._item(envelope, "accepting", indexed=False)),
                ConditionExpression="attribute_not_exists(id) OR expires_at <= :now",
                ExpressionAttributeValues={":now": {"N": str(int(time.time()))}},
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            if item := self.read([envelope.id]).get(envelope.id):
                return item
            raise TableError(f"an item of {self._name} came and went while it was claimed") from None
        return None

    def release(self, envelopes: Sequence[Envelope]) -> None:
        """Gives up claims whose event did not get into the queue. Somebody else's further progress stays."""
        self._execute(
            [
                Statement(
                    # The table's name is our own setting; values are parameters.
                    f'DELETE FROM "{self._name}" WHERE "id"=? AND "status"=? AND "received_at"=?',  # noqa: S608
                    [{"S": envelope.id}, {"S": "accepting"}, {"S": envelope.received_at}],
                )
                for envelope in envelopes
            ],
        )

    def record_queued(self, envelopes: Sequence[Envelope]) -> None:
        """Records events that are in the queue. An item that the worker was quicker to write stays as it is."""
        self._upsert(
            [self._insert(self._item(envelope, "queued", indexed=True)) for envelope in envelopes],
            [self._confirm(envelope) for envelope in envelopes],
            insert_first=[not envelope.fingerprint for envelope in envelopes],
        )

    def _confirm(self, envelope: Envelope) -> Statement:
        changes = {"status": "queued", **self._index_keys(envelope)}
        return self._update(envelope.id, changes, ' AND "status"=?', [{"S": "accepting"}])

    # Completing

    def mark(self, envelope: Envelope, attempt: int, until: int, message_id: str, receives: int) -> None:
        """Record that an attempt at an event begins, which is over at `until` (epoch seconds) at the latest."""
        note = {
            "attempts": attempt,
            "running_until": until,
            "noted_message_id": message_id,
            "noted_receives": receives,
        }
        self._upsert(
            [self._insert({**self._item(envelope, "queued", indexed=True), **note})],
            [self._update(envelope.id, note)],
            insert_first=[False],
        )

    def claim_minute(self, name: str) -> bool:
        """Return True for the first caller of a minute, whichever function it is in."""
        now = int(time.time())
        minute = {"received_at": str(now // 60), "expires_at": now + SECONDS_A_DAY}
        (refusal,) = self._execute([self._insert({"id": name, **minute})])
        if refusal is None:
            return True
        condition, parameters = ' AND "received_at"<>?', [{"S": minute["received_at"]}]
        (refusal,) = self._execute([self._update(name, minute, condition, parameters)])
        return refusal is None

    def complete(self, completions: Sequence[Completion], known: Iterable[str]) -> list[Item | None]:
        """Records what became of events; `known` are the ids that have an item.

        For each: None when it was recorded, or the item that says it is done already, or is another event's.
        """
        known = set(known)
        refusals = self._upsert(
            [
                self._insert({**self._item(each.envelope, each.status, indexed=True), **_outcome(each)})
                for each in completions
            ],
            [self._finish(each) for each in completions],
            insert_first=[each.envelope.id not in known for each in completions],
        )
        return [refusal.item if refusal else None for refusal in refusals]

    def _finish(self, completion: Completion) -> Statement:
        envelope = completion.envelope
        changes = {"status": completion.status, **_outcome(completion), **self._index_keys(envelope)}
        condition, parameters = ' AND "status"<>?', [{"S": "succeeded"}]
        if envelope.fingerprint:
            condition, parameters = condition + ' AND "fingerprint"=?', [*parameters, {"S": envelope.fingerprint}]
        return self._update(envelope.id, changes, condition, parameters)

    # Statements

    def _item(self, envelope: Envelope, status: str, *, indexed: bool) -> dict[str, Any]:
        return {
            "id": envelope.id,
            "type": envelope.type,
            "status": status,
            "received_at": envelope.received_at,
            "attempts": 0,
            "expires_at": int(datetime.fromisoformat(envelope.received_at).timestamp()) + self._expire_seconds,
            **({"fingerprint": envelope.fingerprint} if envelope.fingerprint else {}),
            **(self._index_keys(envelope) if indexed else {}),
        }

    def _index_keys(self, envelope: Envelope) -> dict[str, Any]:
        if not self._shards:
            return {}
        shard = zlib.crc32(envelope.id.encode()) % self._shards
        return {
            "day_shard": f"{envelope.received_at[:10]}#{shard}",
            "time_key": f"{envelope.received_at}#{envelope.id}",
        }

    def _insert(self, item: Item) -> Statement:
        names = ", ".join(f"'{name}': ?" for name in item)
        return Statement(f'INSERT INTO "{self._name}" VALUE {{{names}}}', list(_typed(item).values()))

    def _update(self, event_id: str, changes: Item, condition: str = "", parameters: Sequence[Item] = ()) -> Statement:
        assignments = " ".join(f'SET "{name}"=?' for name in changes)
        return Statement(
            f'UPDATE "{self._name}" {assignments} WHERE "id"=?{condition}',
            [*_typed(changes).values(), {"S": event_id}, *parameters],
        )

    def _upsert(
        self,
        inserts: Sequence[Statement],
        updates: Sequence[Statement],
        *,
        insert_first: Sequence[bool],
    ) -> list[Refusal | None]:
        """Runs of each pair the one that should fit, and the other where it did not.

        PartiQL has no statement that does either. An insert is refused where an item is, an update where none is; a
        third round is for an item that came or went in between. An update's refusal with an item is final.
        """
        wanted = list(insert_first)
        refusals: list[Refusal | None] = [None] * len(inserts)
        open_positions = list(range(len(inserts)))
        for _ in range(3):
            statements = [(inserts if wanted[position] else updates)[position] for position in open_positions]
            again = []
            for position, refusal in zip(open_positions, self._execute(statements), strict=True):
                refusals[position] = refusal
                if refusal and (wanted[position] or refusal.item is None):
                    wanted[position] = not wanted[position]
                    again.append(position)
            open_positions = again
        if open_positions:
            raise TableError(f"an item of {self._name} came and went while it was written")
        return refusals

    def _execute(self, statements: Sequence[Statement]) -> list[Refusal | None]:
        """Runs statements, in the order given where it matters not. Raises TableError for anything but a refusal."""
        answers = aws.each(self._execute_call, aws.chunks(list(statements), STATEMENTS_A_CALL))
        return [answer for answers_of_call in answers for answer in answers_of_call]

    def _execute_call(self, statements: Sequence[Statement]) -> list[Refusal | None]:
        errors = self._errors(statements)
        for attempt in range(PASSING_ATTEMPTS):
            again = [position for position, error in enumerate(errors) if error and error["Code"] in PASSING]
            if not again:
                break
            time.sleep(PAUSE_SECONDS * 2**attempt)
            for position, error in zip(again, self._errors([statements[position] for position in again]), strict=True):
                errors[position] = error
        return [_refusal(error) for error in errors]

    def _errors(self, statements: Sequence[Statement]) -> list[Item | None]:
        answer = self._client.batch_execute_statement(
            Statements=[
                {
                    "Statement": statement.text,
                    "Parameters": statement.parameters,
                    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                }
                for statement in statements
            ],
        )
        return [response.get("Error") for response in answer["Responses"]]


def _refusal(error: Mapping[str, Any] | None) -> Refusal | None:
    if error is None:
        return None
    if error["Code"] not in ("ConditionalCheckFailed", "DuplicateItem"):
        raise TableError(f"{error['Code']}: {error.get('Message', '')}")
    return Refusal(error["Code"], _plain(error["Item"]) if error.get("Item") else None)


def _outcome(completion: Completion) -> dict[str, Any]:
    """The attributes of a done event. All are set: a redriven event that succeeds must lose the error it had."""
    return {
        "attempts": completion.attempts,
        "completed_at": completion.completed_at,
        "result_key": completion.result_key,
        "result": completion.result,
        "error": completion.error,
        "error_type": completion.error_type,
        "rejected_message_id": completion.rejected_message_id,
        **(
            {
                "next_attempt_at": completion.next_attempt_at,
                "noted_message_id": completion.noted_message_id,
                "noted_receives": completion.noted_receives,
                "running_until": None,
            }
            if completion.status == "retrying"
            else {}
        ),
    }


def _typed(item: Item) -> dict[str, Item]:
    """Plain values in DynamoDB's JSON; None is its NULL."""
    typed: dict[str, Item] = {}
    for name, value in item.items():
        match value:
            case None:
                typed[name] = {"NULL": True}
            case int():
                typed[name] = {"N": str(value)}
            case _:
                typed[name] = {"S": value}
    return typed


def _plain(item: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        name: None if "NULL" in value else int(value["N"]) if "N" in value else value["S"]
        for name, value in item.items()
    }


def description(item: Item) -> dict[str, Any]:
    """An item as the API shows it, without its result: status as it is now, times, attempts, error."""
    shown = {
        "id": item["id"],
        "type": item["type"],
        "status": item["status"],
        "received_at": item["received_at"],
        "completed_at": item.get("completed_at"),
        "attempts": item["attempts"],
        "error": item.get("error"),
    }
    if item["status"] == "retrying":
        shown["next_attempt_at"] = item.get("next_attempt_at")
    return shown


def result_of(item: Item) -> Any:
    """The result that stands in the item itself."""
    return json.loads(item["result"])


def days_back(newest: str, oldest: str) -> Iterator[date]:
    """The days from one time or `time_key` back to another; none when that is not before it."""
    day, last = date.fromisoformat(newest[:10]), date.fromisoformat(oldest[:10])
    while day >= last and newest > oldest:
        yield day
        day -= timedelta(days=1)
