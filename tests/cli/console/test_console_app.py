"""The console's pages without a pipeline: what is wrong is said, and nothing of a request is obeyed."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from cli.console.app import FORM_BYTES, Console
from cli.console.serve import console
from cli.core.http import Access
from cli.core.stack import OUTPUTS, Stack
from handlers.shared import aws
from handlers.shared.dead_letters import DeadLetters
from handlers.shared.letters import Cause, Found, Letter
from handlers.shared.passes import Pass
from local.errors import LocalError
from local.project import load_project
from tests.graphs import SAMPLES
from tests.roles import forget_clients

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
        self.stack = stack
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
    forget_clients()

    def made(name: str = "dev", **config: Any) -> Asked:
        stack = Stack(name)
        stack.__dict__["project"] = load_project(SAMPLES, name).with_config(config)
        return Asked(stack)

    yield made
    forget_clients()


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


def test_a_fault_of_the_console_is_said_on_a_page_and_its_traceback_in_the_terminal(
    of: Of, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: Any) -> None:
        raise KeyError("<b>inner</b>")

    stack = of().stack
    monkeypatch.setattr(Console, "_event_list", fails)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor())

    def asked(address: str) -> tuple[int, str, str]:
        with pytest.raises(urllib.error.HTTPError) as answer, opener.open(address):
            pass
        with answer.value as error:
            return error.code, str(error.url), error.read().decode()

    with console(stack, Access(), 0, read_only=True) as address:
        root = asked(address)[1]
        status, _, text = asked(f"{root}events")
    assert status == 500
    assert "the console failed: KeyError: &#39;&lt;b&gt;inner&lt;/b&gt;&#39;; the traceback is in the terminal" in text
    assert "fails" not in text
    printed = capfd.readouterr().err
    assert "Traceback (most recent call last)" in printed
    assert "raise KeyError" in printed


def test_nothing_is_asked_of_what_listens_where_a_stack_was_that_has_ended(
    of: Of, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(_: Stack) -> None:
        raise LocalError("the pipeline has ended")

    api, csv, iot = of(), of("csv"), of("iot")
    monkeypatch.setattr(Stack, "refuse_ended", refuses)
    reads = [(api, path) for path in ("/", "/events", "/events/x", "/letters", "/letters/x", "/send", "/nodes/x")]
    reads += [(csv, path) for path in ("/files", "/files/reports/x", "/send")] + [(iot, "/devices")]
    writes = [(api, "/send"), (api, "/letters"), (api, "/jobs/1/cancel"), (csv, "/send?name=a"), (iot, "/send?name=a")]
    asked = [("GET", *each) for each in reads] + [("POST", *each) for each in writes]
    for method, ask, path in asked:
        status, text = ask(method, path, b"event=%7B%7D&action=send")
        assert (status, "the pipeline has ended" in text) == (502, True), (method, path)


def letter(number: int, error_type: str) -> dict[str, Any]:
    return Found(
        Letter(f"m-{number}", "r", "{}", {}, 0.0, ""), Cause(f"e-{number}", error_type, "no", 1), 5
    ).described()


def letters_page(
    monkeypatch: pytest.MonkeyPatch, ask: Asked, letters: list[dict[str, Any]], done: Pass, path: str = "/letters"
) -> str:
    monkeypatch.setattr(
        DeadLetters,
        "look",
        lambda _self, _wanted, maximum, _seconds: (letters[: int(min(maximum, len(letters)))], done),
    )
    status, text = ask("GET", path)
    assert status == 200
    return " ".join(text.partition("<h1>")[2].split())


def test_letters_that_others_hide_are_said_to_be_there(of: Of, monkeypatch: pytest.MonkeyPatch) -> None:
    text = letters_page(monkeypatch, of(), [], Pass({}, hidden=7, remaining=7))
    assert (
        "0 shown, about 7 there; about 7 are hidden: another command, a console or the reconciler looks at them" in text
    )
    assert "None that can be seen now." in text
    assert "No dead letters" not in text
    text = letters_page(monkeypatch, of(), [], Pass({}, complete=True, remaining=0))
    assert "No dead letters." in text
    assert "hidden:" not in text


def test_a_fifo_redrive_is_preceded_by_what_it_does_to_the_order(of: Of, monkeypatch: pytest.MonkeyPatch) -> None:
    done = Pass({}, complete=True, remaining=1)
    assert "FIFO: " not in letters_page(monkeypatch, of(), [letter(1, "E")], done)
    monkeypatch.setattr(DeadLetters, "is_fifo", True)
    text = letters_page(monkeypatch, of(), [letter(1, "E")], done)
    assert "FIFO: a redriven message comes behind the messages of its group" in text.partition("Redrive these")[0]
    found = Found(Letter("m-1", "r", "{}", {}, 0.0, "group"), Cause("e-1", "E", "no", 1), 5)
    monkeypatch.setattr(DeadLetters, "find", lambda *_: (found, done))
    assert "FIFO: a redriven message" in of()("GET", "/letters/m-1")[1].partition("Redrive it")[0]


def test_letters_are_counted_by_error_beyond_those_that_are_shown(of: Of, monkeypatch: pytest.MonkeyPatch) -> None:
    letters = [letter(number, "Early" if number < 400 else "Late") for number in range(3_000)]
    ask = of()
    text = letters_page(monkeypatch, ask, letters, Pass({}, remaining=3_000))
    assert "500 shown, about 3,000 there; not all were examined." in text
    assert 'Early <span class="tag">400 seen</span>' in text
    assert "/letters?count=all" in text
    text = letters_page(monkeypatch, ask, letters, Pass({}, complete=True, remaining=3_000), "/letters?count=all")
    assert "3,000 counted, the first 500 of them shown, about 3,000 there." in text
    assert text.index('Late <span class="tag">2,600</span>') < text.index('Early <span class="tag">400</span>')
    assert text.count("<code>m-") == 500
    assert "count=all" not in text
