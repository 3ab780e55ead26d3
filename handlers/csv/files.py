"""Uploaded files: notifications of S3, and the table with one item for each file."""

import hashlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict, cast
from urllib.parse import unquote_plus

from handlers.shared.dynamodb import Table

PROCESSING, SUCCEEDED, FAILED, SKIPPED = "processing", "succeeded", "failed", "skipped"
# S3 limits keys to 1,024 bytes; the rest is for prefix, id and ending.
READABLE_BYTES = 800
# What `pipeline csv reprocess` adds to a record.
REPROCESS = "reprocess_as_generation"
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
MAXIMUM_OBJECT_BYTES = 50 * 1024**4
ALERTS_KEPT_SECONDS = 86_400


class Upload(TypedDict, total=False):
    """The time of an upload, as S3 told it."""

    sequencer: str
    """The mark of order in the notification: of one key, greater ones are later. Empty if there was none."""
    uploaded_at: str
    """ISO 8601. Empty if the notification does not say it."""


class FileKeys(TypedDict):
    """Which version of which object an item is about."""

    bucket: str
    key: str
    version: str
    etag: str
    size: int


class Checkpoint(TypedDict):
    """The progress of the runs over a file: the object with their state, the bytes and the rows read."""

    state_key: str
    offset: int
    rows: int


class Outputs(TypedDict):
    """The keys of a file's outputs; None for one without rows."""

    processed_key: str | None
    rejected_key: str | None
    report_key: str


class Pointer(Outputs, Upload):
    """The item that says which outputs of an object's key are current: those of its newest version that succeeded."""

    file_id: str
    generation: int
    completed_at: str


class FileItem(FileKeys, Upload):
    """The item of a file. Every change after the claim is on condition that the run still owns the file."""

    id: str
    status: str
    attempts: int
    """Runs since the last progress."""
    started_at: str
    expires_at: int
    """Epoch seconds."""
    owner: str
    """The run that works on the file while it is `processing`."""
    lease_until: int
    """Epoch seconds. A run cannot outlive it."""
    state_key: NotRequired[str]
    offset: NotRequired[int]
    rows: NotRequired[int]
    completed_at: NotRequired[str]
    processed: NotRequired[int]
    rejected: NotRequired[int]
    success_rate: NotRequired[float | None]
    processed_key: NotRequired[str | None]
    rejected_key: NotRequired[str | None]
    report_key: NotRequired[str]
    reason: NotRequired[str]
    error: NotRequired[str | None]
    failed_message_id: NotRequired[str]
    generation: NotRequired[int]
    """The number of times that the file was begun anew after its end: redriven, reprocessed, or put again."""
    previous_outputs: NotRequired[list[str]]
    """Outputs of earlier generations, which go as soon as this one succeeds."""
    is_current: NotRequired[bool]
    """The outputs are those that the pointer of the key names."""
    supersedes: NotRequired[str]
    """The file of the same key whose outputs were current before."""
    removes: NotRequired[list[str]]
    """Outputs that no longer apply. Older items have `replaces`, which also names outputs that are kept."""
    superseded_by: NotRequired[str]
    """The file of the same key whose outputs are current. Empty: this one is current again."""
    missing_columns: NotRequired[list[str]]
    suggestions: NotRequired[list[str]]
    """The first ones of the report, in words."""
    settled: NotRequired[bool]
    """All notices about the outcome have been sent."""


Item = Mapping[str, Any]


class UnreadableNotificationError(Exception):
    """A message is not a notification of S3."""


class LostError(Exception):
    """Another run has taken over the file, so this one must not change it any more."""


