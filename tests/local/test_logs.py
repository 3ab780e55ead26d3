"""What both functions log of a request, as the emulator keeps it: found by the request's correlation id."""

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from components.queries import EVENT_QUERIES
from tests.roles import Role

from .conftest import Client

Line = dict[str, Any]


class Logs:
    """The log lines of both functions that were written since this was made."""

    def __init__(self, client: Client) -> None:
        self._logs = client.aws("logs")
        self.groups: dict[str, str] = {}
        for function in client.up.engine.functions:
            config = client.aws("lambda").get_function_configuration(FunctionName=function.name)
            self.groups[function.handler.split(".")[1]] = config["LoggingConfig"]["LogGroup"]
        self._before = {function: len(self._all(function)) for function in self.groups}

    def _all(self, function: str) -> list[str]:
        pages = self._logs.get_paginator("filter_log_events").paginate(logGroupName=self.groups[function])
        return [event["message"] for page in pages for event in page["events"]]

    def lines(self, function: str) -> list[Line]:
        """What the function said; not what Lambda says of its runs, nor the lines that are metrics."""
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
    """Whether the worker has said this of so many events."""
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


@pytest.fixture
def role_of(dev: Client) -> Callable[[str], Role]:
    names = {function.handler.split(".")[1]: function.name for function in dev.up.engine.functions}
    return lambda function: Role(dev.aws, names[function])


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
        dev.until(has_said(logs, "retry"))
    with role_of("worker").without("dynamodb:BatchGetItem"):
        dev.until(lambda: any("service did not answer" in line["message"] for line in logs.lines("worker")))
    assert answer["accepted"] == 2
    dev.until(has_said(logs, "succeeded", 2))
    said = {function: logs.lines(function) for function in ("ingest", "worker")}
    assert [line["message"] for line in said["ingest"]] == ["request"]
    assert {line["message"] for line in said["worker"]} == {
        "batch",
        "an attempt failed",
        "a service did not answer; what is not done returns to the queue",
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
        dev.until(has_said(logs, "retry"))
    dev.until(has_said(logs, "succeeded"))
    events = [event for line in logs.lines("worker") if line["message"] == "batch" for event in line["events"]]
    assert [(event["outcome"], event["attempts"], event["id"]) for event in events[-1:]] == [("succeeded", 2, event_id)]
    assert events[-1]["latency_ms"] > 1_000
    assert events[-1]["type"] == "page_view"
    assert (events[0]["outcome"], events[0]["error_type"]) == ("retry", "AccessDenied")
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
