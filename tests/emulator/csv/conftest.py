"""The worker of the csv variant in this process, on resources that the real program made in the emulator.

The event source mapping is switched off: tests receive messages themselves, as Lambda would. Blocks and parts are
small, so that a small file has many of them.
"""

import dataclasses
import gzip
import io
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet  # type: ignore[import-untyped]

from handlers.csv import engine, objects
from handlers.csv import parquet as parquet_writer
from handlers.csv.causes import FileCauses
from handlers.csv.columns import FileFormat
from handlers.csv.settings import CsvWorkerSettings
from handlers.csv.worker import CsvWorker
from handlers.shared.redrive import Redrive
from handlers.shared.settings import RedriveSettings
from local.engine import Running, running
from local.project import load_project
from local.services import Clients
from tests.graphs import SAMPLES
from tests.roles import forget_clients

ROOT = Path(__file__).parents[3]

HEADER = "name,email,amount,date,quantity\n"

Json = Any


def rows(count: int, start: int = 0) -> str:
    """Rows that are all different; every seventh is bad."""
    return "".join(
        f"Name {number},user{number}@example.com,{number}.25,2024-01-02,{'x' if number % 7 == 6 else number}\n"
        for number in range(start, start + count)
    )


class Time:
    """Lambda's context: there is time for so many questions about it, and then there is none."""

    def __init__(self, answers: float = float("inf")) -> None:
        self._answers = answers
        self.aws_request_id = "run"

    def get_remaining_time_in_millis(self) -> int:
        self._answers -= 1
        return 900_000 if self._answers >= 0 else 5_000


@dataclass
class Files:
    """The worker with settings of a test's own, and what it left behind."""

    root: Clients
    outputs: Mapping[str, str]
    environment: Mapping[str, str]
    redrive_environment: Mapping[str, str]
    inboxes: Mapping[str, str]
    columns: str
    settings: dict[str, Any] = field(default_factory=dict)

    def worker(self) -> CsvWorker:
        settings = dataclasses.replace(CsvWorkerSettings.from_environment(self.environment), **self.settings)
        return CsvWorker(settings, FileFormat.from_json(self.columns), "test")

    def write_parquet(self) -> None:
        """From now on, as a stack with `output.format: parquet` does."""
        self.settings = {"output_format": "parquet"}
        self.columns = json.dumps({**json.loads(self.columns), "numbers": "double"})

    def redrive(self, route: str, body: Json = None) -> Json:
        """The redrive function's answer to a request; it has all the time."""
        settings = RedriveSettings.from_environment(self.redrive_environment)
        event = {
            "routeKey": route,
            "rawPath": "/",
            "body": json.dumps(body or {}),
            "requestContext": {
                "requestId": "r",
                "http": {"sourceIp": "", "userAgent": ""},
                "authorizer": {"iam": {"userArn": "arn:aws:iam::123456789012:user/ann"}},
            },
        }
        answer = Redrive(settings, FileCauses(settings.table_name)).handle(event, Time())
        return json.loads(answer["body"])

    # The uploader's side

    def upload(self, key: str, content: str | bytes) -> None:
        body = content.encode() if isinstance(content, str) else content
        before = self._depth()
        self.root("s3").put_object(Bucket=self.outputs["input_bucket"], Key=key, Body=body)
        # S3 announces objects a moment later.
        deadline = time.monotonic() + 20
        while self._depth() <= before:
            assert time.monotonic() < deadline, f"{key} was not announced"
            time.sleep(0.01)

    def _depth(self) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        queue = self.outputs["queue_url"]
        found = self.root("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
        return sum(map(int, found.values()))

    def send(self, body: Json) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        self.root("sqs").send_message(QueueUrl=self.outputs["queue_url"], MessageBody=text)

    # Lambda's side

    def receive(self) -> list[dict[str, Any]]:
        """The messages that are in the queue, up to ten, S3's test messages left out."""
        answer = self.root("sqs").receive_message(
            QueueUrl=self.outputs["queue_url"],
            MaxNumberOfMessages=10,
            AttributeNames=["All"],
        )
        return [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
            }
            for message in answer.get("Messages", [])
        ]

    def deliver(self, records: Sequence[Mapping[str, Any]], left: Time | None = None) -> list[str]:
        """Runs the worker on messages; returns the ids of those that come back."""
        return self.settle(records, self.worker().handle(records, left or Time()))

    def settle(self, records: Sequence[Mapping[str, Any]], answer: Mapping[str, Any]) -> list[str]:
        """Deletes the messages that are done, as Lambda does; returns the ids of the others."""
        failed = [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]
        for record in records:
            if record["messageId"] not in failed:
                self.root("sqs").delete_message(
                    QueueUrl=self.outputs["queue_url"], ReceiptHandle=record["receiptHandle"]
                )
        return failed

    def show_again(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Makes messages visible at once, and ends leases: a test need not wait for a dead function's time-out."""
        sqs = self.root("sqs")
        for record in records:
            try:
                sqs.change_message_visibility(
                    QueueUrl=self.outputs["queue_url"], ReceiptHandle=record["receiptHandle"], VisibilityTimeout=0
                )
            except sqs.exceptions.ClientError:
                continue  # it is deleted
        for file_id in self.items():
            self.root("dynamodb").update_item(
                TableName=self.outputs["table_name"],
                Key={"id": {"S": file_id}},
                UpdateExpression="SET lease_until = :zero",
                ExpressionAttributeValues={":zero": {"N": "0"}},
            )

    def drain(self, left: Callable[[], Time] = Time, deliveries: int = 60) -> int:
        """Delivers until the queue is empty; returns how many deliveries it took."""
        for count in range(deliveries):
            records = self.receive()
            if not records:
                return count
            self.deliver(records, left())
            self.show_again(records)
        raise AssertionError("the queue does not become empty")

    # What is left

    def items(self) -> dict[str, dict[str, Any]]:
        own = ("current:", "alert#")
        return {name: item for name, item in self._all_items().items() if not name.startswith(own)}

    def pointer(self, key: str) -> dict[str, Any]:
        """The pointer to the current outputs of an object's key."""
        return self._all_items()[f"current:{self.outputs['input_bucket']}/{key}"]

    def _all_items(self) -> dict[str, dict[str, Any]]:
        answer = self.root("dynamodb").scan(TableName=self.outputs["table_name"], ConsistentRead=True)
        return {
            item["id"]["S"]: {name: next(iter(value.values())) for name, value in item.items()}
            for item in answer["Items"]
        }

    def item(self) -> dict[str, Any]:
        (item,) = self.items().values()
        return item

    def objects(self, prefix: str) -> dict[str, bytes]:
        s3, bucket = self.root("s3"), self.outputs["output_bucket"]
        keys = [found["Key"] for found in s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])]
        return {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

    def lines(self, prefix: str) -> list[Json]:
        """The rows of all outputs under a prefix."""
        return [row for key, body in self.objects(prefix).items() for row in _rows(key, body)]

    def report(self) -> Json:
        (report,) = self.objects("reports/").values()
        return json.loads(report)

    def uploads(self) -> list[Any]:
        """Multipart uploads that nobody completed."""
        found = self.root("s3").list_multipart_uploads(Bucket=self.outputs["output_bucket"])
        return list(found.get("Uploads", []))

    def _messages(self, url: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        sqs = self.root("sqs")
        while batch := sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], VisibilityTimeout=600
        ).get("Messages"):
            found += batch
        return found

    def dead_letters(self) -> list[dict[str, Any]]:
        """The dead letters; each can be asked for once."""
        return self._messages(self.outputs["dead_letter_queue_url"])

    def published(self, topic: str = "notifications") -> list[tuple[str, str]]:
        """Subject and text of what was published since the last time: to `notifications` or `alerts`."""
        found = [json.loads(each["Body"]) for each in self._messages(self.inboxes[topic])]
        return [(each["Subject"], each["Message"]) for each in found]

    def told(self, topic: str = "notifications") -> list[Json]:
        """The files, or messages, that were told of since the last time: to `notifications` or `alerts`."""
        told = [json.loads(text) for _, text in self.published(topic)]
        return [each.get("file") or each["message"] for each in told]

    def clear_queue(self) -> None:
        self.root("sqs").purge_queue(QueueUrl=self.outputs["queue_url"])

    def clear(self) -> None:
        """Leaves nothing for the next test."""
        for url in (self.outputs["queue_url"], self.outputs["dead_letter_queue_url"], *self.inboxes.values()):
            self.root("sqs").purge_queue(QueueUrl=url)
        for file_id in self._all_items():
            self.root("dynamodb").delete_item(TableName=self.outputs["table_name"], Key={"id": {"S": file_id}})
        s3 = self.root("s3")
        for bucket in (self.outputs["input_bucket"], self.outputs["output_bucket"]):
            for found in s3.list_objects_v2(Bucket=bucket).get("Contents", []):
                s3.delete_object(Bucket=bucket, Key=found["Key"])
        for upload in self.uploads():
            s3.abort_multipart_upload(
                Bucket=self.outputs["output_bucket"], Key=upload["Key"], UploadId=upload["UploadId"]
            )


