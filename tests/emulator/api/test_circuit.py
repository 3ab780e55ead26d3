"""The circuit breaker on real (emulated) services: worker and breaker function in this process.

Messages are made here and not received, so the event source mapping may be on: its queue is empty. Time passes by
setting the times that are stored.
"""

import contextlib
import dataclasses
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from handlers.api import circuit
from handlers.api.breaker import Breaker
from handlers.api.circuit import NAME, Circuit, CircuitStore, Pause
from handlers.api.circuit_state import FEWEST_WORKERS, State
from handlers.api.events import Envelope, received_times
from handlers.api.identity import new_id
from handlers.api.ingest import Ingest
from handlers.api.processing import adapted
from handlers.api.settings import IngestSettings, WorkerSettings
from handlers.api.worker import Worker
from handlers.processor import Rejected, Unavailable
from handlers.shared import aws
from handlers.shared.dynamodb import Table
from local.engine import Running, running
from local.project import load_project
from local.services import Clients
from tests.api_pipeline import Time
from tests.crash_points import Killed, Point, broken, points, record
from tests.decisions import FAILURES, LOGS, POLLER, denied, recorded, unused
from tests.graphs import SAMPLES
from tests.roles import Role, forget_clients

Json = Any

MAX_ATTEMPTS = 3


@dataclass
class Downstream:
    """What the processor calls: out or not; and some events fail for reasons of their own."""

    out: bool = False
    runs: list[int] = field(default_factory=list)

    def process(self, event: Mapping[str, Any]) -> dict[str, Any]:
        self.runs.append(event["n"])
        if event.get("does") == "reject":
            raise Rejected("it says so")
        if event.get("does") == "fail":
            raise ValueError("it says so")
        if self.out:
            raise Unavailable("come back later")
        return {"n": event["n"]}


