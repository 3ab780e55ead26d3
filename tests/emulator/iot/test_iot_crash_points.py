"""Every AWS call of the worker, made to fail and made to be the last, before and after it took effect.

Whatever happens, and after Lambda has tried again: every good reading is stored once, every bad one recorded once, and
every crossing and recovery is told; twice only where a run cannot know that the alert is out.
"""

from collections import Counter
from contextlib import suppress

from handlers.shared import aws
from tests.crash_points import Killed, Point, broken, points, record

from .conftest import Iot, Json, lines, reading

EXPECTED = ["d1 temperature recovered 20", "d2 temperature crossed -11"]
BEFORE = lines(reading("d1", 1, 31))
CONTENT = lines(
    reading("d1", 2, 20),
    reading("d2", 1, -11),
    reading("d3", 1, 20),
    reading("d3", 1, "20"),
    {},
)
CALLS = [
    "s3:GetObject",
    "s3:PutObject",  # what was refused
    "dynamodb:BatchWriteItem",
    "dynamodb:BatchGetItem",
    "dynamodb:BatchExecuteStatement",  # decides, and claims the alerts
    "sns:PublishBatch",
    "dynamodb:BatchExecuteStatement",  # says that they are out
]
# The topic has the alerts, and the run that knew it is gone, or was told that the topic has not.
MAY_TELL_TWICE = {(5, "fails after"), (5, "dies after"), (6, "dies before")}


def attempt(iot: Iot, event: Json, run: str, point: Point) -> None:
    """One run with one of its calls broken. Ends as Lambda sees it end, which is to try again."""
    with suppress(Killed, aws.client("s3").exceptions.ClientError), broken(point):
        iot.worker().handle(event, run)


def begin(iot: Iot) -> Json:
    """Leave one alert open, and return the upload that ends it and opens another."""
    iot.take(BEFORE)
    assert iot.alerts() == ["d1 temperature crossed 31"]
    return iot.upload(CONTENT)


def check_what_is_left(iot: Iot, point: Point) -> None:
    assert [device for device, _, _ in iot.readings()] == ["d1", "d1", "d2", "d3"], point
    assert [each["position"] for each in iot.rejections()] == [3, 4], point
    assert all(state["pending"] == [] for state in iot.states().values()), point
    out = {device: state["limits"]["temperature#max#critical"]["announced"] for device, state in iot.states().items()}
    assert out == {"d1": False, "d2": False, "d3": False}, point
    told = Counter(iot.alerts())
    assert sorted(told) == EXPECTED, f"{point}: {told}"
    most = 2 if (point.position, point.way) in MAY_TELL_TWICE else 1
    assert set(told.values()) == {most}, f"{point}: {told}"


def test_the_worker_loses_nothing_wherever_it_fails_or_dies_and_doubles_no_reading(iot: Iot) -> None:
    event = begin(iot)
    assert record(lambda: iot.worker().handle(event, "recorded")) == CALLS
    for point in points(CALLS):
        iot.clear()
        event = begin(iot)
        attempt(iot, event, "a request id", point)
        # Lambda tries again with the same request id.
        iot.worker().handle(event, "a request id")
        check_what_is_left(iot, point)


def test_a_repeat_that_fails_or_dies_anywhere_changes_nothing_more(iot: Iot) -> None:
    event = begin(iot)
    iot.worker().handle(event, "first")
    assert iot.alerts() == EXPECTED[::-1]
    before = iot.readings(), iot.states(), iot.rejections()
    calls = record(lambda: iot.worker().handle(event, "second"))
    assert calls == CALLS[:4]
    for point in points(calls):
        attempt(iot, event, "third", point)
        assert (iot.readings(), iot.states(), iot.rejections()) == before, point
        assert iot.alerts() == [], point
