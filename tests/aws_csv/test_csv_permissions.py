"""Each action of the worker's role is needed: without any one of them something breaks.

What Lambda does with the role itself, and not our code, cannot be seen in this process: tests/decisions.py.
"""

import gzip
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import pytest

from handlers import file_objects
from tests.decisions import LOGS, NOT_ASKED, POLLER, denied, recorded, unused
from tests.roles import Role

from .conftest import HEADER, Files, Time, rows

UNSEEN = POLLER | LOGS | NOT_ASKED

# Every statement of the role, and its actions that can be seen, in the order of components/variants/csv.py.
SEEN = [
    (0, "sqs:ChangeMessageVisibility"),
    (1, "sqs:SendMessage"),
    (2, "dynamodb:UpdateItem"),
    (2, "dynamodb:GetItem"),
    (3, "s3:GetObject"),
    (5, "s3:PutObject"),
    (5, "s3:AbortMultipartUpload"),
    (5, "s3:GetObject"),
    (6, "s3:PutObject"),
    (6, "s3:AbortMultipartUpload"),
    (6, "s3:GetObject"),
    (7, "s3:PutObject"),
    (8, "s3:PutObject"),
    (9, "s3:GetObject"),
    (10, "sns:Publish"),
    (11, "sns:Publish"),
]


def role_of(files: Files) -> Role:
    return Role(files.root, files.environment["AWS_LAMBDA_FUNCTION_NAME"])


def it_does_all_it_does(files: Files) -> None:
    """A file of two runs whose second dies once, the same again, one that fails late. Raises AssertionError."""
    # Each output begins as an upload in parts, so that each has one to complete, to find completed, and to give up.
    files.upload("raw/good.csv", HEADER + rows(400))
    with role_of(files).acting():
        records = files.receive()
        assert files.deliver(records, Time(3)) == [records[0]["messageId"]]
        again = files.receive()
        assert again, "its visibility was not set"
        with suppress(KeyboardInterrupt), patch.object(file_objects, "put_report", side_effect=KeyboardInterrupt):
            files.deliver(again)
        files.show_again(again)
        files.drain(deliveries=6)
        assert files.item()["status"] == "succeeded"
        assert [row["quantity"] for row in files.lines("processed/")] == [n for n in range(400) if n % 7 != 6]
        assert len(files.lines("rejected/")) == 57
        assert files.item()["settled"]
        assert len(files.told()) == 1
        files.send(records[0]["body"])
        files.drain(deliveries=6)
        files.upload("raw/bad.csv", gzip.compress((HEADER + rows(4_000)).encode())[:-1_000])
        files.drain(deliveries=6)
    assert files.uploads() == []
    assert len(files.dead_letters()) == len(files.told("alerts")) == len(files.told()) == 1


@pytest.fixture(autouse=True)
def few_attempts(files: Files) -> None:
    files.settings = {"max_attempts": 3}


def test_the_lists_above_are_all_that_is_granted(files: Files) -> None:
    assert [(position, action) for position, action in role_of(files).actions if action not in UNSEEN] == SEEN


def test_with_all_its_actions_the_worker_works_all_are_used_and_nothing_is_denied(
    files: Files, decisions: Path
) -> None:
    role = role_of(files)
    with recorded(decisions) as recording:
        it_does_all_it_does(files)
    assert denied(recording.of(role.name)) == []
    assert {action for action, _ in unused(role.document, recording.of(role.name))} == UNSEEN
    assert files.items()


@pytest.mark.parametrize(("position", "action"), SEEN)
def test_without_any_one_action_something_breaks(files: Files, position: int, action: str) -> None:
    with role_of(files).without(action, position), pytest.raises(AssertionError):
        it_does_all_it_does(files)
