"""A function's role, for tests that act as it and take its actions away one by one."""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from handlers.shared import aws

# Service, method, arguments.
Call = tuple[str, str, Mapping[str, object]]


class Role:
    """The role of a function in the emulator, or any by its `name`, seen and changed with all rights."""

    def __init__(self, root: Callable[[str], Any], function_name: str = "", *, name: str = "") -> None:
        self._iam, self._sts = root("iam"), root("sts")
        if not name:
            function = root("lambda").get_function_configuration(FunctionName=function_name)
            name = function["Role"].rsplit("/", 1)[1]
        self.name = name
        self._statements: dict[str, list[Mapping[str, Any]]] = {}
        for policy in sorted(self._iam.list_role_policies(RoleName=self.name)["PolicyNames"], reverse=True):
            found = self._iam.get_role_policy(RoleName=self.name, PolicyName=policy)
            self._statements[policy] = found["PolicyDocument"]["Statement"]

    @property
    def document(self) -> Mapping[str, Any]:
        """All of its policies as one."""
        return _document([statement for statements in self._statements.values() for statement in statements])

    @property
    def actions(self) -> list[tuple[int, str]]:
        """Return everything that is granted, with the position of its statement."""
        return [
            (position, action)
            for position, statement in enumerate(self.document["Statement"])
            for action in statement["Action"]
        ]

    @contextmanager
    def without(self, taken: str, statement: int | None = None) -> Iterator[None]:
        """One action is not granted in the block: by one statement, or by none."""
        positions = itertools.count()
        for policy, statements in self._statements.items():
            changed = [
                {
                    **each,
                    "Action": [
                        action for action in each["Action"] if action != taken or statement not in (None, position)
                    ],
                }
                for each, position in zip(statements, positions, strict=False)
            ]
            self._write(policy, [each for each in changed if each["Action"]])
        try:
            yield
        finally:
            for policy, statements in self._statements.items():
                self._write(policy, statements)

    def _write(self, policy: str, statements: Sequence[Mapping[str, Any]]) -> None:
        document = json.dumps(_document(statements))
        self._iam.put_role_policy(RoleName=self.name, PolicyName=policy, PolicyDocument=document)

    @contextmanager
    def acting(self) -> Iterator[None]:
        """The handlers' clients have the role's rights in the block."""
        before = json.dumps(self._iam.get_role(RoleName=self.name)["Role"]["AssumeRolePolicyDocument"])
        anybody = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [anybody]})
        self._iam.update_assume_role_policy(RoleName=self.name, PolicyDocument=document)
        arn = self._iam.get_role(RoleName=self.name)["Role"]["Arn"]
        keys = self._sts.assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
        self._iam.update_assume_role_policy(RoleName=self.name, PolicyDocument=before)
        try:
            with pytest.MonkeyPatch.context() as environment:
                environment.setenv("AWS_ACCESS_KEY_ID", keys["AccessKeyId"])
                environment.setenv("AWS_SECRET_ACCESS_KEY", keys["SecretAccessKey"])
                environment.setenv("AWS_SESSION_TOKEN", keys["SessionToken"])
                forget_clients()
                yield
        finally:
            # Also when what was tried in the block failed, as most of it is to.
            forget_clients()


def _document(statements: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def forget_clients() -> None:
    """The next client is made with the environment as it is then, boto3's too."""
    boto3.DEFAULT_SESSION = None
    aws._session.cache_clear()
    aws.client.cache_clear()


def not_refused(calls: Iterable[Call]) -> list[tuple[Call, str]]:
    """Those calls that are answered otherwise than that the caller may not do this, and how they are."""
    found = []
    for service, method, arguments in calls:
        try:
            getattr(aws.botocore_client(service), method)(**arguments)
            code = "done"
        except ClientError as error:
            code = str(error.response["Error"]["Code"])
        if not code.startswith(("AccessDenied", "AuthorizationError")):
            found.append(((service, method, arguments), code))
    return found
