"""Tables."""

from collections.abc import Mapping
from typing import Any

from local.monitor import Created
from local.services import Clients, Inputs, creates
from local.services.iam import pairs


@creates("aws:dynamodb/table:Table")
def table(aws: Clients, name: str, inputs: Inputs) -> Created:
    inputs.get("name")
    client = aws("dynamodb")
    request = {
        "TableName": name,
        "BillingMode": inputs.get("billingMode", "PROVISIONED"),
        "AttributeDefinitions": [
            {"AttributeName": attribute["name"], "AttributeType": attribute["type"]}
            for attribute in inputs["attributes"]
        ],
        "KeySchema": _keys(inputs["hashKey"], inputs.get("rangeKey")),
        "DeletionProtectionEnabled": inputs.get("deletionProtectionEnabled", False),
        "Tags": pairs(inputs.tags),
    }
    if "readCapacity" in inputs:
        request["ProvisionedThroughput"] = _throughput(inputs)
    if indexes := [_index(index) for index in inputs.get("globalSecondaryIndexes", ())]:
        request["GlobalSecondaryIndexes"] = indexes
    if encryption := inputs.get("serverSideEncryption"):
        request["SSESpecification"] = {
            "Enabled": encryption["enabled"],
            "SSEType": "KMS",
            "KMSMasterKeyId": encryption["kmsKeyArn"],
        }
    outputs = {"name": name}
    if inputs.get("streamEnabled"):
        request["StreamSpecification"] = {"StreamEnabled": True, "StreamViewType": inputs["streamViewType"]}
    made = client.create_table(**request)["TableDescription"]
    if inputs.get("streamEnabled"):
        outputs["streamArn"] = made["LatestStreamArn"]
    if ttl := inputs.get("ttl"):
        specification = {"AttributeName": ttl["attributeName"], "Enabled": ttl.get("enabled", True)}
        client.update_time_to_live(TableName=name, TimeToLiveSpecification=specification)
    if (inputs.get("pointInTimeRecovery") or {}).get("enabled"):
        recovery = {"PointInTimeRecoveryEnabled": True}
        client.update_continuous_backups(TableName=name, PointInTimeRecoverySpecification=recovery)
    return Created(name, {**outputs, "arn": made["TableArn"]})


def _keys(hash_key: str, range_key: str | None) -> list[dict[str, str]]:
    keys = [{"AttributeName": hash_key, "KeyType": "HASH"}]
    return [*keys, {"AttributeName": range_key, "KeyType": "RANGE"}] if range_key else keys


def _throughput(inputs: Mapping[str, Any]) -> dict[str, int]:
    return {"ReadCapacityUnits": inputs["readCapacity"], "WriteCapacityUnits": inputs["writeCapacity"]}


def _index(index: Mapping[str, Any]) -> dict[str, Any]:
    keys = [{"AttributeName": key["attributeName"], "KeyType": key["keyType"]} for key in index.get("keySchemas", ())]
    projection: dict[str, Any] = {"ProjectionType": index["projectionType"]}
    if "nonKeyAttributes" in index:
        projection["NonKeyAttributes"] = index["nonKeyAttributes"]
    return {
        "IndexName": index["name"],
        "KeySchema": keys or _keys(index["hashKey"], index.get("rangeKey")),
        "Projection": projection,
        **({"ProvisionedThroughput": _throughput(index)} if "readCapacity" in index else {}),
    }
