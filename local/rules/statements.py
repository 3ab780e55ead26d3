"""Policy statements: their resources, principals and conditions."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from local.monitor import Registration
from local.recording import ACCOUNT, Graph
from local.rules.rule import BUCKET, KEY, QUEUE, ROLE, ROLE_POLICY, TOPIC

Statement = Mapping[str, Any]


# Resource policies by type: the type of their resource, and the input that names it.
RESOURCE_POLICIES: Mapping[str, tuple[str, str]] = {
    "aws:sqs/queuePolicy:QueuePolicy": (QUEUE, "queueUrl"),
    "aws:sns/topicPolicy:TopicPolicy": (TOPIC, "arn"),
    "aws:s3/bucketPolicy:BucketPolicy": (BUCKET, "bucket"),
}


def statements(document: str | None) -> list[Statement]:
    """Return the statements of a policy as JSON text, which may be missing."""
    found = json.loads(document)["Statement"] if document else []
    return [found] if isinstance(found, dict) else found


def role_statements(graph: Graph) -> Iterator[tuple[Registration, Statement]]:
    """Yield the statements about the rights of roles, with the policy or role that contains them."""
    documents = [(policy, policy.inputs["policy"]) for policy in graph.of_type(ROLE_POLICY)]
    documents += [
        (role, inline.get("policy")) for role in graph.of_type(ROLE) for inline in role.inputs.get("inlinePolicies", [])
    ]
    for policy, document in documents:
        for statement in statements(document):
            yield policy, statement


def resource_statements(graph: Graph) -> Iterator[tuple[Registration, Statement]]:
    """Yield the statements of queue, topic and bucket policies, with the resource that contains them."""
    for policy in graph:
        if policy.type in (*RESOURCE_POLICIES, QUEUE, TOPIC, BUCKET):
            for statement in statements(policy.inputs.get("policy")):
                yield policy, statement


def trusting_statements(graph: Graph) -> Iterator[tuple[Registration, Statement]]:
    """Yield all statements with principals: resource policies, key policies and trust policies of roles."""
    yield from resource_statements(graph)
    for kind, key in ((KEY, "policy"), (ROLE, "assumeRolePolicy")):
        for resource in graph.of_type(kind):
            for statement in statements(resource.inputs.get(key)):
                yield resource, statement


def owner_of(policy: Registration) -> tuple[str, str]:
    """Return type and name of a policy's resource. It is named by name, ARN or URL, or contains the policy."""
    if policy.type not in RESOURCE_POLICIES:
        return policy.type, policy.physical_name
    kind, key = RESOURCE_POLICIES[policy.type]
    return kind, re.split("[:/]", policy.inputs[key])[-1]


def listed(value: object) -> list[str]:
    """Return a list of strings. In IAM, one value is a list of one, and `true` or a number equals its text."""
    return [str(each) for each in (value if isinstance(value, list) else [value])]


def has_wildcard(text: str) -> bool:
    """Return True if IAM matches a pattern with more than one name.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html
    """
    return re.search("[*?]", text) is not None


def principals(statement: Statement, kind: str = "AWS") -> set[str]:
    """Return the principals of a statement: accounts, roles and users, or those of another `kind` (`Service`)."""
    principal = statement.get("Principal", {})
    if isinstance(principal, str):
        principal = {"AWS": principal}
    return set(listed(principal.get(kind, [])))


ACCOUNT_IN_ARN = re.compile(r"arn:[^:*?]*:[^:*?]*:[^:*?]*:(\d{12}):")


# Condition keys by which AWS identifies a caller: an account, an organisation, a principal or a network.
PRINCIPALS = {"aws:principalaccount", "aws:principalarn", "aws:principalorgid"}


CALLERS = {
    *PRINCIPALS,
    *(f"aws:{key}" for key in ("sourceaccount", "sourcearn", "sourceorgid", "sourcevpc", "sourcevpce")),
    "kms:calleraccount",
}


def conditions(condition: Mapping[str, Mapping[str, object]]) -> Iterator[tuple[str, list[str]]]:
    """Yield the condition keys and their values, of which one must match."""
    for operator, pairs in condition.items():
        if operator in ("StringEquals", "StringLike", "ArnEquals", "ArnLike", "Bool"):
            for key, given in pairs.items():
                yield key.lower(), listed(given)


def for_this_account(condition: Mapping[str, Mapping[str, object]]) -> bool:
    """Return True if a condition limits a service to this account's resources."""
    return any(
        all(value == ACCOUNT if key == "aws:sourceaccount" else of_this_account(value) for value in values)
        for key, values in conditions(condition)
        if key in ("aws:sourceaccount", "aws:sourcearn") or key.startswith("kms:encryptioncontext:")
    )


def of_this_account(arn: str) -> bool:
    """Return True if an ARN or a pattern covers this account's resources only."""
    match = ACCOUNT_IN_ARN.match(arn)
    return match is not None and match[1] == ACCOUNT


def allows_everybody(statement: Statement, callers: set[str]) -> bool:
    """Return True if a statement allows everybody something, without a condition on the caller."""
    named = any(
        key in callers and all(not has_wildcard(value) or ACCOUNT_IN_ARN.match(value) for value in values)
        for key, values in conditions(statement.get("Condition", {}))
    )
    everybody = "*" in principals(statement) or "NotPrincipal" in statement
    return statement["Effect"] == "Allow" and everybody and not named


def federates_everybody(statement: Statement) -> bool:
    """Return True if a statement allows all accounts of an identity provider something: no condition names a subject.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_create_for-idp_oidc.html
    """
    named = any(
        key.endswith(":sub")
        # `repo:*` is everybody with a repository.
        and not any(re.match("([^:*?]*:)?[*?]", value) for value in values)
        for key, values in conditions(statement.get("Condition", {}))
    )
    return statement["Effect"] == "Allow" and bool(principals(statement, "Federated")) and not named
