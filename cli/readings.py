"""`pipeline readings`: the readings of a device, or of a group of devices, as a table, a plot, CSV or JSON."""

import csv
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any, Literal

from cli.core.json_text import write_json
from cli.core.stack import Stack
from cli.core.terminal import write_lines
from cli.readings_plot import as_plot
from components.options.iot import IotPipelineConfig
from handlers.iot.alerting import DeviceState
from handlers.iot.readings import timestamp_of
from handlers.iot.table import ReadingTable, StoredReading
from handlers.iot.thresholds import Thresholds
from handlers.shared import aws
from handlers.shared.times import timestamp
from local.errors import LocalError

Output = Literal["table", "plot", "csv", "json"]

# Without --since.
NEWEST = 20
NEWEST_PLOTTED = 500

# No device id has one.
WILDCARD = re.compile(r"[*?]")


def run_readings(stack: str, device: str, since: datetime | None, metric: str | None, output: Output) -> int:
    """Print the readings of a device, or of the devices that a pattern matches. Raises LocalError if there are none.

    Without `since` these are the newest ones of a device, and the newest one of each device of a group.
    """
    source = Stack(stack)
    thresholds = Thresholds.from_json(source.config_as(IotPipelineConfig).thresholds_json())
    source.aim_aws_clients()
    table = ReadingTable(source.output("table_name"))
    is_group = bool(WILDCARD.search(device))
    if is_group and output == "plot":
        raise LocalError("--plot draws one device: name it instead of a pattern")
    readings = (
        readings_of_group(table, device, since, metric)
        if is_group
        else readings_of_device(table, device, since, metric, output)
    )
    if not readings:
        what = f"readings of {metric!r}" if metric else "readings"
        whose = f"a device that matches {device!r}" if is_group else f"device {device!r}"
        raise LocalError(f"there are no {what} of {whose}{f' since {since:%Y-%m-%d %H:%M:%S %Z}' if since else ''}")
    names = sorted({name for reading in readings for name in reading.metrics if metric in (None, name)})
    match output:
        case "csv":
            csv.writer(sys.stdout, lineterminator="\n").writerows(rows(readings, names, with_device=is_group))
        case "json":
            write_json([as_json(reading, names) for reading in readings])
        case "table" if is_group:
            states = table.states({reading.device_id for reading in readings})
            open_alerts = [alerts_in(states[reading.device_id].state) for reading in readings]
            write_lines(as_table(with_column(rows(readings, names, with_device=True), "alerts", open_alerts)))
        case "table":
            write_lines(as_table(rows(readings, names)))
        case "plot":
            if len(names) > 1:
                raise LocalError(f"choose a metric with --metric: one of {', '.join(names)}")
            width = min(shutil.get_terminal_size().columns, 120)
            state = table.states([device])[device].state
            write_lines([*as_plot(readings, names[0], thresholds, width), *silence_of(state)])
    return 0


def readings_of_device(
    table: ReadingTable, device: str, since: datetime | None, metric: str | None, output: Output
) -> list[StoredReading]:
    """Return a device's readings since a time, or its newest ones."""
    newest = NEWEST if output == "table" else NEWEST_PLOTTED
    return [reading for reading in _newest(table, device, since, newest) if metric is None or metric in reading.metrics]


def readings_of_group(
    table: ReadingTable, pattern: str, since: datetime | None, metric: str | None
) -> list[StoredReading]:
    """Return readings of the devices that match a pattern, which an index finds; the table is not scanned."""
    (prefix,) = WILDCARD.split(pattern)[:1]
    devices = sorted(device for device in table.devices(prefix) if fnmatchcase(device, pattern))

    def of_device(device: str) -> list[StoredReading]:
        # The newest reading need not have the metric.
        found = _newest(table, device, since, NEWEST if metric else 1)
        found = [reading for reading in found if metric is None or metric in reading.metrics]
        return found if since is not None else found[-1:]

    return [reading for found in aws.each(of_device, devices) for reading in found]


def _newest(table: ReadingTable, device: str, since: datetime | None, count: int) -> list[StoredReading]:
    """Return a device's readings since a time, or a number of the newest ones; oldest first."""
    if since is not None:
        return list(table.between(device, since))
    return list(islice(table.between(device, newest_first=True, page_size=count), count))[::-1]


def alerts_in(state: DeviceState) -> str:
    """Return the alerts of a device that have not ended: `temperature critical, silent`."""
    announced = (name.split("#") for name, limit in state.limits.items() if limit.announced)
    # States written before there were levels have none in their names.
    found = {" ".join((metric, *levels)) for metric, _, *levels in announced}
    silent = ["silent"] if state.hearing and state.hearing.silent else []
    return ", ".join([*sorted(found), *silent])


def silence_of(state: DeviceState) -> list[str]:
    """Return a line if a device is silent."""
    hearing = state.hearing
    if hearing is None or not hearing.silent:
        return []
    return [f"silent: its last upload arrived at {datetime.fromtimestamp(hearing.heard_at, UTC):%Y-%m-%dT%H:%M:%SZ}"]


def output_of(flags: Mapping[Output, bool]) -> Output:
    """Return the output that was chosen, or a table. Raises LocalError if there is more than one."""
    chosen = [name for name, is_chosen in flags.items() if is_chosen]
    if len(chosen) > 1:
        raise LocalError(f"choose one of {', '.join(f'--{name}' for name in chosen)}")
    return chosen[0] if chosen else "table"


def rows(readings: Sequence[StoredReading], names: Sequence[str], *, with_device: bool = False) -> list[list[str]]:
    """Return a header, and a row for each reading: its time and its metrics, empty where it has none."""
    found = [[*(["device"] if with_device else []), "time", *names]]
    for reading in readings:
        device = [reading.device_id] if with_device else []
        values = [f"{reading.metrics[name]:f}" if name in reading.metrics else "" for name in names]
        found.append([*device, timestamp_of(reading.time_key), *values])
    return found


def with_column(cells: Sequence[Sequence[str]], name: str, column: Sequence[str]) -> list[list[str]]:
    """Return rows with another column at their end."""
    return [[*row, value] for row, value in zip(cells, [name, *column], strict=True)]


def as_json(reading: StoredReading, names: Sequence[str]) -> Mapping[str, Any]:
    """Return a reading for JSON, with exact numbers as text. `object`: the upload that wrote it last."""
    metrics = {name: f"{reading.metrics[name]:f}" for name in names if name in reading.metrics}
    key, _, version = reading.upload.rpartition("#")
    return {
        "device_id": reading.device_id,
        "timestamp": timestamp_of(reading.time_key),
        "metrics": metrics,
        "object": key or None,
        "version": version or None,
        "arrived_at": timestamp(datetime.fromtimestamp(reading.arrived_at, UTC)) if reading.arrived_at else None,
    }


def as_table(cells: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines with aligned columns: numbers to the right, everything else to the left."""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    right = [all(_is_number(row[column]) for row in cells[1:]) for column in range(len(cells[0]))]
    return [
        "  ".join(
            value.rjust(width) if is_right else value.ljust(width)
            for value, width, is_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    ]


def _is_number(text: str) -> bool:
    return not text or bool(re.fullmatch(r"-?[0-9.]+", text))
