"""The scheduled report: counts the events of the last hour or day by outcome, stores the counts and publishes them.

The time index is read partition by partition, never the whole table; items are read by their ids, 100 to a call. The
window follows from the time of the schedule, so that a retry reports on the same window under the same key. The object
is written before the message is published, so that readers of the message find it.
"""

import json
import os
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from handlers.api.reader import EventReader
from handlers.api.settings import ReportSettings
from handlers.api.summary import Report, Tally, Window, summary, text, title, window_before
from handlers.shared import aws
from handlers.shared.context import LambdaContext
from handlers.shared.log import write_record
from handlers.shared.queues import depth
from handlers.shared.times import timestamp

# Reserved at the end of the function's time for storing and publishing the report.
PUBLISHING_SECONDS = 15


class Reporter:
    """Counts the events of windows of time. `service` names the pipeline."""

    def __init__(self, table: EventReader, *, queue_url: str, dead_letter_queue_url: str, service: str) -> None:
        self._table = table
        self._queue_urls = (queue_url, dead_letter_queue_url)
        self._service = service

    def report(self, window: Window, has_time: Callable[[], bool] = lambda: True) -> Report:
        """Return the report of a window. It is not `complete` if there was no time to read all events."""
        since, until = timestamp(window.since), timestamp(window.until)
        tally, lock = Tally(), threading.Lock()

        def count(partition: str) -> bool:
            """Count a partition. Returns False if time ran out before its end."""
            for ids in self._table.pages(partition, since, until):
                if not has_time():
                    return False
                items = self._table.outcomes(ids).values()
                with lock:
                    tally.add(items)
            return True

        counted = aws.each(count, self._table.partitions(since, until))
        depths = depth(self._queue_urls[0]), depth(self._queue_urls[1])
        return summary(window, tally, depths, service=self._service, complete=all(counted))


def keep(report: Report, window: Window, bucket: str) -> None:
    """Store a report below `reports/`."""
    aws.client("s3").put_object(
        Bucket=bucket,
        Key=window.key,
        Body=json.dumps(report, indent=2).encode(),
        ContentType="application/json",
    )


def publish(report: Report, topic_arn: str) -> None:
    """Publish a report as text."""
    aws.client("sns").publish(
        TopicArn=topic_arn,
        Subject=title(report),
        Message=text(report),
        MessageAttributes={"kind": {"DataType": "String", "StringValue": "report"}},
    )


@cache
def _settings() -> ReportSettings:
    return ReportSettings.from_environment()


def handler(event: Mapping[str, Any], context: LambdaContext) -> None:
    """Report on the window before `time`, or before now. The Lambda entry point.

    `event` is `{"period": "hourly" | "daily", "time"}`.
    """
    settings = _settings()
    moment = datetime.fromisoformat(event["time"]) if "time" in event else datetime.now(UTC)
    window = window_before(event["period"], moment)
    reporter = Reporter(
        EventReader(settings.table_name, time_index_shards=settings.time_index_shards),
        queue_url=settings.queue_url,
        dead_letter_queue_url=settings.dead_letter_queue_url,
        service=os.environ["POWERTOOLS_SERVICE_NAME"],
    )
    report = reporter.report(window, lambda: context.get_remaining_time_in_millis() > PUBLISHING_SECONDS * 1_000)
    keep(report, window, settings.bucket_name)
    publish(report, settings.reports_topic_arn)
    logged = ("period", "since", "until", "complete", "events", "by_status", "latency_ms")
    write_record("report", key=window.key, **{name: report[name] for name in logged})
