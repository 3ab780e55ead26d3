"""Calls of AWS clients, of botocore's and of our own, handed to a function of a test."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from botocore.client import BaseClient

from handlers.shared.aws_json import JsonClient

OnCall = Callable[[str, Mapping[str, Any], Callable[[], Any]], Any]


@contextmanager
def tapped(on_call: OnCall) -> Iterator[None]:
    """Return what `on_call(name, parameters, make)` returns for each call, such as `sqs:SendMessageBatch`.

    `make` makes the call, with the client's own retries.
    """
    original: Callable[..., Any] = BaseClient._make_api_call  # type: ignore[attr-defined]  # the stubs leave it out
    ours = JsonClient.call

    def tap(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        name = f"{client.meta.service_model.service_name}:{operation}"
        return on_call(name, parameters, lambda: original(client, operation, parameters))

    def tap_ours(client: JsonClient, operation: str, parameters: Mapping[str, Any]) -> Any:
        return on_call(f"{client.service}:{operation}", parameters, lambda: ours(client, operation, parameters))

    with patch.object(BaseClient, "_make_api_call", tap), patch.object(JsonClient, "call", tap_ours):
        yield
