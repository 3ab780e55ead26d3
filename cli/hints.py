"""Commands to try on a stack that runs here, which its variant, schemas and authentication accept."""

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from cli.core.samples import sample_event
from cli.core.suggestions import suggest
from components.config import PipelineConfig
from components.options.api import ApiOptions, ApiPipelineConfig
from components.options.csv import CsvPipelineConfig
from components.options.iot import IotPipelineConfig
from components.variants.api import event_schemas

# Columns that a hint names.
SHOWN_COLUMNS = 8
# What a client of a protected API adds.
ACCESS: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "iam": ("--sign",),
    "api_key": ("--header", "x-api-key: YOUR-KEY"),
    "jwt": ("--header", "authorization: Bearer YOUR-TOKEN"),
}


def hints(stack: str, config: PipelineConfig, outputs: Mapping[str, Any]) -> list[str]:
    """Return the lines to print below the outputs of a stack. Schemas are read from the working directory."""
    match config:
        case ApiPipelineConfig():
            # In the order of the stack file: that of the outputs differs from run to run.
            urls = {name: outputs["webhook_urls"][name] for name in config.webhooks}
            return [*_send(stack, config.api, outputs["api_url"]), *_webhooks(stack, urls)]
        case CsvPipelineConfig():
            columns = [column.name for column in config.input.columns]
            more = f" and {len(columns) - SHOWN_COLUMNS} more" if len(columns) > SHOWN_COLUMNS else ""
            return [
                f"Upload a file with the columns {', '.join(columns[:SHOWN_COLUMNS])}{more}:",
                suggest("upload", "FILE.csv", "--stack", stack),
            ]
        case IotPipelineConfig():
            return ["Upload readings of simulated devices:", suggest("simulate", "--stack", stack)]


def _send(stack: str, api: ApiOptions, url: str) -> list[str]:
    event = _event(api)
    if event is None:
        files = (
            api.schemas if isinstance(api.schemas, str) else " or ".join(f"schemas/{one}.json" for one in api.schemas)
        )
        return [
            f"Send events that satisfy {files}:",
            suggest("send", "FILE.jsonl", "--stack", stack, *ACCESS[api.auth]),
        ]
    body = shlex.quote(json.dumps(event))
    if api.auth != "none":
        send = suggest("send", "-", "--stack", stack, *ACCESS[api.auth])
        return [f"Send an event (the API requires {api.auth}):", f"echo {body} | {send}"]
    return ["Send an event:", f"curl -i {url}/events -H 'Content-Type: application/json' -d {body}"]


def _webhooks(stack: str, urls: Mapping[str, str]) -> Iterator[str]:
    for name, url in urls.items():
        send = suggest("webhook", "send", name, "FILE", "--stack", stack)
        yield from ("", f"Send a request of the webhook {name} to {url}:", send)


def _event(api: ApiOptions) -> dict[str, Any] | None:
    """Return an event that the API accepts; None if its schema is too complicated for a sample."""
    schemas = event_schemas(api)
    if not schemas:
        return {"data": "test payload"}
    event_type, schema = next(iter(schemas.items()))
    event = sample_event(schema)
    if event is None or not event_type:
        return event
    return {api.type_field: event_type, **event}
