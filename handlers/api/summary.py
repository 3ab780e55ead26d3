"""Counts of the events of a window, in one pass and bounded memory. It contains no AWS code."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from handlers.api.items import CountedItem, latency_ms
from handlers.shared.times import timestamp

STATUSES = ("queued", "retrying", "succeeded", "failed")
UNSETTLED = ("queued", "retrying")
PERIODS = {"hourly": timedelta(hours=1), "daily": timedelta(days=1)}
OTHERS = "(others)"
# The maximum number of types and of errors that are counted by name; clients and processors choose the names.
NAMES = 1_000
LISTED_NAMES = 20
# Clients choose types, and must not be able to write mails: sentences and addresses are not named in the text.
OTHER_NAMES = "(with names that are in the stored report)"
_is_name = re.compile(r"[\w-]{1,40}(?:\.[\w-]{1,40}){0,5}").fullmatch
# Longer names of errors are cut in the text.
NAME_CHARACTERS = 80
# Latencies are exact up to this number of different values, in whole milliseconds. Then they are within 0.5 percent.
EXACT_LATENCIES = 20_000
BUCKET_GROWTH = 1.01

INCOMPLETE = {
    "time": "time ran out before all events were read",
    "expired": "events of this time may have expired (storage.items_expire_after_days)",
}

Report = Mapping[str, Any]


@dataclass(frozen=True)
class Window:
    """Events received from `since` (included) until `until` (not). `period`: `hourly`, `daily` or `on demand`."""

    period: str
    since: datetime
    until: datetime

    @classmethod
    def parsed(cls, period: str, since: str) -> Self:
        """Return a scheduled window by its begin."""
        begin = datetime.fromisoformat(since)
        return cls(period, begin, begin + PERIODS[period])

    @property
    def key(self) -> str:
        """The key of a scheduled window's report, which a retry overwrites."""
        return f"reports/{self.period}/{self.since:{'%Y-%m-%d' if self.period == 'daily' else '%Y-%m-%dT%H'}}.json"


def window_before(period: str, moment: datetime) -> Window:
    """Return the last full hour, or the last full day in UTC, before a moment. Raises ValueError for another period."""
    if period not in PERIODS:
        raise ValueError(f"the period is {period!r}; it must be 'hourly' or 'daily'")
    until = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if period == "daily":
        until = until.replace(hour=0)
    return Window(period, until - PERIODS[period], until)


class Latencies:
    """Latencies in milliseconds: exact up to `EXACT_LATENCIES` different values, then approximate."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self.approximate = False

    def add(self, milliseconds: int) -> None:
        """Count one."""
        self._counts[_rounded(milliseconds) if self.approximate else milliseconds] += 1
        if len(self._counts) > EXACT_LATENCIES and not self.approximate:
            exact, self._counts, self.approximate = self._counts, Counter(), True
            for value, count in exact.items():
                self._counts[_rounded(value)] += count

    def report(self) -> dict[str, Any]:
        """Return `{"count", "p50", "p95", "approximate"}`. A percentile is None if nothing was counted."""
        return {
            "count": self._counts.total(),
            "p50": self._percentile(50),
            "p95": self._percentile(95),
            "approximate": self.approximate,
        }

    def _percentile(self, percent: int) -> int | None:
        """Return the percentile by nearest rank."""
        rank = -(-self._counts.total() * percent // 100)
        seen = 0
        for value in sorted(self._counts):
            seen += self._counts[value]
            if seen >= rank:
                return value
        return None


def _rounded(milliseconds: int) -> int:
    """Return the middle of a latency's bucket. Buckets grow by one percent: some 2,200 of them reach to a month."""
    if milliseconds < 1:
        return 0
    return round(BUCKET_GROWTH ** round(math.log(milliseconds, BUCKET_GROWTH)))


class Tally:
    """Counts of events by outcome, type and error, and their latencies."""

    def __init__(self) -> None:
        self._types: dict[str, Counter[str]] = {}
        self._errors: Counter[str] = Counter()
        self._latencies = Latencies()

    def add(self, items: Iterable[CountedItem]) -> None:
        """Count items of the table."""
        for item in items:
            status = item["status"]
            self._types.setdefault(_name(item["type"], self._types), Counter())[status] += 1
            if status == "failed":
                self._errors[_name(item.get("error_type") or "unknown", self._errors)] += 1
            if (latency := latency_ms(item)) is not None:
                self._latencies.add(latency)

    def report(self) -> dict[str, Any]:
        """Return `{"events", "by_status", "by_type", "failures", "latency_ms"}`, the most frequent first."""
        of_status = sum(self._types.values(), Counter[str]())
        by_events = sorted(self._types.items(), key=lambda each: (-each[1].total(), each[0]))
        return {
            "events": of_status.total(),
            "by_status": {status: of_status[status] for status in STATUSES},
            "by_type": {name: {status: counts[status] for status in STATUSES} for name, counts in by_events},
            "failures": dict(sorted(self._errors.items(), key=lambda each: (-each[1], each[0]))),
            "latency_ms": self._latencies.report(),
        }


