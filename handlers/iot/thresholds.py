"""Thresholds: when a metric of a device is out of bounds, and when that causes an alert. Contains no AWS code.

A metric has up to two levels, `warning` and `critical`, each with limits, a hysteresis, a cooldown and a state of its
own. A device that becomes critical crosses both; one that is back to a warning recovers from `critical` alone.

A limit's state is two moments: the newest reading beyond the limit, and the newest one back within it by the
hysteresis. A reading between the two counts for neither. Whichever is later says whether the metric is out of bounds.
The newest of a set is the same in whatever order its members come, so this does not depend on the order in which
readings arrive, on how late they are, or on how often they come; no bound on lateness is needed. A reading that is
older than what is known flips nothing.

Alerts tell of the present: the readings of an upload count together, and what the newest one says is compared with
what was told last. An excursion that is over when it becomes known is stored with the readings and alerts nobody.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, Self

from handlers.iot.readings import Reading, timestamp_of

Bound = Literal["min", "max"]
BOUNDS: tuple[Bound, ...] = ("min", "max")


@dataclass(frozen=True, slots=True)
class Threshold:
    """The limits of one level of a metric. `severity` is the level, `cooldown` the least time between two crossings."""

    min: Decimal | None
    max: Decimal | None
    hysteresis: Decimal
    cooldown: timedelta
    severity: str

    def limit(self, bound: Bound) -> Decimal | None:
        """One of the two limits, None when there is none."""
        return self.min if bound == "min" else self.max

    def beyond(self, bound: Bound, value: Decimal) -> bool:
        """Return True if a value is out of bounds. The limit itself is within bounds."""
        return (
            self.min is not None and value < self.min if bound == "min" else self.max is not None and value > self.max
        )

    def within(self, bound: Bound, value: Decimal) -> bool:
        """Return True if a value is inside the limit by the hysteresis."""
        if bound == "min":
            return self.min is not None and value >= self.min + self.hysteresis
        return self.max is not None and value <= self.max - self.hysteresis


@dataclass(frozen=True, slots=True)
class State:
    """Of one limit of one metric of one device. The moments are readings' `time_key`s, empty when there was none.

    The earlier one may be older than the newest of its kind: only the later one counts. `announced`: the last alert
    said that the metric is out of bounds. `alerted` is the reading that this alert, or the last one like it, was about.
    """

    beyond: str = ""
    within: str = ""
    announced: bool = False
    alerted: str = ""

    @property
    def out_of_bounds(self) -> bool:
        """Return True if the metric's last value was beyond the limit."""
        return self.beyond > self.within


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert: `kind` is `crossed` or `recovered`, `severity` the level that was entered or left.

    Numbers are exact, as text. `value` and `limit` are empty if the alert ended because its limit was removed.
    """

    kind: str
    device_id: str
    metric: str
    value: str
    bound: str
    limit: str
    severity: str
    timestamp: str


class Thresholds:
    """The thresholds of a pipeline by metric and device; an empty device id is for all devices without their own."""

    def __init__(self, by_metric: Mapping[str, Mapping[str, Sequence[Threshold]]]) -> None:
        self._by_metric = by_metric

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read `{metric: {"": {level: {min, max, hysteresis, cooldown_minutes}}, device: {...}}}`; numbers are text."""
        return cls(
            {
                metric: {
                    device: tuple(_threshold(level, values) for level, values in levels.items())
                    for device, levels in devices.items()
                }
                for metric, devices in json.loads(text).items()
            },
        )

    def of(self, metric: str, device_id: str) -> Sequence[Threshold]:
        """Return the levels of a metric of a device."""
        devices = self._by_metric.get(metric, {})
        return devices[device_id] if device_id in devices else devices.get("", ())

    def has(self, metric: str, device_id: str, bound: str, severity: str) -> bool:
        """Return True if a metric of a device has such a limit."""
        levels = [each for each in self.of(metric, device_id) if each.severity == severity]
        return any((each.min if bound == "min" else each.max) is not None for each in levels)


def side(threshold: Threshold, bound: Bound, value: Decimal) -> bool | None:
    """Return True for a value beyond a limit, False for one that is back within it, None for one between the two."""
    if threshold.beyond(bound, value):
        return True
    return False if threshold.within(bound, value) else None


def evaluate(
    threshold: Threshold, bound: Bound, state: State, reading: Reading, metric: str, not_before: str = ""
) -> tuple[State, Alert | None]:
    """Return the state of a limit after a reading that is not between the two, and the alert that it causes.

    The same reading again, and an older one, leave the state as it is and cause no alert. A crossing is told only if
    the reading's key is not before `not_before`.
    """
    key = reading.time_key
    if key <= max(state.beyond, state.within):
        return state, None
    if side(threshold, bound, reading.metrics[metric]):
        state = State(key, state.within, state.announced, state.alerted)
        # Of readings that come while the cooldown lasts, the first one after it tells.
        if not state.announced and key >= not_before and _cooled_down(threshold, state):
            return replace(state, announced=True, alerted=key), _alert("crossed", threshold, bound, reading, metric)
        return state, None
    state = State(state.beyond, key, state.announced, state.alerted)
    if state.announced:
        return replace(state, announced=False), _alert("recovered", threshold, bound, reading, metric)
    return state, None


def _cooled_down(threshold: Threshold, state: State) -> bool:
    return not state.alerted or _moment(state.beyond) - _moment(state.alerted) >= threshold.cooldown


def _moment(time_key: str) -> datetime:
    # To the microsecond, which is what datetime has.
    return datetime.fromisoformat(f"{time_key[:26]}+00:00")


def _alert(kind: str, threshold: Threshold, bound: Bound, reading: Reading, metric: str) -> Alert:
    return Alert(
        kind=kind,
        device_id=reading.device_id,
        metric=metric,
        value=f"{reading.metrics[metric]:f}",
        bound=bound,
        limit=f"{threshold.limit(bound):f}",
        severity=threshold.severity,
        timestamp=timestamp_of(reading.time_key),
    )


def _threshold(level: str, values: Mapping[str, Any]) -> Threshold:
    return Threshold(
        min=None if values["min"] is None else Decimal(values["min"]),
        max=None if values["max"] is None else Decimal(values["max"]),
        hysteresis=Decimal(values["hysteresis"]),
        cooldown=timedelta(minutes=values["cooldown_minutes"]),
        severity=level,
    )
