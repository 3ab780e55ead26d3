"""Events to send: samples, edited ones, and what the API will say of them before it is asked."""

from collections.abc import Mapping
from typing import Any

from cli.console.samples import samples
from cli.console.texts import difference, editable, pretty
from cli.core.http import Access, request
from cli.core.stack import Stack
from cli.send import read_events
from components.options.api import ApiPipelineConfig
from components.variants.api import event_schemas
from handlers.api.entries import Entry, envelope_of
from handlers.api.settings import IngestSettings
from handlers.api.submissions import Submissions
from handlers.shared.errors import ApiError
from handlers.shared.http import Request
from local.errors import LocalError
from local.recording import Graph

NO_SCHEMA = {"": '{\n  "data": "text"\n}'}
SHOWN_PROBLEMS = 20
_FUNCTION, _HANDLER = "aws:lambda/function:Function", "handlers.api.ingest.handler"

Values = dict[str, Any]


class Sending:
    """Sends events to a stack's API, after a check with the code and the settings of its function."""

    def __init__(self, stack: Stack, graph: Graph, access: Access) -> None:
        self._stack = stack
        self._access = access
        schemas = event_schemas(stack.config_as(ApiPipelineConfig).api)
        self._samples = samples(schemas) or NO_SCHEMA
        ingest = next(each for each in graph.of_type(_FUNCTION) if each.inputs["handler"] == _HANDLER)
        settings = IngestSettings.from_environment(ingest.inputs["environment"]["variables"])
        # Ids follow from a secret of the stack, which a check does not need.
        self._submissions = Submissions(settings, schemas, lambda: b"")

    def sample(self, event_type: str | None) -> Values:
        """Return the form with a sample that fits the schema of a type."""
        name = event_type if event_type in self._samples else next(iter(self._samples))
        return {**_form(self._samples[name]), "types": list(self._samples)}

    def again(self, event_id: str, data: Mapping[str, Any] | None) -> Values:
        """Return the form with an event that was sent before; `data` is None if its body is not kept."""
        text = "" if data is None else editable(data)
        return {**_form(text, original=text), "again": event_id}

    def checked(self, text: str, original: str, *, send: bool) -> Values:
        """Check events, and send them if they are valid and `send` says so. Return the form with what came of it."""
        values: Values = {**_form(text, original=original), "difference": difference(original, text)}
        try:
            events = read_events(text, "the event")
            body = events[0] if len(events) == 1 else f"[{','.join(events)}]"
            entries = self._entries(body)
        except (LocalError, ApiError) as error:
            return {**values, "problems": [str(error)]}
        problems = [each for number, entry in enumerate(entries, 1) for each in _problems(entry, number, len(entries))]
        if problems:
            return {**values, "problems": problems[:SHOWN_PROBLEMS]}
        if not send:
            return {**values, "notes": self._notes(entries, original)}
        try:
            answer = request("POST", f"{self._stack.output('api_url')}/events", body, access=self._access)
        except LocalError as error:
            # The form keeps what was written.
            return {**values, "problems": [f"{error}; whether the API accepted it is not known"]}
        sent = answer.json if isinstance(answer.json, dict) else {}
        ids = [sent["id"]] if "id" in sent else [each["id"] for each in sent.get("results", []) if "id" in each]
        return {**values, "answer": answer, "answer_text": pretty(answer.text), "ids": ids}

    def _entries(self, body: str) -> list[Entry]:
        """Return what the API's own code makes of a body. Raises ApiError."""
        asked = Request(
            route="POST /events",
            path="/events",
            headers={},
            parameters={},
            repeated=(),
            event_id="",
            body=body.encode(),
            source_ip="127.0.0.1",
            user_agent="",
            correlation_id="console",
            caller="",
            owner="",
        )
        return self._submissions.read(asked)[0]

    def _notes(self, entries: list[Entry], original: str) -> list[str]:
        """Return what will happen with valid events, and what will differ from the one that was sent before."""
        if len(entries) > 1:
            return [f"{len(entries)} events are valid."]
        new = envelope_of(entries[0])
        notes = [f"It is a valid event of the type {new.type}."]
        before = self._entries(original)[0].envelope if original else None
        if before is not None and before.type != new.type:
            notes.append(f"The type was {before.type}.")
        shared = "idempotency key" if new.idempotency_key else "content"
        if not new.fingerprint or (before is None and not new.idempotency_key):
            notes.append("It has no idempotency key: it gets a new id and is processed as a new event.")
        elif before is None or before.id != new.id:
            notes.append(f"It gets an id that follows from its {shared}, and is processed unless it was sent before.")
        elif before.fingerprint == new.fingerprint:
            notes.append(
                f"It has the {shared} of the original: the API answers the same caller with the event that is there, "
                "and nothing is processed again. Change it to have it processed."
            )
        else:
            notes.append(
                "It has the idempotency key of the original and other content: the API refuses it to the same caller "
                "as a conflict (409). Change or remove the key."
            )
        return notes


def _problems(entry: Entry, number: int, count: int) -> list[str]:
    if entry.refusal is None:
        return []
    which = f"event {number}: " if count > 1 else ""
    details = [f"{which}{each['path'] or 'the event'} {each['message']}" for each in entry.refusal.details]
    return details or [f"{which}{entry.refusal.message}"]


def _form(text: str, *, original: str = "") -> Values:
    given = {"title": "Send", "event": text, "original": original, "types": [], "again": ""}
    return {**given, "problems": [], "notes": [], "difference": [], "answer": None, "answer_text": "", "ids": []}
