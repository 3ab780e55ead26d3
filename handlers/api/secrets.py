"""The secrets of the user's function: read when it asks for them, and again some minutes later.

Imported only where `worker.secrets` names any. Not Powertools' parameters: its providers, and boto3, which they import,
cost the first event 85 ms (Secrets Manager) and 102 ms (SSM), a client of ours 25 and 37 ms (CPU time on one core, the
worker's own clients made before).
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from handlers.api.processing import Process, time_limit_held
from handlers.processor import Context, SecretError, given_secrets
from handlers.shared import aws
from handlers.shared.log import logger

# How long a value that was rotated, or may not be read any more, is used on.
CACHE_SECONDS = 300
# While the service does not answer, the value that is known is used on; it is asked again after so long.
CACHE_SECONDS_AFTER_ERROR = 30
# But not when it was read longer ago than this: nobody knows then whether it may still be used.
CACHE_SECONDS_IN_AN_OUTAGE = 3_600
_SERVER_ERROR = 500


@dataclass(frozen=True)
class _Kept:
    value: str = field(repr=False)
    read_at: float
    good_until: float


class Secrets(Mapping[str, str]):
    """The secrets by name: `arns` says where each is. `clock` is for tests. To look one up raises SecretError."""

    def __init__(self, arns: Mapping[str, str], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._arns = arns
        self._clock = clock
        self._kept: dict[str, _Kept] = {}

    def __getitem__(self, name: str) -> str:
        """The value, read when there is none or it is too old."""
        kept = self._kept.get(name)
        if kept is None or self._clock() >= kept.good_until:
            # What is kept and what is forgotten, too: neither is lost to a time limit that passes meanwhile.
            with time_limit_held():
                try:
                    kept = self._kept[name] = self._read(name, kept)
                except SecretError:
                    # What was refused must not come back at the next outage.
                    self._kept.pop(name, None)
                    raise
        return kept.value

    def __contains__(self, name: object) -> bool:
        """Whether there is one of this name. Nothing is read."""
        return name in self._arns

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self._arns)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._arns)

    def around(self, process: Process) -> Process:
        """The user's function, with `secret` answering these."""

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
                # The code only: what AWS says besides names role and account, and clients are told of errors.
                raise SecretError(f"the secret {name!r} could not be read: {_code(error)}") from error
            logger.warning(
                "a secret could not be read again; the value that is known is used on", extra={"secret": name}
            )
            return replace(kept, good_until=min(now + CACHE_SECONDS_AFTER_ERROR, last))
        now = self._clock()
        return _Kept(value, now, now + CACHE_SECONDS)


def _value(name: str, arn: str) -> str:
    """Raises botocore's errors, and SecretError for what is no text, or no secret.

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
            raise SecretError(f"the secret {name!r} is binary; a processor is given text")
        value = answer["SecretString"]
    return value


def _code(error: BotoCoreError | ClientError) -> str:
    return str(error.response["Error"]["Code"]) if isinstance(error, ClientError) else type(error).__name__


def _is_outage(error: BotoCoreError | ClientError) -> bool:
    """Whether the service did not answer, and not that it refused."""
    if not isinstance(error, ClientError):
        return True
    return error.response["ResponseMetadata"]["HTTPStatusCode"] >= _SERVER_ERROR or "Throttl" in _code(error)
