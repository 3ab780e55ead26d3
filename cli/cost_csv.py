"""The model behind `pipeline cost` for csv stacks: what files of a size ask of AWS.

It assumes files that differ, each read in one go of runs, with a few rejected rows. A test counts the same calls while
the worker runs: tests/emulator/csv/test_csv_cost_model.py.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cli.cost_units import (
    DAYS_A_MONTH,
    GB,
    IDLE_POLLS,
    LOG_BYTES_A_RUN,
    OVERHEAD_BYTES,
    Usage,
    key_requests,
    runs_of,
    schedules,
    standing,
    summed,
)
from components.options.csv import CsvPipelineConfig
from handlers.csv import objects
from handlers.csv.run import STORING_SECONDS
from handlers.csv.worker import COUNTS
from handlers.shared.metrics import LATENCY
from local.recording import Graph

# Assumptions. A single thread reads CSV, so that memory above that of a whole core makes it no faster.
BYTES_A_SECOND = 15_000_000
CORE_MB = 1_769
FILE_MS = 300
# Sizes of `processed/` for a byte of CSV: five columns of text, numbers and dates (benchmarks/csv.py).
OUTPUT_SHARE = {"jsonl": 2.0, "jsonl.gz": 0.6, "parquet": 0.6}
REJECTED_BYTES = 20_000
REPORT_BYTES = 10_000
ITEM_BYTES = 1_000
METRICS = len(COUNTS) + len((LATENCY,))


@dataclass(frozen=True)
class CsvTraffic:
    """Files of one size."""

    gb_a_month: float
    file_mb: float

    @property
    def files(self) -> float:
        """Files in a month."""
        return self.gb_a_month * 1_000 / self.file_mb

    def described(self) -> str:
        """Return it in words."""
        return f"{self.gb_a_month:,} GB a month in files of {self.file_mb:,} MB"


def monthly_usage(config: CsvPipelineConfig, graph: Graph, traffic: CsvTraffic) -> Usage:
    """Return what a stack uses in a month, by the units of prices.json."""
    at_rest = summed(standing(graph), schedules(graph))
    if not traffic.gb_a_month:
        return summed(at_rest, {"sqs.requests": IDLE_POLLS})
    files, file_bytes = traffic.files, traffic.file_mb * 1_000_000
    seconds = file_bytes / BYTES_A_SECOND / min(1, config.worker.memory_mb / CORE_MB)
    runs = math.ceil(seconds / (config.worker.timeout_seconds - STORING_SECONDS))
    outputs = [file_bytes * OUTPUT_SHARE[config.output.format], REJECTED_BYTES]
    calls = file_calls(outputs, runs)
    # The upload itself, S3's notification, what Lambda's poller receives and deletes, and the file's entry in the index
    # of a day's files: put in, and moved when its status changes.
    calls += Counter({"s3.put_requests": 1, "sqs.requests": 1 + 2 * runs, "dynamodb.index_writes": 3})
    written = math.ceil(ITEM_BYTES / 1_024)
    billed = {
        "dynamodb.writes": ("dynamodb.write_units", written),
        "dynamodb.index_writes": ("dynamodb.write_units", 1),
        "dynamodb.reads": ("dynamodb.read_units", 1),
    }
    usage: Usage = {"cloudwatch.custom_metrics": METRICS, "cloudwatch.log_gb": files * runs * LOG_BYTES_A_RUN / GB}
    for call, quantity in calls.items():
        unit, factor = billed.get(call, (call, 1))
        usage = summed(usage, {unit: files * quantity * factor})
    polls = max(0, IDLE_POLLS - files * 2 * runs)
    return summed(
        at_rest,
        usage,
        {"sqs.requests": polls},
        runs_of(files * runs, config.worker.memory_mb, (1_000 * seconds + FILE_MS) / runs),
        _keeping(config, traffic, outputs[0]),
        key_requests(graph),
    )


def _keeping(config: CsvPipelineConfig, traffic: CsvTraffic, processed_bytes: float) -> Usage:
    """Stored bytes, once as much expires as arrives; of what never expires, those of one month."""
    storage = config.storage
    kept = (
        (traffic.file_mb * 1_000_000, storage.inputs_expire_after_days),
        (processed_bytes, storage.processed_expire_after_days),
        (REJECTED_BYTES, storage.rejected_expire_after_days),
        (REPORT_BYTES, storage.reports_expire_after_days),
    )
    of_a_file = sum(size * (days or DAYS_A_MONTH) for size, days in kept)
    files_a_day = traffic.files / DAYS_A_MONTH
    item = ITEM_BYTES + OVERHEAD_BYTES
    return {
        "s3.gb_months": files_a_day * of_a_file / GB,
        "dynamodb.gb_months": files_a_day * storage.items_expire_after_days * item / GB,
    }


def not_counted(config: CsvPipelineConfig) -> list[str]:
    """Return what AWS bills and the model leaves out."""
    kept_for_ever = (
        config.storage.inputs_expire_after_days is None or config.storage.processed_expire_after_days is None
    )
    return ["objects of earlier months that never expire"] if kept_for_ever else []


def file_calls(outputs: Sequence[float], runs: int = 1) -> Counter[str]:
    """Calls of the worker for one file with outputs of these sizes in bytes, read in so many runs.

    The item is claimed, says that the file is done, says that it is current, and that all is settled. Each run but the
    last stores where it has come to, and so does the last one before it completes an upload in parts.
    """
    in_parts = [size for size in outputs if size > objects.SMALLEST_PART_BYTES]
    puts = len(outputs) + sum(1 + math.ceil(size / objects.SMALLEST_PART_BYTES) for size in in_parts)
    stored = runs - 1 + (1 if in_parts else 0)
    return Counter(
        {
            "dynamodb.writes": 4 + (runs - 1) + stored,
            # What is current of the key, before the run and at its end.
            "dynamodb.reads": 2,
            # A message is hidden while a run works on it, and returns at once for the next one.
            "sqs.requests": runs + (runs - 1),
            "s3.get_requests": runs + (runs - 1),
            # With the report.
            "s3.put_requests": puts + 1 + stored,
            "sns.requests": 1,
        }
    )
