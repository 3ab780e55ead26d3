"""`pipeline dead-letters` on moto; tests/emulator/stacks/test_redrive.py has it with a pipeline that runs."""

import json
import os
import signal
import stat
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from cli import dead_letters as cli_dead_letters
from cli.dead_letters import show_pass
from handlers.shared import aws, backlog, dead_letters
from handlers.shared.dead_letters import DeadLetters
from handlers.shared.letters import Letter
from handlers.shared.passes import Pass
from tests.graphs import SAMPLES
from tests.handlers.conftest import ENVIRONMENT

from .conftest import Command


@pytest.mark.parametrize(
    ("done", "summary"),
    [
        (Pass({"redriven": 3}, complete=True, remaining=0), "3 redriven; about 0 are there now"),
        (
            Pass({"redriven": 3}, 2, remaining=9),
            "3 redriven; 2 others left alone; not all were examined; about 9 are there now",
        ),
        (
            Pass({"redriven": 0}, 10, held_back=True, remaining=12),
            (
                "0 redriven; 10 others left alone; "
                "these may hide others of their groups: redrive or purge them to see what is behind; "
                "about 12 are there now"
            ),
        ),
    ],
)
def test_an_incomplete_pass_says_so_and_what_to_do(
    capsys: pytest.CaptureFixture[str], done: Pass, summary: str
) -> None:
    assert show_pass(done, as_json=False) == 0
    assert capsys.readouterr().out == f"{summary}\n"


def test_a_maximum_age_below_the_minimum_is_refused(pipeline: Command) -> None:
    refused = pipeline("dead-letters", "list", "--min-age", "2h", "--max-age", "1h")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "--max-age is below --min-age" in refused.stderr


def test_a_field_without_a_value_is_refused(pipeline: Command) -> None:
    refused = pipeline("dead-letters", "count", "--field", "customer.id")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == "error: --field 'customer.id' must be a path and a value, such as customer.id=42\n"
    refused = pipeline("dead-letters", "count", "--stack", "csv", "--type", "order")
    assert refused.stderr == "error: --type and --field are about events; stack 'csv' is of 'csv'\n"


# With letters


class Box:
    """Queues and a log group of a stack on moto, with dead letters of the worker."""

    def __init__(self, fifo: str = "") -> None:
        self.sqs, self.logs = boto3.client("sqs"), boto3.client("logs")
        kind: Any = {"Attributes": {"FifoQueue": "true"}} if fifo else {}
        self.dead, self.alive = (
            self.sqs.create_queue(QueueName=f"{name}{fifo}", **kind)["QueueUrl"] for name in ("dead", "alive")
        )
        self.logs.create_log_group(logGroupName="worker")
        outputs = {"dead_letter_queue_url": self.dead, "queue_url": self.alive, "table_name": "no-table"}
        self.environment = {"PIPELINE_OUTPUTS": json.dumps({**outputs, "log_groups": {"worker": "worker"}})}

    def bury(self, count: int, error_type: str = "TimeoutError", **data: Any) -> None:
        names = ("source_ip", "user_agent", "correlation_id", "fingerprint")
        for number in range(count):
            event = {
                "id": str(uuid.uuid4()),
                "type": "order",
                "data": {"n": number, **data},
                **dict.fromkeys(names, ""),
            }
            group: Any = (
                {"MessageGroupId": "a", "MessageDeduplicationId": event["id"]} if self.dead.endswith("fifo") else {}
            )
            attributes = {"error_type": error_type, "error": "not now", "event_id": event["id"]}
            self.sqs.send_message(
                QueueUrl=self.dead,
                MessageBody=json.dumps({**event, "received_at": "2026-11-21T08:00:00.000000Z"}),
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": str(value)} for name, value in attributes.items()
                },
                **group,
            )

    def visible(self, url: str) -> int:
        names: Any = ["ApproximateNumberOfMessages"]
        return int(self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"][names[0]])


@pytest.fixture
def make_box(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Box]]:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(dead_letters, "POLL_SECONDS", 0)
    # moto answers botocore's clients only.
    monkeypatch.setattr(aws, "client", cache(aws.botocore_client))
    with mock_aws():
        yield Box


