"""`pipeline permissions`: what each function of a stack may do, and what for."""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table as Grid

from local.project import find_project
from local.recording import Graph, synthesise


@dataclass(frozen=True)
class Permission:
    """A right of a function, or of what runs it by the clock."""

    function: str
    action: str
    resource: str
    why: str


def permissions(graph: Graph) -> Iterator[Permission]:
    """All rights of all roles, by the names that the program gives things."""
    for policy in graph.of_type("aws:iam/rolePolicy:RolePolicy"):
        for statement in json.loads(policy.inputs["policy"])["Statement"]:
            for action in statement["Action"]:
                for arn in statement["Resource"]:
                    yield Permission(policy.name, action, _named(graph, arn), _words(statement.get("Sid", "")))


def _named(graph: Graph, arn: str) -> str:
    """`pipeline-bucket/results/*` for an ARN of this stack; another one as it is."""
    known = max((each for each in graph.arns if arn.startswith(each)), key=len, default=None)
    return arn if known is None else graph.arns[known].name + arn.removeprefix(known)


def _words(sid: str) -> str:
    """A statement's Sid as a person reads it."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", sid).lower()


def run_permissions(stack: str, *, as_json: bool) -> int:
    """Prints the rights of a stack's functions."""
    found = list(permissions(synthesise(find_project(Path.cwd()), stack)))
    if as_json:
        sys.stdout.write(json.dumps([asdict(each) for each in found]) + "\n")
        return 0
    grid = Grid(box=SIMPLE)
    for heading in ("function", "action", "resource", "why"):
        grid.add_column(heading, overflow="fold")
    for each in found:
        grid.add_row(each.function, each.action, each.resource, each.why)
    Console().print(grid)
    return 0
