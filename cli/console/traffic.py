"""The recent traffic of a stack, counted from the lines that its functions log."""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

from cli.core.logs import Line, LogReader

BUCKET_SECONDS = 10
KEPT_SECONDS = 15 * 60
LEAST_SECONDS = 2 * 60
# An edge of the graph is lit for so long after something passed.
ACTIVE_SECONDS = 4
SHOWN_LINES = 200


@dataclass
class Bucket:
    """The counts of ten seconds."""

    accepted: int = 0
    rejected: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    latencies_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Picture:
    """The traffic as pages show it: a value for each bucket, oldest first, and the counts of all of them.

    The buckets begin with the first traffic: a pipeline that has just been started has no quarter of an hour to show.
    """

    seconds: int
    """The time that the buckets span."""
    accepted: list[float]
    succeeded: list[float]
    failed: list[float]
    median_ms: list[float | None]
    p95_ms: list[float | None]
    totals: Mapping[str, int]
    active: frozenset[str]
    """The functions that logged something in the last seconds."""
    has_failed: bool
    """Whether something failed in the last seconds."""
    lines: list[Line]


class Traffic:
    """Reads the functions' logs, at most once in `every_seconds`, and keeps the last quarter of an hour.

    The newest line says what time it is where the functions run: this machine's clock may be minutes off.
    """

    def __init__(self, reader: LogReader, *, every_seconds: float, clock: Callable[[], float] = time.time) -> None:
        self._reader = reader
        self._every_seconds = every_seconds
        self._clock = clock
        self._buckets: dict[int, Bucket] = {}
        self._active: dict[str, float] = {}
        self._failed_at = 0.0
        self._newest_at = 0.0
        self._lines: deque[Line] = deque(maxlen=SHOWN_LINES)
        self._next_read = 0.0
        self._lock = threading.Lock()

    def now(self) -> Picture:
        """Return the picture of now. Raises the errors of FilterLogEvents."""
        with self._lock:
            now = self._clock()
            if now >= self._next_read:
                is_first, self._next_read = not self._next_read, now + self._every_seconds
                for line in self._reader.read():
                    # What is read first may be a quarter of an hour old; after that, it has just happened.
                    self._note(line, line.time_ms / 1_000 if is_first else now)
            last = int(max(now, self._newest_at)) // BUCKET_SECONDS
            self._buckets = {
                at: each for at, each in self._buckets.items() if at > last - KEPT_SECONDS // BUCKET_SECONDS
            }
            return self._picture(last, now)

    def _picture(self, last: int, now: float) -> Picture:
        oldest, latest = last - KEPT_SECONDS // BUCKET_SECONDS + 1, last - LEAST_SECONDS // BUCKET_SECONDS + 1
        places = range(min(latest, max(oldest, min(self._buckets, default=latest) - 1)), last + 1)
        buckets = [self._buckets.get(at, Bucket()) for at in places]
        totals = {
            "accepted": sum(each.accepted for each in buckets),
            "rejected": sum(each.rejected for each in buckets),
        }
        for bucket in buckets:
            for outcome, count in bucket.outcomes.items():
                totals[outcome] = totals.get(outcome, 0) + count
        return Picture(
            seconds=len(places) * BUCKET_SECONDS,
            accepted=[each.accepted / BUCKET_SECONDS for each in buckets],
            succeeded=[each.outcomes.get("succeeded", 0) / BUCKET_SECONDS for each in buckets],
            failed=[each.outcomes.get("failed", 0) / BUCKET_SECONDS for each in buckets],
            median_ms=[median(each.latencies_ms) if each.latencies_ms else None for each in buckets],
            p95_ms=[_p95(each.latencies_ms) for each in buckets],
            totals=totals,
            active=frozenset(name for name, at in self._active.items() if now - at < ACTIVE_SECONDS),
            has_failed=now - self._failed_at < ACTIVE_SECONDS,
            lines=list(self._lines),
        )

    def _note(self, line: Line, happened_at: float) -> None:
        entry = entry_of(line.message)
        if entry is None:
            return
        self._lines.append(line)
        self._newest_at = max(self._newest_at, line.time_ms / 1_000)
        self._active[line.function] = max(self._active.get(line.function, 0.0), happened_at)
        bucket = self._buckets.setdefault(line.time_ms // 1_000 // BUCKET_SECONDS, Bucket())
        bucket.accepted += _count(entry, "accepted")
        bucket.rejected += _count(entry, "rejected") if entry.get("message") == "request" else 0
        for each in done_in(entry):
            bucket.outcomes[each["outcome"]] = bucket.outcomes.get(each["outcome"], 0) + 1
            if each["outcome"] == "failed":
                self._failed_at = max(self._failed_at, happened_at)
            if "latency_ms" in each:
                bucket.latencies_ms.append(float(each["latency_ms"]))


def entry_of(message: str) -> dict[str, Any] | None:
    """Return the log entry of a line; None for what Lambda writes itself, and for metrics."""
    try:
        entry = json.loads(message)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and "_aws" not in entry else None


def done_in(entry: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield what a worker's line says of each event or file, or of an object of readings."""
    if entry.get("message") == "batch":
        yield from entry.get("events", entry.get("files", []))
    elif entry.get("message") == "object":
        yield {"outcome": "succeeded"}


def _count(entry: Mapping[str, Any], name: str) -> int:
    value = entry.get(name)
    return value if isinstance(value, int) else 0


def _p95(values: list[float]) -> float | None:
    if not values:
        return None
    return quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]
