"""Every AWS call of ingest and worker, made to fail and made to be the last, before and after it took effect.

Whatever happens, and after redelivery: every accepted event is stored once, none is lost, none claims a state that it
is not in.
"""

import gzip
import json
import os
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from handlers.api.worker import Worker
from handlers.processor import Rejected
from handlers.shared import aws
from tests.api_pipeline import Pipeline, Time
from tests.crash_points import Killed, Point, broken, points, record

SETTINGS = {"archive": True}
POISON = "no event of ours"


def process(event: Mapping[str, Any]) -> dict[str, Any]:
    """Succeeds, is never going to, or fails each time, as the event says."""
    if event["does"] == "reject":
        raise Rejected("it says so")
    if event["does"] == "fail":
        raise RuntimeError("it says so")
    return {"doubled": 2 * event["number"]}


def event(number: int, does: str = "succeed", **more: Any) -> dict[str, Any]:
    return {"number": number, "does": does, **more}


KEYED = event(4, idempotency_key="four")
BATCH = [event(1), event(2, "reject"), event(3, "fail"), KEYED, KEYED, {"idempotency_key": 5}]


def promised(body: Any) -> list[str]:
    """The ids that an answer promises something about."""
    return [result["id"] for result in body.get("results", [body]) if "id" in result]


def attempt(pipeline: Pipeline, worker: Worker, point: Point) -> list[dict[str, Any]]:
    """One delivery of what is in the queue, with one of the worker's calls broken. Returns the messages."""
    records = pipeline.receive()
    with suppress(Killed):
        with broken(point):
            answer = worker.handle(records, Time())
        pipeline.settle(records, answer)
    return records


def check_what_is_left(pipeline: Pipeline, point: Point) -> None:
    """Check what must be true of everything once the queue is empty."""
    bodies = [letter["Body"] for letter in pipeline.dead_letters()]
    letters = Counter(json.loads(body)["id"] for body in bodies if body != POISON)
    results = {key.rsplit("/", 1)[1].removesuffix(".json"): body for key, body in pipeline.objects("results/").items()}
    archived = {
        json.loads(line)["id"]
        for body in pipeline.objects("archive/").values()
        for line in gzip.decompress(body).splitlines()
    }
    items = pipeline.items()
    told: dict[str, set[str]] = {}
    for told_event in pipeline.told():
        told.setdefault(told_event["detail"]["id"], set()).add(told_event["detail"]["status"])
    for event_id, item in items.items():
        shown = pipeline.shown(event_id)
        if item["status"] == "accepting":
            assert shown.status == 404, point
            continue
        assert event_id in archived, f"{point}: {event_id} is not in the archive"
        assert told.get(event_id) == {item["status"]}, f"{point}: subscribers heard of {told.get(event_id)}"
        if shown.body["status"] == "succeeded":
            assert json.loads(results[event_id])["doubled"] in (2, 8), point
            assert not letters[event_id], f"{point}: succeeded, and with the dead letters"
        else:
            assert shown.body["status"] == "failed", f"{point}: the queue is empty, and it says {shown.body}"
            assert letters[event_id] >= 1, f"{point}: failed, and not with the dead letters: {shown.body}"
    assert results.keys() <= items.keys(), f"{point}: a result without its event"


