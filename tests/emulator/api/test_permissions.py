"""Each action of each role is required: the functions act as their roles, and removing any action breaks something.

What Lambda does with a role itself, and not our code, cannot be seen in this process: see UNSEEN in tests/decisions.py.
"""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from handlers.api import archive
from handlers.api.compactor import Compactor
from handlers.api.decisions import Delivery
from handlers.api.events import Envelope
from handlers.api.signatures import Rule, sign
from handlers.processor import Rejected
from handlers.shared import dead_letters, queues
from handlers.shared.dynamodb import outside_errors
from handlers.shared.times import timestamp
from tests.api_pipeline import SECRET_VALUES, Pipeline, Time
from tests.decisions import FAULTS, LOGS, POLLER, denied, recorded, unused
from tests.roles import Call, Role, not_refused

UNSEEN = {
    "ingest": LOGS | FAULTS,
    "worker": POLLER | LOGS | FAULTS,
    "redrive": LOGS,
    # Lambda itself keeps runs that fail.
    "reconciler": LOGS | {"sqs:SendMessage"},
    "compactor": LOGS | {"sqs:SendMessage"},
}

# Every statement of a role, and its actions that can be seen, in the order of components/variants/api.py.
INGEST = [
    (0, "sqs:SendMessage"),
    (1, "dynamodb:BatchGetItem"),
    (2, "dynamodb:PartiQLInsert"),
    (2, "dynamodb:PartiQLUpdate"),
    (2, "dynamodb:PartiQLDelete"),
    (2, "dynamodb:PutItem"),
    (3, "dynamodb:Query"),
    (4, "s3:GetObject"),
    (5, "s3:PutObject"),  # the archive
    (7, "secretsmanager:GetSecretValue"),  # after the parameter of faults
]
WORKER = [
    (0, "sqs:ChangeMessageVisibility"),
    (1, "sqs:SendMessage"),
    (2, "dynamodb:BatchGetItem"),
    (3, "dynamodb:PartiQLInsert"),
    (3, "dynamodb:PartiQLUpdate"),
    (4, "s3:PutObject"),  # results
    (5, "s3:PutObject"),  # the archive
    (6, "sns:Publish"),
    (7, "events:PutEvents"),
]
REDRIVE = [
    (0, "sqs:ReceiveMessage"),
    (0, "sqs:DeleteMessage"),
    (0, "sqs:GetQueueAttributes"),
    (0, "sqs:ChangeMessageVisibility"),
    (1, "sqs:SendMessage"),
    (2, "dynamodb:BatchGetItem"),
]
RECONCILER = [
    (1, "sqs:ReceiveMessage"),
    (1, "sqs:GetQueueAttributes"),
    (1, "sqs:ChangeMessageVisibility"),
    (2, "dynamodb:BatchGetItem"),
    (3, "dynamodb:PartiQLInsert"),
    (3, "dynamodb:PartiQLUpdate"),
    (4, "dynamodb:Query"),
    (5, "sns:Publish"),
    (6, "s3:PutObject"),  # the archive
    (7, "events:PutEvents"),
]
COMPACTOR = [(1, "s3:ListBucket"), (2, "s3:GetObject"), (3, "s3:PutObject"), (4, "s3:DeleteObject")]
LISTS = {
    "ingest": INGEST,
    "worker": WORKER,
    "redrive": REDRIVE,
    "reconciler": RECONCILER,
    "compactor": COMPACTOR,
}


def role_of(pipeline: Pipeline, function: str) -> Role:
    return Role(pipeline.root, pipeline.environments[function]["AWS_LAMBDA_FUNCTION_NAME"])


def ingest_does_all_it_does(pipeline: Pipeline) -> None:
    """Use each right. Raises AssertionError if one is missing."""
    pipeline.settings = {"archive_accepted": True}
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
        signed = sign(Rule("github"), SECRET_VALUES["webhook_shop"], b"{}", message_id="", now=0)
        headers = {name.lower(): value for name, value in signed.items()}
        assert pipeline.request("POST", "/webhooks/shop", text=b"{}", headers=headers).status == 202
    assert len(pipeline.items()) == 3
    assert pipeline.objects("archive/")


def fetched(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url) as response:
            return bytes(response.read())
    except urllib.error.HTTPError as error:
        return str(error.code).encode()


def worker_does_all_it_does(pipeline: Pipeline) -> None:
    """Use each right. Raises AssertionError if one is missing."""
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
    assert [pipeline.items()[event_id]["status"] for event_id in tracked] == ["succeeded", "failed", "retrying"]
    assert len(pipeline.dead_letters()) == 1
    assert len(pipeline.alerts()) == 1
    assert sorted(event["detail"]["status"] for event in pipeline.told()) == ["failed", "succeeded", "succeeded"]
    time.sleep(1.1)
    assert pipeline.receive(), "its back-off was not set"


def redrive_does_all_it_does(pipeline: Pipeline) -> None:
    """Use each right. Raises AssertionError if one is missing."""
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


