"""The worker on real (emulated) services: what it stores, which messages go back, who is told."""

import gzip
import json
import time
from collections.abc import Mapping
from typing import Any
from unittest.mock import patch

import pytest

from handlers.processor import Rejected
from handlers.shared import aws
from tests.api_pipeline import Pipeline, RunningTime, Time
from tests.crash_points import record


def double(event: Mapping[str, Any]) -> dict[str, Any]:
    return {"doubled": 2 * event["n"]}


def fails(_event: Mapping[str, Any]) -> None:
    raise RuntimeError("no luck")


def rejects(_event: Mapping[str, Any]) -> None:
    raise Rejected("never")


def put(pipeline: Pipeline, body: str) -> None:
    pipeline.root("sqs").send_message(QueueUrl=pipeline.outputs["queue_url"], MessageBody=body)


def test_a_result_is_an_object_by_day_and_id_and_the_api_hands_out_its_url(pipeline: Pipeline) -> None:
    event_id = pipeline.post({"n": 21}).body["id"]
    assert pipeline.deliver(pipeline.worker(double), pipeline.receive()) == []
    shown = pipeline.shown(event_id).body
    assert (shown["status"], shown["attempts"], shown["error"]) == ("succeeded", 1, None)
    assert shown["completed_at"] > shown["received_at"]
    day = shown["received_at"][:10].replace("-", "/")
    assert {key: json.loads(body) for key, body in pipeline.objects("results/").items()} == {
        f"results/{day}/{event_id}.json": {"doubled": 42},
    }
    assert f"results/{day}/{event_id}.json" in shown["result_url"]


def test_an_inline_result_is_in_the_answer_and_exact(pipeline: Pipeline) -> None:
    pipeline.settings = {"results": "inline", "archive": False}
    result = {"text": "é \U0001f600", "number": 0.1, "large": 12345678901234567890, "list": [None, True]}
    event_id = pipeline.post({"n": 1}).body["id"]
    pipeline.drain(pipeline.worker(lambda _event: result))
    assert pipeline.shown(event_id).body["result"] == result
    assert not pipeline.objects("")


def test_an_inline_result_that_no_item_takes_is_rejected_with_the_way_out(pipeline: Pipeline) -> None:
    pipeline.settings = {"results": "inline"}
    event_id = pipeline.post({"n": 1}).body["id"]
    pipeline.drain(pipeline.worker(lambda _event: "x" * 400_000))
    assert "use storage.results: object" in pipeline.shown(event_id).body["error"]


def test_only_failed_messages_return_and_later_each_time(pipeline: Pipeline) -> None:
    good, bad = (pipeline.post({"n": n}).body["id"] for n in (1, 2))

    def process(event: Mapping[str, Any]) -> dict[str, Any]:
        if event["n"] == 2:
            fails(event)
        return double(event)

    records = pipeline.receive()
    failed = pipeline.deliver(pipeline.worker(process), records)
    assert failed == [record["messageId"] for record in records if bad in record["body"]]
    assert pipeline.shown(good).body["status"] == "succeeded"
    shown = pipeline.shown(bad).body
    assert (shown["status"], shown["attempts"], shown["error"]) == ("retrying", 1, "RuntimeError: no luck")
    assert shown["next_attempt_at"] > shown["received_at"]
    assert pipeline.receive() == []  # it waits for its back-off
    time.sleep(2.1)
    (again,) = pipeline.receive()
    assert again["attributes"]["ApproximateReceiveCount"] == "2"


def test_the_back_off_doubles_up_to_its_maximum(pipeline: Pipeline) -> None:
    pipeline.settings = {"backoff_base_seconds": 2, "backoff_maximum_seconds": 10}
    worker = pipeline.worker(fails)
    waits = [[worker._backoff_seconds(attempt) for _ in range(200)] for attempt in (1, 2, 3, 9)]
    assert [(min(seconds), max(seconds)) for seconds in waits] == [(1, 2), (2, 4), (4, 8), (5, 10)]


