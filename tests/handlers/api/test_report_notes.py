"""What reports remember of each other."""

from datetime import UTC, datetime, timedelta

import pytest

from handlers.api.report_notes import RETENTIONS, Notes
from handlers.api.summary import Window

THEN = datetime(2026, 3, 1, tzinfo=UTC)


def days(number: float) -> timedelta:
    return timedelta(days=number)


def hourly(hours_before: float) -> Window:
    since = THEN - timedelta(hours=hours_before)
    return Window("hourly", since, since + timedelta(hours=1))


@pytest.mark.parametrize(
    ("first", "second", "after_days", "kept_days"),
    [
        (7, 7, 5, 7),
        # Items that were written before the change expire after a week, whatever is set now.
        (7, 90, 1, 7),
        (7, 90, 6.5, 7),
        (7, 90, 8, 8),
        (7, 90, 80, 80),
        (7, 90, 91, 90),
        # Those that were written before would stay longer: what is claimed is less than there is.
        (90, 7, 1, 1 + 89),
        (90, 7, 10, 7),
    ],
)
def test_a_new_retention_counts_for_items_that_were_written_since(
    first: int, second: int, after_days: float, kept_days: float
) -> None:
    notes = Notes().with_retention(first, THEN - days(300)).with_retention(second, THEN)
    now = THEN + days(after_days)
    assert notes.kept_since(now) == now - days(kept_days)


def test_notes_are_stored_and_read() -> None:
    notes = Notes(open=(hourly(3), Window.parsed("daily", "2026-02-28T00:00:00+00:00")), change_count=4)
    notes = notes.with_retention(7, THEN).with_retention(90, THEN)
    assert Notes.of(notes.attributes()) == notes
    assert Notes.of(None) == Notes()


def test_an_open_window_is_looked_at_after_one_two_four_and_more_periods_and_not_for_ever() -> None:
    notes = Notes().reported([], [hourly(0)], THEN)
    assert [after for after in range(330) if notes.due(hourly(-after))] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert notes.due(Window("daily", THEN + days(1), THEN + days(2))) == []
    assert notes.reported([], [], THEN + days(13)).open == (hourly(0),)
    assert notes.reported([], [], THEN + days(15)).open == ()
    assert notes.reported([hourly(0)], [hourly(1)], THEN).open == (hourly(1),)


def test_a_retention_that_changes_all_the_time_is_remembered_for_the_last_few() -> None:
    notes = Notes()
    for number in range(100):
        notes = notes.with_retention(number + 1, THEN + days(number))
    assert len(notes.retentions) == RETENTIONS
