"""Each action of the worker's role is needed: acting as its role, without any one of them something breaks."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.exceptions import ClientError

from handlers.iot_worker import NotPublishedError
from handlers.reading_table import ReadingTableError
from local.engine import Running
from local.services import Clients

from .conftest import Iot, forget_clients, lines, reading

# Used by Lambda itself, or not asked for by the emulator. Asserted on the graph: tests/components/test_iot.py.
UNSEEN = {"sqs:SendMessage", "logs:CreateLogStream", "logs:PutLogEvents", "s3:GetObjectVersion", "s3:ListBucket"}
WORKER = [
    "s3:GetObject",
    "s3:PutObject",
    "dynamodb:BatchWriteItem",
    "dynamodb:BatchGetItem",
    "dynamodb:PartiQLInsert",
    "dynamodb:PartiQLUpdate",
    "sns:Publish",
]


class Role:
    """The worker's role, seen and changed with all rights."""

    def __init__(self, stack: Running) -> None:
        root = Clients(stack.emulator.endpoint, stack.project.region)
        self._iam, self._sts = root("iam"), root("sts")
        function = root("lambda").get_function_configuration(FunctionName=stack.outputs["worker_name"])
        self._name = function["Role"].rsplit("/", 1)[1]
        (self._policy,) = self._iam.list_role_policies(RoleName=self._name)["PolicyNames"]
        self.document: Mapping[str, Any] = self._iam.get_role_policy(RoleName=self._name, PolicyName=self._policy)[
            "PolicyDocument"
        ]

    @property
    def actions(self) -> list[str]:
        return [action for statement in self.document["Statement"] for action in statement["Action"]]

    def _write(self, document: Mapping[str, Any]) -> None:
        self._iam.put_role_policy(RoleName=self._name, PolicyName=self._policy, PolicyDocument=json.dumps(document))

    @contextmanager
    def without(self, action: str) -> Iterator[None]:
        statements = [
            {**statement, "Action": [granted for granted in statement["Action"] if granted != action]}
            for statement in self.document["Statement"]
        ]
        self._write({**self.document, "Statement": [statement for statement in statements if statement["Action"]]})
        try:
            yield
        finally:
            self._write(self.document)

    @contextmanager
    def acting(self) -> Iterator[None]:
        """The handlers' clients have the role's rights in the block."""
        before = json.dumps(self._iam.get_role(RoleName=self._name)["Role"]["AssumeRolePolicyDocument"])
        anybody = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [anybody]})
        self._iam.update_assume_role_policy(RoleName=self._name, PolicyDocument=document)
        arn = self._iam.get_role(RoleName=self._name)["Role"]["Arn"]
        keys = self._sts.assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
        self._iam.update_assume_role_policy(RoleName=self._name, PolicyDocument=before)
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("AWS_ACCESS_KEY_ID", keys["AccessKeyId"])
                patch.setenv("AWS_SECRET_ACCESS_KEY", keys["SecretAccessKey"])
                patch.setenv("AWS_SESSION_TOKEN", keys["SessionToken"])
                forget_clients()
                yield
        finally:
            forget_clients()


def worker_does_all_it_does(iot: Iot, role: Role) -> None:
    """Raises what a service refuses it."""
    event = iot.upload(lines(reading("d1", 1, 40), {}))
    with role.acting():
        iot.worker().handle(event, "run")


def test_the_list_above_is_all_that_is_granted(stack: Running) -> None:
    assert sorted(set(Role(stack).actions) - UNSEEN) == sorted(WORKER)


def test_with_all_its_actions_the_worker_works(iot: Iot, stack: Running) -> None:
    worker_does_all_it_does(iot, Role(stack))
    assert len(iot.readings()) == 1
    assert len(iot.rejections()) == 1
    assert iot.alerts() == ["d1 temperature crossed 40"]
    assert iot.states()["d1"]["pending"] == []


@pytest.mark.parametrize("action", WORKER)
def test_without_any_one_action_something_breaks(iot: Iot, stack: Running, action: str) -> None:
    role = Role(stack)
    with role.without(action), pytest.raises((ClientError, NotPublishedError, ReadingTableError)):
        worker_does_all_it_does(iot, role)
