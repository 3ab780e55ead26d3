"""The compactor as it is deployed: its schedule, its rights, its alarms."""

from collections.abc import Callable
from typing import Any

from components.compactor import SIZE, STOPPED_AFTER_SECONDS
from handlers.api.compactor import STOPPING_SECONDS
from local.recording import Graph

from .test_roles import LOGS, statements

NAME = "pipeline-compactor"
ON: dict[str, Any] = {"archive": {"compaction": {}}}


def test_there_is_none_unless_asked_for(graph_of: Callable[..., Graph]) -> None:
    assert not {resource.name for resource in graph_of(storage={"archive": {}}) if "compactor" in resource.name}


def test_it_runs_each_hour_and_one_run_ends_before_the_next(graph_of: Callable[..., Graph]) -> None:
    (schedule,) = graph_of(storage=ON).of_type("aws:scheduler/schedule:Schedule")
    assert schedule.inputs["scheduleExpression"] == "cron(35 * * * ? *)"
    assert STOPPING_SECONDS < SIZE.timeout_seconds < 3_600 < STOPPED_AFTER_SECONDS


def test_it_may_change_the_archive_and_nothing_else(graph_of: Callable[..., Graph]) -> None:
    graph = graph_of(storage=ON)
    account = "us-east-1:123456789012"
    bucket = graph.find("aws:s3/bucket:Bucket", "pipeline-bucket").physical_name
    failures = graph.find("aws:sqs/queue:Queue", f"{NAME}-dead-letters").physical_name
    logs = graph.find("aws:cloudwatch/logGroup:LogGroup", NAME).physical_name
    objects = [f"arn:aws:s3:::{bucket}/archive/*"]
    assert statements(graph, NAME) == [
        (["sqs:SendMessage"], [f"arn:aws:sqs:{account}:{failures}"]),
        (["s3:ListBucket"], [f"arn:aws:s3:::{bucket}"]),
        (["s3:GetObject"], objects),
        (["s3:PutObject"], objects),
        (["s3:DeleteObject"], objects),
        (LOGS, [f"arn:aws:logs:{account}:log-group:{logs}:*"]),
    ]


def test_its_alarms_watch_its_runs(graph_of: Callable[..., Graph]) -> None:
    kind = "aws:cloudwatch/metricAlarm:MetricAlarm"
    with_it, without = ({alarm.name for alarm in graph_of(storage=each).of_type(kind)} for each in (ON, {}))
    assert {name.removeprefix("pipeline-watch-compactor-") for name in with_it - without} == {
        "errors",
        "throttles",
        "duration",
        "stopped",
        "dead-letters",
    }
