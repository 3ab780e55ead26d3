"""The summary that `pipeline dead-letters` prints; the rest is in tests/emulator/stacks/test_redrive.py."""

import pytest

from cli.dead_letters import _hidden, show_pass
from handlers.shared.dead_letters import Pass

from .conftest import Command


@pytest.mark.parametrize(
    ("done", "summary"),
    [
        (Pass({"redriven": 3}, complete=True, remaining=0), "3 redriven; about 0 are there now"),
        (
            Pass({"redriven": 3}, 2, remaining=9),
            "3 redriven; 2 others left alone; not all were examined; about 9 are there now",
        ),
        (
            Pass({"redriven": 0}, 10, held_back=True, remaining=12),
            (
                "0 redriven; 10 others left alone; "
                "these may hide others of their groups: redrive or purge them to see what is behind; "
                "about 12 are there now"
            ),
        ),
    ],
)
def test_an_incomplete_pass_says_so_and_what_to_do(
    capsys: pytest.CaptureFixture[str], done: Pass, summary: str
) -> None:
    assert show_pass(done, as_json=False) == 0
    assert capsys.readouterr().out == f"{summary}\n"


@pytest.mark.parametrize(
    ("done", "hidden"),
    [
        (
            Pass({}, complete=True, remaining=3),
            ", 2 of them hidden by another list, redrive or purge, ",
        ),
        (Pass({}, 2, complete=True, remaining=3), ""),
        (Pass({}, complete=True, remaining=1), ""),
        (Pass({}, remaining=9), ""),
        (Pass({}, complete=True), ""),
    ],
)
def test_letters_that_a_killed_pass_still_hides_are_told(done: Pass, hidden: str) -> None:
    assert _hidden(done, 1).startswith(hidden)
    assert bool(_hidden(done, 1)) == bool(hidden)


def test_a_maximum_age_below_the_minimum_is_refused(pipeline: Command) -> None:
    refused = pipeline("dead-letters", "list", "--min-age", "2h", "--max-age", "1h")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "--max-age is below --min-age" in refused.stderr
