"""The scheduled report: counts the events of the last hour or day by outcome, stores the counts and publishes them.

The time index is read partition by partition, never the whole table; items are read by their ids, 100 to a call. The
window follows from the time of the schedule, so that a retry reports on the same window under the same key. The object
is written before the message is published, so that readers of the message find it. A window whose events were not all
done is counted again later, and its object replaced.
"""

import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

from handlers.api.reader import EventReader
from handlers.api.report_notes import NAME, Notes
from handlers.api.settings import ReportSettings
from handlers.api.summary import Report, Tally, Window, summary, text, title, window_before
from handlers.shared import aws
from handlers.shared.context import LambdaContext
from handlers.shared.dynamodb import TableError
from handlers.shared.log import write_record
from handlers.shared.queues import depth
from handlers.shared.times import timestamp

# Reserved at the end of the function's time for storing and publishing the report.
PUBLISHING_SECONDS = 15
NOTING_ATTEMPTS = 5


class Reporter:
    """Counts the events of windows of time. `service` names the pipeline."""

    def __init__(
        self,
        table: EventReader,
        *,
        queue_url: str,
        dead_letter_queue_url: str,
        items_expire_after_days: int,
        service: str,
    ) -> None:
        self._table = table
        self._days = items_expire_after_days
        self._queue_urls = (queue_url, dead_letter_queue_url)
        self._service = service

    def report(self, window: Window, has_time: Callable[[], bool] = lambda: True) -> Report:
        """Return the report of a window.

        It is not `complete` if there was no time to read all events, or if items of the window may have expired.
        """
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
        # Looked at last: what expires meanwhile is missing, too.
        expired = since < timestamp(self.notes().kept_since(datetime.now(UTC)))
        reason = "expired" if expired else None if all(counted) else "time"
        return summary(window, tally, depths, service=self._service, incomplete_because=reason)

    def notes(self) -> Notes:
        """Return what earlier reports have noted, with the retention of items as it is now."""
        return Notes.of(self._table.note(NAME)).with_retention(self._days, datetime.now(UTC))


def keep(report: Report, window: Window, bucket: str) -> None:
    """Store a report below `reports/`."""
    aws.client("s3").put_object(
        Bucket=bucket,
        Key=window.key,
        Body=json.dumps(report, indent=2).encode(),
        ContentType="application/json",
    )


def publish(report: Report, topic_arn: str, corrected: Sequence[Report] = ()) -> None:
    """Publish a report as text, with those of earlier windows that were counted again."""
    aws.client("sns").publish(
        TopicArn=topic_arn,
        Subject=title(report),
        Message=text(report, corrected),
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
    table = EventReader(settings.table_name, time_index_shards=settings.time_index_shards)
    reporter = Reporter(
        table,
        queue_url=settings.queue_url,
        dead_letter_queue_url=settings.dead_letter_queue_url,
        items_expire_after_days=settings.items_expire_after_days,
        service=os.environ["POWERTOOLS_SERVICE_NAME"],
    )

    def has_time() -> bool:
        return context.get_remaining_time_in_millis() > PUBLISHING_SECONDS * 1_000

    report = reporter.report(window, has_time)
    # What was stored while its events were there is not replaced by what is left of them.
    if report["incomplete_because"] != "expired":
        keep(report, window, settings.bucket_name)
    corrected = {}
    for earlier in reporter.notes().due(window):
        again = reporter.report(earlier, has_time)
        if again["complete"]:
            keep(again, earlier, settings.bucket_name)
            corrected[earlier] = again
    publish(report, settings.reports_topic_arn, list(corrected.values()))
    _note(reporter, table, {**corrected, window: report})
    logged = ("period", "since", "until", "complete", "events", "by_status", "latency_ms")
    counted_again = [each.key for each in corrected]
    write_record("report", key=window.key, **{name: report[name] for name in logged}, counted_again=counted_again)


def _note(reporter: Reporter, table: EventReader, reports: Mapping[Window, Report]) -> None:
    """Note which windows are final, for the next runs. Another period's run may do so at the same time."""
    # What has expired is never going to be complete.
    final = [each for each, report in reports.items() if report["final"] or report["incomplete_because"] == "expired"]
    open_ = [each for each in reports if each not in final]
    for _ in range(NOTING_ATTEMPTS):
        notes = reporter.notes()
        changed = notes.reported(final, open_, datetime.now(UTC))
        if table.put_note(NAME, replace(changed, change_count=notes.change_count + 1).attributes(), notes.change_count):
            return
    raise TableError(f"the item {NAME} was not written: others change it all the time")
