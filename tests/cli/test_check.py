"""`pipeline check` and `pipeline permissions`, on the shipped stacks and on those of users."""

import json
import re
from pathlib import Path

from local.rules import RULES

from .conftest import Command


def test_a_shipped_stack_passes(pipeline: Command) -> None:
    done = pipeline("check", "--stack", "iot")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("stack 'iot': ")
    assert done.stdout.endswith(f" {len(RULES)} rules, nothing found\n")
    assert json.loads(pipeline("check", "--stack", "iot", "--json").stdout) == []


def test_accepted_findings_are_shown_with_their_reasons(pipeline: Command) -> None:
    done = pipeline("check")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "pipeline-api-get-events (aws:apigatewayv2/route:Route): anybody may call GET /events"
    assert lines[1].startswith("    rule open-api, accepted: api.auth is none, so that it can be tried with curl.")
    assert lines[-1].endswith(f" {len(RULES)} rules, nothing found, 5 accepted")
    done = pipeline("check", "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert [each["name"].removeprefix("pipeline-api-") for each in found] == [
        "get-events",
        "get-events-id",
        "head-events",
        "head-events-id",
        "post-events",
    ]
    assert {each["accepted"].partition(",")[0] for each in found} == {"api.auth is none"}


def test_a_finding_names_resource_rule_and_fix(small_project: Path, pipeline: Command) -> None:
    done = pipeline("check", cwd=small_project)
    assert done.exit_code == 1
    assert done.stdout == (
        "main (aws:sqs/queue:Queue): its messages are not encrypted\n"
        "    rule encrypted-at-rest, fix: sqs_managed_sse_enabled or kms_master_key_id for a queue, "
        "a server-side encryption rule for a bucket\n"
        "    https://docs.aws.amazon.com/securityhub/latest/userguide/sqs-controls.html#sqs-1\n"
        "main (aws:sqs/queue:Queue): it accepts plain HTTP\n"
        "    rule tls-only, fix: a policy that denies every request where aws:SecureTransport is false: "
        "components/policies.py\n"
        "    https://docs.aws.amazon.com/securityhub/latest/userguide/s3-controls.html#s3-5\n"
        f"stack 'dev': 1 resources, {len(RULES)} rules, 2 findings\n"
    )
    done = pipeline("check", "--json", cwd=small_project)
    assert done.exit_code == 1
    assert [(found["name"], found["rule"], found["accepted"]) for found in json.loads(done.stdout)] == [
        ("main", "encrypted-at-rest", None),
        ("main", "tls-only", None),
    ]


def accept(project: Path, *entries: dict[str, str]) -> None:
    (project / "Pulumi.dev.yaml").write_text(json.dumps({"config": {"datapipeline:accepted_findings": entries}}))


def test_accepting_a_finding_passes_and_accepting_one_that_is_not_found_fails(
    small_project: Path, pipeline: Command
) -> None:
    plain = {"rule": "tls-only", "resource": "main", "reason": "for a minute,\n\x1b[1mon this machine"}
    accept(small_project, plain)
    done = pipeline("check", cwd=small_project)
    assert done.exit_code == 1
    assert "rule tls-only, accepted: for a minute,\\n\\x1b[1mon this machine\n" in done.stdout
    assert done.stdout.endswith(", 1 findings, 1 accepted\n")
    accept(small_project, plain, {"rule": "encrypted-at-rest", "reason": "nothing of value"})
    done = pipeline("check", cwd=small_project)
    assert done.exit_code == 0
    assert done.stdout.endswith(", nothing found, 2 accepted\n")
    accept(small_project, plain, {"rule": "encrypted-at-rest", "resource": "other", "reason": "nothing of value"})
    done = pipeline("check", cwd=small_project)
    assert done.exit_code == 1
    assert (
        "accepted_findings (pulumi:pulumi:Stack): encrypted-at-rest of other is accepted, but was not found\n"
        "    rule accepted-findings, fix: remove the entry from the stack file\n"
    ) in done.stdout
    assert done.stdout.endswith(", 2 findings, 1 accepted\n")


