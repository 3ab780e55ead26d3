"""State files: one pipeline of a stack, found as long as it runs, and not a moment longer."""

import json
import multiprocessing
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.core.stack import OUTPUTS, Stack
from cli.core.state import kept_state, read_state, running_stacks, state_path
from local.errors import LocalError
from tests.graphs import ROOT
from tests.processes import happens

STATE = {"pid": 1, "environment": {"KEY": "k"}, "outputs": {}}


def test_a_state_is_read_while_it_is_kept(tmp_path: Path) -> None:
    path = state_path(tmp_path, "my shop")
    assert read_state(path) is None
    with kept_state(path, STATE):
        assert read_state(path) == STATE
        assert running_stacks(tmp_path) == ["my shop"]
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
    assert not path.exists()
    assert running_stacks(tmp_path) == []


def test_a_second_pipeline_of_a_stack_is_refused_and_leaves_the_first_one_alone(tmp_path: Path) -> None:
    path = state_path(tmp_path, "shop")
    with kept_state(path, STATE):
        with pytest.raises(LocalError, match="stack 'shop' runs here since a moment ago"), kept_state(path, STATE):
            pass
        assert read_state(path) == STATE


@pytest.mark.parametrize("left", ["", "{", json.dumps(STATE)], ids=["empty", "cut off", "whole"])
def test_a_file_that_was_left_behind_is_no_pipeline_and_is_replaced(left: str, tmp_path: Path) -> None:
    path = state_path(tmp_path, "shop")
    path.parent.mkdir()
    path.write_text(left)
    path.chmod(0o644)
    assert read_state(path) is None
    with kept_state(path, STATE):
        assert read_state(path) == STATE
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_command_that_goes_on_refuses_a_pipeline_that_has_ended_or_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(OUTPUTS, raising=False)
    path, stack = state_path(tmp_path, "shop"), Stack("shop")
    stack.__dict__["directory"] = tmp_path
    with kept_state(path, STATE):
        assert stack.is_local
        stack.refuse_ended()
    # Whatever listens at its address now is another program; a new pipeline has other keys.
    with pytest.raises(LocalError, match="the pipeline of stack 'shop' has ended"):
        stack.refuse_ended()
    with kept_state(path, {**STATE, "environment": {"KEY": "other"}}):
        with pytest.raises(LocalError, match="has ended"):
            stack.refuse_ended()
        # A command of `pipeline local --exec` ends with its pipeline.
        monkeypatch.setenv(OUTPUTS, "{}")
        stack.refuse_ended()


def test_a_killed_pipeline_is_not_found(tmp_path: Path) -> None:
    path = state_path(tmp_path, "shop")
    keep = "import sys, time; from pathlib import Path; from cli.core.state import kept_state\n"
    keep += "with kept_state(Path(sys.argv[1]), {'pid': 1}):\n    time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", keep, str(path)], cwd=ROOT) as process:
        assert happens(lambda: read_state(path) is not None)
        process.send_signal(signal.SIGKILL)
    assert path.exists()
    assert read_state(path) is None


def _start(path: Path, kept: "multiprocessing.Queue[str]", end: "multiprocessing.synchronize.Event") -> None:
    try:
        with kept_state(path, STATE):
            kept.put("kept")
            end.wait(20)
    except LocalError:
        kept.put("refused")


def test_of_several_that_start_at_once_one_wins(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    kept, end = context.Queue(), context.Event()
    processes = [context.Process(target=_start, args=(state_path(tmp_path, "shop"), kept, end)) for _ in range(4)]
    for process in processes:
        process.start()
    assert sorted(kept.get(timeout=20) for _ in processes) == ["kept", "refused", "refused", "refused"]
    end.set()
    for process in processes:
        process.join()
    assert running_stacks(tmp_path) == []
