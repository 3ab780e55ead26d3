"""The emulator's process: MiniStack with our patches. Run as a file; it ends when its standard input does.

Its parent holds the other end of that pipe, so that the emulator and its functions' workers end with the parent however
that ends, also by SIGKILL.
"""

import os
import shutil
import signal
import sys
import threading
from pathlib import Path


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    # A parent that was killed could not remove the folder that we run in.
    shutil.rmtree(Path.cwd(), ignore_errors=True)
    # The whole process group: a worker that runs a function does not see its parent end.
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Serves until told to stop."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Workers inherit the environment but not this: they must find a function's modules in its own archive only.
    sys.path[0] = str(Path(__file__).parent.parent)
    from local import patches  # noqa: PLC0415  not before the path is set

    patches.apply()
    patches.serve()


if __name__ == "__main__":
    main()
