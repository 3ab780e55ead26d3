"""The console of a running stack: its pages by plain requests, and what holds for each of them in a browser."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import pytest

from benchmarks.browser import Browser
from cli.console.serve import console
from cli.core.http import Access
from cli.core.stack import OUTPUTS, Stack
from handlers.shared import aws
from tests.graphs import SAMPLES
from tests.roles import forget_clients

from .conftest import Client


class KeepRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass
class Pages:
    """The console's pages, asked by plain requests."""

    address: str

    def __post_init__(self) -> None:
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(), KeepRedirects()
        )
        self.origin = self.address.partition("/?")[0]
        with pytest.raises(urllib.error.HTTPError) as redirect:
            self.opener.open(self.address)
        with redirect.value as answer:
            assert answer.code == 303
            self.root = self.origin + answer.headers["Location"].removesuffix("/")

    def ask(
        self, path: str, fields: dict[str, str] | None = None, *, body: bytes | None = None, **headers: str
    ) -> tuple[int, str]:
        data = body if fields is None else urllib.parse.urlencode(fields).encode()
        given = {"Origin": self.origin, **{name.replace("_", "-"): value for name, value in headers.items()}}
        request = urllib.request.Request(self.of(path), data=data, headers=given)
        try:
            with self.opener.open(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def of(self, path: str) -> str:
        """The address of a page, also by the path that a link has."""
        return (self.origin if path.startswith(self.root.removeprefix(self.origin)) else self.root) + path

    def get(self, path: str) -> str:
        status, text = self.ask(path)
        assert status == 200, text
        return text


@contextmanager
def console_of(client: Client, patch: pytest.MonkeyPatch, *, read_only: bool = False) -> Iterator[Pages]:
    """The console of a running stack. It works in this process, whose AWS clients it aims at the stack."""
    project = client.up.project
    for name, value in client.up.environment().items():
        patch.setenv(name, value)
    patch.setenv(OUTPUTS, json.dumps(client.outputs))
    patch.chdir(SAMPLES)
    # The default session keeps the keys of another test's emulator.
    patch.setattr(boto3, "DEFAULT_SESSION", None)
    forget_clients()
    stack = Stack(project.stack)
    stack.__dict__["project"] = project
    with console(stack, Access(), 0, read_only=read_only) as address:
        clients = [aws.client(service) for service in ("sqs", "dynamodb")]
        yield Pages(address)
    # The pages refer to each other, and the garbage collector may find the sockets before the clients.
    for each in clients:
        while each._idle:
            each._idle.pop().close()
    forget_clients()


def check_pages(browser: Browser, pages: Pages, paths: Sequence[str]) -> None:
    """Axe finds nothing on a wide light and on a narrow dark page, which needs no sideways scrolling."""
    browser.open(pages.address)
    for path in paths:
        browser.show_on(1280, 900, "light")
        browser.open(pages.of(path))
        wide = browser.violations()
        browser.show_on(360, 800, "dark")
        found = [*wide, *(f"narrow and dark: {each}" for each in browser.violations())]
        assert not found, f"{path}: {found}"
        assert browser.run("return document.documentElement.scrollWidth") <= 360, path
    browser.show_on(1280, 900, "light")
