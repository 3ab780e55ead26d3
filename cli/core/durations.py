"""Durations and points in time in options: one grammar for all commands.

    duration("90m")  # also 45, 45s, 1.5h, 2d; a bare number is seconds
    moment("2d")     # two days ago
    moment("2026-11-21T08:00:00Z")

Both are parsers for `typer.Option(parser=...)`: a wrong value is a usage error that names the option.
"""

import re
from datetime import UTC, datetime, timedelta

import typer

UNITS = {"": "seconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
EXAMPLES = "90s, 15m, 6h or 2d"
# Far below what a datetime can subtract.
LONGEST = timedelta(days=36_500)


def duration(value: str | timedelta) -> timedelta:
    """Parse a duration. Raises BadParameter; a default passes through."""
    if isinstance(value, timedelta):
        return value
    found = _duration(value)
    if found is None:
        raise typer.BadParameter(f"{value!r} is not a duration; write seconds, or a number with a unit: {EXAMPLES}")
    return found


def moment(value: str) -> datetime:
    """Return a point in time, given as RFC 3339 or as a duration before now. Raises BadParameter."""
    if (ago := _duration(value)) is not None:
        return datetime.now(UTC) - ago
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise typer.BadParameter(
            f"{value!r} is not a point in time; write one with its offset (2026-11-21T08:00:00Z), "
            f"or how long ago it was: {EXAMPLES}"
        )
    return found


def _duration(text: str) -> timedelta | None:
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)([smhd]?)", text)
    found = match and timedelta(**{UNITS[match[2]]: float(match[1])})
    return found if found is not None and found <= LONGEST else None
