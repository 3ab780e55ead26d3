"""Rules of failures: what fails for good has a place, and an alarm that tells of it."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from local.monitor import Registration
from local.recording import Graph
from local.rules.rule import (
    ALARM,
    EVENT_BUS,
    EVENT_TARGET,
    FUNCTION,
    INVOKE_CONFIG,
    MAPPING,
    QUEUE,
    SCHEDULE,
    SUBSCRIPTION,
    Problem,
    rule,
)

# How long a dead letter may lie before somebody is told. SQS says once a minute how many there are; five minutes is a
# usual period of an alarm.
RINGS_WITHIN_SECONDS = 300


@rule(
    "queue-dead-letters",
    fix="redrive_policy",
    why="https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html#events-sqs-queueconfig",
)
def _queue_dead_letters(graph: Graph) -> Iterator[Problem]:
    redriven = {queue.physical_name for queue in graph.of_type(QUEUE) if "redrivePolicy" in queue.inputs}
    for policy in graph.of_type("aws:sqs/redrivePolicy:RedrivePolicy"):
        redriven.add(policy.inputs["queueUrl"].rpartition("/")[2])
    fed = {of_arn(mapping.inputs.get("eventSourceArn", "")) for mapping in graph.of_type(MAPPING)}
    for queue in graph.of_type(QUEUE):
        if ("sqs", queue.physical_name) in fed and queue.physical_name not in redriven:
            yield queue, "it gives its function a message that fails again and again"


@rule(
    "failed-events",
    fix="an on_failure destination in an aws.lambda_.FunctionEventInvokeConfig of the version or alias that is "
    "invoked, or dead_letter_config; for a stream, in its event source mapping",
    why="https://docs.aws.amazon.com/lambda/latest/dg/invocation-retries.html",
)
def _failed_events(graph: Graph) -> Iterator[Problem]:
    # Each version and each alias has a configuration of its own, and that without either is for $LATEST:
    # https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionEventInvokeConfig.html
    kept = {
        _version_of(each.inputs["functionName"], each.inputs.get("qualifier"))
        for each in graph.of_type(INVOKE_CONFIG)
        if each.inputs.get("destinationConfig", {}).get("onFailure")
    }
    lost = {function for function, _version in _invoked_asynchronously(graph) - kept}
    for function in graph.of_type(FUNCTION):
        if function.physical_name in lost and "deadLetterConfig" not in function.inputs:
            yield function, "it is invoked asynchronously, and events that it fails on are lost"
    for mapping in graph.of_type(MAPPING):
        service, _ = of_arn(mapping.inputs.get("eventSourceArn", ""))
        if service in ("dynamodb", "kinesis") and not mapping.inputs.get("destinationConfig", {}).get("onFailure"):
            yield mapping, "records of the stream that the function fails on are lost"


@rule(
    "undelivered-events",
    fix="dead_letter_config for a schedule's target, a rule's and a bus with a key; redrive_policy for a subscription",
    why="https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html",
)
def _undelivered_events(graph: Graph) -> Iterator[Problem]:
    edges = [
        *((each, _kept(each.inputs["target"])) for each in graph.of_type(SCHEDULE)),
        *((each, _kept(each.inputs)) for each in graph.of_type(EVENT_TARGET)),
        *(
            (each, "redrivePolicy" in each.inputs)
            for each in graph.of_type(SUBSCRIPTION)
            # People look for themselves.
            if each.inputs["protocol"] not in ("email", "email-json", "sms")
        ),
    ]
    for edge, kept in edges:
        if not kept:
            yield edge, "what cannot be delivered is lost"
    # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-encryption-event-bus-dlq.html
    keys = {queue.physical_name: queue.inputs.get("kmsMasterKeyId") for queue in graph.of_type(QUEUE)}
    for bus in graph.of_type(EVENT_BUS):
        if key := bus.inputs.get("kmsKeyIdentifier"):
            kept_with = [keys.get(name) for name in dead_letter_targets([bus])]
            if not kept_with:
                yield bus, "events that it cannot encrypt or decrypt are lost"
            elif key in kept_with:
                yield bus, "its dead letters are under its own key, and cannot be put there when that does not work"


def _kept(target: Mapping[str, Any]) -> bool:
    return bool(target.get("deadLetterConfig", {}).get("arn"))


@rule(
    "dead-letter-alarm",
    fix="an alarm on AWS/SQS ApproximateNumberOfMessagesVisible of this QueueName, at 1 message within "
    "5 minutes: dead_letters_alarm of components/queue.py",
    why="https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html",
)
def _dead_letter_alarm(graph: Graph) -> Iterator[Problem]:
    watched = [alarm.inputs.get("dimensions") for alarm in graph.of_type(ALARM) if _rings_at_first_message(alarm)]
    targets = set(dead_letter_targets(graph))
    for queue in graph.of_type(QUEUE):
        # With another dimension besides, it is a metric that SQS does not have.
        if queue.physical_name in targets and {"QueueName": queue.physical_name} not in watched:
            yield queue, "no alarm rings when the first dead letter is there"


def _rings_at_first_message(alarm: Registration) -> bool:
    inputs = alarm.inputs
    if (inputs.get("namespace"), inputs.get("metricName")) != ("AWS/SQS", "ApproximateNumberOfMessagesVisible"):
        return False
    # How many values there were says nothing of what they were, the least of them is from before the message came, and
    # of another unit there are none:
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    if inputs.get("statistic") in ("SampleCount", "Minimum") or inputs.get("unit", "Count") != "Count":
        return False
    periods = inputs.get("datapointsToAlarm") or inputs.get("evaluationPeriods", 1)
    if periods * inputs.get("period", math.inf) > RINGS_WITHIN_SECONDS:
        return False
    # At 1, and not at 0, where it would ring always.
    threshold = inputs.get("threshold", math.inf)
    match inputs.get("comparisonOperator"):
        case "GreaterThanOrEqualToThreshold":
            return bool(0 < threshold <= 1)
        case "GreaterThanThreshold":
            return bool(0 <= threshold < 1)
    return False


@rule(
    "alarm-actions",
    fix="alarm_actions with the topic of alerts, and actions_enabled as it is by default",
    why="https://docs.aws.amazon.com/controltower/latest/controlreference/cloudwatch-rules.html",
)
def _alarm_actions(graph: Graph) -> Iterator[Problem]:
    for alarm in graph.of_type(ALARM):
        if not alarm.inputs.get("alarmActions") or alarm.inputs.get("actionsEnabled") is False:
            yield alarm, "it tells nobody"


_FUNCTION_ARN = re.compile(r"arn:[^:]+:lambda:[^:]*:[^:]*:function:([^:]+)")


def of_arn(arn: str) -> tuple[str, str]:
    """Service and name; a function's without its version."""
    if function := _FUNCTION_ARN.match(arn):
        return "lambda", function[1]
    parts = arn.split(":")
    return parts[2] if len(parts) > 2 else "", parts[-1]  # noqa: PLR2004  arn:partition:service


