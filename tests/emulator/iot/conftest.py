"""The worker of the iot variant, in this process and as a function, on resources that the real program made.

What tests hand to a worker themselves lies under keys that the bucket's notification does not look at.
"""

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from handlers.iot.contents import STANDARD_FORM
from handlers.iot.forms import Form
from handlers.iot.settings import IotWatcherSettings, IotWorkerSettings
from handlers.iot.silence import Silences
from handlers.iot.thresholds import Thresholds
from handlers.iot.watcher import Watcher
from handlers.iot.worker import IotWorker
from handlers.shared import aws
from local.engine import Running, running
from local.project import load_project
from local.services import Clients
from tests.graphs import SAMPLES
from tests.roles import forget_clients

ROOT = Path(__file__).parents[3]
Json = Any

LIMITS = {"min": "-10", "max": "30", "hysteresis": "1", "cooldown_minutes": 0}
THRESHOLDS = {"temperature": {"": {"critical": LIMITS}}}

_numbers = itertools.count()


def reading(device: str, minute: int, temperature: object = 20, **more: Json) -> Json:
    return {
        "device_id": device,
        "timestamp": f"2026-11-20T{minute // 60:02}:{minute % 60:02}:00Z",
        "metrics": {"temperature": temperature},
        **more,
    }


def lines(*readings: Json) -> str:
    return "".join(json.dumps(each) + "\n" for each in readings)


@dataclass
class Iot:
    """The worker with settings of a test's own, and what it left behind."""

    environment: Mapping[str, str]
    outputs: Mapping[str, str]
    inbox_url: str
    settings: dict[str, Any] = field(default_factory=dict)
    thresholds: Json = field(default_factory=lambda: THRESHOLDS)
    schema: Json = field(default_factory=dict)
    form: Form = STANDARD_FORM
    silences: Silences = field(default_factory=lambda: Silences({"": 1_800}))

    def worker(self) -> IotWorker:
        # The worker of the stack skips what tests hold back; the worker of a test reads it.
        changed = {"suffixes": "", **self.settings}
        settings = dataclasses.replace(IotWorkerSettings.from_environment(self.environment), **changed)
        thresholds = Thresholds.from_json(json.dumps(self.thresholds))
        return IotWorker(settings, thresholds, self.silences, "test", self.schema, self.form)

    def watcher(self) -> Watcher:
        return Watcher(IotWatcherSettings.from_environment(self.environment), self.silences, "test")

    @property
    def bucket(self) -> str:
        return self.outputs["input_bucket"]

    def put(self, key: str, content: str | bytes) -> str:
        """Put an object and return its ETag."""
        body = content.encode() if isinstance(content, str) else content
        etag: str = aws.client("s3").put_object(Bucket=self.bucket, Key=key, Body=body)["ETag"]
        return etag.strip('"')

    def upload(self, content: str | bytes) -> Json:
        """Puts an object where nobody looks, and returns the notification that S3 would send."""
        number = next(_numbers)
        key = f"readings/{number}.held-back"
        etag = self.put(key, content)
        return self.notification(key, number, etag)

    def notification(self, key: str, number: int = 0, etag: str = "0") -> Json:
        entry = {"key": key, "size": 1, "eTag": etag, "sequencer": f"{number:016X}"}
        record = {
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "eventTime": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": self.bucket}, "object": entry},
        }
        return {"Records": [record]}

    def take(self, *contents: str | bytes) -> None:
        """Uploads each and runs the worker on it."""
        for content in contents:
            self.worker().handle(self.upload(content), f"run-{next(_numbers)}")

    # What is left

    def items(self) -> list[Json]:
        pages = (
            aws.botocore_client("dynamodb")
            .get_paginator("scan")
            .paginate(TableName=self.outputs["table_name"], ConsistentRead=True)
        )
        return [item for page in pages for item in page["Items"]]

    def keys(self, prefix: str = "") -> list[str]:
        pages = aws.client("s3").get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [found["Key"] for page in pages for found in page.get("Contents", [])]

    def readings(self) -> list[tuple[str, str, dict[str, str]]]:
        """Device, time and metrics of every stored reading, in order."""
        found = (
            (
                item["device_id"]["S"],
                item["time_key"]["S"].partition("#")[0],
                {name: number["N"] for name, number in item["metrics"]["M"].items()},
            )
            for item in self.items()
            if "metrics" in item
        )
        return sorted(found, key=lambda each: (*each[:2], sorted(each[2].items())))

    def states(self) -> dict[str, Json]:
        return {item["device_id"]["S"]: json.loads(item["state"]["S"]) for item in self.items() if "state" in item}

    def rejections(self) -> list[Json]:
        s3 = aws.client("s3")
        bodies = [s3.get_object(Bucket=self.bucket, Key=key)["Body"].read().decode() for key in self.keys("rejected/")]
        return [json.loads(line) for body in bodies for line in body.splitlines()]

    def notices(self) -> list[Json]:
        """Return the topic's messages since the last call: SNS's own envelopes, oldest first."""
        found: list[Json] = []
        while (
            batch := aws.client("sqs")
            .receive_message(
                QueueUrl=self.inbox_url,
                MaxNumberOfMessages=10,
                VisibilityTimeout=600,
            )
            .get("Messages")
        ):
            found += [json.loads(message["Body"]) for message in batch]
        return found

    def alerts(self) -> list[str]:
        """The alerts since the last time: `cold-1 temperature crossed 31`, sorted by the readings' times."""
        messages = sorted(
            (json.loads(notice["Message"]) for notice in self.notices()), key=lambda alert: alert["timestamp"]
        )
        return [f"{each['device_id']} {each['metric']} {each['kind']} {each['value']}" for each in messages]

    def silences_told(self) -> list[str]:
        """The alerts about silence since the last time: `d1 silent`."""
        messages = [json.loads(notice["Message"]) for notice in self.notices()]
        return [f"{each.get('device_id') or each['count']} {each['kind']}" for each in messages]

    def clear(self) -> None:
        """Leaves nothing for the next test."""
        for url in (self.outputs["dead_letter_queue_url"], self.inbox_url):
            aws.botocore_client("sqs").purge_queue(QueueUrl=url)
        # The handlers' own client has only the calls that they make.
        dynamodb = aws.botocore_client("dynamodb")
        for item in self.items():
            key = {name: item[name] for name in ("device_id", "time_key")}
            dynamodb.delete_item(TableName=self.outputs["table_name"], Key=key)
        s3 = aws.client("s3")
        for name in self.keys():
            s3.delete_object(Bucket=self.bucket, Key=name)


