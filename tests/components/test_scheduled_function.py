"""A function by the clock: its timetables, whom it may be invoked by, and where its failures go."""

import json

import pytest

from components.function import Size
from components.options.common import LogOptions
from components.runtime import Runtime
from components.scheduled_function import ScheduledFunction, Timetable
from components.sources import Sources
from local.recording import Graph, synthesise

ACCOUNT = "us-east-1:123456789012"


def _program() -> None:
    ScheduledFunction(
        "tidy",
        {
            "hourly": Timetable("cron(5 * * * ? *)", stopped_after_seconds=7_200, event={"hours": 1}),
            "often": Timetable("rate(1 minute)", stopped_after_seconds=300),
        },
        handler="handlers.api.report.handler",
        runtime=Runtime(
            "service",
            Sources({}),
            "arn:aws:lambda:us-east-1:123456789012:layer:one:1",
            LogOptions(retention_days=1),
            tracing=False,
        ),
        size=Size(memory_mb=128, timeout_seconds=30),
        grants=[],
        environment={},
    )


@pytest.fixture(scope="module")
def graph() -> Graph:
    return synthesise(stack="dev", program=_program)


def test_each_timetable_runs_the_function_with_its_event_and_failures_are_kept(graph: Graph) -> None:
    function = f"arn:aws:lambda:{ACCOUNT}:function:{graph.find('aws:lambda/function:Function', 'tidy').physical_name}"
    queue = graph.find("aws:sqs/queue:Queue", "tidy-dead-letters").physical_name
    role = graph.find("aws:iam/role:Role", "tidy-schedule").physical_name
    dead_letters = f"arn:aws:sqs:{ACCOUNT}:{queue}"
    target = {
        "arn": function,
        "roleArn": f"arn:aws:iam::123456789012:role/{role}",
        "retryPolicy": {"maximumEventAgeInSeconds": 3_600, "maximumRetryAttempts": 2},
        "deadLetterConfig": {"arn": dead_letters},
    }
    made = {schedule.name: dict(schedule.inputs) for schedule in graph.of_type("aws:scheduler/schedule:Schedule")}
    assert made == {
        "tidy-hourly": {
            "scheduleExpression": "cron(5 * * * ? *)",
            "flexibleTimeWindow": {"mode": "OFF"},
            "target": {**target, "input": '{"hours": 1}'},
        },
        "tidy-often": {
            "scheduleExpression": "rate(1 minute)",
            "flexibleTimeWindow": {"mode": "OFF"},
            "target": {**target, "input": "{}"},
        },
    }
    config = graph.find("aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig", "tidy").inputs
    assert config["destinationConfig"] == {"onFailure": {"destination": dead_letters}}


def test_the_schedules_role_may_invoke_this_function_and_keep_failures_and_is_for_scheduler_alone(graph: Graph) -> None:
    function = graph.find("aws:lambda/function:Function", "tidy").physical_name
    queue = graph.find("aws:sqs/queue:Queue", "tidy-dead-letters").physical_name
    policy = json.loads(graph.find("aws:iam/rolePolicy:RolePolicy", "tidy-schedule").inputs["policy"])
    assert policy["Statement"] == [
        {
            "Sid": "RunTheFunction",
            "Effect": "Allow",
            "Action": ["lambda:InvokeFunction"],
            "Resource": [f"arn:aws:lambda:{ACCOUNT}:function:{function}"],
        },
        {
            "Sid": "KeepEventsThatFail",
            "Effect": "Allow",
            "Action": ["sqs:SendMessage"],
            "Resource": [f"arn:aws:sqs:{ACCOUNT}:{queue}"],
        },
    ]
    trust = json.loads(graph.find("aws:iam/role:Role", "tidy-schedule").inputs["assumeRolePolicy"])
    assert trust["Statement"] == [
        {
            "Effect": "Allow",
            "Principal": {"Service": "scheduler.amazonaws.com"},
            "Action": "sts:AssumeRole",
            "Condition": {
                "StringEquals": {
                    "aws:SourceAccount": "123456789012",
                    "aws:SourceArn": f"arn:aws:scheduler:{ACCOUNT}:schedule-group/default",
                },
            },
        },
    ]
