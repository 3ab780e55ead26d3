"""Alarms and dashboard against what AWS emits, by AWS's own documents."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from local.recording import Graph

# Namespace and metric -> the dimensions it is emitted with.
# SQS: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
# Lambda: https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
# HTTP API: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-metrics.html
# REST API: https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-metrics-and-dimensions.html
# Own: handlers/metrics.py; tests/test_contract.py looks at what is really written.
EMITTED: dict[tuple[str, str], list[set[str]]] = {
    ("AWS/SQS", "ApproximateNumberOfMessagesVisible"): [{"QueueName"}],
    ("AWS/SQS", "ApproximateAgeOfOldestMessage"): [{"QueueName"}],
    **{("AWS/Lambda", name): [{"FunctionName"}] for name in ("Errors", "Invocations", "Throttles", "Duration")},
    **{("AWS/ApiGateway", name): [{"ApiId"}, {"ApiId", "Stage"}] for name in ("4xx", "5xx")},
    **{("AWS/ApiGateway", name): [{"ApiName"}, {"ApiName", "Stage"}] for name in ("4XXError", "5XXError")},
    **{
        ("AWS/ApiGateway", name): [{"ApiId"}, {"ApiId", "Stage"}, {"ApiName"}, {"ApiName", "Stage"}]
        for name in ("Count", "Latency")
    },
    **{
        ("DataPipeline", name): [{"service"}]
        for name in (
            "Accepted",
            "Rejected",
            "Duplicate",
            "Messages",
            "Processed",
            "Failed",
            "BatchItemFailures",
            "OutcomesUndelivered",
            "CircuitOpened",
            "CircuitClosed",
            "CircuitOpen",
            "Latency",
        )
    },
}


def watched(inputs: Any) -> list[tuple[str, str, dict[str, str], str]]:
    """Namespace, metric, dimensions and statistic of everything an alarm looks at."""
    if "metricQueries" not in inputs:
        statistic = inputs.get("statistic") or inputs["extendedStatistic"]
        return [(inputs["namespace"], inputs["metricName"], inputs["dimensions"], statistic)]
    metrics = [query["metric"] for query in inputs["metricQueries"] if "metric" in query]
    return [(metric["namespace"], metric["metricName"], metric["dimensions"], metric["stat"]) for metric in metrics]


def known_values(graph: Graph) -> set[str]:
    """What a dimension may be: the name or id of something in this stack, or its service."""
    names = {resource.physical_name for resource in graph if resource.custom}
    ids = {stage.inputs["apiId"] for stage in graph.of_type("aws:apigatewayv2/stage:Stage")}
    stages = {stage.inputs["stageName"] for stage in graph.of_type("aws:apigateway/stage:Stage")}
    return names | ids | stages | {"datapipeline-dev"}


@pytest.mark.parametrize("kind", ["http", "rest"])
def test_every_alarm_watches_a_metric_that_exists_with_dimensions_that_exist(
    graph_of: Callable[..., Graph],
    kind: str,
) -> None:
    graph = graph_of(api={"kind": kind})
    alarms = graph.of_type("aws:cloudwatch/metricAlarm:MetricAlarm")
    assert len(alarms) == 11
    for alarm in alarms:
        for namespace, metric, dimensions, _ in watched(alarm.inputs):
            assert set(dimensions) in EMITTED[namespace, metric], alarm
            assert set(dimensions.values()) <= known_values(graph), alarm


def test_the_alarms_are_these(dev: Graph) -> None:
    name = {(resource.type.rsplit(":", 1)[1], resource.name): resource.physical_name for resource in dev}
    queue, dead = name["Queue", "pipeline-queue"], name["Queue", "pipeline-queue-dead-letters"]
    ingest, worker = name["Function", "pipeline-ingest"], name["Function", "pipeline-worker"]
    api = {"ApiId": dev.of_type("aws:apigatewayv2/stage:Stage")[0].inputs["apiId"]}
    own = {"service": "datapipeline-dev"}

    def of_lambda(metric: str, function: str, statistic: str = "Sum") -> tuple[str, str, dict[str, str], str]:
        return ("AWS/Lambda", metric, {"FunctionName": function}, statistic)

    def rate(part: tuple[Any, ...], whole: tuple[Any, ...], threshold: float) -> tuple[list[Any], float]:
        return [part, whole], threshold

    found = {
        alarm.name.removeprefix("pipeline-watch-"): (watched(alarm.inputs), alarm.inputs["threshold"])
        for alarm in dev.of_type("aws:cloudwatch/metricAlarm:MetricAlarm")
    }
    assert found == {
        "dead-letters": ([("AWS/SQS", "ApproximateNumberOfMessagesVisible", {"QueueName": dead}, "Maximum")], 1),
        "oldest-message": ([("AWS/SQS", "ApproximateAgeOfOldestMessage", {"QueueName": queue}, "Maximum")], 900),
        "failed-messages": rate(
            ("DataPipeline", "BatchItemFailures", own, "Sum"),
            ("DataPipeline", "Messages", own, "Sum"),
            5,
        ),
        "api-errors": rate(("AWS/ApiGateway", "5xx", api, "Sum"), ("AWS/ApiGateway", "Count", api, "Sum"), 1),
        "api-latency": ([("AWS/ApiGateway", "Latency", api, "p95")], 2_000),
        "ingest-errors": rate(of_lambda("Errors", ingest), of_lambda("Invocations", ingest), 5),
        "worker-errors": rate(of_lambda("Errors", worker), of_lambda("Invocations", worker), 5),
        "ingest-throttles": ([of_lambda("Throttles", ingest)], 1),
        "worker-throttles": ([of_lambda("Throttles", worker)], 1),
        "ingest-duration": ([of_lambda("Duration", ingest, "Maximum")], 29_000 * 0.8),
        "worker-duration": ([of_lambda("Duration", worker, "Maximum")], 30_000 * 0.8),
    }


def test_outcome_events_that_are_given_up_ring(graph_of: Callable[..., Graph], dev: Graph) -> None:
    name = "pipeline-watch-outcomes-undelivered"
    alarm = graph_of(outcomes={}).find("aws:cloudwatch/metricAlarm:MetricAlarm", name)
    own = {"service": "datapipeline-dev"}
    assert watched(alarm.inputs) == [("DataPipeline", "OutcomesUndelivered", own, "Sum")]
    assert alarm.inputs["threshold"] == 1
    # A metric that is not written is not watched.
    assert name not in {each.name for each in dev}


@pytest.mark.parametrize("stack", ["dev", "csv"])
def test_the_redrive_function_has_its_alarms_and_is_on_the_dashboard(
    graph_of: Callable[..., Graph], stack: str
) -> None:
    def alarms(graph: Graph) -> dict[str, Any]:
        return {
            alarm.name.removeprefix("pipeline-watch-"): (watched(alarm.inputs), alarm.inputs["threshold"])
            for alarm in graph.of_type("aws:cloudwatch/metricAlarm:MetricAlarm")
        }

    graph = graph_of(stack, queue={"redrive_api": True})
    name = graph.find("aws:lambda/function:Function", "pipeline-redrive").physical_name
    added = {label: alarm for label, alarm in alarms(graph).items() if label not in alarms(graph_of(stack))}

    def of_lambda(metric: str, statistic: str = "Sum") -> tuple[str, str, dict[str, str], str]:
        return ("AWS/Lambda", metric, {"FunctionName": name}, statistic)

    percent = 99 if stack == "csv" else 80
    assert added == {
        "redrive-errors": ([of_lambda("Errors"), of_lambda("Invocations")], 5),
        "redrive-throttles": ([of_lambda("Throttles")], 1),
        "redrive-duration": ([of_lambda("Duration", "Maximum")], 29_000 * percent / 100),
    }
    (dashboard,) = graph.of_type("aws:cloudwatch/dashboard:Dashboard")
    functions = json.loads(dashboard.inputs["dashboardBody"])["widgets"][-1]["properties"]["metrics"]
    assert [metric[1] for metric in functions if metric[3] == name] == ["Invocations", "Errors", "Throttles"]


def test_alarms_ring_at_the_threshold_say_so_to_the_topic_and_stay_quiet_without_traffic(dev: Graph) -> None:
    topic = dev.outputs["alerts_topic_arn"]
    for alarm in dev.of_type("aws:cloudwatch/metricAlarm:MetricAlarm"):
        inputs = alarm.inputs
        assert inputs["comparisonOperator"] == "GreaterThanOrEqualToThreshold"
        assert inputs["treatMissingData"] == "notBreaching"
        assert inputs["alarmActions"] == inputs["okActions"] == [topic]
        assert inputs["alarmDescription"]


def test_rates_are_percentages_of_a_whole_that_may_be_nothing(dev: Graph) -> None:
    for alarm in dev.of_type("aws:cloudwatch/metricAlarm:MetricAlarm"):
        if queries := alarm.inputs.get("metricQueries"):
            expressions = [query for query in queries if "expression" in query]
            assert [query["expression"] for query in expressions] == ["IF(whole > 0, 100 * part / whole, 0)"]
            assert [query.get("returnData", False) for query in queries] == [True, False, False]
            assert [query["id"] for query in queries] == ["rate", "part", "whole"]


def test_the_dashboard_shows_only_metrics_that_exist(dev: Graph) -> None:
    dashboard = dev.of_type("aws:cloudwatch/dashboard:Dashboard")[0].inputs
    widgets = json.loads(dashboard["dashboardBody"])["widgets"]
    assert len(widgets) == 8
    for widget in widgets:
        assert widget["properties"]["region"] == "us-east-1"
        for namespace, metric, *rest in widget["properties"]["metrics"]:
            dimensions = dict(zip(rest[:-1:2], rest[1:-1:2], strict=True))
            assert set(dimensions) in EMITTED[namespace, metric]
            assert set(dimensions.values()) <= known_values(dev)
    assert dashboard["dashboardName"] == "datapipeline-dev-pipeline-watch"
