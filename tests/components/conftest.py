"""Graphs of stacks, as fixtures."""

from collections.abc import Callable
from typing import Any

import pytest

from local.recording import Graph
from tests import graphs


@pytest.fixture(scope="session")
def graph_of() -> Callable[..., Graph]:
    """`graph_of(api={"kind": "rest"})`: the dev stack with other options; `graph_of(stack="prod", ...)`."""

    def graph(stack: str = "dev", **config: Any) -> Graph:
        return graphs.graph_of(stack, config)

    return graph


@pytest.fixture(scope="session")
def dev(graph_of: Callable[..., Graph]) -> Graph:
    return graph_of()
