"""The bounds of a stack: how many events a second each limit on the way of an event takes, and what raises it.

All are in events a second of the mean rate. A limit that a burst meets too (requests, environments) is divided by it;
the queue spreads a burst over time for the limits behind it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cli.cost_model import ITEM_BYTES, ingest_calls, worker_calls
from cli.plan.limits import (
    A_RECEIVE,
    API_REQUESTS,
    CONCURRENCY,
    FIFO_CALLS,
    GROWTH,
    IN_FLIGHT,
    INVOCATIONS,
    NEW_ENVIRONMENTS,
    NEW_TABLE_WRITES,
    PARTITION_WRITES,
    POLLER_BATCHES,
    POLLER_BYTES,
    POLLER_POLLS,
    POLLERS,
    PUT_EVENTS,
    PUT_LOGS,
    S3_PUTS,
    TABLE_READS,
    TABLE_WRITES,
    value_of,
)
from cli.plan.situation import Situation

HEADROOM = 1.25
# A batch of this size makes the time of a run beside its events small.
LARGE_BATCH = 100
REQUEST_SIZES = (10, 100, 500)
# Lambda takes 6 MB with a request.
REQUEST_BYTES = 4_500_000
MOST_CONCURRENCY, MOST_SHARDS, MOST_THROTTLING, MOST_BURST = 1_000, 64, 10_000, 5_000
STORING_SECONDS = 5
MOST_TIMEOUT_SECONDS = 900

Side = Literal["accept", "process", "logs"]


@dataclass(frozen=True)
class Change:
    """Settings of the stack file, a raised quota, larger requests or more stacks. The last three have one entry."""

    kind: Literal["config", "quota", "requests", "stacks"]
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Bound:
    """A limit: the events a second that it `takes`, and changes that may raise that, the best one first."""

    name: str
    is_now: str
    takes: float
    effect: str
    side: Side
    changes: Sequence[Change] = ()


def rounded_up(value: float) -> int:
    """Return the next number that has one or two digits before its zeros."""
    digits = max(0, math.floor(math.log10(max(value, 1))) - 1)
    unit = int(10**digits)
    return math.ceil(value / unit) * unit


def bounds(at: Situation) -> list[Bound]:
    """Return the bounds of a stack, the lowest first."""
    found = [*_accepting(at), *_working(at), *_storing(at), *_telling(at)]
    return sorted(found, key=lambda bound: bound.takes)


def _over(limit: float, used_an_event: float) -> float:
    return limit / used_an_event if used_an_event else math.inf


def _config(**values: Any) -> Change:
    return Change("config", {path.replace("__", "."): value for path, value in values.items()})


def _quota(name: str, needed: float) -> Change:
    return Change("quota", {name: rounded_up(needed * HEADROOM)})


def _requests(at: Situation, needed: float) -> list[Change]:
    """Larger requests: the smallest size that suffices, or the largest."""
    most = min(at.config.api.max_batch, REQUEST_BYTES // at.load.event_bytes)
    sizes = [size for size in REQUEST_SIZES if at.load.events_per_request < size <= most]
    chosen = next((size for size in sizes if size >= needed), sizes[-1] if sizes else None)
    return [Change("requests", {"events": chosen})] if chosen else []


def _larger_batch(at: Situation) -> list[Change]:
    """Batches of 100, or as many events as fit into a run and in flight."""
    worker = at.config.worker
    fits = int((worker.timeout_seconds - STORING_SECONDS) / at.load.event_seconds)
    size = min(A_RECEIVE_SIZE if at.config.queue.is_fifo else LARGE_BATCH, fits)
    if size <= worker.batch_size or at.load.events_per_second * at.load.drain * at.worker_seconds(size) > at.quota(
        IN_FLIGHT
    ):
        return []
    if size <= A_RECEIVE_SIZE:
        return [_config(worker__batch_size=size)]
    window = max(1, worker.batching_window_seconds)
    return [_config(worker__batch_size=size, worker__batching_window_seconds=window)]


A_RECEIVE_SIZE = int(value_of(A_RECEIVE))


def _stacks(at: Situation, takes: float) -> list[Change]:
    if not takes:
        return []
    return [Change("stacks", {"stacks": math.ceil(at.stacks * at.load.events_per_second / takes)})]


# Accepting


def _accepting(at: Situation) -> Iterator[Bound]:
    config, load = at.config, at.load
    requests = load.burst / load.events_per_request
    rate, throttling = load.events_per_second * requests, config.api.throttling
    account = at.quota(API_REQUESTS)
    larger = _requests(at, load.peak * HEADROOM / account)
    yield Bound(
        API_REQUESTS,
        f"{account:,.0f} requests a second",
        account / requests,
        "requests are answered with 429",
        "accept",
        [*larger, _quota(API_REQUESTS, rate)],
    )
    wanted = min(MOST_THROTTLING, rounded_up(rate * HEADROOM))
    raised = _config(
        api__throttling__rate_per_second=wanted,
        api__throttling__burst=max(throttling.burst, min(MOST_BURST, wanted)),
    )
    yield Bound(
        "api.throttling.rate_per_second",
        f"{throttling.rate_per_second:,.0f} requests a second",
        throttling.rate_per_second / requests,
        "requests are answered with 429",
        "accept",
        [raised, *larger]
        if rate * HEADROOM <= MOST_THROTTLING
        else [*larger, raised, *_stacks(at, MOST_THROTTLING / requests)],
    )
    if (reserved := config.api.reserved_concurrency) is not None:
        yield Bound(
            "api.reserved_concurrency",
            f"{reserved} requests at the same time",
            _over(reserved, requests * at.ingest_seconds),
            "requests are answered with 503",
            "accept",
            [_config(api__reserved_concurrency=rounded_up(rate * at.ingest_seconds * HEADROOM))],
        )
    yield _environments(at)
    if config.queue.is_fifo:
        calls = load.burst * math.ceil(load.events_per_request / A_RECEIVE_SIZE) / load.events_per_request
        yield Bound(
            FIFO_CALLS,
            f"{at.quota(FIFO_CALLS):,.0f} calls a second",
            at.quota(FIFO_CALLS) / calls,
            "events are answered with 503",
            "accept",
            [*_requests(at, A_RECEIVE_SIZE), _quota(FIFO_CALLS, load.events_per_second * calls)],
        )


def _environments(at: Situation) -> Bound:
    """The start of a burst: environments of the ingest function that Lambda must make within seconds."""
    load, ready = at.load, at.config.api.provisioned_concurrency or 0
    jump = (load.burst - 1) / load.events_per_request * at.ingest_seconds
    needed = rounded_up(load.peak / load.events_per_request * at.ingest_seconds)
    return Bound(
        NEW_ENVIRONMENTS,
        f"{value_of(NEW_ENVIRONMENTS):,.0f} in 10 seconds",
        _over(value_of(NEW_ENVIRONMENTS) + ready, jump),
        "requests at the start of a burst are answered with 503",
        "accept",
        [
            *_requests(at, LARGE_BATCH),
            _config(api__provisioned_concurrency=needed),
            *_stacks(at, _over(value_of(NEW_ENVIRONMENTS) / HEADROOM, jump)),
        ],
    )


# The worker


def _working(at: Situation) -> Iterator[Bound]:
    load, worker = at.load, at.config.worker
    size = worker.batch_size
    accepting = load.burst / load.events_per_request
    runs = accepting * at.ingest_seconds + at.worker_seconds(size) / size * load.drain
    calls = (accepting + load.drain / size) / value_of(INVOCATIONS)
    needed = load.events_per_second * max(runs, calls)
    yield Bound(
        CONCURRENCY,
        f"{at.quota(CONCURRENCY):,.0f} runs at the same time",
        at.quota(CONCURRENCY) / max(runs, calls),
        "functions are throttled: 503, and messages that wait",
        "accept",
        [*_requests(at, LARGE_BATCH), *_larger_batch(at), _quota(CONCURRENCY, needed)],
    )
    most = (worker.timeout_seconds - STORING_SECONDS) / load.event_seconds
    if size > most:
        longer = rounded_up(STORING_SECONDS + size * load.event_seconds * HEADROOM)
        changes = [_config(worker__batch_size=int(most))] if most >= 1 else []
        if longer <= MOST_TIMEOUT_SECONDS:
            changes.append(_config(worker__timeout_seconds=longer))
        yield Bound(
            "worker.timeout_seconds",
            f"{worker.timeout_seconds} seconds",
            0,
            "runs end before their events do",
            "process",
            changes,
        )
    yield _batches(at)
    if worker.provisioned_pollers:
        yield _polling(at)
    worked = load.events_per_second * load.drain
    smaller = int((at.quota(IN_FLIGHT) / worked / HEADROOM - at.run_seconds) / load.event_seconds)
    yield Bound(
        IN_FLIGHT,
        f"{at.quota(IN_FLIGHT):,.0f} messages in flight",
        at.quota(IN_FLIGHT) / at.worker_seconds(size) / load.drain,
        "the queue gives no more messages, and grows",
        "process",
        [
            *([_config(worker__batch_size=smaller)] if 1 <= smaller < size else []),
            _quota(IN_FLIGHT, worked * at.worker_seconds(size)),
        ],
    )


def _batches(at: Situation) -> Bound:
    load, worker = at.load, at.config.worker
    size = worker.batch_size
    takes = at.batches_at_once * size / at.worker_seconds(size) / load.drain
    needed = HEADROOM * load.events_per_second * load.drain * at.worker_seconds(size) / size
    changes = _larger_batch(at)
    if not at.config.queue.is_fifo or load.groups > at.batches_at_once:
        shared, paced = worker.provisioned_pollers is None, worker.circuit_breaker is not None
        if shared and (needed <= MOST_CONCURRENCY or paced):
            changes.append(_config(worker__maximum_concurrency=min(MOST_CONCURRENCY, rounded_up(needed))))
        most = MOST_CONCURRENCY if paced else value_of(POLLERS) * value_of(POLLER_BATCHES)
        changes += [*_more_pollers(at, needed), *_stacks(at, takes / at.batches_at_once * most / HEADROOM)]
    by = "worker.provisioned_pollers" if worker.provisioned_pollers else "worker.maximum_concurrency"
    name = "groups of the FIFO queue" if at.batches_at_once < worker.batches_at_once else by
    return Bound(name, f"{at.batches_at_once:,.0f} batches of {size}", takes, "the queue grows", "process", changes)


def _polling(at: Situation) -> Bound:
    pollers = at.config.worker.provisioned_pollers
    assert pollers is not None  # noqa: S101  as the caller says
    a_poller = _taken_by_a_poller(at) / at.load.drain
    return Bound(
        "polls of worker.provisioned_pollers",
        f"{pollers.maximum:,} pollers",
        pollers.maximum * a_poller,
        "the queue grows",
        "process",
        [*_more_pollers(at, 0), *_stacks(at, value_of(POLLERS) * a_poller / HEADROOM)],
    )


def _taken_by_a_poller(at: Situation) -> float:
    """Events a second: its receives, or its bytes."""
    return min(value_of(POLLER_POLLS) * A_RECEIVE_SIZE, value_of(POLLER_BYTES) / (at.load.event_bytes + ITEM_BYTES))


def _more_pollers(at: Situation, batches: float) -> list[Change]:
    """Provisioned pollers for so many batches at the same time, half of what is usual always there."""
    if at.config.worker.circuit_breaker:
        return []
    rate = HEADROOM * at.load.events_per_second * at.load.drain
    usual = max(batches / value_of(POLLER_BATCHES), rate / _taken_by_a_poller(at))
    most = min(int(value_of(POLLERS)), max(2, rounded_up(usual)))
    return [
        _config(
            worker__maximum_concurrency=None,
            worker__provisioned_pollers={"minimum": min(200, max(2, most // 2)), "maximum": most},
        )
    ]


# Storage


def _storing(at: Situation) -> Iterator[Bound]:
    load, storage = at.load, at.config.storage
    size = math.ceil(at.filled)
    inline = load.event_bytes if storage.results == "inline" else 0
    accepted = ingest_calls(at.config, load.events_per_request)
    worked = worker_calls(at.config, size)
    writes = accepted["dynamodb.writes"] / load.events_per_request * math.ceil(ITEM_BYTES / 1_024)
    stored = load.drain * worked["dynamodb.writes"] / size * math.ceil((ITEM_BYTES + inline) / 1_024)
    used = writes * load.burst + stored
    effect = "writes are throttled: results come late, and the queue grows"
    track = [_config(api__track=False)] if at.config.api.track else []
    yield Bound(
        TABLE_WRITES,
        f"{at.quota(TABLE_WRITES):,.0f} write units a second",
        at.quota(TABLE_WRITES) / used,
        effect,
        "process",
        [*track, _quota(TABLE_WRITES, load.events_per_second * used)],
    )
    reads = load.drain * worked["dynamodb.reads"] / size * math.ceil((ITEM_BYTES + inline) / 4_096)
    yield Bound(
        TABLE_READS,
        f"{at.quota(TABLE_READS):,.0f} read units a second",
        at.quota(TABLE_READS) / reads,
        "reads are throttled: the queue grows",
        "process",
        [_quota(TABLE_READS, load.events_per_second * reads)],
    )
    # A table takes at once what it took before, twice, or what a new one takes.
    if used > value_of(GROWTH) * (writes + stored):
        ready = at.quota(NEW_TABLE_WRITES)
        warmed = _quota(NEW_TABLE_WRITES, load.events_per_second * used)
        yield Bound(
            NEW_TABLE_WRITES,
            f"{ready:,.0f} write units a second at once",
            ready / used,
            effect,
            "process",
            [*track, warmed],
        )
    entries = accepted["dynamodb.index_writes"] / load.events_per_request * load.burst
    entries += load.drain * worked["dynamodb.index_writes"] / size
    if storage.time_index:
        yield from _index(at, entries)
    if storage.results == "object":
        yield Bound(
            f"{S3_PUTS} of results",
            f"{value_of(S3_PUTS):,.0f} objects a second",
            value_of(S3_PUTS) / load.drain,
            "S3 answers 503 while it splits the day's prefix: attempts fail, and the queue grows",
            "process",
            [_config(storage__results="inline")],
        )
    if storage.archive:
        yield Bound(
            f"{S3_PUTS} of the archive",
            f"{value_of(S3_PUTS):,.0f} objects a second",
            value_of(S3_PUTS) * at.filled / load.drain,
            "S3 answers 503 while it splits the hour's prefix: attempts fail, and the queue grows",
            "process",
            _larger_batch(at),
        )


def _index(at: Situation, entries: float) -> Iterator[Bound]:
    """The index by time, whose partitions are the shards of a day. A throttled index throttles its table."""
    load, storage = at.load, at.config.storage
    shards = storage.time_index_shards
    needed = math.ceil(HEADROOM * load.events_per_second * entries / value_of(PARTITION_WRITES))
    without = [] if at.config.reports else [_config(storage__time_index=False)]
    more = [_config(storage__time_index_shards=needed)] if needed <= MOST_SHARDS else []
    effect = "the index throttles writes of the table: results come late, and the queue grows"
    most = MOST_SHARDS * value_of(PARTITION_WRITES) / entries / HEADROOM
    yield Bound(
        "storage.time_index_shards",
        f"{shards} shards of {value_of(PARTITION_WRITES):,.0f} writes a second",
        shards * value_of(PARTITION_WRITES) / entries,
        effect,
        "process",
        [*more, *without, _config(storage__time_index_shards=MOST_SHARDS), *_stacks(at, most)],
    )
    yield Bound(
        f"{TABLE_WRITES} of the index",
        f"{at.quota(TABLE_WRITES):,.0f} write units a second",
        at.quota(TABLE_WRITES) / entries,
        effect,
        "process",
        [*without, _quota(TABLE_WRITES, load.events_per_second * entries)],
    )


# Outcomes and logs


def _telling(at: Situation) -> Iterator[Bound]:
    load, filled = at.load, at.filled
    if at.config.has_event_bus:
        calls = load.drain * math.ceil(filled / A_RECEIVE_SIZE) / filled
        yield Bound(
            PUT_EVENTS,
            f"{at.quota(PUT_EVENTS):,.0f} calls a second",
            at.quota(PUT_EVENTS) / calls,
            "outcome events are throttled, and their events attempted again",
            "process",
            [*_larger_batch(at), _quota(PUT_EVENTS, load.events_per_second * calls)],
        )
    # Lambda does not say how often it sends lines: here once a run.
    calls = load.burst / load.events_per_request + 1 / filled
    yield Bound(
        PUT_LOGS,
        f"{at.quota(PUT_LOGS):,.0f} calls a second",
        at.quota(PUT_LOGS) / calls,
        "log lines come late or are missing; events are not affected",
        "logs",
        [*_requests(at, LARGE_BATCH), *_larger_batch(at), _quota(PUT_LOGS, load.events_per_second * calls)],
    )
