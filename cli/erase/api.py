"""Everything that an api stack keeps of an event."""

import gzip
import json
from functools import partial

import boto3

from cli.core.removal import versions_of
from cli.core.stack import Stack
from cli.erase.plan import Plan, items_step, letters_step, lines_step, objects_step
from handlers.api import archive
from handlers.api.events import Envelope, UnreadableMessageError, is_id
from handlers.shared.dynamodb import plain
from handlers.shared.letters import Letter
from local.errors import LocalError

DONE = ("succeeded", "failed")


def plan(stack: Stack, event_id: str) -> Plan:
    """Return the plan for an event. Raises LocalError if its message is still in the queue.

    Without an item, as after `storage.items_expire_after_days`, all results and the whole archive are looked through.
    """
    if not is_id(event_id):
        raise LocalError(f"{event_id!r} is no id of an event; an id is like 23e036cf-daab-30a2-7cfc-676fef2f3ce1")
    table, bucket = stack.output("table_name"), stack.output("bucket_name")
    found = boto3.client("dynamodb").get_item(TableName=table, Key={"id": {"S": event_id}}, ConsistentRead=True)
    item = plain(found.get("Item", {}))
    if item and item["status"] not in DONE:
        raise LocalError(f"event {event_id} is {item['status']}: its message is in the queue; erase it when it is done")
    day = f"{item['received_at'][:10].replace('-', '/')}/{event_id}.json" if item else ""
    results = [each for each in versions_of(bucket, f"results/{day}") if each.key.endswith(f"/{event_id}.json")]
    folder = f"{archive.folder(item)}/" if item else archive.PREFIX
    lines, unread = lines_step("archive", bucket, folder, partial(without_event, event_id))
    letters, left = letters_step(stack.output("dead_letter_queue_url"), partial(_is_of, event_id))
    return Plan(
        [
            lines,
            objects_step("results", results),
            letters,
            items_step("items", table, [{"id": event_id}] if item else []),
        ],
        [*left, *unread],
    )


def _is_of(event_id: str, letter: Letter) -> bool:
    try:
        return Envelope.from_message(letter.body).id == event_id
    except UnreadableMessageError:
        return False


def without_event(event_id: str, archived: bytes) -> bytes:
    """Return an object of the archive without the lines of an event; empty if there are no others."""
    lines = gzip.decompress(archived).splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["id"] != event_id]
    if len(kept) == len(lines):
        return archived
    return gzip.compress(b"".join(kept), mtime=0) if kept else b""
