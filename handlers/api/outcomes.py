"""Outcome events: what became of something, put on the pipeline's event bus for whoever wants to know.

https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html: ten entries to a call, and 256 KB in all
where the quota has not been raised. An outcome of ours takes less than 10 KB, so that ten always fit.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from handlers.shared import aws
from handlers.shared.log import logger

ENTRIES_A_CALL = 10
PUT_ATTEMPTS = 3
PAUSE_SECONDS = 0.1


@dataclass(frozen=True)
class Outcome:
    """One event for the bus: `detail_type` as `Event Failed`, `detail` a JSON object of a few KB, ARNs it is about."""

    detail_type: str
    detail: Mapping[str, Any]
    resources: tuple[str, ...] = ()


def publish(bus_name: str, service: str, outcomes: Sequence[Outcome]) -> list[bool]:
    """Puts events on a bus, `service` as their source; for each, whether EventBridge has it.

    Entries that EventBridge refuses are sent again, without those that it took, later each time. A call that fails as a
    whole is not: it may have hung, and the message comes again.
    """
    client = aws.client("events")
    put = [False] * len(outcomes)

    def put_call(positions: Sequence[int]) -> list[int]:
        """Returns those to send again."""
        try:
            answer = client.put_events(Entries=[_entry(bus_name, service, outcomes[each]) for each in positions])
        except (BotoCoreError, ClientError) as error:
            # The other calls may have gone well: the caller is told event by event.
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
        time.sleep(PAUSE_SECONDS * (2**attempt - 1))
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
