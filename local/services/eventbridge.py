"""Event buses, their rules and targets."""

from typing import Any

from local.monitor import Created
from local.services import Clients, Inputs, creates
from local.services.iam import pairs
from local.services.lambda_ import pascal


@creates("aws:cloudwatch/eventBus:EventBus")
def event_bus(aws: Clients, name: str, inputs: Inputs) -> Created:
    inputs.get("name")
    request = inputs.renamed(Description="description", KmsKeyIdentifier="kmsKeyIdentifier")
    if "deadLetterConfig" in inputs:
        request["DeadLetterConfig"] = pascal(inputs["deadLetterConfig"])
    made = aws("events").create_event_bus(Name=name, Tags=pairs(inputs.tags), **request)
    return Created(name, {"name": name, "arn": made["EventBusArn"]})


@creates("aws:cloudwatch/eventRule:EventRule")
def event_rule(aws: Clients, name: str, inputs: Inputs) -> Created:
    inputs.get("name")
    made = aws("events").put_rule(
        Name=name,
        Tags=pairs(inputs.tags),
        **inputs.renamed(
            Description="description",
            EventBusName="eventBusName",
            EventPattern="eventPattern",
            RoleArn="roleArn",
            ScheduleExpression="scheduleExpression",
            State="state",
        ),
    )
    return Created(aws.rule_path(name, inputs.get("eventBusName")), {"name": name, "arn": made["RuleArn"]})


@creates("aws:cloudwatch/eventTarget:EventTarget")
def event_target(aws: Clients, name: str, inputs: Inputs) -> Created:
    target: dict[str, Any] = {
        "Id": inputs.get("targetId", name),
        **inputs.renamed(Arn="arn", Input="input", InputPath="inputPath", RoleArn="roleArn"),
    }
    for key in ("deadLetterConfig", "retryPolicy"):
        if key in inputs:
            target[key[0].upper() + key[1:]] = pascal(inputs[key])
    if "sqsTarget" in inputs:
        target["SqsParameters"] = pascal(inputs["sqsTarget"])
    aws("events").put_targets(Rule=inputs["rule"], Targets=[target], **inputs.renamed(EventBusName="eventBusName"))
    return Created(f"{inputs['rule']}-{target['Id']}")
