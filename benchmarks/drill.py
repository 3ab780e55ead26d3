"""A game day for the ingestion stack on this machine: load, faults, kills and repeats, then a balance.

    make drill

Orders go to the local ingestion stack in signed requests. Meanwhile faults are injected, the worker's processes are
killed, and clients repeat requests. At the end the dead letters caused by the faults are redriven, and every order is
looked up in the items, the results and the dead letters. The drill fails when an order is lost or has had its effect
twice. The seed determines the orders, the failures by design, the repeats and the order of the faults; it does not
determine when a worker is killed.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import Progress
from rich.table import Table as Grid

from cli.core.http import Access, request
from cli.core.logs import LogReader
from handlers.api.faults import kills
from local.engine import DeployedFunction, Running, running
from local.project import load_project
from local.services import Clients

SAMPLES = Path(__file__).parents[1] / "tests/samples"
BATCH = 100
SENDERS = 4
# The maximum number of events in the queue. Faults must meet events, not an empty queue.
UNDERWAY = 2_000
KILL_EVERY_SECONDS = (2.0, 5.0)
REPEATED_PERCENT = 10
REFUSED_PERCENT = 1
FAILING_PERCENT = 2
OK, ACCEPTED = 200, 202
# The error type of events that the processor rejects by design.
REJECTED = "Rejected"
# The error type of events whose worker died at each attempt.
DIED = "WorkerDiedError"
DRAIN_SECONDS = 180
EMPTY_LOOKS = 3
SAMPLE_SECONDS = 1

KILLING = "out_of_memory"
KILLING_SECONDS = 600
# Faults and their duration in seconds. The one that opens the circuit comes last: a paused queue meets no fault.
FAULTS = (
    ("none", 8),
    ("poison_payload", 25),
    ("duplicate_submit", 25),
    ("random_fail_p15", 30),
    ("slow_downstream", 15),
    # Goes on until one of the events that kill their process has used all its attempts.
    (KILLING, 100),
    ("random_fail_p100", 20),
    ("none", 40),
)

# The shipped stack with shorter times: until messages of a killed worker return, and until an outage ends.
CONFIG = {
    "fault_injection": {},
    "worker": {
        "processor": "processors.orders:process",
        "timeout_seconds": 12,
        "circuit_breaker": {"recovery_seconds": 10},
    },
}
VISIBILITY_SECONDS = 15


@dataclass
class Ledger:
    """The orders that the client sent, and the responses."""

    sent: int = 0
    refused: int = 0
    repeated: int = 0
    unanswered: int = 0
    ids: dict[str, str] = field(default_factory=dict)
    """The event's id by order."""
    failing: set[str] = field(default_factory=set)
    """Orders that the processor rejects, by design."""
    doubled: set[str] = field(default_factory=set)
    """Orders that got a second id."""

    def accept(self, order: str, event_id: str) -> None:
        """Record an accepted order."""
        if self.ids.setdefault(order, event_id) != event_id:
            self.doubled.add(order)


def orders(count: int, chance: random.Random, ledger: Ledger) -> list[dict[str, Any]]:
    """Make orders; the schema refuses some of them, and the processor rejects others."""
    made = []
    for number in range(count):
        order = {"orderId": f"D-{number}", "amount": chance.randint(1, 10_000) / 100, "idempotency_key": f"D-{number}"}
        draw = chance.uniform(0, 100)
        if draw < REFUSED_PERCENT:
            order["amount"] = -1
        elif draw < REFUSED_PERCENT + FAILING_PERCENT:
            order["country"] = "XX"
            ledger.failing.add(f"D-{number}")
        made.append(order)
    return made


