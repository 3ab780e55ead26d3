"""`pipeline plan`: the bounds of a stack, what breaks first, and changes with which nothing does."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.plan.advice import Advice, advise, course, first_broken
from cli.plan.bounds import Bound, bounds, rounded_up
from cli.plan.limits import LIMITS
from cli.plan.situation import Load, Situation
from components.config import load
from local.project import load_project
from tests.graphs import SAMPLES

from .conftest import Command

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/plan.md").read_text()
((LEAN,),) = [re.findall(r"^```yaml\n(config:.*?)^```", PAGE, re.MULTILINE | re.DOTALL)]
SHOWN = re.findall(r"^\$ \.venv/bin/pipeline (plan .*)\n([^`]*)^```", PAGE, re.MULTILINE)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Situation]:
    """`at(1_000, {"worker": {...}}, burst=5)` is the stack dev with these options under this load."""
    monkeypatch.chdir(SAMPLES)

    def situation(rate: float, config: dict[str, Any] | None = None, stack: str = "dev", **given: Any) -> Situation:
        return Situation(load_project(SAMPLES, stack).with_config(config or {}), Load(rate, **given), {})

    return situation


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The samples, and the stack lean of the documentation."""
    for each in SAMPLES.iterdir():
        if each.name != "__pycache__":
            (tmp_path / each.name).symlink_to(each)
    (tmp_path / "Pulumi.lean.yaml").write_text(LEAN)
    return tmp_path


def lean() -> dict[str, Any]:
    return {key.partition(":")[2]: value for key, value in yaml.safe_load(LEAN)["config"].items()}


def takes(situation: Situation) -> dict[str, float]:
    return {bound.name: bound.takes for bound in bounds(situation)}


def named(situation: Situation, name: str) -> Bound:
    return next(bound for bound in bounds(situation) if bound.name == name)


def settings(advice: Advice) -> dict[str, Any]:
    return {key: value for change in advice.changes for key, value in change.values.items()}


# The page


@pytest.mark.parametrize(("command", "shown"), SHOWN)
def test_the_tables_in_the_docs_are_what_the_command_prints(
    command: str, shown: str, pipeline: Command, project: Path
) -> None:
    result = pipeline(*command.split(), cwd=project)
    assert result.exit_code == 0, result.output
    assert result.stdout == shown


def test_the_page_shows_dev_analytics_lean_and_a_burst() -> None:
    assert [re.findall(r"--stack (\w+)", command) for command, _ in SHOWN] == [
        ["dev"],
        ["analytics"],
        ["lean"],
        ["lean"],
    ]
    for rate in ("10", "1,000", "100,000", "1,000,000"):
        assert all(re.search(rf"^ +{rate}  ", shown, re.MULTILINE) for _, shown in SHOWN[:3])


def test_the_limits_of_the_page_are_those_of_the_model() -> None:
    listed = re.findall(r"^\| ([^|]+) \| ([\d,]+) \| ([^|]+) \| (yes|no) \| \[[^]]+\]\((.*)\) \|$", PAGE, re.MULTILINE)
    assert {name: (value, counts, raised, document) for name, value, counts, raised, document in listed} == {
        name: (f"{limit.value:,.0f}", limit.counts, "yes" if limit.is_quota else "no", limit.document)
        for name, limit in LIMITS.items()
    }
    assert all(limit.document.startswith("https://docs.aws.amazon.com/") for limit in LIMITS.values())


def test_every_limit_is_used() -> None:
    constants = dict(
        re.findall(r'^([A-Z][A-Z0-9_]+) = "(.*)"$', (ROOT / "cli/plan/limits.py").read_text(), re.MULTILINE)
    )
    used = "".join(
        (ROOT / f"cli/plan/{name}.py").read_text().partition("\n\n\n")[2] for name in ("advice", "bounds", "situation")
    )
    assert set(constants.values()) == LIMITS.keys()
    assert [name for name in constants if not re.search(rf"\b{name}\b", used)] == []


# The advice


