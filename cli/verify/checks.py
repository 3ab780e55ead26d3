"""The lines of the table, and the checks that every variant has."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from cli.core.errors import one_line
from cli.core.stack import Stack
from cli.core.suggestions import suggest
from handlers.shared.dynamodb import TableError
from local.errors import LocalError

OUTSIDE_ERRORS = (BotoCoreError, ClientError, TableError)
# CloudWatch describes so many alarms by name at once.
ALARMS_A_CALL = 100


@dataclass(frozen=True)
class Check:
    """A line of the table. `ok` is None for what was not tried, because something before it failed."""

    name: str
    ok: bool | None
    detail: str


class Probe(Protocol):
    """A marked event, file or reading that is sent through a pipeline."""

    mark: str
    """Stands in everything that the probe sends, and nowhere else."""

    def steps(self) -> Mapping[str, Callable[[], str]]:
        """Return the steps in order. Each returns what it saw, or raises LocalError."""

    def clean(self, *, failed: bool) -> Iterator[str]:
        """Remove what the probe made, and nothing else. Yield what is left. `failed`: a step has failed."""


def checked(name: str, look: Callable[[], str]) -> Check:
    """Run a check. An error of a service, or of the caller's rights, is what it found."""
    try:
        return Check(name, ok=True, detail=look())
    except LocalError as error:
        return Check(name, ok=False, detail=one_line(error))
    except OUTSIDE_ERRORS as error:
        return Check(name, ok=False, detail=one_line(error))


def verified(stack: Stack, probe: Probe) -> Iterator[Check]:
    """Yield the checks of a pipeline, and then the steps of a probe as far as they can be tried."""
    yield checked("subscriptions", lambda: subscriptions(stack))
    yield checked("alarms", lambda: alarms(stack))
    yield checked("dead letters", lambda: dead_letters(stack))
    stopped = ""
    if "queue_url" in stack.outputs:
        queue = checked("queue", lambda: worker_of_the_queue(stack))
        stopped = "" if queue.ok else "the queue is stuck"
        yield queue
    for name, step in probe.steps().items():
        if stopped:
            yield Check(name, ok=None, detail=f"not tried: {stopped}")
            continue
        check = checked(name, step)
        stopped = "" if check.ok else "the step before failed"
        yield check


def subscriptions(stack: Stack) -> str:
    """Look at the topics' subscriptions. Raises LocalError for one that is not confirmed."""
    sns = boto3.client("sns")
    confirmed, pending = 0, []
    for name in sorted(name for name in stack.outputs if name.endswith("_topic_arn")):
        pages = sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=stack.output(name))
        for each in (each for page in pages for each in page["Subscriptions"]):
            if each["SubscriptionArn"].startswith("arn:"):
                confirmed += 1
            else:
                pending.append(f"{each['Endpoint']} ({each['Protocol']}, {name.removesuffix('_topic_arn')})")
    if pending:
        raise LocalError(f"not confirmed: {', '.join(pending)}; SNS has sent each a message with a link to confirm it")
    return f"{confirmed} confirmed" if confirmed else "there are none: nobody hears of alarms or alerts"


def alarms(stack: Stack) -> str:
    """Look at the alarms. Raises LocalError for one that is missing, tells nobody, or rings."""
    if "alarm_names" not in stack.outputs:
        raise LocalError("the stack has no output alarm_names; deploy it with this version first")
    names = [str(name) for name in stack.outputs["alarm_names"]]
    cloudwatch = boto3.client("cloudwatch")
    found: dict[str, Any] = {}
    for first in range(0, len(names), ALARMS_A_CALL):
        some = names[first : first + ALARMS_A_CALL]
        for alarm in cloudwatch.describe_alarms(AlarmNames=some, MaxRecords=ALARMS_A_CALL)["MetricAlarms"]:
            found[alarm["AlarmName"]] = alarm
    missing = [name for name in names if name not in found]
    silent = [name for name, each in found.items() if not each.get("AlarmActions") or not each.get("ActionsEnabled")]
    ringing = [name for name, each in found.items() if each["StateValue"] == "ALARM"]
    problems = {"missing": missing, "without an action": silent, "ringing": ringing}
    if any(problems.values()):
        raise LocalError("; ".join(f"{what}: {', '.join(sorted(each))}" for what, each in problems.items() if each))
    return f"{len(names)}, each with an action, and none rings"


def dead_letters(stack: Stack) -> str:
    """Count the dead letters. Raises LocalError if there are any."""
    if count := _messages(stack.output("dead_letter_queue_url")):
        raise LocalError(f"about {count}; see `{suggest('dead-letters', 'list', '--stack', stack.name)}`")
    return "none"


def worker_of_the_queue(stack: Stack) -> str:
    """Look at what takes the messages. Raises LocalError if nothing does."""
    url = stack.output("queue_url")
    attributes = boto3.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    found = boto3.client("lambda").list_event_source_mappings(EventSourceArn=attributes["QueueArn"])
    states = [str(mapping["State"]) for mapping in found["EventSourceMappings"]]
    waiting = f"about {_messages(url)} messages wait"
    if not states:
        raise LocalError(f"no function takes its messages: its event source mapping is gone; {waiting}")
    if stopped := [state for state in states if state not in ("Enabled", "Updating", "Creating", "Enabling")]:
        raise LocalError(
            f"no function takes its messages: its event source mapping is {', '.join(stopped)}; {waiting}. "
            "With worker.circuit_breaker the circuit may be open: pipeline circuit show"
        )
    return f"its worker takes messages; {waiting}"


def _messages(url: str) -> int:
    found = boto3.client("sqs").get_queue_attributes(
        QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    )["Attributes"]
    return sum(map(int, found.values()))
