"""Stacks synthesised once and shared: a graph is only read."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from local.recording import Graph, synthesise

ROOT = Path(__file__).parents[2]


@cache
def _graph(stack: str, config: str) -> Graph:
    return synthesise(ROOT, stack, json.loads(config))


@pytest.fixture(scope="session")
def graph_of() -> Callable[..., Graph]:
    """`graph_of(api={"kind": "rest"})`: the dev stack with other options; `graph_of(stack="prod", ...)`."""

    def graph(stack: str = "dev", **config: Any) -> Graph:
        return _graph(stack, json.dumps(config, sort_keys=True))

    return graph


@pytest.fixture(scope="session")
def dev(graph_of: Callable[..., Graph]) -> Graph:
    return graph_of()
