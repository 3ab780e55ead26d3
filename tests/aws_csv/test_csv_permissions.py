"""Each action of the worker's role is needed: without any one of them something breaks.

What Lambda does with the role itself, and not our code, cannot be seen in this process: see UNSEEN.
"""

import gzip
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from unittest.mock import patch

import pytest

from handlers import aws, file_objects

from .conftest import HEADER, Files, Time, rows

# Used by Lambda's poller and log delivery; and what MiniStack does not ask for: it answers NoSuchKey without
# s3:ListBucket, where S3 answers AccessDenied. Asserted on the graph: tests/components/test_csv.py.
UNSEEN = {
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "s3:ListBucket",
    "s3:GetObjectVersion",
}

# Every statement of the role, and its actions that can be seen, in the order of components/variants/csv.py.
SEEN = [
    (0, "sqs:ChangeMessageVisibility"),
    (1, "sqs:SendMessage"),
    (2, "dynamodb:UpdateItem"),
    (2, "dynamodb:GetItem"),
    (3, "s3:GetObject"),
    (4, "s3:PutObject"),
    (4, "s3:AbortMultipartUpload"),
    (4, "s3:GetObject"),
    (5, "s3:PutObject"),
    (5, "s3:AbortMultipartUpload"),
    (5, "s3:GetObject"),
    (6, "s3:PutObject"),
    (7, "s3:PutObject"),
    (8, "s3:GetObject"),
    (9, "sns:Publish"),
    (10, "sns:Publish"),
]


def role_of(files: Files) -> tuple[str, str, dict[str, Any]]:
    """The worker's role: its name, and the name and document of its policy."""
    name = files.environment["AWS_LAMBDA_FUNCTION_NAME"]
    role = files.root("lambda").get_function_configuration(FunctionName=name)["Role"].rsplit("/", 1)[1]
    iam = files.root("iam")
    (policy,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    return role, policy, iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]


def without(document: Mapping[str, Any], position: int, action: str) -> str:
    statements = [dict(statement) for statement in document["Statement"]]
    statements[position]["Action"] = [granted for granted in statements[position]["Action"] if granted != action]
    return json.dumps({**document, "Statement": [statement for statement in statements if statement["Action"]]})


@contextmanager
def acting_as_the_worker(files: Files) -> Iterator[None]:
    """The handlers' clients have the rights of the worker's role in the block."""
    role, _, _ = role_of(files)
    iam = files.root("iam")
    trusted = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    before = json.dumps(iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"])
    document = json.dumps({"Version": "2012-10-17", "Statement": [trusted]})
    iam.update_assume_role_policy(RoleName=role, PolicyDocument=document)
    arn = iam.get_role(RoleName=role)["Role"]["Arn"]
    keys = files.root("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
    iam.update_assume_role_policy(RoleName=role, PolicyDocument=before)
    try:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("AWS_ACCESS_KEY_ID", keys["AccessKeyId"])
            environment.setenv("AWS_SECRET_ACCESS_KEY", keys["SecretAccessKey"])
            environment.setenv("AWS_SESSION_TOKEN", keys["SessionToken"])
            aws._session.cache_clear()
            aws.client.cache_clear()
            yield
    finally:
        # Also when what was tried in the block failed, as most of it is to.
        aws._session.cache_clear()
        aws.client.cache_clear()


def it_does_all_it_does(files: Files) -> None:
    """A file of two runs whose second dies once, the same again, one that fails late. Raises AssertionError."""
    # Each output begins as an upload in parts, so that each has one to complete, to find completed, and to give up.
    files.upload("raw/good.csv", HEADER + rows(400))
    with acting_as_the_worker(files):
        records = files.receive()
        assert files.deliver(records, Time(3)) == [records[0]["messageId"]]
        again = files.receive()
        assert again, "its visibility was not set"
        with suppress(KeyboardInterrupt), patch.object(file_objects, "put_report", side_effect=KeyboardInterrupt):
            files.deliver(again)
        files.show_again(again)
        files.drain(deliveries=6)
        assert files.item()["status"] == "succeeded"
        assert [row["quantity"] for row in files.lines("processed/")] == [n for n in range(400) if n % 7 != 6]
        assert len(files.lines("rejected/")) == 57
        assert files.item()["settled"]
        assert len(files.told()) == 1
        files.send(records[0]["body"])
        files.drain(deliveries=6)
        files.upload("raw/bad.csv", gzip.compress((HEADER + rows(4_000)).encode())[:-1_000])
        files.drain(deliveries=6)
    assert files.uploads() == []
    assert len(files.dead_letters()) == len(files.told("alerts")) == len(files.told()) == 1


@pytest.fixture(autouse=True)
def few_attempts(files: Files) -> None:
    files.settings = {"max_attempts": 3}


def test_the_lists_above_are_all_that_is_granted(files: Files) -> None:
    granted = [
        (position, action)
        for position, statement in enumerate(role_of(files)[2]["Statement"])
        for action in statement["Action"]
        if action not in UNSEEN
    ]
    assert granted == SEEN


def test_with_all_its_actions_the_worker_works(files: Files) -> None:
    it_does_all_it_does(files)


@pytest.mark.parametrize(("position", "action"), SEEN)
def test_without_any_one_action_something_breaks(files: Files, position: int, action: str) -> None:
    role, policy, document = role_of(files)
    iam = files.root("iam")
    iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=without(document, position, action))
    try:
        with pytest.raises(AssertionError):
            it_does_all_it_does(files)
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(document))
