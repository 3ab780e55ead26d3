"""What `pipeline dead-letters` says of a pass; what it does: tests/emulator/stacks/test_redrive.py."""

import pytest

from cli.dead_letters import Asked, _told
from handlers.shared.dead_letters import Pass


@pytest.mark.parametrize(
    ("done", "said"),
    [
        (Pass({"redriven": 3}, complete=True, remaining=0), "3 redriven; about 0 are there now"),
        (
            Pass({"redriven": 3}, 2, remaining=9),
            "3 redriven; 2 others left alone; not all were looked at; about 9 are there now",
        ),
        (
            Pass({"redriven": 0}, 10, held_back=True, remaining=12),
            (
                "0 redriven; 10 others left alone; "
                "these may keep back others of their groups: redrive or purge them to see what is behind; "
                "about 12 are there now"
            ),
        ),
    ],
)
def test_a_pass_that_did_not_see_all_says_so_and_what_to_do(
    capsys: pytest.CaptureFixture[str], done: Pass, said: str
) -> None:
    assert _told(done, Asked(None, "0", 100, as_json=False)) == 0
    assert capsys.readouterr().out == f"{said}\n"
