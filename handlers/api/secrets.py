"""Secrets of the user's function and of webhooks: read when they are needed, and again after some minutes.

Imported only where the stack names any. Powertools' parameters are not used: its providers, and boto3, which
they import, cost the first event 85 ms (Secrets Manager) and 102 ms (SSM). This module costs 25 and 37 ms (CPU time on
one core, after the worker's own clients).
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from handlers.api.processing import Process, time_limit_held
from handlers.processor import Context, SecretError, given_secrets
from handlers.shared import aws
from handlers.shared.log import logger

# How long a value is used after it was rotated or its access was revoked.
CACHE_SECONDS = 300
# While the service does not answer, the known value is used. The service is asked again after this time.
CACHE_SECONDS_AFTER_ERROR = 30
# The known value is not used after this time: access to it may have been revoked.
CACHE_SECONDS_IN_AN_OUTAGE = 3_600
_SERVER_ERROR = 500


@dataclass(frozen=True)
class _Kept:
    value: str = field(repr=False)
    read_at: float
    good_until: float


class Secrets(Mapping[str, str]):
    """Secrets by name. `arns` maps each name to its ARN; `clock` is for tests. Looking one up raises SecretError."""

    def __init__(self, arns: Mapping[str, str], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._arns = arns
        self._clock = clock
        self._kept: dict[str, _Kept] = {}

    def __getitem__(self, name: str) -> str:
        """Return the value. It is read if there is none, or if it is too old."""
        kept = self._kept.get(name)
        if kept is None or self._clock() >= kept.good_until:
            # A time limit that passes meanwhile must interrupt neither the read nor the update of the cache.
            with time_limit_held():
                try:
                    kept = self._kept[name] = self._read(name, kept)
                except SecretError:
                    # A value that was refused must not be used in a later outage.
                    self._kept.pop(name, None)
                    raise
        return kept.value

    def doubt(self, names: Iterable[str]) -> None:
        """Have values read again when they are looked up next. Until then, and in an outage, they are still known."""
        for name in names:
            if kept := self._kept.get(name):
                self._kept[name] = replace(kept, good_until=-inf)

    def __contains__(self, name: object) -> bool:
        """Return True if there is a secret of this name. Nothing is read."""
        return name in self._arns

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._arns)

    def __len__(self) -> int:
        """Return the number of secrets."""
        return len(self._arns)

    def around(self, process: Process) -> Process:
        """Return the user's function, with `secret` reading from these."""

        def with_secrets(event: Mapping[str, Any], context: Context) -> Any:
            with given_secrets(self):
                return process(event, context)

        return with_secrets

    def _read(self, name: str, kept: _Kept | None) -> _Kept:
        try:
            value = _value(name, self._arns[name])
        except (BotoCoreError, ClientError) as error:
            now = self._clock()
            last = kept.read_at + CACHE_SECONDS_IN_AN_OUTAGE if kept else now
            if kept is None or not _is_outage(error) or now >= last:
                # Only the code: the rest of the message names role and account, and clients see errors.
                raise SecretError(f"the secret {name!r} could not be read: {_code(error)}") from error
            logger.warning("a secret could not be read again; the known value is used", extra={"secret": name})
            return replace(kept, good_until=min(now + CACHE_SECONDS_AFTER_ERROR, last))
        now = self._clock()
        return _Kept(value, now, now + CACHE_SECONDS)


def _value(name: str, arn: str) -> str:
    """Read a value. Raises botocore's errors, and SecretError for a value that is binary or not encrypted.

    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html
    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html
    """
    value: str
    if arn.split(":")[2] == "ssm":
        parameter = aws.client("ssm").get_parameter(Name=arn, WithDecryption=True)["Parameter"]
        if parameter["Type"] != "SecureString":
            raise SecretError(f"the secret {name!r} is a parameter of type {parameter['Type']}, not a SecureString")
        value = parameter["Value"]
    else:
        answer = aws.client("secretsmanager").get_secret_value(SecretId=arn)
        if "SecretString" not in answer:
            raise SecretError(f"the secret {name!r} is binary; it must be text")
        value = answer["SecretString"]
    return value


def _code(error: BotoCoreError | ClientError) -> str:
    return str(error.response["Error"]["Code"]) if isinstance(error, ClientError) else type(error).__name__


def _is_outage(error: BotoCoreError | ClientError) -> bool:
    """Return True if the service did not answer, False if it refused."""
    if not isinstance(error, ClientError):
        return True
    return error.response["ResponseMetadata"]["HTTPStatusCode"] >= _SERVER_ERROR or "Throttl" in _code(error)
