"""`pipeline cost`: what a stack costs a month, by list prices and a model of what it asks of AWS for each event."""

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table as Grid

from cli.calls import ingest_calls, poller_calls, report_calls, worker_calls
from components.config import load
from components.options.api import ApiPipelineConfig
from components.reports import SIZE as REPORT_SIZE
from handlers.api.counts import CIRCUIT_OPEN, INGEST_COUNTS, OUTCOME_COUNTS, WORKER_COUNTS
from handlers.shared.metrics import LATENCY
from local.errors import LocalError
from local.project import find_project, load_project
from local.recording import Graph, synthesise

PRICES = Path(__file__).with_name("prices.json")

HOURS_A_MONTH = 730
SECONDS_A_MONTH = HOURS_A_MONTH * 3_600
DAYS_A_MONTH = HOURS_A_MONTH / 24
RUNS_A_MONTH = {"hourly": HOURS_A_MONTH, "daily": DAYS_A_MONTH}
GB = 1_000_000_000

# What cannot be read off the stack. Durations are warm runs on arm64 at 512 MB, taken down generously.
INGEST_MS, INGEST_MS_AN_EVENT = 25, 1
WORKER_MS, WORKER_MS_AN_EVENT = 50, 5
REPORT_MS_AN_EVENT = 0.2
LOG_BYTES_A_RUN, LOG_BYTES_AN_EVENT = 1_600, 250
ACCESS_LOG_BYTES = 330
ITEM_BYTES = 450
# DynamoDB adds 100 bytes to each item, and again in an index:
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
OVERHEAD_BYTES = 100
INDEX_ENTRY_BYTES = 200
# Five pollers that wait 20 seconds for a message each time, measured of an idle queue.
IDLE_POLLS = 650_000
EMF_METRICS = len(INGEST_COUNTS) + len(WORKER_COUNTS) + len((LATENCY,))

# From here on, decimals say nothing.
WHOLE = 100

SERVICES = {
    "api_gateway": "API Gateway",
    "lambda": "Lambda",
    "sqs": "SQS",
    "dynamodb": "DynamoDB",
    "s3": "S3",
    "sns": "SNS",
    "eventbridge": "EventBridge",
    "cloudwatch": "CloudWatch",
    "xray": "X-Ray",
    "kms": "KMS",
    "vpc": "VPC",
}


@dataclass(frozen=True)
class Traffic:
    """What comes in. `worker_batch` None: as many as the stack's batch size and window let come together."""

    events_a_month: int
    events_a_request: int
    event_bytes: int
    worker_batch: int | None = None

    def batch(self, config: ApiPipelineConfig) -> float:
        """Events in one run of the worker: those of a request come together, those of a window are waited for."""
        if self.worker_batch is not None:
            return self.worker_batch
        waited = self.events_a_month / SECONDS_A_MONTH * config.worker.batching_window_seconds
        return min(config.worker.batch_size, max(self.events_a_request, waited, 1))


Usage = Mapping[str, float]


def _sum(*parts: Usage) -> Usage:
    together: dict[str, float] = {}
    for part in parts:
        for unit, quantity in part.items():
            together[unit] = together.get(unit, 0) + quantity
    return together


def run_cost(stack: str, traffic: Traffic, prices_file: str | None, *, as_json: bool) -> int:
    """Prints the bill of a stack, by service."""
    table = _prices(Path(prices_file) if prices_file else PRICES)
    project = load_project(find_project(Path.cwd()), stack)
    config = load(project.config, file=f"Pulumi.{stack}.yaml")
    if not isinstance(config, ApiPipelineConfig):
        raise LocalError(f"stack {stack!r} is of the variant {config.variant!r}; there is a model of 'api' only")
    usage = monthly_usage(config, synthesise(project.directory, stack), traffic)
    dollars = {unit: _dollars(table, unit, quantity) for unit, quantity in usage.items()}
    if as_json:
        bill = {"stack": stack, "prices": table["date"], "region": table["region"], "currency": table["currency"]}
        lines = {unit: {"quantity": round(usage[unit], 3), "usd": round(dollars[unit], 4)} for unit in usage}
        together = {"usd": round(sum(dollars.values()), 2), "not_counted": _not_counted(config)}
        sys.stdout.write(json.dumps({**bill, **together, "lines": lines}) + "\n")
    else:
        _show(stack, config, traffic, table, usage, dollars)
    return 0


