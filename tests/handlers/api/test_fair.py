"""A fair queue: events go into the groups of their tenants, in a standard queue, whose messages have no order."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from handlers.api.events import tenant
from handlers.processor import Rejected
from handlers.shared import aws, queues
from tests.api_pipeline import Pipeline


@pytest.fixture
def fair(pipeline: Pipeline) -> Pipeline:
    pipeline.settings["fair_field"] = "customer.id"
    return pipeline


def event(customer: object = None, **fields: Any) -> dict[str, Any]:
    return {**({} if customer is None else {"customer": {"id": customer}}), **fields}


def groups(pipeline: Pipeline) -> dict[str, str | None]:
    """The group of each message in the queue, by the name in its event."""
    return {
        json.loads(record["body"])["data"]["n"]: record["attributes"].get("MessageGroupId")
        for record in pipeline.receive()
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (event("acme"), "acme"),
        (event(7), "7"),
        ({"customer.id": "flat"}, "flat"),
        (event(), ""),
        (event(""), ""),
        (event([1]), ""),
    ],
)
def test_a_tenant_is_a_text_or_a_number(given: Any, expected: str) -> None:
    assert tenant(given, "customer.id") == expected


@pytest.mark.parametrize("given", ["a b", "x" * 129, "é", "\ud800"])
def test_a_tenant_that_sqs_does_not_take_as_a_group_is_hashed(given: str) -> None:
    found = tenant(event(given), "customer.id")
    assert re.fullmatch("[0-9a-f]{64}", found)
    assert found == tenant(event(given, n=2), "customer.id") != tenant(event(f"{given}?"), "customer.id")


def test_events_go_into_the_groups_of_their_tenants_and_none_is_refused(fair: Pipeline) -> None:
    sent = [event("acme", n="one"), event(7, n="two"), event(n="three"), event({"no": "text"}, n="four")]
    assert fair.post(sent).body["accepted"] == 4
    assert groups(fair) == {"one": "acme", "two": "7", "three": None, "four": None}


def test_a_standard_queue_gets_no_group_unless_it_is_fair(pipeline: Pipeline) -> None:
    pipeline.post([event("acme", n="one")])
    assert groups(pipeline) == {"one": None}


def test_an_event_does_not_wait_behind_a_failed_one_of_its_tenant(fair: Pipeline) -> None:
    fair.post([event("acme", n=name) for name in ("one", "two", "three")])

    def process(given: Mapping[str, Any]) -> str:
        if given["n"] == "one":
            raise RuntimeError("not yet")
        return "done"

    returned = fair.deliver(fair.worker(process), fair.receive())
    assert len(returned) == 1
    assert sorted(item["status"] for item in fair.items().values()) == ["retrying", "succeeded", "succeeded"]


def test_a_dead_letter_keeps_its_tenant_so_that_a_redrive_is_fair_too(fair: Pipeline) -> None:
    fair.post([event("acme", n="one"), event(n="two")])

    def process(_given: Mapping[str, Any]) -> str:
        raise Rejected("never")

    fair.drain(fair.worker(process))
    answer = fair.root("sqs").receive_message(
        QueueUrl=fair.outputs["dead_letter_queue_url"], MaxNumberOfMessages=10, AttributeNames=["All"]
    )
    letters = {json.loads(each["Body"])["data"]["n"]: each["Attributes"] for each in answer["Messages"]}
    assert {name: each.get("MessageGroupId") for name, each in letters.items()} == {"one": "acme", "two": None}


def test_a_refused_message_with_a_group_is_sent_again(fair: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Order does not matter here, so calls run side by side and what is refused is retried."""
    monkeypatch.setattr(queues, "PAUSE_SECONDS", 0)
    requests: list[Mapping[str, Any]] = []
    client = aws.client("sqs")
    whole: Callable[..., Any] = client.send_message_batch

    def first_only(**request: Any) -> Any:
        requests.append(request)
        return whole(QueueUrl=request["QueueUrl"], Entries=request["Entries"][:1])

    monkeypatch.setattr(client, "send_message_batch", first_only)
    messages = [queues.Outgoing(str(number), {}, "acme", f"id-{number}") for number in range(2)]
    assert queues.send(fair.outputs["queue_url"], messages) == [True, True]
    assert len(requests) == 2
    # SQS refuses a deduplication id in a standard queue.
    assert {key for each in requests for entry in each["Entries"] for key in entry} == {
        "Id",
        "MessageBody",
        "MessageAttributes",
        "MessageGroupId",
    }
