"""Events per second end to end in the emulator, and the latency of requests, at several numbers of clients.

Each client posts one event after the other over a connection of its own; the clock stops when every event has
succeeded. The emulator, its functions and the clients share this machine's cores, so these figures compare versions on
one machine and say nothing about AWS. A part of `make bench`.
"""

import json
import statistics
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.api import EVENT
from benchmarks.figures import Rows, Size
from local.engine import Running, running
from local.project import load_project
from local.services import Clients

SAMPLES = Path(__file__).parents[1] / "tests/samples"
CLIENTS = (1, 8, 32)
# The functions' processes start with the first requests: a few at once, so that none waits too long for a core.
WARMING_CLIENTS = (1, 4, 8, 16, 24, 32)
PERCENTILES = (50, 90, 99)
WAIT_SECONDS = 120
LOOK_SECONDS = 0.1


class Load:
    """Clients of a running pipeline."""

    def __init__(self, up: Running) -> None:
        self._aws, self._outputs = Clients(up.emulator), up.outputs
        self._url = urlsplit(up.outputs["api_url"])
        self._sent = 0

    def run(self, clients: int, events: int) -> tuple[float, list[float]]:
        """Send events. Return the seconds until the last has succeeded, and the latency of each request in ms."""
        started = time.monotonic()
        with ThreadPoolExecutor(clients) as pool:
            latencies = [each for part in pool.map(self._client, [events // clients] * clients) for each in part]
        self._sent += len(latencies)
        while not self._are_done():
            if time.monotonic() - started > WAIT_SECONDS:
                raise RuntimeError(f"not every event has succeeded within {WAIT_SECONDS} seconds")
            time.sleep(LOOK_SECONDS)
        return time.monotonic() - started, latencies

    def _client(self, events: int) -> list[float]:
        if self._url.hostname is None:
            raise RuntimeError("the API has no address")
        connection = HTTPConnection(self._url.hostname, self._url.port, timeout=60)
        body, latencies = json.dumps(EVENT), []
        for _ in range(events):
            started = time.perf_counter()
            connection.request("POST", f"{self._url.path}/events", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            latencies.append((time.perf_counter() - started) * 1_000)
            if answer.status != 202:  # noqa: PLR2004  accepted
                raise RuntimeError(f"the API answered {answer.status}: {text!r}")
        connection.close()
        return latencies

    def _are_done(self) -> bool:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        queue = self._aws("sqs").get_queue_attributes(QueueUrl=self._outputs["queue_url"], AttributeNames=names)
        if any(int(queue["Attributes"][name]) for name in names):
            return False
        pages = self._aws("dynamodb").get_paginator("scan").paginate(TableName=self._outputs["table_name"])
        statuses = [item.get("status", {}).get("S") for page in pages for item in page["Items"]]
        return statuses.count("succeeded") == self._sent


def percentile(values: list[float], percent: int) -> float:
    """Return the value that so many percent of the values do not exceed."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def measure(size: Size) -> Rows:
    """Return throughput and latency by number of clients."""
    rows: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with running(load_project(SAMPLES, "dev").with_config({"storage": {"results": "inline"}})) as up:
        load = Load(up)
        for clients in WARMING_CLIENTS:
            load.run(clients, 2 * clients)
        for _ in range(size.rounds):
            for clients in CLIENTS:
                seconds, latencies = load.run(clients, size.load_events)
                figures = {"clients": float(clients), "events_per_s": len(latencies) / seconds}
                figures |= {f"p{percent}_ms": percentile(latencies, percent) for percent in PERCENTILES}
                for column, value in figures.items():
                    rows[f"{clients} client{'s' if clients > 1 else ''}"][column].append(value)
    return rows
