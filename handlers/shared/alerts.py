"""The form of alerts to people: whose it is, how urgent, which step has the trouble, and a link to what to do.

The descriptions of alarms say the same (components/observability.py).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handlers.shared import aws
from handlers.shared.settings import AlertSettings


@dataclass(frozen=True)
class AlertTopic:
    """The alerts topic of the pipeline `service`. `runbook` is the address of docs/alarms.md, or of a copy."""

    arn: str
    service: str
    runbook: str

    @classmethod
    def of(cls, settings: AlertSettings, service: str) -> "AlertTopic":
        """Return the topic that a function's settings name."""
        return cls(settings.alerts_topic_arn, service, settings.alerts_runbook)

    def message(
        self, subject: str, facts: Mapping[str, Any], *, severity: str, step: str, section: str
    ) -> dict[str, str]:
        """Return `Subject` and `Message` of an alert: `{"service", "severity", "step", "runbook", ...}` and the facts.

        As in an alarm, `severity` is `critical` or `warning`, `step` the step of the pipeline that has the trouble, and
        `section` a section of the runbook.
        """
        whose = {
            "service": self.service,
            "severity": severity,
            "step": step,
            "runbook": f"{self.runbook}#{section}",
        }
        return {
            "Subject": f"{self.service}: {subject}"[: aws.SUBJECT_CHARACTERS],
            "Message": json.dumps({**whose, **facts}, indent=2),
        }

    def publish(self, message: Mapping[str, str], attributes: Mapping[str, str]) -> None:
        """Publish a message with text attributes, for the filters of subscriptions."""
        aws.client("sns").publish(TopicArn=self.arn, **message, MessageAttributes=text_attributes(attributes))


def text_attributes(values: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return message attributes in SNS's form."""
    return {name: {"DataType": "String", "StringValue": value} for name, value in values.items()}
