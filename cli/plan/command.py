"""The output of `pipeline plan`: a table over rates of events, or one rate with its limits, changes and queue."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from cli.core.json_text import write_json
from cli.core.stack import Stack
from cli.cost import PRICES, monthly_dollars, read_prices
from cli.cost_model import Traffic, not_counted
from cli.cost_units import SECONDS_A_MONTH
from cli.plan.advice import Advice, Course, advise, course
from cli.plan.bounds import Bound, Change, bounds
from cli.plan.chart import chart
from cli.plan.limits import LIMITS
from cli.plan.situation import Load, Situation
from components.options.api import ApiPipelineConfig
from local.recording import Graph

RATES = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
WIDTH = 120


@dataclass(frozen=True)
class Plan:
    """A load, what a stack does under it, and what would help. Dollars are those of a month with the changes."""

    at: Situation
    advice: Advice
    dollars: float
    million: float
    not_counted: Sequence[str]


def run_plan(stack: str, load: Load, rate: float | None, concurrency: int, *, as_json: bool) -> int:
    """Print the plan of a stack for one rate, or for rates from 10 to 1,000,000 events a second."""
    planned = Stack(stack)
    planned.config_as(ApiPipelineConfig)
    graph = planned.graph()
    quotas = {"Lambda concurrency": float(concurrency)}
    plans = [
        plan_of(Situation(planned.project, replace(load, events_per_second=each), quotas), graph)
        for each in ([rate] if rate else RATES)
    ]
    if as_json:
        write_json(
            {"stack": stack, **_assumed(load), "plans": [_described(plan, courses=bool(rate)) for plan in plans]}
        )
        return 0
    console = Console(width=WIDTH)
    if rate:
        _show_one(console, plans[0])
    else:
        console.print(_table(plans))
    console.print("\n".join(_assumptions(stack, plans)), highlight=False, soft_wrap=True)
    return 0


def plan_of(at: Situation, graph: Graph) -> Plan:
    """Return what a stack does under a load, what to change, and its price then."""
    advice = advise(at)
    there = advice.changed
    month = there.load.events_per_second * SECONDS_A_MONTH
    traffic = Traffic(round(month), there.load.events_per_request, there.load.event_bytes)
    a_stack = monthly_dollars(read_prices(str(PRICES)), there.config, graph, traffic)
    return Plan(at, advice, a_stack * there.stacks, a_stack / month * 1_000_000, not_counted(there.config))


def changes_in_words(changes: Sequence[Change]) -> Iterator[str]:
    """Yield a line for each change: a key of the stack file with its value, a quota, or what clients do."""
    for change in changes:
        for name, value in change.values.items():
            match change.kind:
                case "config" if value is None:
                    yield f"{name}: leave it out"
                case "config":
                    yield f"{name}: {_yaml(value)}"
                case "quota" if LIMITS[name].is_quota:
                    yield f"quota {name}: {value:,}"
                case "quota":
                    yield f"warm throughput of the table: {value:,} write units"
                case "requests":
                    yield f"clients: {value} events to a request"
                case "stacks":
                    yield f"{value} stacks, each in an account or a region of its own"


def _yaml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_yaml(each)}" for key, each in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _breaks(bound: Bound | None) -> str:
    return "nothing" if bound is None else f"{bound.name}: {bound.is_now}. {bound.effect[0].upper()}{bound.effect[1:]}."


def _table(plans: Sequence[Plan]) -> Table:
    grid = Table("events/s", "breaks first", "at", "change", "USD a month", box=SIMPLE, show_lines=True)
    for column in (0, 2, 4):
        grid.columns[column].justify = "right"
    grid.columns[1].max_width, grid.columns[3].width = 36, 46
    grid.columns[4].no_wrap = True
    for plan in plans:
        grid.add_row(
            f"{plan.at.load.events_per_second:,.0f}",
            _breaks(plan.advice.first),
            f"{plan.advice.first.takes:,.0f}" if plan.advice.first else "",
            "\n".join([*changes_in_words(plan.advice.changes), *_left(plan.advice)]),
            f"{plan.dollars:,.0f}",
        )
    return grid


def _left(advice: Advice) -> list[str]:
    return [f"No change helps against {_breaks(advice.left)}"] if advice.left else []


def _show_one(console: Console, plan: Plan) -> None:
    load = plan.at.load
    grid = Table("limit", "is", "takes events a second", "used", box=SIMPLE)
    for column in (2, 3):
        grid.columns[column].justify = "right"
    for bound in filter(lambda each: isfinite(each.takes), bounds(plan.at)):
        used = load.events_per_second / bound.takes if bound.takes else float("inf")
        grid.add_row(bound.name, bound.is_now, f"{bound.takes:,.0f}", f"{used:,.0%}")
    console.print(grid)
    lines = [f"Breaks first: {_breaks(plan.advice.first)}", ""]
    if plan.advice.changes or plan.advice.left:
        lines += ["Change:", *(f"  {line}" for line in changes_in_words(plan.advice.changes)), *_left(plan.advice), ""]
    lines += [f"With that, {plan.dollars:,.0f} USD a month, {plan.million:.2f} USD for a million events.", ""]
    shown = course(plan.at)
    lines += ["As it is:", f"  {_in_words(shown)}"]
    if plan.advice.changes:
        shown = course(plan.advice.changed)
        lines += ["With the changes, as below:", f"  {_in_words(shown)}"]
    lines += ["", *_charts(shown)]
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


def _in_words(played: Course) -> str:
    drained = played.drained_seconds
    after = f"gone {drained:,.0f} s after the burst" if drained is not None else "not gone after two hours"
    refused = f"; {played.refused:.0%} of the burst refused" if played.refused else ""
    return (
        f"{played.deepest:,} events wait at most, the oldest for {played.oldest_seconds:,.1f} s, in up to "
        f"{played.most_runs:,} batches at the same time; {after}{refused}."
    )


def _charts(played: Course) -> list[str]:
    return [
        *chart("Events that wait", [(each.seconds, each.waiting) for each in played.samples]),
        *chart("Age of the oldest one (s)", [(each.seconds, each.age_seconds) for each in played.samples]),
        *chart("Batches at the same time", [(each.seconds, each.runs) for each in played.samples]),
    ]


def _assumptions(stack: str, plans: Sequence[Plan]) -> Iterator[str]:
    load = plans[0].at.load
    burst = (
        f"a burst of {load.burst:g} times the rate for {load.burst_seconds:,.0f} s" if load.burst > 1 else "no burst"
    )
    yield (
        f"{stack}: {load.events_per_request} events to a request, {load.event_bytes:,} bytes and "
        f"{load.event_seconds * 1_000:g} ms of the worker an event, {burst}."
    )
    if plans[0].at.config.queue.is_fifo:
        yield f"The queue is FIFO: {load.groups:,} groups have events at the same time."
    yield "Limits by AWS's documents (docs/plan.md), with the default quotas of us-east-1. An estimate by a model."
    if load.burst > 1 and not (plans[0].at.config.queue.fair or plans[0].at.config.queue.fifo):
        yield "If customers share the queue, queue.fair keeps the others' events from waiting behind the burst of one."
    left_out = sorted({each for plan in plans for each in plan.not_counted})
    yield from (f"Not counted in USD: {each}." for each in left_out)


def _assumed(load: Load) -> dict[str, Any]:
    return {
        "events_per_request": load.events_per_request,
        "event_bytes": load.event_bytes,
        "seconds_per_event": load.event_seconds,
        "burst": load.burst,
        "burst_seconds": load.burst_seconds,
    }


def _described(plan: Plan, *, courses: bool) -> dict[str, Any]:
    advice = plan.advice
    described: dict[str, Any] = {
        "events_per_second": plan.at.load.events_per_second,
        "breaks_first": None if advice.first is None else advice.first.name,
        "takes_events_per_second": {
            bound.name: round(bound.takes, 1) for bound in bounds(plan.at) if isfinite(bound.takes)
        },
        "changes": {change.kind: dict(change.values) for change in advice.changes},
        "left": None if advice.left is None else advice.left.name,
        "usd_a_month": round(plan.dollars, 2),
        "usd_a_million_events": round(plan.million, 4),
    }
    if courses:
        described["queue"] = _queue(course(plan.at))
        described["queue_with_changes"] = _queue(course(advice.changed))
    return described


def _queue(played: Course) -> dict[str, Any]:
    return {
        "most_waiting": played.deepest,
        "oldest_seconds": round(played.oldest_seconds, 2),
        "most_batches": played.most_runs,
        "drained_after_seconds": played.drained_seconds,
        "refused": round(played.refused, 4),
    }
