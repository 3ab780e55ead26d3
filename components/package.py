"""Where functions run, and the files that are built for them."""

import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD_FOLDER = ROOT / ".build"

RUNTIME = "python3.13"
ARCHITECTURE = "arm64"

# In the environment: packages and code are for functions that run on this machine, with this Python.
LOCAL_VARIABLE = "PIPELINE_LOCAL_PACKAGES"


def built_once(target: Path, build: Callable[[Path], Path]) -> Path:
    """Return `target`, which is built in a folder of its own and moved when it is whole."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
            built = build(Path(temporary))
            try:
                built.replace(target)
            except OSError:
                # Another process was faster; a folder is not replaced.
                if not target.exists():
                    raise
    return target
