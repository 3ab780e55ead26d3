"""Requests, uploads, messages and outages that use every right of a shipped stack.

A stack runs as its file stands. Three things are the tests' own: in `ingestion` what the processor calls can be out
(the shipped one calls nothing), the schedules' minutes and hours come when a scenario says so, and in `csv` some
runs of the worker's code take place in this process, as the worker's role, so that they can be short, or die.
"""

import json
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cli.circuit import run_close, run_open
from handlers.api.events import KEY_FIELD, Envelope
from handlers.csv import engine, objects
from handlers.csv.files import File
from tests.emulator.csv.conftest import HEADER, Files, rows
from tests.emulator.csv.test_csv_permissions import it_does_all_it_does
from tests.graphs import SAMPLES

from .conftest import Client

Json = Any
Call = Callable[..., tuple[int, Json]]

RECEIVED = "2026-11-21T08:00:00.000000Z"

# Added to the processor: what it calls is out while there is a file.
OUTAGE = """

from pathlib import Path
from handlers.processor import Unavailable

as_shipped = process


def process(event):
    if Path({flag!r}).exists():
        raise Unavailable("it is out")
    return as_shipped(event)
"""


def message(data: Json, event_id: str = "", fingerprint: str = "", received_at: str = RECEIVED) -> str:
    """The body of the message that ingest sends for an event."""
    kind = data.get("event_type", "default")
    return Envelope(event_id or str(uuid.uuid4()), kind, received_at, "", "", "", fingerprint, data).to_message()


def function_name(client: Client, module: str) -> str:
    (name,) = (each.name for each in client.up.engine.functions if each.handler.endswith(f".{module}.handler"))
    return name


def run(client: Client, module: str, event: Json) -> None:
    """Invokes a function as its schedule does."""
    answer = client.aws("lambda").invoke(FunctionName=function_name(client, module), Payload=json.dumps(event))
    assert "FunctionError" not in answer, answer["Payload"].read()


def status_of(client: Client, event_id: str) -> str:
    return client.items().get(event_id, {}).get("status", "")


def ingest_does_all_it_does(client: Client, call: Call, events: Sequence[Json]) -> str:
    """Takes events with and without a key, a repeat, one that SQS refuses; shows them. The id of the keyed one."""
    plain, keyed = events[0], {**events[1], KEY_FIELD: "key"}
    status, answer = call("POST", "/events", [plain, keyed])
    assert (status, answer["accepted"]) == (202, 2), answer
    plain_id, keyed_id = (result["id"] for result in answer["results"])
    client.until(lambda: [status_of(client, each) for each in (plain_id, keyed_id)] == ["succeeded"] * 2)
    assert call("POST", "/events", keyed)[1] == {"id": keyed_id, "status": "succeeded", "duplicate": True}
    client.aws("dynamodb").update_item(
        TableName=client.outputs["table_name"],
        Key={"id": {"S": keyed_id}},
        UpdateExpression="SET expires_at = :past",
        ExpressionAttributeValues={":past": {"N": "1"}},
    )
    assert call("POST", "/events", keyed)[1]["duplicate"] is False, "an item that is over counts no longer"
    with largest_message(client, 1_024):
        assert call("POST", "/events", {**keyed, KEY_FIELD: "refused", "padding": "x" * 1_024})[0] == 503
    shown = call("GET", f"/events/{plain_id}")[1]
    assert shown["status"] == "succeeded"
    if "result_url" in shown:
        with urllib.request.urlopen(shown["result_url"]) as result:
            assert json.load(result)
    assert plain_id in [event["id"] for event in call("GET", "/events")[1]["events"]]
    return str(keyed_id)


