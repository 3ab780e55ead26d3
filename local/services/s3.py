"""Buckets and their settings."""

from collections.abc import Mapping
from typing import Any

from local.code import zip_bytes
from local.monitor import Created
from local.services import Clients, Inputs, creates
from local.services.iam import pairs


@creates("aws:s3/bucket:Bucket", ignores={"forceDestroy": "all buckets go with the emulator"})
def bucket(aws: Clients, name: str, inputs: Inputs) -> Created:
    inputs.get("bucket")
    elsewhere = {} if aws.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": aws.region}}
    aws("s3").create_bucket(Bucket=name, **elsewhere)
    if inputs.tags:
        aws("s3").put_bucket_tagging(Bucket=name, Tagging={"TagSet": pairs(inputs.tags)})
    domain = {"bucketDomainName": f"{name}.s3.amazonaws.com"}
    regional = {"bucketRegionalDomainName": f"{name}.s3.{aws.region}.amazonaws.com"}
    return Created(name, {"bucket": name, "arn": f"arn:aws:s3:::{name}", "region": aws.region, **domain, **regional})


@creates("aws:s3/bucketObjectv2:BucketObjectv2")
def bucket_object(aws: Clients, _name: str, inputs: Inputs) -> Created:
    aws("s3").put_object(Bucket=inputs["bucket"], Key=inputs["key"], Body=zip_bytes(inputs["source"]))
    if inputs.tags:
        aws("s3").put_object_tagging(Bucket=inputs["bucket"], Key=inputs["key"], Tagging={"TagSet": pairs(inputs.tags)})
    return Created(inputs["key"])


@creates("aws:s3/bucketVersioning:BucketVersioning")
def bucket_versioning(aws: Clients, _name: str, inputs: Inputs) -> Created:
    status = {"Status": inputs["versioningConfiguration"]["status"]}
    aws("s3").put_bucket_versioning(Bucket=inputs["bucket"], VersioningConfiguration=status)
    return Created(inputs["bucket"])


@creates("aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration")
def bucket_encryption(aws: Clients, _name: str, inputs: Inputs) -> Created:
    aws("s3").put_bucket_encryption(
        Bucket=inputs["bucket"],
        ServerSideEncryptionConfiguration={"Rules": [_encryption_rule(rule) for rule in inputs["rules"]]},
    )
    return Created(inputs["bucket"])


def _encryption_rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    default = rule["applyServerSideEncryptionByDefault"]
    algorithm = {"SSEAlgorithm": default["sseAlgorithm"]}
    key = {"KMSMasterKeyID": default["kmsMasterKeyId"]} if "kmsMasterKeyId" in default else {}
    return {
        "ApplyServerSideEncryptionByDefault": {**algorithm, **key},
        "BucketKeyEnabled": rule.get("bucketKeyEnabled", False),
        "BlockedEncryptionTypes": {"EncryptionType": rule.get("blockedEncryptionTypes", [])},
    }


@creates("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration")
def bucket_lifecycle(aws: Clients, _name: str, inputs: Inputs) -> Created:
    rules = [_lifecycle_rule(rule) for rule in inputs["rules"]]
    aws("s3").put_bucket_lifecycle_configuration(Bucket=inputs["bucket"], LifecycleConfiguration={"Rules": rules})
    return Created(inputs["bucket"])


def _lifecycle_rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    request = {
        "ID": rule["id"],
        "Status": rule["status"],
        "Filter": {"Prefix": rule.get("filter", {}).get("prefix", "")},
    }
    if "expiration" in rule:
        request["Expiration"] = {"Days": rule["expiration"]["days"]}
    if "transitions" in rule:
        request["Transitions"] = [
            {"Days": transition["days"], "StorageClass": transition["storageClass"]}
            for transition in rule["transitions"]
        ]
    if "noncurrentVersionExpiration" in rule:
        request["NoncurrentVersionExpiration"] = {
            "NoncurrentDays": rule["noncurrentVersionExpiration"]["noncurrentDays"]
        }
    if "abortIncompleteMultipartUpload" in rule:
        days = rule["abortIncompleteMultipartUpload"]["daysAfterInitiation"]
        request["AbortIncompleteMultipartUpload"] = {"DaysAfterInitiation": days}
    return request


@creates("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock")
def bucket_public_access_block(aws: Clients, _name: str, inputs: Inputs) -> Created:
    block = inputs.renamed(
        BlockPublicAcls="blockPublicAcls",
        BlockPublicPolicy="blockPublicPolicy",
        IgnorePublicAcls="ignorePublicAcls",
        RestrictPublicBuckets="restrictPublicBuckets",
    )
    aws("s3").put_public_access_block(Bucket=inputs["bucket"], PublicAccessBlockConfiguration=block)
    return Created(inputs["bucket"])


@creates("aws:s3/bucketOwnershipControls:BucketOwnershipControls")
def bucket_ownership_controls(aws: Clients, _name: str, inputs: Inputs) -> Created:
    rules = [{"ObjectOwnership": inputs["rule"]["objectOwnership"]}]
    aws("s3").put_bucket_ownership_controls(Bucket=inputs["bucket"], OwnershipControls={"Rules": rules})
    return Created(inputs["bucket"])


@creates("aws:s3/bucketPolicy:BucketPolicy")
def bucket_policy(aws: Clients, _name: str, inputs: Inputs) -> Created:
    aws("s3").put_bucket_policy(Bucket=inputs["bucket"], Policy=inputs["policy"])
    return Created(inputs["bucket"])


@creates("aws:s3/bucketNotification:BucketNotification")
def bucket_notification(aws: Clients, _name: str, inputs: Inputs) -> Created:
    request: dict[str, Any] = {
        kind: [_notification(entry, arn, key) for entry in inputs[given]]
        for kind, given, arn, key in (
            ("QueueConfigurations", "queues", "QueueArn", "queueArn"),
            ("LambdaFunctionConfigurations", "lambdaFunctions", "LambdaFunctionArn", "lambdaFunctionArn"),
            ("TopicConfigurations", "topics", "TopicArn", "topicArn"),
        )
        if given in inputs
    }
    if inputs.get("eventbridge"):
        request["EventBridgeConfiguration"] = {}
    aws("s3").put_bucket_notification_configuration(Bucket=inputs["bucket"], NotificationConfiguration=request)
    return Created(inputs["bucket"])


def _notification(entry: Mapping[str, Any], arn: str, key: str) -> dict[str, Any]:
    filters = {"prefix": entry.get("filterPrefix"), "suffix": entry.get("filterSuffix")}
    rules = [{"Name": name, "Value": value} for name, value in filters.items() if value]
    request: dict[str, Any] = {arn: entry[key], "Events": entry["events"]}
    if "id" in entry:
        request["Id"] = entry["id"]
    if rules:
        request["Filter"] = {"Key": {"FilterRules": rules}}
    return request
