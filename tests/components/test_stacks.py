"""Every shipped stack as a whole."""

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest

from local.recording import Graph, synthesise
from tests.graphs import ROOT, SAMPLES, STACKS

API_OUTPUTS = {"api_url", "queue_url", "dead_letter_queue_url", "table_name", "bucket_name"} | {
    "alerts_topic_arn",
    "alarms_topic_arn",
    "log_groups",
    "alarm_names",
}

# What AWS does not let anybody tag, or what is only a part of something tagged.
UNTAGGED = {
    "Dashboard", "Deployment", "Integration", "LayerVersion", "Permission", "QueuePolicy", "RedriveAllowPolicy",
    "RolePolicy", "Route", "TopicPolicy", "TopicSubscription", "BucketLifecycleConfiguration", "BucketNotification",
    "BucketOwnershipControls", "BucketPolicy", "BucketPublicAccessBlock", "BucketServerSideEncryptionConfiguration",
    "BucketVersioning", "FunctionEventInvokeConfig", "Schedule", "QueryDefinition", "Alias",
    "ProvisionedConcurrencyConfig", "RouteTableAssociation",
}  # fmt: skip


def test_the_dev_stack_ships() -> None:
    assert "dev" in STACKS


@pytest.fixture(params=STACKS)
def graph(request: pytest.FixtureRequest, graph_of: Callable[..., Graph]) -> Graph:
    return graph_of(request.param)


def test_a_stack_has_resources_and_all_its_outputs_are_known(graph: Graph) -> None:
    # The recorder refuses unknown outputs, duplicate names and types that nobody declared.
    assert len(graph.resources) > 20
    groups, alarms = graph.outputs["log_groups"], graph.outputs["alarm_names"]
    others = (value for name, value in graph.outputs.items() if name not in ("log_groups", "alarm_names"))
    texts = [*groups.values(), *alarms, *others]
    assert all(isinstance(value, str) and value for value in texts)
    assert alarms == sorted(each.physical_name for each in graph.of_type("aws:cloudwatch/metricAlarm:MetricAlarm"))
    assert set(groups.values()) == {
        function.inputs["loggingConfig"]["logGroup"] for function in graph.of_type("aws:lambda/function:Function")
    }


def test_the_dev_stack_has_the_documented_outputs(dev: Graph) -> None:
    assert set(dev.outputs) == API_OUTPUTS
    assert not dev.outputs["api_url"].endswith("/")


def test_every_resource_stands_below_a_component_whose_name_begins_its_own(graph: Graph) -> None:
    top = [resource for resource in graph if resource.type == "datapipeline:index:DataPipeline"]
    assert len(top) == 1
    for resource in graph:
        if resource is top[0]:
            continue
        parent = graph.by_urn(resource.parent)
        assert parent.type.startswith("datapipeline:index:"), resource
        assert resource.name.startswith(parent.name), resource


def test_a_second_run_gives_the_same_names_and_inputs(graph: Graph) -> None:
    stack = graph.resources[0].urn.split("::")[0].rsplit(":", 1)[1]
    again = synthesise(SAMPLES, stack)

    def names(of: Graph) -> set[tuple[str, str]]:
        return {(resource.urn, resource.physical_name) for resource in of}

    assert names(again) == names(graph)
    assert again.outputs == graph.outputs


def names(directory: Path, project: str, stack: str) -> set[tuple[str, str]]:
    """Names that AWS knows in a whole account; what belongs to a parent is named after its logical name here."""
    (directory / "__main__.py").symlink_to(ROOT / "__main__.py")
    for folder in ("processors", "schemas"):
        (directory / folder).symlink_to(SAMPLES / folder)
    (directory / f"Pulumi.{stack}.yaml").symlink_to(SAMPLES / "Pulumi.analytics.yaml")
    (directory / "Pulumi.yaml").write_text((SAMPLES / "Pulumi.yaml").read_text().replace("datapipeline", project, 1))
    options = {
        "api": {"snap_start": True},
        "worker": {"provisioned_concurrency": 1},
        "encryption": {"customer_key": {}},
    }
    found = set()
    for resource in synthesise(directory, stack, {f"datapipeline:{key}": value for key, value in options.items()}):
        keys = ("layerName", "dashboardName", "name")
        given = next((resource.inputs[key] for key in keys if key in resource.inputs), resource.physical_name)
        if resource.custom and given != resource.name:
            found.add((resource.type.rsplit(":", 1)[1], given))
    return found


