"""`pipeline webhook send`: what it sends is what the pipeline takes for the sender's."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

from cli import webhook
from cli.webhook import signed_headers
from components.options.secrets import SecretOptions
from components.options.webhooks import WebhookOptions, described_as
from handlers.api.signatures import key_of, verify
from handlers.api.webhooks import Webhook
from handlers.shared import aws
from local.errors import LocalError
from tests.handlers.conftest import ENVIRONMENT
from tests.roles import forget_clients

from .conftest import Command

ARN = "arn:aws:ssm:us-east-1:123456789012:parameter/shop/hook"
DUMMY = "ZHVtbXk="
BODY = b'{ "n": 1.50 }\r\n'

Received = list[tuple[str, Mapping[str, str], bytes]]


@pytest.fixture
def answers() -> list[tuple[int, Any]]:
    return [(202, {"id": "e-1", "status": "queued", "duplicate": False})]


@pytest.fixture
def received(answers: list[tuple[int, Any]], monkeypatch: pytest.MonkeyPatch) -> Iterator[Received]:
    """The requests that came to the API, whose URL is in the outputs."""
    found: Received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            status, answer = answers[-1]
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("OUTPUTS_OF_THE_TEST", json.dumps({"api_url": f"http://127.0.0.1:{server.server_port}/v1"}))
        yield found
        server.shutdown()
        thread.join()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "Pulumi.yaml").write_text("name: datapipeline\n")
    hooks = {
        "github": {"signature": "github", "secrets": [ARN]},
        "svix": {"signature": "standard", "secrets": [ARN]},
        "meta-ads": {"signature": "hmac", "secrets": [ARN], "hmac": {"header": "X-Sig", "encoding": "base64"}},
    }
    config = {"variant": "api", "environment": "dev", "webhooks": hooks}
    given = {f"datapipeline:{key}": value for key, value in config.items()}
    (tmp_path / "Pulumi.dev.yaml").write_text(json.dumps({"config": given}))
    (tmp_path / "body.json").write_bytes(BODY)
    return tmp_path


def sent(pipeline: Command, project: Path, *arguments: str, **variables: str) -> Any:
    import os  # noqa: PLC0415  read when the server's fixture has set it

    environment = {"PIPELINE_OUTPUTS": os.environ["OUTPUTS_OF_THE_TEST"], **variables}
    return pipeline("webhook", "send", *arguments, cwd=project, env=environment)


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("github", ("--type", "push", "--id", "d-1"), {"x-github-event": "push", "x-github-delivery": "d-1"}),
        ("github", (), {"x-github-event": "test"}),
        ("svix", ("--id", "d-1"), {"webhook-id": "d-1"}),
        ("meta-ads", ("--header", "Content-Type: text/plain"), {"content-type": "text/plain"}),
    ],
)
def test_the_pipeline_takes_it_for_the_sender_s(
    pipeline: Command,
    project: Path,
    received: Received,
    name: str,
    arguments: tuple[str, ...],
    expected: Mapping[str, str],
) -> None:
    variable = f"PIPELINE_SECRET_WEBHOOK_{name.upper().replace('-', '_')}"
    result = sent(pipeline, project, name, "body.json", *arguments, **{variable: DUMMY})
    assert (result.exit_code, result.stdout) == (0, "accepted as e-1\n"), result.stderr
    ((path, headers, body),) = received
    assert (path, body) == (f"/v1/webhooks/{name}", BODY)
    assert expected.items() <= headers.items()
    given = json.loads((project / "Pulumi.dev.yaml").read_text())["config"]["datapipeline:webhooks"][name]
    rule = Webhook(**described_as(WebhookOptions.model_validate(given))).rule
    assert verify(rule, [key_of(rule, DUMMY)], headers, body, time.time()) == "genuine"


def test_without_its_variable_the_secret_is_read_where_the_pipeline_does(
    pipeline: Command, project: Path, received: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "_stored", lambda secret, *, local: f"{DUMMY if local and secret.arn == ARN else ''}")
    assert sent(pipeline, project, "svix", "body.json").exit_code == 0
    assert len(received) == 1


@pytest.mark.parametrize("local", [True, False])
def test_secrets_are_found_by_their_name_here_and_by_their_arn_on_aws(
    monkeypatch: pytest.MonkeyPatch, *, local: bool
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    forget_clients()
    with mock_aws():
        aws.client("ssm").put_parameter(Name="/shop/hook", Type="SecureString", Value="one")
        arn = aws.client("secretsmanager").create_secret(Name="shop/hook", SecretString="two")["ARN"]
        # In the emulator the last six characters are others.
        known = f"{arn[:-6]}AbC123" if local else arn
        assert webhook._stored(SecretOptions(arn=ARN), local=local) == "one"
        assert webhook._stored(SecretOptions(arn=known), local=local) == "two"
        with pytest.raises(LocalError, match="cannot be read"):
            webhook._stored(SecretOptions(arn=f"{ARN}/other"), local=local)
    forget_clients()


@pytest.mark.parametrize(
    ("answer", "exit_code", "stdout", "stderr"),
    [
        ((202, {"id": "e-1", "status": "succeeded", "duplicate": True}), 0, "a repeat of e-1\n", ""),
        ((200, {"challenge": "c"}), 0, '200 {"challenge": "c"}\n', ""),
        ((401, {"error": {"message": "the request is not authentic"}}), 1, "", "401: the request is not authentic\n"),
        ((503, {"error": {"message": "try again\u202e"}}), 1, "", "503: try again"),
    ],
)
def test_the_answer_decides_the_exit_code(
    pipeline: Command,
    project: Path,
    received: Received,
    answers: list[tuple[int, Any]],
    answer: tuple[int, Any],
    exit_code: int,
    stdout: str,
    stderr: str,
) -> None:
    answers.append(answer)
    result = sent(pipeline, project, "github", "body.json", PIPELINE_SECRET_WEBHOOK_GITHUB=DUMMY)
    assert (result.exit_code, result.stdout) == (exit_code, stdout)
    assert result.stderr.startswith(stderr)
    assert len(received) == 1
    as_json = sent(pipeline, project, "github", "body.json", "--json", PIPELINE_SECRET_WEBHOOK_GITHUB=DUMMY)
    assert json.loads(as_json.stdout) == {"status": answer[0], "answer": answer[1]}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("gitlab", "body.json"), "error: stack 'dev' has no webhook 'gitlab'; it has github, svix, meta-ads\n"),
        (("github", "none.json"), "error: cannot read none.json: No such file or directory\n"),
        (
            ("svix", "body.json", "--type", "a"),
            "error: --type: a webhook of 'standard' has its type in the body (type)\n",
        ),
    ],
)
def test_what_cannot_be_sent_is_an_error(
    pipeline: Command, project: Path, received: Received, arguments: tuple[str, ...], said: str
) -> None:
    variables = {f"PIPELINE_SECRET_WEBHOOK_{name}": DUMMY for name in ("GITHUB", "SVIX")}
    result = sent(pipeline, project, *arguments, **variables)
    assert (result.exit_code, result.stderr) == (1, said)
    assert received == []


def test_a_webhook_without_type_and_id_says_which_option_names_them() -> None:
    options = WebhookOptions.model_validate({"signature": "hmac", "hmac": {"header": "X-Sig"}, "secrets": [ARN]})
    with pytest.raises(LocalError, match="--id: a webhook of 'hmac' has no id unless idempotency names one"):
        signed_headers(options, DUMMY, BODY, delivery="1")
    with pytest.raises(LocalError, match="--type: a webhook of 'hmac' has no type unless type names one"):
        signed_headers(options, DUMMY, BODY, event_type="a")


@pytest.mark.parametrize("secret", ["", "no base64"])
def test_a_secret_that_cannot_sign_is_an_error_that_does_not_repeat_it(secret: str) -> None:
    options = WebhookOptions.model_validate({"signature": "standard", "secrets": [ARN]})
    with pytest.raises(LocalError, match="cannot sign as 'standard' does: it is empty, or not base64"):
        signed_headers(options, secret, BODY)
