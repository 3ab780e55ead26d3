"""Dead letters of a running pipeline: over its API, and by the command."""

import json
import os
import pty
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.credentials import Credentials
from typer.testing import CliRunner

from cli.main import app
from handlers.shared import dead_letters
from tests.graphs import SAMPLES
from tests.roles import forget_clients

from .conftest import ROOT, Client


@pytest.fixture
def dead(dev: Client) -> Iterator[list[str]]:
    """Three dead letters, which the worker would process like any event: `OldError` twice, `NewError` once."""
    sqs, url = dev.aws("sqs"), dev.outputs["dead_letter_queue_url"]
    sqs.purge_queue(QueueUrl=url)
    ids = []
    for error_type in ("OldError", "OldError", "NewError"):
        ids.append(str(uuid.uuid4()))
        envelope = {
            "id": ids[-1],
            "type": "default",
            "received_at": "2026-11-21T08:00:00.000000Z",
            **dict.fromkeys(("source_ip", "user_agent", "correlation_id", "fingerprint"), ""),
            "data": {"secret": "s3cr3t"},  # pragma: allowlist secret
        }
        attributes = {"error_type": error_type, "error": "it \x1b[31mfailed".replace("\x1b", "\t"), "event_id": ids[-1]}
        sqs.send_message(
            QueueUrl=url,
            MessageBody=json.dumps(envelope),
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
            },
        )
    yield ids
    sqs.purge_queue(QueueUrl=url)


# Over the API


@pytest.mark.parametrize(("method", "path"), [("GET", "/redrive/preview"), ("POST", "/redrive/start")])
def test_nobody_without_a_signature_gets_in_although_the_api_is_open(dev: Client, method: str, path: str) -> None:
    assert dev.post({"open": True})[0] == 202
    # The emulator's HTTP APIs take any Authorization header for a signature; the function does not.
    for headers in ({}, {"Authorization": "Bearer x"}, {"x-api-key": "x"}):
        assert dev.request(method, path, {} if method == "POST" else None, headers)[0] == 403


def test_who_signs_needs_the_right_to_call_this_very_route(dev: Client) -> None:
    iam = dev.aws("iam")
    iam.create_user(UserName="ann")
    key = iam.create_access_key(UserName="ann")["AccessKey"]
    ann = Credentials(key["AccessKeyId"], key["SecretAccessKey"])
    assert dev.signed("GET", "/redrive/preview", keys=ann)[0] == 403
    api_id = dev.api_url.rsplit("/", 1)[1]
    route = f"arn:aws:execute-api:us-east-1:{dev.aws.account}:{api_id}/*/GET/redrive/preview"
    allowed = {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": route}
    document = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_user_policy(UserName="ann", PolicyName="looks", PolicyDocument=document)
    assert dev.signed("GET", "/redrive/preview", keys=ann)[0] == 200
    assert dev.signed("POST", "/redrive/start", {}, keys=ann)[0] == 403
    forged = Credentials(key["AccessKeyId"], "not the secret")
    assert dev.signed("GET", "/redrive/preview", keys=forged)[0] == 403
    # The policy of SECURITY.md for who shall only submit and read; and the one that it warns of.
    client = (ROOT / "SECURITY.md").read_text(encoding="utf-8").split("```json\n")[1].split("```")[0]
    client = client.replace("REGION", "us-east-1").replace("ACCOUNT", dev.aws.account).replace("API_ID", api_id)
    everything = {**allowed, "Resource": f"arn:aws:execute-api:us-east-1:{dev.aws.account}:{api_id}/*"}
    for statement, status in ((json.loads(client), 403), (everything, 200)):
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName="ann", PolicyName="looks", PolicyDocument=document)
        assert dev.signed("GET", "/redrive/preview", keys=ann)[0] == status


