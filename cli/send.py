"""`pipeline send`: events from a file to a pipeline's API."""

import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.progress import Progress

from cli.http import Access, Answer, request
from cli.outputs import output
from cli.terminal import inert
from handlers.shared.strict_json import without_repeated_names
from local.errors import LocalError

# Lambda takes 6 MB in one request, and the API passes the body on as text inside JSON.
BATCH_BYTES = 4_000_000

# Answers that say that nothing was taken: sending again is safe, with or without idempotency keys.
RETRIED = (429, 503)
ATTEMPTS = 6
FIRST_WAIT_SECONDS = 0.5

SHOWN_REASONS = 5


@dataclass
class Counts:
    """What became of the events. `accepted` counts duplicates too."""

    accepted: int = 0
    duplicate: int = 0
    rejected: int = 0
    reasons: list[str] = field(default_factory=list)

    def reject(self, number: int, reason: str) -> None:
        """Counts a rejected event, and keeps the first reasons."""
        self.rejected += 1
        if len(self.reasons) < SHOWN_REASONS:
            self.reasons.append(f"event {number}: {reason}")


def run_send(file: str, stack: str, batch_size: int, access: Access) -> int:
    """Sends the events of a file; prints counts. Returns 1 if any was rejected."""
    events = read_events(
        sys.stdin.read() if file == "-" else _read(Path(file)), "standard input" if file == "-" else file
    )
    url = f"{output(stack, 'api_url')}/events"
    counts = Counts()
    errors = Console(stderr=True)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task("sending", total=len(events))
        sent = 0
        for batch in _batches(events, batch_size):
            try:
                answer = _post(url, f"[{','.join(batch)}]", access)
            except LocalError as error:
                raise LocalError(f"{error} ({sent} of {len(events)} events sent before)") from error
            _count(answer, sent, len(batch), counts)
            sent += len(batch)
            progress.update(task, completed=sent)
    for reason in counts.reasons:
        errors.print(f"rejected: {inert(reason)}", soft_wrap=True, markup=False, highlight=False)
    if counts.rejected > len(counts.reasons):
        errors.print(f"... and {counts.rejected - len(counts.reasons)} more", highlight=False)
    summary = (
        f"{len(events)} events: {counts.accepted} accepted ({counts.duplicate} duplicate), {counts.rejected} rejected"
    )
    sys.stdout.write(f"{summary}\n")
    return 1 if counts.rejected else 0


def read_events(text: str, source: str) -> list[str]:
    """The events of a text, each as JSON: an array, one object, `{"events": [...]}`, or a line each.

    Raises LocalError with the line of what is not JSON.
    """
    if not text.strip():
        raise LocalError(f"{source} is empty: there are no events in it")
    try:
        whole = _parse(text)
    except ValueError as error:
        lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
        if len(lines) == 1:
            raise LocalError(f"{source} is not JSON: {error}") from error
        return [_line(line, number, source) for number, line in lines]
    if isinstance(whole, dict) and whole.keys() == {"events"} and isinstance(whole["events"], list):
        whole = whole["events"]
    return [json.dumps(event) for event in whole] if isinstance(whole, list) else [json.dumps(whole)]


def _line(line: str, number: int, source: str) -> str:
    try:
        return json.dumps(_parse(line))
    except ValueError as error:
        raise LocalError(f"{source}, line {number} is not JSON: {error}") from error


def _parse(text: str) -> Any:
    """JSON as the API takes it: one event that is not would make it refuse the whole batch."""
    return json.loads(text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=without_repeated_names)


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LocalError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def _batches(events: list[str], size: int) -> Iterator[list[str]]:
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


def _count(answer: Answer, sent: int, length: int, counts: Counts) -> None:
    body = answer.json
    if not isinstance(body, dict) or "results" not in body:
        if answer.status in (401, 403, 404) or answer.status >= 500:  # noqa: PLR2004  not this batch's fault: the next fares no better
            raise LocalError(f"the API answered {answer.status}: {answer.reason}")
        for index in range(length):
            counts.reject(sent + index + 1, answer.reason)
        return
    for result in body["results"]:
        if result["status"] == "rejected":
            reasons = "; ".join(f"{error['path'] or 'event'}: {error['message']}" for error in result["errors"])
            counts.reject(sent + result["index"] + 1, reasons)
        else:
            counts.accepted += 1
            counts.duplicate += bool(result.get("duplicate"))
