"""`pipeline permissions`: what each function of a stack may do, and what for."""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from cli.report import STYLE
from cli.terminal import cell, label
from local.project import find_project
from local.recording import Graph, synthesise

# Of what is read by a program, which breaks no lines.
PIPED_COLUMNS = 200


@dataclass(frozen=True)
class Permission:
    """A right of a function, or of what runs it by the clock."""

    function: str
    action: str
    resource: str
    when: str
    why: str


def permissions(graph: Graph) -> Iterator[Permission]:
    """All rights of all roles, by the names that the program gives things."""
    # A role can have several policies: it is the role that says whose they are.
    roles = {role.physical_name: role.name for role in graph.of_type("aws:iam/role:Role")}
    policies = graph.of_type("aws:iam/rolePolicy:RolePolicy")
    whose = {policy.urn: roles.get(policy.inputs["role"], policy.inputs["role"]) for policy in policies}
    # Resources are made in no order that stays.
    for policy in sorted(policies, key=lambda policy: (whose[policy.urn], policy.name)):
        function = whose[policy.urn]
        for statement in json.loads(policy.inputs["policy"])["Statement"]:
            when = _condition(graph, statement.get("Condition", {}))
            for action in statement["Action"]:
                for arn in statement["Resource"]:
                    yield Permission(function, action, _named(graph, arn), when, _words(statement.get("Sid", "")))


def _named(graph: Graph, arn: str) -> str:
    """`Bucket pipeline-bucket/results/*` for an ARN of this stack; another one as it is."""
    known = max((each for each in graph.arns if arn.startswith(each)), key=len, default=None)
    if known is None:
        return arn
    resource = graph.arns[known]
    return f"{resource.type.rpartition(':')[2]} {resource.name}{arn.removeprefix(known)}"


def _condition(graph: Graph, condition: Mapping[str, Mapping[str, str | list[str]]]) -> str:
    """`ArnEquals lambda:SourceFunctionArn Function pipeline-worker`, or nothing."""
    return " and ".join(
        f"{operator} {key} "
        + " or ".join(_named(graph, each) for each in ([value] if isinstance(value, str) else value))
        for operator, pairs in condition.items()
        for key, value in pairs.items()
    )


def _words(sid: str) -> str:
    """A statement's Sid as a person reads it."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", sid).lower()


def run_permissions(stack: str, *, as_json: bool) -> int:
    """Prints the rights of a stack's functions."""
    found = list(permissions(synthesise(find_project(Path.cwd()), stack)))
    if as_json:
        sys.stdout.write(json.dumps([asdict(each) for each in found]) + "\n")
        return 0
    console = Console()
    if not console.is_terminal:
        console.width = PIPED_COLUMNS
    for function, rights in groupby(found, key=lambda each: each.function):
        grid = Grid(title=f"function {label(function)}", **STYLE)
        grid.add_column("action", no_wrap=True)
        grid.add_column("resource", overflow="fold")
        grid.add_column("why", overflow="fold")
        for _, alike in groupby(rights, key=lambda each: (each.resource, each.why, each.when)):
            actions = list(alike)
            first = actions[0]
            why = f"{first.why}, when {first.when}" if first.when else first.why
            grid.add_row(Text("\n").join(cell(each.action) for each in actions), cell(first.resource), cell(why))
        console.print(grid)
    return 0
