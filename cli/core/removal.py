"""Removal of chosen objects, items and dead letters, and of nothing else."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import boto3

from handlers.shared.dead_letters import DeadLetters
from handlers.shared.letters import UNKNOWN, Cause, Explain, Letter, Wanted
from handlers.shared.passes import Pass

LETTERS, SECONDS = 1_000, 30
# Of a dead letter that is to be removed.
CHOSEN = "chosen"


@dataclass(frozen=True)
class Version:
    """A version of an object, or a mark that it was deleted."""

    bucket: str
    key: str
    id: str
    etag: str = ""
    is_latest: bool = False
    is_marker: bool = False
    modified_at: Any = None
    size: int = 0

    def remove(self) -> None:
        """Delete it permanently."""
        boto3.client("s3").delete_object(Bucket=self.bucket, Key=self.key, VersionId=self.id)

    def read(self) -> bytes:
        """Return its content."""
        found = boto3.client("s3").get_object(Bucket=self.bucket, Key=self.key, VersionId=self.id)
        return bytes(found["Body"].read())


def versions_of(bucket: str, prefix: str) -> Iterator[Version]:
    """Yield all versions of the objects whose keys begin with a prefix."""
    for page in boto3.client("s3").get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
        for each in page.get("Versions", ()):
            yield Version(
                bucket,
                each["Key"],
                each["VersionId"],
                each["ETag"].strip('"'),
                each["IsLatest"],
                modified_at=each["LastModified"],
                size=each["Size"],
            )
        for mark in page.get("DeleteMarkers", ()):
            yield Version(bucket, mark["Key"], mark["VersionId"], is_latest=mark["IsLatest"], is_marker=True)


def folders_of(bucket: str, prefix: str) -> Iterator[str]:
    """Yield the folders right below a prefix, also those of deleted objects: `a/b/` for `a/`."""
    pages = boto3.client("s3").get_paginator("list_object_versions")
    for page in pages.paginate(Bucket=bucket, Prefix=prefix, Delimiter="/"):
        yield from (each["Prefix"] for each in page.get("CommonPrefixes", ()))


def remove_objects(bucket: str, key: str, *, below: bool = False) -> bool:
    """Delete an object, or with `below` all objects whose keys begin with `key`, in all versions.

    Returns True if there was any.
    """
    found = [version for version in versions_of(bucket, key) if below or version.key == key]
    for version in found:
        version.remove()
    return bool(found)


def remove_item(table: str, key: Mapping[str, Any]) -> None:
    """Delete an item by its key, in DynamoDB's form."""
    boto3.client("dynamodb").delete_item(TableName=table, Key=dict(key))


def remove_dead_letters(url: str, mark: str) -> None:
    """Delete the dead letters in whose body a mark stands; the others become visible again."""
    DeadLetters(url, choosing(lambda letter: mark in letter.body)).purge(Wanted(id=CHOSEN), LETTERS, SECONDS)


def purge_chosen(url: str, is_chosen: Callable[[Letter], bool], *, dry_run: bool) -> Pass:
    """Delete all chosen dead letters, or count them; the others become visible again."""
    letters, wanted, no_limit = DeadLetters(url, choosing(is_chosen)), Wanted(id=CHOSEN), float("inf")
    if dry_run:
        return letters.look(wanted, no_limit, no_limit)[1]
    return letters.purge(wanted, no_limit, no_limit)


def choosing(is_chosen: Callable[[Letter], bool]) -> Explain:
    """Return what gives chosen letters the id CHOSEN."""

    def explain(letters: Sequence[Letter]) -> list[Cause]:
        return [Cause(CHOSEN if is_chosen(letter) else None, UNKNOWN, None) for letter in letters]

    return explain
