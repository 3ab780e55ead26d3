"""Rules for rights: who may do what, on which resources."""

from collections.abc import Iterator, Mapping
from functools import cache

import botocore.loaders

from local.recording import ACCOUNT, Graph
from local.rules.rule import BUCKET, KEY, PERMISSION, ROLE, Problem, rule
from local.rules.statements import (
    CALLERS,
    allows_everybody,
    federates_everybody,
    for_this_account,
    has_wildcard,
    listed,
    of_this_account,
    principals,
    resource_statements,
    role_statements,
    trusting_statements,
)

# Actions that cannot be limited to a resource, or only to one with an unknown name.
UNLIMITED: Mapping[str, str] = {
    "xray:PutTraceSegments": "X-Ray has no resources to name",
    "xray:PutTelemetryRecords": "X-Ray has no resources to name",
    **dict.fromkeys(
        (
            "ec2:CreateNetworkInterface",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSubnets",
            "ec2:DeleteNetworkInterface",
            "ec2:AssignPrivateIpAddresses",
            "ec2:UnassignPrivateIpAddresses",
        ),
        "Lambda connects a function to a VPC with them; denied to its code by lambda:SourceFunctionArn",
    ),
}


@rule(
    "no-wildcard-actions",
    fix="name the actions that are used",
    why="https://docs.aws.amazon.com/IAM/latest/UserGuide/best-practices.html#grant-least-privilege",
)
def _no_wildcard_actions(graph: Graph) -> Iterator[Problem]:
    for policy, statement in [*role_statements(graph), *resource_statements(graph)]:
        if statement["Effect"] != "Allow":
            continue
        for action in listed(statement.get("Action", [])):
            if has_wildcard(action):
                yield policy, f"it allows {action}"
        if "NotAction" in statement:
            yield policy, "it allows all actions except some"
    for permission in graph.of_type(PERMISSION):
        if has_wildcard(permission.inputs["action"]):
            yield permission, f"it allows {permission.inputs['action']}"
    for role in graph.of_type(ROLE):
        for arn in role.inputs.get("managedPolicyArns", []):
            yield role, f"it has {arn}, which covers all resources"


# Actions that are no operations of their service's API, and services whose actions have names of their own altogether.
# https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
_ACTIONS_ONLY: Mapping[str, frozenset[str]] = {
    "dynamodb": frozenset({"ConditionCheckItem", "PartiQLDelete", "PartiQLInsert", "PartiQLSelect", "PartiQLUpdate"}),
    "kms": frozenset({"ReEncryptFrom", "ReEncryptTo"}),
    "lambda": frozenset({"InvokeFunction", "InvokeFunctionUrl"}),
    "iam": frozenset({"PassRole"}),
}
_NAMES_OF_THEIR_OWN = {"s3", "s3-object-lambda", "apigateway", "execute-api"}
# Names under which botocore has a service, where that is not the prefix of its actions.
_SERVICES: Mapping[str, tuple[str, ...]] = {
    "states": ("stepfunctions",),
    "ses": ("ses", "sesv2"),
    "bedrock": ("bedrock", "bedrock-runtime", "bedrock-agent", "bedrock-agent-runtime"),
    "elasticloadbalancing": ("elb", "elbv2"),
}


@cache
def _actions(prefix: str) -> frozenset[str] | None:
    """Return the actions of a service, None where they cannot be told from botocore's models."""
    loader = botocore.loaders.Loader()
    services = _SERVICES.get(prefix, (prefix,))
    if prefix in _NAMES_OF_THEIR_OWN or not set(services) <= set(loader.list_available_services("service-2")):
        return None
    models = [loader.load_service_model(service, "service-2") for service in services]
    operations = frozenset(name for model in models for name in model["operations"])
    return operations | _ACTIONS_ONLY.get(prefix, frozenset())


