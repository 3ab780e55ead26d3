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
    assert done.stdout.endswith(" 16 rules, nothing found\n")
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
        "stack 'dev': 1 resources, 16 rules, 2 findings\n"
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
        ("sqs:SendMessage", "Queue pipeline-queue", "put messages into the queue"),
        ("dynamodb:BatchGetItem", "Table pipeline-table", "look events up"),
        ("dynamodb:PartiQLInsert", "Table pipeline-table", "accept events"),
        ("dynamodb:PartiQLUpdate", "Table pipeline-table", "accept events"),
        ("dynamodb:PartiQLDelete", "Table pipeline-table", "accept events"),
        ("dynamodb:PutItem", "Table pipeline-table", "accept events"),
        ("dynamodb:Query", "Table pipeline-table/index/by-time", "list events by time"),
        ("s3:GetObject", "Bucket pipeline-bucket/results/*", "read from results"),
        ("logs:CreateLogStream", "LogGroup pipeline-ingest:*", "write logs"),
        ("logs:PutLogEvents", "LogGroup pipeline-ingest:*", "write logs"),
    ]
    assert {each["resource"] for each in found if " pipeline-" not in each["resource"]} == set()
    shown = run("permissions").stdout
    assert "pipeline-ingest" in shown
    assert "function" in shown.splitlines()[1]


def test_the_arn_of_a_secret_is_shown_as_it_is(small_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small_project)
    arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:shop-AbC123"
    policy = json.dumps({"Statement": [{"Effect": "Allow", "Action": ["secretsmanager:Get"], "Resource": [arn]}]})
    (small_project / "__main__.py").write_text(
        f"import pulumi_aws as aws\naws.iam.RolePolicy('reader', role='reader', policy={policy!r})\n"
    )
    monkeypatch.setenv("COLUMNS", "200")
    assert arn in run("permissions").stdout


def test_a_right_says_whose_it_is_on_what_and_when(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = json.loads(run("permissions", "--stack", "ingestion", "--json").stdout)
    # The worker has two policies; the second is the circuit breaker's.
    functions = {f"pipeline-{name}" for name in ("ingest", "worker", "redrive", "breaker", "breaker-schedule")}
    assert {each["function"] for each in found} == functions
    worker = {
        (each["action"], each["resource"], each["when"]) for each in found if each["function"] == "pipeline-worker"
    }
    assert {
        ("ssm:GetParameter", "Parameter pipeline-breaker", ""),
        (
            "dynamodb:UpdateItem",
            "Table pipeline-table",
            "ForAllValues:StringEquals dynamodb:LeadingKeys circuit#processor",
        ),
        ("ec2:CreateNetworkInterface", "*", "Null lambda:SourceFunctionArn true"),
    } <= worker
