"""The table of `make gameday` finds what does not ring, what rings falsely, and books that do not balance."""

import re
from pathlib import Path

import pytest

from benchmarks.alarm_states import Change
from benchmarks.drill import Ledger
from benchmarks.gameday import INCIDENTS, Incident, Row, Told, rows

OUTAGE = Incident("outage", 20, ("circuit-open",), ("failed-messages",))


def row(*rings: tuple[str, int], states: dict[str, str] | None = None, results: dict[str, int] | None = None) -> Row:
    """The row of an outage from minute 10 to 40, of one order that succeeds and one that fails by design."""
    ledger = Ledger(ids={"G-1": "a", "G-2": "b"}, failing={"G-2"})
    changes = [Change(minute, alarm, rings=True) for alarm, minute in rings]
    told = Told(OUTAGE, begun=10, ended=40, orders=["G-1", "G-2"])
    (made,) = rows(
        [told], changes, ledger, {"G-1": "succeeded", "G-2": "failed", **(states or {})}, {"G-1": 1, **(results or {})}
    )
    return made


def test_an_incident_that_rings_as_it_should_is_right() -> None:
    right = row(("circuit-open", 12), ("failed-messages", 39), ("oldest-message", 13), ("dead-letters", 40))
    assert (right.rang, right.right) == ((("circuit-open", 2), ("failed-messages", 29)), True)


@pytest.mark.parametrize(
    "rings", [[], [("failed-messages", 12)], [("circuit-open", 9)], [("circuit-open", 12), ("worker-errors", 12)]]
)
def test_an_alarm_that_does_not_ring_or_should_not_is_wrong(rings: list[tuple[str, int]]) -> None:
    assert not row(*rings).right


@pytest.mark.parametrize(
    ("states", "results", "books"),
    [
        ({}, {"G-1": 0}, (1, 0, 0)),
        ({}, {"G-1": 2}, (0, 1, 0)),
        ({}, {"G-2": 1}, (0, 1, 0)),
        ({"G-1": "queued"}, {}, (0, 0, 1)),
        ({"G-2": "succeeded"}, {}, (0, 0, 1)),
    ],
)
def test_lost_doubled_and_false_orders_are_wrong(
    states: dict[str, str], results: dict[str, int], books: tuple[int, int, int]
) -> None:
    found = row(("circuit-open", 12), states=states, results=results)
    assert ((found.lost, found.doubled, found.false), found.right) == (books, False)


def test_the_document_has_the_incidents_and_what_they_ring() -> None:
    document = (Path(__file__).parents[1] / "docs/alarms.md").read_text()
    _, _, table = document.partition("| incident | rang (minutes after its begin) |")
    found = re.findall(r"^\| ([^|]+?) \| ([^|]+?) \| (\d+) \| (\d+) \| (\d+) \|$", table, re.MULTILINE)
    assert [name for name, *_ in found] == [incident.name for incident in INCIDENTS]
    for incident, (_, rang, *books) in zip(INCIDENTS, found, strict=True):
        names = set(re.findall(r"([a-z-]+) \(\d+\)", rang))
        assert set(incident.rings) <= names <= {*incident.rings, *incident.may}, incident
        assert names or rang == "nothing"
        assert books == ["0", "0", "0"]
