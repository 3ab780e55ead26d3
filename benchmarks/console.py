"""The console with many events: how fast the list opens with 100,000, and whether a page's memory stays flat.

python -m benchmarks.console --events 100000 --minutes 10

A stack runs in the emulator; its table is filled directly. Then the list is opened in Chromium, shows events that are
sent, and stays open while 100 events a second are. Memory is what Chromium's own protocol says after a garbage
collection.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.browser import Browser, BrowserError
from cli.console.serve import console
from cli.core.http import Access, request
from cli.core.stack import OUTPUTS, Stack
from handlers.api.events import Envelope
from handlers.api.items import SECONDS_A_DAY, new_item
from local.engine import Running, running
from local.project import load_project
from local.services import Clients

SAMPLES = Path(__file__).parents[1] / "tests/samples"
A_SECOND = 100
SAMPLE_SECONDS = 10
ITEMS_A_CALL = 25
SHARDS = 8
OPENINGS = 5
# In a page of the list.
ROWS = 100
# An event of the filled table is so much older than the next.
APART = timedelta(milliseconds=20)


@dataclass(frozen=True)
class Sample:
    """The memory of a page at a time."""

    seconds: float
    heap_bytes: int
    nodes: int
    listeners: int


def items(count: int, now: datetime) -> Iterator[dict[str, Any]]:
    """Yield items of finished events as the worker leaves them, newest first."""
    for number in range(count):
        received_at = f"{now - number * APART:%Y-%m-%dT%H:%M:%S.%f}Z"
        envelope = Envelope(str(uuid.uuid4()), "default", received_at, "127.0.0.1", "", "bench", "", {})
        item = new_item(envelope, "succeeded", 90 * SECONDS_A_DAY)
        yield {
            **item,
            "attempts": 1,
            "completed_at": received_at,
            "day_shard": f"{received_at[:10]}#{number % SHARDS}",
            "time_key": f"{received_at}#{envelope.id}",
        }


def fill(pipeline: Running, count: int) -> None:
    """Put finished events into the table of a pipeline."""
    client, table = Clients(pipeline.emulator)("dynamodb"), pipeline.outputs["table_name"]

    def put_all(some: Sequence[Mapping[str, Any]]) -> None:
        put = [
            {
                "PutRequest": {
                    "Item": {name: {"N" if isinstance(value, int) else "S": str(value)} for name, value in each.items()}
                }
            }
            for each in some
        ]
        client.batch_write_item(RequestItems={table: put})

    made = list(items(count, datetime.now(UTC) - timedelta(minutes=1)))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(put_all, (made[first : first + ITEMS_A_CALL] for first in range(0, count, ITEMS_A_CALL))))


@contextmanager
def shown(pipeline: Running) -> Iterator[str]:
    """Serve the console of a running pipeline in this process; yields its address."""
    os.environ.update(pipeline.environment())
    os.environ[OUTPUTS] = json.dumps(pipeline.outputs)
    stack = Stack(pipeline.project.stack)
    stack.__dict__["project"] = pipeline.project
    with console(stack, Access(), 0, read_only=False) as address:
        yield address


def opening_seconds(browser: Browser, address: str) -> list[float]:
    """Return how long the list takes until it is complete, each of some times."""
    took = []
    for _ in range(OPENINGS):
        began = time.monotonic()
        browser.open(address)
        took.append(time.monotonic() - began)
        if browser.run("return document.querySelectorAll('tbody tr').length") != ROWS:
            raise BrowserError(f"the list is not shown:\n{browser.text()}")
    return took


def live_seconds(browser: Browser, api_url: str) -> list[float]:
    """Return how long it takes until an event that was sent is on the open list, each of some times."""
    took = []
    for _ in range(OPENINGS):
        began = time.monotonic()
        event_id = (request("POST", f"{api_url}/events", '{"data": "x"}').json or {})["id"]
        browser.until(event_id)
        took.append(time.monotonic() - began)
    return took


def sample(browser: Browser, seconds: float) -> Sample:
    """Return the memory of the page, after a garbage collection."""
    browser.command("HeapProfiler.collectGarbage", {})
    metrics = {each["name"]: each["value"] for each in browser.command("Performance.getMetrics", {})["metrics"]}
    return Sample(seconds, int(metrics["JSHeapUsedSize"]), int(metrics["Nodes"]), int(metrics["JSEventListeners"]))


def send(api_url: str, count: int) -> None:
    """Send events in one request."""
    events = [{"data": "x" * 100, "number": number} for number in range(count)]
    request("POST", f"{api_url}/events", json.dumps(events))


def soak(browser: Browser, api_url: str, minutes: float) -> Iterator[Sample]:
    """Send 100 events a second while a page is open. Yield samples of its memory, and print the rate at the end.

    A machine that is too slow for the rate sends fewer, and says so.
    """
    browser.command("Performance.enable", {})
    began = time.monotonic()
    yield sample(browser, 0)
    sampled = 0.0
    requests: list[Future[None]] = []
    pool = ThreadPoolExecutor(4)
    while (passed := time.monotonic() - began) < minutes * 60:
        if sum(not each.done() for each in requests[-8:]) < 4:  # noqa: PLR2004  the threads
            requests.append(pool.submit(send, api_url, A_SECOND))
        if passed - sampled >= SAMPLE_SECONDS:
            sampled = passed
            yield sample(browser, passed)
        time.sleep(max(0.0, passed + 1 - (time.monotonic() - began)))
    pool.shutdown(cancel_futures=True)
    sent = sum(each.done() and not each.cancelled() and each.exception() is None for each in requests) * A_SECOND
    write(f"{sent:,} events sent in {passed:.0f} s, {sent / passed:.0f} a second")


def write(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def grown(samples: Sequence[Sample]) -> tuple[float, float]:
    """Return the ratio of heap and of nodes in the last third to those in the second sixth, when the page is warm."""
    warm, last = samples[len(samples) // 6 : len(samples) // 3], samples[-(len(samples) // 3) :]
    heap = median(each.heap_bytes for each in last) / median(each.heap_bytes for each in warm)
    return heap, median(each.nodes for each in last) / median(each.nodes for each in warm)


def main() -> int:
    """Print the figures. Return 1 if the list is slow, or late with an event, or the memory grows."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--events", type=int, default=100_000)
    options.add_argument("--minutes", type=float, default=10)
    given = options.parse_args()
    project = load_project(SAMPLES, "dev").with_config({"worker": {"batch_size": 100, "batching_window_seconds": 1}})
    os.chdir(SAMPLES)
    with running(project) as pipeline, tempfile.TemporaryDirectory() as profile:
        began = time.monotonic()
        fill(pipeline, given.events)
        write(f"{given.events:,} events in the table after {time.monotonic() - began:.0f} s")
        with shown(pipeline) as address, Browser(Path(profile)) as browser:
            browser.open(address)
            page = f"{browser.run('return location.href')}events"
            took = opening_seconds(browser, page)
            write(f"the list opens in {median(took):.2f} s (median of {OPENINGS}; worst {max(took):.2f} s)")
            live = live_seconds(browser, pipeline.outputs["api_url"])
            write(f"an event is on it {median(live):.2f} s after it was sent (median; worst {max(live):.2f} s)")
            samples = []
            for each in soak(browser, pipeline.outputs["api_url"], given.minutes):
                samples.append(each)
                write(f"{each.seconds:6.0f} s  heap {each.heap_bytes / 1e6:5.2f} MB  {each.nodes:6} nodes")
            heap, nodes = grown(samples)
            write(f"last third to second sixth: heap x {heap:.2f}, nodes x {nodes:.2f}")
    return 1 if median(took) >= 1 or median(live) > 2 or heap > 1.5 or nodes > 1.5 else 0  # noqa: PLR2004


if __name__ == "__main__":
    sys.exit(main())
