"""Dead letters as pages show them, and what a form may do with them."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from cli.console.letters import SHOWN_CHARACTERS, SHOWN_LETTERS, Letters
from cli.console.texts import visible
from handlers.shared.letters import Cause, Found, Letter, Wanted
from handlers.shared.passes import Pass
from local.errors import LocalError

# Markup, control characters, a mark that turns the direction, and half a surrogate pair.
WORST = "<script>alert(1)</script>\u202e\x1b[2J\x00\ud800"


def found(number: int, body: str = "{}", error_type: str = "ValueError") -> Found:
    return Found(Letter(f"m-{number}", "r", body, {}, 0.0, ""), Cause(f"e-{number}", error_type, WORST, 1), 5)


class Queue:
    """Dead letters in memory."""

    def __init__(self, letters: Sequence[Found]) -> None:
        self.letters = list(letters)
        self.acts: list[tuple[str, Wanted, int]] = []
        self.looks = 0

    is_fifo = False

    def depth(self) -> int:
        return len(self.letters)

    def look(self, wanted: Wanted, maximum: int, _seconds: float) -> tuple[list[dict[str, Any]], Pass]:
        self.looks += 1
        fitting = [each.described() for each in self.letters if wanted.fits(each)]
        return fitting[:maximum], Pass({}, complete=len(fitting) <= maximum, remaining=self.depth())

    def find(self, wanted_id: str, _seconds: float) -> tuple[Found | None, Pass]:
        return next((each for each in self.letters if Wanted(id=wanted_id).fits(each)), None), Pass({})

    def redrive(self, _url: str, wanted: Wanted, maximum: int, _seconds: float) -> Pass:
        return self._act("redriven", wanted, maximum)

    def purge(self, wanted: Wanted, maximum: int, _seconds: float) -> Pass:
        return self._act("deleted", wanted, maximum)

    def _act(self, name: str, wanted: Wanted, maximum: int) -> Pass:
        self.acts.append((name, wanted, maximum))
        gone = [each for each in self.letters if wanted.fits(each)][:maximum]
        self.letters = [each for each in self.letters if each not in gone]
        return Pass({name: len(gone)}, complete=True)


class Record:
    """What is written down of a purge is not looked at here."""

    def begins(self) -> None: ...

    def ended(self, _counts: dict[str, int]) -> None: ...


def letters(queue: Queue, queue_url: str | None = "https://sqs/main") -> Letters:
    return Letters(queue, queue_url, "api", lambda _: Record())  # type: ignore[arg-type, return-value]


def test_of_five_thousand_letters_a_page_shows_the_first_ones_and_says_that_there_are_more() -> None:
    page = letters(Queue([found(number, error_type=f"E{number % 7}") for number in range(5_000)])).list(
        None, looks=True
    )
    assert sum(len(group) for *_, group in page["groups"]) == SHOWN_LETTERS
    assert (page["done"].complete, page["done"].remaining) == (False, 5_000)
    assert len(page["groups"]) == 7


def test_only_a_person_looks_as_a_look_hides_letters_from_a_job() -> None:
    queue = Queue([found(1)])
    page = letters(queue).list(None, looks=False)
    assert (page["groups"], page["looks"], queue.looks) == ([], False, 0)
    assert letters(queue).list(None, looks=True)["counted"] == 1
    assert queue.looks == 1


def test_a_megabyte_is_shown_in_part_and_edited_whole() -> None:
    data = {"text": WORST[:25] + "\u202e<b>" * 300_000}
    page = letters(Queue([found(1, json.dumps({"data": data}))])).one("m-1")
    assert len(page["body"]) == SHOWN_CHARACTERS
    assert page["left_out"] > 1_000_000
    assert json.loads(page["event"]) == data
    assert "\u202e" not in page["event"]


def test_the_worst_text_is_shown_as_text() -> None:
    page = letters(Queue([found(1, WORST)])).one("e-1")
    assert page["event"] is None
    assert visible(page["letter"]["error"]) == "<script>alert(1)</script>\\u202e\\x1b[2J\\x00\\ud800"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"kind": "delete"},
        {"kind": "purge"},
        {"kind": "purge", "sure": "Purge"},
        {"kind": "redrive", "a_second": "0"},
        {"kind": "redrive", "a_second": "1e3"},
        {"kind": "redrive", "a_second": "1001"},
    ],
)
def test_a_form_that_says_something_else_does_nothing(fields: dict[str, str]) -> None:
    queue = Queue([found(1)])
    with pytest.raises(ValueError, match=r"purge|pace|job"):
        letters(queue).act(fields)
    assert (queue.acts, queue.depth()) == ([], 1)


def test_one_letter_is_moved_alone_and_a_missing_one_is_an_error() -> None:
    queue = Queue([found(1), found(2)])
    letters(queue).act({"kind": "redrive", "message_id": "m-2"})
    assert [each.letter.message_id for each in queue.letters] == ["m-1"]
    with pytest.raises(LocalError, match="no dead letter 'm-2'"):
        letters(queue).act({"kind": "redrive", "message_id": "m-2"})
    with pytest.raises(LocalError, match="no dead letter"):
        letters(queue).one("m-2")


def test_letters_of_an_iot_stack_do_not_go_back_to_a_queue() -> None:
    with pytest.raises(ValueError, match="a job is"):
        letters(Queue([found(1)]), None).act({"kind": "redrive"})
