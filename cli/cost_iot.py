"""The model behind `pipeline cost` for iot stacks: what readings ask of AWS.

It assumes good readings within their limits, of devices that are known: they dominate a bill. A test counts the same
calls while the worker runs: tests/emulator/iot/test_iot_cost_model.py.
"""

import math
from collections import Counter
from dataclasses import dataclass

from cli.cost_units import (
    DAYS_A_MONTH,
    GB,
    LOG_BYTES_A_RUN,
    OVERHEAD_BYTES,
    Usage,
    key_requests,
    runs_a_month,
    runs_of,
    schedules,
    standing,
    summed,
)
from components.options.iot import IotPipelineConfig
from handlers.iot.table import SHARDS
from local.recording import Graph

# Assumptions. Durations are those of warm runs on arm64 at 1,024 MB, rounded up.
OBJECT_MS, READING_MS = 60, 0.5
READING_BYTES, ITEM_BYTES, STATE_BYTES = 120, 300, 1_000
# What handlers/iot/worker.py emits for an object, with its latency.
METRICS = 10


@dataclass(frozen=True)
class IotTraffic:
    """Readings of a month, and how many of a device come in one object."""

    readings_a_month: int
    readings_an_object: int

    @property
    def objects(self) -> float:
        """Objects in a month."""
        return self.readings_a_month / self.readings_an_object

    def described(self) -> str:
        """Return it in words."""
        return f"{self.readings_a_month:,} readings a month, {self.readings_an_object:,} to an object of one device"


def monthly_usage(config: IotPipelineConfig, graph: Graph, traffic: IotTraffic) -> Usage:
    """Return what a stack uses in a month, by the units of prices.json."""
    at_rest = summed(standing(graph), schedules(graph), _watching(graph))
    if not traffic.readings_a_month:
        return at_rest
    number = traffic.objects
    calls = object_calls(config, traffic.readings_an_object, devices=1)
    units = {
        "dynamodb.writes": ("dynamodb.write_units", math.ceil(ITEM_BYTES / 1_024)),
        "dynamodb.state_writes": ("dynamodb.write_units", math.ceil(STATE_BYTES / 1_024)),
        "dynamodb.index_writes": ("dynamodb.write_units", 1),
        "dynamodb.reads": ("dynamodb.read_units", math.ceil(STATE_BYTES / 4_096)),
    }
    # The upload itself, and what the run says.
    usage: Usage = {
        "s3.put_requests": number,
        "cloudwatch.log_gb": number * LOG_BYTES_A_RUN / GB,
        "cloudwatch.custom_metrics": METRICS,
    }
    for call, quantity in calls.items():
        unit, factor = units.get(call, (call, 1))
        usage = summed(usage, {unit: number * quantity * factor})
    milliseconds = OBJECT_MS + READING_MS * traffic.readings_an_object
    return summed(
        at_rest,
        usage,
        runs_of(number, config.worker.memory_mb, milliseconds),
        _keeping(config, traffic),
        key_requests(graph),
    )


def _watching(graph: Graph) -> Usage:
    """Queries of the watcher of silent devices: of each shard of its index."""
    runs = sum(
        runs_a_month(each.inputs["scheduleExpression"]) for each in graph.of_type("aws:scheduler/schedule:Schedule")
    )
    return {"dynamodb.read_units": runs * SHARDS / 2} if runs else {}


def _keeping(config: IotPipelineConfig, traffic: IotTraffic) -> Usage:
    """Stored bytes, once as much expires as arrives; of uploads that never expire, those of one month."""
    storage, readings_a_day = config.storage, traffic.readings_a_month / DAYS_A_MONTH
    item = ITEM_BYTES + OVERHEAD_BYTES
    uploads_days = storage.uploads_expire_after_days or DAYS_A_MONTH
    return {
        "dynamodb.gb_months": readings_a_day * storage.readings_expire_after_days * item / GB,
        "s3.gb_months": readings_a_day * uploads_days * READING_BYTES / GB,
    }


def not_counted(config: IotPipelineConfig) -> list[str]:
    """Return what AWS bills and the model leaves out."""
    return ["uploads of earlier months, which never expire"] if config.storage.uploads_expire_after_days is None else []


def object_calls(config: IotPipelineConfig, readings: int, devices: int) -> Counter[str]:
    """Calls of the worker for one object with this many readings, of this many devices that are known.

    The state of a device says when it was heard last, where silence is watched, and where its metrics are between
    their limits. A watched device moves in the watcher's index, which takes an entry out and puts one in.
    """
    calls = Counter({"s3.get_requests": 1, "dynamodb.writes": readings, "dynamodb.reads": devices})
    if config.silence is not None or config.thresholds:
        calls["dynamodb.state_writes"] = devices
    if config.silence is not None:
        calls["dynamodb.index_writes"] = 2 * devices
    return calls