@dataclass(frozen=True)
class File:
    """One version of an object. `version` is empty in a bucket without versions."""

    bucket: str
    key: str
    version: str
    etag: str
    size: int
    record: Mapping[str, Any]
    """The record in the notification of S3."""
    wanted_generation: int = 0
    """The generation that `pipeline csv reprocess` asks for: an item of an earlier one is read again."""

    @property
    def id(self) -> str:
        """An id that each notification of the same content under the same key leads to: a repeated PUT has one effect.

        An ETag names the content, except where the uploader has S3 encrypt it with a key of KMS.
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html
        """
        parts = (self.bucket, self.key, self.etag)
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]

    @property
    def upload(self) -> Upload:
        """Return the time of the upload."""
        sequencer = self.record.get("s3", {}).get("object", {}).get("sequencer")
        return {"sequencer": str(sequencer or ""), "uploaded_at": str(self.record.get("eventTime") or "")}

    @property
    def is_folder(self) -> bool:
        """True for the marker that the S3 console creates for a folder."""
        return self.key.endswith("/") and self.size == 0

    def output_key(self, prefix: str, input_prefix: str, ending: str, generation: int = 0) -> str:
        """Return `processed/orders/may.csv/<id>.jsonl.gz` for `raw/orders/may.csv`. A very long name is cut."""
        readable = self.key.removeprefix(input_prefix).encode()[:READABLE_BYTES].decode(errors="ignore")
        again = f"-{generation}" if generation else ""
        return f"{prefix}{readable.strip('/')}/{self.id}{again}{ending}"


