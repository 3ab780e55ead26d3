"""`pipeline local`: its output, its exit codes, and that it leaves nothing behind."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.graphs import SAMPLES
from tests.processes import happens, living

from .conftest import Command, arguments, environment, user_project


@contextmanager
def _serving(project: Path, *more: str) -> Iterator[tuple["subprocess.Popen[str]", Any]]:
    """A running pipeline, and its outputs."""
    with subprocess.Popen(
        arguments("local", "--port", "0", "--json", *more),
        cwd=project,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def _launchers_of(pid: int) -> list[int]:
    """The emulators started by a process."""
    return [process.pid for process in living() if process.parent == pid and "launcher.py" in process.command]


def _gone(pid: int) -> bool:
    return happens(lambda: pid not in [process.pid for process in living()])


def test_a_command_gets_the_pipeline_in_its_environment_and_its_exit_code_is_returned(
    pipeline: Command,
    small_project: Path,
) -> None:
    names = "AWS_ENDPOINT_URL AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_REGION AWS_DEFAULT_REGION"
    names += " PIPELINE_STACK PIPELINE_OUTPUTS"
    script = f"import os, json; print(json.dumps([os.environ[name] for name in '{names}'.split()]))"
    own = {"AWS_PROFILE": "mine", "AWS_SESSION_TOKEN": "mine", "AWS_REGION": "mine"}
    command = f'python -c "{script}"; command -v python; test -z "$AWS_PROFILE$AWS_SESSION_TOKEN" && exit 7'
    result = pipeline("local", "--port", "0", "--exec", command, cwd=small_project, env=own)
    assert result.returncode == 7, result.stderr
    values, python = result.stdout.splitlines()
    assert Path(python).parent == Path(sys.executable).parent
    endpoint, *keys, stack, outputs = json.loads(values)
    assert f"stack 'dev' is up at {endpoint} (" in result.stderr
    access_key, secret_key, *regions = keys
    assert (len(access_key), len(secret_key), regions) == (20, 40, ["us-east-1", "us-east-1"])
    assert secret_key not in result.stderr
    assert stack == "dev"
    assert json.loads(outputs)["queue_url"].startswith(f"{endpoint}/000000000000/main-")
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(endpoint.rpartition(":")[2]))) != 0


def test_the_value_of_a_secret_reaches_the_emulator_and_no_other_process(
    pipeline: Command,
    small_project: Path,
) -> None:
    arn = "arn:aws:ssm:us-east-1:123456789012:parameter/shop/token"
    (small_project / "Pulumi.dev.yaml").write_text(
        f"config:\n  datapipeline:worker: {{secrets: {{shop_token: '{arn}'}}}}\n"
    )
    program = small_project / "__main__.py"
    # Processes that the program starts, such as pip, inherit its environment.
    program.write_text(program.read_text() + "import os; pulumi.export('started_with', dict(os.environ))\n")
    children = "for pid in $(ps -o pid= --ppid $PPID); do tr '\\0' '\\n' < /proc/$pid/environ; done"
    command = f'{children}; echo $PIPELINE_OUTPUTS; python -c "{READ_PARAMETER}"'
    own = {"PIPELINE_SECRET_SHOP_TOKEN": "hunter2"}  # pragma: allowlist secret
    result = pipeline("local", "--port", "0", "--exec", command, cwd=small_project, env=own)
    assert result.returncode == 0, result.stderr
    *printed, read = result.stdout.splitlines()
    assert read == "SecureString hunter2"
    assert any(line.startswith("GATEWAY_PORT=") for line in printed), "the emulator's environment"
    assert [line for line in [*printed, result.stderr] if "hunter2" in line or "SHOP_TOKEN" in line] == []


READ_PARAMETER = (
    "import boto3; found = boto3.client('ssm').get_parameter(Name='/shop/token', WithDecryption=True)['Parameter'];"
    "print(found['Type'], found['Value'])"
)


def test_a_secret_without_a_value_is_an_error_that_names_the_variable(pipeline: Command, small_project: Path) -> None:
    arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:shop/token-AbC123"
    (small_project / "Pulumi.dev.yaml").write_text(
        f"config:\n  datapipeline:worker: {{secrets: {{shop_token: '{arn}'}}}}\n"
    )
    result = pipeline("local", "--port", "0", "--exec", "true", cwd=small_project)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1] == (
        "error: stack 'dev' has secrets that have no value on this machine; set PIPELINE_SECRET_SHOP_TOKEN, "
        "to dummy local values"
    )


def test_a_new_stack_with_a_webhook_takes_its_sample_signed_with_the_secret_of_the_pipeline(
    pipeline: Command, tmp_path: Path
) -> None:
    user_project(tmp_path)
    steps = pipeline("new", "shop", "--webhook", "github", cwd=tmp_path).stdout.splitlines()
    send = next(line for line in steps if line.startswith("pipeline webhook send"))
    variable, _, value = steps[-3].partition(" ")[0].partition("=")
    # The variable is gone there: the value comes from where the function reads it, too.
    forge = f"printf '{{}}' | {variable}=another {send.replace('samples/shop.json', '-')}"
    script = f"{send} --id d-1 && {send} --id d-1 && {forge}"
    ran = pipeline("local", "--stack", "shop", "--exec", script, cwd=tmp_path, env={variable: value})
    accepted, repeat = ran.stdout.splitlines()[-2:]
    assert accepted.startswith("accepted as "), ran.stdout + ran.stderr
    assert repeat == accepted.replace("accepted as", "a repeat of")
    assert ran.returncode == 1
    assert "401: the request is not authentic" in ran.stderr


def test_a_command_ended_by_a_signal_exits_as_in_a_shell(pipeline: Command, small_project: Path) -> None:
    result = pipeline("local", "--port", "0", "--exec", "kill -TERM $$", cwd=small_project)
    assert result.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_a_signal_and_leaves_nothing(small_project: Path, number: signal.Signals) -> None:
    # As earlier versions, or a careless umask, left it.
    (small_project / ".pipeline").mkdir(mode=0o755)
    with _serving(small_project) as (process, outputs):
        state_file = small_project / ".pipeline" / "local-dev.json"
        assert happens(lambda: state_file.exists() and state_file.stat().st_size > 0)
        state = json.loads(state_file.read_text())
        assert (state["pid"], state["outputs"]) == (process.pid, outputs)
        assert state_file.stat().st_mode & 0o777 == 0o600
        assert state_file.parent.stat().st_mode & 0o777 == 0o700
        script = "import boto3; print(boto3.client('sqs').list_queues()['QueueUrls'])"
        listed = subprocess.run(
            [sys.executable, "-c", script],
            env=environment(**state["environment"]),
            capture_output=True,
            text=True,
            check=True,
        )
        assert listed.stdout.strip() == str([outputs["queue_url"]])
        launchers = _launchers_of(process.pid)
        assert len(launchers) == 1
        process.send_signal(number)
        rest, said = process.communicate(timeout=10)
        assert (process.returncode, rest) == (0, "")
        assert "Traceback" not in said
    assert _gone(launchers[0])
    assert not state_file.exists()


@pytest.mark.parametrize("seconds", [0.6, 1.0, 1.4, 1.8])
def test_it_ends_on_a_signal_while_it_starts(seconds: float) -> None:
    process = subprocess.Popen(
        arguments("local", "--port", "0", "--exec", "sleep 30"),
        cwd=SAMPLES,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(seconds)
    launchers = _launchers_of(process.pid)
    process.send_signal(signal.SIGINT)
    try:
        # Before there is anything to clean up, the signal itself ends it.
        assert process.wait(10) in (0, 130, -signal.SIGINT)
    finally:
        process.kill()
    assert all(_gone(launcher) for launcher in launchers)


def test_nothing_is_left_after_it_is_killed(small_project: Path, pipeline: Command) -> None:
    with _serving(small_project) as (process, _):
        launchers = _launchers_of(process.pid)
        assert len(launchers) == 1
        process.kill()
    assert _gone(launchers[0])
    # The state file is left, but its process no longer exists.
    result = pipeline("status", "x", cwd=small_project, env={"PATH": "/nowhere"})
    assert "does not run here" in result.stderr


def test_a_command_ends_with_the_pipeline(small_project: Path) -> None:
    marker = small_project / "pid"
    with subprocess.Popen(
        arguments("local", "--port", "0", "--exec", f"sleep 60 & echo $! > {marker}; wait"),
        cwd=small_project,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert happens(lambda: marker.exists() and bool(marker.read_text().strip()), seconds=20)
        sleeper = int(marker.read_text())
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=15)
    assert _gone(sleeper)


def _error(result: "subprocess.CompletedProcess[str]") -> str:
    """The one line of an error."""
    assert result.returncode == 1, result
    lines = [line for line in result.stderr.splitlines() if not line.startswith("starting the emulator")]
    assert len(lines) == 1, result.stderr
    return lines[0]


def test_a_port_in_use_is_named_in_the_error(pipeline: Command, small_project: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = pipeline("local", "--port", str(port), cwd=small_project)
    assert f"error: port {port} on 127.0.0.1 is taken" in _error(result)


def test_a_type_without_a_creator_is_named_with_its_line(pipeline: Command, small_project: Path) -> None:
    (small_project / "__main__.py").write_text("import pulumi_aws as aws\n\naws.ecr.Repository('images')\n")
    error = _error(pipeline("local", "--port", "0", "--exec", "true", cwd=small_project))
    assert error.startswith("error: aws:ecr/repository:Repository 'images' (__main__.py:3): ")


def test_an_exception_of_the_program_is_one_line_with_its_place(pipeline: Command, small_project: Path) -> None:
    (small_project / "__main__.py").write_text("x = 1\nraise ValueError('what was\\nwrong')\n")
    error = _error(pipeline("local", "--port", "0", "--exec", "true", cwd=small_project))
    assert error == "error: ValueError: what was wrong (__main__.py:2)"
