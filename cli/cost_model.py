"""The model behind `pipeline cost`: what a stack of the variant api asks of AWS, in the units that AWS bills.

It assumes new events without an idempotency key that succeed at the first attempt: they dominate a bill.
tests/emulator/api/test_cost_model.py counts the same calls while the functions run.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from cli.cost_units import (
    DAYS_A_MONTH,
    GB,
    HOURS_A_MONTH,
    IDLE_POLLS,
    LOG_BYTES_A_RUN,
    OVERHEAD_BYTES,
    SECONDS_A_MONTH,
    Usage,
    key_requests,
    reads_of_secrets,
    runs_of,
    schedules,
    standing,
    summed,
)
from components.options.api import ApiPipelineConfig
from components.options.common import FREE_STORAGE_MB
from components.reconciler import EVERY_MINUTES
from components.reports import SIZE as REPORT_SIZE
from handlers.api.counts import CIRCUIT_KEYS_HELD, CIRCUIT_OPEN, INGEST_COUNTS, OUTCOME_COUNTS, WORKER_COUNTS
from handlers.api.reader import INDEX_PAGE
from handlers.shared.metrics import LATENCY
from local.recording import Graph

RUNS_A_MONTH = {"hourly": HOURS_A_MONTH, "daily": DAYS_A_MONTH}

# Assumptions. Durations are those of warm runs on arm64 at 512 MB, rounded up.
INGEST_MS, INGEST_MS_AN_EVENT = 25, 1
WORKER_MS, WORKER_MS_AN_EVENT = 50, 5
REPORT_MS_AN_EVENT = 0.2
LOG_BYTES_AN_EVENT = 250
ACCESS_LOG_BYTES = 330
ITEM_BYTES = 450
INDEX_ENTRY_BYTES = 200
EMF_METRICS = len(INGEST_COUNTS) + len(WORKER_COUNTS) + len((LATENCY,))
SQS_ENTRIES_A_CALL = 10


@dataclass(frozen=True)
class Traffic:
    """Events and their size. `worker_batch`: events in one run of the worker, if not as batch size and window allow."""

    events_a_month: int
    events_a_request: int
    event_bytes: int
    worker_batch: int | None = None

    def described(self, config: ApiPipelineConfig) -> str:
        """Return it in words."""
        return (
            f"{self.events_a_month:,} events a month of {self.event_bytes:,} bytes, {self.events_a_request:,} to a "
            f"request, {self.batch(config):,.0f} to a run of the worker"
        )

    def batch(self, config: ApiPipelineConfig) -> float:
        """Return the events in one run of the worker: those of a request, or those of a batching window if more."""
        if self.worker_batch is not None:
            return self.worker_batch
        waited = self.events_a_month / SECONDS_A_MONTH * config.worker.batching_window_seconds
        return min(config.worker.batch_size, max(self.events_a_request, waited, 1))


def monthly_usage(config: ApiPipelineConfig, graph: Graph, traffic: Traffic) -> Usage:
    """Return what a stack uses in a month, by the units of prices.json."""
    events = traffic.events_a_month
    at_rest = summed(standing(graph), schedules(graph), _reconciling(config, traffic))
    periods = config.reports.schedules if config.reports else ()
    if events == 0:
        at_rest = summed(at_rest, {"sqs.requests": IDLE_POLLS})
        return {_sqs_requests(config) if unit == "sqs.requests" else unit: each for unit, each in at_rest.items()}
    usage = summed(
        at_rest,
        _accepting(config, events / traffic.events_a_request, traffic),
        _processing(config, events / traffic.batch(config), traffic),
        *(_reporting(config, RUNS_A_MONTH[period], traffic) for period in periods),
        _keeping(config, traffic),
        _compacting(config, events / traffic.batch(config)),
        key_requests(graph),
        _reading_secrets(config, events / traffic.events_a_request, events / traffic.batch(config), traffic),
    )
    return {_sqs_requests(config) if unit == "sqs.requests" else unit: quantity for unit, quantity in usage.items()}


def _sqs_requests(config: ApiPipelineConfig) -> str:
    """FIFO queues have their own price."""
    return "sqs.requests" if config.queue.fifo is None else "sqs.fifo_requests"


def _reconciling(config: ApiPipelineConfig, traffic: Traffic) -> Usage:
    """Counts of the dead letters, and a look at each event when its message would be lost."""
    if config.queue.reconciler is None:
        return {}
    usage = {"sqs.requests": HOURS_A_MONTH * 60 / EVERY_MINUTES}
    if not config.finds_stuck_events:
        return usage
    inline = traffic.event_bytes if config.storage.results == "inline" else 0
    looks = stuck_calls(config, math.ceil(traffic.events_a_month / HOURS_A_MONTH))
    return summed(usage, _billed(looks, HOURS_A_MONTH, ITEM_BYTES + inline))


def _compacting(config: ApiPipelineConfig, objects: float) -> Usage:
    """Reads of archived objects, in pages of 1,000, and each hour two lists, a third one and the merged object."""
    if config.storage.archive is None or config.storage.archive.compaction is None:
        return {}
    return {"s3.get_requests": objects, "s3.put_requests": 4 * HOURS_A_MONTH + objects / 1_000}


def _accepting(config: ApiPipelineConfig, requests: float, traffic: Traffic) -> Usage:
    """The API and the ingest function."""
    size = traffic.events_a_request
    log_bytes = LOG_BYTES_A_RUN + (ACCESS_LOG_BYTES if config.api.writes_access_logs else 0)
    return summed(
        {f"api_gateway.{config.api.kind}_requests": requests, "cloudwatch.log_gb": requests * log_bytes / GB},
        {"xray.traces": requests} if config.tracing else {},
        runs_of(requests, config.api.memory_mb, INGEST_MS + INGEST_MS_AN_EVENT * size),
        _billed(ingest_calls(config, size), requests, ITEM_BYTES),
    )


def _processing(config: ApiPipelineConfig, batches: float, traffic: Traffic) -> Usage:
    """The queue's poller and the worker."""
    size = traffic.batch(config)
    whole = math.ceil(size)
    inline = traffic.event_bytes if config.storage.results == "inline" else 0
    return summed(
        {
            "sqs.requests": max(IDLE_POLLS, batches * poller_calls(whole)["sqs.requests"]),
            "cloudwatch.log_gb": batches * (LOG_BYTES_A_RUN + LOG_BYTES_AN_EVENT * size) / GB,
            "cloudwatch.custom_metrics": EMF_METRICS
            + (0 if config.outcomes is None else len(OUTCOME_COUNTS))
            # Published each minute; the others only during an outage.
            + _circuit_metrics(config),
        },
        runs_of(batches, config.worker.memory_mb, WORKER_MS + WORKER_MS_AN_EVENT * size),
        _billed(worker_calls(config, whole), batches * size / whole, ITEM_BYTES + inline),
    )


