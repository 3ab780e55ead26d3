"""Dead letters: the list by error, one by itself, and what can be done with them."""

from collections.abc import Callable, Mapping
from typing import Any

from cli.console.jobs import Jobs
from cli.console.texts import editable, pretty
from cli.core.errors import one_line
from cli.core.json_text import parse_object
from cli.core.terminal import inert
from cli.dead_letters import ORDER, not_seen
from cli.letter_files import PurgeRecord
from handlers.shared.dead_letters import DeadLetters
from handlers.shared.letters import Found, Wanted
from handlers.shared.passes import Pass
from local.errors import LocalError

# Dead letters in a page. The command lists more.
SHOWN_LETTERS = 500
ALL = float("inf")
LETTER_SECONDS = 60
# A body in a page. The text to edit is whole.
SHOWN_CHARACTERS = 200_000
MAXIMUM_PACE = 1_000

Values = dict[str, Any]


class Letters:
    """The dead letters of a stack. `queue_url` is where they go back to, None where they cannot (variant iot).

    `record` makes the record of who purges letters. `refuse_ended` raises LocalError when the stack has ended.
    """

    def __init__(
        self,
        letters: DeadLetters,
        queue_url: str | None,
        variant: str,
        record: Callable[[Wanted], PurgeRecord],
        refuse_ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._letters = letters
        self._record = record
        self._queue_url = queue_url
        self._variant = variant
        self._jobs = Jobs(letters, queue_url, refuse_ended)

    def list(self, wanted: str | None, *, looks: bool, counts_all: bool = False) -> Values:
        """Return the list, of one type of error or of all; with `counts_all` all letters are counted, some shown.

        A look hides letters for a moment, from a job too: only a person looks, and not while a job runs.
        """
        jobs = self._jobs.all()
        is_running = any(job.state == "running" for job in jobs)
        looks = looks and not is_running
        letters: list[dict[str, Any]] = []
        done = Pass({})
        if looks:
            letters, done = self._letters.look(Wanted(wanted), ALL if counts_all else SHOWN_LETTERS, LETTER_SECONDS)
        if done.error is not None:
            raise LocalError(one_line(done.error))
        groups: dict[str, list[Mapping[str, Any]]] = {}
        counts: dict[str, int] = {}
        for number, letter in enumerate(letters):
            name = letter["error_type"]
            counts[name] = counts.get(name, 0) + 1
            groups.setdefault(name, []).extend([letter] if number < SHOWN_LETTERS else [])
        return {
            "title": "Dead letters",
            "groups": sorted(((name, counts[name], some) for name, some in groups.items()), key=lambda row: -row[1]),
            "counted": len(letters),
            "shown": min(len(letters), SHOWN_LETTERS),
            "not_seen": not_seen(done),
            "order": ORDER if self._letters.is_fifo else "",
            "done": done,
            "wanted": wanted,
            "jobs": jobs,
            "is_running": is_running,
            "looks": looks,
            "can_redrive": self._queue_url is not None,
        }

    def one(self, wanted_id: str) -> Values:
        """Return one letter, by its id or by that of its event or file. Raises LocalError."""
        found, done = self._letters.find(wanted_id, LETTER_SECONDS)
        if found is None:
            raise _missing(wanted_id, done)
        body = pretty(found.letter.body)
        return {
            "title": "Dead letter",
            "letter": {**found.described(), "error": found.cause.error},
            "body": body[:SHOWN_CHARACTERS],
            "left_out": max(0, len(body) - SHOWN_CHARACTERS),
            "event": event_of(found) if self._variant == "api" else None,
            "order": ORDER if self._letters.is_fifo else "",
            "can_redrive": self._queue_url is not None,
        }

    def act(self, fields: Mapping[str, str]) -> None:
        """Move or delete one letter, or start a job for many, as a form says. Raises ValueError and LocalError."""
        kind = fields.get("kind")
        if kind not in ("redrive", "purge") or (kind == "redrive" and self._queue_url is None):
            raise ValueError("a job is a redrive or a purge")
        if message_id := fields.get("message_id"):
            self._move_one(kind, message_id)
            return
        if kind == "purge" and fields.get("sure") != "purge":
            raise ValueError("to delete dead letters permanently, write purge into the field beside the button")
        pace = fields.get("a_second", "50") if kind == "redrive" else str(MAXIMUM_PACE)
        if not pace.isdecimal() or not 1 <= int(pace) <= MAXIMUM_PACE:
            raise ValueError(f"the pace must be a whole number from 1 to {MAXIMUM_PACE} a second")
        wanted = Wanted(fields.get("error_type") or None)
        if kind == "redrive":
            self._jobs.start(kind, wanted.error_type, int(pace))
            return
        record = self._record(wanted)
        record.begins()
        self._jobs.start(kind, wanted.error_type, int(pace), lambda count: record.ended({"deleted": count}))

    def cancel(self, number: int) -> None:
        """Cancel a job."""
        self._jobs.cancel(number)

    def stop(self) -> None:
        """Cancel the job that runs, at the end of the console."""
        self._jobs.stop()

    def _move_one(self, kind: str, message_id: str) -> None:
        wanted = Wanted(id=message_id)
        if kind == "redrive":
            done = self._letters.redrive(str(self._queue_url), wanted, 1, LETTER_SECONDS)
        else:
            record = self._record(wanted)
            record.begins()
            done = self._letters.purge(wanted, 1, LETTER_SECONDS)
            record.ended(done.counts)
        if done.error is not None or done.failed:
            raise LocalError(one_line(done.error) if done.error else "SQS refused to move the message; try again")
        if not any(done.counts.values()):
            raise _missing(message_id, done)


def _missing(wanted_id: str, done: Pass) -> LocalError:
    """Return the error for a letter that a pass has not found: others may hide it."""
    reason = not_seen(done) or "; it may be on its way again"
    return LocalError(f"there is no dead letter {inert(wanted_id)!r} to be seen{reason}")


def event_of(found: Found) -> str | None:
    """Return the client's event in a dead letter, as text to edit; None if it holds none."""
    try:
        data = parse_object(found.letter.body, "the letter").get("data")
    except LocalError:
        return None
    return None if data is None else editable(data)
