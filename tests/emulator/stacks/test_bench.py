"""`make bench` measures the cold start of every function: mypy cannot check the events that it passes."""

import subprocess
import sys
from pathlib import Path

from benchmarks.csv_peers import PEERS_PYTHON
from tests.graphs import ROOT


def test_every_function_answers_its_first_call(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.bench", "--size", "tiny", "--folder", str(tmp_path)]
    done = subprocess.run([*command, "cold", "bill"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.strip("|").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    names = [row[0].strip() for row in rows]
    functions = {
        " ".join(file.relative_to(ROOT / "handlers").with_suffix("").parts)
        for file in (ROOT / "handlers").rglob("*.py")
        if "\ndef handler(" in file.read_text()
    }
    assert functions <= {name.partition(",")[0] for name in names}
    assert ("tutorial, POST /events" in names) is PEERS_PYTHON.exists()
    assert any(name.startswith("lean ") for name in names)
    # It writes no file unless every part has run.
    assert list(tmp_path.iterdir()) == []