def _reading_secrets(config: ApiPipelineConfig, requests: float, batches: float, traffic: Traffic) -> Usage:
    signing = [secret.arn for webhook in config.webhooks.values() for secret in webhook.all_secrets]
    processors = [secret.arn for secret in config.worker.secrets.values()]
    return summed(
        reads_of_secrets(signing, requests, INGEST_MS + INGEST_MS_AN_EVENT * traffic.events_a_request),
        reads_of_secrets(processors, batches, WORKER_MS + WORKER_MS_AN_EVENT * traffic.batch(config)),
    )


def _circuit_metrics(config: ApiPipelineConfig) -> int:
    breaker = config.worker.circuit_breaker
    if breaker is None:
        return 0
    return len((CIRCUIT_OPEN,) if breaker.key_field is None else (CIRCUIT_OPEN, CIRCUIT_KEYS_HELD))


def _reporting(config: ApiPipelineConfig, runs: float, traffic: Traffic) -> Usage:
    """Reads of the scheduled reports. _schedules counts their runs."""
    events = traffic.events_a_month
    inline = traffic.event_bytes if config.storage.results == "inline" else 0
    return summed(
        _billed(report_calls(config, math.ceil(events / runs)), runs, ITEM_BYTES + inline),
        {"lambda.gb_seconds": events * REPORT_MS_AN_EVENT / 1_000 * REPORT_SIZE.memory_mb / 1_024},
    )


def _billed(calls: Mapping[str, int], times: float, item_bytes: int) -> Usage:
    """Convert calls to billed units. DynamoDB bills a unit for each KB written and for each 4 KB read.

    An eventually consistent read is half a unit, and a query of the index at least half a unit.
    """
    units: dict[str, tuple[str, float]] = {
        "dynamodb.writes": ("dynamodb.write_units", math.ceil(item_bytes / 1_024)),
        "dynamodb.index_writes": ("dynamodb.write_units", 1),
        "dynamodb.reads": ("dynamodb.read_units", math.ceil(item_bytes / 4_096)),
        "dynamodb.eventual_reads": ("dynamodb.read_units", math.ceil(item_bytes / 4_096) / 2),
        "dynamodb.queries": ("dynamodb.read_units", 0.5),
        "dynamodb.index_reads": ("dynamodb.read_units", (INDEX_ENTRY_BYTES + OVERHEAD_BYTES) / 4_096 / 2),
    }
    usage: Usage = {}
    for call, quantity in calls.items():
        unit, factor = units.get(call, (call, 1))
        usage = summed(usage, {unit: times * quantity * factor})
    return usage


