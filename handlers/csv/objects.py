"""Large objects: reading one as a stream, writing one in parts, and the state of a file that is not done.

Parts: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html (5 MiB at least, 10,000 at most).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from handlers.csv.files import File
from handlers.csv.text import FileError
from handlers.shared import aws

READ_ATTEMPTS = 3
SMALLEST_PART_BYTES = 5 * 2**20
# So that 10,000 parts make 250 GB, and a file of usual size needs little memory.
PARTS_OF_A_SIZE = 2_000
LARGEST_PART_BYTES = 32 * 2**20


class SkippedError(Exception):
    """The object is not read: `reason` is `missing`, `superseded` or `unknown_suffix`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class UploadLostError(Exception):
    """A multipart upload that a checkpoint names is not there any more, and its object is not, either."""


class Source:
    """The bytes of a file's very version from an offset on. A connection that breaks is made again from where it broke.

    Raises SkippedError, FileError and botocore's errors.
    """

    def __init__(self, file: File, offset: int = 0) -> None:
        self._file = file
        self.offset = offset
        """Bytes of the object that were read, or skipped."""
        self._body = self._open()

    def read(self, size: int) -> bytes:
        """The next bytes, `size` at most; b"" at the end."""
        for attempt in range(READ_ATTEMPTS):
            try:
                data: bytes = self._body.read(size)
            except BotoCoreError:
                if attempt == READ_ATTEMPTS - 1:
                    raise
                self._body = self._open()
            else:
                self.offset += len(data)
                return data
        raise AssertionError("the last attempt returns or raises")

    def _open(self) -> Any:
        file = self._file
        version = {"VersionId": file.version} if file.version else {}
        # A range that begins at the end is refused.
        part = {"Range": f"bytes={self.offset}-"} if self.offset else {}
        try:
            answer = aws.client("s3").get_object(
                Bucket=file.bucket, Key=file.key, IfMatch=f'"{file.etag}"', **version, **part
            )
        except ClientError as error:
            match error.response["Error"]["Code"]:
                case "NoSuchKey" | "NoSuchVersion" | "NoSuchBucket" | "404" | "MethodNotAllowed":
                    raise SkippedError("missing", "the object was deleted before it was read") from error
                case "PreconditionFailed" | "412":
                    raise SkippedError("superseded", "the object was replaced before it was read") from error
                case "InvalidObjectState":
                    raise FileError("archived", "the object is in an archive class and cannot be read") from error
                case "InvalidRange" | "416" if self.offset:
                    return _Nothing()
                case _:
                    raise
        return answer["Body"]


class _Nothing:
    def read(self, _size: int) -> bytes:
        return b""


class ObjectWriter:
    """Writes one object; nothing can be seen of it before `finish`. Small ones are put, larger ones go up in parts.

    Parts are cut by bytes alone: a run that goes on from `state` and `rest`, or repeats a part, makes the same parts.
    """

    def __init__(
        self,
        bucket: str,
        key: str,
        content_type: str,
        state: Mapping[str, Any] | None = None,
        rest: bytes = b"",
    ) -> None:
        self._target = {"Bucket": bucket, "Key": key}
        self._content_type = content_type
        self.key = key
        self._upload_id: str | None = state["upload_id"] if state else None
        self._etags: list[str] = list(state["etags"]) if state else []
        self._rest = bytearray(rest)

    def write(self, data: bytes) -> None:
        """Takes more bytes. Raises UploadLostError and botocore's errors."""
        self._rest += data
        while len(self._rest) > (size := self._part_bytes()):
            self._upload(bytes(self._rest[:size]))
            del self._rest[:size]

    @property
    def is_in_parts(self) -> bool:
        """Return True if a multipart upload was started."""
        return self._upload_id is not None

    @property
    def rest(self) -> bytes:
        """Bytes that are not in any part yet."""
        return bytes(self._rest)

    def state(self) -> dict[str, Any]:
        """With `rest`, all that is needed to go on."""
        return {"upload_id": self._upload_id, "etags": self._etags}

    def finish(self, end: bytes = b"") -> bool:
        """Makes the object, with `end` as its last bytes; False when there are none at all. Raises UploadLostError."""
        client = aws.client("s3")
        try:
            self.write(end)
            if self._upload_id is None:
                if not self._rest:
                    return False
                client.put_object(**self._target, Body=bytes(self._rest), ContentType=self._content_type)
                return True
            self._upload(bytes(self._rest))
            parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(self._etags, 1)]
            client.complete_multipart_upload(**self._target, UploadId=self._upload_id, MultipartUpload={"Parts": parts})
        except (UploadLostError, client.exceptions.NoSuchUpload):
            # An earlier run may have come so far and died. Its object has the same bytes: the key holds the file's id.
            if not self._exists():
                raise UploadLostError(f"the upload of {self.key} is gone") from None
        return True

    def abort(self) -> None:
        """Gives up what went up. What this misses, the bucket's lifecycle deletes."""
        client = aws.client("s3")
        if self._upload_id is not None:
            try:
                client.abort_multipart_upload(**self._target, UploadId=self._upload_id)
            except client.exceptions.NoSuchUpload:
                self._upload_id = None

    def _part_bytes(self) -> int:
        steps = len(self._etags) // PARTS_OF_A_SIZE
        return min(SMALLEST_PART_BYTES << steps, LARGEST_PART_BYTES)

    def _upload(self, data: bytes) -> None:
        client = aws.client("s3")
        if self._upload_id is None:
            answer = client.create_multipart_upload(**self._target, ContentType=self._content_type)
            self._upload_id = answer["UploadId"]
        try:
            answer = client.upload_part(
                **self._target, UploadId=self._upload_id, PartNumber=len(self._etags) + 1, Body=data
            )
        except client.exceptions.ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchUpload":
                raise UploadLostError(f"the upload of {self.key} is gone") from error
            raise
        self._etags.append(answer["ETag"])

    def _exists(self) -> bool:
        client = aws.client("s3")
        try:
            client.head_object(**self._target)
        except client.exceptions.ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:  # noqa: PLR2004
                return False
            raise
        return True


def put_state(bucket: str, key: str, state: Mapping[str, Any], rests: Sequence[bytes]) -> None:
    """Stores the state of an unfinished file: a line of JSON, then what no part holds yet of each output."""
    header = json.dumps({"state": state, "rests": [len(rest) for rest in rests]}).encode()
    body = b"".join([header, b"\n", *rests])
    aws.client("s3").put_object(Bucket=bucket, Key=key, Body=body, ContentType="application/octet-stream")


def get_state(bucket: str, key: str) -> tuple[dict[str, Any], list[bytes]]:
    """Return the state stored by `put_state`."""
    header, _, body = aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().partition(b"\n")
    content = json.loads(header)
    rests, start = [], 0
    for length in content["rests"]:
        rests.append(body[start : start + length])
        start += length
    return content["state"], rests


def put_report(bucket: str, key: str, report: Mapping[str, Any]) -> None:
    """Stores a report as JSON."""
    body = json.dumps(report, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace")
    aws.client("s3").put_object(Bucket=bucket, Key=key, Body=body, ContentType="application/json")


def remove(bucket: str, keys: Iterable[str]) -> None:
    """Delete objects; those that are not there are deleted already."""
    for key in keys:
        aws.client("s3").delete_object(Bucket=bucket, Key=key)
