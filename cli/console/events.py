"""Events of a stack of the variant api: the list, and the story of one."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3

from cli.console.story import Moment, about, correlation_ids, is_under, moments, time_of
from cli.console.texts import pretty
from cli.console.traffic import entry_of
from cli.core.logs import Line, LogReader
from cli.core.stack import Stack
from cli.live import shown
from components.options.api import ApiPipelineConfig
from handlers.api import archive
from handlers.api.events import is_id
from handlers.api.items import description, result_of
from handlers.api.listing import list_events
from handlers.api.reader import EventReader

# A result in a page; the whole one is in the bucket.
SHOWN_CHARACTERS = 200_000
# The log lines of an event are looked for from its arrival on, for so long at most.
STORY_DAYS = 14
# An object of the archive is written this near to the time at which its events are completed.
ARCHIVED_WITHIN = timedelta(minutes=2)
ARCHIVES_READ = 200


@dataclass(frozen=True)
class Story:
    """An event as its page shows it."""

    event: Mapping[str, Any]
    result: str | None
    moments: list[Moment]
    lines: list[tuple[str, str, str]]
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
        told = [(time_of(line), line.function, text) for line in lines for text in shown(about(line.message, event_id))]
        return Story(description(item), self._result(item), moments(item, lines), told)

    def body(self, event_id: str) -> dict[str, Any] | None:
        """Return the client's event as it was submitted, from the archive; None if it is not there.

        The archive has an object for each batch, written just after the items of the batch are completed.
        """
        item = self._reader.read([event_id]).get(event_id) if is_id(event_id) else None
        if item is None or self._config.storage.archive is None or not item.get("completed_at"):
            return None
        completed = datetime.fromisoformat(str(item["completed_at"]))
        s3, bucket = boto3.client("s3"), self._stack.output("bucket_name")
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{archive.folder(item)}/")
        near = [
            (abs(each["LastModified"] - completed), each["Key"]) for page in pages for each in page.get("Contents", [])
        ]
        for distance, key in sorted(near)[:ARCHIVES_READ]:
            if distance > ARCHIVED_WITHIN:
                return None
            stored = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            for line in archive.lines(stored):
                if line.envelope["id"] == event_id:
                    data: dict[str, Any] = line.envelope["data"]
                    return data
        return None

    def _result(self, item: Any) -> str | None:
        if key := item.get("result_key"):
            body = boto3.client("s3").get_object(Bucket=self._stack.output("bucket_name"), Key=key)["Body"]
            text = body.read(SHOWN_CHARACTERS).decode(errors="replace")
            return pretty(text)
        found = result_of(item)
        return None if found is None else json.dumps(found, indent=2, ensure_ascii=False)[:SHOWN_CHARACTERS]

    def _lines(self, event_id: str, received_at: str) -> list[Line]:
        """Return the lines that name the event, and those of a request that submitted it alone."""
        since = datetime.fromisoformat(received_at) - timedelta(minutes=1)
        since = max(since, datetime.now(UTC) - timedelta(days=STORY_DAYS))
        named = self._matching(event_id, since)
        found = dict.fromkeys(named)
        for correlation_id in correlation_ids(named, event_id):
            under = self._matching(correlation_id, since)
            found |= dict.fromkeys(line for line in under if is_under(line, correlation_id, event_id))
        return sorted(found, key=lambda line: line.time_ms)

    def _matching(self, text: str, since: datetime) -> list[Line]:
        """Return the log entries that contain a text."""
        groups, pattern = self._stack.outputs.get("log_groups", {}), _pattern(text)
        if not pattern:
            return []
        reader = LogReader(boto3.client("logs"), groups, round(since.timestamp() * 1_000), pattern=pattern)
        logged = json.dumps(text)[1:-1]
        return [line for line in reader.read() if logged in line.message and entry_of(line.message)]


def _pattern(text: str) -> str:
    """Return a filter pattern for the log entries that may contain a text; empty if none can be written.

    A client chooses its correlation id. A pattern has no escape for quotation marks, and JSON escapes them in the line,
    and backslashes, too. So the longest part without either is looked for:
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
    """
    longest = max(re.split(r'["\\]', text), key=len)
    return f'"{longest}"' if longest.strip() else ""
