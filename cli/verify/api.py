"""The probe of an api stack: one event, accepted, processed, readable, and recognised when it is sent again."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3

from cli.core.http import Access, Answer, request
from cli.core.json_text import parse_object, read_text
from cli.core.removal import remove_dead_letters, remove_item, remove_objects
from cli.core.stack import Stack
from cli.core.suggestions import suggest
from cli.verify.samples import put, value_of
from components.options.api import ApiOptions, ApiPipelineConfig
from components.options.schemas import read_event_schema
from handlers.api import archive
from handlers.shared.schemas import compile_schemas
from local.errors import LocalError

POLL_SECONDS = 0.5
# What is archived alone is there by then.
ARCHIVED_SECONDS = 5
OK, ACCEPTED, NOT_FOUND, FORBIDDEN = 200, 202, 404, (401, 403)


class ApiProbe:
    """An event with an idempotency key and a correlation id of its own."""

    def __init__(self, stack: Stack, mark: str, access: Access, sample: str | None, seconds: float) -> None:
        self._stack, self.mark, self._access, self._seconds = stack, mark, access, seconds
        self._config = stack.config_as(ApiPipelineConfig)
        self._url = stack.output("api_url")
        self._event = json.dumps(self._made(sample))
        self._id = ""
        self._shown: Mapping[str, Any] = {}

    def steps(self) -> Mapping[str, Callable[[], str]]:
        """Return the steps in order."""
        return {
            "healthy": self._health,
            "accepted": self._accept,
            "processed": self._process,
            "readable": self._read,
            "repeat": self._repeat,
        }

    def clean(self, *, failed: bool) -> Iterator[str]:
        """Remove the event's item, result, archive object and dead letter. Yield what is left."""
        if failed:
            remove_dead_letters(self._stack.output("dead_letter_queue_url"), self.mark)
        if not self._id:
            return
        table, bucket = self._stack.output("table_name"), self._stack.output("bucket_name")
        key = {"id": {"S": self._id}}
        item = boto3.client("dynamodb").get_item(TableName=table, Key=key, ConsistentRead=True).get("Item", {})
        if item.get("status", {}).get("S") not in ("succeeded", "failed"):
            yield f"event {self._id} is not done, and may still be in the queue"
            return
        if "S" in item.get("result_key", {}):
            remove_objects(bucket, item["result_key"]["S"])
        if self._config.storage.archive:
            # Archived alone, its object is named after it; with others, its line stays in theirs. It follows the item.
            name = archive.object_name([(self._id, item["completed_at"]["S"])])
            described = {each: item[each]["S"] for each in ("type", "received_at")}
            line, deadline = f"{archive.folder(described)}/{name}.jsonl.gz", time.monotonic() + ARCHIVED_SECONDS
            while not remove_objects(bucket, line) and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
        remove_item(table, key)

    def _made(self, sample: str | None) -> dict[str, Any]:
        if sample is not None:
            event = parse_object(*read_text(sample))
        else:
            event = _event(self._config.api, self._stack.directory, self.mark)
        if self._config.queue.fifo:
            # A group of its own, so that it holds up no other event.
            put(event, self._config.queue.fifo.group_field.split("."), self.mark)
        return event

    def _health(self) -> str:
        answer = request("GET", f"{self._url}/health")
        if answer.status != OK:
            raise LocalError(f"GET /health answered {answer.status}: {answer.reason}")
        return self._url

    def _accept(self) -> str:
        answer = self._post()
        self._id = str(answer.json["id"])
        return f"event {self._id}"

    def _process(self) -> str:
        begun = time.monotonic()
        while True:
            answer = self._get(f"/events/{quote(self._id, safe='')}")
            self._shown = answer.json if answer.status == OK and isinstance(answer.json, dict) else {}
            match self._shown.get("status"):
                case "succeeded":
                    return f"in {time.monotonic() - begun:.1f} seconds, attempt {self._shown.get('attempts')}"
                case "failed":
                    raise LocalError(
                        f"it failed: {self._shown.get('error')}; name an event that succeeds with --sample"
                    )
            if answer.status not in (OK, NOT_FOUND):
                raise LocalError(f"GET /events/{self._id} answered {answer.status}: {answer.reason}")
            if time.monotonic() - begun > self._seconds:
                was = self._shown.get("status", "unknown")
                look = suggest("logs", "--stack", self._stack.name, "--id", self._id)
                raise LocalError(f"it is {was} after {self._seconds:g} seconds; see `{look}`")
            time.sleep(POLL_SECONDS)

    def _read(self) -> str:
        if url := self._shown.get("result_url"):
            answer = request("GET", url)
            if answer.status != OK:
                raise LocalError(f"its result cannot be read: HTTP {answer.status}")
            return f"its result, {len(answer.text)} characters, from the bucket"
        return f"its result, {len(json.dumps(self._shown.get('result')))} characters"

    def _repeat(self) -> str:
        again = self._post().json
        if (again.get("id"), again.get("duplicate")) != (self._id, True):
            raise LocalError(f"the same event again was taken for a new one: {again.get('id')}")
        return "the same id, and nothing ran twice"

    def _post(self) -> Answer:
        headers = {"Idempotency-Key": self.mark, "X-Correlation-Id": self.mark}
        answer = request("POST", f"{self._url}/events", self._event, headers, self._access)
        if answer.status != ACCEPTED or not isinstance(answer.json, dict):
            hint = "; see --sign and --header" if answer.status in FORBIDDEN else ""
            raise LocalError(f"POST /events answered {answer.status}: {answer.reason}{hint}")
        return answer

    def _get(self, path: str) -> Answer:
        return request("GET", f"{self._url}{path}", access=self._access)


def _event(options: ApiOptions, directory: Path, mark: str) -> dict[str, Any]:
    """Return an event that the stack's schemas accept. Raises LocalError if none could be made up."""
    if options.schemas == "none":
        return {"pipeline_verify": mark}
    name = options.schemas if isinstance(options.schemas, str) else f"schemas/{options.schemas[0]}.json"
    schema = read_event_schema(directory / name)
    event = value_of(schema)
    if isinstance(event, dict) and not isinstance(options.schemas, str):
        event[options.type_field] = options.schemas[0]
    problems = compile_schemas({"": schema})[""](event) if isinstance(event, dict) else [{"message": "it is no object"}]
    if problems:
        raise LocalError(
            f"no event could be made up that {name} accepts ({problems[0]['message']}); name one with --sample FILE"
        )
    return dict(event)
