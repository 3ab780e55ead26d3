"""Commands that messages suggest, as they work when they are pasted into the user's shell."""

import os
import shlex
import shutil
import sys
from pathlib import Path


def suggest(*words: str) -> str:
    """Return a command line of `pipeline` with these words, quoted for a shell."""
    return f"{program('pipeline')} {shlex.join(words)}"


def program(name: str) -> str:
    """Return how to start a program of this environment: its name if the shell finds it, else its path."""
    installed = Path(sys.executable).with_name(name)
    found = shutil.which(name)
    if found and installed.exists() and Path(found).samefile(installed):
        return name
    # A shell looks for a name without a slash in its PATH only, so a program in this very folder has its full path.
    below = Path.cwd() in installed.parents[1:]
    return shlex.quote(os.path.relpath(installed) if below else str(installed))


def is_installed(name: str) -> bool:
    """Return True if this environment has a program."""
    return Path(sys.executable).with_name(name).exists()
