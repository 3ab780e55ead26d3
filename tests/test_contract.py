"""Components and handlers never import each other; these tests hold together what both must know."""

import dataclasses
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import reports
from components import table as deployed_table
from components.api import ROUTES, WEBHOOKS
from components.circuit_breaker import CIRCUIT_ITEM, KEY_COUNTS
from components.observability import METRICS_NAMESPACE
from components.options import csv_columns as csv_options
from components.options.csv_columns import ColumnOptions
from components.options.webhooks import TIMED, HmacOptions, WebhookOptions
from components.redrive import REDRIVE_ROUTES
from components.redrive import SIZE as REDRIVE_SIZE
from components.variants import api as variant
from handlers.api import breaker, circuit, counts, ingest, items, objects, reader, report_notes, reporting, webhooks
from handlers.api.events import Envelope, received_times
from handlers.api.identity import new_id
from handlers.api.ingest import Ingest
from handlers.api.settings import CompactorSettings, IngestSettings, ReconcilerSettings, ReportSettings, WorkerSettings
from handlers.api.signatures import Algorithm, Encoding, Rule, Scheme, sign
from handlers.api.summary import window_before
from handlers.api.webhooks import Webhook
from handlers.csv import columns as csv_columns
from handlers.csv.column_types import COLUMN_TYPES
from handlers.csv.files import DAY_INDEX, FileItem
from handlers.iot import watcher as iot_watcher
from handlers.iot import worker as iot_worker
from handlers.iot.table import DEVICE_INDEX, DUE_INDEX, ReadingItem, StateItem
from handlers.shared import metrics, redrive
from handlers.shared.dead_letters import ROUND_SECONDS
from handlers.shared.settings import RedriveSettings, Settings
from local.recording import Graph
from tests.graphs import SAMPLES, graph_of

ROOT = Path(__file__).parents[1]
POWERTOOLS = {"POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE", "POWERTOOLS_LOG_LEVEL"}

CIRCUIT_COUNTS = {"CircuitOpened", "CircuitClosed", *KEY_COUNTS, counts.CIRCUIT_OPEN}

FUNCTIONS: dict[str, type[Settings]] = {"pipeline-ingest": IngestSettings, "pipeline-worker": WorkerSettings}
REPORTING = {"pipeline-report": ReportSettings}
RECONCILING = {"pipeline-reconciler": ReconcilerSettings, "pipeline-compactor": CompactorSettings}
METRIC_ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"

WEBHOOK = {"signature": "github", "secrets": ["arn:aws:ssm:us-east-1:123456789012:parameter/shop/hook"]}

CONFIGS: list[dict[str, Any]] = [
    {},
    {"storage": {"results": "inline"}},
    {"storage": {"results": "inline", "archive": {}}},
    {"storage": {"time_index": False, "archive": {"accepted": {}}}},
    {"api": {"kind": "rest", "track": False}, "tracing": True},
    {"outcomes": {}},
    {"fault_injection": {}},
    {"queue": {"fifo": {"group_field": "customer_id"}}},
    {"queue": {"fair": {"group_field": "customer_id"}}},
    {"worker": {"circuit_breaker": {}}},
    {"worker": {"secrets": {"signing_key": "arn:aws:ssm:us-east-1:123456789012:parameter/shop/signing"}}},
    {"webhooks": {"shop": WEBHOOK}},
]


def environment(graph: Graph, function: str) -> dict[str, str]:
    variables: dict[str, str] = graph.find("aws:lambda/function:Function", function).inputs["environment"]["variables"]
    return variables


