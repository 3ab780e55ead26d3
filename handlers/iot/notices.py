"""Threshold alerts to people, by way of the alerts topic."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from botocore.exceptions import BotoCoreError, ClientError

from handlers.iot.thresholds import Alert
from handlers.shared import aws
from handlers.shared.log import logger

# https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html
ALERTS_A_CALL = 10


def publish_alerts(topic_arn: str, service: str, alerts: Sequence[Alert]) -> list[Alert]:
    """Publishes at most ten threshold alerts, a message each; returns those that the topic took.

    A message is JSON: a `summary` for people, and the alert's fields. Its attributes `kind`, `severity`, `device_id`
    and `metric` are for subscribers' filters.
    """
    entries = [
        {
            "Id": str(position),
            "Subject": f"{service}: {alert.device_id} {alert.metric} {alert.kind} {alert.severity}"[
                : aws.SUBJECT_CHARACTERS
            ],
            "Message": json.dumps({"service": service, "summary": _summary(alert), **asdict(alert)}, indent=2),
            "MessageAttributes": {
                name: {"DataType": "String", "StringValue": value}
                for name, value in asdict(alert).items()
                if name in ("kind", "severity", "device_id", "metric")
            },
        }
        for position, alert in enumerate(alerts)
    ]
    try:
        answer = aws.client("sns").publish_batch(TopicArn=topic_arn, PublishBatchRequestEntries=entries)
    except (BotoCoreError, ClientError) as error:
        # Other calls may go well: the caller is told alert by alert.
        logger.warning("the topic did not take alerts", extra={"topic": topic_arn, "reason": str(error)})
        return []
    return [alerts[int(entry["Id"])] for entry in answer["Successful"]]


def _summary(alert: Alert) -> str:
    of_device = f"{alert.device_id}: {alert.metric}"
    if not alert.limit:
        return f"{of_device}: the {alert.severity} limit {alert.bound} was removed, at {alert.timestamp}"
    where = "below" if alert.bound == "min" else "above"
    where = where if alert.kind == "crossed" else f"no longer {where}"
    return f"{of_device} is {alert.value}, {where} {alert.limit} ({alert.severity}), at {alert.timestamp}"
