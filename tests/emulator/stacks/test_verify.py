"""`pipeline verify` on pipelines with one thing broken: red at the right line, and nowhere else."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from typer.testing import CliRunner

from cli.core.stack import OUTPUTS
from cli.main import app
from tests.graphs import SAMPLES
from tests.roles import forget_clients

from .conftest import Client, Start


@pytest.fixture(scope="module")
def client(start: Start) -> Iterator[Client]:
    with start() as up:
        yield up


@pytest.fixture
def verify(client: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., dict[str, Any]]]:
    """Return the lines that `pipeline verify` prints."""
    for name, value in client.up.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(OUTPUTS, json.dumps(client.outputs))
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.chdir(SAMPLES)
    forget_clients()

    def run(*more: str, outputs: dict[str, Any] | None = None) -> dict[str, Any]:
        if outputs is not None:
            monkeypatch.setenv(OUTPUTS, json.dumps({**client.outputs, **outputs}))
        done = CliRunner().invoke(app, ["verify", "--json", "--timeout", "3s", *more])
        assert done.stdout, done.stderr
        found = {check["name"]: check for check in json.loads(done.stdout)}
        assert done.exit_code == any(check["ok"] is False for check in found.values())
        return found

    yield run
    forget_clients()


def red(found: dict[str, Any]) -> dict[str, str]:
    return {name: check["detail"] for name, check in found.items() if check["ok"] is False}


def not_tried(found: dict[str, Any]) -> list[str]:
    return [name for name, check in found.items() if check["ok"] is None]


Verify = Callable[..., dict[str, Any]]


def test_an_alarm_without_an_action_one_that_rings_and_one_that_is_gone_are_named(
    client: Client, verify: Verify
) -> None:
    cloudwatch = client.aws("cloudwatch")
    names = client.outputs["alarm_names"]
    silent, ringing = names[:2]
    told = client.outputs["alarms_topic_arn"]
    base = {"MetricName": "m", "Namespace": "n", "Period": 60, "EvaluationPeriods": 1, "Threshold": 1.0}
    base |= {"ComparisonOperator": "GreaterThanThreshold", "Statistic": "Sum"}
    cloudwatch.put_metric_alarm(AlarmName=silent, AlarmActions=[], **base)
    cloudwatch.set_alarm_state(AlarmName=ringing, StateValue="ALARM", StateReason="test")
    found = verify(outputs={"alarm_names": [*names, "gone"]})
    assert red(found) == {"alarms": f"missing: gone; without an action: {silent}; ringing: {ringing}"}
    cloudwatch.put_metric_alarm(AlarmName=silent, AlarmActions=[told], **base)
    cloudwatch.set_alarm_state(AlarmName=ringing, StateValue="OK", StateReason="test")
    assert red(verify(outputs={"alarm_names": names})) == {}


def test_a_queue_that_no_function_takes_from_is_stuck_and_nothing_is_sent_into_it(
    client: Client, verify: Verify
) -> None:
    (mapping,) = client.aws("lambda").list_event_source_mappings()["EventSourceMappings"]
    switch = {"UUID": mapping["UUID"]}
    client.aws("lambda").update_event_source_mapping(**switch, Enabled=False)
    client.until(lambda: client.aws("lambda").get_event_source_mapping(**switch)["State"] == "Disabled")
    found = verify()
    client.aws("lambda").update_event_source_mapping(**switch, Enabled=True)
    client.until(lambda: client.aws("lambda").get_event_source_mapping(**switch)["State"] == "Enabled")
    assert list(red(found)) == ["queue"]
    assert "its event source mapping is Disabled; about 0 messages wait" in red(found)["queue"]
    assert not_tried(found) == ["healthy", "accepted", "processed", "readable", "repeat"]
    assert client.depth(client.outputs["queue_url"]) == 0


def test_a_worker_that_cannot_write_is_red_where_the_event_is_to_be_processed(client: Client, verify: Verify) -> None:
    iam = client.aws("iam")
    (role,) = (each["RoleName"] for each in iam.list_roles()["Roles"] if each["RoleName"].startswith("pipeline-worker"))
    denied = {"Effect": "Deny", "Action": ["dynamodb:*"], "Resource": "*"}
    deny = json.dumps({"Version": "2012-10-17", "Statement": [denied]})
    iam.put_role_policy(RoleName=role, PolicyName="deny", PolicyDocument=deny)
    found = verify()
    iam.delete_role_policy(RoleName=role, PolicyName="deny")
    assert list(red(found)) == ["processed", "cleaned up"]
    assert red(found)["processed"].startswith("it is queued after 3 seconds; see `pipeline logs --stack dev --id ")
    assert "is not done, and may still be in the queue" in red(found)["cleaned up"]
    assert not_tried(found) == ["readable", "repeat"]
    (event,) = client.items()
    # It can write again.
    client.until(lambda: client.items()[event]["status"] == "succeeded", 90)


def test_dead_letters_of_others_are_red_and_stay(client: Client, verify: Verify) -> None:
    url = client.outputs["dead_letter_queue_url"]
    client.aws("sqs").send_message(QueueUrl=url, MessageBody="not ours")
    found = verify()
    assert red(found) == {"dead letters": "about 1; see `pipeline dead-letters list --stack dev`"}
    assert client.depth(url) == 1
    client.aws("sqs").purge_queue(QueueUrl=url)


def test_an_event_that_the_processor_refuses_is_red_and_is_removed_with_its_dead_letter(
    client: Client, verify: Verify, tmp_path: Path
) -> None:
    before = client.items().keys()
    client.use_processor(
        "processors/echo.py", "from handlers.processor import Rejected\ndef process(event):\n    raise Rejected('no')\n"
    )
    sample = tmp_path / "event.json"
    sample.write_text('{"n": 1}')
    found = verify("--sample", str(sample), "--timeout", "30s")
    assert red(found) == {"processed": "it failed: no; name an event that succeeds with --sample"}
    assert client.items().keys() == before
    assert client.depth(client.outputs["dead_letter_queue_url"]) == 0


def test_a_request_that_is_not_answered_is_red_and_nothing_is_left(client: Client, verify: Verify) -> None:
    found = verify(outputs={"api_url": f"{client.api_url}/nowhere"})
    assert list(red(found)) == ["healthy"]
    assert not_tried(found) == ["accepted", "processed", "readable", "repeat"]
