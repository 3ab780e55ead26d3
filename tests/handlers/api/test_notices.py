"""What is published has a subject that SNS takes, however long the names in it are."""

from typing import Any

import pytest

from handlers.api.notices import publish_failures
from handlers.csv.notices import publish_file, publish_refusal
from handlers.iot.notices import publish_alerts
from handlers.iot.thresholds import Alert
from handlers.shared import aws

LONG = "a-long-name-of-a-project-" * 10


class Topic:
    """Takes everything."""

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
    publish_file("topic", service, {"key": name, "status": "failed"}, "bucket")
    publish_refusal("topic", service, name, name)
    publish_alerts("topic", service, [Alert("crossed", name, name, "1", "max", "0", "critical", "now")])
    assert len(topic.subjects) == 4
    assert all(len(subject) < 100 for subject in topic.subjects)
