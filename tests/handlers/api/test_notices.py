"""Alerts, and their subjects."""

import json
from typing import Any

import pytest

from handlers.api.notices import publish_failures
from handlers.csv.notices import publish_file, publish_refusal
from handlers.iot.notices import publish_alerts
from handlers.iot.thresholds import Alert
from handlers.shared import aws

LONG = "a-long-name-of-a-project-" * 10


class Topic:
    """A topic that accepts everything."""

    def __init__(self) -> None:
        self.subjects: list[str] = []

    def publish(self, **message: Any) -> None:
        self.subjects.append(message["Subject"])

    def publish_batch(self, **batch: Any) -> Any:
        entries = batch["PublishBatchRequestEntries"]
        self.subjects += [entry["Subject"] for entry in entries]
        return {"Successful": entries}


@pytest.mark.parametrize(("service", "name"), [("a", LONG), (LONG, "a"), (LONG, LONG)])
def test_every_subject_is_shorter_than_100_characters(monkeypatch: pytest.MonkeyPatch, service: str, name: str) -> None:
    topic = Topic()
    monkeypatch.setattr(aws, "client", lambda _: topic)
    publish_failures("topic", service, name, [{"id": name}])
    publish_file("topic", service, {"key": name, "status": "failed", "reason": name}, "bucket")
    publish_refusal("topic", service, name)
    publish_alerts("topic", service, [Alert("crossed", name, name, "1", "max", "0", "critical", "now")])
    assert len(topic.subjects) == 4
    assert all(len(subject) < 100 for subject in topic.subjects)


def test_an_alert_names_the_failed_events_the_first_fifty_of_many(aws_in_process: None) -> None:  # noqa: ARG001  moto answers
    topic = aws.client("sns").create_topic(Name="alerts")["TopicArn"]
    url = aws.client("sqs").create_queue(QueueName="inbox")["QueueUrl"]
    aws.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:123456789012:inbox")
    publish_failures(topic, "shop", "Rejected", [{"id": "e-1"}])
    publish_failures(topic, "shop", "Rejected", [{"id": f"e-{n}"} for n in range(60)])
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
    assert publish_alerts(topic, "shop", [*crossed, *recovered]) == [*crossed, *recovered]
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