@pytest.mark.parametrize(
    ("function", "config"),
    [
        *((function, config) for config in CONFIGS for function in FUNCTIONS),
        *((function, {"reports": {"schedules": ["hourly"]}}) for function in FUNCTIONS | REPORTING),
        ("pipeline-reconciler", {"queue": {"reconciler": {}}}),
        ("pipeline-reconciler", {"queue": {"reconciler": {}}, "outcomes": {}}),
        ("pipeline-compactor", {"storage": {"archive": {"compaction": {}}}}),
    ],
)
def test_a_function_s_deployed_environment_is_exactly_what_its_settings_read(
    function: str,
    config: dict[str, Any],
) -> None:
    kind = (FUNCTIONS | REPORTING | RECONCILING)[function]
    deployed = environment(graph_of(config=config), function)
    fields = {field.name.upper(): field for field in dataclasses.fields(kind)}
    required = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
    assert set(deployed) - POWERTOOLS <= set(fields)
    assert required | POWERTOOLS <= set(deployed)
    kind.from_environment(deployed)


def test_the_breaker_function_runs_the_workers_code_in_the_workers_environment() -> None:
    secrets = {"signing_key": "arn:aws:ssm:us-east-1:123456789012:parameter/shop/signing"}
    worker = {"circuit_breaker": {}, "secrets": secrets}
    graph = graph_of(config={"worker": worker, "outcomes": {}, "storage": {"results": "inline"}})
    assert environment(graph, "pipeline-breaker") == environment(graph, "pipeline-worker")


def test_items_that_are_no_events_are_those_that_the_rights_name() -> None:
    named = (CIRCUIT_ITEM, variant.ID_SECRET, reports.REPORT_NOTES)
    assert named == (circuit.NAME, items.ID_SECRET, report_notes.NAME)


@pytest.mark.parametrize("stack", ["dev", "csv"])
def test_the_redrive_function_s_environment_is_exactly_what_its_settings_read(stack: str) -> None:
    graph = graph_of(stack, {"queue": {"redrive_api": {}}})
    deployed = environment(graph, "pipeline-redrive")
    assert set(deployed) - POWERTOOLS == {field.name.upper() for field in dataclasses.fields(RedriveSettings)}
    settings = RedriveSettings.from_environment(deployed)
    assert settings.queue_url == graph.outputs["queue_url"]
    assert settings.dead_letter_queue_url == graph.outputs["dead_letter_queue_url"]
    assert settings.table_name == graph.outputs["table_name"]
    module, _, function = (
        graph.find("aws:lambda/function:Function", "pipeline-redrive").inputs["handler"].rpartition(".")
    )
    assert callable(getattr(import_module(module), function))


def test_the_redrive_function_answers_its_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    function = redrive.Redrive(RedriveSettings(table_name="", queue_url="", dead_letter_queue_url=""), lambda _: [])

    def answered(route: str) -> str:
        signed = {"iam": {"userArn": "arn:aws:iam::123456789012:user/ann"}}
        context = {"requestId": "r", "http": {"sourceIp": "", "userAgent": ""}, "authorizer": signed}
        query = {"x": "y"} if route.startswith("GET") else {}
        event = {"routeKey": route, "rawPath": "/", "requestContext": context, "queryStringParameters": query}
        answer = function.handle({**event, "body": "no json"}, Time())
        return str(json.loads(answer["body"])["error"]["code"])

    codes = {f"{method} {path}": answered(f"{method} {path}") for method, path in REDRIVE_ROUTES}
    assert codes == {"GET /redrive/preview": "invalid_parameter", "POST /redrive/start": "invalid_json"}
    assert answered("GET /events") == "no_such_route"
    # A pass and its last round end within the function's time, and a pass gets most of it.
    assert REDRIVE_SIZE.timeout_seconds - redrive.STOPPING_SECONDS > redrive.STOPPING_SECONDS > ROUND_SECONDS


class Time:
    aws_request_id = "run"

    def get_remaining_time_in_millis(self) -> int:
        return 29_000


def test_the_bucket_is_named_to_a_function_when_it_uses_it_and_not_else() -> None:
    def named(config: dict[str, Any]) -> list[bool]:
        graph = graph_of(config=config)
        return ["BUCKET_NAME" in environment(graph, function) for function in FUNCTIONS]

    assert named({}) == [True, True]
    assert named({"storage": {"results": "inline"}}) == [False, False]
    assert named({"storage": {"results": "inline", "archive": {}}}) == [False, True]


