"""The command in the process of the tests, for whatever needs no emulator."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from local import recording
from local.recording import Graph, synthesise
from tests.graphs import SAMPLES, graph_of

ROOT = Path(__file__).parents[2]

Command = Callable[..., Result]


@pytest.fixture(autouse=True)
def _no_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another test of this process may have pointed AWS clients at its emulator."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """`pipeline("status", "x", cwd=..., env={...}, text=...)` runs the command for a user who runs no pipeline yet."""

    def graph(directory: Path, stack: str, *, for_aws: bool = False) -> Graph:
        is_shared = directory == SAMPLES and not for_aws
        return graph_of(stack) if is_shared else synthesise(directory, stack, for_aws=for_aws)

    def run(*given: str, cwd: Path = SAMPLES, env: dict[str, str] | None = None, text: str | None = None) -> Any:
        monkeypatch.chdir(cwd)
        return CliRunner().invoke(app, given, input=text, env=env)

    monkeypatch.setattr(recording, "synthesise", graph)
    for name in [name for name in os.environ if name.startswith("PIPELINE_")]:
        monkeypatch.delenv(name)
    before, on_interrupt = dict(os.environ), signal.getsignal(signal.SIGINT)
    yield run
    signal.signal(signal.SIGINT, on_interrupt)
    # A command may set variables for its own process.
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture
def small_project(tmp_path: Path) -> Path:
    """A project that runs quickly: one queue."""
    (tmp_path / "Pulumi.yaml").write_text("name: shop\n")
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}\n")
    program = "import pulumi, pulumi_aws as aws\npulumi.export('queue_url', aws.sqs.Queue('main').url)\n"
    (tmp_path / "__main__.py").write_text(program)
    return tmp_path
