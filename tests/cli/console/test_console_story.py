"""The story of an event, told from its item and from log lines as the functions write them."""

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from cli.console.events import Events
from cli.console.story import about, correlation_ids, is_under, moments
from cli.core.logs import Line

ID, OTHER = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
RECEIVED = "2026-11-27T06:00:00.000000Z"


def item(status: str, attempts: int = 1, **more: Any) -> dict[str, Any]:
    return {"id": ID, "type": "order", "status": status, "attempts": attempts, "received_at": RECEIVED, **more}


def line(second: int, **entry: Any) -> Line:
    written = {"timestamp": f"2026-11-27 06:00:{second:02},500+0000", **entry}
    # CloudWatch's time is that of the whole run.
    return Line(1_795_759_259_000, "worker", json.dumps(written))


def request(second: int, accepted: int = 1, ids: tuple[str, ...] = (ID,)) -> Line:
    entry = {"route": "POST /events", "status": 202, "accepted": accepted, "ids": list(ids), "correlation_id": "c"}
    return line(second, message="request", **entry)


def failure(second: int, attempt: int) -> Line:
    return line(second, message="an attempt failed", level="WARNING", id=ID, attempt=attempt, exception="Traceback: no")


def batch(second: int, outcome: str, attempts: int | None = None, **more: Any) -> Line:
    own = {"outcome": outcome, "id": ID, "attempts": attempts, **more}
    return line(second, message="batch", events=[{"outcome": "succeeded", "id": OTHER, "attempts": 9}, own])


def titles(found: dict[str, Any], *lines: Line) -> list[str]:
    return [each.title for each in moments(found, lines)]


def test_a_successful_event_is_received_queued_and_done() -> None:
    told = moments(item("succeeded"), [request(0), batch(1, "succeeded", 1, latency_ms=1_500)])
    assert [(each.title, each.style) for each in told] == [
        ("received", "queued"),
        ("queued", "queued"),
        ("attempt 1 succeeded", "succeeded"),
    ]
    assert told[0].time == RECEIVED
    assert told[1].time == "2026-11-27T06:00:00.500+00:00"
    assert told[2].detail == "1,500 ms after it was received"


def test_each_attempt_of_a_retried_event_has_its_error_and_traceback() -> None:
    lines = [
        request(0),
        failure(1, 1),
        batch(2, "retrying", 1, error="ValueError: no"),
        batch(3, "circuit open"),
        batch(4, "succeeded", 2, latency_ms=4_000),
    ]
    told = moments(item("succeeded", 2), lines)
    assert [each.title for each in told[2:]] == ["attempt 1 failed", "circuit open", "attempt 2 succeeded"]
    assert (told[2].style, told[2].detail, told[2].traceback) == ("retrying", "ValueError: no", "Traceback: no")


def test_a_worker_that_is_faster_than_the_line_of_the_request_confuses_nothing() -> None:
    told = moments(item("failed"), [failure(0, 1), request(1), batch(2, "failed", 1, error="not this")])
    assert [each.title for each in told] == ["received", "queued", "attempt 1 failed", "dead-lettered"]
    assert (told[2].detail, told[2].traceback) == ("not this", "Traceback: no")


def test_while_it_is_retried_the_next_attempt_is_named() -> None:
    waiting = item("retrying", next_attempt_at="2026-11-27T06:05:00Z")
    assert titles(waiting, failure(1, 1))[-2:] == ["attempt 1 failed", "next attempt"]


def test_a_rejected_event_is_dead_lettered_and_a_redriven_one_taken_up_again() -> None:
    dead = [request(0), failure(1, 1), batch(1, "failed", 1, error="not this")]
    assert titles(item("failed"), *dead)[2:] == ["attempt 1 failed", "dead-lettered"]
    again = [*dead, failure(9, 1), batch(9, "retrying", 1, error="not yet"), batch(11, "succeeded", 2)]
    assert titles(item("succeeded", 2), *again)[2:] == [
        "attempt 1 failed",
        "dead-lettered",
        "redriven",
        "attempt 1 failed",
        "attempt 2 succeeded",
    ]


def test_repeats_are_no_attempts() -> None:
    lines = [request(0), batch(1, "succeeded", 1), request(2, accepted=0), batch(3, "done")]
    assert titles(item("succeeded"), *lines)[3:] == ["repeated request", "delivered again, already done"]


def test_the_item_tells_the_outcome_where_no_line_does() -> None:
    failed = item("failed", 5, completed_at="2026-11-27T06:09:00Z", error="ValueError: no")
    told = moments(failed, [])
    assert [each.title for each in told] == ["received", "queued", "attempt 5 failed", "dead-lettered"]
    assert (told[2].time, told[2].detail) == ("2026-11-27T06:09:00Z", "ValueError: no")


def test_lines_of_a_request_belong_to_an_event_only_if_it_was_alone() -> None:
    assert correlation_ids([request(0)], ID) == {"c"}
    assert correlation_ids([request(0, 2, (ID, OTHER)), batch(1, "succeeded", 1)], ID) == set()


def test_what_other_events_of_the_batch_came_to_is_not_told() -> None:
    other = line(1, message="an attempt failed", id=OTHER, attempt=1, exception="of another", correlation_ids=["c"])
    assert titles(item("succeeded"), request(0), other, batch(1, "succeeded", 1))[2:] == ["attempt 1 succeeded"]
    assert not is_under(other, "c", ID)
    assert not is_under(line(1, message="priced", correlation_id="c", id=OTHER), "c", ID)
    assert is_under(line(1, message="priced", correlation_id="c"), "c", ID)


def test_a_line_says_nothing_of_other_events() -> None:
    assert OTHER not in about(batch(1, "succeeded", 1).message, ID)
    assert about("plain text", ID) == "plain text"


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        (ID, f'"{ID}"'),
        ("order 17 (web)", '"order 17 (web)"'),
        ('a"longer', '"longer"'),
        (r"C:\temp\orders", '"orders"'),
        ('"', None),
        ('" "', None),
    ],
)
def test_a_correlation_id_with_quotes_is_found_with_a_pattern_that_cloudwatch_takes(
    text: str, pattern: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    own, other = (json.dumps({"message": "print", "correlation_id": each}) for each in (text, f"other {text[1:]}"))

    def filter_log_events(**given: Any) -> dict[str, Any]:
        asked.append(given["filterPattern"])
        return {"events": [{"timestamp": 1, "message": each, "eventId": each} for each in (own, other, f"raw {text}")]}

    monkeypatch.setattr(boto3, "client", lambda _: SimpleNamespace(filter_log_events=filter_log_events))
    events = Events.__new__(Events)
    events._stack = SimpleNamespace(outputs={"log_groups": {"worker": "group"}})  # type: ignore[assignment]
    lines = events._matching(text, datetime.now(UTC))
    assert asked == ([] if pattern is None else [pattern])
    assert [each.message for each in lines] == ([] if pattern is None else [own])
