"""The console's pages without a pipeline: what is wrong is said, and nothing of a request is obeyed."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from cli.console.app import FORM_BYTES, Console
from cli.core.http import Access
from cli.core.stack import OUTPUTS, Stack
from handlers.shared import aws
from local.project import load_project
from tests.graphs import SAMPLES

OUTPUT = {
    "api_url": "http://127.0.0.1:9/api",
    "table_name": "table",
    "queue_url": "http://127.0.0.1:9/0/pipeline-queue-1",
    "dead_letter_queue_url": "http://127.0.0.1:9/0/pipeline-queue-dead-letters-1",
    "input_bucket": "input",
    "output_bucket": "output",
    "bucket_name": "bucket",
    "log_groups": {"worker": "worker"},
    "alarm_names": [],
}


class Asked:
    """The console of a stack whose pipeline has been stopped: nothing listens at its address."""

    def __init__(self, stack: Stack) -> None:
        self._application = Console(stack, Access(), read_only=False, every_seconds=1).application()

    def __call__(self, method: str, path: str, body: bytes = b"") -> tuple[int, str]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        parts = [body[at : at + 1_000_000] for at in range(0, len(body), 1_000_000)] or [b""]

        async def receive() -> Any:
            part = parts.pop(0) if parts else b""
            return {"type": "http.request", "body": part, "more_body": bool(parts)}

        path, _, query = path.partition("?")
        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "root_path": "",
            "query_string": query.encode(), "headers": [], "http_version": "1.1", "scheme": "http",
            "server": ("127.0.0.1", 1), "client": ("127.0.0.1", 2),
        }  # fmt: skip
        asyncio.run(self._application(scope, receive, send))
        text = b"".join(message.get("body", b"") for message in sent)
        return sent[0]["status"], text.decode()


Of = Callable[..., Asked]


@pytest.fixture
def of(monkeypatch: pytest.MonkeyPatch) -> Iterator[Of]:
    given = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", OUTPUTS: json.dumps(OUTPUT),
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(SAMPLES)
    # Without waits between attempts.
    monkeypatch.setattr(aws, "ATTEMPTS", 1)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    aws._session.cache_clear()
    aws.client.cache_clear()

    def made(name: str = "dev", **config: Any) -> Asked:
        stack = Stack(name)
        stack.__dict__["project"] = load_project(SAMPLES, name).with_config(config)
        return Asked(stack)

    yield made
    aws._session.cache_clear()
    aws.client.cache_clear()


def test_when_the_pipeline_was_stopped_each_page_says_so(of: Of) -> None:
    ask = of()
    for path in ("/", "/events", "/events/11111111-1111-4111-8111-111111111111", "/letters"):
        status, text = ask("GET", path)
        assert (status, "Traceback" in text) == (502, False), path
    assert "stack &#39;dev&#39; does not answer; if its pipeline was stopped" in ask("GET", "/events")[1]
    # What was written into the form is not lost.
    status, text = ask("POST", "/send", b"action=send&event=%7B%22mine%22%3A1%7D")
    assert (status, "does not answer" in text, "mine" in text) == (200, True, True)


def test_a_stack_without_a_time_index_lists_no_events_and_says_why(of: Of) -> None:
    status, text = of(storage={"time_index": False})("GET", "/events")
    assert (status, "no time index" in text) == (200, True)


@pytest.mark.parametrize("stack", ["csv", "iot"])
def test_other_variants_have_no_pages_of_events(of: Of, stack: str) -> None:
    ask = of(stack)
    assert ask("GET", "/events")[0] == 404
    assert ask("GET", "/send")[0] == 200
    assert ask("POST", "/send?name=../../etc/passwd", b"x")[0] == 400
    assert ask("POST", "/send?name=", b"x")[0] == 400


def test_what_a_request_says_is_shown_as_text(of: Of) -> None:
    ask = of()
    for path in ("/<script>alert(1)</script>", "/events/<script>alert(1)</script>\u202e", "/nodes/<b>\x1b[2J"):
        status, text = ask("GET", path)
        assert status in (404, 502)
        assert "<script>alert" not in text
        assert "<b>" not in text
        assert "\x1b" not in text
        assert "\u202e" not in text
    fields = b"action=check&original=%3Cscript%3E&event=%3C%2Ftextarea%3E%3Cscript%3Ealert(1)"
    assert "<script>alert" not in ask("POST", "/send", fields)[1]


def test_a_form_that_is_too_large_or_no_text_is_refused(of: Of) -> None:
    ask = of()
    assert ask("POST", "/send", b"event=" + b"x" * (FORM_BYTES + 1))[0] == 400
    assert ask("POST", "/letters", b"\xff=\xff")[0] == 400
    assert ask("DELETE", "/letters")[0] == 404
