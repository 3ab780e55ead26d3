"""Roles and their policies."""

from local.monitor import Created
from local.services import Clients, Inputs, creates


def pairs(tags: dict[str, str]) -> list[dict[str, str]]:
    """Return tags in the form of most services."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


@creates("aws:iam/role:Role")
def role(aws: Clients, name: str, inputs: Inputs) -> Created:
    made = aws("iam").create_role(
        RoleName=name,
        AssumeRolePolicyDocument=inputs["assumeRolePolicy"],
        Tags=pairs(inputs.tags),
        **inputs.renamed(Description="description", Path="path", MaxSessionDuration="maxSessionDuration"),
    )["Role"]
    return Created(name, {"name": name, "arn": made["Arn"], "uniqueId": made["RoleId"]})


@creates("aws:iam/rolePolicy:RolePolicy")
def role_policy(aws: Clients, name: str, inputs: Inputs) -> Created:
    aws("iam").put_role_policy(RoleName=inputs["role"], PolicyName=name, PolicyDocument=inputs["policy"])
    return Created(f"{inputs['role']}:{name}", {"name": name})