class Drill:
    """One run against a running pipeline."""

    def __init__(self, up: Running, ledger: Ledger, chance: random.Random) -> None:
        self._up = up
        self._ledger = ledger
        self._chance = chance
        self._aws = Clients(up.emulator)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self.killed = 0
        self.died: set[str] = set()
        """The ids of events in the dead letters because their worker died."""
        self._circuit_url = self._subscribe("Circuit Opened")
        self._begun = time.monotonic()
        self._logs = LogReader(self._aws("logs"), {"worker": _worker_of(up).log_group}, since_ms=0)
        self._done = 0
        self.samples: list[dict[str, float]] = []
        self.modes: list[tuple[float, str]] = []

    def _subscribe(self, detail_type: str) -> str:
        """Return the URL of a new queue that receives outcome events of a type from the event bus."""
        sqs, events, bus = self._aws("sqs"), self._aws("events"), self._up.outputs["event_bus_name"]
        url: str = sqs.create_queue(QueueName="drill")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        allowed = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": arn}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
        events.put_rule(Name="drill", EventBusName=bus, EventPattern=json.dumps({"detail-type": [detail_type]}))
        events.put_targets(Rule="drill", EventBusName=bus, Targets=[{"Id": "drill", "Arn": arn}])
        return url

    @property
    def opened(self) -> int:
        """Return how often the circuit has opened."""
        return self._depth(self._circuit_url)

    def send(self, batch: Sequence[dict[str, Any]], *, repeat: bool) -> None:
        """Post a batch until it is accepted; a client that repeats posts it again."""
        body = json.dumps(batch)
        url = f"{self._up.outputs['api_url']}/events"
        for turn in range(2 if repeat else 1):
            while (answer := request("POST", url, body, access=Access(sign=True))).status in (429, 500, 502, 503, 504):
                # The outcome is unknown. With idempotency keys, sending again is safe.
                with self._lock:
                    self._ledger.unanswered += 1
                time.sleep(0.5)
            if answer.status != ACCEPTED:
                raise RuntimeError(f"POST /events: {answer.status} {answer.text[:300]}")
            self._note(batch, answer.json["results"], first=turn == 0)

    def _note(self, batch: Sequence[dict[str, Any]], results: Sequence[dict[str, Any]], *, first: bool) -> None:
        with self._lock:
            for order, result in zip(batch, results, strict=True):
                if result["status"] == "rejected":
                    self._ledger.refused += first
                else:
                    self._ledger.accept(order["orderId"], result["id"])
            self._ledger.repeated += 0 if first else len(batch)
            self._ledger.sent += len(batch) if first else 0

    def send_all(self, all_orders: Sequence[dict[str, Any]], seconds: float, progress: Callable[[int], None]) -> None:
        """Send all orders, spread over some seconds, at most UNDERWAY ahead of the worker."""
        batches = [all_orders[start : start + BATCH] for start in range(0, len(all_orders), BATCH)]
        repeats = [self._chance.uniform(0, 100) < REPEATED_PERCENT for _ in batches]
        started = time.monotonic()

        def send(number: int) -> None:
            while time.monotonic() < started + seconds * number / len(batches) or self.depth("queue_url") > UNDERWAY:
                time.sleep(0.2)
            self.send(batches[number], repeat=repeats[number])
            progress(len(batches[number]))

        with ThreadPoolExecutor(SENDERS) as pool:
            list(pool.map(send, range(len(batches))))

    def depth(self, output: str) -> int:
        """Return the number of messages in a queue of the stack, including those being processed."""
        return self._depth(self._up.outputs[output])

    def _depth(self, url: str) -> int:
        names = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        ]
        found = self._aws("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(value) for value in found.values())

    @contextmanager
    def kills(self) -> Iterator[None]:
        """Kill one of the worker's processes every few seconds (SIGKILL) while the block runs."""
        killer = threading.Thread(target=self._kill_workers, daemon=True)
        killer.start()
        try:
            yield
        finally:
            self._over.set()
            killer.join()

    def _kill_workers(self) -> None:
        chance = random.Random(self._chance.random())  # noqa: S311  a drill, not a secret
        while not self._over.wait(chance.uniform(*KILL_EVERY_SECONDS)):
            if workers := self._workers():
                with suppress(ProcessLookupError):
                    os.kill(chance.choice(workers), signal.SIGKILL)
                    self.killed += 1

    @contextmanager
    def sampled(self) -> Iterator[None]:
        """Note the backlog and the number of finished events each second while the block runs."""
        over = threading.Event()

        def sample() -> None:
            while not over.wait(SAMPLE_SECONDS):
                self._done += sum(_finished(line.message) for line in self._logs.read())
                seconds = round(time.monotonic() - self._begun, 1)
                self.samples.append({"seconds": seconds, "backlog": self.depth("queue_url"), "done": self._done})

        sampler = threading.Thread(target=sample, daemon=True)
        sampler.start()
        try:
            yield
        finally:
            over.set()
            sampler.join()

    def timeline(self, events: int) -> dict[str, Any]:
        """Return what `benchmarks.pictures` draws: samples, and the spans of the faults."""
        ends = [at for at, _ in self.modes[1:]]
        faults = [
            {"mode": mode, "from": begin, "to": end} for (begin, mode), end in zip(self.modes, ends, strict=False)
        ]
        return {"events": events, "samples": self.samples, "faults": faults}

    def _workers(self) -> list[int]:
        mark = f"{self._up.emulator.folder / 'tmp'}/ministack-lambda-pipeline-worker"
        listing = subprocess.run(["ps", "-ewwo", "pid,args"], capture_output=True, text=True, check=True).stdout  # noqa: S607
        return [int(line.split()[0]) for line in listing.splitlines() if mark in line]

    def statuses(self) -> Counter[str]:
        """Count the statuses of all accepted orders; `missing` if there is no item."""
        return Counter(self.states().values())

    def states(self) -> dict[str, str]:
        """Return the status of each accepted order."""
        pages = (
            self._aws("dynamodb")
            .get_paginator("scan")
            .paginate(
                TableName=self._up.outputs["table_name"],
                ProjectionExpression="id, #status",
                ExpressionAttributeNames={"#status": "status"},
            )
        )
        found = {item["id"]["S"]: item.get("status", {}).get("S", "") for page in pages for item in page["Items"]}
        return {order: found.get(event_id, "missing") for order, event_id in self._ledger.ids.items()}

    def drain(self, seconds: float) -> None:
        """Wait until the queue is empty several times in a row: SQS's counts are approximate."""
        deadline, empty = time.monotonic() + seconds, 0
        while empty < EMPTY_LOOKS and time.monotonic() < deadline:
            time.sleep(1)
            empty = 0 if self.depth("queue_url") else empty + 1

    def wait_for_a_killer(self, seconds: float) -> None:
        """Wait until an event has failed because its worker died at each attempt, for some seconds at most."""
        deadline = time.monotonic() + seconds
        scan = self._aws("dynamodb").get_paginator("scan")
        died: dict[str, Any] = {
            "TableName": self._up.outputs["table_name"],
            "FilterExpression": "error_type = :died",
            "ExpressionAttributeValues": {":died": {"S": DIED}},
        }
        while time.monotonic() < deadline and not any(page["Count"] for page in scan.paginate(**died)):
            time.sleep(5)

    def results(self) -> Counter[str]:
        """Count the stored results of each order."""
        s3, bucket = self._aws("s3"), self._up.outputs["bucket_name"]
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="results/")
        keys = [found["Key"] for page in pages for found in page.get("Contents", [])]

        def order(key: str) -> str:
            return str(json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())["order_id"])

        with ThreadPoolExecutor(SENDERS) as pool:
            return Counter(pool.map(order, keys))

    def dead_letters(self) -> set[str]:
        """Return the ids of the events in the dead letters. An event that was sent twice has two messages there."""
        sqs, url, found = self._aws("sqs"), self._up.outputs["dead_letter_queue_url"], set()
        while batch := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=600).get("Messages"):
            found |= {json.loads(message["Body"])["id"] for message in batch}
        return found

    def inject(self, mode: str) -> None:
        """Inject a fault in place of the one before."""
        self.modes.append((round(time.monotonic() - self._begun, 1), mode))
        self._aws("ssm").put_parameter(Name=self._up.outputs["fault_parameter_name"], Value=mode, Overwrite=True)

    def redrive_faults(self) -> int:
        """Redrive the dead letters caused by faults, not those rejected by design. Return their number."""
        letters = self._redrive("GET", "preview?max_messages=1000")["messages"]
        types = {letter["error_type"] for letter in letters}
        self.died |= {letter["id"] for letter in letters if letter["error_type"] == DIED}
        moved = 0
        for error_type in sorted(types - {REJECTED}):
            complete = False
            while not complete:
                answer = self._redrive("POST", "start", {"max_messages": 1_000, "error_type": error_type})
                moved += answer["redriven"]
                complete = answer["complete"]
        return moved

    def redrive_all(self) -> int:
        """Redrive the dead letters, once, whatever their cause. Return their number."""
        return int(self._redrive("POST", "start", {"max_messages": 1_000})["redriven"])

    def _redrive(self, method: str, path: str, body: Any = None) -> Any:
        text = None if body is None else json.dumps(body)
        url = f"{self._up.outputs['api_url']}/redrive/{path}"
        answer = request(method, url, text, access=Access(sign=True))
        if answer.status != OK:
            raise RuntimeError(f"{method} /redrive/{path}: {answer.status} {answer.text[:300]}")
        return answer.json


