"""`pipeline dead-letters`: list, count, show, redrive, export, import and purge, with the operator's own credentials.

A command that is ended by SIGINT, SIGTERM or SIGHUP finishes the messages that it is moving, and makes the others
visible again.
"""

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import typer

from cli.core.errors import one_line
from cli.core.json_text import write_json
from cli.core.signals import stop_on_signals
from cli.core.stack import Stack
from cli.core.suggestions import suggest
from cli.core.terminal import inert, write_fields, write_lines
from cli.letter_files import PurgeRecord, export_name, new_letter_file, read_letters
from handlers.api.causes import EventCauses
from handlers.csv.causes import FileCauses
from handlers.shared import queues
from handlers.shared.backlog import whole
from handlers.shared.dead_letters import DeadLetters
from handlers.shared.letters import UNKNOWN, Cause, Explain, Found, Letter, Wanted, field_of, is_field
from handlers.shared.log import logger
from handlers.shared.passes import Control, Pass, keep_nothing
from local.errors import LocalError

ALL = float("inf")
# The lowest and the highest age of the dead letters that a command is about, None without a limit.
Ages = tuple[timedelta | None, timedelta | None]
COLUMNS = ("message_id", "id", "type", "age_seconds", "attempts", "error_type", "error")
PROGRESS_SECONDS = 2
IMPORTED_AT_ONCE = 100
ORDER = (
    "FIFO: a redriven message comes behind the messages of its group that wait in the queue, and after those that were "
    "processed since it failed; redriven messages of a group keep their own order"
)


@dataclass(frozen=True)
class Amount:
    """How many dead letters a command is about, and how many a second it moves."""

    maximum: float = ALL
    a_second: float = ALL

    @property
    def is_all(self) -> bool:
        """Whether there is no limit."""
        return self.maximum == ALL


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


def wanted_of(
    error_type: str | None, ages: Ages, wanted_id: str | None, event_type: str | None, field: str | None
) -> Wanted:
    """Return the filter of a command's options. Raises LocalError."""
    minimum, maximum = (None if age is None else int(age.total_seconds()) for age in ages)
    if maximum is not None and minimum is not None and maximum < minimum:
        raise LocalError("--max-age is below --min-age, so no dead letter can match; raise it or leave one out")
    if field is not None and not is_field(field):
        raise LocalError(f"--field {field!r} must be a path and a value, such as customer.id=42")
    return Wanted(error_type, minimum or 0, maximum, wanted_id, event_type, None if field is None else field_of(field))


@_warnings_in_one_line()
def run_list(stack: str, wanted: Wanted, amount: Amount, *, as_json: bool) -> int:
    """Print the dead letters and leave them in place."""
    letters = _letters(Stack(stack), wanted)
    with _control(letters, amount, "looked at") as control:
        messages, done = letters.look(wanted, amount.maximum, ALL, control)
    _check(done)
    if as_json:
        write_json({"messages": messages, **done.described()})
    else:
        write_lines([*_table(messages), f"{_count(len(messages))} shown{_rest(done)}"])
    return 0


@_warnings_in_one_line()
def run_count(stack: str, wanted: Wanted, *, as_json: bool) -> int:
    """Print the number of dead letters by error, and leave them in place."""
    letters = _letters(Stack(stack), wanted)
    with _control(letters, Amount(), "counted") as control:
        done = letters.go_through(wanted, ALL, ALL, _leave, Pass({}), control)
    _check(done)
    if as_json:
        write_json(done.described())
    else:
        rows = sorted(done.by_error.items(), key=lambda row: (-row[1], row[0]))
        total = f"{sum(done.by_error.values()):,}"
        write_lines([*(f"{count:>9,}  {name}" for name, count in rows), f"{total:>9}  together{_rest(done)}"])
    return 0


