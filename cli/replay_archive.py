"""`pipeline replay` of an `api` stack: archived events go through the pipeline again.

An event that is done is sent with the name of the replay, which makes the worker begin it anew, once. One that its item
calls `queued` or `retrying` is sent without: if its message still exists, either one covers the other.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Any

import boto3
import typer
from botocore.exceptions import BotoCoreError, ClientError

from cli.archived_events import ArchiveReader, Selection
from cli.core.errors import one_line
from cli.core.json_text import write_json
from cli.core.signals import stop_on_signals
from cli.core.stack import Stack
from cli.core.terminal import write_lines
from cli.replay_journal import Journal, open_journal, unfinished
from components.options.api import ApiPipelineConfig
from handlers.api.events import (
    Envelope,
    EventTooLargeError,
    InvalidEventError,
    UnreadableMessageError,
    group,
    is_id,
    message_of,
    tenant,
)
from handlers.api.items import is_lost
from handlers.api.reader import EventReader
from handlers.shared import queues
from handlers.shared.dynamodb import TableError
from handlers.shared.times import timestamp
from local.errors import LocalError

EVENTS_A_BATCH = 100
PROGRESS_SECONDS = 2
# A worker that fails them all: beyond so many new dead letters the rest stays where it is.
MAXIMUM_DEAD_LETTERS = 100
SHOWN_PROBLEMS = 10
NO_ITEM, ANOTHER = "no item", "another event"
EFFECTS = {
    "succeeded": "are processed again; the new outcome and result replace the old ones",
    "failed": "are processed again, with all their attempts; dead letters of theirs stay",
    "queued": "are sent again; if their messages still exist, they are processed once",
    "retrying": "are sent again; if their messages still exist, they are processed once",
    NO_ITEM: "have no item any more; they are processed and recorded under their ids",
    ANOTHER: "are left out: their id has an event that came later with the same key",
}
IN_QUEUE = ("queued", "retrying")


@dataclass(frozen=True)
class Found:
    """An archived event: its message's fields, where it was found, and what the table says of it."""

    envelope: Envelope
    key: str
    state: str


class ReplayStoppedError(Exception):
    """The replay stopped before its end; it can be resumed."""


