"""Outcome events on the pipeline's event bus.

A call takes ten entries, and 256 KB in all unless the quota was raised. An outcome takes less than 10 KB, so ten fit.
https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handlers.shared import aws
from handlers.shared.backoff import backoff
from handlers.shared.log import logger

ENTRIES_A_CALL = 10
PUT_ATTEMPTS = 3
PAUSE_SECONDS = 0.1
MAXIMUM_PAUSE_SECONDS = 1


@dataclass(frozen=True)
class Outcome:
    """One event: a `detail_type` such as `Event Failed`, a JSON object of a few KB, and the ARNs it is about."""

    detail_type: str
    detail: Mapping[str, Any]
    resources: tuple[str, ...] = ()


def publish(bus_name: str, service: str, outcomes: Sequence[Outcome]) -> list[bool]:
    """Put events on a bus, with `service` as their source. Returns for each whether EventBridge has it.

    Entries that EventBridge refuses are retried with back-off. A call that fails as a whole is not, because it may have
    hung; the caller's message is delivered again.
    """
    client = aws.client("events")
    put = [False] * len(outcomes)

    def put_call(positions: Sequence[int]) -> list[int]:
        """Return the refused ones."""
        try:
            answer = client.put_events(Entries=[_entry(bus_name, service, outcomes[each]) for each in positions])
        except aws.errors() as error:
            # The other calls may have succeeded, so the result says it for each event.
            logger.warning("the bus did not take events", extra={"bus": bus_name, "reason": str(error)})
            return []
        refused = []
        for position, entry in zip(positions, answer["Entries"], strict=True):
            put[position] = "ErrorCode" not in entry
            if not put[position]:
                refused.append(position)
                logger.warning("the bus refused an event", extra={"bus": bus_name, "reason": entry["ErrorCode"]})
        return refused

    missing = list(range(len(outcomes)))
    for attempt in range(PUT_ATTEMPTS):
        if not missing:
            break
        if attempt:
            time.sleep(backoff(attempt, PAUSE_SECONDS, MAXIMUM_PAUSE_SECONDS))
        answers = aws.each(put_call, aws.chunks(missing, ENTRIES_A_CALL))
        missing = [position for positions in answers for position in positions]
    return put


def _entry(bus_name: str, service: str, outcome: Outcome) -> dict[str, Any]:
    return {
        "EventBusName": bus_name,
        "Source": service,
        "DetailType": outcome.detail_type,
        "Detail": json.dumps(outcome.detail, ensure_ascii=False, separators=(",", ":")),
        "Resources": list(outcome.resources),
    }
