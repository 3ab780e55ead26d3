"""Requests that AWS would refuse and an emulator takes: one broken input for each kind of constraint."""

from typing import Any

import botocore.session
import pytest

from local.constraints import refuse_violations
from local.errors import LocalError

SESSION = botocore.session.Session()


def check(service: str, operation: str, **params: Any) -> None:
    refuse_violations(params, SESSION.get_service_model(service).operation_model(operation))


@pytest.mark.parametrize(
    ("service", "operation", "params", "found"),
    [
        (
            "lambda",
            "CreateFunction",
            {"FunctionName": "f", "Runtime": "python2"},
            "AWS would refuse lambda.CreateFunction: Runtime is 'python2', and not one of nodejs",
        ),
        (
            "lambda",
            "CreateFunction",
            {"VpcConfig": {"SubnetIds": ["s"] * 17}},
            "VpcConfig.SubnetIds has 17 items, above 16",
        ),
        ("lambda", "CreateFunction", {"MemorySize": 64}, "MemorySize is 64, below 128"),
        ("lambda", "CreateFunction", {"Timeout": 0}, "Timeout is 0, below 1"),
        ("lambda", "CreateFunction", {"Handler": "a b"}, "Handler is 'a b', and does not match "),
        ("iam", "CreateRole", {"RoleName": "r" * 65}, "RoleName has 65 characters, above 64"),
        ("iam", "CreateRole", {"RoleName": ""}, "RoleName has 0 characters, below 1"),
        (
            "iam",
            "CreateRole",
            {"Tags": [{"Key": "a", "Value": "b"}, {"Key": "a|b", "Value": ""}]},
            "Tags[1].Key is 'a|b', and does not match ",
        ),
        (
            "s3",
            "PutBucketVersioning",
            {"VersioningConfiguration": {"Status": "On"}},
            "VersioningConfiguration.Status is 'On', and not one of Enabled, Suspended",
        ),
        (
            "lambda",
            "PublishLayerVersion",
            {"Content": {}, "LayerName": "n" * 141},
            "LayerName has 141 characters, above 140",
        ),
    ],
)
def test_a_request_beyond_a_constraint_of_aws_is_refused_with_the_input_and_the_limit(
    service: str, operation: str, params: dict[str, Any], found: str
) -> None:
    with pytest.raises(LocalError) as raised:
        check(service, operation, **params)
    assert found in str(raised.value)


def test_requests_within_the_constraints_pass() -> None:
    check("lambda", "CreateFunction", FunctionName="f", MemorySize=128, Timeout=900, Runtime="python3.13")
    check("iam", "CreateRole", RoleName="r" * 64, Tags=[{"Key": "Größe", "Value": ""}])
    check("sqs", "CreateQueue", QueueName="q", Attributes={"FifoQueue": "true"})
