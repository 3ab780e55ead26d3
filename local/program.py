"""Run a Pulumi program in this process, without the Pulumi CLI.

`SETTINGS.monitor` of the SDK may be an object instead of an address: here it is a `Monitor` with a backend.
"""

import asyncio
import contextlib
import contextvars
import os
import runpy
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime import settings
from pulumi.runtime.config import set_all_config
from pulumi.runtime.proto import engine_pb2
from pulumi.runtime.stack import run_in_stack

from components.package import LOCAL_VARIABLE
from local.errors import LocalError
from local.monitor import Backend, Monitor
from local.project import Project

# The number of registrations at once. More would only wait for the emulator.
WORKERS = 8


class Log:
    """The engine service, which only receives the SDK's log."""

    def Log(self, request: engine_pb2.LogRequest) -> empty_pb2.Empty:  # noqa: D102, N802  as the protocol names it
        if request.severity in (engine_pb2.WARNING, engine_pb2.ERROR):
            sys.stderr.write(f"{request.message.rstrip()}\n")
        return empty_pb2.Empty()


def run_program(
    project: Project, backend: Backend, program: Callable[[], object] | None = None, *, for_aws: bool = False
) -> dict[str, Any]:
    """Run the project's `__main__.py`, or `program`, create its resources in `backend` and return the outputs.

    The program runs in the project's folder, which is also put on `sys.path`, as `pulumi up` does. Code and layers are
    for functions on this machine, unless they are `for_aws`. Raises what the
    program raises, and LocalError for everything else.
    """
    with _program_environment(project, for_aws=for_aws):
        # The SDK keeps its state in context variables. A context of its own keeps runs apart.
        return contextvars.copy_context().run(_run, project, backend, program or _main_of(project))


def _main_of(project: Project) -> Callable[[], object]:
    path = project.directory / "__main__.py"
    if not path.is_file():
        raise LocalError(f"there is no __main__.py in {project.directory}")
    return lambda: runpy.run_path(str(path), run_name="__main__")


@contextlib.contextmanager
def _program_environment(project: Project, *, for_aws: bool) -> Iterator[None]:
    before = Path.cwd()
    folder = str(project.directory)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    if not for_aws:
        os.environ[LOCAL_VARIABLE] = "1"
    os.chdir(project.directory)
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.pop(LOCAL_VARIABLE, None)


def _run(project: Project, backend: Backend, program: Callable[[], object]) -> dict[str, Any]:
    monitor = Monitor(project, backend)
    program_errors: list[BaseException] = []

    def main() -> Awaitable[None]:
        try:
            program()
        except BaseException as error:
            program_errors.append(error)
            raise
        return _settle()

    loop = asyncio.new_event_loop()
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="registration")
    loop.set_default_executor(pool)
    asyncio.set_event_loop(loop)
    settings.ROOT.set(None)
    settings.configure(
        settings.Settings(
            project=project.name,
            stack=project.stack,
            monitor=monitor,
            engine=Log(),
            root_directory=str(project.directory),
            organization="organization",
            dry_run=False,
        ),
    )
    set_all_config(dict(project.config), secret_keys=[])
    try:
        with _interruptible(loop):
            loop.run_until_complete(run_in_stack(main))
    except Exception as error:
        # Resources that depend on the failed one fail too, and asyncio would print each of these errors.
        loop.set_exception_handler(lambda _loop, _context: None)
        # The SDK's own error is rarely the cause. That is the program's error, or else the first failed registration.
        cause = program_errors[0] if program_errors else monitor.error
        if cause is None or cause is error:
            raise
        raise cause from None
    finally:
        _drain(loop, pool)
    return monitor.stack_outputs


async def _settle() -> None:
    """Wait for all that the program has begun, as the SDK then does too: one output at a time, in quadratic time."""
    while pending := {task for task in settings.SETTINGS.outputs if not task.done()}:
        await asyncio.wait(pending)


@contextlib.contextmanager
def _interruptible(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Stop the loop on Ctrl-C and similar signals. The SDK would catch an exception and go on waiting."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        interrupted = True
        loop.stop()

    # Signals that are ignored, or end the process, keep their meaning.
    handled = [number for number, handler in before.items() if callable(handler)]
    for number in handled:
        loop.add_signal_handler(number, interrupt)
    try:
        yield
    except RuntimeError:
        # The loop raises it when it is stopped.
        if interrupted:
            raise KeyboardInterrupt from None
        raise
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])


def _drain(loop: asyncio.AbstractEventLoop, pool: ThreadPoolExecutor) -> None:
    """End what a failed run left: running registrations finish, waiting ones are cancelled."""
    pool.shutdown(wait=True, cancel_futures=True)
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        # A time limit, because the SDK catches every exception, a cancellation too, and may wait again.
        loop.run_until_complete(asyncio.wait(tasks, timeout=5))
    loop.close()
    asyncio.set_event_loop(None)
