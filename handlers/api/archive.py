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

    def put(group: tuple[str, list[Delivery]]) -> None:
        key, members = f"{group[0]}/{_name(group[1])}.jsonl.gz", group[1]
        lines = "".join(as_text(_line(each.event, each.stored or {})) + "\n" for each in members)
        try:
            # Without a time in it, the same completions are the same bytes.
            body = gzip.compress(lines.encode(), mtime=0)
            aws.client("s3").put_object(Bucket=bucket, Key=key, Body=body, ContentType="application/gzip")
        except outside_errors():
            logger.warning("events were not archived; their messages return to the queue", exc_info=True)
            for each in members:
                each.untold = True

    aws.each(put, groups.items())


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


def _name(deliveries: Sequence[Delivery]) -> str:
    return object_name([(each.event.id, (each.stored or {}).get("completed_at") or "") for each in deliveries])


def _line(envelope: Envelope, stored: Mapping[str, Any]) -> Mapping[str, Any]:
    outcome = {name: stored.get(name) for name in OUTCOME_ATTRIBUTES}
    # As text: names that differ only in case, and types that change, are no trouble to a reader of columns.
    return {**vars(envelope), **outcome, "data": as_text(envelope.data)}