@pytest.mark.parametrize("burst", [1, 5, 20])
@pytest.mark.parametrize("rate", [10, 1_000, 100_000, 1_000_000])
@pytest.mark.parametrize(("stack", "size"), [("dev", 1), ("analytics", 10), ("lean", 100)])
def test_nothing_breaks_any_more_with_the_changes(
    at: Callable[..., Situation], stack: str, size: int, rate: float, burst: float
) -> None:
    config, name = (lean(), "dev") if stack == "lean" else (None, stack)
    advice = advise(at(rate, config, name, burst=burst, events_per_request=size))
    assert advice.left is None
    changed = advice.changed
    # As a stack file it is valid, and its bounds hold without what the search assumed on the way.
    load(changed.project.config, file="Pulumi.dev.yaml", check_processor=False)
    plain = replace(changed, load=replace(changed.load, drain=1))
    assert first_broken(plain) is None
    assert changed.load.events_per_second * changed.stacks == pytest.approx(rate)
    played = course(plain)
    assert played.refused == 0
    assert played.oldest_seconds <= changed.config.alarms.oldest_message_seconds
    assert played.drained_seconds is not None


def test_a_stack_that_holds_is_left_as_it_is(at: Callable[..., Situation]) -> None:
    given = at(100)
    assert advise(given) == Advice(None, [], given, None)


@pytest.mark.parametrize(
    ("config", "load", "first", "changes"),
    [
        ({}, {"rate": 1_000}, "api.throttling.rate_per_second", {"api.throttling.rate_per_second": 1_300}),
        # An event a second: only what the worker takes.
        (
            {"worker": {"maximum_concurrency": 2}},
            {"rate": 50, "event_seconds": 0.5},
            "worker.maximum_concurrency",
            {"worker.batch_size": 50, "worker.batching_window_seconds": 1, "worker.maximum_concurrency": 32},
        ),
        (
            {"worker": {"batch_size": 10}},
            {"rate": 10, "event_seconds": 6.0},
            "worker.timeout_seconds",
            {"worker.batch_size": 4},
        ),
        (
            {"worker": {"batch_size": 1}},
            {"rate": 1, "event_seconds": 60.0},
            "worker.timeout_seconds",
            {"worker.timeout_seconds": 80},
        ),
        (
            {"api": {"reserved_concurrency": 1, "throttling": {"rate_per_second": 1_000}}},
            {"rate": 100},
            "api.reserved_concurrency",
            {"api.reserved_concurrency": 4},
        ),
    ],
)
def test_what_breaks_first_is_named_with_the_key_that_helps(
    at: Callable[..., Situation], config: dict[str, Any], load: dict[str, Any], first: str, changes: dict[str, Any]
) -> None:
    advice = advise(at(load.pop("rate"), config, **load))
    assert advice.first is not None
    assert advice.first.name == first
    assert changes.items() <= settings(advice).items()
    assert advice.left is None


def test_provisioned_pollers_replace_the_concurrency_above_1000_batches(at: Callable[..., Situation]) -> None:
    config = lean() | {"api": {"track": False, "throttling": {"rate_per_second": 10_000, "burst": 5_000}}}
    advice = advise(at(20_000, config, events_per_request=100, event_seconds=0.2))
    assert advice.first is not None
    assert advice.first.name == "worker.maximum_concurrency"
    assert settings(advice)["worker.provisioned_pollers"] == {"minimum": 200, "maximum": 510}
    assert "maximumConcurrency" not in advice.changed.project.config["datapipeline:worker"]


def test_a_stack_with_a_circuit_breaker_is_not_told_to_provision_pollers(at: Callable[..., Situation]) -> None:
    config = lean()
    config["worker"] = {**config["worker"], "circuit_breaker": {}}
    advice = advise(at(20_000, config, events_per_request=100, event_seconds=0.2))
    assert advice.left is None
    assert "worker.provisioned_pollers" not in settings(advice)
    assert settings(advice)["stacks"] > 1


def test_reports_keep_the_index(at: Callable[..., Situation]) -> None:
    changes = settings(advise(at(100_000, stack="analytics", events_per_request=100)))
    assert "storage.time_index" not in changes
    assert changes["stacks"] == 2


