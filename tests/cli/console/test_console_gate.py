"""Who may ask the console, and what its answers allow a page to do."""

import asyncio
from typing import Any

import pytest

from cli.console.gate import Gate
from local.gate import Message, Receive, Send

TOKEN = "the-token"
OWN = "http://127.0.0.1:8080"
COOKIE = {"cookie": f"pipeline-console-8080={TOKEN}"}
HEADERS = {"host": "127.0.0.1:8080"}


async def pages(_scope: Message, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"page"})


def ask(
    method: str = "GET", path: str = "/", *more: tuple[str, str], read_only: bool = False, **headers: str
) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of the answer to a request with the cookie, unless it is given as empty."""
    sent: list[Any] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    given = {**HEADERS, **COOKIE, **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [*((name, value) for name, value in given.items() if value), *more]
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in lines],
    }
    asyncio.run(Gate(pages, 8080, TOKEN, read_only=read_only)(scope, receive, send))
    start, body = sent
    answered = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], answered, body["body"].decode()


def test_the_token_in_the_address_becomes_a_cookie_and_leaves_the_address() -> None:
    status, headers, _ = ask("GET", f"/?token={TOKEN}", cookie="")
    assert (status, headers["location"]) == (303, "/")
    assert headers["set-cookie"] == f"pipeline-console-8080={TOKEN}; Path=/; HttpOnly; SameSite=Strict"
    assert ask()[0] == 200


@pytest.mark.parametrize("path", ["/", "/events", "/static/console.js", "/letters?token=the-token", "/?token=wrong"])
def test_without_the_token_nothing_is_shown(path: str) -> None:
    assert ask("GET", path, cookie="")[0] == 403
    assert ask("GET", path, cookie="pipeline-console-8080=wrong")[0] == 403 or path == "/letters"


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example:8080"},
        {"host": "127.0.0.1:8081"},
        {"host": ""},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:8081"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_foreign_page_or_name_is_refused(method: str, headers: dict[str, Any]) -> None:
    assert ask(method, "/", **headers)[0] == 403


@pytest.mark.parametrize("name", ["host", "origin", "cookie", "sec-fetch-site"])
def test_a_header_that_is_given_twice_is_refused(name: str) -> None:
    twice = {"host": "127.0.0.1:8080", "origin": OWN, "cookie": COOKIE["cookie"], "sec-fetch-site": "none"}[name]
    first: dict[str, Any] = {name.replace("-", "_"): twice}
    assert ask("GET", "/", (name, twice), **first)[0] == 403


def test_a_change_must_come_from_a_page_of_the_console() -> None:
    assert ask("POST", "/letters")[0] == 403
    assert ask("POST", "/letters", origin=OWN)[0] == 200
    assert ask("POST", "/letters", sec_fetch_site="same-origin")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_read_only_console_refuses_every_change_at_the_server(method: str) -> None:
    assert ask(method, "/letters", read_only=True, origin=OWN)[2] == "the console is read-only"
    assert ask("GET", "/letters", read_only=True)[0] == 200


def test_no_answer_lets_a_page_run_or_load_what_is_not_the_consoles() -> None:
    for headers in (ask()[1], ask(cookie="")[1]):
        policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert {policy[name] for name in ("script-src", "style-src", "img-src", "connect-src", "form-action")} == {
            "'self'"
        }
        assert (policy["frame-ancestors"], policy["base-uri"]) == ("'none'", "'none'")
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers


def test_web_sockets_are_closed() -> None:
    sent: list[Any] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    asyncio.run(Gate(pages, 8080, TOKEN, read_only=False)({"type": "websocket", "headers": []}, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]
