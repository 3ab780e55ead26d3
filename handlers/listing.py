"""`GET /events`: newest first, from the time index, a page at a time."""

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from handlers.errors import BadRequestError
from handlers.events import timestamp
from handlers.table import EventTable, days_back, description

STATUSES = ("queued", "succeeded", "failed")
DEFAULT_LIMIT = 20
DEFAULT_DAYS = 7
MAXIMUM_LIMIT = 100
# A page looks at so many days at most, so that one request over empty months does not run into the function's timeout.
DAYS_A_PAGE = 31

_position = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z(#[0-9a-f-]{36})?").fullmatch


def list_events(table: EventTable, parameters: Mapping[str, str], kept_days: int) -> dict[str, Any]:
    """`{"events": [...], "cursor"}`; the cursor is None on the last page. A page can be short and have a next one.

    Parameters: `since` (included; a week ago unless given) and `until` (excluded), RFC 3339; `type`; `status`; `limit` 1 to 100; `cursor`.
    A cursor is a place in time and nothing else: a forged one shows another page of the same list.
    Raises BadRequestError.
    """
    now = datetime.now(UTC)
    kept_since = timestamp(now - timedelta(days=kept_days))
    since = max(_time(parameters, "since", timestamp(now - timedelta(days=DEFAULT_DAYS))), kept_since)
    # A little ahead of now: the events of a large batch are numbered by microseconds.
    position = min(_time(parameters, "until", "9999"), timestamp(now + timedelta(minutes=1)))
    if "cursor" in parameters:
        position = min(position, _cursor(parameters["cursor"]))
    limit = _limit(parameters.get("limit", str(DEFAULT_LIMIT)))
    status = parameters.get("status")
    if status is not None and status not in STATUSES:
        raise _bad("status", f"must be one of {', '.join(STATUSES)}")
    shown: list[dict[str, Any]] = []
    days = list(days_back(position, since)) if position > since else []
    for day in days[:DAYS_A_PAGE]:
        while True:
            entries = table.newest(day, position, since, limit)
            items = table.read(entry["id"] for entry in entries if parameters.get("type") in (None, entry["type"]))
            for entry in entries:
                position = entry["time_key"]
                if entry["id"] in items:
                    event = description(items[entry["id"]])
                    if status in (None, event["status"]):
                        shown.append(event)
                if len(shown) == limit:
                    return {"events": shown, "cursor": _encoded(position)}
            if len(entries) < limit:
                break
        position = f"{day.isoformat()}T00:00:00.000000Z"
    more = len(days) > DAYS_A_PAGE
    return {"events": shown, "cursor": _encoded(position) if more else None}


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
        valid = _position(position) is not None
        datetime.fromisoformat(position[:27])
    except (binascii.Error, ValueError):
        valid = False
    if not valid:
        raise _bad("cursor", "must be the cursor of an answer")
    return position


def _encoded(position: str) -> str:
    return base64.urlsafe_b64encode(position.encode()).decode()


def _bad(name: str, message: str) -> BadRequestError:
    return BadRequestError("invalid_parameter", f"{name} {message}", [{"path": name, "message": message}])
