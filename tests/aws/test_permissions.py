"""Each action of each role is needed: the functions act as their roles, and without any one action something breaks.

What Lambda does with a role itself, and not our code, cannot be seen in this process: see UNSEEN.
"""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from handlers import dead_letters, queues
from handlers.processing import Rejected
from tests.decisions import denied, recorded, unused
from tests.roles import Role

from .conftest import Pipeline, Time

# Used by Lambda's poller and by Lambda's log delivery. Asserted on the graph: tests/components/test_roles.py.
LOGS = {"logs:CreateLogStream", "logs:PutLogEvents"}
POLLER = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}
# test_faults.py
FAULTS = {"ssm:GetParameter"}
UNSEEN = {"ingest": LOGS | FAULTS, "worker": POLLER | LOGS | FAULTS, "redrive": LOGS}

INGEST = [
    "sqs:SendMessage",
    "dynamodb:BatchGetItem",
    "dynamodb:PartiQLInsert",
    "dynamodb:PartiQLUpdate",
    "dynamodb:PartiQLDelete",
    "dynamodb:PutItem",
    "dynamodb:Query",
    "s3:GetObject",
]
WORKER = [
    "sqs:ChangeMessageVisibility",
    "sqs:SendMessage",
    "dynamodb:BatchGetItem",
    "dynamodb:PartiQLInsert",
    "dynamodb:PartiQLUpdate",
    "s3:PutObject",
    "sns:Publish",
    "events:PutEvents",
]
REDRIVE = [
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "sqs:ChangeMessageVisibility",
    "sqs:SendMessage",
    "dynamodb:BatchGetItem",
]


def role_of(pipeline: Pipeline, function: str) -> Role:
    return Role(pipeline.root, pipeline.environments[function]["AWS_LAMBDA_FUNCTION_NAME"])


def ingest_does_all_it_does(pipeline: Pipeline) -> None:
    """Raises AssertionError when it does not."""
    result = "results/2026/01/01/result.json"
    pipeline.root("s3").put_object(Bucket=pipeline.outputs["bucket_name"], Key=result, Body=b"{}")
    with role_of(pipeline, "ingest").acting():
        plain = pipeline.post({"n": 1})
        keyed = pipeline.post({"n": 2}, Idempotency_Key="key")
        assert (plain.status, keyed.status) == (202, 202)
        for answer in (plain, keyed):
            assert pipeline.shown(answer.body["id"]).body.get("status") == "queued"
        assert len(pipeline.request("GET", "/events").body.get("events", [])) == 2
        table = pipeline.outputs["table_name"]
        change = {"TableName": table, "Key": {"id": {"S": keyed.body["id"]}}}
        pipeline.root("dynamodb").update_item(
            **change,
            UpdateExpression="SET expires_at = :past",
            ExpressionAttributeValues={":past": {"N": "1"}},
        )
        assert pipeline.post({"n": 2}, Idempotency_Key="key").status == 202
        pipeline.root("dynamodb").update_item(
            **change,
            UpdateExpression="SET result_key = :key",
            ExpressionAttributeValues={":key": {"S": result}},
        )
        url = pipeline.shown(keyed.body["id"]).body["result_url"]
        assert fetched(url) == b"{}"
        with patch.object(queues, "send", return_value=[False]):
            assert pipeline.post({"n": 3}, Idempotency_Key="other").status == 503
    assert len(pipeline.items()) == 2


def fetched(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url) as response:
            return bytes(response.read())
    except urllib.error.HTTPError as error:
        return str(error.code).encode()


def worker_does_all_it_does(pipeline: Pipeline) -> None:
    """Raises AssertionError when it does not."""
    pipeline.settings = {"backoff_base_seconds": 1}
    tracked = [pipeline.post({"n": n}).body["id"] for n in range(3)]
    pipeline.settings = {"track": False}
    untracked = pipeline.post({"n": 0}).body["id"]
    pipeline.settings = {"backoff_base_seconds": 1, "track": True}

    def process(event: Mapping[str, Any]) -> int:
        if event["n"] == 1:
            raise Rejected("never")
        if event["n"] == 2:
            raise RuntimeError("not now")
        return 1

    records = pipeline.receive()
    with role_of(pipeline, "worker").acting():
        answer = pipeline.worker(process).handle(records, Time())
    returned = [json.loads(record["body"])["id"] for record in records if record["messageId"] in str(answer)]
    assert returned == [tracked[2]]
    assert pipeline.items()[untracked]["status"] == "succeeded"
    assert [pipeline.items()[event_id]["status"] for event_id in tracked] == ["succeeded", "failed", "queued"]
    assert len(pipeline.dead_letters()) == 1
    assert len(pipeline.alerts()) == 1
    assert sorted(event["detail"]["status"] for event in pipeline.told()) == ["failed", "succeeded", "succeeded"]
    time.sleep(1.1)
    assert pipeline.receive(), "its back-off was not set"


def redrive_does_all_it_does(pipeline: Pipeline) -> None:
    """Raises AssertionError when it does not."""
    url = pipeline.outputs["dead_letter_queue_url"]
    event_id = pipeline.post({"n": 1}).body["id"]
    (message,) = pipeline.receive()
    pipeline.settle([message], {"batchItemFailures": []})
    pipeline.root("sqs").send_message(QueueUrl=url, MessageBody=message["body"])
    with role_of(pipeline, "redrive").acting(), patch.object(dead_letters, "POLL_SECONDS", 0):
        shown = pipeline.request("GET", "/redrive/preview").body
        assert [letter["id"] for letter in shown.get("messages", [])] == [event_id]
        assert shown["remaining"] == 1
        answer = pipeline.root("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
        assert answer["Attributes"]["ApproximateNumberOfMessages"] == "1", "it was not made visible again"
        assert pipeline.request("POST", "/redrive/start", {}).body["redriven"] == 1
    assert [json.loads(record["body"])["id"] for record in pipeline.receive()] == [event_id]


DOES_ALL = {
    "ingest": ingest_does_all_it_does,
    "worker": worker_does_all_it_does,
    "redrive": redrive_does_all_it_does,
}


def test_the_lists_above_are_all_that_is_granted(pipeline: Pipeline) -> None:
    for function, listed in (("ingest", INGEST), ("worker", WORKER), ("redrive", REDRIVE)):
        granted = [action for _, action in role_of(pipeline, function).actions]
        assert [action for action in granted if action not in UNSEEN[function]] == listed


@pytest.mark.parametrize("function", DOES_ALL)
def test_all_that_is_granted_is_used_where_it_is_granted_and_nothing_is_denied(
    pipeline: Pipeline, decisions: Path, function: str
) -> None:
    role = role_of(pipeline, function)
    with recorded(decisions) as recording:
        DOES_ALL[function](pipeline)
    assert denied(recording.of(role.name)) == []
    assert {action for action, _ in unused(role.document, recording.of(role.name))} == UNSEEN[function]


@pytest.mark.parametrize(
    ("function", "action"),
    [
        *(("ingest", action) for action in INGEST),
        *(("worker", action) for action in WORKER),
        *(("redrive", action) for action in REDRIVE),
    ],
)
def test_without_any_one_action_something_breaks(pipeline: Pipeline, function: str, action: str) -> None:
    with role_of(pipeline, function).without(action), pytest.raises(AssertionError):
        DOES_ALL[function](pipeline)
