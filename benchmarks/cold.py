"""Cold start of every function, in CPU milliseconds above a bare Python: imports, clients, first call.

Each start is a process of its own with the deployed package, compiled, the deployed environment variables and an event
that the function answers through the emulator, over HTTPS. The function of tutorials (benchmarks/tutorial.py) is
measured in turns with ours. Lambda's own time to start a sandbox is not in the figures.
"""

import compileall
import io
import json
import os
import py_compile
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, chdir, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.api import EVENT, message_records, request
from benchmarks.csv import upload
from benchmarks.csv_peers import PEERS_PYTHON
from benchmarks.figures import Rows, Size
from benchmarks.iot import notification
from benchmarks.tls import HOST, https
from local.code import zip_bytes
from local.engine import Running, running
from local.packages import sdk_folder
from local.project import load_project
from local.services import Clients

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "tests/samples"
START = Path(__file__).with_name("cold_start.py")
TUTORIAL = Path(__file__).with_name("tutorial.py")
PHASES = ("imports_ms", "clients_ms", "first_call_ms", "total_ms", "modules", "peak_mb")
OUR_CLIENTS, BOTO3_CLIENTS = "handlers.shared.aws:client,botocore_client", "boto3:client,resource"
TUTORIAL_POST, TUTORIAL_HEALTH = "tutorial, POST /events", "tutorial, GET /health"

# The functions that only some options make.
ALL_OPTIONS = {
    "queue": {"redrive_api": {}, "reconciler": {}},
    "worker": {"circuit_breaker": {}, "max_attempts": 3},
    "storage": {"archive": {"compaction": {}}},
    "reports": {},
}
ROW = b"name,email,amount,date,quantity\nA,a@example.com,1.5,2026-01-02,3\n"
READING = b'{"device_id": "a", "timestamp": "2026-01-02T03:04:05Z", "metrics": {"temperature": 20.5}}'

Json = Any


@dataclass(frozen=True)
class Case:
    """A function's module and its first call. `event` makes a new event; `is_done` checks the answer."""

    name: str
    module: str
    event: Callable[[], Json]
    is_done: Callable[[Json], bool]
    folders: Sequence[str]
    environment: Mapping[str, str]
    redirect: str
    clients: str = OUR_CLIENTS
    compared_with: str = TUTORIAL_POST


def start(case: Case) -> dict[str, float]:
    """Start a function once. Return its figures. Raises RuntimeError when it does not do its work."""
    with tempfile.TemporaryDirectory() as folder:
        event, told = Path(folder, "event.json"), Path(folder, "told.json")
        event.write_text(json.dumps(case.event()))
        command = [
            sys.executable,
            "-I",
            "-S",
            str(START),
            case.redirect,
            str(event),
            str(told),
            case.module,
            case.clients,
        ]
        environment = {**case.environment, "PATH": os.environ["PATH"], "HOME": folder}
        done = subprocess.run(  # noqa: S603  our own command
            [*command, *case.folders], env=environment, cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{case.name}: {done.stderr or done.stdout}")
        found = json.loads(told.read_text())
    if not case.is_done(found["answer"]):
        raise RuntimeError(f"{case.name} answered {found['answer']}: {done.stdout}")
    return {phase: found[phase] for phase in PHASES}


def status(code: int) -> Callable[[Json], bool]:
    """Return a check of a response's status."""
    return lambda answer: bool(answer["statusCode"] == code)


def no_failures(answer: Json) -> bool:
    """Return True if every message was processed."""
    return bool(answer == {"batchItemFailures": []})


def ran(answer: Json) -> bool:
    """Return True: a scheduled function that does not raise has done its work."""
    return answer is None


def get(path: str) -> Json:
    """Return a GET request as an HTTP API passes it."""
    event = {**request(None), "routeKey": f"GET {path}", "rawPath": path, "body": None}
    # As of a signed request, which the routes of dead letters ask for.
    event["requestContext"] |= {"authorizer": {"iam": {"userArn": "arn:aws:iam::123456789012:user/operator"}}}
    return event


def rest_request(method: str, path: str, body: Json = None) -> Json:
    """Return a request as a REST API passes it."""
    return {
        "resource": path,
        "path": path,
        "httpMethod": method,
        "headers": {"Content-Type": "application/json"},
        "multiValueHeaders": {},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "requestContext": {"requestId": "r", "stage": "prod", "path": path, "httpMethod": method},
        "body": None if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }


class Stack:
    """A running stack behind HTTPS, with its functions unpacked and compiled."""

    def __init__(self, up: Running, https_port: int, authorities: Path, folder: Path) -> None:
        self.aws, self.outputs = Clients(up.emulator), up.outputs
        # The emulator checks its own name in the signature, so a start goes by that, and connects to the other port.
        self._endpoint = {
            "AWS_ENDPOINT_URL": f"https://{HOST}:{up.emulator.port}",
            "AWS_CA_BUNDLE": str(authorities),
        }
        self._redirect = f"{up.emulator.port}:{https_port}"
        self._functions = {function.handler.removesuffix(".handler"): function for function in up.engine.functions}
        self._folder = folder
        functions = self.aws("lambda")
        for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
            functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)

    def case(
        self,
        module: str,
        event: Callable[[], Json],
        is_done: Callable[[Json], bool],
        label: str = "",
        compared_with: str = TUTORIAL_POST,
        **environment: str,
    ) -> Case:
        """Return the case of a deployed function."""
        function = self._functions[module]
        package = self._folder / module
        if not package.exists():
            # The archive's paths are relative to the project.
            with chdir(SAMPLES), zipfile.ZipFile(io.BytesIO(zip_bytes(function.archive))) as code:
                code.extractall(package)
            compiled(package)
        _, room, name = module.split(".")
        return Case(
            f"{room} {name}{label and ', '}{label}",
            module,
            event,
            is_done,
            [str(package), *function.packages, str(sdk_folder())],
            {**function.environment, **self._endpoint, **environment},
            self._redirect,
            compared_with=compared_with,
        )

    def tutorial(self) -> list[Case]:
        """Return the cases of the tutorial's function on the same table and queue. None where it is not installed."""
        if not PEERS_PYTHON.exists():
            return []
        package = self._folder / "tutorial"
        package.mkdir()
        (package / TUTORIAL.name).write_text(TUTORIAL.read_text())
        compiled(package)
        (packages,) = PEERS_PYTHON.parents[1].glob("lib/python*/site-packages")
        (ingest,) = (each for name, each in self._functions.items() if name.endswith(".ingest"))
        own = {"TABLE_NAME": self.outputs["table_name"], "QUEUE_URL": self.outputs["queue_url"]}
        environment = {**ingest.environment, **self._endpoint, **own}
        folders = [str(package), str(packages)]
        return [
            Case(name, "tutorial", event, is_done, folders, environment, self._redirect, BOTO3_CLIENTS, name)
            for name, event, is_done in (
                (TUTORIAL_POST, lambda: rest_request("POST", "/events", EVENT), status(200)),
                (TUTORIAL_HEALTH, lambda: rest_request("GET", "/health"), status(200)),
            )
        ]


