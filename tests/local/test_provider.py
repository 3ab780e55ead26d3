"""The provider's own rules and AWS's constraints, on graphs: one deliberately broken input for each kind."""

from collections.abc import Iterator
from typing import Any

import pulumi_aws as aws
import pytest

from components.data_loss import HOLDS_DATA
from local.answers import ANSWERS
from local.errors import LocalError
from local.graph_constraints import REQUESTS, request_violations
from local.naming import NAMED
from local.provider import RULES, refusals
from local.recording import Graph, synthesise
from tests.graph_changes import changed, given, named
from tests.graphs import STACKS, graph_of

QUEUE, KEY = "aws:sqs/queue:Queue", "aws:kms/key:Key"
KEPT: dict[str, Any] = {"environment": "prod", "encryption": {"customer_key": {}}, "network": {"vpc": {}}}
# Options that make resources, or inputs of them, that no shipped stack has. The provider's rules are checked of every
# graph that any test makes.
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((stack, {}) for stack in STACKS),
    ("dev", {"api": {"kind": "rest", "auth": "api_key"}, "tracing": True}),
    (
        "dev",
        {
            "queue": {"fifo": {"group_field": "customer_id"}},
            "fault_injection": {},
            "worker": {"provisioned_concurrency": 1},
            "api": {
                "auth": "jwt",
                "snap_start": True,
                "jwt": {"issuer": "https://issuer.example.com/", "audience": ["a"]},
            },
            "notifications": {"subscriptions": [{"protocol": "email", "endpoint": "a@example.com"}]},
        },
    ),
    ("dev", {**KEPT, "api": {"auth": "iam"}, "outcomes": {}, "reports": {}}),
    ("csv", {**KEPT, "queue": {"redrive_api": {}}, "output": {"format": "parquet"}}),
    ("iot", KEPT),
]


@pytest.mark.parametrize(("kind", "inputs", "found"), [
    (
        QUEUE,
        {"kmsMasterKeyId": "k", "sqsManagedSseEnabled": True},
        ["kmsMasterKeyId and sqsManagedSseEnabled do not go together"],
    ),
    (QUEUE, {"contentBasedDeduplication": True}, ["contentBasedDeduplication needs fifoQueue"]),
    (QUEUE, {"visibilityTimeoutSeconds": 43_201}, ["visibilityTimeoutSeconds is 43201, and not from 0 to 43200"]),
    (KEY, {"deletionWindowInDays": 6}, ["deletionWindowInDays is 6, and not from 7 to 30"]),
    (
        "aws:ec2/routeTableAssociation:RouteTableAssociation",
        {"routeTableId": "r"},
        ["exactly one of subnetId, gatewayId must be given, and not none"],
    ),
    (
        "aws:ec2/routeTableAssociation:RouteTableAssociation",
        {"routeTableId": "r", "subnetId": "s", "gatewayId": "g"},
        ["exactly one of subnetId, gatewayId must be given, and not subnetId and gatewayId"],
    ),
    (QUEUE, {"kmsMasterKeyId": "k", "fifoQueue": True, "contentBasedDeduplication": True, "delaySeconds": 900}, []),
    ("somebody:else/thing:Thing", {"anything": 1}, []),
])  # fmt: skip
def test_what_the_provider_refuses_is_named_with_its_inputs(
    kind: str, inputs: dict[str, Any], found: list[str]
) -> None:
    assert list(refusals(kind, inputs)) == found


def test_a_program_that_registers_what_the_provider_refuses_fails_with_resource_and_line() -> None:
    def program() -> None:
        aws.sqs.Queue("both", kms_master_key_id="alias/k", sqs_managed_sse_enabled=True)

    with pytest.raises(LocalError, match=r"aws:sqs/queue:Queue 'both' \(.*test_provider.py:\d+\): Pulumi's AWS prov"):
        synthesise(program=program)


