"""`make bench-plan`: a burst through a local stack, beside what `pipeline plan` simulates for it.

A first burst measures the worker's time for an event; then one of twice the size is sent at once, and the number of
waiting events is compared with the simulation over time. The emulator starts batches at once, up to the maximum
concurrency of the mapping: it does not scale its pollers as Lambda does.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

from cli.core.http import request
from cli.plan.queueing import Sample, Servers, simulate
from local.engine import running
from local.project import load_project
from testing.running import LocalPipeline

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "tests/samples"
WORKERS, BATCH, EVENT_SECONDS = 2, 10, 0.1
MEASURED, BURST = 200, 400
PROCESSOR = f"import time\n\n\ndef process(event):\n    time.sleep({EVENT_SECONDS})\n    return event\n"
POLL_SECONDS = 0.2
STEP_SECONDS = 0.05
LONGEST_SECONDS = 300
# Of the burst: what the simulation may differ by on average over the course.
ALLOWED = 0.1


class Burst:
    """Events sent at once, and how many waited at which time."""

    def __init__(self, pipeline: LocalPipeline, environment: dict[str, str]) -> None:
        self._pipeline, self._environment = pipeline, environment
        self._url = pipeline.outputs["queue_url"]

    def send(self, events: int) -> tuple[list[tuple[float, int]], float]:
        """Send events; return the number that waits over time, and the seconds until all were done."""
        with patch.dict(os.environ, self._environment):
            body = json.dumps([{"n": number} for number in range(events)])
            answer = request("POST", f"{self._pipeline.outputs['api_url']}/events", body)
        if answer.status != 202:  # noqa: PLR2004  HTTP
            raise RuntimeError(f"the API answered {answer.status}: {answer.reason}")
        begun, seen = time.monotonic(), list[tuple[float, int]]()
        while time.monotonic() - begun < LONGEST_SECONDS:
            waiting, taken = self._counts()
            seen.append((time.monotonic() - begun, waiting))
            if waiting + taken == 0:
                return seen, seen[-1][0]
            time.sleep(POLL_SECONDS)
        raise TimeoutError(f"{events} events were not done after {LONGEST_SECONDS} seconds")

    def _counts(self) -> tuple[int, int]:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self._pipeline.aws("sqs").get_queue_attributes(QueueUrl=self._url, AttributeNames=names)["Attributes"]
        return int(found[names[0]]), int(found[names[1]])


def planned(events: int, event_seconds: float) -> list[Sample]:
    """Return the simulated course of a burst, which the worker takes at once with all of its batches."""
    servers = Servers(batch=BATCH, run_seconds=0, event_seconds=event_seconds, first=WORKERS, most=WORKERS)
    return simulate(
        servers,
        lambda now: events / STEP_SECONDS if now == 0 else 0,
        seconds=events * event_seconds / WORKERS * 1.5,
        step_seconds=STEP_SECONDS,
        seed=None,
    )


def compared(seen: list[tuple[float, int]], course: list[Sample], events: int) -> float:
    """Return the mean difference of waiting events, as a share of all events."""
    end = max(seconds for seconds, waiting in seen if waiting)
    differences = [
        abs(waiting - course[min(len(course) - 1, round(seconds / STEP_SECONDS))].waiting)
        for seconds, waiting in seen
        if seconds <= end
    ]
    return sum(differences) / len(differences) / events


def main() -> int:
    """Run the bursts and print the table. Return 1 if the simulation differs by more than a tenth."""
    with tempfile.TemporaryDirectory(prefix="pipeline-plan-") as name:
        folder = Path(name)
        for each in ("handlers", "components", "local", "cli", "testing", "__main__.py"):
            (folder / each).symlink_to(ROOT / each)
        for each in ("Pulumi.yaml", "Pulumi.dev.yaml"):
            (folder / each).symlink_to(SAMPLES / each)
        (folder / "processors").mkdir()
        (folder / "processors/__init__.py").touch()
        (folder / "processors/slow.py").write_text(PROCESSOR)
        worker = {"processor": "processors.slow:process", "maximum_concurrency": WORKERS, "batch_size": BATCH}
        api = {"throttling": {"rate_per_second": 1_000, "burst": 1_000}}
        project = load_project(folder, "dev").with_config({"worker": worker, "api": api})
        with running(project) as started:
            burst = Burst(LocalPipeline(started, {}), started.environment())
            burst.send(BATCH * WORKERS)
            _, measured = burst.send(MEASURED)
            event_seconds = measured * WORKERS / MEASURED
            seen, done = burst.send(BURST)
    course = planned(BURST, event_seconds)
    show(seen, course, event_seconds, done)
    difference = compared(seen, course, BURST)
    sys.stdout.write(f"mean difference: {difference:.1%} of the burst\n")
    return int(difference > ALLOWED)


def show(seen: list[tuple[float, int]], course: list[Sample], event_seconds: float, done: float) -> None:
    """Print measured and simulated depth and age over time. All events are of one moment, so time is the age."""
    sys.stdout.write(
        f"{BURST} events at once, {WORKERS} batches of {BATCH} at the same time, "
        f"{event_seconds * 1_000:.0f} ms an event\n"
        f"{'seconds':>8} {'waiting':>8} {'planned':>8}\n"
    )
    for share in range(11):
        seconds, waiting = min(seen, key=lambda each: abs(each[0] - done * share / 10))
        there = course[min(len(course) - 1, round(seconds / STEP_SECONDS))].waiting
        sys.stdout.write(f"{seconds:>8.1f} {waiting:>8} {there:>8}\n")
    oldest = max((seconds for seconds, waiting in seen if waiting), default=0.0)
    planned_oldest = max(each.age_seconds for each in course)
    sys.stdout.write(f"oldest waiting event: {oldest:.1f} s, planned {planned_oldest:.1f} s\n")


if __name__ == "__main__":
    sys.exit(main())