@dataclass
class Replay:
    """One pass over archived events. `group_field` is that of a FIFO queue, `fair_field` that of a fair one."""

    reader: ArchiveReader
    table: EventReader
    wanted: Selection
    group_field: str = ""
    fair_field: str = ""
    lost_after_seconds: int = 0
    """The age at which no queue can have a message; read where only stuck events are wanted."""
    events_a_batch: int = EVENTS_A_BATCH
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Events by type and state."""

    def count(self) -> None:
        """Count all events, and send none."""
        for _, batch in self._batches("", frozenset()):
            self.counts.update((each.envelope.type, each.state) for each in batch)

    def send(
        self,
        journal: Journal,
        send: Callable[[Sequence[queues.Outgoing]], Sequence[bool]],
        go_on: Callable[[int], bool],
    ) -> None:
        """Send what the journal does not have yet, until `go_on` says no. Raises ReplayStoppedError."""
        for hour, batch in self._batches(journal.hour, journal.ids):
            outgoing = [(each, message) for each in batch if (message := self._message(each, journal.run))]
            taken = send([message for _, message in outgoing])
            sent = [each for (each, _), arrived in zip(outgoing, taken, strict=True) if arrived]
            journal.add(hour, [each.envelope.id for each in sent])
            self.counts.update((each.envelope.type, each.state) for each in sent)
            if len(sent) < len(outgoing):
                raise ReplayStoppedError(
                    f"the queue did not take {len(outgoing) - len(sent)} of {len(outgoing)} events"
                )
            if not go_on(len(sent)):
                raise ReplayStoppedError("stopped by a signal")

    def _batches(self, hour: str, ids: Iterable[str]) -> Iterator[tuple[str, list[Found]]]:
        """Yield the events of each hour, each once, from an hour on, of which the events in `ids` are left out."""
        for this, keys in self.reader.hours(self.wanted):
            if this < hour:
                continue
            seen = set(ids) if this == hour else set()
            events = self._fresh(keys, seen)
            if self.group_field:
                # In the order of their acceptance: groups keep it.
                events = iter(sorted(events, key=lambda each: str(each[1]["received_at"])))
            while batch := list(islice(events, self.events_a_batch)):
                yield this, self._judged(batch)

    def _fresh(self, keys: Sequence[str], seen: set[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for key, event in self.reader.events(keys, self.wanted):
            event_id = str(event.get("id"))
            if not is_id(event_id):
                # DynamoDB refuses some, and with them the whole batch.
                self.reader.problems[key] = "it has a line without the id of an event"
            elif event_id not in seen:
                seen.add(event_id)
                yield key, event

    def _judged(self, events: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Found]:
        items = self.table.read(str(event["id"]) for _, event in events)
        found = []
        for key, event in events:
            item = items.get(str(event["id"]))
            if self.wanted.stuck and not (item and is_lost(item, self.lost_after_seconds)):
                continue
            # Earlier releases did not archive it; then the item says it.
            known = {"fingerprint": item.get("fingerprint", "") if item else "", **event}
            try:
                envelope = Envelope.from_message(json.dumps(known))
            except UnreadableMessageError as error:
                self.reader.problems[key] = str(error)
                continue
            if item is None:
                state = NO_ITEM
            elif item.get("fingerprint", "") != envelope.fingerprint:
                state = ANOTHER
            else:
                state = "queued" if item["status"] == "accepting" else item["status"]
            found.append(Found(envelope, key, state))
        return found

    def _message(self, found: Found, run: str) -> queues.Outgoing | None:
        """Return the message of an event, None for one that cannot be sent."""
        if found.state == ANOTHER:
            return None
        fields = vars(found.envelope)
        waits = found.state in IN_QUEUE
        # Its message may still exist: the worker runs one of the two at a time.
        envelope = Envelope(**{**fields, "replay": None if waits else run, "resent": True if waits else None})
        try:
            body = message_of(envelope)
        except EventTooLargeError as error:
            self.reader.problems[found.key] = f"event {envelope.id} {error}"
            return None
        return queues.Outgoing(body, {}, self._group(envelope), f"{envelope.id}-{run}")

    def _group(self, envelope: Envelope) -> str:
        if self.fair_field:
            return tenant(envelope.data, self.fair_field)
        if not self.group_field:
            return ""
        try:
            return group(envelope.data, self.group_field)
        except InvalidEventError:
            # Of a webhook, whose name is not archived: one group for all of them.
            return "replay"


def selection(since: datetime, until: datetime | None, types: Sequence[str], *, stuck: bool = False) -> Selection:
    """Return what a command's options select. Raises LocalError."""
    wanted = Selection(timestamp(since), timestamp(until or datetime.now(UTC)), tuple(types), stuck=stuck)
    if wanted.since >= wanted.until:
        raise LocalError(f"--from {wanted.since} is not before --to {wanted.until}")
    return wanted


def run_replay_archive(
    stack: Stack, wanted: Selection | None, *, rate: int, dry_run: bool, sure: bool, as_json: bool
) -> int:
    """Send archived events again; with `wanted` None go on with the replay that is unfinished. Return the exit code.

    It is 1 if something in the archive could not be read or sent.
    """
    config = stack.config_as(ApiPipelineConfig)
    stack.aim_aws_clients()
    reader = ArchiveReader(boto3.client("s3"), stack.output("bucket_name"))
    table = EventReader(stack.output("table_name"), time_index_shards=0)
    begun = partial(
        Replay,
        reader,
        table,
        group_field=config.queue.fifo.group_field if config.queue.fifo else "",
        fair_field=config.queue.fair.group_field if config.queue.fair else "",
        lost_after_seconds=config.lost_after_seconds,
    )
    if dry_run:
        _count(begun(wanted=_checked(reader, wanted)), as_json=as_json)
        return 1 if reader.problems else 0
    with open_journal(stack.directory, stack.name) as journal:
        if wanted is None and not journal.is_begun:
            raise LocalError(f"no replay of stack {stack.name!r} is unfinished; begin one with --from")
        if wanted is not None:
            if journal.is_begun:
                raise unfinished(journal, stack.name, stack.directory)
            if not _count(begun(wanted=_checked(reader, wanted)), as_json=False, to_stderr=True):
                _show(Counter(), reader, as_json=as_json)
                return 1 if reader.problems else 0
            _ask(sure=sure)
            journal.begin(timestamp(datetime.now(UTC)), wanted)
        replay = begun(wanted=journal.wanted, events_a_batch=min(rate, EVENTS_A_BATCH))
        _send(replay, journal, stack, rate)
        journal.end()
        _show(replay.counts, reader, as_json=as_json, total=journal.sent)
    return 1 if reader.problems else 0


