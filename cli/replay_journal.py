"""The journal of a replay: what was sent, so that a replay that was killed goes on where it stood.

It is a file of JSON Lines: what is replayed, and then the ids of each batch that the queue took. A process that replays
holds a lock on it, which ends with the process.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from cli.archived_events import Selection
from cli.core.state import FOLDER
from cli.core.suggestions import suggest
from local.errors import LocalError


class Journal:
    """An open journal. `sent` counts events, `ids` has those of the last `hour` that is in it."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path
        self.run, self.wanted = "", Selection("", "")
        self.sent, self.hour = 0, ""
        self.ids: set[str] = set()
        for line in self._lines():
            if "run" in line:
                self.run = line["run"]
                self.wanted = Selection(
                    line["since"], line["until"], tuple(line["types"]), stuck=line.get("stuck", False)
                )
            else:
                self._take(line["hour"], line["ids"])

    @property
    def is_begun(self) -> bool:
        """Return True if a replay was begun and has not ended."""
        return bool(self.run)

    def begin(self, run: str, wanted: Selection) -> None:
        """Record what is replayed."""
        self.run, self.wanted = run, wanted
        stuck = {"stuck": True} if wanted.stuck else {}
        self._write({"run": run, "since": wanted.since, "until": wanted.until, "types": list(wanted.types), **stuck})

    def add(self, hour: str, ids: Sequence[str]) -> None:
        """Record what the queue has, and return when it is on the disk."""
        self._write({"hour": hour, "ids": list(ids)})
        self._take(hour, ids)

    def end(self) -> None:
        """Remove the journal: the replay is over."""
        self._path.unlink()

    def _take(self, hour: str, ids: Sequence[str]) -> None:
        if hour != self.hour:
            self.hour, self.ids = hour, set()
        self.ids.update(ids)
        self.sent += len(ids)

    def _lines(self) -> Iterator[dict[str, Any]]:
        whole = 0
        for line in self._file:
            # The last one may have been cut off by a kill: its batch is sent again, and next written over.
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            try:
                yield json.loads(line)
            except ValueError as error:
                raise LocalError(f"{self._path} is no journal of a replay: {error}; delete it") from error
        self._file.truncate(whole)
        self._file.seek(whole)

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(f"{json.dumps(line)}\n".encode())
        self._file.flush()
        os.fsync(self._file.fileno())


@contextmanager
def open_journal(directory: Path, stack: str) -> Iterator[Journal]:
    """Open the journal of a stack's replays. An unused one is removed. Raises LocalError if another process has it."""
    path = directory / FOLDER / f"replay-{stack}.jsonl"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalError(f"a replay of stack {stack!r} runs here already; wait for it, or stop it") from None
        if not os.fstat(file.fileno()).st_nlink:
            raise LocalError(f"a replay of stack {stack!r} ended a moment ago; start this one again")
        journal = Journal(file, path)
        try:
            yield journal
        finally:
            if not journal.is_begun:
                path.unlink(missing_ok=True)


def unfinished(journal: Journal, stack: str, directory: Path) -> LocalError:
    """Return the error of a replay that is asked for while another one is unfinished."""
    name = Path(FOLDER) / f"replay-{stack}.jsonl"
    return LocalError(
        f"a replay of {journal.wanted.since} to {journal.wanted.until} is unfinished, {journal.sent} events were sent: "
        f"{suggest('replay', '--stack', stack, '--resume')} continues it; to give it up, delete {directory / name}"
    )
