"""`pipeline logs`: what the functions of a stack log, as the live view of `pipeline local` shows it."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from cli.core.errors import one_line
from cli.core.json_text import write_json
from cli.core.logs import Line, LogReader
from cli.core.stack import Stack
from cli.core.terminal import write_styled
from cli.live import shown
from local.errors import LocalError

FOLLOW_SECONDS = 1.0


def run_logs(stack: str, function: str | None, since: datetime | None, wanted: str | None, **how: bool) -> int:
    """Print the log lines since a time (default: ten minutes ago); with `follow`, go on until Ctrl-C."""
    target = Stack(stack)
    groups = _groups(target, function)
    target.aim_aws_clients()
    since = since or datetime.now(UTC) - timedelta(minutes=10)
    reader = LogReader(boto3.client("logs"), groups, round(since.timestamp() * 1_000))
    console = Console()
    try:
        while True:
            for line in reader.read():
                if wanted is None or wanted in line.message:
                    _print(line, console, as_json=how["as_json"])
            if not how["follow"]:
                return 0
            time.sleep(FOLLOW_SECONDS)
            target.refuse_ended()
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
        write_styled(shown(line.message), console)


def _time(line: Line) -> datetime:
    return datetime.fromtimestamp(line.time_ms / 1_000, UTC)
