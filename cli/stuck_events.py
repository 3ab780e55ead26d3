"""`pipeline events --stuck`: events that wait for messages which are lost, with the operator's own credentials."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from cli.core.errors import one_line
from cli.core.json_text import write_json
from cli.core.stack import Stack
from cli.core.suggestions import suggest
from cli.core.terminal import inert, write_lines
from components.options.api import ApiPipelineConfig
from handlers.api.items import EventItem, description, is_declared_lost, is_lost
from handlers.api.stuck import DAY, waiting
from handlers.api.table import EventTable
from handlers.shared.dynamodb import TableError
from local.errors import LocalError


@dataclass(frozen=True)
class Stuck:
    """Which events: received since a time (default: as long as items are kept), of a type, `maximum` of them shown.

    `lost_before`: all messages that were sent before that time are lost, as by a purge.
    """

    since: datetime | None
    lost_before: datetime | None
    event_type: str | None
    maximum: int


def run_stuck(stack: str, wanted: Stuck, *, release: bool, as_json: bool) -> int:
    """Print the events, oldest first; with `release`, declare their messages lost. Return the exit code."""
    target = Stack(stack)
    config = target.config_as(ApiPipelineConfig)
    storage = config.storage
    if not storage.time_index:
        raise LocalError(f"stack {stack!r} has no time index (storage.time_index); its events cannot be listed")
    now = datetime.now(UTC)
    if wanted.lost_before and wanted.lost_before > now:
        raise LocalError("--lost-before must not be in the future")
    table_name = target.output("table_name")
    target.aim_aws_clients()
    table = EventTable(
        table_name,
        time_index_shards=storage.time_index_shards,
        items_expire_after_days=storage.items_expire_after_days,
    )
    try:
        found = list(_found(table, wanted, config.lost_after_seconds, storage.items_expire_after_days, now))
        released = table.declare_lost(found) if release else 0
    except (TableError, BotoCoreError, ClientError) as error:
        raise LocalError(f"the events cannot be read or released: {one_line(error)}") from error
    _show(found[: wanted.maximum], released=release, as_json=as_json)
    write_lines(_summary(stack, config, found, released if release else None), to_stderr=True)
    return 0


def _found(
    table: EventTable, wanted: Stuck, lost_after_seconds: int, kept_days: int, now: datetime
) -> Iterator[EventItem]:
    until = wanted.lost_before or now - timedelta(seconds=lost_after_seconds)
    day = wanted.since or now - timedelta(days=kept_days)
    while day < until:
        items = waiting(table, day, min(until, day + DAY)) or []
        day += DAY
        for item in sorted(items, key=lambda each: each["received_at"]):
            if wanted.event_type not in (None, item["type"]):
                continue
            if is_lost(item, lost_after_seconds) or _sent_before(item, wanted.lost_before):
                yield item


def _sent_before(item: EventItem, moment: datetime | None) -> bool:
    sent = max(datetime.fromisoformat(item["received_at"]).timestamp(), item.get("sent_at") or 0)
    return moment is not None and sent < moment.timestamp()


def _show(found: Sequence[EventItem], *, released: bool, as_json: bool) -> None:
    for item in found:
        is_released = released or is_declared_lost(item)
        if as_json:
            shown: dict[str, Any] = {**description(item), "released": is_released}
            write_json(shown)
        else:
            state = "  released" if is_released else ""
            write_lines([f"{item['received_at']}  {item['id']}  {inert(item['type'])}  {item['status']}{state}"])


def _summary(stack: str, config: ApiPipelineConfig, found: Sequence[EventItem], released: int | None) -> list[str]:
    if not found:
        return ["no event waits for a message that is lost"]
    lines = [f"{len(found):,} events wait for messages that are lost"]
    if released is None:
        lines.append("--release lets a repeat by a client send each of them again")
    else:
        lines.append(f"{released:,} are released: a repeat by a client sends them again")
        if released < len(found):
            lines.append(f"{len(found) - released:,} have changed meanwhile, and are left as they are")
    if config.storage.archives_accepted and released is not None:
        first, last = (datetime.fromisoformat(each["received_at"]) for each in (found[0], found[-1]))
        command = suggest(
            "replay",
            "--stack",
            stack,
            "--from",
            first.isoformat(),
            "--to",
            (last + timedelta(microseconds=1)).isoformat(),
            "--stuck",
        )
        lines.append(f"{command} sends them again from the archive")
    return lines
