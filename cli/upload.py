"""`pipeline upload`: a file into a csv stack's bucket, and what becomes of it."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import boto3
from boto3.exceptions import S3UploadFailedError
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.progress import Progress

from cli.csv_check import csv_config
from cli.outputs import aim_at, output
from cli.report import show_report
from cli.terminal import label
from components.options.csv import SUFFIXES
from handlers.csv.files import PROCESSING, SUCCEEDED, File
from local.errors import LocalError

POLL_SECONDS = 0.2


def run_upload(path: str, stack: str, key: str | None, timeout: float, *, as_json: bool) -> int:
    """Uploads a file, waits for its report and prints it. Returns 1 when the file failed or has rejected rows."""
    file = Path(path)
    if not file.is_file():
        raise LocalError(f"{path}: there is no such file")
    prefix = csv_config(stack).input.prefix
    key = key or prefix + file.name
    if not key.startswith(prefix) or not key.endswith(SUFFIXES):
        raise LocalError(f"--key {key!r}: files are keys that begin with {prefix} and end with {' or '.join(SUFFIXES)}")
    bucket, table = output(stack, "input_bucket"), output(stack, "table_name")
    output_bucket = output(stack, "output_bucket")
    aim_at(stack)
    errors = Console(stderr=True)
    try:
        s3 = boto3.client("s3")
        file_id = _upload(s3, file, bucket, key, errors)
        item = _wait(table, file_id, timeout, errors)
        report = json.loads(s3.get_object(Bucket=output_bucket, Key=item["report_key"]["S"])["Body"].read())
    except (BotoCoreError, ClientError, S3UploadFailedError) as error:
        raise LocalError(f"{key}: {' '.join(str(error).split())}") from error
    if as_json:
        sys.stdout.write(f"{json.dumps(report)}\n")
    else:
        show_report({**report, "report_key": item["report_key"]["S"]}, Console())
    return int(report["status"] != SUCCEEDED or report["rejected"] > 0)


def _upload(s3: Any, file: Path, bucket: str, key: str, errors: Console) -> str:
    """Uploads, and returns the id that the worker gives the file."""
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task(f"uploading {label(file.name)}", total=file.stat().st_size)
        s3.upload_file(str(file), bucket, key, Callback=lambda sent: progress.advance(task, sent))
    head = s3.head_object(Bucket=bucket, Key=key)
    version = head.get("VersionId", "")
    return File(bucket, key, "" if version == "null" else version, head["ETag"].strip('"'), 0, {}).id


def _wait(table: str, file_id: str, timeout: float, errors: Console) -> dict[str, Any]:
    """The file's item once it is done. Raises LocalError when it is not in time."""
    dynamodb = boto3.client("dynamodb")
    deadline = time.monotonic() + timeout
    with errors.status("waiting for the worker") as status:
        while time.monotonic() < deadline:
            item: dict[str, Any] = dynamodb.get_item(
                TableName=table, Key={"id": {"S": file_id}}, ConsistentRead=True
            ).get("Item", {})
            if item and item["status"]["S"] != PROCESSING:
                return item
            if "rows" in item:
                status.update(f"{item['rows']['N']} rows so far")
            time.sleep(POLL_SECONDS)
    raise LocalError(
        f"the file {file_id} is not done after {timeout:g} seconds; its row in {table} says how it goes on"
    )
