"""`pipeline status`: the status and the result of an event."""

import sys
from typing import Any
from urllib.parse import quote

from cli.core.http import Access, Answer, request
from cli.core.stack import Stack
from cli.core.terminal import write_fields
from local.errors import LocalError

OK, NOT_FOUND = 200, 404


def run_status(event_id: str, stack: str, access: Access, *, as_json: bool) -> int:
    """Print an event's status, and its result when there is one."""
    answer = fetch(event_id, Stack(stack), access)
    if as_json:
        sys.stdout.write(f"{answer.text}\n")
    else:
        # Not a Rich table, which would cut the ids to the terminal's width.
        write_fields({name: value for name, value in _with_result(answer.json).items() if value is not None})
    return 0


def fetch(event_id: str, stack: Stack, access: Access) -> Answer:
    """Return the API's response, which is an object. Raises LocalError for any other."""
    answer = request("GET", f"{stack.output('api_url')}/events/{quote(event_id, safe='')}", access=access)
    if answer.status == NOT_FOUND:
        raise LocalError(f"there is no event {event_id!r} in stack {stack.name!r}")
    if answer.status != OK or not isinstance(answer.json, dict):
        raise LocalError(f"the API answered {answer.status}: {answer.reason}")
    return answer


def _with_result(event: dict[str, Any]) -> dict[str, Any]:
    """Return the event with the stored result in place of the URL that leads to it."""
    url = event.pop("result_url", None)
    if url is None:
        return event
    stored = request("GET", url)
    return {**event, "result": stored.text if stored.status == OK else f"not readable: HTTP {stored.status}"}
