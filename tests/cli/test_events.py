"""`pipeline events`: lines, JSON, and the loop of --watch."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from cli import events
from cli.core.stack import Stack
from cli.stuck_events import Stuck
from local.errors import LocalError

from .conftest import Command

OUTPUTS = {"PIPELINE_OUTPUTS": json.dumps({"table_name": "t"}), "AWS_DEFAULT_REGION": "us-east-1"}


def event(event_id: str, status: str, **more: Any) -> dict[str, Any]:
    return {"id": event_id, "type": "order", "status": status, "received_at": "2026-11-27T03:04:05+00:00", **more}


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[list[dict[str, Any]]]], None]:
    """`listed([...])` answers each round with the next list, newest first, and then interrupts like Ctrl-C."""

    def answer(rounds: list[list[dict[str, Any]]]) -> None:
        left = iter(rounds)
        now = next(left)

        def sleep(_seconds: float) -> None:
            nonlocal now
            try:
                now = next(left)
            except StopIteration:
                raise KeyboardInterrupt from None

        monkeypatch.setattr(events, "selected", lambda *_: iter(now))
        monkeypatch.setattr("cli.events.time.sleep", sleep)

    return answer


def test_watch_shows_each_event_once_and_again_when_it_has_changed(
    pipeline: Command, listed: Callable[..., None]
) -> None:
    done = event("a", "succeeded", completed_at="2026-11-27T03:04:05.250000+00:00")
    queued = event("b", "queued")
    listed(
        [[event("a", "queued")], [queued, done], [queued, done], [event("b", "failed", error="KeyError: 'x'"), done]]
    )
    result = pipeline("events", "--watch", env=OUTPUTS)
    assert result.exit_code == 0, result.stderr
    # The time is the machine's own.
    assert [line[10:] for line in result.stdout.splitlines()] == [
        "a  order  queued",
        "a  order  succeeded  250 ms",
        "b  order  queued",
        "b  order  failed  KeyError: 'x'",
    ]


def test_watch_ends_with_its_pipeline_and_reads_nothing_of_what_listens_there_then(
    pipeline: Command, listed: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(_: Stack) -> None:
        raise LocalError("the pipeline has ended")

    monkeypatch.setattr(Stack, "refuse_ended", ended)
    listed([[event("a", "queued")], [event("a", "failed")]])
    result = pipeline("events", "--watch", env=OUTPUTS)
    assert (result.exit_code, result.stderr) == (1, "error: the pipeline has ended\n")
    assert [line[10:] for line in result.stdout.splitlines()] == ["a  order  queued"]


def test_without_watch_it_lists_once_oldest_first(pipeline: Command, listed: Callable[..., None]) -> None:
    listed([[event("b", "queued"), event("a", "queued")]])
    result = pipeline("events", "--json", env=OUTPUTS)
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == ["a", "b"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--stuck", "--watch"], "leave out --status and --watch"),
        (["--stuck", "--status", "queued"], "leave out --status and --watch"),
        (["--release"], "--lost-before and --release need --stuck"),
        (["--lost-before", "1h"], "--lost-before and --release need --stuck"),
    ],
)
def test_options_that_do_not_go_together_are_refused(pipeline: Command, options: list[str], said: str) -> None:
    result = pipeline("events", *options, env=OUTPUTS)
    assert (result.exit_code, said in result.stderr) == (1, True), result.stderr


def test_stuck_passes_on_what_was_asked_for(pipeline: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def run_stuck(stack: str, wanted: Stuck, *, release: bool, as_json: bool) -> int:
        asked.append((stack, wanted.lost_before is not None, wanted.event_type, wanted.maximum, release, as_json))
        return 0

    monkeypatch.setattr("cli.stuck_events.run_stuck", run_stuck)
    options = ["--stuck", "--lost-before", "1h", "--type", "order", "--max", "7", "--release", "--json"]
    assert pipeline("events", *options, env=OUTPUTS).exit_code == 0
    assert pipeline("events", "--stuck", env=OUTPUTS).exit_code == 0
    assert asked == [("dev", True, "order", 7, True, True), ("dev", False, None, 100, False, False)]