def _worker_of(up: Running) -> DeployedFunction:
    return next(function for function in up.engine.functions if "worker" in function.name)


def _finished(message: str) -> int:
    """Return how many events a log line of the worker reports as finished."""
    if '"batch"' not in message:
        return 0
    events = json.loads(message).get("events", [])
    return sum(event["outcome"] in ("succeeded", "failed") for event in events)


def run(drill: Drill, all_orders: Sequence[dict[str, Any]], console: Console) -> int:
    """Send, inject faults, wait and redrive. Return the number of redriven dead letters."""
    seconds = sum(duration for _, duration in FAULTS)
    with Progress(console=console, disable=not console.is_terminal) as progress, ThreadPoolExecutor(1) as sender:
        task = progress.add_task("orders sent", total=len(all_orders))
        sending = sender.submit(drill.send_all, all_orders, seconds, lambda sent: progress.advance(task, sent))
        with drill.kills():
            for mode, duration in FAULTS:
                console.print(f"{time.strftime('%H:%M:%S')}  {mode}")
                drill.inject(mode)
                time.sleep(duration)
                if mode == KILLING:
                    drill.wait_for_a_killer(KILLING_SECONDS)
            drill.inject("none")
            sending.result()
    console.print(f"{time.strftime('%H:%M:%S')}  all sent; waiting for the worker")
    drill.drain(DRAIN_SECONDS)
    moved = 0
    while now := drill.redrive_faults():
        moved += now
        console.print(f"{time.strftime('%H:%M:%S')}  {now} dead letters of the faults redriven")
        drill.drain(DRAIN_SECONDS)
    return moved


