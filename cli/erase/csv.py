"""Everything that a csv stack keeps of an uploaded file, in all versions of its key."""

import re
import time
from functools import partial

import boto3

from cli.core.removal import Version, versions_of
from cli.core.stack import Stack
from cli.erase.plan import Plan, items_step, letters_step, objects_step
from components.options.csv import CsvPipelineConfig
from handlers.csv.files import PROCESSING, READABLE_BYTES, File, UnreadableNotificationError, read_notification
from handlers.csv.run import PROCESSED, REJECTED, REPORTS, STATE
from handlers.shared.letters import Letter
from local.errors import LocalError

# `<id>.jsonl.gz`, `<id>-1.parquet`: handlers/csv/files.py (`File.output_key`).
_output = re.compile(r"([0-9a-f]{32})(?:-\d+)?\.[a-z.]+").fullmatch


def plan(stack: Stack, key: str) -> Plan:
    """Return the plan for a key. Raises LocalError if it is none of an upload, or if a file of it is being read."""
    prefix = stack.config_as(CsvPipelineConfig).input.prefix
    if not key.startswith(prefix):
        raise LocalError(f"{key!r} is no key of an upload: they begin with {prefix} (input.prefix)")
    inputs, bucket, table = (stack.output(name) for name in ("input_bucket", "output_bucket", "table_name"))
    uploads = [each for each in versions_of(inputs, key) if each.key == key]
    # A file is known by its ETag; items of former releases by its version.
    marks = {mark for each in uploads for mark in (each.id, each.etag) if mark}
    files = {File(inputs, key, "", mark, 0, {}).id for mark in marks}
    # The names of very long keys are cut, so that files of several keys can be in a folder.
    is_cut = len(key.removeprefix(prefix).encode()) > READABLE_BYTES
    outputs = _outputs(bucket, key, prefix)
    if is_cut:
        outputs = {version: file_id for version, file_id in outputs.items() if file_id in files}
    files |= set(outputs.values())
    states = [version for file_id in sorted(files) for version in versions_of(bucket, f"{STATE}{file_id}/")]
    letters, left = letters_step(stack.output("dead_letter_queue_url"), partial(_announces, inputs, key))
    items = [item_id for item_id in (*sorted(files), f"current:{inputs}/{key}") if _is_there(table, item_id)]
    if is_cut:
        left.append("outputs of versions of this long key that were overwritten: their names are cut; they expire")
    return Plan(
        [
            items_step("items", table, [{"id": item_id} for item_id in items]),
            letters,
            objects_step("outputs", [*states, *outputs]),
            objects_step("uploads", uploads),
        ],
        left,
    )


def _outputs(bucket: str, key: str, input_prefix: str) -> dict[Version, str]:
    """Return the outputs of a key, with the ids of their files."""
    found = {}
    for prefix in (PROCESSED, REJECTED, REPORTS):
        folder = File("", key, "", "", 0, {}).output_key(prefix, input_prefix, "").rpartition("/")[0]
        for version in versions_of(bucket, f"{folder}/"):
            if match := _output(version.key.removeprefix(f"{folder}/")):
                found[version] = match[1]
    return found


def _announces(bucket: str, key: str, letter: Letter) -> bool:
    try:
        return any((file.bucket, file.key) == (bucket, key) for file in read_notification(letter.body))
    except UnreadableNotificationError:
        return False


def _is_there(table: str, item_id: str) -> bool:
    answer = boto3.client("dynamodb").get_item(TableName=table, Key={"id": {"S": item_id}}, ConsistentRead=True)
    item = answer.get("Item", {})
    if item.get("status", {}).get("S") == PROCESSING and int(item["lease_until"]["N"]) > time.time():
        raise LocalError(f"file {item_id} is being read: erase it when it is done")
    return bool(item)
