"""Topics and subscriptions for alerts and alarms."""

import hashlib
import json
from dataclasses import replace
from typing import Any

import pulumi
import pulumi_aws as aws
from pulumi import ResourceOptions

from components.grants import Grant
from components.observability import Alarm
from components.options.common import NotificationOptions
from components.policies import deny_plain_http
from components.queue import DeadLetterQueue, dead_letters_alarm

UNDELIVERED_KEPT_DAYS = 14
_COLONS_OF_A_FUNCTION = 6
# A new alarm goes from INSUFFICIENT_DATA to OK, which nobody needs to hear of a dozen alarms at a first deployment.
# https://docs.aws.amazon.com/sns/latest/dg/and-or-logic.html
_WITHOUT_FIRST_OK = json.dumps({"$or": [{"NewStateValue": ["ALARM"]}, {"OldStateValue": ["ALARM"]}]})


class Notifications(pulumi.ComponentResource):
    """A topic and its subscriptions. Functions publish to it by their own rights, and `alarms` of this account.

    What cannot be delivered to a queue, a function or an address lies with `dead_letters`.
    """

    def __init__(
        self,
        name: str,
        options: NotificationOptions,
        *,
        alarms: bool,
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__("datapipeline:index:Notifications", name, None, opts)
        child = ResourceOptions(parent=self)
        topic = aws.sns.Topic(name, opts=child)
        policy = deny_plain_http("sns:Publish", topic.arn, also=[_alarms(topic)] if alarms else [])
        aws.sns.TopicPolicy(name, arn=topic.arn, policy=policy, opts=child)
        self.dead_letters: DeadLetterQueue | None = None
        redrive: pulumi.Output[str] | None = None
        if options.to_machines:
            self.dead_letters = DeadLetterQueue(
                f"{name}-dead-letters", retention_days=UNDELIVERED_KEPT_DAYS, topic_arn=topic.arn, opts=child
            )
            redrive = pulumi.Output.json_dumps({"deadLetterTargetArn": self.dead_letters.arn})
        for subscription in options.subscriptions:
            label = f"{name}-{subscription.protocol}-{_short(subscription.endpoint)}"
            aws.sns.TopicSubscription(
                label,
                topic=topic.arn,
                protocol=subscription.protocol,
                endpoint=subscription.endpoint,
                redrive_policy=None if subscription.protocol == "email" else redrive,
                filter_policy=_WITHOUT_FIRST_OK if alarms else None,
                filter_policy_scope="MessageBody" if alarms else None,
                opts=child,
            )
            if subscription.protocol == "lambda":
                function, qualifier = _function_of(subscription.endpoint)
                aws.lambda_.Permission(
                    label,
                    action="lambda:InvokeFunction",
                    function=function,
                    qualifier=qualifier,
                    principal="sns.amazonaws.com",
                    source_arn=topic.arn,
                    opts=child,
                )
        self._name = name
        self.arn = topic.arn
        self.register_outputs({"arn": self.arn})

    def grant_publish(self, variable: str) -> Grant:
        """To publish; the function learns the topic from `variable`."""
        return Grant(("sns:Publish",), (self.arn,), {variable: self.arn}, why=f"publish to {self._name}")

    def grant_alert(self, runbook: str) -> Grant:
        """To alert people; the function learns the topic, and the runbook that each alert links to."""
        grant = self.grant_publish("ALERTS_TOPIC_ARN")
        return replace(grant, environment={**grant.environment, "ALERTS_RUNBOOK": runbook})

    def alarms(self, label: str) -> dict[str, Alarm]:
        """An alarm on notifications that could not be delivered, if any subscription can fail for good."""
        if self.dead_letters is None:
            return {}
        description = f"Notifications of {self._name} could not be delivered: fix the subscription."
        return {
            f"{label}-undelivered": dead_letters_alarm(
                self.dead_letters.name, description, "undelivered-notifications", step="notifications"
            )
        }


def _function_of(arn: str) -> tuple[str, str | None]:
    """Return a function's ARN without its alias or version, and that: the provider keeps them apart, too."""
    if arn.count(":") == _COLONS_OF_A_FUNCTION:
        return arn, None
    function, _, qualifier = arn.rpartition(":")
    return function, qualifier


def _alarms(topic: aws.sns.Topic) -> dict[str, Any]:
    """Alarms of this account and region may publish.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Notify_Users_Alarm_Changes.html
    """

    def condition(arn: str) -> dict[str, dict[str, str]]:
        _, partition, _, region, account, _ = arn.split(":")
        alarms = f"arn:{partition}:cloudwatch:{region}:{account}:alarm:*"
        return {"StringEquals": {"aws:SourceAccount": account}, "ArnLike": {"aws:SourceArn": alarms}}

    return {
        "Sid": "Alarms",
        "Effect": "Allow",
        "Principal": {"Service": "cloudwatch.amazonaws.com"},
        "Action": "sns:Publish",
        "Resource": topic.arn,
        "Condition": topic.arn.apply(condition),
    }


def _short(text: str) -> str:
    """Short text that distinguishes subscriptions in names, whose length AWS limits."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]