def test_signed_requests_show_what_is_there_and_send_back_what_is_asked_for(dev: Client, dead: list[str]) -> None:
    status, shown = dev.signed("GET", "/redrive/preview?error_type=OldError&max_messages=10")
    assert status == 200
    assert {message["id"] for message in shown["messages"]} == set(dead[:2])
    assert (shown["not_matching"], shown["remaining"], shown["complete"]) == (1, 3, True)
    assert "s3cr3t" not in json.dumps(shown)
    status, moved = dev.signed("POST", "/redrive/start", {"error_type": "OldError"})
    assert (status, moved["redriven"], moved["remaining"], moved["complete"]) == (200, 2, 1, True)
    dev.until(lambda: [dev.shown(event_id).get("status") for event_id in dead[:2]] == ["succeeded"] * 2)
    assert dev.depth(dev.outputs["dead_letter_queue_url"]) == 1


def test_mistakes_are_answered_in_the_house_s_shape(dev: Client) -> None:
    for path in ("max_messages=0", "max_messages=1e9", "max_messages=abc", "limit=1", "max_messages=1&max_messages=2"):
        status, body = dev.signed("GET", f"/redrive/preview?{path}")
        assert (status, body["error"]["code"]) == (400, "invalid_parameter"), path
    status, body = dev.signed("POST", "/redrive/start", ["no", "object"])
    assert (status, body["error"]["code"]) == (400, "not_an_object")


# By the command