def _version_of(function: str, qualifier: str | None = None) -> tuple[str, str]:
    """Name and version or alias, of a function's name or ARN that may end with either."""
    name, _, after = function.rpartition(":function:")[2].partition(":")
    return name, qualifier or after or "$LATEST"


def _invoked_asynchronously(graph: Graph) -> set[tuple[str, str]]:
    """The functions, by version, that S3, SNS, EventBridge, Scheduler or Lambda invoke, which wait for no answer."""
    targets = [
        *(
            each.get("lambdaFunctionArn", "")
            for notification in graph.of_type("aws:s3/bucketNotification:BucketNotification")
            for each in notification.inputs.get("lambdaFunctions", [])
        ),
        *(each.inputs["endpoint"] for each in graph.of_type(SUBSCRIPTION)),
        *(each.inputs["target"]["arn"] for each in graph.of_type(SCHEDULE)),
        *(each.inputs["arn"] for each in graph.of_type(EVENT_TARGET)),
        # What became of an event is an event for another function.
        *(
            destination["destination"]
            for each in graph.of_type(INVOKE_CONFIG)
            for destination in each.inputs.get("destinationConfig", {}).values()
        ),
    ]
    return {_version_of(target) for target in targets if of_arn(target)[0] == "lambda"}


def dead_letter_targets(resources: Iterable[Registration]) -> Iterator[str]:
    """The queues that something is put into when it failed for good."""
    for resource in resources:
        inputs = resource.inputs
        if policy := inputs.get("redrivePolicy"):
            yield of_arn(json.loads(policy)["deadLetterTargetArn"])[1]
        for given in (inputs.get("deadLetterConfig"), _mapping(inputs.get("target")).get("deadLetterConfig")):
            # EventBridge's, Scheduler's; and Lambda's.
            if arn := _mapping(given).get("arn") or _mapping(given).get("targetArn"):
                yield of_arn(arn)[1]
        # A function's, and a mapping's.
        on_failure = _mapping(inputs.get("destinationConfig")).get("onFailure", {})
        if arn := on_failure.get("destination") or on_failure.get("destinationArn"):
            yield of_arn(arn)[1]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
