"""Log lines of functions in the emulator: found by a request's correlation id, without the contents of events."""

import json
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cli.live import LiveView
from components.queries import EVENT_QUERIES
from tests.roles import Role

from .conftest import Client, Start

Line = dict[str, Any]


class Logs:
    """The log lines of both functions that were written since this was made."""

    def __init__(self, client: Client) -> None:
        self._logs = client.aws("logs")
        self.groups: dict[str, str] = {}
        for function in client.up.engine.functions:
            config = client.aws("lambda").get_function_configuration(FunctionName=function.name)
            self.groups[function.handler.split(".")[2]] = config["LoggingConfig"]["LogGroup"]
        self._before = {function: len(self._all(function)) for function in self.groups}

    def _all(self, function: str) -> list[str]:
        pages = self._logs.get_paginator("filter_log_events").paginate(logGroupName=self.groups[function])
        return [event["message"] for page in pages for event in page["events"]]

    def text(self) -> str:
        """Every line of every function: its own, its metrics, what Lambda says of its runs."""
        return "\n".join(line for function in self.groups for line in self._all(function)[self._before[function] :])

    def lines(self, function: str) -> list[Line]:
        """Return the function's own lines, without Lambda's lines about runs and without metrics."""
        new = self._all(function)[self._before[function] :]
        lines = [json.loads(message) for message in new if message.startswith("{")]
        return [line for line in lines if "_aws" not in line]

    def query(self, label: str, **values: str) -> list[dict[str, str]]:
        """The rows that a saved query answers with."""
        text = EVENT_QUERIES[label]
        for placeholder, value in values.items():
            text = text.replace(placeholder.replace("_", "-"), value)
        now = int(time.time())
        asked = self._logs.start_query(
            logGroupNames=list(self.groups.values()), startTime=now - 3_600, endTime=now + 60, queryString=text
        )
        answer = self._logs.get_query_results(queryId=asked["queryId"])
        assert answer["status"] == "Complete"
        return [{cell["field"]: cell["value"] for cell in row} for row in answer["results"]]


def has_said(logs: Logs, outcome: str, count: int = 1) -> Callable[[], bool]:
    """Return True if the worker has logged this for that many events."""
    return lambda: (
        count
        <= sum(
            event["outcome"] == outcome
            for line in logs.lines("worker")
            if line["message"] == "batch"
            for event in line["events"]
        )
    )


@pytest.fixture
def logs(dev: Client) -> Logs:
    dev.until(lambda: dev.depth(dev.outputs["queue_url"]) == 0)
    return Logs(dev)


def role(client: Client, function: str) -> Role:
    """Of the function by what it does: `worker`."""
    names = {function.handler.split(".")[2]: function.name for function in client.up.engine.functions}
    return Role(client.aws, names[function])


@pytest.fixture
def role_of(dev: Client) -> Callable[[str], Role]:
    return lambda function: role(dev, function)


def correlated(line: Line) -> set[str]:
    """The correlation ids of a line."""
    own = {line["correlation_id"]} if "correlation_id" in line else set()
    return own | {*line.get("correlation_ids", ())} | {event["correlation_id"] for event in line.get("events", ())}


def test_a_request_is_followed_by_its_correlation_id_through_every_line_of_both_functions(
    dev: Client, logs: Logs, role_of: Callable[[str], Role]
) -> None:
    followed = f"followed-{uuid.uuid4()}"
    with role_of("worker").without("s3:PutObject"):
        status, answer = dev.post([{"n": 1}, {"n": 2}], {"X-Correlation-Id": followed})
        assert status == 202
        dev.until(has_said(logs, "unavailable"))
    with role_of("worker").without("dynamodb:BatchGetItem"):
        dev.until(lambda: any("the batch returns" in line["message"] for line in logs.lines("worker")))
    assert answer["accepted"] == 2
    dev.until(has_said(logs, "succeeded", 2))
    said = {function: logs.lines(function) for function in ("ingest", "worker")}
    assert [line["message"] for line in said["ingest"]] == ["request"]
    assert {line["message"] for line in said["worker"]} == {
        "batch",
        "a result was not stored; the message returns to the queue",
        "a service did not answer; the batch returns to the queue",
    }
    assert [correlated(line) for lines in said.values() for line in lines] == [{followed}] * sum(
        len(lines) for lines in said.values()
    )
    # And by the query that is saved for it.
    rows = logs.query("follow-a-request", CORRELATION_ID=followed)
    assert sorted(json.loads(row["@message"])["message"] for row in rows) == sorted(
        line["message"] for lines in said.values() for line in lines
    )
    assert [row["@timestamp"] for row in rows] == sorted(row["@timestamp"] for row in rows)


