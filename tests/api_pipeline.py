"""The functions of the api variant in this process, with settings of a test's own, and what they leave behind.

`pipeline` of tests/handlers/api/conftest.py runs them on moto and on tables in memory, `pipeline` of
tests/emulator/api/conftest.py on the resources that the real program made in the emulator.
"""

import base64
import dataclasses
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

from handlers.api.causes import EventCauses
from handlers.api.ingest import Ingest
from handlers.api.processing import adapted
from handlers.api.reconciler import Reconciler
from handlers.api.settings import IngestSettings, ReconcilerSettings, WorkerSettings
from handlers.api.stuck import StuckEvents
from handlers.api.worker import Worker
from handlers.processor import Rejected
from handlers.shared.redrive import EVENT_PARAMETERS, Redrive
from handlers.shared.settings import RedriveSettings

# Options that only add something are on, so that all tests run with them.
CONFIG: dict[str, Any] = {
    "queue": {"redrive_api": {}, "reconciler": {}},
    "worker": {"max_attempts": 3},
    "storage": {"archive": {"accepted": {}, "compaction": {}}},
    "outcomes": {},
    "fault_injection": {},
    "reports": {},
    "webhooks": {
        "shop": {
            "signature": "github",
            "secrets": ["arn:aws:secretsmanager:us-east-1:123456789012:secret:shop/hook-AbC123"],
        }
    },
}
# The value of its secret, by the name that local/secrets.py gives it.
SECRET_VALUES = {"webhook_shop": "a dummy value"}

Json = Any


class Time:
    """Lambda's context: how much of its time is left."""

    aws_request_id = "run"

    def __init__(self, seconds: float = 30) -> None:
        self.seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds * 1_000)


