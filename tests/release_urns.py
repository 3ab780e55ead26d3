"""The graphs of a release, kept so that an upgrade can be compared with them.

    .venv/bin/python -m tests.release_urns REVISION > tests/releases/REVISION.json

Of each stack all URNs, and of what holds data the inputs whose change would replace it.
"""

import json
import sys

from cli.revisions import both
from local.changes import HOLDS
from local.provider import RULES
from local.recording import Graph
from tests.graphs import ROOT


def kept(graph: Graph) -> dict[str, dict[str, object]]:
    """Return the URNs of a graph, and what must stay of each that holds data."""
    return {
        each.urn: {
            name: value
            for name, value in sorted(each.inputs.items())
            if each.type in HOLDS and name in RULES[each.type].replaces
        }
        for each in sorted(graph, key=lambda resource: resource.urn)
        if each.custom
    }


if __name__ == "__main__":
    with both(ROOT, sys.argv[1], None) as (release, _):
        stacks = {name: kept(graph) for name, graph in release.graphs.items() if isinstance(graph, Graph)}
    sys.stdout.write(json.dumps(stacks, indent=0) + "\n")
