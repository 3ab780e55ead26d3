"""The scheduled report, on events with exact times and outcomes."""

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from handlers.api import reader, report
from handlers.api.reader import EventReader
from handlers.api.report import Reporter
from handlers.api.report_notes import NAME, Notes
from handlers.api.summary import Window, window_before
from handlers.shared.times import timestamp
from tests.api_pipeline import Pipeline
from tests.api_reports import MICROSECOND, MIDNIGHT, Reports


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
        "incomplete_because": None,
        "final": False,
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


# Windows that are reported again


def test_a_window_whose_events_were_not_done_is_counted_again_until_they_are(reports: Reports) -> None:
    hour = MIDNIGHT + timedelta(hours=10)
    key = f"reports/hourly/{hour:%Y-%m-%d}T10.json"
    reports.have(hour)
    waiting = reports.have(hour + timedelta(minutes=1), took_ms=None)
    reports.run(hour + timedelta(hours=1, minutes=5))
    assert (reports.kept()[key]["final"], reports.kept()[key]["by_status"]["queued"]) == (False, 1)
    # One and two hours later.
    reports.run(hour + timedelta(hours=2, minutes=5))
    assert reports.kept()[key]["final"] is False
    reports.finish(waiting, hour + timedelta(minutes=1))
    reports.run(hour + timedelta(hours=3, minutes=5))
    assert reports.kept()[key]["final"] is True
    assert reports.kept()[key]["by_status"] == {"queued": 0, "retrying": 0, "succeeded": 2, "failed": 0}
    first, second, third = [text for _, text in reports.messages()]
    again = f"Counted again: test: hourly report of {hour:%Y-%m-%d} 10:00 to 11:00 UTC"
    assert again not in first
    assert f"{again}\n2 events received: 1 succeeded, 0 failed, 0 retrying, 1 queued\n" in second
    assert f"{again}\n2 events received: 2 succeeded, 0 failed, 0 retrying, 0 queued\n" in third
    # It is final: nobody looks at it again.
    reports.run(hour + timedelta(hours=5, minutes=5))
    ((_, text),) = reports.messages()
    assert again not in text


def test_a_window_that_cannot_be_counted_again_keeps_its_report(
    reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = MIDNIGHT + timedelta(hours=10)
    reports.have(hour)
    reports.have(hour, took_ms=None)
    reports.run(hour + timedelta(hours=1, minutes=5))
    before = reports.kept()[f"reports/hourly/{hour:%Y-%m-%d}T10.json"]
    monkeypatch.setattr(Reporter, "report", no_time_for(hour))
    reports.run(hour + timedelta(hours=2, minutes=5))
    assert reports.kept()[f"reports/hourly/{hour:%Y-%m-%d}T10.json"] == before
    assert "Counted again" not in reports.messages()[-1][1]


def no_time_for(hour: datetime) -> Callable[..., Any]:
    original = Reporter.report

    def report(self: Reporter, window: Window, has_time: Callable[[], bool]) -> Any:
        return original(self, window, (lambda: False) if window.since == hour else has_time)

    return report


def test_what_is_left_of_an_expired_window_does_not_replace_its_report(reports: Reports) -> None:
    for number in range(25):
        reports.have(MIDNIGHT + timedelta(minutes=number))
    moment = MIDNIGHT + timedelta(hours=1, minutes=5)
    reports.run(moment)
    ((key, before),) = reports.kept().items()
    assert (before["events"], before["complete"]) == (25, True)
    # More than a day later, on a stack that has always kept items for a day.
    reports.settings = dataclasses.replace(reports.settings, items_expire_after_days=1)
    put_notes(reports, Notes(((datetime.min.replace(tzinfo=UTC), 1),)))
    reports.run(moment)
    assert reports.kept()[key] == before
    ((_, text),) = reports.messages()[-1:]
    assert "INCOMPLETE: events of this time may have expired (storage.items_expire_after_days)" in text


def test_days_that_items_were_not_kept_stay_incomplete_when_they_are_kept_for_longer(reports: Reports) -> None:
    week = Notes(((datetime.min.replace(tzinfo=UTC), 1), (datetime.now(UTC) - timedelta(hours=1), 90)))
    put_notes(reports, week)
    found = reports.of(MIDNIGHT - timedelta(days=1), MIDNIGHT)
    assert (found["complete"], found["incomplete_because"], found["final"]) == (False, "expired", False)
    now = datetime.now(UTC)
    assert reports.of(now - timedelta(hours=23), now)["complete"] is True


def put_notes(reports: Reports, notes: Notes) -> None:
    table = EventReader(reports.settings.table_name, time_index_shards=1)
    attributes = dataclasses.replace(notes, change_count=1).attributes()
    assert table.put_note(NAME, attributes, (table.note(NAME) or {}).get("change_count", 0))


def test_two_runs_that_note_at_once_lose_nothing(reports: Reports, monkeypatch: pytest.MonkeyPatch) -> None:
    hour, day = MIDNIGHT + timedelta(hours=23), MIDNIGHT
    reports.have(hour, took_ms=None)
    put_note = EventReader.put_note

    def slower(*given: Any) -> bool:
        monkeypatch.setattr(EventReader, "put_note", put_note)
        reports.run(day + timedelta(days=1, minutes=10), "daily")
        return put_note(*given)

    monkeypatch.setattr(EventReader, "put_note", slower)
    reports.run(hour + timedelta(hours=1, minutes=5))
    table = EventReader(reports.settings.table_name, time_index_shards=1)
    assert {window.period for window in Notes.of(table.note(NAME)).open} == {"hourly", "daily"}
