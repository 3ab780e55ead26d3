"""The runbooks of docs/restoring.md: their commands are run, and afterwards every event is accounted for."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from typer.testing import CliRunner

from cli.main import app
from handlers.shared import dead_letters
from local.engine import running
from local.project import load_project
from local.services import Clients
from tests.api_pipeline import CONFIG, Pipeline, Runs, subscribed
from tests.code_blocks import code_blocks
from tests.graphs import ROOT, SAMPLES
from tests.roles import forget_clients

PAGE = (ROOT / "docs/restoring.md").read_text()
_BLOCKS = [block.splitlines() for block in code_blocks(PAGE)]
PURGE, RESTORE = _BLOCKS[0], [line for block in _BLOCKS[1:] for line in block]
# Without what needs secrets or a parameter of faults.
OPTIONS = {name: value for name, value in CONFIG.items() if name not in ("webhooks", "fault_injection")}


class Runbook:
    """Runs the commands of the page with the names of a stack in them."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        functions = {name: each["AWS_LAMBDA_FUNCTION_NAME"] for name, each in pipeline.environments.items()}
        self.names = {
            "TABLE": pipeline.outputs["table_name"],
            "STACK": "dev",
            "INGEST": functions["ingest"],
            "WORKER": functions["worker"],
        }
        self.ran: list[str] = []

    def block(self, beginning: str) -> list[str]:
        """Return the lines of the page's block that begins so."""
        (found,) = (block for block in code_blocks(PAGE) if block.startswith(beginning))
        return found.splitlines()

    def run(self, line: str) -> str:
        """Run a line, and return what it printed."""
        self.ran.append(line)
        filled = re.sub(r"\b[A-Z]{3,}\b", lambda match: self.names.get(match[0], match[0]), line)
        program, *words = shlex.split(filled)
        if program == "aws":
            return self._aws(*words)
        assert program == ".venv/bin/pipeline"
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, (filled, result.output)
        return result.output

    def _aws(self, service: str, operation: str, *options: str) -> str:
        client, given = self._pipeline.root(service), list(options)
        if operation == "wait":
            operation = given.pop(0)
        parameters: dict[str, Any] = {}
        while given:
            name = given.pop(0).removeprefix("--")
            value: Any = False if name.startswith("no-") else given.pop(0)
            words = name.removeprefix("no-").split("-")
            parameters["".join(map(str.capitalize, words))] = (
                int(value) if isinstance(value, str) and value.isdigit() else value
            )
        if operation.startswith("table-"):
            client.get_waiter(operation.replace("-", "_")).wait(**parameters)
            return ""
        answer = getattr(client, operation.replace("-", "_"))(**parameters)
        if operation == "create-backup":
            self.names["ARN"] = answer["BackupDetails"]["BackupArn"]
        return str(answer)


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Pipeline]:
    """A stack of its own, with the stack file that the commands read."""
    project = load_project(SAMPLES, "dev").with_config(OPTIONS)
    for each in SAMPLES.iterdir():
        (tmp_path / each.name).symlink_to(each)
    (tmp_path / "Pulumi.dev.yaml").unlink()
    (tmp_path / "Pulumi.dev.yaml").write_text(yaml.safe_dump({"config": dict(project.config)}))
    with running(project) as up:
        root = Clients(up.emulator)
        for mapping in root("lambda").list_event_source_mappings()["EventSourceMappings"]:
            root("lambda").update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
        environments = {each.handler.split(".")[2]: each.environment for each in up.engine.functions}
        for name, value in {**up.environment(), "PIPELINE_OUTPUTS": json.dumps(dict(up.outputs))}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        # It keeps the keys of another test's emulator.
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
        monkeypatch.setattr(dead_letters, "POLL_SECONDS", 0)
        forget_clients()
        made = subscribed(root, environments, up.outputs)()
        made.settings = {"archive_accepted": True}
        yield made
    forget_clients()


def post(pipeline: Pipeline, *names: str) -> dict[str, str]:
    """Return the ids of events by their names, which are their keys, too."""
    events = [{"event_type": "order", "name": name, "idempotency_key": name} for name in names]
    return dict(zip(names, (each["id"] for each in pipeline.post(events).body["results"]), strict=True))


def repeated(pipeline: Pipeline, name: str) -> Any:
    return pipeline.post({"event_type": "order", "name": name, "idempotency_key": name}).body["duplicate"]


