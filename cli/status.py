"""`pipeline status`: what became of an event."""

import sys
from urllib.parse import quote

from cli.http import Access, request
from cli.outputs import output
from cli.terminal import inert
from local.errors import LocalError

OK, NOT_FOUND = 200, 404


def run_status(event_id: str, stack: str, access: Access, *, as_json: bool) -> int:
    """Prints an event's status, and its result when there is one."""
    answer = request("GET", f"{output(stack, 'api_url')}/events/{quote(event_id, safe='')}", access=access)
    if answer.status == NOT_FOUND:
        raise LocalError(f"there is no event {event_id!r} in stack {stack!r}")
    if answer.status != OK or not isinstance(answer.json, dict):
        raise LocalError(f"the API answered {answer.status}: {answer.reason}")
    if as_json:
        sys.stdout.write(f"{answer.text}\n")
        return 0
    shown = dict(answer.json)
    if url := shown.pop("result_url", None):
        stored = request("GET", url)
        shown["result"] = stored.text if stored.status == OK else f"not readable: HTTP {stored.status}"
    width = max(map(len, shown), default=0)
    for key, value in shown.items():
        if value is not None:
            # Plain text: a table of Rich's cuts long values to the terminal's width, and ids are there to be copied.
            sys.stdout.write(f"{inert(key):<{width}}  {inert(str(value))}\n")
    return 0
