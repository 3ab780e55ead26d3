"""CPU and AWS calls per event of ingest and worker, as ratios to a naive pipeline measured in the same run.

    make bench-api

The naive pipeline does what a first version does for each event: default boto3 clients, one PutItem and one SendMessage
at acceptance, one PutObject and one UpdateItem at processing. It writes no logs and no metrics, detects no duplicates
and gives no guarantees. Ours is the deployed code with default options, except for inline results. Only CPU time of
this process counts; the emulator is another process. The benchmark fails when an event is missing at the end.
"""

import json
import os
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import boto3
from rich.console import Console
from rich.table import Table as Grid

from handlers.api.events import Envelope, received_times
from handlers.api.identity import new_id
from handlers.api.ingest import Ingest
from handlers.api.processing import adapted
from handlers.api.settings import IngestSettings, WorkerSettings
from handlers.api.worker import Worker
from handlers.shared.log import logger
from local.engine import Running, running
from local.project import load_project
from tests.aws_calls import tapped

SAMPLES = Path(__file__).parents[1] / "tests/samples"
EVENTS = 1_000
REQUESTS, BATCHES = (1, 10, 100, 500), (1, 10, 100)
EVENT = {"event_type": "order", "orderId": "A-17", "country": "DE", "amount": 12.5, "note": "x" * 200}


class Cost:
    """CPU microseconds and AWS calls per event of a block of work."""

    def __init__(self, work: Callable[[], object], events: int) -> None:
        calls = 0

        def counted(_name: str, _parameters: object, make: Callable[[], Any]) -> Any:
            nonlocal calls
            calls += 1
            return make()

        started = time.process_time()
        with tapped(counted), redirect_stdout(StringIO()):
            work()
        self.microseconds = (time.process_time() - started) / events * 1_000_000
        self.calls = calls / events


def request(body: object) -> dict[str, Any]:
    """Return a request as an HTTP API passes it to the function."""
    return {
        "routeKey": "POST /events",
        "rawPath": "/events",
        "headers": {},
        "body": json.dumps(body),
        "requestContext": {"requestId": "r", "http": {"sourceIp": "192.0.2.1", "userAgent": "benchmark"}},
    }


def records(bodies: list[str]) -> list[dict[str, Any]]:
    """Return a batch as Lambda passes it to the worker."""
    return [
        {
            "messageId": str(number),
            "receiptHandle": str(number),
            "body": body,
            "attributes": {"ApproximateReceiveCount": "1"},
        }
        for number, body in enumerate(bodies)
    ]


class Context:
    """Lambda's context, with enough time left."""

    aws_request_id = "run"

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds left."""
        return 60_000


class Naive:
    """One call for each event and step."""

    def __init__(self, up: Running) -> None:
        self._sqs, self._dynamodb, self._s3 = boto3.client("sqs"), boto3.client("dynamodb"), boto3.client("s3")
        self._outputs = up.outputs

    def ingest(self) -> None:
        """Accept all events, one per request."""
        for _ in range(EVENTS):
            text = json.dumps(json.loads(request(EVENT)["body"]))
            item = {"id": {"S": str(uuid.uuid4())}, "state": {"S": "queued"}, "body": {"S": text}}
            self._dynamodb.put_item(TableName=self._outputs["table_name"], Item=item)
            self._sqs.send_message(QueueUrl=self._outputs["queue_url"], MessageBody=text)

    def work(self) -> None:
        """Process all events."""
        for _ in range(EVENTS):
            event_id = str(uuid.uuid4())
            result = json.dumps({"seen": len(EVENT)}).encode()
            self._s3.put_object(Bucket=self._outputs["bucket_name"], Key=f"naive/{event_id}", Body=result)
            self._dynamodb.update_item(
                TableName=self._outputs["table_name"],
                Key={"id": {"S": event_id}},
                UpdateExpression="SET #state = :state",
                ExpressionAttributeNames={"#state": "state"},
                ExpressionAttributeValues={":state": {"S": "succeeded"}},
            )


class Ours:
    """The deployed functions, with their deployed environment variables."""

    def __init__(self, up: Running) -> None:
        environments = {function.handler.split(".")[2]: function.environment for function in up.engine.functions}
        self._ingest = Ingest(IngestSettings.from_environment(environments["ingest"]), {})
        settings = WorkerSettings.from_environment(environments["worker"])
        self._worker = Worker(settings, adapted(lambda event: {"seen": len(event)}), "benchmark")

    def ingest(self, size: int) -> None:
        """Accept all events, `size` per request."""
        for _ in range(EVENTS // size):
            self._ingest.handle(request(EVENT if size == 1 else [EVENT] * size))

    def work(self, size: int) -> None:
        """Process all events in batches of `size`."""
        for times in batched(received_times(EVENTS), size):
            envelopes = [Envelope(new_id(), "order", time, "", "", "", "", EVENT) for time in times]
            answer = self._worker.handle(records([envelope.to_message() for envelope in envelopes]), Context())
            if answer["batchItemFailures"]:
                raise RuntimeError("an event failed")


def batched(items: list[str], size: int) -> list[list[str]]:
    """Split items into batches of `size`."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def measure(up: Running) -> list[tuple[str, Cost, Cost]]:
    """Return each measurement: its name, our cost and the naive cost."""
    os.environ.update(up.environment())
    for mapping in boto3.client("lambda").list_event_source_mappings()["EventSourceMappings"]:
        boto3.client("lambda").update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    # Lambda reads log lines from a pipe; discarding them here costs about the same.
    logger.handlers[0].setStream(StringIO())  # type: ignore[attr-defined]
    naive, ours = Naive(up), Ours(up)
    with redirect_stdout(StringIO()):
        # Create clients and connections before measuring.
        ours.ingest(10)
        ours.work(10)
    naive_in, naive_out = Cost(naive.ingest, EVENTS), Cost(naive.work, EVENTS)
    measured = [
        *((f"ingest, {size} to a request", Cost(partial(ours.ingest, size), EVENTS), naive_in) for size in REQUESTS),
        *((f"worker, batches of {size}", Cost(partial(ours.work, size), EVENTS), naive_out) for size in BATCHES),
    ]
    pages = boto3.client("dynamodb").get_paginator("scan").paginate(TableName=up.outputs["table_name"])
    found = Counter(item["status"]["S"] for page in pages for item in page["Items"] if "status" in item)
    expected = {"queued": (1 + len(REQUESTS)) * EVENTS, "succeeded": (1 + len(BATCHES)) * EVENTS}
    if found != expected:
        raise RuntimeError(f"events are missing: {dict(found)}, not {expected}")
    return measured


def main() -> None:
    """Print the table."""
    with running(load_project(SAMPLES, "dev").with_config({"storage": {"results": "inline"}})) as up:
        measured = measure(up)
    grid = Grid("what", "CPU µs an event", "AWS calls an event", "naive CPU / ours", "naive calls / ours")
    for what, ours, naive in measured:
        grid.add_row(
            what,
            f"{ours.microseconds:.0f}",
            f"{ours.calls:.2f}",
            f"{naive.microseconds / ours.microseconds:.1f}",
            f"{naive.calls / ours.calls:.1f}",
        )
    Console(width=110).print(grid)


if __name__ == "__main__":
    main()
