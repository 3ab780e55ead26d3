"""AWS's limits on the way of an event, each with its document. Quotas are those of us-east-1, as of November 2026."""

from collections.abc import Mapping
from dataclasses import dataclass

_LAMBDA = "https://docs.aws.amazon.com/lambda/latest/dg/"
_SQS = "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/"
_DYNAMODB = "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/"


@dataclass(frozen=True)
class AwsLimit:
    """A limit: its value, what it counts, its document, and whether AWS raises it on request (a quota)."""

    value: float
    counts: str
    document: str
    is_quota: bool = False


API_REQUESTS = "API Gateway requests"
CONCURRENCY = "Lambda concurrency"
INVOCATIONS = "Lambda invocations"
NEW_ENVIRONMENTS = "Lambda environments"
FIRST_BATCHES = "poller start"
ADDED_BATCHES = "poller growth"
MOST_BATCHES = "poller maximum"
PROVISIONED_ADDED = "provisioned growth"
POLLER_BATCHES = "provisioned batches"
POLLER_POLLS = "provisioned polls"
POLLER_BYTES = "provisioned bytes"
POLLERS = "provisioned pollers"
A_RECEIVE = "SQS receive"
IN_FLIGHT = "SQS in flight"
FIFO_CALLS = "SQS FIFO calls"
PARTITION_WRITES = "DynamoDB partition writes"
TABLE_WRITES = "DynamoDB table writes"
TABLE_READS = "DynamoDB table reads"
NEW_TABLE_WRITES = "DynamoDB new table"
GROWTH = "DynamoDB growth"
S3_PUTS = "S3 puts"
PUT_EVENTS = "EventBridge PutEvents"
PUT_LOGS = "CloudWatch Logs PutLogEvents"

LIMITS: Mapping[str, AwsLimit] = {
    API_REQUESTS: AwsLimit(
        10_000,
        "requests a second, of all APIs of an account in a region",
        "https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html",
        is_quota=True,
    ),
    CONCURRENCY: AwsLimit(
        1_000,
        "runs at the same time, of all functions of an account in a region",
        f"{_LAMBDA}gettingstarted-limits.html",
        is_quota=True,
    ),
    INVOCATIONS: AwsLimit(
        10, "invocations a second for each run of the concurrency quota", f"{_LAMBDA}lambda-concurrency.html"
    ),
    NEW_ENVIRONMENTS: AwsLimit(
        1_000, "execution environments that a function gets in 10 seconds", f"{_LAMBDA}scaling-behavior.html"
    ),
    FIRST_BATCHES: AwsLimit(5, "batches at the same time when messages arrive", f"{_LAMBDA}services-sqs-scaling.html"),
    ADDED_BATCHES: AwsLimit(
        300, "batches at the same time, added a minute while messages wait", f"{_LAMBDA}services-sqs-scaling.html"
    ),
    MOST_BATCHES: AwsLimit(1_250, "batches at the same time of one queue", f"{_LAMBDA}services-sqs-scaling.html"),
    PROVISIONED_ADDED: AwsLimit(
        1_000, "batches at the same time, added a minute by provisioned pollers", f"{_LAMBDA}services-sqs-scaling.html"
    ),
    POLLER_BATCHES: AwsLimit(
        10, "batches at the same time of one provisioned poller", f"{_LAMBDA}services-sqs-scaling.html"
    ),
    POLLER_POLLS: AwsLimit(10, "receives a second of one provisioned poller", f"{_LAMBDA}services-sqs-scaling.html"),
    POLLER_BYTES: AwsLimit(
        1_000_000, "bytes a second of one provisioned poller", f"{_LAMBDA}services-sqs-scaling.html"
    ),
    POLLERS: AwsLimit(2_000, "provisioned pollers of one queue", f"{_LAMBDA}services-sqs-parameters.html"),
    A_RECEIVE: AwsLimit(10, "messages in one receive, send or delete", f"{_SQS}quotas-messages.html"),
    IN_FLIGHT: AwsLimit(
        120_000, "messages of a queue that are received and not deleted", f"{_SQS}quotas-queues.html", is_quota=True
    ),
    FIFO_CALLS: AwsLimit(
        70_000,
        "calls a second of an action, FIFO in high-throughput mode",
        f"{_SQS}quotas-messages.html",
        is_quota=True,
    ),
    PARTITION_WRITES: AwsLimit(
        1_000,
        "write units a second of a partition, so of one day and shard of the index",
        f"{_DYNAMODB}bp-partition-key-design.html",
    ),
    TABLE_WRITES: AwsLimit(
        40_000, "write units a second of a table or an index", f"{_DYNAMODB}ServiceQuotas.html", is_quota=True
    ),
    TABLE_READS: AwsLimit(
        40_000, "read units a second of a table or an index", f"{_DYNAMODB}ServiceQuotas.html", is_quota=True
    ),
    NEW_TABLE_WRITES: AwsLimit(
        4_000, "write units a second of a new on-demand table", f"{_DYNAMODB}on-demand-capacity-mode.html"
    ),
    GROWTH: AwsLimit(
        2,
        "times the peak of the last 30 minutes that an on-demand table takes at once",
        f"{_DYNAMODB}on-demand-capacity-mode.html",
    ),
    S3_PUTS: AwsLimit(
        3_500,
        "puts a second below a prefix that S3 has not split yet, as each day's is",
        "https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html",
    ),
    PUT_EVENTS: AwsLimit(
        10_000,
        "calls a second, of 10 events each",
        "https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html",
        is_quota=True,
    ),
    PUT_LOGS: AwsLimit(
        5_000,
        "calls a second, of all functions of an account in a region",
        "https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html",
        is_quota=True,
    ),
}


def value_of(name: str) -> float:
    """Return the value of a limit."""
    return LIMITS[name].value
