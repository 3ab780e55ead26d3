"""The command as a user runs it: in a process of its own, with an emulator of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.graphs import ROOT, SAMPLES

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def environment(**more: str) -> dict[str, str]:
    """The environment of a user who runs no pipeline yet."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")}
    return {**own, "PYTHONPATH": str(ROOT), **more}


def arguments(*given: str) -> list[str]:
    return [sys.executable, "-m", "cli.main", *given]


@pytest.fixture
def pipeline() -> Command:
    """`pipeline("status", "x", cwd=..., env={...})` runs the command to its end."""

    def run(*given: str, cwd: Path = SAMPLES, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            arguments(*given),
            cwd=cwd,
            env=environment(**(env or {})),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


def user_project(folder: Path) -> None:
    """A clone as a user has it: the packages, and folders for files of the user's own."""
    for name in ("handlers", "components", "local", "cli", "testing", "__main__.py", "Pulumi.yaml", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    for name in ("processors", "schemas", "tests"):
        (folder / name).mkdir()
    (folder / "processors" / "__init__.py").touch()
    (folder / "tests" / "conftest.py").write_text('pytest_plugins = ("testing.fixtures",)\n')


@pytest.fixture
def small_project(tmp_path: Path) -> Path:
    """A project that starts quickly: one queue."""
    (tmp_path / "Pulumi.yaml").write_text("name: shop\n")
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}\n")
    program = "import pulumi, pulumi_aws as aws\npulumi.export('queue_url', aws.sqs.Queue('main').url)\n"
    (tmp_path / "__main__.py").write_text(program)
    return tmp_path
