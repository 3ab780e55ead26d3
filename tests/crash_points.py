"""Crash points: makes each AWS call that some code makes go wrong, one at a time, in each of four ways.

    calls = record(run)
    for point in points(calls):
        with broken(point):
            run()          # raises Killed where the function would have died

All variants' functions are tried with it. A call is broken after the client's own retries, where the code sees it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from botocore.exceptions import ClientError

from handlers.shared import aws
from tests.aws_calls import tapped

WAYS = ("fails before", "fails after", "dies before", "dies after")


class Killed(BaseException):
    """The function died here. No code may catch it, as none can catch the end of its process."""


@dataclass(frozen=True)
class Point:
    """The call at a position, and what happens there: it fails, or the function dies, before or after its effect."""

    position: int
    call: str
    way: str

    def __str__(self) -> str:
        return f"call {self.position} ({self.call}) {self.way} it took effect"


@contextmanager
def _tapped(on_call: Callable[[str, Callable[[], Any]], Any]) -> Iterator[None]:
    """Hands every call of a client to `on_call(name, make)`; one at a time, so that they have an order."""
    with tapped(lambda name, _, make: on_call(name, make)), patch.object(aws, "CALLS_AT_ONCE", 1):
        yield


def record(run: Callable[[], object]) -> list[str]:
    """The calls that `run` makes, in order."""
    calls: list[str] = []

    def note(name: str, make: Callable[[], Any]) -> Any:
        calls.append(name)
        return make()

    with _tapped(note):
        run()
    return calls


def points(calls: list[str]) -> list[Point]:
    """Every way in which every call can go wrong."""
    return [Point(position, call, way) for position, call in enumerate(calls) for way in WAYS]


@contextmanager
def broken(point: Point) -> Iterator[None]:
    """Breaks one call of the block; those before and after it work."""
    position = -1

    def go_wrong(name: str, make: Callable[[], Any]) -> Any:
        nonlocal position
        position += 1
        if position != point.position:
            return make()
        if point.way.endswith("after"):
            make()
        if point.way.startswith("dies"):
            raise Killed(str(point))
        raise ClientError(
            {"Error": {"Code": "ServiceUnavailable", "Message": "made to fail by a test"}},
            name.partition(":")[2],
        )

    with _tapped(go_wrong):
        yield
