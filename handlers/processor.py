"""The public API for processors.

from handlers.processor import Context, Rejected, Unavailable, secret


def process(event: dict, context: Context) -> dict:
if event["amount"] <= 0:
raise Rejected("amount must be above 0")
return charge(event, key=context.id, token=secret("payments_token"))
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Context:
    """The event's envelope, for a function `process(event, context)`. Every field has a default, for tests."""

    id: str = "00000000-0000-4000-8000-000000000000"
    """The event's id, the same at each attempt: an idempotency key for calls of other services."""
    type: str = "default"
    attempt: int = 1
    """The number of this attempt, from 1."""
    max_attempts: int = 5
    """`worker.max_attempts`: after this one a failure is final."""
    received_at: str = "2026-01-01T00:00:00.000000Z"
    """When the API accepted the event: RFC 3339 in UTC."""
    correlation_id: str = ""
    idempotency_key: str | None = None
    """The client's key, None if the event was sent without one."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of the request, where the source keeps them; else empty."""
    body: bytes | None = None
    """The exact bytes of the request, where the source keeps them; else None."""
    remaining_seconds: Callable[[], float] = lambda: 30.0
    """Seconds until the time limit ends this attempt."""
    logger: logging.Logger = field(default_factory=lambda: logging.getLogger("processor"))
    """A logger whose lines have the event's correlation id."""


class Rejected(Exception):  # noqa: N818  the user's word for an outcome, not an accident
    """Raise it in a processor if this event can never succeed: it fails at once, with the reason, and is not retried.

    Any other exception is retried with back-off, up to `worker.max_attempts` attempts.
    """


class Unavailable(Exception):  # noqa: N818  the user's word, as Rejected
    """Raise it in a processor if a service that the event needs is down, which is not the event's fault.

    It is retried, and the circuit breaker counts it as an outage (docs/circuit-breaker.md), as connection errors are.
    """


class SecretError(Unavailable):
    """A secret could not be read: AWS does not answer, refuses, or has no such secret.

    It is retried until the secret can be read, which uses no attempt. The circuit breaker counts it as an outage.
    """


class UnknownSecretError(Exception):
    """The processor asks for a secret that `worker.secrets` does not name, or asks while no event is processed.

    It is retried, because a deployment can fix it.
    """


_given: list[Mapping[str, str]] = []


def secret(name: str) -> str:
    """Return the value of a secret that the stack file names in `worker.secrets`. It is a few minutes old at most.

    Call it while an event is processed, and do not keep the value: secrets rotate.

    Raises:
        SecretError: AWS does not give the secret.
        UnknownSecretError: There is no such name in `worker.secrets`, or no event is being processed.
    """
    if not _given:
        raise UnknownSecretError(
            f"there is no secret {name!r} here: the stack names none (worker.secrets), or no event is being processed, "
            "as while a module is imported"
        )
    secrets = _given[-1]
    if name not in secrets:
        raise UnknownSecretError(f"no secret is called {name!r}; worker.secrets names {', '.join(secrets) or 'none'}")
    return secrets[name]


@contextmanager
def given_secrets(secrets: Mapping[str, str]) -> Iterator[None]:
    """Give `secret` its values in the block: for the worker, and for tests."""
    _given.append(secrets)
    try:
        yield
    finally:
        _given.pop()
