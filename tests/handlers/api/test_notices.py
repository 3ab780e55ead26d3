"""Alerts, and their subjects."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from handlers.api.events import Envelope
from handlers.api.notices import publish_failures
from handlers.csv.notices import publish_failure, publish_file, publish_refusal
from handlers.iot.notices import publish_alerts, publish_silences
from handlers.iot.silence import SilenceAlert
from handlers.iot.thresholds import Alert
from handlers.processor import Rejected
from handlers.shared import aws, queues
from handlers.shared.alerts import AlertTopic
from handlers.shared.times import timestamp
from tests.api_pipeline import Pipeline, Time

LONG = "a-long-name-of-a-project-" * 10


class Topic:
    """A topic that accepts everything."""

    def __init__(self) -> None:
        self.subjects: list[str] = []
        self.messages: list[str] = []

    def publish(self, **message: Any) -> None:
        self.subjects.append(message["Subject"])
        self.messages.append(message["Message"])

    def publish_batch(self, **batch: Any) -> Any:
        entries = batch["PublishBatchRequestEntries"]
        self.subjects += [entry["Subject"] for entry in entries]
        self.messages += [entry["Message"] for entry in entries]
        return {"Successful": entries}


@pytest.mark.parametrize(("service", "name"), [("a", LONG), (LONG, "a"), (LONG, LONG)])
def test_every_subject_is_shorter_than_100_characters(monkeypatch: pytest.MonkeyPatch, service: str, name: str) -> None:
    topic = Topic()
    monkeypatch.setattr(aws, "client", lambda _: topic)
    alerts = AlertTopic("topic", service, "docs/alarms.md")
    publish_failures(alerts, name, [{"id": name}])
    publish_file("topic", service, {"key": name, "status": "failed", "reason": name}, "bucket")
    publish_refusal(alerts, name)
    publish_alerts(alerts, [Alert("crossed", name, name, "1", "max", "0", "critical", "now")])
    assert len(topic.subjects) == 4
    assert all(len(subject) < 100 for subject in topic.subjects)


def test_every_alert_says_whose_it_is_how_urgent_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    topic = Topic()
    monkeypatch.setattr(aws, "client", lambda _: topic)
    alerts = AlertTopic("topic", "shop", "https://wiki.example.com/alarms")
    failed = {"id": "f", "status": "failed", "reason": "empty_file"}
    crossed = Alert("crossed", "d", "t", "9", "max", "8", "critical", "now")
    publish_failures(alerts, "Rejected", [{"id": "e-1"}])
    publish_failure(alerts, failed)
    publish_refusal(alerts, "m-1")
    publish_alerts(alerts, [crossed])
    publish_alerts(alerts, [crossed] * 11)
    publish_alerts(alerts, [replace(crossed, severity="warning")] * 11)
    publish_silences(alerts, "silent", {"d": SilenceAlert("silent", 0)})
    publish_silences(alerts, "returned", {f"d-{n}": SilenceAlert("returned", 0) for n in range(11)})
    said = [json.loads(message) for message in topic.messages]
    assert {(each["service"], each["runbook"].partition("#")[0]) for each in said} == {
        ("shop", "https://wiki.example.com/alarms")
    }
    assert [(each["severity"], each["step"], each["runbook"].partition("#")[2]) for each in said] == [
        *[("critical", "worker", "dead-letters")] * 3,
        *[("critical", "device", "limits")] * 2,
        ("warning", "device", "limits"),
        *[("warning", "device", "silent-devices")] * 2,
    ]


def test_an_alert_names_the_failed_events_the_first_fifty_of_many(aws_in_process: None) -> None:  # noqa: ARG001  moto answers
    topic = aws.client("sns").create_topic(Name="alerts")["TopicArn"]
    url = aws.client("sqs").create_queue(QueueName="inbox")["QueueUrl"]
    aws.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:123456789012:inbox")
    publish_failures(AlertTopic(topic, "shop", "docs/alarms.md"), "Rejected", [{"id": "e-1"}])
    publish_failures(AlertTopic(topic, "shop", "docs/alarms.md"), "Rejected", [{"id": f"e-{n}"} for n in range(60)])
    messages = aws.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    first, second = (json.loads(message["Body"]) for message in messages)
    assert first["Subject"] == "shop: 1 event failed: Rejected"
    alert = json.loads(first["Message"])
    assert (alert["service"], alert["failed"], alert["error_type"]) == ("shop", 1, "Rejected")
    assert alert["events"] == [{"id": "e-1"}]
    assert first["MessageAttributes"] == {"kind": {"Type": "String", "Value": "events_failed"}}
    assert second["Subject"] == "shop: 60 events failed: Rejected"
    alert = json.loads(second["Message"])
    assert (alert["failed"], len(alert["events"])) == (60, 50)


def test_more_than_ten_alerts_of_an_upload_are_one_message_a_kind_and_severity(aws_in_process: None) -> None:  # noqa: ARG001  moto answers
    """However many devices an uploader invents, an upload never sends more than ten messages."""
    topic = aws.client("sns").create_topic(Name="many")["TopicArn"]
    url = aws.client("sqs").create_queue(QueueName="many")["QueueUrl"]
    aws.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:123456789012:many")
    crossed = [Alert("crossed", f"d-{n}", "t", "9", "max", "8", "critical", "now") for n in range(5_000)]
    recovered = [Alert("recovered", "d-1", "t", "1", "max", "8", "warning", "now")]
    assert publish_alerts(AlertTopic(topic, "shop", "docs/alarms.md"), [*crossed, *recovered]) == [*crossed, *recovered]
    messages = aws.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    many, one = sorted((json.loads(message["Body"]) for message in messages), key=lambda body: body["Subject"])[::-1]
    alert = json.loads(many["Message"])
    assert alert["summary"] == "5000 limits (critical) crossed by d-0, d-1, d-2, d-3, d-4 and 4995 more"
    assert (alert["count"], len(alert["alerts"]), alert["alerts"][0]["device_id"]) == (5_000, 50, "d-0")
    assert {name: each["Value"] for name, each in many["MessageAttributes"].items()} == {
        "kind": "crossed",
        "severity": "critical",
    }
    assert json.loads(one["Message"])["count"] == 1


def test_a_thousand_rejected_events_are_a_handful_of_alerts(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come in a hundred batches. Each minute has one alert for a cause."""
    letters: list[str] = []

    def take(_url: str, messages: Sequence[queues.Outgoing], **_named: object) -> list[bool]:
        letters.extend(message.attributes["event_id"] for message in messages)
        return [True] * len(messages)

    def rejects(event: Mapping[str, Any]) -> None:
        raise Rejected(f"{event['n']} is no order")

    def record(number: int) -> dict[str, Any]:
        event_id = f"00000000-0000-4000-8000-{number:012}"
        envelope = Envelope(event_id, "order", timestamp(datetime.now(UTC)), "", "", "", "", {"n": number})
        return {
            "messageId": f"m-{number}",
            "receiptHandle": f"r-{number}",
            "body": envelope.to_message(),
            "attributes": {"ApproximateReceiveCount": "1"},
        }

    monkeypatch.setattr(queues, "send", take)
    worker, began = pipeline.worker(rejects), time.time()
    for start in range(0, 1_000, 10):
        answer = worker.handle([record(number) for number in range(start, start + 10)], Time())
        assert answer == {"batchItemFailures": []}
    assert len(set(letters)) == 1_000
    alerts = pipeline.alerts()
    minutes = time.time() // 60 - began // 60 + 1
    assert 1 <= len(alerts) <= minutes
    assert {(alert["error_type"], alert["runbook"]) for alert in alerts} == {
        ("Rejected", "docs/alarms.md#dead-letters")
    }
