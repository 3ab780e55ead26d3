"""Rules for the synthesised graph of a stack. A finding names the resource, the rule, the problem and the fix.

Each rule cites an AWS document as its `why`. The rules check what would be deployed, so they also cover transforms and
resources that a user adds to `__main__.py`.
"""

from collections.abc import Sequence

from components.options.common import AcceptedFinding
from local.monitor import STACK_TYPE
from local.recording import Graph
from local.rules import apis, data, failures, networks, requests, rights  # noqa: F401  each registers its rules
from local.rules.rule import RULES, Finding

__all__ = ["RULES", "Finding", "findings"]


def findings(graph: Graph, accepted: Sequence[AcceptedFinding] = ()) -> list[Finding]:
    """Return the findings of a stack by rule and resource, and one for each stale entry of `accepted`."""
    found: list[Finding] = []
    met: set[AcceptedFinding] = set()
    for each in RULES:
        for resource, what in sorted(each.check(graph), key=lambda problem: problem[0].name):
            by = [
                one
                for one in accepted
                if one.rule == each.name and one.resource in (None, resource.name) and one.type in (None, resource.type)
            ]
            met.update(by)
            reason = by[0].reason if by else None
            found.append(Finding(resource.type, resource.name, each.name, what, each.fix, each.why, reason))
    return found + [_stale(one) for one in accepted if one not in met]


def _stale(one: AcceptedFinding) -> Finding:
    """A finding for an entry that accepts nothing: it would hide a problem that comes up later."""
    what = (one.resource or "any resource") + (f" ({one.type})" if one.type else "")
    return Finding(
        type=STACK_TYPE,
        name="accepted_findings",
        rule="accepted-findings",
        found=f"{one.rule} of {what} is accepted, but was not found",
        fix="remove the entry from the stack file",
        why="https://docs.aws.amazon.com/securityhub/1.0/APIReference/API_Workflow.html",
    )