@_warnings_in_one_line()
def run_show(stack: str, wanted_id: str, *, as_json: bool) -> int:
    """Print one dead letter with its body."""
    letters = dead_letters_of(Stack(stack))
    with _control(letters, Amount(), "looked at") as control:
        found, done = letters.find(wanted_id, ALL, control)
    _check(done)
    if found is None:
        raise LocalError(f"there is no dead letter {wanted_id!r} in stack {stack!r}{not_seen(done)}")
    cause = found.cause
    shown = {**found.described(), "error_type": cause.error_type, "error": cause.error, "body": found.letter.body}
    if as_json:
        write_json(shown)
        return 0
    write_fields({name: shown[name] for name in COLUMNS if shown[name] is not None})
    write_lines(["", *_pretty(found.letter.body)])
    return 0


@_warnings_in_one_line()
def run_redrive(stack: str, wanted: Wanted, amount: Amount, *, sure: bool, as_json: bool) -> int:
    """Move dead letters back to their queue. Return 1 if any could not be moved."""
    source = Stack(stack)
    if source.config.variant == "iot":
        raise LocalError(f"the dead letters of an iot stack go to its worker: {suggest('replay', '--stack', stack)}")
    letters, queue_url = _letters(source, wanted), source.output("queue_url")
    if letters.is_fifo:
        write_lines([ORDER], to_stderr=True)
        if not sure and _at_a_terminal() and not typer.confirm("Redrive them?", err=True):
            raise LocalError("nothing was redriven")

    def redrive(control: Control) -> Pass:
        return letters.redrive(queue_url, wanted, amount.maximum, ALL, control)

    with _control(letters, amount, "redriven") as control:
        return show_pass(_run(redrive, amount, control), as_json=as_json, wants_all=amount.is_all)


@_warnings_in_one_line()
def run_export(stack: str, path: str, wanted: Wanted, *, as_json: bool) -> int:
    """Write dead letters to a new file and leave them in place. Return 1 unless it has all of them."""
    letters = _letters(Stack(stack), wanted)
    with new_letter_file(Path(path)) as file, _control(letters, Amount(), "exported") as control:

        def write(found: Sequence[Found], _: Pass) -> Sequence[Found]:
            file.write(found)
            return ()

        done = letters.go_through(wanted, ALL, ALL, write, Pass({}), control)
        if as_json:
            write_json({"exported": file.written, **done.described()})
        else:
            write_lines([f"{_count(file.written)} exported{f' to {path}' if file.written else ''}{_rest(done)}"])
    _check(done)
    return 0 if done.complete else 1


@_warnings_in_one_line()
def run_import(stack: str, path: str) -> int:
    """Put exported dead letters back into the dead-letter queue. Return 1 if any was refused."""
    source = Stack(stack)
    source.aim_aws_clients()
    url, messages = source.output("dead_letter_queue_url"), read_letters(path)
    imported = refused = 0
    while part := list(islice(messages, IMPORTED_AT_ONCE)):
        sent = queues.send(url, part)
        imported, refused = imported + sum(sent), refused + len(sent) - sum(sent)
    write_lines([f"{_count(imported)} imported, {refused} refused"])
    return 1 if refused else 0


@_warnings_in_one_line()
def run_purge(
    stack: str, wanted: Wanted, amount: Amount, *, export: str | None, keeps: bool, sure: bool, as_json: bool
) -> int:
    """Delete dead letters permanently, after a confirmation and an export. Return 1 if any could not be deleted.

    They are exported to the file `export`, or to one with a name of its own; not at all unless `keeps`.
    """
    source = Stack(stack)
    letters = _letters(source, wanted)
    if not sure:
        _ask(letters, stack, wanted, amount)
    path = Path(export) if export else export_name(stack)
    record = PurgeRecord(source, wanted, path if keeps else None)
    with ExitStack() as closing:
        file = closing.enter_context(new_letter_file(path)) if keeps else None
        control = closing.enter_context(_control(letters, amount, "deleted"))

        def purge(control: Control) -> Pass:
            export = file.write if file else keep_nothing
            return letters.purge(wanted, amount.maximum, ALL, control, export=export)

        record.begins()
        done = _run(purge, amount, control)
        record.ended(done.counts)
        if file and file.written:
            write_lines([f"they are in {path}; `pipeline dead-letters import` puts them back"], to_stderr=True)
        return show_pass(done, as_json=as_json, wants_all=amount.is_all)