class RunningTime(Time):
    """Lambda's context, whose time runs out."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self._ends = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return int((self._ends - time.monotonic()) * 1_000)


class Runs(Counter[str]):
    """A processor that counts its runs of each event."""

    def __init__(self, *failing: str) -> None:
        super().__init__()
        self.failing = failing

    def process(self, event: Mapping[str, Any]) -> int:
        self[event["name"]] += 1
        if event["name"] in self.failing:
            raise Rejected("never")
        return self[event["name"]]


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: Json


def _body(given: str | bytes | None) -> dict[str, Any]:
    if isinstance(given, bytes):
        return {"body": base64.b64encode(given).decode(), "isBase64Encoded": True}
    return {"body": given, "isBase64Encoded": False}


@dataclass
class Pipeline:
    """Ingest, worker and redrive with settings of a test's own. `inbox_url` gets alerts, `told_url` outcome events."""

    root: Callable[[str], Any]
    """The test's own clients, by service. They have all rights."""
    environments: Mapping[str, Mapping[str, str]]
    outputs: Mapping[str, str]
    inbox_url: str
    told_url: str
    settings: dict[str, Any] = field(default_factory=dict)
    schemas: dict[str, Json] = field(default_factory=dict)

    def _settings(self, kind: type[Any], function: str) -> Any:
        known = {name.name for name in dataclasses.fields(kind)}
        # Faults are looked for, and accepted events archived, by the tests that switch that on, and by no other.
        given = {"fault_parameter_name": "", "archive_accepted": False, **self.settings}
        changes = {name: value for name, value in given.items() if name in known}
        return dataclasses.replace(kind.from_environment(self.environments[function]), **changes)

    def ingest(self) -> Ingest:
        return Ingest(self._settings(IngestSettings, "ingest"), self.schemas)

    def worker(self, process: Callable[..., Any]) -> Worker:
        return Worker(self._settings(WorkerSettings, "worker"), adapted(process), "test")

    def redrive(self) -> Redrive:
        settings = self._settings(RedriveSettings, "redrive")
        return Redrive(settings, EventCauses(settings.table_name), EVENT_PARAMETERS)

    def reconciler(self) -> Reconciler:
        return Reconciler(self._settings(ReconcilerSettings, "reconciler"), "test")

    def stuck(self) -> StuckEvents:
        return StuckEvents(self._settings(ReconcilerSettings, "reconciler"))

    # The client's side

    def request(
        self,
        method: str,
        path: str,
        body: Json = None,
        *,
        headers: Mapping[str, str] | None = None,
        parameters: Mapping[str, str] | None = None,
        event_id: str | None = None,
        text: str | bytes | None = None,
        query: str = "",
        signer: str = "arn:aws:iam::123456789012:user/ann",
        context: Time = Time(),  # noqa: B008  it is only read
    ) -> Answer:
        event = {
            "version": "2.0",
            "routeKey": f"{method} {path}",
            "rawPath": path.replace("{id}", event_id or ""),
            "headers": dict(headers or {}),
            "queryStringParameters": dict(parameters or parse_qsl(query)),
            "pathParameters": {"id": event_id} if event_id else {},
            "rawQueryString": query or urlencode(parameters or {}, errors="surrogatepass"),
            **_body(text if text is not None else None if body is None else json.dumps(body)),
            "requestContext": {
                "requestId": "request-1",
                "http": {"sourceIp": "192.0.2.1", "userAgent": "test"},
                "authorizer": {"iam": {"userArn": signer}},
            },
        }
        answer = self.redrive().handle(event, context) if path.startswith("/redrive") else self.ingest().handle(event)
        return Answer(answer["statusCode"], answer["headers"], json.loads(answer["body"] or "null"))

    def post(self, body: Json, **headers: str) -> Answer:
        return self.request("POST", "/events", body, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def shown(self, event_id: str) -> Answer:
        return self.request("GET", "/events/{id}", event_id=event_id)

    # Lambda's side

    def receive(self) -> list[dict[str, Any]]:
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

    def settle(self, records: Sequence[Mapping[str, Any]], answer: Mapping[str, Any]) -> list[str]:
        """Delete the messages that did not fail, as Lambda does. Returns the ids of the others."""
        failed = [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]
        for record in records:
            if record["messageId"] not in failed:
                self.root("sqs").delete_message(
                    QueueUrl=self.outputs["queue_url"],
                    ReceiptHandle=record["receiptHandle"],
                )
        return failed

    def deliver(self, worker: Worker, records: Sequence[Mapping[str, Any]], context: Time | None = None) -> list[str]:
        """Run the worker on a batch and settle it. Returns the ids of the messages that return to the queue."""
        return self.settle(records, worker.handle(records, context or Time()))

    def show_again(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Make messages visible at once, so that no test waits for a back-off or a visibility timeout."""
        for record in records:
            try:
                self.root("sqs").change_message_visibility(
                    QueueUrl=self.outputs["queue_url"],
                    ReceiptHandle=record["receiptHandle"],
                    VisibilityTimeout=0,
                )
            except self.root("sqs").exceptions.ClientError:
                continue  # it is deleted or dead-lettered

    def drain(self, worker: Worker) -> None:
        """Deliver until the queue is empty."""
        while records := self.receive():
            self.deliver(worker, records)
            self.show_again(records)

    # What is left

    def items(self) -> dict[str, dict[str, Any]]:
        answer = self.root("dynamodb").scan(TableName=self.outputs["table_name"], ConsistentRead=True)
        return {
            item["id"]["S"]: {name: next(iter(value.values())) for name, value in item.items()}
            for item in answer["Items"]
            # The others are the pipeline's own: `alert#...`, `circuit#...`.
            if "#" not in item["id"]["S"]
        }

    def objects(self, prefix: str) -> dict[str, bytes]:
        s3, bucket = self.root("s3"), self.outputs["bucket_name"]
        keys = [found["Key"] for found in s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])]
        return {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

    def _messages(self, url: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while (
            batch := self.root("sqs")
            .receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=10,
                MessageAttributeNames=["All"],
                VisibilityTimeout=600,
            )
            .get("Messages")
        ):
            found += batch
        return found

    def dead_letters(self) -> list[dict[str, Any]]:
        """Receive the dead letters; each once."""
        return self._messages(self.outputs["dead_letter_queue_url"])

    def alerts(self) -> list[Json]:
        """Receive the alerts published since the last call, oldest first."""
        return [json.loads(json.loads(message["Body"])["Message"]) for message in self._messages(self.inbox_url)]

    def told(self) -> list[Json]:
        """Receive the outcome events that a subscriber got since the last call."""
        return [json.loads(message["Body"]) for message in self._messages(self.told_url)]

    def clear(self) -> None:
        """Leave nothing for the next test."""
        for url in (self.outputs["queue_url"], self.outputs["dead_letter_queue_url"], self.inbox_url, self.told_url):
            self.root("sqs").purge_queue(QueueUrl=url)
        table = self.outputs["table_name"]
        for item in self.root("dynamodb").scan(TableName=table, ProjectionExpression="id")["Items"]:
            self.root("dynamodb").delete_item(TableName=table, Key={"id": item["id"]})
        for key in self.objects(""):
            self.root("s3").delete_object(Bucket=self.outputs["bucket_name"], Key=key)


def subscribed(
    root: Callable[[str], Any], environments: Mapping[str, Mapping[str, str]], outputs: Mapping[str, str]
) -> Callable[[], Pipeline]:
    """Subscribe queues to the alerts topic and to the event bus. Returns a maker of pipelines."""
    sqs = root("sqs")

    def subscriber(name: str) -> tuple[str, str]:
        """Return the URL and ARN of a queue that anybody may send to."""
        url = sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        allowed = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": arn}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
        return url, arn

    inbox_url, arn = subscriber("test-inbox")
    root("sns").subscribe(TopicArn=outputs["alerts_topic_arn"], Protocol="sqs", Endpoint=arn)
    told_url, arn = subscriber("test-told")
    bus = outputs["event_bus_name"]
    pattern = json.dumps({"detail-type": ["Event Succeeded", "Event Failed"]})
    root("events").put_rule(Name="test-told", EventBusName=bus, EventPattern=pattern)
    root("events").put_targets(Rule="test-told", EventBusName=bus, Targets=[{"Id": "told", "Arn": arn}])
    return lambda: Pipeline(root, environments, outputs, inbox_url, told_url)
