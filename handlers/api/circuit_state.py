"""The state of the circuit, as a value with its transitions. It contains no AWS code.

Every state ends by itself. An open circuit is probed when `until` has passed, and whoever probes moves `until` first,
so that one that dies only delays the next probe. A time that lies further ahead than any transition sets it counts as
past. No item is a closed circuit.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

# The wait until the next probe grows to a tenth of the outage, and to this. So a message that is held back is received
# some 400 times in 13 days, less than the 1,000 after which SQS moves it to the dead letters.
MAXIMUM_WAIT_SECONDS = 3_600
# What an operator may hold the circuit open for at once.
MAXIMUM_HOLD_SECONDS = 12 * 3_600
# Keys that are held back at the same time: they stand in one item, which every worker reads.
MAXIMUM_KEYS = 200
NAME_CHARACTERS = 64

# Events a second: at first, and at least, after the circuit has closed.
FIRST_PACE = 5.0
LEAST_PACE = 0.5
# At most for each batch that runs at the same time; of these there are at first as few as Lambda allows.
PACE_PER_WORKER = 25.0
FEWEST_WORKERS = 2
WORKERS_GROW = 4
STEP_SECONDS = 5
GROWS = 2.0
# After an overload.
GROWS_CAREFULLY = 1.2
SHRINKS = 0.7


def wait_seconds(recovery_seconds: int, since: int, now: int) -> int:
    """Return the seconds until the next probe of what has been out since `since`."""
    return max(recovery_seconds, min(MAXIMUM_WAIT_SECONDS, (now - since) // 10))


def _is_due(until: int, now: int, latest_seconds: int) -> bool:
    return now >= until or until > now + latest_seconds


@dataclass(frozen=True)
class Held:
    """A key whose events are held back. Times are in epoch seconds."""

    name: str
    since: int
    until: int

    def is_due(self, now: int) -> bool:
        """Return True if it is time to try one of its events."""
        return _is_due(self.until, now, MAXIMUM_WAIT_SECONDS)


@dataclass(frozen=True)
class State:
    """The circuit. Times are in epoch seconds."""

    change_count: int = 0
    """A change is written only over what it was made of."""
    open: bool = False
    since: int = 0
    """When it opened."""
    until: int = 0
    """No probe before."""
    by_operator: bool = False
    """An operator holds it open: it is not probed before `until`."""
    reason: str = ""
    pace: float = 0.0
    """Events a second, since it closed; 0: as many as there are."""
    paced_at: int = 0
    """When the pace changed."""
    workers: int = 0
    """Batches that run at the same time while there is a pace."""
    usual_failures: float = 0.0
    """The share of attempts that fail whatever the pace."""
    overloaded: bool = False
    """The pace was too high before: it grows carefully."""
    keys: Mapping[str, Held] = field(default_factory=dict)
    """Keys that are held back, by their digests."""

    # Items

    @classmethod
    def of(cls, item: Mapping[str, Any] | None) -> Self:
        """Return the state in an item. What is no state of this release is an open circuit that is due."""
        if item is None:
            return cls()

        def number(name: str) -> Any:
            value = item.get(name)
            return value if isinstance(value, int | float) and not isinstance(value, bool) else 0

        pace = float(number("pace"))
        return cls(
            change_count=int(number("change_count")),
            open=item.get("state") != "CLOSED",
            since=int(number("since")),
            until=int(number("until")),
            by_operator=item.get("by_operator") is True,
            reason=str(item.get("reason") or ""),
            pace=max(LEAST_PACE, pace) if pace > 0 else 0.0,
            paced_at=int(number("paced_at")),
            workers=max(FEWEST_WORKERS, int(number("workers"))) if pace > 0 else 0,
            usual_failures=min(1.0, max(0.0, float(number("usual_failures")))),
            overloaded=item.get("overloaded") is True,
            keys={digest: Held(**held) for digest, held in (item.get("keys") or {}).items()},
        )

    def attributes(self) -> dict[str, Any]:
        """Return what is stored, without the item's key."""
        values = {name: value for name, value in asdict(self).items() if name != "open"}
        return {**values, "state": "OPEN" if self.open else "CLOSED"}

    # The whole circuit

    def is_due(self, now: int) -> bool:
        """Return True if an open circuit is to be probed."""
        return _is_due(self.until, now, MAXIMUM_HOLD_SECONDS if self.by_operator else MAXIMUM_WAIT_SECONDS)

    def opened(self, now: int, recovery_seconds: int, reason: str) -> "State | None":
        """Nothing succeeds. None if it is open."""
        if self.open:
            return None
        return State(
            self.change_count, open=True, since=now, until=now + recovery_seconds, reason=reason, keys=self.keys
        )

    def held(self, now: int, seconds: int, reason: str) -> "State":
        """Return the state that an operator asks for. It is probed once `seconds` have passed."""
        return State(
            self.change_count,
            open=True,
            since=self.since if self.open else now,
            until=now + min(seconds, MAXIMUM_HOLD_SECONDS),
            by_operator=True,
            reason=reason,
            keys=self.keys,
        )

    def probed(self, now: int, lease_seconds: int) -> "State | None":
        """Somebody is about to probe. None if it is not due: somebody else does."""
        if not self.open or not self.is_due(now):
            return None
        return replace(self, until=now + lease_seconds, by_operator=False)

    def still_out(self, now: int, recovery_seconds: int) -> "State | None":
        """A probe failed. None if the circuit was closed meanwhile."""
        if not self.open:
            return None
        return replace(self, until=now + wait_seconds(recovery_seconds, self.since, now))

    def closed(self, now: int, *, at_once: bool = False) -> "State | None":
        """Close the circuit: resume slowly, or at full speed with `at_once`. Return None if it is closed already."""
        if not self.open and not (at_once and self.pace):
            return None
        if at_once:
            return State(self.change_count, keys=self.keys)
        return State(self.change_count, pace=FIRST_PACE, paced_at=now, workers=FEWEST_WORKERS, keys=self.keys)

    # The pace after it has closed

    @property
    def gap_seconds(self) -> float:
        """The time from one event to the next in each worker."""
        return self.workers / self.pace if self.pace else 0.0

    @property
    def ceiling(self) -> float:
        """The highest pace for as many workers."""
        return self.workers * PACE_PER_WORKER

    def slower(self, now: int, failures: float) -> "State":
        """More attempts fail than usual: what is called cannot take so many. `failures`: their share."""
        return replace(
            self,
            pace=max(LEAST_PACE, self.pace * SHRINKS),
            paced_at=now,
            usual_failures=(self.usual_failures + failures) / 2,
            overloaded=True,
        )

    def faster(self, now: int, failures: float | None) -> "State | None":
        """All went well for a step. `failures`: their share, None if there were too few events. None: not now."""
        if not self.pace or 0 <= now - self.paced_at < STEP_SECONDS or self.pace >= self.ceiling:
            return None
        usual = self.usual_failures if failures is None else (self.usual_failures + failures) / 2
        grown = self.pace * (GROWS_CAREFULLY if self.overloaded else GROWS)
        return replace(self, pace=min(self.ceiling, grown), paced_at=now, usual_failures=usual)

    def minute(self, now: int, maximum_workers: int) -> "State | None":
        """Return the state after the look that the breaker function takes each minute, None if it is the same."""
        # A key without events for so long would stay for good.
        keys = {
            digest: held
            for digest, held in self.keys.items()
            if -MAXIMUM_WAIT_SECONDS <= now - held.until <= MAXIMUM_WAIT_SECONDS
        }
        kept = self if len(keys) == len(self.keys) else replace(self, keys=keys)
        if not self.pace or self.open:
            return None if kept is self else kept
        # Nobody has changed the pace for a minute: it is as high as it may be, or there are no events.
        if self.pace >= self.ceiling or not 0 <= now - self.paced_at < 60:  # noqa: PLR2004  a minute
            workers = self.workers * WORKERS_GROW
            if workers >= maximum_workers:
                return State(self.change_count, keys=keys)
            return replace(kept, workers=workers, pace=max(self.pace, self.ceiling), paced_at=now)
        needed = max(FEWEST_WORKERS, int(self.pace / PACE_PER_WORKER) + 1)
        if needed < self.workers:
            return replace(kept, workers=needed)
        return None if kept is self else kept

    # Keys

    def key_opened(self, digest: str, name: str, now: int, recovery_seconds: int) -> "State | None":
        """Nothing of a key succeeds. None if it is held back already, or too many are."""
        if digest in self.keys or len(self.keys) >= MAXIMUM_KEYS:
            return None
        held = Held(name[:NAME_CHARACTERS], now, now + recovery_seconds)
        return replace(self, keys={**self.keys, digest: held})

    def key_tried(self, digest: str, now: int, recovery_seconds: int, lease_seconds: int) -> "State | None":
        """Somebody is about to try an event of a key. None if it is not due.

        The next try is set now: if this one fails, or dies, nothing more is to be written.
        """
        held = self.keys.get(digest)
        if held is None or not held.is_due(now):
            return None
        wait = max(lease_seconds, wait_seconds(recovery_seconds, held.since, now))
        return replace(self, keys={**self.keys, digest: replace(held, until=now + wait)})

    def key_closed(self, digest: str) -> "State | None":
        """An event of a key succeeded. None if it is not held back."""
        if digest not in self.keys:
            return None
        return replace(self, keys={each: held for each, held in self.keys.items() if each != digest})
