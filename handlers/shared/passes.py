"""A pass over the dead letters: how it is controlled, and what came of it. It contains no AWS code."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from handlers.shared.letters import Found

# The maximum number of error types that are counted by name; processors choose the names.
NAMES = 100
OTHERS = "(others)"


@dataclass
class Pass:
    """The result of a pass over the dead letters.

    It is `complete` if it saw all letters that were there when it began. Otherwise its time was up or it was stopped,
    it reached its maximum, a service failed, some letters were `hidden`, or it was `held_back`. `remaining` is SQS's
    approximate count after the pass, None if SQS did not answer.
    """

    counts: dict[str, int]
    not_matching: int = 0
    """Letters that the filter left out."""
    by_error: dict[str, int] = field(default_factory=dict)
    """The matching letters that it looked at, by error type."""
    complete: bool = False
    hidden: int = 0
    """Letters that others had received: another command, a console, the reconciler. They come back by themselves."""
    held_back: bool = False
    """Letters that this pass left in a FIFO queue may have kept back the rest of their groups, because SQS delivers a
    group in order. Another pass with the same filter gets no further."""
    remaining: int | None = None
    began_at: float | None = None
    """By SQS's clock, in epoch seconds; None before its first answer."""
    error: Exception | None = None
    """The error of a service that ended the pass. The counts cover the work before it."""

    @property
    def failed(self) -> int:
        """The number of letters that could not be moved or deleted."""
        return self.counts.get("not_sent", 0) + self.counts.get("not_deleted", 0)

    @property
    def done(self) -> int:
        """The number of letters that were moved or deleted."""
        return self.counts.get("redriven", 0) + self.counts.get("deleted", 0)

    def count(self, matching: Sequence[Found]) -> None:
        """Count letters by their error types."""
        for found in matching:
            name = found.error_type if found.error_type in self.by_error or len(self.by_error) < NAMES else OTHERS
            self.by_error[name] = self.by_error.get(name, 0) + 1

    def described(self) -> dict[str, Any]:
        """Return everything but the error."""
        return {
            **self.counts,
            "not_matching": self.not_matching,
            "by_error": self.by_error,
            "remaining": self.remaining,
            "complete": self.complete,
            "hidden": self.hidden,
            "held_back": self.held_back,
        }


# The work of a pass on some letters, which it counts. Returns the letters that are gone.
Act = Callable[[Sequence[Found], Pass], Sequence[Found]]


def keep_nothing(_: Sequence[Found]) -> None:
    """Export no letter."""


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _say_nothing(_: Pass) -> None:
    """Ignore the progress."""


@dataclass(frozen=True)
class Control:
    """How whoever started a pass controls it."""

    a_second: float = float("inf")
    """The letters that are moved or deleted a second, on average."""
    wait: Callable[[float], bool] = _sleep
    """Waits for so many seconds. Returns True, at once, when the pass is to stop: an event's `wait`."""
    progress: Callable[[Pass], None] = _say_nothing
    """Is told of the pass after each round."""
    began_at: float | None = None
    """Letters that came later are left alone, by SQS's clock in epoch seconds. Default: when the pass begins."""


UNCONTROLLED = Control()
