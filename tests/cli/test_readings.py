"""`pipeline readings` and `pipeline simulate`, as far as they need no pipeline."""

import gzip
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.readings import alerts_in, as_json, as_table, output_of, rows, silence_of, with_column
from cli.readings_plot import as_plot
from cli.simulation import Expectation, Summary, Upload, uploads
from handlers.iot.alerting import DeviceState
from handlers.iot.contents import read
from handlers.iot.forms import Form
from handlers.iot.readings import first_key
from handlers.iot.silence import Hearing, Silences
from handlers.iot.table import StoredReading
from handlers.iot.thresholds import State, Threshold, Thresholds
from local.errors import LocalError
from tests.graphs import SAMPLES

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def reading(minute: int, **metrics: str) -> StoredReading:
    key = f"{first_key(NOW + timedelta(minutes=minute))}#0"
    numbers = {name: Decimal(value) for name, value in metrics.items()}
    return StoredReading("d1", key, numbers, "readings/a.json#v1", int(NOW.timestamp()))


def test_a_table_leaves_room_for_metrics_that_a_reading_has_not() -> None:
    assert as_table(rows([reading(0, a="1E+2", b="-0.5"), reading(1, b="12.25")], ["a", "b"])) == [
        "time                    a      b",
        "2026-11-21T12:00:00Z  100   -0.5",
        "2026-11-21T12:01:00Z       12.25",
    ]


def test_a_plot_has_every_limit_and_the_points_where_they_belong() -> None:
    limits = Threshold(Decimal(0), Decimal(30), Decimal(1), timedelta(0), "warning")
    lines = as_plot(
        [reading(0, t="0"), reading(30, t="15"), reading(60, t="40")], "t", Thresholds({"t": {"": [limits]}}), 60
    )
    assert lines[0] == "t of d1, 3 readings"
    assert lines[1].startswith("40.00 ┤")
    assert lines[1].endswith("▲")
    assert lines[16].startswith(" 0.00 ┤•")
    assert [line.partition("warning max 30")[1] for line in lines[:17]].count("warning max 30") == 1
    assert max(map(len, lines)) <= 60
    assert lines[18].split() == ["2026-11-21", "12:00", "2026-11-21", "13:00"]
    assert lines[19:] == [
        "alerts (▲▼ crossed, ○ recovered):",
        "  2026-11-21T13:00:00Z  crossed   warning max 30 at 40",
    ]


def test_a_plot_marks_each_alert_and_lists_the_last_ones() -> None:
    levels = [
        Threshold(Decimal(0), Decimal(10), Decimal(1), timedelta(0), "warning"),
        Threshold(None, Decimal(20), Decimal(1), timedelta(0), "critical"),
    ]
    values = ["5", "15", "25", "15", "5", "-5"] * 20
    lines = as_plot([reading(minute, t=value, u="99") for minute, value in enumerate(values)], "t", of(levels), 200)
    chart = "".join(lines[1:17])
    assert (chart.count("▲"), chart.count("▼"), chart.count("○")) == (40, 20, 59)
    assert lines[19] == "alerts (▲▼ crossed, ○ recovered, the last 10 of 119):"
    assert len(lines) == 30
    assert [line.split()[1:] for line in lines[-2:]] == [
        ["recovered", "warning", "max", "10", "at", "5"],
        ["crossed", "warning", "min", "0", "at", "-5"],
    ]


def test_a_limit_whose_name_is_longer_than_the_chart_is_cut() -> None:
    limit = Threshold(None, Decimal(12345678), Decimal(0), timedelta(0), "critical")
    assert {len(line) for line in as_plot([reading(0, t="0")], "t", of([limit]), 30)[1:17]} == {30}


def of(levels: list[Threshold]) -> Thresholds:
    return Thresholds({"t": {"": levels}})


def test_a_group_shows_which_alerts_of_a_device_have_not_ended() -> None:
    out = State(beyond="b", announced=True)
    limits = {"t#max#warning": out, "t#max#critical": out, "t#min#warning": State(), "old#max": out}
    assert alerts_in(DeviceState(limits, hearing=Hearing(0, silent=True))) == "old, t critical, t warning, silent"
    assert alerts_in(DeviceState()) == ""
    assert silence_of(DeviceState(hearing=Hearing(0, silent=True))) == [
        "silent: its last upload arrived at 1970-01-01T00:00:00Z"
    ]
    assert silence_of(DeviceState(hearing=Hearing(0, due_at=1))) == silence_of(DeviceState()) == []
    cells = with_column(
        rows([reading(0, t="1"), reading(1, t="-12.5")], ["t"], with_device=True), "alerts", ["", "silent"]
    )
    assert as_table(cells) == [
        "device  time                      t  alerts",
        "d1      2026-11-21T12:00:00Z      1",
        "d1      2026-11-21T12:01:00Z  -12.5  silent",
    ]


def test_a_plot_of_one_value_and_no_limit_is_drawn_too() -> None:
    assert sum(line.count("•") for line in as_plot([reading(0, t="5")], "t", Thresholds({}), 40)) == 1


def simulated(count: int = 300, *, seed: int = 7, bad_share: float = 0.1) -> list[Upload]:
    return list(uploads(devices=5, count=count, seed=seed, bad_share=bad_share))


def expected(sent: list[Upload]) -> Summary:
    expectation = Expectation(
        Thresholds(
            {
                "temperature": {
                    "": [Threshold(Decimal(-10), Decimal(30), Decimal(1), timedelta(minutes=10), "critical")]
                },
                "humidity": {"": [Threshold(None, Decimal(80), Decimal(2), timedelta(minutes=10), "warning")]},
            },
        ),
    )
    summary = Summary()
    for upload in sent:
        summary.add(upload)
        expectation.add(upload, summary)
    return summary


