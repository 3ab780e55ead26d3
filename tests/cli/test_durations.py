"""The one grammar of durations and points in time, which all options share."""

from datetime import UTC, datetime, timedelta

import pytest
import typer

from cli.core.durations import duration, moment

from .conftest import Command


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("45", 45), ("90s", 90), ("15m", 900), ("1.5h", 5_400), ("2d", 172_800)]
)
def test_a_duration_is_a_number_of_seconds_or_has_a_unit(text: str, seconds: float) -> None:
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "-1", "soon", "6 h", "6w", "1e3", ".5h", "9999999d", "٣m"])
def test_any_other_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not a duration; write seconds, or a number with a unit: 90s, 15m"):
        duration(text)


def test_a_moment_is_a_point_in_time_or_a_duration_ago() -> None:
    for text, ago in (("90m", timedelta(minutes=90)), ("2d", timedelta(days=2))):
        assert abs(datetime.now(UTC) - ago - moment(text)) < timedelta(seconds=5)
    assert moment("2026-11-21T13:00:00+01:00") == datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize("text", ["yesterday", "2026-11-21", "2026-11-21T12:00:00", "6w", ""])
def test_any_other_moment_is_refused_with_examples(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not a point in time; write one with its offset"):
        moment(text)


@pytest.mark.parametrize(
    "command",
    [
        ("dead-letters", "list", "--min-age"),
        ("dead-letters", "purge", "--max-age"),
        ("readings", "d1", "--since"),
        ("report", "--since"),
        ("simulate", "--duration"),
        ("upload", "x.csv", "--timeout"),
    ],
)
def test_every_command_refuses_the_same_text_as_a_usage_error(pipeline: Command, command: tuple[str, ...]) -> None:
    refused = pipeline(*command, "6w", env={"COLUMNS": "200"})
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert f"Invalid value for '{command[-1]}': '6w' is not a " in refused.stderr
