"""Text of clients, files and services is shown on a terminal and not obeyed."""

import io
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from cli.core.terminal import inert, label
from cli.file_report import show_report

from .conftest import Command

HOSTILE = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e[red]x[/red][/]\r\n"
SHOWN = r"\x1b[2J\x1b]0;owned\x07\x9b31m\u202e[red]x[/red][/]\r\n"


def test_unprintable_characters_are_shown_as_escapes() -> None:
    assert inert(HOSTILE) == SHOWN
    assert inert("Zoë, 東京 =1+1 [b] \\n") == "Zoë, 東京 =1+1 [b] \\n"
    assert inert("\ud800\x00\u2028\x7f") == r"\ud800\x00\u2028\x7f"
    assert label(HOSTILE).count(r"\[") == 3


def test_a_report_shows_hostile_names_unchanged() -> None:
    report = {
        "key": f"raw/{HOSTILE}", "status": "failed", "reason": "bad", "error": HOSTILE, "success_rate": 0.5, "rows": 2,
        "processed": 1, "rejected": 1, "duration_seconds": 1, "output_bucket": "b", "rejected_key": HOSTILE,
        "reasons": [{"column": HOSTILE, "reason": "[bold]r[/bold]", "count": 1}],
        "columns": {HOSTILE: {"type": "string", "count": 1, "min": "=1+1[red]", "max": HOSTILE}},
    }  # fmt: skip
    for terminal in (False, True):
        console = Console(file=io.StringIO(), force_terminal=terminal, width=400, color_system=None)
        show_report(report, console)
        assert isinstance(console.file, io.StringIO)
        text = console.file.getvalue()
        assert text.count(SHOWN) == 6
        assert "[bold]r[/bold]" in text
        assert "=1+1[red]" in text
        assert all(line.isprintable() for line in text.split("\n"))


@pytest.fixture
def hostile_api() -> Iterator[str]:
    """An API whose responses contain escape sequences."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shown = {"id": "x", "status": "failed", "error": HOSTILE, HOSTILE: 1}
            refused = {"error": {"message": HOSTILE}}
            body = json.dumps(refused if self.path.endswith("refused") else shown).encode()
            self.send_response(500 if self.path.endswith("refused") else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_response_of_the_api_is_shown_and_not_obeyed(pipeline: Command, hostile_api: str) -> None:
    environment = {"PIPELINE_OUTPUTS": json.dumps({"api_url": hostile_api})}
    shown = pipeline("status", "x", env=environment)
    assert shown.stdout.count(SHOWN) == 2
    refused = pipeline("status", "refused", env=environment)
    assert refused.stderr == f"error: the API answered 500: {SHOWN}\n"
    assert all(line.isprintable() for line in (shown.stdout + refused.stderr).split("\n"))


def test_a_file_with_a_hostile_name_and_header_is_checked_like_any_other(pipeline: Command, tmp_path: Path) -> None:
    path = tmp_path / "[red]\x1b[2J.csv"
    path.write_text("name,email,amount,date,quantity,[/]\x1b[2J\nAnn,ann@example.com,1,2024-01-02,=1+1,x\n")
    done = pipeline("csv", "check", str(path), env={"COLUMNS": "400"})
    assert (done.exit_code, done.stderr) == (1, "")
    assert r"[red]\x1b[2J.csv" in done.stdout
    assert all(line.isprintable() for line in done.stdout.split("\n"))


COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize("command", ["cost", "permissions --stack analytics", "permissions --stack iot"])
def test_tables_fit_80_columns(command: str, pipeline: Command) -> None:
    shown = pipeline(*command.split(), env={"COLUMNS": "80", "FORCE_COLOR": "1"}).stdout
    rows = [COLOUR.sub("", line) for line in shown.splitlines() if not re.match(r"\w+: |By list prices", line)]
    assert len(rows) > 8
    assert [row for row in rows if len(row) > 80] == []


def test_colours_are_for_terminals_and_for_those_who_want_them(pipeline: Command, hostile_api: str) -> None:
    outputs = {"PIPELINE_OUTPUTS": json.dumps({"api_url": hostile_api})}

    def status(**environment: str) -> str:
        return pipeline("status", "x", env={**outputs, **environment}).stdout

    assert COLOUR.findall(status()) == []
    assert COLOUR.findall(status(FORCE_COLOR="1", TERM="xterm"))
    assert COLOUR.findall(status(FORCE_COLOR="1", TERM="xterm", NO_COLOR="1")) == []
    assert status() == COLOUR.sub("", status(FORCE_COLOR="1", TERM="xterm"))
