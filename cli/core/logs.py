"""Log lines of a stack's functions, read with FilterLogEvents, which AWS and the emulator answer alike.

Rights on AWS: `logs:FilterLogEvents` on the functions' log groups.
"""

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# A line may become readable so long after its time, and after later ones: a reader looks back this far.
LATE_MS = 15_000
# The maximum number of lines in an answer: the emulator stops there, AWS returns a token.
PAGE_LINES = 10_000


@dataclass(frozen=True)
class Line:
    """One log line of a function."""

    time_ms: int
    function: str
    message: str


class LogReader:
    """Reads lines in order of time, each once. `groups` maps functions to their log groups.

    `pattern` is a filter pattern of CloudWatch Logs:
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
    """

    def __init__(self, logs: Any, groups: Mapping[str, str], since_ms: int, pattern: str = "") -> None:
        self._logs = logs
        self._groups = groups
        self._filter = {"filterPattern": pattern} if pattern else {}
        self._since_ms = since_ms
        self._newest_ms = dict.fromkeys(groups, since_ms)
        self._seen: dict[str, dict[Hashable, int]] = {function: {} for function in groups}

    def read(self) -> list[Line]:
        """Return the lines that came since the last call; in the first one, all since `since_ms`."""
        lines = [line for function in self._groups for line in self._new(function)]
        # Lines of one run have the same time; a stable sort keeps their order.
        return sorted(lines, key=lambda line: line.time_ms)

    def _new(self, function: str) -> Iterator[Line]:
        start_ms = max(self._since_ms, self._newest_ms[function] - LATE_MS)
        seen = self._seen[function] = {key: ms for key, ms in self._seen[function].items() if ms >= start_ms}
        for page in self._pages(self._groups[function], start_ms):
            for key, event in page:
                if key not in seen:
                    seen[key] = event["timestamp"]
                    self._newest_ms[function] = max(self._newest_ms[function], event["timestamp"])
                    yield Line(event["timestamp"], function, event["message"].rstrip("\n"))

    def _pages(self, group: str, start_ms: int) -> Iterator[list[tuple[Hashable, Any]]]:
        token: str | None = None
        counts: Counter[Hashable] = Counter()
        while True:
            continued = {} if token is None else {"nextToken": token}
            answer = self._logs.filter_log_events(logGroupName=group, startTime=start_ms, **self._filter, **continued)
            events = answer["events"]
            yield [(_key(event, counts), event) for event in events]
            token = answer.get("nextToken")
            if token is None:
                if len(events) < PAGE_LINES or events[-1]["timestamp"] == start_ms:
                    return
                start_ms = events[-1]["timestamp"]
                counts.clear()


def _key(event: Mapping[str, Any], counts: Counter[Hashable]) -> Hashable:
    """Return what identifies a line. The emulator gives no ids: there, equal lines of one time are counted."""
    if "eventId" in event:
        return str(event["eventId"])
    same = (event.get("logStreamName"), event["timestamp"], event["message"])
    counts[same] += 1
    return (*same, counts[same])
