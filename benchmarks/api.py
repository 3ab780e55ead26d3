"""CPU and AWS calls per event of ingest and worker, as ratios to a naive pipeline measured in the same run.

The naive pipeline does what a first version does for each event: default boto3 clients, one PutItem and one SendMessage
at acceptance, one PutObject and one UpdateItem at processing. It writes no logs and no metrics, detects no duplicates
and gives no guarantees. Ours is the deployed code with default options, except for inline results; `track: false` is
said where it is on. Only CPU time of this process counts; the emulator is another process. A missing event is an error.
A part of `make bench`.
"""

import gc
import json
import os
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import boto3

from benchmarks.figures import Rows, Size
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
REQUESTS, BATCHES, UNTRACKED = (1, 10, 100, 500), (1, 10, 100), 100
EVENT = {"event_type": "order", "orderId": "A-17", "country": "DE", "amount": 12.5, "note": "x" * 200}


class Cost:
    """CPU microseconds and AWS calls per event of a block of work, and the part of the time that is not in calls."""

    def __init__(self, work: Callable[[], object], events: int) -> None:
        calls, in_calls = 0, 0.0

        def counted(_name: str, _parameters: object, make: Callable[[], Any]) -> Any:
            nonlocal calls, in_calls
            calls += 1
            # Of this thread: some calls are made at once.
            started = time.thread_time()
            try:
                return make()
            finally:
                in_calls += time.thread_time() - started

        started = time.process_time()
        with tapped(counted), redirect_stdout(StringIO()):
            work()
        seconds = time.process_time() - started
        self.microseconds = seconds / events * 1_000_000
        self.own_microseconds = (seconds - in_calls) / events * 1_000_000
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


def message_records(count: int) -> list[dict[str, Any]]:
    """Return a batch of new events as Lambda passes it to the worker."""
    bodies = [
        Envelope(new_id(), "order", received_at, "", "", "", "", EVENT).to_message()
        for received_at in received_times(count)
    ]
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

    def __init__(self, up: Running, events: int) -> None:
        self._sqs, self._dynamodb, self._s3 = boto3.client("sqs"), boto3.client("dynamodb"), boto3.client("s3")
        self._outputs, self._events = up.outputs, events

    def ingest(self) -> None:
        """Accept all events, one per request."""
        for _ in range(self._events):
            text = json.dumps(json.loads(request(EVENT)["body"]))
            item = {"id": {"S": str(uuid.uuid4())}, "state": {"S": "queued"}, "body": {"S": text}}
            self._dynamodb.put_item(TableName=self._outputs["table_name"], Item=item)
            self._sqs.send_message(QueueUrl=self._outputs["queue_url"], MessageBody=text)

    def work(self) -> None:
        """Process all events."""
        for _ in range(self._events):
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
        settings = IngestSettings.from_environment(environments["ingest"])
        self._ingest, self._untracked = (Ingest(each, {}) for each in (settings, replace(settings, track=False)))
        worker_settings = WorkerSettings.from_environment(environments["worker"])
        self._worker = Worker(worker_settings, adapted(lambda event: {"seen": len(event)}), "benchmark")

    def ingest(self, requests: list[dict[str, Any]], *, track: bool = True) -> None:
        """Accept the events of all requests."""
        ingest = self._ingest if track else self._untracked
        for each in requests:
            if ingest.handle(each)["statusCode"] != 202:  # noqa: PLR2004  accepted
                raise RuntimeError("a request was refused")

    def work(self, batches: list[list[dict[str, Any]]]) -> None:
        """Process all batches."""
        for batch in batches:
            if self._worker.handle(batch, Context())["batchItemFailures"]:
                raise RuntimeError("an event failed")


def requests(events: int, size: int) -> list[dict[str, Any]]:
    """Return requests with so many events together, `size` to a request."""
    return [request(EVENT if size == 1 else [EVENT] * size) for _ in range(events // size)]


def batches(events: int, size: int) -> list[list[dict[str, Any]]]:
    """Return batches with so many events together, `size` to a batch."""
    return [message_records(size) for _ in range(events // size)]


def one_round(naive: Naive, ours: Ours, events: int) -> dict[str, tuple[Cost, Cost]]:
    """Measure everything once. Return the costs by name: those measured, and the naive pipeline's for the same step."""
    naive_in, naive_out = Cost(naive.ingest, events), Cost(naive.work, events)
    measured = {"naive ingest": (naive_in, naive_in), "naive worker": (naive_out, naive_out)}
    for size in REQUESTS:
        if size <= events:
            work = partial(ours.ingest, requests(events, size))
            measured[f"ingest, {size} to a request"] = (Cost(work, events), naive_in)
    work = partial(ours.ingest, requests(events, UNTRACKED), track=False)
    measured[f"ingest, {UNTRACKED} to a request, track: false"] = (Cost(work, events), naive_in)
    for size in BATCHES:
        measured[f"worker, batches of {size}"] = (Cost(partial(ours.work, batches(events, size)), events), naive_out)
    return measured


def measure(size: Size) -> Rows:
    """Return CPU time and calls per event. Raises RuntimeError when events are missing."""
    rows: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with running(load_project(SAMPLES, "dev").with_config({"storage": {"results": "inline"}})) as up:
        os.environ.update(up.environment())
        for mapping in boto3.client("lambda").list_event_source_mappings()["EventSourceMappings"]:
            boto3.client("lambda").update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
        # Lambda reads log lines from a pipe; discarding them here costs about the same.
        logger.handlers[0].setStream(StringIO())  # type: ignore[attr-defined]
        naive, ours = Naive(up, size.events), Ours(up)
        # Create clients and connections before measuring.
        Cost(partial(ours.ingest, requests(size.events, 10)), size.events)
        Cost(partial(ours.work, batches(size.events, 10)), size.events)
        # A function has no such heap: the collector is not to visit what the deployment has left in this process.
        gc.collect()
        gc.freeze()
        for _ in range(size.rounds):
            for name, (cost, naive_cost) in one_round(naive, ours, size.events).items():
                rows[name]["cpu_us"].append(cost.microseconds)
                rows[name]["own_us"].append(cost.own_microseconds)
                rows[name]["calls"].append(cost.calls)
                rows[name]["ratio_cpu"].append(naive_cost.microseconds / cost.microseconds)
                rows[name]["ratio_calls"].append(naive_cost.calls / cost.calls)
        sizes = len([each for each in REQUESTS if each <= size.events])
        expected = {"queued": (1 + sizes * size.rounds) * size.events}
        expected["succeeded"] = (1 + len(BATCHES) * size.rounds) * size.events
        pages = boto3.client("dynamodb").get_paginator("scan").paginate(TableName=up.outputs["table_name"])
        found = Counter(item["status"]["S"] for page in pages for item in page["Items"] if "status" in item)
    if found != expected:
        raise RuntimeError(f"events are missing: {dict(found)}, not {expected}")
    return rows
