"""`pipeline permissions`: what each function of a stack may do, and for which purpose."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.core.json_text import write_json
from cli.core.stack import Stack
from cli.core.terminal import TABLE, cell, label
from local.recording import Graph

# Wide enough that lines read by a program are not broken.
PIPED_COLUMNS = 200


@dataclass(frozen=True)
class Permission:
    """A permission of a function or of its schedule."""

    function: str
    action: str
    resource: str
    when: str
    why: str


def run_permissions(stack: str, *, as_json: bool) -> int:
    """Print the permissions of a stack's functions."""
    found = list(permissions(Stack(stack).graph()))
    if as_json:
        write_json([asdict(each) for each in found])
    else:
        _show(found)
    return 0


def permissions(graph: Graph) -> Iterator[Permission]:
    """Yield the permissions of all roles, with the names of the program for resources."""
    # A role can have several policies, so the function is named after the role.
    roles = {role.physical_name: role.name for role in graph.of_type("aws:iam/role:Role")}
    policies = graph.of_type("aws:iam/rolePolicy:RolePolicy")
    whose = {policy.urn: roles.get(policy.inputs["role"], policy.inputs["role"]) for policy in policies}
    # The order of registration differs between runs.
    for policy in sorted(policies, key=lambda policy: (whose[policy.urn], policy.name)):
        function = whose[policy.urn]
        for statement in json.loads(policy.inputs["policy"])["Statement"]:
            when = _condition(graph, statement.get("Condition", {}))
            for action in statement["Action"]:
                for arn in statement["Resource"]:
                    yield Permission(function, action, _named(graph, arn), when, _words(statement.get("Sid", "")))


def _named(graph: Graph, arn: str) -> str:
    """Return `Bucket pipeline-bucket/results/*` for an ARN of this stack; other ARNs unchanged."""
    known = max((each for each in graph.arns if arn.startswith(each)), key=len, default=None)
    if known is None:
        return arn
    resource = graph.arns[known]
    return f"{resource.type.rpartition(':')[2]} {resource.name}{arn.removeprefix(known)}"


def _condition(graph: Graph, condition: Mapping[str, Mapping[str, str | list[str]]]) -> str:
    """Return `ArnEquals lambda:SourceFunctionArn Function pipeline-worker`, or an empty text."""
    return " and ".join(
        f"{operator} {key} "
        + " or ".join(_named(graph, each) for each in ([value] if isinstance(value, str) else value))
        for operator, pairs in condition.items()
        for key, value in pairs.items()
    )


def _words(sid: str) -> str:
    """Return a statement's Sid as words."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", sid).lower()


def _show(found: Sequence[Permission]) -> None:
    """Print a table a function, with one row for the actions that differ in nothing else."""
    console = Console()
    if not console.is_terminal:
        console.width = PIPED_COLUMNS
    for function, owned in groupby(found, key=lambda each: each.function):
        grid = Table(title=f"function {label(function)}", **TABLE)
        grid.add_column("action", no_wrap=True)
        grid.add_column("resource", overflow="fold")
        grid.add_column("why", overflow="fold")
        for _, alike in groupby(owned, key=lambda each: (each.resource, each.why, each.when)):
            actions = list(alike)
            first = actions[0]
            why = f"{first.why}, when {first.when}" if first.when else first.why
            grid.add_row(Text("\n").join(cell(each.action) for each in actions), cell(first.resource), cell(why))
        console.print(grid)