def _ask(letters: DeadLetters, stack: str, wanted: Wanted, amount: Amount) -> None:
    if not _at_a_terminal():
        raise LocalError("purge deletes messages permanently and there is no terminal to ask at; confirm with --yes")
    which = f" of type {wanted.error_type}" if wanted.error_type else ""
    number = "all dead letters" if amount.is_all else f"up to {_count(int(amount.maximum))}"
    question = f"Delete {number}{which} of stack {stack!r} permanently? (about {letters.depth()} there)"
    if not typer.confirm(question, err=True):
        raise LocalError("nothing was deleted")


def _at_a_terminal() -> bool:
    return sys.stdin.isatty()


def _leave(_found: Sequence[Found], _done: Pass) -> Sequence[Found]:
    return ()


def _run(run: Callable[[Control], Pass], amount: Amount, control: Control) -> Pass:
    return whole(run, control) if amount.is_all else run(control)


@contextmanager
def _control(letters: DeadLetters, amount: Amount, word: str) -> Iterator[Control]:
    """Yield what ends a pass on a signal, and prints its progress to standard error now and then.

    Raises KeyboardInterrupt at the end of the block if there was a signal.
    """
    begun, said = time.monotonic(), time.monotonic()
    total: int | None = None

    def progress(done: Pass) -> None:
        nonlocal said, total
        now = time.monotonic()
        if now < said + PROGRESS_SECONDS:
            return
        said = now
        if total is None:
            total = int(min(amount.maximum, (letters.depth() or 0) + done.done))
        number = done.done or done.not_matching + sum(done.by_error.values())
        pace = number / (now - begun)
        write_lines([f"{number:,} of about {total:,} {word}, {pace:,.0f} a second"], to_stderr=True)

    with stop_on_signals() as stopped:
        yield Control(amount.a_second, stopped.wait, progress)
        if stopped.is_set():
            raise KeyboardInterrupt


def show_pass(done: Pass, *, as_json: bool, wants_all: bool = False) -> int:
    """Print what a pass has done. Raises LocalError when a service failed.

    Returns 1 when single messages failed, or when not all were seen although that is wanted.
    """
    if as_json:
        write_json(done.described())
    else:
        counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in done.counts.items())
        write_lines([f"{counts}{_rest(done)}"])
    _check(done)
    return 1 if done.failed or (wants_all and not done.complete) else 0


def _letters(stack: Stack, wanted: Wanted) -> DeadLetters:
    if stack.config.variant != "api" and (wanted.type or wanted.field):
        raise LocalError(f"--type and --field are about events; stack {stack.name!r} is of {stack.config.variant!r}")
    return dead_letters_of(stack)


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


def not_seen(done: Pass) -> str:
    """Return why a pass has not seen all dead letters, to be appended to its result; empty if it has."""
    if done.hidden:
        return f"; about {done.hidden} are hidden: another command, a console or the reconciler looks at them"
    if done.held_back:
        return "; these may hide others of their groups: redrive or purge them to see what is behind"
    return "" if done.complete else "; not all were examined"


def _rest(done: Pass) -> str:
    rest = f"; {done.not_matching} others left alone" if done.not_matching else ""
    rest += not_seen(done)
    return rest if done.remaining is None else f"{rest}; about {done.remaining} are there now"


def _count(number: int) -> str:
    return f"{number} dead letter{'' if number == 1 else 's'}"


def _table(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return one line a message, the error last and uncut. Not a Rich table, which would cut the ids.

    A message has the id of its event or file, which all commands take; without one, it has its own.
    """
    if not messages:
        return []
    columns = [name for name in COLUMNS if name not in ("message_id", "type")]
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