def test_options_reach_the_settings_as_they_are() -> None:
    config = {
        "api": {
            "accept_forms": True,
            "idempotency": {"field": "order.number"},
            "ignore_when_comparing": ["sent_at"],
            "max_batch": 7,
            "max_depth": 9,
            "track": False,
            "deduplicate": "content",
            "type_field": "kind",
        },
        "queue": {"fifo": {"group_field": "customer_id"}},
        "worker": {
            "max_attempts": 8,
            "event_timeout_seconds": 7,
            "backoff": {"base_seconds": 3, "maximum_seconds": 30},
            "processor": "processors.orders:process",
        },
        "storage": {"results": "inline", "archive": {}, "time_index_shards": 5, "items_expire_after_days": 21},
    }
    graph = graph_of(config=config)
    ingest = IngestSettings.from_environment(environment(graph, "pipeline-ingest"))
    worker = WorkerSettings.from_environment(environment(graph, "pipeline-worker"))
    assert (ingest.max_batch, ingest.max_depth, ingest.track, ingest.deduplicate, ingest.type_field) == (
        7,
        9,
        False,
        "content",
        "kind",
    )
    assert (worker.max_attempts, worker.event_timeout_seconds) == (8, 7)
    assert (worker.backoff_base_seconds, worker.backoff_maximum_seconds) == (3, 30)
    assert (ingest.group_field, ingest.accept_forms) == ("customer_id", True)
    assert (ingest.idempotency_field, ingest.idempotency_header) == ("order.number", "")
    assert json.loads(ingest.ignore_when_comparing) == ["sent_at"]
    assert (worker.processor, worker.archive) == ("processors.orders:process", True)
    for settings in (ingest, worker):
        assert (settings.results, settings.time_index_shards, settings.items_expire_after_days) == ("inline", 5, 21)


def test_the_field_of_a_fair_queue_reaches_ingest_and_the_queue_stays_a_standard_one() -> None:
    graph = graph_of(config={"queue": {"fair": {"group_field": "customer.id"}}})
    ingest = IngestSettings.from_environment(environment(graph, "pipeline-ingest"))
    assert (ingest.fair_field, ingest.group_field) == ("customer.id", "")
    # Nothing of a deployed queue changes: what is sent makes it fair.
    for kind in ("aws:sqs/queue:Queue", "aws:lambda/eventSourceMapping:EventSourceMapping"):
        assert [each.inputs for each in graph.of_type(kind)] == [each.inputs for each in graph_of().of_type(kind)]


def test_the_schemas_travel_in_the_archive_where_the_function_reads_them() -> None:
    def schemas(config: dict[str, Any]) -> Any:
        function = graph_of(config=config).find("aws:lambda/function:Function", "pipeline-ingest")
        return json.loads(function.inputs["code"].assets["schemas.json"].text)

    assert schemas({}) == {}
    order = json.loads((SAMPLES / "schemas/order.json").read_text())
    assert schemas({"api": {"schemas": "schemas/order.json"}}) == {"": order}
    page_view = json.loads((SAMPLES / "schemas/page_view.json").read_text())
    assert schemas({"api": {"schemas": ["page_view"]}}) == {"page_view": page_view}


def test_the_worker_s_archive_holds_its_handler_and_every_processor_and_nothing_compiled() -> None:
    function = graph_of().find("aws:lambda/function:Function", "pipeline-worker")
    names = set(function.inputs["code"].assets)
    processors = {path.relative_to(SAMPLES).as_posix() for path in (SAMPLES / "processors").rglob("*.py")}
    assert {name for name in names if name.startswith("processors/")} == processors
    assert all(name.endswith(".py") for name in names)
    module, _, attribute = function.inputs["handler"].rpartition(".")
    assert f"{module.replace('.', '/')}.py" in names
    assert attribute == "handler"


