"""`pipeline local`: run a stack on this machine."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, nullcontext
from pathlib import Path
from threading import Lock, Thread

from rich.console import Console

from cli.console import is_installed
from cli.core.json_text import write_json
from cli.core.signals import interrupt_on_signals
from cli.core.stack import OUTPUTS, Stack, state_file
from cli.core.suggestions import suggest
from cli.core.terminal import write_fields, write_lines, write_styled
from cli.hints import hints
from cli.live import LiveView
from components.config import NAMESPACE, load
from local.engine import Running, running
from local.errors import LocalError
from local.monitor import Registration
from local.secrets import taken_from

RELOAD_SECONDS = 0.5
STOP_SECONDS = 5

errors = Console(stderr=True)


def run_local(stack: str, port: int, command: str | None, *, as_json: bool, console: bool) -> int:
    """Start a stack, then serve it or run a command against it. Return the exit code.

    A person at a terminal is shown the console's address, unless `console` is off; a log or a program is not.
    """
    if command is None:
        Stack(stack).refuse_second()
    with brought_up(stack, port) as pipeline:
        if command is not None:
            return _execute(command, pipeline)
        if as_json:
            write_json(dict(sorted(pipeline.outputs.items())))
        else:
            show(pipeline)
        return serve(pipeline, console=console and not as_json)


@contextmanager
def brought_up(stack: str, port: int) -> Iterator[Running]:
    """Start a stack, show the progress on standard error, and stop it at the end."""
    project = Stack(stack).project
    interrupt_on_signals()
    started = time.monotonic()
    values = taken_from(os.environ)
    with (
        _progress(stack) as (progress, done),
        running(project, port=port, progress=progress, secret_values=values) as pipeline,
    ):
        done(f"stack {stack!r} is up at {pipeline.emulator.endpoint} ({time.monotonic() - started:.1f} s)")
        yield pipeline


@contextmanager
def _progress(stack: str) -> Iterator[tuple[Callable[[Registration], None], Callable[[str], None]]]:
    lock = Lock()
    count = 0
    status = errors.status(f"starting the emulator and the program of stack {stack!r}")

    def progress(registration: Registration) -> None:
        nonlocal count
        with lock:
            # Components exist in the program only; `pipeline check` counts in the same way.
            count += registration.custom
            status.update(f"{count} resources, {registration.type.rpartition(':')[2]} {registration.name}")

    def done(message: str) -> None:
        status.stop()
        errors.print(f"{message}, {count} resources", highlight=False)

    if errors.is_terminal:
        status.start()
    else:
        errors.print(f"starting the emulator and the program of stack {stack!r}", highlight=False)
    try:
        yield progress, done
    finally:
        status.stop()


def show(pipeline: Running) -> None:
    """Print the outputs and a command to try."""
    write_fields({name: value for name, value in sorted(pipeline.outputs.items()) if isinstance(value, str)})
    project = pipeline.project
    if f"{NAMESPACE}:variant" in project.config:
        with chdir(project.directory):
            config = load(project.config, file=f"Pulumi.{project.stack}.yaml", check_processor=False)
            write_lines(["", *hints(project.stack, config, pipeline.outputs)])
    # Programs that read this from a pipe see it while the pipeline serves.
    sys.stdout.flush()


def serve(pipeline: Running, *, console: bool = True) -> int:
    """Serve until Ctrl-C or SIGTERM: show what happens, and reload changed handler code. Return the exit code."""
    live = LiveView(pipeline)
    # Its address lets its reader in, so it is for a terminal, not for a log file. A program of another kind has nothing
    # that the console could show.
    console = console and sys.stderr.isatty() and is_installed() and f"{NAMESPACE}:variant" in pipeline.project.config
    with state_file(pipeline), _console(pipeline.project.stack) if console else nullcontext():
        write_lines(["Ctrl-C stops it and removes everything"], to_stderr=True)
        if not console:
            write_lines([f"in the browser: {suggest('console', '--stack', pipeline.project.stack)}"], to_stderr=True)
        try:
            while pipeline.emulator.running:
                time.sleep(RELOAD_SECONDS)
                write_lines(pipeline.engine.reload(), to_stderr=True)
                write_styled(live.lines(), errors)
        except KeyboardInterrupt:
            return 0
    raise LocalError("the emulator has stopped unexpectedly; start the pipeline again")


@contextmanager
def _console(stack: str) -> Iterator[None]:
    """Run the console of a stack in a process of its own for as long as the block, and print its address.

    It is ready a second or two later, and costs the start of the pipeline nothing. It ends when its standard input
    does, so also when this process is killed; Ctrl-C in the terminal does not reach it.
    """
    command = [sys.executable, "-W", "ignore", "-m", "cli", "console", "--stack", stack, "--port", "0", "--beside"]
    with subprocess.Popen(  # noqa: S603  ourselves
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
    ) as process:

        def announce() -> None:
            # It prints one line, or an error on standard error.
            if address := str(process.stdout and process.stdout.readline()).partition("http")[2].strip():
                write_lines([f"in the browser: http{address}"], to_stderr=True)

        thread = Thread(target=announce, daemon=True)
        thread.start()
        try:
            yield
        finally:
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            thread.join(STOP_SECONDS)


def _execute(command: str, pipeline: Running) -> int:
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("AWS_PROFILE", "AWS_SESSION_TOKEN")},
        **pipeline.environment(),
        # `--exec "pipeline send ..."` and `--exec python` run those of this environment.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        OUTPUTS: json.dumps(pipeline.outputs, sort_keys=True),
        "PIPELINE_STACK": pipeline.project.stack,
    }
    # On a terminal the command shares our process group and so gets Ctrl-C; elsewhere it has its own, which we end.
    own_group = not sys.stdin.isatty()
    process = subprocess.Popen(  # noqa: S602  a shell command is what --exec takes
        command,
        shell=True,
        env=environment,
        process_group=0 if own_group else None,
    )
    try:
        code = process.wait()
    except KeyboardInterrupt:
        _end(process, own_group=own_group)
        raise
    return code if code >= 0 else 128 - code


def _end(process: subprocess.Popen[bytes], *, own_group: bool) -> None:
    def signalled(number: signal.Signals) -> None:
        try:
            if own_group:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
        except ProcessLookupError:
            return

    signalled(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        signalled(signal.SIGKILL)
        process.wait()
