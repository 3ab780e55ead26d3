"""Windows and counts of a summary, over items in memory."""

import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.api import events, summary
from handlers.api.summary import OTHER_NAMES, Latencies, Tally, Window, text, title, window_before
from handlers.shared import aws
from handlers.shared.times import timestamp

if TYPE_CHECKING:
    from handlers.api.items import CountedItem

RECEIVED = datetime(2026, 11, 21, 10, 30, tzinfo=UTC)
HOUR = Window("hourly", datetime(2026, 11, 21, 10, tzinfo=UTC), datetime(2026, 11, 21, 11, tzinfo=UTC))


def item(
    status: str = "succeeded", event_type: str = "order", *, took_ms: float | None = None, **more: Any
) -> "CountedItem":
    done = {} if took_ms is None else {"completed_at": timestamp(RECEIVED + timedelta(milliseconds=took_ms))}
    known = {"type": event_type, "status": status, "received_at": timestamp(RECEIVED)}
    return cast("CountedItem", {**known, **done, **more})


def report(*items: "CountedItem", incomplete_because: str | None = None) -> Any:
    tally = Tally()
    tally.add(items)
    return summary.summary(HOUR, tally, (4, 2), service="shop-prod", incomplete_because=incomplete_because)


@pytest.mark.parametrize(
    ("moment", "since", "until", "key"),
    [
        ("2026-11-21T11:05:00Z", "2026-11-21T10:00:00+00:00", "2026-11-21T11:00:00+00:00", "2026-11-21T10"),
        ("2026-11-21T11:59:59.999Z", "2026-11-21T10:00:00+00:00", "2026-11-21T11:00:00+00:00", "2026-11-21T10"),
        ("2026-11-21T11:00:00Z", "2026-11-21T10:00:00+00:00", "2026-11-21T11:00:00+00:00", "2026-11-21T10"),
        ("2026-11-21T00:05:00Z", "2026-11-20T23:00:00+00:00", "2026-11-21T00:00:00+00:00", "2026-11-20T23"),
        ("2026-11-21T01:35:00+01:30", "2026-11-20T23:00:00+00:00", "2026-11-21T00:00:00+00:00", "2026-11-20T23"),
    ],
)
def test_the_hourly_window_is_the_last_full_hour(moment: str, since: str, until: str, key: str) -> None:
    window = window_before("hourly", datetime.fromisoformat(moment))
    assert (window.since.isoformat(), window.until.isoformat()) == (since, until)
    assert window.key == f"reports/hourly/{key}.json"


def test_the_daily_window_is_the_last_full_day_in_utc() -> None:
    window = window_before("daily", datetime.fromisoformat("2026-03-01T23:10:00-02:00"))
    assert (window.since.isoformat(), window.until.isoformat()) == (
        "2026-03-01T00:00:00+00:00",
        "2026-03-02T00:00:00+00:00",
    )
    assert window.key == "reports/daily/2026-03-01.json"


def test_another_period_is_an_error() -> None:
    with pytest.raises(ValueError, match="weekly"):
        window_before("weekly", RECEIVED)


def test_events_are_counted_by_type_status_and_error() -> None:
    counted = report(
        item(took_ms=100),
        item(took_ms=300),
        item("failed", took_ms=5_000, error_type="Rejected"),
        item("queued"),
        item("queued", "refund"),
        item("failed", "refund", took_ms=50, error_type="Rejected"),
        item("retrying", error_type="TimeoutError"),
        item("queued"),
    )
    assert counted["events"] == 8
    assert counted["by_status"] == {"queued": 3, "retrying": 1, "succeeded": 2, "failed": 2}
    assert list(counted["by_type"].items()) == [
        ("order", {"queued": 2, "retrying": 1, "succeeded": 2, "failed": 1}),
        ("refund", {"queued": 1, "retrying": 0, "succeeded": 0, "failed": 1}),
    ]
    assert counted["failures"] == {"Rejected": 2}
    assert counted["latency_ms"] == {"count": 4, "p50": 100, "p95": 5_000, "approximate": False}


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=60))
def test_percentiles_are_the_nearest_rank(taken: list[int]) -> None:
    latencies = Latencies()
    for milliseconds in taken:
        latencies.add(milliseconds)
    ordered = sorted(taken)
    found = latencies.report()
    assert found["count"] == len(taken)
    assert found["p50"] == ordered[math.ceil(len(taken) * 0.5) - 1]
    # In integers, because the float 0.95 is slightly less than 0.95.
    assert found["p95"] == ordered[-(-len(taken) * 95 // 100) - 1]


def test_many_different_latencies_are_reported_as_approximate_within_half_a_percent() -> None:
    latencies = Latencies()
    values = range(0, 60_000_000, 1_000)
    assert len(values) > 2 * summary.EXACT_LATENCIES
    for milliseconds in values:
        latencies.add(milliseconds)
    found = latencies.report()
    assert (found["count"], found["approximate"]) == (len(values), True)
    assert found["p50"] == pytest.approx(30_000_000, rel=0.0051)
    assert found["p95"] == pytest.approx(57_000_000, rel=0.0051)
    assert len(latencies._counts) < 3_000


def test_small_latencies_stay_exact_when_the_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "EXACT_LATENCIES", 10)
    latencies = Latencies()
    for milliseconds in range(100):
        latencies.add(milliseconds)
    assert latencies._counts == Counter(range(100))
    assert latencies.approximate


def test_names_beyond_the_limit_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "NAMES", 2)
    counted = report(*(item(event_type=name) for name in ("a", "b", "c", "d", "a")))
    assert {name: counts["succeeded"] for name, counts in counted["by_type"].items()} == {"a": 2, "b": 1, "(others)": 2}


