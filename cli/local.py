"""`pipeline local`: a stack, up on this machine."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Lock

from rich.console import Console

from cli.outputs import leave_state
from local.engine import Running, running
from local.errors import LocalError
from local.monitor import Registration
from local.project import find_project, load_project
from local.secrets import taken_from
from local.services import ACCESS_KEY, SECRET_KEY

RELOAD_SECONDS = 0.5
STOP_SECONDS = 5

errors = Console(stderr=True)


def run_local(stack: str, port: int, command: str | None, *, as_json: bool) -> int:
    """Brings a stack up and serves it, or runs a command against it. Returns the exit code."""
    with brought_up(stack, port) as pipeline:
        if command is not None:
            return _execute(command, pipeline)
        if as_json:
            sys.stdout.write(json.dumps(pipeline.outputs, sort_keys=True) + "\n")
            sys.stdout.flush()
        else:
            show(pipeline, Console())
        return serve(pipeline)


@contextmanager
def brought_up(stack: str, port: int) -> Iterator[Running]:
    """A stack that is up, with its progress shown on standard error until it is."""
    project = load_project(find_project(Path.cwd()), stack)
    _interrupt_on_signals()
    started = time.monotonic()
    values = taken_from(os.environ)
    with (
        _progress(stack) as (progress, done),
        running(project, port=port, progress=progress, secret_values=values) as pipeline,
    ):
        done(f"stack {stack!r} is up at {pipeline.emulator.endpoint} ({time.monotonic() - started:.1f} s)")
        yield pipeline


def _interrupt_on_signals() -> None:
    # SIGINT too: a shell starts background jobs with it ignored, and Python then leaves it so.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


@contextmanager
def _progress(stack: str) -> Iterator[tuple[Callable[[Registration], None], Callable[[str], None]]]:
    lock = Lock()
    count = 0
    status = errors.status(f"starting the emulator and the program of stack {stack!r}")

    def progress(registration: Registration) -> None:
        nonlocal count
        with lock:
            count += 1
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


def show(pipeline: Running, console: Console) -> None:
    """Prints the outputs, and a line to paste."""
    say = partial(console.print, soft_wrap=True, markup=False, highlight=False)
    width = max(map(len, pipeline.outputs), default=0)
    for key, value in sorted(pipeline.outputs.items()):
        say(f"{key:<{width}}  {value}")
    if "input_bucket" in pipeline.outputs:
        endpoint = pipeline.emulator.endpoint
        say("\nUpload a file:")
        say(f"pipeline upload FILE.csv --stack {pipeline.project.stack}")
        keys = f"AWS_ACCESS_KEY_ID={ACCESS_KEY} AWS_SECRET_ACCESS_KEY={SECRET_KEY} AWS_REGION={pipeline.project.region}"
        say(f"{keys} aws --endpoint-url {endpoint} s3 cp FILE.csv s3://{pipeline.outputs['input_bucket']}/raw/")
    if "api_url" in pipeline.outputs:
        url = pipeline.outputs["api_url"]
        say("\nSend an event:")
        say(f"""curl -i {url}/events -H 'Content-Type: application/json' -d '{{"data": "test payload"}}'""")


def serve(pipeline: Running) -> int:
    """Serves until Ctrl-C (or SIGTERM), putting changed handler code in place. Returns the exit code."""
    with leave_state(pipeline):
        errors.print("Ctrl-C stops it and leaves nothing behind", highlight=False)
        try:
            while pipeline.emulator.running:
                time.sleep(RELOAD_SECONDS)
                for line in pipeline.engine.reload():
                    errors.print(line, soft_wrap=True, markup=False, highlight=False)
        except KeyboardInterrupt:
            return 0
    raise LocalError("the emulator has ended by itself; start again")


def _execute(command: str, pipeline: Running) -> int:
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("AWS_PROFILE", "AWS_SESSION_TOKEN")},
        **pipeline.environment(),
        # So that `--exec "pipeline send ..."` and `--exec python` are this environment's.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PIPELINE_OUTPUTS": json.dumps(pipeline.outputs, sort_keys=True),
        "PIPELINE_STACK": pipeline.project.stack,
    }
    # On a terminal the command shares our process group, and with it Ctrl-C; else it has its own, which we end whole.
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
