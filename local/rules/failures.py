"""Rules for failures: dead letters exist, and alarms watch them."""

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

# The time in which a dead letter must trigger an alarm. SQS publishes the metric once a minute; five minutes is a
# common period.
RINGS_WITHIN_SECONDS = 300
VISIBLE = "ApproximateNumberOfMessagesVisible"
# What handlers/api/worker.py keeps of the function's time, and what a message should have of the rest: what it lacks
# sends messages back before their turn, or cuts them short.
STORING_SECONDS = 5
LEAST_SECONDS_A_MESSAGE = 1


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
            yield queue, "a message that always fails is retried until it expires"


@rule(
    "time-for-a-batch",
    fix="worker.batch_size or worker.timeout_seconds: a smaller batch or more time",
    why="https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html",
)
def _time_for_a_batch(graph: Graph) -> Iterator[Problem]:
    functions = {function.physical_name: function for function in graph.of_type(FUNCTION)}
    for mapping in graph.of_type(MAPPING):
        service, _ = of_arn(mapping.inputs.get("eventSourceArn", ""))
        function = functions.get(mapping.inputs.get("functionName", "").rpartition(":")[2])
        if service != "sqs" or function is None:
            continue
        seconds, messages = function.inputs.get("timeout", 3), mapping.inputs.get("batchSize", 10)
        # The worker keeps five seconds for storing results.
        each = (seconds - STORING_SECONDS) / messages
        if each < LEAST_SECONDS_A_MESSAGE:
            most = max(1, int((seconds - STORING_SECONDS) / LEAST_SECONDS_A_MESSAGE))
            needed = min(900, STORING_SECONDS + math.ceil(LEAST_SECONDS_A_MESSAGE * messages))
            found = f"a batch of {messages:.0f} messages in {seconds:.0f} seconds leaves {each:.2g} seconds for each"
            yield mapping, f"{found}: at most {most} messages, or at least {needed} seconds"


@rule(
    "failed-events",
    fix="an on_failure destination in an aws.lambda_.FunctionEventInvokeConfig of the version or alias that is "
    "invoked, or dead_letter_config; for a stream, in its event source mapping",
    why="https://docs.aws.amazon.com/lambda/latest/dg/invocation-retries.html",
)
def _failed_events(graph: Graph) -> Iterator[Problem]:
    # Each version and alias has its own configuration. One without a qualifier is for $LATEST:
    # https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionEventInvokeConfig.html
    kept = {
        _version_of(each.inputs["functionName"], each.inputs.get("qualifier"))
        for each in graph.of_type(INVOKE_CONFIG)
        if each.inputs.get("destinationConfig", {}).get("onFailure")
    }
    lost = {function for function, _version in _invoked_asynchronously(graph) - kept}
    for function in graph.of_type(FUNCTION):
        if function.physical_name in lost and "deadLetterConfig" not in function.inputs:
            yield function, "it is invoked asynchronously, and its failed events are lost"
    for mapping in graph.of_type(MAPPING):
        service, _ = of_arn(mapping.inputs.get("eventSourceArn", ""))
        if service in ("dynamodb", "kinesis") and not mapping.inputs.get("destinationConfig", {}).get("onFailure"):
            yield mapping, "failed records of the stream are lost"


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
            # SNS keeps no dead letters for e-mail; texts go to people, who can look themselves.
            if each.inputs["protocol"] not in ("email", "email-json", "sms")
        ),
    ]
    for edge, kept in edges:
        if not kept:
            yield edge, "undelivered events are lost"
    # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-encryption-event-bus-dlq.html
    keys = {queue.physical_name: queue.inputs.get("kmsMasterKeyId") for queue in graph.of_type(QUEUE)}
    for bus in graph.of_type(EVENT_BUS):
        if key := bus.inputs.get("kmsKeyIdentifier"):
            kept_with = [keys.get(name) for name in dead_letter_targets([bus])]
            if not kept_with:
                yield bus, "events that it cannot encrypt or decrypt are lost"
            elif key in kept_with:
                yield bus, "its dead letters are encrypted with its own key, so they are lost when that key fails"


def _kept(target: Mapping[str, Any]) -> bool:
    return bool(target.get("deadLetterConfig", {}).get("arn"))


@rule(
    "dead-letter-alarm",
    fix="an alarm on AWS/SQS ApproximateNumberOfMessagesVisible of this QueueName, at 1 message within "
    "5 minutes: dead_letters_alarm of components/queue.py",
    why="https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html",
)
def _dead_letter_alarm(graph: Graph) -> Iterator[Problem]:
    alarms = [_of_one_queue(alarm) for alarm in graph.of_type(ALARM)]
    watched = [inputs.get("dimensions") for inputs in alarms if _rings_at_first_message(inputs)]
    targets = set(dead_letter_targets(graph))
    for queue in graph.of_type(QUEUE):
        # SQS has no metric with more dimensions.
        if queue.physical_name in targets and {"QueueName": queue.physical_name} not in watched:
            yield queue, "no alarm watches it for the first dead letter"


