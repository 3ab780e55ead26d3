"""A function that runs by the clock."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.function import Function, Size, role_policy
from components.grants import Grant
from components.observability import Alarm
from components.options.common import FunctionAlarmOptions
from components.queue import DeadLetterQueue, dead_letters_alarm
from components.runtime import Runtime

# The run after a missed one makes up for it; an event that waited for longer is of no use to anybody.
MAXIMUM_EVENT_AGE_SECONDS = 3_600
RETRIES = 2
DEAD_LETTERS_KEPT_DAYS = 14
SECONDS_AN_HOUR = 3_600


@dataclass(frozen=True)
class Timetable:
    """Schedule of a function, and the event that it receives.

    `expression`: `rate(1 minute)`, or `cron(5 * * * ? *)` in UTC:
    https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
    `stopped_after_seconds`: without a run for that long, something is wrong: whole minutes, and from an hour on whole
    hours, two days at most, as CloudWatch counts. More than from one run to the next.
    """

    expression: str
    stopped_after_seconds: int
    event: Mapping[str, Any] = field(default_factory=dict)


class ScheduledFunction(pulumi.ComponentResource):
    """A function with its timetables, which EventBridge Scheduler invokes it by, and the dead letters of both.

    Scheduler hands the event to Lambda, Lambda tries a failed run again; what either gives up lies with `dead_letters`.
    https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets.html
    """

    def __init__(
        self,
        name: str,
        timetables: Mapping[str, Timetable],
        *,
        handler: str,
        runtime: Runtime,
        size: Size,
        grants: Iterable[Grant],
        environment: Mapping[str, Input[str]],
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__("datapipeline:index:ScheduledFunction", name, None, opts)
        child = ResourceOptions(parent=self)
        self.dead_letters = DeadLetterQueue(f"{name}-dead-letters", retention_days=DEAD_LETTERS_KEPT_DAYS, opts=child)
        self.function = Function(
            name,
            handler=handler,
            runtime=runtime,
            size=size,
            grants=[self.dead_letters.grant_receive_failures(), *grants],
            environment=environment,
            opts=child,
        )
        aws.lambda_.FunctionEventInvokeConfig(
            name,
            function_name=self.function.name,
            maximum_retry_attempts=RETRIES,
            maximum_event_age_in_seconds=MAXIMUM_EVENT_AGE_SECONDS,
            destination_config={"on_failure": {"destination": self.dead_letters.arn}},
            # Lambda looks at the role's rights when the destination is set.
            opts=ResourceOptions(parent=self, depends_on=[self.function]),
        )
        role = aws.iam.Role(f"{name}-schedule", assume_role_policy=_assumed_by_scheduler(), opts=child)
        invokes = Grant(("lambda:InvokeFunction",), (self.function.arn,), why="run the function")
        grants = [invokes, self.dead_letters.grant_receive_failures()]
        policy = role_policy(f"{name}-schedule", role, grants, runtime.key, opts=child)
        for label, timetable in timetables.items():
            aws.scheduler.Schedule(
                f"{name}-{label}",
                schedule_expression=timetable.expression,
                flexible_time_window={"mode": "OFF"},
                target={
                    "arn": self.function.arn,
                    "role_arn": role.arn,
                    "input": json.dumps(timetable.event),
                    "retry_policy": {
                        "maximum_event_age_in_seconds": MAXIMUM_EVENT_AGE_SECONDS,
                        "maximum_retry_attempts": RETRIES,
                    },
                    "dead_letter_config": {"arn": self.dead_letters.arn},
                },
                opts=ResourceOptions(parent=self, depends_on=[policy]),
            )
        # CloudWatch counts a function's runs, not a timetable's: the one that runs most often is seen to stop.
        self.stopped_after_seconds = min(timetable.stopped_after_seconds for timetable in timetables.values())
        self.register_outputs({"function": self.function.name})

    def alarms(self, label: str, options: FunctionAlarmOptions) -> dict[str, Alarm]:
        """The function's alarms, and alarms on missing runs and dead letters: no caller would notice either."""
        # All periods of an alarm together cover at most a day if one is below an hour, and a week otherwise:
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html (Period)
        period_seconds = 60 if self.stopped_after_seconds < SECONDS_AN_HOUR else SECONDS_AN_HOUR
        return {
            **self.function.alarms(label, options),
            f"{label}-stopped": Alarm(
                f"The {label} function does not run: its schedule is disabled, or Lambda does not run it.",
                # Throttled requests are not counted as invocations.
                self.function.metric("Invocations", "Sum"),
                threshold=1,
                section="stopped",
                step=label,
                severity="critical",
                periods=self.stopped_after_seconds // period_seconds,
                period_seconds=period_seconds,
                heartbeat=True,
            ),
            f"{label}-dead-letters": dead_letters_alarm(
                self.dead_letters.name,
                f"Runs of the {label} function were given up: its dead letters say which ones, its logs why.",
                section="runs-given-up",
                step=label,
            ),
        }


def _assumed_by_scheduler() -> Output[str]:
    """By Scheduler, for schedules of this account in the group that ours are in.

    https://docs.aws.amazon.com/scheduler/latest/UserGuide/cross-service-confused-deputy-prevention.html
    """
    # Not from the function's ARN: the function waits for its key, and the key for all roles.
    account = aws.get_caller_identity_output().account_id
    region = aws.get_region_output().region
    partition = aws.get_partition_output().partition
    group = Output.concat("arn:", partition, ":scheduler:", region, ":", account, ":schedule-group/default")
    return Output.json_dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "scheduler.amazonaws.com"},
                    "Action": "sts:AssumeRole",
                    "Condition": {"StringEquals": {"aws:SourceAccount": account, "aws:SourceArn": group}},
                },
            ],
        },
    )