def test_the_last_attempt_fails_the_event_alerts_once_and_moves_the_message(pipeline: Pipeline) -> None:
    ids = [pipeline.post({"n": n}, x_correlation_id=f"c-{n}").body["id"] for n in (1, 2)]
    pipeline.drain(pipeline.worker(fails))
    for event_id in ids:
        shown = pipeline.shown(event_id).body
        assert (shown["status"], shown["attempts"], shown["error"]) == ("failed", 3, "RuntimeError: no luck")
    letters = pipeline.dead_letters()
    assert sorted(json.loads(letter["Body"])["id"] for letter in letters) == sorted(ids)
    assert {letter["MessageAttributes"]["error_type"]["StringValue"] for letter in letters} == {"RuntimeError"}
    (alert,) = pipeline.alerts()
    assert (alert["service"], alert["failed"], alert["error_type"]) == ("test", 2, "RuntimeError")
    assert {event["id"] for event in alert["events"]} == set(ids)


def test_nothing_that_a_client_wrote_stands_in_an_alert(pipeline: Pipeline) -> None:
    def echoes(event: Mapping[str, Any]) -> None:
        raise Rejected(event["text"])

    pipeline.post({"event_type": "click https://example.org", "text": "click here"}, x_correlation_id="click me")
    pipeline.drain(pipeline.worker(echoes))
    (alert,) = pipeline.alerts()
    assert "click" not in json.dumps(alert)


def test_a_thousand_failures_of_one_cause_are_one_alert_a_minute(pipeline: Pipeline) -> None:
    worker = pipeline.worker(rejects)
    for _ in range(3):
        pipeline.post([{"n": n} for n in range(100)])
        while records := pipeline.receive():
            pipeline.deliver(worker, records)
    # Two, if a minute ends while the test runs.
    assert len(pipeline.alerts()) in (1, 2)
    assert len(pipeline.dead_letters()) == 300


def test_a_rejected_event_fails_at_once_and_its_message_is_with_the_dead_letters(pipeline: Pipeline) -> None:
    event_id = pipeline.post({"n": 1}).body["id"]
    assert pipeline.deliver(pipeline.worker(rejects), pipeline.receive()) == []
    shown = pipeline.shown(event_id).body
    assert (shown["status"], shown["attempts"], shown["error"]) == ("failed", 1, "never")
    (letter,) = pipeline.dead_letters()
    assert json.loads(letter["Body"])["id"] == event_id
    assert {name: value["StringValue"] for name, value in letter["MessageAttributes"].items()} == {
        "event_id": event_id,
        "error": "never",
        "error_type": "Rejected",
        "attempts": "1",
    }
    assert [alert["failed"] for alert in pipeline.alerts()] == [1]


@pytest.mark.parametrize("process", [double, rejects])
def test_a_message_delivered_twice_has_one_effect(pipeline: Pipeline, process: Any) -> None:
    pipeline.post({"n": 1})
    records = pipeline.receive()
    runs: list[object] = []

    def counted(event: Mapping[str, Any]) -> Any:
        runs.append(event)
        return process(event)

    worker = pipeline.worker(counted)
    worker.handle(records, Time())
    before = pipeline.items()
    assert worker.handle(records, Time()) == {"batchItemFailures": []}
    assert pipeline.items() == before
    assert len(runs) == 1
    assert len(pipeline.dead_letters()) == len(pipeline.alerts()) == (1 if process is rejects else 0)


def test_one_event_in_two_messages_of_a_batch_is_processed_once(pipeline: Pipeline) -> None:
    pipeline.post({"n": 1})
    (record,) = pipeline.receive()
    put(pipeline, record["body"])
    (copy,) = pipeline.receive()
    runs: list[object] = []
    assert pipeline.deliver(pipeline.worker(runs.append), [record, copy]) == []
    assert len(runs) == 1