def test_an_empty_window_is_reported_as_empty() -> None:
    empty = report()
    assert empty["events"] == 0
    assert empty["by_status"] == {"queued": 0, "retrying": 0, "succeeded": 0, "failed": 0}
    assert empty["latency_ms"] == {"count": 0, "p50": None, "p95": None, "approximate": False}
    assert text(empty) == (
        "shop-prod: hourly report of 2026-11-21 10:00 to 11:00 UTC\n"
        "\n"
        "No events were received.\n"
        "Now 4 in the queue, 2 with the dead letters\n"
    )


def test_the_text_has_all_counts() -> None:
    some = report(
        *[item(took_ms=1_500)] * 1_200,
        item("failed", "refund", took_ms=9_000, error_type="Rejected"),
        incomplete_because="time",
    )
    assert text(some) == (
        "shop-prod: hourly report of 2026-11-21 10:00 to 11:00 UTC\n"
        "\n"
        "1,201 events received: 1,200 succeeded, 1 failed, 0 retrying, 0 queued\n"
        "Received to completed: p50 1,500 ms, p95 1,500 ms\n"
        "Now 4 in the queue, 2 with the dead letters\n"
        "INCOMPLETE: time ran out before all events were read; the numbers cover some of them.\n"
        "\n"
        "By type\n"
        "      1,200  order\n"
        "          1  refund (1 failed)\n"
        "\n"
        "Failures\n"
        "          1  Rejected\n"
    )


def test_the_text_lists_the_first_few_types_and_the_sum_of_the_rest() -> None:
    many = report(*(item(event_type=f"type-{number:02}") for number in range(23)), item(event_type="type-00"))
    lines = text(many).splitlines()
    assert lines[-1].split() == ["3", "(others)"]
    assert sum("type-" in line for line in lines) == summary.LISTED_NAMES


# Types that clients choose, in the text of the report.
HOSTILE_TYPES = {
    '=HYPERLINK("http://example.org","order")': OTHER_NAMES,
    "=1+1": OTHER_NAMES,
    "<b>order</b>": OTHER_NAMES,
    "Your account is locked": OTHER_NAMES,
    "http://example.org/" + "x" * 480: OTHER_NAMES,
    "example.org/order": OTHER_NAMES,
    "x" * 41: OTHER_NAMES,
    "ö" * 40: "ö" * 40,
    "com.github.pull_request.opened-v2": "com.github.pull_request.opened-v2",
    "order\nFailures": "default",
    "order\r\nSubject: a": "default",
    "order\u2028b": "default",
    "a\u202eb": "default",
    "\x1b[31m": "default",
    "\x9b31m": "default",
    "x" * 513: "default",
}


@pytest.mark.parametrize("named", HOSTILE_TYPES)
def test_a_type_takes_one_line_of_limited_length(named: str) -> None:
    event_type, _ = events.check({"kind": named}, max_depth=1, type_field="kind", validators={})
    lines = text(report(item("failed", event_type, error_type="Rejected"))).split("\n")
    assert lines[4:] == [
        "",
        "By type",
        f"          1  {HOSTILE_TYPES[named]} (1 failed)",
        "",
        "Failures",
        "          1  Rejected",
        "",
    ]
    assert all(line.isprintable() for line in lines)


def test_types_that_are_not_named_are_counted_together() -> None:
    counted = report(
        item(event_type="visit evil.example"), item("failed", "pay at evil.example"), item("failed", "order")
    )
    lines = text(counted).splitlines()
    assert f"          2  {OTHER_NAMES} (1 failed)" in lines
    assert "          1  order (1 failed)" in lines
    assert set(counted["by_type"]) == {"visit evil.example", "pay at evil.example", "order"}


def test_the_name_of_an_error_is_cut() -> None:
    assert text(report(item("failed", error_type="E" * 1_000))).endswith(f"  {'E' * 80}...\n")


@pytest.mark.parametrize("service", ["a", "a-long-name-of-a-project-" * 10])
def test_a_title_is_a_valid_subject_of_sns(service: str) -> None:
    day = {**report(), "service": service, "period": "daily", "until": "2026-11-22T10:00:00.000000Z"}
    assert len(title(day)) <= aws.SUBJECT_CHARACTERS
    assert title(day).isascii()
    assert title(day).endswith("daily report of 2026-11-21 10:00 to 2026-11-22 10:00 UTC")
