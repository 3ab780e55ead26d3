"""A queue and the functions behind it, simulated in steps: depth, age and concurrency over time.

A step draws the events that arrive (Poisson, with a seed), ends the runs that are due, and starts runs while a server
is free. With batches of one event and a constant number of servers it is the queue M/D/c, whose waiting times are known
(tests/cli/test_plan_queueing.py). Events are counted and not kept, so a million a second cost no more than ten.
"""

import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

# Above this mean, a Poisson draw is a normal one, rounded.
_NORMAL_ABOVE = 50


@dataclass(frozen=True)
class Servers:
    """Runs of the worker. `first` may run at once; while events wait, `added_a_minute` more may, up to `most`.

    A run takes `run_seconds` and `event_seconds` for each of its events, of which there are `batch` at most. A smaller
    batch starts when its oldest event has waited for `window_seconds`. `events_a_second` is what the services behind
    the worker take, `in_flight` how many events may be in runs.
    """

    batch: int
    run_seconds: float
    event_seconds: float
    first: float
    most: float
    added_a_minute: float = 0
    window_seconds: float = 0
    events_a_second: float = math.inf
    in_flight: float = math.inf

    def seconds(self, events: int) -> float:
        """Return the time of a run with this many events."""
        return self.run_seconds + events * self.event_seconds


class Sample(NamedTuple):
    """The queue at a time: events that wait, the age of the oldest one in seconds, and runs."""

    seconds: float
    waiting: int
    age_seconds: float
    runs: int


@dataclass
class _Waiting:
    """Events that wait, oldest first, as numbers by the time of their arrival."""

    arrived: deque[tuple[float, int]]
    count: int = 0

    def add(self, now: float, events: int) -> None:
        if events:
            self.arrived.append((now, events))
            self.count += events

    def age(self, now: float) -> float:
        return now - self.arrived[0][0] if self.arrived else 0.0

    def take(self, events: int) -> None:
        self.count -= events
        while events:
            arrived, there = self.arrived[0]
            if there > events:
                self.arrived[0] = (arrived, there - events)
                return
            self.arrived.popleft()
            events -= there


def simulate(
    servers: Servers, rate: Callable[[float], float], *, seconds: float, step_seconds: float, seed: int | None = 1
) -> list[Sample]:
    """Return a sample for each step. `rate` is the events a second that arrive at a time in seconds.

    Without a seed, exactly so many arrive, and no random number of them.
    """
    draw = None if seed is None else random.Random(seed)  # noqa: S311  a simulation
    waiting, ends = _Waiting(deque()), dict[int, list[tuple[int, int]]]()
    allowed, running, in_flight, room = servers.first, 0, 0, 0.0
    # A step that is longer than a run has room for several runs of a server.
    turns = max(1.0, step_seconds / servers.seconds(servers.batch))
    samples = []
    for step in range(math.ceil(seconds / step_seconds)):
        now = step * step_seconds
        for runs, events in ends.pop(step, ()):
            running, in_flight = running - runs, in_flight - events
        mean = rate(now) * step_seconds
        waiting.add(now, round(mean) if draw is None else poisson(draw, mean))
        room = min(room + servers.events_a_second * step_seconds, servers.events_a_second * max(1.0, step_seconds))
        free = int(allowed * turns) - running
        while free > 0 and waiting.count:
            size = min(servers.batch, waiting.count)
            if size < servers.batch and waiting.age(now) < servers.window_seconds:
                break
            most = min(room, servers.in_flight * turns - in_flight, waiting.count)
            runs = min(free, int(most // size))
            if runs < 1:
                break
            waiting.take(runs * size)
            room -= runs * size
            free, running, in_flight = free - runs, running + runs, in_flight + runs * size
            ends.setdefault(step + max(1, round(servers.seconds(size) / step_seconds)), []).append((runs, runs * size))
        if waiting.count and free <= 0:
            allowed = min(servers.most, allowed + servers.added_a_minute / 60 * step_seconds)
        samples.append(Sample(now, waiting.count, waiting.age(now), round(running / turns)))
    return samples


def poisson(draw: random.Random, mean: float) -> int:
    """Return a number of events of a Poisson distribution."""
    if mean > _NORMAL_ABOVE:
        return max(0, round(draw.gauss(mean, math.sqrt(mean))))
    limit, events, product = math.exp(-mean), 0, draw.random()
    while product > limit:
        events, product = events + 1, product * draw.random()
    return events


def drained_at(samples: Sequence[Sample], after_seconds: float, usual: float) -> float | None:
    """Return the first time after a burst when no more events wait than usual, None if that does not come."""
    late = (each.seconds for each in samples if each.seconds >= after_seconds and each.waiting <= usual)
    return next(late, None)
