"""A FIFO queue, outcome events and injected faults together: real functions, IAM enforced, the command line."""

import json
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner, Result

from cli.main import app

from .conftest import Client, Start


@pytest.fixture(scope="module")
def game_day(start: Start) -> Iterator[Client]:
    with start(
        queue={"fifo": {"group_field": "customer"}},
        worker={"max_attempts": 20, "timeout_seconds": 10, "backoff": {"base_seconds": 1, "maximum_seconds": 1}},
        outcomes={},
        fault_injection={},
    ) as client:
        yield client


@pytest.fixture
def command(game_day: Client, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    for name, value in game_day.up.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PIPELINE_OUTPUTS", json.dumps(game_day.outputs))
    return CliRunner()


def faults(command: CliRunner, *arguments: str) -> Result:
    return command.invoke(app, ["faults", *arguments])


def test_the_command_shows_and_sets_what_goes_wrong_and_knows_what_can(command: CliRunner) -> None:
    assert faults(command, "show").stdout == "none\n"
    wrong = faults(command, "set", "chaos")
    assert (wrong.exit_code, wrong.stdout) == (1, "")
    assert wrong.stderr.startswith("error: 'chaos' is not a mode; it is one of none, poison_payload")
    assert faults(command, "set", "slow_downstream").exit_code == 0
    assert faults(command, "show").stdout == "slow_downstream\n"
    assert json.loads(faults(command, "show", "--json").stdout) == {"mode": "slow_downstream"}
    assert faults(command, "set", "none").exit_code == 0


def test_while_half_of_the_attempts_fail_order_is_kept_and_a_subscriber_hears_of_every_success(
    game_day: Client,
    command: CliRunner,
) -> None:
    sqs, bus = game_day.aws("sqs"), game_day.outputs["event_bus_name"]
    told_url = sqs.create_queue(QueueName="told")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=told_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    allowed = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    sqs.set_queue_attributes(QueueUrl=told_url, Attributes={"Policy": policy})
    pattern = json.dumps({"source": ["datapipeline-dev"], "detail-type": ["Event Succeeded"]})
    game_day.aws("events").put_rule(Name="told", EventBusName=bus, EventPattern=pattern)
    game_day.aws("events").put_targets(Rule="told", EventBusName=bus, Targets=[{"Id": "told", "Arn": arn}])

    assert faults(command, "set", "random_fail_p50").exit_code == 0
    names = [f"{customer}{n}" for n in range(2) for customer in "abcdef"]
    status, body = game_day.post([{"customer": name[0], "name": name} for name in names])
    assert (status, body["accepted"]) == (202, len(names))
    ids = {name: result["id"] for name, result in zip(names, body["results"], strict=True)}
    done = {name: game_day.finished(event_id) for name, event_id in ids.items()}

    assert {event["status"] for event in done.values()} == {"succeeded"}
    assert any(event["attempts"] > 1 for event in done.values())
    for customer in "abcdef":
        times = [done[name]["completed_at"] for name in names if name[0] == customer]
        assert times == sorted(times)
    told: set[str] = set()

    def hears_of_all() -> bool:
        messages = sqs.receive_message(QueueUrl=told_url, MaxNumberOfMessages=10).get("Messages", [])
        told.update(json.loads(message["Body"])["detail"]["id"] for message in messages)
        return told == set(ids.values())

    assert game_day.until(hears_of_all, 10)
    assert game_day.depth(game_day.outputs["dead_letter_queue_url"]) == 0
