"""The hardened stack as it ships: IAM enforced, signed requests, a key and a network of its own."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from local.engine import running
from local.project import load_project
from tests.graphs import SAMPLES

from .conftest import Client

ORDERS = [{"orderId": f"order-{number}", "amount": 10 + number} for number in range(20)]


def signed(client: Client, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    data = b"" if body is None else json.dumps(body).encode()
    request = AWSRequest(method, client.outputs["api_url"] + path, data=data, headers={"Content-Type": "text/json"})
    root = client.up.emulator.keys
    SigV4Auth(Credentials(root.access_key, root.secret_key), "execute-api", "us-east-1").add_auth(request)
    return client.request(method, path, headers=dict(request.headers.items()), raw=data)


@pytest.fixture(scope="module")
def decisions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("iam") / "decisions.jsonl"


@pytest.fixture(scope="module")
def ingestion(decisions: Path) -> Iterator[Client]:
    with running(load_project(SAMPLES, "ingestion"), iam_log=decisions) as pipeline:
        yield Client(pipeline)


@pytest.fixture(scope="module")
def orders(ingestion: Client) -> list[str]:
    """The ids of orders that went through all of it."""
    status, answer = signed(ingestion, "POST", "/events", [*ORDERS, {"orderId": "no amount"}])
    assert (status, answer["accepted"], answer["rejected"]) == (202, 20, 1)
    ids = [result["id"] for result in answer["results"] if "id" in result]
    ingestion.until(lambda: {item["status"] for item in ingestion.items().values()} == {"succeeded"})
    return ids


def test_signed_orders_go_through_and_no_role_is_denied_anything(
    ingestion: Client,
    orders: list[str],
    decisions: Path,
) -> None:
    assert sorted(orders) == sorted(ingestion.items())
    shown = signed(ingestion, "GET", f"/events/{orders[0]}")[1]
    assert shown["status"] == "succeeded"
    made = [json.loads(line) for line in decisions.read_text().splitlines()]
    by_roles = [each for each in made if ":assumed-role/" in str(each["principal"])]
    assert {each["action"] for each in by_roles} >= {"sqs:SendMessage", "s3:PutObject", "dynamodb:PartiQLInsert"}
    assert [each for each in by_roles if not each["allowed"]] == []


def test_queues_table_results_and_functions_are_under_the_stacks_key(ingestion: Client, orders: list[str]) -> None:
    aws = ingestion.aws
    (alias,) = [each for each in aws("kms").list_aliases()["Aliases"] if "datapipeline" in each["AliasName"]]
    key = aws("kms").describe_key(KeyId=alias["AliasName"])["KeyMetadata"]["Arn"]
    assert aws("kms").get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is True
    for url in (ingestion.outputs["queue_url"], ingestion.outputs["dead_letter_queue_url"]):
        assert (
            aws("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]["KmsMasterKeyId"] == key
        )
    table = aws("dynamodb").describe_table(TableName=ingestion.outputs["table_name"])["Table"]
    assert table["SSEDescription"]["KMSMasterKeyArn"] == key
    results = ingestion.objects("results/")
    assert len(results) == len(orders)
    head = aws("s3").head_object(Bucket=ingestion.outputs["bucket_name"], Key=results[0])
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", key)
    functions = aws("lambda").list_functions()["Functions"]
    assert functions
    assert {function.get("KMSKeyArn") for function in functions} == {key}


def test_the_functions_are_in_the_stacks_own_network(ingestion: Client) -> None:
    aws = ingestion.aws
    (vpc,) = [each for each in aws("ec2").describe_vpcs()["Vpcs"] if each["CidrBlock"] == "10.0.0.0/16"]
    owned = {"Filters": [{"Name": "vpc-id", "Values": [vpc["VpcId"]]}]}
    subnets = {each["SubnetId"]: each for each in aws("ec2").describe_subnets(**owned)["Subnets"]}
    assert len({each["AvailabilityZone"] for each in subnets.values()}) == 2
    for function in aws("lambda").list_functions()["Functions"]:
        assert set(function["VpcConfig"]["SubnetIds"]) == set(subnets)
    groups = {each["GroupName"]: each for each in aws("ec2").describe_security_groups(**owned)["SecurityGroups"]}
    assert groups["default"]["IpPermissions"] == groups["default"]["IpPermissionsEgress"] == []
    ports = {rule["FromPort"] for group in groups.values() for rule in group["IpPermissionsEgress"]}
    assert ports == {443}
