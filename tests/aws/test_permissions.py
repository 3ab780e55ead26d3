"""Each action of each role is needed: the functions act as their roles, and without any one action something breaks.

What Lambda does with a role itself, and not our code, cannot be seen in this process: see UNSEEN.
"""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from handlers import aws
from handlers.processing import Rejected

from .conftest import Pipeline, Time

# Used by Lambda's poller and by Lambda's log delivery. Asserted on the graph: tests/components/test_roles.py.
UNSEEN = {
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
}

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
]


def role_of(pipeline: Pipeline, function: str) -> tuple[str, str, dict[str, Any]]:
    """A function's role: its name, and the name and document of its policy."""
    name = pipeline.environments[function]["AWS_LAMBDA_FUNCTION_NAME"]
    role = pipeline.root("lambda").get_function_configuration(FunctionName=name)["Role"].rsplit("/", 1)[1]
    iam = pipeline.root("iam")
    (policy,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    return role, policy, iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]


def without(document: Mapping[str, Any], action: str) -> str:
    statements = [
        {**statement, "Action": [granted for granted in statement["Action"] if granted != action]}
        for statement in document["Statement"]
    ]
    return json.dumps({**document, "Statement": [statement for statement in statements if statement["Action"]]})


@contextmanager
def acting_as(pipeline: Pipeline, function: str) -> Iterator[None]:
    """The handlers' clients have the rights of a function's role in the block."""
    role, _, _ = role_of(pipeline, function)
    iam = pipeline.root("iam")
    trusted = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trusted]})
    before = json.dumps(iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"])
    iam.update_assume_role_policy(RoleName=role, PolicyDocument=document)
    arn = iam.get_role(RoleName=role)["Role"]["Arn"]
    keys = pipeline.root("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
    iam.update_assume_role_policy(RoleName=role, PolicyDocument=before)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ACCESS_KEY_ID", keys["AccessKeyId"])
            patch.setenv("AWS_SECRET_ACCESS_KEY", keys["SecretAccessKey"])
            patch.setenv("AWS_SESSION_TOKEN", keys["SessionToken"])
            aws._session.cache_clear()
            aws.client.cache_clear()
            yield
    finally:
        # Also when what was tried in the block failed, as most of it is to.
        aws._session.cache_clear()
        aws.client.cache_clear()


def ingest_does_all_it_does(pipeline: Pipeline) -> None:
    """Raises AssertionError when it does not."""
    result = "results/2026/01/01/result.json"
    pipeline.root("s3").put_object(Bucket=pipeline.outputs["bucket_name"], Key=result, Body=b"{}")
    with acting_as(pipeline, "ingest"):
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
        queue_url, pipeline.settings = pipeline.outputs["queue_url"], {"queue_url": "http://127.0.0.1:1/nowhere"}
        assert pipeline.post({"n": 3}, Idempotency_Key="other").status == 503
        pipeline.settings = {"queue_url": queue_url}
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
    with acting_as(pipeline, "worker"):
        answer = pipeline.worker(process).handle(records, Time())
    returned = [json.loads(record["body"])["id"] for record in records if record["messageId"] in str(answer)]
    assert returned == [tracked[2]]
    assert pipeline.items()[untracked]["status"] == "succeeded"
    assert [pipeline.items()[event_id]["status"] for event_id in tracked] == ["succeeded", "failed", "queued"]
    assert len(pipeline.dead_letters()) == 1
    assert len(pipeline.alerts()) == 1
    time.sleep(1.1)
    assert pipeline.receive(), "its back-off was not set"


def test_the_lists_above_are_all_that_is_granted(pipeline: Pipeline) -> None:
    for function, listed in (("ingest", INGEST), ("worker", WORKER)):
        granted = [
            action for statement in role_of(pipeline, function)[2]["Statement"] for action in statement["Action"]
        ]
        assert [action for action in granted if action not in UNSEEN] == listed


def test_with_all_its_actions_the_ingest_function_works(pipeline: Pipeline) -> None:
    ingest_does_all_it_does(pipeline)
    assert pipeline.items()


def test_with_all_its_actions_the_worker_works(pipeline: Pipeline) -> None:
    worker_does_all_it_does(pipeline)
    assert pipeline.items()


@pytest.mark.parametrize(
    ("function", "action"),
    [*(("ingest", action) for action in INGEST), *(("worker", action) for action in WORKER)],
)
def test_without_any_one_action_something_breaks(pipeline: Pipeline, function: str, action: str) -> None:
    role, policy, document = role_of(pipeline, function)
    iam = pipeline.root("iam")
    iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=without(document, action))
    try:
        with pytest.raises(AssertionError):
            {"ingest": ingest_does_all_it_does, "worker": worker_does_all_it_does}[function](pipeline)
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(document))
