"""What a processor imports: how it says no, and how it reads its secrets.

from handlers.processor import Rejected, Unavailable, secret
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class Rejected(Exception):  # noqa: N818  the user's word for an outcome, not an accident
    """Raise it in a processor: this event can never succeed. It is `failed` at once, with the reason, and not retried.

    Any other exception is taken as transient: the event is tried again, later each time, `queue.max_receives` times.
    """


class Unavailable(Exception):  # noqa: N818  the user's word, as Rejected
    """Raise it in a processor: what the event needs is out, and that is not the event's fault.

    Transient, and taken for an outage by the circuit breaker (docs/circuit-breaker.md), as errors of connections are.
    """


class SecretError(Unavailable):
    """A secret could not be read: AWS does not answer, refuses, or has no such secret.

    No event can do anything about it, so it is transient, and an outage for the circuit breaker.
    """


class UnknownSecretError(Exception):
    """The processor asks for a secret that `worker.secrets` does not name, or outside of an event.

    Transient: a deployment mends it.
    """


_given: list[Mapping[str, str]] = []


def secret(name: str) -> str:
    """The value of a secret that the stack file names (`worker.secrets`), some minutes old at most.

    Call it while an event is processed and keep what it answers no longer than that: secrets rotate. Raises SecretError
    and UnknownSecretError.
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
    """What `secret` answers in the block: for the worker, and for tests, `given_secrets({"payments_token": "a"})`."""
    _given.append(secrets)
    try:
        yield
    finally:
        _given.pop()
