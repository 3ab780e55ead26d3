"""Uploaded files: what a notification of S3 says of them, and the table with one item a file.

An item: `id`, `bucket`, `key`, `version`, `etag`, `size`, `status`, `attempts`, `started_at`, `expires_at` (epoch
seconds) and

- while it is `processing`: `owner` (the run that works on it) and `lease_until` (epoch seconds; a run cannot outlive
  it), and after a checkpoint `state_key`, `offset`, `rows`;
- once it is `succeeded`, `failed` or `skipped`: `completed_at`, counts, the keys of its outputs, `reason` and `error`,
  and `settled`: everybody who is told of it has been.

`attempts` are the runs since the last progress. Every change after the claim is on condition that the run still owns
the file.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from handlers.shared import aws

PROCESSING, SUCCEEDED, FAILED, SKIPPED = "processing", "succeeded", "failed", "skipped"
# Keys of S3 take 1,024 bytes; what is left is for prefix, id and ending.
READABLE_BYTES = 800
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
MAXIMUM_OBJECT_BYTES = 50 * 1024**4

Item = Mapping[str, Any]


class UnreadableNotificationError(Exception):
    """A message is not a notification of S3."""


class LostError(Exception):
    """Another run has taken the file over; this one may not write of it any more."""


@dataclass(frozen=True)
class File:
    """One version of an object. `version` is empty in a bucket without versions."""

    bucket: str
    key: str
    version: str
    etag: str
    size: int
    record: Mapping[str, Any]
    """As S3 sent it."""

    @property
    def id(self) -> str:
        """The same for the same version of the same object, however often it is announced."""
        parts = (self.bucket, self.key, self.version or self.etag)
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def output_key(self, prefix: str, input_prefix: str, ending: str) -> str:
        """`processed/orders/may.csv/<id>.jsonl.gz` for `raw/orders/may.csv`; a very long name is cut."""
        readable = self.key.removeprefix(input_prefix).encode()[:READABLE_BYTES].decode(errors="ignore")
        return f"{prefix}{readable.strip('/')}/{self.id}{ending}"


def read_notification(body: str) -> list[File]:
    """The files that a message announces; none for S3's test message. Raises UnreadableNotificationError.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnreadableNotificationError(f"the message is not JSON: {error}") from error
    if isinstance(content, dict) and content.get("Event") == "s3:TestEvent":
        return []
    try:
        return [_file(record) for record in content["Records"]]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UnreadableNotificationError(f"the message is not a notification of S3: {error!r}") from error


def _file(record: Mapping[str, Any]) -> File:
    entity = record["s3"]["object"]
    size = int(entity.get("size", 0))
    if not 0 <= size <= MAXIMUM_OBJECT_BYTES:
        raise ValueError("an object has no such size")
    file = File(
        bucket=str(record["s3"]["bucket"]["name"]),
        key=unquote_plus(entity["key"], errors="strict"),
        version=str(entity.get("versionId") or ""),
        etag=str(entity["eTag"]),
        size=size,
        record=record,
    )
    for name in (file.bucket, file.key, file.version, file.etag):
        # Half a surrogate pair, which JSON can say and nothing else can hold.
        name.encode()
    return file


