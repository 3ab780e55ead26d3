"""The fixtures for tests of processors and stacks: docs/testing.md. tests/conftest.py registers them.

Each is a function that takes the name of a stack, and options above its stack file. What it needs is imported when it
is called: other tests do not wait for it.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from local.project import Project
    from local.recording import Graph
    from testing.memory import MemoryPipeline
    from testing.running import LocalPipeline


def _project(stack: str, options: Mapping[str, Any]) -> "Project":
    from components.config import NAMESPACE
    from local.project import find_project, load_project

    project = load_project(find_project(Path.cwd()), stack)
    keys = {f"{NAMESPACE}:{name}": value for name, value in options.items()}
    return project.with_config({key: _above(project.config.get(key), value) for key, value in keys.items()})


def _above(given: Any, option: Any) -> Any:
    """Return a group of the stack file with the options of a test in place of its own; other values as they are."""
    if not isinstance(option, Mapping):
        return option
    group = json.loads(given) if isinstance(given, str) else given or {}
    return {**group, **{name: _above(group.get(name), value) for name, value in option.items()}}


@pytest.fixture(scope="session")
def synthesised_stack() -> "Callable[..., Graph]":
    """`synthesised_stack("shop", worker={"max_attempts": 3})` returns the stack's resources, without creating any."""
    from local.recording import synthesise

    def graph(stack: str, **options: Any) -> "Graph":
        project = _project(stack, options)
        return synthesise(project.directory, stack, project.config)

    return graph


@pytest.fixture(scope="session")
def memory_pipeline() -> "Callable[..., MemoryPipeline]":
    """`memory_pipeline("shop", secrets={...}, **options)` processes events in this process: fast, without AWS."""
    # Powertools reads them when the handlers are imported.
    os.environ.setdefault("POWERTOOLS_SERVICE_NAME", "test")
    os.environ.setdefault("POWERTOOLS_METRICS_NAMESPACE", "DataPipeline")
    from testing.memory import MemoryPipeline

    def pipeline(stack: str, *, secrets: Mapping[str, str] | None = None, **options: Any) -> "MemoryPipeline":
        return MemoryPipeline(_project(stack, options), secrets or {})

    return pipeline


@pytest.fixture(scope="session")
def local_pipeline() -> "Iterator[Callable[..., LocalPipeline]]":
    """`local_pipeline("shop", secrets={...}, headers={...}, **options)` starts the stack in an emulator.

    It takes a few seconds. The same call in another test returns the same pipeline, which is stopped after all tests.
    """
    from local.engine import running
    from testing.running import LocalPipeline

    started: dict[str, LocalPipeline] = {}
    with ExitStack() as until_the_end:

        def pipeline(
            stack: str,
            *,
            secrets: Mapping[str, str] | None = None,
            headers: Mapping[str, str] | None = None,
            **options: Any,
        ) -> "LocalPipeline":
            call = json.dumps([stack, secrets, headers, options], sort_keys=True)
            if call not in started:
                up = until_the_end.enter_context(running(_project(stack, options), secret_values=secrets))
                started[call] = LocalPipeline(up, headers or {})
            return started[call]

        yield pipeline
