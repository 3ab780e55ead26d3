"""`pipeline check`: the rules of local/rules.py on a stack, before anything is deployed."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from local.project import find_project
from local.recording import synthesise
from local.rules import RULES, findings


def run_check(stack: str, *, as_json: bool) -> int:
    """Prints what is wrong with a stack. Returns 1 when anything is."""
    graph = synthesise(find_project(Path.cwd()), stack)
    found = findings(graph)
    if as_json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in found]) + "\n")
        return int(bool(found))
    console = Console(soft_wrap=True, markup=False, highlight=False)
    for finding in found:
        console.print(f"{finding.name} ({finding.type}): {finding.found}")
        console.print(f"    rule {finding.rule}, mend: {finding.mend}\n    {finding.why}")
    resources = sum(resource.custom for resource in graph)
    outcome = f"{len(found)} findings" if found else "nothing found"
    console.print(f"stack {stack!r}: {resources} resources, {len(RULES)} rules, {outcome}")
    return int(bool(found))