def test_the_api_has_the_routes_that_the_function_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = IngestSettings.from_environment(environment(graph_of(), "pipeline-ingest"))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    function = Ingest(settings, {})

    def answered(route: str) -> str:
        context = {"requestId": "r", "http": {"sourceIp": "", "userAgent": ""}}
        query = {"limit": "x"} if route == "GET /events" else {}
        answer = function.handle(
            {"routeKey": route, "rawPath": "/", "requestContext": context, "queryStringParameters": query}
        )
        return str(json.loads(answer["body"]).get("error", {}).get("code"))

    codes = {f"{method} {path}": answered(f"{method} {path}") for method, path in ROUTES}
    assert codes == {
        "POST /events": "empty_body",
        "GET /events": "invalid_parameter",
        "GET /events/{id}": "no_such_event",
        "GET /health": "None",
    }
    assert answered("DELETE /events") == "no_such_route"


def test_webhooks_are_described_as_their_function_reads_them() -> None:
    assert get_args(WebhookOptions.model_fields["signature"].annotation) == get_args(Scheme)
    details = HmacOptions.model_fields
    assert get_args(details["algorithm"].annotation) == get_args(Algorithm)
    assert get_args(details["encoding"].annotation) == get_args(Encoding)
    read = {field.name: field.default for field in dataclasses.fields(Webhook)}
    assert read["tolerance_seconds"] == WebhookOptions.model_fields["tolerance_seconds"].default
    for name in ("algorithm", "encoding", "prefix"):
        assert read[name] == details[name].default
    assert WEBHOOKS == webhooks.PATH
    assert tuple(scheme for scheme in get_args(Scheme) if sends_a_time(scheme)) == TIMED


def sends_a_time(scheme: Scheme) -> bool:
    rule, secret = Rule(scheme, header="X-Signature"), "AAAA"
    return sign(rule, secret, b"", message_id="m", now=1) != sign(rule, secret, b"", message_id="m", now=2)


def test_table_index_and_prefixes_have_the_same_names_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    assert deployed_table.TIME_INDEX == reader.TIME_INDEX
    (received,) = received_times(1)
    envelope = Envelope(new_id(), "t", received, "", "", "", "", {})
    assert objects.result_key(envelope).startswith(variant.RESULTS)
    assert window_before("daily", datetime.now(UTC)).key.startswith(reports.REPORTS)
    deployed = graph_of().find("aws:dynamodb/table:Table", "pipeline-table").inputs
    written = {*items.new_item(envelope, "queued", 1), *items.IndexKeys.__annotations__}
    assert {attribute["name"] for attribute in deployed["attributes"]} <= written
    assert deployed["ttl"]["attributeName"] in written


@pytest.mark.parametrize(
    ("stack", "items"), [("csv", [FileItem]), ("iot", [ReadingItem, StateItem])], ids=["csv", "iot"]
)
def test_keys_and_expiry_of_a_table_are_attributes_of_its_items(stack: str, items: list[type[Any]]) -> None:
    (deployed,) = graph_of(stack).of_type("aws:dynamodb/table:Table")
    names = {deployed.inputs["hashKey"], deployed.inputs.get("rangeKey", deployed.inputs["hashKey"])}
    for item in items:
        assert names | {deployed.inputs["ttl"]["attributeName"]} <= set(item.__annotations__)


def test_the_index_of_the_table_of_files_is_the_one_that_is_queried_and_of_keys_of_its_items() -> None:
    (deployed,) = graph_of("csv").of_type("aws:dynamodb/table:Table")
    (index,) = deployed.inputs["globalSecondaryIndexes"]
    assert (index["name"], index["projectionType"]) == (DAY_INDEX, "KEYS_ONLY")
    names = [each["attributeName"] for each in index["keySchemas"]]
    assert names == ["day", "status_time"]
    assert set(names) <= set(FileItem.__annotations__)


def test_the_indexes_of_the_readings_table_are_those_that_are_queried_and_no_reading_is_in_them() -> None:
    (deployed,) = graph_of("iot").of_type("aws:dynamodb/table:Table")
    indexes = {each["name"]: each["keySchemas"] for each in deployed.inputs["globalSecondaryIndexes"]}
    assert set(indexes) == {DEVICE_INDEX, DUE_INDEX}
    for keys in indexes.values():
        names = {each["attributeName"] for each in keys}
        assert names <= set(StateItem.__annotations__)
        assert not names <= set(ReadingItem.__annotations__)