@contextmanager
def largest_message(client: Client, size: int) -> Iterator[None]:
    """SQS refuses messages of more bytes."""
    queue = {"QueueUrl": client.outputs["queue_url"]}
    before = client.aws("sqs").get_queue_attributes(**queue, AttributeNames=["MaximumMessageSize"])["Attributes"]
    client.aws("sqs").set_queue_attributes(**queue, Attributes={"MaximumMessageSize": str(size)})
    try:
        yield
    finally:
        client.aws("sqs").set_queue_attributes(**queue, Attributes=before)


def worker_does_all_it_does(client: Client, event: Json, keyed_id: str) -> None:
    """Gets four messages: of a new event, of one that another worker has begun, of another's id, and of no event."""
    fresh, begun = str(uuid.uuid4()), str(uuid.uuid4())
    now = int(time.time())
    at_work = {"attempts": 1, "running_until": now + 8, "noted_receives": 1, "expires_at": now + 1_000}
    client.aws("dynamodb").put_item(
        TableName=client.outputs["table_name"],
        Item={"id": {"S": begun}, "type": {"S": "t"}, "status": {"S": "queued"}, "noted_message_id": {"S": "another"}}
        | {name: {"N": str(value)} for name, value in at_work.items()},
    )
    for body in (
        message(event, fresh),
        message(event, begun),
        message(event, keyed_id, fingerprint="f" * 64),
        "poison",
    ):
        client.aws("sqs").send_message(QueueUrl=client.outputs["queue_url"], MessageBody=body)
    client.until(lambda: [status_of(client, each) for each in (fresh, begun)] == ["succeeded"] * 2)
    client.until(lambda: client.depth(client.outputs["dead_letter_queue_url"]) == 2)


def dev(client: Client, _folder: Path) -> None:
    events = [{"n": n} for n in range(3)]
    keyed_id = ingest_does_all_it_does(client, client.request, events)
    worker_does_all_it_does(client, events[2], keyed_id)


def analytics(client: Client, _folder: Path) -> None:
    events = [{"event_type": "page_view", "user_id": f"user-{n}", "page": "/"} for n in range(3)]
    keyed_id = ingest_does_all_it_does(client, client.request, events)
    worker_does_all_it_does(client, events[2], keyed_id)
    received = datetime.fromisoformat(client.items()[keyed_id]["received_at"])
    for period, later in (("hourly", timedelta(hours=1)), ("daily", timedelta(days=1))):
        run(client, "report", {"period": period, "time": (received + later).isoformat()})
    assert [key.split("/")[1] for key in client.objects("reports/")] == ["daily", "hourly"]


# ingestion


def ingestion(client: Client, folder: Path) -> None:
    outage = folder / "outage"
    shipped = (SAMPLES / "processors/orders.py").read_text(encoding="utf-8")
    client.use_processor("processors/orders.py", shipped + OUTAGE.format(flag=str(outage)))
    orders = [{"orderId": f"order-{number}", "amount": 10 + number} for number in range(20)]
    keyed_id = ingest_does_all_it_does(client, client.signed, orders)
    worker_does_all_it_does(client, orders[2], keyed_id)
    circuit_does_all_it_does(CircuitOfOrders(client, outage))
    redrive_does_all_it_does(client, keyed_id)


REST_SECONDS = 2


