"""Alerts to people, by way of the alerts topic."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from handlers.iot.silence import SilenceAlert, SilenceAlertKind
from handlers.iot.thresholds import Alert
from handlers.shared import aws
from handlers.shared.alerts import AlertTopic, text_attributes
from handlers.shared.log import logger

# https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html
ALERTS_A_CALL = 10
# A message about more devices names the first of them; a message has room for 256 KB.
NAMED_DEVICES = 100
NAMED_ALERTS = 50
NAMED_IN_SUMMARY = 5


class NotPublishedError(Exception):
    """The alerts topic did not take all alerts. Those that are left stand in the table; Lambda tries again."""


def publish_alerts(topic: AlertTopic, alerts: Sequence[Alert]) -> list[Alert]:
    """Publish the threshold alerts of an upload; return those that the topic took.

    They are a message each, or one message per kind and severity if there are more than ten: one upload never sends
    more than ten messages, whatever an uploader writes into it. A message is JSON: a `summary` for people, and the
    alert's fields, or the `count` and the first alerts in `alerts`. Its attributes are for subscribers' filters:
    `kind`, `severity` and, of one alert, `device_id` and `metric`.
    """
    if len(alerts) <= ALERTS_A_CALL:
        groups = [[alert] for alert in alerts]
        entries = [_entry_of_alert(topic, alert) for alert in alerts]
    else:
        alike: defaultdict[tuple[str, str], list[Alert]] = defaultdict(list)
        for alert in alerts:
            alike[alert.kind, alert.severity].append(alert)
        groups = list(alike.values())
        entries = [_entry_of_alerts(topic, group) for group in groups]
    return [alert for position in _published(topic, entries) for alert in groups[position]]


def _entry_of_alert(topic: AlertTopic, alert: Alert) -> dict[str, Any]:
    subject = f"{alert.device_id} {alert.metric} {alert.kind} {alert.severity}"
    return _entry(topic, subject, {"summary": _summary(alert), **asdict(alert)}, section="limits")


def _entry_of_alerts(topic: AlertTopic, alerts: Sequence[Alert]) -> dict[str, Any]:
    """Return one message about alerts of one kind and severity."""
    first = alerts[0]
    devices = list(dict.fromkeys(alert.device_id for alert in alerts))
    more = f" and {len(devices) - NAMED_IN_SUMMARY} more" if len(devices) > NAMED_IN_SUMMARY else ""
    what = f"{len(alerts)} limits ({first.severity}) {'crossed' if first.kind == 'crossed' else 'no longer crossed'}"
    fields = {
        "summary": f"{what} by {', '.join(devices[:NAMED_IN_SUMMARY])}{more}",
        "kind": first.kind,
        "severity": first.severity,
        "count": len(alerts),
        "alerts": [asdict(alert) for alert in alerts[:NAMED_ALERTS]],
    }
    return _entry(topic, f"{len(alerts)} limits {first.kind} {first.severity}", fields, section="limits")


def publish_silences(topic: AlertTopic, kind: SilenceAlertKind, alerts: Mapping[str, SilenceAlert]) -> list[str]:
    """Publish alerts of one kind by device; return the devices whose alerts the topic took.

    They are a message each, or one message together if there are more than ten: it has their `count`, and the ids and
    times of the first devices in `devices`. Attributes for filters are `kind` and, of one device, `device_id`.
    """
    devices = sorted(alerts)
    if not devices:
        return []
    if len(devices) > ALERTS_A_CALL:
        return devices if _published(topic, [_entry_of_many(topic, kind, devices, alerts)]) else []
    entries = [_entry_of_one(topic, device, alerts[device]) for device in devices]
    return [devices[position] for position in _published(topic, entries)]


def _entry_of_one(topic: AlertTopic, device: str, alert: SilenceAlert) -> dict[str, Any]:
    at = _time(alert.heard_at)
    summary = (
        f"{device} is silent: its last upload arrived at {at}"
        if alert.kind == "silent"
        else f"{device} is no longer silent: an upload arrived at {at}"
    )
    fields = {"summary": summary, "kind": alert.kind, "device_id": device, "timestamp": at}
    return _entry(topic, f"{device} {alert.kind}", fields, section="silent-devices")


def _entry_of_many(
    topic: AlertTopic, kind: str, devices: Sequence[str], alerts: Mapping[str, SilenceAlert]
) -> dict[str, Any]:
    what = f"{len(devices)} devices are {'silent' if kind == 'silent' else 'no longer silent'}"
    more = len(devices) - NAMED_IN_SUMMARY
    summary = f"{what}: {', '.join(devices[:NAMED_IN_SUMMARY])} and {more} more"
    named = [{"device_id": device, "timestamp": _time(alerts[device].heard_at)} for device in devices[:NAMED_DEVICES]]
    fields = {"summary": summary, "kind": kind, "count": len(devices), "devices": named}
    return _entry(topic, f"{len(devices)} devices {kind}", fields, section="silent-devices")


def _entry(topic: AlertTopic, subject: str, fields: Mapping[str, Any], section: str) -> dict[str, Any]:
    """Return an entry of a batch. A threshold's alert has the severity of its limit; a silence is a warning."""
    severity = fields.get("severity", "warning")
    attributes = {name: fields[name] for name in ("kind", "severity", "device_id", "metric") if name in fields}
    return {
        **topic.message(subject, fields, severity=severity, step="device", section=section),
        "MessageAttributes": text_attributes(attributes),
    }


def _published(topic: AlertTopic, entries: Sequence[Mapping[str, Any]]) -> list[int]:
    """Publish at most ten messages; return the positions of those that the topic took."""
    numbered = [{"Id": str(position), **entry} for position, entry in enumerate(entries)]
    try:
        answer = aws.client("sns").publish_batch(TopicArn=topic.arn, PublishBatchRequestEntries=numbered)
    except aws.errors() as error:
        # Other calls may go well: the caller is told alert by alert.
        logger.warning("the topic did not take alerts", extra={"topic": topic.arn, "reason": str(error)})
        return []
    return [int(entry["Id"]) for entry in answer["Successful"]]


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _summary(alert: Alert) -> str:
    of_device = f"{alert.device_id}: {alert.metric}"
    if not alert.limit:
        return f"{of_device}: the {alert.severity} limit {alert.bound} was removed, at {alert.timestamp}"
    where = "below" if alert.bound == "min" else "above"
    where = where if alert.kind == "crossed" else f"no longer {where}"
    return f"{of_device} is {alert.value}, {where} {alert.limit} ({alert.severity}), at {alert.timestamp}"
