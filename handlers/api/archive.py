"""The archive: what became of each event, with the event, as gzipped JSON Lines in the bucket.

An object is named after the completions in it, so whatever is written again overwrites itself. An event has a line for
each time that it was completed: a redriven one has a `failed` line and a later one.
"""

import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from handlers.api.decisions import Delivery
from handlers.api.events import Envelope, as_text
from handlers.shared import aws
from handlers.shared.dynamodb import outside_errors
from handlers.shared.log import logger

PREFIX = "archive/"
ACCEPTED: Mapping[str, Any] = {"status": "queued", "attempts": 0}
# What the event's item says of its outcome, and so its line in the archive.
OUTCOME_ATTRIBUTES = ("status", "attempts", "completed_at", "error_type", "error")


@dataclass(frozen=True)
class Archived:
    """A line of the archive. `outcome` is empty in lines that releases before 2026-12 wrote."""

    envelope: Mapping[str, Any]
    outcome: Mapping[str, Any]


class UnreadableObjectError(Exception):
    """An object below `archive/` is not one of the archive, or is damaged."""


def keep(bucket: str, deliveries: Sequence[Delivery]) -> None:
    """Append events that are done to the archive: an object for each type and hour of arrival.

    What cannot be written is `untold`: its message returns, finds its event done, and is archived then.
    """
    groups: dict[str, list[Delivery]] = {}
    for delivery in deliveries:
        if delivery.stored is not None:
            groups.setdefault(folder(vars(delivery.event)), []).append(delivery)

    def put(members: list[Delivery]) -> None:
        try:
            _put(bucket, [(each.event, each.stored or {}) for each in members])
        except outside_errors():
            logger.warning("events were not archived; their messages return to the queue", exc_info=True)
            for each in members:
                each.untold = True

    aws.each(put, groups.values())


def accept(bucket: str, envelopes: Sequence[Envelope]) -> None:
    """Append events that were accepted to the archive, to outlive their messages. Raises botocore's errors."""
    groups: dict[str, list[tuple[Envelope, Mapping[str, Any]]]] = {}
    for envelope in envelopes:
        groups.setdefault(folder(vars(envelope)), []).append((envelope, ACCEPTED))
    aws.each(lambda members: _put(bucket, members), groups.values())


def _put(bucket: str, members: Sequence[tuple[Envelope, Mapping[str, Any]]]) -> None:
    """Write an object with the lines of events of one folder, with their outcomes."""
    name = object_name([(event.id, outcome.get("completed_at") or "") for event, outcome in members])
    lines = "".join(as_text(_line(event, outcome)) + "\n" for event, outcome in members)
    aws.client("s3").put_object(
        Bucket=bucket,
        Key=f"{folder(vars(members[0][0]))}/{name}.jsonl.gz",
        # Without a time in it, the same completions are the same bytes.
        Body=gzip.compress(lines.encode(), mtime=0),
        ContentType="application/gzip",
    )


def folder(event: Mapping[str, Any]) -> str:
    """Return the Hive partition of an envelope or an item: `archive/type=…/dt=YYYY-MM-DD/hour=HH`."""
    day, hour = event["received_at"][:10], event["received_at"][11:13]
    return f"{PREFIX}type={quote(event['type'], safe='')}/dt={day}/hour={hour}"


def object_name(completions: Sequence[tuple[str, str]]) -> str:
    """Return the name, without its folder, of the object that has these completions: ids and times."""
    return hashlib.sha256("".join(sorted(map("".join, completions))).encode()).hexdigest()[:32]


def lines(body: bytes) -> Iterator[Archived]:
    """Return the lines of an object, of this release or of an earlier one. Raises UnreadableObjectError."""
    if not body:
        raise UnreadableObjectError("it is empty")
    try:
        for text in gzip.decompress(body).splitlines():
            line = json.loads(text)
            # Before 2026-12 it was the object itself, which readers without case cannot read (docs/archive.md).
            data = json.loads(line["data"]) if isinstance(line["data"], str) else line["data"]
            outcome = {name: line.pop(name) for name in OUTCOME_ATTRIBUTES if name in line}
            yield Archived({**line, "data": data}, outcome)
    except (OSError, EOFError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UnreadableObjectError(f"{type(error).__name__}: {error}"[:200]) from error


def _line(envelope: Envelope, stored: Mapping[str, Any]) -> Mapping[str, Any]:
    outcome = {name: stored.get(name) for name in OUTCOME_ATTRIBUTES}
    # As text: names that differ only in case, and types that change, are no trouble to a reader of columns.
    return {**vars(envelope), **outcome, "data": as_text(envelope.data)}
