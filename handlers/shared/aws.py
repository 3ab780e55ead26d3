"""AWS clients, made once and lazily: of our own for SQS and DynamoDB, from one session of botocore's for the rest.

botocore and not boto3, clients and not resources, no client-side parameter validation: the three choices halve a cold
start and a call (docs/decisions/0003). It is imported when one of its clients is made, as that is most of a cold start
(docs/decisions/0015).
"""

import logging
import sys
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from ssl import SSLContext

    from botocore.config import Config
    from botocore.session import Session

Item = TypeVar("Item")
Answer = TypeVar("Answer")

CALLS_AT_ONCE = 8
# With retries these stay below the API's 29 seconds: if a service hangs, the function still answers itself.
CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 1, 3, 4
# A subject must be shorter than 100 characters: https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
SUBJECT_CHARACTERS = 99

# At DEBUG botocore logs whole requests and answers, including secrets and events, and at INFO where it found what. A
# processor that sets the root logger to DEBUG wants its own lines only.
logging.getLogger("botocore").setLevel(logging.WARNING)


@cache
def client(service: str) -> Any:
    """Return the client of a service, such as `sqs`. Call this before starting threads that use it."""
    from handlers.shared.aws_json import json_client  # noqa: PLC0415  HTTP and TLS are half of what is imported

    return json_client(service) or botocore_client(service)


def botocore_client(service: str) -> Any:
    """Return a new client of botocore's, for a library that asks for one."""
    return _session().create_client(service, config=_config(service))


@cache
def _session() -> "Session":
    from botocore.session import get_session  # noqa: PLC0415  this takes most of a cold start

    return get_session()


@cache
def tls_context(authorities: str | None) -> "SSLContext":
    """Return what verifies servers, by a file of authorities or by the system's.

    Our own clients share it, because loading the authorities takes most of a handshake's CPU time.
    """
    from ssl import create_default_context  # noqa: PLC0415  GET /health needs no TLS

    return create_default_context(cafile=authorities)


def _config(service: str) -> "Config":
    from botocore.config import Config  # noqa: PLC0415  as above

    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        parameter_validation=False,
        max_pool_connections=CALLS_AT_ONCE,
        tcp_keepalive=True,
    )
    match service:
        case "s3":
            # For signed URLs. Newer regions require this signature. Without this addressing style, URLs name the global
            # endpoint, which redirects to the bucket's region.
            return config.merge(Config(signature_version="s3v4", s3={"addressing_style": "virtual"}))
        case "events":
            # Events follow the work itself, so they must not use up the time in which the function answers the queue.
            return config.merge(Config(read_timeout=2, retries={"mode": "standard", "total_max_attempts": 1}))
        case "secretsmanager" | "ssm":
            # A processor waits for its secrets within its own time limit: 7 seconds at most.
            return config.merge(Config(read_timeout=2, retries={"mode": "standard", "total_max_attempts": 2}))
    return config


def errors() -> tuple[type[Exception], ...]:
    """Return botocore's errors, which all clients raise, for an `except`: none before botocore's module is imported.

    Python evaluates the expression of an `except` only when there is something to catch.
    """
    if "botocore.exceptions" not in sys.modules:
        return ()
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  imported already

    return (BotoCoreError, ClientError)


def code(error: Exception) -> str:
    """Return the code with which a service refused a call, such as `ThrottlingException`; empty for another error."""
    # botocore's errors of a connection have one that is None.
    response: dict[str, Any] = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def each(call: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
    """Call with each item, a few calls at once. Returns the answers in order, or raises the first exception."""
    items = list(items)
    if len(items) < 2 or CALLS_AT_ONCE < 2:  # noqa: PLR2004  one call needs no threads
        return [call(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  not for requests of a few events

    with ThreadPoolExecutor(min(len(items), CALLS_AT_ONCE)) as pool:
        return list(pool.map(call, items))


def chunks(items: list[Item], size: int) -> list[list[Item]]:
    """Split items into runs of at most `size`."""
    return [items[start : start + size] for start in range(0, len(items), size)]