def test_a_redriven_message_of_a_failed_event_is_tried_again(pipeline: Pipeline) -> None:
    event_id = pipeline.post({"n": 1}).body["id"]
    pipeline.drain(pipeline.worker(rejects))
    (letter,) = pipeline.dead_letters()
    put(pipeline, letter["Body"])
    pipeline.drain(pipeline.worker(double))
    shown = pipeline.shown(event_id).body
    assert (shown["status"], shown["error"]) == ("succeeded", None)


def test_two_workers_with_one_message_have_one_effect_and_the_slower_sees_it(pipeline: Pipeline) -> None:
    event_id = pipeline.post({"n": 1}).body["id"]
    records = pipeline.receive()
    fast = pipeline.worker(double)
    stored: dict[str, Any] = {}

    def overtaken(event: Mapping[str, Any]) -> dict[str, Any]:
        fast.handle(records, Time())
        stored.update(pipeline.items())
        return double(event)

    assert pipeline.worker(overtaken).handle(records, Time()) == {"batchItemFailures": []}
    assert stored[event_id]["status"] == "succeeded"
    assert pipeline.items() == stored
    assert len(pipeline.objects("results/")) == 1


def test_an_unreadable_message_goes_to_the_dead_letters_alerts_once_and_its_neighbours_go_on(
    pipeline: Pipeline,
) -> None:
    good = pipeline.post({"n": 1}).body["id"]
    for body in ("not json", "{}", '{"id": 5}', "[" * 5_000, json.dumps({"id": "x" * 3_000, "data": {}})):
        put(pipeline, body)
    pipeline.drain(pipeline.worker(double))
    assert pipeline.shown(good).body["status"] == "succeeded"
    assert len(pipeline.dead_letters()) == 5
    assert [alert["failed"] for alert in pipeline.alerts()] == [5]
    assert len(pipeline.items()) == 1


def test_an_event_that_hangs_uses_the_time_that_is_left_and_loses_no_attempt_for_having_less_than_all(
    pipeline: Pipeline,
) -> None:
    ids = [pipeline.post({"n": n}).body["id"] for n in range(3)]
    ran: list[int] = []

    def process(event: Mapping[str, Any]) -> dict[str, Any]:
        ran.append(event["n"])
        if event["n"] == 1:
            time.sleep(60)
        time.sleep(0.3)
        return double(event)

    worker = pipeline.worker(process)
    failed = pipeline.deliver(worker, records := pipeline.receive(), RunningTime(6.5))
    assert len(failed) == 2
    # The first is done, the second was cut short, the third had no turn.
    shown = [pipeline.shown(event_id).body for event_id in ids]
    assert [(each["status"], each["attempts"]) for each in shown] == [("succeeded", 1), ("retrying", 0), ("queued", 0)]
    assert ran == [0, 1]
    pipeline.show_again(records)
    pipeline.deliver(worker, records := pipeline.receive(), RunningTime(6.5))
    # It had a whole run for itself, which is an attempt.
    shown = [pipeline.shown(event_id).body for event_id in ids]
    assert [(each["status"], each["attempts"]) for each in shown] == [("succeeded", 1), ("retrying", 1), ("queued", 0)]
    pipeline.show_again([record for record in records if ids[1] not in record["body"]])
    assert pipeline.deliver(worker, pipeline.receive(), RunningTime(6.5)) == []
    assert pipeline.shown(ids[2]).body["status"] == "succeeded"


def test_slow_events_that_fit_lose_no_attempt_for_lack_of_time(pipeline: Pipeline) -> None:
    ids = [result["id"] for result in pipeline.post([{"n": n} for n in range(12)]).body["results"]]

    def process(event: Mapping[str, Any]) -> dict[str, Any]:
        time.sleep(0.2)
        return double(event)

    worker = pipeline.worker(process)
    while records := pipeline.receive():
        # A second for the events, five at a time.
        pipeline.deliver(worker, records, RunningTime(6))
        pipeline.show_again(records)
    shown = [pipeline.shown(event_id).body for event_id in ids]
    assert {(each["status"], each["attempts"]) for each in shown} == {("succeeded", 1)}


