"""The hints of `pipeline local`: what a user pastes is accepted by the stack."""

import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli.core.samples import sample_event
from cli.core.suggestions import suggest
from cli.hints import hints
from cli.local import show
from components.config import load
from handlers.api.events import check
from handlers.shared.schemas import compile_schemas
from local.project import load_project
from tests.graphs import SAMPLES

OUTPUTS = {"api_url": "http://127.0.0.1:1/api"}
TYPES = ("order", "page_view", "purchase")


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SAMPLES)


def hint(stack: str, **options: Any) -> list[str]:
    return hints(stack, load(load_project(SAMPLES, stack).with_config(options).config, file="x"), OUTPUTS)


def sent(line: str) -> Any:
    """The event in a command line."""
    words = shlex.split(line)
    return json.loads(words[words.index("-d") + 1] if "-d" in words else words[1])


def test_an_open_api_without_schemas_gets_a_curl_line() -> None:
    _, line = hint("dev")
    assert line.startswith("curl -i http://127.0.0.1:1/api/events ")
    assert sent(line) == {"data": "test payload"}


@pytest.mark.parametrize("schemas", [["page_view", "purchase"], ["purchase"], "schemas/order.json"])
def test_the_event_of_a_hint_satisfies_the_schemas(schemas: Any) -> None:
    names = [Path(schemas).stem] if isinstance(schemas, str) else schemas
    found = {name: json.loads((SAMPLES / f"schemas/{name}.json").read_text()) for name in names}
    validators = compile_schemas({"": found["order"]} if isinstance(schemas, str) else found)
    event = sent(hint("dev", api={"schemas": schemas})[1])
    assert check(event, max_depth=64, type_field="event_type", validators=validators)


@pytest.mark.parametrize(
    ("api", "option"),
    [
        ({"auth": "iam"}, "--sign"),
        ({"auth": "api_key", "kind": "rest"}, "--header 'x-api-key: YOUR-KEY'"),
        ({"auth": "jwt", "jwt": {"issuer": "https://i/pool", "audience": ["a"]}}, "--header 'authorization: Bearer"),
    ],
)
def test_a_protected_api_gets_a_command_that_authenticates(api: dict[str, Any], option: str) -> None:
    said, line = hint("dev", api=api)
    assert f"(the API requires {api['auth']})" in said
    assert re.fullmatch(r"echo '.*' \| pipeline send - --stack dev .*", line)
    assert option in line


def test_a_schema_that_is_too_complicated_for_a_sample_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "schemas").mkdir()
    hard = {"type": "object", "required": ["a"], "properties": {"a": {"type": "string", "pattern": "^[0-9]{7}$"}}}
    (tmp_path / "schemas/hard.json").write_text(json.dumps(hard))
    (tmp_path / "processors").symlink_to(SAMPLES / "processors")
    monkeypatch.chdir(tmp_path)
    assert hint("dev", api={"schemas": ["hard"]}) == [
        "Send events that satisfy schemas/hard.json:",
        "pipeline send FILE.jsonl --stack dev",
    ]


def test_a_stack_with_webhooks_gets_url_and_command_of_each_in_its_own_order() -> None:
    secret = "arn:aws:secretsmanager:us-east-1:123456789012:secret:shop/hook-AbC123"  # pragma: allowlist secret
    webhooks = {name: {"signature": "github", "secrets": [secret]} for name in ("b", "a")}
    config = load({**load_project(SAMPLES, "dev").config, "datapipeline:webhooks": webhooks}, file="x")
    urls = {name: f"http://127.0.0.1:1/webhooks/{name}" for name in "ab"}
    lines = hints("mine", config, {**OUTPUTS, "webhook_urls": urls})
    sends = [line for line in lines if "webhook" in line]
    told = (f"Send a request of the webhook {name} to {urls[name]}:" for name in "ba")
    commands = (suggest("webhook", "send", name, "FILE", "--stack", "mine") for name in "ba")
    assert sends == [line for pair in zip(told, commands, strict=True) for line in pair]


def test_csv_and_iot_stacks_get_commands_of_their_own() -> None:
    assert hint("csv") == [
        "Upload a file with the columns name, email, amount, date, quantity:",
        "pipeline upload FILE.csv --stack csv",
    ]
    assert hint("iot")[1] == "pipeline simulate --stack iot"


def test_a_program_of_another_kind_gets_no_hint(capsys: pytest.CaptureFixture[str]) -> None:
    project = SimpleNamespace(stack="dev", config={}, directory=SAMPLES)
    show(SimpleNamespace(outputs={"queue_url": "q"}, project=project))  # type: ignore[arg-type]
    assert capsys.readouterr().out == "queue_url  q\n"


def test_the_outputs_come_before_the_hint(capsys: pytest.CaptureFixture[str]) -> None:
    show(SimpleNamespace(outputs=OUTPUTS, project=load_project(SAMPLES, "dev")))  # type: ignore[arg-type]
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0].split()[0], lines[2], lines[3][:4]) == ("api_url", "Send an event:", "curl")


@pytest.mark.parametrize(
    ("schema", "event"),
    [
        ({"type": "object", "required": ["a"], "properties": {"a": {"enum": ["x", "y"]}}}, {"a": "x"}),
        ({"required": ["a"], "properties": {"a": {"type": ["integer", "null"], "minimum": 5}}}, {"a": 5}),
        ({"required": ["a"], "properties": {"a": {"type": "string", "minLength": 6}}}, {"a": "textxx"}),
        ({"required": ["a"], "properties": {"a": {"type": "number", "exclusiveMaximum": 0}}}, {"a": -1}),
        ({"required": ["a"], "properties": {"a": {"type": "string", "format": "date"}}}, {"a": "2026-01-02"}),
        ({"properties": {"a": {"type": "array"}}}, {}),
        ({"type": "array"}, None),
    ],
)
def test_a_sample_satisfies_its_schema_or_there_is_none(schema: dict[str, Any], event: Any) -> None:
    assert sample_event(schema) == event
