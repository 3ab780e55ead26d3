"""`pipeline report`: its tables, and its errors for stacks without events to count."""

import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cli.report import show
from handlers.api.summary import Window
from tests.graphs import SAMPLES

from .conftest import Command

REPORT: dict[str, Any] = {
    "service": "shop-dev",
    "period": "on demand",
    "since": "2026-11-21T10:00:00.000000Z",
    "until": "2026-11-21T11:00:00.000000Z",
    "complete": True,
    "events": 1_203,
    "by_status": {"queued": 1, "retrying": 0, "succeeded": 1_200, "failed": 2},
    "by_type": {
        "order": {"queued": 1, "retrying": 0, "succeeded": 1_200, "failed": 1},
        "[bold]refund": {"queued": 0, "retrying": 0, "succeeded": 0, "failed": 1},
    },
    "failures": {"Rejected": 2},
    "latency_ms": {"count": 1_202, "p50": 120, "p95": 2_400, "approximate": True},
    "queue_depth": 7,
    "dead_letter_depth": 1,
}


def shown(report: dict[str, Any]) -> list[list[str]]:
    console = Console(file=io.StringIO(), width=80)
    show(report, console)
    return [line.split() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_a_report_shows_types_and_errors() -> None:
    lines = shown(REPORT)
    assert " ".join(lines[0]) == "shop-dev: on demand report of 2026-11-21 10:00 to 11:00 UTC"
    assert " ".join(lines[1]) == "1,203 events received: 1,200 succeeded, 2 failed, 0 retrying, 1 queued"
    assert " ".join(lines[2]) == "Received to completed: p50 about 120 ms, p95 about 2,400 ms"
    assert " ".join(lines[3]) == "Now 7 in the queue, 1 with the dead letters"
    assert ["order", "1", "0", "1,200", "1"] in lines
    # Clients name the types, so markup in them is text.
    assert ["[bold]refund", "0", "0", "0", "1"] in lines
    assert ["Rejected", "2"] in lines


def test_an_empty_report_has_no_tables() -> None:
    nothing = {"count": 0, "p50": None, "p95": None, "approximate": False}
    lines = shown({**REPORT, "events": 0, "by_type": {}, "failures": {}, "latency_ms": nothing})
    assert [" ".join(line) for line in lines[1:]] == [
        "No events were received.",
        "Now 7 in the queue, 1 with the dead letters",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"datapipeline:variant": "api", "datapipeline:storage": {"time_index": False}}, "has no time index"),
        ({"datapipeline:variant": "iot", "datapipeline:thresholds": {}}, "is of the variant 'iot'"),
    ],
)
def test_a_stack_without_countable_events_is_an_error(
    tmp_path: Path, pipeline: Command, options: dict[str, Any], message: str
) -> None:
    (tmp_path / "Pulumi.yaml").symlink_to(SAMPLES / "Pulumi.yaml")
    (tmp_path / "processors").symlink_to(SAMPLES / "processors")
    (tmp_path / "Pulumi.some.yaml").write_text(json.dumps({"config": options}))
    result = pipeline("report", "--stack", "some", cwd=tmp_path)
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert message in result.output


class Counted:
    """A stack whose events are counted, and the windows that were asked for."""

    def __init__(self) -> None:
        self.windows: list[Window] = []

    def report(self, window: Window) -> dict[str, Any]:
        self.windows.append(window)
        return REPORT


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted()
    monkeypatch.setattr("cli.report.EventReader", lambda *_, **__: None)
    monkeypatch.setattr("cli.report.Reporter", lambda *_, **__: counted)
    monkeypatch.setattr("cli.report.Stack.output", lambda _, name: name)
    monkeypatch.setattr("cli.report.Stack.aim_aws_clients", lambda _: None)
    return counted


def test_a_window_that_is_over_is_counted_again(pipeline: Command, counted: Counted) -> None:
    first = pipeline("report", "--since", "2d", "--until", "1d", "--json", cwd=SAMPLES)
    assert first.exit_code == 0, first.output
    assert pipeline("report", "--until", "1d", "--json", cwd=SAMPLES).exit_code == 0
    day, hour = (window.until - window.since for window in counted.windows)
    assert (round(day / timedelta(minutes=1)), hour) == (1_440, timedelta(hours=1))


@pytest.mark.parametrize("until", ["2d", "3d", "2099-01-01T00:00:00Z"])
def test_a_window_that_ends_before_it_begins_or_in_the_future_is_refused(
    pipeline: Command, counted: Counted, until: str
) -> None:
    since = ["--since", "1d"] if until.endswith("d") else []
    result = pipeline("report", *since, "--until", until, cwd=SAMPLES)
    assert result.exit_code == 1
    assert "--until must be after --since and not in the future" in result.output or "--since must be" in result.output
    assert not counted.windows
