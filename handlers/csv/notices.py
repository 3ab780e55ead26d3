"""Notifications about files: one per file, and for a failed file an alert and a dead letter.

An alert, too, for a message that announces no file.
"""

import json
from collections.abc import Mapping
from typing import Any

from handlers.csv.files import FAILED
from handlers.shared import aws, queues
from handlers.shared.text import printable

ERROR_CHARACTERS = 1_000

TOLD = (
    "id", "status", "bucket", "key", "version", "etag", "size", "rows", "processed", "rejected", "success_rate",
    "processed_key", "rejected_key", "report_key", "reason", "error", "started_at", "completed_at",
    "missing_columns", "suggestions", "generation", "is_current", "supersedes", "superseded_by", "sequencer",
    "uploaded_at",
)  # fmt: skip


class NotSentError(Exception):
    """SQS did not take a dead letter."""


def publish_file(topic_arn: str, service: str, item: Mapping[str, Any], output_bucket: str) -> None:
    """Tells of a file: `{"service", "file": {...}}` with its status, counts and where its outputs are."""
    told = {name: item[name] for name in TOLD if item.get(name) not in (None, "")}
    name = item["key"].rsplit("/", 1)[-1]
    subject = f"{service}: {item['status']}: {name}".encode("ascii", "replace").decode()
    aws.client("sns").publish(
        TopicArn=topic_arn,
        Subject=printable(subject, aws.SUBJECT_CHARACTERS),
        Message=json.dumps({"service": service, "file": {**told, "output_bucket": output_bucket}}, indent=2),
        MessageAttributes={
            "kind": {"DataType": "String", "StringValue": "file_failed" if item["status"] == FAILED else "file_done"},
            "status": {"DataType": "String", "StringValue": item["status"]},
        },
    )


def publish_refusal(topic_arn: str, service: str, message_id: str, error: str) -> None:
    """Tells of a message that announces no file: `{"service", "message": {"id", "error"}}`."""
    aws.client("sns").publish(
        TopicArn=topic_arn,
        Subject=f"{service}: a message that nobody can read"[: aws.SUBJECT_CHARACTERS],
        Message=json.dumps({"service": service, "message": {"id": message_id, "error": shown(error)}}, indent=2),
        MessageAttributes={"kind": {"DataType": "String", "StringValue": "message_unreadable"}},
    )


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
