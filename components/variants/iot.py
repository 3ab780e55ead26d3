"""device -> bucket -> worker (failures to dead letters) -> table, and bucket for what is refused; alerts to a topic."""

import json
from pathlib import Path
from typing import Any

import pulumi
from pulumi import Input, Output

from components.bucket import Bucket
from components.encryption import customer_key, encrypted
from components.function import shared_runtime
from components.notifications import Notifications
from components.observability import (
    Observability,
    async_alarms,
    async_panels,
    counts_panel,
    dead_letters_alarm,
    function_alarms,
    functions_panel,
    latency_panel,
    rejections_alarm,
    undelivered_alarms,
)
from components.options.api import read_event_schema
from components.options.iot import IotPipelineConfig
from components.package import dependency_layer, source_archive
from components.queue import DeadLetterQueue
from components.reading_table import ReadingTable
from components.upload_worker import Uploads, UploadWorker

READINGS = "readings/"
# The prefix that handlers/iot/objects.py writes to. Below the other, the pipeline would take what it refused.
REJECTED = "rejected/"
BYTES_A_MEGABYTE = 1_000_000


def build(name: str, config: IotPipelineConfig, *, parent: pulumi.Resource) -> dict[str, Output[Any]]:
    """Builds the variant and returns the outputs of its stack."""
    storage = config.storage
    key = customer_key(f"{name}-key", config.encryption, storage, senders=config.notifications.senders, parent=parent)
    child = encrypted(parent, key)
    runtime = shared_runtime(name, config, dependency_layer(Path("handlers/requirements.txt")), key, opts=child)
    service = runtime.service

    alerts = Notifications(f"{name}-alerts", config.notifications, alarms=False, opts=child)
    # A topic of their own: who can cause alerts must not be able to drown alarms in them.
    alarms = Notifications(f"{name}-alarms", config.notifications, alarms=True, opts=child)
    table = ReadingTable(f"{name}-table", storage, opts=child)
    expiries = {READINGS: storage.uploads_expire_after_days, REJECTED: storage.rejected_expire_after_days}
    bucket = Bucket(f"{name}-bucket", storage, expire_after_days=expiries, opts=child)
    dead_letters = DeadLetterQueue(
        f"{name}-dead-letters",
        retention_days=config.dead_letters.retention_days,
        opts=child,
    )
    worker = UploadWorker(
        f"{name}-worker",
        config.worker,
        uploads=Uploads(bucket, READINGS, config.readings.suffixes),
        dead_letters=dead_letters,
        handler="handlers.iot.worker.handler",
        code=source_archive(
            "handlers", extra={"thresholds.json": config.thresholds_json(), "schema.json": _schema(config)}
        ),
        runtime=runtime,
        grants=[bucket.grant_write(REJECTED), table.grant_store(), alerts.grant_publish()],
        environment=_environment(config),
        opts=child,
    )
    Observability(
        f"{name}-watch",
        service=service,
        alarms={
            "dead-letters": dead_letters_alarm(dead_letters.name),
            "rejected-readings": rejections_alarm(service, config.alarms.rejected_rate_percent),
            **async_alarms(worker.function, config.alarms.event_age_seconds),
            **function_alarms("worker", worker.function, config.alarms),
            **undelivered_alarms("alerts", alerts.dead_letters),
            **undelivered_alarms("alarms", alarms.dead_letters),
        },
        panels=[
            counts_panel("Readings", service, "Stored", "Repeated", "Rejected"),
            counts_panel("Alerts", service, "Alerts"),
            *async_panels(worker.function, dead_letters.name),
            latency_panel("Uploaded to stored (ms)", service),
            functions_panel(worker.function),
        ],
        alarms_arn=alarms.arn,
        opts=child,
    )
    return {
        "input_bucket": bucket.name,
        "table_name": table.name,
        "dead_letter_queue_url": dead_letters.url,
        "alerts_topic_arn": alerts.arn,
        "alarms_topic_arn": alarms.arn,
        "worker_name": worker.function.name,
    }


def _schema(config: IotPipelineConfig) -> str:
    path = config.readings.reading_schema
    return json.dumps({} if path == "none" else read_event_schema(Path(path)), sort_keys=True)


def _environment(config: IotPipelineConfig) -> dict[str, Input[str]]:
    return {
        "MAX_OBJECT_BYTES": str(config.readings.max_object_mb * BYTES_A_MEGABYTE),
        "MAX_READINGS": str(config.readings.max_per_object),
        "MAX_AHEAD_SECONDS": str(config.readings.max_ahead_seconds),
        "DEVICE_IN_KEY": json.dumps(config.readings.device_in_key),
        "READINGS_EXPIRE_AFTER_DAYS": str(config.storage.readings_expire_after_days),
    }
