"""Uploaded files: notifications of S3, and the items that say what became of each file."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict
from urllib.parse import unquote_plus

PROCESSING, SUCCEEDED, FAILED, SKIPPED = "processing", "succeeded", "failed", "skipped"
# Of a name in keys of outputs of former releases: S3 limits keys to 1,024 bytes.
READABLE_BYTES = 800
# What `pipeline csv reprocess` adds to a record.
REPROCESS = "reprocess_as_generation"
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
MAXIMUM_OBJECT_BYTES = 50 * 1024**4
DAY_INDEX = "by-day"


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


class Progress(TypedDict):
    """How far the runs over a file are, for people: what a run does not resume from."""

    rows_so_far: int
    bytes_so_far: int
    """Bytes of the object, which may be compressed: its share of `size` is done."""


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
    day: str
    """That of `started_at`, in UTC. With `status_time` the key of the index by which files are listed."""
    status_time: str
    """`processing#<started_at>`, `succeeded#<completed_at>` and so on."""
    expires_at: int
    """Epoch seconds."""
    owner: str
    """The run that works on the file while it is `processing`."""
    lease_until: int
    """Epoch seconds. A run cannot outlive it."""
    state_key: NotRequired[str]
    offset: NotRequired[int]
    rows: NotRequired[int]
    rows_so_far: NotRequired[int]
    bytes_so_far: NotRequired[int]
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

    @property
    def key_mark(self) -> str:
        """A mark of the bucket and the key, by which outputs of an upload are found without its versions and items."""
        return hashlib.sha256(f"{self.bucket}\0{self.key}".encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def output_key(self, prefix: str, started_at: str, ending: str, generation: int = 0) -> str:
        """Return `processed/2026/11/21/<mark>-<id>-1.jsonl.gz` for the generation 1 that was begun on that day, in UTC.

        The name of the upload is not in it: readers take `date=x.csv/` for a column, and ignore what begins with `_` or
        `.`.
        """
        again = f"-{generation}" if generation else ""
        return f"{prefix}{started_at[:10].replace('-', '/')}/{self.key_mark}-{self.id}{again}{ending}"

    def former_output_key(self, prefix: str, input_prefix: str, ending: str, generation: int = 0) -> str:
        """Return the key that former releases would have used: `processed/orders/may.csv/<id>.jsonl.gz`."""
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


def outputs_of(keys: Pointer | FileItem) -> list[str]:
    """Return the keys of the outputs that there are."""
    return [key for key in (keys.get("processed_key"), keys.get("rejected_key")) if key]