def _of_one_queue(alarm: Registration) -> Mapping[str, Any]:
    """Return an alarm's inputs; for a sum of a queue's messages, as if it watched the visible ones alone."""
    queries = {each["id"]: each for each in alarm.inputs.get("metricQueries", [])}
    sums = [each["expression"] for each in queries.values() if each.get("returnData") and "expression" in each]
    watched = [each["metric"] for each in queries.values() if "metric" in each]
    terms = sums[0].split(" + ") if len(sums) == 1 else []
    if not watched or sorted(terms) != sorted(key for key, each in queries.items() if "metric" in each):
        return alarm.inputs
    # The least of what it watches decides: all must be of the same queue, over the same time.
    first = next((each for each in watched if each["metricName"] == VISIBLE), watched[0])
    same = ("namespace", "dimensions", "period", "stat", "unit")
    if any(each.get(key) != first.get(key) for each in watched for key in same):
        return alarm.inputs
    return {**alarm.inputs, **first, "statistic": first["stat"]}


def _rings_at_first_message(inputs: Mapping[str, Any]) -> bool:
    if (inputs.get("namespace"), inputs.get("metricName")) != ("AWS/SQS", VISIBLE):
        return False
    # SampleCount counts data points, Minimum misses a message that has just arrived, and SQS uses no other unit:
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    if inputs.get("statistic") in ("SampleCount", "Minimum") or inputs.get("unit", "Count") != "Count":
        return False
    periods = inputs.get("datapointsToAlarm") or inputs.get("evaluationPeriods", 1)
    if periods * inputs.get("period", math.inf) > RINGS_WITHIN_SECONDS:
        return False
    # At 1. At 0 it would always be in alarm.
    threshold = inputs.get("threshold", math.inf)
    match inputs.get("comparisonOperator"):
        case "GreaterThanOrEqualToThreshold":
            return bool(0 < threshold <= 1)
        case "GreaterThanThreshold":
            return bool(0 <= threshold < 1)
    return False


@rule(
    "alarm-actions",
    fix="alarm_actions with the alerts topic, and actions_enabled left at its default",
    why="https://docs.aws.amazon.com/controltower/latest/controlreference/cloudwatch-rules.html",
)
def _alarm_actions(graph: Graph) -> Iterator[Problem]:
    for alarm in graph.of_type(ALARM):
        if not alarm.inputs.get("alarmActions") or alarm.inputs.get("actionsEnabled") is False:
            yield alarm, "it notifies nobody"


_FUNCTION_ARN = re.compile(r"arn:[^:]+:lambda:[^:]*:[^:]*:function:([^:]+)")


def of_arn(arn: str) -> tuple[str, str]:
    """Return service and name of an ARN. A function's name has no version."""
    if function := _FUNCTION_ARN.match(arn):
        return "lambda", function[1]
    parts = arn.split(":")
    return parts[2] if len(parts) > 2 else "", parts[-1]  # noqa: PLR2004  arn:partition:service


def _version_of(function: str, qualifier: str | None = None) -> tuple[str, str]:
    """Return name and version or alias of a function, from its name or ARN with or without a qualifier."""
    name, _, after = function.rpartition(":function:")[2].partition(":")
    return name, qualifier or after or "$LATEST"


def _invoked_asynchronously(graph: Graph) -> set[tuple[str, str]]:
    """Return the functions, by version, that S3, SNS, EventBridge, Scheduler or Lambda invoke asynchronously."""
    targets = [
        *(
            each.get("lambdaFunctionArn", "")
            for notification in graph.of_type("aws:s3/bucketNotification:BucketNotification")
            for each in notification.inputs.get("lambdaFunctions", [])
        ),
        *(each.inputs["endpoint"] for each in graph.of_type(SUBSCRIPTION)),
        *(each.inputs["target"]["arn"] for each in graph.of_type(SCHEDULE)),
        *(each.inputs["arn"] for each in graph.of_type(EVENT_TARGET)),
        # A destination gets the outcome of an event as a new event.
        *(
            destination["destination"]
            for each in graph.of_type(INVOKE_CONFIG)
            for destination in each.inputs.get("destinationConfig", {}).values()
        ),
    ]
    return {_version_of(target) for target in targets if of_arn(target)[0] == "lambda"}


def dead_letter_targets(resources: Iterable[Registration]) -> Iterator[str]:
    """Yield the names of the queues that get dead letters."""
    for resource in resources:
        inputs = resource.inputs
        if policy := inputs.get("redrivePolicy"):
            yield of_arn(json.loads(policy)["deadLetterTargetArn"])[1]
        for given in (inputs.get("deadLetterConfig"), _mapping(inputs.get("target")).get("deadLetterConfig")):
            # `arn` for EventBridge and Scheduler, `targetArn` for Lambda.
            if arn := _mapping(given).get("arn") or _mapping(given).get("targetArn"):
                yield of_arn(arn)[1]
        # `destination` for a function, `destinationArn` for a mapping.
        on_failure = _mapping(inputs.get("destinationConfig")).get("onFailure", {})
        if arn := on_failure.get("destination") or on_failure.get("destinationArn"):
            yield of_arn(arn)[1]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