def _rows(key: str, body: bytes) -> list[Json]:
    if key.endswith(".parquet"):
        found: list[Json] = parquet.read_table(io.BytesIO(body)).to_pylist()
        return found
    return [json.loads(line) for line in (gzip.decompress(body) if key.endswith(".gz") else body).splitlines()]


@pytest.fixture(scope="module")
def stack(decisions: Path) -> Iterator[Running]:
    config = {"queue": {"redrive_api": {}}, "output": {"versions": "latest"}}
    with running(load_project(SAMPLES, "csv").with_config(config), iam_log=decisions) as up:
        yield up


@pytest.fixture(scope="module")
def resources(stack: Running) -> Iterator[Callable[[], Files]]:
    root = Clients(stack.emulator)
    functions = root("lambda")
    for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
        functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    inboxes = {topic: _inbox(root, topic, stack.outputs[f"{topic}_topic_arn"]) for topic in ("notifications", "alerts")}
    functions_by_handler = {function.handler: function for function in stack.engine.functions}
    worker = functions_by_handler["handlers.csv.worker.handler"]
    redrive = functions_by_handler["handlers.csv.redrive.handler"]
    columns = worker.archive.assets["columns.json"].text  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stack.environment().items():
            patch.setenv(name, value)
        patch.setattr(engine, "BLOCK_BYTES", 2_000)
        patch.setattr(objects, "SMALLEST_PART_BYTES", 500)
        patch.setattr(parquet_writer, "ROW_GROUP_BYTES", 2_500)
        forget_clients()
        yield lambda: Files(root, stack.outputs, worker.environment, redrive.environment, inboxes, columns)
    forget_clients()


def _inbox(root: Clients, name: str, topic_arn: str) -> str:
    sqs = root("sqs")
    url = str(sqs.create_queue(QueueName=f"inbox-{name}")["QueueUrl"])
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    allowed = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": arn}
    sqs.set_queue_attributes(
        QueueUrl=url, Attributes={"Policy": json.dumps({"Version": "2012-10-17", "Statement": [allowed]})}
    )
    root("sns").subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=arn)
    return url


@pytest.fixture
def files(resources: Callable[[], Files]) -> Iterator[Files]:
    made = resources()
    # S3 announces itself.
    made.clear()
    yield made
    made.clear()
