"""The circuit around the user's function: when what the function calls is out, the worker stops taking messages.

The states and their rules are Powertools' circuit breaker, kept in the pipeline's own table. What is ours: what counts
as an outage; that the failures that open the circuit are those of different events; and the pause, in which the
worker's event source mapping is switched off, so that the messages wait in the queue and gain no receives.
docs/circuit-breaker.md

Imported only where there is a circuit: it costs a cold start some 20 ms (boto3, which Powertools' store imports).
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property

from aws_lambda_powertools.utilities.circuit_breaker import (
    CircuitBreakerConfig,
    CircuitBreakerOpenError,
    CircuitState,
    CircuitTransition,
    circuit_breaker,
)
from aws_lambda_powertools.utilities.circuit_breaker.persistence import CircuitBreakerDynamoDBPersistence
from botocore.exceptions import BotoCoreError, ClientError

from handlers.api import outcomes
from handlers.api.decisions import Delivery
from handlers.api.processing import Answer, CircuitOpenError
from handlers.api.settings import WorkerSettings
from handlers.shared import aws, metrics
from handlers.shared.log import logger
from handlers.shared.times import timestamp

# The id of its item. No event has it: theirs are UUIDs.
NAME = "circuit#processor"
PROBES_KEY = "circuit/probes.json"
MAXIMUM_PROBES = 10
# How long a worker may go on without knowing that another one opened the circuit; each second costs it one read.
STATE_CACHE_SECONDS = 1
# What Lambda answers while an event source mapping is still changing:
# https://docs.aws.amazon.com/lambda/latest/api/API_UpdateEventSourceMapping.html
CHANGING = ("ResourceConflictException", "ResourceInUseException")


@dataclass(frozen=True)
class Probe:
    """The message of an event that failed by the outage, kept to find out whether it is over."""

    message_id: str
    body: str
    receives: int
    group: str = ""
    failures: int = 0
    """How often it was tried as a probe, and failed."""


class _PassedError(Exception):
    """The user's function failed for a reason of the event's own: neither a success nor an outage."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


class _OutageError(_PassedError):
    """A failure that counts: the only kind that Powertools is told of."""


class Circuit:
    """One circuit. `service` names the pipeline; `opened` is called with the messages of the events that opened it."""

    def __init__(self, settings: WorkerSettings, service: str, opened: Callable[[Sequence[Probe]], None]) -> None:
        self._table_name = settings.table_name
        self._bus_name = settings.event_bus_name
        self._service = service
        self._recovery_seconds = settings.circuit_recovery_seconds
        self._opened = opened
        # The events that failed since one succeeded, and the message of each.
        self._failing: dict[str, Probe] = {}
        self._reason = ""
        self._store = CircuitBreakerDynamoDBPersistence(
            settings.table_name, expiry_attr="expires_at", boto3_client=aws.botocore_client("dynamodb")
        )
        self._guarded = circuit_breaker(
            NAME,
            self._store,
            on_transition=self._changed,
            config=CircuitBreakerConfig(
                failure_threshold=settings.circuit_failure_threshold,
                recovery_timeout=settings.circuit_recovery_seconds,
                success_threshold=1,
                handled_exceptions=_OutageError,
                local_cache_max_age=STATE_CACHE_SECONDS,
            ),
        )(self._attempt)

    def call(self, delivery: Delivery, process: Callable[[], Answer]) -> Answer:
        """Return what `process` returns. Raises CircuitOpenError instead of calling it while the circuit is open."""
        try:
            answer: Answer = self._guarded(delivery, process)
        except _PassedError as passed:
            return passed.answer
        except CircuitBreakerOpenError as error:
            # As Powertools does with its own count: a streak ends where the circuit was seen open.
            self._failing.clear()
            raise CircuitOpenError("what the processor calls is out; the event waits") from error
        return answer

    def _attempt(self, delivery: Delivery, process: Callable[[], Answer]) -> Answer:
        answer = process()
        if answer.error is None:
            self._failing.clear()
            return answer
        # One event that fails again and again is no outage, whatever it raises.
        if not answer.is_outage or delivery.event.id in self._failing:
            raise _PassedError(answer)
        self._failing[delivery.event.id] = Probe(delivery.message_id, delivery.body, delivery.receives, delivery.group)
        self._reason = f"{type(answer.error).__name__}: {answer.error}"[:200]
        raise _OutageError(answer)

    def _changed(self, change: CircuitTransition) -> None:
        """Powertools' hook. It hides what is raised here, so nothing is left to it."""
        failing, self._failing = self._failing, {}
        if change.to_state == CircuitState.OPEN:
            try:
                self._opened(list(failing.values())[:MAXIMUM_PROBES])
            except (BotoCoreError, ClientError):
                logger.exception("the worker was not paused; the breaker function does it within a minute")
        self._tell(change)

    def _tell(self, change: CircuitTransition) -> None:
        if change.to_state == CircuitState.HALF_OPEN:
            return
        opened_at = change.opened_at and timestamp(datetime.fromtimestamp(change.opened_at, UTC))
        detail = {
            "from": str(change.from_state),
            "to": str(change.to_state),
            "opened_at": opened_at,
            "reason": self._reason or None,
        }
        logger.warning("the circuit changed", extra=detail)
        closed = change.to_state == CircuitState.CLOSED
        # A probe that fails opens it again, which is no other outage.
        if change.from_state == CircuitState.CLOSED:
            metrics.emit({"CircuitOpened": 1, "CircuitOpen": 1})
        elif closed:
            metrics.emit({"CircuitClosed": 1})
        if self._bus_name:
            outcome = outcomes.Outcome("Circuit Closed" if closed else "Circuit Opened", detail)
            outcomes.publish(self._bus_name, self._service, [outcome])

    def hand_over(self) -> None:
        """Leaves the next probe to whoever comes first: one that told nothing has kept its turn.

        The circuit stays open, and its recovery is over. Raises botocore's errors.
        """
        self._store.save_reopen(NAME, int(time.time()) - self._recovery_seconds)

    def state(self) -> "State":
        """The state as it is, not as it was a second ago, and never guessed. Raises botocore's errors."""
        answer = aws.client("dynamodb").get_item(
            TableName=self._table_name, Key={"id": {"S": NAME}}, ConsistentRead=True
        )
        item = answer.get("Item", {})
        if item.get("state", {"S": str(CircuitState.CLOSED)})["S"] == str(CircuitState.CLOSED):
            return State(closed=True, due=False)
        half_open = item["state"]["S"] == str(CircuitState.HALF_OPEN)
        recovered = int(item.get("opened_at", {"N": "0"})["N"]) + self._recovery_seconds <= time.time()
        # Whose turn it is in a half-open circuit is for Powertools to say.
        return State(closed=False, due=half_open or recovered)


