"""`pipeline readings`: the readings of a device as a table, a plot, CSV or JSON."""

import csv
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import Any, Literal

from cli.core.json_text import write_json
from cli.core.stack import Stack
from components.options.iot import IotPipelineConfig
from handlers.iot.readings import Reading, timestamp_of
from handlers.iot.table import ReadingTable
from handlers.iot.thresholds import BOUNDS, Threshold, Thresholds
from local.errors import LocalError

Output = Literal["table", "plot", "csv", "json"]

# Without --since.
NEWEST = 20
NEWEST_PLOTTED = 500

PLOT_HEIGHT = 16


def run_readings(stack: str, device: str, since: datetime | None, metric: str | None, output: Output) -> int:
    """Print a device's readings, oldest first. Raises LocalError if there are none."""
    source = Stack(stack)
    thresholds = Thresholds.from_json(source.config_as(IotPipelineConfig).thresholds_json())
    source.aim_aws_clients()
    table = ReadingTable(source.output("table_name"))
    if since is not None:
        readings = list(table.between(device, since))
    else:
        newest = table.between(device, newest_first=True)
        readings = list(islice(newest, NEWEST if output == "table" else NEWEST_PLOTTED))[::-1]
    names = sorted({name for reading in readings for name in reading.metrics if metric in (None, name)})
    readings = [reading for reading in readings if any(name in reading.metrics for name in names)]
    if not readings:
        what = f"readings of {metric!r}" if metric else "readings"
        raise LocalError(
            f"there are no {what} of device {device!r}{f' since {since:%Y-%m-%d %H:%M:%S %Z}' if since else ''}"
        )
    match output:
        case "csv":
            csv.writer(sys.stdout, lineterminator="\n").writerows(rows(readings, names))
        case "json":
            write_json([as_json(reading, names) for reading in readings])
        case "table":
            _print(as_table(readings, names))
        case "plot":
            if len(names) > 1:
                raise LocalError(f"choose a metric with --metric: one of {', '.join(names)}")
            width = min(shutil.get_terminal_size().columns, 120)
            _print(as_plot(readings, names[0], thresholds.of(names[0], device), width))
    return 0


def output_of(flags: Mapping[Output, bool]) -> Output:
    """Return the output that was chosen, or a table. Raises LocalError if there is more than one."""
    chosen = [name for name, is_chosen in flags.items() if is_chosen]
    if len(chosen) > 1:
        raise LocalError(f"choose one of {', '.join(f'--{name}' for name in chosen)}")
    return chosen[0] if chosen else "table"


def _print(lines: Sequence[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def rows(readings: Sequence[Reading], names: Sequence[str]) -> list[list[str]]:
    """Return a header, and a row for each reading: its time and its metrics, empty where it has none."""
    found = [["time", *names]]
    for reading in readings:
        values = [f"{reading.metrics[name]:f}" if name in reading.metrics else "" for name in names]
        found.append([timestamp_of(reading.time_key), *values])
    return found


def as_json(reading: Reading, names: Sequence[str]) -> Mapping[str, Any]:
    """Return a reading for JSON, with exact numbers as text."""
    metrics = {name: f"{reading.metrics[name]:f}" for name in names if name in reading.metrics}
    return {"device_id": reading.device_id, "timestamp": timestamp_of(reading.time_key), "metrics": metrics}


def as_table(readings: Sequence[Reading], names: Sequence[str]) -> list[str]:
    """Return a header and a line for each reading, in aligned columns."""
    cells = rows(readings, names)
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in cells
    ]


def as_plot(readings: Sequence[Reading], metric: str, thresholds: Sequence[Threshold], width: int) -> list[str]:
    """A chart of one metric over time, with its limits as dashed lines."""
    limits = {
        f"{level.severity} {bound}": limit
        for level in thresholds
        for bound in BOUNDS
        if (limit := level.limit(bound)) is not None
    }
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
        line = ("- " * columns)[: columns - len(name) - 2] + name
        chart[row_of(limit)] = list(line.ljust(columns, "-"))
    for value, time in zip(values, times, strict=True):
        chart[row_of(value)][round((time - times[0]).total_seconds() / whole * (columns - 1))] = "•"
    first, last = f"{times[0]:%Y-%m-%d %H:%M}", f"{times[-1]:%Y-%m-%d %H:%M}"
    return [
        f"{metric} of {readings[0].device_id}, {len(readings)} readings",
        *(f"{label:>{margin}} ┤{''.join(row)}" for label, row in zip(labels, chart, strict=True)),
        f"{'':>{margin}} └{'─' * columns}",
        f"{'':>{margin}}  {first}{last:>{max(0, columns - len(first))}}",
    ]
