"""A rule for what AWS itself would refuse."""

from collections.abc import Iterator

from local.graph_constraints import request_violations
from local.recording import Graph
from local.rules.rule import Problem, rule


@rule(
    "refused-request",
    fix="a value that AWS takes",
    why="https://docs.aws.amazon.com/boto3/latest/reference/services/",
)
def _refused_request(graph: Graph) -> Iterator[Problem]:
    for resource in graph:
        if found := "; ".join(request_violations(resource)):
            yield resource, f"AWS would refuse it: {found}"
