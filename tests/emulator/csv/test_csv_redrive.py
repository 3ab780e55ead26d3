"""Dead letters of files: why they are there, and what becomes of those that go back."""

import json
from pathlib import Path
from unittest.mock import patch

import pytest

from handlers.csv import objects
from handlers.csv.objects import Source
from handlers.shared import dead_letters, queues
from handlers.shared.letters import SUCCEEDED_SINCE
from tests.decisions import LOGS, denied, recorded, unused
from tests.roles import Role

from .conftest import HEADER, Files, rows

REDRIVE = [
    (0, "sqs:ReceiveMessage"),
    (0, "sqs:DeleteMessage"),
    (0, "sqs:GetQueueAttributes"),
    (0, "sqs:ChangeMessageVisibility"),
    (1, "sqs:SendMessage"),
    (2, "dynamodb:GetItem"),
]


@pytest.fixture(autouse=True)
def _does_not_wait_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    # MiniStack has one server: what a short poll does not find is not there.
    monkeypatch.setattr(dead_letters, "POLL_SECONDS", 0)


def announce(files: Files, key: str, content: str) -> str:
    """Uploads a file; returns the notification of it, which is in no queue any more."""
    files.upload(key, content)
    (record,) = files.receive()
    files.settle([record], {"batchItemFailures": []})
    return str(record["body"])


def bury(files: Files, body: str) -> None:
    """As SQS does it after the last receive: the message alone."""
    files.root("sqs").send_message(QueueUrl=files.outputs["dead_letter_queue_url"], MessageBody=body)


def shown(files: Files) -> list[tuple[str, str]]:
    answer = files.redrive("GET /redrive/preview")
    assert answer["complete"]
    return sorted((message["error_type"], str(message["error"])) for message in answer["messages"])


def test_a_failed_file_is_shown_with_its_reason_and_read_again_when_it_goes_back(files: Files) -> None:
    files.settings = {"max_attempts": 1}
    files.upload("raw/a.csv", HEADER + rows(10))
    with patch.object(Source, "read", side_effect=objects.UploadLostError("made to fail")):
        files.drain()
    files.settings = {}
    files.upload("raw/b.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    files.drain()
    assert [reason for reason, _ in shown(files)] == ["gave_up", "not_text"]
    moved = files.redrive("POST /redrive/start", {"error_type": "gave_up"})
    assert (moved["redriven"], moved["not_matching"], moved["remaining"]) == (1, 1, 1)
    files.drain()
    assert sorted(item["status"] for item in files.items().values()) == ["failed", "succeeded"]
    assert [reason for reason, _ in shown(files)] == ["not_text"]


def test_of_a_message_that_sqs_moved_the_table_says_why(files: Files) -> None:
    failed, unknown, succeeded = (announce(files, f"raw/{name}.csv", HEADER + rows(2)) for name in "abc")
    files.send(succeeded)
    files.drain()
    files.columns = json.dumps({"columns": [{"name": "x", "required": True, "aliases": [], "choices": []}]})
    files.send(failed)
    files.drain()
    files.root("sqs").purge_queue(QueueUrl=files.outputs["dead_letter_queue_url"])
    for body in (failed, unknown, succeeded, "no json"):
        bury(files, body)
    reasons = shown(files)
    assert [reason for reason, _ in reasons] == ["missing_columns", "unknown", "unknown", "unreadable"]
    assert sorted(error for reason, error in reasons if reason == "unknown") == ["None", SUCCEEDED_SINCE]


def test_a_file_that_fails_again_and_was_sent_back_twice_is_read_and_told_of_twice(files: Files) -> None:
    files.upload("raw/a.csv", b"")
    files.drain()
    with patch.object(queues, "delete", lambda _url, handles: [False for _ in handles]):
        assert files.redrive("POST /redrive/start")["not_deleted"] == 1
    files.drain()
    files.told()
    assert files.redrive("POST /redrive/start")["redriven"] == 2
    files.drain()
    assert [told["reason"] for told in files.told()] == ["empty_file"] * 2
    assert files.item()["status"] == "failed"


def it_does_all_it_does(files: Files) -> None:
    """Raises AssertionError when it does not."""
    url = files.outputs["dead_letter_queue_url"]
    body = announce(files, "raw/a.csv", HEADER)
    bury(files, body)
    with Role(files.root, files.redrive_environment["AWS_LAMBDA_FUNCTION_NAME"]).acting():
        answer = files.redrive("GET /redrive/preview")
        assert len(answer.get("messages", [])) == answer["remaining"] == 1
        left = files.root("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
        assert left["Attributes"]["ApproximateNumberOfMessages"] == "1", "it was not made visible again"
        assert files.redrive("POST /redrive/start")["redriven"] == 1
    assert [record["body"] for record in files.receive()] == [body]


def test_with_all_its_actions_it_works_and_all_are_used_and_nothing_is_denied(files: Files, decisions: Path) -> None:
    role = Role(files.root, files.redrive_environment["AWS_LAMBDA_FUNCTION_NAME"])
    assert [(position, action) for position, action in role.actions if action not in LOGS] == REDRIVE
    with recorded(decisions) as recording:
        it_does_all_it_does(files)
    assert denied(recording.of(role.name)) == []
    assert {action for action, _ in unused(role.document, recording.of(role.name))} == LOGS


@pytest.mark.parametrize(("position", "action"), REDRIVE)
def test_without_any_one_action_something_breaks(files: Files, position: int, action: str) -> None:
    role = Role(files.root, files.redrive_environment["AWS_LAMBDA_FUNCTION_NAME"])
    with role.without(action, position), pytest.raises(AssertionError):
        it_does_all_it_does(files)