@pytest.mark.parametrize(("resource", "inputs", "found"), [
    ("Function worker", {"memorySize": 64}, ["MemorySize is 64, below 128"]),
    ("Function worker", {"architectures": ["mips"]}, ["Architectures[0] is 'mips', and not one of x86_64, arm64"]),
    (
        "Function worker",
        {"environment": {"variables": {"1A": ""}}},
        ["key '1A' of Environment.Variables is '1A', and does not match "],
    ),
    ("Function worker", {"tags": {}}, []),
    (
        "RolePolicy worker",
        {"policy": ""},
        ["PolicyDocument has 0 characters, below 1", "PolicyDocument is '', and does not match "],
    ),
    (
        "MetricAlarm watch-dead-letters",
        {"alarmDescription": "a" * 1_025},
        ["AlarmDescription has 1025 characters, above 1024"],
    ),
    ("MetricAlarm watch-dead-letters", {"dimensions": {"": "q"}}, ["Dimensions[0].Name has 0 characters, below 1"]),
    ("Table table", {"billingMode": "FREE"}, ["BillingMode is 'FREE', and not one of PROVISIONED, PAY_PER_REQUEST"]),
])  # fmt: skip
def test_an_input_beyond_a_constraint_of_aws_is_found_in_a_graph(
    resource: str, inputs: dict[str, Any], found: list[str]
) -> None:
    graph = changed(graph_of(), given(resource, **inputs))
    violations = [text for each in graph if named(each) == resource for text in request_violations(each)]
    assert len(violations) == len(found)
    assert all(text.startswith(begin) for text, begin in zip(violations, found, strict=True)), violations


@pytest.mark.parametrize(("stack", "config"), VARIANTS)
def test_no_stack_and_no_variant_breaks_a_rule_of_the_provider_or_a_constraint_of_aws(
    stack: str, config: dict[str, Any]
) -> None:
    graph = graph_of(stack, config)
    assert list(_broken(graph)) == []
    assert any(resource.type in REQUESTS for resource in graph)


def _broken(graph: Graph) -> Iterator[tuple[str, str]]:
    for resource in graph:
        for text in (*refusals(resource.type, resource.inputs), *request_violations(resource)):
            yield named(resource), text


def test_the_table_has_every_type_that_the_recorder_answers_for_and_says_where_each_rule_is_from() -> None:
    assert RULES.keys() == ANSWERS.keys()
    assert all(rules.source.endswith(".go") for rules in RULES.values())
    assert len({rules.source for rules in RULES.values()}) == len(RULES)


def test_every_input_that_the_table_names_is_one_that_pulumi_s_class_takes() -> None:
    for kind, rules in RULES.items():
        known = inputs_of(kind)
        for name in (
            *(rules.replaces - {"region"}),
            *(each for group in (*rules.conflicting, *rules.exactly_one) for each in group.split()),
            *(each for pair in rules.needs.items() for text in pair for each in text.split()),
            *rules.ranges,
        ):
            assert name in known, (kind, name)


def inputs_of(kind: str) -> set[str]:
    """The wire names of what a resource class takes."""
    module, name = kind.removeprefix("aws:").split("/")[0], kind.rpartition(":")[2]
    made = getattr(getattr(aws, {"lambda": "lambda_"}.get(module, module)), name)
    return {wire_name(each) for each in made._internal_init.__annotations__} | {"namePrefix"}


def wire_name(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(each.capitalize() for each in others)


def test_a_name_that_the_engine_makes_up_replaces_its_resource() -> None:
    # The provider patches the names of these.
    patched = {"aws:cloudwatch/queryDefinition:QueryDefinition"} | {
        kind for kind in NAMED if kind.startswith("aws:apigateway")
    }
    for kind, (key, _) in NAMED.items():
        assert (key in RULES[kind].replaces) == (kind not in patched or kind.endswith("stage:Stage")), kind


def test_the_guard_against_data_loss_knows_every_input_that_replaces_what_holds_data() -> None:
    # These are none that a pipeline changes: they say what a table is restored from, or what a key is.
    never = {
        "aws:dynamodb/table:Table": {"localSecondaryIndexes", "importTable"} | {
            name for name in RULES["aws:dynamodb/table:Table"].replaces if name.startswith("restore")
        },
        KEY: RULES[KEY].replaces,
        "aws:s3/bucket:Bucket": {"bucketPrefix", "bucketNamespace", "objectLockEnabled"},
        "aws:cloudwatch/eventBus:EventBus": {"eventSourceName"},
    }  # fmt: skip
    for kind, (_, watched) in HOLDS_DATA.items():
        expected = RULES[kind].replaces - {"name", "namePrefix", "bucket", "region"} - never.get(kind, set())
        assert set(watched.values()) == expected, kind
