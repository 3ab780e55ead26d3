"""The stack's own key, and what it encrypts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pulumi
import pulumi_aws as aws
from pulumi import Output, ResourceOptions, ResourceTransformationArgs, ResourceTransformationResult

from components.names import service_name
from components.options.common import EncryptionOptions, ProtectionOptions

# What AWS waits at most between the order to delete a key and doing so: with it goes all that it encrypted.
DELETION_WINDOW_DAYS = 30

# What a resource of each type is given when there is a key. One table for all, so that no component can forget it.
_ENCRYPTED: Mapping[str, Callable[[Output[str]], Mapping[str, Any]]] = {
    "aws:sqs/queue:Queue": lambda key: {"kms_master_key_id": key, "sqs_managed_sse_enabled": None},
    "aws:sns/topic:Topic": lambda key: {"kms_master_key_id": key},
    "aws:dynamodb/table:Table": lambda key: {"server_side_encryption": {"enabled": True, "kms_key_arn": key}},
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": lambda key: {
        "rules": [
            {
                "apply_server_side_encryption_by_default": {"sse_algorithm": "aws:kms", "kms_master_key_id": key},
                # S3 asks KMS once for many objects instead of for each.
                "bucket_key_enabled": True,
            },
        ],
    },
    "aws:cloudwatch/logGroup:LogGroup": lambda key: {"kms_key_id": key},
    "aws:lambda/function:Function": lambda key: {"kms_key_arn": key},
    "aws:cloudwatch/eventBus:EventBus": lambda key: {"kms_key_identifier": key},
}


class Key(pulumi.ComponentResource):
    """A KMS key with yearly rotation and an alias by the stack.

    The account's administrators manage it through IAM, as AWS recommends, and the functions' roles use it by their own
    policies; the services that do so by themselves are named in its policy: CloudWatch Logs and alarms, `senders`
    (`s3`, `sns`) that put messages into an encrypted queue, and EventBridge where there is a bus.
    https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html
    """

    def __init__(
        self,
        name: str,
        *,
        senders: Sequence[str],
        event_bus: bool,
        retain: bool,
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__("datapipeline:index:Key", name, None, opts)
        stack = service_name()
        key = aws.kms.Key(
            name,
            description=f"All data of {stack}",
            enable_key_rotation=True,
            deletion_window_in_days=DELETION_WINDOW_DAYS,
            policy=_policy(senders, event_bus=event_bus),
            # Data that is kept must stay readable.
            opts=ResourceOptions(parent=self, retain_on_delete=retain),
        )
        aws.kms.Alias(
            name,
            name=f"alias/{stack}-{name}",
            target_key_id=key.key_id,
            opts=ResourceOptions(parent=self),
        )
        self.arn = key.arn
        self.register_outputs({"arn": self.arn})

    def encrypt(self, args: ResourceTransformationArgs) -> ResourceTransformationResult | None:
        """The transformation that puts a resource under the key, when it is of a type that can be."""
        if args.type_ not in _ENCRYPTED:
            return None
        return ResourceTransformationResult({**args.props, **_ENCRYPTED[args.type_](self.arn)}, args.opts)


def customer_key(
    name: str,
    options: EncryptionOptions,
    storage: ProtectionOptions,
    *,
    senders: Sequence[str] = (),
    event_bus: bool = False,
    parent: pulumi.Resource,
) -> Key | None:
    """The key of a stack that wants one of its own."""
    if not options.customer_key:
        return None
    child = ResourceOptions(parent=parent)
    return Key(name, senders=senders, event_bus=event_bus, retain=storage.retain_data, opts=child)


def encrypted(parent: pulumi.Resource, key: Key | None) -> ResourceOptions:
    """The options of what stands below `parent` and is encrypted with the key, if there is one."""
    return ResourceOptions(parent=parent, transformations=[] if key is None else [key.encrypt])


_USE = ("kms:Decrypt", "kms:GenerateDataKey")
_LOGS_USE = (
    "kms:Encrypt",
    "kms:Decrypt",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:DescribeKey",
)


def _policy(senders: Sequence[str], *, event_bus: bool) -> Output[str]:
    """The account's own roles by IAM, and services for this account only."""

    def document(known: Sequence[str]) -> Mapping[str, Any]:
        account, region, partition = known
        here = f"{region}:{account}"
        in_account = {"StringEquals": {"aws:SourceAccount": account}}
        log_groups = {"kms:EncryptionContext:aws:logs:arn": f"arn:{partition}:logs:{here}:log-group:*"}
        buses = {"kms:EncryptionContext:aws:events:event-bus:arn": f"arn:{partition}:events:{here}:event-bus/*"}
        alarms = {"aws:SourceArn": f"arn:{partition}:cloudwatch:{here}:alarm:*"}
        topics = {"ArnLike": {"aws:SourceArn": f"arn:{partition}:sns:{here}:*"}}
        sources = {"s3": in_account, "sns": topics}
        return {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": "AdministeredByIam",
                    "Effect": "Allow",
                    "Principal": {"AWS": f"arn:{partition}:iam::{account}:root"},
                    "Action": "kms:*",
                    "Resource": "*",
                },
                # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html
                _allowed("Logs", f"logs.{region}.amazonaws.com", _LOGS_USE, {"ArnLike": log_groups}),
                # https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html (event sources)
                _allowed("Alarms", "cloudwatch.amazonaws.com", _USE, {**in_account, "ArnLike": alarms}),
                # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
                *(
                    _allowed(f"Messages{sender.capitalize()}", f"{sender}.amazonaws.com", _USE, sources[sender])
                    for sender in senders
                ),
                # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-encryption-event-bus-cmkey.html
                # The bus itself has no name yet: it is made after the key. Looking at a key has no encryption context.
                *(
                    [
                        _allowed("EventBusLooks", "events.amazonaws.com", ("kms:DescribeKey",), in_account),
                        _allowed("EventBus", "events.amazonaws.com", _USE, {"ArnLike": buses}),
                    ]
                    if event_bus
                    else []
                ),
            ],
        }

    account = aws.get_caller_identity_output().account_id
    region = aws.get_region_output().region
    partition = aws.get_partition_output().partition
    return Output.json_dumps(Output.all(account, region, partition).apply(document))


def _allowed(sid: str, service: str, actions: Sequence[str], condition: Mapping[str, Any]) -> Mapping[str, Any]:
    who = {"Effect": "Allow", "Principal": {"Service": service}}
    return {"Sid": sid, **who, "Action": list(actions), "Resource": "*", "Condition": condition}
