"""`make check` and `make sbom` on third-party packages: they find problems, and do not pass without a check."""

import json
import os
import re
import subprocess
from collections.abc import Collection, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
REQUIREMENTS = (
    "handlers/requirements.txt",
    "requirements.txt",
    "requirements-console.txt",
    "requirements-dev.txt",
    "requirements-docs.txt",
    "requirements-peers.txt",
)
# Nothing listens on this port, so it acts as a missing network.
OFFLINE = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"), "http://127.0.0.1:9")


def make(
    *arguments: str, cwd: Path = ROOT, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a target in the environment of this test, without checking its installation again."""
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


def installed_here(file: str) -> set[tuple[str, str]]:
    """The pinned packages, without those for other platforms."""
    lines = re.findall(r"^[a-z0-9.-]+==[^#\\\n]+", (ROOT / file).read_text(), re.MULTILINE)
    requirements = [Requirement(line) for line in lines]
    return {
        (each.name, str(each.specifier).removeprefix("=="))
        for each in requirements
        if each.marker is None or each.marker.evaluate()
    }


def test_the_bill_of_materials_lists_exactly_the_packages_of_the_layer(tmp_path: Path) -> None:
    file = tmp_path / "sbom.json"
    done = make("sbom", f"SBOM={file}")
    assert (done.returncode, done.stdout) == (0, f"{file}\n"), done.stderr
    bill = json.loads(file.read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert {part["name"]: part["version"] for part in bill["components"]} == pinned("handlers/requirements.txt")
    assert all(part["purl"] == f"pkg:pypi/{part['name']}@{part['version']}" for part in bill["components"])


class Advisories(BaseHTTPRequestHandler):
    """The protocol of OSV: https://google.github.io/osv.dev/post-v1-query/."""

    server: "AdvisoryServer"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name, version = asked["package"]["name"], asked["version"]
        self.server.asked.add((name, version))
        affected = {
            "package": {"name": name, "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "999.0"}]}],
        }
        known = {"vulns": [{"id": "PYSEC-2026-1", "summary": "made up", "affected": [affected]}]}
        body = json.dumps(known if name in self.server.vulnerable else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class AdvisoryServer(ThreadingHTTPServer):
    """An OSV service on this machine that knows some vulnerable packages."""

    def __init__(self, vulnerable: Collection[str]) -> None:
        super().__init__(("127.0.0.1", 0), Advisories)
        self.vulnerable = vulnerable
        self.asked: set[tuple[str, str]] = set()


def audited(*vulnerable: str) -> tuple["subprocess.CompletedProcess[str]", set[tuple[str, str]]]:
    """The result of `make audit` with vulnerable packages, and the packages that it asked about."""
    with AdvisoryServer(vulnerable) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/v1/query"
        done = make("audit", environment={"PIP_AUDIT_VULNERABILITY_SERVICE": "osv", "PIP_AUDIT_OSV_URL": url})
        server.shutdown()
    return done, server.asked


def test_an_audit_asks_about_every_pinned_package_and_passes_without_vulnerabilities() -> None:
    done, asked = audited()
    assert done.returncode == 0, done.stderr
    assert asked == set.union(*(installed_here(file) for file in REQUIREMENTS))


def test_a_vulnerability_in_each_of_the_files_is_named_and_fails() -> None:
    seen: set[tuple[str, str]] = set()
    vulnerable = []
    for file in REQUIREMENTS:
        # Each file contains the one before it: take a package that is new in it.
        vulnerable.append(min(installed_here(file) - seen))
        seen |= installed_here(file)
    done, _ = audited(*(package for package, _ in vulnerable))
    assert done.returncode != 0
    named = set(re.findall(r"^(\S+) +(\S+) +PYSEC-2026-1 +999\.0", done.stdout, re.MULTILINE))
    assert named == set(vulnerable)


def test_an_audit_without_a_network_says_so_and_fails() -> None:
    done = make("audit", environment=OFFLINE)
    assert done.returncode != 0
    assert f"NOT AUDITED (see above): {' '.join(REQUIREMENTS)}; without a network: make check AUDIT=skip" in done.stderr


def test_a_skipped_audit_says_what_was_not_audited() -> None:
    done = make("audit", "AUDIT=skip", environment=OFFLINE)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"NOT AUDITED, as AUDIT=skip says: {' '.join(REQUIREMENTS)}\n"


def test_a_secret_in_a_tracked_file_is_found_unless_it_is_marked_as_allowed(tmp_path: Path) -> None:
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


def test_the_search_for_secrets_fails_where_git_cannot_list_the_files(tmp_path: Path) -> None:
    folder = tmp_path / "unpacked"
    folder.mkdir()
    # The folder for temporary files may itself be inside a repository.
    alone = make("secrets", cwd=folder, environment={"GIT_CEILING_DIRECTORIES": str(tmp_path)})
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    in_another_repository = make("secrets", cwd=folder)
    for done in (alone, in_another_repository):
        assert done.returncode != 0
        assert done.stderr.startswith(("fatal: not a git repository", "error: pathspec '.' did not match any file"))
        assert "NOT LOOKED FOR SECRETS (see above)" in done.stderr


def test_only_the_compiled_requirements_are_exempt_from_the_search_for_secrets(tmp_path: Path) -> None:
    line = f'KEY = "AKIA{"Z2X7" * 4}"\n'
    others = ("requirements-of-a-shop.txt", "docs/requirements.txt", "requirements.txt.py")
    for file in (*REQUIREMENTS, *others):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(line)
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    subprocess.run(["git", "add", "--all"], cwd=tmp_path, check=True)
    found = make("secrets", cwd=tmp_path)
    assert found.returncode != 0
    assert sorted(re.findall(r"^Location: +(.+):1$", found.stdout, re.MULTILINE)) == sorted(others)
