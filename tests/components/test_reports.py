"""The scheduled summary as it is deployed; and functions that are kept ready."""

import json
from collections.abc import Callable

import pytest

from components.reports import SIZE
from handlers.api.report import PUBLISHING_SECONDS
from local.recording import Graph


@pytest.fixture
def analytics(graph_of: Callable[..., Graph]) -> Graph:
    return graph_of("analytics")


def test_each_period_has_its_schedule_in_utc_and_tells_the_function_what_it_was_for(analytics: Graph) -> None:
    made = {
        schedule.name: (schedule.inputs["scheduleExpression"], json.loads(schedule.inputs["target"]["input"]))
        for schedule in analytics.of_type("aws:scheduler/schedule:Schedule")
    }
    time = "<aws.scheduler.scheduled-time>"
    # Scheduler's default time zone is UTC: https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
    assert made == {
        "pipeline-report-hourly": ("cron(5 * * * ? *)", {"period": "hourly", "time": time}),
        "pipeline-report-daily": ("cron(10 0 * * ? *)", {"period": "daily", "time": time}),
    }


def test_one_period_has_one_schedule_and_none_has_nothing(graph_of: Callable[..., Graph]) -> None:
    daily = graph_of(reports={"schedules": ["daily"]})
    assert [each.name for each in daily.of_type("aws:scheduler/schedule:Schedule")] == ["pipeline-report-daily"]
    without = {resource.name for resource in graph_of()}
    assert not {name for name in without if "report" in name}


def test_reports_expire_and_their_topic_is_an_output(graph_of: Callable[..., Graph]) -> None:
    graph = graph_of("analytics", storage={"reports_expire_after_days": 30, "results": "inline"})
    rules = graph.of_type("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration")[0].inputs["rules"]
    (rule,) = [rule for rule in rules if rule.get("filter") == {"prefix": "reports/"}]
    assert rule["expiration"] == {"days": 30}
    topic = graph.find("aws:sns/topic:Topic", "pipeline-report-topic").physical_name
    assert graph.outputs["reports_topic_arn"].endswith(f":{topic}")


def test_who_is_told_of_reports_subscribes_to_their_topic_and_not_to_alerts(graph_of: Callable[..., Graph]) -> None:
    told = {"subscriptions": [{"protocol": "email", "endpoint": "boss@example.org"}]}
    graph = graph_of("analytics", report_notifications=told)
    (subscription,) = graph.of_type("aws:sns/topicSubscription:TopicSubscription")
    assert subscription.inputs["topic"] == graph.outputs["reports_topic_arn"]


def test_a_report_that_a_queue_does_not_take_is_kept_and_rings(graph_of: Callable[..., Graph]) -> None:
    told = {"subscriptions": [{"protocol": "sqs", "endpoint": "arn:aws:sqs:us-east-1:123456789012:team"}]}
    graph = graph_of("analytics", report_notifications=told)
    kept = graph.find("aws:sqs/queue:Queue", "pipeline-report-topic-dead-letters").physical_name
    alarm = graph.find("aws:cloudwatch/metricAlarm:MetricAlarm", "pipeline-watch-reports-undelivered")
    watched = [query["metric"]["dimensions"] for query in alarm.inputs["metricQueries"] if "metric" in query]
    assert watched == [{"QueueName": kept}] * 2  # messages that can be seen, and those that somebody looks at


def test_the_function_has_time_to_tell_before_its_time_is_up() -> None:
    assert SIZE.timeout_seconds > PUBLISHING_SECONDS


# Functions that are kept ready


def test_by_default_functions_have_no_versions(graph_of: Callable[..., Graph]) -> None:
    for graph in (graph_of(), graph_of("analytics"), graph_of("ingestion")):
        assert not graph.of_type("aws:lambda/alias:Alias")
        for function in graph.of_type("aws:lambda/function:Function"):
            assert {"publish", "snapStart"}.isdisjoint(function.inputs)


@pytest.mark.parametrize("kind", ["http", "rest"])
def test_an_api_invokes_the_alias_of_a_function_that_is_kept_ready(graph_of: Callable[..., Graph], kind: str) -> None:
    graph = graph_of(api={"kind": kind, "snap_start": True})
    function = graph.find("aws:lambda/function:Function", "pipeline-ingest")
    assert function.inputs["publish"] is True
    assert function.inputs["snapStart"] == {"applyOn": "PublishedVersions"}
    (alias,) = graph.of_type("aws:lambda/alias:Alias")
    assert (alias.inputs["functionName"], alias.inputs["functionVersion"]) == (function.physical_name, "1")
    arn = f"arn:aws:lambda:us-east-1:123456789012:function:{function.physical_name}:{alias.physical_name}"
    module = {"http": "apigatewayv2", "rest": "apigateway"}[kind]
    integrations = graph.of_type(f"aws:{module}/integration:Integration")
    uris = {each.inputs["integrationUri" if kind == "http" else "uri"] for each in integrations}
    assert uris == {f"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{arn}/invocations"}
    (permission,) = graph.of_type("aws:lambda/permission:Permission")
    assert permission.inputs["function"] == function.physical_name
    assert permission.inputs["qualifier"] == alias.physical_name
    assert not graph.of_type("aws:lambda/provisionedConcurrencyConfig:ProvisionedConcurrencyConfig")


def test_a_queue_feeds_the_alias_of_a_worker_that_is_kept_ready(graph_of: Callable[..., Graph]) -> None:
    graph = graph_of(worker={"provisioned_concurrency": 4})
    worker = graph.find("aws:lambda/function:Function", "pipeline-worker")
    (alias,) = graph.of_type("aws:lambda/alias:Alias")
    (ready,) = graph.of_type("aws:lambda/provisionedConcurrencyConfig:ProvisionedConcurrencyConfig")
    assert dict(ready.inputs) == {
        "functionName": worker.physical_name,
        "qualifier": alias.physical_name,
        "provisionedConcurrentExecutions": 4,
    }
    (mapping,) = graph.of_type("aws:lambda/eventSourceMapping:EventSourceMapping")
    arn = f"arn:aws:lambda:us-east-1:123456789012:function:{worker.physical_name}"
    assert mapping.inputs["functionName"] == f"{arn}:{alias.physical_name}"
    assert "snapStart" not in worker.inputs
    # CloudWatch's FunctionName is of all versions and aliases together:
    # https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
    alarm = graph.find("aws:cloudwatch/metricAlarm:MetricAlarm", "pipeline-watch-worker-throttles")
    assert alarm.inputs["dimensions"] == {"FunctionName": worker.physical_name}
