"""Alarms and dashboard against what AWS emits, by AWS's own documents."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.names import LONGEST_LAYER_NAME
from components.table import TIME_INDEX
from handlers.api import counts
from handlers.csv.worker import COUNTS as CSV_COUNTS
from local.recording import Graph
from tests import graphs
from tests.graphs import STACKS

ROOT = Path(__file__).parents[2]
SECRET_ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:github-AbCdEf"  # pragma: allowlist secret
# What no shipped stack has.
MORE: dict[str, tuple[str, dict[str, Any]]] = {
    "rest": ("dev", {"api": {"kind": "rest"}}),
    "reconciler": ("dev", {"queue": {"reconciler": {}}}),
    "compactor": ("dev", {"storage": {"archive": {"compaction": {}}}}),
    "csv with redrive": ("csv", {"queue": {"redrive_api": {}}}),
}

# Namespace and metric -> the sets of dimensions it is emitted with, and the statistics that mean something.
# SQS: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
# Lambda: https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
# HTTP API: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-metrics.html
# REST API: https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-metrics-and-dimensions.html
# DynamoDB: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/metrics-dimensions.html
# Logs: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CloudWatch-Logs-Monitoring-CloudWatch-Metrics.html
# Own: handlers/shared/metrics.py; tests/test_contract.py looks at what is really written.
Emitted = tuple[list[set[str]], set[str]]

DEPTH = ("ApproximateNumberOfMessagesVisible", "ApproximateNumberOfMessagesNotVisible")
DURATIONS = {"p50", "p95", "Maximum"}
OF_HTTP_API, OF_REST_API = [{"ApiId"}, {"ApiId", "Stage"}], [{"ApiName"}, {"ApiName", "Stage"}]
OF_TABLE = [{"TableName"}, {"TableName", "GlobalSecondaryIndexName"}]
OWN_COUNTS = {
    *counts.INGEST_COUNTS,
    *counts.WORKER_COUNTS,
    *counts.OUTCOME_COUNTS,
    "CircuitOpened",
    "CircuitClosed",
    counts.CIRCUIT_OPEN,
    counts.OLDEST_LETTER,
    counts.STUCK_EVENTS,
    *CSV_COUNTS,
    *(
        "Objects",
        "Received",
        "Stored",
        "Repeated",
        "Rejected",
        "Alerts",
        "Partial",
        "Devices",
        "DevicesWithBadMetrics",
        "Skipped",
        "Silences",
        "Returns",
        "IncompleteWatches",
    ),
}
EMITTED: dict[tuple[str, str], Emitted] = {
    **{("AWS/SQS", name): ([{"QueueName"}], {"Maximum"}) for name in DEPTH},
    ("AWS/SQS", "ApproximateAgeOfOldestMessage"): ([{"QueueName"}], {"Maximum"}),
    ("AWS/SQS", "NumberOfMessagesSent"): ([{"QueueName"}], {"Sum"}),
    **{
        ("AWS/Lambda", name): ([{"FunctionName"}], {"Sum"})
        for name in ("Errors", "Invocations", "Throttles", "DestinationDeliveryFailures")
    },
    ("AWS/Lambda", "Duration"): ([{"FunctionName"}], {*DURATIONS, "Sum"}),
    ("AWS/Lambda", "AsyncEventAge"): ([{"FunctionName"}], DURATIONS),
    **{("AWS/ApiGateway", name): (OF_HTTP_API, {"Sum"}) for name in ("4xx", "5xx")},
    **{("AWS/ApiGateway", name): (OF_REST_API, {"Sum"}) for name in ("4XXError", "5XXError")},
    ("AWS/ApiGateway", "Count"): ([*OF_HTTP_API, *OF_REST_API], {"Sum"}),
    ("AWS/ApiGateway", "Latency"): ([*OF_HTTP_API, *OF_REST_API], DURATIONS),
    **{
        ("AWS/DynamoDB", name): (OF_TABLE, {"Sum"})
        for name in ("ConsumedReadCapacityUnits", "ConsumedWriteCapacityUnits")
    },
    ("AWS/Logs", "IncomingBytes"): ([{"LogGroupName"}], {"Sum"}),
    **{("DataPipeline", name): ([{"service"}], {"Sum"}) for name in OWN_COUNTS},
    ("DataPipeline", counts.OLDEST_LETTER): ([{"service"}], {"Maximum"}),
    ("DataPipeline", counts.STUCK_EVENTS): ([{"service"}], {"Maximum"}),
    ("DataPipeline", counts.CIRCUIT_OPEN): ([{"service"}], {"Maximum"}),
    ("DataPipeline", "Latency"): ([{"service"}], DURATIONS),
}

Watched = tuple[str, str, dict[str, str], str]


def watched(inputs: Any) -> list[Watched]:
    """Namespace, metric, dimensions and statistic of everything an alarm looks at."""
    if "metricQueries" not in inputs:
        statistic = inputs.get("statistic") or inputs["extendedStatistic"]
        return [(inputs["namespace"], inputs["metricName"], inputs["dimensions"], statistic)]
    queries = [query["metric"] for query in inputs["metricQueries"] if "metric" in query]
    return [(query["namespace"], query["metricName"], query["dimensions"], query["stat"]) for query in queries]


def depth(queue_name: str) -> list[Watched]:
    """The queries of an alarm that watches all messages of a queue."""
    return [("AWS/SQS", name, {"QueueName": queue_name}, "Maximum") for name in DEPTH]


def shown(graph: Graph) -> list[Watched]:
    """The same of everything that the dashboard shows."""
    body = json.loads(graph.of_type("aws:cloudwatch/dashboard:Dashboard")[0].inputs["dashboardBody"])
    lines = [line for widget in body["widgets"] for line in widget["properties"]["metrics"]]
    return [
        (namespace, metric, dict(zip(rest[:-1:2], rest[1:-1:2], strict=True)), rest[-1]["stat"])
        for namespace, metric, *rest in lines
    ]


def assert_exists(graph: Graph, each: Watched) -> None:
    """A metric that is emitted, with dimensions of something in the stack, and a statistic that means something."""
    namespace, metric, dimensions, statistic = each
    of, statistics = EMITTED[namespace, metric]
    assert set(dimensions) in of, each
    assert set(dimensions.values()) <= known_values(graph), each
    assert statistic in statistics, each


def known_values(graph: Graph) -> set[str]:
    """Return the allowed values of a dimension: names and ids of this stack's resources, or its service."""
    names = {resource.physical_name for resource in graph if resource.custom}
    ids = {stage.inputs["apiId"] for stage in graph.of_type("aws:apigatewayv2/stage:Stage")}
    stages = {stage.inputs["stageName"] for stage in graph.of_type("aws:apigateway/stage:Stage")}
    stack = graph.resources[0].urn.split(":")[2]
    return names | ids | stages | {f"datapipeline-{stack}", TIME_INDEX}


