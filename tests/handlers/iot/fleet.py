"""The worker and the watcher of an iot pipeline in memory, with a clock of the test's own."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import md5
from io import BytesIO
from itertools import count
from typing import Any
from unittest.mock import patch

from botocore.exceptions import ClientError

from handlers.iot.contents import STANDARD_FORM
from handlers.iot.settings import IotWatcherSettings, IotWorkerSettings
from handlers.iot.silence import SECONDS_A_MINUTE, Hearing, Silences
from handlers.iot.table import DEVICE_INDEX, DUE_INDEX, ReadingTable
from handlers.iot.thresholds import Thresholds
from handlers.iot.watcher import Watcher
from handlers.iot.worker import IotWorker
from tests.aws_calls import tapped
from tests.memory_table import MemoryDynamoDB, MemoryTable

START = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
TABLE = "readings"
Json = Any


class Fleet:
    """Devices that upload to a pipeline in memory. `minutes` is the time since the start, which tests set.

    `silence` is the configured mapping; a test may replace it and `thresholds`, as a deployment does.
    """

    def __init__(self, silence: Mapping[str, int | None] | None = None) -> None:
        self.minutes = 0.0
        self.silence: Mapping[str, int | None] = {"": 30} if silence is None else silence
        self.thresholds = Thresholds({})
        self.form = STANDARD_FORM
        self.calls: list[str] = []
        self.messages: list[Json] = []
        self.objects: dict[str, bytes] = {}
        self.refused_messages = 0
        self.settings: Mapping[str, Any] = {}
        self.memory = MemoryDynamoDB(
            **{
                TABLE: MemoryTable(
                    ("device_id", "time_key"),
                    {DEVICE_INDEX: ("device_shard", "device_id"), DUE_INDEX: ("device_shard", "due_at")},
                )
            }
        )
        self._numbers = count()
        self._worker_settings = IotWorkerSettings(
            table_name=TABLE,
            bucket_name="bucket",
            alerts_topic_arn="arn:alerts",
            alerts_runbook="docs/alarms.md",
            max_object_bytes=100_000_000,
            max_readings=1_000_000,
            max_ahead_seconds=300,
            readings_expire_after_days=90,
        )
        self._watcher_settings = IotWatcherSettings(
            table_name=TABLE, alerts_topic_arn="arn:alerts", alerts_runbook="docs/alarms.md"
        )

    # AWS

    @contextmanager
    def running(self) -> Iterator[None]:
        def call(name: str, parameters: Mapping[str, Any], _make: Callable[[], Any]) -> Any:
            answers: dict[str, Callable[..., Json]] = {
                "sns:PublishBatch": self._publish,
                "s3:GetObject": self._get,
                "s3:PutObject": self._put,
            }
            return answers[name](**parameters)

        with (
            tapped(call),
            patch.object(time, "time", lambda: START + self.minutes * SECONDS_A_MINUTE),
            patch.object(time, "sleep", lambda _seconds: None),
            self.memory.answering(),
        ):
            yield

    def _publish(self, *, TopicArn: str, PublishBatchRequestEntries: Sequence[Json]) -> Json:  # noqa: N803  botocore's names
        assert TopicArn == "arn:alerts"
        assert 0 < len(PublishBatchRequestEntries) <= 10
        assert sum(len(each["Message"]) for each in PublishBatchRequestEntries) < 256 * 1_024
        taken = []
        for entry in PublishBatchRequestEntries:
            if self.refused_messages:
                self.refused_messages -= 1
                continue
            self.messages.append(entry)
            taken.append({"Id": entry["Id"]})
        return {"Successful": taken, "Failed": []}

    def _get(self, *, Bucket: str, Key: str, IfMatch: str) -> Json:  # noqa: N803  botocore's names
        assert Bucket == "bucket"
        if etag_of(self.objects[Key]) != IfMatch.strip('"'):
            raise ClientError({"Error": {"Code": "PreconditionFailed"}}, "GetObject")
        body = BytesIO(self.objects[Key])

        class Body:
            def iter_chunks(self, size: int) -> Iterator[bytes]:
                while part := body.read(size):
                    yield part

            def close(self) -> None:
                """Nothing is open."""

        return {"Body": Body()}

    def _put(self, *, Bucket: str, Key: str, Body: BytesIO, ContentType: str) -> Json:  # noqa: N803  botocore's names
        assert (Bucket, ContentType) == ("bucket", "application/jsonl")
        self.objects[Key] = Body.read()
        return {}

    # What happens

    def upload(self, *devices: str, at: float | None = None) -> Json:
        """Return the notification of an upload with a reading of each device, that arrives at a minute or now."""
        moment = datetime.fromtimestamp(START + (self.minutes if at is None else at) * SECONDS_A_MINUTE, UTC)
        readings = [
            {"device_id": device, "timestamp": moment.isoformat(), "metrics": {"temperature": 20}} for device in devices
        ]
        return self.upload_bytes(json.dumps(readings).encode(), moment)

    def upload_bytes(self, body: bytes, arrived_at: datetime, key: str = "") -> Json:
        number = next(self._numbers)
        key = key or f"readings/{number}.json"
        self.objects[key] = body
        entry = {"key": key, "eTag": etag_of(body), "sequencer": f"{number:016X}"}
        time_now = arrived_at.isoformat(timespec="milliseconds")
        return {"Records": [{"eventTime": time_now, "s3": {"bucket": {"name": "bucket"}, "object": entry}}]}

    def take(self, event: Json, run: str = "") -> None:
        silences = Silences.from_json(json.dumps(self.silence))
        settings = replace(self._worker_settings, **self.settings)
        worker = IotWorker(settings, self.thresholds, silences, "test", {}, self.form)
        worker.handle(event, run or f"run-{next(self._numbers)}")

    def hear(self, *devices: str, at: float | None = None) -> None:
        """Upload and take it."""
        self.take(self.upload(*devices, at=at))

    def watch(self) -> None:
        """One run of the watcher."""
        Watcher(self._watcher_settings, Silences.from_json(json.dumps(self.silence)), "test").run("watch")

    def watch_until(self, minutes: float) -> None:
        """Let time pass, with a run of the watcher each whole minute."""
        while (following := int(self.minutes) + 1) <= minutes:
            self.minutes = following
            self.watch()
        self.minutes = max(self.minutes, minutes)

    # What is left

    def told(self) -> list[str]:
        """The alerts since the last time, each as `d1 silent`, or `12 silent`."""
        found = []
        for entry in self.messages:
            message = json.loads(entry["Message"])
            found.append(f"{message.get('device_id') or message['count']} {message['kind']}")
        self.messages.clear()
        return found

    def hearing(self, device: str) -> Hearing | None:
        return ReadingTable(TABLE).states([device])[device].state.hearing

    def due(self) -> dict[str, int]:
        """The devices in the index, and the minutes since the start at which they are due."""
        return {
            item["device_id"]["S"]: round((int(item["due_at"]["N"]) - START) / SECONDS_A_MINUTE)
            for item in self.memory.tables[TABLE].items.values()
            if "due_at" in item
        }


def etag_of(body: bytes) -> str:
    return md5(body, usedforsecurity=False).hexdigest()


@contextmanager
def before_each_call(act: Callable[[str, int], None]) -> Iterator[list[str]]:
    """Call `act(name, position)` before each AWS call of the block, but not before those that `act` makes itself."""
    calls: list[str] = []
    acting = False

    def tap(name: str, _parameters: object, make: Callable[[], Any]) -> Any:
        nonlocal acting
        if not acting:
            calls.append(name)
            acting = True
            try:
                act(name, len(calls) - 1)
            finally:
                acting = False
        return make()

    with tapped(tap):
        yield calls