@dataclass
class Guarded:
    """Worker and breaker function, and what they left behind."""

    root: Clients
    environments: Mapping[str, Mapping[str, str]]
    outputs: Mapping[str, str]
    names: Mapping[str, str]
    downstream: Downstream = field(default_factory=Downstream)
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.mapping = self.root("lambda").list_event_source_mappings()["EventSourceMappings"][0]["UUID"]
        self.settings = WorkerSettings.from_environment(self.environments["worker"])

    # The functions; each is one that has just started

    def worker(self) -> Worker:
        guard = Circuit(self.settings, "test", self.store(), Pause(self.settings).begin)
        return Worker(self.settings, adapted(self.downstream.process), "test", guard)

    def minute(self, **other: int) -> None:
        """What the schedule does."""
        settings = dataclasses.replace(WorkerSettings.from_environment(self.environments["breaker"]), **other)  # type: ignore[arg-type]
        Breaker(settings, adapted(self.downstream.process), "test", self.store()).run(Time())

    def try_minute(self, **other: int) -> None:
        """What the schedule does, which goes on when it fails."""
        with contextlib.suppress(ClientError):
            self.minute(**other)

    def store(self) -> CircuitStore:
        return CircuitStore(Table(self.settings.table_name))

    # Messages

    def message(self, receives: int = 1, **data: Any) -> Json:
        (received,) = received_times(1)
        number = next(self.numbers)
        envelope = Envelope(new_id(), "t", received, "", "", f"c-{number}", "", {"n": number, **data})
        return self.delivered(envelope.to_message(), f"message-{number}", receives)

    def delivered(self, body: str, message_id: str = "message", receives: int = 1) -> Json:
        attributes = {"ApproximateReceiveCount": str(receives)}
        return {"messageId": message_id, "receiptHandle": message_id, "body": body, "attributes": attributes}

    def handle(self, *messages: Json, worker: Worker | None = None) -> list[str]:
        """Delivers messages; the ids of those that go back."""
        answer = (worker or self.worker()).handle(messages, Time())
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

    def open(self, **data: Any) -> list[Json]:
        """Opens the circuit, and returns the messages that did."""
        self.downstream.out = True
        messages = [self.message(**data) for _ in range(self.settings.circuit_failure_threshold)]
        self.handle(*messages)
        assert (self.state(), self.takes_messages()) == ("OPEN", False)
        self.downstream.runs.clear()
        return messages

    # What is left

    def item(self, key: str) -> dict[str, Any]:
        answer = self.root("dynamodb").get_item(
            TableName=self.outputs["table_name"], Key={"id": {"S": key}}, ConsistentRead=True
        )
        return {name: next(iter(value.values())) for name, value in answer.get("Item", {}).items()}

    def items(self) -> list[dict[str, Any]]:
        found = self.root("dynamodb").scan(TableName=self.outputs["table_name"], ConsistentRead=True)["Items"]
        return [{name: next(iter(value.values())) for name, value in item.items()} for item in found]

    def event(self, message: Json) -> dict[str, Any]:
        return self.item(json.loads(message["body"])["id"])

    def state(self) -> str:
        return str(self.item(NAME).get("state", "CLOSED"))

    def takes_messages(self) -> bool:
        return bool(self.root("lambda").get_event_source_mapping(UUID=self.mapping)["State"] == "Enabled")

    def workers(self) -> int:
        mapping = self.root("lambda").get_event_source_mapping(UUID=self.mapping)
        return int(mapping["ScalingConfig"]["MaximumConcurrency"])

    def put(self, message: Json) -> Json:
        """Put a message into the queue, where the breaker function finds it."""
        self.root("sqs").send_message(QueueUrl=self.outputs["queue_url"], MessageBody=message["body"])
        return message

    def visible(self) -> int:
        names = ["ApproximateNumberOfMessages"]
        answer = self.root("sqs").get_queue_attributes(QueueUrl=self.outputs["queue_url"], AttributeNames=names)
        return int(answer["Attributes"][names[0]])

    def depth(self) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.root("sqs").get_queue_attributes(QueueUrl=self.outputs["queue_url"], AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)

    def switch(self, *, on: bool) -> None:
        most = {"MaximumConcurrency": self.settings.maximum_concurrency}
        self.root("lambda").update_event_source_mapping(UUID=self.mapping, Enabled=on, ScalingConfig=most)

    def dead_letters(self) -> list[Json]:
        answer = self.root("sqs").receive_message(
            QueueUrl=self.outputs["dead_letter_queue_url"], MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        )
        return list(answer.get("Messages", []))

    def subscribe(self, *kinds: str) -> Callable[[], list[Json]]:
        """What is put on the bus from now on, when asked."""
        sqs, events, bus = self.root("sqs"), self.root("events"), self.outputs["event_bus_name"]
        url = sqs.create_queue(QueueName="heard")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        allowed = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": arn}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
        events.put_rule(Name="heard", EventBusName=bus, EventPattern=json.dumps({"detail-type": kinds}))
        events.put_targets(Rule="heard", EventBusName=bus, Targets=[{"Id": "heard", "Arn": arn}])

        def heard() -> list[Json]:
            messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
            return [json.loads(message["Body"]) for message in messages]

        return heard

    # Time

    def recovered(self) -> None:
        """It is time for a probe."""
        self.root("dynamodb").update_item(
            TableName=self.outputs["table_name"],
            Key={"id": {"S": NAME}},
            UpdateExpression="SET #until = :past",
            ExpressionAttributeNames={"#until": "until"},
            ExpressionAttributeValues={":past": {"N": "1"}},
        )

    def change(self, transition: Callable[[State], State | None]) -> None:
        self.store().change(transition)

    def clear_circuit(self) -> None:
        """Closed, as if nothing had been."""
        self.root("dynamodb").delete_item(TableName=self.outputs["table_name"], Key={"id": {"S": NAME}})

    def clear(self) -> None:
        self.downstream.out = False
        self.downstream.runs.clear()
        table = self.outputs["table_name"]
        for found in self.root("dynamodb").scan(TableName=table)["Items"]:
            self.root("dynamodb").delete_item(TableName=table, Key={"id": found["id"]})
        for url in (self.outputs["queue_url"], self.outputs["dead_letter_queue_url"]):
            self.root("sqs").purge_queue(QueueUrl=url)
        self.switch(on=True)