@pytest.fixture(params=[*STACKS, *MORE])
def stack(request: pytest.FixtureRequest, graph_of: Callable[..., Graph]) -> Graph:
    """Every shipped stack, and those of MORE."""
    name, options = MORE.get(request.param, (request.param, {}))
    return graph_of(name, **options)


def test_every_alarm_watches_a_metric_that_exists_with_dimensions_that_exist(stack: Graph) -> None:
    alarms = stack.of_type("aws:cloudwatch/metricAlarm:MetricAlarm")
    assert len(alarms) >= 5
    for alarm in alarms:
        for each in watched(alarm.inputs):
            assert_exists(stack, each)


def test_every_function_and_every_queue_of_dead_letters_has_its_alarms(stack: Graph) -> None:
    watching = [
        (metric, dimensions)
        for alarm in stack.of_type("aws:cloudwatch/metricAlarm:MetricAlarm")
        for _, metric, dimensions, _ in watched(alarm.inputs)
    ]
    for function in stack.of_type("aws:lambda/function:Function"):
        for metric in ("Errors", "Throttles", "Duration"):
            assert (metric, {"FunctionName": function.physical_name}) in watching
    for queue in stack.of_type("aws:sqs/queue:Queue"):
        if "dead-letters" in queue.name:
            assert ("ApproximateNumberOfMessagesVisible", {"QueueName": queue.physical_name}) in watching


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
        "dead-letters": (depth(dead), 1),
        "more-dead-letters": (depth(dead), 1),
        "oldest-dead-letter": (
            [("AWS/SQS", "ApproximateAgeOfOldestMessage", {"QueueName": dead}, "Maximum")],
            (14 - 4) * 86_400 * 0.75,
        ),
        "rejected-events": (
            [("DataPipeline", name, own, "Sum") for name in ("Rejected", "Accepted", "Duplicate")],
            25,
        ),
        "api-refusals": rate(("AWS/ApiGateway", "4xx", api, "Sum"), ("AWS/ApiGateway", "Count", api, "Sum"), 25),
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