def test_what_alarms_and_dashboard_of_an_iot_stack_watch_is_what_its_functions_write() -> None:
    graph = graph_of("iot")
    dashboard = graph.of_type("aws:cloudwatch/dashboard:Dashboard")[0].inputs["dashboardBody"]
    watched = set(re.findall(rf'"{METRICS_NAMESPACE}", "(\w+)"', dashboard))
    watched |= {
        metric["metricName"]
        for alarm in graph.of_type(METRIC_ALARM)
        for metric in [alarm.inputs, *(query.get("metric", {}) for query in alarm.inputs.get("metricQueries", []))]
        if metric.get("namespace") == METRICS_NAMESPACE
    }
    written = counts_used(iot_worker.handler) | counts_used(iot_watcher.handler) | {metrics.LATENCY}
    assert watched
    assert watched <= written


def test_what_alarms_and_dashboard_watch_of_ours_is_what_the_functions_write(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variables = environment(graph_of(), "pipeline-worker")
    for name in POWERTOOLS:
        monkeypatch.setenv(name, variables[name])
    written_counts = (*counts.INGEST_COUNTS, *counts.WORKER_COUNTS, *counts.OUTCOME_COUNTS, *CIRCUIT_COUNTS)
    metrics.emit(dict.fromkeys(written_counts, 1), [1.5])
    line = json.loads(capsys.readouterr().out)
    (written,) = line["_aws"]["CloudWatchMetrics"]
    assert written["Namespace"] == METRICS_NAMESPACE
    assert written["Dimensions"] == [["service"]]
    emitted = {metric["Name"] for metric in written["Metrics"]}
    graph = graph_of(config={"outcomes": {}, "worker": {"circuit_breaker": {}}})
    inputs = [alarm.inputs for alarm in graph.of_type("aws:cloudwatch/metricAlarm:MetricAlarm")]
    watched = json.dumps([json.loads(json.dumps(each)) for each in inputs])
    dashboard = graph.of_type("aws:cloudwatch/dashboard:Dashboard")[0].inputs["dashboardBody"]
    own = set(re.findall(rf'"{METRICS_NAMESPACE}", "(\w+)"', dashboard))
    for each in inputs:
        if each.get("namespace") == METRICS_NAMESPACE:
            own.add(each["metricName"])
        for query in each.get("metricQueries", []):
            if query.get("metric", {}).get("namespace") == METRICS_NAMESPACE:
                own.add(query["metric"]["metricName"])
                assert query["metric"]["dimensions"] == {"service": line["service"]}
    assert own
    assert own <= emitted
    assert line["service"] in watched


def counts_used(source: Callable[..., object]) -> set[str]:
    text = Path(source.__code__.co_filename).read_text()
    return set(re.findall(r'"([A-Z]\w+)": ', text))


def test_the_functions_count_what_the_lists_of_metrics_say() -> None:
    assert counts_used(ingest.handler) - {"Location"} == set(counts.INGEST_COUNTS)
    assert counts_used(reporting.report) == {*counts.WORKER_COUNTS, *counts.OUTCOME_COUNTS}
    used = counts_used(circuit.Circuit.call) | counts_used(breaker.handler)
    # The other one is a field of a request to Lambda.
    assert used - {"MaximumConcurrency"} == CIRCUIT_COUNTS


def test_the_column_types_of_the_options_are_those_of_the_engine() -> None:
    assert get_args(ColumnOptions.model_fields["type"].annotation) == tuple(COLUMN_TYPES)


@given(st.text(st.sampled_from("aZ0_ -%#€$ö\u0308İß\n.(") | st.characters(exclude_categories=["Cs"]), max_size=12))
def test_options_and_engine_normalise_names_of_columns_the_same_way(name: str) -> None:
    assert csv_options.normalised(name) == csv_columns.normalised(name)
