"""The picture of a stack, made from its graph: what calls what, and with which rights. Mermaid, as GitHub renders it.

python -m local.diagram dev
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from local.monitor import Registration
from local.recording import Graph, synthesise

# The types that are drawn, with Mermaid's brackets for their shape.
SHAPES: Mapping[str, tuple[str, str]] = {
    "aws:apigatewayv2/api:Api": ("([", "])"),
    "aws:apigateway/restApi:RestApi": ("([", "])"),
    "aws:lambda/function:Function": ("[", "]"),
    "aws:sqs/queue:Queue": (">", "]"),
    "aws:dynamodb/table:Table": ("[(", ")]"),
    "aws:s3/bucket:Bucket": ("[(", ")]"),
    "aws:scheduler/schedule:Schedule": ("((", "))"),
    "aws:sns/topic:Topic": ("{{", "}}"),
    "aws:cloudwatch/eventBus:EventBus": ("{{", "}}"),
}

# Not drawn: triggers already show them, or every function has them.
UNSAID = ("logs:", "xray:", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")

Edge = tuple[str, str, str]


def mermaid(graph: Graph) -> str:
    """Return the flowchart of a stack: edges for triggers, redrive policies, and the rights of each role."""
    nodes, edges = drawing(graph)
    lines = ["flowchart LR"]
    for node, resource in nodes.items():
        opening, closing = SHAPES[resource.type]
        kind = resource.type.rpartition(":")[2]
        lines.append(f'    {node}{opening}"{resource.name}<br/>{kind}"{closing}')
    lines += [f'    {source} -->|"{label}"| {target}' for source, target, label in edges]
    return "\n".join(lines) + "\n"


def drawing(graph: Graph) -> tuple[dict[str, Registration], list[Edge]]:
    """Return the nodes of a stack's picture, and its edges between them: from, to, label (lines end with <br/>)."""
    drawn = {resource.physical_name: resource for resource in graph if resource.type in SHAPES}
    edges = sorted({*_triggers(graph, drawn), *_dead_letters(graph, drawn), *_rights(graph, drawn)})
    return {_node(each): each for each in sorted(drawn.values(), key=lambda each: each.name)}, edges


def _node(resource: Registration) -> str:
    return f"{resource.name}-{resource.type.rpartition(':')[2]}"


def _named_in(arn: str, drawn: Mapping[str, Registration]) -> Registration | None:
    """Return the resource of an ARN: the longest name in it, because one name can begin another."""
    names = [name for name in drawn if name in arn]
    return drawn[max(names, key=len)] if names else None


def _triggers(graph: Graph, drawn: Mapping[str, Registration]) -> Iterator[Edge]:
    for mapping in graph.of_type("aws:lambda/eventSourceMapping:EventSourceMapping"):
        source = _named_in(mapping.inputs["eventSourceArn"], drawn)
        target = _named_in(mapping.inputs["functionName"], drawn)
        if source and target:
            yield _node(source), _node(target), "batches"
    for schedule in graph.of_type("aws:scheduler/schedule:Schedule"):
        if target := _named_in(schedule.inputs["target"]["arn"], drawn):
            yield _node(schedule), _node(target), schedule.inputs["scheduleExpression"]
    apis = [resource for resource in drawn.values() if resource.type.endswith(("Api", "RestApi"))]
    for permission in graph.of_type("aws:lambda/permission:Permission"):
        target = _named_in(permission.inputs["function"], drawn)
        for api in apis if permission.inputs["principal"] == "apigateway.amazonaws.com" else ():
            if target:
                yield _node(api), _node(target), "requests"


def _dead_letters(graph: Graph, drawn: Mapping[str, Registration]) -> Iterator[Edge]:
    for queue in graph.of_type("aws:sqs/queue:Queue"):
        policy = json.loads(queue.inputs.get("redrivePolicy", "{}"))
        if target := _named_in(policy.get("deadLetterTargetArn", ""), drawn):
            yield _node(queue), _node(target), f"after {policy['maxReceiveCount']} receives"


def _rights(graph: Graph, drawn: Mapping[str, Registration]) -> Iterator[Edge]:
    roles = {function.inputs["role"]: function for function in graph.of_type("aws:lambda/function:Function")}
    for policy in graph.of_type("aws:iam/rolePolicy:RolePolicy"):
        # A schedule's role belongs to no function; its edge shows its right. A function's can have several policies.
        function = next((each for arn, each in roles.items() if arn.endswith(f"role/{policy.inputs['role']}")), None)
        if function is None:
            continue
        rights: dict[str, list[str]] = {}
        for statement in json.loads(policy.inputs["policy"])["Statement"]:
            actions = [action.partition(":")[2] for action in statement["Action"] if not action.startswith(UNSAID)]
            for target in filter(None, (_named_in(arn, drawn) for arn in statement["Resource"])):
                rights.setdefault(_node(target), []).extend(actions)
        for node, actions in rights.items():
            if actions:
                yield _node(function), node, "<br/>".join(dict.fromkeys(actions))


if __name__ == "__main__":
    sys.stdout.write(mermaid(synthesise(Path.cwd(), sys.argv[1])))
