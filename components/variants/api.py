"""client -> API -> ingest function -> queue (+ dead letters) -> worker -> table and bucket; failures to a topic."""

import json
from pathlib import Path
from typing import Any

import pulumi
from pulumi import Input, Output, ResourceOptions

from components.api import Backend, HttpApi, RestApi
from components.bucket import Bucket
from components.circuit_breaker import CALLED_BY_WORKER, CircuitBreaker, mapping_parameter_name
from components.encryption import customer_key, encrypted
from components.faults import FaultSwitch
from components.function import Function, Size, shared_runtime
from components.notifications import Notifications
from components.observability import (
    Observability,
    api_alarms,
    api_panels,
    circuit_alarms,
    cost_panels,
    counts_panel,
    function_alarms,
    functions_panel,
    latency_panel,
    outcomes_alarms,
    queue_alarms,
    queue_panels,
    scheduled_alarms,
    undelivered_alarms,
)
from components.options.api import ApiOptions, ApiPipelineConfig, read_event_schema
from components.outcomes import Outcomes
from components.package import dependency_layer, source_archive
from components.queries import EVENT_QUERIES, SavedQueries
from components.queue import Queue
from components.redrive import redrive_backend
from components.reports import REPORTS, Reports
from components.secrets import grants_read
from components.table import Table
from components.worker import Worker

# The prefixes that handlers/api/objects.py writes to, and the item and the object that handlers/api/circuit.py keeps.
CIRCUIT_ITEM = "circuit#processor"
RESULTS = "results/"
ARCHIVE = "archive/"
CIRCUIT = "circuit/"
CIRCUIT_PROBES = "circuit/probes.json"


