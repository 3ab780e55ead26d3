"""The gate in front of the emulator, which lets in only what the developer sent.

The emulator listens on 127.0.0.1, which other users of the machine and every web page in its browsers can reach. The
gate refuses a foreign `Host` (DNS rebinding), requests of other origins, internal paths of MiniStack, and requests
without a key that this emulator issued. An API is open to everybody, as on AWS, and to the origins of its own CORS
configuration.
"""

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

HEALTH = "/_ministack/health"

# Of a request to a function: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAXIMUM_BODY_BYTES = 6 * 1024 * 1024

_INTERNAL = ("/_ministack", "/_localstack")

# Fetch metadata of a request that a page of the same origin, or the user, has sent:
# https://developer.mozilla.org/docs/Web/HTTP/Headers/Sec-Fetch-Site
_OWN_SITES = ("", "none", "same-origin")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Checks:
    """Checks that the gate makes with the emulator."""

    # The id of the API that a path belongs to.
    api_of: Callable[[str], str | None]
    # Whether the CORS configuration of an API allows an origin.
    allows: Callable[[str, str], bool]
    # Whether headers or query string name a key that the emulator issued. The emulator checks the signature.
    names_known_key: Callable[[Mapping[str, str], str], bool]


class Gate:
    """An ASGI application in front of another. It answers health checks itself, with `proof`."""

    def __init__(self, application: Application, port: int, proof: str, checks: Checks) -> None:
        self._application = application
        self._hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        self._proof = proof
        self._checks = checks

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Refuse the request or hand it on."""
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
        elif scope["type"] != "http":
            # No API here has web sockets.
            await send({"type": "websocket.close", "code": 1008})
        elif reason := self._refusal(scope):
            await _answer(send, 403, {"__type": "AccessDeniedException", "message": reason})
        elif scope["path"] == HEALTH:
            await _answer(send, 200, {"proof": self._proof})
        elif self._checks.api_of(scope["path"]) is None:
            await self._application(scope, receive, _without_cors(send))
        elif (body := await _whole_body(receive)) is None:
            await _answer(send, 413, {"message": "Request Too Long"})
        else:
            await self._application(scope, _replayed(body, receive), send)

    def _refusal(self, scope: Message) -> str | None:
        """Return why a request is refused, or None."""
        path, headers = scope["path"], headers_of(scope)
        if reason := misdirected(scope, self._hosts, "authorization"):
            return reason
        api = self._checks.api_of(path)
        if is_foreign(headers, self._hosts) and not (api and self._checks.allows(api, headers.get("origin", ""))):
            return "the request comes from a page of another origin, which api.cors does not allow"
        if path.startswith(_INTERNAL):
            return None if path == HEALTH else "this path is not served"
        if not api and not self._checks.names_known_key(headers, scope["query_string"].decode("latin-1")):
            return "no AWS signature with a key of this run; `pipeline local --exec` gives a command the keys"
        return None


def headers_of(scope: Message) -> dict[str, str]:
    """Return the headers of a request, by lower-case names."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def misdirected(scope: Message, hosts: Collection[str], credential: str) -> str | None:
    """Return why a request may be meant for another server, or read in two ways; None if it cannot.

    `credential` is the header that lets a request in.
    """
    names = Counter(name for name, _ in scope["headers"])
    if any(names[name.encode()] > 1 for name in ("host", "origin", "sec-fetch-site", credential)):
        return "the request repeats a header"
    if headers_of(scope).get("host", "").lower() not in hosts:
        return f"this server answers to {' and '.join(hosts)} only"
    return None


def is_foreign(headers: Mapping[str, str], hosts: Collection[str]) -> bool:
    """Return whether a page of another origin has sent a request. `headers` have lower-case names."""
    origins = ["", *(f"http://{host}" for host in hosts)]
    return headers.get("origin", "") not in origins or headers.get("sec-fetch-site", "") not in _OWN_SITES


async def _whole_body(receive: Receive) -> bytes | None:
    """Return the body of a request to an API, None if it is larger than Lambda accepts."""
    body = bytearray()
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        if len(body) <= MAXIMUM_BODY_BYTES:
            # The rest is read and dropped, so that the client reads the answer.
            body += message.get("body", b"")
    return bytes(body) if len(body) <= MAXIMUM_BODY_BYTES else None


def _replayed(body: bytes, receive: Receive) -> Receive:
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again


async def _answer(send: Send, status: int, body: Mapping[str, str]) -> None:
    data = json.dumps(body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})


def _without_cors(send: Send) -> Send:
    """Remove the CORS headers of responses. MiniStack allows every origin."""

    async def send_without(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [each for each in message["headers"] if not each[0].lower().startswith(b"access-control-")]
            message = {**message, "headers": headers}
        await send(message)

    return send_without
