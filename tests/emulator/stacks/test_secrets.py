"""A processor with a secret, in a whole pipeline: its role's right gets it the value, which is nowhere else."""

import hashlib
import hmac
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from handlers.api.secrets import CACHE_SECONDS, Secrets
from handlers.shared import aws
from local.engine import running
from local.project import load_project
from local.secrets import taken_from
from tests.decisions import denied, recorded
from tests.graphs import SAMPLES
from tests.processes import living
from tests.roles import Role, forget_clients

from .conftest import Client
from .test_circuit_breaker import Guarded, post

ACCOUNT = "us-east-1:123456789012"
GIVEN = {
    "secretsmanager": f"arn:aws:secretsmanager:{ACCOUNT}:secret:shop/signing-AbC123",
    "ssm": f"arn:aws:ssm:{ACCOUNT}:parameter/shop/signing",
}
READ = {"secretsmanager": "secretsmanager:GetSecretValue", "ssm": "ssm:GetParameter"}  # pragma: allowlist secret
VALUE = "the-value-that-must-be-nowhere"
EVENT = {"amount": 7}


def signature(value: str) -> str:
    return hmac.new(value.encode(), b'{"amount":7}', hashlib.sha256).hexdigest()


@dataclass
class Shop:
    """A pipeline whose processor is processors/receipts.py."""

    service: str
    client: Client
    decisions: Path

    def __post_init__(self) -> None:
        self.functions = {each.handler.split(".")[2]: each.name for each in self.client.up.engine.functions}
        configuration = self.client.aws("lambda").get_function_configuration(FunctionName=self.functions["worker"])
        self.arns: dict[str, str] = json.loads(configuration["Environment"]["Variables"]["SECRETS"])
        self.arn = self.arns["signing_key"]

    def role(self, function: str) -> Role:
        return Role(self.client.aws, self.functions[function])

    def rotate(self, value: str) -> None:
        if self.service == "ssm":
            name = self.client.aws("ssm").get_parameter(Name=self.arn)["Parameter"]["Name"]
            self.client.aws("ssm").put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)
        else:
            self.client.aws("secretsmanager").put_secret_value(SecretId=self.arn, SecretString=value)

    def logs(self) -> list[str]:
        logs = self.client.aws("logs")
        groups = [group["logGroupName"] for group in logs.describe_log_groups()["logGroups"]]
        pages = [
            page for group in groups for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group)
        ]
        return [event["message"] for page in pages for event in page["events"]]


@pytest.fixture(scope="module", params=GIVEN)
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    decisions = tmp_path_factory.mktemp("iam") / "decisions.jsonl"
    worker = {
        "processor": "processors.receipts:process",
        "secrets": {"signing_key": GIVEN[request.param]},
        "timeout_seconds": 10,
        "backoff": {"base_seconds": 1, "maximum_seconds": 1},
    }
    config = {"worker": worker | {"max_attempts": 2}, "storage": {"results": "inline"}}
    # As the command takes it from its user.
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PIPELINE_SECRET_SIGNING_KEY", VALUE)
        values = taken_from(os.environ)
    project = load_project(SAMPLES, "dev").with_config(config)
    with running(project, iam_log=decisions, secret_values=values) as up:
        yield Shop(request.param, Client(up), decisions)


