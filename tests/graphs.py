"""Stacks of this repository, synthesised once a session and shared: a graph is only read."""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

from local.recording import Graph, synthesise

ROOT = Path(__file__).parents[1]
# The stacks of this repository that are there. Stack files of a user have tests of their own, and only dev must stay.
SHIPPED = [name for name in ("analytics", "csv", "dev", "ingestion", "iot") if (ROOT / f"Pulumi.{name}.yaml").is_file()]


def graph_of(stack: str = "dev", config: Mapping[str, Any] | None = None) -> Graph:
    """Return a stack's graph, with these options above its file."""
    return _graph(stack, json.dumps(config or {}, sort_keys=True))


@cache
def _graph(stack: str, config: str) -> Graph:
    # On a thread: the SDK notes the whole call stack of each resource, and a test's is deep.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(synthesise, ROOT, stack, json.loads(config)).result()
