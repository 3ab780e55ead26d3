"""Each shipped stack as it runs, IAM enforced: nothing that it needs is denied, and all that it is granted is used.

The scenarios make every function do all it does. What no emulator can show is a short list, by equality. A stack file
without a scenario fails, and so does a role that asks for nothing.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from cli.core.stack import OUTPUTS
from cli.main import app
from cli.verify.checks import Check
from handlers.shared import aws
from local.engine import running
from local.project import load_project
from tests.decisions import (
    CONDITIONS,
    ENCRYPTION,
    FAILURES,
    LOGS,
    NETWORK,
    NOT_ASKED,
    POLLER,
    SCHEDULER,
    Decision,
    denied,
    recorded,
    unused,
)
from tests.graphs import SAMPLES, STACKS
from tests.roles import Role, forget_clients

from .conftest import ROOT, Client
from .neighbours import CALLS, beside
from .scenarios import SCENARIOS

Right = tuple[str, str]


def named(arn: str) -> str:
    """An ARN as the program names it: `sqs pipeline-queue`, `s3 pipeline-bucket/results/*`, `kms key/?`."""
    if arn == "*":
        return arn
    _, _, service, _, _, resource = arn.split(":", 5)
    without_ids = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}$", "?", resource)
    return f"{service} {re.sub('-[0-9a-f]{7}(?=$|[/:])', '', without_ids)}"


def rights(actions: Iterable[str], resource: str) -> set[Right]:
    return {(action, resource) for action in actions}


def logs(function: str) -> set[Right]:
    return rights(LOGS, f"logs log-group:pipeline-{function}:*")


def scheduled(function: str) -> set[Right]:
    places = {
        "lambda:InvokeFunction": f"lambda function:pipeline-{function}",
        "sqs:SendMessage": f"sqs pipeline-{function}-dead-letters",
    }
    return {(action, places[action]) for action in SCHEDULER}


POLLED = rights(POLLER, "sqs pipeline-queue")
# Of a stack with a key, and a network, of its own.
HARDENED = rights(ENCRYPTION, "kms key/?") | rights(NETWORK, "*")

# What nobody is seen to use, by role. Who uses it, and why that is not seen, says UNSEEN in tests/decisions.py.
UNUSED: Mapping[str, Mapping[str, set[Right]]] = {
    "dev": {
        "pipeline-ingest": logs("ingest"),
        "pipeline-worker": logs("worker") | POLLED,
    },
    "analytics": {
        "pipeline-ingest": logs("ingest"),
        "pipeline-worker": logs("worker") | POLLED,
        "pipeline-report": logs("report") | rights(FAILURES, "sqs pipeline-report-dead-letters"),
        "pipeline-report-schedule": scheduled("report"),
    },
    "ingestion": {
        "pipeline-ingest": logs("ingest") | HARDENED,
        "pipeline-worker": logs("worker") | POLLED | HARDENED,
        "pipeline-breaker": logs("breaker") | rights(FAILURES, "sqs pipeline-breaker-dead-letters") | HARDENED,
        "pipeline-breaker-schedule": scheduled("breaker") | rights(ENCRYPTION, "kms key/?"),
        "pipeline-redrive": logs("redrive") | HARDENED,
    },
    "csv": {
        "pipeline-worker": logs("worker")
        | POLLED
        | rights(NOT_ASKED, "s3 pipeline-input")
        | rights(NOT_ASKED, "s3 pipeline-output")
    },
    "iot": {
        "pipeline-worker": logs("worker")
        | rights(FAILURES, "sqs pipeline-dead-letters")
        | rights(NOT_ASKED, "s3 pipeline-bucket"),
        "pipeline-watcher": logs("watcher") | rights(FAILURES, "sqs pipeline-watcher-dead-letters"),
        "pipeline-watcher-schedule": scheduled("watcher"),
    },
}

# How the keys of objects go on that a right's `*` stands for. Up to the first part that differs, it is the right's own.
KEYS: Mapping[str, str] = {
    "s3 pipeline-bucket/results/*": "results/{day}/{event}.json",
    "s3 pipeline-bucket/archive/*": "archive/{type and hour}/{events}.jsonl.gz",
    "s3 pipeline-bucket/reports/*": "reports/{period}/{window}.json",
    "s3 pipeline-bucket/readings/*": "readings/{upload}",
    "s3 pipeline-bucket/rejected/*": "rejected/{day}/{id}.jsonl",
    "s3 pipeline-input/raw/*": "raw/{upload}",
    "s3 pipeline-output/processed/*": "processed/{day}/{output}.jsonl.gz",
    "s3 pipeline-output/rejected/*": "rejected/{day}/{output}.jsonl.gz",
    "s3 pipeline-output/reports/*": "reports/{day}/{output}.json",
    "s3 pipeline-output/state/*": "state/{id}/{run}",
}
PARTS = {
    "day": r"\d{4}/\d\d/\d\d",
    "event": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "type and hour": r"type=[\w.-]+/dt=\d{4}-\d\d-\d\d/hour=\d\d",
    "events": "[0-9a-f]{32}",
    "period": "hourly|daily",
    "window": r"\d{4}-\d\d-\d\d(T\d\d)?",
    "upload": r"[\w./ +-]+",
    "id": "[0-9a-f]{32}",
    "output": "[0-9a-f]{16}-[0-9a-f]{32}(-[0-9]+)?",
    "run": "[0-9a-f]{32}",
}


@dataclass
class Shipped:
    """A stack that has run its scenario: its roles, by their names in the program, and what they asked for."""

    stack: str
    client: Client
    log: Path
    roles: Mapping[str, Role]
    decisions: Mapping[str, list[Decision]]
    verified: list[Check]
    left: list[str]
    """The items and objects after the stack was verified."""

    def listed(self, role: str) -> set[Right]:
        """The rights of a role that nobody is seen to use."""
        return UNUSED[self.stack][role]

    def used(self, role: str, pattern: str) -> set[str]:
        """The resources that a pattern of a role was used for."""
        allowed = {each.resource for each in self.decisions[role] if each.allowed}
        return {resource for resource in allowed if fnmatchcase(resource, pattern)}


@pytest.fixture(scope="module")
def own_clients() -> Iterator[None]:
    """Also when a scenario fails: the next module has another emulator."""
    yield
    forget_clients()


@pytest.fixture(scope="module", params=STACKS)
def shipped(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    own_clients: None,  # noqa: ARG001  forgets them
) -> Iterator[Shipped]:
    stack = request.param
    folder = tmp_path_factory.mktemp(stack)
    log = folder / "decisions.jsonl"
    with running(load_project(SAMPLES, stack), iam_log=log) as up, pytest.MonkeyPatch.context() as environment:
        for name, value in up.environment().items():
            environment.setenv(name, value)
        forget_clients()
        client = Client(up)
        # Their own minutes would come in between: a scenario invokes the functions itself.
        for schedule in client.aws("scheduler").list_schedules()["Schedules"]:
            client.aws("scheduler").delete_schedule(Name=schedule["Name"])
        environment.setenv(OUTPUTS, json.dumps(up.outputs))
        # It keeps the first credentials that it finds.
        environment.setattr(boto3, "DEFAULT_SESSION", None)
        environment.chdir(SAMPLES)
        # Before the scenario, which leaves dead letters.
        verified, left = verify(stack), what_is_there(client)
        with recorded(log) as recording:
            SCENARIOS[stack](client, folder)
        found = [role["RoleName"] for role in client.aws("iam").list_roles()["Roles"]]
        roles = {re.sub("-[0-9a-f]{7}$", "", name): Role(client.aws, name=name) for name in found}
        decisions = {name: recording.of(role.name) for name, role in roles.items()}
        yield Shipped(stack, client, log, roles, decisions, verified, left)


def verify(stack: str) -> list[Check]:
    """Return the output of `pipeline verify`."""
    command = ["verify", "--stack", stack, "--json", *(["--sign"] if stack == "ingestion" else [])]
    done = CliRunner().invoke(app, command)
    assert done.stdout, done.stderr
    return [Check(**each) for each in json.loads(done.stdout)]


def what_is_there(client: Client) -> list[str]:
    """All items of the table and all objects of the buckets."""
    pages = client.aws("dynamodb").get_paginator("scan").paginate(TableName=client.outputs["table_name"])
    items = [json.dumps(item) for page in pages for item in page["Items"]]
    s3 = client.aws("s3")
    buckets = [value for name, value in client.outputs.items() if name.endswith("bucket") or name == "bucket_name"]
    versions = (s3.list_object_versions(Bucket=bucket) for bucket in buckets)
    return items + [each["Key"] for found in versions for each in found.get("Versions", [])]


def test_pipeline_verify_is_green_on_every_stack_and_leaves_it_as_it_was(shipped: Shipped) -> None:
    assert [check for check in shipped.verified if not check.ok] == []
    names = [check.name for check in shipped.verified]
    steps = {
        "csv": ["queue", "uploaded", "processed", "readable"],
        "iot": ["uploaded", "stored"],
    }.get(shipped.stack, ["queue", "healthy", "accepted", "processed", "readable", "repeat"])
    assert names == ["subscriptions", "alarms", "dead letters", *steps, "cleaned up"]
    assert [each for each in shipped.left if "secret#ids" not in each] == []


def test_every_shipped_stack_has_a_scenario_and_a_table() -> None:
    assert set(STACKS) <= set(SCENARIOS)
    assert sorted(SCENARIOS) == sorted(UNUSED)


def test_the_documented_rights_that_nobody_is_seen_to_use_are_those_listed_here() -> None:
    section = (
        (ROOT / "docs/security.md").read_text(encoding="utf-8").split("| who uses it on AWS |")[1].split("\n\n")[0]
    )
    documented = [set(re.findall("`([a-z0-9]+:[A-Za-z]+)`", row)) for row in section.splitlines()[2:]]
    reasons = [LOGS, POLLER, FAILURES, SCHEDULER, NOT_ASKED, ENCRYPTION, NETWORK]
    assert documented == [*reasons, CONDITIONS]
    listed = {action for roles in UNUSED.values() for left in roles.values() for action, _ in left}
    assert listed == set().union(*reasons)


def test_no_role_was_denied_anything(shipped: Shipped) -> None:
    assert {role: denied(decisions) for role, decisions in shipped.decisions.items() if denied(decisions)} == {}


def test_every_function_asked_for_something_and_all_that_is_granted_was_used_but_what_is_listed(
    shipped: Shipped,
) -> None:
    asked = {role for role, decisions in shipped.decisions.items() if decisions}
    assert asked == {role for role in shipped.roles if not role.endswith("-schedule")}
    found = {
        name: [(action, named(pattern)) for action, pattern in unused(role.document, shipped.decisions[name])]
        for name, role in shipped.roles.items()
    }
    assert {name: sorted(left) for name, left in found.items()} == {
        name: sorted(left) for name, left in UNUSED[shipped.stack].items()
    }


def test_a_prefix_that_is_granted_is_as_long_as_the_keys_below_it_agree(shipped: Shipped) -> None:
    open_ended = {
        (name, pattern)
        for name, role in shipped.roles.items()
        for statement in role.document["Statement"]
        for pattern in statement["Resource"]
        if "*" in pattern and not {(action, named(pattern)) for action in statement["Action"]} <= shipped.listed(name)
    }
    assert open_ended
    for role, pattern in open_ended:
        _, _, granted = named(pattern).partition("/")
        layout = KEYS.get(named(pattern), "")
        assert layout.partition("{")[0] + "*" == granted
        key = re.compile(re.sub("{(.*?)}", lambda part: f"({PARTS[part[1]]})", re.sub(r"\.", r"\\.", layout)))
        used = {resource.partition("/")[2] for resource in shipped.used(role, pattern)}
        assert used
        assert {each for each in used if not key.fullmatch(each)} == set()


# The emulator asks nobody for rights on logs, and to connect functions to a network is of no one resource.
NOT_TRIED = LOGS | NETWORK


def test_what_is_granted_is_refused_beside_it(shipped: Shipped) -> None:
    """Each right of each role, also those that only Lambda or Scheduler use, tried with the role's credentials."""
    # Of a bucket that is none the emulator says so before it asks for rights; of nothing else.
    for bucket in shipped.client.aws("s3").list_buckets()["Buckets"]:
        shipped.client.aws("s3").create_bucket(Bucket=f"{bucket['Name']}-beside")
    tried: set[tuple[str, str, str]] = set()
    with recorded(shipped.log) as recording:
        for name, role in shipped.roles.items():
            granted = {
                (action, neighbour)
                for statement in role.document["Statement"]
                for action in statement["Action"]
                for pattern in statement["Resource"]
                if action not in NOT_TRIED
                for neighbour in beside(pattern)
            }
            with role.acting():
                for action, arn in granted:
                    service, method, arguments = CALLS[action](arn)
                    # What was asked for, and the answer, are in the record.
                    with suppress(ClientError):
                        getattr(aws.botocore_client(service), method)(**arguments)
            tried |= {(name, action, arn) for action, arn in granted}
    asked = {
        (name, each.action, each.resource, each.allowed)
        for name, role in shipped.roles.items()
        for each in recording.of(role.name)
    }
    assert asked == {(*each, False) for each in tried}
