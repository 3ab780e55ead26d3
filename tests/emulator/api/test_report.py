"""The scheduled report, on events with exact times and outcomes."""

import dataclasses
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from handlers.api import reader, report
from handlers.api.events import Envelope
from handlers.api.identity import new_id
from handlers.api.items import Completion
from handlers.api.reader import EventReader
from handlers.api.report import Reporter
from handlers.api.settings import ReportSettings
from handlers.api.summary import Window, window_before
from handlers.api.table import EventTable
from handlers.shared.times import timestamp
from tests.api_pipeline import Pipeline, Time
from tests.decisions import FAILURES, LOGS, denied, recorded, unused
from tests.roles import Role

# Yesterday, so that nothing is in the future and nothing has expired.
MIDNIGHT = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)

UNSEEN = FAILURES | LOGS


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
            completed_at = timestamp(received + timedelta(milliseconds=took_ms))
            status = "failed" if error else "succeeded"
            done = Completion(envelope, status, 1, completed_at, error=error or None, error_type=error or None)
            assert self.writing.complete([done], known=[]) == [None]
        return envelope.id

    def of(self, since: datetime, until: datetime, has_time: Callable[[], bool] = lambda: True) -> Any:
        settings = self.settings
        reading = EventReader(settings.table_name, time_index_shards=settings.time_index_shards)
        urls = {"queue_url": settings.queue_url, "dead_letter_queue_url": settings.dead_letter_queue_url}
        return Reporter(reading, **urls, service="test").report(Window("on demand", since, until), has_time)

    def run(self, moment: datetime, period: str = "hourly", seconds: float = 60) -> None:
        """Run the function in this process, as its schedule would."""
        report.handler({"period": period, "time": moment.isoformat()}, Time(seconds))

    def messages(self) -> list[tuple[str, str]]:
        """Receive the subjects and texts published since the last call."""
        found = [json.loads(message["Body"]) for message in self.pipeline._messages(self.pipeline.inbox_url)]
        return [(message["Subject"], message["Message"]) for message in found]

    def kept(self) -> dict[str, Any]:
        return {key: json.loads(body) for key, body in self.pipeline.objects("reports/").items()}


