"""Incidents ring, and normal traffic does not: data played through the alarms of stacks.

`benchmarks/alarm_states.py` evaluates the alarms as the graph has them.
"""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from benchmarks.alarm_states import Change, Data, changes, rang
from local.recording import Graph
from tests.graphs import STACKS

DEPTH = ("ApproximateNumberOfMessagesVisible", "ApproximateNumberOfMessagesNotVisible")
FUNCTION, QUEUE = "aws:lambda/function:Function", "aws:sqs/queue:Queue"


class Played:
    """A stack and the data of its metrics."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.data = graph, Data()
        self.service = f"datapipeline-{graph.resources[0].urn.split(':')[2]}"

    def own(self, minutes: range, **counts: float) -> None:
        """Put counts of the functions, the same in each minute."""
        for minute in minutes:
            for name, value in counts.items():
                self.data.put(minute, "DataPipeline", name, value, service=self.service)

    def requests(self, minutes: range, count: int, *, refused: int = 0, failed: int = 0) -> None:
        """Put requests of the API, which has either of two kinds."""
        values = {"Count": count, "Latency": 80}
        for stage in self.graph.of_type("aws:apigatewayv2/stage:Stage"):
            self._api(minutes, {**values, "4xx": refused, "5xx": failed}, ApiId=stage.inputs["apiId"])
        for stage in self.graph.of_type("aws:apigateway/stage:Stage"):
            (api,) = self.graph.of_type("aws:apigateway/restApi:RestApi")
            dimensions = {"ApiName": api.physical_name, "Stage": stage.inputs["stageName"]}
            self._api(minutes, {**values, "4XXError": refused, "5XXError": failed}, **dimensions)

    def _api(self, minutes: range, values: dict[str, float], **dimensions: str) -> None:
        for minute in minutes:
            for name, value in values.items():
                self.data.put(minute, "AWS/ApiGateway", name, value, **dimensions)

    def runs(self, minutes: range) -> None:
        """Put runs of all functions, each within its time."""
        values = {"Invocations": 20, "Errors": 0, "Throttles": 0, "Duration": 300, "AsyncEventAge": 900}
        names = [function.physical_name for function in self.graph.of_type(FUNCTION)]
        for minute, function, (name, value) in product(minutes, names, values.items()):
            self.data.put(minute, "AWS/Lambda", name, value, FunctionName=function)

    def letters(self, minutes: range, visible: int, hidden: int = 0, age_seconds: float = 0) -> None:
        """Put what SQS says of the dead letters."""
        (queue,) = (each for each in self.graph.of_type(QUEUE) if each.name in DEAD)
        values = {**dict(zip(DEPTH, (visible, hidden), strict=True)), "ApproximateAgeOfOldestMessage": age_seconds}
        for minute in minutes:
            for name, value in values.items():
                self.data.put(minute, "AWS/SQS", name, value, QueueName=queue.physical_name)

    def traffic(self, minutes: range) -> None:
        """Put a normal day: 20 requests a minute, of which one is refused; 30 events, of which one is rejected."""
        self.requests(minutes, 20, refused=1)
        self.own(minutes, Accepted=29, Rejected=1, Duplicate=2, Messages=29, Processed=29, BatchItemFailures=0)
        self.own(minutes, FilesSucceeded=1, RowsProcessed=990, RowsRejected=10, CircuitOpen=0, CircuitKeysHeld=0)
        self.own(minutes, Received=100, Stored=99, Devices=50, DevicesWithBadMetrics=0)
        self.letters(minutes, 0)
        self.runs(minutes)

    def rang(self, minutes: int) -> dict[str, list[int]]:
        """Return the minutes in which alarms began to ring."""
        return rang(self.graph, self.data, minutes)


DEAD = ("pipeline-queue-dead-letters", "pipeline-dead-letters")


@pytest.fixture
def play(graph_of: Callable[..., Graph]) -> Callable[..., Played]:
    def made(name: str = "dev", **config: Any) -> Played:
        return Played(graph_of(name, **config))

    return made


@pytest.fixture(params=["dev", "csv", "iot"])
def variant(request: pytest.FixtureRequest, play: Callable[..., Played]) -> Played:
    """A stack of each variant, whose functions run."""
    stack: Played = play(request.param)
    stack.runs(range(120))
    return stack


@pytest.mark.parametrize("name", STACKS)
def test_normal_hours_and_hours_without_traffic_ring_nothing(play: Callable[..., Played], name: str) -> None:
    busy, idle = play(name), play(name)
    busy.traffic(range(180))
    idle.runs(range(180))
    assert busy.rang(180) == {}
    assert idle.rang(180) == {}


def test_the_first_dead_letter_rings_within_its_minute_and_each_later_arrival_rings_again(variant: Played) -> None:
    variant.letters(range(20), 0)
    variant.letters(range(20, 60), 1)
    variant.letters(range(60, 100), 4)
    variant.letters(range(100, 120), 5)
    assert variant.rang(120) == {"dead-letters": [20], "more-dead-letters": [60, 100]}


def test_dead_letters_that_are_redriven_in_part_ring_no_second_time(variant: Played) -> None:
    variant.letters(range(20), 9)
    variant.letters(range(20, 60), 4)
    assert variant.rang(60) == {"dead-letters": [0]}


def test_looking_at_dead_letters_neither_ends_the_alarm_nor_makes_them_new(variant: Played) -> None:
    variant.letters(range(10), 3)
    # Not at the ends of periods of five minutes: within one, all of them are both visible and hidden.
    variant.letters(range(10, 17), 0, hidden=3)
    variant.letters(range(17, 30), 2, hidden=1)
    assert changes(variant.graph, variant.data, 30) == [Change(0, "dead-letters", rings=True)]
    variant.letters(range(30, 40), 0)
    assert changes(variant.graph, variant.data, 40)[1:] == [Change(30, "dead-letters", rings=False)]


@pytest.mark.parametrize(("name", "days"), [("dev", 10), ("csv", 10), ("iot", 14)])
def test_a_dead_letter_rings_before_sqs_deletes_it(play: Callable[..., Played], name: str, days: int) -> None:
    # What SQS moves itself may have spent all of its time in the queue: 4 of the 14 days.
    for share, found in ((0.74, {}), (0.76, {"oldest-dead-letter": [4]})):
        stack = play(name)
        stack.runs(range(10))
        stack.letters(range(10), 1, age_seconds=days * 86_400 * share)
        rang = stack.rang(10)
        del rang["dead-letters"]
        assert rang == found


def test_a_field_that_a_client_renamed_rings_in_ten_minutes(play: Callable[..., Played]) -> None:
    for kind in ("http", "rest"):
        stack = play(api={"kind": kind})
        stack.traffic(range(60))
        stack.requests(range(60, 120), 20, refused=20)
        stack.own(range(60, 120), Accepted=0, Rejected=20, Duplicate=0)
        assert stack.rang(120) == {"api-refusals": [69], "rejected-events": [69]}


def test_events_that_are_rejected_in_batches_ring_although_each_request_is_answered_with_200(
    play: Callable[..., Played],
) -> None:
    stack = play()
    stack.requests(range(60), 20)
    stack.own(range(60), Accepted=700, Rejected=300, Duplicate=0)
    assert stack.rang(60) == {"rejected-events": [9]}


def test_requests_that_are_forbidden_or_throttled_ring(play: Callable[..., Played]) -> None:
    # They reach no function.
    stack = play()
    stack.traffic(range(60))
    stack.requests(range(60, 90), 60, refused=40)
    assert stack.rang(90) == {"api-refusals": [69]}


def test_a_scanner_at_night_one_client_s_mistake_and_repeats_ring_nothing(play: Callable[..., Played]) -> None:
    stack = play()
    stack.requests(range(0, 60, 5), 9, refused=9)
    stack.own(range(0, 60, 5), Accepted=0, Rejected=9, Duplicate=0)
    # A client that sends everything twice, after the answer got lost, and makes a few mistakes.
    stack.requests(range(60, 90), 20)
    stack.own(range(60, 90), Accepted=0, Rejected=3, Duplicate=100)
    # A burst of mistakes that ends.
    stack.own(range(100, 103), Accepted=0, Rejected=500, Duplicate=0)
    assert stack.rang(120) == {}


def test_rows_that_are_rejected_ring_with_the_file(play: Callable[..., Played]) -> None:
    stack = play("csv")
    stack.traffic(range(60))
    stack.own(range(60, 61), FilesSucceeded=1, RowsProcessed=100, RowsRejected=99_900)
    assert stack.rang(120) == {"rejected-rows": [64]}


@pytest.mark.parametrize(("name", "minutes"), [("dev", 90), ("csv", 1_560), ("iot", 120)])
def test_traffic_that_stops_rings_where_a_heartbeat_is_expected(
    play: Callable[..., Played], name: str, minutes: int
) -> None:
    stack = play(name, alarms={"heartbeat_minutes": minutes})
    stack.traffic(range(120))
    stack.runs(range(120, 120 + minutes))
    # Hours that have begun are no whole hours: what covers more than a day is looked at in these.
    assert stack.rang(120 + minutes - 60) == {}
    assert stack.rang(120 + minutes) == {"heartbeat": [120 + minutes - 1]}
    # A new stack has this long until its first event.
    quiet = play(name, alarms={"heartbeat_minutes": minutes})
    quiet.runs(range(minutes))
    assert quiet.rang(minutes - 60) == {}


def test_a_heartbeat_misses_events_that_are_all_rejected(play: Callable[..., Played]) -> None:
    stack = play(alarms={"heartbeat_minutes": 30})
    stack.own(range(60), Accepted=0, Rejected=1, Duplicate=0)
    assert stack.rang(60) == {"heartbeat": [29]}


def test_a_circuit_that_is_open_rings_until_a_breaker_function_that_runs_says_otherwise(
    play: Callable[..., Played],
) -> None:
    stack = play(worker={"circuit_breaker": {}})
    stack.traffic(range(30))
    stack.own(range(30, 33), CircuitOpen=1)
    # It fails, and writes nothing.
    for function in stack.graph.of_type(FUNCTION):
        for minute in range(33, 60):
            stack.data.put(minute, "AWS/Lambda", "Invocations", 1, FunctionName=function.physical_name)
    assert changes(stack.graph, stack.data, 60) == [Change(30, "circuit-open", rings=True)]
    stack.own(range(60, 61), CircuitOpen=0)
    assert changes(stack.graph, stack.data, 61)[1:] == [Change(60, "circuit-open", rings=False)]


@pytest.mark.parametrize("minutes", [4, 2_881, 1_441])
def test_a_heartbeat_that_cloudwatch_could_not_hold_is_refused(graph_of: Callable[..., Graph], minutes: int) -> None:
    with pytest.raises(Exception, match="heartbeat_minutes"):
        graph_of(alarms={"heartbeat_minutes": minutes})
