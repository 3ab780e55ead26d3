"""`pipeline check` and `pipeline permissions`: on the shipped stacks, and on those of users."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app

from .conftest import ROOT


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_a_shipped_stack_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    done = run("check")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("stack 'dev': ")
    assert done.stdout.endswith(" 14 rules, nothing found\n")
    assert json.loads(run("check", "--stack", "iot", "--json").stdout) == []


def test_a_users_own_stack_is_told_resource_rule_and_mend(small_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small_project)
    done = run("check")
    assert done.exit_code == 1
    assert done.stdout == (
        "main (aws:sqs/queue:Queue): its messages are not encrypted\n"
        "    rule encrypted-at-rest, mend: sqs_managed_sse_enabled or kms_master_key_id for a queue, "
        "a server-side encryption rule for a bucket\n"
        "    https://docs.aws.amazon.com/securityhub/latest/userguide/sqs-controls.html#sqs-1\n"
        "main (aws:sqs/queue:Queue): it answers plain HTTP\n"
        "    rule tls-only, mend: a policy that denies every request where aws:SecureTransport is false: "
        "components/policies.py\n"
        "    https://docs.aws.amazon.com/securityhub/latest/userguide/s3-controls.html#s3-5\n"
        "stack 'dev': 1 resources, 14 rules, 2 findings\n"
    )
    done = run("check", "--json")
    assert done.exit_code == 1
    assert [(found["name"], found["rule"]) for found in json.loads(done.stdout)] == [
        ("main", "encrypted-at-rest"),
        ("main", "tls-only"),
    ]


def test_a_stack_that_is_not_there_or_wrong_is_one_line(small_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small_project)
    for command in ("check", "permissions"):
        done = run(command, "--stack", "none")
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.startswith("error: there is no stack 'none'")


def test_the_rights_of_a_function_are_shown_with_what_they_are_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = json.loads(run("permissions", "--json").stdout)
    ingest = [
        (each["action"], each["resource"], each["why"]) for each in found if each["function"] == "pipeline-ingest"
    ]
    assert ingest == [
        ("sqs:SendMessage", "pipeline-queue", "put messages into the queue"),
        ("dynamodb:BatchGetItem", "pipeline-table", "look events up"),
        ("dynamodb:PartiQLInsert", "pipeline-table", "accept events"),
        ("dynamodb:PartiQLUpdate", "pipeline-table", "accept events"),
        ("dynamodb:PartiQLDelete", "pipeline-table", "accept events"),
        ("dynamodb:PutItem", "pipeline-table", "accept events"),
        ("dynamodb:Query", "pipeline-table/index/by-time", "list events by time"),
        ("s3:GetObject", "pipeline-bucket/results/*", "read from results"),
        ("logs:CreateLogStream", "pipeline-ingest:*", "write logs"),
        ("logs:PutLogEvents", "pipeline-ingest:*", "write logs"),
    ]
    assert {each["resource"] for each in found if not each["resource"].startswith("pipeline-")} == set()
    shown = run("permissions").stdout
    assert "pipeline-ingest" in shown
    assert "function" in shown.splitlines()[1]