def _name(name: str, known: Mapping[str, Any]) -> str:
    return name if name in known or len(known) < NAMES else OTHERS


def summary(
    window: Window, tally: Tally, depths: tuple[int, int], *, service: str, incomplete_because: str | None = None
) -> Report:
    """Return the report of a window. `depths` are the current numbers of messages in the queue and dead-lettered.

    `incomplete_because` is `time`, which ran out, or `expired`: items of the window may be gone.
    """
    queue_depth, dead_letter_depth = depths
    counts = tally.report()
    is_open = any(counts["by_status"][status] for status in UNSETTLED)
    return {
        "service": service,
        "period": window.period,
        "since": timestamp(window.since),
        "until": timestamp(window.until),
        "reported_at": timestamp(datetime.now(UTC)),
        "complete": incomplete_because is None,
        "incomplete_because": incomplete_because,
        "final": incomplete_because is None and not is_open,
        **counts,
        "queue_depth": queue_depth,
        "dead_letter_depth": dead_letter_depth,
    }


def title(report: Report) -> str:
    """Return `shop-prod: hourly report of 2026-11-21 10:00 to 11:00 UTC`, short enough for a subject of SNS."""
    since, until = (datetime.fromisoformat(report[end]) for end in ("since", "until"))
    end = f"{until:%H:%M}" if since.date() == until.date() else f"{until:%Y-%m-%d %H:%M}"
    return f"{report['service'][:40]}: {report['period']} report of {since:%Y-%m-%d %H:%M} to {end} UTC"


def text(report: Report, corrected: Iterable[Report] = ()) -> str:
    """Return the report as text, one fact a line, with what has become of windows that were reported before."""
    lines = [title(report), "", *facts(report)]
    for heading, rows in (("By type", types(report)), ("Failures", failures(report))):
        if rows:
            lines += ["", heading, *(f"  {count:>9,}  {name}" for name, count in rows)]
    for again in corrected:
        lines += ["", f"Counted again: {title(again)}", *counted(again)]
    return "\n".join(lines) + "\n"


def facts(report: Report) -> list[str]:
    """Return the report's main lines."""
    lines = counted(report)
    lines.append(f"Now {report['queue_depth']:,} in the queue, {report['dead_letter_depth']:,} with the dead letters")
    if not report["complete"]:
        lines.append(f"INCOMPLETE: {INCOMPLETE[report['incomplete_because']]}; the numbers cover some of them.")
    return lines


def counted(report: Report) -> list[str]:
    """Return the lines about the events of the window."""
    status, latency = report["by_status"], report["latency_ms"]
    lines = [
        "No events were received."
        if not report["events"]
        else f"{report['events']:,} events received: {status['succeeded']:,} succeeded, {status['failed']:,} failed, "
        f"{status['retrying']:,} retrying, {status['queued']:,} queued",
    ]
    if latency["count"]:
        about = "about " if latency["approximate"] else ""
        lines.append(f"Received to completed: p50 {about}{latency['p50']:,} ms, p95 {about}{latency['p95']:,} ms")
    return lines


def types(report: Report) -> list[tuple[str, int]]:
    """Return the first few types with the number of their events, failures in the name."""
    named: dict[str, Counter[str]] = {}
    for name, counts in report["by_type"].items():
        shown = name if _is_name(name) or name == OTHERS else OTHER_NAMES
        named.setdefault(shown, Counter()).update(counts)
    return _first(
        [
            (name + (f" ({counts['failed']:,} failed)" if counts["failed"] else ""), counts.total())
            for name, counts in named.items()
        ]
    )


def failures(report: Report) -> list[tuple[str, int]]:
    """Return the first few errors with the number of events that failed by each."""
    return _first([(_short(name), count) for name, count in report["failures"].items()])


def _short(name: str) -> str:
    return name if len(name) <= NAME_CHARACTERS else name[:NAME_CHARACTERS] + "..."


def _first(rows: list[tuple[str, int]]) -> list[tuple[str, int]]:
    rest = sum(count for _, count in rows[LISTED_NAMES:])
    return rows[:LISTED_NAMES] + ([(OTHERS, rest)] if rest else [])
