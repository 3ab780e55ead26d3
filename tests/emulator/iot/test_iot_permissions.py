"""Each action of the functions' roles is needed: acting as a role, without any one of them something breaks."""

import time
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from handlers.iot.notices import NotPublishedError
from handlers.shared.dynamodb import TableError
from local.engine import Running
from local.services import Clients
from tests.decisions import FAILURES, LOGS, NOT_ASKED, denied, recorded, unused
from tests.roles import Role

from .conftest import Iot, lines, reading

UNSEEN = FAILURES | LOGS | NOT_ASKED
WORKER = [
    "s3:GetObject",
    "s3:PutObject",
    "dynamodb:BatchWriteItem",
    "dynamodb:BatchGetItem",
    "dynamodb:PartiQLInsert",
    "dynamodb:PartiQLUpdate",
    "sns:Publish",
]


WATCHER = ["dynamodb:Query", "dynamodb:BatchGetItem", "dynamodb:PartiQLUpdate", "sns:Publish"]


def role_of(stack: Running) -> Role:
    return Role(Clients(stack.emulator), stack.outputs["worker_name"])


def watcher_role(stack: Running) -> Role:
    (function,) = (each for each in stack.engine.functions if each.handler == "handlers.iot.watcher.handler")
    return Role(Clients(stack.emulator), function.name)


def worker_does_all_it_does(iot: Iot, role: Role) -> None:
    """Raises what a service refuses it."""
    event = iot.upload(lines(reading("d1", 1, 40), {}))
    with role.acting():
        iot.worker().handle(event, "run")


def watcher_does_all_it_does(iot: Iot, role: Role, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raises what a service refuses it."""
    iot.take(lines(reading("d1", 1)))
    later = time.time() + 3_600
    with role.acting(), monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: later)
        iot.watcher().run("run")


def granted(role: Role) -> list[str]:
    return sorted({action for _, action in role.actions} - UNSEEN)


def test_the_lists_above_are_all_that_is_granted(stack: Running) -> None:
    assert granted(role_of(stack)) == sorted(WORKER)
    assert granted(watcher_role(stack)) == sorted(WATCHER)


def test_with_all_its_actions_the_worker_works_all_are_used_and_nothing_is_denied(
    iot: Iot, stack: Running, decisions: Path
) -> None:
    role = role_of(stack)
    with recorded(decisions) as recording:
        worker_does_all_it_does(iot, role)
    assert denied(recording.of(role.name)) == []
    assert {action for action, _ in unused(role.document, recording.of(role.name))} == UNSEEN
    assert len(iot.readings()) == 1
    assert len(iot.rejections()) == 1
    assert iot.alerts() == ["d1 temperature crossed 40"]
    assert iot.states()["d1"]["pending"] == []


@pytest.mark.parametrize("action", WORKER)
def test_without_any_one_action_something_breaks(iot: Iot, stack: Running, action: str) -> None:
    role = role_of(stack)
    with role.without(action), pytest.raises((ClientError, NotPublishedError, TableError)):
        worker_does_all_it_does(iot, role)


def test_with_all_its_actions_the_watcher_works_all_are_used_and_nothing_is_denied(
    iot: Iot, stack: Running, decisions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = watcher_role(stack)
    with recorded(decisions) as recording:
        watcher_does_all_it_does(iot, role, monkeypatch)
    assert denied(recording.of(role.name)) == []
    assert {action for action, _ in unused(role.document, recording.of(role.name))} == FAILURES | LOGS
    assert iot.silences_told() == ["d1 silent"]


@pytest.mark.parametrize("action", WATCHER)
def test_without_any_one_action_the_watcher_fails(
    iot: Iot, stack: Running, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    role = watcher_role(stack)
    with role.without(action), pytest.raises((ClientError, NotPublishedError, TableError)):
        watcher_does_all_it_does(iot, role, monkeypatch)
