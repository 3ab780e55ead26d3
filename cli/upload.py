"""`pipeline upload`: a file into a csv stack's bucket, and the report on it."""

import json
import time
from collections.abc import Mapping
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import boto3
from boto3.exceptions import S3UploadFailedError
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.progress import Progress

from cli.core.errors import one_line
from cli.core.json_text import write_json
from cli.core.stack import Stack
from cli.core.suggestions import suggest
from cli.core.terminal import label
from cli.csv_files import progress
from cli.file_report import show_report
from components.options.csv import CsvPipelineConfig
from handlers.csv.files import PROCESSING, SUCCEEDED, File
from handlers.shared.dynamodb import plain
from handlers.shared.keys import has_suffix
from handlers.shared.times import timestamp
from local.errors import LocalError

POLL_SECONDS = 0.2


def run_upload(path: str, stack: str, key: str | None, timeout: timedelta, *, as_json: bool) -> int:
    """Upload a file, wait for its report and print it. Return 1 when the file failed or has rejected rows."""
    file, target = Path(path), Stack(stack)
    if not file.is_file():
        raise LocalError(f"{path}: there is no such file")
    wanted = target.config_as(CsvPipelineConfig).input
    prefix, suffixes = wanted.prefix, " ".join(wanted.suffixes)
    key = key or prefix + file.name
    if not key.startswith(prefix) or not has_suffix(key, suffixes):
        ending = f" and end with {' or '.join(wanted.suffixes)} (input.suffixes)" if suffixes else ""
        raise LocalError(f"--key {key!r}: must begin with {prefix}{ending}")
    report, report_key = upload(file, target, key, timeout)
    if as_json:
        write_json(report)
    else:
        show_report({**report, "report_key": report_key}, Console())
    return int(report["status"] != SUCCEEDED or report["rejected"] > 0)


def upload(file: Path, stack: Stack, key: str, timeout: timedelta) -> tuple[Mapping[str, Any], str]:
    """Upload a file and return its report and the report's key. Raises LocalError when it is not done in time."""
    bucket, table, output_bucket = map(stack.output, ("input_bucket", "table_name", "output_bucket"))
    stack.aim_aws_clients()
    errors = Console(stderr=True)
    try:
        s3 = boto3.client("s3")
        file_id, uploaded_at = _upload(s3, file, bucket, key, errors)
        item = _wait(table, file_id, uploaded_at, timeout, errors)
        if _is_old(item, uploaded_at):
            again = suggest("csv", "reprocess", "--key", key, "--stack", stack.name)
            old = f"the same content was uploaded before; this is the report of {item['completed_at']['S']}"
            errors.print(f"{old}. To read it again: {again}", markup=False, highlight=False, soft_wrap=True)
        report_key = item["report_key"]["S"]
        return json.loads(s3.get_object(Bucket=output_bucket, Key=report_key)["Body"].read()), report_key
    except (BotoCoreError, ClientError, S3UploadFailedError) as error:
        raise LocalError(f"{key}: {one_line(error)}") from error


def _upload(s3: Any, file: Path, bucket: str, key: str, errors: Console) -> tuple[str, str]:
    """Upload a file. Return the id that the worker gives it, and S3's time in whole seconds."""
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task(f"uploading {label(file.name)}", total=file.stat().st_size)
        s3.upload_file(str(file), bucket, key, Callback=lambda sent: progress.advance(task, sent))
    head = s3.head_object(Bucket=bucket, Key=key)
    version = head.get("VersionId", "")
    file_id = File(bucket, key, "" if version == "null" else version, head["ETag"].strip('"'), 0, {}).id
    return file_id, timestamp(head["LastModified"].astimezone(UTC))


def _is_old(item: Mapping[str, Any], uploaded_at: str) -> bool:
    """Return True if a file was done before it was uploaded: its content is that of an earlier upload."""
    return str(item["completed_at"]["S"]) < uploaded_at


def _is_read_again(item: Mapping[str, Any], uploaded_at: str) -> bool:
    """Return True if the worker reads an earlier upload's content again: it failed, was not read, or has no outputs."""
    removed = item.get("removes", {}).get("L", ())
    is_removed = any(item.get(name) in removed for name in ("processed_key", "rejected_key"))
    return (item["status"]["S"] != SUCCEEDED or is_removed) and _is_old(item, uploaded_at)


def _wait(table: str, file_id: str, uploaded_at: str, timeout: timedelta, errors: Console) -> dict[str, Any]:
    """Return the file's item once it is done, again if it is read again. Raises LocalError when it is not in time."""
    dynamodb = boto3.client("dynamodb")
    deadline = time.monotonic() + timeout.total_seconds()
    with errors.status("waiting for the worker") as status:
        while time.monotonic() < deadline:
            item: dict[str, Any] = dynamodb.get_item(
                TableName=table, Key={"id": {"S": file_id}}, ConsistentRead=True
            ).get("Item", {})
            if item and item["status"]["S"] != PROCESSING and not _is_read_again(item, uploaded_at):
                return item
            if item and (far := progress(plain(item))):
                status.update(f"waiting for the worker: {far}")
            time.sleep(POLL_SECONDS)
    raise LocalError(
        f"the file {file_id} is not done after {timeout.total_seconds():g} seconds; "
        f"its item in the table {table} shows its progress"
    )