@pytest.fixture
def command(dev: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`command("list", ...)` runs `pipeline dead-letters list ...` in this process, against the running pipeline."""
    monkeypatch.chdir(SAMPLES)
    monkeypatch.setattr(dead_letters, "POLL_SECONDS", 0)
    for name, value in {**dev.up.environment(), "PIPELINE_OUTPUTS": json.dumps(dict(dev.outputs))}.items():
        monkeypatch.setenv(name, value)
    forget_clients()
    yield lambda *arguments: CliRunner().invoke(app, ["dead-letters", *arguments])
    forget_clients()


def test_the_list_has_a_line_for_each_and_no_payload(command: Any, dead: list[str]) -> None:
    listed = command("list", "--error-type", "OldError", "--min-age", "0s")
    lines = listed.stdout.splitlines()
    assert listed.exit_code == 0
    assert lines[0].split() == ["id", "age_seconds", "attempts", "error_type", "error"]
    assert sorted(line.split()[0] for line in lines[1:3]) == sorted(dead[:2])
    assert lines[3:] == ["2 dead letters shown; 1 others left alone; about 3 are there now"]
    # What a stranger wrote does not reach the terminal as it is.
    assert all(character.isprintable() for line in lines for character in line)
    assert "s3cr3t" not in listed.stdout
    assert command("list", "--min-age", "1d").stdout.splitlines() == [
        "0 dead letters shown; 3 others left alone; about 3 are there now",
    ]
    as_json = json.loads(command("list", "--max", "1", "--json").stdout)
    assert (len(as_json["messages"]), as_json["complete"], as_json["remaining"]) == (1, False, 3)


def test_one_is_shown_whole_by_its_own_id_or_its_event_s(command: Any, dead: list[str]) -> None:
    by_event = command("show", dead[2])
    assert (by_event.exit_code, "NewError" in by_event.stdout, "s3cr3t" in by_event.stdout) == (0, True, True)
    whole = json.loads(command("show", dead[2], "--json").stdout)
    assert json.loads(whole["body"])["id"] == whole["id"] == dead[2]
    assert json.loads(command("show", whole["message_id"], "--json").stdout)["id"] == dead[2]
    missing = command("show", "nothing")
    assert (missing.exit_code, missing.stderr) == (1, "error: there is no dead letter 'nothing' in stack 'dev'\n")


def test_redrive_sends_back_what_is_asked_for_and_it_is_processed(command: Any, dev: Client, dead: list[str]) -> None:
    first = command("redrive", "--error-type", "NewError")
    assert first.exit_code == 0
    assert first.stdout == "1 redriven, 0 not sent, 0 not deleted; 2 others left alone; about 2 are there now\n"
    second = json.loads(command("redrive", "--max", "1", "--json").stdout)
    assert (second["redriven"], second["remaining"], second["complete"]) == (1, 1, False)
    dev.until(lambda: dev.shown(dead[2]).get("status") == "succeeded")


def test_redrive_exits_1_when_the_queue_does_not_take_them(
    command: Any, dev: Client, dead: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = {**dev.outputs, "queue_url": f"{dev.outputs['queue_url']}-that-is-not-there"}
    monkeypatch.setenv("PIPELINE_OUTPUTS", json.dumps(outputs))
    refused = command("redrive")
    assert refused.exit_code == 1
    assert refused.stdout == "0 redriven, 3 not sent, 0 not deleted; not all were examined; about 3 are there now\n"
    # Tried twice; a reason a line, and neither JSON nor a traceback.
    reasons = refused.stderr.splitlines()
    assert len(reasons) == 2
    assert all("the queue did not take messages: " in line and "NonExistentQueue" in line for line in reasons)
    assert dev.depth(dev.outputs["dead_letter_queue_url"]) == len(dead)


def test_a_service_s_refusal_is_a_line_and_no_traceback(
    command: Any, dev: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = {**dev.outputs, "dead_letter_queue_url": f"{dev.outputs['queue_url']}-that-is-not-there"}
    monkeypatch.setenv("PIPELINE_OUTPUTS", json.dumps(outputs))
    for arguments in (("list", "--json"), ("show", "x"), ("purge", "--yes")):
        refused = command(*arguments)
        assert refused.exit_code == 1
        assert "Traceback" not in refused.stderr + refused.stdout
        assert refused.stderr.splitlines()[-1].startswith("error: "), refused.stderr
    assert command("list", "--json").stdout == ""


def test_purge_without_a_terminal_wants_a_yes_and_deletes_only_what_is_asked_for(
    command: Any, dev: Client, dead: list[str]
) -> None:
    refused = command("purge")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("error: purge deletes messages permanently and there is no terminal to ask at")
    assert dev.depth(dev.outputs["dead_letter_queue_url"]) == len(dead)
    purged = command("purge", "--yes", "--no-export", "--error-type", "OldError")
    assert (purged.exit_code, purged.stdout) == (
        0,
        "2 deleted, 0 not deleted; 1 others left alone; about 1 are there now\n",
    )


@pytest.mark.parametrize(("answer", "left"), [(b"n\n", 3), (b"y\n", 0)])
def test_purge_asks_at_a_terminal(dev: Client, dead: list[str], answer: bytes, left: int) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    environment = {**os.environ, **dev.up.environment(), "PYTHONPATH": str(ROOT)}
    asked = subprocess.run(
        [sys.executable, "-m", "cli.main", "dead-letters", "purge", "--no-export"],
        stdin=theirs,
        env={**environment, "PIPELINE_OUTPUTS": json.dumps(dict(dev.outputs))},
        cwd=SAMPLES,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(ours)
    os.close(theirs)
    assert "Delete up to 100 dead letters of stack 'dev' permanently? (about 3 there) [y/N]" in asked.stderr
    assert asked.returncode == (1 if left else 0), asked
    assert dev.depth(dev.outputs["dead_letter_queue_url"]) == left
    assert dead


def test_dead_letters_of_an_iot_stack_are_listed_and_purged_and_go_back_by_replay(
    command: Any, dev: Client, dead: list[str]
) -> None:
    record = {
        "requestContext": {"requestId": "request-7", "condition": "RetriesExhausted"},
        "requestPayload": {"Records": []},
        "responsePayload": {"errorType": "MemoryError", "errorMessage": "too\nlarge"},
    }
    for body in (json.dumps(record), json.dumps({**record, "responsePayload": None}), "[]"):
        dev.aws("sqs").send_message(QueueUrl=dev.outputs["dead_letter_queue_url"], MessageBody=body)
    shown = json.loads(command("list", "--stack", "iot", "--json").stdout)["messages"]
    causes = [(message["id"], message["error_type"], message["error"]) for message in shown]
    nothing = (None, "unknown", "it is not a record of a Lambda invocation")
    assert causes[-3:] == [
        ("request-7", "MemoryError", "too\nlarge"),
        ("request-7", "RetriesExhausted", None),
        nothing,
    ]
    assert causes[:-3] == [nothing] * len(dead)
    refused = command("redrive", "--stack", "iot")
    assert (refused.exit_code, refused.stderr) == (
        1,
        "error: the dead letters of an iot stack go to its worker: pipeline replay --stack iot\n",
    )
    assert "2 deleted" in command("purge", "--stack", "iot", "--yes", "--no-export", "--max", "2").stdout
