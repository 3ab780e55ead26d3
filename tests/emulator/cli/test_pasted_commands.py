"""The commands of README and docs work as pasted into a shell, in a clone whose pipeline runs."""

import sys
from pathlib import Path

import pytest

from tests.code_blocks import PASTED, pasted
from tests.graphs import ROOT, SAMPLES

from .conftest import Command

# An event for the commands that show one.
SUBMIT = """
EVENT_ID=$(python -c '
import json, os, urllib.request
url = json.loads(os.environ["PIPELINE_OUTPUTS"])["api_url"] + "/events"
request = urllib.request.Request(url, b"{}", {"Content-Type": "application/json"})
print(json.load(urllib.request.urlopen(request))["id"])')
"""

# A person reads for a moment before the next command; the worker stores the readings meanwhile.
STORED = "for _ in $(seq 60); do .venv/bin/pipeline readings sim-7-0003 > /dev/null 2>&1 && break; sleep 1; done"


@pytest.mark.parametrize(
    ("stack", "expected"),
    [
        ("dev", ["1 accepted", "stack 'dev': all is well"]),
        ("csv", ["1 processed (100 %)", "sent              100 objects of 50 devices"]),
        ("iot", ["temperature of sim-7-0003"]),
    ],
)
def test_the_commands_work_as_pasted(stack: str, expected: list[str], tmp_path: Path, pipeline: Command) -> None:
    for file in [*SAMPLES.iterdir(), *ROOT.iterdir()]:
        if not file.name.startswith((".", "__py")) and not (tmp_path / file.name).exists():
            (tmp_path / file.name).symlink_to(file)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    lines = [
        command
        for document, line in PASTED[stack].items()
        for command in pasted((ROOT / document).read_text(), line, stack)
    ]
    if stack == "iot":
        lines.insert(1 + next(at for at, line in enumerate(lines) if " simulate " in line), STORED)
    script = "\n".join(lines).replace("EVENT_ID", "$EVENT_ID")
    script = f"set -e\n{SUBMIT if stack == 'dev' else ''}\n{script}"
    # A port of its own: other pipelines may use the default one.
    ran = pipeline("local", "--stack", stack, "--port", "0", "--exec", script, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert [text for text in expected if text not in ran.stdout] == []
    # Each block is run: both csv blocks check the file and upload it.
    assert len(lines) >= 3
    assert ran.stdout.count("1 processed (100 %)") == (4 if stack == "csv" else 0)
