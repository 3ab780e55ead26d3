"""`pipeline logs`, and the live view of `pipeline local`: what the functions log, as a reader wants to see it."""

import json
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.text import Text

from cli.core.errors import one_line
from cli.core.json_text import write_json
from cli.core.logs import Line, LogReader
from cli.core.stack import Stack
from cli.core.terminal import inert
from local.errors import LocalError

FOLLOW_SECONDS = 1.0

STYLES = {"succeeded": "green", "done": "cyan", "retrying": "yellow", "WARNING": "yellow"}
BAD_STYLE = "red"
# Fields of each log line that a reader knows already, or that are shown in another way.
_HIDDEN = (
    "level",
    "location",
    "message",
    "timestamp",
    "service",
    "exception",
    "exception_name",
    "correlation_id",
    "correlation_ids",
)
# Where a function's code is: on AWS, and in the emulator.
_code_folder = re.compile(r'File "(?:/var/task|[^"]*/ministack-lambda-[^"/]*/code)/')
# Lambda's own lines around each run.
_PLATFORM = ("START RequestId:", "END RequestId:", "REPORT RequestId:", "INIT_START ", "XRAY TraceId:")


def run_logs(stack: str, function: str | None, since: datetime | None, wanted: str | None, **how: bool) -> int:
    """Print the log lines since a time (default: ten minutes ago); with `follow`, go on until Ctrl-C."""
    target = Stack(stack)
    groups = _groups(target, function)
    target.aim_aws_clients()
    since = since or datetime.now(UTC) - timedelta(minutes=10)
    reader = LogReader(boto3.client("logs"), groups, round(since.timestamp() * 1_000))
    console = Console(soft_wrap=True, highlight=False, markup=False)
    try:
        while True:
            for line in reader.read():
                if wanted is None or wanted in line.message:
                    _print(line, console, as_json=how["as_json"])
            if not how["follow"]:
                return 0
            time.sleep(FOLLOW_SECONDS)
    except KeyboardInterrupt:
        return 0
    except (BotoCoreError, ClientError) as error:
        raise LocalError(f"the logs cannot be read: {one_line(error)}") from error


def _groups(target: Stack, function: str | None) -> Mapping[str, str]:
    groups = target.outputs.get("log_groups")
    if not isinstance(groups, dict):
        raise LocalError(f"stack {target.name!r} has no output 'log_groups'; deploy it again with this version")
    if function is None:
        return groups
    if function not in groups:
        raise LocalError(f"--function {function}: stack {target.name!r} has {', '.join(sorted(groups))}")
    return {function: groups[function]}


def _print(line: Line, console: Console, *, as_json: bool) -> None:
    if as_json:
        write_json({"time": _time(line).isoformat(), "function": line.function, "message": line.message})
    else:
        for text in rendered(line):
            console.print(text)


def rendered(line: Line) -> Iterator[Text]:
    """Yield the lines that show a log line: none for metrics and Lambda's own lines, one per event of a batch."""
    if line.message.startswith(_PLATFORM):
        return
    facts = _facts(line.message)
    if facts is None:
        yield _line(line, line.message)
    elif "_aws" in facts:
        return
    elif facts.get("message") == "batch" and isinstance(facts.get("events"), list):
        for event in facts["events"]:
            yield _event(line, event)
    else:
        level = str(facts.get("level", ""))
        style = STYLES.get(level, BAD_STYLE if level in ("ERROR", "CRITICAL") else "")
        others = "  ".join(f"{name}={_short(value)}" for name, value in facts.items() if name not in _HIDDEN)
        yield _line(line, f"{facts.get('message', '')}  {others}".rstrip(), style)
        for part in _traceback(str(facts.get("exception", ""))):
            yield Text(f"    {inert(part)}", style=BAD_STYLE)


def _traceback(text: str) -> Iterator[str]:
    """Yield the lines of a traceback with paths in the project, without the frames that call the processor."""
    hidden = False
    for part in _code_folder.sub('File "', text).splitlines():
        if not part.startswith("    "):
            hidden = part.startswith('  File "handlers/api/processing.py"')
        if not hidden:
            yield part


def _event(line: Line, event: Mapping[str, Any]) -> Text:
    outcome = str(event.get("outcome"))
    text = _line(line, f"{event.get('id', event.get('message_id', '-'))}  {event.get('type', '-')}  ")
    text.append(inert(outcome), style=STYLES.get(outcome, BAD_STYLE))
    if "latency_ms" in event:
        text.append(f"  {event['latency_ms']} ms")
    if event.get("error"):
        text.append(f"  {inert(str(event['error']))}")
    return text


def _line(line: Line, message: str, style: str = "") -> Text:
    return Text.assemble((f"{_time(line).astimezone():%H:%M:%S} {line.function:<8} ", "dim"), (inert(message), style))


def _time(line: Line) -> datetime:
    return datetime.fromtimestamp(line.time_ms / 1_000, UTC)


def _facts(message: str) -> dict[str, Any] | None:
    """Return the fields of a JSON line; None for any other text."""
    try:
        facts = json.loads(message)
    except (ValueError, RecursionError):
        return None
    return facts if isinstance(facts, dict) else None


def _short(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
