"""Readings by period, and as Parquet read by pyarrow."""

import stat
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet  # type: ignore[import-untyped]

from cli.readings import Wanted
from cli.readings_export import Period, period_json, period_rows, periods, start_of, write_periods, write_readings
from handlers.iot.readings import Reading, first_key
from local.errors import LocalError

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def reading(minute: float, **metrics: str) -> Reading:
    key = f"{first_key(NOON + timedelta(minutes=minute))}#0"
    return Reading("d1", key, {name: Decimal(value) for name, value in metrics.items()})


def test_a_period_has_count_minimum_mean_and_maximum_of_each_metric() -> None:
    found = periods([reading(0, t="0.1", h="5"), reading(59.99, t="0.2"), reading(60, t="1E+3")], HOUR, None)
    assert period_rows(found) == [
        ["device", "time", "metric", "count", "min", "mean", "max"],
        ["d1", "2026-11-21T12:00:00Z", "h", "1", "5", "5", "5"],
        ["d1", "2026-11-21T12:00:00Z", "t", "2", "0.1", "0.15", "0.2"],
        ["d1", "2026-11-21T13:00:00Z", "t", "1", "1000", "1000", "1000"],
    ]
    assert period_json(found[1]) == {
        "device_id": "d1",
        "timestamp": "2026-11-21T12:00:00Z",
        "metric": "t",
        "count": 2,
        "min": "0.1",
        "mean": "0.15",
        "max": "0.2",
    }
    assert [each.metric for each in periods([reading(0, t="1", h="5")], HOUR, "h")] == ["h"]
    assert periods([], HOUR, None) == []


@given(st.lists(st.tuples(st.integers(-3_000, 3_000), st.integers(-100, 100))), st.sampled_from([7, 60, 1_440]))
def test_periods_are_those_of_a_plain_count(values: list[tuple[int, int]], minutes: int) -> None:
    length = timedelta(minutes=minutes)
    plain: defaultdict[datetime, list[int]] = defaultdict(list)
    for minute, value in values:
        plain[start_of(NOON + timedelta(minutes=minute), length)].append(value)
    found = periods([reading(minute, t=str(value)) for minute, value in values], length, None)
    assert [(each.start, each.count, each.min, each.max) for each in found] == [
        (start, len(of_start), Decimal(min(of_start)), Decimal(max(of_start)))
        for start, of_start in sorted(plain.items())
    ]
    for each in found:
        assert float(each.mean) == pytest.approx(fmean(plain[each.start]))
        assert timedelta(0) <= NOON - start_of(NOON, length) < length


def test_readings_are_parquet_with_a_column_for_each_metric(tmp_path: Path) -> None:
    file = tmp_path / "readings.parquet"
    count = 25_000
    many = [reading(number / 60, t=f"{number}.25", **({"h": "-1"} if number % 2 else {})) for number in range(count)]
    write_readings(file, many, ["h", "t"])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    table = parquet.read_table(file)
    assert [(field.name, str(field.type)) for field in table.schema] == [
        ("device_id", "string"),
        ("timestamp", "timestamp[us, tz=UTC]"),
        ("h", "double"),
        ("t", "double"),
    ]
    rows = table.to_pylist()
    assert len(rows) == count
    assert rows[0] == {"device_id": "d1", "timestamp": NOON, "h": None, "t": 0.25}
    assert rows[-1]["t"] == 24_999.25
    assert table["h"].null_count == count / 2


def test_periods_are_parquet_with_a_row_each(tmp_path: Path) -> None:
    file = tmp_path / "hours.parquet"
    write_periods(file, [Period("d1", NOON, "t", 2, Decimal("0.1"), Decimal("0.15"), Decimal("1E+3"))])
    assert parquet.read_table(file).to_pylist() == [
        {"device_id": "d1", "timestamp": NOON, "metric": "t", "count": 2, "min": 0.1, "mean": 0.15, "max": 1000.0}
    ]


def test_what_cannot_be_written_says_why(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="the metric timestamp has the name of another column; choose one with"):
        write_readings(tmp_path / "x", [reading(0, timestamp="1")], ["timestamp"])
    with pytest.raises(LocalError, match=r"cannot create .*: File exists; name another"):
        write_readings(tmp_path, [reading(0, t="1")], ["t"])


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"device": ""}, "name a device, or a pattern of several such as 'sim-*'"),
        ({"device": "d", "every": HOUR}, "--every needs --since"),
        ({"device": "d", "every": timedelta(0), "since": NOON}, "--every needs a period longer than 0"),
        ({"device": "*", "output": "plot"}, "--plot draws the readings of one device"),
        ({"device": "d[12]", "output": "plot"}, "--plot draws the readings of one device"),
        ({"device": "d", "output": "plot", "every": HOUR, "since": NOON}, "--plot draws the readings of one device"),
        ({"device": "d", "output": "csv", "parquet": Path("x")}, "choose one of --csv, --parquet"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(wanted: dict[str, object], message: str) -> None:
    with pytest.raises(LocalError) as error:
        Wanted(**wanted)  # type: ignore[arg-type]
    assert str(error.value).startswith(message)


def test_the_first_period_is_a_whole_one() -> None:
    assert Wanted("d", since=NOON + timedelta(minutes=59), every=HOUR).start == NOON
    assert Wanted("d", since=NOON + timedelta(minutes=59)).start == NOON + timedelta(minutes=59)
