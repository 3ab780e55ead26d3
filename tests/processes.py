"""The living processes of this machine, to see that none is left."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread


@dataclass(frozen=True)
class Process:
    """One line of `ps`."""

    pid: int
    parent: int
    group: int
    command: str


def living() -> list[Process]:
    """All processes but zombies: those have ended, and wait for an init that a container may not have."""
    listing = subprocess.run(
        ["ps", "-ww", "-eo", "pid=,ppid=,pgid=,stat=,args="], capture_output=True, text=True, check=True
    )
    found = []
    for line in listing.stdout.splitlines():
        pid, parent, group, state, *command = line.split(maxsplit=4)
        if not state.startswith("Z"):
            found.append(Process(int(pid), int(parent), int(group), "".join(command)))
    return found


def happens(condition: Callable[[], bool], seconds: float = 5) -> bool:
    """Whether a condition comes true within some seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@contextmanager
def terminal(seen: Path) -> Iterator[int]:
    """A terminal for processes to print to, as a file descriptor; what they print is in a file at once."""
    screen, own = os.openpty()

    def record() -> None:
        # Reading from a terminal without a process is an error.
        with seen.open("wb", buffering=0) as file, suppress(OSError):
            while shown := os.read(screen, 4_096):
                file.write(shown)

    seen.touch()
    reader = Thread(target=record)
    reader.start()
    try:
        yield own
    finally:
        os.close(own)
        reader.join()
        os.close(screen)