def test_escape_sequences_in_a_stack_do_not_reach_the_terminal(small_project: Path, pipeline: Command) -> None:
    (small_project / "__main__.py").write_text("import pulumi_aws as aws\naws.sqs.Queue('ma\\x1b[2Jin')\n")
    accept(small_project, {"rule": "tls-only", "resource": "o\x1b]0;t\x07\nr", "type": "\x9b1m", "reason": "-"})
    done = pipeline("check", cwd=small_project)
    assert done.exit_code == 1
    assert "ma\\x1b[2Jin (aws:sqs/queue:Queue): it accepts plain HTTP\n" in done.stdout
    assert "tls-only of o\\x1b]0;t\\x07\\nr (\\x9b1m) is accepted, but was not found\n" in done.stdout
    assert [line for line in done.stdout.splitlines() if not line.isprintable()] == []


def test_accepting_an_unknown_rule_is_an_error_that_lists_the_rules(small_project: Path, pipeline: Command) -> None:
    accept(small_project, {"rule": "tls-only", "reason": "local"}, {"rule": "open-apis", "reason": "a demo"})
    done = pipeline("check", cwd=small_project)
    assert (done.exit_code, done.stdout) == (1, "")
    names = ", ".join(sorted(rule.name for rule in RULES))
    assert done.stderr == (
        "error: Pulumi.dev.yaml: datapipeline:accepted_findings.1.rule = 'open-apis': there is no such rule; "
        f"there are {names}\n"
    )


def test_an_unknown_stack_is_an_error_in_one_line(small_project: Path, pipeline: Command) -> None:
    for command in ("check", "permissions"):
        done = pipeline(command, "--stack", "none", cwd=small_project)
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.startswith("error: there is no stack 'none'")


def test_permissions_are_shown_with_their_purpose(pipeline: Command) -> None:
    found = json.loads(pipeline("permissions", "--json").stdout)
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


def test_permissions_are_printed_as_one_table_per_function(pipeline: Command) -> None:
    ingest, worker = pipeline("permissions").stdout.split("function pipeline-worker")
    lines = [re.split("  +", line.strip()) for line in ingest.splitlines() if line.strip()]
    assert lines[:2] == [["function pipeline-ingest"], ["action", "resource", "why"]]
    assert lines[3:8] == [
        ["sqs:SendMessage", "Queue pipeline-queue", "put messages into the queue"],
        ["dynamodb:BatchGetItem", "Table pipeline-table", "look events up"],
        ["dynamodb:PartiQLInsert", "Table pipeline-table", "accept events"],
        ["dynamodb:PartiQLUpdate"],
        ["dynamodb:PartiQLDelete"],
    ]
    assert "sqs:ChangeMessageVisibility" in worker
    hardened = pipeline("permissions", "--stack", "ingestion").stdout
    assert "be connected to the network, when Null lambda:SourceFunctionArn true" in hardened


def test_the_arn_of_a_secret_is_shown_unchanged(small_project: Path, pipeline: Command) -> None:
    arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:shop-AbC123"
    policy = json.dumps({"Statement": [{"Effect": "Allow", "Action": ["secretsmanager:Get"], "Resource": [arn]}]})
    (small_project / "__main__.py").write_text(
        f"import pulumi_aws as aws\naws.iam.RolePolicy('reader', role='reader', policy={policy!r})\n"
    )
    assert arn in pipeline("permissions", cwd=small_project, env={"COLUMNS": "200"}).stdout


def test_a_permission_names_its_function_resource_and_condition(pipeline: Command) -> None:
    found = json.loads(pipeline("permissions", "--stack", "ingestion", "--json").stdout)
    # The worker has two policies; the second is for the circuit breaker.
    functions = {f"pipeline-{name}" for name in ("ingest", "worker", "redrive", "breaker", "breaker-schedule")}
    assert {each["function"] for each in found} == functions
    worker = {
        (each["action"], each["resource"], each["when"]) for each in found if each["function"] == "pipeline-worker"
    }
    assert {
        ("ssm:GetParameter", "Parameter pipeline-breaker", ""),
        (
            "dynamodb:PutItem",
            "Table pipeline-table",
            "ForAllValues:StringEquals dynamodb:LeadingKeys circuit#processor",
        ),
        ("ec2:CreateNetworkInterface", "*", "Null lambda:SourceFunctionArn true"),
    } <= worker
