"""The alert state of a device, pure: its limits, and the alerts that are decided and not yet published.

A decision and its alert are one write: the alert stands in the state as `pending` until it is published. Whoever made
that write publishes, and nobody else while the lease lasts; after that, whoever comes by. So workers that race publish
one alert, a worker that dies loses none, and one is published twice only when a worker dies, or cannot write, between
publishing and saying so. A second alert is a nuisance, a missing one is a cold store that thaws.
"""

import json
from collections.abc import Container, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from handlers.iot.readings import Reading
from handlers.iot.thresholds import BOUNDS, Alert, State, Thresholds, evaluate

# More alerts than this are decided in more than one write: an item takes 400 KB.
ALERTS_A_WRITE = 50


@dataclass(frozen=True, slots=True)
class Claim:
    """Who publishes an alert, and until when (epoch seconds).

    `run` is Lambda's request id, the same when Lambda tries again; `source` is the upload that the run is about.
    """

    run: str
    source: str
    until: float


@dataclass(frozen=True, slots=True)
class Pending:
    """An alert that is decided and not known to be published."""

    alert: Alert
    claim: Claim


@dataclass(frozen=True, slots=True)
class DeviceState:
    """`limits` maps `temperature#max` to the state of that limit."""

    limits: dict[str, State] = field(default_factory=dict)
    pending: tuple[Pending, ...] = ()

    def to_json(self) -> str:
        """As the table keeps it."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Of what `to_json` wrote."""
        given: dict[str, Any] = json.loads(text)
        return cls(
            {name: State(**state) for name, state in given["limits"].items()},
            tuple(Pending(Alert(**each["alert"]), Claim(**each["claim"])) for each in given["pending"]),
        )

    def ours(self, claim: Claim) -> list[Alert]:
        """The alerts that a claim stands for."""
        return [each.alert for each in self.pending if each.claim == claim]

    def held_by_another(self, claim: Claim, now: float) -> bool:
        """Whether another run of the same source is about to publish: its end is to be awaited, lest it died."""
        return any(
            each.claim.source == claim.source and each.claim.run != claim.run and each.claim.until > now
            for each in self.pending
        )

    def taken_over(self, claim: Claim, now: float, published: Container[Alert]) -> Self:
        """The state without alerts that are published, and with those claimed that an earlier or dead run left."""
        return replace(
            self,
            pending=tuple(
                replace(each, claim=claim) if each.claim.run == claim.run or each.claim.until <= now else each
                for each in self.pending
                if each.alert not in published
            ),
        )


def advanced(
    state: DeviceState,
    thresholds: Thresholds,
    readings: Sequence[Reading],
    claim: Claim,
) -> tuple[DeviceState, Sequence[Reading]]:
    """The state after a device's readings, oldest first; and the readings that are left for the next write."""
    limits = dict(state.limits)
    pending = list(state.pending)
    for position, reading in enumerate(readings):
        if len(pending) >= len(state.pending) + ALERTS_A_WRITE:
            return DeviceState(limits, tuple(pending)), readings[position:]
        pending += [Pending(alert, claim) for alert in _evaluated(limits, thresholds, reading)]
    return DeviceState(limits, tuple(pending)), ()


def _evaluated(limits: dict[str, State], thresholds: Thresholds, reading: Reading) -> Iterable[Alert]:
    for metric in reading.metrics:
        threshold = thresholds.of(metric, reading.device_id)
        if threshold is None:
            continue
        for bound in BOUNDS:
            if threshold.limit(bound) is None:
                continue
            name = f"{metric}#{bound}"
            limits[name], alert = evaluate(threshold, bound, limits.get(name, State()), reading, metric)
            if alert is not None:
                yield alert