def statuses(pipeline: Pipeline, ids: Mapping[str, str]) -> dict[str, str]:
    return {name: pipeline.shown(each).body.get("status", "none") for name, each in ids.items()}


def listed(output: str, ids: Mapping[str, str]) -> set[str]:
    return {name for name, event_id in ids.items() if event_id in output}


def now() -> str:
    return datetime.now(UTC).isoformat()


def test_after_a_purge_every_event_is_processed_once(pipeline: Pipeline) -> None:
    book, runs = Runbook(pipeline), Runs()
    book.names["START"] = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    ids = post(pipeline, "done")
    pipeline.drain(pipeline.worker(runs.process))
    ids |= post(pipeline, "archived", "repeated")
    pipeline.root("sqs").purge_queue(QueueUrl=pipeline.outputs["queue_url"])
    book.names["TIME"] = now()
    ids |= post(pipeline, "later")
    assert repeated(pipeline, "repeated") is True, "nobody knows yet that it is lost"
    see, release, replay = book.block(".venv/bin/pipeline events --stack STACK --stuck --lost-before TIME")
    assert listed(book.run(see), ids) == {"archived", "repeated"}
    assert "2 are released" in book.run(release)
    assert repeated(pipeline, "repeated") is False
    book.run(replay)
    pipeline.drain(pipeline.worker(runs.process))
    assert set(statuses(pipeline, ids).values()) == {"succeeded"}
    assert runs == dict.fromkeys(ids, 1)
    assert listed(book.run(see), ids) == set()
    assert set(book.ran) == set(PURGE)


def test_after_a_restore_every_event_is_accounted_for(pipeline: Pipeline) -> None:
    book, runs = Runbook(pipeline), Runs("dead")
    book.names |= {"START": (datetime.now(UTC) - timedelta(hours=1)).isoformat(), "TIME": now()}
    restore = book.block("aws dynamodb restore-table-to-point-in-time")
    worker = pipeline.worker(runs.process)
    ids = post(pipeline, "done before")
    pipeline.drain(worker)
    ids |= post(pipeline, "done since", "dead", "in the queue")
    # The emulator restores a table as it is, not as it was: so this command is run now.
    book.run(restore[0])
    records = pipeline.receive()
    kept = [each for each in records if json.loads(each["body"])["id"] == ids["in the queue"]]
    pipeline.deliver(worker, [each for each in records if each not in kept])
    ids |= post(pipeline, "new and done")
    pipeline.deliver(worker, pipeline.receive())
    assert statuses(pipeline, ids)["dead"] == "failed"
    ids |= post(pipeline, "new and in the queue")
    for line in book.block("aws lambda put-function-concurrency"):
        book.run(line)
    for line in restore[1:]:
        if not line.startswith("pulumi"):
            book.run(line)
    assert statuses(pipeline, ids) == {
        "done before": "succeeded",
        "done since": "queued",
        "dead": "queued",
        "in the queue": "queued",
        "new and done": "none",
        "new and in the queue": "none",
    }
    pipeline.show_again(kept)
    start, redrive, accept = book.block("aws lambda delete-function-concurrency")
    book.run(start)
    runs.failing = ()
    book.run(redrive)
    pipeline.drain(pipeline.worker(runs.process))
    book.run(accept)
    book.names["NOW"] = now()
    see, release, replay = book.block(".venv/bin/pipeline events --stack STACK --stuck --lost-before NOW")
    assert listed(book.run(see), ids) == {"done since"}
    assert "1 are released" in book.run(release)
    book.run(replay)
    pipeline.drain(pipeline.worker(runs.process))
    assert statuses(pipeline, ids) == {**dict.fromkeys(ids, "succeeded"), "new and done": "none"}
    # The secret came back: a key has the id that it had, and what the table has lost is a new event.
    assert (repeated(pipeline, "done before"), repeated(pipeline, "new and done")) == (True, False)
    pipeline.drain(pipeline.worker(runs.process))
    assert statuses(pipeline, ids) == dict.fromkeys(ids, "succeeded")
    assert runs == {
        "done before": 1,
        "done since": 2,
        "dead": 2,
        "in the queue": 1,
        "new and done": 2,
        "new and in the queue": 1,
    }
    assert set(RESTORE) - set(book.ran) == {"pulumi up --stack STACK --refresh"}
