"""Counts of one worker that detect an outage, an overload or a failing key. It contains no AWS code."""

import math
from dataclasses import dataclass, field

# Of the last events. 30 % of failures, however long, do not look like an outage then.
OUTAGE_SHARE = 0.8
# A second failure of an event tells nothing new of the whole while others succeed: a part may be out, and only its
# events come again.
SUCCESS_IS_RECENT_SECONDS = 10
# Keys that a worker counts failures of: the memory of a worker is bounded.
MAXIMUM_KEYS_COUNTED = 1_000

# Attempts before their share of failures is taken for what the pace does.
LEAST_ATTEMPTS = 10
LEAST_FAILURES = 3
OVERLOAD_SHARE = 0.1


class Window:
    """The last outcomes of different events or, `by_key`, of different keys."""

    def __init__(self, threshold: int, *, by_key: bool) -> None:
        self._threshold = threshold
        self._by_key = by_key
        self._failed: dict[str, bool] = {}
        self._succeeded_at: float | None = None

    def count(self, name: str, now: float, *, failed: bool, again: bool) -> None:
        """Take note of an outcome. `again`: it is not the event's first attempt."""
        # A worker that has just started may get nothing but a part's retries at first: its start counts as a success.
        if not failed or self._succeeded_at is None:
            self._succeeded_at = now
        if failed and again and now - self._succeeded_at < SUCCESS_IS_RECENT_SECONDS:
            return
        self._failed.pop(name, None)
        self._failed[name] = failed
        if len(self._failed) > 2 * self._threshold:
            del self._failed[next(iter(self._failed))]

    def is_outage(self, *, paced: bool) -> bool:
        """Return True if nearly nothing succeeds.

        Where keys are held back one by one, and where the worker can go slower, it takes that nothing does.
        """
        failed = sum(self._failed.values())
        share = 1.0 if self._by_key or paced else OUTAGE_SHARE
        return failed >= self._threshold and failed >= share * len(self._failed)

    def clear(self) -> None:
        """Forget all outcomes."""
        self._failed.clear()


class KeyFailures:
    """The events of each key that failed since one of it succeeded, and at which attempt."""

    def __init__(self, threshold: int) -> None:
        self._threshold = threshold
        self._failing: dict[str, dict[str, int]] = {}

    def succeeded(self, key: str) -> None:
        """Forget the failures of a key."""
        self._failing.pop(key, None)

    def is_outage(self, key: str, event_id: str, attempt: int) -> bool:
        """Take note of a failure. Return True if the key is out.

        An event's earlier attempts count, which other workers may have made. But one event alone may be poison.
        """
        failing = self._failing.setdefault(key, {})
        failing[event_id] = attempt
        if len(self._failing) > MAXIMUM_KEYS_COUNTED:
            del self._failing[next(iter(self._failing))]
        return len(failing) >= min(2, self._threshold) and sum(failing.values()) >= self._threshold


@dataclass
class Paced:
    """Attempts since the pace changed."""

    paced_at: int = 0
    attempts: int = field(default=0)
    failed: int = field(default=0)

    def count(self, paced_at: int, *, failed: bool) -> None:
        """Take note of an attempt. `paced_at`: when the pace changed."""
        if paced_at != self.paced_at:
            self.paced_at, self.attempts, self.failed = paced_at, 0, 0
        self.attempts += 1
        self.failed += failed

    def failures(self) -> float | None:
        """Return the share of attempts that failed, None if there were too few."""
        return self.failed / self.attempts if self.attempts >= LEAST_ATTEMPTS else None

    def is_overload(self, usual_failures: float) -> bool:
        """Return True if more fail than usual, and than chance explains with so few attempts."""
        share = self.failures()
        if share is None or self.failed < LEAST_FAILURES:
            return False
        by_chance = 2 * math.sqrt(usual_failures * (1 - usual_failures) / self.attempts)
        return share > usual_failures + max(OVERLOAD_SHARE, by_chance)
