"""`pipeline dead-letters`: what failed for good, seen, sent back, deleted; with the operator's own AWS credentials."""

import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from cli.outputs import aim_at, output
from components.config import load
from handlers.api.causes import EventCauses
from handlers.csv.causes import FileCauses
from handlers.shared.dead_letters import UNKNOWN, Cause, DeadLetters, Explain, Letter, Pass, Wanted
from handlers.shared.log import logger
from local.errors import LocalError
from local.project import find_project, load_project

# A pass ends after this, and says what is left.
SECONDS = 600
UNITS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
COLUMNS = ("message_id", "age_seconds", "receive_count", "id", "error_type", "error")


@dataclass(frozen=True)
class Asked:
    """What the command's options say."""

    error_type: str | None
    min_age: str
    maximum: int
    as_json: bool

    @property
    def wanted(self) -> Wanted:
        """Which dead letters. Raises LocalError."""
        match = re.fullmatch("([0-9]{1,9})([smhd]?)", self.min_age)
        if match is None:
            raise LocalError(f"--min-age {self.min_age!r}: must be seconds, or like 90s, 15m, 6h, 2d")
        return Wanted(self.error_type, int(match[1]) * UNITS[match[2]])


@contextmanager
def _in_one_line() -> Iterator[None]:
    """What the functions' code would log as JSON, with its traceback, is told on standard error in a line."""

    def tell(record: logging.LogRecord) -> bool:
        reason = getattr(record, "reason", "") or (record.exc_info and record.exc_info[1]) or ""
        sys.stderr.write(f"{record.getMessage()}: {' '.join(str(reason).split())}\n")
        return False

    functions = logging.getLogger(logger.name)
    functions.addFilter(tell)
    try:
        yield
    finally:
        functions.removeFilter(tell)


@_in_one_line()
def run_list(stack: str, asked: Asked) -> int:
    """Prints the dead letters, and leaves them there."""
    wanted, letters = asked.wanted, _dead_letters(stack)
    messages, done = letters.look(wanted, asked.maximum, SECONDS)
    _check(done)
    if asked.as_json:
        _print_json({"messages": messages, **done.described()})
        return 0
    for line in _table(messages):
        sys.stdout.write(f"{line}\n")
    sys.stdout.write(f"{_count(len(messages))} shown{_rest(done)}\n")
    return 0


@_in_one_line()
def run_show(stack: str, wanted_id: str, *, as_json: bool) -> int:
    """Prints all of one dead letter."""
    found, done = _dead_letters(stack).find(wanted_id, SECONDS)
    _check(done)
    if found is None:
        raise LocalError(f"there is no dead letter {wanted_id!r} in stack {stack!r}{_not_seen(done)}")
    cause = found.cause
    whole = {**found.described(), "error_type": cause.error_type, "error": cause.error, "body": found.letter.body}
    if as_json:
        _print_json(whole)
        return 0
    for name in COLUMNS:
        if whole[name] is not None:
            sys.stdout.write(f"{name:<{max(map(len, COLUMNS))}}  {_printable(str(whole[name]))}\n")
    sys.stdout.write(f"\n{_pretty(found.letter.body)}\n")
    return 0


@_in_one_line()
def run_redrive(stack: str, asked: Asked) -> int:
    """Moves dead letters back into their queue. Returns 1 when any could not be."""
    wanted = asked.wanted
    if _variant(stack) == "iot":
        raise LocalError(f"the dead letters of an iot stack go to its worker: pipeline replay --stack {stack}")
    letters = _dead_letters(stack)
    return _told(letters.redrive(output(stack, "queue_url"), wanted, asked.maximum, SECONDS), asked)


@_in_one_line()
def run_purge(stack: str, asked: Asked, *, sure: bool) -> int:
    """Deletes dead letters for good, once somebody said yes. Returns 1 when any could not be."""
    wanted, letters = asked.wanted, _dead_letters(stack)
    if not sure:
        if not sys.stdin.isatty():
            raise LocalError("purge deletes messages for good, and there is no terminal to ask at; --yes is a yes")
        which = f" of type {asked.error_type}" if asked.error_type else ""
        question = (
            f"Delete up to {_count(asked.maximum)}{which} of stack {stack!r} for good? (about {letters.depth()} there)"
        )
        if not typer.confirm(question, err=True):
            raise LocalError("nothing was deleted")
    return _told(letters.purge(wanted, asked.maximum, SECONDS), asked)


def _variant(stack: str) -> str:
    project = load_project(find_project(Path.cwd()), stack)
    return load(project.config, file=f"Pulumi.{stack}.yaml").variant


def _dead_letters(stack: str) -> DeadLetters:
    variant = _variant(stack)
    aim_at(stack)
    explain: Explain
    match variant:
        case "api":
            explain = EventCauses(output(stack, "table_name"))
        case "csv":
            explain = FileCauses(output(stack, "table_name"))
        case "iot":
            explain = invocation_causes
    return DeadLetters(output(stack, "dead_letter_queue_url"), explain)


def invocation_causes(letters: Sequence[Letter]) -> list[Cause]:
    """Of the records that Lambda leaves of asynchronous invocations, where there is no table to ask.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """
    return [_of_invocation(letter.body) for letter in letters]


def _of_invocation(body: str) -> Cause:
    try:
        record = json.loads(body)
        context, answer = record["requestContext"], record.get("responsePayload") or {}
        return Cause(
            str(context["requestId"]),
            str(answer.get("errorType") or context["condition"]),
            answer.get("errorMessage") and str(answer["errorMessage"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return Cause(None, UNKNOWN, "it is not a record as Lambda leaves it")


def _check(done: Pass) -> None:
    if done.error is not None:
        raise LocalError(f"{type(done.error).__name__}: {' '.join(str(done.error).split())}")


def _told(done: Pass, asked: Asked) -> int:
    """Prints what a pass has done, and then what went wrong."""
    if asked.as_json:
        _print_json(done.described())
    else:
        counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in done.counts.items())
        sys.stdout.write(f"{counts}{_rest(done)}\n")
    _check(done)
    return 1 if done.failed else 0


def _not_seen(done: Pass) -> str:
    if done.held_back:
        return "; these may keep back others of their groups: redrive or purge them to see what is behind"
    return "" if done.complete else "; not all were looked at"


def _rest(done: Pass) -> str:
    rest = f"; {done.not_matching} others left alone" if done.not_matching else ""
    rest += _not_seen(done)
    return rest if done.remaining is None else f"{rest}; about {done.remaining} are there now"


def _count(number: int) -> str:
    return f"{number} dead letter{'' if number == 1 else 's'}"


def _table(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line each; the error last, as long as it is: ids are there to be copied."""
    if not messages:
        return []
    rows = [
        COLUMNS,
        *(
            [_printable("" if message[name] is None else str(message[name])) for name in COLUMNS]
            for message in messages
        ),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _pretty(body: str) -> str:
    try:
        return json.dumps(json.loads(body), indent=2)
    except (ValueError, RecursionError):
        return _printable(body)


def _printable(text: str) -> str:
    """What a stranger wrote must not steer the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def _print_json(value: Mapping[str, Any]) -> None:
    sys.stdout.write(f"{json.dumps(value)}\n")
