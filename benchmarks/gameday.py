"""Incidents, one after the other, on a local stack: what rings and when, what is lost, doubled or shown wrongly.

    make gameday
    .venv/bin/python -m benchmarks.gameday --incident "workers are killed"

Orders go to the local ingestion stack in signed requests while things go wrong. What CloudWatch would see is collected
on the way: the metrics that the functions write, the depth of the queues, the answers of the API. A second stands for a
minute of CloudWatch, and `benchmarks/alarm_states.py` plays the data through the alarms of the stack. The game day
fails when an incident does not ring the alarms it should, one of the others rings, or an order is lost, has its effect
twice, or shows a false state at the end. docs/alarms.md has the table, which tests/test_gameday.py checks.
"""

import argparse
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table as Grid

from benchmarks.alarm_states import Change, Data, changes
from benchmarks.drill import SAMPLES, VISIBILITY_SECONDS, Drill, Ledger
from cli.core.http import Access, request
from cli.core.logs import LogReader
from local.engine import Running, running
from local.project import load_project
from local.recording import Graph, synthesise
from local.services import Clients

ORDERS_A_REQUEST = 4
REQUESTS_A_SECOND = 3
DRAIN_SECONDS = 120
# With the wait for an empty queue longer than five minutes: more-dead-letters has ended before the next incident.
PAUSE_SECONDS = 6
HEARTBEAT_MINUTES = 15
# Until SQS moves a message whose only run failed.
MOVED_AFTER_SECONDS = 2
CONFIG = {
    "fault_injection": {},
    "alarms": {"heartbeat_minutes": HEARTBEAT_MINUTES},
    "queue": {"redrive_api": {}, "reconciler": {}},
    "worker": {
        "processor": "processors.orders:process",
        "timeout_seconds": 12,
        "backoff": {"base_seconds": 1, "maximum_seconds": 2},
        "circuit_breaker": {"recovery_seconds": 10},
    },
}


@dataclass(frozen=True)
class Incident:
    """A thing that goes wrong, with the alarms that must ring; those in `may` may ring, too, on a slow machine."""

    name: str
    seconds: int
    rings: tuple[str, ...] = ()
    may: tuple[str, ...] = ()


INCIDENTS = (
    Incident("normal traffic", 12),
    Incident("a client renames a field", 25, ("api-refusals", "rejected-events"), ("heartbeat",)),
    Incident("a client's credentials expire", 25, ("api-refusals",), ("heartbeat",)),
    Incident("traffic stops", 20, ("heartbeat",)),
    Incident("the first orders fail for good", 10, ("dead-letters",), ("more-dead-letters",)),
    Incident("more fail while these lie there", 15, ("more-dead-letters",)),
    Incident("an operator looks at the dead letters", 10),
    Incident("two operators redrive them at once", 10, (), ("dead-letters", "more-dead-letters", "heartbeat")),
    Incident("each message is delivered twice", 10),
    Incident("three in ten calls fail", 15, ("failed-messages",), ("more-dead-letters", "heartbeat")),
    Incident("the worker cannot start", 10, ("more-dead-letters",), ("dead-letters", "heartbeat")),
    Incident(
        "the items of dead letters expire before a redrive",
        10,
        ("more-dead-letters",),
        ("dead-letters", "heartbeat"),
    ),
    Incident("workers are killed", 20, (), ("failed-messages", "heartbeat")),
    Incident(
        "what the processor calls is out", 20, ("circuit-open",), ("failed-messages", "more-dead-letters", "heartbeat")
    ),
)
# What takes real seconds, not minutes: starts of functions, and the minutes of EventBridge Scheduler.
IGNORED = (
    "reconciler-stopped",
    "oldest-message",
    "api-latency",
    "ingest-duration",
    "worker-duration",
    "breaker-stopped",
)


@dataclass
class Told:
    """The course of an incident: when it began and ended, and its orders."""

    incident: Incident
    begun: int
    ended: int = 0
    orders: list[str] = field(default_factory=list)


