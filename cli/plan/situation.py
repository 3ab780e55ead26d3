"""A stack under a load: its config, the events that arrive, and the quotas of its account."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

from cli.cost_model import INGEST_MS, INGEST_MS_AN_EVENT, WORKER_MS, WORKER_MS_AN_EVENT
from cli.plan.limits import FIRST_BATCHES, MOST_BATCHES, value_of
from components.config import NAMESPACE, load
from components.options.api import ApiPipelineConfig
from components.options.common import BATCHES_A_POLLER
from local.project import Project

DEFAULT_EVENT_SECONDS = WORKER_MS_AN_EVENT / 1_000


@dataclass(frozen=True)
class Load:
    """Events that arrive at a stack: their mean rate, and a burst of `burst` times that rate.

    `event_seconds`: the time of the worker for one event. `groups`: those of a FIFO queue with events at the same time.
    """

    events_per_second: float
    burst: float = 1
    burst_seconds: float = 300
    events_per_request: int = 1
    event_bytes: int = 500
    event_seconds: float = DEFAULT_EVENT_SECONDS
    groups: int = 100
    drain: float = 1
    """The rate at which the queue is emptied that the stack is to be sized for, over the mean rate."""

    @property
    def peak(self) -> float:
        """Events a second during the burst."""
        return self.events_per_second * self.burst


@dataclass(frozen=True)
class Situation:
    """A stack under a load. `quotas` are those that were raised, by the names of limits.py; `stacks` share the load."""

    project: Project
    load: Load
    quotas: Mapping[str, float]
    stacks: int = 1

    @cached_property
    def config(self) -> ApiPipelineConfig:
        """The validated config. Raises ConfigError."""
        config = load(self.project.config, file=f"Pulumi.{self.project.stack}.yaml", check_processor=False)
        if not isinstance(config, ApiPipelineConfig):
            raise TypeError("the stack is of another variant than api")
        return config

    def quota(self, name: str) -> float:
        """Return the value of a limit, raised or not."""
        return self.quotas.get(name, value_of(name))

    def with_settings(self, settings: Mapping[str, Any]) -> Self:
        """Return the stack with other values, by their paths such as `worker.batch_size`; None removes a key."""
        groups: dict[str, Any] = {}
        for path, value in settings.items():
            group, *inner, last = path.split(".")
            place = groups.setdefault(group, json.loads(self.project.config.get(f"{NAMESPACE}:{group}", "{}")))
            for key in inner:
                place = place.setdefault(key, {})
            if value is None:
                place.pop(last, None)
            else:
                place[last] = value
        full = {f"{NAMESPACE}:{group}": values for group, values in groups.items()}
        return replace(self, project=self.project.with_config(full))

    # What follows from the config

    @property
    def ingest_seconds(self) -> float:
        """The time of the ingest function for one request."""
        return (INGEST_MS + INGEST_MS_AN_EVENT * self.load.events_per_request) / 1_000

    @property
    def run_seconds(self) -> float:
        """The time of the worker for a run, beside its events."""
        return WORKER_MS / 1_000

    def worker_seconds(self, events: float) -> float:
        """Return the time of the worker for a run with this many events."""
        return self.run_seconds + events * self.load.event_seconds

    @property
    def batches_at_once(self) -> float:
        """The most batches that are processed at the same time."""
        most: float = self.config.worker.batches_at_once
        if self.config.worker.provisioned_pollers is None:
            most = min(most, value_of(MOST_BATCHES))
        return min(most, self.load.groups) if self.config.queue.is_fifo else most

    @property
    def first_batches(self) -> float:
        """The batches that are processed at the same time as soon as messages arrive."""
        pollers = self.config.worker.provisioned_pollers
        first = BATCHES_A_POLLER * pollers.minimum if pollers else value_of(FIRST_BATCHES)
        return min(first, self.batches_at_once)

    @property
    def filled(self) -> float:
        """The events in a run: those of a request or of a batching window, and more where runs are scarce."""
        worker, rate = self.config.worker, self.load.events_per_second
        spare = self.batches_at_once - rate * self.load.event_seconds
        scarce = rate * self.run_seconds / spare if spare > 0 else math.inf
        wanted = max(1, self.load.events_per_request, rate * worker.batching_window_seconds, scarce)
        return min(worker.batch_size, wanted)