def test_ingest_loses_nothing_and_leaves_no_false_trace_wherever_it_fails_or_dies(pipeline: Pipeline) -> None:
    pipeline.settings = SETTINGS
    worker = pipeline.worker(process)
    calls = record(lambda: pipeline.post(BATCH))
    assert calls == [
        "dynamodb:BatchGetItem",  # finds no secret of ids
        "dynamodb:PutItem",
        "dynamodb:BatchGetItem",
        "dynamodb:BatchExecuteStatement",  # claims the key
        "sqs:SendMessageBatch",
        "dynamodb:BatchExecuteStatement",  # records what has no key, and confirms the claim
    ]
    for point in points(calls):
        pipeline.clear()
        accepted: list[str] = []
        with suppress(Killed), broken(point):
            answer = pipeline.post(BATCH)
            assert answer.status in (202, 503), point
            accepted = promised(answer.body)
        # Nobody has worked on anything yet: what is said to be queued is in the queue.
        queued = {event_id for event_id, item in pipeline.items().items() if item["status"] == "queued"}
        messages = pipeline.receive()
        assert queued <= {json.loads(message["body"])["id"] for message in messages}, point
        pipeline.show_again(messages)
        pipeline.drain(worker)
        check_what_is_left(pipeline, point)
        assert set(accepted) <= pipeline.items().keys(), f"{point}: promised and lost"
        # The client that got no answer, or a 503, sends again; the event with the key is there once.
        again = pipeline.post(KEYED)
        assert again.status == 202, point
        pipeline.drain(worker)
        assert pipeline.shown(again.body["id"]).body["status"] == "succeeded", point
        assert len([key for key in pipeline.objects("results/") if again.body["id"] in key]) == 1, point


def test_the_worker_loses_nothing_and_doubles_nothing_wherever_it_fails_or_dies(pipeline: Pipeline) -> None:
    pipeline.settings = SETTINGS
    worker = pipeline.worker(process)

    def submit() -> set[str]:
        pipeline.clear()
        accepted = set(promised(pipeline.post(BATCH).body))
        pipeline.root("sqs").send_message(QueueUrl=pipeline.outputs["queue_url"], MessageBody=POISON)
        return accepted

    submit()
    records = pipeline.receive()
    calls = record(lambda: worker.handle(records, Time()))
    assert sorted(set(calls)) == [
        "dynamodb:BatchExecuteStatement",
        "dynamodb:BatchGetItem",
        "events:PutEvents",
        "s3:PutObject",
        "sns:Publish",
        "sqs:ChangeMessageVisibilityBatch",
        "sqs:SendMessageBatch",
    ]
    for point in points(calls):
        accepted = submit()
        pipeline.show_again(attempt(pipeline, worker, point))
        pipeline.drain(worker)
        states = Counter(pipeline.shown(event_id).body["status"] for event_id in accepted)
        assert states == {"succeeded": 2, "failed": 2}, point
        check_what_is_left(pipeline, point)


def test_an_event_whose_worker_died_is_run_on_its_own_and_dead_lettered_if_it_kills_again(pipeline: Pipeline) -> None:
    pipeline.settings = {**SETTINGS, "max_attempts": 2}
    killer, *neighbours = [pipeline.post({"n": n, "bad": n == 0}).body["id"] for n in range(4)]

    def process(event: Any) -> int:
        if event["bad"]:
            os._exit(137)
        return int(event["n"])

    def deliver() -> None:
        """One delivery in a process of its own, whose end the queue sees as Lambda's would be."""
        records = pipeline.receive()
        aws.client.cache_clear()
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            failed = pipeline.worker(process).handle(records, Time())
            os.write(writer, json.dumps(failed).encode())
            os._exit(0)
        os.close(writer)
        _, status = os.waitpid(child, 0)
        with os.fdopen(reader) as answer:
            text = answer.read()
        if os.waitstatus_to_exitcode(status) == 0:
            pipeline.settle(records, json.loads(text))
        pipeline.show_again(records)

    for _ in range(12):
        deliver()
    shown = {event_id: pipeline.shown(event_id).body for event_id in (killer, *neighbours)}
    assert {shown[event_id]["status"] for event_id in neighbours} == {"succeeded"}
    assert {shown[event_id]["attempts"] for event_id in neighbours} == {1}
    assert (shown[killer]["status"], shown[killer]["attempts"]) == ("failed", 2)
    assert "the worker died" in shown[killer]["error"]
    assert [json.loads(letter["Body"])["id"] for letter in pipeline.dead_letters()] == [killer]