def test_refused_and_failed_requests_leave_a_line_with_their_correlation_id(
    dev: Client, logs: Logs, role_of: Callable[[str], Role]
) -> None:
    def said_of(correlation_id: str, body: Any = None, raw: bytes | None = None) -> list[tuple[str, Any]]:
        dev.request("POST", "/events", body, {"X-Correlation-Id": correlation_id}, raw=raw)
        return [
            (line["message"], line.get("status"))
            for line in logs.lines("ingest")
            if correlated(line) == {correlation_id}
        ]

    assert said_of("not-json", raw=b"{") == [("request", 400)]
    assert said_of("not-utf-8", raw=b"\xff\xfe") == [("request", 400)]
    with role_of("ingest").without("sqs:SendMessage"):
        # Once for the second try.
        assert said_of("no-queue", {"n": 1}) == [*[("the queue did not take messages", None)] * 2, ("request", 503)]
    with role_of("ingest").without("dynamodb:PartiQLInsert"):
        keyed = {"n": 1, "idempotency_key": f"k-{uuid.uuid4()}"}
        assert said_of("no-table", keyed) == [("a service did not answer", None), ("request", 503)]
    assert dev.request("POST", "/events", {"n": 1}, {"X-Correlation-Id": "x" * 201})[0] == 400
    assert len(correlated(logs.lines("ingest")[-1])) == 1


def test_the_saved_queries_ask_for_what_the_lines_have(dev: Client, logs: Logs, role_of: Callable[[str], Role]) -> None:
    with role_of("worker").without("s3:PutObject"):
        event_id = dev.post({"event_type": "page_view"})[1]["id"]
        dev.until(has_said(logs, "unavailable"))
    dev.until(has_said(logs, "succeeded"))
    events = [event for line in logs.lines("worker") if line["message"] == "batch" for event in line["events"]]
    assert [(event["outcome"], event["attempts"], event["id"]) for event in events[-1:]] == [("succeeded", 1, event_id)]
    assert events[-1]["latency_ms"] > 1_000
    assert events[-1]["type"] == "page_view"
    assert (events[0]["outcome"], events[0]["error_type"]) == ("unavailable", "AccessDenied")
    assert "calling the PutObject operation" in events[0]["error"]
    asked = {
        name.removeprefix("event.")
        for query in EVENT_QUERIES.values()
        for name in query.replace(",", " ").replace(")", " ").split()
        if name.startswith("event.")
    }
    assert asked == {"id", "type", "attempts", "outcome", "error", "error_type", "latency_ms"}
    assert asked <= events[0].keys() | events[-1].keys()
    assert {"route", "status"} <= logs.lines("ingest")[-1].keys()


MARKER = "Qz7-what-only-the-event-holds"

PICKY = """
from handlers.processor import Rejected


def process(event):
    if event["page"] == "rejected":
        raise Rejected("this one can never succeed")
    if event["page"] == "failed":
        raise ValueError("this one fails each time")
    return event
"""


def test_no_line_of_any_function_of_an_api_stack_has_anything_of_an_events_body(start: Start) -> None:
    def event(page: str, **more: Any) -> dict[str, Any]:
        return {"event_type": "page_view", "page": page, "user_id": MARKER, MARKER: [MARKER], **more}

    with start(
        api={"schemas": ["page_view"]},
        worker={"max_attempts": 2, "timeout_seconds": 10, "backoff": {"base_seconds": 1, "maximum_seconds": 1}},
        queue={"redrive_api": {}},
        storage={"archive": {}},
        logs={"level": "DEBUG"},
    ) as client:
        client.use_processor("processors/echo.py", PICKY)
        logs = Logs(client)
        key = str(uuid.uuid4())

        def said(outcome: str, count: int = 1) -> None:
            client.until(has_said(logs, outcome, count))

        # Refused: by the syntax, by a name twice, by the schema, by the type, one of two, one as its key is another's.
        assert client.request("POST", "/events", raw=f'{{"{MARKER}": "{MARKER}"'.encode())[0] == 400
        assert client.request("POST", "/events", raw=f'{{"{MARKER}": "{MARKER}", "{MARKER}": 1}}'.encode())[0] == 400
        assert client.post({**event("home"), "user_id": {MARKER: MARKER}})[0] == 400
        assert client.post({**event("home"), "event_type": MARKER})[0] == 400
        assert client.post([event("home"), {MARKER: MARKER}])[0] == 202
        assert client.post(event("home", idempotency_key=key))[0] == 202
        assert client.post(event(MARKER, idempotency_key=key))[0] == 409
        with role(client, "ingest").without("sqs:SendMessage"):
            assert client.post(event("home"))[0] == 503
        said("succeeded", 2)
        # What could not be stored and is tried again; what fails on each attempt; what is no event at all.
        with role(client, "worker").without("s3:PutObject"):
            assert client.post(event("home"))[0] == 202
            said("unavailable")
        said("succeeded", 3)
        assert client.post([event("failed"), event("rejected")])[0] == 202
        said("retrying")
        said("failed", 2)
        client.aws("sqs").send_message(QueueUrl=client.outputs["queue_url"], MessageBody=f'{{"data": "{MARKER}"')
        said("unreadable")
        # And again, from the dead letters.
        client.until(lambda: client.depth(client.outputs["dead_letter_queue_url"]) == 3)
        status, moved = client.signed("POST", "/redrive/start", {})
        assert (status, moved["redriven"]) == (200, 3)
        said("failed", 4)
        said("unreadable", 2)
        text = logs.text()
        result = client.aws("s3").get_object(Bucket=client.outputs["bucket_name"], Key=client.objects("results/")[0])
        processed = result["Body"].read().decode()
    assert {*logs.groups} == {"ingest", "worker", "redrive"}
    assert text.count('"message":"request"') >= 9
    assert MARKER in processed
    assert MARKER not in text


