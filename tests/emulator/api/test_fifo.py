"""A FIFO queue: within a group order is kept, whatever fails; other groups go on."""

import dataclasses
import json
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from handlers.api import objects
from handlers.api.processing import CircuitOpenError
from handlers.processor import Rejected
from handlers.shared import aws
from tests.api_pipeline import Pipeline, Time
from tests.crash_points import Killed, broken, points, record

LAST = 3


@pytest.fixture(scope="session")
def urls(resources: Callable[[], Pipeline]) -> dict[str, str]:
    """A FIFO queue and its dead letters, with the attributes that components/queue.py gives them."""
    sqs = resources().root("sqs")
    high = {"FifoQueue": "true", "DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}
    dead = sqs.create_queue(QueueName="test-dead.fifo", Attributes=high)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1_000})
    queue = sqs.create_queue(QueueName="test.fifo", Attributes={**high, "RedrivePolicy": redrive})["QueueUrl"]
    return {"queue_url": queue, "dead_letter_queue_url": dead}


@pytest.fixture
def fifo(pipeline: Pipeline, urls: Mapping[str, str]) -> Iterator[Pipeline]:
    settings = {**urls, "group_field": "customer", "max_attempts": LAST}
    made = dataclasses.replace(pipeline, outputs={**pipeline.outputs, **urls}, settings=settings)
    yield made
    made.clear()


@dataclasses.dataclass
class Downstream:
    """A processor that notes what succeeded, in order; `goes(event)` raises what is to go wrong."""

    goes: Callable[[Mapping[str, Any]], object] = lambda _event: None
    done: list[str] = dataclasses.field(default_factory=list)

    def __call__(self, event: Mapping[str, Any]) -> str:
        self.goes(event)
        self.done.append(event["n"])
        return "done"


def submit(pipeline: Pipeline, *names: str) -> dict[str, str]:
    """Events of the customers that their names begin with; returns their ids."""
    body = pipeline.post([{"customer": name[0], "n": name} for name in names]).body
    return {name: result["id"] for name, result in zip(names, body["results"], strict=True)}


def fails(*names: str, times: int = 1_000, error: Exception | None = None) -> Callable[[Mapping[str, Any]], None]:
    left = dict.fromkeys(names, times)

    def goes(event: Mapping[str, Any]) -> None:
        if left.get(event["n"], 0) > 0:
            left[event["n"]] -= 1
            raise error or RuntimeError("not now")

    return goes


def deliver_again(pipeline: Pipeline, downstream: Downstream) -> list[str]:
    """One delivery; the names of what returns, which is visible again at once."""
    records = pipeline.receive()
    names = {record["messageId"]: json.loads(record["body"])["data"]["n"] for record in records}
    returned = pipeline.deliver(pipeline.worker(downstream), records)
    pipeline.show_again(records)
    return [names[each] for each in returned]


def test_what_stands_behind_a_failed_event_of_its_group_waits_and_other_groups_go_on(fifo: Pipeline) -> None:
    ids = submit(fifo, "a1", "b1", "a2", "b2", "a3")
    downstream = Downstream(fails("a1", times=1))
    assert deliver_again(fifo, downstream) == ["a1", "a2", "a3"]
    assert downstream.done == ["b1", "b2"]
    assert deliver_again(fifo, downstream) == []
    assert downstream.done == ["b1", "b2", "a1", "a2", "a3"]
    assert {fifo.shown(each).body["status"] for each in ids.values()} == {"succeeded"}
    assert {event["detail"]["id"] for event in fifo.told()} == set(ids.values())


def test_what_waits_is_not_delivered_before_the_one_it_waits_for(fifo: Pipeline) -> None:
    submit(fifo, "a1", "a2")
    records = fifo.receive()
    fifo.deliver(fifo.worker(Downstream(fails("a1"))), records)
    # a1 is hidden by its back-off, a2 is not: the group waits.
    assert fifo.receive() == []


def test_an_event_that_fails_for_good_leaves_the_line_and_those_behind_it_get_their_try(fifo: Pipeline) -> None:
    ids = submit(fifo, "a1", "a2")
    downstream = Downstream(fails("a1"))
    assert [deliver_again(fifo, downstream) for _ in range(LAST)] == [["a1", "a2"], ["a1", "a2"], []]
    assert downstream.done == ["a2"]
    assert fifo.receive() == []
    assert [json.loads(letter["Body"])["id"] for letter in fifo.dead_letters()] == [ids["a1"]]
    assert fifo.shown(ids["a1"]).body["status"] == "failed"


