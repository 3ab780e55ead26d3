"""Environment settings of the api variant's functions."""

from dataclasses import dataclass

from handlers.shared.settings import AlertSettings, Settings


@dataclass(frozen=True, kw_only=True)
class EventSettings(Settings):
    """Event settings shared by ingest and worker."""

    table_name: str
    queue_url: str
    results: str
    """`object` or `inline`."""
    time_index_shards: int
    """Items have the keys of the time index also where there is none yet."""
    items_expire_after_days: int
    bucket_name: str = ""
    """Of results and archive; empty when the function uses neither."""
    fault_parameter_name: str = ""
    """Says what goes wrong on purpose; empty where nothing may."""


@dataclass(frozen=True, kw_only=True)
class IngestSettings(EventSettings):
    """Of handlers/api/ingest.py."""

    type_field: str
    max_batch: int
    max_depth: int
    track: bool
    deduplicate: str
    """`key` or `content`."""
    group_field: str = ""
    """Of a FIFO queue; empty where the queue is a standard one."""
    fair_field: str = ""
    """The field that names the tenant of an event in a fair queue; empty where the queue is another one."""
    time_index: bool = True
    lost_after_seconds: int = 0
    """The age at which no queue can hold an event's message any more. While this code is deployed it may run with the
    environment of an earlier version, which does not say."""
    archive_accepted: bool = False
    accept_forms: bool = False
    idempotency_field: str = ""
    idempotency_header: str = ""
    ignore_when_comparing: str = ""
    """A JSON list of paths; empty when there are none."""
    webhooks: str = ""
    """A JSON object: the fields of handlers/api/webhooks.py's `Webhook` by the webhook's name; empty without any."""


@dataclass(frozen=True, kw_only=True)
class WorkerSettings(EventSettings, AlertSettings):
    """Of handlers/api/worker.py, and of handlers/api/breaker.py, which runs the same code on a probe."""

    dead_letter_queue_url: str
    processor: str
    """`module:function`."""
    max_attempts: int
    """Calls of the processor with an event before it is failed."""
    backoff_base_seconds: int
    backoff_maximum_seconds: int
    archive: bool
    secrets: str = ""
    """A JSON object: the ARN of each secret by its name; empty when there are none."""
    event_timeout_seconds: int = 0
    """The longest that one event may take; 0: all the time that the function has left."""
    event_bus_name: str = ""
    """The bus for outcome events; empty without them."""
    circuit_failure_threshold: int = 0
    """0: there is no circuit breaker, and what follows is not set."""
    circuit_recovery_seconds: int = 0
    circuit_key_failure_threshold: int = 0
    circuit_key_field: str = ""
    """The path of the field that holds an event's key; empty: nothing is held back alone."""
    maximum_concurrency: int = 0
    """Batches that the worker's event source mapping may run at the same time."""
    mapping_parameter: str = ""
    """The SSM parameter with the id of the worker's event source mapping."""


@dataclass(frozen=True, kw_only=True)
class ReportSettings(Settings):
    """Of handlers/api/report.py."""

    table_name: str
    time_index_shards: int
    items_expire_after_days: int
    queue_url: str
    dead_letter_queue_url: str
    bucket_name: str
    reports_topic_arn: str


@dataclass(frozen=True, kw_only=True)
class ReconcilerSettings(AlertSettings):
    """Settings of handlers/api/reconciler.py."""

    table_name: str
    time_index_shards: int
    items_expire_after_days: int
    dead_letter_queue_url: str
    event_bus_name: str = ""
    """The bus for outcome events; empty without them."""
    bucket_name: str = ""
    """The bucket of the archive; empty without one."""
    lost_after_seconds: int = 0
    """The age at which no queue can hold an event's message any more; 0: such events are not looked for."""


@dataclass(frozen=True, kw_only=True)
class CompactorSettings(Settings):
    """Settings of handlers/api/compactor.py."""

    bucket_name: str
