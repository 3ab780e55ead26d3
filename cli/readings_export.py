"""Readings per hour, or per any other period, and as a Parquet file."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from cli.core.private_file import private_file
from handlers.csv.checks import Check
from handlers.csv.columns import Column
from handlers.csv.parquet import ParquetWriter
from handlers.iot.readings import Reading
from local.errors import LocalError

ROWS_A_PAGE = 10_000
# A mean has as many digits as a float.
_MEAN = Context(prec=15)


@dataclass(frozen=True)
class Period:
    """The values of a metric of a device in a period that begins at `start`; numbers are exact, but for the mean."""

    device_id: str
    start: datetime
    metric: str
    count: int
    min: Decimal
    mean: Decimal
    max: Decimal


def start_of(moment: datetime, length: timedelta) -> datetime:
    """Return when the period of a moment begins. Periods are counted from midnight UTC of January 1, 1970."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch + (moment - epoch) // length * length


def periods(readings: Iterable[Reading], length: timedelta, metric: str | None) -> list[Period]:
    """Return what the readings of one device say of each period and metric, by time and name."""
    values: dict[tuple[datetime, str], list[Decimal]] = {}
    device_id = ""
    for reading in readings:
        device_id = reading.device_id
        start = start_of(datetime.fromisoformat(f"{reading.time_key[:26]}+00:00"), length)
        for name, value in reading.metrics.items():
            if metric in (None, name):
                values.setdefault((start, name), []).append(value)
    return [
        Period(
            device_id,
            start,
            name,
            len(found),
            min(found),
            _MEAN.divide(sum(found, Decimal(0)), Decimal(len(found))),
            max(found),
        )
        for (start, name), found in sorted(values.items())
    ]


def period_rows(found: Sequence[Period]) -> list[list[str]]:
    """Return a header, and a row for each period."""
    numbers = ([f"{each.min:f}", f"{each.mean:f}", f"{each.max:f}"] for each in found)
    return [
        ["device", "time", "metric", "count", "min", "mean", "max"],
        *(
            [each.device_id, f"{each.start:%Y-%m-%dT%H:%M:%SZ}", each.metric, str(each.count), *row]
            for each, row in zip(found, numbers, strict=True)
        ),
    ]


def period_json(period: Period) -> Mapping[str, Any]:
    """Return a period for JSON, with exact numbers as text."""
    numbers = {name: f"{getattr(period, name):f}" for name in ("min", "mean", "max")}
    facts = {"device_id": period.device_id, "timestamp": f"{period.start:%Y-%m-%dT%H:%M:%SZ}", "metric": period.metric}
    return {**facts, "count": period.count, **numbers}


def write_readings(path: Path, readings: Sequence[Reading], names: Sequence[str]) -> None:
    """Write readings as Parquet: `device_id`, `timestamp` and a column for each metric. Raises LocalError.

    Times are to the microsecond and numbers are doubles, as programs that read such files have them.
    """
    if taken := {"device_id", "timestamp"} & set(names):
        raise LocalError(f"the metric {min(taken)} has the name of another column; choose one with --metric")
    columns = [
        Column("device_id", "string", required=True),
        Column("timestamp", "datetime", required=True),
        *(Column(name, "number") for name in names),
    ]
    rows = (
        [
            reading.device_id,
            f"{reading.time_key[:26]}Z",
            *(f"{reading.metrics[name]:f}" if name in reading.metrics else "" for name in names),
        ]
        for reading in readings
    )
    _write(path, columns, rows)


def write_periods(path: Path, found: Sequence[Period]) -> None:
    """Write periods as Parquet, a row each. Raises LocalError."""
    columns = [
        Column("device_id", "string", required=True),
        Column("timestamp", "datetime", required=True),
        Column("metric", "string", required=True),
        Column("count", "integer", required=True),
        *(Column(name, "number", required=True) for name in ("min", "mean", "max")),
    ]
    _write(path, columns, period_rows(found)[1:])


def _write(path: Path, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    writer, checks, left = ParquetWriter(), [Check(column) for column in columns], iter(rows)
    with private_file(path, overwrite=True) as file:
        while page := list(islice(left, ROWS_A_PAGE)):
            cells: list[Sequence[str]] = list(zip(*page, strict=True))
            file.write(writer.encode(checks, cells, len(page), is_plain=False))
        file.write(writer.finish(columns))