@rule(
    "known-actions",
    fix="correct the action's name; AWS grants nothing for one that it does not know, and says nothing",
    why="https://docs.aws.amazon.com/service-authorization/latest/reference/"
    "reference_policies_actions-resources-contextkeys.html",
)
def _known_actions(graph: Graph) -> Iterator[Problem]:
    for policy, statement in role_statements(graph):
        for action in listed(statement.get("Action", [])):
            prefix, _, name = action.partition(":")
            known = None if has_wildcard(action) else _actions(prefix)
            if known is not None and name not in known:
                yield policy, f"{action} is no action of AWS"


@rule(
    "no-wildcard-resources",
    fix="name the resource, list an action that cannot be limited in UNLIMITED of local/rules/rights.py, "
    "or accept the finding in accepted_findings of the stack file",
    why="https://docs.aws.amazon.com/IAM/latest/UserGuide/best-practices.html#grant-least-privilege",
)
def _no_wildcard_resources(graph: Graph) -> Iterator[Problem]:
    parts = tuple(f"{arn}{separator}" for arn in graph.arns for separator in ":/")
    for policy, statement in role_statements(graph):
        if statement["Effect"] != "Allow":
            continue
        if "NotResource" in statement:
            yield policy, "it allows something on all resources except some"
        limited = [action for action in listed(statement.get("Action", [])) if action not in UNLIMITED]
        for resource in listed(statement.get("Resource", [])) if limited else ():
            # A wildcard below a resource of this stack (`bucket/results/*`) covers a part of it.
            if has_wildcard(resource) and not resource.startswith(parts):
                yield policy, f"it allows {', '.join(limited)} on {resource}"


@rule(
    "no-public-access",
    fix="all four settings of a public access block, object ownership BucketOwnerEnforced, no statement for everybody",
    why="https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html",
)
def _no_public_access(graph: Graph) -> Iterator[Problem]:
    flags = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
    blocked = {
        each.inputs["bucket"]
        for each in graph.of_type("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock")
        if all(each.inputs.get(flag) is True for flag in flags)
    }
    owned = {
        each.inputs["bucket"]
        for each in graph.of_type("aws:s3/bucketOwnershipControls:BucketOwnershipControls")
        if each.inputs["rule"]["objectOwnership"] == "BucketOwnerEnforced"
    }
    for bucket in graph.of_type(BUCKET):
        if bucket.physical_name not in blocked:
            yield bucket, "public access to it is not blocked"
        if bucket.physical_name not in owned:
            yield bucket, "its objects can have access control lists"
    for policy, statement in trusting_statements(graph):
        if allows_everybody(statement, CALLERS) or federates_everybody(statement):
            yield policy, "it allows something to everybody"
    for permission in graph.of_type(PERMISSION):
        if permission.inputs["principal"] == "*":
            yield permission, "it allows everybody to invoke the function"


@rule(
    "confused-deputy",
    fix="aws:SourceAccount, or a source ARN with the account in it; the account from aws.get_caller_identity",
    why="https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html",
)
def _confused_deputy(graph: Graph) -> Iterator[Problem]:
    """A service that may act here must be limited to this account's resources."""
    for policy, statement in trusting_statements(graph):
        services = principals(statement, "Service")
        if policy.type == ROLE:
            # Only functions of this account get the role, and passing it needs a right:
            # https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_passrole.html
            services -= {"lambda.amazonaws.com"}
        if policy.type == KEY and [one.lower() for one in listed(statement.get("Action", []))] == ["kms:describekey"]:
            # The action reveals no data, and AWS sends no condition key with it:
            # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-encryption-event-bus-cmkey.html
            continue
        if statement["Effect"] == "Allow" and services and not for_this_account(statement.get("Condition", {})):
            yield policy, f"it serves {', '.join(sorted(services))}, not only for this account"
    for permission in graph.of_type(PERMISSION):
        inputs = permission.inputs
        source = inputs.get("sourceArn", "")
        if inputs["principal"].endswith(".amazonaws.com") and not (
            (source and inputs.get("sourceAccount") == ACCOUNT) or of_this_account(source)
        ):
            yield permission, f"it serves {inputs['principal']}, not only for this account"
