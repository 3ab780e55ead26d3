"""client -> API -> ingest function -> queue (+ dead letters) -> worker -> table and bucket; failures to a topic."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pulumi
from pulumi import Input, Output

from components.api import HttpApi, RestApi
from components.bucket import Bucket
from components.circuit_breaker import guarded_worker
from components.compactor import compactor_part
from components.faults import faults_part
from components.function import Function, Size, functions_panel, log_groups
from components.grants import Grant
from components.notifications import Notifications
from components.observability import (
    FEWEST_FOR_A_SHARE,
    Alarm,
    Metric,
    Observability,
    Panel,
    counts_panel,
    heartbeat_alarm,
    latency_panel,
    own_metric,
    share,
)
from components.options.api import ApiAlarmOptions, ApiOptions, ApiPipelineConfig, StorageOptions
from components.options.schemas import read_event_schema
from components.outcomes import outcomes_part
from components.part import Part, total
from components.processor import processor_part, runtime_with_packages
from components.queries import EVENT_QUERIES, SavedQueries
from components.queue import Queue, queue_metric
from components.reconciler import reconciler_part
from components.redrive import redrive_part
from components.reports import reports_part
from components.runtime import shared_runtime
from components.secrets import secrets_part
from components.table import Table
from components.webhooks import accepting_backend, urls, webhooks_part

# The prefixes that handlers/api/objects.py writes to.
RESULTS = "results/"
ARCHIVE = "archive/"
# The item that handlers/api/table.py makes.
ID_SECRET = "secret#ids"  # noqa: S105  its key


def build(name: str, config: ApiPipelineConfig, *, parent: pulumi.Resource) -> dict[str, Output[Any]]:
    """Build the variant and return the outputs of its stack."""
    # One long function (80 lines at most): read from top to bottom, it is the flow of the variant.
    schemas = {"schemas.json": json.dumps(event_schemas(config.api), sort_keys=True)}
    runtime = shared_runtime(name, config, files=schemas, parent=parent)
    opts = runtime.opts
    alerts = Notifications(f"{name}-alerts", config.notifications, alarms=False, opts=opts)
    # A topic of their own: who can cause alerts must not be able to drown alarms in them.
    alarms = Notifications(f"{name}-alarms", config.notifications, alarms=True, opts=opts)
    table = Table(f"{name}-table", config.storage, opts=opts)
    bucket = Bucket(f"{name}-bucket", config.storage, opts=opts)
    queue = Queue(f"{name}-queue", config.queue, config.worker, opts=opts)
    undelivered = {**alerts.alarms("alerts"), **alarms.alarms("alarms")}
    adds = total(
        _storage_part(config.storage, bucket),
        Part(worker_grants=[alerts.grant_alert(config.alarms.runbook)], alarms=undelivered),
        outcomes_part(f"{name}-outcomes", config.outcomes, runtime, parent=parent),
        faults_part(f"{name}-faults", enabled=config.fault_injection is not None, opts=opts),
        secrets_part(config.worker.secrets),
        webhooks_part(config.webhooks, config.alarms, service=runtime.service),
        processor_part(config.worker),
    )
    ingest = Function(
        f"{name}-ingest",
        handler="handlers.api.ingest.handler",
        runtime=runtime,
        size=Size(
            config.api.memory_mb, config.api.timeout_seconds, reserved_concurrency=config.api.reserved_concurrency
        ),
        grants=[queue.grant_send(), *_table_grants(config, table), *adds.ingest_grants],
        environment=_ingest_environment(config),
        start=config.api,
        opts=opts,
    )
    worker, guard = guarded_worker(
        name,
        config,
        [queue.grant_send_dead_letters(), table.grant_read(), table.grant_complete(), *adds.worker_grants],
        queue=queue,
        table=table,
        runtime=runtime_with_packages(f"{name}-processor", config.worker, runtime, bucket),
        environment=_worker_environment(config),
    )
    redrive = redrive_part(f"{name}-redrive", config, queue=queue, read_table=table.grant_read(), runtime=runtime)
    reconciler = reconciler_part(
        f"{name}-reconciler", config, queue=queue, table=table, alerts=alerts, adds=adds, runtime=runtime
    )
    reports = reports_part(f"{name}-report", config, table=table, queue=queue, bucket=bucket, runtime=runtime)
    compactor = compactor_part(f"{name}-compactor", config, bucket=bucket, prefix=ARCHIVE, runtime=runtime)
    parts = total(adds, Part(functions=[ingest, worker.function]), redrive, reconciler, reports, compactor, guard)
    make_api = HttpApi if config.api.kind == "http" else RestApi
    api = make_api(
        f"{name}-api", config.api, config.logs, [accepting_backend(ingest, config.webhooks), *parts.backends], opts=opts
    )
    bucket.expire(parts.expiries)
    requests, api_latency = api.metrics.panels()
    watch = Observability(
        f"{name}-watch",
        service=runtime.service,
        alarms={
            **queue.alarms(runtime.service, config.alarms),
            **api.metrics.alarms(config.alarms),
            **_traffic_alarms(runtime.service, config.alarms),
            **ingest.alarms("ingest", config.alarms),
            **worker.function.alarms("worker", config.alarms),
            **parts.alarms,
        },
        panels=[
            requests,
            *_flow_panels(runtime.service, queue),
            api_latency,
            *parts.panels,
            functions_panel(parts.functions),
            *_cost_panels(parts.functions, table, queue),
        ],
        alarms_arn=alarms.arn,
        runbook=config.alarms.runbook,
        opts=opts,
    )
    SavedQueries(f"{name}-queries", EVENT_QUERIES, service=runtime.service, functions=parts.functions, opts=opts)
    return {
        "api_url": api.url,
        "queue_url": queue.url,
        "dead_letter_queue_url": queue.dead_letters_url,
        "table_name": table.name,
        "bucket_name": bucket.name,
        "alerts_topic_arn": alerts.arn,
        "alarms_topic_arn": alarms.arn,
        "alarm_names": watch.alarm_names,
        "log_groups": log_groups(name, parts.functions),
        **urls(api.url, config.webhooks),
        **parts.outputs,
        **({"api_key_id": api.key_id} if api.key_id is not None else {}),
    }


def event_schemas(options: ApiOptions) -> dict[str, dict[str, Any]]:
    """`{"": schema}` for one schema for all, `{type: schema}` for one per type, `{}` for none."""
    match options.schemas:
        case "none":
            return {}
        case str() as path:
            return {"": read_event_schema(Path(path))}
        case types:
            return {event_type: read_event_schema(Path("schemas") / f"{event_type}.json") for event_type in types}


def _storage_part(storage: StorageOptions, bucket: Bucket) -> Part:
    """Results beside their items or in the bucket, and the archive."""
    in_bucket = storage.results == "object"
    archives = [bucket.grant_write(ARCHIVE)] if storage.archive else []
    return Part(
        ingest_grants=[
            *([bucket.grant_read(RESULTS)] if in_bucket else []),
            *(archives if storage.archives_accepted else []),
        ],
        worker_grants=[*([bucket.grant_write(RESULTS)] if in_bucket else []), *archives],
        outcome_grants=archives,
        expiries={RESULTS: storage.results_expire_after_days, ARCHIVE: storage.archive_expires_after_days},
    )


def _table_grants(config: ApiPipelineConfig, table: Table) -> list[Grant]:
    accept = [table.grant_accept() if config.api.track else table.grant_make(ID_SECRET)]
    return [table.grant_read(), *accept, *([table.grant_list()] if config.storage.time_index else [])]


def _events_environment(config: ApiPipelineConfig) -> dict[str, Input[str]]:
    storage = config.storage
    return {
        "RESULTS": storage.results,
        "TIME_INDEX_SHARDS": str(storage.time_index_shards),
        "ITEMS_EXPIRE_AFTER_DAYS": str(storage.items_expire_after_days),
    }


def _ingest_environment(config: ApiPipelineConfig) -> dict[str, Input[str]]:
    options, idempotency = config.api, config.api.idempotency
    return {
        **_events_environment(config),
        "TYPE_FIELD": options.type_field,
        "MAX_BATCH": str(options.max_batch),
        "MAX_DEPTH": str(options.max_depth),
        "TRACK": json.dumps(options.track),
        "LOST_AFTER_SECONDS": str(config.lost_after_seconds),
        "DEDUPLICATE": options.deduplicate,
        **({} if config.storage.time_index else {"TIME_INDEX": "false"}),
        **({"ARCHIVE_ACCEPTED": "true"} if config.storage.archives_accepted else {}),
        **({"ACCEPT_FORMS": "true"} if options.accept_forms else {}),
        **({"IDEMPOTENCY_FIELD": idempotency.field} if idempotency and idempotency.field else {}),
        **({"IDEMPOTENCY_HEADER": idempotency.header} if idempotency and idempotency.header else {}),
        **({"IGNORE_WHEN_COMPARING": ignored} if (ignored := _ignored(options)) else {}),
        **({} if config.queue.fifo is None else {"GROUP_FIELD": config.queue.fifo.group_field}),
        **({} if config.queue.fair is None else {"FAIR_FIELD": config.queue.fair.group_field}),
    }


def _ignored(options: ApiOptions) -> str:
    return json.dumps(options.ignore_when_comparing) if options.ignore_when_comparing else ""


def _worker_environment(config: ApiPipelineConfig) -> dict[str, Input[str]]:
    return {
        **_events_environment(config),
        "PROCESSOR": config.worker.processor,
        "MAX_ATTEMPTS": str(config.worker.max_attempts),
        "EVENT_TIMEOUT_SECONDS": str(config.worker.event_timeout_seconds or 0),
        "BACKOFF_BASE_SECONDS": str(config.worker.backoff.base_seconds),
        "BACKOFF_MAXIMUM_SECONDS": str(config.worker.backoff.maximum_seconds),
        "ARCHIVE": json.dumps(config.storage.archive is not None),
    }


def _traffic_alarms(service: str, options: ApiAlarmOptions) -> dict[str, Alarm]:
    """Alarms on events that are rejected, also those in a batch that is answered with 200, and on none at all."""
    rejected, *others = (own_metric(name, service, "Sum") for name in ("Rejected", "Accepted", "Duplicate"))
    rejections = Alarm(
        "Too many events are rejected: the answers to the clients say why.",
        share(rejected, *others, minimum=FEWEST_FOR_A_SHARE),
        threshold=options.rejected_rate_percent,
        section="rejected-events",
        step="ingest",
        periods=2,
    )
    accepted = own_metric("Accepted", service, "Sum")
    description = "No event was accepted for too long."
    return {"rejected-events": rejections, **heartbeat_alarm(description, accepted, options.heartbeat_minutes)}


def _flow_panels(service: str, queue: Queue) -> list[Panel]:
    waiting, age = queue.panels()
    return [
        counts_panel("Events in", service, "Accepted", "Rejected", "Duplicate"),
        waiting,
        age,
        counts_panel("Events out", service, "Processed", "Failed", "BatchItemFailures"),
        latency_panel("Received to completed (ms)", service),
    ]


def _cost_panels(functions: Sequence[Function], table: Table, queue: Queue) -> tuple[Panel, Panel, Panel]:
    """The sources of the bill: time of functions, request units of the table, messages and logs."""
    logged = [Metric("AWS/Logs", "IncomingBytes", {"LogGroupName": each.log_group_name}, "Sum") for each in functions]
    return (
        Panel("Cost: time of functions (ms)", [function.metric("Duration", "Sum") for function in functions]),
        Panel("Cost: request units of the table", table.unit_metrics()),
        Panel("Cost: messages sent, bytes logged", [queue_metric("NumberOfMessagesSent", queue.name, "Sum"), *logged]),
    )