def test_what_a_bus_under_the_stack_s_key_cannot_encrypt_rings(graph_of: Callable[..., Graph]) -> None:
    name = "pipeline-watch-outcomes-dead-letters"
    graph = graph_of(outcomes={}, encryption={"customer_key": {}})
    queue = graph.find("aws:sqs/queue:Queue", "pipeline-outcomes-dead-letters").physical_name
    alarm = graph.find("aws:cloudwatch/metricAlarm:MetricAlarm", name)
    assert (watched(alarm.inputs), alarm.inputs["threshold"]) == (depth(queue), 1)
    assert {query["metric"]["period"] for query in alarm.inputs["metricQueries"] if "metric" in query} == {60}
    assert name not in {each.name for each in graph_of(outcomes={})}


def test_the_report_function_has_a_function_s_alarms_and_one_on_its_dead_letters(
    graph_of: Callable[..., Graph],
) -> None:
    graph = graph_of("analytics")
    dead = graph.find("aws:sqs/queue:Queue", "pipeline-report-dead-letters").physical_name
    function = {"FunctionName": graph.find("aws:lambda/function:Function", "pipeline-report").physical_name}
    errors, runs = ("AWS/Lambda", "Errors", function, "Sum"), ("AWS/Lambda", "Invocations", function, "Sum")
    found = {
        alarm.name.removeprefix("pipeline-watch-report-"): (watched(alarm.inputs), alarm.inputs["threshold"])
        for alarm in graph.of_type("aws:cloudwatch/metricAlarm:MetricAlarm")
        if "watch-report" in alarm.name
    }
    assert found == {
        "errors": ([errors, runs], 5),
        "throttles": ([("AWS/Lambda", "Throttles", function, "Sum")], 1),
        "duration": ([("AWS/Lambda", "Duration", function, "Maximum")], 900_000 * 0.8),
        "stopped": ([runs], 1),
        "dead-letters": (depth(dead), 1),
    }


def alarms(graph: Graph) -> dict[str, tuple[list[Watched], float]]:
    """Return each alarm's metric and its topic."""
    return {
        alarm.name.removeprefix("pipeline-watch-"): (watched(alarm.inputs), alarm.inputs["threshold"])
        for alarm in graph.of_type("aws:cloudwatch/metricAlarm:MetricAlarm")
    }


def panels(graph: Graph) -> dict[str, list[Any]]:
    """The lines of each graph of the dashboard."""
    (dashboard,) = graph.of_type("aws:cloudwatch/dashboard:Dashboard")
    widgets = [widget["properties"] for widget in json.loads(dashboard.inputs["dashboardBody"])["widgets"]]
    return {widget["title"]: widget["metrics"] for widget in widgets}


@pytest.mark.parametrize("stack", ["dev", "csv"])
def test_the_redrive_function_has_its_alarms_and_is_on_the_dashboard(
    graph_of: Callable[..., Graph], stack: str
) -> None:
    graph = graph_of(stack, queue={"redrive_api": {}})
    name = graph.find("aws:lambda/function:Function", "pipeline-redrive").physical_name
    added = {label: alarm for label, alarm in alarms(graph).items() if label not in alarms(graph_of(stack))}

    def of_lambda(metric: str, statistic: str = "Sum") -> Watched:
        return ("AWS/Lambda", metric, {"FunctionName": name}, statistic)

    percent = 99 if stack == "csv" else 80
    assert {label: alarm for label, alarm in added.items() if not label.startswith("api-")} == {
        "redrive-errors": ([of_lambda("Errors"), of_lambda("Invocations")], 5),
        "redrive-throttles": ([of_lambda("Throttles")], 1),
        "redrive-duration": ([of_lambda("Duration", "Maximum")], 29_000 * percent / 100),
    }
    shown_of_it = [metric[1] for metric in panels(graph)["Functions"] if metric[3] == name]
    assert shown_of_it == ["Invocations", "Errors", "Throttles"]


