"""State files of local pipelines, by which other commands find them.

A running pipeline holds a lock on its file. The lock ends with the process, even if that is killed, so a file that was
left behind is never taken for a pipeline that runs.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from cli.core.json_text import parse_object
from local.errors import LocalError

FOLDER = ".pipeline"
PREFIX = "local-"
# A command that looks into a file holds a lock for a moment, too.
LOCK_SECONDS = 1
RETRY_SECONDS = 0.02


def state_path(directory: Path, stack: str) -> Path:
    """Return the path of a stack's state file."""
    return directory / FOLDER / f"{PREFIX}{stack}.json"


def read_state(path: Path) -> Mapping[str, Any] | None:
    """Return the state of the pipeline that holds a file; None if none does."""
    try:
        file = path.open(encoding="utf-8")
    except FileNotFoundError:
        return None
    with file:
        text = "" if _locked(file, fcntl.LOCK_SH) else file.read()
    # Empty while it is being written.
    return parse_object(text, path.name) if text else None


def running_stacks(directory: Path) -> list[str]:
    """Return the names of the stacks that run here."""
    paths = sorted((directory / FOLDER).glob(f"{PREFIX}*.json"))
    return [path.stem.removeprefix(PREFIX) for path in paths if read_state(path)]


@contextmanager
def kept_state(path: Path, state: Mapping[str, Any]) -> Iterator[None]:
    """Keep a state file as long as a pipeline runs. Raises LocalError if another one holds it.

    It holds the emulator's keys, so nobody else may read it.
    """
    path.parent.mkdir(exist_ok=True)
    path.parent.chmod(0o700)
    with _claimed(path) as file:
        file.truncate(0)
        file.write(json.dumps(state))
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _claimed(path: Path) -> IO[str]:
    """Open a file with an exclusive lock."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8")
        # Its last owner may have removed it since it was opened.
        if _locked(file, fcntl.LOCK_EX) and os.fstat(file.fileno()).st_nlink:
            os.fchmod(file.fileno(), 0o600)
            return file
        file.close()
        if time.monotonic() > deadline:
            raise LocalError(
                f"stack {path.stem.removeprefix(PREFIX)!r} runs here since a moment ago; stop one of the two"
            )
        time.sleep(RETRY_SECONDS)


def _locked(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
