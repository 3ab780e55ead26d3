"""The alert state of a device: its limits, and the alerts that are decided but not yet published. Contains no AWS code.

A decision and its alert are one write: the alert is `pending` in the state until it is published. The run that made the
write publishes it; when its lease is over, any other run may. Hence workers that race publish one alert, and a worker
that dies loses none. An alert is published twice only if a worker dies, or cannot write, between publishing the alert
and recording that. A second alert is a nuisance; a missing one is a cold store that thaws.

The state of a limit that is no longer configured is removed with the device's next reading, and its alert ends.

While the topic refuses alerts, two of a limit stay pending, the last ones: a state must fit into an item of 400 KB.
"""

import json
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Self

from handlers.iot.readings import Reading, first_key, timestamp_of
from handlers.iot.silence import Hearing
from handlers.iot.thresholds import BOUNDS, Alert, Bound, State, Threshold, Thresholds, evaluate, side

# A crossing and a recovery.
PENDING_A_LIMIT = 2

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


def earliest_told(arrived_at: datetime, max_age_minutes: int) -> str:
    """Return the key before which readings of an upload cause no alert of a crossing. 0 minutes: any reading does."""
    return first_key(arrived_at - timedelta(minutes=max_age_minutes)) if max_age_minutes else ""


def advanced(
    state: DeviceState, thresholds: Thresholds, readings: Sequence[Reading], claim: Claim, not_before: str = ""
) -> DeviceState:
    """Return the state after readings of a device, oldest first, which count together.

    A crossing is told only if the key of its reading is not before `not_before`.
    """
    if not readings:
        return state
    limits = dict(state.limits)
    alerts = _without_removed(limits, thresholds, readings[-1])
    for reading, metric, (name, threshold, bound) in _decisive(thresholds, readings):
        known = limits.get(name) or State()
        limits[name], alert = evaluate(threshold, bound, known, reading, metric, not_before)
        if alert is not None:
            alerts.append(alert)
    pending = (*state.pending, *(Pending(alert, claim) for alert in alerts))
    return replace(state, limits=limits, pending=_last_of_each_limit(pending) if alerts else pending)


def _decisive(thresholds: Thresholds, readings: Sequence[Reading]) -> Iterator[tuple[Reading, str, Limit]]:
    """Yield, for each limit, the newest reading that says on which side of it the metric is."""
    undecided: dict[str, list[Limit]] = {}
    for reading in reversed(readings):
        for metric, value in reading.metrics.items():
            limits = undecided.get(metric)
            if limits is None:
                limits = undecided[metric] = _limits_of(thresholds, metric, reading.device_id)
            for limit in tuple(limits):
                _, threshold, bound = limit
                if side(threshold, bound, value) is not None:
                    limits.remove(limit)
                    yield reading, metric, limit


def _last_of_each_limit(pending: Sequence[Pending]) -> tuple[Pending, ...]:
    """Return alerts without those of a limit that later ones have overtaken."""
    later: Counter[tuple[str, str, str]] = Counter()
    kept = []
    for each in reversed(pending):
        limit = (each.alert.metric, each.alert.bound, each.alert.severity)
        later[limit] += 1
        if later[limit] <= PENDING_A_LIMIT:
            kept.append(each)
    return tuple(reversed(kept))


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


def _limits_of(thresholds: Thresholds, metric: str, device_id: str) -> list[Limit]:
    return [
        (f"{metric}#{bound}#{threshold.severity}", threshold, bound)
        for threshold in thresholds.of(metric, device_id)
        for bound in BOUNDS
        if threshold.limit(bound) is not None
    ]
