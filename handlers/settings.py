"""What the functions are told by their environment, read once.

A field `queue_url` is the variable QUEUE_URL. tests/test_contract.py asserts that these are the variables deployed.
"""

import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Self


class SettingsError(Exception):
    """A variable is missing or not of its type: the function was deployed with another environment than it reads."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base: a frozen dataclass of str, int and bool (`true`/`false`) that reads itself from environment variables."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """The settings. Raises SettingsError."""
        values: dict[str, str | int | bool] = {}
        for field in fields(cls):
            variable = field.name.upper()
            if variable not in environment:
                if field.default is MISSING:
                    raise SettingsError(f"the environment variable {variable} is missing")
                continue
            values[field.name] = _converted(variable, environment[variable], field.type)
        return cls(**values)


def _converted(variable: str, text: str, kind: object) -> str | int | bool:
    if kind is bool:
        if text not in ("true", "false"):
            raise SettingsError(f"{variable} is {text!r}; it must be true or false")
        return text == "true"
    if kind is int:
        try:
            return int(text)
        except ValueError as error:
            raise SettingsError(f"{variable} is {text!r}; it must be a whole number") from error
    return text


@dataclass(frozen=True, kw_only=True)
class EventSettings(Settings):
    """What ingest and worker both need to know of events."""

    table_name: str
    queue_url: str
    results: str
    """`object` or `inline`."""
    time_index_shards: int
    """0: there is no time index."""
    items_expire_after_days: int
    bucket_name: str = ""
    """Of results and archive; empty when the function uses neither."""
    fault_parameter_name: str = ""
    """Says what goes wrong on purpose; empty where nothing may."""


@dataclass(frozen=True, kw_only=True)
class IngestSettings(EventSettings):
    """Of handlers/ingest.py."""

    type_field: str
    max_batch: int
    max_depth: int
    track: bool
    deduplicate: str
    """`key` or `content`."""
    group_field: str = ""
    """Of a FIFO queue; empty where the queue is a standard one."""


@dataclass(frozen=True, kw_only=True)
class WorkerSettings(EventSettings):
    """Of handlers/worker.py, and of handlers/breaker.py, which runs the same code on a probe."""

    dead_letter_queue_url: str
    alerts_topic_arn: str
    processor: str
    """`module:function`."""
    max_receives: int
    backoff_base_seconds: int
    backoff_maximum_seconds: int
    archive: bool
    secrets: str = ""
    """A JSON object: the ARN of each secret by its name; empty when there are none."""
    event_bus_name: str = ""
    """Of outcome events; empty when there are none."""
    circuit_failure_threshold: int = 0
    """0: there is no circuit breaker, and what follows is not set."""
    circuit_recovery_seconds: int = 0
    spare_receives: int = 0
    """How many receives SQS allows a message above `max_receives`."""
    mapping_parameter: str = ""
    """The SSM parameter with the id of the worker's event source mapping."""


@dataclass(frozen=True, kw_only=True)
class ReportSettings(Settings):
    """Of handlers/report.py."""

    table_name: str
    time_index_shards: int
    queue_url: str
    dead_letter_queue_url: str
    bucket_name: str
    reports_topic_arn: str


@dataclass(frozen=True, kw_only=True)
class RedriveSettings(Settings):
    """Of handlers/redrive.py."""

    table_name: str
    queue_url: str
    dead_letter_queue_url: str


@dataclass(frozen=True, kw_only=True)
class IotWorkerSettings(Settings):
    """Of the worker that takes uploaded readings."""

    table_name: str
    bucket_name: str
    alerts_topic_arn: str
    max_object_bytes: int
    max_readings: int
    max_ahead_seconds: int
    readings_expire_after_days: int


@dataclass(frozen=True, kw_only=True)
class CsvWorkerSettings(Settings):
    """Of the worker that takes uploaded CSV files."""

    table_name: str
    queue_url: str
    dead_letter_queue_url: str
    bucket_name: str
    """Of the outputs; the inputs' bucket comes with each notification."""
    alerts_topic_arn: str
    notifications_topic_arn: str
    input_prefix: str
    output_format: str
    """`jsonl.gz`, `jsonl` or `parquet`."""
    max_attempts: int
    """Runs of a file without progress before it is failed."""
    backoff_base_seconds: int
    backoff_maximum_seconds: int
    items_expire_after_days: int