class CircuitOfOrders:
    """The circuit of a running stack whose processor can be out."""

    def __init__(self, client: Client, outage: Path) -> None:
        self.client = client
        self.outage = outage
        (mapping,) = client.aws("lambda").list_event_source_mappings()["EventSourceMappings"]
        self.mapping = mapping["UUID"]

    def opens(self) -> None:
        """As orders fail by an outage, more than succeeded before."""
        self.outage.touch()
        status, _ = self.client.signed("POST", "/events", [self.order() for _ in range(60)])
        assert status == 202
        self.client.until(lambda: not self.takes_messages())
        # A worker may go on with its batch.
        self.client.until(self.is_at_rest)
        assert self.state() == "OPEN"

    def order(self, **more: Any) -> dict[str, Any]:
        return {"orderId": str(uuid.uuid4()), "amount": 10, **more}

    def probes(self, order: Json, event_id: str = "") -> str:
        """Have the breaker function look at an order. The event's id."""
        event_id = event_id or str(uuid.uuid4())
        self.client.aws("sqs").send_message(
            QueueUrl=self.client.outputs["queue_url"], MessageBody=message(order, event_id)
        )
        self.client.aws("dynamodb").update_item(
            TableName=self.client.outputs["table_name"],
            Key={"id": {"S": "circuit#processor"}},
            UpdateExpression="SET #until = :past",
            ExpressionAttributeNames={"#until": "until"},
            ExpressionAttributeValues={":past": {"N": "1"}},
        )
        run(self.client, "breaker", {})
        return event_id

    def is_at_rest(self) -> bool:
        """Return True if no run of the worker ended recently; each end is logged."""
        before = self.logged()
        time.sleep(REST_SECONDS)
        return self.logged() == before

    def logged(self) -> int:
        function = function_name(self.client, "worker")
        group = self.client.aws("lambda").get_function_configuration(FunctionName=function)["LoggingConfig"]["LogGroup"]
        pages = self.client.aws("logs").get_paginator("filter_log_events").paginate(logGroupName=group)
        return sum(len(page["events"]) for page in pages)

    def state(self) -> str:
        return self.client.items().get("circuit#processor", {}).get("state", "CLOSED")

    def takes_messages(self) -> bool:
        return bool(self.client.aws("lambda").get_event_source_mapping(UUID=self.mapping)["State"] == "Enabled")


def circuit_does_all_it_does(circuit: CircuitOfOrders) -> None:
    circuit.opens()
    # The next message is the only one.
    circuit.client.aws("sqs").purge_queue(QueueUrl=circuit.client.outputs["queue_url"])
    waiting = circuit.probes(circuit.order())
    assert (circuit.state(), circuit.takes_messages()) == ("OPEN", False)
    assert status_of(circuit.client, waiting) == "retrying"
    circuit.outage.unlink()
    # One that fails for a reason of its own tells nothing, and the other one is hidden.
    rejected = circuit.probes(circuit.order(country="XX"))
    assert (circuit.state(), status_of(circuit.client, rejected)) == ("OPEN", "failed")
    done = circuit.probes(circuit.order(), waiting)
    assert (circuit.state(), circuit.takes_messages(), status_of(circuit.client, done)) == ("CLOSED", True, "succeeded")
    # As an operator does it.
    assert run_open("ingestion", timedelta(minutes=5), "a test", as_json=True) == 0
    run(circuit.client, "breaker", {})
    assert (circuit.state(), circuit.takes_messages()) == ("OPEN", False)
    assert run_close("ingestion", at_once=True, as_json=True) == 0
    run(circuit.client, "breaker", {})
    assert (circuit.state(), circuit.takes_messages()) == ("CLOSED", True)


def redrive_does_all_it_does(client: Client, keyed_id: str) -> None:
    """Shows dead letters, one of them without a word of why, and sends one back."""
    client.aws("sqs").send_message(
        QueueUrl=client.outputs["dead_letter_queue_url"], MessageBody=message({"orderId": "order"}, keyed_id)
    )
    status, shown = client.signed("GET", "/redrive/preview")
    assert (status, shown["complete"], len(shown["messages"])) == (200, True, 4)
    status, moved = client.signed("POST", "/redrive/start", {"error_type": "Rejected"})
    assert (status, moved["redriven"]) == (200, 1)


# csv and iot


