"""Devices of a stack of the variant iot: their newest readings, with limits and alerts."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from markupsafe import Markup

from cli.console.charts import Series, line_chart
from cli.core.stack import Stack
from cli.readings import alerts_in, silence_of
from cli.readings_plot import MARKS, alerts_of
from components.options.iot import IotPipelineConfig
from handlers.iot.readings import timestamp_of
from handlers.iot.table import ReadingTable
from handlers.iot.thresholds import BOUNDS, Alert, Thresholds

SHOWN = 500
LISTED = 200
LISTED_ALERTS = 20


@dataclass(frozen=True)
class Device:
    """A device's page: a chart for each metric, and the newest readings."""

    device_id: str
    charts: Mapping[str, Markup]
    names: list[str]
    rows: list[list[str]]
    now: list[str]
    """What rings now: alerts that have not ended, and silence."""
    alerts: list[Alert]
    """Those that the readings cause, newest first."""


class Devices:
    """The readings of devices. The stack's AWS clients must be aimed already."""

    def __init__(self, stack: Stack) -> None:
        self._thresholds = Thresholds.from_json(stack.config_as(IotPipelineConfig).thresholds_json())
        self._table = ReadingTable(stack.output("table_name"))

    def names(self, prefix: str) -> list[str]:
        """Return the ids of devices that begin with a text, from an index."""
        return sorted(islice(self._table.devices(prefix), LISTED))

    def device(self, device_id: str) -> Device | None:
        """Return a device's page; None without readings."""
        readings = list(islice(self._table.between(device_id, newest_first=True), SHOWN))[::-1]
        if not readings:
            return None
        names = sorted({name for reading in readings for name in reading.metrics})
        first, last = (
            f"{datetime.fromisoformat(each.time_key[:19]):%Y-%m-%d %H:%M}" for each in (readings[0], readings[-1])
        )
        alerts = alerts_of(readings, self._thresholds)
        places = {timestamp_of(each.time_key): place for place, each in enumerate(readings)}
        state = self._table.states([device_id])[device_id].state
        charts = {}
        for name in names:
            values = [float(reading.metrics[name]) if name in reading.metrics else None for reading in readings]
            limits = {
                f"{level.severity} {bound}": float(limit)
                for level in self._thresholds.of(name, device_id)
                for bound in BOUNDS
                if (limit := level.limit(bound)) is not None
            }
            marks = {
                places[each.timestamp]: (MARKS[each.kind, each.bound], f"{each.severity} {each.kind} at {each.value}")
                for each in alerts
                if each.metric == name and each.timestamp in places
            }
            series = [Series(name, "accepted", values)]
            charts[name] = line_chart(f"{name} of {device_id}", series, first, last, limits, marks)
        rows = [
            [
                timestamp_of(each.time_key),
                *(f"{each.metrics[name]:f}" if name in each.metrics else "" for name in names),
            ]
            for each in reversed(readings)
        ]
        now = [alerts_in(state), *silence_of(state)]
        return Device(
            device_id, charts, names, rows[:100], [each for each in now if each], alerts[::-1][:LISTED_ALERTS]
        )
