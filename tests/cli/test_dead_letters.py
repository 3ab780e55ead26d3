"""The summary that `pipeline dead-letters` prints; the rest is in tests/emulator/stacks/test_redrive.py."""

import pytest

from cli.dead_letters import show_pass
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


def test_a_maximum_age_below_the_minimum_is_refused(pipeline: Command) -> None:
    refused = pipeline("dead-letters", "list", "--min-age", "2h", "--max-age", "1h")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "--max-age is below --min-age" in refused.stderr
