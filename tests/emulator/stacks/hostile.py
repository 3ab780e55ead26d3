"""Helpers for the tests of hostile requests: a running API, raw requests, and cases made by Schemathesis."""

import http.client
import subprocess
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import requests
import schemathesis
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok

from cli.openapi import document
from components.config import load
from components.options.api import ApiPipelineConfig
from components.options.csv import CsvPipelineConfig

from .conftest import Client

Json = Any
AnyCase = Case[Any]

WARM_UP_ROUNDS = 20
AT_REST_KIB = 256
# So many that what an allocator takes at once, some megabytes, is little beside it.
SENT_BYTES = 24 * 2**20

QUIET = settings(
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@dataclass
class Target:
    """A running API, its document, and what a client that may call it sends along: `headers`, a signature by `keys`."""

    client: Client
    headers: Mapping[str, str] = field(default_factory=dict)
    keys: Credentials | None = None

    def __post_init__(self) -> None:
        config = load(self.client.up.project.config, file="the test's own")
        assert isinstance(config, ApiPipelineConfig | CsvPipelineConfig)
        url = urlsplit(self.client.api_url)
        self.place, self.path = url.netloc, url.path
        described = document(config)
        if self.keys:
            # Schemathesis takes a signature that it does not know of for one that it made up, and ours for that one.
            for operation in (each for methods in described["paths"].values() for each in methods.values()):
                del operation["security"]
        self.schema = schemathesis.openapi.from_dict(described)
        self.schema.config.update(base_url=self.client.api_url)

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """A request as it is: nothing is added, tidied up or looked at."""
        given = {"Content-Type": "application/json", **self.headers}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        if self.keys:
            given |= signature(self.keys, method, f"http://{self.place}{self.path}{path}", body)
        return self.send_only(method, path, body, given)

    def send_only(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """A request with these headers only."""
        return self.send_pairs(method, path, body, headers.items())

    def send_pairs(
        self, method: str, path: str, body: bytes | None, headers: Iterable[tuple[str, str]]
    ) -> tuple[int, bytes]:
        """A request with these headers only, among which one may be repeated."""
        length = [] if body is None else [("Content-Length", str(len(body)))]
        with closing(http.client.HTTPConnection(self.place, timeout=20)) as connection:
            connection.putrequest(method, self.path + path, skip_accept_encoding=True)
            for name, value in [*headers, *length]:
                connection.putheader(name, value.encode("latin-1"))
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def call(self, case: AnyCase) -> schemathesis.Response:
        """The answer to a case."""
        return case.call(headers=dict(self.headers), timeout=20, auth=self._sign if self.keys else None)

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        assert self.keys
        assert request.method
        assert request.url
        body = request.body.encode() if isinstance(request.body, str) else request.body
        assert body is None or isinstance(body, bytes), "nothing here is sent as a stream"
        request.headers.update(signature(self.keys, request.method, request.url, body))
        return request

    def try_cases(self, mode: GenerationMode, examples: Mapping[str, int], try_case: Callable[[AnyCase], None]) -> None:
        """Tries so many cases of each operation: such as its document allows, or such as it forbids."""
        for found in self.schema.get_all_operations():
            assert isinstance(found, Ok)
            operation = found.ok()
            if count := examples.get(operation.label):
                cases = given(operation.as_strategy(generation_mode=mode))
                settings(QUIET, max_examples=count)(cases(try_case))()

    def workers(self) -> dict[int, int]:
        """The processes that run functions, and the resident memory of each in KiB."""
        folder = f"{self.client.up.emulator.folder}/tmp/ministack-lambda-"
        listing = subprocess.run(["ps", "-ewwo", "pid=,rss=,args="], capture_output=True, text=True, check=True).stdout
        lines = (line.split(maxsplit=2) for line in listing.splitlines() if folder in line)
        return {int(pid): int(memory) for pid, memory, _ in lines}

    def assert_keeps_nothing(self, texts: list[bytes], send: Callable[[bytes], object]) -> None:
        """Memory comes to rest, and stays: who kept a fifth of what is sent would be seen. No worker dies of it."""

        def memory_after_a_round() -> dict[int, int]:
            for text in texts:
                send(text)
            return self.workers()

        before, now = self.workers(), memory_after_a_round()
        for _ in range(WARM_UP_ROUNDS):
            before, now = now, memory_after_a_round()
            if before.keys() == now.keys() and sum(now.values()) - sum(before.values()) < AT_REST_KIB:
                break
        before, rounds = now, SENT_BYTES // sum(map(len, texts)) + 1
        for _ in range(rounds):
            now = memory_after_a_round()
        assert before, "no function ran"
        assert before.keys() <= now.keys(), "a worker died"
        sent, grown = rounds * sum(map(len, texts)), sum(now[pid] - before[pid] for pid in before) * 1024
        assert grown < sent / 5, f"{grown} bytes more after {sent} bytes of requests"


def signature(
    keys: Credentials, method: str, url: str, body: bytes | None = None, region: str = "us-east-1"
) -> dict[str, str]:
    """The headers that sign a request, however its query is written: both sides sign its plainest form."""
    place, _, query = url.partition("?")
    plain = urlencode(parse_qsl(query, keep_blank_values=True), quote_via=quote)
    request = AWSRequest(method, f"{place}?{plain}" if plain else place, data=body)
    SigV4Auth(keys, "execute-api", region).add_auth(request)
    return dict(request.headers.items())
