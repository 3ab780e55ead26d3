"""`pipeline replay`: what it refuses, and for iot a signal.

tests/handlers/api/test_replay.py and tests/emulator/iot/test_iot_pipeline.py have the rest.
"""

import io
import json
import os
import signal
from typing import Any

import pytest

from cli.core.signals import ENDING, interrupt_on_signals
from cli.replay import Replay

from .conftest import Command


class Sqs:
    """Ten dead letters."""

    def __init__(self) -> None:
        body = json.dumps({"requestPayload": {}})
        self.hidden = {f"{number}": body for number in range(10)}
        self.deleted: list[str] = []
        self.shown: list[str] = []

    def receive_message(self, **_: Any) -> Any:
        return {
            "Messages": [{"MessageId": each, "ReceiptHandle": each, "Body": body} for each, body in self.hidden.items()]
        }

    def delete_message(self, *, ReceiptHandle: str, **_: Any) -> None:  # noqa: N803  botocore's names
        self.deleted.append(ReceiptHandle)

    def change_message_visibility(self, *, ReceiptHandle: str, VisibilityTimeout: int, **_: Any) -> None:  # noqa: N803  as above
        assert VisibilityTimeout == 0
        self.shown.append(ReceiptHandle)


class Functions:
    """The worker succeeds, then fails, then a signal comes."""

    def __init__(self, number: signal.Signals) -> None:
        self.number, self.calls = number, 0

    def invoke(self, **_: Any) -> Any:
        self.calls += 1
        if self.calls == 3:
            os.kill(os.getpid(), self.number)
        failed = {"FunctionError": "Unhandled", "Payload": io.BytesIO(b"{}")}
        return {} if self.calls == 1 else failed


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_shows_all_letters_that_are_left_again(number: signal.Signals) -> None:
    before = {each: signal.getsignal(each) for each in ENDING}
    interrupt_on_signals()
    sqs = Sqs()
    try:
        with pytest.raises(KeyboardInterrupt):
            Replay(sqs, Functions(number), "queue", "worker").run(as_json=False)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert (sqs.deleted, sqs.shown) == (["0"], [str(each) for each in range(1, 10)])


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (["--stack", "dev"], "name what to replay with --from"),
        (["--stack", "dev", "--to", "1d"], "name what to replay with --from"),
        (["--stack", "dev", "--resume", "--from", "2d"], "name what to replay with --from"),
        (["--stack", "dev", "--resume", "--type", "order"], "name what to replay with --from"),
        (["--stack", "dev", "--from", "1d", "--to", "2d"], "is not before --to"),
        (["--stack", "csv", "--from", "2d"], "only an api stack has an archive"),
        (["--stack", "iot", "--from", "2d"], "only an api stack has an archive"),
    ],
)
def test_a_replay_that_makes_no_sense_is_refused_in_one_line(pipeline: Command, given: list[str], reason: str) -> None:
    refused = pipeline("replay", *given)
    assert refused.exit_code == 1
    assert reason in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize("time", ["yesterday", "2026-11-21", "2026-11-21T08:00:00", "2026-13-01T00:00:00Z", ""])
def test_a_time_that_cannot_be_read_is_a_usage_error(pipeline: Command, time: str) -> None:
    refused = pipeline("replay", "--stack", "dev", "--from", time)
    assert refused.exit_code == 2
    assert "is not a point in time" in " ".join(refused.stderr.replace("│", " ").split())