def _keeping(config: ApiPipelineConfig, traffic: Traffic) -> Usage:
    """Stored bytes, once as much expires as arrives."""
    storage = config.storage
    inline = storage.results == "inline"
    item = ITEM_BYTES + OVERHEAD_BYTES + (traffic.event_bytes if inline else 0)
    entry = INDEX_ENTRY_BYTES + OVERHEAD_BYTES if storage.time_index else 0
    events_a_day = traffic.events_a_month / DAYS_A_MONTH
    usage = {"dynamodb.gb_months": events_a_day * storage.items_expire_after_days * (item + entry) / GB}
    if not inline:
        usage["s3.gb_months"] = events_a_day * storage.results_expire_after_days * traffic.event_bytes / GB
    return usage


def not_counted(config: ApiPipelineConfig) -> list[str]:
    """Return what AWS bills and the model leaves out. A stack file does not say how large snapshots are."""
    left_out = {
        "SnapStart's cache and restores": config.api.snap_start or config.worker.snap_start,
        "the worker's ephemeral storage above 512 MB": config.worker.ephemeral_storage_mb > FREE_STORAGE_MB,
        "provisioned pollers": config.worker.provisioned_pollers is not None,
    }
    return [name for name, is_billed in left_out.items() if is_billed]


# Calls of each function


def ingest_calls(config: ApiPipelineConfig, events: int, types: int = 1) -> Counter[str]:
    """Calls of the ingest function for one request with this many events, of this many types."""
    calls = Counter({"sqs.requests": math.ceil(events / SQS_ENTRIES_A_CALL)})
    if config.api.track:
        calls["dynamodb.writes"] = events
        calls["dynamodb.index_writes"] = events if config.storage.time_index else 0
    if config.storage.archives_accepted:
        calls["s3.put_requests"] += min(types, events)
    return calls


def worker_calls(config: ApiPipelineConfig, events: int, types: int = 1) -> Counter[str]:
    """Calls of the worker for one batch of this many events, of this many types."""
    calls = Counter({"dynamodb.reads": events, "dynamodb.writes": events})
    if config.storage.time_index and not config.api.track:
        # A tracked item is in the index already and does not change there.
        calls["dynamodb.index_writes"] = events
    if config.storage.results == "object":
        calls["s3.put_requests"] += events
    if config.storage.archive:
        calls["s3.put_requests"] += min(types, events)
    if config.worker.circuit_breaker is not None:
        # The circuit's state is read at most once a second.
        calls["dynamodb.reads"] += 1
    if config.outcomes is not None:
        calls["eventbridge.events"] = events
    return calls


def report_calls(config: ApiPipelineConfig, events: int) -> Counter[str]:
    """Calls of one report on this many events of one day."""
    return _index_calls(config, events) + Counter(
        {
            # What reports know of each other: for the counts, for windows that are open, and before it is changed.
            "dynamodb.reads": 3,
            "dynamodb.writes": 1,
            "sqs.requests": 2,
            "s3.put_requests": 1,
            "sns.requests": 1,
        },
    )


def stuck_calls(config: ApiPipelineConfig, events: int) -> Counter[str]:
    """Calls of one look of the reconciler at an hour with this many events, of which all are done."""
    # What it has found so far.
    return _index_calls(config, events) + Counter({"dynamodb.reads": 1, "dynamodb.writes": 1})


def _index_calls(config: ApiPipelineConfig, events: int) -> Counter[str]:
    """Calls that find this many events of one day in the time index, and read them."""
    shards = config.storage.time_index_shards
    queries = shards * max(1, math.ceil(events / shards / INDEX_PAGE))
    return Counter(
        {"dynamodb.queries": queries, "dynamodb.index_reads": events, "dynamodb.eventual_reads": events},
    )


def poller_calls(events: int) -> Counter[str]:
    """Calls of Lambda's poller for one successful batch: it receives and deletes ten messages a call.

    https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
    """
    return Counter({"sqs.requests": 2 * math.ceil(events / SQS_ENTRIES_A_CALL)})
