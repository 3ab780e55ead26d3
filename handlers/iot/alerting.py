"""The alert state of a device: its limits, and the alerts that are decided but not yet published. Contains no AWS code.

A decision and its alert are one write: the alert is `pending` in the state until it is published. The run that made the
write publishes it; when its lease is over, any other run may. Hence workers that race publish one alert, and a worker
that dies loses none. An alert is published twice only if a worker dies, or cannot write, between publishing the alert
and recording that. A second alert is a nuisance; a missing one is a cold store that thaws.

The state of a limit that is no longer configured is removed with the device's next reading, and its alert ends.
"""

import json
from collections.abc import Callable, Container, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Any, Self

from handlers.iot.readings import Reading, timestamp_of
from handlers.iot.silence import Hearing
from handlers.iot.thresholds import BOUNDS, Alert, Bound, State, Threshold, Thresholds, evaluate

# More alerts than this are decided in more than one write: an item takes 400 KB.
ALERTS_A_WRITE = 50

# Its name in a state, the level that has it, and which of the level's two limits it is.
Limit = tuple[str, Threshold, Bound]


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
    """The alert state of a device. `limits` maps `temperature#max#critical` to the state of that limit.

    `hearing`: when the device was last heard; None if it is not watched for silence.
    """

    limits: dict[str, State] = field(default_factory=dict)
    pending: tuple[Pending, ...] = ()
    hearing: Hearing | None = None

    @property
    def due_at(self) -> int | None:
        """When the watcher looks at the device, None: not before its next upload."""
        return self.hearing.due_at if self.hearing else None

    def to_json(self) -> str:
        """As the table keeps it."""
        # `asdict` copies every value, which is slow for the many limits.
        whole = {
            "limits": {name: _fields(state) for name, state in self.limits.items()},
            "pending": [asdict(each) for each in self.pending],
            "hearing": self.hearing and self.hearing.to_stored(),
        }
        return json.dumps(whole, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Of what `to_json` wrote."""
        given: dict[str, Any] = json.loads(text)
        # States that were written before devices were watched have no hearing.
        hearing = given.get("hearing")
        return cls(
            {name: State(**state) for name, state in given["limits"].items()},
            tuple(Pending(Alert(**each["alert"]), Claim(**each["claim"])) for each in given["pending"]),
            hearing and Hearing.from_stored(hearing),
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


def _fields(state: State) -> dict[str, object]:
    return {
        "beyond": state.beyond,
        "within": state.within,
        "announced": state.announced,
        "alerted": state.alerted,
    }


def advanced(
    state: DeviceState,
    thresholds: Thresholds,
    readings: Sequence[Reading],
    claim: Claim,
) -> tuple[DeviceState, Sequence[Reading]]:
    """Return the state after a device's readings, oldest first, and the readings left for the next write."""
    limits = dict(state.limits)
    pending = list(state.pending)
    if not readings:
        return state, ()
    pending += [Pending(alert, claim) for alert in _without_removed(limits, thresholds, readings[0])]
    of_metric = _limits_of(thresholds, readings[0].device_id)
    for position, reading in enumerate(readings):
        if len(pending) >= len(state.pending) + ALERTS_A_WRITE:
            return replace(state, limits=limits, pending=tuple(pending)), readings[position:]
        pending += _evaluated(limits, of_metric, reading, claim)
    return replace(state, limits=limits, pending=tuple(pending)), ()


def _without_removed(limits: dict[str, State], thresholds: Thresholds, reading: Reading) -> list[Alert]:
    """Remove the states of limits that are no longer configured; return the recoveries of those with an alert."""
    recoveries = []
    for name in list(limits):
        # States written before there were levels have none in their names.
        metric, bound, severity = (*name.split("#"), "")[:3]
        if thresholds.has(metric, reading.device_id, bound, severity):
            continue
        if limits.pop(name).announced:
            recoveries.append(
                Alert(
                    kind="recovered",
                    device_id=reading.device_id,
                    metric=metric,
                    value="",
                    bound=bound,
                    limit="",
                    severity=severity or "warning",
                    timestamp=timestamp_of(reading.time_key),
                )
            )
    return recoveries


def _evaluated(
    limits: dict[str, State], of_metric: Callable[[str], Sequence[Limit]], reading: Reading, claim: Claim
) -> list[Pending]:
    """Take a reading into the states of its metrics' limits; return the alerts that it causes."""
    found = []
    for metric in reading.metrics:
        for name, threshold, bound in of_metric(metric):
            limits[name], alert = evaluate(threshold, bound, limits.get(name) or State(), reading, metric)
            if alert is not None:
                found.append(Pending(alert, claim))
    return found


def _limits_of(thresholds: Thresholds, device_id: str) -> Callable[[str], Sequence[Limit]]:
    """Return a function from a metric to its limits, which are looked up once for all readings."""

    @cache
    def of_metric(metric: str) -> Sequence[Limit]:
        return [
            (f"{metric}#{bound}#{threshold.severity}", threshold, bound)
            for threshold in thresholds.of(metric, device_id)
            for bound in BOUNDS
            if threshold.limit(bound) is not None
        ]

    return of_metric