def test_the_same_seed_sends_the_same_bytes_and_another_one_others() -> None:
    assert simulated() == simulated()
    assert {upload.key for upload in simulated()}.isdisjoint(upload.key for upload in simulated(seed=8))


def test_a_simulation_has_good_bad_and_repeated_readings_and_excursions() -> None:
    summary = expected(simulated())
    assert summary.uploads == 300
    assert summary.good > 1_400
    assert 100 < summary.bad < 200
    assert summary.repeated > 10
    alerts = summary.alerts
    assert min(alerts["critical crossed"], alerts["warning crossed"]) > 2
    for severity in ("critical", "warning"):
        assert alerts[f"{severity} crossed"] - alerts[f"{severity} recovered"] in range(6)
    assert not any(upload.bad for upload in simulated(bad_share=0))


def test_watched_devices_pause_for_long_enough_or_upload_often_enough_and_fall_silent_in_the_end() -> None:
    silences = Silences({"": 60, "sim-7-0003": None})
    options: dict[str, Any] = {"devices": 40, "count": 40 * 24, "seed": 7, "bad_share": 0, "rate": 2}
    sent = list(uploads(**options, silences=silences))
    times: defaultdict[int, list[float]] = defaultdict(list)
    for upload in sent:
        times[upload.device].append(upload.at)
    gaps = Counter(later - at for each in times.values() for at, later in pairwise(each))
    (pause,) = gaps.keys() - {20}
    assert pause >= 60 + 180
    assert 1 <= gaps[pause] <= 8
    summary, expectation = Summary(), Expectation(Thresholds({}), silences)
    for upload in sent:
        expectation.add(upload, summary)
    assert summary.alerts == {"silent": gaps[pause], "returned": gaps[pause]}
    assert summary.silent_afterwards == 39


def test_devices_that_upload_too_seldom_for_exact_expectations_are_refused() -> None:
    with pytest.raises(
        LocalError, match="each device uploads every 40 seconds, and sim-7-0000 is silent after 60: use a"
    ):
        next(uploads(devices=40, count=41, seed=7, bad_share=0, rate=1, silences=Silences({"": 60})))
    # Once each is fine.
    assert next(uploads(devices=40, count=40, seed=7, bad_share=0, rate=1, silences=Silences({"": 60})))


def test_what_is_expected_does_not_depend_on_the_order_of_a_device_s_uploads_that_are_taken_at_once() -> None:
    sent = simulated(1_000)
    mixed = sent[:]
    # Every fifth is of one device: three of each in the opposite order.
    for start in range(0, 990, 15):
        mixed[start : start + 15] = (
            sent[start + 10 : start + 15] + sent[start + 5 : start + 10] + sent[start : start + 5]
        )
    assert mixed != sent
    assert expected(mixed) == expected(sent)


FORM = Form(
    device_id=(("device_id",), ("dev", "id")),
    timestamp=(("timestamp",), ("ts",)),
    metrics=(("metrics",), ("data",)),
    time_formats=("iso8601", "epoch_seconds", "epoch_milliseconds"),
)


@pytest.mark.parametrize("form", [Form(), FORM, Form(partial=False)], ids=["standard", "firmwares", "whole"])
def test_the_worker_reads_what_the_simulator_counted_whatever_the_firmware(form: Form) -> None:
    sent = list(uploads(devices=13, count=400, seed=3, bad_share=0.2, form=form))
    stored: set[tuple[str, str]] = set()
    for upload in sent:
        body = gzip.decompress(upload.body) if upload.key.endswith(".gz") else upload.body
        found = read(body.decode(), latest=NOW, maximum_readings=1_000, form=form)
        stored |= {(each.device_id, each.time_key) for each in found.readings}
        assert (found.rejected_readings, found.partial_readings) == (upload.bad, upload.partial), upload.key
    assert len(stored) == sum(upload.good for upload in sent)
    assert (sum(upload.partial for upload in sent) > 20) == form.partial
    bodies = b"".join(upload.body for upload in sent if not upload.key.endswith(".gz"))
    assert [word in bodies for word in (b'"dev"', b'"ts"', b'"data"', b": 1577")] == [form is FORM] * 4


def test_readings_are_csv_and_json_with_exact_numbers() -> None:
    first, second = reading(0, a="1E+2", b="-0.50"), reading(1, b="12.25")
    assert rows([first, second], ["a", "b"]) == [
        ["time", "a", "b"],
        ["2026-11-21T12:00:00Z", "100", "-0.50"],
        ["2026-11-21T12:01:00Z", "", "12.25"],
    ]
    assert as_json(first, ["a"]) == {
        "device_id": "d1",
        "timestamp": "2026-11-21T12:00:00Z",
        "metrics": {"a": "100"},
        "object": "readings/a.json",
        "version": "v1",
        "arrived_at": "2026-11-21T12:00:00.000000Z",
    }


def test_one_output_is_chosen_and_a_table_is_the_default() -> None:
    assert output_of({"plot": False, "csv": False}) == "table"
    assert output_of({"plot": False, "csv": True}) == "csv"
    with pytest.raises(LocalError, match="choose one of --plot, --csv"):
        output_of({"plot": True, "csv": True})


def test_a_stack_of_another_variant_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SAMPLES)
    answer = CliRunner().invoke(app, ["simulate", "--stack", "dev"])
    assert answer.exit_code == 1
    assert "stack 'dev' is of the variant 'api'; this command needs one of 'iot'" in answer.stderr
