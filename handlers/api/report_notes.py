"""Notes of scheduled reports for later ones: an item of the events table. It contains no AWS code.

It says from when on all events are still there, and which windows had events that were not done when they were
reported.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from handlers.api.summary import PERIODS, Window

NAME = "report#notes"
# Retentions that are remembered; more than a stack ever had while items of the first one can be there.
RETENTIONS = 20
# The longest that a message may wait: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html
OPEN_DAYS = 14
_BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Notes:
    """The retentions of items, oldest first, each with its begin; and the windows that are to be reported again."""

    retentions: tuple[tuple[datetime, int], ...] = ()
    """When a retention began, and its days."""
    open: tuple[Window, ...] = ()
    change_count: int = 0

    @classmethod
    def of(cls, item: Mapping[str, Any] | None) -> Self:
        """Return the notes that an item holds."""
        if item is None:
            return cls()
        return cls(
            tuple((datetime.fromisoformat(begin), days) for begin, days in json.loads(item["retentions"])),
            tuple(Window.parsed(period, since) for period, since in json.loads(item["open"])),
            int(item["change_count"]),
        )

    def attributes(self) -> dict[str, Any]:
        """Return what is stored."""
        return {
            "retentions": json.dumps([(begin.isoformat(), days) for begin, days in self.retentions]),
            "open": json.dumps([(window.period, window.since.isoformat()) for window in self.open]),
            "change_count": self.change_count,
        }

    def with_retention(self, days: int, now: datetime) -> Self:
        """Return the notes of a stack that now keeps items for so many days."""
        if not self.retentions:
            return replace(self, retentions=((_BEGINNING, days),))
        if self.retentions[-1][1] == days:
            return self
        return replace(self, retentions=(*self.retentions, (now, days))[-RETENTIONS:])

    def kept_since(self, now: datetime) -> datetime:
        """Return from when on all events are still in the table.

        An item expires by the retention that was in force when it was written.
        """
        end = now
        for begin, days in reversed(self.retentions):
            oldest = now - timedelta(days=days)
            if oldest > begin:
                return min(oldest, end)
            end = begin
        return end

    def due(self, latest: Window) -> list[Window]:
        """Return the open windows of a period that are looked at again with the latest one.

        One is looked at 1, 2, 4, ... periods after its first report: what takes long may take longer.
        """
        return [
            window
            for window in self.open
            if window.period == latest.period
            and (periods := (latest.since - window.since) // PERIODS[window.period]) > 0
            and periods & (periods - 1) == 0
        ]

    def reported(self, settled: Iterable[Window], unsettled: Iterable[Window], now: datetime) -> Self:
        """Return the notes after a run: without what is settled or too old, with what is not settled."""
        oldest, gone = now - timedelta(days=OPEN_DAYS), set(settled)
        kept = dict.fromkeys([*self.open, *unsettled])
        return replace(self, open=tuple(each for each in kept if each not in gone and each.until > oldest))
