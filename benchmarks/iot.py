"""The worker of the iot variant alone: readings per CPU second, AWS calls per reading, memory. A part of `make bench`.

Each case is a process of its own, as a function is, and takes one object; what a run costs but once (imports, clients,
connections) is not counted, because a warm function has it behind it. The naive worker does what a first version does:
json.loads, floats as text, one PutItem a reading, one Publish a reading out of bounds. It checks nothing and promises
nothing. Only the worker's own CPU time counts; the emulator is another process. Fails when a reading is missing.
"""

import gzip
import json
import os
import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

from benchmarks.figures import Rows, Size
from handlers.iot.contents import STANDARD_FORM
from handlers.iot.settings import IotWorkerSettings
from handlers.iot.silence import Silences
from handlers.iot.thresholds import Thresholds
from handlers.iot.worker import IotWorker
from handlers.shared import aws
from handlers.shared.log import logger
from tests.aws_calls import tapped

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "tests/samples"
THRESHOLDS = json.dumps(
    {"temperature": {"": {"warning": {"min": "-10", "max": "30", "hysteresis": "1", "cooldown_minutes": 0}}}}
)
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Case:
    """An object, and who takes it."""

    name: str
    readings: int
    devices: int
    crossings: int = 0
    bad_every: int = 0
    """One of so many readings has a metric that cannot be used."""
    packed: bool = False
    naive: bool = False

    def smaller(self, divisor: int) -> "Case":
        """Return the case with fewer readings, devices and crossings."""
        if divisor == 1:
            return self
        return replace(
            self,
            readings=max(self.readings // divisor, 10),
            devices=max(self.devices // divisor, 1),
            crossings=max(self.crossings // divisor, min(self.crossings, 1)),
        )


NAIVE = "naive, 1,000 of one device"
CASES = (
    Case("10,000 of one device", 10_000, 1),
    Case("10,000 of one device, gzip", 10_000, 1, packed=True),
    Case("10,000 of 1,000 devices", 10_000, 1_000),
    Case("10,000 of one device, 100 crossings", 10_000, 1, crossings=100),
    Case("100,000 of 100 devices", 100_000, 100),
    Case("100,000 of 100 devices, each 100th with a bad metric", 100_000, 100, bad_every=100),
    Case("10 of one device", 10, 1),
    Case(NAIVE, 1_000, 1, naive=True),
)


@dataclass(frozen=True)
class Cost:
    """The cost of a case: CPU seconds, calls, and megabytes at the peak and before the object was there."""

    cpu_seconds: float
    calls: int
    peak_mb: float
    idle_mb: float


def content(case: Case) -> bytes:
    """The object: JSON Lines."""
    every = case.readings // (2 * case.crossings) if case.crossings else 0
    name = re.sub(r"\W+", "-", case.name)
    lines = []
    for number in range(case.readings):
        value = 35.5 if every and number // every % 2 else 20 + number % 70 / 10
        moment = START + timedelta(seconds=number)
        humidity = None if case.bad_every and number % case.bad_every == 0 else 45.25
        metrics = {"temperature": value, "humidity": humidity, "pressure": 1013.2}
        device = f"device-{name}-{number % case.devices}"
        lines.append(json.dumps({"device_id": device, "timestamp": moment.isoformat(), "metrics": metrics}))
    data = "\n".join(lines).encode()
    return gzip.compress(data) if case.packed else data


def notification(bucket: str, key: str) -> dict[str, Any]:
    """An S3 notification."""
    entry = {"key": key, "sequencer": "1"}
    time_now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return {"Records": [{"eventTime": time_now, "s3": {"bucket": {"name": bucket}, "object": entry}}]}


def take_naively(bucket: str, key: str, table: str, topic: str) -> None:
    """A call for each reading and each thing to do."""
    body = aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    for line in body.splitlines():
        reading = json.loads(line)
        metrics = {name: {"S": str(value)} for name, value in reading["metrics"].items()}
        item = {
            "device_id": {"S": reading["device_id"]},
            "time_key": {"S": reading["timestamp"]},
            "metrics": {"M": metrics},
        }
        aws.client("dynamodb").put_item(TableName=table, Item=item)
        if reading["metrics"]["temperature"] > 30:  # noqa: PLR2004  the shipped stack's
            aws.client("sns").publish(TopicArn=topic, Message=json.dumps(reading))


def megabytes() -> float:
    """The most that this process has taken. Not by getrusage, which counts what the parent had when it forked."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1_024


def cost(work: Callable[[], object]) -> Cost:
    """CPU time, AWS calls and memory of a piece of work."""
    calls = 0

    def counted(_name: str, _parameters: object, make: Callable[[], Any]) -> Any:
        nonlocal calls
        calls += 1
        return make()

    idle = megabytes()
    started = time.process_time()
    with tapped(counted), redirect_stdout(StringIO()):
        work()
    return Cost(time.process_time() - started, calls, megabytes(), idle)


def run_case(key: str, outputs: dict[str, str], *, naive: bool) -> None:
    """In a process of its own: takes the object that lies ready, and prints what that took."""
    # Lambda takes the lines from a pipe; here they go nowhere, at about the same price.
    logger.handlers[0].setStream(StringIO())  # type: ignore[attr-defined]
    bucket = outputs["input_bucket"]
    settings = replace(IotWorkerSettings.from_environment(), suffixes="")
    silences = Silences({"": 1_800})
    worker = IotWorker(settings, Thresholds.from_json(THRESHOLDS), silences, "benchmark", {}, STANDARD_FORM)
    with redirect_stdout(StringIO()):
        # Clients and connections are made now.
        worker.handle(notification(bucket, "readings/warm.held-back"), "warm")
        aws.client("sns").list_topics()
    if naive:
        table, topic = outputs["table_name"], outputs["alerts_topic_arn"]
        took = cost(lambda: take_naively(bucket, key, table, topic))
    else:
        took = cost(lambda: worker.handle(notification(bucket, key), "run"))
    sys.stdout.write(json.dumps(asdict(took)))


def run(key: str, outputs: Mapping[str, str], environment: Mapping[str, str], *, naive: bool) -> Cost:
    """Take an object in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.iot", key, json.dumps(outputs), json.dumps(naive)]
    own = {**os.environ, **environment}
    done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, check=False)  # noqa: S603  ourselves
    if done.returncode:
        raise RuntimeError(done.stderr)
    return Cost(**json.loads(done.stdout))


def measure(size: Size) -> Rows:
    """Return each case's figures, and its speed as a ratio to the naive worker's.

    Raises RuntimeError when readings are missing.
    """
    cases = [case.smaller(size.iot_divisor) for case in CASES]
    rows: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for _ in range(size.rounds):
        costs = one_round(cases)
        speeds = {case.name: case.readings / costs[case.name].cpu_seconds for case in cases}
        for case in cases:
            took = costs[case.name]
            figures = {"readings_per_s": speeds[case.name], "calls": took.calls / case.readings}
            figures |= {"peak_mb": took.peak_mb, "idle_mb": took.idle_mb}
            figures["ratio_naive"] = speeds[case.name] / speeds[NAIVE]
            for column, value in figures.items():
                rows[case.name][column].append(value)
    return rows


def one_round(cases: Sequence[Case]) -> dict[str, Cost]:
    """Run every case once, in a stack of its own: the emulator becomes slow with the readings of several rounds."""
    from local.engine import running  # noqa: PLC0415  not in the processes that are measured
    from local.project import load_project  # noqa: PLC0415  as above
    from local.services import Clients  # noqa: PLC0415  as above

    with running(load_project(SAMPLES, "iot")) as up:
        (function,) = (each for each in up.engine.functions if each.handler == "handlers.iot.worker.handler")
        clients, bucket = Clients(up.emulator), up.outputs["input_bucket"]
        environment = {**up.environment(), **function.environment}
        clients("s3").put_object(Bucket=bucket, Key="readings/warm.held-back", Body=content(Case("warm", 1, 1)))
        costs = {}
        for case in cases:
            key = f"readings/{case.name}.held-back"
            clients("s3").put_object(Bucket=bucket, Key=key, Body=content(case))
            costs[case.name] = run(key, up.outputs, environment, naive=case.naive)
        check_stored(clients, bucket, up.outputs["table_name"], cases)
    return costs


def check_stored(clients: Callable[[str], Any], bucket: str, table: str, cases: Sequence[Case]) -> None:
    """Raise RuntimeError unless every reading is stored or recorded as rejected."""
    pages = clients("dynamodb").get_paginator("scan").paginate(TableName=table)
    found = sum("metrics" in item for page in pages for item in page["Items"])
    listed = clients("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="rejected/")
    keys = [each["Key"] for page in listed for each in page.get("Contents", [])]
    rejected = sum(clients("s3").get_object(Bucket=bucket, Key=key)["Body"].read().count(b"\n") for key in keys)
    bad = sum(case.readings // case.bad_every for case in cases if case.bad_every)
    if rejected != bad:
        raise RuntimeError(f"{bad} readings had a bad metric and {rejected} are recorded")
    # And the one that warms each process up.
    expected = 1 + sum(case.readings for case in cases)
    if found != expected:
        raise RuntimeError(f"{expected} readings were sent and {found} are stored")


if __name__ == "__main__":
    run_case(sys.argv[1], json.loads(sys.argv[2]), naive=json.loads(sys.argv[3]))