@pytest.fixture
def acting_as(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The handlers' clients are those of the emulator."""
    for name, value in shop.client.up.environment().items():
        monkeypatch.setenv(name, value)
    forget_clients()
    yield
    forget_clients()


def finished(shop: Shop) -> dict[str, object]:
    status, answer = shop.client.post(EVENT)
    assert status == 202
    shown: dict[str, object] = shop.client.finished(answer["id"])
    return shown


def test_without_the_right_an_event_waits_for_it_and_then_all_are_processed_by_one_call_with_no_right_missing(
    shop: Shop,
) -> None:
    client = shop.client
    with shop.role("worker").without(READ[shop.service]):
        _, answer = client.post(EVENT)
        client.until(lambda: client.shown(answer["id"])["status"] == "retrying")
        shown = client.shown(answer["id"])
        assert shown["error"] == "SecretError: the secret 'signing_key' could not be read: AccessDeniedException"
        assert shown["attempts"] == 0
    with recorded(shop.decisions) as recording:
        shown = client.finished(answer["id"])
        assert (shown["status"], shown["attempts"]) == ("succeeded", 1)
        for _ in range(3):
            assert finished(shop)["result"] == {"signature": signature(VALUE)}
    made = recording.of(shop.role("worker").name)
    assert [(each.action, each.resource) for each in made if each.action == READ[shop.service]] == [
        (READ[shop.service], shop.arn)
    ]
    assert denied(made) == []
    granted = [each for each in shop.role("worker").document["Statement"] if READ[shop.service] in each["Action"]]
    assert [each["Resource"] for each in granted] == [[shop.arn]]


@pytest.mark.usefixtures("acting_as")
def test_who_has_no_right_to_it_is_refused_it_and_the_worker_gets_no_other(shop: Shop) -> None:
    root = shop.client.aws
    root("secretsmanager").create_secret(Name="other", SecretString="other")  # pragma: allowlist secret
    root("ssm").put_parameter(Name="/shop/other", Type="SecureString", Value="other")
    ways: dict[str, Callable[[Any], Any]] = {
        "secretsmanager": lambda client: client.get_secret_value(SecretId="other"),
        "ssm": lambda client: client.get_parameter(Name="/shop/other", WithDecryption=True),
    }
    for service, read in ways.items():
        with shop.role("worker").acting(), pytest.raises(ClientError, match="AccessDenied"):
            read(aws.client(service))
    with shop.role("worker").acting():
        assert Secrets(shop.arns)["signing_key"] == VALUE
    with shop.role("ingest").acting(), pytest.raises(Exception, match="could not be read: AccessDeniedException"):
        assert Secrets(shop.arns)["signing_key"]


def test_the_value_is_nowhere_but_where_secrets_are_kept(shop: Shop) -> None:
    client, root = shop.client, shop.client.aws
    inbox = client.inbox()
    finished(shop)
    functions = root("lambda").list_functions()["Functions"]
    roles = [Role(root, function["FunctionName"]).document for function in functions]
    answer = root("sqs").receive_message(QueueUrl=client.outputs["dead_letter_queue_url"], MaxNumberOfMessages=10)
    messages = [*answer.get("Messages", []), *root("sqs").receive_message(QueueUrl=inbox).get("Messages", [])]
    said = [client.outputs, client.items(), functions, roles, messages, shop.logs(), client.up.project.config]
    assert shop.logs()
    assert VALUE not in json.dumps(said, default=str)
    assert VALUE not in shop.decisions.read_text()
    written = [file for file in client.up.emulator.folder.rglob("*") if file.is_file()]
    assert [file for file in written if VALUE.encode() in file.read_bytes()] == []


def test_no_process_that_is_started_has_the_value_in_its_environment(shop: Shop) -> None:
    group = [process for process in living() if process.group == shop.client.up.emulator.pid]
    assert len(group) >= 2, "the emulator and a worker"
    for process in group:
        assert VALUE.encode() not in Path(f"/proc/{process.pid}/environ").read_bytes()
        assert VALUE not in process.command


@pytest.mark.usefixtures("acting_as")
def test_rotation_is_seen_when_the_kept_value_is_too_old(shop: Shop) -> None:
    now = [1_000.0]
    with shop.role("worker").acting():
        secrets = Secrets(shop.arns, clock=lambda: now[0])
        assert secrets["signing_key"] == VALUE
        shop.rotate("another")
        now[0] += CACHE_SECONDS - 1
        assert secrets["signing_key"] == VALUE
        now[0] += 1
        assert secrets["signing_key"] == "another"
    shop.rotate(VALUE)


def test_while_a_secret_cannot_be_read_the_queue_waits_and_then_every_event_is_processed() -> None:
    worker = {
        "processor": "processors.receipts:process",
        "secrets": {"signing_key": GIVEN["secretsmanager"]},
        "timeout_seconds": 10,
        "maximum_concurrency": 2,
        "backoff": {"base_seconds": 1, "maximum_seconds": 1},
        "circuit_breaker": {"failure_threshold": 3, "recovery_seconds": 1},
    }
    project = load_project(SAMPLES, "dev").with_config({"worker": worker | {"max_attempts": 3}})
    with running(project, secret_values={"signing_key": VALUE}) as up:
        pipeline = Guarded(Client(up))
        client = pipeline.client
        roles = [Role(client.aws, pipeline.functions[function]) for function in ("worker", "breaker")]
        taken = READ["secretsmanager"]
        with roles[0].without(taken), roles[1].without(taken):
            ids = post(client, 10)
            client.until(lambda: not pipeline.takes_messages())
            assert pipeline.state() == "OPEN"
        # The breaker function's probe reads the secret itself, with its own role's right.
        pipeline.minutes_until(pipeline.takes_messages)
        client.until(lambda: len(client.objects("results/")) == len(ids))
        client.until(lambda: [client.shown(event_id)["status"] for event_id in ids] == ["succeeded"] * len(ids))
        assert client.depth(client.outputs["dead_letter_queue_url"]) == 0
