"""Rules that every commit keeps."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.graphs import SAMPLES, STACKS

ROOT = Path(__file__).parents[1]

# Written so that this file does not match itself.
UNWANTED = {
    "a path of one machine": r"/(?:work|farm|root|home|Users)/[A-Za-z.]",
    "a registry": r"pypi\.org|python[h]osted|registry\.npm[j]s",
    "a download address": r"https?://\S+\.(?:whl|zip|tgz|gz)\b",
}
REQUIREMENTS = [
    "handlers/requirements.txt",
    "requirements.txt",
    "requirements-console.txt",
    "requirements-dev.txt",
    "requirements-docs.txt",
    "requirements-peers.txt",
]


def pins(file: str) -> dict[str, str]:
    """Each pinned `name==version` of a requirements file, with its markers and hashes."""
    text = re.sub(r"#.*", "", (ROOT / file).read_text(encoding="utf-8")).replace("\\\n", " ")
    return dict(line.split(maxsplit=1) for line in text.splitlines() if line.strip())


@pytest.mark.parametrize("what", UNWANTED)
def test_no_file_names_a_machine_or_a_registry(what: str) -> None:
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    files = [ROOT / name for name in names if (ROOT / name).is_file()]
    assert ROOT / "pyproject.toml" in files
    found = [
        f"{file.relative_to(ROOT)}: {match.group()}"
        for file in files
        for match in re.finditer(UNWANTED[what], file.read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []


@pytest.mark.parametrize("file", REQUIREMENTS)
def test_every_requirement_is_pinned_with_its_hashes(file: str) -> None:
    pinned = pins(file)
    assert pinned
    assert [name for name, rest in pinned.items() if "==" not in name or "--hash=sha256:" not in rest] == []


def test_the_tests_run_with_the_deployed_versions() -> None:
    layer, run, console, dev, *_ = (pins(file).items() for file in REQUIREMENTS)
    assert layer <= run <= console <= dev


def test_every_action_of_a_workflow_is_pinned_by_commit_with_its_version_in_a_comment() -> None:
    lines = [line for file in (ROOT / ".github/workflows").iterdir() for line in file.read_text().splitlines()]
    uses = [line for line in lines if "uses:" in line]
    assert uses
    assert [line for line in uses if not re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line)] == []


def test_every_stack_file_names_the_schema_for_editors() -> None:
    stacks = [SAMPLES / f"Pulumi.{name}.yaml" for name in STACKS]
    assert stacks
    first_line = "# yaml-language-server: $schema=schemas/stack.schema.json"
    assert [path.name for path in stacks if path.read_text(encoding="utf-8").splitlines()[0] != first_line] == []
    assert (ROOT / "schemas/stack.schema.json").is_file()
