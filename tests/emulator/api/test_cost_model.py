"""The model of `pipeline cost` matches the calls that the functions make."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cli.cost_model import ingest_calls, report_calls, stuck_calls, worker_calls
from components.config import load
from components.options.api import ApiPipelineConfig
from handlers.api import report
from handlers.api.settings import ReportSettings
from tests.api_pipeline import Pipeline, Time
from tests.aws_calls import tapped


def _reads(wanted: Any) -> tuple[str, int]:
    return "dynamodb.reads" if wanted["ConsistentRead"] else "dynamodb.eventual_reads", len(wanted["Keys"])


# How AWS bills a call, by what is in it.
UNITS: dict[str, Callable[[Any], tuple[str, int]]] = {
    "SendMessageBatch": lambda _: ("sqs.requests", 1),
    "ChangeMessageVisibilityBatch": lambda _: ("sqs.requests", 1),
    "BatchExecuteStatement": lambda call: ("dynamodb.writes", len(call["Statements"])),
    "BatchGetItem": lambda call: _reads(*call["RequestItems"].values()),
    "PutItem": lambda _: ("dynamodb.writes", 1),
    "Query": lambda _: ("dynamodb.queries", 1),
    "GetQueueAttributes": lambda _: ("sqs.requests", 1),
    "PutObject": lambda _: ("s3.put_requests", 1),
    "PutEvents": lambda call: ("eventbridge.events", len(call["Entries"])),
    "Publish": lambda _: ("sns.requests", 1),
}


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count the calls of the block in billed units. An unknown kind of call is an error."""
    calls: Counter[str] = Counter()

    def count(name: str, parameters: Any, make: Callable[[], Any]) -> Any:
        unit, quantity = UNITS[name.partition(":")[2]](parameters)
        calls[unit] += quantity
        return make()

    with tapped(count):
        yield calls


def without_index(calls: Counter[str]) -> Counter[str]:
    """Return the counts of calls. Writes to the index, and entries read from its pages, are not calls of their own."""
    return +Counter({unit: quantity for unit, quantity in calls.items() if not unit.startswith("dynamodb.index_")})


@pytest.mark.parametrize("track", [True, False])
@pytest.mark.parametrize("results", ["object", "inline"])
@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize("events", [1, 10])
def test_the_model_of_cost_counts_what_the_functions_do(
    pipeline: Pipeline,
    events: int,
    results: str,
    *,
    track: bool,
    archive: bool,
) -> None:
    outcomes = not track  # each value in half of the cases
    raw = {
        "datapipeline:variant": "api",
        "datapipeline:api": {"track": track},
        "datapipeline:storage": {"results": results, **({"archive": {"accepted": {}}} if archive else {})},
        **({"datapipeline:outcomes": {}} if outcomes else {}),
    }
    config = load(raw, file="test")
    assert isinstance(config, ApiPipelineConfig)
    pipeline.settings = {"track": track, "results": results, "archive": archive, "archive_accepted": archive}
    if not outcomes:
        pipeline.settings["event_bus_name"] = ""
    with counted() as accepting:
        assert pipeline.post([{"n": n} for n in range(events)]).status == 202
    records = pipeline.receive()
    assert len(records) == events
    worker = pipeline.worker(lambda event: event)
    with counted() as processing:
        assert worker.handle(records, Time()) == {"batchItemFailures": []}
    assert accepting == without_index(ingest_calls(config, events))
    assert processing == without_index(worker_calls(config, events))


@pytest.mark.parametrize("events", [0, 1, 30])
def test_the_model_of_cost_counts_what_a_report_does(
    pipeline: Pipeline, events: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = {"datapipeline:variant": "api", "datapipeline:reports": {"schedules": ["daily"]}}
    config = load(raw, file="test")
    assert isinstance(config, ApiPipelineConfig)
    settings = ReportSettings.from_environment(pipeline.environments["report"])
    if events:
        assert pipeline.post([{"n": n} for n in range(events)]).status == 202
    days = {item["received_at"][:10] for item in pipeline.items().values()} or {f"{datetime.now(UTC):%Y-%m-%d}"}
    midnight = datetime.fromisoformat(f"{min(days)}T00:00:00Z")
    monkeypatch.setattr(report, "_settings", lambda: settings)
    moment = midnight + timedelta(days=1, minutes=10)
    with counted() as calls:
        report.handler({"period": "daily", "time": moment.isoformat()}, Time())
    ((_, body),) = pipeline.objects("reports/").items()
    assert json.loads(body)["events"] == events
    assert calls == without_index(report_calls(config, events))


@pytest.mark.parametrize("events", [0, 1, 30])
def test_the_model_of_cost_counts_what_a_look_at_an_hour_does(pipeline: Pipeline, events: int) -> None:
    config = load({"datapipeline:variant": "api"}, file="test")
    assert isinstance(config, ApiPipelineConfig)
    if events:
        assert pipeline.post([{"n": n} for n in range(events)]).status == 202
        pipeline.drain(pipeline.worker(lambda _: 1))
    stuck = pipeline.stuck()
    # The first look makes its item, and finds no hour that is over.
    stuck._lost_after_seconds, stuck._kept = 0, timedelta()
    stuck.look(lambda: True)
    # The hour that these events were received in, as if it were weeks ago.
    stuck._lost_after_seconds, stuck._looked_at = -3_600, None
    with counted() as calls:
        stuck.look(lambda: True)
    assert calls == without_index(stuck_calls(config, events))
