"""The live view of `pipeline local`: what became of each event, file and upload, and what functions say meanwhile."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from cli.core.logs import LogReader
from local.engine import Running
from local.services import Clients

# What Lambda says of each run, and lines that are metrics.
_NOT_SHOWN = re.compile(r'(START|END|REPORT|INIT_START) |\{"_aws"')
# Where the emulator has unpacked a function's code.
_CODE_FOLDER = re.compile(r'"[^"]*/code/')
# The frame that calls the user's function, which begins below it.
_CALLER = re.compile(r'  File "handlers/api/processing\.py", line \d+, in process\n(    .*\n)*')

Line = Mapping[str, Any]


class LiveView:
    """What the functions of a running pipeline have logged since they were asked last, and files that need a start."""

    def __init__(self, pipeline: Running) -> None:
        groups = {function.name: function.log_group for function in pipeline.engine.functions}
        self._reader = LogReader(Clients(pipeline.emulator)("logs"), groups, since_ms=0)
        self._project = pipeline.project
        self._states = watched(self._project.directory, self._project.stack)

    def lines(self) -> Iterator[str]:
        """Yield the lines to show, oldest first."""
        for line in self._reader.read():
            yield from shown(line.message)
        before, self._states = self._states, watched(self._project.directory, self._project.stack)
        yield from changes(before, self._states)


def watched(directory: Path, stack: str) -> dict[str, int]:
    """Return the files that need a new start when they change, with their states.

    Code is reloaded, but the list of its files is made at the start: a new file and one that is gone need another one.
    """
    files = [directory / "Pulumi.yaml", directory / f"Pulumi.{stack}.yaml", *directory.glob("schemas/**/*.json")]
    states = {str(path.relative_to(directory)): _changed_at(path) for path in files}
    code = [path for path in directory.glob("processors/**/*") if "__pycache__" not in path.parts and path.is_file()]
    return states | {str(path.relative_to(directory)): 0 for path in code if not path.name.startswith(".")}


def _changed_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return -1


def changes(before: Mapping[str, int], after: Mapping[str, int]) -> Iterator[str]:
    """Yield a line for each file that differs."""
    for path in sorted({path for path, _ in before.items() ^ after.items()}):
        done = "is new" if path not in before else "is gone" if path not in after else "has changed"
        yield f"warning   {path} {done}: stop with Ctrl-C and start again to use it"


def shown(message: str) -> Iterator[str]:
    """Yield the lines that a log entry becomes: none for what says nothing about events."""
    if _NOT_SHOWN.match(message):
        return
    try:
        line = json.loads(message)
        at = datetime.strptime(line["timestamp"], "%Y-%m-%d %H:%M:%S,%f%z").astimezone().strftime("%H:%M:%S")
    except (ValueError, TypeError, KeyError):
        # Written around the logger, or by Lambda: a time-out, a crash.
        yield message
        return
    for text in _told(line):
        yield f"{at} {text}"
    yield from own_part(line.get("exception", "")).splitlines()


def _told(line: Line) -> Iterator[str]:
    match line:
        case {"message": "batch", "events": events}:
            yield from map(_event, events)
        case {"message": "batch", "files": files}:
            yield from map(_file, files)
        case {"message": "object", "object": key}:
            counts = ", ".join(f"{line[name]} {name}" for name in ("readings", "rejected", "partial", "repeated"))
            yield f"{'read':<9} {key}: {counts}"
            yield from (f"{alert['kind']:<9} {_fields(alert)}" for alert in line["alerts"])
        case {"message": "watch", "alerts": alerts, "more_alerts": more}:
            yield from (f"{alert['kind']:<9} {_fields(alert)}" for alert in alerts)
            if more:
                yield f"... and {more} devices more"
        case {"message": "request", "route": route, "status": status}:
            # Who asks how an event is doing is not told each time.
            if status >= 400 or not route.startswith("GET "):  # noqa: PLR2004  where errors begin
                yield f"{status:<9} {route}{_counts(line)}"
        case {"message": said, "level": level}:
            yield said if level == "INFO" else f"{level.lower():<9} {said}"


def _event(event: Line) -> str:
    took = f" {event['latency_ms']} ms" if "latency_ms" in event else ""
    attempts = f" after {event['attempts']} attempts" if event.get("attempts", 1) > 1 else ""
    error = f": {event['error']}" if event.get("error") else ""
    return f"{event['outcome']:<9} {event.get('type', '')} {event.get('id', '')}{took}{attempts}{error}"


def _file(file: Line) -> str:
    counts = ", ".join(f"{file[name]} {name}" for name in ("rows", "processed", "rejected") if name in file)
    reason = f": {file['reason']}" if file.get("reason") else ""
    return f"{file['outcome']:<9} {file['key']} {counts}".rstrip() + reason


def _counts(line: Line) -> str:
    counts = [f"{line[name]} {name}" for name in ("accepted", "duplicate", "rejected") if line.get(name)]
    if line.get("signature") in ("forged", "stale"):
        # Its sender is not told, but its developer is.
        counts.append(f"the signature is {line['signature']}")
    return f": {', '.join(counts)}" if counts else ""


def _fields(alert: Line) -> str:
    names = ("device_id", "metric", "value", "severity")
    return " ".join(str(alert[name]) for name in names if alert.get(name))


def own_part(traceback: str) -> str:
    """Return a traceback from where the user's function begins, with paths below the project."""
    text = _CODE_FOLDER.sub('"', traceback)
    own = [match.end() for match in _CALLER.finditer(text)]
    return text[own[-1] :] if own else text
