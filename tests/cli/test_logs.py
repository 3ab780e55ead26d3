"""`pipeline logs`: paged, ordered, followed without loss, and readable."""

import io
import json
import os
import time
from bisect import bisect_left, insort
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws
from rich.console import Console

from cli import live
from cli.core.logs import LATE_MS, PAGE_LINES, Line, LogReader
from cli.core.stack import Stack
from cli.core.terminal import write_styled
from local.errors import LocalError

from .conftest import Command

MANY = 10_000


class EmulatedLogs:
    """FilterLogEvents as the emulator answers it: 10,000 lines at most, no token, no ids."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def add(self, time_ms: int, message: str) -> None:
        line = {"timestamp": time_ms, "message": message, "logStreamName": "s"}
        insort(self.lines, line, key=lambda line: line["timestamp"])

    def filter_log_events(self, *, logGroupName: str, startTime: int) -> dict[str, Any]:  # noqa: N803  as boto3's
        assert logGroupName == "group"
        first = bisect_left(self.lines, startTime, key=lambda line: line["timestamp"])
        return {"events": self.lines[first : first + PAGE_LINES]}


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    # Another test of this process may have pointed boto3 at the emulator.
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("logs", region_name="us-east-1")
        client.create_log_group(logGroupName="group")
        client.create_log_stream(logGroupName="group", logStreamName="s")
        yield client


def _put(logs: Any, first_ms: int, numbers: range) -> None:
    events = [{"timestamp": first_ms + number, "message": f"line {number}"} for number in numbers]
    logs.put_log_events(logGroupName="group", logStreamName="s", logEvents=events)


def _numbers(lines: list[Line]) -> list[int]:
    return [int(line.message.split()[1]) for line in lines]


def test_ten_thousand_lines_are_read_page_by_page_in_order_and_followed_without_loss(logs: Any) -> None:
    # Real times: CloudWatch Logs refuses lines that are too old.
    first_ms = round(time.time() * 1_000) - 60_000
    _put(logs, first_ms, range(MANY))
    reader = LogReader(logs, {"worker": "group"}, first_ms)
    assert _numbers(reader.read()) == list(range(MANY))
    assert reader.read() == []
    _put(logs, first_ms, range(MANY, MANY + 3))
    assert _numbers(reader.read()) == [MANY, MANY + 1, MANY + 2]


def test_the_emulator_which_has_no_tokens_is_read_without_loss() -> None:
    logs = EmulatedLogs()
    for number in range(2 * MANY + 5):
        logs.add(number // 3, f"line {number}")
    reader = LogReader(logs, {"worker": "group"}, 0)
    assert _numbers(reader.read()) == list(range(2 * MANY + 5))
    assert reader.read() == []


def test_equal_lines_of_one_time_are_all_shown_once() -> None:
    logs = EmulatedLogs()
    for _ in range(3):
        logs.add(7, "same")
    reader = LogReader(logs, {"worker": "group"}, 0)
    assert [line.message for line in reader.read()] == ["same"] * 3
    logs.add(7, "same")
    assert [line.message for line in reader.read()] == ["same"]


def test_a_line_that_becomes_readable_late_is_not_lost() -> None:
    logs = EmulatedLogs()
    logs.add(LATE_MS + 10, "line 2")
    reader = LogReader(logs, {"worker": "group"}, 0)
    reader.read()
    logs.add(11, "line 1")
    assert _numbers(reader.read()) == [1]


def _run(pipeline: Command, *more: str, outputs: dict[str, Any]) -> Any:
    return pipeline("logs", *more, env={"PIPELINE_OUTPUTS": json.dumps(outputs), "AWS_DEFAULT_REGION": "us-east-1"})


def test_the_command_filters_by_id_and_prints_json(pipeline: Command, logs: Any) -> None:
    now_ms = round(time.time() * 1_000)
    _put(logs, now_ms - 20, range(20))
    result = _run(pipeline, "--id", "line 17", "--json", outputs={"log_groups": {"worker": "group"}})
    assert result.exit_code == 0, result.stderr
    printed = json.loads(result.stdout)
    assert (printed["function"], printed["message"]) == ("worker", "line 17")
    assert round(datetime.fromisoformat(printed["time"]).timestamp() * 1_000) == now_ms - 3


def test_the_command_follows_new_lines_until_ctrl_c(
    pipeline: Command, logs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ms = round(time.time() * 1_000)
    _put(logs, now_ms - 20, range(2))
    rounds = iter([range(2, 4), range(4, 4), range(4, 5)])

    def sleep(_seconds: float) -> None:
        numbers = next(rounds, None)
        if numbers is None:
            raise KeyboardInterrupt
        if numbers:
            _put(logs, now_ms - 20, numbers)

    monkeypatch.setattr("cli.logs.time.sleep", sleep)
    result = _run(pipeline, "--follow", outputs={"log_groups": {"worker": "group"}})
    assert (result.exit_code, result.stdout.splitlines()) == (0, [f"line {number}" for number in range(5)])


def test_a_followed_pipeline_that_has_ended_is_asked_no_more(
    pipeline: Command, logs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(_: Stack) -> None:
        raise LocalError("the pipeline has ended")

    _put(logs, round(time.time() * 1_000) - 1_000, range(1))
    monkeypatch.setattr("cli.logs.time.sleep", lambda _: None)
    monkeypatch.setattr(Stack, "refuse_ended", ended)
    result = _run(pipeline, "--follow", outputs={"log_groups": {"worker": "group"}})
    assert (result.exit_code, result.stderr) == (1, "error: the pipeline has ended\n")


def test_an_unknown_function_and_an_old_stack_are_errors_that_say_what_to_do(pipeline: Command) -> None:
    wrong = _run(pipeline, "--function", "x", outputs={"log_groups": {"worker": "w", "ingest": "i"}})
    assert wrong.stderr == "error: --function x: stack 'dev' has ingest, worker\n"
    old = _run(pipeline, outputs={"api_url": "u"})
    assert old.stderr == "error: stack 'dev' has no output 'log_groups'; deploy it again with this version\n"


def test_a_changed_stack_file_or_schema_needs_a_new_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "schemas").mkdir()
    stack, schema, other = (tmp_path / name for name in ("Pulumi.dev.yaml", "schemas/a.json", "Pulumi.prod.yaml"))
    stack.write_text("config: {}")
    monkeypatch.setattr(live, "Clients", lambda _emulator: lambda _service: EmulatedLogs())
    project = SimpleNamespace(directory=tmp_path, stack="dev")
    running = SimpleNamespace(project=project, emulator=None, engine=SimpleNamespace(functions=[]))
    view = live.LiveView(running)  # type: ignore[arg-type]
    assert list(view.lines()) == []
    os.utime(stack, ns=(1, 1))
    schema.write_text("{}")
    other.write_text("config: {}")
    assert [line.split()[1] for line in view.lines()] == ["Pulumi.dev.yaml", "schemas/a.json"]
    assert list(view.lines()) == []


def test_outcomes_are_coloured_on_a_terminal_only_and_never_with_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    def printed(*, terminal: bool) -> str:
        file = io.StringIO()
        write_styled(["00:00:00 failed    order \x1b[2J"], Console(file=file, force_terminal=terminal, width=20))
        return file.getvalue()

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert printed(terminal=True).startswith("\x1b[31m00:00:00 failed")
    assert printed(terminal=False) == "00:00:00 failed    order \\x1b[2J\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in printed(terminal=True)
