"""The stack's own key, and what it encrypts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pulumi
import pulumi_aws as aws
from pulumi import Output, ResourceOptions, ResourceTransformationArgs, ResourceTransformationResult

from components.names import service_name
from components.options.common import CommonOptions, CustomerKeyOptions

# What AWS waits at most between the order to delete a key and doing so: with it goes all that it encrypted.
DELETION_WINDOW_DAYS = 30

# Keys that a client sends with each object are nobody's here. https://docs.aws.amazon.com/AmazonS3/latest/userguide/blocking-unblocking-s3-c-encryption-gpb.html
BLOCKED_ENCRYPTION_TYPES = ["SSE-C"]

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
                "blocked_encryption_types": BLOCKED_ENCRYPTION_TYPES,
            },
        ],
    },
    "aws:cloudwatch/logGroup:LogGroup": lambda key: {"kms_key_id": key},
    "aws:lambda/function:Function": lambda key: {"kms_key_arn": key},
    "aws:cloudwatch/eventBus:EventBus": lambda key: {"kms_key_identifier": key},
}


class Key(pulumi.ComponentResource):
    """A KMS key with yearly rotation and an alias by the stack, whose policy names everybody who uses it.

    These are the roles that say so (`used_by`) and `options.users`, as far as IAM lets them, too; and by themselves
    CloudWatch Logs and alarms, `senders` (`s3`, `sns`) that put messages into an encrypted queue, and EventBridge where
    there is a bus. DynamoDB, Lambda and EventBridge use it for `options.deployers`, or whomever IAM lets where none are
    named. Who manages the key cannot use it by that.
    https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-overview.html
    """

    def __init__(
        self,
        name: str,
        options: CustomerKeyOptions,
        *,
        senders: Sequence[str],
        event_bus: bool,
        retain: bool,
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__("datapipeline:index:Key", name, None, opts)
        self._roles: list[Output[str]] = []
        self._roles_are_known = False
        stack = service_name()
        key = aws.kms.Key(
            name,
            description=f"All data of {stack}",
            enable_key_rotation=True,
            deletion_window_in_days=DELETION_WINDOW_DAYS,
            policy=_policy(self._used_by(), options, senders, event_bus=event_bus),
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

    def used_by(self, role_arn: Output[str]) -> None:
        """Names a role in the key's policy. Raises RuntimeError when that is made already, which is never too early."""
        if self._roles_are_known:
            raise RuntimeError("a role uses the key, and the key's policy is made without it")
        self._roles.append(role_arn)

    def _used_by(self) -> Output[Sequence[str]]:
        """The roles, of which none is made when the key is: outputs wait until the program has said all it makes."""

        def known(_: None) -> Output[Sequence[str]]:
            self._roles_are_known = True
            return Output.all(*self._roles)

        return Output.from_input(None).apply(known)

    def encrypt(self, args: ResourceTransformationArgs) -> ResourceTransformationResult | None:
        """The transformation that puts a resource under the key, when it is of a type that can be."""
        if args.type_ not in _ENCRYPTED:
            return None
        return ResourceTransformationResult({**args.props, **_ENCRYPTED[args.type_](self.arn)}, args.opts)


def customer_key(name: str, config: CommonOptions, *, parent: pulumi.Resource) -> Key | None:
    """Create the stack's own key, if its config has one."""
    options = config.encryption.customer_key
    if options is None:
        return None
    return Key(
        name,
        options,
        senders=config.message_senders,
        event_bus=config.has_event_bus,
        retain=config.storage.retain_data,
        opts=ResourceOptions(parent=parent),
    )


def encrypted(parent: pulumi.Resource, key: Key | None) -> ResourceOptions:
    """The options of what stands below `parent` and is encrypted with the key, if there is one."""
    return ResourceOptions(parent=parent, transformations=[] if key is None else [key.encrypt])