def test_without_time_left_nothing_is_begun_and_no_attempt_is_used(pipeline: Pipeline) -> None:
    event_id = pipeline.post({"n": 1}).body["id"]
    runs: list[object] = []
    worker = pipeline.worker(runs.append)
    for _ in range(4):
        records = pipeline.receive()
        assert len(pipeline.deliver(worker, records, Time(1))) == 1
        pipeline.show_again(records)
    shown = pipeline.shown(event_id).body
    assert (runs, shown["status"], shown["attempts"]) == ([], "queued", 0)


def test_finished_work_is_stored_while_a_neighbour_still_runs(pipeline: Pipeline) -> None:
    first, second = (pipeline.post({"n": n}).body["id"] for n in (1, 2))
    seen: list[str] = []

    def process(event: Mapping[str, Any]) -> dict[str, Any]:
        if event["n"] == 2:
            deadline = time.monotonic() + 1
            while pipeline.items()[first]["status"] != "succeeded" and time.monotonic() < deadline:
                time.sleep(0.02)
            seen.append(pipeline.items()[first]["status"])
        return double(event)

    records = sorted(pipeline.receive(), key=lambda record: second in record["body"])
    assert pipeline.deliver(pipeline.worker(process), records) == []
    assert seen == ["succeeded"]


def test_a_rejected_event_of_the_largest_size_is_with_the_dead_letters_without_attributes(pipeline: Pipeline) -> None:
    pipeline.post({"text": ""})
    (record,) = pipeline.receive()
    event_id = pipeline.post({"text": "x" * (1_048_570 - len(record["body"]))}).body["id"]
    pipeline.drain(pipeline.worker(rejects))
    assert pipeline.shown(event_id).body["status"] == "failed"
    (letter,) = (letter for letter in pipeline.dead_letters() if event_id in letter["Body"])
    assert len(letter["Body"]) == 1_048_570
    assert "MessageAttributes" not in letter


def test_an_alert_about_fifty_long_errors_is_one_that_sns_takes(pipeline: Pipeline) -> None:
    def complains(_event: Mapping[str, Any]) -> None:
        raise Rejected("\u4e2d" * 1_000)

    pipeline.post([{"n": n} for n in range(60)])
    records = [record for batch in iter(pipeline.receive, []) for record in batch]
    pipeline.deliver(pipeline.worker(complains), records)
    (alert,) = pipeline.alerts()
    assert (alert["failed"], len(alert["events"])) == (60, 50)
    assert len(json.dumps(alert, indent=2)) < 262_144


def test_a_statement_that_is_throttled_is_tried_again_and_does_not_sink_its_batch(pipeline: Pipeline) -> None:
    ids = [result["id"] for result in pipeline.post([{"n": n} for n in range(5)]).body["results"]]
    records = pipeline.receive()
    worker = pipeline.worker(double)
    client = aws.client("dynamodb")
    original = client.batch_execute_statement
    throttled: list[int] = []

    def sometimes(*, Statements: Any) -> Any:  # noqa: N803  botocore's name
        if len(throttled) == 2:
            return original(Statements=Statements)
        throttled.append(len(Statements))
        done = original(Statements=Statements[:-1])["Responses"] if len(Statements) > 1 else []
        return {"Responses": [*done, {"Error": {"Code": "ThrottlingError", "Message": "too fast"}}]}

    with patch.object(client, "batch_execute_statement", sometimes):
        assert pipeline.deliver(worker, records) == []
    assert throttled == [5, 1]
    assert {pipeline.shown(event_id).body["status"] for event_id in ids} == {"succeeded"}


