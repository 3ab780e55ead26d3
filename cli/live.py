"""The live view of `pipeline local`: what became of each event, file and upload, and what functions say meanwhile."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

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
    """What the functions of a running pipeline have logged since they were asked last."""

    def __init__(self, pipeline: Running) -> None:
        self._logs = Clients(pipeline.emulator)("logs")
        self._groups = [function.log_group for function in pipeline.engine.functions]
        # Of each group: the time of the newest entry, and what of that millisecond is shown.
        self._shown: dict[str, tuple[int, Counter[tuple[int, str, str]]]] = {}

    def lines(self) -> Iterator[str]:
        """Yield the lines to show, oldest first."""
        new = [entry for group in self._groups for entry in self._new(group)]
        for _, _, message in sorted(new, key=lambda entry: entry[0]):
            yield from shown(message)

    def _new(self, group: str) -> Iterator[tuple[int, str, str]]:
        since, before = self._shown.get(group, (0, Counter()))
        found = Counter[tuple[int, str, str]]()
        pages = self._logs.get_paginator("filter_log_events").paginate(logGroupName=group, startTime=since)
        for event in (event for page in pages for event in page["events"]):
            entry = event["timestamp"], event["logStreamName"], event["message"].rstrip()
            found[entry] += 1
            if found[entry] > before[entry]:
                yield entry
        latest = max((moment for moment, *_ in found), default=since)
        self._shown[group] = latest, Counter({entry: count for entry, count in found.items() if entry[0] == latest})


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
    yield from _own_part(line.get("exception", "")).splitlines()


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
    return f": {', '.join(counts)}" if counts else ""


def _fields(alert: Line) -> str:
    names = ("device_id", "metric", "value", "severity")
    return " ".join(str(alert[name]) for name in names if alert.get(name))


def _own_part(traceback: str) -> str:
    """Return a traceback from where the user's function begins, with paths below the project."""
    text = _CODE_FOLDER.sub('"', traceback)
    own = [match.end() for match in _CALLER.finditer(text)]
    return text[own[-1] :] if own else text
