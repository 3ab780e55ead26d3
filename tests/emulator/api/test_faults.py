"""Each fault mode on the functions: it has its effect, and no accepted event is lost."""

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from handlers.api import faults
from tests.api_pipeline import Pipeline, Time
from tests.roles import Role


@pytest.fixture
def game_day(pipeline: Pipeline) -> Pipeline:
    """A pipeline whose functions read the fault parameter, as deployed."""
    pipeline.settings["fault_parameter_name"] = pipeline.outputs["fault_parameter_name"]
    switch(pipeline, "none")
    return pipeline


def switch(pipeline: Pipeline, mode: str) -> None:
    name = pipeline.outputs["fault_parameter_name"]
    pipeline.root("ssm").put_parameter(Name=name, Value=mode, Type="String", Overwrite=True)


def process(event: Mapping[str, Any]) -> Any:
    return event["n"]


def statuses(pipeline: Pipeline) -> dict[str, str]:
    return {event_id: item["status"] for event_id, item in pipeline.items().items()}


def test_a_poisoned_message_is_dead_lettered_with_an_alert_and_succeeds_when_redriven(
    game_day: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = [result["id"] for result in game_day.post([{"n": n} for n in range(10)]).body["results"]]
    switch(game_day, "poison_payload")
    records = game_day.receive()
    chosen = {json.loads(record["body"])["id"]: record["messageId"].encode() for record in records[2:5]}
    # Chooses the poisoned messages. tests/handlers/api/test_faults.py tests their share.
    monkeypatch.setattr(faults, "zlib", SimpleNamespace(crc32=lambda message: int(message not in chosen.values())))
    game_day.show_again(records)
    game_day.drain(game_day.worker(process))
    letters = [letter["Body"] for letter in game_day.dead_letters()]
    poisoned = {json.loads(body)["id"] for body in letters}
    assert poisoned == chosen.keys()
    assert statuses(game_day) == {each: "queued" if each in poisoned else "succeeded" for each in ids}
    assert {alert["error_type"] for alert in game_day.alerts()} == {"UnreadableMessageError"}
    switch(game_day, "none")
    for body in letters:
        game_day.root("sqs").send_message(QueueUrl=game_day.outputs["queue_url"], MessageBody=body)
    game_day.drain(game_day.worker(process))
    assert set(statuses(game_day).values()) == {"succeeded"}


def test_a_failing_downstream_fails_attempts_that_succeed_after_it_recovers(game_day: Pipeline) -> None:
    ids = [result["id"] for result in game_day.post([{"n": n} for n in range(5)]).body["results"]]
    switch(game_day, "random_fail_p100")
    records = game_day.receive()
    assert len(game_day.deliver(game_day.worker(process), records)) == 5
    switch(game_day, "none")
    game_day.show_again(records)
    game_day.drain(game_day.worker(process))
    assert statuses(game_day) == dict.fromkeys(ids, "succeeded")
    assert {item["attempts"] for item in game_day.items().values()} == {"2"}


def test_a_slow_downstream_exceeds_the_time_limit_and_is_retried(
    game_day: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(faults, "SLOW_SECONDS", (0.3, 0.3))
    event_id = game_day.post({"n": 1}).body["id"]
    switch(game_day, "slow_downstream")
    records = game_day.receive()
    # 5.1 seconds, of which 5 are reserved for storing.
    returned = game_day.deliver(game_day.worker(process), records, Time(5.1))
    assert len(returned) == 1
    game_day.show_again(records)
    game_day.drain(game_day.worker(process))
    assert statuses(game_day) == {event_id: "succeeded"}


def test_a_duplicate_submission_has_one_effect(game_day: Pipeline) -> None:
    switch(game_day, "duplicate_submit")
    results = game_day.post([{"n": 1}, {"n": 2, "idempotency_key": "k"}]).body["results"]
    processed = []

    def noted(event: Mapping[str, Any]) -> Any:
        processed.append(event["n"])
        return event["n"]

    records = game_day.receive()
    assert len(records) == 4
    game_day.deliver(game_day.worker(noted), records)
    assert sorted(processed) == [1, 2]
    assert statuses(game_day) == {result["id"]: "succeeded" for result in results}
    assert not game_day.dead_letters()


@pytest.mark.parametrize("switched", ["nonsense", None])
def test_an_invalid_or_missing_mode_does_not_stop_the_pipeline(game_day: Pipeline, switched: str | None) -> None:
    if switched is None:
        game_day.settings["fault_parameter_name"] = "no-such-parameter"
    else:
        switch(game_day, switched)
    event_id = game_day.post({"n": 1}).body["id"]
    game_day.drain(game_day.worker(process))
    assert statuses(game_day) == {event_id: "succeeded"}


def test_both_functions_need_the_right_to_read_the_switch(game_day: Pipeline) -> None:
    def role(function: str) -> Role:
        return Role(game_day.root, game_day.environments[function]["AWS_LAMBDA_FUNCTION_NAME"])

    def sent() -> int:
        game_day.clear()
        with role("ingest").acting():
            game_day.post({"n": 1})
        return len(game_day.receive())

    switch(game_day, "duplicate_submit")
    assert sent() == 2
    with role("ingest").without("ssm:GetParameter"):
        assert sent() == 1

    def returned() -> int:
        game_day.clear()
        game_day.post({"n": 1})
        records = game_day.receive()
        with role("worker").acting():
            return len(game_day.worker(process).handle(records, Time())["batchItemFailures"])

    switch(game_day, "random_fail_p100")
    assert returned() == 1
    with role("worker").without("ssm:GetParameter"):
        assert returned() == 0
