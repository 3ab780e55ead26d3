"""Everything that a csv stack keeps of an uploaded file, in all versions of its key."""

import re
import time
from functools import partial

import boto3

from cli.core.removal import Version, folders_of, versions_of
from cli.core.stack import Stack
from cli.erase.plan import Plan, items_step, letters_step, objects_step
from components.options.csv import CsvPipelineConfig
from handlers.csv.files import PROCESSING, READABLE_BYTES, File, UnreadableNotificationError, read_notification
from handlers.csv.run import PROCESSED, REJECTED, REPORTS, STATE
from handlers.shared.letters import Letter
from local.errors import LocalError

# `<id>.jsonl.gz`, `<id>-1.parquet`, after a mark and a hyphen: handlers/csv/files.py (`File.output_key`).
_output = re.compile(r"([0-9a-f]{32})(?:-\d+)?\.[a-z.]+").fullmatch
_DAY = (r"\d{4}/", r"\d\d/", r"\d\d/")


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
    # Former releases cut the names of very long keys, so that files of several keys can be in a folder.
    is_cut = len(key.removeprefix(prefix).encode()) > READABLE_BYTES
    upload = File(inputs, key, "", "", 0, {})
    former = _former_outputs(bucket, upload, prefix)
    if is_cut:
        former = {version: file_id for version, file_id in former.items() if file_id in files}
    outputs = former | _outputs(bucket, upload)
    files |= set(outputs.values())
    states = [version for file_id in sorted(files) for version in versions_of(bucket, f"{STATE}{file_id}/")]
    letters, left = letters_step(stack.output("dead_letter_queue_url"), partial(_announces, inputs, key))
    items = [item_id for item_id in (*sorted(files), f"current:{inputs}/{key}") if _is_there(table, item_id)]
    if is_cut:
        left.append("outputs of a former release, of versions of this long key that were overwritten; they expire")
    return Plan(
        [
            items_step("items", table, [{"id": item_id} for item_id in items]),
            letters,
            objects_step("outputs", [*states, *outputs]),
            objects_step("uploads", uploads),
        ],
        left,
    )


def _outputs(bucket: str, upload: File) -> dict[Version, str]:
    """Return the outputs of a key, with the ids of their files. It lists each day of which there are outputs."""
    found: dict[Version, str] = {}
    for prefix in (PROCESSED, REJECTED, REPORTS):
        for day in _days(bucket, prefix):
            found |= _named(bucket, f"{day}{upload.key_mark}-")
    return found


def _former_outputs(bucket: str, upload: File, input_prefix: str) -> dict[Version, str]:
    """Return the outputs of a key that former releases stored in a folder of its name."""
    found: dict[Version, str] = {}
    for prefix in (PROCESSED, REJECTED, REPORTS):
        found |= _named(bucket, upload.former_output_key(prefix, input_prefix, "").rpartition("/")[0] + "/")
    return found


def _named(bucket: str, start: str) -> dict[Version, str]:
    """Return the objects whose keys go on from `start` with a file's id and an ending, with the id."""
    matches = ((version, _output(version.key.removeprefix(start))) for version in versions_of(bucket, start))
    return {version: match[1] for version, match in matches if match}


def _days(bucket: str, prefix: str) -> list[str]:
    """Return the folders of days below a prefix: `processed/2026/11/21/`."""
    folders = [prefix]
    for part in _DAY:
        below = ((folder, each) for folder in folders for each in folders_of(bucket, folder))
        folders = [each for folder, each in below if re.fullmatch(part, each.removeprefix(folder))]
    return folders


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
