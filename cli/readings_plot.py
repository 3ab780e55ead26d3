"""A chart of one metric of a device in the terminal, with its limits and the alerts that its readings cause."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from handlers.iot.alerting import Claim, DeviceState, advanced
from handlers.iot.readings import Reading, timestamp_of
from handlers.iot.thresholds import BOUNDS, Alert, Threshold, Thresholds

PLOT_HEIGHT = 16
POINT = "•"
MARKS = {("crossed", "max"): "▲", ("crossed", "min"): "▼", ("recovered", "max"): "○", ("recovered", "min"): "○"}
# Below the chart, the newest ones.
LISTED_ALERTS = 10


def alerts_of(readings: Sequence[Reading], thresholds: Thresholds) -> list[Alert]:
    """Return the alerts that readings of a device cause, oldest first, as if none had come before."""
    state, alerts, claim = DeviceState(), list[Alert](), Claim("plot", "plot", 0)
    for reading in readings:
        state = advanced(state, thresholds, [reading], claim)
        alerts += state.ours(claim)
        state = DeviceState(state.limits)
    return alerts


def as_plot(readings: Sequence[Reading], metric: str, thresholds: Thresholds, width: int) -> list[str]:
    """Return a chart of one metric over time: limits are dashed lines, and alerts are marks and a list below it."""
    levels = thresholds.of(metric, readings[0].device_id)
    alerts = [alert for alert in alerts_of(readings, thresholds) if alert.metric == metric]
    return [
        f"{metric} of {readings[0].device_id}, {len(readings)} readings",
        *_chart(readings, metric, _limits(levels), alerts, width),
        *_listed(alerts),
    ]


def _limits(levels: Sequence[Threshold]) -> dict[str, Decimal]:
    return {
        f"{level.severity} {bound}": limit
        for level in levels
        for bound in BOUNDS
        if (limit := level.limit(bound)) is not None
    }


def _chart(
    readings: Sequence[Reading], metric: str, limits: Mapping[str, Decimal], alerts: Sequence[Alert], width: int
) -> list[str]:
    values = [reading.metrics[metric] for reading in readings]
    times = [datetime.fromisoformat(reading.time_key[:19]) for reading in readings]
    low, high = min([*values, *limits.values()]), max([*values, *limits.values()])
    span = high - low or Decimal(1)
    labels = [f"{high - span * row / (PLOT_HEIGHT - 1):.2f}" for row in range(PLOT_HEIGHT)]
    margin = max(map(len, labels))
    columns = max(10, width - margin - 2)
    whole = (times[-1] - times[0]).total_seconds() or 1.0

    def row_of(value: Decimal) -> int:
        return round((high - value) / span * (PLOT_HEIGHT - 1))

    chart = [[" "] * columns for _ in range(PLOT_HEIGHT)]
    for label, limit in limits.items():
        name = f" {label} {limit:f} "
        line = ("- " * columns)[: max(0, columns - len(name) - 2)] + name
        chart[row_of(limit)] = list(line.ljust(columns, "-")[:columns])
    marks = {alert.timestamp: MARKS[alert.kind, alert.bound] for alert in alerts}
    shown = [marks.get(timestamp_of(reading.time_key), POINT) for reading in readings]
    # Points first, so that none hides a mark.
    for position in sorted(range(len(readings)), key=lambda each: shown[each] != POINT):
        column = round((times[position] - times[0]).total_seconds() / whole * (columns - 1))
        chart[row_of(values[position])][column] = shown[position]
    first, last = f"{times[0]:%Y-%m-%d %H:%M}", f"{times[-1]:%Y-%m-%d %H:%M}"
    return [
        *(f"{label:>{margin}} ┤{''.join(row)}" for label, row in zip(labels, chart, strict=True)),
        f"{'':>{margin}} └{'─' * columns}",
        f"{'':>{margin}}  {first}{last:>{max(0, columns - len(first))}}",
    ]


def _listed(alerts: Sequence[Alert]) -> list[str]:
    if not alerts:
        return []
    shown = alerts[-LISTED_ALERTS:]
    earlier = f", the last {len(shown)} of {len(alerts)}" if len(shown) < len(alerts) else ""
    return [
        f"alerts (▲▼ crossed, ○ recovered{earlier}):",
        *(
            f"  {alert.timestamp}  {alert.kind:<9} {alert.severity} {alert.bound} {alert.limit} at {alert.value}"
            for alert in shown
        ),
    ]
