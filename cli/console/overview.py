"""The overview of a stack: its graph with live counts, its traffic and its alarms; and a resource by itself."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import boto3

from cli.console.charts import Edge, Node, Series, graph, line_chart
from cli.console.links import console_link
from cli.console.traffic import KEPT_SECONDS, Picture, Traffic
from cli.core.logs import LogReader
from cli.core.stack import Stack
from cli.live import shown
from cli.permissions import permissions
from handlers.shared import queues
from handlers.shared.dead_letters import DeadLetters
from local.diagram import drawing
from local.errors import LocalError
from local.monitor import Registration
from local.recording import Graph

FUNCTION, ALARM = "aws:lambda/function:Function", "aws:cloudwatch/metricAlarm:MetricAlarm"
PIPELINE = "datapipeline:index:DataPipeline"
SHOWN_LINES = 40
# CloudWatch describes so many alarms by name at once:
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html
ALARMS_A_CALL = 100
# An input that is code, which is no text.
NOT_SHOWN = ("code",)

_is_suffix = re.compile(r"-[0-9a-f]{7}").fullmatch

Values = dict[str, Any]


@dataclass(frozen=True)
class Alarm:
    """An alarm of the stack: its name in the program and on AWS, what it watches, and its state."""

    name: str
    real_name: str
    description: str
    watched: frozenset[str]
    """The keys of the boxes that it is about."""
    state: str
    reason: str

    @property
    def rings(self) -> bool:
        """Whether it rings."""
        return self.state == "ALARM"


class Overview:
    """The graph of a stack with what is known of it now. The stack's AWS clients must be aimed already."""

    def __init__(self, stack: Stack, recorded: Graph, letters: DeadLetters, *, every_seconds: float) -> None:
        self._stack = stack
        self._graph = recorded
        self._letters = letters
        self._nodes, self._edges = drawing(recorded)
        self._prefix = next((f"{each.name}-" for each in recorded.of_type(PIPELINE)), "")
        # An iot stack has none.
        self._queue_url = stack.outputs.get("queue_url")
        since_ms = round((datetime.now(UTC) - timedelta(seconds=KEPT_SECONDS)).timestamp() * 1_000)
        groups = stack.outputs.get("log_groups", {})
        self._traffic = Traffic(LogReader(boto3.client("logs"), groups, since_ms), every_seconds=every_seconds)

    def page(self, root: str) -> Values:
        """Return what the first page shows, with links to paths below `root`. Raises botocore's errors."""
        now, alarms = self._traffic.now(), self._alarms()
        queue, letters = self._queue_url and queues.depth(self._queue_url), self._letters.depth()
        ringing = [each for each in alarms if each.rings]
        minutes = KEPT_SECONDS // 60
        lines = [f"{line.function}  {text}" for line in now.lines[-SHOWN_LINES:] for text in shown(line.message)]
        return {
            "title": "Overview",
            "graph": self._drawn(now, {"queue": queue, "letters": letters}, ringing, f"{root}/nodes/{{}}"),
            "charts": _charts(now),
            "totals": now.totals,
            "queue": queue,
            "letters": letters,
            "minutes": minutes,
            "lines": lines[-SHOWN_LINES:],
            "alarms": alarms,
            "ringing": ringing,
        }

    def node(self, key: str) -> Values:
        """Return the page of a resource. Raises LocalError for an unknown one."""
        resource = self._nodes.get(key)
        if resource is None:
            raise LocalError(f"the stack has no resource {key!r}")
        is_function = resource.type == FUNCTION
        inputs = {
            name: value if isinstance(value, str) else json.dumps(value, indent=2, default=str)
            for name, value in sorted(resource.inputs.items())
            if name not in NOT_SHOWN
        }
        return {
            "title": resource.name,
            "kind": resource.type,
            "rights": list(self._rights(resource.name)) if is_function else [],
            "leads_to": [] if is_function else [target for source, target, _ in self._edges if source == key],
            "users": [(source, label) for source, target, label in self._edges if target == key],
            "alarms": [each for each in self._alarms() if key in each.watched],
            "inputs": inputs,
            **self._on_aws(resource),
        }

    def _on_aws(self, resource: Registration) -> Values:
        """Return the real name of a resource, and its address in AWS's console where there is one."""
        if self._stack.is_local:
            return {"physical_name": resource.physical_name, "console_link": None, "problem": ""}
        try:
            found = self._stack.deployed_ids[resource.type, resource.name]
        except (LocalError, KeyError) as error:
            said = str(error) if isinstance(error, LocalError) else "it is not deployed yet"
            return {"physical_name": "", "console_link": None, "problem": said}
        link = console_link(resource.type, found, self._stack.project.region)
        return {"physical_name": found, "console_link": link, "problem": ""}

    def _rights(self, function: str) -> Iterator[Values]:
        """Yield the rights of a function as `pipeline permissions` lists them: actions that differ in nothing else."""
        own = [each for each in permissions(self._graph) if each.function == function]
        for _, alike in groupby(own, key=lambda each: (each.resource, each.why, each.when)):
            found = list(alike)
            yield {**asdict(found[0]), "actions": [each.action for each in found]}

    def _alarms(self) -> list[Alarm]:
        """Return the stack's alarms with their states, by one request for a hundred of them."""
        names = [str(name) for name in self._stack.outputs.get("alarm_names", [])]
        client = boto3.client("cloudwatch")
        states: dict[str, Any] = {}
        for first in range(0, len(names), ALARMS_A_CALL):
            some = names[first : first + ALARMS_A_CALL]
            for each in client.describe_alarms(AlarmNames=some, MaxRecords=ALARMS_A_CALL)["MetricAlarms"]:
                states[each["AlarmName"]] = each
        return sorted(self._described(names, states), key=lambda alarm: (not alarm.rings, alarm.name))

    def _described(self, names: Iterable[str], states: Mapping[str, Any]) -> Iterator[Alarm]:
        recorded = self._graph.of_type(ALARM)
        for name in names:
            # Of a stack that an earlier version has deployed, Pulumi has appended digits to the name in the program.
            own = next(
                (
                    each
                    for each in recorded
                    if name == each.inputs.get("name") or _is_suffix(name.removeprefix(each.name))
                ),
                None,
            )
            state = states.get(name, {})
            yield Alarm(
                name=name if own is None else own.name.removeprefix(self._prefix),
                real_name=name,
                description="" if own is None else str(own.inputs.get("alarmDescription", "")),
                watched=frozenset() if own is None else frozenset(self._watched(own)),
                state=str(state.get("StateValue", "missing")),
                reason=str(state.get("StateReason", "")),
            )

    def _watched(self, alarm: Registration) -> Iterator[str]:
        """Yield the boxes whose resource is a dimension of an alarm's metrics."""
        metrics = json.dumps([alarm.inputs.get("dimensions"), alarm.inputs.get("metricQueries")], default=str)
        for key, resource in self._nodes.items():
            if f'"{resource.physical_name}"' in metrics:
                yield key

    def _drawn(self, now: Picture, depths: Mapping[str, int | None], ringing: list[Alarm], href: str) -> Any:
        alarmed = {key for alarm in ringing for key in alarm.watched}
        active = {key for key in self._nodes if self._function_of(key) in now.active}
        edges = [
            Edge(source, target, label.replace("<br/>", ", "), self._is_lit(source, target, active, now))
            for source, target, label in self._edges
        ]
        lit = active | {key for edge in edges if edge.is_active for key in (edge.source, edge.target)}
        nodes = [
            Node(
                key,
                resource.name.removeprefix(self._prefix),
                resource.type.rpartition(":")[2],
                self._count(key, now, depths),
                is_active=key in lit,
                is_alarmed=key in alarmed,
            )
            for key, resource in self._nodes.items()
        ]
        return graph(nodes, edges, href)

    def _is_lit(self, source: str, target: str, active: set[str], now: Picture) -> bool:
        """Return True if something passes: where a function works; to alerts and dead letters only after a failure."""
        if source not in active and target not in active:
            return False
        kind = self._nodes[target].type
        is_for_failures = kind.endswith(":Topic") or self._is_dead_letters(target)
        return now.has_failed if is_for_failures else True

    def _function_of(self, key: str) -> str:
        """Return the name of a function as its log group has it; empty for another resource."""
        resource = self._nodes[key]
        return resource.name.removeprefix(self._prefix) if resource.type == FUNCTION else ""

    def _is_dead_letters(self, key: str) -> bool:
        resource = self._nodes[key]
        return resource.type.endswith(":Queue") and resource.name.endswith("dead-letters")

    def _count(self, key: str, now: Picture, depths: Mapping[str, int | None]) -> str:
        resource = self._nodes[key]
        if resource.type.endswith(":Queue"):
            url = self._stack.outputs.get("dead_letter_queue_url" if self._is_dead_letters(key) else "queue_url", "")
            depth = depths["letters" if self._is_dead_letters(key) else "queue"]
            return f"{depth:,} waiting" if depth is not None and f"/{resource.name}-" in str(url) else ""
        match self._function_of(key):
            case "ingest":
                return f"{now.totals['accepted']:,} accepted"
            case "worker":
                return f"{now.totals.get('succeeded', 0):,} done"
        return ""


def _charts(now: Picture) -> list[Values]:
    counts = [
        Series("accepted", "accepted", now.accepted),
        Series("succeeded", "succeeded", now.succeeded),
        Series("failed", "failed", now.failed),
    ]
    times = [Series("median", "accepted", now.median_ms), Series("95 %", "retrying", now.p95_ms)]
    labels = (f"{max(1, now.seconds // 60)} min ago", "now")
    return [
        {"title": "Events a second", "series": counts, "svg": line_chart("Events a second", counts, *labels, {})},
        {
            "title": "Milliseconds until an event is done",
            "series": times,
            "svg": line_chart("Milliseconds until an event is done", times, *labels, {}),
        },
    ]