@pytest.fixture(scope="session")
def stack(decisions: Path) -> Iterator[Running]:
    # A run that is to fail in the end need not fail three times, and the readings of tests are old.
    project = load_project(SAMPLES, "iot")
    readings = {**json.loads(project.config["datapipeline:readings"]), "max_alert_age_minutes": None}
    project = project.with_config({"worker": {"retries": 0, "timeout_seconds": 60}, "readings": readings})
    with running(project, iam_log=decisions) as up:
        yield up


@pytest.fixture(scope="session")
def inbox_url(stack: Running) -> str:
    """A queue that gets what the topic sends."""
    root = Clients(stack.emulator)
    url = str(root("sqs").create_queue(QueueName="iot-inbox")["QueueUrl"])
    arn = root("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    allowed = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": arn}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    root("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    root("sns").subscribe(TopicArn=stack.outputs["alerts_topic_arn"], Protocol="sqs", Endpoint=arn)
    return url


# By module: in one process other modules' tests have another emulator.
@pytest.fixture(scope="module")
def resources(stack: Running, inbox_url: str) -> Iterator[Callable[[], Iot]]:
    (function,) = (each for each in stack.engine.functions if each.handler == "handlers.iot.worker.handler")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stack.environment().items():
            patch.setenv(name, value)
        forget_clients()
        yield lambda: Iot(function.environment, stack.outputs, inbox_url)
    forget_clients()


@pytest.fixture
def iot(resources: Callable[[], Iot]) -> Iterator[Iot]:
    made = resources()
    yield made
    made.clear()
