"""Grants are values: a component returns what others may need, a function collects them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
from pulumi import Input


@dataclass(frozen=True)
class Grant:
    """What a function needs to use a resource: IAM actions, their resources, and environment variables.

    `condition` narrows the resources where an ARN cannot: `{"StringEquals": {"aws:...": [...]}}`.
    """

    actions: tuple[str, ...]
    resources: tuple[Input[str], ...]
    environment: Mapping[str, Input[str]] = field(default_factory=dict)
    condition: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)


def policy_document(grants: Iterable[Grant]) -> pulumi.Output[str]:
    """An IAM policy with one statement a grant, as JSON text.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
    """
    statements = [
        {
            "Effect": "Allow",
            "Action": list(grant.actions),
            "Resource": list(grant.resources),
            **({"Condition": grant.condition} if grant.condition else {}),
        }
        for grant in grants
        if grant.actions
    ]
    return pulumi.Output.json_dumps({"Version": "2012-10-17", "Statement": statements})


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