def test_the_redrive_api_of_a_csv_stack_is_watched_as_any_api(graph_of: Callable[..., Graph]) -> None:
    own = {"alarms": {"api_error_rate_percent": 7, "api_refusal_rate_percent": 9, "api_latency_p95_ms": 9_000}}
    for options, percent, milliseconds in (({}, 1, 25_000), (own, 7, 9_000)):
        graph = graph_of("csv", queue={"redrive_api": {}}, **options)
        (stage,) = graph.of_type("aws:apigatewayv2/stage:Stage")

        def of_api(metric: str, statistic: str = "Sum", api_id: str = stage.inputs["apiId"]) -> Watched:
            return ("AWS/ApiGateway", metric, {"ApiId": api_id}, statistic)

        found = alarms(graph)
        assert found["api-errors"] == ([of_api("5xx"), of_api("Count")], percent)
        assert found["api-refusals"] == ([of_api("4xx"), of_api("Count")], 9 if options else 25)
        assert found["api-latency"] == ([of_api("Latency", "p95")], milliseconds)
        lines = {
            title: [(metric, line["stat"]) for _, metric, _, _, line in panels(graph)[title]]
            for title in ("Requests", "API latency (ms)")
        }
        assert lines == {
            "Requests": [("Count", "Sum"), ("5xx", "Sum")],
            "API latency (ms)": [("Latency", "p50"), ("Latency", "p95")],
        }
    without = graph_of("csv")
    assert not {"api-errors", "api-refusals", "api-latency"} & alarms(without).keys()
    assert not {"Requests", "API latency (ms)"} & panels(without).keys()


def test_alarms_ring_at_the_threshold_say_so_to_the_topic_and_stay_quiet_without_traffic(stack: Graph) -> None:
    topic = stack.outputs["alarms_topic_arn"]
    for alarm in stack.of_type("aws:cloudwatch/metricAlarm:MetricAlarm"):
        inputs = alarm.inputs
        if not alarm.name.endswith("-stopped"):
            assert inputs["comparisonOperator"] == "GreaterThanOrEqualToThreshold"
            # But for one whose metric is written by what may have failed, and one that is written each hour.
            missing = "ignore" if alarm.name.endswith(("-circuit-open", "-stuck-events")) else "notBreaching"
            assert inputs["treatMissingData"] == missing
            assert "warmUpConfiguration" not in inputs
        assert inputs["alarmActions"] == inputs["okActions"] == [topic]
        assert inputs["alarmDescription"]


@pytest.mark.parametrize(
    ("function", "config", "every_seconds", "period", "periods"),
    [
        ("breaker", {"worker": {"circuit_breaker": {}}}, 60, 60, 5),
        ("report", {"reports": {"schedules": ["hourly"]}}, 3_600, 3_600, 2),
        ("report", {"reports": {"schedules": ["hourly", "daily"]}}, 3_600, 3_600, 2),
        ("report", {"reports": {"schedules": ["daily"]}}, 86_400, 3_600, 26),
    ],
)
def test_a_function_by_the_clock_that_does_not_run_rings(
    graph_of: Callable[..., Graph],
    function: str,
    config: dict[str, Any],
    every_seconds: int,
    period: int,
    periods: int,
) -> None:
    graph = graph_of(**config)
    alarm = graph.find("aws:cloudwatch/metricAlarm:MetricAlarm", f"pipeline-watch-{function}-stopped").inputs
    name = graph.find("aws:lambda/function:Function", f"pipeline-{function}").physical_name
    assert watched(alarm) == [("AWS/Lambda", "Invocations", {"FunctionName": name}, "Sum")]
    assert (alarm["comparisonOperator"], alarm["threshold"]) == ("LessThanThreshold", 1)
    # What does not run counts nothing.
    assert alarm["treatMissingData"] == "breaching"
    assert (alarm["period"], alarm["evaluationPeriods"]) == (period, periods)
    # A new stack has its first run before the alarm looks.
    minutes = alarm["warmUpConfiguration"]["warmUpPeriodDurationInMinutes"]
    assert every_seconds < period * periods == minutes * 60
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html (Period)
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_WarmUpConfiguration.html
    assert period * periods <= (86_400 if period < 3_600 else 604_800)
    assert minutes <= 2_880


def test_every_function_by_the_clock_is_seen_to_run(stack: Graph) -> None:
    scheduled = {
        each.inputs["target"]["arn"].rpartition(":")[2] for each in stack.of_type("aws:scheduler/schedule:Schedule")
    }
    seen = {
        alarm.inputs["dimensions"]["FunctionName"]
        for alarm in stack.of_type("aws:cloudwatch/metricAlarm:MetricAlarm")
        if alarm.name.endswith("-stopped")
    }
    assert seen == scheduled