def read_notification(body: str) -> list[File]:
    """Return the files that a message announces, none for S3's test message. Raises UnreadableNotificationError.

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
        raise ValueError(f"an object cannot have {size} bytes")
    file = File(
        bucket=str(record["s3"]["bucket"]["name"]),
        key=unquote_plus(entity["key"], errors="strict"),
        version=str(entity.get("versionId") or ""),
        etag=str(entity["eTag"]),
        size=size,
        record=record,
        wanted_generation=int(record.get(REPROCESS, 0)),
    )
    for name in (file.bucket, file.key, file.version, file.etag):
        # Raises UnicodeEncodeError for half a surrogate pair, which JSON can express and no service stores.
        name.encode()
    return file


class FileTable:
    """The items of files, by id."""

    def __init__(self, name: str) -> None:
        self._table = Table(name)

    def claim(
        self, file: File, owner: str, *, now: int, until: int, started_at: str, expires_at: int
    ) -> FileItem | None:
        """Claim a file for a run. Returns its item; None if the file is done, or another run works on it."""
        return self._update(
            file.id,
            {
                "status": PROCESSING,
                "owner": owner,
                "lease_until": until,
                "expires_at": expires_at,
                **_keys(file),
            },
            "attribute_not_exists(id) OR (#status = :status AND lease_until < :now)",
            {"now": now, "none": 0, "one": 1, "started_at": started_at, **file.upload},
            more=(
                "attempts = if_not_exists(attempts, :none) + :one, started_at = if_not_exists(started_at, :started_at)"
                ", sequencer = if_not_exists(sequencer, :sequencer)"
                ", uploaded_at = if_not_exists(uploaded_at, :uploaded_at)"
            ),
        )

    def begin_again(
        self, file: File, seen: FileItem, owner: str, *, until: int, started_at: str, upload: Upload
    ) -> FileItem | None:
        """Claim a file that is done as its next generation. Returns None if another run was quicker."""
        generation = seen.get("generation", 0)
        as_seen = "generation = :seen" if "generation" in seen else "attribute_not_exists(generation)"
        previous = sorted({*seen.get("previous_outputs", ()), *outputs_of(seen)})
        begun = {"status": PROCESSING, "owner": owner, "lease_until": until, "attempts": 1, "started_at": started_at}
        kept = {"generation": generation + 1, "previous_outputs": previous, **_keys(file), **upload}
        return self._update(
            file.id,
            {**begun, **kept},
            f"#status = :before AND settled = :true AND {as_seen}",
            {"before": seen["status"], "true": True, **({"seen": generation} if "generation" in seen else {})},
            remove=_OF_THE_END,
        )

    def read(self, file_id: str) -> FileItem | None:
        """Return the item of a file, strongly consistent."""
        return cast("FileItem | None", self._table.item({"id": file_id}))

    def checkpoint(self, file_id: str, owner: str, place: Item, *, keep: bool) -> None:
        """Record a Checkpoint; with `keep` the run goes on. Raises LostError."""
        released = {} if keep else {"lease_until": 0}
        self._owned(file_id, owner, {**place, **released, "attempts": 0})

    def release(self, file_id: str, owner: str, error: str) -> None:
        """Release a file after a failure, so that the next attempt need not wait for the lease. Raises LostError."""
        self._owned(file_id, owner, {"lease_until": 0, "error": error})

    def restart(self, file_id: str, owner: str) -> None:
        """Remove a checkpoint that cannot be resumed. Raises LostError."""
        self._owned(file_id, owner, {"lease_until": 0}, remove=_CHECKPOINT)

    def finish(self, file_id: str, owner: str, outcome: Item) -> FileItem:
        """Record the outcome of a file. Returns its item. Raises LostError."""
        return self._owned(file_id, owner, {"error": None, **outcome, "settled": False, "lease_until": 0})

    def settle(self, file_id: str) -> None:
        """Record that all notices about the outcome have been sent."""
        self.note(file_id, {"settled": True})

    def note(self, file_id: str, facts: Item) -> None:
        """Record facts about a file that is done, if its item has not expired."""
        self._update(file_id, facts, "attribute_exists(id)", {})

    def claim_alert(self, cause: str, claimant: str) -> bool:
        """Claim the one alert of a cause and minute, for a file or a message; again, for one whose run died since."""
        now = int(time.time())
        minute = {"minute": now // 60, "file_id": claimant, "expires_at": now + ALERTS_KEPT_SECONDS}
        condition = "attribute_not_exists(id) OR #minute < :minute OR file_id = :file_id"
        return self._update(f"alert#{cause}", minute, condition, {}) is not None

    def pointer(self, file: File) -> Pointer | None:
        """Return the pointer to the current outputs of a file's key, strongly consistent."""
        return cast("Pointer | None", self._table.item({"id": _pointer_id(file)}))

    def point(self, file: File, pointer: Pointer, before: Pointer | None) -> bool:
        """Replace the pointer of a file's key. Returns False if it is no longer as it was `before`."""
        condition, values = "attribute_not_exists(id)", {}
        if before:
            # The key of a report holds the id of the file and its generation.
            condition = "report_key = :before AND sequencer = :order"
            values = {"before": before["report_key"], "order": before["sequencer"]}
        changes = {"bucket": file.bucket, "key": file.key, **pointer}
        return self._update(_pointer_id(file), changes, condition, values) is not None

    def _owned(self, file_id: str, owner: str, changes: Item, *, remove: Sequence[str] = ()) -> FileItem:
        condition = "#owner = :own AND #status = :processing"
        item = self._update(file_id, changes, condition, {"own": owner, "processing": PROCESSING}, remove=remove)
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
    ) -> FileItem | None:
        """Return the item after the update, None if the condition did not hold."""
        assignments = [f"#{name} = :{name}" for name in changes] + ([more] if more else [])
        removed = f" REMOVE {', '.join(f'#{name}' for name in remove)}" if remove else ""
        item = self._table.update(
            {"id": file_id},
            f"SET {', '.join(assignments)}{removed}",
            condition,
            names={*changes, *remove, *re.findall(r"#(\w+)", condition)},
            values={**changes, **values},
        )
        return cast("FileItem | None", item)


_CHECKPOINT = tuple(Checkpoint.__annotations__)
_OF_THE_END = (
    "completed_at", "processed", "rejected", "success_rate", "processed_key", "rejected_key", "report_key", "reason",
    "error", "failed_message_id", "removes", "is_current", "supersedes", "superseded_by", "missing_columns",
    "suggestions", "settled", *_CHECKPOINT,
)  # fmt: skip


def outputs_of(keys: Pointer | FileItem) -> list[str]:
    """Return the keys of the outputs that there are."""
    return [key for key in (keys.get("processed_key"), keys.get("rejected_key")) if key]


def _pointer_id(file: File) -> str:
    return f"current:{file.bucket}/{file.key}"


def _keys(file: File) -> FileKeys:
    return {name: getattr(file, name) for name in FileKeys.__annotations__}  # type: ignore[return-value]
