"""Calls and retries of PutEvents, with a bus that refuses chosen events, and with moto's."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from handlers.api import outcomes
from handlers.api.outcomes import Outcome
from handlers.api.worker import STORING_SECONDS
from handlers.shared import aws

Entries = list[Mapping[str, Any]]


class Bus:
    """A bus that refuses entries by `refuses(call, number)`. `calls` has the numbers of each call's entries."""

    def __init__(self, refuses: Callable[[int, int], bool]) -> None:
        self._refuses = refuses
        self.calls: list[list[int]] = []
        self.entries: Entries = []

    def put_events(self, **request: Entries) -> Mapping[str, Any]:
        numbers = [json.loads(entry["Detail"])["n"] for entry in request["Entries"]]
        self.entries += request["Entries"]
        self.calls.append(numbers)
        answers = [
            {"ErrorCode": "ThrottlingException"} if self._refuses(len(self.calls), number) else {"EventId": "e"}
            for number in numbers
        ]
        return {"FailedEntryCount": sum("ErrorCode" in answer for answer in answers), "Entries": answers}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "PAUSE_SECONDS", 0)
    # One call at a time, so that calls have an order.
    monkeypatch.setattr(aws, "CALLS_AT_ONCE", 1)


def publish(monkeypatch: pytest.MonkeyPatch, bus: Any, count: int) -> list[bool]:
    monkeypatch.setattr(aws, "client", {"events": bus}.__getitem__)
    return outcomes.publish(
        "the-bus", "the-service", [Outcome("Event Failed", {"n": n}, ("arn",)) for n in range(count)]
    )


def test_ten_events_go_to_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    bus = Bus(lambda _call, _number: False)
    assert publish(monkeypatch, bus, 23) == [True] * 23
    assert [len(call) for call in bus.calls] == [10, 10, 3]
    assert bus.entries[0] == {
        "EventBusName": "the-bus",
        "Source": "the-service",
        "DetailType": "Event Failed",
        "Detail": '{"n":0}',
        "Resources": ["arn"],
    }


def test_only_refused_events_are_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    bus = Bus(lambda call, number: call <= 2 and number in (3, 11))
    assert publish(monkeypatch, bus, 12) == [True] * 12
    assert bus.calls == [list(range(10)), [10, 11], [3, 11]]


def test_an_event_that_is_always_refused_is_reported_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    bus = Bus(lambda _call, number: number == 1)
    assert publish(monkeypatch, bus, 3) == [True, False, True]
    assert bus.calls == [[0, 1, 2], [1], [1]]


def test_a_call_that_fails_is_not_retried_and_does_not_affect_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Broken(Bus):
        def put_events(self, **request: Entries) -> Mapping[str, Any]:
            answer = super().put_events(**request)
            if len(self.calls) == 1:
                raise ClientError({"Error": {"Code": "InternalException", "Message": ""}}, "PutEvents")
            return answer

    bus = Broken(lambda _call, _number: False)
    assert publish(monkeypatch, bus, 12) == [False] * 10 + [True] * 2
    assert len(bus.calls) == 2


def test_without_events_no_call_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    bus = Bus(lambda _call, _number: True)
    assert publish(monkeypatch, bus, 0) == []
    assert bus.calls == []


def test_a_bus_that_hangs_leaves_the_worker_time_to_answer_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    config = aws.client("events").meta.config
    attempts = config.retries["total_max_attempts"]
    assert attempts * (config.connect_timeout + config.read_timeout) < STORING_SECONDS


def test_a_rule_finds_outcome_events_by_source_and_type(aws_in_process: None) -> None:  # noqa: ARG001  moto answers
    url = aws.client("sqs").create_queue(QueueName="heard")["QueueUrl"]
    events = aws.client("events")
    events.create_event_bus(Name="bus")
    pattern = json.dumps({"source": ["shop"], "detail-type": ["Event Failed"]})
    events.put_rule(Name="failed", EventBusName="bus", EventPattern=pattern)
    target = {"Id": "heard", "Arn": "arn:aws:sqs:us-east-1:123456789012:heard"}
    events.put_targets(Rule="failed", EventBusName="bus", Targets=[target])
    told = [Outcome("Event Failed", {"n": 1, "text": "\N{GRINNING FACE}"}, ("arn:a",)), Outcome("Event Succeeded", {})]
    assert outcomes.publish("bus", "shop", told) == [True, True]
    (message,) = aws.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    heard = json.loads(message["Body"])
    assert (heard["source"], heard["detail-type"], heard["resources"]) == ("shop", "Event Failed", ["arn:a"])
    assert heard["detail"] == {"n": 1, "text": "\N{GRINNING FACE}"}
