"""What the README shows is so."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from cli.main import app
from components.config import ConfigError, load
from handlers.processor import Rejected, Unavailable
from local.diagram import mermaid
from local.recording import synthesise

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
# An event that is there, for the commands that show one.
SUBMIT = """
EVENT_ID=$(python -c '
import json, os, urllib.request
url = json.loads(os.environ["PIPELINE_OUTPUTS"])["api_url"] + "/events"
print(json.load(urllib.request.urlopen(url, b"{}"))["id"])')
"""


def test_the_stack_file_in_the_readme_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (example,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    config = load(yaml.safe_load(example)["config"], file="README.md")
    assert (config.environment, config.storage.retain_data) == ("prod", True)


def test_the_error_in_the_readme_is_what_a_user_sees() -> None:
    (shown,) = re.findall(r"^error: (.*)$", README, re.MULTILINE)
    with pytest.raises(ConfigError) as raised:
        load({"datapipeline:variant": "api", "datapipeline:api": '{"max_batch": 9000}'}, file="Pulumi.dev.yaml")
    assert str(raised.value) == shown


def test_the_function_in_the_readme_works_and_every_word_that_a_function_can_say_is_beside_it() -> None:
    (section,) = re.findall(r"## Your function\n(.*?)\n## ", README, re.DOTALL)
    (source,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    module: dict[str, Any] = {}
    exec(source, module)  # noqa: S102  it is our own page
    assert module["process"]({"amount": 100}) == {"total": 119.0}
    with pytest.raises(Rejected, match="amount must be above 0"):
        module["process"]({"amount": 0})
    assert [word.__name__ for word in (Rejected, Unavailable) if f"`{word.__name__}`" not in section] == []


def test_the_picture_in_the_readme_is_that_of_the_dev_stack() -> None:
    (picture,) = re.findall(r"```mermaid\n(.*?)```", README, re.DOTALL)
    assert picture == mermaid(synthesise(ROOT, "dev"))


def test_every_file_that_the_readme_names_exists() -> None:
    named = re.findall(r"`((?:tests|components|processors|docs|local|\.github)/[\w./-]+)`|\]\(([\w./-]+)\)", README)
    files = {one or other for one, other in named}
    assert len(files) > 8
    assert [file for file in sorted(files) if not (ROOT / file).exists()] == []


def test_the_bill_in_the_readme_is_what_the_command_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    ((command, shown),) = re.findall(r"\$ \.venv/bin/pipeline (cost .*)\n([^`]*)```", README)
    printed = CliRunner().invoke(app, command.split())
    assert printed.exit_code == 0
    assert shown == printed.stdout


@pytest.mark.parametrize(
    ("document", "stack", "line", "seen"),
    [
        ("README.md", "dev", "pipeline status EVENT_ID", "1 accepted"),
        ("README.md", "csv", "pipeline upload orders.csv", "sent              100 objects of 50 devices"),
        ("docs/csv.md", "csv", "pipeline upload orders.csv", "1 processed (100.00%)"),
        ("docs/iot.md", "iot", "pipeline readings", "temperature of sim-7-0003"),
    ],
)
def test_the_commands_work_as_pasted(document: str, stack: str, line: str, seen: str, tmp_path: Path) -> None:
    """In a clone, with a pipeline that runs there as the block, or the one before it, says."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", (ROOT / document).read_text(), re.DOTALL | re.MULTILINE)
    (block,) = (each for each in blocks if line in each)
    commands = [each for each in block.splitlines() if "pipeline local" not in each or "--exec" in each]
    for file in ROOT.iterdir():
        if not file.name.startswith("."):
            (tmp_path / file.name).symlink_to(file)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    # An emulator for each: others may use the usual port just now.
    script = "set -e\n" + (SUBMIT if "EVENT_ID" in block else "") + "\n".join(commands).replace("EVENT_ID", "$EVENT_ID")
    ran = subprocess.run(
        [sys.executable, "-m", "cli.main", "local", "--stack", stack, "--port", "0", "--exec", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert seen in ran.stdout
