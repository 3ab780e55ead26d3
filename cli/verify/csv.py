"""The probe of a csv stack: one file with one row, and its report."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import boto3

from cli.core.removal import remove_dead_letters, remove_item, remove_objects
from cli.core.stack import Stack
from cli.core.suggestions import suggest
from cli.verify.samples import csv_file
from components.options.csv import CsvPipelineConfig
from handlers.csv.files import PROCESSING, SUCCEEDED, File
from handlers.csv.run import PROCESSED, REJECTED, REPORTS, STATE
from local.errors import LocalError

POLL_SECONDS = 0.5


class CsvProbe:
    """A file with a name of its own."""

    def __init__(self, stack: Stack, mark: str, sample: str | None, seconds: float) -> None:
        self._stack, self.mark, self._seconds = stack, mark, seconds
        options = stack.config_as(CsvPipelineConfig).input
        self._content = csv_file(options) if sample is None else Path(sample).read_bytes()
        self._key = f"{options.prefix}{mark}.csv"
        self._day = ""
        self._file: File | None = None
        self._item: Mapping[str, Any] = {}

    def steps(self) -> Mapping[str, Callable[[], str]]:
        """Return the steps in order."""
        return {"uploaded": self._upload, "processed": self._process, "readable": self._read}

    def clean(self, *, failed: bool) -> Iterator[str]:
        """Remove the file, what was made of it, its item and its dead letter. Yield what is left."""
        remove_objects(self._stack.output("input_bucket"), self._key)
        if failed:
            remove_dead_letters(self._stack.output("dead_letter_queue_url"), self.mark)
        if self._file is None:
            return
        file_id = self._file.id
        if failed and not self._item:
            yield f"file {file_id} is not done: its item may come back"
        # The day on which the worker began it, whether it told of that or not.
        for prefix, day in product((PROCESSED, REJECTED, REPORTS), {self._day, _today()}):
            remove_objects(self._stack.output("output_bucket"), self._file.output_key(prefix, day, ""), below=True)
        remove_objects(self._stack.output("output_bucket"), f"{STATE}{file_id}/", below=True)
        current = f"current:{self._stack.output('input_bucket')}/{self._key}"
        for item_id in (file_id, current):
            remove_item(self._stack.output("table_name"), {"id": {"S": item_id}})

    def _upload(self) -> str:
        bucket = self._stack.output("input_bucket")
        put = boto3.client("s3").put_object(Bucket=bucket, Key=self._key, Body=self._content)
        version = put.get("VersionId", "")
        self._file = File(bucket, self._key, version, put["ETag"].strip('"'), 0, {})
        self._day = _today()
        return f"s3://{bucket}/{self._key}"

    def _process(self) -> str:
        begun = time.monotonic()
        assert self._file is not None  # noqa: S101  it was uploaded
        key = {"id": {"S": self._file.id}}
        table = self._stack.output("table_name")
        while time.monotonic() - begun < self._seconds:
            found = boto3.client("dynamodb").get_item(TableName=table, Key=key, ConsistentRead=True).get("Item", {})
            # Only then the worker writes nothing more about it.
            if found and found["status"]["S"] != PROCESSING and found["settled"]["BOOL"]:
                self._item = found
                break
            time.sleep(POLL_SECONDS)
        else:
            was = found["status"]["S"] if found else "not seen by the worker"
            look = suggest("logs", "--stack", self._stack.name)
            raise LocalError(f"it is {was} after {self._seconds:g} seconds, and not settled; see `{look}`")
        if found["status"]["S"] != SUCCEEDED:
            raise LocalError(f"it failed: {found.get('reason', {}).get('S')}; name a file that succeeds with --sample")
        rows = f"{found['processed']['N']} rows processed, {found['rejected']['N']} rejected"
        return f"in {time.monotonic() - begun:.1f} seconds: {rows}"

    def _read(self) -> str:
        key = self._item["report_key"]["S"]
        body = boto3.client("s3").get_object(Bucket=self._stack.output("output_bucket"), Key=key)["Body"].read()
        return f"the report: {json.loads(body)['status']}"


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