def test_a_burst_that_waits_too_long_is_found_by_simulation(at: Callable[..., Situation]) -> None:
    situation = at(500, lean(), burst=20, events_per_request=100, event_seconds=0.05)
    broken = first_broken(situation)
    assert broken is not None
    assert broken.name == "alarms.oldest_message_seconds"
    # 10,000 a second for five minutes, of which 1,980 are taken.
    assert course(situation).deepest == pytest.approx(300 * (10_000 - 1_980), rel=0.02)


def test_groups_of_a_fifo_queue_bound_its_worker(at: Callable[..., Situation]) -> None:
    fifo = {"queue": {"fifo": {"group_field": "customer_id"}}}
    found = takes(at(10, fifo, groups=3))
    # Three batches of ten in a tenth of a second.
    assert found["groups of the FIFO queue"] == pytest.approx(300)
    assert found["SQS FIFO calls"] == 70_000
    assert takes(at(10, fifo, groups=1_000))["worker.maximum_concurrency"] == pytest.approx(10_000)


def test_bounds_are_those_of_the_documents(at: Callable[..., Situation]) -> None:
    found = takes(at(10))
    assert {
        name: round(found[name])
        for name in ("storage.time_index_shards", "DynamoDB table writes", "S3 puts of results", "API Gateway requests")
    } == {
        # 8 shards of 1,000, an entry an event; 40,000 units and two writes an event.
        "storage.time_index_shards": 8_000,
        "DynamoDB table writes": 20_000,
        "S3 puts of results": 3_500,
        "API Gateway requests": 10_000,
    }
    pollers = takes(at(10, {"worker": {"provisioned_pollers": {"maximum": 20}}}))
    # 10 receives of 10 messages a second each; 10 batches at the same time each.
    assert pollers["polls of worker.provisioned_pollers"] == 2_000
    assert pollers["worker.provisioned_pollers"] == pytest.approx(200 * 10 / 0.1)
    assert named(at(10, {"outcomes": {}}), "EventBridge PutEvents").takes == 10_000


def test_a_burst_that_doubles_a_table_s_peak_is_taken_and_a_larger_one_is_warmed(at: Callable[..., Situation]) -> None:
    assert "DynamoDB new table" not in takes(at(10_000, burst=2))
    assert takes(at(10_000, burst=20))["DynamoDB new table"] == pytest.approx(4_000 / 21)


@pytest.mark.parametrize(
    ("value", "expected"), [(0.2, 1), (9, 9), (11.2, 12), (101, 110), (1_251, 1_300), (126_000, 130_000)]
)
def test_values_are_rounded_up_to_two_digits(value: float, expected: int) -> None:
    assert rounded_up(value) == expected


# The command


def test_json_has_the_queue_before_and_after(pipeline: Command) -> None:
    result = pipeline("plan", "--json", "--events-per-second", "1000", "--burst", "5", "--burst-duration", "1m")
    told = json.loads(result.stdout)
    (one,) = told["plans"]
    assert (told["stack"], told["burst"], told["burst_seconds"], told["seconds_per_event"]) == ("dev", 5, 60, 0.005)
    assert one["breaks_first"] == "api.throttling.rate_per_second"
    assert one["queue"]["refused"] == pytest.approx(0.98)
    assert one["queue_with_changes"]["refused"] == 0
    assert one["changes"]["requests"] == {"events": 100}
    assert one["usd_a_month"] > 0


def test_the_table_has_each_order_of_magnitude(pipeline: Command) -> None:
    told = json.loads(pipeline("plan", "--json").stdout)
    assert [each["events_per_second"] for each in told["plans"]] == [10**power for power in range(1, 7)]


def test_a_larger_quota_moves_the_bound(pipeline: Command) -> None:
    def concurrency(*given: str) -> float:
        told = json.loads(pipeline("plan", "--json", "--events-per-second", "10", *given).stdout)
        return float(told["plans"][0]["takes_events_per_second"]["Lambda concurrency"])

    assert concurrency("--account-concurrency", "5000") == pytest.approx(5 * concurrency(), rel=0.001)


def test_only_an_api_stack_has_a_plan(pipeline: Command) -> None:
    result = pipeline("plan", "--stack", "csv")
    assert result.exit_code == 1
    assert "stack 'csv' is of the variant 'csv'; this command needs one of 'api'" in result.output
