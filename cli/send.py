"""`pipeline send`: events from a file to a pipeline's API."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.progress import Progress

from cli.core.http import Access, Answer, request
from cli.core.json_text import parse_values, read_text, write_json
from cli.core.stack import Stack
from cli.core.terminal import write_lines, write_styled
from local.errors import LocalError

# Lambda accepts 6 MB a request, and the API wraps the body in JSON as a string, which makes it longer.
BATCH_BYTES = 4_000_000

# Nothing was accepted, so a retry is safe, with or without idempotency keys.
RETRIED = (429, 503)
ATTEMPTS = 6
FIRST_WAIT_SECONDS = 0.5

SHOWN_REASONS = 5
SHOWN_IDS = 20


@dataclass
class Counts:
    """Events sent, and their outcomes. `accepted` includes duplicates; `reasons` are those of the first rejected."""

    sent: int = 0
    accepted: int = 0
    duplicate: int = 0
    rejected: int = 0
    reasons: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    def reject(self, number: int, reason: str) -> None:
        """Count a rejected event."""
        self.rejected += 1
        if len(self.reasons) < SHOWN_REASONS:
            self.reasons.append(f"event {number}: {reason}")


def run_send(file: str, stack: str, batch_size: int, access: Access, *, as_json: bool) -> int:
    """Send the events of a file; print ids and counts. Return 1 if any was rejected."""
    events = read_events(*read_text(file))
    url = f"{Stack(stack).output('api_url')}/events"
    counts = Counts()
    errors = Console(stderr=True)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task("sending", total=len(events))
        for _ in send(events, url, batch_size, access, counts):
            progress.update(task, completed=counts.sent)
    if as_json:
        write_json(asdict(counts))
    else:
        _show(counts)
    return 1 if counts.rejected else 0


def read_events(text: str, source: str) -> list[str]:
    """Return the events of a text, each as JSON: an array, one object, `{"events": [...]}`, or JSON Lines."""
    events = parse_values(text, source)
    match events:
        case [{"events": list(wrapped), **others}] if not others and not text.lstrip().startswith("["):
            events = wrapped
    return [json.dumps(event) for event in events]


def send(events: Sequence[str], url: str, batch_size: int, access: Access, counts: Counts) -> Iterator[None]:
    """Send events in batches, keep the counts, and yield after each batch. Raises LocalError when the API fails."""
    for batch in _batches(events, batch_size):
        try:
            answer = _post(url, f"[{','.join(batch)}]", access)
        except LocalError as error:
            raise LocalError(f"{error} ({counts.sent} of {len(events)} events sent before)") from error
        _count(answer, len(batch), counts)
        counts.sent += len(batch)
        yield


def _show(counts: Counts) -> None:
    write_styled((f"rejected: {reason}" for reason in counts.reasons), Console(stderr=True))
    if counts.rejected > len(counts.reasons):
        write_lines([f"... and {counts.rejected - len(counts.reasons)} more"], to_stderr=True)
    write_lines(counts.ids[:SHOWN_IDS])
    if len(counts.ids) > SHOWN_IDS:
        write_lines([f"... and {len(counts.ids) - SHOWN_IDS} more ids; --json prints all"])
    accepted = f"{counts.accepted} accepted ({counts.duplicate} duplicate)"
    write_lines([f"{counts.sent} event{'' if counts.sent == 1 else 's'}: {accepted}, {counts.rejected} rejected"])


def _batches(events: Sequence[str], size: int) -> Iterator[list[str]]:
    batch: list[str] = []
    length = 0
    for event in events:
        if batch and (len(batch) == size or length + len(event) > BATCH_BYTES):
            yield batch
            batch, length = [], 0
        batch.append(event)
        length += len(event)
    if batch:
        yield batch


def _post(url: str, body: str, access: Access) -> Answer:
    wait = FIRST_WAIT_SECONDS
    for _ in range(ATTEMPTS - 1):
        answer = request("POST", url, body, access=access)
        if answer.status not in RETRIED:
            return answer
        time.sleep(wait)
        wait *= 2
    return request("POST", url, body, access=access)


def _count(answer: Answer, length: int, counts: Counts) -> None:
    body = answer.json
    if not isinstance(body, dict) or "results" not in body:
        if answer.status in (401, 403, 404) or answer.status >= 500:  # noqa: PLR2004  the next batch would fail in the same way
            raise LocalError(f"the API answered {answer.status}: {answer.reason}")
        for index in range(length):
            counts.reject(counts.sent + index + 1, answer.reason)
        return
    for result in body["results"]:
        if result["status"] == "rejected":
            reasons = "; ".join(f"{error['path'] or 'event'}: {error['message']}" for error in result["errors"])
            counts.reject(counts.sent + result["index"] + 1, reasons)
        else:
            counts.accepted += 1
            counts.ids.append(str(result["id"]))
            counts.duplicate += bool(result.get("duplicate"))
