"""`pipeline new`: a stack of one's own, with all that it names and a test of it."""

import json
import re
from collections.abc import Callable, Mapping
from keyword import iskeyword
from pathlib import Path

from cli.core.stack import Stack
from cli.core.suggestions import is_installed, program, suggest
from cli.core.terminal import write_lines
from cli.new_webhook import SAMPLES, Files, stack_file, webhook_files, webhook_steps
from local.errors import LocalError
from local.project import region_of

_name = re.compile(r"[a-z][a-z0-9_]{0,39}").fullmatch
# Words that YAML reads as something else than text.
_VALUES = ("true", "false", "yes", "no", "on", "off", "null")


def run_new(name: str, variant: str, webhook: str = "") -> int:
    """Write the files of a stack and print them with the next steps. Raises LocalError before it would replace one."""
    if not _name(name):
        raise LocalError(f"{name!r}: a name is a lower-case letter, then letters, digits and underscores, 40 at most")
    if iskeyword(name) or name in _VALUES:
        raise LocalError(f"{name!r} has a meaning of its own in Python or YAML; choose another name, like my_{name}")
    if variant not in VARIANTS:
        raise LocalError(f"--variant {variant}: must be one of {', '.join(VARIANTS)}")
    if webhook and (variant != "api" or webhook not in SAMPLES):
        raise LocalError(f"--webhook {webhook}: must be one of {', '.join(SAMPLES)}, and goes with --variant api")
    directory = Stack(name).directory
    files = webhook_files(name, webhook, region_of(directory)) if webhook else VARIANTS[variant](name)
    if existing := [path for path in files if (directory / path).exists()]:
        raise LocalError(f"{', '.join(existing)} exists already; choose another name")
    _write(directory, files)
    test = next(path for path in files if path.startswith("tests/"))
    steps = webhook_steps(name, webhook) if webhook else [suggest("local", "--stack", name)]
    tools = [] if is_installed("pytest") else ["make dev"]
    write_lines([*(f"wrote {path}" for path in files), "", *steps, *tools, f"{program('pytest')} {test}"])
    return 0


def _write(directory: Path, files: Files) -> None:
    """Write all files, or none. Raises LocalError."""
    begun: list[Path] = []
    try:
        for path, content in files.items():
            file = directory / path
            file.parent.mkdir(parents=True, exist_ok=True)
            begun.append(file)
            file.write_text(content, encoding="utf-8")
    except OSError as error:
        for file in begun:
            file.unlink(missing_ok=True)
        raise LocalError(
            f"cannot write {error.filename or begun[-1]}: {error.strerror}; nothing was written"
        ) from error


def _api(name: str) -> Files:
    options = (
        f"  datapipeline:api:\n    schemas: [{name}]      # schemas/{name}.json\n"
        f"  datapipeline:worker:\n    processor: processors.{name}:process\n"
    )
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": f"An event of the type {name}",
        "type": "object",
        "required": ["amount"],
        "properties": {"amount": {"type": "number"}},
    }
    processor = f'''"""The function of the stack {name}."""

from collections.abc import Mapping
from typing import Any

from handlers.processor import Rejected


def process(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of an event. Raises Rejected for one that can never succeed."""
    if event["amount"] <= 0:
        raise Rejected("amount must be above 0")
    return {{"total": round(event["amount"] * 1.19, 2)}}
'''
    test = f'''"""The stack {name}: events go through its schema and its function in this process (docs/testing.md)."""

from typing import Any

import pytest

from processors.{name} import process

EVENT = {{"event_type": "{name}", "amount": 10}}


@pytest.fixture
def pipeline(memory_pipeline: Any) -> Any:
    return memory_pipeline("{name}")


def test_the_total_includes_tax() -> None:
    assert process(EVENT) == {{"total": 11.9}}


def test_an_event_succeeds(pipeline: Any) -> None:
    assert pipeline.send(EVENT).result == {{"total": 11.9}}


def test_an_amount_of_zero_fails(pipeline: Any) -> None:
    outcome = pipeline.send({{**EVENT, "amount": 0}})
    assert (outcome.status, outcome.error) == ("failed", "amount must be above 0")


def test_an_event_without_an_amount_is_rejected(pipeline: Any) -> None:
    assert pipeline.send({{"event_type": "{name}"}}).status == "rejected"
'''
    return {
        f"Pulumi.{name}.yaml": stack_file("api", options),
        f"schemas/{name}.json": json.dumps(schema, indent=2) + "\n",
        f"processors/{name}.py": processor,
        f"tests/processors/test_{name}.py": test,
    }


def _csv(name: str) -> Files:
    options = (
        "  datapipeline:input:\n    columns:\n"
        "      - { name: name, required: true }\n      - { name: amount, type: number, required: true }\n"
    )
    test = f'''"""The columns of the stack {name}."""

from pathlib import Path

from typer.testing import CliRunner

from cli.main import app


def test_a_good_file_is_read_without_rejected_rows(tmp_path: Path) -> None:
    file = tmp_path / "good.csv"
    file.write_text("name,amount\\nAda,19.90\\n")
    assert CliRunner().invoke(app, ["csv", "check", str(file), "--stack", "{name}"]).exit_code == 0


def test_a_row_without_a_number_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text("name,amount\\nAda,much\\n")
    assert CliRunner().invoke(app, ["csv", "check", str(file), "--stack", "{name}"]).exit_code == 1
'''
    return {f"Pulumi.{name}.yaml": stack_file("csv", options), f"tests/stacks/test_{name}.py": test}


def _iot(name: str) -> Files:
    options = (
        "  datapipeline:thresholds:\n    temperature:\n"
        "      critical: { min: -10, max: 30, hysteresis: 1, cooldown_minutes: 10 }\n"
    )
    test = f'''"""The thresholds of the stack {name}."""

import json
from typing import Any


def test_the_worker_has_the_thresholds_of_the_stack_file(synthesised_stack: Any) -> None:
    worker = synthesised_stack("{name}").find("aws:lambda/function:Function", "pipeline-worker")
    thresholds = json.loads(worker.inputs["code"].assets["thresholds.json"].text)
    assert list(thresholds) == ["temperature"]
'''
    return {f"Pulumi.{name}.yaml": stack_file("iot", options), f"tests/stacks/test_{name}.py": test}


VARIANTS: Mapping[str, Callable[[str], Files]] = {"api": _api, "csv": _csv, "iot": _iot}
