"""AWS clients, made once and lazily from one session.

botocore and not boto3, clients and not resources, no client-side parameter validation: the three choices halve a cold
start and a call (measured, see docs/decisions/0003).
"""

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

import botocore.session
from botocore.config import Config

Item = TypeVar("Item")
Answer = TypeVar("Answer")

CALLS_AT_ONCE = 8
# A subject must be shorter than 100 characters: https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
SUBJECT_CHARACTERS = 99

_CONFIG = Config(
    # With retries these stay below the API's 29 seconds: if a service hangs, the function still answers itself.
    connect_timeout=1,
    read_timeout=3,
    retries={"mode": "standard", "max_attempts": 3},
    parameter_validation=False,
    max_pool_connections=CALLS_AT_ONCE,
    tcp_keepalive=True,
)
# For signed URLs. Newer regions require this signature. Without this addressing style, URLs name the global endpoint,
# which redirects to the bucket's region.
_S3_CONFIG = _CONFIG.merge(Config(signature_version="s3v4", s3={"addressing_style": "virtual"}))

# Events follow the work itself, so they must not use up the time in which the function answers the queue.
_EVENTS_CONFIG = _CONFIG.merge(Config(read_timeout=2, retries={"mode": "standard", "total_max_attempts": 1}))
# A processor waits for its secrets within its own time limit: 7 seconds at most.
_SECRETS_CONFIG = _CONFIG.merge(Config(read_timeout=2, retries={"mode": "standard", "total_max_attempts": 2}))
_CONFIGS = {"s3": _S3_CONFIG, "events": _EVENTS_CONFIG, "secretsmanager": _SECRETS_CONFIG, "ssm": _SECRETS_CONFIG}


# At DEBUG botocore logs whole requests and answers, including secrets and events, and at INFO where it found what. A
# processor that sets the root logger to DEBUG wants its own lines only.
logging.getLogger("botocore").setLevel(logging.WARNING)


@cache
def _session() -> botocore.session.Session:
    return botocore.session.get_session()


@cache
def client(service: str) -> Any:
    """Return the client of a service, such as `sqs`. Call this before starting threads that use it."""
    return _session().create_client(service, config=_CONFIGS.get(service, _CONFIG))


def each(call: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
    """Call with each item, a few calls at once. Returns the answers in order, or raises the first exception."""
    items = list(items)
    if len(items) < 2 or CALLS_AT_ONCE < 2:  # noqa: PLR2004  one call needs no threads
        return [call(item) for item in items]
    with ThreadPoolExecutor(min(len(items), CALLS_AT_ONCE)) as pool:
        return list(pool.map(call, items))


def chunks(items: list[Item], size: int) -> list[list[Item]]:
    """Split items into runs of at most `size`."""
    return [items[start : start + size] for start in range(0, len(items), size)]
