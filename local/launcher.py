"""The emulator's process: MiniStack with our patches. Run as a file, it ends when its standard input does.

The parent holds the other end of that pipe. The emulator and the workers of its functions end with the parent, even if
that is killed.
"""

import os
import shutil
import signal
import sys
import threading
from pathlib import Path


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    # A parent that was killed could not remove our working directory.
    shutil.rmtree(Path.cwd(), ignore_errors=True)
    # The whole process group, because a function's worker does not notice that its parent ends.
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Serve until stopped."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Not in PYTHONPATH, which workers inherit: a function must find modules in its own archive only.
    sys.path[0] = str(Path(__file__).parent.parent)
    from local import patches  # noqa: PLC0415  the path must be set first

    patches.apply()
    patches.serve()


if __name__ == "__main__":
    main()
