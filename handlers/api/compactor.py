"""The scheduled function that merges the small objects of the archive, an object for each type and hour.

An hour is merged when it is over and has several small objects. The merged object is written first, and then the small
ones are deleted: S3 cannot swap them at once, and nothing may be missing in between. A reader who counts events, as
docs/archive.md says, sees no difference: lines that are there twice are equal. A run that dies halfway is made up for
by the next one, which merges what is left, and keeps each line once.
"""

import gzip
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import groupby
from typing import Any

from handlers.api import archive
from handlers.api.archive import UnreadableObjectError
from handlers.api.settings import CompactorSettings
from handlers.shared import aws
from handlers.shared.context import LambdaContext
from handlers.shared.log import logger

# An hour is left alone until its events are done, but for retries; what comes later is merged again.
SETTLED = timedelta(hours=2)
# Older hours get lines by redrives and replays only.
LOOKS_BACK = timedelta(days=35)
FEWEST_OBJECTS = 5
# A larger object, compressed, is not small.
SMALL_BYTES = 2_000_000
# Of a merged object, not compressed: it is in memory several times.
MERGED_BYTES = 64_000_000
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
KEYS_A_CALL = 1_000
# Reserved at the end of the function's time for one more object.
STOPPING_SECONDS = 60


@dataclass(frozen=True)
class Stored:
    """An object of the archive as S3 lists it."""

    key: str
    size: int
    etag: str

    @property
    def folder(self) -> str:
        """Its type and hour."""
        return self.key.rpartition("/")[0]


# Small objects of one hour, with what is in them.
Part = list[tuple[Stored, bytes]]


class Compactor:
    """Merges the objects of a bucket's archive."""

    def __init__(self, bucket: str) -> None:
        self._bucket = bucket
        self._s3 = aws.client("s3")

    def run(self, context: LambdaContext, now: datetime) -> dict[str, int]:
        """Merge what can be merged in the function's time. Returns how many objects became how many."""
        counts = {"merged": 0, "into": 0}
        for prefix in self._types():
            for _, hour in groupby(self._objects(prefix, now), lambda each: each.folder):
                small = [each for each in hour if each.size < SMALL_BYTES]
                if len(small) < FEWEST_OBJECTS:
                    continue
                for part in self._parts(small):
                    if context.get_remaining_time_in_millis() < STOPPING_SECONDS * 1_000:
                        return counts
                    if len(part) >= FEWEST_OBJECTS and self._merge(part):
                        counts["merged"] += len(part)
                        counts["into"] += 1
        return counts

    def _parts(self, small: Sequence[Stored]) -> Iterator[Part]:
        """Yield the objects in parts that fit into memory."""
        part: Part = []
        size = 0
        for some in aws.chunks(list(small), aws.CALLS_AT_ONCE):
            for each, body in zip(some, aws.each(self._read, some), strict=True):
                # What it takes uncompressed: https://www.rfc-editor.org/rfc/rfc1952#section-2.3.1 (ISIZE)
                this = int.from_bytes(body[-4:], "little")
                if not body or this > MERGED_BYTES:
                    continue
                if size + this > MERGED_BYTES:
                    yield part
                    part, size = [], 0
                part.append((each, body))
                size += this
        yield part

    def _read(self, stored: Stored) -> bytes:
        """Return an object; nothing for one that is gone: another run has merged it."""
        try:
            return bytes(self._s3.get_object(Bucket=self._bucket, Key=stored.key)["Body"].read())
        except aws.errors() as error:
            if aws.code(error) != "NoSuchKey":
                raise
            return b""

    def _merge(self, part: Part) -> bool:
        """Write one object for several, and delete them. Returns False if too few can be read, or any has changed."""
        folder = part[0][0].folder
        completions = {each.key: _completions(each, body) for each, body in part}
        part = [(each, body) for each, body in part if completions[each.key]]
        if len(part) < FEWEST_OBJECTS:
            return False
        everything = set().union(*completions.values())
        key = f"{folder}/{archive.object_name(list(everything))}.jsonl.gz"
        listed = {each.key: each.etag for page in self._pages(Prefix=f"{folder}/") for each in _stored(page)}
        if any(listed.get(each.key) != each.etag for each, _ in part):
            # Another run, or `pipeline erase`: what it took out must not come back.
            return False
        # After a run that died, it is there already.
        if completions.get(key) != everything:
            lines = {line: None for _, body in part for line in gzip.decompress(body).splitlines()}
            merged = gzip.compress(b"".join(line + b"\n" for line in lines), mtime=0)
            self._s3.put_object(Bucket=self._bucket, Key=key, Body=merged, ContentType="application/gzip")
        for some in aws.chunks([{"Key": each.key} for each, _ in part if each.key != key], KEYS_A_CALL):
            answer = self._s3.delete_objects(Bucket=self._bucket, Delete={"Objects": some, "Quiet": True})
            if refused := answer.get("Errors"):
                logger.error(
                    "merged objects were not deleted; the next run merges them again", extra={"refused": refused}
                )
        return True

    def _types(self) -> list[str]:
        pages = self._pages(Prefix=archive.PREFIX, Delimiter="/")
        return [str(each["Prefix"]) for page in pages for each in page.get("CommonPrefixes", ())]

    def _objects(self, prefix: str, now: datetime) -> Iterator[Stored]:
        """Yield the objects of hours that are settled, in order."""
        first, last = (f"{prefix}dt={at:%Y-%m-%d}/hour={at:%H}" for at in (now - LOOKS_BACK, now - SETTLED))
        for page in self._pages(Prefix=prefix, StartAfter=first):
            for each in _stored(page):
                if each.folder >= last:
                    return
                if each.key.endswith(".jsonl.gz"):
                    yield each

    def _pages(self, **given: str) -> Iterator[Mapping[str, Any]]:
        pages: Iterator[Mapping[str, Any]] = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, **given
        )
        return pages


def _stored(page: Mapping[str, Any]) -> Iterator[Stored]:
    for each in page.get("Contents", ()):
        yield Stored(each["Key"], each["Size"], each["ETag"])


def _completions(stored: Stored, body: bytes) -> set[tuple[str, str]]:
    """Return what an object has; nothing for one that is damaged, which is logged."""
    try:
        return {(line.envelope["id"], line.outcome.get("completed_at") or "") for line in archive.lines(body)}
    except (UnreadableObjectError, KeyError) as error:
        logger.error("an object of the archive cannot be read", extra={"key": stored.key, "reason": str(error)})
        return set()


@cache
def _compactor() -> Compactor:
    return Compactor(CompactorSettings.from_environment().bucket_name)


def handler(_event: Mapping[str, Any], context: LambdaContext) -> None:
    """Merge small objects. The Lambda entry point."""
    logger.info("small objects of the archive were merged", extra=_compactor().run(context, datetime.now(UTC)))