def reconciler_does_all_it_does(pipeline: Pipeline) -> None:
    """Use each right. Raises AssertionError if one is missing."""
    sqs, url = pipeline.root("sqs"), pipeline.outputs["queue_url"]
    policy = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])["Attributes"]["RedrivePolicy"]
    tracked = pipeline.post({"n": 1}).body["id"]
    pipeline.settings = {"track": False}
    untracked = pipeline.post({"n": 2}).body["id"]
    try:
        lowered = json.dumps({**json.loads(policy), "maxReceiveCount": 1})
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": lowered})
        for _ in range(2):
            pipeline.show_again(pipeline.receive())
    finally:
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": policy})
    with role_of(pipeline, "reconciler").acting(), patch.object(dead_letters, "POLL_SECONDS", 0):
        function = pipeline.reconciler()
        stuck = pipeline.stuck()
        # One day, or it has hundreds of hours to look at.
        stuck._kept = timedelta(seconds=stuck._lost_after_seconds) + timedelta(days=1)
        try:
            function.run(Time(60))
            stuck.look(lambda: True)
        except outside_errors() as error:
            raise AssertionError from error
        assert function._looked, "it does not know how many there are"
    assert [pipeline.items().get(each, {}).get("status") for each in (tracked, untracked)] == ["failed", "failed"]
    assert (len(pipeline.told()), len(pipeline.alerts())) == (2, 1)
    assert len(pipeline.dead_letters()) == 2, "they were not made visible again"


def compactor_does_all_it_does(pipeline: Pipeline) -> None:
    """Use each right. Raises AssertionError if one is missing."""
    now, bucket = datetime.now(UTC), pipeline.outputs["bucket_name"]
    received_at = timestamp(now - timedelta(hours=5))
    for number in range(5):
        event = Envelope(f"e-{number}", "t", received_at, "", "", "", "", {})
        archive.keep(bucket, [Delivery("m", "r", "", 1, envelope=event, stored={"status": "succeeded"})])
    with role_of(pipeline, "compactor").acting():
        try:
            Compactor(bucket).run(Time(900), now)
        except outside_errors() as error:
            raise AssertionError from error
    assert len(pipeline.objects("archive/")) == 1


DOES_ALL = {
    "ingest": ingest_does_all_it_does,
    "worker": worker_does_all_it_does,
    "redrive": redrive_does_all_it_does,
    "reconciler": reconciler_does_all_it_does,
    "compactor": compactor_does_all_it_does,
}


def test_the_lists_above_are_the_whole_grant(pipeline: Pipeline) -> None:
    for function, listed in LISTS.items():
        granted = role_of(pipeline, function).actions
        assert [each for each in granted if each[1] not in UNSEEN[function]] == listed


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
    ("function", "statement", "action"),
    [(function, *each) for function, listed in LISTS.items() for each in listed],
)
def test_without_any_one_action_something_breaks(
    pipeline: Pipeline, function: str, statement: int, action: str
) -> None:
    with role_of(pipeline, function).without(action, statement), pytest.raises(AssertionError):
        DOES_ALL[function](pipeline)


def test_a_role_may_do_nothing_elsewhere_than_where_it_is_granted(pipeline: Pipeline) -> None:
    """Tries each allowed action on another prefix, table, queue and topic."""
    root, bucket, table = pipeline.root, pipeline.outputs["bucket_name"], "test-elsewhere"
    queue_url = root("sqs").create_queue(QueueName=table)["QueueUrl"]
    topic_arn = root("sns").create_topic(Name=table)["TopicArn"]
    root("dynamodb").create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    root("s3").put_object(Bucket=bucket, Key="other/a", Body=b"")

    keys: dict[str, object] = {"RequestItems": {table: {"Keys": [{"id": {"S": "a"}}]}}}
    insert: dict[str, object] = {"Statement": f"INSERT INTO \"{table}\" VALUE {{'id': 'a'}}"}
    tried: dict[str, list[Call]] = {
        "ingest": [
            ("s3", "get_object", {"Bucket": bucket, "Key": "other/a"}),
            ("sqs", "send_message", {"QueueUrl": queue_url, "MessageBody": "a"}),
            ("dynamodb", "batch_get_item", keys),
            ("dynamodb", "execute_statement", insert),
            ("dynamodb", "put_item", {"TableName": table, "Item": {"id": {"S": "a"}}}),
        ],
        "worker": [
            ("s3", "put_object", {"Bucket": bucket, "Key": "other/a", "Body": b"x"}),
            ("sqs", "send_message", {"QueueUrl": queue_url, "MessageBody": "a"}),
            ("dynamodb", "batch_get_item", keys),
            ("dynamodb", "execute_statement", insert),
            ("sns", "publish", {"TopicArn": topic_arn, "Message": "a"}),
        ],
    }
    for function, calls in tried.items():
        with role_of(pipeline, function).acting():
            assert not_refused(calls) == []
    assert pipeline.objects("other/") == {"other/a": b""}
    root("dynamodb").delete_table(TableName=table)
    root("sqs").delete_queue(QueueUrl=queue_url)
    root("sns").delete_topic(TopicArn=topic_arn)
