"""`pipeline check`: the rules of local/rules/ on a stack, before anything is deployed."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from pydantic import TypeAdapter

from cli.core.json_text import write_json
from cli.core.stack import Stack
from cli.core.terminal import write_lines
from components.config import NAMESPACE, ConfigError
from components.options.common import AcceptedFinding
from local.project import Project
from local.recording import Graph
from local.rules import RULES, Finding, findings


def run_check(stack: str, *, as_json: bool) -> int:
    """Print the findings of a stack. Return 1 if the stack file does not accept all of them."""
    checked = Stack(stack)
    graph = checked.graph()
    found = findings(graph, accepted_findings(checked.project))
    if as_json:
        write_json([asdict(finding) for finding in found])
    else:
        write_lines(_lines(stack, graph, found))
    return int(any(finding.accepted is None for finding in found))


def accepted_findings(project: Project) -> tuple[AcceptedFinding, ...]:
    """Return the findings that a stack file accepts. Raises ConfigError for a rule that does not exist."""
    key = f"{NAMESPACE}:accepted_findings"
    accepted = TypeAdapter(tuple[AcceptedFinding, ...]).validate_json(project.config.get(key, "[]"))
    names = {rule.name for rule in RULES}
    for position, each in enumerate(accepted):
        if each.rule not in names:
            raise ConfigError(
                f"Pulumi.{project.stack}.yaml: {key}.{position}.rule = {each.rule!r}: there is no such rule; "
                f"there are {', '.join(sorted(names))}"
            )
    return accepted


def _lines(stack: str, graph: Graph, found: Sequence[Finding]) -> Iterator[str]:
    for finding in found:
        yield f"{finding.name} ({finding.type}): {finding.found}"
        if finding.accepted is None:
            yield f"    rule {finding.rule}, fix: {finding.fix}"
            yield f"    {finding.why}"
        else:
            yield f"    rule {finding.rule}, accepted: {finding.accepted}"
    wrong = sum(finding.accepted is None for finding in found)
    outcome = f"{wrong} findings" if wrong else "nothing found"
    accepted = f", {len(found) - wrong} accepted" if len(found) > wrong else ""
    resources = sum(resource.custom for resource in graph)
    yield f"stack {stack!r}: {resources} resources, {len(RULES)} rules, {outcome}{accepted}"