_EVENTS = {"Service": "events.amazonaws.com"}
_USE = ("kms:Decrypt", "kms:GenerateDataKey")
_CRYPT = (
    "kms:Encrypt",
    "kms:Decrypt",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
)
_LOGS_USE = (*_CRYPT, "kms:DescribeKey")
# Neither a use of the key nor a grant of one. Who may change the policy can allow himself more; CloudTrail tells.
# https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html#key-policy-default-allow-administrators
_ADMINISTER = (
    "kms:CancelKeyDeletion",
    "kms:CreateAlias",
    "kms:DeleteAlias",
    "kms:DescribeKey",
    "kms:DisableKey",
    "kms:DisableKeyRotation",
    "kms:EnableKey",
    "kms:EnableKeyRotation",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:ListGrants",
    "kms:ListKeyPolicies",
    "kms:ListKeyRotations",
    "kms:ListResourceTags",
    "kms:PutKeyPolicy",
    "kms:RevokeGrant",
    "kms:RotateKeyOnDemand",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateAlias",
    "kms:UpdateKeyDescription",
)
# What these services do with the rights of whoever makes or looks at a table, a function, a bus or a rule on it.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/encryption.usagenotes.html
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars-encryption.html
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-encryption-event-bus-cmkey.html
_DEPLOY = ("kms:CreateGrant", *_CRYPT)


def _policy(
    roles: Output[Sequence[str]], options: CustomerKeyOptions, senders: Sequence[str], *, event_bus: bool
) -> Output[str]:
    """Roles and users of this account, as far as IAM lets them, and services for this account only."""

    def document(known: Sequence[Any]) -> Mapping[str, Any]:
        account, region, partition, roles = known
        here = f"{region}:{account}"
        iam = f"arn:{partition}:iam::{account}"
        by_iam = {"AWS": f"{iam}:root"}
        in_account = {"StringEquals": {"aws:SourceAccount": account}}
        users, deployers = ([f"{iam}:{who}" for who in named] for named in (options.users, options.deployers))
        via = ("dynamodb", "lambda", *(["events"] if event_bus else []))
        deployed: dict[str, Any] = {
            "StringEquals": {"kms:ViaService": [f"{service}.{region}.amazonaws.com" for service in via]},
            **({"ArnLike": {"aws:PrincipalArn": deployers}} if deployers else {}),
        }
        log_groups = {"kms:EncryptionContext:aws:logs:arn": f"arn:{partition}:logs:{here}:log-group:*"}
        buses = {"kms:EncryptionContext:aws:events:event-bus:arn": f"arn:{partition}:events:{here}:event-bus/*"}
        alarms = {"aws:SourceArn": f"arn:{partition}:cloudwatch:{here}:alarm:*"}
        topics = {"ArnLike": {"aws:SourceArn": f"arn:{partition}:sns:{here}:*"}}
        sources = {"s3": in_account, "sns": topics}
        return {
            "Version": "2012-10-17",
            "Statement": [
                _allowed("Administrators", by_iam, _ADMINISTER),
                _allowed("Deployers", by_iam, _DEPLOY, deployed),
                # By condition, not as principals, which would go without the roles' own policies and outlive them.
                _allowed("Functions", by_iam, _USE, {"ArnEquals": {"aws:PrincipalArn": sorted(roles)}}),
                *([_allowed("Users", by_iam, _USE, {"ArnLike": {"aws:PrincipalArn": users}})] if users else []),
                # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html
                _allowed("Logs", {"Service": f"logs.{region}.amazonaws.com"}, _LOGS_USE, {"ArnLike": log_groups}),
                # https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html (event sources)
                _allowed("Alarms", {"Service": "cloudwatch.amazonaws.com"}, _USE, {**in_account, "ArnLike": alarms}),
                # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
                *(
                    _allowed(
                        f"Messages{sender.capitalize()}", {"Service": f"{sender}.amazonaws.com"}, _USE, sources[sender]
                    )
                    for sender in senders
                ),
                # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-encryption-event-bus-cmkey.html
                # The bus itself has no name yet: it is made after the key. Looking at the key is without a condition
                # there, and says nothing of what it encrypts.
                *(
                    [
                        _allowed("EventBusLooks", _EVENTS, ("kms:DescribeKey",)),
                        _allowed("EventBus", _EVENTS, _USE, {"ArnLike": buses}),
                    ]
                    if event_bus
                    else []
                ),
            ],
        }

    account = aws.get_caller_identity_output().account_id
    region = aws.get_region_output().region
    partition = aws.get_partition_output().partition
    return Output.json_dumps(Output.all(account, region, partition, roles).apply(document))


def _allowed(
    sid: str, who: Mapping[str, str], actions: Sequence[str], condition: Mapping[str, Any] | None = None
) -> Mapping[str, Any]:
    statement = {"Sid": sid, "Effect": "Allow", "Principal": who, "Action": list(actions), "Resource": "*"}
    return {**statement, "Condition": condition} if condition else statement
