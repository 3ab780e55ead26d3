"""The graphs of a project's stacks at a git revision and as they stand, each made by its own code."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from local import snapshot
from local.errors import LocalError
from local.project import load_project
from local.recording import Graph

# A program that takes longer than this waits for something.
PROGRAM_SECONDS = 300


@dataclass(frozen=True)
class Revision:
    """A project at a revision: its folder, and its stacks' graphs or, as text, why there is none."""

    directory: Path
    graphs: Mapping[str, Graph | str]


@contextmanager
def both(project: Path, base: str, stack: str | None) -> Iterator[tuple[Revision, Revision]]:
    """Yield the project at revision `base` and as it stands. Raises LocalError without such a revision or project."""
    root = Path(_git(project, "rev-parse", "--show-toplevel").decode().strip())
    commit = _git(project, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{base}^{{commit}}", what=base)
    with TemporaryDirectory(prefix="pipeline-diff-") as temporary:
        past = Path(temporary)
        _check_out(root, commit.decode().strip(), past)
        before = past / project.resolve().relative_to(root.resolve())
        names = [_stacks(folder, stack) for folder in (before, project)]
        if stack is not None and not any(names):
            raise LocalError(f"there is no stack {stack!r}, neither here nor at {base}")
        with ThreadPoolExecutor(2) as pool:
            made = pool.map(_revision, (before, project), (past, root), names)
            yield next(made), next(made)


def _git(folder: Path, *arguments: str, what: str = "", index: Path | None = None) -> bytes:
    environment = {**os.environ, **({"GIT_INDEX_FILE": str(index)} if index else {})}
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)  # noqa: S603  the user's own git
    if done.returncode == 0:
        return done.stdout
    if what:
        raise LocalError(f"git knows no revision {what!r} here; name a commit, a branch or a tag that was fetched")
    raise LocalError(f"git {arguments[0]} failed: {' '.join(done.stderr.decode().split())}")


def _check_out(root: Path, commit: str, past: Path) -> None:
    """Write the files of a commit into a folder, by an index of its own: the repository's stays as it is."""
    with TemporaryDirectory(prefix="pipeline-diff-index-") as folder:
        index = Path(folder) / "index"
        _git(root, "read-tree", commit, index=index)
        _git(root, "checkout-index", "--all", f"--prefix={past}/", index=index)
    # What was built before: names of builds say what is in them.
    if (root / ".build").is_dir():
        (past / ".build").symlink_to(root / ".build")


def _stacks(folder: Path, stack: str | None) -> list[str]:
    found = sorted(path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in folder.glob("Pulumi.*.yaml"))
    return [name for name in found if stack in (None, name)]


def _revision(project: Path, root: Path, stacks: Sequence[str]) -> Revision:
    """Run the programs of a revision with the packages of this environment, and read their graphs."""
    if not stacks:
        return Revision(project, {})
    program = Path(snapshot.__file__).read_text(encoding="utf-8")
    paths = os.pathsep.join((str(root), *filter(None, [os.environ.get("PYTHONPATH")])))
    try:
        done = subprocess.run(  # noqa: S603  our own program
            [sys.executable, "-W", "ignore", "-c", program, *stacks],
            cwd=project,
            env={**os.environ, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            timeout=PROGRAM_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LocalError(f"the program in {project} took more than {PROGRAM_SECONDS} seconds") from None
    if done.returncode != 0:
        printed = done.stderr.strip().splitlines() or ["it printed nothing"]
        return Revision(project, dict.fromkeys(stacks, f"its program cannot be run: {printed[-1]}"))
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return Revision(
        project,
        {
            name: each.get("error") or snapshot.restored(each["graph"], load_project(project, name).region)
            for name, each in found.items()
        },
    )
