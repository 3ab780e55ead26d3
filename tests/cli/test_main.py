"""The command itself: usage, errors in one line, exit codes."""

import gzip
import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest
import typer

from cli.__main__ import main as entry_point
from cli.core.errors import exit_with
from cli.core.stack import Stack
from cli.core.state import kept_state, state_path
from cli.simulation import recent_start, uploads
from components.config import ConfigError, load
from local.errors import LocalError

from .conftest import ROOT, Command


def test_help_does_not_wait_for_pulumi() -> None:
    code = "import sys; import cli.main; sys.exit(any(name in sys.modules for name in ('pulumi', 'botocore')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_help_lists_every_command(pipeline: Command) -> None:
    listed = pipeline("--help").stdout
    names = (
        "local new demo send status events logs report openapi check permissions package cost simulate readings replay "
        "upload"
    )
    assert [name for name in [*names.split(), "faults", "csv", "dead-letters"] if f" {name} " not in listed] == []


def test_a_wrong_port_is_a_usage_error(pipeline: Command) -> None:
    assert pipeline("local", "--port", "99999").exit_code == 2


def test_an_unknown_stack_is_an_error_that_lists_the_stacks(pipeline: Command, small_project: Path) -> None:
    failed = pipeline("local", "--stack", "prod", cwd=small_project)
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert failed.stderr == "error: there is no stack 'prod' (no file Pulumi.prod.yaml); there are: dev\n"


def test_a_folder_without_a_project_is_an_error(pipeline: Command, tmp_path: Path) -> None:
    failed = pipeline("local", cwd=tmp_path)
    assert failed.exit_code == 1
    assert failed.stderr.startswith("error: there is no Pulumi.yaml")
    assert failed.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (LocalError("a server sent \x1b[2J"), 1, "error: a server sent \\x1b[2J\n"),
        (ValueError("several\nlines"), 1, "error: ValueError: several lines\n"),
        (KeyboardInterrupt(), 130, ""),
        # Ctrl-C or Ctrl-D at a question.
        (typer.Abort(), 130, ""),
        (
            PermissionError(13, "Permission denied", "Pulumi.shop.yaml"),
            1,
            "error: Pulumi.shop.yaml: Permission denied\n",
        ),
        (OSError(28, "No space left on device"), 1, "error: the output: No space left on device\n"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    error: BaseException,
    code: int,
    line: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # An error's place is named only when it lies in the user's project.
    monkeypatch.chdir(tmp_path)

    def fail() -> int:
        raise error

    with pytest.raises(SystemExit) as ended:
        exit_with(fail)
    assert ended.value.code == code
    assert capsys.readouterr() == ("", line)


SCRIPT = str(Path(sys.executable).with_name("pipeline"))


@pytest.mark.parametrize("command", ["check --stack dev", "permissions --stack dev", "openapi --stack dev", "--help"])
def test_a_reader_that_ends_early_is_no_error(command: str) -> None:
    with subprocess.Popen(
        [SCRIPT, *command.split()],
        cwd=ROOT / "tests/samples",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert said == ""


@pytest.mark.parametrize("command", ["check --stack dev", "cost --stack dev", "openapi --stack dev", "--help"])
def test_a_full_disk_below_the_output_is_one_line(command: str) -> None:
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [SCRIPT, *command.split()],
            cwd=ROOT / "tests/samples",
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ran.stderr.splitlines()[0].endswith("No space left on device")
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_has_a_short_option(pipeline: Command, option: str) -> None:
    assert "Usage" in pipeline("local", option).stdout


def test_the_version_is_that_of_the_package(pipeline: Command) -> None:
    assert pipeline("--version").stdout == f"{version('datapipeline')}\n"


def test_completion_can_be_installed(pipeline: Command) -> None:
    assert "--install-completion" in pipeline("--help").stdout


def test_ctrl_c_while_the_command_is_imported_ends_it_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cli.main.app", interrupted)
    with pytest.raises(SystemExit) as ended:
        entry_point()
    assert ended.value.code == 130


RUNNING = {"pid": 4711, "environment": {}, "outputs": {"api_url": "u"}}


def test_a_second_local_of_a_stack_is_refused(pipeline: Command, small_project: Path) -> None:
    with kept_state(state_path(small_project, "dev"), RUNNING):
        failed = pipeline("local", cwd=small_project)
    assert failed.exit_code == 1
    assert failed.stderr.startswith("error: stack 'dev' already runs here (process 4711); stop it with Ctrl-C")


def test_the_config_of_a_running_stack_is_read_while_its_function_has_a_syntax_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: datapipeline\n")
    (tmp_path / "Pulumi.dev.yaml").write_text(
        "config:\n  datapipeline:variant: api\n  datapipeline:worker: {processor: 'processors.mine:process'}\n"
    )
    (tmp_path / "processors").mkdir()
    (tmp_path / "processors" / "mine.py").write_text("def process(\n")
    monkeypatch.chdir(tmp_path)
    assert Stack("dev").config.variant == "api"
    with pytest.raises(ConfigError, match="is not Python"):
        load(Stack("dev").project.config, file="Pulumi.dev.yaml")


def test_a_misspelt_variant_is_named_and_not_only_missed() -> None:
    with pytest.raises(ConfigError) as failed:
        load({"datapipeline:varient": "api"}, file="Pulumi.dev.yaml")
    assert str(failed.value).splitlines() == [
        "Pulumi.dev.yaml: datapipeline:varient: unknown key",
        "Pulumi.dev.yaml: datapipeline:variant is missing; it is api, csv or iot",
    ]


def test_simulated_readings_are_recent_and_none_is_in_the_future() -> None:
    now = datetime(2026, 11, 21, 0, 30, tzinfo=UTC)
    start = recent_start(devices=3, count=10, now=now)
    last = list(uploads(devices=1, count=4, seed=1, bad_share=0, start=start))[-1]
    newest = max(re.findall(rb"20\d\d-\d\d-\d\dT[\d:]+Z", gunzipped(last.body)))
    assert "2026-11-20" in str(start)
    assert start.isoformat().encode() <= newest < b"2026-11-21T00:30:00Z"


def gunzipped(body: bytes) -> bytes:
    return gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body
