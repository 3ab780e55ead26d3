"""The tests that docs/testing.md shows pass on what `pipeline new` writes."""

import subprocess
import sys
from pathlib import Path

from tests.code_blocks import code_blocks
from tests.graphs import ROOT

from .conftest import Command, environment, user_project


def test_the_tests_in_the_docs_pass(tmp_path: Path, pipeline: Command) -> None:
    user_project(tmp_path)
    assert pipeline("new", "shop", cwd=tmp_path).returncode == 0
    *shown, plugin = code_blocks((ROOT / "docs/testing.md").read_text(), "python")
    assert plugin in (ROOT / "tests/conftest.py").read_text()
    (tmp_path / "tests/processors/test_docs.py").write_text("\n\n".join(shown))
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{sum(block.count('def test_') for block in shown) + 4} passed" in ran.stdout
