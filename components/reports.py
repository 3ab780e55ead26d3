"""The scheduled summary of a pipeline's events."""

from collections.abc import Mapping, Sequence

import pulumi
from pulumi import Input, ResourceOptions

from components.bucket import Bucket
from components.function import Size
from components.notifications import Notifications
from components.options.api import ApiPipelineConfig
from components.options.common import NotificationOptions
from components.part import Part
from components.queue import Queue
from components.runtime import Runtime
from components.scheduled_function import ScheduledFunction, Timetable
from components.table import Table

# The item with which handlers/api/report_notes.py remembers.
REPORT_NOTES = "report#notes"
# The prefix that handlers/api/summary.py writes to.
REPORTS = "reports/"
# A large window takes as long as the function may run, and then says that it is not complete.
SIZE = Size(memory_mb=1_024, timeout_seconds=900)
# Some minutes after the window, so that what it is about is in the index; the seconds are Scheduler's to choose.
EXPRESSIONS: Mapping[str, str] = {"hourly": "cron(5 * * * ? *)", "daily": "cron(10 0 * * ? *)"}
STOPPED_AFTER_SECONDS: Mapping[str, int] = {"hourly": 2 * 3_600, "daily": 26 * 3_600}
# Scheduler puts the time in, and the same one when it tries again:
# https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html
SCHEDULED_TIME = "<aws.scheduler.scheduled-time>"


class Reports(pulumi.ComponentResource):
    """A function that reports on each hour, each day (UTC) or both, and the topic that it tells of its reports."""

    def __init__(
        self,
        name: str,
        periods: Sequence[str],
        notifications: NotificationOptions,
        *,
        table: Table,
        queue: Queue,
        bucket: Bucket,
        runtime: Runtime,
        environment: Mapping[str, Input[str]],
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__("datapipeline:index:Reports", name, None, opts)
        child = ResourceOptions(parent=self)
        self.topic = Notifications(f"{name}-topic", notifications, alarms=False, opts=child)
        self.scheduled = ScheduledFunction(
            name,
            {
                period: Timetable(
                    EXPRESSIONS[period], STOPPED_AFTER_SECONDS[period], {"period": period, "time": SCHEDULED_TIME}
                )
                for period in periods
            },
            handler="handlers.api.report.handler",
            runtime=runtime,
            size=SIZE,
            grants=[
                table.grant_list(),
                table.grant_read(),
                table.grant_make(REPORT_NOTES),
                queue.grant_measure(),
                bucket.grant_write(REPORTS),
                self.topic.grant_publish("REPORTS_TOPIC_ARN"),
            ],
            environment=environment,
            opts=child,
        )
        self.register_outputs({"topic": self.topic.arn})


def reports_part(
    name: str, config: ApiPipelineConfig, *, table: Table, queue: Queue, bucket: Bucket, runtime: Runtime
) -> Part:
    """Scheduled reports of what became of events."""
    if config.reports is None:
        return Part()
    reports = Reports(
        name,
        config.reports.schedules,
        config.report_notifications,
        table=table,
        queue=queue,
        bucket=bucket,
        runtime=runtime,
        environment={
            "TIME_INDEX_SHARDS": str(config.storage.time_index_shards),
            "ITEMS_EXPIRE_AFTER_DAYS": str(config.storage.items_expire_after_days),
        },
        opts=runtime.opts,
    )
    return Part(
        functions=[reports.scheduled.function],
        alarms={**reports.scheduled.alarms("report", config.alarms), **reports.topic.alarms("reports")},
        outputs={"reports_topic_arn": reports.topic.arn},
        expiries={REPORTS: config.storage.reports_expire_after_days},
    )
