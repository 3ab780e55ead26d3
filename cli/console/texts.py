"""Texts of events and services as pages show them: readable, and never obeyed."""

import difflib
import json
from datetime import UTC, datetime

from cli.core.terminal import inert

DIFFERENCE_LINES = 500
SECONDS_A_MINUTE, SECONDS_AN_HOUR, SECONDS_A_DAY = 60, 3_600, 86_400


def visible(text: object) -> str:
    """Return a text with unprintable characters, and marks that turn its direction, as escapes. Lines stay lines."""
    return "\n".join(inert(line) for line in str(text).split("\n"))


def clock(moment: object) -> str:
    """Return a time as people read it, to the millisecond, in UTC."""
    found = moment if isinstance(moment, datetime) else datetime.fromisoformat(str(moment))
    return found.astimezone(UTC).isoformat(" ", "milliseconds").removesuffix("+00:00")


def age(seconds: int) -> str:
    """Return a number of seconds as people say it: `40 s`, `12 min`, `5 h`, `3 d`."""
    for unit, size in (("d", SECONDS_A_DAY), ("h", SECONDS_AN_HOUR), ("min", SECONDS_A_MINUTE)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def pretty(text: str) -> str:
    """Return JSON with line breaks, and other text as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def editable(data: object) -> str:
    """Return JSON to edit: readable, with unprintable characters as JSON's own escapes."""
    text = json.dumps(data, indent=2, ensure_ascii=False)
    return "".join(each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text)


def difference(before: str, after: str) -> list[str]:
    """Return the lines that differ, as `diff -u` prints them; none without a text before."""
    if not before:
        return []
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "original", "edited", lineterm="")
    return list(lines)[:DIFFERENCE_LINES]
