"""bucket (raw/) -> queue (+ dead letters) -> worker -> bucket (processed/, rejected/, reports/), table, two topics."""

from typing import Any

import pulumi
from pulumi import Output, ResourceOptions

from components.api import HttpApi
from components.bucket import Bucket
from components.files import FileTable, Uploads
from components.function import functions_panel, log_groups
from components.notifications import Notifications
from components.observability import (
    FEWEST_FOR_A_SHARE,
    Alarm,
    Observability,
    counts_panel,
    heartbeat_alarm,
    latency_panel,
    own_metric,
    share,
)
from components.options.csv import CsvAlarmOptions, CsvPipelineConfig
from components.part import Part, total
from components.queue import Queue
from components.redrive import redrive_part
from components.runtime import shared_runtime
from components.worker import Worker

# The prefixes that handlers/csv/run.py writes to, in a bucket of their own: nothing it writes can start it.
PROCESSED, REJECTED, REPORTS, STATE = "processed/", "rejected/", "reports/", "state/"
# Longer than any message lives.
STATE_EXPIRES_AFTER_DAYS = 15


def build(name: str, config: CsvPipelineConfig, *, parent: pulumi.Resource) -> dict[str, Output[Any]]:
    """Build the variant and return the outputs of its stack."""
    # One long function (80 lines at most): read from top to bottom, it is the flow of the variant.
    storage = config.storage
    files = {"columns.json": config.format_json()}
    runtime = shared_runtime(name, config, files=files, parent=parent)
    service, opts = runtime.service, runtime.opts
    alerts = Notifications(f"{name}-alerts", config.notifications, alarms=False, opts=opts)
    # A topic of their own: who can cause alerts must not be able to drown alarms in them.
    alarms = Notifications(f"{name}-alarms", config.notifications, alarms=True, opts=opts)
    notifications = Notifications(f"{name}-files", config.file_notifications, alarms=False, opts=opts)
    table = FileTable(f"{name}-table", storage, opts=opts)
    inputs, outputs = _buckets(name, config, opts)
    queue = Queue(f"{name}-queue", config.queue, config.worker, filled_by=inputs, opts=opts)
    worker = Worker(
        f"{name}-worker",
        queue,
        handler="handlers.csv.worker.handler",
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
            alerts.grant_alert(config.alarms.runbook),
            notifications.grant_publish("NOTIFICATIONS_TOPIC_ARN"),
            outputs.grant_see_missing("an output"),
            outputs.grant_remove(PROCESSED, REJECTED),
        ],
        environment={
            "INPUT_PREFIX": config.input.prefix,
            "SUFFIXES": " ".join(config.input.suffixes),
            "OUTPUT_FORMAT": config.output.format,
            "OUTPUT_VERSIONS": config.output.versions,
            "MAX_ATTEMPTS": str(config.worker.max_attempts),
            "BACKOFF_BASE_SECONDS": str(config.worker.backoff.base_seconds),
            "BACKOFF_MAXIMUM_SECONDS": str(config.worker.backoff.maximum_seconds),
            "ITEMS_EXPIRE_AFTER_DAYS": str(storage.items_expire_after_days),
        },
        opts=opts,
    )
    Uploads(f"{name}-uploads", inputs, queue, prefix=config.input.prefix, opts=opts)
    redrive = redrive_part(f"{name}-redrive", config, queue=queue, read_table=table.grant_read(), runtime=runtime)
    parts = total(Part(functions=[worker.function]), redrive, _api_part(f"{name}-redrive-api", config, redrive, opts))
    watch = Observability(
        f"{name}-watch",
        service=service,
        alarms={
            **queue.alarms(service, config.alarms),
            **_traffic_alarms(service, config.alarms),
            **worker.function.alarms("worker", config.alarms),
            **alerts.alarms("alerts"),
            **alarms.alarms("alarms"),
            **notifications.alarms("files"),
            **parts.alarms,
        },
        panels=[
            counts_panel("Files", service, "FilesSucceeded", "FilesFailed", "FilesSkipped", "FilesContinued"),
            counts_panel("Rows", service, "RowsProcessed", "RowsRejected"),
            *queue.panels(),
            latency_panel("First run to report (ms)", service),
            *parts.panels,
            functions_panel(parts.functions),
        ],
        alarms_arn=alarms.arn,
        runbook=config.alarms.runbook,
        opts=opts,
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
        "alarm_names": watch.alarm_names,
        "log_groups": log_groups(name, parts.functions),
        **parts.outputs,
    }


def _traffic_alarms(service: str, options: CsvAlarmOptions) -> dict[str, Alarm]:
    """Alarms on rows that are rejected, and on files that do not come."""
    rejected = Alarm(
        "Too many rows are rejected: the reports of the files say why.",
        share(
            own_metric("RowsRejected", service, "Sum"),
            own_metric("RowsProcessed", service, "Sum"),
            minimum=FEWEST_FOR_A_SHARE,
        ),
        threshold=options.rejected_rate_percent,
        section="rejected-rows",
        step="worker",
    )
    succeeded = own_metric("FilesSucceeded", service, "Sum")
    description = "No file succeeded for too long."
    return {"rejected-rows": rejected, **heartbeat_alarm(description, succeeded, options.heartbeat_minutes)}


def _buckets(name: str, config: CsvPipelineConfig, opts: ResourceOptions | None) -> tuple[Bucket, Bucket]:
    """The bucket of the uploads, and the bucket that the worker writes to."""
    storage = config.storage
    inputs = Bucket(f"{name}-input", storage, opts=opts)
    inputs.expire({config.input.prefix: storage.inputs_expire_after_days})
    outputs = Bucket(f"{name}-output", storage, opts=opts)
    outputs.expire(
        {
            PROCESSED: storage.processed_expire_after_days,
            REJECTED: storage.rejected_expire_after_days,
            REPORTS: storage.reports_expire_after_days,
            STATE: STATE_EXPIRES_AFTER_DAYS,
        },
    )
    return inputs, outputs


def _api_part(name: str, config: CsvPipelineConfig, redrive: Part, opts: ResourceOptions | None) -> Part:
    """An HTTP API for the routes of the redrive function, if there are any."""
    if not redrive.backends:
        return Part()
    api = HttpApi(name, config.api, config.logs, redrive.backends, opts=opts)
    return Part(
        alarms=api.metrics.alarms(config.alarms), panels=api.metrics.panels(), outputs={"redrive_api_url": api.url}
    )
