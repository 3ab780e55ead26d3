"""`pipeline local` starts a console, and prints its address, on a terminal only."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from cli import local
from local.errors import LocalError


@pytest.mark.parametrize("is_terminal", [True, False])
def test_only_a_terminal_is_shown_the_address_which_lets_its_reader_in(
    *, is_terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started = []

    @contextmanager
    def console(stack: str) -> Iterator[None]:
        started.append(stack)
        yield

    monkeypatch.setattr(local, "_console", console)
    monkeypatch.setattr(local, "LiveView", lambda _: None)
    monkeypatch.setattr(local, "state_file", lambda _: nullcontext())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    project = SimpleNamespace(stack="dev", config={"datapipeline:variant": "api"})
    pipeline: Any = SimpleNamespace(project=project, emulator=SimpleNamespace(running=False))
    with pytest.raises(LocalError, match="stopped unexpectedly"):
        local.serve(pipeline)
    assert started == (["dev"] if is_terminal else [])
    assert ("console --stack dev" in capsys.readouterr().err) != is_terminal
