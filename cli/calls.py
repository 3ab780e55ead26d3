"""What the functions of the api variant ask of AWS, in the units that AWS bills.

For events that are new, without an idempotency key, and succeed at the first attempt: that is what a bill is made of.
tests/emulator/api/test_cost_model.py counts the same while the functions run.
"""

import math
from collections import Counter

from components.options.api import ApiPipelineConfig
from handlers.api.reader import INDEX_PAGE

SQS_ENTRIES_A_CALL = 10


def ingest_calls(config: ApiPipelineConfig, events: int) -> Counter[str]:
    """Of one request with so many events."""
    calls = Counter({"sqs.requests": math.ceil(events / SQS_ENTRIES_A_CALL)})
    if config.api.track:
        calls["dynamodb.writes"] = events
        calls["dynamodb.index_writes"] = events if config.storage.time_index else 0
    return calls


def worker_calls(config: ApiPipelineConfig, events: int, types: int = 1) -> Counter[str]:
    """Of one batch of so many events, which are of so many types."""
    calls = Counter({"dynamodb.reads": events, "dynamodb.writes": events})
    if config.storage.time_index and not config.api.track:
        # A tracked item is in the index already, and nothing changes there.
        calls["dynamodb.index_writes"] = events
    if config.storage.results == "object":
        calls["s3.put_requests"] += events
    if config.storage.archive:
        calls["s3.put_requests"] += min(types, events)
    if config.worker.circuit_breaker is not None:
        # The circuit's state, at most once a second.
        calls["dynamodb.reads"] += 1
    if config.outcomes is not None:
        calls["eventbridge.events"] = events
    return calls


def report_calls(config: ApiPipelineConfig, events: int) -> Counter[str]:
    """Of one report on so many events of one day."""
    shards = config.storage.time_index_shards
    return Counter(
        {
            "dynamodb.queries": shards * max(1, math.ceil(events / shards / INDEX_PAGE)),
            "dynamodb.index_reads": events,
            "dynamodb.eventual_reads": events,
            "sqs.requests": 2,
            "s3.put_requests": 1,
            "sns.requests": 1,
        },
    )


def poller_calls(events: int) -> Counter[str]:
    """Of Lambda's poller, for one batch that goes well: it receives and deletes ten messages to a call.

    https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
    """
    return Counter({"sqs.requests": 2 * math.ceil(events / SQS_ENTRIES_A_CALL)})
