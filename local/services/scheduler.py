"""Schedules. The emulator checks them every second."""

from typing import Any

from local.monitor import Created
from local.services import Clients, Inputs, creates
from local.services.lambda_ import pascal


@creates("aws:scheduler/schedule:Schedule")
def schedule(aws: Clients, name: str, inputs: Inputs) -> Created:
    inputs.get("name")
    given = inputs["target"]
    target: dict[str, Any] = pascal(given)
    for key in ("RetryPolicy", "DeadLetterConfig"):
        if key in target:
            target[key] = pascal(target[key])
    made = aws("scheduler").create_schedule(
        Name=name,
        FlexibleTimeWindow=pascal(inputs["flexibleTimeWindow"]),
        ScheduleExpression=inputs["scheduleExpression"],
        Target=target,
        **inputs.renamed(
            Description="description",
            KmsKeyArn="kmsKeyArn",
            ScheduleExpressionTimezone="scheduleExpressionTimezone",
            State="state",
        ),
    )
    return Created(f"default/{name}", {"name": name, "arn": made["ScheduleArn"]})