@pytest.fixture
def box(make_box: Callable[..., Box]) -> Box:
    return make_box()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_list_that_a_signal_ends_shows_all_letters_again(
    pipeline: Command, box: Box, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    box.bury(30)
    receive, visible = DeadLetters._receive, list[int]()

    def signalled(self: DeadLetters, _: int) -> tuple[list[Letter], float]:
        received = receive(self, 1)
        visible.append(box.visible(box.dead))
        if len(visible) == 2:
            os.kill(os.getpid(), number)
        return received

    monkeypatch.setattr(DeadLetters, "_receive", signalled)
    ended = pipeline("dead-letters", "list", "--all", env=box.environment)
    assert (visible, ended.exit_code, ended.stdout) == ([20, 10], 130, "")
    assert box.visible(box.dead) == 30
    assert signal.getsignal(number) is not None


def test_a_redrive_that_a_signal_ends_says_what_was_done(
    pipeline: Command, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.bury(30)
    delete = DeadLetters._delete

    def signalled(self: DeadLetters, *given: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return delete(self, *given)

    monkeypatch.setattr(DeadLetters, "_delete", signalled)
    ended = pipeline("dead-letters", "redrive", "--all", env=box.environment)
    assert ended.exit_code == 130
    assert ended.stdout == "10 redriven, 0 not sent, 0 not deleted; not all were examined; about 20 are there now\n"
    assert (box.visible(box.dead), box.visible(box.alive)) == (20, 10)


def test_all_are_counted_by_error_and_redriven_with_their_progress(
    pipeline: Command, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_dead_letters, "PROGRESS_SECONDS", 0)
    box.bury(12, customer={"id": 42})
    box.bury(3, "Rejected")
    counted = pipeline("dead-letters", "count", env=box.environment)
    assert counted.stdout.splitlines() == [
        "       12  TimeoutError",
        "        3  Rejected",
        "       15  together; about 15 are there now",
    ]
    counted = pipeline("dead-letters", "count", "--field", "customer.id=42", "--json", env=box.environment)
    assert json.loads(counted.stdout) == {
        "not_matching": 3,
        "by_error": {"TimeoutError": 12},
        "remaining": 15,
        "complete": True,
        "hidden": 0,
        "held_back": False,
    }
    moved = pipeline(
        "dead-letters", "redrive", "--all", "--field", "customer.id=42", "--rate", "40", env=box.environment
    )
    assert moved.exit_code == 0
    assert moved.stdout == "12 redriven, 0 not sent, 0 not deleted; 3 others left alone; about 3 are there now\n"
    first = moved.stderr.splitlines()[0].split(", ")
    assert (first[0].partition(" of ")[2], first[1].partition(" ")[2]) == ("about 15 redriven", "a second")
    assert box.visible(box.alive) == 12


def test_all_is_not_done_while_some_are_hidden(pipeline: Command, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "PATIENCE_SECONDS", -1)
    monkeypatch.setattr(backlog, "WAIT_SECONDS", 0)
    box.bury(4)
    box.sqs.receive_message(QueueUrl=box.dead, MaxNumberOfMessages=3, VisibilityTimeout=600)
    moved = pipeline("dead-letters", "redrive", "--all", env=box.environment)
    assert moved.exit_code == 1
    assert moved.stdout == (
        "1 redriven, 0 not sent, 0 not deleted; about 3 are hidden: another command, a console or the reconciler looks "
        "at them; about 3 are there now\n"
    )


def test_purged_letters_are_in_a_file_of_their_owner_s_and_the_log_says_who_purged_them(
    pipeline: Command, box: Box, tmp_path: Path
) -> None:
    box.bury(3)
    box.bury(2, "Rejected")
    file = tmp_path / "kept.jsonl"
    purge = ("dead-letters", "purge", "--yes", "--error-type", "TimeoutError", "--export", str(file))
    purged = pipeline(*purge, env=box.environment)
    assert (purged.exit_code, purged.stdout) == (
        0,
        "3 deleted, 0 not deleted; 2 others left alone; about 2 are there now\n",
    )
    assert purged.stderr == f"they are in {file}; `pipeline dead-letters import` puts them back\n"
    kept = [json.loads(line) for line in file.read_text().splitlines()]
    assert {(each["error_type"], json.loads(each["body"])["id"] == each["id"]) for each in kept} == {
        ("TimeoutError", True)
    }
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    events = box.logs.filter_log_events(logGroupName="worker")["events"]
    before, after = (json.loads(event["message"]) for event in events)
    assert before["message"] == "dead letters are being purged"
    assert {name: after[name] for name in ("message", "stack", "caller", "filter", "exported_to", "deleted")} == {
        "message": "dead letters were purged",
        "stack": "dev",
        "caller": "arn:aws:sts::123456789012:user/moto",
        "filter": {"error_type": "TimeoutError"},
        "exported_to": str(file),
        "deleted": 3,
    }
    # Nothing is overwritten.
    refused = pipeline(*purge, env=box.environment)
    assert refused.stderr == f"error: cannot create {file}: File exists; name another file\n"
    # It puts them back as they were.
    again = pipeline("dead-letters", "import", str(file), env=box.environment)
    assert (again.exit_code, again.stdout) == (0, "3 dead letters imported, 0 refused\n")
    listed = json.loads(
        pipeline("dead-letters", "list", "--error-type", "TimeoutError", "--json", env=box.environment).stdout
    )
    assert {letter["id"] for letter in listed["messages"]} == {each["id"] for each in kept}


def test_the_record_of_a_purge_names_the_field_of_its_filter_and_not_the_value(pipeline: Command, box: Box) -> None:
    pipeline("dead-letters", "purge", "--yes", "--no-export", "--field", "who=ann@example.com", env=box.environment)
    messages = [event["message"] for event in box.logs.filter_log_events(logGroupName="worker")["events"]]
    assert [json.loads(message)["filter"] for message in messages] == [{"field": "who"}] * 2
    assert "ann@example.com" not in "".join(messages)


def test_a_purge_without_a_record_deletes_nothing(pipeline: Command, box: Box) -> None:
    box.bury(2)
    box.logs.delete_log_group(logGroupName="worker")
    refused = pipeline("dead-letters", "purge", "--yes", "--all", cwd=SAMPLES, env=box.environment)
    assert refused.exit_code == 1
    assert refused.stderr.startswith("error: who purges cannot be recorded, so nothing was deleted: ")
    assert box.visible(box.dead) == 2


def test_a_purge_keeps_no_copy_only_when_told_so(pipeline: Command, box: Box, tmp_path: Path) -> None:
    box.bury(2)
    for name in ("Pulumi.yaml", "Pulumi.dev.yaml"):
        (tmp_path / name).write_bytes((SAMPLES / name).read_bytes())
    purge = ("dead-letters", "purge", "--yes", "--max", "1")
    pipeline(*purge, cwd=tmp_path, env=box.environment)
    (kept,) = tmp_path.glob("dead-letters-dev-*.jsonl")
    assert len(kept.read_text().splitlines()) == 1
    assert pipeline(*purge, "--no-export", cwd=tmp_path, env=box.environment).exit_code == 0
    assert pipeline(*purge, cwd=tmp_path, env=box.environment).stdout.startswith("0 deleted")
    assert list(tmp_path.glob("*.jsonl")) == [kept], "no file without a letter in it"
    both = pipeline(*purge, "--no-export", "--export", "x", cwd=tmp_path, env=box.environment)
    assert both.stderr == "error: --export and --no-export do not go together: choose one\n"


def test_an_export_has_all_and_leaves_them(pipeline: Command, box: Box, tmp_path: Path) -> None:
    box.bury(12)
    file = tmp_path / "all.jsonl"
    exported = pipeline("dead-letters", "export", str(file), env=box.environment)
    assert (exported.exit_code, exported.stdout) == (0, f"12 dead letters exported to {file}; about 12 are there now\n")
    assert (len(file.read_text().splitlines()), box.visible(box.dead)) == (12, 12)
    file.write_text('{"body": "x"}\n')
    refused = pipeline("dead-letters", "import", str(file), env=box.environment)
    assert refused.stderr == f"error: {file}:1 is no exported dead letter: it has no 'attributes'\n"


def test_a_fifo_redrive_says_beforehand_what_becomes_of_the_order(
    pipeline: Command, make_box: Callable[..., Box], monkeypatch: pytest.MonkeyPatch
) -> None:
    box = make_box(".fifo")
    box.bury(3)
    asked: list[str] = []

    def confirm(question: str, **_: Any) -> bool:
        asked.append(question)
        assert box.visible(box.dead) == 3
        return False

    monkeypatch.setattr("typer.confirm", confirm)
    monkeypatch.setattr(cli_dead_letters, "_at_a_terminal", lambda: True)
    refused = pipeline("dead-letters", "redrive", env=box.environment)
    assert (refused.exit_code, asked) == (1, ["Redrive them?"])
    assert refused.stderr.splitlines() == [cli_dead_letters.ORDER, "error: nothing was redriven"]
    moved = pipeline("dead-letters", "redrive", "--yes", env=box.environment)
    assert (moved.exit_code, moved.stderr) == (0, f"{cli_dead_letters.ORDER}\n")
    assert box.visible(box.alive) == 3
