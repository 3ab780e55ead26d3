"""Events whose items have expired, and which DynamoDB has not deleted yet: they run once, and are found."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from handlers.processor import Rejected
from tests.api_pipeline import Pipeline

EXPIRED = {"items_expire_after_days": -1}


def rejects(_event: Mapping[str, Any]) -> None:
    raise Rejected("never")


def fails(_event: Mapping[str, Any]) -> None:
    raise RuntimeError("no luck")


def put(pipeline: Pipeline, body: str) -> None:
    pipeline.root("sqs").send_message(QueueUrl=pipeline.outputs["queue_url"], MessageBody=body)


def attempted(pipeline: Pipeline, process: Callable[..., Any]) -> None:
    records = pipeline.receive()
    pipeline.deliver(pipeline.worker(process), records)
    pipeline.show_again(records)


def sent_back(pipeline: Pipeline) -> None:
    pipeline.drain(pipeline.worker(rejects))
    (letter,) = pipeline.dead_letters()
    put(pipeline, letter["Body"])


@pytest.mark.parametrize(
    "until_then",
    [lambda _: None, lambda pipeline: attempted(pipeline, fails), sent_back],
    ids=["queued", "retrying", "sent back after its failure"],
)
def test_an_event_whose_item_has_expired_runs_once_and_is_found(
    pipeline: Pipeline, until_then: Callable[[Pipeline], None]
) -> None:
    pipeline.settings = EXPIRED
    event_id = pipeline.post({"n": 1}).body["id"]
    until_then(pipeline)
    assert pipeline.shown(event_id).status == 404
    pipeline.settings = {}
    (record,) = pipeline.receive()
    runs: list[object] = []
    pipeline.deliver(pipeline.worker(runs.append), [record])
    assert pipeline.shown(event_id).body["status"] == "succeeded"
    put(pipeline, record["body"])
    pipeline.drain(pipeline.worker(runs.append))
    assert len(runs) == 1


@pytest.mark.parametrize("track", [True, False])
@pytest.mark.parametrize("is_marked", [False, True])
def test_a_key_that_is_used_again_after_its_item_has_expired_is_a_new_event(
    pipeline: Pipeline,
    track: bool,  # noqa: FBT001
    is_marked: bool,  # noqa: FBT001
) -> None:
    pipeline.settings = {"track": track, **EXPIRED}
    assert pipeline.post({"n": 1}, idempotency_key="k").status == 202
    pipeline.drain(pipeline.worker(lambda event: event))
    pipeline.settings = {"track": track, "results": "inline"}
    answer = pipeline.post({"n": 2}, idempotency_key="k")
    assert (answer.status, answer.body["duplicate"]) == (202, False)
    if is_marked:
        # Nobody knows whether the first delivery's worker died of the event.
        pipeline.show_again(pipeline.receive())
    pipeline.drain(pipeline.worker(lambda event: event))
    shown = pipeline.shown(answer.body["id"]).body
    assert (shown["status"], shown["result"]) == ("succeeded", {"n": 2})
    assert pipeline.dead_letters() == []