def monthly_usage(config: ApiPipelineConfig, graph: Graph, traffic: Traffic) -> Usage:
    """What a stack uses in a month, by the units of prices.json."""
    events = traffic.events_a_month
    at_rest = _sum(_standing(graph), _schedules(graph))
    if events == 0:
        return _sum(at_rest, {_sqs_requests(config): IDLE_POLLS})
    usage = _sum(
        at_rest,
        _accepting(config, events / traffic.events_a_request, traffic),
        _processing(config, events / traffic.batch(config), traffic),
        *(_reporting(config, RUNS_A_MONTH[period], traffic) for period in config.reports),
        _keeping(config, traffic),
    )
    return {_sqs_requests(config) if unit == "sqs.requests" else unit: quantity for unit, quantity in usage.items()}


def _sqs_requests(config: ApiPipelineConfig) -> str:
    """A FIFO queue's have a price of their own."""
    return "sqs.requests" if config.queue.fifo is None else "sqs.fifo_requests"


def _standing(graph: Graph) -> Usage:
    """What is paid for because it is there."""
    endpoints = [
        endpoint
        for endpoint in graph.of_type("aws:ec2/vpcEndpoint:VpcEndpoint")
        if endpoint.inputs.get("vpcEndpointType") == "Interface"
    ]
    usage = {
        # An alarm on metric math is paid for by the metrics that it reads.
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
    """The MB of each function, by its name."""
    return {each.physical_name: each.inputs["memorySize"] for each in graph.of_type("aws:lambda/function:Function")}


def _schedules(graph: Graph) -> Usage:
    """What runs by the clock."""
    memory = _memory(graph)
    usage: Usage = {}
    for schedule in graph.of_type("aws:scheduler/schedule:Schedule"):
        runs = runs_a_month(schedule.inputs["scheduleExpression"])
        name = schedule.inputs["target"]["arn"].split(":")[6]
        usage = _sum(
            usage,
            {"eventbridge.scheduler_invocations": runs, "cloudwatch.log_gb": runs * LOG_BYTES_A_RUN / GB},
            _runs(runs, memory[name], WORKER_MS),
        )
    return usage


def runs_a_month(expression: str) -> float:
    """How often a schedule runs: `rate(5 minutes)`, or a `cron(...)` at one minute of each hour or of each day."""
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
    raise LocalError(f"the schedule {expression!r} is of a kind that the model of cost does not know")


def _runs(runs: float, memory_mb: float, milliseconds: float) -> Usage:
    return {"lambda.requests": runs, "lambda.gb_seconds": runs * milliseconds / 1_000 * memory_mb / 1_024}


def _accepting(config: ApiPipelineConfig, requests: float, traffic: Traffic) -> Usage:
    """The API and the ingest function."""
    size = traffic.events_a_request
    log_bytes = LOG_BYTES_A_RUN + (ACCESS_LOG_BYTES if config.api.writes_access_logs else 0)
    return _sum(
        {f"api_gateway.{config.api.kind}_requests": requests, "cloudwatch.log_gb": requests * log_bytes / GB},
        {"xray.traces": requests} if config.tracing else {},
        _runs(requests, config.api.memory_mb, INGEST_MS + INGEST_MS_AN_EVENT * size),
        _billed(ingest_calls(config, size), requests, ITEM_BYTES),
    )


def _processing(config: ApiPipelineConfig, batches: float, traffic: Traffic) -> Usage:
    """The queue's poller and the worker."""
    size = traffic.batch(config)
    whole = math.ceil(size)
    inline = traffic.event_bytes if config.storage.results == "inline" else 0
    return _sum(
        {
            "sqs.requests": max(IDLE_POLLS, batches * poller_calls(whole)["sqs.requests"]),
            "cloudwatch.log_gb": batches * (LOG_BYTES_A_RUN + LOG_BYTES_AN_EVENT * size) / GB,
            "cloudwatch.custom_metrics": EMF_METRICS
            + (0 if config.outcomes is None else len(OUTCOME_COUNTS))
            # Each minute; the other two only when there is an outage.
            + (0 if config.worker.circuit_breaker is None else len((CIRCUIT_OPEN,))),
        },
        _runs(batches, config.worker.memory_mb, WORKER_MS + WORKER_MS_AN_EVENT * size),
        _billed(worker_calls(config, whole), batches * size / whole, ITEM_BYTES + inline),
    )


def _reporting(config: ApiPipelineConfig, runs: float, traffic: Traffic) -> Usage:
    """What the summaries read; that they run is said by their schedules."""
    events = traffic.events_a_month
    inline = traffic.event_bytes if config.storage.results == "inline" else 0
    return _sum(
        _billed(report_calls(config, math.ceil(events / runs)), runs, ITEM_BYTES + inline),
        {"lambda.gb_seconds": events * REPORT_MS_AN_EVENT / 1_000 * REPORT_SIZE.memory_mb / 1_024},
    )


def _billed(calls: Mapping[str, int], times: float, item_bytes: int) -> Usage:
    """So many times some calls, as DynamoDB bills them: a unit for each KB written, and for each 4 KB read.

    An eventually consistent read is half a unit; so is, at least, each query of the index.
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
        usage = _sum(usage, {unit: times * quantity * factor})
    return usage


def _keeping(config: ApiPipelineConfig, traffic: Traffic) -> Usage:
    """What is stored, once as much goes as comes."""
    storage = config.storage
    inline = storage.results == "inline"
    item = ITEM_BYTES + OVERHEAD_BYTES + (traffic.event_bytes if inline else 0)
    entry = INDEX_ENTRY_BYTES + OVERHEAD_BYTES if storage.time_index else 0
    events_a_day = traffic.events_a_month / DAYS_A_MONTH
    usage = {"dynamodb.gb_months": events_a_day * storage.items_expire_after_days * (item + entry) / GB}
    if not inline:
        usage["s3.gb_months"] = events_a_day * storage.results_expire_after_days * traffic.event_bytes / GB
    return usage


def _prices(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text())
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise LocalError(f"{path} is not JSON: {error}") from error
    shape = "an object with date, region, currency and prices ({unit: {usd, per}})"
    if not isinstance(table, dict) or not {"date", "region", "currency", "prices"} <= table.keys():
        raise LocalError(f"{path} must hold {shape}")
    for unit, price in table["prices"].items():
        if not isinstance(price, dict) or not all(isinstance(price.get(key), int | float) for key in ("usd", "per")):
            raise LocalError(f"{path}: prices.{unit} must be an object with the numbers usd and per")
    return table


def _dollars(table: Mapping[str, Any], unit: str, quantity: float) -> float:
    price = table["prices"].get(unit)
    if price is None:
        raise LocalError(f"the price table of {table['date']} has no price for {unit}")
    return float(quantity * price["usd"] / price["per"])


def _not_counted(config: ApiPipelineConfig) -> list[str]:
    """What the stack is billed for and the model leaves out: the stack does not tell how big snapshots are."""
    return ["SnapStart's cache and restores"] if config.api.snap_start or config.worker.snap_start else []


def _show(
    stack: str,
    config: ApiPipelineConfig,
    traffic: Traffic,
    table: Mapping[str, Any],
    usage: Usage,
    dollars: Mapping[str, float],
) -> None:
    grid = Grid("service", "what", "a month", f"{table['currency']} a month", box=SIMPLE)
    for column in grid.columns[2:]:
        column.justify = "right"
    for prefix, service in SERVICES.items():
        units = [unit for unit in usage if unit.startswith(f"{prefix}.")]
        for position, unit in enumerate(sorted(units, key=lambda unit: -dollars[unit])):
            name = unit.partition(".")[2].replace("_", " ")
            quantity = f"{usage[unit]:,.0f}" if usage[unit] >= WHOLE else f"{usage[unit]:,.2f}"
            grid.add_row("" if position else service, name, quantity, f"{dollars[unit]:,.2f}")
    grid.add_section()
    grid.add_row("together", "", "", f"{sum(dollars.values()):,.2f}")
    console = Console(width=100)
    console.print(grid)
    console.print(
        f"{stack}: {traffic.events_a_month:,} events a month of {traffic.event_bytes:,} bytes, "
        f"{traffic.events_a_request:,} to a request, {traffic.batch(config):,.0f} to a run of the worker.\n"
        f"By list prices of {table['region']} ({table['date']}), without free tiers, data transfer and retries. "
        "An estimate, not a bill." + "".join(f"\nNot counted: {what}." for what in _not_counted(config)),
        highlight=False,
        soft_wrap=True,
    )
