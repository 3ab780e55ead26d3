"""A circuit breaker's resources: all of them with the option, none without it."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from local.recording import Graph

from .test_observability import EMITTED, known_values, watched
from .test_roles import COMPLETE, CONSUME, LOGS, READ, arns

ACCOUNT = "us-east-1:123456789012"
OWN_ITEM = {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["circuit#processor"]}}
KEEP = ["dynamodb:GetItem", "dynamodb:PutItem"]


@pytest.fixture(scope="module")
def graph(graph_of: Callable[..., Graph]) -> Graph:
    return graph_of(
        worker={"circuit_breaker": {"failure_threshold": 7, "recovery_seconds": 90}, "ephemeral_storage_mb": 2_048}
    )


def statements(graph: Graph, policy: str) -> list[tuple[Any, ...]]:
    document = json.loads(graph.find("aws:iam/rolePolicy:RolePolicy", policy).inputs["policy"])
    assert {statement.pop("Effect") for statement in document["Statement"]} == {"Allow"}
    assert all(statement.pop("Sid") for statement in document["Statement"])
    return [tuple(statement.values()) for statement in document["Statement"]]


def more_arns(graph: Graph) -> dict[str, str]:
    dead_letters = graph.find("aws:sqs/queue:Queue", "pipeline-breaker-dead-letters").physical_name
    log_group = graph.find("aws:cloudwatch/logGroup:LogGroup", "pipeline-breaker").physical_name
    mapping = graph.find("aws:ssm/parameter:Parameter", "pipeline-breaker").inputs["value"]
    worker = graph.find("aws:lambda/function:Function", "pipeline-worker").physical_name
    return {
        **arns(graph),
        "parameter": f"arn:aws:ssm:{ACCOUNT}:parameter/datapipeline/datapipeline-dev/pipeline/event-source-mapping",
        "worker": f"arn:aws:lambda:{ACCOUNT}:function:{worker}",
        "mapping": f"arn:aws:lambda:{ACCOUNT}:event-source-mapping:{mapping}",
        "breaker dead letters": f"arn:aws:sqs:{ACCOUNT}:{dead_letters}",
        "breaker logs": f"arn:aws:logs:{ACCOUNT}:log-group:{log_group}:*",
    }


def of_the_worker(arn: dict[str, str]) -> dict[str, Any]:
    """The mapping of no other function, nor to another one."""
    return {"ArnLikeIfExists": {"lambda:FunctionArn": arn["worker"]}}


def test_the_worker_may_keep_the_circuit_and_pause_itself_and_no_more(graph: Graph) -> None:
    arn = more_arns(graph)
    assert statements(graph, "pipeline-worker") == [
        (CONSUME, [arn["queue"]]),
        (["sqs:SendMessage"], [arn["dead letters"]]),
        (READ, [arn["table"]]),
        (COMPLETE, [arn["table"]]),
        (["s3:PutObject"], [arn["results"]]),
        (["sns:Publish"], [arn["alerts"]]),
        (KEEP, [arn["table"]], OWN_ITEM),
        (LOGS, [arn["worker logs"]]),
    ]
    assert statements(graph, "pipeline-breaker-pause") == [
        (["ssm:GetParameter"], [arn["parameter"]]),
        (["lambda:UpdateEventSourceMapping"], [arn["mapping"]], of_the_worker(arn)),
    ]
    worker = graph.find("aws:iam/role:Role", "pipeline-worker").physical_name
    assert graph.find("aws:iam/rolePolicy:RolePolicy", "pipeline-breaker-pause").inputs["role"] == worker


def test_the_breaker_function_may_do_to_events_what_the_worker_may_and_look_after_the_circuit(graph: Graph) -> None:
    arn = more_arns(graph)
    assert statements(graph, "pipeline-breaker") == [
        (["sqs:SendMessage"], [arn["breaker dead letters"]]),
        (CONSUME, [arn["queue"]]),
        (["sqs:SendMessage"], [arn["dead letters"]]),
        (READ, [arn["table"]]),
        (COMPLETE, [arn["table"]]),
        (["s3:PutObject"], [arn["results"]]),
        (["sns:Publish"], [arn["alerts"]]),
        (KEEP, [arn["table"]], OWN_ITEM),
        (["ssm:GetParameter"], [arn["parameter"]]),
        (["lambda:GetEventSourceMapping", "lambda:UpdateEventSourceMapping"], [arn["mapping"]], of_the_worker(arn)),
        (LOGS, [arn["breaker logs"]]),
    ]


def test_the_parameter_names_the_workers_mapping_to_both_functions(graph: Graph) -> None:
    mapping = graph.find("aws:lambda/eventSourceMapping:EventSourceMapping", "pipeline-worker")
    parameter = graph.find("aws:ssm/parameter:Parameter", "pipeline-breaker").inputs
    assert mapping.urn in graph.find("aws:ssm/parameter:Parameter", "pipeline-breaker").dependencies
    for name in ("pipeline-worker", "pipeline-breaker"):
        variables = graph.find("aws:lambda/function:Function", name).inputs["environment"]["variables"]
        assert variables["MAPPING_PARAMETER"] == parameter["name"]
        assert (variables["CIRCUIT_FAILURE_THRESHOLD"], variables["CIRCUIT_RECOVERY_SECONDS"]) == ("7", "90")
        assert (variables["CIRCUIT_KEY_FAILURE_THRESHOLD"], "CIRCUIT_KEY_FIELD" in variables) == ("3", False)
        mapped = graph.find("aws:lambda/eventSourceMapping:EventSourceMapping", "pipeline-worker").inputs
        assert int(variables["MAXIMUM_CONCURRENCY"]) == mapped["scalingConfig"]["maximumConcurrency"]


def test_the_breaker_function_runs_each_minute_and_is_as_large_as_the_worker(graph: Graph) -> None:
    schedule = graph.find("aws:scheduler/schedule:Schedule", "pipeline-breaker-every-minute").inputs
    assert schedule["scheduleExpression"] == "rate(1 minute)"
    worker, breaker = (
        graph.find("aws:lambda/function:Function", name).inputs for name in ("pipeline-worker", "pipeline-breaker")
    )
    assert breaker["handler"] == "handlers.api.breaker.handler"
    for key in ("timeout", "memorySize", "ephemeralStorage"):
        assert breaker[key] == worker[key]
    assert worker["ephemeralStorage"] == {"size": 2_048}


def test_an_open_circuit_rings_within_a_minute_and_the_breaker_function_is_watched(graph: Graph, dev: Graph) -> None:
    def alarms(of: Graph) -> dict[str, Any]:
        found = of.of_type("aws:cloudwatch/metricAlarm:MetricAlarm")
        return {alarm.name.removeprefix("pipeline-watch-"): alarm.inputs for alarm in found}

    added = {label: inputs for label, inputs in alarms(graph).items() if label not in alarms(dev)}
    assert set(added) == {
        "circuit-open", "breaker-dead-letters", "breaker-errors", "breaker-throttles", "breaker-duration",
        "breaker-stopped",
    }  # fmt: skip
    rings = added["circuit-open"]
    assert watched(rings) == [("DataPipeline", "CircuitOpen", {"service": "datapipeline-dev"}, "Maximum")]
    assert (rings["threshold"], rings["period"], rings["evaluationPeriods"]) == (1, 60, 1)
    # A breaker function that fails writes nothing, and the queue is still paused.
    assert rings["treatMissingData"] == "ignore"
    for inputs in added.values():
        for namespace, metric, dimensions, _ in watched(inputs):
            assert set(dimensions) in EMITTED[namespace, metric][0]
            assert set(dimensions.values()) <= known_values(graph)


def test_a_key_that_is_held_back_for_a_while_rings(graph_of: Callable[..., Graph]) -> None:
    graph = graph_of(worker={"circuit_breaker": {"key_field": "customer.id"}})
    rings = graph.find("aws:cloudwatch/metricAlarm:MetricAlarm", "pipeline-watch-circuit-keys").inputs
    assert watched(rings) == [("DataPipeline", "CircuitKeysHeld", {"service": "datapipeline-dev"}, "Maximum")]
    assert (rings["threshold"], rings["period"], rings["evaluationPeriods"]) == (1, 300, 3)
    assert rings["treatMissingData"] == "ignore"
    assert rings["alarmDescription"].endswith("docs/alarms.md#circuit-keys")


def test_without_one_nothing_of_it_is_there(dev: Graph) -> None:
    assert not [resource for resource in dev if "breaker" in resource.name or "Parameter" in resource.type]
    assert not [each for each in dev.of_type("aws:iam/rolePolicy:RolePolicy") if "circuit" in each.inputs["policy"]]
    variables = dev.find("aws:lambda/function:Function", "pipeline-worker").inputs["environment"]["variables"]
    assert not [name for name in variables if "CIRCUIT" in name or name == "MAPPING_PARAMETER"]
