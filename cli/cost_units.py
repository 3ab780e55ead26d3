"""Shared parts of the cost models: units, schedules, and what is billed whatever comes in."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from handlers.api.secrets import CACHE_SECONDS
from local.errors import LocalError
from local.recording import Graph

HOURS_A_MONTH = 730
SECONDS_A_MONTH = HOURS_A_MONTH * 3_600
DAYS_A_MONTH = HOURS_A_MONTH / 24
GB = 1_000_000_000

# Assumptions: of a warm run of a scheduled function on arm64, and of what a run logs.
SCHEDULED_MS = 50
LOG_BYTES_A_RUN = 1_600
# DynamoDB adds 100 bytes to each item, and again in an index:
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
OVERHEAD_BYTES = 100
# Five pollers, each waiting up to 20 seconds for a message; measured on an idle queue.
IDLE_POLLS = 650_000
# SQS, SNS and DynamoDB keep a data key for a principal for so long; of S3's bucket keys it is assumed.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/encryption.howitworks.html
KEY_SECONDS = 300

ROLE_POLICY = "aws:iam/rolePolicy:RolePolicy"

Usage = Mapping[str, float]


def summed(*parts: Usage) -> Usage:
    """Return quantities by unit, of all parts together."""
    total: dict[str, float] = {}
    for part in parts:
        for unit, quantity in part.items():
            total[unit] = total.get(unit, 0) + quantity
    return total


def standing(graph: Graph) -> Usage:
    """Resources that are billed by the hour or month, whatever the traffic."""
    endpoints = [
        endpoint
        for endpoint in graph.of_type("aws:ec2/vpcEndpoint:VpcEndpoint")
        if endpoint.inputs.get("vpcEndpointType") == "Interface"
    ]
    usage = {
        # An alarm on metric math is billed by the metrics it reads.
        "cloudwatch.alarm_metrics": sum(
            sum("metric" in query for query in alarm.inputs.get("metricQueries", [])) or 1
            for alarm in graph.of_type("aws:cloudwatch/metricAlarm:MetricAlarm")
        ),
        "cloudwatch.dashboards": len(graph.of_type("aws:cloudwatch/dashboard:Dashboard")),
        "lambda.provisioned_gb_seconds": sum(
            ready.inputs["provisionedConcurrentExecutions"] * _memory(graph)[ready.inputs["functionName"]] / 1_024
            for ready in graph.of_type("aws:lambda/provisionedConcurrencyConfig:ProvisionedConcurrencyConfig")
        )
        * SECONDS_A_MONTH,
        "kms.keys": len(graph.of_type("aws:kms/key:Key")),
        "vpc.interface_endpoint_hours": sum(
            len(endpoint.inputs["subnetIds"]) * HOURS_A_MONTH for endpoint in endpoints
        ),
    }
    return {unit: quantity for unit, quantity in usage.items() if quantity}


def _memory(graph: Graph) -> Mapping[str, int]:
    """Return the memory of each function in MB, by its name."""
    return {each.physical_name: each.inputs["memorySize"] for each in graph.of_type("aws:lambda/function:Function")}


def schedules(graph: Graph) -> Usage:
    """Runs of scheduled functions."""
    memory = _memory(graph)
    usage: Usage = {}
    for schedule in graph.of_type("aws:scheduler/schedule:Schedule"):
        runs = runs_a_month(schedule.inputs["scheduleExpression"])
        name = schedule.inputs["target"]["arn"].split(":")[6]
        usage = summed(
            usage,
            {"eventbridge.scheduler_invocations": runs, "cloudwatch.log_gb": runs * LOG_BYTES_A_RUN / GB},
            runs_of(runs, memory[name], SCHEDULED_MS),
        )
    return usage


def runs_a_month(expression: str) -> float:
    """Return how often a schedule runs: `rate(5 minutes)`, or a `cron(...)` that is hourly or daily."""
    kind, _, rest = expression.partition("(")
    fields = rest.rstrip(")").split()
    if kind == "rate":
        seconds = {"minute": 60, "hour": 3_600, "day": 86_400}[fields[1].rstrip("s")]
        return SECONDS_A_MONTH / seconds / int(fields[0])
    match fields:
        case [minute, "*", "*", "*", "?", "*"] if minute.isdigit():
            return HOURS_A_MONTH
        case [minute, hour, "*", "*", "?", "*"] if minute.isdigit() and hour.isdigit():
            return DAYS_A_MONTH
    raise LocalError(f"the schedule {expression!r} is of a kind that the cost model does not know")


def runs_of(runs: float, memory_mb: float, milliseconds: float) -> Usage:
    """Return what so many runs of a function take, of so many milliseconds each."""
    return {"lambda.requests": runs, "lambda.gb_seconds": runs * milliseconds / 1_000 * memory_mb / 1_024}


def key_requests(graph: Graph) -> Usage:
    """Return the requests to KMS of a stack with a customer key, which works all the time: an upper bound.

    Each function asks for the data key of each queue, topic, table and bucket that it uses, once in `KEY_SECONDS`.
    """
    if not graph.of_type("aws:kms/key:Key"):
        return {}
    pairs = sum(len(_encrypted(json.loads(policy.inputs["policy"]))) for policy in graph.of_type(ROLE_POLICY))
    return {"kms.requests": pairs * SECONDS_A_MONTH / KEY_SECONDS}


def _encrypted(policy: Mapping[str, Any]) -> set[str]:
    """Return the queues, topics, tables and buckets that a policy is about."""
    resources = (each for statement in policy["Statement"] for each in statement["Resource"])
    kinds = ("sqs", "sns", "dynamodb", "s3")
    found = (each.partition("/index/")[0] for each in resources if each.split(":")[2:3] and each.split(":")[2] in kinds)
    return {each.partition("/")[0] if ":s3:" in each else each for each in found}


def reads_of_secrets(arns: Iterable[str], runs: float, milliseconds: float) -> Usage:
    """Return the requests to Secrets Manager: each execution environment keeps a secret for five minutes."""
    secrets = sum(arn.split(":")[2] == "secretsmanager" for arn in arns)
    environments = max(1, math.ceil(runs * milliseconds / 1_000 / SECONDS_A_MONTH))
    reads = min(runs, environments * SECONDS_A_MONTH / CACHE_SECONDS)
    return {"secrets_manager.requests": secrets * reads} if secrets else {}
