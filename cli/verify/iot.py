"""The probe of an iot stack: one reading of a device of its own."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import boto3

from cli.core.removal import remove_dead_letters, remove_item, remove_objects
from cli.core.stack import Stack
from cli.core.suggestions import suggest
from cli.verify.samples import reading
from components.options.iot import IotPipelineConfig
from handlers.iot.table import ReadingTable
from local.errors import LocalError

POLL_SECONDS = 0.5
METRIC = "pipeline_verify"


class IotProbe:
    """A reading of a device whose id is the mark."""

    def __init__(self, stack: Stack, mark: str, sample: str | None, seconds: float) -> None:
        self._stack, self.mark, self._seconds = stack, mark, seconds
        options = stack.config_as(IotPipelineConfig).readings
        if sample is None:
            self._content = reading(options, mark, METRIC)
        else:
            text = Path(sample).read_text(encoding="utf-8")
            if mark not in (text := text.replace("DEVICE", mark)):
                raise LocalError(f"{sample}: write DEVICE where the id of the device stands")
            self._content = text.encode()
        ending = options.suffixes[0] if options.suffixes else ".json"
        self._key = f"readings/{mark}/{mark}{ending}"
        self._bucket, self._table = stack.output("input_bucket"), stack.output("table_name")
        self._sent = False

    def steps(self) -> Mapping[str, Callable[[], str]]:
        """Return the steps in order."""
        return {"uploaded": self._upload, "stored": self._store}

    def clean(self, *, failed: bool) -> Iterator[str]:
        """Remove the upload, the device's items, and records of what was refused. Yield what is left."""
        remove_objects(self._bucket, self._key)
        if not self._sent:
            return
        if failed:
            remove_dead_letters(self._stack.output("dead_letter_queue_url"), self.mark)
            self._remove_rejections()
            yield f"upload {self._key} may still be read: then its readings come back"
        dynamodb = boto3.client("dynamodb")
        for page in dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="device_id = :device",
            ExpressionAttributeValues={":device": {"S": self.mark}},
            ProjectionExpression="device_id, time_key",
            ConsistentRead=True,
        ):
            for item in page["Items"]:
                remove_item(self._table, {"device_id": item["device_id"], "time_key": item["time_key"]})

    def _upload(self) -> str:
        self._sent = True
        boto3.client("s3").put_object(Bucket=self._bucket, Key=self._key, Body=self._content)
        return f"s3://{self._bucket}/{self._key}"

    def _store(self) -> str:
        begun = time.monotonic()
        table = ReadingTable(self._table)
        # The state of the device is the last thing that the worker writes: after that, nothing comes back.
        while not (list(table.between(self.mark)) and table.states([self.mark])[self.mark].revision):
            if time.monotonic() - begun > self._seconds:
                look = suggest("logs", "--stack", self._stack.name)
                raise LocalError(
                    f"no reading is stored after {self._seconds:g} seconds; see `{look}`. If the stack does not "
                    "take the made-up one, name one with --sample"
                )
            time.sleep(POLL_SECONDS)
        return f"in {time.monotonic() - begun:.1f} seconds, device {self.mark}"

    def _remove_rejections(self) -> None:
        """Delete the records of what was refused of the upload: of today's, those whose lines name its key."""
        s3 = boto3.client("s3")
        prefix = f"rejected/{datetime.now(UTC):%Y/%m/%d}/"
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
            for each in page.get("Contents", ()):
                body = s3.get_object(Bucket=self._bucket, Key=each["Key"])["Body"].read()
                if json.loads(body.splitlines()[0]).get("object") == self._key:
                    remove_objects(self._bucket, each["Key"])