@pytest.fixture(scope="module")
def stack(decisions: Path) -> Iterator[Running]:
    # A minute for recovery: no test sees it pass by itself.
    options = {
        "worker": {"circuit_breaker": {"failure_threshold": 3, "recovery_seconds": 60}, "max_attempts": MAX_ATTEMPTS},
        "storage": {"results": "inline"},
        "outcomes": {},
    }
    with running(load_project(SAMPLES, "dev").with_config(options), iam_log=decisions) as up:
        yield up


@pytest.fixture(scope="module")
def resources(stack: Running) -> Iterator[Callable[[], Guarded]]:
    root = Clients(stack.emulator)
    # The schedule's own minutes would come in between.
    for schedule in root("scheduler").list_schedules()["Schedules"]:
        root("scheduler").delete_schedule(Name=schedule["Name"])
    functions = {function.handler.split(".")[2]: function for function in stack.engine.functions}
    environments = {label: function.environment for label, function in functions.items()}
    names = {label: function.name for label, function in functions.items()}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stack.environment().items():
            patch.setenv(name, value)
        forget_clients()
        yield lambda: Guarded(root, environments, stack.outputs, names)
    forget_clients()


@pytest.fixture
def guarded(resources: Callable[[], Guarded]) -> Iterator[Guarded]:
    made = resources()
    yield made
    made.clear()


# What opens it


def test_events_that_fail_by_an_outage_open_the_circuit_and_pause_the_worker(guarded: Guarded) -> None:
    guarded.downstream.out = True
    messages = [guarded.message() for _ in range(5)]
    assert guarded.handle(*messages) == [message["messageId"] for message in messages]
    assert (guarded.state(), guarded.takes_messages(), guarded.workers()) == ("OPEN", False, FEWEST_WORKERS)
    assert len(guarded.downstream.runs) == 3, "the others were not tried"
    assert [guarded.event(message).get("attempts") for message in messages] == ["1", "1", "1", None, None]


def test_one_event_that_fails_again_and_again_is_no_outage(guarded: Guarded) -> None:
    guarded.downstream.out = True
    worker, message = guarded.worker(), guarded.message()
    for _ in range(MAX_ATTEMPTS):
        guarded.handle(message, worker=worker)
    assert len(guarded.downstream.runs) == MAX_ATTEMPTS
    assert (guarded.state(), guarded.takes_messages()) == ("CLOSED", True)


@pytest.mark.parametrize("does", ["reject", "fail"])
def test_events_that_fail_by_their_own_fault_do_not_open_it(guarded: Guarded, does: str) -> None:
    guarded.handle(*(guarded.message(does=does) for _ in range(8)))
    assert len(guarded.downstream.runs) == 8
    assert (guarded.state(), guarded.takes_messages()) == ("CLOSED", True)


