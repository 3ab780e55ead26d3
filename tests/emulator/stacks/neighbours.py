"""Resources beside those that a role is granted, and a call for each action on them."""

from collections.abc import Callable, Mapping
from typing import Any

from handlers.shared import aws


def queue(arn: str) -> dict[str, str]:
    return {"QueueUrl": "/".join([aws.botocore_client("sqs").meta.endpoint_url, *arn.split(":")[4:]])}


def table(arn: str) -> str:
    return arn.split("/")[1]


def item(arn: str) -> dict[str, Any]:
    return {"TableName": table(arn), "Key": {"id": {"S": "a"}}}


def entity(arn: str) -> dict[str, str]:
    bucket, _, key = arn.removeprefix("arn:aws:s3:::").partition("/")
    return {"Bucket": bucket, "Key": key}


def statement(arn: str, text: str) -> dict[str, Any]:
    return {"Statements": [{"Statement": text.format(table=table(arn)), "Parameters": [{"S": "a"}]}]}


# Of each action a call on the resource with an ARN: service, method, arguments.
Asks = Callable[[str], tuple[str, str, Mapping[str, Any]]]
CALLS: Mapping[str, Asks] = {
    "sqs:SendMessage": lambda arn: ("sqs", "send_message", {**queue(arn), "MessageBody": "a"}),
    "sqs:ReceiveMessage": lambda arn: ("sqs", "receive_message", queue(arn)),
    "sqs:DeleteMessage": lambda arn: ("sqs", "delete_message", {**queue(arn), "ReceiptHandle": "a"}),
    "sqs:GetQueueAttributes": lambda arn: ("sqs", "get_queue_attributes", queue(arn)),
    "sqs:ChangeMessageVisibility": lambda arn: (
        "sqs",
        "change_message_visibility",
        {**queue(arn), "ReceiptHandle": "a", "VisibilityTimeout": 1},
    ),
    "sns:Publish": lambda arn: ("sns", "publish", {"TopicArn": arn, "Message": "a"}),
    "events:PutEvents": lambda arn: (
        "events",
        "put_events",
        {"Entries": [{"EventBusName": arn.split("/")[1], "Source": "a", "DetailType": "a", "Detail": "{}"}]},
    ),
    "dynamodb:BatchGetItem": lambda arn: (
        "dynamodb",
        "batch_get_item",
        {"RequestItems": {table(arn): {"Keys": [{"id": {"S": "a"}}]}}},
    ),
    "dynamodb:BatchWriteItem": lambda arn: (
        "dynamodb",
        "batch_write_item",
        {"RequestItems": {table(arn): [{"PutRequest": {"Item": {"id": {"S": "a"}}}}]}},
    ),
    "dynamodb:GetItem": lambda arn: ("dynamodb", "get_item", item(arn)),
    "dynamodb:UpdateItem": lambda arn: ("dynamodb", "update_item", item(arn)),
    "dynamodb:PutItem": lambda arn: ("dynamodb", "put_item", {"TableName": table(arn), "Item": {"id": {"S": "a"}}}),
    "dynamodb:Query": lambda arn: (
        "dynamodb",
        "query",
        {
            "TableName": table(arn),
            **({"IndexName": arn.split("/")[3]} if "/index/" in arn else {}),
            "KeyConditionExpression": "id = :id",
            "ExpressionAttributeValues": {":id": {"S": "a"}},
        },
    ),
    "dynamodb:PartiQLInsert": lambda arn: (
        "dynamodb",
        "batch_execute_statement",
        statement(arn, "INSERT INTO \"{table}\" VALUE {{'id': ?}}"),
    ),
    "dynamodb:PartiQLUpdate": lambda arn: (
        "dynamodb",
        "batch_execute_statement",
        statement(arn, 'UPDATE "{table}" SET "a"=1 WHERE "id"=?'),
    ),
    "dynamodb:PartiQLDelete": lambda arn: (
        "dynamodb",
        "batch_execute_statement",
        statement(arn, 'DELETE FROM "{table}" WHERE "id"=?'),
    ),
    "s3:GetObject": lambda arn: ("s3", "get_object", entity(arn)),
    "s3:PutObject": lambda arn: ("s3", "put_object", {**entity(arn), "Body": b"a"}),
    "s3:DeleteObject": lambda arn: ("s3", "delete_object", entity(arn)),
    "s3:AbortMultipartUpload": lambda arn: ("s3", "abort_multipart_upload", {**entity(arn), "UploadId": "a"}),
    "s3:ListBucket": lambda arn: ("s3", "list_objects_v2", {"Bucket": entity(arn)["Bucket"]}),
    "ssm:GetParameter": lambda arn: ("ssm", "get_parameter", {"Name": arn.split(":parameter")[1]}),
    "lambda:InvokeFunction": lambda arn: ("lambda", "invoke", {"FunctionName": arn}),
    "lambda:GetEventSourceMapping": lambda arn: (
        "lambda",
        "get_event_source_mapping",
        {"UUID": arn.rpartition(":")[2]},
    ),
    "lambda:UpdateEventSourceMapping": lambda arn: (
        "lambda",
        "update_event_source_mapping",
        {"UUID": arn.rpartition(":")[2], "Enabled": True},
    ),
    "kms:Decrypt": lambda arn: ("kms", "decrypt", {"KeyId": arn, "CiphertextBlob": b"a"}),
    "kms:GenerateDataKey": lambda arn: ("kms", "generate_data_key", {"KeyId": arn, "KeySpec": "AES_256"}),
}


def beside(pattern: str) -> list[str]:
    """Return a resource's neighbours: another name, or for a prefix other prefixes and the same one elsewhere."""
    resource, star, _ = pattern.partition("/*")
    bucket, slash, key = resource.partition("/")
    if star:
        return [f"{bucket}/{key}-beside/a", f"{bucket}/a", f"{bucket}-beside/{key}/a"]
    if ":s3:" in pattern and slash:
        return [f"{pattern}-beside", f"{bucket}/a", f"{bucket}-beside/{key}"]
    if "/index/" in pattern:
        return [pattern.partition("/index/")[0], f"{pattern}-beside"]
    return [f"{pattern}-beside"]
