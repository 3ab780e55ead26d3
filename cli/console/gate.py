"""The gate of the console: who may ask, and what a page may do.

The console listens on 127.0.0.1, which other users of the machine and every web page in its browsers can reach.
"""

import hmac
import secrets
from collections.abc import Mapping
from urllib.parse import parse_qs

from local.gate import Application, Message, Receive, Send, headers_of, is_foreign, misdirected

# No script, style, frame or address but our own; what a page shows is never run.
# https://developer.mozilla.org/docs/Web/HTTP/Headers/Content-Security-Policy
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    # Not no-referrer, with which a form's `Origin` would be null.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_READING = ("GET", "HEAD")
_COOKIE = "pipeline-console"


class Gate:
    """An ASGI application in front of the console's.

    The address with `?token=` sets a cookie, which every page needs. A browser sends a cookie to all ports of a host,
    also to servers of other users. So it belongs to a path that nobody else knows, below which all pages are.
    """

    def __init__(self, application: Application, port: int, token: str, *, read_only: bool) -> None:
        self._application = application
        self._hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        self._root = f"/{secrets.token_hex(16)}"
        self._token = token
        self._read_only = read_only

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Refuse the request, or hand it on."""
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        reason = self._refusal(scope)
        if reason is not None:
            await _answer(send, 403, [], reason)
        elif (token := self._given(scope)) is None:
            await self._application({**scope, "root_path": self._root}, receive, _with_headers(send))
        elif self._is_token(token):
            cookie = f"{_COOKIE}={self._token}; Path={self._root}/; HttpOnly; SameSite=Strict"
            await _answer(send, 303, [("Location", f"{self._root}/"), ("Set-Cookie", cookie)], "")
        else:
            await _answer(send, 403, [], "this token is not the console's; open the address that it printed")

    def _refusal(self, scope: Message) -> str | None:
        headers = headers_of(scope)
        if reason := misdirected(scope, self._hosts, "cookie"):
            return reason
        if is_foreign(headers, self._hosts):
            return "the request comes from a page of another origin"
        is_own_page = scope["path"].startswith(f"{self._root}/") and self._has_cookie(headers)
        if self._given(scope) is None and not is_own_page:
            return "open the address that the console printed, with its token"
        return None if scope["method"] in _READING else self._refusal_of_change(headers)

    def _refusal_of_change(self, headers: Mapping[str, str]) -> str | None:
        if self._read_only:
            return "the console is read-only"
        if not headers.get("origin") and headers.get("sec-fetch-site") != "same-origin":
            return "a change must come from a page of the console"
        return None

    def _given(self, scope: Message) -> str | None:
        """Return the token in the address of the first page."""
        if scope["path"] != "/" or scope["method"] != "GET":
            return None
        found = parse_qs(scope["query_string"].decode("latin-1")).get("token")
        return found[0] if found else None

    def _has_cookie(self, headers: Mapping[str, str]) -> bool:
        # Any of them: another server of this host can add a cookie of the same name.
        pairs = (each.strip().partition("=") for each in headers.get("cookie", "").split(";"))
        return any(name == _COOKIE and self._is_token(value) for name, _, value in pairs)

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())


async def _answer(send: Send, status: int, headers: list[tuple[str, str]], text: str) -> None:
    body = text.encode()
    given = [*headers, ("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start = {"type": "http.response.start", "status": status, "headers": _encoded(given)}
    await _with_headers(send)(start)
    await send({"type": "http.response.body", "body": body})


def _with_headers(send: Send) -> Send:
    async def send_with(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *_encoded(list(_HEADERS.items()))]}
        await send(message)

    return send_with


def _encoded(headers: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
