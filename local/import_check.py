"""Imports one handler and says in one line of JSON why that failed. Run as a file, with the function's environment.

Arguments: the folder of the unpacked code, the handler (`package.module.function`), the project's folder.
"""

import importlib
import json
import os
import sys
import traceback
from pathlib import Path


def main(folder: str, handler: str, project: str) -> str | None:
    """What is wrong with the handler, None when nothing is."""
    # An editable install puts the project on the path: its modules must not stand in for what the archive lacks.
    sys.path[:] = [folder, *(entry for entry in sys.path if Path(entry).resolve() != Path(project).resolve())]
    return _problem(handler, folder) or _problem(os.environ.get("PROCESSOR", "").replace(":", "."), folder)


def _problem(name: str, folder: str) -> str | None:
    """What is wrong with `module.function`. The user's function is loaded by the handler later, but checked now."""
    if not name:
        return None
    module, _, function = name.rpartition(".")
    try:
        imported = importlib.import_module(module)
    except BaseException as error:  # noqa: BLE001  whatever a module raises, also SystemExit, is what we are here to tell
        return f"{type(error).__name__}: {' '.join(str(error).split())}{_place(error, folder)}"
    if not callable(getattr(imported, function, None)):
        return f"{module} has no function {function!r}"
    return None


def _place(error: BaseException, folder: str) -> str:
    """Where in the function's own code it happened."""
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((error.filename, error.lineno))
    root = Path(folder).resolve()
    # Absolute ones only: `<frozen os>` is a place too.
    paths = [(Path(file).resolve(), line) for file, line in places if Path(file).is_absolute()]
    own = [(path, line) for path, line in paths if path.is_relative_to(root)]
    return f" ({own[-1][0].relative_to(root)}:{own[-1][1]})" if own else ""


if __name__ == "__main__":
    if problem := main(*sys.argv[1:4]):
        sys.stdout.write(json.dumps({"problem": problem}) + "\n")
        sys.exit(1)