def build(name: str, config: ApiPipelineConfig, *, parent: pulumi.Resource) -> dict[str, Output[Any]]:
    """Builds the variant and returns the outputs of its stack."""
    storage = config.storage
    key = customer_key(
        f"{name}-key",
        config.encryption,
        storage,
        senders=sorted({*config.notifications.senders, *config.report_notifications.senders}),
        event_bus=config.outcomes is not None,
        parent=parent,
    )
    child = encrypted(parent, key)
    runtime = shared_runtime(name, config, dependency_layer(Path("handlers/requirements.txt")), key, opts=child)
    service = runtime.service
    code = source_archive(
        "handlers", "processors", extra={"schemas.json": json.dumps(event_schemas(config.api), sort_keys=True)}
    )

    alerts = Notifications(f"{name}-alerts", config.notifications, alarms=False, opts=child)
    # A topic of their own: who can cause alerts must not be able to drown alarms in them.
    alarms = Notifications(f"{name}-alarms", config.notifications, alarms=True, opts=child)
    table = Table(f"{name}-table", storage, opts=child)
    breaker_options = config.worker.circuit_breaker
    expiries = {
        RESULTS: storage.results_expire_after_days,
        ARCHIVE: storage.archive_expires_after_days,
        **({REPORTS: storage.reports_expire_after_days} if config.reports else {}),
        # Copies of messages in the queue, which are not kept for longer.
        **({CIRCUIT: config.queue.retention_days} if breaker_options else {}),
    }
    bucket = Bucket(f"{name}-bucket", storage, expire_after_days=expiries, opts=child)
    queue = Queue(
        f"{name}-queue",
        config.queue,
        consumer_timeout_seconds=config.worker.timeout_seconds,
        consumer_window_seconds=config.worker.batching_window_seconds,
        fifo=config.queue.fifo is not None,
        opts=child,
    )
    # It puts itself under the key, but for what it keeps when the key does not work.
    outcomes = (
        None if config.outcomes is None else Outcomes(f"{name}-outcomes", key, opts=ResourceOptions(parent=parent))
    )
    faults = FaultSwitch(f"{name}-faults", opts=child) if config.fault_injection else None
    faults_grants = [] if faults is None else [faults.grant_read()]
    ingest = Function(
        f"{name}-ingest",
        handler="handlers.api.ingest.handler",
        code=code,
        runtime=runtime,
        size=Size(config.api.memory_mb, config.api.timeout_seconds),
        grants=[
            queue.grant_send(),
            table.grant_read(),
            *([table.grant_accept()] if config.api.track else []),
            *([table.grant_list()] if storage.time_index else []),
            *([bucket.grant_read(RESULTS)] if storage.results == "object" else []),
            *faults_grants,
        ],
        environment=_ingest_environment(config),
        start=config.api,
        opts=child,
    )
    # What the worker's code does with an event, wherever it runs.
    works_on_events = [
        queue.grant_send_dead_letters(),
        table.grant_read(),
        table.grant_complete(),
        *([bucket.grant_write(RESULTS)] if storage.results == "object" else []),
        *([bucket.grant_write(ARCHIVE)] if storage.archive else []),
        alerts.grant_publish(),
        *([] if outcomes is None else [outcomes.grant_put()]),
        *faults_grants,
        *grants_read(config.worker.secrets),
    ]
    worker_environment = _worker_environment(config, mapping_parameter_name(service, name))
    worker = Worker(
        f"{name}-worker",
        config.worker,
        queue=queue,
        handler="handlers.api.worker.handler",
        code=code,
        runtime=runtime,
        grants=[
            *works_on_events,
            *(
                [table.grant_keep(CIRCUIT_ITEM), bucket.grant_put(CIRCUIT_PROBES), CALLED_BY_WORKER]
                if breaker_options
                else []
            ),
        ],
        environment=worker_environment,
        start=config.worker,
        opts=child,
    )
    breaker = (
        CircuitBreaker(
            f"{name}-breaker",
            config.worker,
            worker=worker,
            parameter_name=mapping_parameter_name(service, name),
            code=code,
            runtime=runtime,
            grants=[
                *works_on_events,
                table.grant_keep(CIRCUIT_ITEM),
                bucket.grant_keep(CIRCUIT_PROBES),
                bucket.grant_see_missing(),
            ],
            environment={**worker_environment, "QUEUE_URL": queue.url},
            opts=child,
        )
        if breaker_options
        else None
    )
    redrive = None
    if config.queue.redrive_api:
        redrive = redrive_backend(
            f"{name}-redrive",
            handler="handlers.api.redrive.handler",
            code=code,
            runtime=runtime,
            queue=queue,
            read_table=table.grant_read(),
            opts=child,
        )
    make_api = HttpApi if config.api.kind == "http" else RestApi
    api = make_api(
        f"{name}-api", config.api, config.logs, [Backend(ingest), *([redrive] if redrive else [])], opts=child
    )
    reports = (
        Reports(
            f"{name}-report",
            config.reports,
            config.report_notifications,
            table=table,
            queue=queue,
            bucket=bucket,
            code=code,
            runtime=runtime,
            environment={"TIME_INDEX_SHARDS": str(storage.time_index_shards)},
            opts=child,
        )
        if config.reports
        else None
    )
    functions = [
        *(ingest, worker.function),
        *([redrive.function] if redrive else []),
        *(each.scheduled.function for each in (reports, breaker) if each),
    ]
    requests, api_latency = api_panels(api.metrics)
    waiting, age = queue_panels(queue)
    Observability(
        f"{name}-watch",
        service=service,
        alarms={
            **queue_alarms(queue, service, config.alarms),
            **api_alarms(api.metrics, config.alarms),
            **function_alarms("ingest", ingest, config.alarms),
            **function_alarms("worker", worker.function, config.alarms),
            **(circuit_alarms(breaker.scheduled, service, config.alarms) if breaker else {}),
            **({} if outcomes is None else outcomes_alarms(outcomes, service)),
            **(scheduled_alarms("report", reports.scheduled, config.alarms) if reports else {}),
            **(function_alarms("redrive", redrive.function, config.alarms) if redrive else {}),
            **undelivered_alarms("alerts", alerts.dead_letters),
            **undelivered_alarms("alarms", alarms.dead_letters),
            **(undelivered_alarms("reports", reports.topic.dead_letters) if reports else {}),
        },
        panels=[
            requests,
            counts_panel("Events in", service, "Accepted", "Rejected", "Duplicate"),
            waiting,
            age,
            counts_panel("Events out", service, "Processed", "Failed", "BatchItemFailures"),
            latency_panel("Received to completed (ms)", service),
            api_latency,
            *([counts_panel("Circuit", service, "CircuitOpened", "CircuitClosed")] if breaker else []),
            functions_panel(*functions),
            *cost_panels(functions, table, queue),
        ],
        alarms_arn=alarms.arn,
        opts=child,
    )
    SavedQueries(f"{name}-queries", EVENT_QUERIES, service=service, functions=functions, opts=child)
    return {
        "api_url": api.url,
        "queue_url": queue.url,
        "dead_letter_queue_url": queue.dead_letters_url,
        "table_name": table.name,
        "bucket_name": bucket.name,
        "alerts_topic_arn": alerts.arn,
        "alarms_topic_arn": alarms.arn,
        **({} if outcomes is None else {"event_bus_name": outcomes.name}),
        **({"reports_topic_arn": reports.topic.arn} if reports else {}),
        **({} if faults is None else {"fault_parameter_name": faults.name}),
        **({"api_key_id": api.key_id} if api.key_id is not None else {}),
    }


