"""AWS in this process: moto, which answers the clients of handlers/shared/aws.py."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from moto import mock_aws

from handlers.shared import aws

ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",  # pragma: allowlist secret
    # Tests purge a queue as often as they like.
    "MOTO_SQS_ENFORCE_STRICT_QUEUE_PURGE_BEHAVIOUR": "false",
}
# moto answers botocore's clients only.
_make = aws.botocore_client


@cache
def _client(service: str) -> Any:
    """A client that is kept from test to test: making one takes longer than most tests."""
    return _make(service)


@pytest.fixture
def aws_in_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty account of moto's, with a region and dummy credentials."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setattr(aws, "client", _client)
    # A session remembers the environment that it was made in.
    aws._session.cache_clear()
    with mock_aws():
        yield
    aws._session.cache_clear()