def test_two_workers_that_open_it_at_once_do_no_harm(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    # However slow this machine is, neither learns of the other in time.
    monkeypatch.setattr(circuit, "STATE_CACHE_SECONDS", 600)
    first, second = guarded.worker(), guarded.worker()
    plain, inside = guarded.downstream.process, [guarded.message() for _ in range(3)]

    def overtaken(event: Mapping[str, Any]) -> dict[str, Any]:
        # The second worker knows the circuit as closed, and here the first one opens it.
        if inside:
            messages, inside[:] = list(inside), []
            guarded.handle(*messages, worker=first)
        return plain(event)

    guarded.downstream.out = True
    second._process = adapted(overtaken)
    guarded.handle(*(guarded.message() for _ in range(3)), worker=second)
    assert (guarded.state(), guarded.takes_messages()) == ("OPEN", False)
    guarded.downstream.out = False
    guarded.recovered()
    guarded.minute()
    assert (guarded.state(), guarded.takes_messages()) == ("CLOSED", True)


# What is refused


def test_a_refused_delivery_is_no_attempt_however_often_and_comes_back_after_the_recovery_time(
    guarded: Guarded,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guarded.open()
    delays: list[dict[str, int]] = []
    monkeypatch.setattr("handlers.shared.queues.return_after", lambda _url, given: delays.append(dict(given)))
    message = guarded.message()
    for receives in range(1, 21):
        message["attributes"]["ApproximateReceiveCount"] = str(receives)
        assert guarded.handle(message) == [message["messageId"]]
    # Up to half the recovery time more, so that not all come back at once.
    assert all(60 <= delay[message["receiptHandle"]] <= 92 for delay in delays)
    assert len(delays) == 20
    assert (guarded.downstream.runs, guarded.event(message)) == ([], {})
    guarded.clear_circuit()
    guarded.downstream.out = False
    message["attributes"]["ApproximateReceiveCount"] = "21"
    assert guarded.handle(message) == []
    assert (guarded.event(message)["status"], guarded.event(message)["attempts"]) == ("succeeded", "1")


def test_a_last_attempt_that_is_refused_is_not_over(guarded: Guarded) -> None:
    message, worker = guarded.message(does="fail"), guarded.worker()
    for receives in range(1, MAX_ATTEMPTS):
        message["attributes"]["ApproximateReceiveCount"] = str(receives)
        guarded.handle(message, worker=worker)
    guarded.open()
    message["attributes"]["ApproximateReceiveCount"] = str(MAX_ATTEMPTS)
    assert guarded.handle(message) == [message["messageId"]]
    assert (guarded.event(message)["status"], guarded.event(message)["attempts"]) == ("retrying", "2")
    assert guarded.dead_letters() == []


def test_wherever_a_refusal_fails_or_dies_a_last_attempt_that_was_not_made_is_still_to_come(guarded: Guarded) -> None:
    def opens_before_the_last_attempt(last: Json) -> None:
        guarded.downstream.out = True
        guarded.handle(*(guarded.message() for _ in range(3)), last)

    def deliver() -> Json:
        guarded.clear()
        last, worker = guarded.message(), guarded.worker()
        guarded.downstream.out = True
        for receives in range(1, MAX_ATTEMPTS):
            last["attributes"]["ApproximateReceiveCount"] = str(receives)
            guarded.handle(last, worker=worker)
        guarded.clear_circuit()
        guarded.downstream.runs.clear()
        last["attributes"]["ApproximateReceiveCount"] = str(MAX_ATTEMPTS)
        return last

    last = deliver()
    calls = record(lambda: opens_before_the_last_attempt(last))
    assert guarded.event(last)["attempts"] == str(MAX_ATTEMPTS - 1)
    for point in points(calls):
        last = deliver()
        with contextlib.suppress(Killed), broken(point):
            opens_before_the_last_attempt(last)
        tried = guarded.downstream.runs.count(json.loads(last["body"])["data"]["n"])
        if tried:
            continue  # by a worker that could not know that another one opened the circuit
        guarded.clear_circuit()
        guarded.downstream.out = False
        last["attributes"]["ApproximateReceiveCount"] = str(MAX_ATTEMPTS + 1)
        guarded.handle(last)
        assert guarded.event(last)["status"] == "succeeded", f"{point}: {guarded.event(last)}"


def test_of_two_events_with_one_key_in_one_batch_the_one_that_was_tried_before_is_not_in_conflict_too(
    guarded: Guarded,
) -> None:
    # As ingest sends them with `api.track: false`, where nothing is claimed.
    messages = [guarded.message() for _ in range(3)]
    first_id = json.loads(messages[0]["body"])["id"]
    for message, body in zip(messages, "aab", strict=True):
        message["body"] = json.dumps(json.loads(message["body"]) | {"id": first_id, "fingerprint": body * 64})
    again, tried, other = messages
    guarded.downstream.out = True
    assert guarded.handle(tried) == [tried["messageId"]]
    guarded.downstream.out = False
    guarded.downstream.runs.clear()
    tried["attributes"]["ApproximateReceiveCount"] = "2"
    assert guarded.handle(other, tried, again) == []
    assert len(guarded.downstream.runs) == 1
    assert guarded.event(tried)["status"] == "succeeded"
    assert [letter["Body"] for letter in guarded.dead_letters()] == [other["body"]]


# The minutes


def test_while_nothing_is_wrong_a_minute_changes_nothing(guarded: Guarded) -> None:
    guarded.minute()
    assert (guarded.state(), guarded.takes_messages(), guarded.item(NAME)) == ("CLOSED", True, {})


def test_a_mapping_that_somebody_else_switched_off_is_on_again_a_minute_later(guarded: Guarded) -> None:
    # As when the table was restored while the circuit was open. `pipeline circuit open` is the way to pause.
    guarded.switch(on=False)
    guarded.minute()
    assert guarded.takes_messages()


def test_before_the_recovery_time_is_over_nothing_is_tried(guarded: Guarded) -> None:
    guarded.open()
    guarded.put(guarded.message())
    guarded.minute()
    assert (guarded.downstream.runs, guarded.state(), guarded.takes_messages()) == ([], "OPEN", False)


def test_a_probe_that_fails_leaves_it_open_and_is_no_attempt(guarded: Guarded) -> None:
    guarded.open()
    message = guarded.put(guarded.message())
    guarded.recovered()
    guarded.minute()
    assert len(guarded.downstream.runs) == 1
    assert (guarded.state(), guarded.takes_messages(), guarded.depth()) == ("OPEN", False, 1)
    assert (guarded.event(message)["status"], guarded.event(message)["attempts"]) == ("retrying", "0")
    guarded.minute()
    assert len(guarded.downstream.runs) == 1, "not before another recovery time"


def test_a_probe_that_succeeds_closes_it_and_is_done_and_the_worker_begins_slowly(guarded: Guarded) -> None:
    guarded.open()
    message = guarded.put(guarded.message())
    guarded.downstream.out = False
    guarded.recovered()
    guarded.minute()
    assert (guarded.state(), guarded.takes_messages(), guarded.workers()) == ("CLOSED", True, FEWEST_WORKERS)
    assert (guarded.event(message)["status"], guarded.depth()) == ("succeeded", 0)
    for _ in range(4):
        # Nobody has changed the pace for a minute.
        guarded.change(lambda state: dataclasses.replace(state, paced_at=1))
        guarded.minute()
    assert guarded.workers() == guarded.settings.maximum_concurrency
    assert guarded.store().read().pace == 0


def test_a_probe_that_fails_for_a_reason_of_its_own_gives_way_to_the_next(guarded: Guarded) -> None:
    guarded.open()
    for does in ("reject", "reject", "succeed"):
        guarded.put(guarded.message(does=does))
    guarded.downstream.out = False
    guarded.recovered()
    guarded.minute()
    assert (guarded.state(), guarded.takes_messages()) == ("CLOSED", True)


def test_poison_that_looks_like_an_outage_does_not_keep_it_open(guarded: Guarded) -> None:
    # Any client whose input makes the downstream answer 500 can open it.
    healthy = guarded.downstream.process

    def process(event: Mapping[str, Any]) -> dict[str, Any]:
        guarded.downstream.out = bool(event.get("poison"))
        return healthy(event)

    guarded.open()
    guarded.downstream.process = process  # type: ignore[method-assign]
    for poison in (True, True, False, False):
        guarded.put(guarded.message(**({"poison": True} if poison else {})))
    guarded.recovered()
    guarded.minute()
    assert (guarded.state(), guarded.takes_messages()) == ("CLOSED", True)


def test_without_a_message_that_could_tell_it_closes_when_none_waits_and_only_then(guarded: Guarded) -> None:
    guarded.open()
    guarded.put(guarded.message())
    url = guarded.outputs["queue_url"]
    (hidden,) = guarded.root("sqs").receive_message(QueueUrl=url, VisibilityTimeout=600)["Messages"]
    guarded.recovered()
    guarded.minute()
    assert (guarded.state(), guarded.downstream.runs) == ("OPEN", [])
    guarded.root("sqs").delete_message(QueueUrl=url, ReceiptHandle=hidden["ReceiptHandle"])
    guarded.recovered()
    guarded.minute()
    assert (guarded.state(), guarded.takes_messages()) == ("CLOSED", True)


@pytest.mark.parametrize("code", circuit.CHANGING)
def test_a_mapping_that_is_still_changing_is_switched_a_minute_later(
    guarded: Guarded,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
) -> None:
    guarded.open()
    guarded.recovered()

    def busy(**_: object) -> None:
        raise ClientError({"Error": {"Code": code, "Message": "in use"}}, "UpdateEventSourceMapping")

    with monkeypatch.context() as patch:
        patch.setattr(aws.client("lambda"), "update_event_source_mapping", busy)
        guarded.minute()
    assert (guarded.state(), guarded.takes_messages()) == ("CLOSED", False)
    guarded.minute()
    assert guarded.takes_messages()


def test_each_transition_is_on_the_bus_and_counted(guarded: Guarded, capsys: pytest.CaptureFixture[str]) -> None:
    heard = guarded.subscribe("Circuit Opened", "Circuit Closed")
    guarded.open()
    opened_at = int(guarded.item(NAME)["since"])
    guarded.put(guarded.message())
    guarded.recovered()
    guarded.minute()
    guarded.put(guarded.message())
    guarded.recovered()
    guarded.downstream.out = False
    guarded.minute()
    told = heard()
    first = datetime.fromtimestamp(opened_at, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    reason = "Unavailable: come back later"
    assert [(each["source"], each["detail-type"], each["detail"]) for each in told] == [
        ("test", "Circuit Opened", {"from": "CLOSED", "to": "OPEN", "opened_at": first, "reason": reason}),
        ("test", "Circuit Closed", {"from": "OPEN", "to": "CLOSED", "opened_at": first, "reason": reason}),
    ]
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"Circuit' in line]
    counted = [{name: line[name] for name in line if name.startswith("Circuit")} for line in lines if "_aws" in line]
    assert counted == [
        {"CircuitOpened": [1.0], "CircuitOpen": [1.0]},
        # Before and after the probes of each minute.
        {"CircuitOpen": [1.0]},
        {"CircuitOpen": [1.0]},
        {"CircuitOpen": [1.0]},
        {"CircuitClosed": [1.0]},
        {"CircuitOpen": [0.0]},
    ]


def test_the_circuits_item_is_no_event_to_anybody(guarded: Guarded) -> None:
    guarded.open()
    settings = IngestSettings.from_environment(guarded.environments["ingest"])
    request = {
        "routeKey": "GET /events/{id}",
        "rawPath": f"/events/{NAME}",
        "pathParameters": {"id": NAME},
        "requestContext": {"requestId": "r", "http": {"sourceIp": "", "userAgent": ""}},
    }
    assert Ingest(settings, {}).handle(request)["statusCode"] == 404


# Crash points


def consistent(guarded: Guarded, point: Point) -> None:
    """The next minutes make circuit and mapping agree, and once the downstream is back all is well."""
    guarded.minute()
    agree = guarded.takes_messages() == (guarded.state() == "CLOSED")
    assert agree, f"{point}: {guarded.state()}, the worker takes messages: {guarded.takes_messages()}"
    guarded.downstream.out = False
    # A message that the function had received is hidden for as long as it may run.
    guarded.root("sqs").purge_queue(QueueUrl=guarded.outputs["queue_url"])
    guarded.recovered()
    guarded.minute()
    assert (guarded.state(), guarded.takes_messages()) == ("CLOSED", True), point


def test_wherever_the_worker_fails_or_dies_while_it_opens_the_circuit_the_next_minute_mends_it(
    guarded: Guarded,
) -> None:
    def opens(messages: Sequence[Json]) -> None:
        guarded.downstream.out = True
        guarded.handle(*messages)

    calls = record(lambda: opens([guarded.message() for _ in range(4)]))
    first = calls.index("dynamodb:PutItem")
    assert calls[first : first + 3] == [
        "dynamodb:PutItem",  # the state
        "ssm:GetParameter",
        "lambda:UpdateEventSourceMapping",
    ]
    # What comes before and after is the worker's as it is without a circuit: test_crash_points.py.
    for point in points(calls)[4 * first : 4 * (first + 4)]:
        guarded.clear()
        messages = [guarded.message() for _ in range(4)]
        with contextlib.suppress(Killed), broken(point):
            opens(messages)
        consistent(guarded, point)
        assert guarded.handle(*messages) == [], point
        assert {guarded.event(message)["status"] for message in messages} == {"succeeded"}, point
        assert guarded.dead_letters() == [], point


@pytest.mark.parametrize("out", [True, False])
def test_wherever_the_breaker_function_fails_or_dies_the_next_minute_mends_it(guarded: Guarded, *, out: bool) -> None:
    def due() -> list[Json]:
        # As an opened circuit leaves it, in fewer calls.
        guarded.clear()
        guarded.store().change(lambda state: state.opened(1, 1, "out"))
        guarded.switch(on=False)
        guarded.downstream.out = out
        return [guarded.put(guarded.message()) for _ in range(2)]

    due()
    # What raises ends this function, as dying does: two ways of the four.
    for point in (each for each in points(record(guarded.minute)) if each.way in ("fails before", "dies after")):
        messages = due()
        with contextlib.suppress(Killed, ClientError), broken(point):
            guarded.minute()
        guarded.recovered()
        consistent(guarded, point)
        assert guarded.handle(*messages) == [], point
        assert {item["status"] for item in guarded.items() if "attempts" in item} == {"succeeded"}, point
        assert guarded.dead_letters() == [], point


# Rights. What the worker's code does with events is granted to both; that the worker needs it: test_permissions.py.

CIRCUIT_OF_WORKER = [
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "ssm:GetParameter",
    "lambda:UpdateEventSourceMapping",
]
CIRCUIT_OF_BREAKER = [
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "sqs:ChangeMessageVisibility",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "ssm:GetParameter",
    "lambda:GetEventSourceMapping",
    "lambda:UpdateEventSourceMapping",
]
UNSEEN = {"worker": POLLER | LOGS, "breaker": FAILURES | LOGS}
ON_EVENTS = {
    "sqs:SendMessage",
    "dynamodb:BatchGetItem",
    "dynamodb:PartiQLInsert",
    "dynamodb:PartiQLUpdate",
    "sns:Publish",
    "events:PutEvents",
}
OF_THE_WORKERS_QUEUE = POLLER | {"sqs:ChangeMessageVisibility"}


def worker_does_all_of_the_circuit(guarded: Guarded) -> None:
    """Raises AssertionError when it does not."""
    with Role(guarded.root, guarded.names["worker"]).acting():
        guarded.downstream.out = True
        guarded.handle(*(guarded.message() for _ in range(3)))
        assert (guarded.state(), guarded.takes_messages()) == ("OPEN", False)
        guarded.downstream.runs.clear()
        guarded.handle(guarded.message())
        assert guarded.downstream.runs == []


def breaker_does_all_of_the_circuit(guarded: Guarded) -> None:
    """Raises AssertionError when it does not."""
    guarded.open()
    guarded.switch(on=True)
    with Role(guarded.root, guarded.names["breaker"]).acting():
        guarded.try_minute()
        assert not guarded.takes_messages(), "it was to be paused"
        guarded.recovered()
        failing = guarded.put(guarded.message())
        guarded.try_minute(circuit_recovery_seconds=1)
        assert guarded.event(failing).get("status") == "retrying"
        for _ in range(30):
            time.sleep(0.1)
            if guarded.visible():
                break
        assert guarded.visible(), "it was to come back in a second"
        guarded.recovered()
        guarded.downstream.out = False
        guarded.try_minute()
        assert (guarded.state(), guarded.takes_messages(), guarded.depth()) == ("CLOSED", True, 0)
    guarded.clear()
    guarded.open()
    guarded.recovered()
    with Role(guarded.root, guarded.names["breaker"]).acting():
        guarded.try_minute()
    assert guarded.state() == "CLOSED", "no message is left"


DOES_ALL = {
    "worker": (worker_does_all_of_the_circuit, CIRCUIT_OF_WORKER),
    "breaker": (breaker_does_all_of_the_circuit, CIRCUIT_OF_BREAKER),
}


def worker_does_all_it_does(guarded: Guarded) -> None:
    """Raises AssertionError when it does not."""
    events = [guarded.message(does="reject"), guarded.message(), guarded.message(does="fail")]
    with Role(guarded.root, guarded.names["worker"]).acting():
        assert guarded.handle(*events) != []
        assert guarded.handle(events[2]) != []
    assert [guarded.event(each)["status"] for each in events] == ["failed", "succeeded", "retrying"]
    worker_does_all_of_the_circuit(guarded)


def breaker_does_all_it_does(guarded: Guarded) -> None:
    """Raises AssertionError when it does not."""
    guarded.open()
    rejected = guarded.put(guarded.message(does="reject"))
    guarded.recovered()
    with Role(guarded.root, guarded.names["breaker"]).acting():
        guarded.minute()
    assert guarded.event(rejected)["status"] == "failed"
    guarded.clear()
    breaker_does_all_of_the_circuit(guarded)


@pytest.mark.parametrize(
    ("function", "does_all"), [("worker", worker_does_all_it_does), ("breaker", breaker_does_all_it_does)]
)
def test_all_that_is_granted_is_used_where_it_is_granted_and_nothing_is_denied(
    guarded: Guarded, decisions: Path, function: str, does_all: Callable[[Guarded], None]
) -> None:
    role = Role(guarded.root, guarded.names[function])
    with recorded(decisions) as recording:
        does_all(guarded)
    assert denied(recording.of(role.name)) == []
    # As a list: the breaker may send to two queues, and Lambda's is one of them.
    assert sorted(action for action, _ in unused(role.document, recording.of(role.name))) == sorted(UNSEEN[function])


def of_the_circuit(role: Role, function: str) -> list[tuple[int, str]]:
    others = ON_EVENTS | UNSEEN[function] | (OF_THE_WORKERS_QUEUE if function == "worker" else set())
    return [(position, action) for position, action in role.actions if action not in others]


@pytest.mark.parametrize("function", DOES_ALL)
def test_the_lists_above_are_all_that_is_granted_for_the_circuit_and_with_it_all_works(
    guarded: Guarded,
    function: str,
) -> None:
    does_all, listed = DOES_ALL[function]
    assert [action for _, action in of_the_circuit(Role(guarded.root, guarded.names[function]), function)] == listed
    does_all(guarded)


@pytest.mark.parametrize(
    ("function", "action"), [(function, action) for function, (_, listed) in DOES_ALL.items() for action in listed]
)
def test_without_any_one_action_something_breaks(guarded: Guarded, function: str, action: str) -> None:
    role = Role(guarded.root, guarded.names[function])
    does_all, _ = DOES_ALL[function]
    with role.without(action), pytest.raises(AssertionError):
        does_all(guarded)