def test_rates_are_percentages_of_a_whole_that_may_be_nothing(stack: Graph) -> None:
    for alarm in stack.of_type("aws:cloudwatch/metricAlarm:MetricAlarm"):
        if queries := alarm.inputs.get("metricQueries"):
            result, *metrics = queries
            assert [query.get("returnData", False) for query in queries] == [True, *(False for _ in metrics)]
            assert all("metric" in query for query in metrics)
            # tests/components/test_alarm_states.py evaluates the others.
            if result["id"] == "rate":
                minimum = 10 if alarm.name.endswith("-refusals") else 1
                assert result["expression"] == f"IF(whole >= {minimum}, 100 * part / whole, 0)"
                assert [query["id"] for query in metrics] == ["part", "whole"]


def test_no_alarm_on_errors_counts_them(stack: Graph) -> None:
    for alarm in stack.of_type("aws:cloudwatch/metricAlarm:MetricAlarm"):
        for _, metric, _, _ in watched(alarm.inputs):
            if metric in ("Errors", "5xx", "5XXError", "BatchItemFailures", "Rejected"):
                assert "metricQueries" in alarm.inputs, alarm.name


def test_the_dashboard_shows_only_metrics_that_exist(stack: Graph) -> None:
    dashboard = stack.of_type("aws:cloudwatch/dashboard:Dashboard")[0].inputs
    assert shown(stack)
    for each in shown(stack):
        assert_exists(stack, each)
    for widget in json.loads(dashboard["dashboardBody"])["widgets"]:
        assert widget["properties"]["region"] == "us-east-1"
    assert dashboard["dashboardName"] == f"datapipeline-{stack.resources[0].urn.split(':')[2]}-pipeline-watch"


def test_the_dashboard_shows_the_flow_and_what_it_costs(dev: Graph) -> None:
    name = {(resource.type.rsplit(":", 1)[1], resource.name): resource.physical_name for resource in dev}
    everything = [(metric, *dimensions.values()) for _, metric, dimensions, _ in shown(dev)]
    own, queue, table = "datapipeline-dev", name["Queue", "pipeline-queue"], name["Table", "pipeline-table"]
    flow = {
        "accepted": ("Accepted", own),
        "refused": ("Rejected", own),
        "queued": ("ApproximateNumberOfMessagesVisible", queue),
        "age": ("ApproximateAgeOfOldestMessage", queue),
        "processed": ("Processed", own),
        "failed": ("Failed", own),
        "dead letters": ("ApproximateNumberOfMessagesVisible", name["Queue", "pipeline-queue-dead-letters"]),
        "latency": ("Latency", own),
        "ingest's time": ("Duration", name["Function", "pipeline-ingest"]),
        "the worker's time": ("Duration", name["Function", "pipeline-worker"]),
        "writes": ("ConsumedWriteCapacityUnits", table),
        "reads": ("ConsumedReadCapacityUnits", table),
        "writes of the index": ("ConsumedWriteCapacityUnits", table, TIME_INDEX),
        "messages": ("NumberOfMessagesSent", queue),
        "logs": ("IncomingBytes", name["LogGroup", "pipeline-worker"]),
    }
    assert {what for what, line in flow.items() if line not in everything} == set()


def test_no_two_graphs_of_the_dashboard_lie_on_each_other(stack: Graph) -> None:
    body = json.loads(stack.of_type("aws:cloudwatch/dashboard:Dashboard")[0].inputs["dashboardBody"])
    places = [(widget["x"], widget["y"]) for widget in body["widgets"]]
    assert len(set(places)) == len(places)
    assert all(x + widget["width"] <= 24 for (x, _), widget in zip(places, body["widgets"], strict=True))


def test_the_usual_questions_are_saved_for_the_logs_of_all_functions(graph_of: Callable[..., Graph]) -> None:
    graph = graph_of("analytics")
    groups = {
        graph.find("aws:cloudwatch/logGroup:LogGroup", f"pipeline-{function}").physical_name
        for function in ("ingest", "worker", "report")
    }
    saved = graph.of_type("aws:cloudwatch/queryDefinition:QueryDefinition")
    assert {each.inputs["name"] for each in saved} == {
        f"datapipeline-analytics/{label}"
        for label in (
            "follow-a-request",
            "attempts-of-an-event",
            "failures-by-error",
            "slowest-events",
            "refused-requests",
            "runs-and-cold-starts",
        )
    }
    assert all(set(each.inputs["logGroupNames"]) == groups for each in saved)


