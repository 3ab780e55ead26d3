"""The reconciler as it is deployed: its schedule, its rights, its alarms, its bill."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from components.reconciler import EVERY_MINUTES, SIZE, STOPPED_AFTER_SECONDS
from handlers.api.reconciler import STOPPING_SECONDS
from local.recording import Graph

from .test_roles import COMPLETE, LOGS, READ, arns, statements

NAME = "pipeline-reconciler"
ON: dict[str, Any] = {"queue": {"reconciler": {}}}


def test_without_the_option_there_is_none(graph_of: Callable[..., Graph]) -> None:
    assert not {resource.name for resource in graph_of() if "reconciler" in resource.name}


def test_it_runs_each_five_minutes_and_one_run_ends_before_the_next(graph_of: Callable[..., Graph]) -> None:
    (schedule,) = graph_of(**ON).of_type("aws:scheduler/schedule:Schedule")
    assert schedule.inputs["scheduleExpression"] == "rate(5 minutes)"
    assert STOPPING_SECONDS < SIZE.timeout_seconds < EVERY_MINUTES * 60 < STOPPED_AFTER_SECONDS


def test_it_may_do_exactly_this_and_delete_no_letter(graph_of: Callable[..., Graph]) -> None:
    graph = graph_of(**ON, outcomes={})
    arn, account = arns(graph), "us-east-1:123456789012"
    failures = graph.find("aws:sqs/queue:Queue", f"{NAME}-dead-letters").physical_name
    bus = graph.find("aws:cloudwatch/eventBus:EventBus", "pipeline-outcomes").physical_name
    logs = graph.find("aws:cloudwatch/logGroup:LogGroup", NAME).physical_name
    assert statements(graph, NAME) == [
        (["sqs:SendMessage"], [f"arn:aws:sqs:{account}:{failures}"]),
        (
            ["sqs:ReceiveMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"],
            [arn["dead letters"]],
        ),
        (READ, [arn["table"]]),
        (COMPLETE, [arn["table"]]),
        (["dynamodb:Query"], [f"{arn['table']}/index/by-time"]),
        (["sns:Publish"], [arn["alerts"]]),
        (["events:PutEvents"], [f"arn:aws:events:{account}:event-bus/{bus}"]),
        (LOGS, [f"arn:aws:logs:{account}:log-group:{logs}:*"]),
    ]
    document = json.loads(graph.find("aws:iam/rolePolicy:RolePolicy", NAME).inputs["policy"])
    assert "sqs:DeleteMessage" not in str(document)


def test_it_may_write_to_the_archive_where_there_is_one(graph_of: Callable[..., Graph]) -> None:
    graph = graph_of(**ON, storage={"archive": {}})
    bucket = graph.find("aws:s3/bucket:Bucket", "pipeline-bucket").physical_name
    plain = graph_of(**ON)
    added = [each for each in statements(graph, NAME) if each not in statements(plain, NAME)]
    assert added == [(["s3:PutObject"], [f"arn:aws:s3:::{bucket}/archive/*"])]


def test_its_alarms_watch_its_runs_and_the_age_of_letters_that_its_looks_hide_from_sqs(
    graph_of: Callable[..., Graph],
) -> None:
    kind = "aws:cloudwatch/metricAlarm:MetricAlarm"
    with_it, without = (
        {alarm.name: alarm.inputs for alarm in graph.of_type(kind)} for graph in (graph_of(**ON), graph_of())
    )
    assert {name.removeprefix("pipeline-watch-") for name in with_it.keys() - without.keys()} == {
        "reconciler-errors",
        "reconciler-throttles",
        "reconciler-duration",
        "reconciler-stopped",
        "reconciler-dead-letters",
        "stuck-events",
    }
    stuck = with_it["pipeline-watch-stuck-events"]
    assert (stuck["metricName"], stuck["threshold"], stuck["treatMissingData"]) == ("StuckEvents", 1, "ignore")
    oldest = with_it["pipeline-watch-oldest-dead-letter"]
    assert (oldest["namespace"], oldest["metricName"]) == ("DataPipeline", "OldestDeadLetterSeconds")
    assert oldest["threshold"] == 14 * 86_400 * 0.75
    # SQS's metric leaves out the time that a letter was in the queue, up to four days, and which its retention counts.
    from_sqs = without["pipeline-watch-oldest-dead-letter"]
    assert from_sqs["metricName"] == "ApproximateAgeOfOldestMessage"
    assert from_sqs["threshold"] == (14 - 4) * 86_400 * 0.75


@pytest.mark.parametrize(
    "storage",
    [{"time_index": False}, {"items_expire_after_days": 18}],
    ids=["no time index", "items expire before their events are lost"],
)
def test_it_looks_for_lost_messages_only_where_it_can_find_them(
    graph_of: Callable[..., Graph], storage: dict[str, Any]
) -> None:
    graph = graph_of(**ON, storage=storage)
    assert "dynamodb:Query" not in str(statements(graph, NAME))
    assert not [each for each in graph.of_type("aws:cloudwatch/metricAlarm:MetricAlarm") if "stuck" in each.name]
    function = graph.find("aws:lambda/function:Function", NAME)
    assert "LOST_AFTER_SECONDS" not in function.inputs["environment"]["variables"]


def test_a_message_is_lost_after_both_retentions_and_an_hour(graph_of: Callable[..., Graph]) -> None:
    graph = graph_of(queue={**ON["queue"], "retention_days": 2, "dead_letter_retention_days": 5})
    for name in (NAME, "pipeline-ingest"):
        variables = graph.find("aws:lambda/function:Function", name).inputs["environment"]["variables"]
        assert variables["LOST_AFTER_SECONDS"] == str(7 * 86_400 + 3_600)
