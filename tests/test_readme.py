"""The examples of the README are correct. tests/emulator/cli/test_pasted_commands.py runs its commands."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from cli.main import app
from components.config import ConfigError, load
from handlers.processor import Rejected, Unavailable
from local.diagram import mermaid
from tests.graphs import SAMPLES, graph_of

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_stack_file_in_the_readme_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SAMPLES)
    (example,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    config = load(yaml.safe_load(example)["config"], file="README.md")
    assert (config.environment, config.storage.retain_data) == ("prod", True)


def test_the_error_in_the_readme_is_what_a_user_sees() -> None:
    (shown,) = re.findall(r"^error: (.*)$", README, re.MULTILINE)
    with pytest.raises(ConfigError) as raised:
        load({"datapipeline:variant": "api", "datapipeline:api": '{"max_batch": 9000}'}, file="Pulumi.dev.yaml")
    assert str(raised.value) == shown


def test_the_function_in_the_readme_works_and_the_public_errors_are_explained_beside_it() -> None:
    (section,) = re.findall(r"## Your function\n(.*?)\n## ", README, re.DOTALL)
    (source,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    module: dict[str, Any] = {}
    exec(source, module)  # noqa: S102  it is our own page
    assert module["process"]({"amount": 100}) == {"total": 119.0}
    with pytest.raises(Rejected, match="amount must be above 0"):
        module["process"]({"amount": 0})
    assert [error.__name__ for error in (Rejected, Unavailable) if f"`{error.__name__}`" not in section] == []


def test_the_diagram_in_the_readme_shows_the_dev_stack() -> None:
    (picture,) = re.findall(r"```mermaid\n(.*?)```", README, re.DOTALL)
    assert picture == mermaid(graph_of())


def test_every_file_named_in_the_readme_exists() -> None:
    named = re.findall(r"`((?:tests|components|processors|docs|local|\.github)/[\w./-]+)`|\]\(([\w./-]+)\)", README)
    files = {one or other for one, other in named}
    assert len(files) > 8
    assert [file for file in sorted(files) if not (ROOT / file).exists() and not (SAMPLES / file).exists()] == []


def test_the_bill_in_the_readme_is_what_the_command_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SAMPLES)
    ((command, shown),) = re.findall(r"\$ \.venv/bin/pipeline (cost .*)\n([^`]*)```", README)
    printed = CliRunner().invoke(app, command.split())
    assert printed.exit_code == 0
    assert shown == printed.stdout
