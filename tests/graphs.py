"""Sample stacks, synthesised once a session and shared: a graph is only read."""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

from local.recording import Graph, synthesise

ROOT = Path(__file__).parents[1]
# A project with the sample stacks, processors and schemas. Those in the root are the user's to change or delete.
SAMPLES = Path(__file__).parent / "samples"
STACKS = sorted(path.name.split(".")[1] for path in SAMPLES.glob("Pulumi.*.yaml"))


def graph_of(stack: str = "dev", config: Mapping[str, Any] | None = None) -> Graph:
    """Return a stack's graph, with these options above its file."""
    return _graph(stack, json.dumps(config or {}, sort_keys=True))


@cache
def _graph(stack: str, config: str) -> Graph:
    # On a thread: the SDK notes the whole call stack of each resource, and a test's is deep.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(synthesise, SAMPLES, stack, json.loads(config)).result()