class Watch:
    """Collects what CloudWatch would see of a running stack. A second is a minute."""

    def __init__(self, up: Running, graph: Graph) -> None:
        self.data = Data()
        self._aws = Clients(up.emulator)
        groups = {
            function.name: self._aws("lambda").get_function_configuration(FunctionName=function.name)["LoggingConfig"][
                "LogGroup"
            ]
            for function in up.engine.functions
        }
        self._logs = LogReader(self._aws("logs"), groups, since_ms=int(time.time() * 1_000))
        self._queues = [each.physical_name for each in graph.of_type("aws:sqs/queue:Queue")]
        (self._stage,) = graph.of_type("aws:apigatewayv2/stage:Stage")
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._looked: dict[str, int] = {}

    @property
    def minute(self) -> int:
        """Return the minute that it is."""
        return int(time.monotonic() - self._began)

    def answered(self, status: int, milliseconds: float) -> None:
        """Count an answer of the API, as API Gateway does."""
        values = {
            "Count": 1,
            "4xx": int(400 <= status < 500),  # noqa: PLR2004  classes of HTTP's statuses
            "5xx": int(status >= 500),  # noqa: PLR2004
            "Latency": milliseconds,
        }
        with self._lock:
            for name, value in values.items():
                self.data.put(self.minute, "AWS/ApiGateway", name, value, ApiId=self._stage.inputs["apiId"])

    def look(self) -> None:
        """Read the depths of the queues and the new lines of the logs."""
        sqs = self._aws("sqs")
        for name in self._queues:
            url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
            found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
            depths = {
                "Visible": int(found["ApproximateNumberOfMessages"]),
                "NotVisible": int(found["ApproximateNumberOfMessagesNotVisible"]),
            }
            now = self.minute
            with self._lock:
                # SQS measures each minute; a look may take longer than one of these minutes.
                for minute in range(self._looked.get(name, now - 1) + 1, now + 1):
                    for kind, depth in depths.items():
                        metric = f"ApproximateNumberOfMessages{kind}"
                        self.data.put(minute, "AWS/SQS", metric, depth, QueueName=name)
            self._looked[name] = now
        for line in self._logs.read():
            with self._lock:
                self._count(line.function, line.message)

    def _count(self, function: str, message: str) -> None:
        if message.startswith("REPORT "):
            self.data.put(self.minute, "AWS/Lambda", "Invocations", 1, FunctionName=function)
        if not message.startswith('{"_aws"') and '"_aws"' not in message[:2_000]:
            return
        line = json.loads(message)
        for described in line["_aws"]["CloudWatchMetrics"]:
            dimensions = {name: line[name] for name in described["Dimensions"][0]}
            for metric in described["Metrics"]:
                values = line[metric["Name"]]
                for value in values if isinstance(values, list) else [values]:
                    self.data.put(self.minute, described["Namespace"], metric["Name"], value, **dimensions)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look each second while the block runs."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.9):
                self.look()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()


