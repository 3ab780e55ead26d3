"""The circuit breaker in a whole pipeline: what the processor calls is out for a while, under load."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from .conftest import Client, Start

PROCESSOR = """
import urllib.request

def process(event):
    with urllib.request.urlopen("http://127.0.0.1:{port}/", timeout=5) as answer:
        return {{"answer": answer.status, "event": event}}
"""


class Downstream:
    """The service that the processor calls: an HTTP server that can be down."""

    def __init__(self) -> None:
        self.out = False
        self.calls = 0
        downstream = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                downstream.calls += 1
                self.send_response(503 if downstream.out else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def called_since(self, calls: int) -> bool:
        """Return True if there were more calls than these."""
        return self.calls > calls

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])


@pytest.fixture(scope="module")
def downstream() -> Iterator[Downstream]:
    made = Downstream()
    thread = Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


class Guarded:
    """A running pipeline with a circuit breaker, and what a test asks of it."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.functions = {function.handler.split(".")[2]: function.name for function in client.up.engine.functions}
        (mapping,) = client.aws("lambda").list_event_source_mappings(FunctionName=self.functions["worker"])[
            "EventSourceMappings"
        ]
        self.mapping = mapping["UUID"]

    def takes_messages(self) -> bool:
        answer = self.client.aws("lambda").get_event_source_mapping(UUID=self.mapping)
        return bool(answer["State"] == "Enabled")

    def minutes_until(self, holds: Callable[[], bool]) -> None:
        """Does what the schedule does each minute, until something is so."""

        def minute() -> bool:
            answer = self.client.aws("lambda").invoke(FunctionName=self.functions["breaker"], Payload=b"{}")
            assert "FunctionError" not in answer, answer["Payload"].read()
            return holds()

        self.client.until(minute)

    def state(self) -> str:
        return self.client.items().get("circuit#processor", {}).get("state", "CLOSED")

    def waiting(self) -> dict[str, int]:
        """The event ids of all visible messages, and how often each was received, this time included."""
        found: dict[str, int] = {}
        while messages := self._receive():
            found |= {
                json.loads(message["Body"])["id"]: int(message["Attributes"]["ApproximateReceiveCount"])
                for message in messages
            }
        return found

    def _receive(self) -> list[Any]:
        answer = self.client.aws("sqs").receive_message(
            QueueUrl=self.client.outputs["queue_url"],
            MaxNumberOfMessages=10,
            AttributeNames=["ApproximateReceiveCount"],
            VisibilityTimeout=2,
        )
        return list(answer.get("Messages", []))


@contextmanager
def guarded(start: Start, downstream: Downstream) -> Iterator[Guarded]:
    options = {
        "timeout_seconds": 10,
        # Few: each is a process to start.
        "maximum_concurrency": 3,
        "backoff": {"base_seconds": 1, "maximum_seconds": 1},
        "circuit_breaker": {"failure_threshold": 3, "recovery_seconds": 1},
    }
    with start(worker=options | {"max_attempts": 3}) as client:
        pipeline = Guarded(client)
        client.use_processor("processors/echo.py", PROCESSOR.format(port=downstream.port))
        yield pipeline


@pytest.fixture(scope="module")
def pipeline(start: Start, downstream: Downstream) -> Iterator[Guarded]:
    with guarded(start, downstream) as up:
        yield up


def post(client: Client, count: int) -> list[str]:
    status, answer = client.post([{"n": n} for n in range(count)])
    assert (status, answer["accepted"]) == (202, count)
    return [result["id"] for result in answer["results"]]


def test_an_outage_under_load_pauses_the_queue_and_in_the_end_every_event_succeeded(
    pipeline: Guarded,
    downstream: Downstream,
) -> None:
    client = pipeline.client
    ids = post(client, 40)
    client.until(lambda: downstream.called_since(5))
    downstream.out = True
    ids += post(client, 40)
    client.until(lambda: not pipeline.takes_messages())
    assert pipeline.state() == "OPEN"
    calls = downstream.calls
    later = post(client, 10)
    for _ in range(2):
        # The recovery time is a second; each of these minutes has its probe, and it fails.
        before = downstream.calls
        pipeline.minutes_until(partial(downstream.called_since, before))
        assert pipeline.state() == "OPEN"
        assert not pipeline.takes_messages()
    assert downstream.calls - calls < 20, "the outage is hammered on"
    received = pipeline.waiting()
    # By this test, and by the breaker function's probes.
    assert set(later) <= set(received)
    assert max(received.values()) <= 9, received

    downstream.out = False
    pipeline.minutes_until(pipeline.takes_messages)
    assert pipeline.state() == "CLOSED"
    ids += later

    def states() -> Counter[str]:
        return Counter(item["status"] for item in client.items().values() if "status" in item)

    # It begins slowly.
    client.until(lambda: not {"queued", "retrying"} & states().keys(), 120)
    assert states() == {"succeeded": len(ids)}
    results = Counter(key.rsplit("/", 1)[1].removesuffix(".json") for key in client.objects("results/"))
    assert results == dict.fromkeys(ids, 1)
    assert client.depth(client.outputs["dead_letter_queue_url"]) == 0
