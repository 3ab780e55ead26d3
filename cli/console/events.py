"""Events of a stack of the variant api: the list, and the story of one."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3

from cli.console.traffic import done_in, entry_of
from cli.core.logs import Line, LogReader
from cli.core.stack import Stack
from cli.live import shown
from components.options.api import ApiPipelineConfig
from handlers.api.events import is_id
from handlers.api.items import description, result_of
from handlers.api.listing import list_events
from handlers.api.reader import EventReader

# A result in a page; the whole one is in the bucket.
SHOWN_CHARACTERS = 200_000
# The log lines of an event are looked for from its arrival on, for so long at most.
STORY_DAYS = 14


@dataclass(frozen=True)
class Moment:
    """A step in the story of an event. `style` is its outcome."""

    time: str
    title: str
    style: str
    detail: str = ""
    traceback: str = ""


@dataclass(frozen=True)
class Story:
    """An event as its page shows it."""

    event: Mapping[str, Any]
    result: str | None
    moments: list[Moment] = field(default_factory=list)
    lines: list[tuple[str, str, str]] = field(default_factory=list)
    """Time, function and text of each log line."""


class Events:
    """The events of a stack. Its AWS clients must be aimed already."""

    def __init__(self, stack: Stack) -> None:
        self._config = stack.config_as(ApiPipelineConfig)
        self._stack = stack
        self._reader = EventReader(
            stack.output("table_name"),
            time_index_shards=self._config.storage.time_index_shards if self._config.storage.time_index else 0,
        )

    @property
    def are_listed(self) -> bool:
        """Whether there is a time index."""
        return self._config.storage.time_index

    def page(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        """Return a page of events, newest first, as `GET /events` does. Raises BadRequestError."""
        return list_events(self._reader, parameters, self._config.storage.items_expire_after_days)

    def story(self, event_id: str) -> Story | None:
        """Return what became of an event; None if there is none."""
        item = self._reader.read_with_result(event_id) if is_id(event_id) else None
        if item is None:
            return None
        lines = list(self._lines(event_id, item["received_at"]))
        moments = [Moment(item["received_at"], "received", "queued", f"type {item['type']}")]
        for line in lines:
            moments += _moments(line, event_id)
        if item["status"] == "retrying" and item.get("next_attempt_at"):
            moments.append(Moment(str(item["next_attempt_at"]), "next attempt", "retrying"))
        told = [(_time(line), line.function, text) for line in lines for text in shown(_only(line.message, event_id))]
        return Story(description(item), self._result(item), moments, told)

    def _result(self, item: Any) -> str | None:
        if key := item.get("result_key"):
            body = boto3.client("s3").get_object(Bucket=self._stack.output("bucket_name"), Key=key)["Body"]
            text = body.read(SHOWN_CHARACTERS).decode(errors="replace")
            return pretty(text)
        found = result_of(item)
        return None if found is None else json.dumps(found, indent=2, ensure_ascii=False)[:SHOWN_CHARACTERS]

    def _lines(self, event_id: str, received_at: str) -> Iterator[Line]:
        groups = self._stack.outputs.get("log_groups", {})
        since = datetime.fromisoformat(received_at) - timedelta(minutes=1)
        since = max(since, datetime.now(UTC) - timedelta(days=STORY_DAYS))
        reader = LogReader(boto3.client("logs"), groups, round(since.timestamp() * 1_000), pattern=f'"{event_id}"')
        return (line for line in reader.read() if event_id in line.message and entry_of(line.message))


def pretty(text: str) -> str:
    """Return JSON with line breaks, and other text as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def _only(message: str, event_id: str) -> str:
    """Return a log line without what it says of other events of the same batch."""
    entry = entry_of(message) or {}
    own = [each for each in done_in(entry) if each.get("id") == event_id]
    return json.dumps({**entry, "events": own}) if "events" in entry else message


def _moments(line: Line, event_id: str) -> Iterator[Moment]:
    entry = entry_of(line.message) or {}
    for each in done_in(entry):
        if each.get("id") == event_id:
            attempts = f"attempt {each['attempts']}" if each.get("attempts") else ""
            took = f"{each['latency_ms']} ms after it was received" if "latency_ms" in each else ""
            said = ", ".join(filter(None, (attempts, took, each.get("error", ""))))
            yield Moment(_time(line), str(each["outcome"]), str(each["outcome"]), said)
    if entry.get("exception"):
        yield Moment(_time(line), str(entry.get("message", "")), "retrying", traceback=str(entry["exception"]))


def _time(line: Line) -> str:
    return datetime.fromtimestamp(line.time_ms / 1_000, UTC).isoformat()
