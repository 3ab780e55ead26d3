"""Who is told when something goes wrong."""

import hashlib
import json

import pulumi
import pulumi_aws as aws
from pulumi import ResourceOptions

from components.grants import Grant
from components.options.common import NotificationOptions


class Notifications(pulumi.ComponentResource):
    """A topic for alerts and its subscriptions. Alarms and functions publish to it."""

    def __init__(self, name: str, options: NotificationOptions, *, opts: ResourceOptions | None = None) -> None:
        super().__init__("datapipeline:index:Notifications", name, None, opts)
        child = ResourceOptions(parent=self)
        topic = aws.sns.Topic(name, opts=child)
        aws.sns.TopicPolicy(name, arn=topic.arn, policy=topic.arn.apply(_publishers), opts=child)
        for subscription in options.subscriptions:
            label = f"{name}-{subscription.protocol}-{_short(subscription.endpoint)}"
            aws.sns.TopicSubscription(
                label,
                topic=topic.arn,
                protocol=subscription.protocol,
                endpoint=subscription.endpoint,
                opts=child,
            )
            if subscription.protocol == "lambda":
                aws.lambda_.Permission(
                    label,
                    action="lambda:InvokeFunction",
                    function=subscription.endpoint,
                    principal="sns.amazonaws.com",
                    source_arn=topic.arn,
                    opts=child,
                )
        self.arn = topic.arn
        self.register_outputs({"arn": self.arn})

    def grant_publish(self, variable: str = "ALERTS_TOPIC_ARN") -> Grant:
        """To publish; the function learns the topic from `variable`."""
        return Grant(("sns:Publish",), (self.arn,), {variable: self.arn})


def _publishers(arn: str) -> str:
    """Alarms of this account may publish, and nobody over plain HTTP. Roles have policies of their own."""
    account = arn.split(":")[4]
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": "Alarms",
                    "Effect": "Allow",
                    "Principal": {"Service": "cloudwatch.amazonaws.com"},
                    "Action": "sns:Publish",
                    "Resource": arn,
                    "Condition": {"StringEquals": {"aws:SourceAccount": account}},
                },
                {
                    "Sid": "DenyPlainHttp",
                    "Effect": "Deny",
                    "Principal": "*",
                    "Action": "sns:Publish",
                    "Resource": arn,
                    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                },
            ],
        },
    )


def _short(text: str) -> str:
    """What tells subscriptions apart in names, which AWS keeps short."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]