class FileTable:
    """The items of files, by id."""

    def __init__(self, name: str) -> None:
        self._client = aws.client("dynamodb")
        self._name = name

    def claim(self, file: File, owner: str, *, now: int, until: int, started_at: str, expires_at: int) -> Item | None:
        """Takes a file for a run. Returns its item; None when it is done, or another run works on it."""
        return self._update(
            file.id,
            {
                "status": PROCESSING,
                "owner": owner,
                "lease_until": until,
                "expires_at": expires_at,
                **_described(file),
            },
            "attribute_not_exists(id) OR (#status = :status AND lease_until < :now)",
            {":now": now, ":none": 0, ":one": 1, ":started_at": started_at},
            more=(
                "attempts = if_not_exists(attempts, :none) + :one, started_at = if_not_exists(started_at, :started_at)"
            ),
        )

    def reopen(self, file: File, owner: str, failed_message_id: str, *, until: int, started_at: str) -> Item | None:
        """Takes a file that failed and was sent in again. None when another run was quicker."""
        return self._update(
            file.id,
            {"status": PROCESSING, "owner": owner, "lease_until": until, "attempts": 1, "started_at": started_at},
            "#status = :failed AND failed_message_id = :failed_message_id",
            {":failed": FAILED, ":failed_message_id": failed_message_id},
            remove=("completed_at", "reason", "error", "failed_message_id", "settled", *_CHECKPOINT),
        )

    def read(self, file_id: str) -> Item | None:
        """The item of a file, strongly consistent."""
        answer = self._client.get_item(TableName=self._name, Key={"id": {"S": file_id}}, ConsistentRead=True)
        return _plain(answer["Item"]) if "Item" in answer else None

    def checkpoint(self, file_id: str, owner: str, place: Item, *, keep: bool) -> None:
        """Records how far a run came: `state_key`, `offset`, `rows`. `keep`: the run goes on. Raises LostError."""
        released = {} if keep else {"lease_until": 0}
        self._owned(file_id, owner, {**place, **released, "attempts": 0})

    def release(self, file_id: str, owner: str, error: str) -> None:
        """Gives a file up after a failure, so that the next attempt need not wait for the lease. Raises LostError."""
        self._owned(file_id, owner, {"lease_until": 0, "error": error})

    def restart(self, file_id: str, owner: str) -> None:
        """Forgets a checkpoint that cannot be gone on from. Raises LostError."""
        self._owned(file_id, owner, {"lease_until": 0}, remove=_CHECKPOINT)

    def finish(self, file_id: str, owner: str, outcome: Item) -> Item:
        """Records what became of a file; returns its item. Raises LostError."""
        return self._owned(file_id, owner, {"error": None, **outcome, "settled": False, "lease_until": 0})

    def settle(self, file_id: str) -> None:
        """Records that everybody has been told."""
        self._update(file_id, {"settled": True}, "attribute_exists(id)", {})

    def _owned(self, file_id: str, owner: str, changes: Item, *, remove: Sequence[str] = ()) -> Item:
        condition = "#owner = :own AND #status = :processing"
        values = {":own": owner, ":processing": PROCESSING}
        item = self._update(file_id, changes, condition, values, remove=remove)
        if item is None:
            raise LostError(f"another run has taken over the file {file_id}")
        return item

    def _update(
        self,
        file_id: str,
        changes: Item,
        condition: str,
        values: Item,
        *,
        more: str = "",
        remove: Sequence[str] = (),
    ) -> Item | None:
        """One UpdateItem; returns the item after it, None when the condition did not hold."""
        assignments = [f"#{name} = :{name}" for name in changes] + ([more] if more else [])
        removed = f" REMOVE {', '.join(f'#{name}' for name in remove)}" if remove else ""
        named = {*changes, *remove, *re.findall(r"#(\w+)", condition)}
        try:
            answer = self._client.update_item(
                TableName=self._name,
                Key={"id": {"S": file_id}},
                UpdateExpression=f"SET {', '.join(assignments)}{removed}",
                ConditionExpression=condition,
                ExpressionAttributeNames={f"#{name}": name for name in named},
                ExpressionAttributeValues=_typed({f":{name}": value for name, value in changes.items()} | dict(values)),
                ReturnValues="ALL_NEW",
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            return None
        return _plain(answer["Attributes"])


_CHECKPOINT = ("state_key", "offset", "rows")


def _described(file: File) -> dict[str, Any]:
    return {"bucket": file.bucket, "key": file.key, "version": file.version, "etag": file.etag, "size": file.size}


def _typed(values: Item) -> dict[str, Item]:
    """Plain values in DynamoDB's JSON."""
    typed: dict[str, Item] = {}
    for name, value in values.items():
        match value:
            case None:
                typed[name] = {"NULL": True}
            case bool():
                typed[name] = {"BOOL": value}
            case int() | float():
                typed[name] = {"N": repr(value)}
            case _:
                typed[name] = {"S": value}
    return typed


def _plain(item: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, value in item.items():
        ((kind, content),) = value.items()
        plain[name] = None if kind == "NULL" else _number(content) if kind == "N" else content
    return plain


def _number(text: str) -> int | float:
    return int(text) if text.lstrip("-").isdigit() else float(text)
