"""Rules that a stack keeps, checked on its synthesised graph; a finding names resource, rule, what is wrong, and fix.

Each rule rests on an AWS document, which is its `why`. The rules look at what would be deployed, not at how the program
makes it, so they hold for transforms and for resources that somebody adds to `__main__.py`, too.
"""

from collections.abc import Sequence

from components.options.common import AcceptedFinding
from local.monitor import STACK_TYPE
from local.recording import Graph
from local.rules import apis, data, failures, networks, rights  # noqa: F401  each registers its rules
from local.rules.rule import RULES, Finding

__all__ = ["RULES", "Finding", "findings"]


def findings(graph: Graph, accepted: Sequence[AcceptedFinding] = ()) -> list[Finding]:
    """What is wrong with a stack, by rule and resource; and what is accepted there and is not wrong (any more)."""
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
    """Left where it is, it would accept what somebody breaks later on, unseen."""
    what = (one.resource or "any resource") + (f" ({one.type})" if one.type else "")
    return Finding(
        type=STACK_TYPE,
        name="accepted_findings",
        rule="accepted-findings",
        found=f"{one.rule} of {what} is accepted, and nothing of it is found",
        fix="take the entry out of the stack file",
        why="https://docs.aws.amazon.com/securityhub/1.0/APIReference/API_Workflow.html",
    )