def event_schemas(options: ApiOptions) -> dict[str, dict[str, Any]]:
    """`{"": schema}` for one schema for all, `{type: schema}` for one a type, `{}` for none."""
    match options.schemas:
        case "none":
            return {}
        case str() as path:
            return {"": read_event_schema(Path(path))}
        case types:
            return {event_type: read_event_schema(Path("schemas") / f"{event_type}.json") for event_type in types}


def _events_environment(config: ApiPipelineConfig) -> dict[str, Input[str]]:
    storage = config.storage
    return {
        "RESULTS": storage.results,
        "TIME_INDEX_SHARDS": str(storage.time_index_shards if storage.time_index else 0),
        "ITEMS_EXPIRE_AFTER_DAYS": str(storage.items_expire_after_days),
    }


def _ingest_environment(config: ApiPipelineConfig) -> dict[str, Input[str]]:
    options = config.api
    return {
        **_events_environment(config),
        "TYPE_FIELD": options.type_field,
        "MAX_BATCH": str(options.max_batch),
        "MAX_DEPTH": str(options.max_depth),
        "TRACK": json.dumps(options.track),
        "DEDUPLICATE": options.deduplicate,
        **({} if config.queue.fifo is None else {"GROUP_FIELD": config.queue.fifo.group_field}),
    }


def _worker_environment(config: ApiPipelineConfig, mapping_parameter: str) -> dict[str, Input[str]]:
    breaker, secrets = config.worker.circuit_breaker, config.worker.secrets
    return {
        **_events_environment(config),
        "PROCESSOR": config.worker.processor,
        "MAX_ATTEMPTS": str(config.worker.max_attempts),
        "EVENT_TIMEOUT_SECONDS": str(config.worker.event_timeout_seconds or 0),
        "BACKOFF_BASE_SECONDS": str(config.worker.backoff.base_seconds),
        "BACKOFF_MAXIMUM_SECONDS": str(config.worker.backoff.maximum_seconds),
        "ARCHIVE": json.dumps(config.storage.archive),
        **({"SECRETS": json.dumps({name: secret.arn for name, secret in secrets.items()})} if secrets else {}),
        **(
            {
                "CIRCUIT_FAILURE_THRESHOLD": str(breaker.failure_threshold),
                "CIRCUIT_RECOVERY_SECONDS": str(breaker.recovery_seconds),
                "MAPPING_PARAMETER": mapping_parameter,
            }
            if breaker
            else {}
        ),
    }