@pytest.fixture
def reports(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Reports:
    made = Reports(pipeline)
    monkeypatch.setattr(report, "_settings", lambda: made.settings)
    return made


def test_a_window_with_known_contents_is_counted_exactly(reports: Reports) -> None:
    hour = MIDNIGHT + timedelta(hours=10)
    # 40 took 10, 20, ... 400 ms, 3 failed, 2 are still queued, and 2 are just outside the window.
    for number in range(40):
        reports.have(hour + timedelta(minutes=number), took_ms=10 * (number + 1))
    for number in range(3):
        reports.have(hour + timedelta(seconds=number), "refund", 60_000, error="Rejected" if number else "TimeoutError")
    for number in range(2):
        reports.have(hour + timedelta(seconds=number), "refund", took_ms=None)
    reports.have(hour - MICROSECOND)
    reports.have(hour + timedelta(hours=1))
    reports.pipeline.root("sqs").send_message(QueueUrl=reports.settings.queue_url, MessageBody="{}")
    reports.pipeline.root("sqs").send_message(QueueUrl=reports.settings.queue_url, MessageBody="{}")
    reports.pipeline.root("sqs").send_message(QueueUrl=reports.settings.dead_letter_queue_url, MessageBody="{}")

    reports.run(hour + timedelta(hours=1, minutes=5))

    ((key, kept),) = reports.kept().items()
    assert key == f"reports/hourly/{hour:%Y-%m-%d}T10.json"
    del kept["reported_at"]
    assert kept == {
        "service": "test",
        "period": "hourly",
        "since": timestamp(hour),
        "until": timestamp(hour + timedelta(hours=1)),
        "complete": True,
        "events": 45,
        "by_status": {"queued": 2, "retrying": 0, "succeeded": 40, "failed": 3},
        "by_type": {
            "order": {"queued": 0, "retrying": 0, "succeeded": 40, "failed": 0},
            "refund": {"queued": 2, "retrying": 0, "succeeded": 0, "failed": 3},
        },
        "failures": {"Rejected": 2, "TimeoutError": 1},
        # The 22nd and the 41st of 43.
        "latency_ms": {"count": 43, "p50": 220, "p95": 60_000, "approximate": False},
        "queue_depth": 2,
        "dead_letter_depth": 1,
    }
    ((subject, text),) = reports.messages()
    assert subject == f"test: hourly report of {hour:%Y-%m-%d} 10:00 to 11:00 UTC"
    assert "45 events received: 40 succeeded, 3 failed, 0 retrying, 2 queued" in text
    assert "p50 220 ms, p95 60,000 ms" in text


def test_since_is_included_and_until_is_not_to_the_microsecond_and_across_midnight(reports: Reports) -> None:
    for received in (
        MIDNIGHT - timedelta(minutes=30) - MICROSECOND,
        MIDNIGHT - timedelta(minutes=30),
        MIDNIGHT - MICROSECOND,
        MIDNIGHT,
        MIDNIGHT + timedelta(minutes=30) - MICROSECOND,
        MIDNIGHT + timedelta(minutes=30),
    ):
        reports.have(received)
    half = timedelta(minutes=30)
    assert reports.of(MIDNIGHT - half, MIDNIGHT + half)["events"] == 4
    assert reports.of(MIDNIGHT - half, MIDNIGHT)["events"] == 2
    assert reports.of(MIDNIGHT, MIDNIGHT + half)["events"] == 2
    assert reports.of(MIDNIGHT, MIDNIGHT + MICROSECOND)["events"] == 1
    assert reports.of(MIDNIGHT, MIDNIGHT)["events"] == 0


def test_an_event_belongs_to_the_window_it_was_received_in(reports: Reports) -> None:
    reports.have(MIDNIGHT + timedelta(hours=1) - MICROSECOND, took_ms=7_200_000)
    found = reports.of(MIDNIGHT, MIDNIGHT + timedelta(hours=1))
    assert (found["events"], found["latency_ms"]["p50"]) == (1, 7_200_000)
    assert reports.of(MIDNIGHT + timedelta(hours=1), MIDNIGHT + timedelta(hours=4))["events"] == 0


def test_all_pages_of_the_index_are_read(reports: Reports, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "INDEX_PAGE", 2)
    ids = {reports.have(MIDNIGHT + timedelta(minutes=number)) for number in range(50)}
    reading = EventReader(reports.settings.table_name, time_index_shards=reports.settings.time_index_shards)
    end = MIDNIGHT + timedelta(hours=1)
    partitions = reading.partitions(timestamp(MIDNIGHT), timestamp(end))
    assert partitions == [f"{MIDNIGHT:%Y-%m-%d}#{shard}" for shard in range(8)]
    pages = [page for each in partitions for page in reading.pages(each, timestamp(MIDNIGHT), timestamp(end))]
    assert max(len(page) for page in pages) == 2
    assert sorted(found for page in pages for found in page) == sorted(ids)
    assert reports.of(MIDNIGHT, end)["events"] == 50


def test_without_time_to_read_everything_a_report_is_incomplete(
    reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "INDEX_PAGE", 2)
    for number in range(30):
        reports.have(MIDNIGHT + timedelta(minutes=number))
    looks = iter([True] * 4)
    found = reports.of(MIDNIGHT, MIDNIGHT + timedelta(hours=1), lambda: next(looks, False))
    assert found["complete"] is False
    assert 0 < found["events"] <= 8
    reports.run(MIDNIGHT + timedelta(hours=1), seconds=report.PUBLISHING_SECONDS)
    ((_, text),) = reports.messages()
    assert "INCOMPLETE" in text


def test_an_empty_hour_and_an_empty_day_are_reported_as_empty(reports: Reports) -> None:
    reports.run(MIDNIGHT, "hourly")
    reports.run(MIDNIGHT, "daily")
    before = MIDNIGHT - timedelta(days=1)
    assert {key: kept["events"] for key, kept in reports.kept().items()} == {
        f"reports/hourly/{before:%Y-%m-%d}T23.json": 0,
        f"reports/daily/{before:%Y-%m-%d}.json": 0,
    }
    assert ["No events were received." in text for _, text in reports.messages()] == [True, True]


def test_a_retry_reports_on_the_same_window_under_the_same_key(reports: Reports) -> None:
    moment = MIDNIGHT + timedelta(hours=1, minutes=5)
    settings = reports.settings
    reports.settings = dataclasses.replace(settings, reports_topic_arn=f"{settings.reports_topic_arn}-nowhere")
    with pytest.raises(ClientError, match="NotFound"):
        reports.run(moment)
    reports.settings = settings
    # An event at the very end of the window, which appears in the index only now.
    reports.have(MIDNIGHT + timedelta(hours=1) - MICROSECOND)
    reports.run(moment)
    ((key, kept),) = reports.kept().items()
    assert (key, kept["events"]) == (window_before("hourly", moment).key, 1)
    assert len(reports.messages()) == 1


def test_lambda_runs_the_function_with_what_the_schedule_gives_it(reports: Reports) -> None:
    root = reports.pipeline.root
    schedules = [
        root("scheduler").get_schedule(Name=each["Name"]) for each in root("scheduler").list_schedules()["Schedules"]
    ]
    inputs = [(json.loads(each["Target"]["Input"]), each["Target"]) for each in schedules]
    # The reconciler's schedule has none.
    targets = {given["period"]: target for given, target in inputs if "period" in given}
    assert set(targets) == {"hourly", "daily"}
    for period, moment in (("hourly", MIDNIGHT + timedelta(hours=3, minutes=5)), ("daily", MIDNIGHT)):
        # As AWS does: https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html
        payload = targets[period]["Input"].replace("<aws.scheduler.scheduled-time>", f"{moment:%Y-%m-%dT%H:%M:%SZ}")
        answer = root("lambda").invoke(FunctionName=targets[period]["Arn"], Payload=payload)
        assert "FunctionError" not in answer, answer["Payload"].read()
        assert window_before(period, moment).key in reports.kept()
    assert {kept["service"] for kept in reports.kept().values()} == {"datapipeline-dev"}
    assert len(reports.messages()) == 2


def role_of(reports: Reports) -> Role:
    return Role(reports.pipeline.root, reports.pipeline.environments["report"]["AWS_LAMBDA_FUNCTION_NAME"])


def does_all_it_does(reports: Reports) -> None:
    """Use each right. Raises ClientError if one is missing."""
    reports.have(MIDNIGHT)
    with role_of(reports).acting():
        reports.run(MIDNIGHT + timedelta(hours=1))


NEEDED = [
    (1, "dynamodb:Query"),
    (2, "dynamodb:BatchGetItem"),
    (3, "sqs:GetQueueAttributes"),
    (4, "s3:PutObject"),
    (5, "sns:Publish"),
]


def test_all_that_is_granted_is_used_where_it_is_granted_and_nothing_is_denied(
    reports: Reports, decisions: Path
) -> None:
    role = role_of(reports)
    assert [each for each in role.actions if each[1] not in UNSEEN] == NEEDED
    with recorded(decisions) as recording:
        does_all_it_does(reports)
    assert len(reports.kept()) == len(reports.messages()) == 1
    assert denied(recording.of(role.name)) == []
    assert {action for action, _ in unused(role.document, recording.of(role.name))} == UNSEEN


@pytest.mark.parametrize(("statement", "action"), NEEDED)
def test_without_any_one_right_it_fails(reports: Reports, statement: int, action: str) -> None:
    with role_of(reports).without(action, statement), pytest.raises(ClientError) as raised:
        does_all_it_does(reports)
    assert "not authorized to perform" in str(raised.value)
