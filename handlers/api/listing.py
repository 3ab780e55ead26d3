"""`GET /events`: pages of events from the time index, newest first."""

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from handlers.api.events import is_id
from handlers.api.items import IndexEntry, description
from handlers.api.reader import EventReader, days_back
from handlers.shared.errors import BadRequestError
from handlers.shared.times import is_timestamp, timestamp

PARAMETERS = ("since", "until", "type", "status", "limit", "cursor")
STATUSES = ("queued", "retrying", "succeeded", "failed")
DEFAULT_LIMIT = 20
DEFAULT_DAYS = 7
MAXIMUM_LIMIT = 100
# The maximum number of reads of the index for a page, each of which queries every shard. Without it, a request over
# empty months, or with a filter that nothing passes, would exceed the function's timeout.
LOOKS_A_PAGE = 8
# The maximum number of items that a page reads: one request must not use up the table. A page without an event that
# passes the filter is empty and has a cursor.
ITEMS_A_PAGE = MAXIMUM_LIMIT


@dataclass(frozen=True)
class Wanted:
    """The events that a request wants: below `position` (a `time_key`) and at least `since`, newest first."""

    position: str
    since: str
    event_type: str | None
    status: str | None
    limit: int


def list_events(table: EventReader, parameters: Mapping[str, str], kept_days: int) -> dict[str, Any]:
    """Return `{"events": [...], "cursor"}`. The cursor is None on the last page; a short page can have a next one.

    Parameters: `since` (included; a week before `until` unless given) and `until` (excluded), RFC 3339; `type`;
    `status`; `limit`, 1 to 100; `cursor`. A cursor is only a position in time, so a forged one shows another page of
    the same list. Raises BadRequestError.
    """
    wanted = _wanted(parameters, kept_days)
    # A filter leaves out most entries, so a filtered page reads more of them at once.
    look = MAXIMUM_LIMIT if wanted.status or wanted.event_type else wanted.limit
    position, looks, read = wanted.position, 0, 0
    shown: list[dict[str, Any]] = []
    for day in days_back(wanted.position, wanted.since):
        entries = None
        while entries is None or len(entries) == look or read >= ITEMS_A_PAGE:
            if looks == LOOKS_A_PAGE or read >= ITEMS_A_PAGE:
                return {"events": shown, "cursor": _encoded(position)}
            looks += 1
            entries = table.newest(day, position, wanted.since, min(look, ITEMS_A_PAGE - read))
            read += len(entries)
            for position, event in _described(table, entries, wanted):
                shown += [event] if event else []
                if len(shown) == wanted.limit:
                    return {"events": shown, "cursor": _encoded(position)}
        position = f"{day.isoformat()}T00:00:00.000000Z"
    return {"events": shown, "cursor": None}


def _described(
    table: EventReader, entries: Sequence[IndexEntry], wanted: Wanted
) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Yield the position of each index entry, and its event if it passes the filter."""
    items = table.listed(entry["id"] for entry in entries if wanted.event_type in (None, entry["type"]))
    for entry in entries:
        event = description(items[entry["id"]]) if entry["id"] in items else None
        yield entry["time_key"], event if event and wanted.status in (None, event["status"]) else None


def _wanted(parameters: Mapping[str, str], kept_days: int) -> Wanted:
    now = datetime.now(UTC)
    kept_since = timestamp(now - timedelta(days=kept_days))
    # A little ahead of now: the times of a large batch are a microsecond apart, and the clock of a command that lists
    # events may be five minutes slow, which AWS still accepts.
    until = min(_time(parameters, "until", "9999"), timestamp(now + timedelta(minutes=6)))
    week_before = timestamp(datetime.fromisoformat(max(until, kept_since)) - timedelta(days=DEFAULT_DAYS))
    status = parameters.get("status")
    if status is not None and status not in STATUSES:
        raise _bad("status", f"must be one of {', '.join(STATUSES)}")
    return Wanted(
        position=min(until, _cursor(parameters["cursor"])) if "cursor" in parameters else until,
        since=max(_time(parameters, "since", week_before), kept_since),
        event_type=parameters.get("type"),
        status=status,
        limit=_limit(parameters.get("limit", str(DEFAULT_LIMIT))),
    )


def _time(parameters: Mapping[str, str], name: str, default: str) -> str:
    text = parameters.get(name)
    if text is None:
        return default
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _bad(name, "must be an RFC 3339 time such as 2026-11-21T08:00:00Z") from None
    if moment.tzinfo is None:
        raise _bad(name, "must have a zone, such as Z or +01:00")
    try:
        return timestamp(moment)
    except OverflowError:
        raise _bad(name, "must be a time between the years 1 and 9999") from None


def _limit(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= MAXIMUM_LIMIT:
        raise _bad("limit", f"must be a whole number from 1 to {MAXIMUM_LIMIT}")
    return int(text)


def _cursor(text: str) -> str:
    try:
        position = base64.urlsafe_b64decode(text.encode()).decode()
    except ValueError:
        position = ""
    moment, _, event_id = position.partition("#")
    if not is_timestamp(moment) or not (event_id == "" or is_id(event_id)):
        raise _bad("cursor", "must be a cursor from a previous response")
    return position


def _encoded(position: str) -> str:
    return base64.urlsafe_b64encode(position.encode()).decode()


def _bad(name: str, message: str) -> BadRequestError:
    return BadRequestError("invalid_parameter", f"{name} {message}", [{"path": name, "message": message}])
