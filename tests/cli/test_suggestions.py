"""Suggested commands work when they are pasted, however `pipeline` was started."""

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cli.core.suggestions import program, suggest
from tests.graphs import ROOT

from .conftest import Command
from .test_new import clone as clone  # noqa: PLC0414  a fixture


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a virtual environment that is not active."""
    scripts = tmp_path / "my project" / ".venv" / "bin"
    scripts.mkdir(parents=True)
    for name in ("python", "pipeline"):
        (scripts / name).touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(scripts / "python"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.chdir(scripts.parents[1])
    return scripts


def test_a_program_of_an_environment_that_is_not_active_has_its_path(environment: Path) -> None:
    assert suggest("local", "--stack", "shop") == ".venv/bin/pipeline local --stack shop"
    os.chdir(environment)
    assert suggest("local") == f"{shlex.quote(str(environment / 'pipeline'))} local"


@pytest.mark.usefixtures("environment")
def test_a_program_outside_of_the_working_directory_has_its_full_path_quoted(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    os.chdir(tmp_path / "elsewhere")
    assert program("pipeline") == shlex.quote(str(tmp_path / "my project" / ".venv" / "bin" / "pipeline"))


def test_a_program_that_the_shell_finds_has_its_name(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(environment))
    assert program("pipeline") == "pipeline"


def test_another_program_of_that_name_is_not_suggested(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pipeline").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program("pipeline") == ".venv/bin/pipeline"
    assert environment.is_dir()


def test_words_are_quoted_for_the_shell() -> None:
    assert suggest("send", "my file", "--header", "x-api-key: K") == "pipeline send 'my file' --header 'x-api-key: K'"


def test_pytest_is_installed_first_where_it_is_missing(
    pipeline: Command, clone: Path, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = pipeline("new", "shop", cwd=clone).stdout.splitlines()
    assert made[-2:] == ["make dev", "'my project/.venv/bin/pytest' tests/processors/test_shop.py"]
    (environment / "pytest").touch()
    monkeypatch.setenv("PIPELINE_STACK", "shop")
    assert "make dev" not in pipeline("new", "shop2", cwd=clone).stdout


def test_the_command_works_as_suggested_from_another_folder(tmp_path: Path) -> None:
    """The script of this environment, which is not on the PATH."""
    script = Path(sys.executable).with_name("pipeline")
    ran = subprocess.run(
        [script, "status", "x"],
        cwd=ROOT / "tests/samples",
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    (suggested,) = re.findall(r"\(`(.*) local --stack dev` starts it\)", ran.stderr)
    again = subprocess.run([*shlex.split(suggested), "--version"], cwd=tmp_path, capture_output=True, check=False)
    assert again.returncode == 0


def texts(path: Path) -> list[str]:
    """The texts of a module, and the constant parts of its f-strings."""
    tree = ast.parse(path.read_text())
    return [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def test_no_message_writes_a_command_line_out() -> None:
    """With a stack, a command is there to be pasted; the name of a command alone is not."""
    written = [
        (path.name, text)
        for path in sorted((ROOT / "cli").rglob("*.py"))
        for text in texts(path)
        if re.search(r"\bpipeline [a-z-]+( [a-z]+)? .*--(stack|id)", text)
    ]
    assert written == []
