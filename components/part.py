"""A feature's contribution to a pipeline, as a value that a variant sums.

A new source or sink is one file with a function that returns a `Part`, and one line in its variant.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from pulumi import Output

from components.api import Backend
from components.function import Function
from components.grants import Grant
from components.observability import Alarm, Panel


@dataclass(frozen=True)
class Part:
    """What one feature adds; a feature that is off adds nothing.

    Example: `Part(worker_grants=[bus.grant_put()], outputs={"event_bus_name": bus.name})`.
    """

    ingest_grants: Sequence[Grant] = ()
    """Rights and environment of the function that accepts events."""
    worker_grants: Sequence[Grant] = ()
    """Rights and environment of the functions that process events."""
    outcome_grants: Sequence[Grant] = ()
    """Rights and environment of every function that tells what became of events."""
    functions: Sequence[Function] = ()
    """Functions of its own: they are on the dashboard and in the saved queries."""
    backends: Sequence[Backend] = ()
    """Functions of its own behind routes of the API."""
    alarms: Mapping[str, Alarm] = field(default_factory=dict)
    panels: Sequence[Panel] = ()
    outputs: Mapping[str, Output[Any]] = field(default_factory=dict)
    """Outputs of the stack."""
    expiries: Mapping[str, int | None] = field(default_factory=dict)
    """Prefixes that it writes to in the bucket, and the days after which their objects expire."""

    def __add__(self, other: "Part") -> "Part":
        """Both together. Raises ValueError for a name that both use."""
        return Part(**{each.name: _sum(getattr(self, each.name), getattr(other, each.name)) for each in fields(self)})


def total(*parts: Part) -> Part:
    """All parts together."""
    return sum(parts, Part())


def _sum(one: Any, other: Any) -> Any:
    if not isinstance(one, Mapping):
        return (*one, *other)
    if twice := one.keys() & other.keys():
        raise ValueError(f"two parts of the pipeline use the name {min(twice)}")
    return {**one, **other}