def csv(client: Client, _folder: Path) -> None:
    s3, source = client.aws("s3"), client.outputs["input_bucket"]
    target, letters = client.outputs["output_bucket"], client.outputs["dead_letter_queue_url"]

    def outputs() -> set[str]:
        keys = [each["Key"] for each in s3.list_objects_v2(Bucket=target).get("Contents", [])]
        marks = {File(source, f"raw/{name}", "", "", 0, {}).key_mark: name for name in ("good.csv", "picture.csv")}
        return {f"{key.split('/')[0]}/{marks[key.split('/')[-1].split('-')[0]]}" for key in keys}

    s3.put_object(Bucket=source, Key="raw/good.csv", Body=(HEADER + rows(14)).encode())
    s3.put_object(Bucket=source, Key="raw/picture.csv", Body=b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    expected = {f"{prefix}/good.csv" for prefix in ("processed", "rejected", "reports")} | {"reports/picture.csv"}
    client.until(lambda: outputs() == expected)
    client.until(lambda: (client.depth(letters), client.depth(client.outputs["queue_url"])) == (1, 0))
    with short_runs(client) as files:
        it_does_all_it_does(files)


@contextmanager
def short_runs(client: Client) -> Iterator[Files]:
    """The worker's code in this process, with blocks and parts so small that a small file has many of them."""
    functions = client.aws("lambda")
    for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
        functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    (worker,) = client.up.engine.functions
    columns = worker.archive.assets["columns.json"].text  # type: ignore[attr-defined]
    inboxes = {topic: client.inbox(topic) for topic in ("notifications", "alerts")}
    with patch.object(engine, "BLOCK_BYTES", 2_000), patch.object(objects, "SMALLEST_PART_BYTES", 500):
        files = Files(
            root=client.aws,
            outputs=client.outputs,
            environment=worker.environment,
            redrive_environment={},
            inboxes=inboxes,
            columns=columns,
            settings={"max_attempts": 3},
        )
        files.clear()
        yield files


def iot(client: Client, _folder: Path) -> None:
    s3, bucket = client.aws("s3"), client.outputs["input_bucket"]
    # An event that fails each time; while it waits for the next attempt, the rest goes on.
    client.aws("lambda").invoke(
        FunctionName=client.outputs["worker_name"], InvocationType="Event", Payload=b'{"Records": [{}]}'
    )
    # A minute ago: an old crossing causes no alert.
    at = f"{datetime.now(UTC) - timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}"
    hot = {"device_id": "d1", "timestamp": at, "metrics": {"temperature": 40}}
    told = client.inbox()
    s3.put_object(Bucket=bucket, Key="readings/2026/hot.jsonl", Body=f"{json.dumps(hot)}\nnone\n".encode())
    client.until(lambda: client.depth(told) == 1)

    def states() -> list[Mapping[str, Any]]:
        items = client.aws("dynamodb").scan(TableName=client.outputs["table_name"])["Items"]
        return [json.loads(item["state"]["S"]) for item in items if "state" in item]

    client.until(lambda: [state["pending"] for state in states()] == [[]])
    # An hour passes without an upload.
    (state,) = states()
    state["hearing"]["heard_at"] -= 3_600
    state["hearing"]["due_at"] -= 3_600
    client.aws("dynamodb").update_item(
        TableName=client.outputs["table_name"],
        Key={"device_id": {"S": "d1"}, "time_key": {"S": "state"}},
        UpdateExpression="SET #state = :state, due_at = :due_at",
        ExpressionAttributeNames={"#state": "state"},
        ExpressionAttributeValues={
            ":state": {"S": json.dumps(state)},
            ":due_at": {"N": str(state["hearing"]["due_at"])},
        },
    )
    run(client, "watcher", {})
    client.until(lambda: client.depth(told) == 2)
    assert [(each["hearing"]["silent"], each["hearing"]["pending"]) for each in states()] == [(True, [])]
    assert s3.list_objects_v2(Bucket=bucket, Prefix="rejected/")["KeyCount"] == 1
    client.until(lambda: client.depth(client.outputs["dead_letter_queue_url"]) == 1)


SCENARIOS: Mapping[str, Callable[[Client, Path], None]] = {
    "dev": dev,
    "analytics": analytics,
    "ingestion": ingestion,
    "csv": csv,
    "iot": iot,
}