def compiled(folder: Path) -> None:
    """Compile a package. Without it, a start would compile the modules, which costs more than all else."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(folder, quiet=2, invalidation_mode=mode)


@contextmanager
def stack(name: str, config: Mapping[str, Json]) -> Iterator[Stack]:
    """Run a stack."""
    with ExitStack() as at_end:
        folder = Path(at_end.enter_context(tempfile.TemporaryDirectory()))
        up = at_end.enter_context(running(load_project(SAMPLES, name).with_config(config)))
        yield Stack(up, *at_end.enter_context(https(up.emulator.port, folder)), folder)


def api_cases(up: Stack) -> list[Case]:
    """Return the functions of a stack with the default options, and the tutorial's."""
    return [
        *up.tutorial(),
        up.case("handlers.api.ingest", lambda: request(EVENT), status(202), "POST /events"),
        up.case("handlers.api.ingest", lambda: get("/health"), status(200), "GET /health", TUTORIAL_HEALTH),
        up.case("handlers.api.worker", lambda: {"Records": message_records(1)}, no_failures),
    ]


def optional_api_cases(up: Stack) -> list[Case]:
    """Return the functions that options add."""
    now = datetime.now(UTC).isoformat()
    return [
        up.case("handlers.api.redrive", lambda: get("/redrive/preview"), status(200)),
        up.case("handlers.api.report", lambda: {"period": "hourly", "time": now}, ran),
        *(up.case(f"handlers.api.{name}", dict, ran) for name in ("reconciler", "compactor", "breaker")),
    ]


def csv_cases(up: Stack) -> list[Case]:
    """Return the functions of the csv variant."""
    return [
        up.case("handlers.csv.worker", lambda: {"Records": [upload(up.aws, up.outputs, ROW)]}, no_failures),
        up.case("handlers.csv.redrive", lambda: get("/redrive/preview"), status(200)),
    ]


def iot_cases(up: Stack) -> list[Case]:
    """Return the functions of the iot variant."""
    bucket, key = up.outputs["input_bucket"], "readings/cold.held-back"
    up.aws("s3").put_object(Bucket=bucket, Key=key, Body=READING)
    # With such a suffix the deployed function leaves it to ours.
    return [
        up.case("handlers.iot.worker", lambda: notification(bucket, key), ran, SUFFIXES=""),
        up.case("handlers.iot.watcher", dict, ran),
    ]


STACKS: Sequence[tuple[str, Mapping[str, Json], Callable[[Stack], list[Case]]]] = (
    ("dev", {"storage": {"results": "inline"}}, api_cases),
    ("dev", ALL_OPTIONS, optional_api_cases),
    ("csv", {"queue": {"redrive_api": {}}}, csv_cases),
    ("iot", {}, iot_cases),
)


def measure(size: Size) -> Rows:
    """Return the phases of each function's starts, and the sums as ratios to the tutorial's starts beside them."""
    with ExitStack() as at_end:
        cases = [case for name, config, cases in STACKS for case in cases(at_end.enter_context(stack(name, config)))]
        rounds = [{case.name: start(case) for case in cases} for _ in range(size.cold_starts)]
    rows = {case.name: {phase: [each[case.name][phase] for each in rounds] for phase in PHASES} for case in cases}
    for case in cases:
        if case.compared_with in rows:
            pairs = [(each[case.name]["total_ms"], each[case.compared_with]["total_ms"]) for each in rounds]
            rows[case.name]["ratio_tutorial"] = [own / other for own, other in pairs]
    return rows
