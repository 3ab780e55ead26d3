"""Notifications about files: one per file, and for a failed file an alert and a dead letter.

An alert, too, for a message that announces no file. Programs are told the names that an uploader chose. Alerts and
mails are not, because whoever may upload must not be able to write mails: they have ids, counts and the reason's code.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from handlers.csv.files import FAILED
from handlers.shared import aws, queues
from handlers.shared.alerts import AlertTopic, text_attributes
from handlers.shared.text import printable

ERROR_CHARACTERS = 1_000

TOLD = (
    "id", "status", "bucket", "key", "version", "etag", "size", "rows", "processed", "rejected", "success_rate",
    "processed_key", "rejected_key", "report_key", "reason", "error", "started_at", "completed_at",
    "missing_columns", "suggestions", "generation", "is_current", "supersedes", "superseded_by", "sequencer",
    "uploaded_at",
)  # fmt: skip


# What an uploader cannot write.
ALERTED = (
    "id", "status", "bucket", "size", "rows", "processed", "rejected", "success_rate", "reason", "started_at",
    "completed_at",
)  # fmt: skip
FOR_PEOPLE = ("email", "email-json", "sms")
MORE = "Others that fail for this reason within the same minute are not told of: see the dead letters, which name them."


class NotSentError(Exception):
    """SQS did not take a dead letter."""


def publish_file(topic_arn: str, service: str, item: Mapping[str, Any], output_bucket: str) -> None:
    """Notify of a file: `{"service", "file": {...}}` with its status, counts and where its outputs are.

    A mail has what an alert has:
    https://docs.aws.amazon.com/sns/latest/api/API_Publish.html (MessageStructure)
    """
    told = {**_known(item, TOLD), "output_bucket": output_bucket}
    short = _text(service, _known(item, ALERTED))
    kind = "file_failed" if item["status"] == FAILED else "file_done"
    aws.client("sns").publish(
        TopicArn=topic_arn,
        Subject=f"{service}: {_subject(item)}"[: aws.SUBJECT_CHARACTERS],
        Message=json.dumps({"default": _text(service, told), **dict.fromkeys(FOR_PEOPLE, short)}),
        MessageAttributes=text_attributes({"kind": kind, "status": item["status"]}),
        MessageStructure="json",
    )


def publish_failure(topic: AlertTopic, item: Mapping[str, Any]) -> None:
    """Alert of a failed file. Its facts are `{"file": {"id", "status", "reason", ...}, "more"}`."""
    facts = {"file": _known(item, ALERTED), "more": MORE}
    _alert(topic, _subject(item), facts, {"kind": "file_failed", "status": item["status"]})


def publish_refusal(topic: AlertTopic, message_id: str) -> None:
    """Alert of a message that announces no file. Its facts are `{"message": {"id"}, "more"}`."""
    facts = {"message": {"id": message_id}, "more": MORE}
    _alert(topic, "a message that nobody can read", facts, {"kind": "message_unreadable"})


def _alert(topic: AlertTopic, subject: str, facts: Mapping[str, Any], attributes: Mapping[str, str]) -> None:
    message = topic.message(subject, facts, severity="critical", step="worker", section="dead-letters")
    topic.publish(message, attributes)


def _subject(item: Mapping[str, Any]) -> str:
    return ": ".join([f"a file {item['status']}", *([item["reason"]] if item.get("reason") else [])])


def _text(service: str, facts: Mapping[str, Any]) -> str:
    return json.dumps({"service": service, "file": facts}, indent=2)


def _known(item: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: item[name] for name in names if item.get(name) not in (None, "")}


def send_dead_letter(
    queue_url: str, body: str, file_id: str, reason: str, error: str, attempts: int | None = None
) -> None:
    """Puts what will never succeed with the dead letters, with the reason as attributes. Raises NotSentError."""
    attributes = {"file_id": file_id, "error_type": reason, "error": shown(error), "attempts": str(attempts or "")}
    if queues.send(queue_url, [queues.Outgoing(body, attributes)]) != [True]:
        raise NotSentError("the dead-letter queue did not take a message")


def shown(text: str) -> str:
    """Return a text that every service stores, and not too much of it."""
    return printable(text, ERROR_CHARACTERS)
