"""The backend that creates registered resources in the emulator, and a whole stack running in one."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
from botocore.exceptions import BotoCoreError, ClientError

from local import secrets, services
from local.code import check_import, source_files, zip_bytes
from local.emulator import ACCOUNT, Emulator
from local.errors import LocalError
from local.monitor import Created, Registration
from local.packages import layer_folders
from local.program import run_program
from local.project import Project
from local.services import Clients

FUNCTION_TYPE = "aws:lambda/function:Function"
LAYER_TYPE = "aws:lambda/layerVersion:LayerVersion"

Progress = Callable[[Registration], None]

FileState = tuple[tuple[str, int, int], ...]


@dataclass
class DeployedFunction:
    """A running function, with the state of its code's files."""

    name: str
    handler: str
    log_group: str
    archive: pulumi.Archive
    files: list[Path]
    environment: dict[str, str]
    packages: list[str]
    state: FileState


class Engine:
    """A backend of local.monitor that creates resources in an emulator."""

    account = ACCOUNT

    def __init__(self, emulator: Emulator, project: Project, progress: Progress | None = None) -> None:
        # Each run begins with an empty emulator.
        self.deployed: Mapping[str, Any] = {}
        self._emulator = emulator
        self._project = project
        self._progress = progress or (lambda _registration: None)
        self._ready = threading.Lock()
        self._clients: Clients | None = None
        self._checks = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="import-check")
        self._checking: list[Future[None]] = []
        self.functions: list[DeployedFunction] = []
        self._packages: dict[str, list[str]] = {}

    def component(self, registration: Registration) -> None:
        """Report a component. The emulator has nothing for it."""
        self._progress(registration)

    def create(self, registration: Registration) -> Created:
        """Create a resource in the emulator. Raises LocalError when the emulator refuses it."""
        aws = self._aws()
        try:
            created = services.create(aws, registration)
        except (ClientError, BotoCoreError) as error:
            raise LocalError(" ".join(str(error).split())) from error
        except KeyError as error:
            raise LocalError(f"its input {error} is missing") from error
        if registration.type == LAYER_TYPE and "code" in registration.inputs:
            self._packages[created.outputs["arn"]] = layer_folders(zip_bytes(registration.inputs["code"]))
        if registration.type == FUNCTION_TYPE:
            self._deployed(registration)
        self._progress(registration)
        return created

    def _aws(self) -> Clients:
        with self._ready:
            if self._clients is None:
                self._emulator.wait()
                self._clients = Clients(self._emulator, checked=True)
            return self._clients

    def _deployed(self, registration: Registration) -> None:
        inputs = registration.inputs
        archive = inputs["code"]
        files = source_files(archive)
        variables = inputs.get("environment", {}).get("variables", {})
        function = DeployedFunction(
            name=registration.physical_name,
            handler=inputs["handler"],
            log_group=inputs.get("loggingConfig", {}).get("logGroup", f"/aws/lambda/{registration.physical_name}"),
            archive=archive,
            files=files,
            environment={
                **self._emulator.client_environment(),
                "AWS_LAMBDA_FUNCTION_NAME": registration.physical_name,
                **variables,
            },
            packages=[folder for layer in inputs.get("layers", []) for folder in self._packages.get(layer, [])],
            state=_state(files),
        )
        self.functions.append(function)
        self._checking.append(self._checks.submit(self._check, function, zip_bytes(archive)))

    def _check(self, function: DeployedFunction, code: bytes) -> None:
        try:
            check_import(code, function.handler, function.environment, function.packages)
        except LocalError as error:
            raise LocalError(f"function {function.name}: {error}") from error

    def finish(self) -> None:
        """Wait until every function's handler has been imported once. Raises LocalError for one that cannot be."""
        for check in self._checking:
            check.result()

    def close(self) -> None:
        """End checks that still run."""
        self._checks.shutdown(wait=True, cancel_futures=True)

    def reload(self) -> Iterator[str]:
        """Deploy changed code to its functions. Yields one line for each.

        A function whose new code cannot be imported keeps the old.
        """
        for function in self.functions:
            state = _state(function.files)
            if state == function.state:
                continue
            function.state = state
            try:
                # The archive's paths are relative to the project.
                with _in(self._project.directory):
                    code = zip_bytes(function.archive)
                self._check(function, code)
                self._replace_code(function.name, code)
                yield f"reloaded {function.name}"
            except (LocalError, ClientError, BotoCoreError) as error:
                yield f"not reloaded: {' '.join(str(error).split())}"

    def _replace_code(self, function_name: str, code: bytes) -> None:
        client = self._aws()("lambda")
        aliases = client.list_aliases(FunctionName=function_name)["Aliases"]
        made = client.update_function_code(FunctionName=function_name, ZipFile=code, Publish=bool(aliases))
        for alias in aliases:
            client.update_alias(FunctionName=function_name, Name=alias["Name"], FunctionVersion=made["Version"])


def _state(files: list[Path]) -> FileState:
    """Return a value that changes when one of the files does."""
    return tuple((str(file), status.st_mtime_ns, status.st_size) for file, status in _statuses(files))


def _statuses(files: list[Path]) -> Iterator[tuple[Path, os.stat_result]]:
    for file in files:
        try:
            yield file, file.stat()
        except FileNotFoundError:
            continue


@contextmanager
def _in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@dataclass(frozen=True)
class Running:
    """A running pipeline."""

    project: Project
    emulator: Emulator
    engine: Engine
    outputs: dict[str, Any]

    def environment(self) -> dict[str, str]:
        """Return the variables that aim an AWS client at the pipeline. The keys end with this run."""
        return self.emulator.client_environment()


@contextmanager
def running(
    project: Project,
    *,
    port: int = 0,
    program: Callable[[], object] | None = None,
    progress: Progress | None = None,
    iam_log: Path | None = None,
    secret_values: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """Run a project's stack in an emulator of its own until the block ends. Nothing is left then.

    The emulator boots while the program is imported. `secret_values` maps names of the stack's secrets to values.
    Raises LocalError, and what the program itself raises.
    """
    emulator = Emulator(port=port, region=project.region, iam_log=iam_log)
    engine = Engine(emulator, project, progress)
    try:
        emulator.start()
        project = secrets.put_into(emulator, project, secret_values or {})
        outputs = run_program(project, engine, program)
        engine.finish()
        yield Running(project, emulator, engine, outputs)
    finally:
        engine.close()
        emulator.stop()