def _checked(reader: ArchiveReader, wanted: Selection | None) -> Selection:
    if wanted is None:
        raise LocalError("--dry-run counts what --from and --to select; --resume has been counted already")
    known = reader.types()
    if missing := [name for name in wanted.types if name not in known]:
        names = ", ".join(sorted(known)) or "none: storage.archive is off, or no event is done yet"
        raise LocalError(f"the archive has no events of type {', '.join(map(repr, missing))}; it has {names}")
    return wanted


def _count(replay: Replay, *, as_json: bool, to_stderr: bool = False) -> int:
    """Count events, print what a replay of them does, and return their number."""
    replay.count()
    wanted, total = replay.wanted, replay.counts.total()
    if as_json:
        _show(replay.counts, replay.reader, as_json=True)
        return total
    states = Counter[str]()
    for (_, state), count in replay.counts.items():
        states[state] += count
    if total:
        write_lines(_by_type(replay.counts), to_stderr=to_stderr)
        write_lines(
            (f"{states[each]:>9,} {each}: they {EFFECTS[each]}" for each in EFFECTS if states[each]),
            to_stderr=to_stderr,
        )
        write_lines(
            ["alerts, outcome events, dead letters and whatever your function calls happen again"], to_stderr=to_stderr
        )
    else:
        write_lines([f"{_nothing(wanted)} received from {wanted.since} until {wanted.until}"], to_stderr=to_stderr)
    _show_problems(replay.reader)
    return total


def _nothing(wanted: Selection) -> str:
    if wanted.stuck:
        return "nothing waits for a message that is lost, or it was not archived, of events"
    return "nothing was archived of events"


def _ask(*, sure: bool) -> None:
    if sure:
        return
    if not sys.stdin.isatty():
        raise LocalError("there is no terminal to ask at; look with --dry-run, and confirm with --yes")
    if not typer.confirm("Replay them?", err=True):
        raise LocalError("nothing was replayed")


def _send(replay: Replay, journal: Journal, stack: Stack, rate: int) -> None:
    """Send at a rate, with progress, until the end, a signal or too many dead letters. Raises ReplayStoppedError."""
    queue_url, dead_letters = stack.output("queue_url"), stack.output("dead_letter_queue_url")
    before, begun, said, count = queues.depth(dead_letters), time.monotonic(), time.monotonic(), 0
    with stop_on_signals() as stopped:

        def go_on(number: int) -> bool:
            nonlocal count, said
            count += number
            if time.monotonic() > said + PROGRESS_SECONDS:
                said = time.monotonic()
                write_lines([f"{journal.sent:,} sent, {count / (said - begun):,.0f} a second"], to_stderr=True)
                if (new := queues.depth(dead_letters) - before) > MAXIMUM_DEAD_LETTERS:
                    raise ReplayStoppedError(f"there are {new} new dead letters; look at them first")
            return not stopped.wait(max(0.0, begun + count / rate - time.monotonic()))

        try:
            replay.send(journal, lambda messages: queues.send(queue_url, messages), go_on)
        except (ReplayStoppedError, TableError, BotoCoreError, ClientError) as error:
            raise LocalError(f"{one_line(error)}; {journal.sent} events were sent, --resume continues") from error


def _by_type(counts: Mapping[tuple[str, str], int]) -> Iterator[str]:
    for (name, state), count in sorted(counts.items()):
        yield f"{count:>9,} {name}: {state}"


def _show(
    counts: Mapping[tuple[str, str], int], reader: ArchiveReader, *, as_json: bool, total: int | None = None
) -> None:
    if as_json:
        rows = [{"type": name, "state": state, "events": count} for (name, state), count in sorted(counts.items())]
        write_json({"sent": total or 0, "events": rows, "problems": reader.problems})
        return
    if total is not None:
        write_lines([f"{total:,} events sent again"])
    _show_problems(reader)


def _show_problems(reader: ArchiveReader) -> None:
    problems = list(reader.problems.items())
    write_lines((f"left out: {key}: {why}" for key, why in problems[:SHOWN_PROBLEMS]), to_stderr=True)
    if len(problems) > SHOWN_PROBLEMS:
        write_lines([f"... and {len(problems) - SHOWN_PROBLEMS} more"], to_stderr=True)
