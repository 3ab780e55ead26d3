"""Functions that people had trouble with, as a team's own project behind a running pipeline: each has its outcome."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from local.engine import running
from local.project import load_project

from .conftest import ROOT, Client
from .test_logs import Logs

CASES = ROOT / "tests" / "cases" / "api" / "processors"
DISPATCH = """
import importlib
import inspect


def process(event, context):
    function = importlib.import_module(f"processors.{event['case']}").process
    print("run", event["case"], event.get("n"))
    return function(event, context) if len(inspect.signature(function).parameters) == 2 else function(event)
"""
MAX_ATTEMPTS = 2
# Shorter than the function's own, so that what a killed worker held comes back soon; longer than a batch takes.
VISIBILITY_SECONDS = 4


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("team")
    shutil.copytree(CASES, folder / "processors", ignore=shutil.ignore_patterns("needs.py"))
    (folder / "processors" / "dispatch.py").write_text(DISPATCH)
    for name in ("__main__.py", "Pulumi.yaml"):
        shutil.copy(ROOT / name, folder)
    worker = {
        "processor": "processors.dispatch:process",
        "max_attempts": MAX_ATTEMPTS,
        "timeout_seconds": 10,
        "event_timeout_seconds": 1,
        "backoff": {"base_seconds": 1, "maximum_seconds": 1},
        "batching_window_seconds": 1,
    }
    (folder / "Pulumi.team.yaml").write_text("config: {}\n")
    config = {"variant": "api", "environment": "dev", "worker": worker, "storage": {"results": "inline"}}
    with running(load_project(folder, "team").with_config(config)) as up:
        yield Client(up)


def posted(cases: Client, case: str, *events: dict[str, Any]) -> list[str]:
    status, answer = cases.post([{"case": case, **event} for event in events])
    assert status == 202
    return [result["id"] for result in answer["results"]]


def finished(cases: Client, case: str, *events: dict[str, Any]) -> list[dict[str, Any]]:
    return [cases.finished(event_id) for event_id in posted(cases, case, *events)]


def test_results_are_stored_as_json_and_others_fail_at_once_with_their_place(cases: Client) -> None:
    kinds = ["decimal", "datetime", "uuid", "dataclass", "enum", "nan", "bytes", "generator", "key_clash"]
    shown = finished(cases, "results", *({"kind": kind} for kind in kinds))
    assert [each.get("result") for each in shown[:5]] == [
        {"price": "1.10"},
        {"at": "2026-01-01T00:00:00+00:00"},
        {"id": "00000000-0000-0000-0000-000000000001"},
        {"sku": "A-17"},
        {"size": "L"},
    ]
    assert [(each["status"], each["attempts"]) for each in shown] == [("succeeded", 1)] * 5 + [("failed", 1)] * 4
    errors = [each["error"] for each in shown[5:]]
    assert errors == [
        "result.n: float nan is no JSON number",
        "result.b: bytes cannot be stored as JSON",
        "result: generator cannot be stored as JSON",
        "result.1: two keys (str and another type) have this name as JSON",
    ]


def test_a_function_that_needs_a_stable_id_has_it(cases: Client) -> None:
    (shown,) = finished(cases, "charges", {})
    assert shown["result"] == {"idempotency_key": shown["id"], "attempt": 1, "of": MAX_ATTEMPTS}


def test_a_data_file_beside_the_function_is_packaged_with_it(cases: Client) -> None:
    rates = json.loads((CASES / "rates.json").read_text())
    country, rate = next(iter(rates.items()))
    (shown,) = finished(cases, "rates", {"amount": 100, "country": country})
    assert shown["result"] == {"gross": 100 * (1 + rate)}


def test_what_a_function_prints_and_logs_has_the_event_s_correlation_id(cases: Client) -> None:
    logs = Logs(cases)
    status, answer = cases.post({"case": "speaks", "n": 7}, {"X-Correlation-Id": "order-7"})
    assert status == 202
    cases.finished(answer["id"])
    said = [line for line in logs.lines("worker") if line["message"] in ("charging 7", "printed 7")]
    assert [line["correlation_id"] for line in said] == ["order-7", "order-7"]


def test_a_function_that_swallows_the_time_limit_harms_no_neighbour(cases: Client) -> None:
    events = [{"n": n, "bad": n == 3} for n in range(6)]
    shown = finished(cases, "swallows", *events)
    assert [each["status"] for each in shown] == ["failed" if each["bad"] else "succeeded" for each in events]
    assert [each["attempts"] for each in shown] == [MAX_ATTEMPTS if each["bad"] else 1 for each in events]
    assert "ProcessingTimeoutError" in shown[3]["error"]


def test_slow_events_that_fit_into_the_functions_time_lose_no_attempt(cases: Client) -> None:
    shown = finished(cases, "slow", *({"n": n} for n in range(14)))
    assert {(each["status"], each["attempts"]) for each in shown} == {("succeeded", 1)}


def test_a_function_that_kills_its_process_harms_no_neighbour(cases: Client) -> None:
    logs = Logs(cases)
    queue = cases.outputs["queue_url"]
    cases.aws("sqs").set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": str(VISIBILITY_SECONDS)})
    events = [{"n": n, "bad": n == 4} for n in range(10)]
    shown = finished(cases, "kills", *events)
    assert [each["status"] for each in shown] == ["failed" if each["bad"] else "succeeded" for each in events]
    assert shown[4]["attempts"] == MAX_ATTEMPTS
    assert "the worker died" in shown[4]["error"]
    runs = Counter(line["message"] for line in logs.lines("worker") if str(line["message"]).startswith("run kills"))
    # The first death is nobody's attempt: which of ten events it was, nobody knows.
    assert runs.pop("run kills 4") <= MAX_ATTEMPTS + 1
    assert max(runs.values()) <= 2