class GameDay:
    """One run against a running pipeline."""

    def __init__(self, up: Running, watch: Watch, drill: Drill, ledger: Ledger, chance: random.Random) -> None:
        self._up, self._watch, self._drill, self._ledger, self._chance = up, watch, drill, ledger, chance
        self._number = 0
        self.told: list[Told] = []

    def run(self, console: Console, incidents: Sequence[Incident]) -> None:
        """Let incidents happen, one after the other."""
        during: Mapping[str, Callable[[Told], None]] = {
            "a client renames a field": lambda told: self._traffic(told, edit=_renamed),
            "a client's credentials expire": lambda told: self._traffic(told, access=Access()),
            "traffic stops": lambda told: time.sleep(told.incident.seconds),
            "the first orders fail for good": lambda told: self._traffic(told, edit=_to_nowhere),
            "more fail while these lie there": lambda told: self._traffic(told, edit=_to_nowhere),
            "an operator looks at the dead letters": self._looked_at,
            "two operators redrive them at once": self._redriven_twice,
            "each message is delivered twice": lambda told: self._with_fault(told, "duplicate_submit"),
            "three in ten calls fail": lambda told: self._with_fault(told, "random_fail_p30"),
            "the worker cannot start": self._not_started,
            "the items of dead letters expire before a redrive": lambda told: self._not_started(told, expire=True),
            "workers are killed": self._killed,
            "what the processor calls is out": lambda told: self._with_fault(told, "random_fail_p100"),
        }
        for incident in incidents:
            console.print(f"{time.strftime('%H:%M:%S')}  {incident.name}")
            told = Told(incident, self._watch.minute)
            self.told.append(told)
            during.get(incident.name, self._traffic)(told)
            self._drill.drain(DRAIN_SECONDS)
            # Normal traffic between incidents, so that a heartbeat beats and rates fall.
            self._traffic(told, seconds=PAUSE_SECONDS)
            told.ended = self._watch.minute
        self._drill.redrive_faults()
        self._drill.drain(DRAIN_SECONDS)

    def _traffic(
        self,
        told: Told,
        *,
        seconds: float | None = None,
        edit: Callable[[dict[str, Any]], None] | None = None,
        access: Access | None = None,
    ) -> None:
        end = time.monotonic() + (told.incident.seconds if seconds is None else seconds)
        while time.monotonic() < end:
            started = time.monotonic()
            for _ in range(REQUESTS_A_SECOND):
                self._send(told, edit, access or Access(sign=True))
            time.sleep(max(0.0, 1 - (time.monotonic() - started)))

    def _send(self, told: Told, edit: Callable[[dict[str, Any]], None] | None, access: Access) -> None:
        orders = [self._order() for _ in range(ORDERS_A_REQUEST if edit is not _renamed else 1)]
        keys = [order["idempotency_key"] for order in orders]
        for order in orders:
            if edit is not None:
                edit(order)
        started = time.monotonic()
        body = json.dumps(orders if len(orders) > 1 else orders[0])
        answer = request("POST", f"{self._up.outputs['api_url']}/events", body, access=access)
        self._watch.answered(answer.status, (time.monotonic() - started) * 1_000)
        if answer.status not in (200, 202):
            return
        for key, result in zip(keys, answer.json.get("results", [answer.json]), strict=True):
            if result["status"] != "rejected":
                self._ledger.accept(key, result["id"])
                told.orders.append(key)
                if edit is _to_nowhere:
                    self._ledger.failing.add(key)

    def _order(self) -> dict[str, Any]:
        self._number += 1
        name = f"G-{self._number}"
        return {"orderId": name, "amount": self._chance.randint(1, 10_000) / 100, "idempotency_key": name}

    def _looked_at(self, told: Told) -> None:
        url, sqs = self._up.outputs["dead_letter_queue_url"], Clients(self._up.emulator)("sqs")
        seconds = told.incident.seconds
        while sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=seconds).get("Messages"):
            pass
        self._traffic(told)

    def _killed(self, told: Told) -> None:
        with self._drill.kills():
            self._traffic(told)

    def _with_fault(self, told: Told, mode: str) -> None:
        self._drill.inject(mode)
        self._traffic(told)
        self._drill.inject("none")

    def _redriven_twice(self, told: Told) -> None:
        """Two redrive all dead letters, of which nobody has fixed the cause."""
        with ThreadPoolExecutor(2) as operators:
            moved = list(operators.map(lambda _: self._drill.redrive_all(), range(2)))
        if self._ledger.failing and not any(moved):
            raise RuntimeError("no dead letter was redriven")
        self._traffic(told)

    def _not_started(self, told: Told, *, expire: bool = False) -> None:
        """The worker's module is missing, SQS moves the messages, and they are redriven when it is there again."""
        aws, url = Clients(self._up.emulator), self._up.outputs["queue_url"]
        name = function_of(self._up, "worker")
        variables = aws("lambda").get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        before = aws("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])["Attributes"]
        few = json.dumps({**json.loads(before["RedrivePolicy"]), "maxReceiveCount": 1})
        gone = {**variables, "PROCESSOR": "processors.gone:process"}
        hidden = {"VisibilityTimeout": str(MOVED_AFTER_SECONDS)}
        aws("sqs").set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": few, **hidden})
        aws("lambda").update_function_configuration(FunctionName=name, Environment={"Variables": gone})
        self._traffic(told)
        self._drill.drain(DRAIN_SECONDS)
        aws("lambda").update_function_configuration(FunctionName=name, Environment={"Variables": variables})
        hidden = {"VisibilityTimeout": str(VISIBILITY_SECONDS)}
        aws("sqs").set_queue_attributes(QueueUrl=url, Attributes={**before, **hidden})
        if expire:
            for order in told.orders:
                key = {"id": {"S": self._ledger.ids[order]}}
                aws("dynamodb").delete_item(TableName=self._up.outputs["table_name"], Key=key)
        else:
            aws("lambda").invoke(FunctionName=function_of(self._up, "reconciler"), Payload=b"{}")
            failed = Counter(self._drill.states()[order] for order in told.orders)["failed"]
            if not failed:
                raise RuntimeError("the reconciler noted no event")
        if not self._drill.redrive_faults():
            raise RuntimeError("SQS moved no message")


def function_of(up: Running, part: str) -> str:
    """Return the name of the function of a part of the pipeline."""
    return next(each.name for each in up.engine.functions if part in each.name)


def _renamed(order: dict[str, Any]) -> None:
    order["order_id"] = order.pop("orderId")


def _to_nowhere(order: dict[str, Any]) -> None:
    order["country"] = "XX"


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    incident: Incident
    rang: tuple[tuple[str, int], ...]
    """Alarms and the minutes after the incident's begin in which they began to ring."""
    lost: int
    doubled: int
    false: int

    @property
    def right(self) -> bool:
        """Return True if what had to ring rang, nothing else did, and the books balance."""
        names = {name for name, _ in self.rang}
        allowed = {*self.incident.rings, *self.incident.may}
        return set(self.incident.rings) <= names <= allowed and (self.lost, self.doubled, self.false) == (0, 0, 0)


def rows(
    told: Sequence[Told],
    found: Sequence[Change],
    ledger: Ledger,
    states: Mapping[str, str],
    results: Mapping[str, int],
) -> list[Row]:
    """Return the table. `states` and `results`: the status of each order, and the number of its stored results."""
    made = []
    for each in told:
        rang = tuple(
            (change.alarm, change.minute - each.begun)
            for change in found
            if change.rings and each.begun <= change.minute < each.ended and change.alarm not in IGNORED
        )
        due = {order: 0 if order in ledger.failing else 1 for order in each.orders}
        status = {0: "failed", 1: "succeeded"}
        made.append(
            Row(
                each.incident,
                rang,
                lost=sum(results.get(order, 0) < count for order, count in due.items()),
                doubled=sum(results.get(order, 0) > count or order in ledger.doubled for order, count in due.items()),
                false=sum(states.get(order) != status[count] for order, count in due.items()),
            )
        )
    return made


def main() -> int:
    """Run the game day and print its table. Return 1 when a line is wrong."""
    parser = argparse.ArgumentParser(description="Incidents on a local stack, and what rings.")
    parser.add_argument("--seed", type=int, default=7)
    names = [each.name for each in INCIDENTS]
    parser.add_argument("--incident", action="append", choices=names, help="only this one; may be repeated")
    options = parser.parse_args()
    console = Console(width=140)
    chance = random.Random(options.seed)  # noqa: S311  a game day, not a secret
    ledger, started = Ledger(), time.monotonic()
    project = load_project(SAMPLES, "ingestion").with_config(CONFIG)
    graph = synthesise(SAMPLES, "ingestion", CONFIG)
    with running(project) as up:
        os.environ.update(up.environment())
        Clients(up.emulator)("sqs").set_queue_attributes(
            QueueUrl=up.outputs["queue_url"], Attributes={"VisibilityTimeout": str(VISIBILITY_SECONDS)}
        )
        drill, watch = Drill(up, ledger, chance), Watch(up, graph)
        day = GameDay(up, watch, drill, ledger, chance)
        with watch.watching():
            day.run(console, [each for each in INCIDENTS if each.name in (options.incident or names)])
        table = rows(
            day.told, changes(graph, watch.data, watch.minute), ledger, drill.states(), Counter(drill.results())
        )
    grid = Grid("incident", "rang (minutes after its begin)", "lost", "doubled", "false", box=SIMPLE)
    for row in table:
        rang = ", ".join(f"{name} ({minute})" for name, minute in row.rang) or "nothing"
        style = None if row.right else "bold red"
        grid.add_row(row.incident.name, rang, *map(str, (row.lost, row.doubled, row.false)), style=style)
    console.print(grid)
    console.print(f"{len(ledger.ids):,} orders; seed {options.seed}; {time.monotonic() - started:.0f} seconds.")
    return 0 if all(row.right for row in table) else 1


if __name__ == "__main__":
    sys.exit(main())
