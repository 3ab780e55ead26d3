"""Times as text: RFC 3339 in UTC with microseconds, which sorts as text."""

import re
from datetime import UTC, datetime

_timestamp = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z").fullmatch


def timestamp(moment: datetime) -> str:
    """Return a time as `2026-11-21T08:00:00.000000Z`."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def is_timestamp(text: str) -> bool:
    """Return True if a text is a time in the format of `timestamp`."""
    if not _timestamp(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
