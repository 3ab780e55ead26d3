"""Outcome events, metrics and log lines of a batch."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from handlers.api import notices, outcomes
from handlers.api.decisions import Conflict, Covered, Delivery, Failed, Retrying, Returned, Succeeded, Unreadable
from handlers.shared import aws, metrics
from handlers.shared.log import logger, write_record

EVENTS_A_LOG_LINE = 100
# Item fields copied into outcome events.
OUTCOME_ATTRIBUTES = ("status", "attempts", "completed_at", "result_key", "error", "error_type")
# A message whose outcome event the bus does not take returns; not for ever.
TELLING_RECEIVES = 50


def tell(bus_name: str, service: str, deliveries: Sequence[Delivery]) -> int:
    """Publish outcome events of events that are done, also of those that an earlier delivery finished.

    A message returns if the bus does not take its outcome event, until `TELLING_RECEIVES`. Returns how many outcome
    events were given up.
    """
    told = [delivery for delivery in deliveries if delivery.stored is not None]
    if not told or not bus_name:
        return 0
    sent = outcomes.publish(bus_name, service, [_outcome(each) for each in told])
    missing = [delivery for delivery, arrived in zip(told, sent, strict=True) if not arrived]
    for delivery in missing:
        delivery.untold = delivery.receives < TELLING_RECEIVES
    undelivered = [delivery for delivery in missing if not delivery.untold]
    if undelivered:
        now = datetime.now(UTC)
        logger.error("outcome events were given up", extra={"events": [_logged(each, now) for each in undelivered]})
    return len(undelivered)


def report(deliveries: Sequence[Delivery], returning: Sequence[Delivery], undelivered: int, *, bus: bool) -> None:
    """Write the metrics of a batch, and its log lines. `undelivered` counts outcome events that were given up."""
    counts = Counter(type(delivery.outcome) for delivery in deliveries)
    now = datetime.now(UTC)
    metrics.emit(
        {
            "Messages": len(deliveries),
            "Processed": counts[Succeeded],
            "Failed": counts[Failed] + counts[Conflict] + counts[Unreadable],
            "Repeated": counts[Covered],
            "BatchItemFailures": len(returning),
            # A metric is paid for as soon as it is written.
            **({"OutcomesUndelivered": undelivered} if bus else {}),
        },
        [_latency_ms(delivery, now) for delivery in deliveries if isinstance(delivery.outcome, Succeeded)],
    )
    for part in aws.chunks(list(deliveries), EVENTS_A_LOG_LINE):
        write_record("batch", events=[_logged(delivery, now) for delivery in part])


def correlation_ids(deliveries: Sequence[Delivery]) -> list[str]:
    """Return the correlation ids of a batch, each once; of a very large batch the first ones."""
    known = [delivery.envelope.correlation_id for delivery in deliveries if delivery.envelope]
    return list(dict.fromkeys(known))[:EVENTS_A_LOG_LINE]


def _outcome(delivery: Delivery) -> outcomes.Outcome:
    """Return the outcome event of an event that is done: schemas/outcome.json, without the client's object."""
    envelope, stored = delivery.event, delivery.stored or {}
    detail = {
        "id": envelope.id,
        "type": envelope.type,
        "correlation_id": envelope.correlation_id,
        "received_at": envelope.received_at,
        **{name: stored.get(name) for name in OUTCOME_ATTRIBUTES},
    }
    return outcomes.Outcome("Event Succeeded" if detail["status"] == "succeeded" else "Event Failed", detail)


def _latency_ms(delivery: Delivery, now: datetime) -> float:
    """Return the milliseconds from received to completed."""
    return (now - datetime.fromisoformat(delivery.event.received_at)).total_seconds() * 1_000


OUTCOME_NAMES = {
    Covered: "done",
    Succeeded: "succeeded",
    Retrying: "retrying",
    Failed: "failed",
    Conflict: "conflict",
    Unreadable: "unreadable",
}


def _logged(delivery: Delivery, now: datetime) -> dict[str, Any]:
    outcome = delivery.outcome
    name = outcome.reason if isinstance(outcome, Returned) else OUTCOME_NAMES.get(type(outcome), "open")
    logged = {"outcome": name, **notices.described(delivery)}
    if isinstance(outcome, Succeeded):
        logged["latency_ms"] = round(_latency_ms(delivery, now))
    # Logs are paid for by the byte: the message's id is of use where there is no event's.
    return {name: value for name, value in logged.items() if value and not (name == "message_id" and delivery.envelope)}
