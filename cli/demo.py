"""`pipeline demo`: run a stack on this machine and follow sample events through it, step by step."""

import json
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from rich.console import Console

from cli.core.http import Answer, request
from cli.core.stack import Stack
from cli.local import brought_up, serve, show
from local.engine import Running
from local.errors import LocalError
from local.services import Clients

WAIT_SECONDS = 20
POLL_SECONDS = 0.1

ACCEPTED, BAD_REQUEST, CONFLICT = 202, 400, 409


def run_demo(stack: str, port: int) -> int:
    """Return the exit code. Raises LocalError when a step fails."""
    Stack(stack).refuse_second()
    with brought_up(stack, port) as pipeline:
        show(pipeline)
        Demo(pipeline, Console(soft_wrap=True, highlight=False, markup=False)).play()
        return serve(pipeline) if sys.stdin.isatty() else 0


class Demo:
    """The steps, in order. Everything they show is read from the API, the queue, the table or the bucket."""

    def __init__(self, pipeline: Running, console: Console) -> None:
        self._outputs = pipeline.outputs
        self._aws = Clients(pipeline.emulator)
        self._console = console
        self._step = 0

    def play(self) -> None:
        """Play all steps. Raises LocalError at the first that fails."""
        # A new key each time: a pipeline that keeps running remembers the last one.
        key = {"Idempotency-Key": f"demo-{uuid.uuid4()}"}
        event = {"data": "test payload", "amount": 42}
        event_id = self._good(event, key)
        self._title("The same event again, with the same Idempotency-Key: the first id is returned, nothing runs twice")
        again = self._post(event, key, ACCEPTED)
        _require(
            again.get("id") == event_id and again.get("duplicate") is True,
            "the answer names the first id, as a duplicate",
        )
        self._title("Another event with the same Idempotency-Key: rejected")
        self._post({"data": "something else"}, key, CONFLICT)
        self._title("Text instead of a JSON object: rejected, with the reason")
        self._post("just text", {}, BAD_REQUEST)
        self._batch()
        self._console.print("\nAll steps succeeded.")

    def _good(self, event: Mapping[str, Any], key: Mapping[str, str]) -> str:
        self._title("A valid event. The worker is paused for a moment, so that the message can be seen in the queue")
        self._pause_worker(paused=True)
        accepted = self._post(event, key, ACCEPTED)
        event_id = str(accepted["id"])
        self._wait("the message in the queue", lambda: self._depth() == 1 or None)
        self._say("queue", f"1 message waits in {self._outputs['queue_url'].rpartition('/')[2]}")
        self._say("table", f"status {self._item(event_id)['status']['S']}")
        self._pause_worker(paused=False)
        self._say("worker", "takes the message")
        self._follow(event_id)
        return event_id

    def _batch(self) -> None:
        self._title("A batch with one invalid event: the others are accepted")
        answer = self._post([{"data": "first"}, 17, {"data": "third"}], {}, ACCEPTED)
        _require(
            (answer.get("accepted"), answer.get("rejected")) == (2, 1), "two events are accepted and one is rejected"
        )
        for result in answer["results"]:
            if "id" in result:
                self._follow(result["id"])

    def _follow(self, event_id: str) -> None:
        """Wait until an event is done; show its item and its result."""
        item = self._wait(f"event {event_id} to be done", lambda: self._done(event_id))
        _require(item["status"]["S"] == "succeeded", f"event {event_id} succeeds")
        self._say("table", _timeline(_plain(item)))
        if "result_key" in item:
            bucket, path = self._outputs["bucket_name"], item["result_key"]["S"]
            stored = self._aws("s3").get_object(Bucket=bucket, Key=path)["Body"].read().decode()
            self._say("stored", f"s3://{bucket}/{path}")
            self._say("result", stored)

    def _done(self, event_id: str) -> dict[str, Any] | None:
        item = self._item(event_id)
        return item if item.get("status", {}).get("S") in ("succeeded", "failed") else None

    def _item(self, event_id: str) -> dict[str, Any]:
        found = self._aws("dynamodb").get_item(
            TableName=self._outputs["table_name"],
            Key={"id": {"S": event_id}},
            ConsistentRead=True,
        )
        item: dict[str, Any] = found.get("Item", {})
        return item

    def _depth(self) -> int:
        attribute = "ApproximateNumberOfMessages"
        url = self._outputs["queue_url"]
        return int(
            self._aws("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=[attribute])["Attributes"][attribute]
        )

    def _pause_worker(self, *, paused: bool) -> None:
        queue_name = self._outputs["queue_url"].rpartition("/")[2]
        client = self._aws("lambda")
        mappings = client.list_event_source_mappings(EventSourceArn=self._aws.arn("sqs", queue_name))[
            "EventSourceMappings"
        ]
        _require(len(mappings) == 1, "one worker is behind the queue")
        client.update_event_source_mapping(UUID=mappings[0]["UUID"], Enabled=not paused)
        state = "Disabled" if paused else "Enabled"
        self._wait(
            f"the worker's event source mapping to be {state.lower()}",
            lambda: client.get_event_source_mapping(UUID=mappings[0]["UUID"])["State"] == state or None,
        )

    def _post(self, body: object, headers: Mapping[str, str], expected: int) -> dict[str, Any]:
        text = json.dumps(body)
        shown = "".join(f" [{name}: {value}]" for name, value in headers.items())
        self._say("POST", f"/events{shown} {text}")
        answer = request("POST", f"{self._outputs['api_url']}/events", text, headers)
        self._say(str(answer.status), answer.text)
        _require(answer.status == expected, f"the answer is {expected}, not {answer.status}")
        return _body(answer)

    def _wait(self, what: str, ready: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + WAIT_SECONDS
        while (value := ready()) is None:
            _require(time.monotonic() < deadline, f"{what} comes within {WAIT_SECONDS} seconds")
            time.sleep(POLL_SECONDS)
        return value

    def _title(self, text: str) -> None:
        self._step += 1
        self._console.print(f"\n{self._step}. {text}", style="bold")

    def _say(self, label: str, text: str) -> None:
        self._console.print(f"   {label:<7}{text}")


def _body(answer: Answer) -> dict[str, Any]:
    body = answer.json
    _require(isinstance(body, dict), "the answer is a JSON object")
    return dict(body)


def _require(holds: bool, what: str) -> None:  # noqa: FBT001  it is the assertion itself
    if not holds:
        raise LocalError(f"a step of the demo failed; expected: {what}")


def _plain(item: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return an item without DynamoDB's types and nulls."""
    return {name: next(iter(value.values())) for name, value in sorted(item.items()) if "NULL" not in value}


def _timeline(item: Mapping[str, Any]) -> str:
    """Return what became of an event and when, on one line."""
    received, completed = (datetime.fromisoformat(item[name]) for name in ("received_at", "completed_at"))
    times = (
        f"received {received:%H:%M:%S.%f}"[:-3] + f", completed {(completed - received).total_seconds():.1f} s later"
    )
    return f"status {item['status']}: {times}, attempts {item['attempts']}"
