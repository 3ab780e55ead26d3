"""The outcome of an event."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """The final outcome of an event: of one in memory and of one in a local pipeline alike."""

    status: str
    """`rejected` by the API, `succeeded`, or `failed`."""
    result: Any = None
    """The processor's result as stored: parsed JSON."""
    error: str | None = None
    """Why it was rejected or failed, as the API shows it."""
    attempts: int = 0
    """How often the processor was called."""
    exception: BaseException | None = None
    """The last exception of the processor. Only in memory."""


def rejected(problems: Iterable[Mapping[str, str]]) -> Outcome:
    """Return the outcome of an event that the API refuses, with one `path: message` for each problem."""
    return Outcome("rejected", error="; ".join(f"{each['path'] or 'event'}: {each['message']}" for each in problems))
