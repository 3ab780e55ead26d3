"""device -> bucket -> worker (failures to dead letters) -> table, and bucket for what is refused; alerts to a topic."""

import json
from pathlib import Path
from typing import Any

import pulumi
from pulumi import Input, Output

from components.bucket import Bucket
from components.function import functions_panel, log_groups
from components.notifications import Notifications
from components.observability import (
    Alarm,
    Observability,
    counts_panel,
    heartbeat_alarm,
    latency_panel,
    own_metric,
    rate_of,
)
from components.options.iot import IotPipelineConfig
from components.options.schemas import read_event_schema
from components.queue import DeadLetterQueue
from components.reading_table import ReadingTable
from components.runtime import shared_runtime
from components.silence import silence_part
from components.upload_worker import Uploads, UploadWorker

READINGS = "readings/"
# The prefix that handlers/iot/objects.py writes to. Below the other, the pipeline would take what it refused.
REJECTED = "rejected/"
BYTES_A_MEGABYTE = 1_000_000


def build(name: str, config: IotPipelineConfig, *, parent: pulumi.Resource) -> dict[str, Output[Any]]:
    """Build the variant and return the outputs of its stack."""
    # One long function (80 lines at most): read from top to bottom, it is the flow of the variant.
    storage = config.storage
    files = {
        "thresholds.json": config.thresholds_json(),
        "silence.json": config.silence_json(),
        "schema.json": _schema(config),
        "form.json": config.form_json(),
    }
    runtime = shared_runtime(name, config, files=files, parent=parent)
    service, opts = runtime.service, runtime.opts
    alerts = Notifications(f"{name}-alerts", config.notifications, alarms=False, opts=opts)
    # A topic of their own: who can cause alerts must not be able to drown alarms in them.
    alarms = Notifications(f"{name}-alarms", config.notifications, alarms=True, opts=opts)
    table = ReadingTable(f"{name}-table", storage, silence=config.silence is not None, opts=opts)
    bucket = Bucket(f"{name}-bucket", storage, opts=opts)
    bucket.expire({READINGS: storage.uploads_expire_after_days, REJECTED: storage.rejected_expire_after_days})
    dead_letters = DeadLetterQueue(f"{name}-dead-letters", retention_days=config.dead_letters.retention_days, opts=opts)
    worker = UploadWorker(
        f"{name}-worker",
        config.worker,
        uploads=Uploads(bucket, READINGS),
        dead_letters=dead_letters,
        handler="handlers.iot.worker.handler",
        runtime=runtime,
        grants=[bucket.grant_write(REJECTED), table.grant_store(), alerts.grant_alert(config.alarms.runbook)],
        environment=_environment(config),
        opts=opts,
    )
    silence = silence_part(f"{name}-watcher", config, table=table, alerts=alerts, runtime=runtime)
    functions = [worker.function, *silence.functions]
    rejections = Alarm(
        "Too much of what is uploaded is refused; rejected/ says what and why.",
        rate_of(own_metric("Rejected", service, "Sum"), own_metric("Received", service, "Sum")),
        threshold=config.alarms.rejected_rate_percent,
        section="rejected-readings",
        step="worker",
    )
    bad_metrics = Alarm(
        "Too many devices send metrics that cannot be used; rejected/ says which and why.",
        rate_of(own_metric("DevicesWithBadMetrics", service, "Sum"), own_metric("Devices", service, "Sum")),
        threshold=config.alarms.bad_metric_devices_percent,
        section="bad-metrics",
        step="worker",
    )
    skipped = Alarm(
        "Objects are not read because of their keys; the worker's log names them. See readings.suffixes.",
        own_metric("Skipped", service, "Sum"),
        threshold=config.alarms.skipped_objects,
        section="skipped-objects",
        step="worker",
    )
    watch = Observability(
        f"{name}-watch",
        service=service,
        alarms={
            "rejected-readings": rejections,
            "bad-metrics": bad_metrics,
            "skipped-objects": skipped,
            **worker.alarms(config.alarms),
            **heartbeat_alarm(
                "No reading was stored for too long.",
                own_metric("Stored", service, "Sum"),
                config.alarms.heartbeat_minutes,
            ),
            **silence.alarms,
            **alerts.alarms("alerts"),
            **alarms.alarms("alarms"),
        },
        panels=[
            counts_panel("Readings", service, "Stored", "Repeated", "Rejected", "Partial"),
            counts_panel("Alerts", service, "Alerts"),
            *silence.panels,
            *worker.panels(),
            latency_panel("Uploaded to stored (ms)", service),
            functions_panel(functions),
        ],
        alarms_arn=alarms.arn,
        runbook=config.alarms.runbook,
        opts=opts,
    )
    return {
        "input_bucket": bucket.name,
        "table_name": table.name,
        "dead_letter_queue_url": dead_letters.url,
        "alerts_topic_arn": alerts.arn,
        "alarms_topic_arn": alarms.arn,
        "alarm_names": watch.alarm_names,
        "worker_name": worker.function.name,
        "log_groups": log_groups(name, functions),
    }


def _schema(config: IotPipelineConfig) -> str:
    path = config.readings.reading_schema
    return json.dumps({} if path == "none" else read_event_schema(Path(path)), sort_keys=True)


def _environment(config: IotPipelineConfig) -> dict[str, Input[str]]:
    return {
        "MAX_OBJECT_BYTES": str(config.readings.max_object_mb * BYTES_A_MEGABYTE),
        "MAX_READINGS": str(config.readings.max_per_object),
        "MAX_AHEAD_SECONDS": str(config.readings.max_ahead_seconds),
        "SUFFIXES": " ".join(config.readings.suffixes),
        "DEVICE_IN_KEY": json.dumps(config.readings.device_in_key),
        "MAX_ALERT_AGE_MINUTES": str(config.readings.max_alert_age_minutes or 0),
        "READINGS_EXPIRE_AFTER_DAYS": str(config.storage.readings_expire_after_days),
    }
