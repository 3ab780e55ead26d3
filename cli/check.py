"""`pipeline check`: the rules of local/rules/ on a stack, before anything is deployed."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter
from rich.console import Console

from cli.terminal import inert
from components.config import NAMESPACE, ConfigError
from components.options.common import AcceptedFinding
from local.project import Project, find_project, load_project
from local.recording import synthesise
from local.rules import RULES, findings


def run_check(stack: str, *, as_json: bool) -> int:
    """Prints what is wrong with a stack. Returns 1 when anything is that the stack file does not accept."""
    directory = find_project(Path.cwd())
    graph = synthesise(directory, stack)
    found = findings(graph, accepted_findings(load_project(directory, stack)))
    wrong = [finding for finding in found if finding.accepted is None]
    if as_json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in found]) + "\n")
        return int(bool(wrong))
    console = Console(soft_wrap=True, markup=False, highlight=False, emoji=False)
    for finding in found:
        console.print(inert(f"{finding.name} ({finding.type}): {finding.found}"))
        if finding.accepted is None:
            console.print(f"    rule {finding.rule}, mend: {finding.mend}\n    {finding.why}")
        else:
            console.print(f"    rule {finding.rule}, accepted: {inert(finding.accepted)}")
    resources = sum(resource.custom for resource in graph)
    outcome = f"{len(wrong)} findings" if wrong else "nothing found"
    accepted = f", {len(found) - len(wrong)} accepted" if len(found) > len(wrong) else ""
    console.print(f"stack {stack!r}: {resources} resources, {len(RULES)} rules, {outcome}{accepted}")
    return int(bool(wrong))


def accepted_findings(project: Project) -> tuple[AcceptedFinding, ...]:
    """What a stack file accepts. Raises ConfigError for a rule that does not exist; the program saw to the rest."""
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
