"""`pipeline send` and `pipeline status`, against an HTTP server in the test, and how they find a stack."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli import send
from cli.core.http import Access, request
from cli.core.state import kept_state
from cli.core.suggestions import suggest
from cli.main import app
from local.errors import LocalError

Reply = tuple[int, Any]


@dataclass
class Api:
    """The requests received and the reply, which accepts every event by default."""

    url: str = ""
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    reply: Callable[[Any], Reply] = lambda body: (
        202,
        {"results": [{"index": index, "id": f"id-{index}", "status": "queued"} for index in range(len(body))]},
    )

    @property
    def bodies(self) -> list[Any]:
        """The bodies received."""
        return [body for _, _, body in self.requests]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = json.loads(text) if text else None
            api.requests.append((self.command, self.path, body))
            status, answer = api.reply(body)
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if status == 302:
                self.send_header("Location", f"{api.url}/elsewhere")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _answer  # noqa: N815  as http.server calls them

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        api.url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("PIPELINE_OUTPUTS", json.dumps({"api_url": api.url}))
        monkeypatch.setattr(send, "FIRST_WAIT_SECONDS", 0.001)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield api
        server.shutdown()
        thread.join()


def _run(*arguments: str, text: str | None = None) -> Any:
    return CliRunner().invoke(app, list(arguments), input=text)


@pytest.mark.parametrize(
    ("text", "events"),
    [
        ('{"a": 1}', [{"a": 1}]),
        ('[{"a": 1}, 2]', [{"a": 1}, 2]),
        ('{"events": [{"a": 1}, {"b": 2}]}', [{"a": 1}, {"b": 2}]),
        ('{"events": [], "a": 1}', [{"events": [], "a": 1}]),
        ('{"a": 1}\n\n{"b": 2}\n', [{"a": 1}, {"b": 2}]),
        ('{"a": "ä\\u0000"}\r\n17', [{"a": "ä\x00"}, 17]),
        ('[{"events": [1]}]', [{"events": [1]}]),
        ("[]", []),
    ],
)
def test_json_and_json_lines_are_read(text: str, events: list[Any]) -> None:
    assert [json.loads(event) for event in send.read_events(text, "file")] == events


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "file is empty"),
        ("{", "^file is not JSON: "),
        ('{"a": 1}\nno\n', "^file, line 2 is not JSON: "),
        ('{"a": 1}\n{"a": NaN}\n', "^file, line 2 is not JSON: NaN is not a JSON number$"),
        ('[{"a": 1e999}]', "^file is not JSON: 1e999 is not a JSON number$"),
        ('{"a": 1, "a": 2}', "^file is not JSON: duplicate key"),
        ("[" * 100_000, "^file is not JSON: "),
    ],
)
def test_invalid_json_is_an_error_that_names_the_line(text: str, message: str) -> None:
    with pytest.raises(LocalError, match=message):
        send.read_events(text, "file")


def test_events_go_out_in_batches_and_in_order(api: Api, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text("".join(f'{{"n": {number}}}\n' for number in range(5)))
    result = _run("send", str(file), "--batch-size", "2")
    *ids, counted = result.stdout.splitlines()
    assert (result.exit_code, counted) == (0, "5 events: 5 accepted (0 duplicate), 0 rejected")
    assert len(ids) == 5
    assert api.bodies == [[{"n": 0}, {"n": 1}], [{"n": 2}, {"n": 3}], [{"n": 4}]]
    assert {(method, path) for method, path, _ in api.requests} == {("POST", "/events")}


def test_a_batch_stays_below_the_limit_of_the_api(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(send, "BATCH_BYTES", 25)
    _run("send", "-", text='["0123456789", "0123456789", "0123456789"]')
    assert [len(body) for body in api.bodies] == [2, 1]


def test_rejected_events_are_counted_and_shown_by_their_number_in_the_file(api: Api) -> None:
    def reply(body: Any) -> Reply:
        rejected = {"index": 1, "status": "rejected", "errors": [{"path": "amount", "message": "must be a number"}]}
        accepted = {"index": 0, "id": "x", "status": "succeeded", "duplicate": True}
        return 202, {"results": [accepted, rejected][: len(body)]}

    api.reply = reply
    result = _run("send", "-", "--batch-size", "2", text="[1, 2, 3, 4]")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "4 events: 2 accepted (2 duplicate), 2 rejected"
    assert result.stderr.splitlines() == [
        "rejected: event 2: amount: must be a number",
        "rejected: event 4: amount: must be a number",
    ]


def test_a_batch_rejected_as_a_whole_is_counted(api: Api) -> None:
    api.reply = lambda _: (413, {"error": {"code": "too_large", "message": "the body is too large", "details": []}})
    result = _run("send", "-", text="[1, 2]")
    assert result.exit_code == 1
    assert "event 2: the body is too large" in result.stderr
    assert result.stdout == "2 events: 0 accepted (0 duplicate), 2 rejected\n"


def test_a_busy_service_is_retried(api: Api) -> None:
    answers = [(503, {"results": [], "error": {}}), (429, b"slow down"), api.reply([1])]
    api.reply = lambda _: answers[len(api.requests) - 1]
    result = _run("send", "-", text="[1]")
    assert (result.exit_code, len(api.requests)) == (0, 3)


def test_a_service_that_stays_busy_is_an_error(api: Api) -> None:
    api.reply = lambda _: (503, b"<html>")
    result = _run("send", "-", text="[1]")
    assert (result.exit_code, len(api.requests)) == (1, send.ATTEMPTS)
    assert result.stderr == "error: the API answered 503: HTTP 503 <html>\n"


def test_a_service_that_does_not_answer_is_an_error_with_the_events_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_OUTPUTS", '{"api_url": "http://127.0.0.1:1"}')
    result = _run("send", "-", text="[1, 2]")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: 127.0.0.1:1 does not answer: ")
    assert result.stderr.endswith("(0 of 2 events sent before)\n")


def test_an_unreadable_file_is_named(api: Api, tmp_path: Path) -> None:
    result = _run("send", str(tmp_path / "gone.json"))
    assert (result.exit_code, api.requests) == (1, [])
    assert result.stderr == f"error: cannot read {tmp_path / 'gone.json'}: No such file or directory\n"


def test_a_status_is_shown_with_the_stored_result(api: Api) -> None:
    def reply(_: Any) -> Reply:
        if api.requests[-1][1] == "/stored":
            return 200, {"total": 3}
        shown = {"id": "a/b", "status": "succeeded", "error": None, "result_url": f"{api.url}/stored"}
        return 200, shown

    api.reply = reply
    result = _run("status", "a/b")
    assert result.exit_code == 0
    assert [line.split(maxsplit=1) for line in result.stdout.splitlines()] == [
        ["id", "a/b"],
        ["status", "succeeded"],
        ["result", '{"total": 3}'],
    ]
    assert api.requests[0][1] == "/events/a%2Fb"


def test_a_status_is_printed_unchanged_with_json(api: Api) -> None:
    api.reply = lambda _: (200, b'{"id":"x","status":"queued"}')
    assert _run("status", "x", "--json").stdout == '{"id":"x","status":"queued"}\n'


def test_an_unknown_event_is_an_error(api: Api) -> None:
    api.reply = lambda _: (404, {"error": {"code": "no_such_event", "message": "no", "details": []}})
    result = _run("status", "x", "--stack", "dev")
    assert (result.exit_code, result.stderr) == (1, "error: there is no event 'x' in stack 'dev'\n")


def test_a_refused_status_says_why(api: Api) -> None:
    api.reply = lambda _: (403, {"message": "Forbidden"})
    result = _run("status", "x")
    assert (result.exit_code, "the API answered 403" in result.stderr) == (1, True)


def test_a_stack_without_an_api_is_an_error_that_lists_its_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_OUTPUTS", '{"bucket_name": "b"}')
    assert _run("status", "x").stderr == "error: stack 'dev' has no output 'api_url'; it has bucket_name\n"


def _project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("PIPELINE_OUTPUTS", raising=False)
    monkeypatch.chdir(folder)
    (folder / "Pulumi.yaml").write_text("name: shop\n")
    return folder


def _fake_pulumi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    tool = folder / "bin" / "pulumi"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")


def test_a_local_pipeline_is_found_by_its_state_file(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = _project(tmp_path, monkeypatch) / ".pipeline" / "local-dev.json"
    _fake_pulumi(tmp_path, monkeypatch, "exit 1")
    with kept_state(state, {"pid": os.getpid(), "environment": {}, "outputs": {"api_url": api.url}}):
        assert _run("send", "-", text="[1]").exit_code == 0
        other = _run("send", "-", "--stack", "other", text="[1]")
        assert "stack 'other' does not run here" in other.stderr
        assert "; these run: dev), and" in other.stderr
    assert _run("send", "-", text="[1]").exit_code == 1


def test_a_deployed_stack_is_asked_for_its_outputs(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _project(tmp_path, monkeypatch)
    outputs = json.dumps({"api_url": api.url})
    expected = "stack output --json --stack prod"
    _fake_pulumi(tmp_path, monkeypatch, f"""test "$*" = "{expected}" && echo '{outputs}'""")
    assert _run("send", "-", "--stack", "prod", text="[1]").exit_code == 0


def test_an_error_of_pulumi_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _project(tmp_path, monkeypatch)
    _fake_pulumi(tmp_path, monkeypatch, "echo one >&2; echo 'error: no stack named prod' >&2; exit 255")
    result = _run("status", "x", "--stack", "prod")
    assert result.exit_code == 1
    assert result.stderr.endswith("and `pulumi stack output` failed: error: no stack named prod\n")
    assert len(result.stderr.splitlines()) == 1


def test_without_pulumi_the_error_says_how_to_start_the_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _project(tmp_path, monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _run("status", "x").stderr.startswith("error: there is no stack 'dev' (no file Pulumi.dev.yaml)")
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}\n")
    assert f"`{suggest('local', '--stack', 'dev')}` starts it" in _run("status", "x").stderr


def test_headers_can_be_in_a_file_which_no_other_user_sees_on_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("x-api-key: abc:d\n\nAuthorization: Bearer x\n")
    access = Access.from_options([f"@{file}", "x-more: 1"], sign=False)
    assert access.headers == {"x-api-key": "abc:d", "Authorization": "Bearer x", "x-more": "1"}
    with pytest.raises(LocalError, match=r"cannot read .*none"):
        Access.from_options([f"@{tmp_path / 'none'}"], sign=False)
    file.write_text("abc\n")
    with pytest.raises(LocalError, match=r"'abc' must be like"):
        Access.from_options([f"@{file}"], sign=False)


def test_credentials_do_not_follow_a_redirect(api: Api) -> None:
    api.reply = lambda _: (302, {})
    answer = request("GET", f"{api.url}/events/x", access=Access({"x-api-key": "abc"}))
    assert (answer.status, [path for _, path, _ in api.requests]) == (302, ["/events/x"])


def test_a_bad_line_of_json_lines_is_named_by_one_line_number_and_its_column(api: Api, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text('{"a": 1}\n{"a" 2}\n')
    result = _run("send", str(file))
    assert result.stderr == f"error: {file}, line 2 is not JSON: Expecting ':' delimiter: column 6\n"
    assert api.requests == []


@pytest.mark.usefixtures("api")
def test_ids_are_printed_and_all_of_them_as_json() -> None:
    events = json.dumps([{"n": number} for number in range(25)])
    lines = _run("send", "-", text=events).stdout.splitlines()
    assert lines[:20] == [f"id-{number}" for number in range(20)]
    assert lines[20] == "... and 5 more ids; --json prints all"
    printed = json.loads(_run("send", "-", "--json", text=events).stdout)
    assert printed["ids"] == [f"id-{number}" for number in range(25)]
    assert (printed["sent"], printed["accepted"], printed["rejected"]) == (25, 25, 0)
