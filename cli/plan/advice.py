"""The first limit that a load exceeds in a stack, and the changes with which it exceeds none."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from cli.plan.bounds import HEADROOM, Bound, Change, bounds
from cli.plan.limits import ADDED_BATCHES, IN_FLIGHT, PROVISIONED_ADDED, value_of
from cli.plan.queueing import Sample, Servers, drained_at, simulate
from cli.plan.situation import Situation
from components.config import ConfigError

# Simulated before the burst, and after it at most.
BEFORE_SECONDS, AFTER_SECONDS = 60.0, 7_200.0
STEPS = 20_000
MOST_CHANGES = 500
DRAIN_STEP = 1.5
LATE = "alarms.oldest_message_seconds"


@dataclass(frozen=True)
class Course:
    """The simulated queue before, during and after a burst. `refused`: the share of the burst's events."""

    samples: Sequence[Sample]
    refused: float
    drained_seconds: float | None
    """Time after the burst until no more events wait than before it; None if that does not come."""

    @property
    def deepest(self) -> int:
        """The most events that wait."""
        return max(each.waiting for each in self.samples)

    @property
    def oldest_seconds(self) -> float:
        """The highest age of an event that waits."""
        return max(each.age_seconds for each in self.samples)

    @property
    def most_runs(self) -> int:
        """The most runs at the same time."""
        return max(each.runs for each in self.samples)


@dataclass(frozen=True)
class Advice:
    """The bound that breaks first, if one does, the changes, and the stack with them. `left`: what no change helps."""

    first: Bound | None
    changes: Sequence[Change]
    changed: Situation
    left: Bound | None


def course(at: Situation, seed: int = 1) -> Course:
    """Simulate the queue of a stack around a burst, after a long time at the mean rate."""
    load, worker = at.load, at.config.worker
    accepted = min(bound.takes * load.burst for bound in bounds(at) if bound.side == "accept")
    # Of the services behind the worker, at the rate at which it works: pollers and batches are the servers themselves.
    steady = bounds(replace(at, load=replace(load, burst=1, drain=1)))
    behind = [bound.takes for bound in steady if bound.side == "process" and not _is_of_servers(bound)]
    run = at.worker_seconds(worker.batch_size)
    usual = load.events_per_second * run / worker.batch_size
    servers = Servers(
        batch=worker.batch_size,
        run_seconds=at.run_seconds,
        event_seconds=load.event_seconds,
        # Lambda keeps a few batches more than a steady rate needs.
        first=min(at.batches_at_once, max(at.first_batches, math.ceil(usual * HEADROOM))),
        most=at.batches_at_once,
        added_a_minute=value_of(PROVISIONED_ADDED if worker.provisioned_pollers else ADDED_BATCHES),
        window_seconds=worker.batching_window_seconds,
        events_a_second=min(behind, default=math.inf),
        in_flight=at.quota(IN_FLIGHT),
    )
    end = BEFORE_SECONDS + load.burst_seconds
    takes = min(at.batches_at_once * worker.batch_size / run, servers.events_a_second)
    offered, burst = min(load.events_per_second, accepted), min(load.peak, accepted)
    backlog = max(0.0, burst - takes) * load.burst_seconds + burst * run
    drain = backlog / (takes - offered) * 1.3 if takes > offered else AFTER_SECONDS
    seconds = end + min(AFTER_SECONDS, max(BEFORE_SECONDS, drain))
    samples = simulate(
        servers,
        lambda now: burst if BEFORE_SECONDS <= now < end else offered,
        seconds=seconds,
        step_seconds=max(run / 2, seconds / STEPS),
        seed=seed,
    )
    before = [each.waiting for each in samples if each.seconds < BEFORE_SECONDS]
    drained = drained_at(samples, end, max(before[len(before) // 2 :]) * 1.1 + worker.batch_size)
    return Course(samples, max(0.0, 1 - accepted / load.peak), None if drained is None else drained - end)


def _is_of_servers(bound: Bound) -> bool:
    return bound.name.startswith(("worker.", "groups ", IN_FLIGHT))


def advise(at: Situation) -> Advice:
    """Return what breaks first, and changes with which nothing does."""
    first, asked = first_broken(at), at
    kept, changes = list[Change](), list[Change]()
    for _ in range(MOST_CHANGES):
        broken = first_broken(at)
        if broken is None:
            return Advice(first, _together(changes), at, None)
        if broken.name == LATE and at.load.drain < at.load.burst:
            # The queue is emptied too slowly: all that is behind it must take more.
            drain = min(at.load.burst, at.load.drain * DRAIN_STEP)
            asked, at = (replace(each, load=replace(each.load, drain=drain)) for each in (asked, at))
            continue
        better = next((pair for change in broken.changes if (pair := _tried(at, change, broken))), None)
        if better is None:
            return Advice(first, _together(changes), at, broken)
        change, at = better
        changes.append(change)
        if change.kind in ("requests", "stacks"):
            # There is less to do than what the changes before were for.
            kept, asked = [*kept, change], applied(asked, change)
            changes, at = list(kept), asked
    raise RuntimeError("the advice does not come to an end")


def first_broken(at: Situation) -> Bound | None:
    """Return the lowest bound, if the load is above it; else the wait of the simulated queue, if it is too long."""
    lowest = bounds(at)[0]
    if lowest.takes < at.load.events_per_second:
        return lowest
    if at.load.burst <= 1:
        return None
    oldest, allowed = course(at).oldest_seconds, at.config.alarms.oldest_message_seconds
    if oldest <= allowed:
        return None
    return Bound(
        LATE,
        f"{allowed} seconds",
        at.load.events_per_second * allowed / oldest,
        f"the oldest event waits for {oldest:,.0f} seconds",
        "process",
    )


def _tried(at: Situation, change: Change, broken: Bound) -> tuple[Change, Situation] | None:
    """Return a change and the stack with it, if the stack file accepts it and it raises the bound."""
    changed = applied(at, change)
    try:
        found = {bound.name: bound.takes for bound in bounds(changed)}
    except ConfigError:
        return None
    # A larger share of the load for each of more stacks is the same bound with less to take.
    before, after = broken.takes / at.load.events_per_second, found.get(broken.name, math.inf)
    return (change, changed) if after / changed.load.events_per_second > before * 1.001 else None


def applied(at: Situation, change: Change) -> Situation:
    """Return a stack with a change."""
    values: Any = change.values
    match change.kind:
        case "config":
            return at.with_settings(values)
        case "quota":
            return replace(at, quotas={**at.quotas, **values})
        case "requests":
            return replace(at, load=replace(at.load, events_per_request=values["events"]))
        case "stacks":
            share = at.load.events_per_second * at.stacks / values["stacks"]
            return replace(at, stacks=values["stacks"], load=replace(at.load, events_per_second=share))


def _together(changes: Sequence[Change]) -> list[Change]:
    """Return one change of each kind, with the last value of each key."""
    merged: dict[str, dict[str, Any]] = {}
    for change in changes:
        merged.setdefault(change.kind, {}).update(change.values)
    return [Change(kind, merged[kind]) for kind in ("requests", "config", "quota", "stacks") if kind in merged]
