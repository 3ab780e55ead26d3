"""Grants are values: a component returns what others may need, a function collects them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
from pulumi import Input


@dataclass(frozen=True)
class Grant:
    """IAM actions, resources and environment variables that a function needs to use a resource."""

    actions: tuple[str, ...]
    resources: tuple[Input[str], ...]
    environment: Mapping[str, Input[str]] = field(default_factory=dict)
    condition: Mapping[str, Mapping[str, Input[str] | Sequence[str]]] = field(default_factory=dict)
    """When it holds: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition.html"""
    why: str = ""
    """What for, in a few words (`put messages into the queue`): the statement is called after it."""
    used_by_lambda: bool = False
    """Used by Lambda, or by a service that is called, in the function's name, not by its code: the function's network
    need not lead there."""
    on_foreign_resources: bool = False
    """On resources that are not the pipeline's, so that its customer key has nothing to do with them."""
    in_later_policy: bool = False
    """Allowed by a policy that is made after the function: here it says only that the function's code calls this."""


def services_called(grants: Iterable[Grant]) -> list[str]:
    """The services that a function's code calls, as IAM abbreviates them."""
    called = (action for grant in grants if not grant.used_by_lambda for action in grant.actions)
    return sorted({action.partition(":")[0] for action in called})


# What a caller of these actions needs of the customer key that encrypts what they are about.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
# https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html (parts of an upload are decrypted, too)
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/encryption.howitworks.html (each use of a table)
_READS, _WRITES = ("kms:Decrypt",), ("kms:Decrypt", "kms:GenerateDataKey")
_KEY_ACTIONS: Mapping[str, tuple[str, ...]] = {
    "sqs:SendMessage": _WRITES,
    "sqs:ReceiveMessage": _READS,
    "sqs:DeleteMessage": (),
    "sqs:ChangeMessageVisibility": (),
    "sqs:GetQueueAttributes": (),
    "sns:Publish": _WRITES,
    "s3:PutObject": _WRITES,
    "s3:GetObject": _READS,
    "s3:GetObjectVersion": _READS,
    "s3:DeleteObject": (),
    "s3:ListBucket": (),
    "s3:AbortMultipartUpload": (),
    "dynamodb:*": _READS,
}
_ENCRYPTED_SERVICES = {action.partition(":")[0] for action in _KEY_ACTIONS}


def policy_document(grants: Iterable[Grant], *, key_arn: Input[str] | None) -> pulumi.Output[str]:
    """An IAM policy with one statement a grant, as JSON text; with a customer key one more, for what they need of it.

    Raises ValueError for an action of which nobody has said what it needs of the key, and for two grants that say the
    same `why`, as IAM takes no two statements of one name.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
    """
    granted = [grant for grant in grants if not grant.in_later_policy]
    if key_arn is not None:
        ours = [grant for grant in granted if not grant.on_foreign_resources]
        needed = {right for grant in ours for action in grant.actions for right in _key_actions(action)}
        granted.append(
            Grant(tuple(sorted(needed)), (key_arn,), why="decrypt and encrypt what the other rights are about")
        )
    whys = [grant.why for grant in granted if grant.why and grant.actions]
    if repeated := next((why for why in whys if whys.count(why) > 1), None):
        raise ValueError(f"two grants of one role are both to {repeated}")
    statements = [
        {
            **({"Sid": _sid(grant.why)} if grant.why else {}),
            "Effect": "Allow",
            "Action": list(grant.actions),
            "Resource": list(grant.resources),
            **({"Condition": grant.condition} if grant.condition else {}),
        }
        for grant in granted
        if grant.actions
    ]
    return pulumi.Output.json_dumps({"Version": "2012-10-17", "Statement": statements})


def _sid(why: str) -> str:
    """IAM takes letters and digits: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_sid.html."""
    return "".join(word[0].upper() + word[1:] for word in re.findall("[A-Za-z0-9]+", why))


def _key_actions(action: str) -> tuple[str, ...]:
    service = action.partition(":")[0]
    if service not in _ENCRYPTED_SERVICES:
        return ()
    needed = _KEY_ACTIONS.get(action, _KEY_ACTIONS.get(f"{service}:*"))
    if needed is None:
        raise ValueError(f"_KEY_ACTIONS in components/grants.py does not say what {action} needs of the customer key")
    return needed


def merged_environment(grants: Iterable[Grant]) -> dict[str, Input[str]]:
    """The environment variables of all grants.

    Raises ValueError when two grants give one variable different values: a silent winner would point a function at
    the wrong resource.
    """
    merged: dict[str, Input[str]] = {}
    for grant in grants:
        for variable, value in grant.environment.items():
            if variable in merged and merged[variable] is not value:
                raise ValueError(f"two grants set the environment variable {variable} to different values")
            merged[variable] = value
    return merged
