"""`pipeline dead-letters`: list, show, redrive and purge them, with the operator's own AWS credentials."""

import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import typer

from cli.core.errors import one_line
from cli.core.json_text import write_json
from cli.core.stack import Stack
from cli.core.suggestions import suggest
from cli.core.terminal import inert, write_fields, write_lines
from handlers.api.causes import EventCauses
from handlers.csv.causes import FileCauses
from handlers.shared.dead_letters import UNKNOWN, Cause, DeadLetters, Explain, Letter, Pass, Wanted
from handlers.shared.log import logger
from local.errors import LocalError

# A pass ends after this and reports what is left.
SECONDS = 600
# The lowest and the highest age of the dead letters that a command is about, None without a limit.
Ages = tuple[timedelta | None, timedelta | None]
COLUMNS = ("message_id", "id", "age_seconds", "attempts", "error_type", "error")


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """Print what the functions' code would log as JSON with a traceback as one line on standard error."""

    def show(record: logging.LogRecord) -> bool:
        reason = getattr(record, "reason", "") or (record.exc_info and record.exc_info[1]) or ""
        write_lines([f"{record.getMessage()}: {' '.join(str(reason).split())}"], to_stderr=True)
        return False

    functions = logging.getLogger(logger.name)
    functions.addFilter(show)
    try:
        yield
    finally:
        functions.removeFilter(show)


@_warnings_in_one_line()
def run_list(stack: str, error_type: str | None, ages: Ages, maximum: int, *, as_json: bool) -> int:
    """Print the dead letters and leave them in place."""
    wanted = _wanted(error_type, ages)
    messages, done = dead_letters_of(Stack(stack)).look(wanted, maximum, SECONDS)
    _check(done)
    if as_json:
        write_json({"messages": messages, **done.described()})
    else:
        write_lines([*_table(messages), f"{_count(len(messages))} shown{_rest(done)}{_hidden(done, len(messages))}"])
    return 0


@_warnings_in_one_line()
def run_show(stack: str, wanted_id: str, *, as_json: bool) -> int:
    """Print one dead letter with its body."""
    found, done = dead_letters_of(Stack(stack)).find(wanted_id, SECONDS)
    _check(done)
    if found is None:
        raise LocalError(f"there is no dead letter {wanted_id!r} in stack {stack!r}{_not_seen(done)}")
    cause = found.cause
    whole = {**found.described(), "error_type": cause.error_type, "error": cause.error, "body": found.letter.body}
    if as_json:
        write_json(whole)
        return 0
    write_fields({name: whole[name] for name in COLUMNS if whole[name] is not None})
    write_lines(["", *_pretty(found.letter.body)])
    return 0


@_warnings_in_one_line()
def run_redrive(stack: str, error_type: str | None, ages: Ages, maximum: int, *, as_json: bool) -> int:
    """Move dead letters back to their queue. Return 1 if any could not be moved."""
    wanted = _wanted(error_type, ages)
    source = Stack(stack)
    if source.config.variant == "iot":
        raise LocalError(f"the dead letters of an iot stack go to its worker: {suggest('replay', '--stack', stack)}")
    letters = dead_letters_of(source)
    done = letters.redrive(source.output("queue_url"), wanted, maximum, SECONDS)
    return show_pass(done, as_json=as_json)


@_warnings_in_one_line()
def run_purge(stack: str, error_type: str | None, ages: Ages, maximum: int, *, sure: bool, as_json: bool) -> int:
    """Delete dead letters permanently, after a confirmation. Return 1 if any could not be deleted."""
    wanted = _wanted(error_type, ages)
    letters = dead_letters_of(Stack(stack))
    if not sure:
        if not sys.stdin.isatty():
            raise LocalError(
                "purge deletes messages permanently and there is no terminal to ask at; confirm with --yes"
            )
        which = f" of type {error_type}" if error_type else ""
        question = (
            f"Delete up to {_count(maximum)}{which} of stack {stack!r} permanently? (about {letters.depth()} there)"
        )
        if not typer.confirm(question, err=True):
            raise LocalError("nothing was deleted")
    return show_pass(letters.purge(wanted, maximum, SECONDS), as_json=as_json)


def show_pass(done: Pass, *, as_json: bool) -> int:
    """Print what a pass has done. Raises LocalError when a service failed; returns 1 when single messages did."""
    if as_json:
        write_json(done.described())
    else:
        counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in done.counts.items())
        write_lines([f"{counts}{_rest(done)}"])
    _check(done)
    return 1 if done.failed else 0


def _wanted(error_type: str | None, ages: Ages) -> Wanted:
    minimum, maximum = (None if age is None else int(age.total_seconds()) for age in ages)
    if maximum is not None and minimum is not None and maximum < minimum:
        raise LocalError("--max-age is below --min-age, so no dead letter can match; raise it or leave one out")
    return Wanted(error_type, min_age_seconds=minimum or 0, max_age_seconds=maximum)


def dead_letters_of(stack: Stack) -> DeadLetters:
    """Return the dead letters of a stack, with their causes as its variant records them."""
    stack.aim_aws_clients()
    explain: Explain
    match stack.config.variant:
        case "api":
            explain = EventCauses(stack.output("table_name"))
        case "csv":
            explain = FileCauses(stack.output("table_name"))
        case "iot":
            explain = invocation_causes
    return DeadLetters(stack.output("dead_letter_queue_url"), explain)


def invocation_causes(letters: Sequence[Letter]) -> list[Cause]:
    """Return the causes in Lambda's records of failed asynchronous invocations; there is no table to ask.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """
    return [_invocation_cause(letter.body) for letter in letters]


def _invocation_cause(body: str) -> Cause:
    try:
        record = json.loads(body)
        context, answer = record["requestContext"], record.get("responsePayload") or {}
        return Cause(
            str(context["requestId"]),
            str(answer.get("errorType") or context["condition"]),
            answer.get("errorMessage") and str(answer["errorMessage"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return Cause(None, UNKNOWN, "it is not a record of a Lambda invocation")


def _check(done: Pass) -> None:
    if done.error is not None:
        raise LocalError(f"{type(done.error).__name__}: {one_line(done.error)}")


def _not_seen(done: Pass) -> str:
    if done.held_back:
        return "; these may hide others of their groups: redrive or purge them to see what is behind"
    return "" if done.complete else "; not all were examined"


def _rest(done: Pass) -> str:
    rest = f"; {done.not_matching} others left alone" if done.not_matching else ""
    rest += _not_seen(done)
    return rest if done.remaining is None else f"{rest}; about {done.remaining} are there now"


def _hidden(done: Pass, shown: int) -> str:
    """Return how many letters another pass hides: a running one, or one that was killed."""
    hidden = (done.remaining or 0) - shown - done.not_matching
    if not done.complete or hidden <= 0:
        return ""
    return f", {hidden} of them hidden by another list, redrive or purge, for {SECONDS // 60} minutes at most"


def _count(number: int) -> str:
    return f"{number} dead letter{'' if number == 1 else 's'}"


def _table(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return one line a message, the error last and uncut. Not a Rich table, which would cut the ids.

    A message has the id of its event or file, which all commands take; without one, it has its own.
    """
    if not messages:
        return []
    columns = [name for name in COLUMNS if name != "message_id"]
    known = [{**message, "id": message["id"] or message["message_id"]} for message in messages]
    values = [[inert("-" if message[name] is None else str(message[name])) for name in columns] for message in known]
    rows = [columns, *values]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _pretty(body: str) -> list[str]:
    try:
        return json.dumps(json.loads(body), indent=2).split("\n")
    except (ValueError, RecursionError):
        return [body]
