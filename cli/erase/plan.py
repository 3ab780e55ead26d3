"""Plans of an erasure: the places, and how each is emptied."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import boto3

from cli.core.removal import Version, purge_chosen, remove_item, versions_of
from handlers.shared.letters import Letter


@dataclass(frozen=True)
class Step:
    """A place, and how many things are there."""

    place: str
    found: int
    erase: Callable[[], object]


@dataclass(frozen=True)
class Plan:
    """The steps in order, and what cannot be erased, with the reason."""

    steps: Sequence[Step]
    left: Sequence[str] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Return how many things are in each place."""
        return {step.place: step.found for step in self.steps}

    @property
    def is_empty(self) -> bool:
        """Return True if there is nothing."""
        return not any(self.counts.values()) and not self.left


def objects_step(place: str, versions: Sequence[Version]) -> Step:
    """Return the removal of versions of objects. Marks of deletion are not counted."""

    def erase() -> None:
        for version in versions:
            version.remove()

    return Step(place, sum(not version.is_marker for version in versions), erase)


def lines_step(place: str, bucket: str, prefix: str, without: Callable[[bytes], bytes]) -> tuple[Step, list[str]]:
    """Return the removal of lines from objects with lines of others, and the objects that cannot be read.

    `without` returns an object without the lines.
    """
    changed, left = [], []
    for version in versions_of(bucket, prefix):
        if version.is_marker:
            continue
        content = version.read()
        try:
            kept = without(content)
        except (OSError, EOFError, ValueError, TypeError, KeyError):
            left.append(f"{version.key}, which cannot be read")
            continue
        if kept != content:
            changed.append((version, kept))

    def erase() -> None:
        for version, kept in changed:
            _replace(version, kept)

    return Step(place, len(changed), erase), left


def _replace(version: Version, kept: bytes) -> None:
    if not (kept and version.is_latest):
        version.remove()
        return
    s3 = boto3.client("s3")
    kind = s3.head_object(Bucket=version.bucket, Key=version.key)["ContentType"]
    written = s3.put_object(Bucket=version.bucket, Key=version.key, Body=kept, ContentType=kind)
    # In a bucket without versions it has replaced the old one.
    if written.get("VersionId", version.id) != version.id:
        version.remove()


def items_step(place: str, table: str, keys: Sequence[dict[str, str]]) -> Step:
    """Return the removal of items by their keys, all of texts."""

    def erase() -> None:
        for key in keys:
            remove_item(table, {name: {"S": value} for name, value in key.items()})

    return Step(place, len(keys), erase)


def letters_step(url: str, is_chosen: Callable[[Letter], bool]) -> tuple[Step, list[str]]:
    """Return the removal of chosen dead letters, and what is left if some could not be seen."""
    seen = purge_chosen(url, is_chosen, dry_run=True)
    left = [] if seen.complete else ["dead letters that another command, a console or the reconciler hides"]
    return Step("dead letters", sum(seen.by_error.values()), partial(purge_chosen, url, is_chosen, dry_run=False)), left