@dataclass(frozen=True)
class State:
    """`due`: it is time to find out whether the outage is over."""

    closed: bool
    due: bool


class Pause:
    """Whether the worker takes messages.

    An object says that it is we who switched the event source mapping off, and holds the probes. It is written before
    the mapping is switched off and deleted after it was switched on: a mapping without it that is off was switched off
    by somebody else, and stays so.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self._bucket = settings.bucket_name
        self._parameter = settings.mapping_parameter

    def begin(self, probes: Sequence[Probe]) -> None:
        """Switches the mapping off. Raises botocore's errors."""
        self.keep(probes)
        self._switch(on=False)

    def keep(self, probes: Sequence[Probe]) -> None:
        """Store the probes. Raises botocore's errors."""
        body = json.dumps([asdict(probe) for probe in probes])
        aws.client("s3").put_object(
            Bucket=self._bucket, Key=PROBES_KEY, Body=body.encode(), ContentType="application/json"
        )

    def probes(self) -> list[Probe] | None:
        """The messages to probe with, None when there is no pause of ours."""
        client = aws.client("s3")
        try:
            answer = client.get_object(Bucket=self._bucket, Key=PROBES_KEY)
        except client.exceptions.NoSuchKey:
            return None
        return [Probe(**probe) for probe in json.loads(answer["Body"].read())]

    def keep_up(self) -> None:
        """Switches the mapping off where it is on."""
        if self._state() not in ("Disabled", "Disabling"):
            self._switch(on=False)

    def let_in(self) -> bool:
        """Switches the mapping on where it is off. Whether it is on, or will be."""
        return self._state() in ("Enabled", "Enabling") or self._switch(on=True)

    def end(self) -> None:
        """Switches the mapping on, and forgets the pause once that has worked."""
        if self.let_in():
            aws.client("s3").delete_object(Bucket=self._bucket, Key=PROBES_KEY)

    def _state(self) -> str:
        state: str = aws.client("lambda").get_event_source_mapping(UUID=self._mapping)["State"]
        return state

    def _switch(self, *, on: bool) -> bool:
        """Whether Lambda took it. While a mapping is changing it does not; the next minute tries again."""
        try:
            aws.client("lambda").update_event_source_mapping(UUID=self._mapping, Enabled=on)
        except ClientError as error:
            if error.response["Error"]["Code"] not in CHANGING:
                raise
            logger.warning("the event source mapping is still changing", extra={"wanted": on, "reason": str(error)})
            return False
        return True

    @cached_property
    def _mapping(self) -> str:
        """The id of the mapping. Of a parameter: the mapping needs the function first, so that cannot be told."""
        answer = aws.client("ssm").get_parameter(Name=self._parameter)
        value: str = answer["Parameter"]["Value"]
        return value
