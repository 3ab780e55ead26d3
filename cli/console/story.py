"""The story of an event, from its item and from what the functions logged of it."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from cli.console.traffic import done_in, entry_of
from cli.core.logs import Line
from cli.live import own_part

ACCEPTED = 202
# The outcomes of an attempt. Any other outcome of a delivery is a reason why there was no attempt.
ATTEMPTED = ("succeeded", "retrying", "failed")


@dataclass(frozen=True)
class Moment:
    """A step in the story of an event. `style` is a class of the style sheet."""

    time: str
    title: str
    style: str
    detail: str = ""
    traceback: str = ""


def moments(item: Mapping[str, Any], lines: Sequence[Line]) -> list[Moment]:
    """Return the steps of an event, oldest first. `lines` are those that name it, oldest first.

    The item knows the last outcome even where no line tells of it, as below the log level INFO.
    """
    told = sorted((each for line in lines for each in _told(line, item["id"])), key=lambda each: each.time)
    found = [Moment(item["received_at"], "received", "queued", f"type {item['type']}")]
    # A fast worker has begun before the request's line is written.
    queued = next((each for each in told if each.title == "queued"), Moment(item["received_at"], "queued", "queued"))
    told = [queued, *(each for each in told if each is not queued)]
    found += _with_redrives(_with_tracebacks(told))
    status = item["status"]
    last = next((each.style for each in reversed(found) if each.style in ("succeeded", "failed")), "")
    if status in ("succeeded", "failed") and status != last:
        said = item.get("error") or ""
        found += _outcome(item.get("completed_at") or item["received_at"], status, item["attempts"], said)
    if status == "retrying" and item.get("next_attempt_at"):
        found.append(Moment(str(item["next_attempt_at"]), "next attempt", "retrying"))
    return found


def correlation_ids(lines: Iterable[Line], event_id: str) -> set[str]:
    """Return the ids of the requests that submitted an event alone: what is logged under one is about this event."""
    entries = [entry_of(line.message) or {} for line in lines]
    return {each["correlation_id"] for each in entries if each.get("ids") == [event_id] and "correlation_id" in each}


def is_under(line: Line, correlation_id: str, event_id: str) -> bool:
    """Return True if a line was logged under a request's id, and not about another event of the same batch."""
    entry = entry_of(line.message) or {}
    return entry.get("correlation_id") == correlation_id and entry.get("id", event_id) == event_id


def about(message: str, event_id: str) -> str:
    """Return a log line without what it says of other events of the same batch."""
    entry = entry_of(message) or {}
    own = [each for each in done_in(entry) if each.get("id") == event_id]
    return json.dumps({**entry, "events": own}) if "events" in entry else message


def time_of(line: Line) -> str:
    """Return when a line was written, as RFC 3339. CloudWatch's own time is that of a whole run, locally."""
    written = (entry_of(line.message) or {}).get("timestamp", "")
    try:
        return datetime.strptime(written, "%Y-%m-%d %H:%M:%S,%f%z").astimezone(UTC).isoformat(timespec="milliseconds")
    except ValueError:
        return datetime.fromtimestamp(line.time_ms / 1_000, UTC).isoformat(timespec="milliseconds")


def _told(line: Line, event_id: str) -> Iterator[Moment]:
    entry, time = entry_of(line.message) or {}, time_of(line)
    if event_id in entry.get("ids", []) and entry.get("status") == ACCEPTED:
        repeated = entry.get("accepted") == 0
        yield Moment(time, "repeated request" if repeated else "queued", "queued", str(entry.get("route", "")))
    elif entry.get("message") == "an attempt failed" and entry.get("id") == event_id:
        traceback = own_part(str(entry.get("exception", "")))
        yield Moment(time, f"attempt {entry.get('attempt')} failed", "retrying", traceback=traceback)
    for each in done_in(entry):
        if each.get("id") == event_id:
            took = f"{each['latency_ms']:,} ms after it was received" if "latency_ms" in each else ""
            yield from _outcome(time, str(each["outcome"]), each.get("attempts"), str(each.get("error") or took))


def _outcome(time: str, outcome: str, attempts: int | None, said: str) -> Iterator[Moment]:
    if outcome not in ATTEMPTED:
        yield Moment(time, {"done": "delivered again, already done"}.get(outcome, outcome), "queued", said)
        return
    number = f"attempt {attempts}" if attempts else "attempt"
    yield Moment(time, f"{number} {'succeeded' if outcome == 'succeeded' else 'failed'}", outcome, said)
    if outcome == "failed":
        yield Moment(time, "dead-lettered", "failed")


def _with_tracebacks(told: Iterable[Moment]) -> list[Moment]:
    """Put the traceback of each failed attempt beside its outcome, which is logged after it."""
    found: list[Moment] = []
    alone: dict[str, int] = {}
    for each in told:
        place = alone.pop(each.title, None)
        if place is not None and not each.traceback:
            found[place] = replace(each, time=found[place].time, traceback=found[place].traceback)
            continue
        if each.traceback:
            alone[each.title] = len(found)
        found.append(each)
    return found


def _with_redrives(told: Iterable[Moment]) -> Iterator[Moment]:
    """Add the redrives, which no function logs: an event is only taken up again after one."""
    is_dead = False
    for each in told:
        if is_dead and each.title.startswith("attempt"):
            yield Moment(each.time, "redriven", "redrive", "sent back to the queue")
            is_dead = False
        is_dead = is_dead or each.title == "dead-lettered"
        yield each
