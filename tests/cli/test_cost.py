"""`pipeline cost`: the bill, its price table, and what it says when it cannot tell."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.cost import PRICES, runs_a_month
from cli.main import app
from local.errors import LocalError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def bill(*arguments: str) -> Any:
    result = CliRunner().invoke(app, ["cost", "--json", *arguments])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def quantities(*arguments: str) -> dict[str, float]:
    return {unit: line["quantity"] for unit, line in bill(*arguments)["lines"].items()}


def test_a_million_single_events_are_billed_by_what_each_asks_for() -> None:
    million = 1_000_000
    counted = quantities("--events-per-month", str(million), "--event-bytes", "500")
    assert {unit: counted[unit] for unit in counted if unit.endswith(("requests", "_units"))} == {
        "api_gateway.http_requests": million,
        "lambda.requests": 2 * million,
        # Sent, received, deleted.
        "sqs.requests": 3 * million,
        # The item, its entry in the index, and its completion.
        "dynamodb.write_units": 3 * million,
        "dynamodb.read_units": million,
        "s3.put_requests": million,
    }


def test_a_stack_at_rest_pays_for_alarms_dashboard_and_polling() -> None:
    counted = quantities("--events-per-month", "0")
    assert counted.keys() == {"cloudwatch.alarm_metrics", "cloudwatch.dashboards", "sqs.requests"}
    assert counted["cloudwatch.dashboards"] == 1
    # Eleven alarms, of which four watch the rate of two metrics.
    assert counted["cloudwatch.alarm_metrics"] == 15


def test_clients_that_send_many_at_once_pay_less_for_requests_and_nothing_less_for_writes() -> None:
    single = quantities("--stack", "analytics")
    many = quantities("--stack", "analytics", "--events-per-request", "100")
    assert many["api_gateway.http_requests"] == single["api_gateway.http_requests"] / 100
    assert many["dynamodb.write_units"] == single["dynamodb.write_units"]
    assert many["lambda.gb_seconds"] < single["lambda.gb_seconds"] / 2


def test_reports_read_each_event_once_an_hour_and_once_a_day_at_half_a_unit() -> None:
    million = 1_000_000
    read = quantities("--stack", "analytics", "--events-per-month", str(million))["dynamodb.read_units"]
    runs, days, shards = 730, 730 / 24, 8
    # The worker's own read; two eventually consistent ones; two of the index, 300 bytes an entry; its queries.
    assert read == pytest.approx(million * (1 + 2 * 0.5 + 2 * 300 / 4_096 / 2) + (runs + days) * shards / 2, rel=0.002)


@pytest.fixture
def ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes a stack `ready` of the options of a group."""
    for file in ("__main__.py", "Pulumi.yaml", "components", "handlers", "processors", "schemas"):
        (tmp_path / file).symlink_to(ROOT / file)
    monkeypatch.chdir(tmp_path)

    def make(group: str, **options: Any) -> None:
        config = {"datapipeline:variant": "api", f"datapipeline:{group}": options}
        (tmp_path / "Pulumi.ready.yaml").write_text(json.dumps({"config": config}))

    return make


def test_what_is_kept_ready_is_paid_for_by_the_hour(ready: Callable[..., None]) -> None:
    ready("worker", provisioned_concurrency=2, memory_mb=256)
    counted = quantities("--stack", "ready", "--events-per-month", "0")
    assert counted["lambda.provisioned_gb_seconds"] == 2 * 256 / 1_024 * 730 * 3_600


@pytest.mark.parametrize("group", ["api", "worker"])
def test_that_snapshots_are_not_counted_is_said_where_there_are_some(ready: Callable[..., None], group: str) -> None:
    for snap_start in (True, False):
        ready(group, snap_start=snap_start)
        shown = CliRunner().invoke(app, ["cost", "--stack", "ready"]).output
        assert ("Not counted: SnapStart's cache and restores." in shown) == snap_start
        assert bill("--stack", "ready")["not_counted"] == ["SnapStart's cache and restores"] * snap_start


def test_the_price_table_can_be_ones_own(tmp_path: Path) -> None:
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
        ("[]", "must hold an object with date, region, currency and prices"),
        ('{"date": "", "region": "", "currency": "", "prices": {"kms.keys": 1}}', "prices.kms.keys must be an object"),
        ('{"date": "now", "region": "", "currency": "", "prices": {}}', "of now has no price for"),
    ],
)
def test_a_wrong_price_table_is_said_to_be_one(tmp_path: Path, text: str, message: str) -> None:
    wrong = tmp_path / "prices.json"
    wrong.write_text(text)
    result = CliRunner().invoke(app, ["cost", "--prices", str(wrong)])
    assert result.exit_code == 1
    assert message in result.output


def test_a_stack_of_another_variant_is_refused_by_name() -> None:
    result = CliRunner().invoke(app, ["cost", "--stack", "csv"])
    assert result.exit_code == 1
    assert "stack 'csv' is of the variant 'csv'" in result.output


def test_schedules_are_counted_by_their_expression() -> None:
    assert runs_a_month("rate(1 minute)") == 43_800
    assert runs_a_month("rate(2 hours)") == 365
    assert runs_a_month("cron(5 * * * ? *)") == 730
    assert runs_a_month("cron(5 0 * * ? *)") == pytest.approx(30.4, abs=0.05)
    with pytest.raises(LocalError, match="does not know"):
        runs_a_month("cron(0 8 ? * MON-FRI *)")
