"""The report function of the api variant on a pipeline's resources, and events with exact times and outcomes."""

import dataclasses
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from handlers.api import report
from handlers.api.events import Envelope
from handlers.api.identity import new_id
from handlers.api.items import Completion
from handlers.api.reader import EventReader
from handlers.api.report import Reporter
from handlers.api.settings import ReportSettings
from handlers.api.summary import Window
from handlers.api.table import EventTable
from handlers.shared.times import timestamp
from tests.api_pipeline import Pipeline, Time

# Yesterday, so that nothing is in the future and nothing has expired.
MIDNIGHT = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)


@dataclasses.dataclass
class Reports:
    pipeline: Pipeline

    def __post_init__(self) -> None:
        self.settings = ReportSettings.from_environment(self.pipeline.environments["report"])
        self.writing = EventTable(
            self.settings.table_name, time_index_shards=self.settings.time_index_shards, items_expire_after_days=30
        )
        topic, sqs = self.settings.reports_topic_arn, self.pipeline.root("sqs")
        arn = sqs.get_queue_attributes(QueueUrl=self.pipeline.inbox_url, AttributeNames=["QueueArn"])
        self.pipeline.root("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn["Attributes"]["QueueArn"])

    def have(self, received: datetime, event_type: str = "order", took_ms: int | None = 100, error: str = "") -> str:
        """Store an event received at a time; with `took_ms` None it is still queued. Return its id."""
        envelope = Envelope(new_id(), event_type, timestamp(received), "", "", "c", "", {})
        if took_ms is None:
            self.writing.record_queued([envelope])
        else:
            self._finish(envelope, received + timedelta(milliseconds=took_ms), error)
        return envelope.id

    def finish(self, event_id: str, received: datetime) -> None:
        """Let an event that is queued succeed."""
        self._finish(Envelope(event_id, "order", timestamp(received), "", "", "c", "", {}), datetime.now(UTC), "")

    def _finish(self, envelope: Envelope, completed: datetime, error: str) -> None:
        status = "failed" if error else "succeeded"
        done = Completion(envelope, status, 1, timestamp(completed), error=error or None, error_type=error or None)
        assert self.writing.complete([done], known=[]) == [None]

    def of(self, since: datetime, until: datetime, has_time: Callable[[], bool] = lambda: True) -> Any:
        settings = self.settings
        reading = EventReader(settings.table_name, time_index_shards=settings.time_index_shards)
        urls = {"queue_url": settings.queue_url, "dead_letter_queue_url": settings.dead_letter_queue_url}
        days = settings.items_expire_after_days
        return Reporter(reading, **urls, items_expire_after_days=days, service="test").report(
            Window("on demand", since, until), has_time
        )

    def run(self, moment: datetime, period: str = "hourly", seconds: float = 60) -> None:
        """Run the function in this process, as its schedule would."""
        report.handler({"period": period, "time": moment.isoformat()}, Time(seconds))

    def messages(self) -> list[tuple[str, str]]:
        """Receive the subjects and texts published since the last call."""
        found = [json.loads(message["Body"]) for message in self.pipeline._messages(self.pipeline.inbox_url)]
        return [(message["Subject"], message["Message"]) for message in found]

    def kept(self) -> dict[str, Any]:
        return {key: json.loads(body) for key, body in self.pipeline.objects("reports/").items()}
