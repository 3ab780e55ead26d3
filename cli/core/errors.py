"""Errors of a command: one line on standard error, and an exit code."""

import sys
from collections.abc import Callable
from pathlib import Path
from traceback import extract_tb
from typing import NoReturn

import typer

from cli.core.terminal import inert
from local.errors import LocalError

FAILED = 1
# The exit code of shells for a program ended by Ctrl-C.
INTERRUPTED = 130


def exit_with(command: Callable[[], int]) -> NoReturn:
    """Run a command and exit with its code. An error becomes one line; a config's, one line a problem."""
    try:
        code = command()
    except LocalError as error:
        code = _failed(str(error))
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has ended, as `head` does: Typer exits without a message.
        raise
    except Exception as error:  # noqa: BLE001  the user's own program can raise anything; the line names its place
        code = _failed(_described(error))
    raise SystemExit(code)


def one_line(error: BaseException) -> str:
    """Return the message of an error without line breaks."""
    return " ".join(str(error).split())


def _failed(message: str) -> int:
    # A message can repeat what a server has answered.
    sys.stderr.write("error: " + "\n".join(map(inert, message.split("\n"))) + "\n")
    return FAILED


def _described(error: Exception) -> str:
    if any(kind.__name__ == "RunError" for kind in type(error).__mro__):
        # Pulumi shows the message of its RunError as it is; our ConfigError names file, key, value and what is allowed.
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'the output'}: {error.strerror}"
    own = [
        (path.relative_to(Path.cwd()), frame.lineno)
        for frame in extract_tb(error.__traceback__)
        if (path := Path(frame.filename)).is_relative_to(Path.cwd()) and "site-packages" not in path.parts
    ]
    place = f" ({own[-1][0]}:{own[-1][1]})" if own else ""
    return f"{type(error).__name__}: {one_line(error)}{place}"
