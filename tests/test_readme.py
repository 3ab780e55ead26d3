"""The examples of README and docs are correct. Tests below tests/emulator/cli run their commands."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from cli.main import app
from cli.new import VARIANTS
from components.config import ConfigError, load
from handlers.processor import Rejected
from local.diagram import mermaid
from tests.code_blocks import PASTED, code_blocks, pasted
from tests.graphs import ROOT, SAMPLES, graph_of

README = (ROOT / "README.md").read_text()
TUTORIAL = (ROOT / "docs/tutorial.md").read_text()
DOCUMENTS = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_guarantees_begin_within_two_screens() -> None:
    before, _, _ = README.partition("## Guarantees")
    assert before.count("\n") <= 110
    assert max(len(line) for line in README.splitlines() if not line.startswith("|")) <= 100


def test_the_stack_file_and_the_function_in_the_readme_are_those_that_new_writes() -> None:
    written = VARIANTS["api"]("shop")
    assert code_blocks(README, "yaml") == [written["Pulumi.shop.yaml"]]
    shown: dict[str, Any] = {}
    made: dict[str, Any] = {}
    exec(code_blocks(README, "python")[0], shown)  # noqa: S102  it is our own page
    exec(written["processors/shop.py"], made)  # noqa: S102  as above
    assert shown["process"]({"amount": 10}) == made["process"]({"amount": 10}) == {"total": 11.9}
    for module in (shown, made):
        with pytest.raises(Rejected, match="amount must be above 0"):
            module["process"]({"amount": 0})


def test_the_commands_of_the_readme_are_run_with_the_tutorial_and_the_demo() -> None:
    run = [line for block in code_blocks(TUTORIAL) for line in block.splitlines()]
    shown = [line for block in code_blocks(README) for line in block.splitlines() if "pulumi" not in line.lower()]
    shown += re.findall(r"`(\.venv/bin/[^`]+)`", README)
    assert [line for line in shown if line not in (*run, "make run")] == []
    assert len(shown) > 8


def test_the_production_stack_in_the_tutorial_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in VARIANTS["api"]("shop").items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    (example,) = code_blocks(TUTORIAL, "yaml")
    config = load(yaml.safe_load(example)["config"], file="tutorial.md")
    assert (config.environment, config.storage.retain_data) == ("prod", True)


def test_the_error_in_the_tutorial_is_what_a_user_sees() -> None:
    (shown,) = re.findall(r"^error: (.*)$", TUTORIAL, re.MULTILINE)
    with pytest.raises(ConfigError) as raised:
        load({"datapipeline:variant": "api", "datapipeline:api": '{"max_batch": 9000}'}, file="Pulumi.shop-prod.yaml")
    assert str(raised.value) == shown


def test_the_diagram_in_the_docs_shows_the_dev_stack() -> None:
    assert code_blocks((ROOT / "docs/guarantees.md").read_text(), "mermaid") == [mermaid(graph_of())]


def test_every_file_named_in_readme_and_guarantees_exists() -> None:
    text = README + (ROOT / "docs/guarantees.md").read_text()
    files = re.findall(r"`((?:tests|components|processors|docs|local|\.github)/[\w./-]+)`", text)
    assert len(files) > 8
    assert [file for file in files if not (ROOT / file).exists() and not (SAMPLES / file).exists()] == []


def printed(command: str) -> str:
    result = CliRunner().invoke(app, command.split())
    assert result.exit_code == 0
    return result.stdout


def test_the_bill_in_the_docs_is_what_the_command_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SAMPLES)
    text = (ROOT / "docs/cost.md").read_text()
    ((command, shown),) = re.findall(r"\$ \.venv/bin/pipeline (cost .*)\n([^`]*)```", text)
    assert shown == printed(command)


def test_the_price_in_the_readme_is_what_the_command_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SAMPLES)
    (shown,) = re.findall(r"A million events a month cost about (\d+) dollars", README)
    (total,) = re.findall(r"together +([\d.]+)", printed("cost --events-per-month 1000000"))
    assert round(float(total)) == int(shown)


def shell_lines() -> list[tuple[str, str]]:
    """Each command line of the documents, by the file that shows it."""
    return [
        (document.name, line.removeprefix("$ "))
        for document in DOCUMENTS
        for block in code_blocks(document.read_text())
        for line in block.splitlines()
    ]


def test_the_command_line_accepts_every_pipeline_command_of_the_documents() -> None:
    """Also those that need AWS or a game day, which no test runs as pasted."""
    accepted = 0
    for document, line in shell_lines():
        words = shlex.split(line, comments=True) if re.match(r"\s*(\.venv/bin/)?pipeline ", line) else []
        if words:
            result = CliRunner().invoke(app, [*words[1:], "--help"])
            assert result.exit_code == 0, (document, line, result.output)
            named = {word.partition("=")[0] for word in words if word.startswith("--")}
            assert [option for option in sorted(named) if option not in result.output] == [], (document, line)
            accepted += 1
    assert accepted > 30


# Commands that are not pasted, by the test that runs them: they serve until Ctrl-C, ask, need dead letters or a stack
# of another kind, and most have a name or an id to fill in.
RUN_IN = {
    "circuit": "tests/cli/test_circuit.py",
    "console": "tests/emulator/stacks/test_console.py",
    "cost": "tests/test_readme.py",
    "csv": "tests/cli/test_csv_schema.py",
    "dead-letters": "tests/cli/test_dead_letters.py",
    "erase": "tests/cli/test_erase.py",
    "diff": "tests/cli/test_diff.py",
    "events": "tests/cli/test_events.py",
    "faults": "tests/emulator/stacks/test_game_day.py",
    "plan": "tests/cli/test_plan.py",
    "local": "tests/emulator/cli/test_local.py",
    "replay": "tests/cli/test_replay.py",
    "remove-readings": "tests/emulator/iot/test_iot_pipeline.py",
    "verify": "tests/emulator/stacks/test_verify.py",
    "webhook": "tests/emulator/cli/test_local.py",
}
# Run below, on the samples.
HERE = ("check --stack ingestion", "permissions --stack csv")


def test_every_pipeline_command_of_the_documents_runs_in_a_test() -> None:
    pages = [(stack, page, line) for stack, blocks in PASTED.items() for page, line in blocks.items()]
    run = {each for stack, page, line in pages for each in pasted((ROOT / page).read_text(), line, stack)}
    run |= {line for block in code_blocks(TUTORIAL) for line in block.splitlines()}
    run |= {f".venv/bin/pipeline {command}" for command in HERE}
    # The reference lists each command with its options, without a value to run it with.
    shown = [(name, line) for name, line in shell_lines() if "pipeline " in line and name != "commands.md"]
    others = [
        (name, line)
        for name, line in shown
        if line not in run and line.partition("  #")[0].strip() not in run and ".venv/bin/pipeline" in line
    ]
    commands = [re.findall(r"\.venv/bin/pipeline ([a-z-]+)", line)[0] for _, line in others]
    missing = [other for other, command in zip(others, commands, strict=True) if command not in RUN_IN]
    assert missing == []
    assert sorted(RUN_IN.keys() - set(commands)) == []
    for command, test in RUN_IN.items():
        assert re.search(rf"\b{command}\b", (ROOT / test).read_text()), (command, test)
    assert len(run) > 20


@pytest.mark.parametrize("command", HERE)
def test_the_commands_that_need_no_running_stack_work_as_shown(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SAMPLES)
    assert f".venv/bin/pipeline {command}" in "\n".join(line for _, line in shell_lines())
    assert printed(command)


def test_every_pipeline_command_of_the_documents_works_in_an_environment_that_is_not_active() -> None:
    bare = [(name, line) for name, line in shell_lines() if line.startswith("pipeline ") and name != "commands.md"]
    assert bare == []


def test_make_has_every_target_that_the_documents_name() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    texts = [document.read_text() for document in [*DOCUMENTS, ROOT / "CONTRIBUTING.md"]]
    code = "\n".join(block for text in texts for block in code_blocks(text))
    named = set(re.findall(r"`make ([a-z-]+)[` ]", "".join(texts)) + re.findall(r"^make ([a-z-]+)", code, re.MULTILINE))
    assert named
    assert named <= targets
