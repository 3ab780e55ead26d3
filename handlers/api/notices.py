"""Alerts to people, by way of the alerts topic.

Nothing that a client wrote stands in an alert: whoever may submit events must not be able to write mails. An alert has
the names of errors, counts and ids; the text of an error is in the item, in the log and with the dead letters.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from handlers.api.decisions import Delivery
from handlers.shared.alerts import AlertTopic

# https://docs.aws.amazon.com/sns/latest/api/API_Publish.html: 256 KB a message.
LISTED_EVENTS = 50
CAUSE_CHARACTERS = 60


def described(delivery: Delivery) -> dict[str, Any]:
    """Return the facts of a delivery for the log: ids, type, attempts, and the error."""
    known, failure = delivery.envelope, delivery.failure
    return {
        "message_id": delivery.message_id,
        "id": known and known.id,
        "type": known and known.type,
        "correlation_id": known and known.correlation_id,
        "attempts": delivery.attempts,
        "error_type": failure and failure.type,
        "error": failure and failure.text[:200],
    }


def by_cause(dead: Sequence[Delivery]) -> dict[str, list[dict[str, Any]]]:
    """Return what is told of dead letters, by the name of their error."""
    causes: dict[str, list[dict[str, Any]]] = {}
    for delivery in dead:
        facts = described(delivery)
        cause = str(facts["error_type"])[:CAUSE_CHARACTERS]
        told = {name: facts[name] for name in ("message_id", "id", "attempts")}
        causes.setdefault(cause, []).append(told)
    return causes


def publish_failures(topic: AlertTopic, cause: str, failures: Sequence[Mapping[str, Any]]) -> None:
    """Publish one alert for events that failed for one cause.

    Its facts are `{"failed", "error_type", "events": [{"message_id", "id", "attempts"}], "more"}`.
    """
    facts = {
        "failed": len(failures),
        "error_type": cause,
        "events": list(failures[:LISTED_EVENTS]),
        "more": "Other events that fail for this cause within the same minute are not told of: see the dead letters.",
    }
    plural = "event" if len(failures) == 1 else "events"
    subject = f"{len(failures)} {plural} failed: {cause}"
    message = topic.message(subject, facts, severity="critical", step="worker", section="dead-letters")
    topic.publish(message, {"kind": "events_failed"})