def balance(drill: Drill, ledger: Ledger) -> list[tuple[str, int, bool]]:
    """Return the balance: name, count, and whether the count is right."""
    statuses, results = drill.statuses(), drill.results()
    accepted, failing = set(ledger.ids), ledger.failing & set(ledger.ids)
    letters = drill.dead_letters()
    lost = (accepted - failing) - set(results)
    innocent = {event_id for event_id in drill.died if not kills(event_id)}
    doubled = {order for order, count in results.items() if count > 1} | ledger.doubled
    return [
        ("sent", ledger.sent, True),
        ("sent again by clients", ledger.repeated, True),
        ("refused, by design", ledger.refused, True),
        ("accepted", len(accepted), len(accepted) + ledger.refused == ledger.sent),
        ("succeeded", statuses["succeeded"], statuses["succeeded"] == len(accepted) - len(failing)),
        ("failed, by design", statuses["failed"], statuses["failed"] == len(failing)),
        ("in the dead letters", len(letters), letters == {ledger.ids[order] for order in failing}),
        ("killed their workers, and redriven", len(drill.died), bool(drill.died)),
        ("neighbours of these in the dead letters", len(innocent), not innocent),
        ("lost", len(lost), not lost),
        ("effects doubled", len(doubled), not doubled),
    ]


def main() -> int:
    """Run the drill and print its balance. Return 1 when a count is wrong."""
    parser = argparse.ArgumentParser(description="A game day for the ingestion stack on this machine.")
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--timeline", type=Path, help="Write backlog and throughput over time to this file.")
    options = parser.parse_args()
    console = Console(width=100)
    chance = random.Random(options.seed)  # noqa: S311  a drill, not a secret
    ledger = Ledger()
    started = time.monotonic()
    with running(load_project(SAMPLES, "ingestion").with_config(CONFIG)) as up:
        os.environ.update(up.environment())
        Clients(up.emulator)("sqs").set_queue_attributes(
            QueueUrl=up.outputs["queue_url"], Attributes={"VisibilityTimeout": str(VISIBILITY_SECONDS)}
        )
        drill = Drill(up, ledger, chance)
        with drill.sampled() if options.timeline else nullcontext():
            moved = run(drill, orders(options.events, chance, ledger), console)
        if options.timeline:
            options.timeline.write_text(json.dumps(drill.timeline(options.events)))
        books, opened = balance(drill, ledger), drill.opened
    grid = Grid("seed " + str(options.seed), "orders", box=SIMPLE)
    grid.columns[1].justify = "right"
    for what, count, right in books:
        grid.add_row(what, f"{count:,}" if right else f"[bold red]{count:,}[/]")
    console.print(grid)
    seconds = time.monotonic() - started
    console.print(
        f"{drill.killed} workers killed; the circuit opened {opened} times; {ledger.unanswered} requests answered\n"
        f"with an error and sent again; {moved} dead letters of the faults redriven; {seconds:.0f} seconds.",
        highlight=False,
    )
    return 0 if all(right for _, _, right in books) else 1


if __name__ == "__main__":
    sys.exit(main())
