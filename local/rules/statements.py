"""Statements of policies: whose they are, whom they let, and on what condition."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from local.monitor import Registration
from local.recording import ACCOUNT, Graph
from local.rules.rule import BUCKET, KEY, QUEUE, ROLE, ROLE_POLICY, TOPIC

Statement = Mapping[str, Any]


# Policies of resources, by type: of what, and the input that says of which.
RESOURCE_POLICIES: Mapping[str, tuple[str, str]] = {
    "aws:sqs/queuePolicy:QueuePolicy": (QUEUE, "queueUrl"),
    "aws:sns/topicPolicy:TopicPolicy": (TOPIC, "arn"),
    "aws:s3/bucketPolicy:BucketPolicy": (BUCKET, "bucket"),
}


def statements(document: str | None) -> list[Statement]:
    """Of a policy as JSON text; none, where there is none."""
    found = json.loads(document)["Statement"] if document else []
    return [found] if isinstance(found, dict) else found


def role_statements(graph: Graph) -> Iterator[tuple[Registration, Statement]]:
    """What roles may do, and the policy or role that says it."""
    documents = [(policy, policy.inputs["policy"]) for policy in graph.of_type(ROLE_POLICY)]
    documents += [
        (role, inline.get("policy")) for role in graph.of_type(ROLE) for inline in role.inputs.get("inlinePolicies", [])
    ]
    for policy, document in documents:
        for statement in statements(document):
            yield policy, statement


def resource_statements(graph: Graph) -> Iterator[tuple[Registration, Statement]]:
    """Who may do something with a queue, a topic or a bucket, and the resource that says it."""
    for policy in graph:
        if policy.type in (*RESOURCE_POLICIES, QUEUE, TOPIC, BUCKET):
            for statement in statements(policy.inputs.get("policy")):
                yield policy, statement


def trusting_statements(graph: Graph) -> Iterator[tuple[Registration, Statement]]:
    """All that say who may do something: policies of resources and of keys, and who may take a role."""
    yield from resource_statements(graph)
    for kind, key in ((KEY, "policy"), (ROLE, "assumeRolePolicy")):
        for resource in graph.of_type(kind):
            for statement in statements(resource.inputs.get(key)):
                yield resource, statement


def owner_of(policy: Registration) -> tuple[str, str]:
    """Type and name of what a policy is about, which is named by name, by ARN or by URL; or has its policy with it."""
    if policy.type not in RESOURCE_POLICIES:
        return policy.type, policy.physical_name
    kind, key = RESOURCE_POLICIES[policy.type]
    return kind, re.split("[:/]", policy.inputs[key])[-1]


def listed(value: object) -> list[str]:
    """IAM takes one for a list of one, and `true` or a number for their text."""
    return [str(each) for each in (value if isinstance(value, list) else [value])]


def has_wildcard(text: str) -> bool:
    """Whether IAM takes it for more than one name.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html
    """
    return re.search("[*?]", text) is not None


def principals(statement: Statement, kind: str = "AWS") -> set[str]:
    """Whom a statement is about: accounts, roles and users, or of another `kind` (`Service`)."""
    principal = statement.get("Principal", {})
    if isinstance(principal, str):
        principal = {"AWS": principal}
    return set(listed(principal.get(kind, [])))


ACCOUNT_IN_ARN = re.compile(r"arn:[^:*?]*:[^:*?]*:[^:*?]*:(\d{12}):")


# What AWS itself says about a caller, that names an account, an organisation, somebody, or a network.
PRINCIPALS = {"aws:principalaccount", "aws:principalarn", "aws:principalorgid"}


CALLERS = {
    *PRINCIPALS,
    *(f"aws:{key}" for key in ("sourceaccount", "sourcearn", "sourceorgid", "sourcevpc", "sourcevpce")),
    "kms:calleraccount",
}


def conditions(condition: Mapping[str, Mapping[str, object]]) -> Iterator[tuple[str, list[str]]]:
    """Keys and what they have to be like; one of the values is enough for AWS."""
    for operator, pairs in condition.items():
        if operator in ("StringEquals", "StringLike", "ArnEquals", "ArnLike", "Bool"):
            for key, given in pairs.items():
                yield key.lower(), listed(given)


def for_this_account(condition: Mapping[str, Mapping[str, object]]) -> bool:
    """Whether a service may act for this account's resources only."""
    return any(
        all(value == ACCOUNT if key == "aws:sourceaccount" else of_this_account(value) for value in values)
        for key, values in conditions(condition)
        if key in ("aws:sourceaccount", "aws:sourcearn") or key.startswith("kms:encryptioncontext:")
    )


def of_this_account(arn: str) -> bool:
    """Whether an ARN, or a pattern of ARNs, is about this account's resources only."""
    match = ACCOUNT_IN_ARN.match(arn)
    return match is not None and match[1] == ACCOUNT


def allows_everybody(statement: Statement, callers: set[str]) -> bool:
    """Whether whoever there is may do something, and no condition says who it has to be."""
    named = any(
        key in callers and all(not has_wildcard(value) or ACCOUNT_IN_ARN.match(value) for value in values)
        for key, values in conditions(statement.get("Condition", {}))
    )
    everybody = "*" in principals(statement) or "NotPrincipal" in statement
    return statement["Effect"] == "Allow" and everybody and not named


def federates_everybody(statement: Statement) -> bool:
    """Return True if every account of an identity provider may do something, as no condition names a subject.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_create_for-idp_oidc.html
    """
    named = any(
        key.endswith(":sub")
        # `repo:*` is everybody who has a repository.
        and not any(re.match("([^:*?]*:)?[*?]", value) for value in values)
        for key, values in conditions(statement.get("Condition", {}))
    )
    return statement["Effect"] == "Allow" and bool(principals(statement, "Federated")) and not named