@pytest.mark.parametrize("also_failing", [None, "a3"])
def test_waiting_behind_an_event_that_never_succeeds_uses_no_attempt(fifo: Pipeline, also_failing: str | None) -> None:
    names = ["a1", "a2", "a3", "a4", "a5"]
    ids = submit(fifo, *names)
    tried, failing = list[str](), {"a1", also_failing}

    def goes(event: Mapping[str, Any]) -> None:
        tried.append(event["n"])
        if event["n"] in failing:
            raise RuntimeError(f"not {event['n']}")

    downstream = Downstream(goes)
    fifo.drain(fifo.worker(downstream))
    assert tried == [name for name in names for _ in range(LAST if name in failing else 1)]
    assert downstream.done == [name for name in names if name not in failing]
    letters = {json.loads(letter["Body"])["id"] for letter in fifo.dead_letters()}
    assert letters == {ids[name] for name in names if name in failing}
    shown = {name: fifo.shown(event_id).body for name, event_id in ids.items()}
    assert {name: body["attempts"] for name, body in shown.items()} == {
        name: LAST if name in failing else 1 for name in names
    }
    assert {name: body["error"] for name, body in shown.items()} == {
        name: f"RuntimeError: not {name}" if name in failing else None for name in names
    }


def test_a_rejected_event_goes_to_the_dead_letters_of_its_group_and_holds_nobody_up(fifo: Pipeline) -> None:
    submit(fifo, "a1", "a2")
    downstream = Downstream(fails("a1", error=Rejected("never")))
    assert deliver_again(fifo, downstream) == []
    assert downstream.done == ["a2"]
    for _ in range(2):
        # Sent back within the five minutes in which SQS knows what it has seen, and rejected again: not dropped.
        answer = fifo.root("sqs").receive_message(
            QueueUrl=fifo.outputs["dead_letter_queue_url"], AttributeNames=["All"], MessageAttributeNames=["All"]
        )
        (letter,) = answer["Messages"]
        assert letter["Attributes"]["MessageGroupId"] == "a"
        assert letter["MessageAttributes"]["error_type"]["StringValue"] == "Rejected"
        fifo.root("sqs").send_message(
            QueueUrl=fifo.outputs["queue_url"],
            MessageBody=letter["Body"],
            MessageGroupId="a",
            MessageDeduplicationId=letter["MessageId"],
        )
        fifo.root("sqs").delete_message(
            QueueUrl=fifo.outputs["dead_letter_queue_url"], ReceiptHandle=letter["ReceiptHandle"]
        )
        assert deliver_again(fifo, downstream) == []
    assert len(fifo.dead_letters()) == 1


