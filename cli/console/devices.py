"""Devices of a stack of the variant iot: their newest readings, with limits and alerts."""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from markupsafe import Markup

from cli.console.charts import Series, line_chart
from cli.core.stack import Stack
from cli.readings import alerts_in, silence_of
from cli.readings_plot import MARKS, alerts_of
from cli.simulation import uploads
from components.options.iot import IotPipelineConfig
from handlers.iot.forms import Form
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
    """The alerts that have not ended, and silence."""
    alerts: list[Alert]
    """The alerts that these readings cause, newest first."""


class Devices:
    """The readings of devices. The stack's AWS clients must be aimed already."""

    def __init__(self, stack: Stack) -> None:
        config = stack.config_as(IotPipelineConfig)
        self._options, self._form = config.readings, config.form_json()
        self._thresholds = Thresholds.from_json(config.thresholds_json())
        self._table = ReadingTable(stack.output("table_name"))

    def sample(self) -> tuple[str, str]:
        """Return readings to begin with, as the stack accepts them, and a suffix for their object.

        Both are empty if the stack takes compressed objects only.
        """
        suffixes = self._options.suffixes or (".jsonl",)
        suffix = next((each for each in suffixes if not each.endswith(".gz")), "")
        if not suffix:
            return "", ""
        form = Form.from_json(self._form)
        start = datetime.now(UTC) - timedelta(hours=1)
        upload = next(uploads(devices=1, count=1, seed=1, bad_share=0, form=form, start=start))
        body = gzip.decompress(upload.body) if upload.key.endswith(".gz") else upload.body
        return body.decode().replace("}, {", "},\n {"), suffix

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
