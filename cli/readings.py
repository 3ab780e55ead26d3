"""`pipeline readings`: the readings of a device, or of a group of devices, as a table, a plot, CSV or JSON."""

import csv
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from cli.core.json_text import write_json
from cli.core.stack import Stack
from cli.core.terminal import write_lines
from cli.readings_export import (
    Period,
    period_json,
    period_rows,
    periods,
    start_of,
    write_periods,
    write_readings,
)
from cli.readings_plot import as_plot
from components.options.iot import IotPipelineConfig
from handlers.iot.alerting import DeviceState
from handlers.iot.readings import EARLIEST, timestamp_of
from handlers.iot.table import ReadingTable, StoredReading
from handlers.iot.thresholds import Thresholds
from handlers.shared import aws
from handlers.shared.times import timestamp
from local.errors import LocalError

Output = Literal["table", "plot", "csv", "json"]

# Without --since.
NEWEST = 20
NEWEST_PLOTTED = 500

# Of a device, if a metric is wanted that not every reading has.
LOOKED_AT = 1_000

# No device id has one.
WILDCARD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Wanted:
    """Selection and layout of readings: devices, start, metric (None: all), single readings or periods, output."""

    device: str
    since: datetime | None = None
    metric: str | None = None
    every: timedelta | None = None
    output: Output = "table"
    parquet: Path | None = None

    def __post_init__(self) -> None:
        """Raise LocalError for options that do not fit together."""
        if not self.device:
            raise LocalError("name a device, or a pattern of several such as 'sim-*'")
        if self.every is not None and not self.every:
            raise LocalError("--every needs a period longer than 0")
        if self.every and self.since is None:
            raise LocalError("--every needs --since, the time from which on readings count: --since 1d")
        if self.output == "plot" and (self.every or self.is_group):
            raise LocalError("--plot draws the readings of one device: name it, without a pattern and without --every")
        if self.parquet and self.output != "table":
            raise LocalError(f"choose one of --{self.output}, --parquet")

    @property
    def is_group(self) -> bool:
        """Whether `device` is a pattern."""
        return bool(WILDCARD.search(self.device))

    @property
    def start(self) -> datetime | None:
        """When to begin: the first period is a whole one."""
        return start_of(self.since, self.every) if self.since and self.every else self.since


def run_readings(stack: str, wanted: Wanted) -> int:
    """Print the readings of a device, or of the devices that a pattern matches. Raises LocalError if there are none.

    Without `since` these are the newest ones of a device, and the newest one of each device of a group.
    """
    source = Stack(stack)
    thresholds = Thresholds.from_json(source.config_as(IotPipelineConfig).thresholds_json())
    source.aim_aws_clients()
    table = ReadingTable(source.output("table_name"))
    if wanted.every:
        _show_periods(periods_of(table, wanted, wanted.every), wanted)
        return 0
    readings = readings_of_group(table, wanted) if wanted.is_group else readings_of_device(table, wanted)
    if not readings:
        raise _nothing(wanted)
    names = sorted({name for reading in readings for name in reading.metrics if wanted.metric in (None, name)})
    if wanted.parquet:
        write_readings(wanted.parquet, readings, names)
        write_lines([f"{len(readings)} readings in {wanted.parquet}"])
        return 0
    match wanted.output:
        case "csv":
            _write_csv(rows(readings, names, with_device=wanted.is_group))
        case "json":
            write_json([as_json(reading, names) for reading in readings])
        case "table" if wanted.is_group:
            states = table.states({reading.device_id for reading in readings})
            open_alerts = [alerts_in(states[reading.device_id].state) for reading in readings]
            write_lines(as_table(with_column(rows(readings, names, with_device=True), "alerts", open_alerts)))
        case "table":
            write_lines(as_table(rows(readings, names)))
        case "plot":
            if len(names) > 1:
                raise LocalError(f"choose a metric with --metric: one of {', '.join(names)}")
            width = min(shutil.get_terminal_size().columns, 120)
            state = table.states([wanted.device])[wanted.device].state
            write_lines([*as_plot(readings, names[0], thresholds, width), *silence_of(state)])
    return 0


def _show_periods(found: Sequence[Period], wanted: Wanted) -> None:
    if not found:
        raise _nothing(wanted)
    if wanted.parquet:
        write_periods(wanted.parquet, found)
        write_lines([f"{len(found)} rows in {wanted.parquet}"])
    elif wanted.output == "json":
        write_json([period_json(each) for each in found])
    elif wanted.output == "csv":
        _write_csv(period_rows(found))
    else:
        write_lines(as_table(period_rows(found)))


def _nothing(wanted: Wanted) -> LocalError:
    what = f"readings of {wanted.metric!r}" if wanted.metric else "readings"
    # The newest ones of a device need not have the metric.
    where = f" among the newest {LOOKED_AT:,}; use --since to look further" if wanted.metric else ""
    whose = f"a device that matches {wanted.device!r}" if wanted.is_group else f"device {wanted.device!r}"
    when = f" since {wanted.start:%Y-%m-%d %H:%M:%S %Z}" if wanted.start else where
    return LocalError(f"there are no {what} of {whose}{when}")


def readings_of_device(table: ReadingTable, wanted: Wanted) -> list[StoredReading]:
    """Return a device's readings since a time, or its newest ones."""
    is_shown = wanted.output == "table" and not wanted.parquet
    return _readings(table, wanted.device, wanted, NEWEST if is_shown else NEWEST_PLOTTED)


def readings_of_group(table: ReadingTable, wanted: Wanted) -> list[StoredReading]:
    """Return readings of the devices that match a pattern, which an index finds; the table is not scanned."""
    each = aws.each(lambda device: _readings(table, device, wanted, 1), devices_of(table, wanted.device))
    return [reading for found in each for reading in found]


def periods_of(table: ReadingTable, wanted: Wanted, every: timedelta) -> list[Period]:
    """Return what the readings of a device, or of those that a pattern matches, say of each period."""

    def of_device(device: str) -> list[Period]:
        return periods(table.between(device, wanted.start or EARLIEST), every, wanted.metric)

    devices = devices_of(table, wanted.device) if wanted.is_group else [wanted.device]
    return [period for found in aws.each(of_device, devices) for period in found]


def devices_of(table: ReadingTable, pattern: str) -> list[str]:
    """Return the ids of the devices that a pattern matches."""
    (prefix,) = WILDCARD.split(pattern)[:1]
    return sorted(device for device in table.devices(prefix) if fnmatchcase(device, pattern))


def _readings(table: ReadingTable, device: str, wanted: Wanted, count: int) -> list[StoredReading]:
    """Return a device's readings since a time, or a number of the newest ones; oldest first."""
    metric = wanted.metric
    if wanted.start is not None:
        found = table.between(device, wanted.start)
        return [reading for reading in found if metric is None or metric in reading.metrics]
    looked_at = LOOKED_AT if metric else count
    newest = islice(table.between(device, newest_first=True, page_size=looked_at), looked_at)
    return list(islice((each for each in newest if metric is None or metric in each.metrics), count))[::-1]


def _write_csv(cells: Sequence[Sequence[str]]) -> None:
    csv.writer(sys.stdout, lineterminator="\n").writerows(cells)


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
