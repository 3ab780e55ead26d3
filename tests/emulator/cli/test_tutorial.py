"""docs/tutorial.md: an own processor, a failure in the live view, its fix, a redrive, a green test."""

import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.code_blocks import code_blocks
from tests.graphs import ROOT
from tests.processes import happens, living, terminal

from .conftest import arguments, environment, user_project


def test_the_tutorial_works_as_pasted(tmp_path: Path) -> None:
    user_project(tmp_path)
    own = environment(PYTHONPATH=str(tmp_path))
    seen = tmp_path / "seen.txt"

    def paste(block: str) -> str:
        started = time.monotonic()
        lines = [line for line in block.splitlines() if not line.startswith("make ")]
        script = "set -e\n" + "\n".join(lines)
        ran = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env=own, capture_output=True, text=True, timeout=60, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        sys.stdout.write(f"{time.monotonic() - started:5.1f} s  {'; '.join(lines)}\n")
        return ran.stdout

    create, _, send, fail, redrive = code_blocks((ROOT / "docs/tutorial.md").read_text())
    paste(create)
    processor = tmp_path / "processors" / "shop.py"
    with (
        # On a terminal, where the console's address is printed.
        terminal(seen) as screen,
        subprocess.Popen(
            arguments("local", "--stack", "shop"),
            cwd=tmp_path,
            env={**own, "TERM": "dumb", "COLUMNS": "1000"},
            stdout=subprocess.DEVNULL,
            stderr=screen,
        ) as local,
    ):
        try:
            assert happens(lambda: "Ctrl-C stops it" in seen.read_text(), seconds=40), seen.read_text()
            assert "1 accepted" in paste(send)
            assert happens(lambda: "succeeded shop" in seen.read_text(), seconds=20), seen.read_text()
            paste(fail)
            assert happens(lambda: "Rejected: amount must be above 0" in seen.read_text(), seconds=20), seen.read_text()
            processor.write_text(processor.read_text().replace("<= 0", "< 0"))
            assert happens(lambda: "reloaded" in seen.read_text(), seconds=20), seen.read_text()
            paste(redrive)
            assert happens(lambda: seen.read_text().count("succeeded shop") == 2, seconds=20), seen.read_text()
            # The console runs beside it, asks for its token, and ends with it, even if it is killed.
            assert happens(lambda: "in the browser: http" in seen.read_text(), seconds=40), seen.read_text()
            address = re.search(r"in the browser: (http://127\.0\.0\.1:\d+/)\?token=\S{32}\s", seen.read_text())
            assert address is not None, seen.read_text()
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(address[1], timeout=20)
            consoles = [
                process.pid for process in living() if process.parent == local.pid and "--beside" in process.command
            ]
            assert len(consoles) == 1
        finally:
            local.kill()
    assert happens(lambda: consoles[0] not in [process.pid for process in living()])
    test = tmp_path / "tests" / "processors" / "test_shop.py"
    test.write_text(test.read_text().replace('"amount": 0}', '"amount": -1}'))
    paste(create.splitlines()[-1])
