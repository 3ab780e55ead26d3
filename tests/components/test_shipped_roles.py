"""Every role of every shipped stack: what it may do and who may take it. A stack file without a table fails.

A policy that another file asserts of the very stack that ships is named here and not repeated.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from local.recording import Graph
from tests.decisions import CONDITIONS
from tests.graphs import STACKS

from . import test_csv, test_iot, test_roles
from .test_roles import ACCEPT, COMPLETE, CONSUME, LOGS, READ

ACCOUNT = "us-east-1:123456789012"

Statement = tuple[Any, ...]
Elsewhere = Callable[..., None]

# A type's ARN, spelled out so that a mistake in the program cannot be on both sides.
ARNS = {
    "queue": ("aws:sqs/queue:Queue", f"arn:aws:sqs:{ACCOUNT}:"),
    "table": ("aws:dynamodb/table:Table", f"arn:aws:dynamodb:{ACCOUNT}:table/"),
    "bucket": ("aws:s3/bucket:Bucket", "arn:aws:s3:::"),
    "topic": ("aws:sns/topic:Topic", f"arn:aws:sns:{ACCOUNT}:"),
    "bus": ("aws:cloudwatch/eventBus:EventBus", f"arn:aws:events:{ACCOUNT}:event-bus/"),
    "function": ("aws:lambda/function:Function", f"arn:aws:lambda:{ACCOUNT}:function:"),
    "logs": ("aws:cloudwatch/logGroup:LogGroup", f"arn:aws:logs:{ACCOUNT}:log-group:"),
    "parameter": ("aws:ssm/parameter:Parameter", f"arn:aws:ssm:{ACCOUNT}:parameter"),
}


def arn_of(graph: Graph, text: str) -> str:
    """Of `bucket pipeline-bucket/results/*`: of the resource of that type and name, and what follows it."""
    if text == "*":
        return text
    if text == "the stack's key":
        (alias,) = graph.of_type("aws:kms/alias:Alias")
        return f"arn:aws:kms:{ACCOUNT}:key/{alias.inputs['targetKeyId']}"
    if text == "the worker's mapping":
        mapping = graph.find("aws:ssm/parameter:Parameter", "pipeline-breaker").inputs["value"]
        return f"arn:aws:lambda:{ACCOUNT}:event-source-mapping:{mapping}"
    named = re.fullmatch(r"(\w+) ([\w-]+)(.*)", text)
    assert named is not None, text
    kind, prefix = ARNS[named[1]]
    return f"{prefix}{graph.find(kind, named[2]).physical_name}{named[3]}"


# Of ingestion, what each function has besides: Lambda connects it to the network, and what it handles is under the key.
CONNECT: Statement = (
    [
        "ec2:CreateNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSubnets",
        "ec2:DeleteNetworkInterface",
        "ec2:AssignPrivateIpAddresses",
        "ec2:UnassignPrivateIpAddresses",
    ],
    ["*"],
    {"Null": {"lambda:SourceFunctionArn": "true"}},
)
KEY: Statement = (["kms:Decrypt", "kms:GenerateDataKey"], ["the stack's key"])

KEEP_CIRCUIT: Statement = (
    ["dynamodb:GetItem", "dynamodb:PutItem"],
    ["table pipeline-table"],
    {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["circuit#processor"]}},
)
# The mapping of no other function, nor to another one.
OF_THE_WORKER = {"ArnLikeIfExists": {"lambda:FunctionArn": "function pipeline-worker"}}
FIND_MAPPING: Statement = (["ssm:GetParameter"], ["parameter pipeline-breaker"])

ROLE_POLICIES: Mapping[str, Mapping[str, list[Statement] | Elsewhere]] = {
    "dev": {
        "pipeline-ingest": test_roles.test_the_ingest_function_may_do_exactly_this,
        "pipeline-worker": test_roles.test_the_worker_may_do_exactly_this,
    },
    "analytics": {
        "pipeline-ingest": [
            (["sqs:SendMessage"], ["queue pipeline-queue"]),
            (READ, ["table pipeline-table"]),
            (ACCEPT, ["table pipeline-table"]),
            (["dynamodb:Query"], ["table pipeline-table/index/by-time"]),
            (LOGS, ["logs pipeline-ingest:*"]),
        ],
        "pipeline-worker": [
            (CONSUME, ["queue pipeline-queue"]),
            (["sqs:SendMessage"], ["queue pipeline-queue-dead-letters"]),
            (READ, ["table pipeline-table"]),
            (COMPLETE, ["table pipeline-table"]),
            (["s3:PutObject"], ["bucket pipeline-bucket/archive/*"]),
            (["sns:Publish"], ["topic pipeline-alerts"]),
            (LOGS, ["logs pipeline-worker:*"]),
        ],
        "pipeline-report": test_roles.test_the_report_function_may_do_exactly_this,
        "pipeline-report-schedule": [
            (["lambda:InvokeFunction"], ["function pipeline-report"]),
            (["sqs:SendMessage"], ["queue pipeline-report-dead-letters"]),
        ],
    },
    "ingestion": {
        "pipeline-ingest": [
            (["sqs:SendMessage"], ["queue pipeline-queue"]),
            (READ, ["table pipeline-table"]),
            (ACCEPT, ["table pipeline-table"]),
            (["dynamodb:Query"], ["table pipeline-table/index/by-time"]),
            (["s3:GetObject"], ["bucket pipeline-bucket/results/*"]),
            (LOGS, ["logs pipeline-ingest:*"]),
            CONNECT,
            KEY,
        ],
        "pipeline-worker": [
            (CONSUME, ["queue pipeline-queue"]),
            (["sqs:SendMessage"], ["queue pipeline-queue-dead-letters"]),
            (READ, ["table pipeline-table"]),
            (COMPLETE, ["table pipeline-table"]),
            (["s3:PutObject"], ["bucket pipeline-bucket/results/*"]),
            (["sns:Publish"], ["topic pipeline-alerts"]),
            (["events:PutEvents"], ["bus pipeline-outcomes"]),
            KEEP_CIRCUIT,
            (LOGS, ["logs pipeline-worker:*"]),
            CONNECT,
            KEY,
        ],
        # A second one of the worker's role.
        "pipeline-breaker-pause": [
            FIND_MAPPING,
            (["lambda:UpdateEventSourceMapping"], ["the worker's mapping"], OF_THE_WORKER),
        ],
        "pipeline-breaker": [
            (["sqs:SendMessage"], ["queue pipeline-breaker-dead-letters"]),
            (CONSUME, ["queue pipeline-queue"]),
            (["sqs:SendMessage"], ["queue pipeline-queue-dead-letters"]),
            (READ, ["table pipeline-table"]),
            (COMPLETE, ["table pipeline-table"]),
            (["s3:PutObject"], ["bucket pipeline-bucket/results/*"]),
            (["sns:Publish"], ["topic pipeline-alerts"]),
            (["events:PutEvents"], ["bus pipeline-outcomes"]),
            KEEP_CIRCUIT,
            FIND_MAPPING,
            (
                ["lambda:GetEventSourceMapping", "lambda:UpdateEventSourceMapping"],
                ["the worker's mapping"],
                OF_THE_WORKER,
            ),
            (LOGS, ["logs pipeline-breaker:*"]),
            CONNECT,
            KEY,
        ],
        "pipeline-breaker-schedule": [
            (["lambda:InvokeFunction"], ["function pipeline-breaker"]),
            (["sqs:SendMessage"], ["queue pipeline-breaker-dead-letters"]),
            KEY,
        ],
        "pipeline-redrive": [
            (CONSUME, ["queue pipeline-queue-dead-letters"]),
            (["sqs:SendMessage"], ["queue pipeline-queue"]),
            (READ, ["table pipeline-table"]),
            (LOGS, ["logs pipeline-redrive:*"]),
            CONNECT,
            KEY,
        ],
    },
    "csv": {"pipeline-worker": test_csv.test_the_worker_may_do_exactly_this},
    "iot": {
        "pipeline-worker": test_iot.test_the_worker_may_do_exactly_this,
        "pipeline-watcher": [
            (["sqs:SendMessage"], ["queue pipeline-watcher-dead-letters"]),
            (["dynamodb:Query"], ["table pipeline-table/index/by-due-at"]),
            (["dynamodb:BatchGetItem", "dynamodb:PartiQLUpdate"], ["table pipeline-table"]),
            (["sns:Publish"], ["topic pipeline-alerts"]),
            (LOGS, ["logs pipeline-watcher:*"]),
        ],
        "pipeline-watcher-schedule": [
            (["lambda:InvokeFunction"], ["function pipeline-watcher"]),
            (["sqs:SendMessage"], ["queue pipeline-watcher-dead-letters"]),
        ],
    },
}
SPELLED_OUT = [
    (stack, policy, statements)
    for stack, policies in ROLE_POLICIES.items()
    for policy, statements in policies.items()
    if isinstance(statements, list)
]


def statements_of(graph: Graph, policy: str) -> list[dict[str, Any]]:
    document = json.loads(graph.find("aws:iam/rolePolicy:RolePolicy", policy).inputs["policy"])
    assert document.keys() == {"Version", "Statement"}
    found: list[dict[str, Any]] = document["Statement"]
    return found


def test_every_shipped_stack_has_a_table() -> None:
    assert set(STACKS) <= set(ROLE_POLICIES)


@pytest.mark.parametrize("stack", STACKS)
def test_the_table_has_every_policy_and_roles_have_rights_by_nothing_else(
    graph_of: Callable[..., Graph], stack: str
) -> None:
    graph = graph_of(stack)
    policies = graph.of_type("aws:iam/rolePolicy:RolePolicy")
    assert sorted(policy.name for policy in policies) == sorted(ROLE_POLICIES[stack])
    assert {each.type for each in graph if each.type.startswith("aws:iam/")} == {
        "aws:iam/role:Role",
        "aws:iam/rolePolicy:RolePolicy",
    }
    # One policy a role, of its name; and the one that is made after the worker.
    roles = {role.physical_name: role.name for role in graph.of_type("aws:iam/role:Role")}
    owners = {policy.name: roles[policy.inputs["role"]] for policy in policies}
    late = {"pipeline-breaker-pause": "pipeline-worker"} if "pipeline-breaker-pause" in owners else {}
    assert owners == {**{name: name for name in roles.values()}, **late}
    # And one role a function.
    functions = graph.of_type("aws:lambda/function:Function")
    assert {each.name: roles[each.inputs["role"].rsplit("/", 1)[1]] for each in functions} == {
        each.name: each.name for each in functions
    }


@pytest.mark.parametrize(
    ("stack", "policy", "statements"), SPELLED_OUT, ids=[f"{stack}-{policy}" for stack, policy, _ in SPELLED_OUT]
)
def test_a_role_may_do_exactly_this(
    graph_of: Callable[..., Graph], stack: str, policy: str, statements: list[Statement]
) -> None:
    graph = graph_of(stack)
    found = statements_of(graph, policy)
    assert all(statement.pop("Sid") and statement.pop("Effect") == "Allow" for statement in found)
    assert found == [
        {
            "Action": actions,
            "Resource": [arn_of(graph, resource) for resource in resources],
            **({"Condition": filled(graph, condition[0])} if condition else {}),
        }
        for actions, resources, *condition in statements
    ]


def filled(graph: Graph, condition: dict[str, Any]) -> dict[str, Any]:
    """The condition with ARNs for what it names."""
    return (
        condition
        if condition is not OF_THE_WORKER
        else {
            operator: {key: arn_of(graph, text) for key, text in operands.items()}
            for operator, operands in condition.items()
        }
    )


@pytest.mark.parametrize("stack", STACKS)
def test_no_role_has_a_right_twice(graph_of: Callable[..., Graph], stack: str) -> None:
    graph = graph_of(stack)
    rights: dict[str, list[tuple[str, str]]] = {}
    for policy in graph.of_type("aws:iam/rolePolicy:RolePolicy"):
        rights.setdefault(policy.inputs["role"], []).extend(
            (action, resource)
            for statement in statements_of(graph, policy.name)
            for action in statement["Action"]
            for resource in statement["Resource"]
        )
    assert {role: granted for role, granted in rights.items() if len(set(granted)) < len(granted)} == {}


def test_conditions_of_rights_are_on_keys_that_are_known_to_hold_whatever_they_ask_in_the_emulator(
    graph_of: Callable[..., Graph],
) -> None:
    keys = {
        key
        for stack in STACKS
        for policy in graph_of(stack).of_type("aws:iam/rolePolicy:RolePolicy")
        for statement in statements_of(graph_of(stack), policy.name)
        for operands in statement.get("Condition", {}).values()
        for key in operands
    }
    assert keys == CONDITIONS


@pytest.mark.parametrize("stack", STACKS)
def test_functions_roles_are_lambdas_and_schedules_roles_schedulers_for_this_accounts_schedules(
    graph_of: Callable[..., Graph], stack: str
) -> None:
    def taken_by(service: str, **condition: Any) -> dict[str, Any]:
        principal = {"Service": f"{service}.amazonaws.com"}
        statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole", **condition}
        return {"Version": "2012-10-17", "Statement": [statement]}

    ours = {
        "aws:SourceAccount": "123456789012",
        "aws:SourceArn": f"arn:aws:scheduler:{ACCOUNT}:schedule-group/default",
    }
    roles = graph_of(stack).of_type("aws:iam/role:Role")
    assert {role.name: json.loads(role.inputs["assumeRolePolicy"]) for role in roles} == {
        role.name: taken_by("scheduler", Condition={"StringEquals": ours})
        if role.name.endswith("-schedule")
        else taken_by("lambda")
        for role in roles
    }
    assert {frozenset(role.inputs) for role in roles} == {frozenset({"assumeRolePolicy", "tags"})}
