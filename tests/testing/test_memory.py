"""Fixtures for tests of users, in a project like a user's: see also tests/emulator/cli/test_testing_docs.py."""

import os
import subprocess
import sys
from pathlib import Path

from tests.graphs import ROOT

STACK = """
config:
  datapipeline:variant: api
  datapipeline:worker:
    processor: processors.mine:process
    max_attempts: 3
    environment: { SHOP: tea }
    secrets: { token: "arn:aws:ssm:us-east-1:123456789012:parameter/token" }
  datapipeline:storage: { results: inline }
"""
PROCESSOR = """
import os
from datetime import date
from handlers.processor import Rejected, Unavailable, secret

calls = []

def process(event, context):
    calls.append(context.attempt)
    match event["do"]:
        case "answer":
            return {"shop": os.environ["SHOP"], "token": secret("token"), "day": date(2026, 1, 2), "id": context.id}
        case "reject":
            raise Rejected("no")
        case "third":
            if context.attempt < context.max_attempts:
                raise Unavailable("down")
            return "up"
        case "odd":
            return {"a": object()}
        case "large":
            return "x" * 400_000
"""
TESTS = """
import os
import pytest
from local.errors import LocalError

@pytest.fixture
def send(memory_pipeline):
    return lambda do, **more: memory_pipeline("mine", **more).send({"do": do})

def test_environment_and_secrets_are_given(send):
    result = send("answer").result
    assert (result["shop"], result["token"], result["day"]) == ("tea", "test", "2026-01-02")
    assert send("answer", secrets={"token": "abc"}).result["token"] == "abc"
    assert "SHOP" not in os.environ

def test_outcomes(send):
    from processors.mine import calls
    calls.clear()
    assert (send("reject").attempts, calls) == (1, [1])
    calls.clear()
    assert (send("third").result, send("third").attempts, calls) == ("up", 3, [1, 2, 3, 1, 2, 3])
    assert send("third", worker={"max_attempts": 1}).result == "up"
    assert "result.a" in send("odd").error
    assert send("large").status == "failed"
    assert send("large", storage={"results": "object"}).status == "succeeded"

def test_an_event_that_the_api_refuses_reaches_no_processor(memory_pipeline):
    from processors.mine import calls
    calls.clear()
    outcome = memory_pipeline("mine", api={"max_depth": 2}).send({"do": {"a": {"b": {"c": 1}}}})
    assert (outcome.status, outcome.attempts, calls) == ("rejected", 0, [])

def test_a_stack_without_a_processor_is_an_error(memory_pipeline):
    with pytest.raises(LocalError, match="has no processor: test it with local_pipeline"):
        memory_pipeline("iot")

def test_options_are_merged_into_the_groups_of_the_stack_file(synthesised_stack):
    graph = synthesised_stack("mine", worker={"timeout_seconds": 77})
    worker = graph.find("aws:lambda/function:Function", "pipeline-worker")
    assert worker.inputs["timeout"] == 77
    assert worker.inputs["environment"]["variables"]["PROCESSOR"] == "processors.mine:process"
"""


def test_the_fixtures_do_what_the_pipeline_does(tmp_path: Path) -> None:
    for name in ("handlers", "components", "local", "cli", "testing", "__main__.py", "Pulumi.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    files = {
        "Pulumi.mine.yaml": STACK,
        "Pulumi.iot.yaml": "config: { 'datapipeline:variant': iot }",
        "processors/__init__.py": "",
        "processors/mine.py": PROCESSOR,
        "conftest.py": 'pytest_plugins = ("testing.fixtures",)',
        "test_mine.py": TESTS,
    }
    (tmp_path / "processors").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
