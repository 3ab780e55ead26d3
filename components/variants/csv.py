"""bucket (raw/) -> queue (+ dead letters) -> worker -> bucket (processed/, rejected/, reports/), table, two topics."""

from pathlib import Path
from typing import Any

import pulumi
from pulumi import Output

from components.api import HttpApi
from components.bucket import Bucket
from components.encryption import customer_key, encrypted
from components.files import FileTable, Uploads
from components.function import shared_runtime
from components.notifications import Notifications
from components.observability import (
    Observability,
    api_alarms,
    api_panels,
    counts_panel,
    function_alarms,
    functions_panel,
    latency_panel,
    queue_alarms,
    queue_panels,
    undelivered_alarms,
)
from components.options.csv import SUFFIXES, CsvPipelineConfig
from components.package import dependency_layer, source_archive
from components.queue import Queue
from components.redrive import redrive_backend
from components.worker import Worker

# The prefixes that handlers/csv/worker.py writes to, in a bucket of their own: nothing it writes can start it.
PROCESSED, REJECTED, REPORTS, STATE = "processed/", "rejected/", "reports/", "state/"
# Longer than any message lives.
STATE_EXPIRES_AFTER_DAYS = 15


def build(name: str, config: CsvPipelineConfig, *, parent: pulumi.Resource) -> dict[str, Output[Any]]:
    """Builds the variant and returns the outputs of its stack."""
    storage = config.storage
    senders = {"s3", *config.notifications.senders, *config.file_notifications.senders}
    key = customer_key(f"{name}-key", config.encryption, storage, senders=sorted(senders), parent=parent)
    child = encrypted(parent, key)
    runtime = shared_runtime(name, config, dependency_layer(Path("handlers/requirements.txt")), key, opts=child)
    service = runtime.service

    alerts = Notifications(f"{name}-alerts", config.notifications, alarms=False, opts=child)
    # A topic of their own: who can cause alerts must not be able to drown alarms in them.
    alarms = Notifications(f"{name}-alarms", config.notifications, alarms=True, opts=child)
    notifications = Notifications(f"{name}-files", config.file_notifications, alarms=False, opts=child)
    table = FileTable(f"{name}-table", storage, opts=child)
    inputs = Bucket(
        f"{name}-input",
        storage,
        expire_after_days={config.input.prefix: storage.inputs_expire_after_days},
        opts=child,
    )
    outputs = Bucket(
        f"{name}-output",
        storage,
        expire_after_days={
            PROCESSED: storage.processed_expire_after_days,
            REJECTED: storage.rejected_expire_after_days,
            REPORTS: storage.reports_expire_after_days,
            STATE: STATE_EXPIRES_AFTER_DAYS,
        },
        opts=child,
    )
    queue = Queue(
        f"{name}-queue",
        config.queue,
        consumer_timeout_seconds=config.worker.timeout_seconds,
        consumer_window_seconds=config.worker.batching_window_seconds,
        filled_by=inputs,
        opts=child,
    )
    code = source_archive("handlers", extra={"columns.json": config.format_json()})
    worker = Worker(
        f"{name}-worker",
        config.worker,
        queue=queue,
        handler="handlers.csv.worker.handler",
        code=code,
        runtime=runtime,
        grants=[
            queue.grant_send_dead_letters(),
            table.grant_track(),
            inputs.grant_read_announced(config.input.prefix),
            inputs.grant_see_missing(),
            outputs.grant_write_parts(PROCESSED),
            outputs.grant_write_parts(REJECTED),
            outputs.grant_write(REPORTS),
            outputs.grant_write(STATE),
            outputs.grant_read(STATE),
            alerts.grant_publish(),
            notifications.grant_publish("NOTIFICATIONS_TOPIC_ARN"),
        ],
        environment={
            "INPUT_PREFIX": config.input.prefix,
            "OUTPUT_FORMAT": config.output.format,
            "MAX_ATTEMPTS": str(config.worker.max_attempts),
            "BACKOFF_BASE_SECONDS": str(config.worker.backoff.base_seconds),
            "BACKOFF_MAXIMUM_SECONDS": str(config.worker.backoff.maximum_seconds),
            "ITEMS_EXPIRE_AFTER_DAYS": str(storage.items_expire_after_days),
        },
        opts=child,
    )
    Uploads(f"{name}-uploads", inputs, queue, prefix=config.input.prefix, suffixes=SUFFIXES, opts=child)
    redrive, redrive_api = None, None
    if config.queue.redrive_api:
        redrive = redrive_backend(
            f"{name}-redrive",
            handler="handlers.csv.redrive.handler",
            code=code,
            runtime=runtime,
            queue=queue,
            read_table=table.grant_read(),
            opts=child,
        )
        redrive_api = HttpApi(f"{name}-redrive-api", config.api, config.logs, [redrive], opts=child)
    waiting, age = queue_panels(queue)
    Observability(
        f"{name}-watch",
        service=service,
        alarms={
            **queue_alarms(queue, service, config.alarms),
            **function_alarms("worker", worker.function, config.alarms),
            **(function_alarms("redrive", redrive.function, config.alarms) if redrive else {}),
            **(api_alarms(redrive_api.metrics, config.alarms) if redrive_api else {}),
            **undelivered_alarms("alerts", alerts.dead_letters),
            **undelivered_alarms("alarms", alarms.dead_letters),
            **undelivered_alarms("files", notifications.dead_letters),
        },
        panels=[
            counts_panel("Files", service, "FilesSucceeded", "FilesFailed", "FilesSkipped", "FilesContinued"),
            counts_panel("Rows", service, "RowsProcessed", "RowsRejected"),
            waiting,
            age,
            latency_panel("First run to report (ms)", service),
            *(api_panels(redrive_api.metrics) if redrive_api else ()),
            functions_panel(worker.function, *([redrive.function] if redrive else [])),
        ],
        alarms_arn=alarms.arn,
        opts=child,
    )
    return {
        "input_bucket": inputs.name,
        "output_bucket": outputs.name,
        "table_name": table.name,
        "queue_url": queue.url,
        "dead_letter_queue_url": queue.dead_letters_url,
        "notifications_topic_arn": notifications.arn,
        "alerts_topic_arn": alerts.arn,
        "alarms_topic_arn": alarms.arn,
        **({"redrive_api_url": redrive_api.url} if redrive_api else {}),
    }
