"""The trivial processor: says what it got."""

from collections.abc import Mapping
from typing import Any


def process(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event itself and how many fields it has."""
    return {"echo": dict(event), "fields": len(event)}
