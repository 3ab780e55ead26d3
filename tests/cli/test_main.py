"""The command itself: usage, errors in one line, exit codes."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cli.core.errors import exit_with
from cli.local import show
from local.errors import LocalError

from .conftest import ROOT, Command


def test_help_does_not_wait_for_pulumi() -> None:
    code = "import sys; import cli.main; sys.exit(any(name in sys.modules for name in ('pulumi', 'botocore')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_help_lists_every_command(pipeline: Command) -> None:
    listed = pipeline("--help").stdout
    names = "local demo send status report openapi check permissions cost simulate readings replay upload faults csv"
    assert [name for name in [*names.split(), "dead-letters"] if f" {name} " not in listed] == []


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


@pytest.mark.parametrize(
    ("outputs", "hint"),
    [
        ({"api_url": "http://127.0.0.1:1"}, "curl -i http://127.0.0.1:1/events "),
        ({"input_bucket": "in", "output_bucket": "out"}, "pipeline upload FILE.csv --stack mine"),
        ({"input_bucket": "in", "worker_name": "w"}, "pipeline simulate --stack mine"),
    ],
)
def test_the_hint_of_a_running_stack_fits_its_variant(
    outputs: dict[str, str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    project, emulator = SimpleNamespace(stack="mine", region="r"), SimpleNamespace(endpoint="http://127.0.0.1:1")
    show(SimpleNamespace(outputs=outputs, project=project, emulator=emulator))  # type: ignore[arg-type]
    shown = capsys.readouterr().out
    assert next(line for line in shown.splitlines() if line.startswith(("curl", "pipeline"))).startswith(hint)
