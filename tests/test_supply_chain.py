"""What `make check` and `make sbom` say of what others wrote, and that they do not pass without having looked."""

import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
REQUIREMENTS = ("handlers/requirements.txt", "requirements.txt", "requirements-dev.txt")
# Nobody listens there: as good as no network.
OFFLINE = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"), "http://127.0.0.1:9")


def make(
    *arguments: str, cwd: Path = ROOT, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """A target, in the environment that runs this test: its installation is not looked at again."""
    stamps = [argument for stamp in (".venv/.installed", ".venv/.installed-dev") for argument in ("--old-file", stamp)]
    command = ["make", "--no-print-directory", "--file", str(ROOT / "Makefile"), *stamps, *arguments]
    return subprocess.run(
        [*command, f"BIN={ROOT / '.venv/bin'}"],
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )


def pinned(file: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9.-]+)==([^ ;]+)", (ROOT / file).read_text(), re.MULTILINE))


def test_the_bill_of_materials_lists_exactly_what_the_layer_is_made_of(tmp_path: Path) -> None:
    file = tmp_path / "sbom.json"
    done = make("sbom", f"SBOM={file}")
    assert (done.returncode, done.stdout) == (0, f"{file}\n"), done.stderr
    bill = json.loads(file.read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert {part["name"]: part["version"] for part in bill["components"]} == pinned("handlers/requirements.txt")
    assert all(part["purl"] == f"pkg:pypi/{part['name']}@{part['version']}" for part in bill["components"])


def test_an_audit_that_could_not_be_made_says_so_and_fails() -> None:
    done = make("audit", environment=OFFLINE)
    assert done.returncode != 0
    assert f"NOT AUDITED (see above): {' '.join(REQUIREMENTS)}; without a network: make check AUDIT=skip" in done.stderr


def test_an_audit_that_is_not_wanted_says_what_was_not_audited() -> None:
    done = make("audit", "AUDIT=skip", environment=OFFLINE)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"NOT AUDITED, as AUDIT=skip says: {' '.join(REQUIREMENTS)}\n"


def test_a_secret_in_a_file_that_git_knows_is_found_and_one_that_is_none_can_say_so(tmp_path: Path) -> None:
    file = tmp_path / "settings.py"
    line = f'KEY = "AKIA{"Z2X7" * 4}"'
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    file.write_text(f"{line}\n")
    subprocess.run(["git", "add", "--all"], cwd=tmp_path, check=True)
    found = make("secrets", cwd=tmp_path)
    assert found.returncode != 0
    assert "settings.py:1" in found.stdout
    file.write_text(f"{line}  # pragma: allowlist secret\n")
    assert make("secrets", cwd=tmp_path).returncode == 0