@pytest.mark.parametrize("seed", range(3))
def test_order_is_kept_within_each_group_under_random_failures(fifo: Pipeline, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    names = [f"{chance.choice('abcd')}{n:02}" for n in range(40)]

    def goes(_event: Mapping[str, Any]) -> None:
        if chance.random() < 0.3:
            raise RuntimeError("no luck")

    ids = submit(fifo, *names)
    downstream = Downstream(goes)
    fifo.drain(fifo.worker(downstream))
    failed = {name for name in names if fifo.items()[ids[name]]["status"] == "failed"}
    assert len(downstream.done) == len(set(downstream.done))
    for customer in "abcd":
        accepted = [name for name in names if name[0] == customer and name not in failed]
        assert [name for name in downstream.done if name[0] == customer] == accepted
    assert {json.loads(letter["Body"])["id"] for letter in fifo.dead_letters()} == {ids[name] for name in failed}


def test_an_unreadable_message_leaves_the_line_at_once(fifo: Pipeline) -> None:
    fifo.root("sqs").send_message(
        QueueUrl=fifo.outputs["queue_url"], MessageBody="?", MessageGroupId="a", MessageDeduplicationId="unreadable"
    )
    submit(fifo, "a1")
    downstream = Downstream()
    assert fifo.deliver(fifo.worker(downstream), fifo.receive()) == []
    assert downstream.done == ["a1"]
    assert [letter["Body"] for letter in fifo.dead_letters()] == ["?"]


class OpenAtFirst:
    """A circuit that refuses one event, and is closed by somebody else right after."""

    def __init__(self) -> None:
        self._open = True

    def call(self, _delivery: object, process: Callable[[], Any], _seconds: float) -> Any:
        if self._open:
            self._open = False
            raise CircuitOpenError("the circuit is open")
        return process()


def test_behind_an_event_that_the_circuit_refuses_all_of_its_group_are_refused_and_lose_no_attempt(
    fifo: Pipeline,
) -> None:
    ids = submit(fifo, "a1", "a2", "b1")
    downstream, circuit = Downstream(), OpenAtFirst()
    worker = fifo.worker(downstream)
    worker._circuit = circuit
    for expected in (["b1"], ["b1", "a1", "a2"]):
        records = fifo.receive()
        fifo.deliver(worker, records)
        fifo.show_again(records)
        assert downstream.done == expected
    assert {fifo.items()[event_id]["attempts"] for event_id in ids.values()} == {"1"}


def test_a_result_that_could_not_be_stored_holds_those_behind(fifo: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = submit(fifo, "a1", "a2", "b1")
    store = objects.put_result

    def put_result(bucket: str, key: str, text: str) -> None:
        if ids["a1"] in key:
            raise ClientError({"Error": {"Code": "SlowDown", "Message": ""}}, "PutObject")
        store(bucket, key, text)

    with monkeypatch.context() as patch:
        patch.setattr(objects, "put_result", put_result)
        assert deliver_again(fifo, Downstream()) == ["a1", "a2"]
    again = Downstream()
    assert deliver_again(fifo, again) == []
    assert again.done == ["a1", "a2"]


def test_wherever_the_worker_fails_or_dies_the_order_of_first_successes_stays(fifo: Pipeline) -> None:
    fifo.settings["results"] = "inline"

    def run(point: Any) -> list[str]:
        fifo.clear()
        submit(fifo, "a1", "a2", "b1")
        downstream = Downstream(fails("a1", times=1))
        records = fifo.receive()
        try:
            with broken(point):
                fifo.deliver(fifo.worker(downstream), records)
        except Killed:
            pass
        fifo.show_again(records)
        fifo.drain(fifo.worker(downstream))
        assert {item["status"] for item in fifo.items().values()} == {"succeeded"}, point
        return list(dict.fromkeys(downstream.done))

    submit(fifo, "a1", "a2", "b1")
    records = fifo.receive()
    calls = record(lambda: fifo.worker(Downstream(fails("a1", times=1))).handle(records, Time()))
    for point in points(calls):
        done = run(point)
        assert [name for name in done if name[0] == "a"] == ["a1", "a2"], point


# Accepting


@pytest.mark.parametrize("group", [None, "", "a b", "ä", "x" * 129, True, ["a"]])
def test_an_event_without_a_group_is_refused_with_the_field(fifo: Pipeline, group: Any) -> None:
    answer = fifo.post({"n": "x", **({} if group is None else {"customer": group})})
    assert answer.status == 400
    (detail,) = answer.body["error"]["details"]
    assert detail["path"] == "/customer"
    assert detail["message"].startswith("must be a number, or text of 1 to 128 characters")
    assert fifo.receive() == []


def test_a_number_and_any_text_that_sqs_takes_are_groups(fifo: Pipeline) -> None:
    groups = ["x" * 128, "".join(map(chr, range(0x21, 0x7F))), "a@b.example", 7]
    assert fifo.post([{"customer": group} for group in groups]).body["accepted"] == 4
    assert [message["attributes"]["MessageGroupId"] for message in fifo.receive()] == [*map(str, groups)]


def test_events_of_a_large_request_are_in_the_queue_in_the_order_of_the_request(fifo: Pipeline) -> None:
    names = [f"a{n:02}" for n in range(35)]
    submit(fifo, *names)
    downstream = Downstream()
    fifo.drain(fifo.worker(downstream))
    assert downstream.done == names


def test_what_sqs_refuses_is_refused_and_not_sent_again_behind_its_successors(
    fifo: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sqs, sent = aws.client("sqs"), []
    send = sqs.send_message_batch

    def send_message_batch(**request: Any) -> Any:
        sent.append(len(request["Entries"]))
        kept = [entry for entry in request["Entries"] if '"a2"' not in entry["MessageBody"]]
        return send(**{**request, "Entries": kept})

    monkeypatch.setattr(sqs, "send_message_batch", send_message_batch)
    body = fifo.post([{"customer": "a", "n": name} for name in ("a1", "a2", "a3")]).body
    assert [result["status"] for result in body["results"]] == ["queued", "rejected", "queued"]
    assert sent == [3]


def test_a_repeat_is_one_message_and_another_event_with_its_key_is_not_dropped(fifo: Pipeline) -> None:
    fifo.settings["track"] = False
    for n in (1, 1, 2):
        assert fifo.post({"customer": "a", "n": n}, Idempotency_Key="fifo-1").status == 202
    assert [json.loads(message["body"])["data"]["n"] for message in fifo.receive()] == [1, 2]


def test_duplicate_submit_gets_past_the_queue_s_own_deduplication(fifo: Pipeline) -> None:
    fifo.settings["fault_parameter_name"] = name = fifo.outputs["fault_parameter_name"]
    fifo.root("ssm").put_parameter(Name=name, Value="duplicate_submit", Type="String", Overwrite=True)
    submit(fifo, "a1")
    downstream = Downstream()
    records = fifo.receive()
    assert len(records) == 2
    assert fifo.deliver(fifo.worker(downstream), records) == []
    assert downstream.done == ["a1"]
