"""`pipeline csv reprocess`: have a stack read uploaded files again, after a rule was fixed."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus

from botocore.exceptions import BotoCoreError, ClientError

from cli.core.errors import one_line
from cli.core.json_text import write_json
from cli.core.removal import Version, versions_of
from cli.core.stack import Stack
from cli.core.terminal import inert, write_lines
from components.options.csv import CsvPipelineConfig
from handlers.csv.files import REPROCESS, File
from handlers.shared import queues
from handlers.shared.aws import chunks
from handlers.shared.dynamodb import Table
from handlers.shared.keys import has_suffix
from handlers.shared.times import timestamp
from local.errors import LocalError

FILES_A_STEP = 100


def run_csv_reprocess(
    stack: str, key: str | None, prefix: str | None, since: datetime | None, *, dry_run: bool, as_json: bool
) -> int:
    """Send the newest version of each object to the queue, to be read as its file's next generation. Print the keys.

    Return 1 if there is no such object.
    """
    if key is None and prefix is None and since is None:
        raise LocalError("csv reprocess needs --key, --prefix or --since")
    if key is not None and (prefix is not None or since is not None):
        raise LocalError("--key names one file; leave --prefix and --since out")
    target = Stack(stack)
    wanted = target.config_as(CsvPipelineConfig).input
    bucket, table, queue_url = map(target.output, ("input_bucket", "table_name", "queue_url"))
    target.aim_aws_clients()
    suffixes = " ".join(wanted.suffixes)
    below = key if key is not None else prefix if prefix is not None else wanted.prefix
    if not below.startswith(wanted.prefix):
        raise LocalError(f"{below!r} must begin with {wanted.prefix} (input.prefix)")
    sent: list[str] = []
    try:
        found = (
            each
            for each in versions_of(bucket, below)
            # In a bucket without versions there is only the latest.
            if each.is_latest
            and not each.is_marker
            and (key is None or each.key == key)
            and (since is None or each.modified_at >= since)
            and has_suffix(each.key, suffixes)
        )
        for part in chunks(list(found), FILES_A_STEP):
            if not dry_run:
                _send(queue_url, _messages(table, part), len(sent))
            sent += [each.key for each in part]
    except (BotoCoreError, ClientError) as error:
        raise LocalError(one_line(error)) from error
    if as_json:
        write_json({"dry_run": dry_run, "keys": sent})
    else:
        what = "would be read again" if dry_run else "will be read again"
        write_lines([*map(inert, sent), f"{len(sent)} files {what}"])
    return int(not sent)


def _messages(table: str, objects: Sequence[Version]) -> list[queues.Outgoing]:
    files = [_file(each) for each in objects]
    items = {item["id"]: item for item in Table(table).get([{"id": file.id} for file in files], ("id", "generation"))}
    return [_message(file, items.get(file.id)) for file in files]


def _file(found: Version) -> File:
    version = "" if found.id == "null" else found.id
    entity = {"key": quote_plus(found.key), "size": found.size, "eTag": found.etag, "versionId": version}
    uploaded_at = timestamp(found.modified_at.astimezone(UTC))
    record = {"eventTime": uploaded_at, "s3": {"bucket": {"name": found.bucket}, "object": entity}}
    return File(found.bucket, found.key, version, found.etag, found.size, record)


def _message(file: File, item: dict[str, Any] | None) -> queues.Outgoing:
    # Of a file whose item has expired the worker knows nothing, and reads it as a new one.
    generation = item.get("generation", 0) + 1 if item else 0
    return queues.Outgoing(json.dumps({"Records": [{**file.record, REPROCESS: generation}]}), {})


def _send(queue_url: str, messages: Sequence[queues.Outgoing], before: int) -> None:
    arrived = queues.send(queue_url, messages)
    if not all(arrived):
        done = before + sum(arrived)
        raise LocalError(f"the queue took {done} messages and refused others; run the command again")
