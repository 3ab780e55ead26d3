"""`pipeline events`: recent events, from the table's time index, with the operator's own credentials."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.text import Text

from cli.core.errors import one_line
from cli.core.json_text import write_json
from cli.core.stack import Stack
from cli.core.terminal import inert
from components.options.api import ApiPipelineConfig
from handlers.api.listing import MAXIMUM_LIMIT, list_events
from handlers.api.reader import EventReader
from handlers.shared.errors import BadRequestError
from local.errors import LocalError

WATCH_SECONDS = 1.0
STYLES = {"queued": "cyan", "retrying": "yellow", "succeeded": "green", "failed": "red"}


@dataclass(frozen=True)
class Selection:
    """Which events: since a time (default: an hour ago), of a status, of a type, the newest `maximum`."""

    since: datetime | None
    status: str | None
    event_type: str | None
    maximum: int

    def parameters(self, now: datetime) -> dict[str, str]:
        """Return the parameters of `GET /events`."""
        given = {
            "since": (self.since or now - timedelta(hours=1)).isoformat(),
            "status": self.status,
            "type": self.event_type,
            "limit": str(min(self.maximum, MAXIMUM_LIMIT)),
        }
        return {name: value for name, value in given.items() if value is not None}


def run_events(stack: str, selection: Selection, *, watch: bool, as_json: bool) -> int:
    """Print the events, oldest first; with `watch`, print each that is new or has changed until Ctrl-C."""
    target = Stack(stack)
    config = target.config_as(ApiPipelineConfig)
    if not config.storage.time_index:
        raise LocalError(f"stack {stack!r} has no time index (storage.time_index); its events cannot be listed")
    table = target.output("table_name")
    target.aim_aws_clients()
    reader = EventReader(table, time_index_shards=config.storage.time_index_shards)
    parameters = selection.parameters(datetime.now(UTC))
    console = Console(soft_wrap=True, highlight=False, markup=False)
    shown: dict[str, Any] = {}
    try:
        while True:
            kept_days = config.storage.items_expire_after_days
            for event in reversed(list(selected(reader, parameters, selection.maximum, kept_days))):
                if shown.get(event["id"]) != event:
                    shown[event["id"]] = event
                    write_json(event) if as_json else console.print(line(event))
            if not watch:
                return 0
            time.sleep(WATCH_SECONDS)
            target.refuse_ended()
    except KeyboardInterrupt:
        return 0
    except BadRequestError as error:
        raise LocalError(one_line(error)) from error
    except (BotoCoreError, ClientError) as error:
        raise LocalError(f"the events cannot be read: {one_line(error)}") from error


def selected(reader: EventReader, parameters: dict[str, str], maximum: int, kept_days: int) -> Iterator[dict[str, Any]]:
    """Yield the newest events, newest first, page by page."""
    left, cursor = maximum, None
    while left:
        page = list_events(reader, {**parameters, **({"cursor": cursor} if cursor else {})}, kept_days)
        yield from page["events"][:left]
        left, cursor = max(0, left - len(page["events"])), page["cursor"]
        if cursor is None:
            return


def line(event: dict[str, Any]) -> Text:
    """Return the line of an event: when it was received, id, type, status, milliseconds, error."""
    received = datetime.fromisoformat(event["received_at"])
    text = Text(f"{received.astimezone():%H:%M:%S}  {event['id']}  {inert(event['type'])}  ")
    text.append(event["status"], style=STYLES.get(event["status"], ""))
    if event.get("completed_at"):
        text.append(f"  {(datetime.fromisoformat(event['completed_at']) - received).total_seconds() * 1_000:.0f} ms")
    if event.get("error"):
        text.append(f"  {inert(event['error'])}")
    return text
