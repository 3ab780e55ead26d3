"""Uploaded objects, and the records of what was refused: objects in the bucket."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import sha256
from io import BytesIO
from typing import Any, Self
from urllib.parse import unquote_plus

from botocore.exceptions import ClientError

from handlers.iot.readings import Rejection, UnusableObjectError
from handlers.shared import aws

_READ_BYTES = 262_144
# Why an object can never be read, by S3's error code. MethodNotAllowed: the version only marks a deletion.
_UNREADABLE = {
    **dict.fromkeys(("NoSuchKey", "NoSuchVersion", "MethodNotAllowed"), "the object was deleted before it was read"),
    **dict.fromkeys(
        ("PreconditionFailed", "412"),
        "the object was overwritten before it was read, and the bucket keeps no versions; upload to a key of its own, "
        "or set storage.bucket_versioning",
    ),
    "InvalidObjectState": "the object is in an archive class and cannot be read",
}


@dataclass(frozen=True, slots=True)
class Upload:
    """One uploaded object, as S3 tells of it. `version` is empty in a bucket without versions, `etag` if S3 tells none.

    `id` is the upload's own: the same when S3 tells of it again, another when the key is written again.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
    """

    bucket: str
    key: str
    version: str
    etag: str
    arrived_at: datetime
    id: str

    @property
    def source(self) -> str:
        """As readings keep it: the key, `#`, and the version, or the ETag in a bucket without versions."""
        return f"{self.key}#{self.version or self.etag}"

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Of one record of a notification."""
        bucket, entry = record["s3"]["bucket"]["name"], record["s3"]["object"]
        identity = "\n".join((bucket, entry["key"], entry.get("versionId", ""), entry.get("sequencer", "")))
        return cls(
            bucket=bucket,
            # Keys are encoded as in a form: a space is a plus.
            key=unquote_plus(entry["key"]),
            version=entry.get("versionId", ""),
            etag=entry.get("eTag", ""),
            arrived_at=datetime.fromisoformat(record["eventTime"]),
            id=sha256(identity.encode()).hexdigest()[:32],
        )


def chunks(upload: Upload) -> Iterator[bytes]:
    """Yield an object's bytes, a piece at a time. Raises UnusableObjectError when it is no longer there.

    Without versions, an upload that was overwritten could only be read as the one that came after it.
    """
    which = {"VersionId": upload.version} if upload.version else {}
    if upload.etag:
        which["IfMatch"] = f'"{upload.etag}"'
    try:
        answer = aws.client("s3").get_object(Bucket=upload.bucket, Key=upload.key, **which)
    except ClientError as error:
        if reason := _UNREADABLE.get(error.response["Error"]["Code"]):
            raise UnusableObjectError(reason) from error
        raise
    with closing(answer["Body"]) as body:
        yield from body.iter_chunks(_READ_BYTES)


def put_rejections(bucket: str, upload: Upload, rejections: Sequence[Rejection]) -> str:
    """Records what was refused of an object, a JSON line each; returns the key. The same upload overwrites its own.

    A line: `{"object", "version", "position", "reason", "text", "metrics"}`; `position` is null for the whole object.
    """
    key = f"rejected/{upload.arrived_at:%Y/%m/%d}/{upload.id}.jsonl"
    body = BytesIO()
    for line in _lines(upload, rejections):
        body.write(line.encode())
    body.seek(0)
    aws.client("s3").put_object(Bucket=bucket, Key=key, Body=body, ContentType="application/jsonl")
    return key


def _lines(upload: Upload, rejections: Iterable[Rejection]) -> Iterator[str]:
    whole = {"object": upload.key, "version": upload.version or None}
    return (json.dumps({**whole, **asdict(rejection)}) + "\n" for rejection in rejections)