def put(client: Client, key: str, content: str) -> None:
    client.aws("s3").put_object(Bucket=client.outputs["input_bucket"], Key=key, Body=content.encode())


def test_no_line_of_any_function_of_a_csv_stack_has_anything_of_a_row(start: Start) -> None:
    header = "name,email,amount,date,quantity\n"
    good, bad = f"{MARKER},ann@example.com,12.50,2024-01-02,3\n", f"Ann,{MARKER},{MARKER},{MARKER},{MARKER}\n"
    rows = f"{header}{good}{bad}{MARKER}\n"
    with start("csv", worker={"max_attempts": 2, "backoff": {"base_seconds": 1}}, logs={"level": "DEBUG"}) as client:
        logs = Logs(client)

        def ended() -> dict[str, tuple[str, int, int]]:
            lines = [line for line in logs.lines("worker") if line["message"] == "batch"]
            files = [file for line in lines for file in line["files"]]
            return {file["key"]: (file["outcome"], file["processed"], file["rejected"]) for file in files}

        put(client, "raw/rows.csv", rows)
        put(client, "raw/open-quote.csv", f'{header}{good}"{MARKER}\n')
        put(client, "raw/no-such-columns.csv", f"name,{MARKER}\nAnn,{MARKER}\n")
        client.until(lambda: len(ended()) == 3)
        with role(client, "worker").without("s3:PutObject"):
            put(client, "raw/retried.csv", f"{header}{good}")
            client.until(lambda: any("service did not answer" in line["message"] for line in logs.lines("worker")))
        client.until(lambda: len(ended()) == 4)
        text = logs.text()
        assert ended() == {
            "raw/rows.csv": ("succeeded", 1, 2),
            "raw/open-quote.csv": ("succeeded", 1, 1),
            "raw/no-such-columns.csv": ("failed", 0, 0),
            "raw/retried.csv": ("succeeded", 1, 0),
        }
    assert {*logs.groups} == {"worker"}
    assert MARKER not in text


def test_no_line_of_the_functions_of_an_iot_stack_has_anything_of_a_reading_but_what_its_alert_says(
    start: Start,
) -> None:
    good = {"device_id": MARKER, "timestamp": "2026-11-20T00:01:00Z", "metrics": {MARKER: 5, "temperature": 20}}
    bad = [
        {**good, "timestamp": MARKER},
        {**good, "metrics": {"temperature": MARKER}},
        {**good, "metrics": MARKER},
        {MARKER: MARKER},
        MARKER,
    ]
    with start("iot", logs={"level": "DEBUG"}) as client:
        logs = Logs(client)

        def counted() -> list[tuple[int, int]]:
            lines = [line for line in logs.lines("worker") if line["message"] == "object"]
            return [(line["readings"], line["rejected"]) for line in lines]

        put(
            client, "readings/lines.jsonl", "".join(json.dumps(each) + "\n" for each in [good, *bad]) + f'{{"{MARKER}\n'
        )
        client.until(counted)
        at = f"{datetime.now(UTC) - timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}"
        crossing = {"device_id": "d1", "timestamp": at, "metrics": {MARKER: 5, "temperature": 35}}
        put(client, "readings/crossing.jsonl", json.dumps(crossing))
        client.until(lambda: len(counted()) == 2)
        text, (alert,) = logs.text(), logs.lines("worker")[-1]["alerts"]
        assert counted() == [(1, 6), (1, 0)]
    assert (alert["device_id"], alert["metric"], alert["value"]) == ("d1", "temperature", "35")
    assert {*logs.groups} == {"worker", "watcher"}
    assert MARKER not in text


def test_the_live_view_shows_each_event_once_and_what_a_function_says(dev: Client, logs: Logs) -> None:
    view = LiveView(dev.up)
    list(view.lines())
    ids = [dev.post({"n": n})[1]["id"] for n in range(3)]
    dev.until(has_said(logs, "succeeded", 3))
    first = list(view.lines())
    again = list(view.lines())
    assert [sum(event_id in line for line in [*first, *again]) for event_id in ids] == [1, 1, 1]
    assert sum("POST /events: 1 accepted" in line for line in first) == 3
