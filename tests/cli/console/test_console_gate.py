"""Who may ask the console, and what its answers allow a page to do."""

import asyncio
from typing import Any

import pytest

from cli.console.gate import Gate
from local.gate import Message, Receive, Send

TOKEN = "the-token"
OWN = "http://127.0.0.1:8080"
COOKIE = {"cookie": f"pipeline-console={TOKEN}"}
HEADERS = {"host": "127.0.0.1:8080"}


async def pages(scope: Message, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].removeprefix(scope["root_path"]).encode()})


GATES = {read_only: Gate(pages, 8080, TOKEN, read_only=read_only) for read_only in (False, True)}


def ask(
    method: str = "GET", path: str = "/", *more: tuple[str, str], read_only: bool = False, **headers: str
) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of the answer to a request for a page, with the cookie unless it is given as empty."""
    gate = GATES[read_only]
    root = answered(gate, "GET", f"/?token={TOKEN}")[1]["location"].removesuffix("/")
    return answered(gate, method, root + path, *more, **{**COOKIE, **headers})


def answered(
    gate: Gate, method: str, path: str, *more: tuple[str, str], **headers: str
) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of the answer to a request."""
    sent: list[Any] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    given = {**HEADERS, **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [*((name, value) for name, value in given.items() if value), *more]
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in lines],
    }
    asyncio.run(gate(scope, receive, send))
    start, body = sent
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], found, body["body"].decode()


def test_the_token_in_the_address_becomes_a_cookie_and_leaves_the_address() -> None:
    status, headers, _ = answered(GATES[False], "GET", f"/?token={TOKEN}")
    root = headers["location"]
    assert status == 303
    assert headers["set-cookie"] == f"pipeline-console={TOKEN}; Path={root}; HttpOnly; SameSite=Strict"
    assert ask("GET", "/events")[::2] == (200, "/events")


def test_each_run_has_a_path_of_its_own_which_nobody_can_guess() -> None:
    roots = [answered(GATES[read_only], "GET", f"/?token={TOKEN}")[1]["location"] for read_only in (False, True)]
    assert [len(root) for root in roots] == [34, 34]
    assert roots[0] != roots[1]
    for path in ("/", "/events", roots[1], roots[0].removesuffix("/"), f"/{roots[0]}", "/static/console.js"):
        assert answered(GATES[False], "GET", path, **COOKIE)[0] == 403, path


@pytest.mark.parametrize(
    "path", ["/", "/events", "/static/console.js", "/letters?token=the-token", "/?token=the-token"]
)
def test_without_the_token_nothing_is_shown(path: str) -> None:
    for cookie in ("", "pipeline-console=wrong", "pipeline-console=", f"other={TOKEN}", f"x{COOKIE['cookie']}", ";=;"):
        assert ask("GET", path, cookie=cookie)[0] == 403


def test_a_wrong_token_in_the_address_is_refused() -> None:
    for path in ("/?token=wrong", "/?token=", "/?token=%ff", "/events?token=the-token"):
        assert answered(GATES[False], "GET", path)[0] == 403


def test_a_cookie_that_another_server_of_the_host_added_locks_nobody_out() -> None:
    own = COOKIE["cookie"]
    for cookie in (f"{own}; pipeline-console=theirs", f"pipeline-console=theirs; {own}", f'@ = "; {own}; a={{}}'):
        assert ask("GET", "/", cookie=cookie)[0] == 200


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