def test_a_result_that_can_never_be_stored_fails_at_the_first_attempt(pipeline: Pipeline) -> None:
    event_id = pipeline.post({"n": 1}).body["id"]
    pipeline.drain(pipeline.worker(lambda _event: {"items": [1, object()]}))
    shown = pipeline.shown(event_id).body
    assert (shown["status"], shown["attempts"]) == ("failed", 1)
    assert shown["error"] == "result.items[1]: object cannot be stored as JSON"


def test_a_processor_that_exits_fails_its_event_only(pipeline: Pipeline) -> None:
    event_id = pipeline.post({"n": 1}).body["id"]

    def leaves(_event: Mapping[str, Any]) -> None:
        raise SystemExit(1)

    pipeline.drain(pipeline.worker(leaves))
    assert pipeline.shown(event_id).body["error"] == "SystemExit: 1"


def test_a_processor_cannot_change_what_is_archived_or_kept_for_another_try(pipeline: Pipeline) -> None:
    pipeline.settings = {"archive": True}
    event_id = pipeline.post({"event_type": "a/b", "deep": {"list": [1]}}).body["id"]

    def vandal(event: Any) -> None:
        event["deep"]["list"].clear()

    pipeline.drain(pipeline.worker(vandal))
    ((key, body),) = pipeline.objects("archive/").items()
    (line,) = gzip.decompress(body).splitlines()
    archived = json.loads(line)
    assert json.loads(archived["data"]) == {"event_type": "a/b", "deep": {"list": [1]}}
    assert archived["id"] == event_id
    received = archived["received_at"]
    assert key.startswith(f"archive/type=a%2Fb/dt={received[:10]}/hour={received[11:13]}/")
    assert key.endswith(".jsonl.gz")


def test_a_batch_of_ten_costs_one_read_and_one_write_of_the_table(pipeline: Pipeline) -> None:
    pipeline.settings = {"results": "inline", "archive": False}
    pipeline.post([{"n": n} for n in range(10)])
    records = pipeline.receive()
    worker = pipeline.worker(double)
    assert record(lambda: worker.handle(records, Time())) == [
        "dynamodb:BatchGetItem",
        "dynamodb:BatchExecuteStatement",
        "events:PutEvents",
    ]


def test_a_replay_begins_events_anew_whose_items_are_done_expired_or_gone(pipeline: Pipeline) -> None:
    ids = [pipeline.post({"n": n}).body["id"] for n in range(3)]
    records = pipeline.receive()
    while len(records) < 3:
        records += pipeline.receive()
    pipeline.deliver(pipeline.worker(double), records)
    table, dynamodb = pipeline.outputs["table_name"], pipeline.root("dynamodb")
    dynamodb.update_item(
        TableName=table,
        Key={"id": {"S": ids[1]}},
        UpdateExpression="SET expires_at = :past",
        ExpressionAttributeValues={":past": {"N": "1"}},
    )
    dynamodb.delete_item(TableName=table, Key={"id": {"S": ids[2]}})
    again = [
        {**each, "body": json.dumps({**json.loads(each["body"]), "replay": "2026-01-01T00:00:00.000000Z"})}
        for each in records
    ]
    worker = pipeline.worker(lambda event: {"again": event["n"]})
    for _ in range(2):
        # The second time they are copies.
        assert worker.handle(again, Time()) == {"batchItemFailures": []}
    shown = [pipeline.shown(event_id).body for event_id in ids]
    assert [(each["status"], each["attempts"]) for each in shown] == [("succeeded", 1)] * 3
    lines = [
        json.loads(line)
        for body in pipeline.objects("archive/").values()
        for line in gzip.decompress(body).splitlines()
    ]
    replayed = {(line["id"], line["completed_at"]) for line in lines if line["replay"]}
    assert replayed == {(each["id"], each["completed_at"]) for each in shown}