def test_two_stacks_in_one_account_share_no_physical_name(tmp_path: Path) -> None:
    # Two of one project, one name in two projects, and three that are one text when they are put together.
    stacks = [("datapipeline", "dev"), ("shop-api", "dev"), ("shop", "api-dev"), ("shop", "api.dev")]
    found = []
    for number, (project, stack) in enumerate(stacks):
        directory = tmp_path / str(number)
        directory.mkdir()
        found.append(names(directory, project, stack))
    kinds = {
        "Queue",
        "Table",
        "Bucket",
        "Topic",
        "Role",
        "Function",
        "Alias",
        "LogGroup",
        "LayerVersion",
        "Dashboard",
        "MetricAlarm",
        "QueryDefinition",
        "Schedule",
        "Api",
    }
    assert {kind for kind, _ in found[0]} >= kinds
    for one, other in combinations(found, 2):
        # The stage of an HTTP API is `$default` in every API.
        assert one & other == {("Stage", "$default")}


def test_everything_that_can_be_tagged_is_tagged(graph: Graph) -> None:
    untagged = {
        resource.type.rsplit(":", 1)[1] for resource in graph if resource.custom and not resource.inputs.get("tags")
    }
    assert untagged <= UNTAGGED
    for resource in graph:
        if tags := resource.inputs.get("tags"):
            assert {"project", "stack", "environment"} <= set(tags), resource


def test_every_log_group_forgets_and_every_function_writes_to_one_of_them(graph: Graph) -> None:
    groups = {group.physical_name: group for group in graph.of_type("aws:cloudwatch/logGroup:LogGroup")}
    assert all(group.inputs["retentionInDays"] >= 1 for group in groups.values())
    functions = graph.of_type("aws:lambda/function:Function")
    assert functions
    assert all(function.inputs["loggingConfig"]["logGroup"] in groups for function in functions)


def test_functions_are_python_3_13_on_arm64_and_wait_for_their_policy(graph: Graph) -> None:
    policies = {policy.name: policy.urn for policy in graph.of_type("aws:iam/rolePolicy:RolePolicy")}
    for function in graph.of_type("aws:lambda/function:Function"):
        assert function.inputs["runtime"] == "python3.13"
        assert function.inputs["architectures"] == ["arm64"]
        assert policies[function.name] in function.dependencies


def test_event_source_mappings_wait_for_the_policy_and_report_single_failures(graph: Graph) -> None:
    policies = {policy.name: policy.urn for policy in graph.of_type("aws:iam/rolePolicy:RolePolicy")}
    for mapping in graph.of_type("aws:lambda/eventSourceMapping:EventSourceMapping"):
        assert mapping.inputs["functionResponseTypes"] == ["ReportBatchItemFailures"]
        assert policies[mapping.name] in mapping.dependencies


def test_every_statement_of_every_role_says_what_it_is_for(graph: Graph) -> None:
    policies = graph.of_type("aws:iam/rolePolicy:RolePolicy")
    assert policies
    for policy in policies:
        names = [statement.get("Sid") for statement in json.loads(policy.inputs["policy"])["Statement"]]
        assert all(names), policy
        assert len(set(names)) == len(names), policy


def test_no_physical_name_is_fixed_but_those_that_aws_wants_given(graph: Graph) -> None:
    fixed = {
        resource.type.rsplit(":", 1)[1]: resource.inputs["name"]
        for resource in graph
        if resource.custom and "name" in resource.inputs
    }
    # The worker must know the parameter's name before there is one; of log groups only an API's access log has a name.
    # An alarm's name says whose it is, and is the first that people read of it.
    given = {"Stage", "Model", "Alias", "Parameter", "QueryDefinition", "LogGroup", "MetricAlarm"}
    assert set(fixed) <= given
    assert fixed.get("LogGroup", "/aws/vendedlogs/").startswith("/aws/vendedlogs/")
