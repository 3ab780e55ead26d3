"""The effect of a change on one stack: its resources, rights, findings and cost, before and after."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cli.cost import PRICES, monthly_dollars, read_prices
from cli.cost_model import Traffic
from cli.permissions import Permission, permissions
from components.options.api import ApiPipelineConfig
from components.options.common import AcceptedFinding
from local.changes import Change, changes
from local.recording import Graph
from local.rules import Finding, findings

# The bill that is compared is that of `pipeline cost` with its own defaults.
TRAFFIC = Traffic(events_a_month=1_000_000, events_a_request=1, event_bytes=500)

Status = Literal["compared", "new", "removed", "failed"]


@dataclass(frozen=True)
class Side:
    """A stack at one revision. `config` is None for another variant than api, and where it cannot be read."""

    graph: Graph
    accepted: Sequence[AcceptedFinding] = ()
    config: ApiPipelineConfig | None = None
    allowed_losses: Sequence[str] = ()


@dataclass(frozen=True)
class StackDiff:
    """The effect of a change on a stack. `error` says why it cannot be compared, where `status` is failed."""

    stack: str
    status: Status
    unchanged: int = 0
    changes: Sequence[Change] = ()
    rights_added: Sequence[Permission] = ()
    rights_removed: Sequence[Permission] = ()
    findings_added: Sequence[Finding] = ()
    findings_removed: Sequence[Finding] = ()
    dollars_before: float | None = None
    dollars_after: float | None = None
    allowed_losses: Sequence[str] = ()
    error: str = ""


def compare(stack: str, before: Side | None, after: Side | None) -> StackDiff:
    """Return what a deployment of `after` over `before` would do. None: the stack is not there on that side."""
    old, new = before or Side(Graph()), after or Side(Graph())
    found = changes(old.graph, new.graph)
    touched = sum(change.action != "create" for change in found)
    old_rights, new_rights = Counter(permissions(old.graph)), Counter(permissions(new.graph))
    old_findings = Counter(findings(old.graph, old.accepted)) if before else Counter[Finding]()
    new_findings = Counter(findings(new.graph, new.accepted)) if after else Counter[Finding]()
    return StackDiff(
        stack=stack,
        status="new" if before is None else "removed" if after is None else "compared",
        unchanged=sum(each.custom for each in old.graph) - touched,
        changes=found,
        rights_added=list((new_rights - old_rights).elements()),
        rights_removed=list((old_rights - new_rights).elements()),
        findings_added=list((new_findings - old_findings).elements()),
        findings_removed=list((old_findings - new_findings).elements()),
        dollars_before=_dollars(old),
        dollars_after=_dollars(new),
        allowed_losses=new.allowed_losses,
    )


def _dollars(side: Side) -> float | None:
    if side.config is None:
        return None
    return monthly_dollars(read_prices(str(PRICES)), side.config, side.graph, TRAFFIC)
