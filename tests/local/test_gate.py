"""The gate's limit for the bodies of requests to an API."""

import asyncio
from typing import Any

import pytest

from local.gate import MAXIMUM_BODY_BYTES, Checks, Gate, Message

HOST = [(b"host", b"127.0.0.1:4566")]


async def application(_scope: Message, receive: Any, send: Any) -> None:
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(len(message["body"])).encode()})


def answered(*parts: bytes, path: str = "/_aws/execute-api/a/events") -> tuple[int, bytes]:
    checks = Checks(lambda path: "a" if "execute-api" in path else None, lambda *_: False, lambda *_: True)
    waiting = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    waiting.append({"type": "http.request", "body": b"", "more_body": False})
    sent: list[Message] = []

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "path": path, "headers": HOST, "query_string": b""}
    asyncio.run(Gate(application, 4566, "proof", checks)(scope, receive, send))
    return sent[0]["status"], sent[1]["body"]


@pytest.mark.parametrize("parts", [[MAXIMUM_BODY_BYTES], [1, MAXIMUM_BODY_BYTES - 1], [0]])
def test_a_body_as_large_as_lambda_takes_reaches_the_api_whole(parts: list[int]) -> None:
    assert answered(*map(bytes, parts)) == (200, str(sum(parts)).encode())


@pytest.mark.parametrize("parts", [[MAXIMUM_BODY_BYTES + 1], [1, MAXIMUM_BODY_BYTES], [MAXIMUM_BODY_BYTES, 1, 5_000]])
def test_a_larger_body_is_refused_as_on_aws_however_it_is_sent(parts: list[int]) -> None:
    assert answered(*map(bytes, parts)) == (413, b'{"message": "Request Too Long"}')


def test_other_services_take_larger_bodies() -> None:
    assert answered(bytes(MAXIMUM_BODY_BYTES + 1), path="/bucket/key") == (200, str(MAXIMUM_BODY_BYTES + 1).encode())
