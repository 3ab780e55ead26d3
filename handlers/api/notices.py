"""Alerts on the alerts topic."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from handlers.shared import aws

# https://docs.aws.amazon.com/sns/latest/api/API_Publish.html: 256 KB a message.
LISTED_EVENTS = 50


def publish_failures(topic_arn: str, service: str, failures: Sequence[Mapping[str, Any]]) -> None:
    """Publish one alert for failed events: `{"service", "failed", "events": [{"id", "type", "error", ...}]}`."""
    alert = {"service": service, "failed": len(failures), "events": list(failures[:LISTED_EVENTS])}
    plural = "event" if len(failures) == 1 else "events"
    aws.client("sns").publish(
        TopicArn=topic_arn,
        Subject=f"{service}: {len(failures)} {plural} failed"[: aws.SUBJECT_CHARACTERS],
        Message=json.dumps(alert, indent=2),
        MessageAttributes={"kind": {"DataType": "String", "StringValue": "events_failed"}},
    )