@pytest.mark.parametrize(
    ("stack", "config"),
    [
        *((stack, {}) for stack in STACKS),
        *MORE.values(),
        (
            "dev",
            {
                "notifications": {
                    "subscriptions": [{"protocol": "sqs", "endpoint": "arn:aws:sqs:us-east-1:123456789012:q"}]
                }
            },
        ),
    ],
)
def test_every_alarm_says_what_to_do_in_a_section_of_the_document(stack: str, config: dict[str, Any]) -> None:
    document = (ROOT / "docs/alarms.md").read_text()
    sections = set(re.findall(r"^### ([a-z-]+)$", document, re.MULTILINE))
    alarms = graphs.graph_of(stack, config).of_type("aws:cloudwatch/metricAlarm:MetricAlarm")
    assert alarms
    for alarm in alarms:
        _, _, section = alarm.inputs["alarmDescription"].rpartition(". What to do: docs/alarms.md#")
        assert section in sections, alarm


def test_name_and_description_of_every_alarm_say_whose_it_is(stack: Graph) -> None:
    service = f"datapipeline-{stack.resources[0].urn.split(':')[2]}"
    steps = {"api", "ingest", "queue", "worker", "dead letters", "notifications", "outcomes"}
    functions = {each.name.removeprefix("pipeline-") for each in stack.of_type("aws:lambda/function:Function")}
    found = {}
    for alarm in stack.of_type("aws:cloudwatch/metricAlarm:MetricAlarm"):
        label = alarm.name.removeprefix("pipeline-watch-")
        assert alarm.inputs["name"] == f"{service}-pipeline-watch-{label}"
        whose = re.match(r"([\w-]+), ([a-z ]+), (critical|warning): [A-Z]", alarm.inputs["alarmDescription"])
        assert whose, alarm
        assert whose[1] == service
        assert whose[2] in steps | functions
        # One that was made under another name by an earlier version keeps it, and its state.
        assert alarm.ignored_changes == ("name",)
        found[label] = whose[3]
    assert found["dead-letters"] == found["worker-errors"] == "critical"
    assert found["worker-duration"] == "warning"


def test_the_longest_service_and_the_longest_label_make_a_name_that_cloudwatch_takes(
    graph_of: Callable[..., Graph],
) -> None:
    webhooks = {"w" * 32: {"signature": "github", "secrets": [SECRET_ARN]}}
    names = [
        alarm.inputs["name"].removeprefix("datapipeline-dev")
        for alarm in graph_of(webhooks=webhooks).of_type("aws:cloudwatch/metricAlarm:MetricAlarm")
    ]
    assert any("w" * 32 in name for name in names)
    # A longer service has no layer, and is refused: components/names.py.
    assert LONGEST_LAYER_NAME + max(map(len, names)) <= 255


def test_every_section_that_components_and_handlers_name_is_in_the_document() -> None:
    document = (ROOT / "docs/alarms.md").read_text()
    named = {
        section
        for folder in ("components", "handlers")
        for file in (ROOT / folder).rglob("*.py")
        for section in re.findall(r'section(?:: str)? ?= ?"([a-z-]+)"', file.read_text())
    }
    assert {"webhook-forged", "silent-devices"} <= named
    assert named <= set(re.findall(r"^### ([a-z-]+)$", document, re.MULTILINE))


def test_the_link_of_an_alarm_leads_where_the_config_says() -> None:
    graph = graphs.graph_of("iot", {"alarms": {"runbook": "https://wiki.example.com/alarms"}})
    alarm = graph.find("aws:cloudwatch/metricAlarm:MetricAlarm", "pipeline-watch-bad-metrics")
    assert alarm.inputs["alarmDescription"].endswith(". What to do: https://wiki.example.com/alarms#bad-metrics")


@pytest.mark.parametrize(
    ("stack", "config", "functions"),
    [
        ("ingestion", {"queue": {"reconciler": {}}}, ("worker", "reconciler")),
        ("csv", {}, ("worker",)),
        ("iot", {"silence": {"after_minutes": 30}}, ("worker", "watcher")),
    ],
)
def test_the_alerts_of_functions_link_to_the_same_place(
    stack: str, config: dict[str, Any], functions: tuple[str, ...]
) -> None:
    graph = graphs.graph_of(stack, {**config, "alarms": {"runbook": "https://wiki.example.com/alarms"}})
    for name in functions:
        function = graph.find("aws:lambda/function:Function", f"pipeline-{name}")
        assert function.inputs["environment"]["variables"]["ALERTS_RUNBOOK"] == "https://wiki.example.com/alarms"
