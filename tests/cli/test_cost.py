"""`pipeline cost`: the bill, its price table and its errors."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli import cost_iot
from cli.cost import PRICES
from cli.cost_iot import IotTraffic
from cli.cost_model import Traffic, monthly_usage, not_counted
from cli.cost_units import runs_a_month
from components.config import load
from components.options.api import ApiPipelineConfig
from components.options.iot import IotPipelineConfig
from local.errors import LocalError
from local.project import load_project
from tests.graphs import SAMPLES, graph_of

from .conftest import Command

ROOT = Path(__file__).parents[2]
Quantities = Callable[..., dict[str, float]]


@pytest.fixture
def bill(pipeline: Command) -> Callable[..., Any]:
    """`bill("--stack", "dev", ...)` is the JSON that `pipeline cost` prints."""

    def run(*arguments: str) -> Any:
        result = pipeline("cost", "--json", *arguments)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return run


@pytest.fixture
def quantities(bill: Callable[..., Any]) -> Quantities:
    return lambda *arguments: {unit: line["quantity"] for unit, line in bill(*arguments)["lines"].items()}


def test_a_million_single_events_are_billed_by_their_calls(quantities: Quantities) -> None:
    million = 1_000_000
    counted = quantities("--events-per-month", str(million), "--event-bytes", "500")
    assert {unit: counted[unit] for unit in counted if unit.endswith(("requests", "_units"))} == {
        "api_gateway.http_requests": million,
        "lambda.requests": 2 * million,
        # Sent, received and deleted.
        "sqs.requests": 3 * million,
        # The item, its entry in the index, and its completion.
        "dynamodb.write_units": 3 * million,
        "dynamodb.read_units": million,
        "s3.put_requests": million,
    }


def test_a_stack_at_rest_pays_for_alarms_dashboard_and_polling(quantities: Quantities) -> None:
    counted = quantities("--events-per-month", "0")
    assert counted.keys() == {"cloudwatch.alarm_metrics", "cloudwatch.dashboards", "sqs.requests"}
    assert counted["cloudwatch.dashboards"] == 1
    # Fifteen alarms, of which seven watch two metrics, and one three.
    assert counted["cloudwatch.alarm_metrics"] == 24


def test_compaction_costs_its_alarms_and_a_read_of_each_object() -> None:
    def used(archive: dict[str, Any]) -> dict[str, float]:
        config = {"storage": {"archive": archive}}
        graph, loaded = graph_of(config=config), load_project(SAMPLES, "dev").with_config(config)
        options = load(loaded.config, file="Pulumi.dev.yaml", check_processor=False)
        assert isinstance(options, ApiPipelineConfig)
        return dict(monthly_usage(options, graph, Traffic(1_000_000, 1, 500)))

    plain, compacted = used({}), used({"compaction": {}})
    more = {unit: round(compacted[unit] - plain.get(unit, 0), 4) for unit in compacted}
    assert {unit: quantity for unit, quantity in more.items() if quantity} == {
        "lambda.requests": 730,
        "lambda.gb_seconds": 36.5,
        "eventbridge.scheduler_invocations": 730,
        "cloudwatch.log_gb": 0.0012,
        "cloudwatch.alarm_metrics": 7,
        "s3.get_requests": 1_000_000,
        "s3.put_requests": 3_920,
    }


def test_the_reconciler_costs_its_alarms_and_one_run_each_five_minutes() -> None:
    def at_rest(**config: Any) -> dict[str, float]:
        graph, loaded = graph_of(config=config), load_project(SAMPLES, "dev").with_config(config)
        options = load(loaded.config, file="Pulumi.dev.yaml", check_processor=False)
        assert isinstance(options, ApiPipelineConfig)
        return dict(monthly_usage(options, graph, Traffic(0, 1, 500)))

    plain, reconciled = at_rest(), at_rest(queue={"reconciler": {}})
    more = {unit: reconciled[unit] - plain.get(unit, 0) for unit in reconciled}
    assert {unit: quantity for unit, quantity in more.items() if quantity} == {
        "lambda.requests": 8_760,
        "lambda.gb_seconds": 219,
        "sqs.requests": 8_760,
        # Each hour a query of each of eight shards, and the item with what it has found.
        "dynamodb.read_units": 730 * (8 * 0.5 + 1),
        "dynamodb.write_units": 730,
        "eventbridge.scheduler_invocations": 8_760,
        "cloudwatch.log_gb": pytest.approx(0.014016),
        # Six alarms, of which two watch two metrics.
        "cloudwatch.alarm_metrics": 8,
    }


def test_metrics_that_are_written_each_minute_are_paid_for() -> None:
    def metrics(**worker: Any) -> float:
        graph, loaded = (
            graph_of(config={"worker": worker}),
            load_project(SAMPLES, "dev").with_config({"worker": worker}),
        )
        options = load(loaded.config, file="Pulumi.dev.yaml", check_processor=False)
        assert isinstance(options, ApiPipelineConfig)
        return dict(monthly_usage(options, graph, Traffic(1_000, 1, 500)))["cloudwatch.custom_metrics"]

    plain = metrics()
    assert metrics(circuit_breaker={}) == plain + 1
    # Beside whether the circuit is open, how many keys are held back.
    assert metrics(circuit_breaker={"key_field": "customer.id"}) == plain + 2


def test_larger_requests_save_on_requests_but_not_on_writes(quantities: Quantities) -> None:
    single = quantities("--stack", "analytics")
    many = quantities("--stack", "analytics", "--events-per-request", "100")
    assert many["api_gateway.http_requests"] == single["api_gateway.http_requests"] / 100
    assert many["dynamodb.write_units"] == single["dynamodb.write_units"]
    assert many["lambda.gb_seconds"] < single["lambda.gb_seconds"] / 2


def test_reports_read_each_event_once_an_hour_and_once_a_day_at_half_a_unit(quantities: Quantities) -> None:
    million = 1_000_000
    read = quantities("--stack", "analytics", "--events-per-month", str(million))["dynamodb.read_units"]
    runs, days, shards = 730, 730 / 24, 8
    # The worker's own read; two eventually consistent ones; two of the index, 300 bytes an entry; its queries.
    assert read == pytest.approx(million * (1 + 2 * 0.5 + 2 * 300 / 4_096 / 2) + (runs + days) * shards / 2, rel=0.002)


def test_provisioned_concurrency_is_billed_by_the_hour() -> None:
    graph = graph_of(config={"worker": {"provisioned_concurrency": 2, "memory_mb": 256}})
    config = load(load_project(SAMPLES, "dev").config, file="Pulumi.dev.yaml")
    assert isinstance(config, ApiPipelineConfig)
    usage = monthly_usage(config, graph, Traffic(0, 1, 500))
    assert usage["lambda.provisioned_gb_seconds"] == 2 * 256 / 1_024 * 730 * 3_600


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, []),
        ({"api": {"snap_start": True}}, ["SnapStart's cache and restores"]),
        ({"worker": {"snap_start": True}}, ["SnapStart's cache and restores"]),
        ({"worker": {"ephemeral_storage_mb": 513}}, ["the worker's ephemeral storage above 512 MB"]),
        ({"worker": {"provisioned_pollers": {}}}, ["provisioned pollers"]),
    ],
)
def test_snapshots_and_larger_storage_are_named_as_not_counted(options: dict[str, Any], expected: list[str]) -> None:
    config = load(load_project(SAMPLES, "dev").with_config(options).config, file="Pulumi.dev.yaml")
    assert isinstance(config, ApiPipelineConfig)
    assert not_counted(config) == expected


def test_what_is_not_counted_is_shown(pipeline: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Not counted" not in pipeline("cost").stdout
    monkeypatch.setattr("cli.cost_model.not_counted", lambda _: ["the weather"])
    assert pipeline("cost").stdout.endswith("\nNot counted: the weather.\n")
    assert json.loads(pipeline("cost", "--json").stdout)["not_counted"] == ["the weather"]


def test_another_price_table_can_be_given(bill: Callable[..., Any], tmp_path: Path) -> None:
    table = json.loads(PRICES.read_text())
    table["prices"]["s3.put_requests"]["usd"] *= 2
    own = tmp_path / "prices.json"
    own.write_text(json.dumps(table))
    usual, dearer = bill(), bill("--prices", str(own))
    assert dearer["usd"] == pytest.approx(usual["usd"] + 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "must hold a JSON object"),
        ("{}", "must hold an object with date, region, currency and prices"),
        ('{"date": "", "region": "", "currency": "", "prices": {"kms.keys": 1}}', "prices.kms.keys must be an object"),
        ('{"date": "now", "region": "", "currency": "", "prices": {}}', "of now has no price for"),
    ],
)
def test_a_wrong_price_table_is_an_error(pipeline: Command, tmp_path: Path, text: str, message: str) -> None:
    wrong = tmp_path / "prices.json"
    wrong.write_text(text)
    result = pipeline("cost", "--prices", str(wrong))
    assert result.exit_code == 1
    assert message in result.output


def test_a_stack_of_another_variant_is_refused_by_name(pipeline: Command) -> None:
    result = pipeline("cost", "--stack", "csv", "--events-per-month", "5", "--readings-per-object", "2")
    assert result.exit_code == 1
    said = "--events-per-month, --readings-per-object does not fit; it takes --gb-per-month, --file-mb"
    assert f"stack 'csv' is of the variant csv: {said}" in result.output


def test_a_gigabyte_of_csv_costs_its_function_and_what_is_stored(quantities: Quantities) -> None:
    at_rest = quantities("--stack", "csv", "--gb-per-month", "0")
    one, two = (quantities("--stack", "csv", "--gb-per-month", gb, "--file-mb", "100") for gb in ("1000", "2000"))
    more = {unit: two[unit] - one[unit] for unit in two if two[unit] != one[unit]}
    # 10,000 files, of 100 MB each, whose outputs go up in 12 parts.
    assert more["dynamodb.write_units"] == (5 + 3) * 10_000
    assert more["lambda.requests"] == more["sns.requests"] == more["s3.get_requests"] == 10_000
    assert more["s3.put_requests"] == (1 + 2 + 1 + 12 + 1 + 1) * 10_000
    # A core reads 15 MB a second.
    assert more["lambda.gb_seconds"] == pytest.approx(10_000 * (100 / 15 + 0.3) * 1_769 / 1_024, abs=1)
    assert {"cloudwatch.alarm_metrics", "sqs.requests"} < at_rest.keys()


def test_a_large_file_takes_several_runs(quantities: Quantities) -> None:
    large = quantities("--stack", "csv", "--gb-per-month", "100", "--file-mb", "50000")
    # 3,334 seconds, of which a run has 880.
    assert large["lambda.requests"] == 2 * 4


def test_readings_cost_their_writes_and_watching_one_more_an_object() -> None:
    def used(**config: Any) -> dict[str, float]:
        loaded = load_project(SAMPLES, "iot").with_config(config)
        options = load(loaded.config, file="Pulumi.iot.yaml", check_processor=False)
        assert isinstance(options, IotPipelineConfig)
        graph = graph_of("iot", config)
        return dict(cost_iot.monthly_usage(options, graph, IotTraffic(1_000_000, 100)))

    watched, unwatched = used(), used(silence=None)
    # Each reading, and for each object the state of its device.
    assert unwatched["dynamodb.write_units"] == 1_000_000 + 10_000
    assert watched["dynamodb.write_units"] == 1_000_000 + 10_000 * 3
    assert unwatched["lambda.requests"] == unwatched["s3.get_requests"] == 10_000


def test_the_figures_in_the_docs_are_those_of_the_model(bill: Callable[..., Any]) -> None:
    def more(stack: str, *volumes: tuple[str, ...]) -> tuple[str, str]:
        """What the second volume costs above the first: to work on, and to keep."""
        less, bigger = (bill("--stack", stack, *volume)["lines"] for volume in volumes)
        usd = {unit: bigger[unit]["usd"] - less[unit]["usd"] for unit in bigger}
        kept = sum(each for unit, each in usd.items() if unit.endswith("gb_months"))
        return f"{sum(usd.values()) - kept:.2f}", f"{kept:.2f}"

    text = (ROOT / "docs/cost.md").read_text()
    assert more("csv", ("--gb-per-month", "100000"), ("--gb-per-month", "101000")) == ("3.05", "36.90")
    assert "reading it | 0.003 |" in text
    assert "upload and output for a month | 0.04 |" in text
    readings = [("--readings-per-month", str(number)) for number in (100_000_000, 101_000_000)]
    work, kept = more("iot", *readings)
    assert f"storing them, watched | {work} |" in text
    assert f"keeping them for 90 days | {kept} |" in text


def test_a_customer_key_costs_its_requests_and_secrets_theirs() -> None:
    def used(**config: Any) -> dict[str, float]:
        loaded = load_project(SAMPLES, "dev").with_config(config)
        options = load(loaded.config, file="Pulumi.dev.yaml", check_processor=False)
        assert isinstance(options, ApiPipelineConfig)
        return dict(monthly_usage(options, graph_of(config=config), Traffic(1_000_000, 1, 500)))

    # Five minutes are 8,760 times in a month. Ingest: queue, table, bucket; worker: both queues, table, bucket, topic.
    assert used(encryption={"customer_key": {}})["kms.requests"] == 8 * 8_760
    assert "kms.requests" not in used()
    secret = "arn:aws:secretsmanager:us-east-1:123456789012:secret:shop-AbC123"  # pragma: allowlist secret
    parameter = "arn:aws:ssm:us-east-1:123456789012:parameter/shop"
    assert used(worker={"secrets": {"one": secret, "two": parameter}})["secrets_manager.requests"] == 8_760


def test_schedules_are_counted_by_their_expression() -> None:
    assert runs_a_month("rate(1 minute)") == 43_800
    assert runs_a_month("rate(2 hours)") == 365
    assert runs_a_month("cron(5 * * * ? *)") == 730
    assert runs_a_month("cron(5 0 * * ? *)") == pytest.approx(30.4, abs=0.05)
    with pytest.raises(LocalError, match="does not know"):
        runs_a_month("cron(0 8 ? * MON-FRI *)")
