"""Import one handler and print the reason of a failure as a line of JSON. Run as a file, in the function's environment.

Arguments: the folder of the unpacked code, the handler (`package.module.function`), the folders of packages.
"""

import importlib
import inspect
import json
import os
import sys
import traceback
from pathlib import Path


def main(folder: str, handler: str, *packages: str) -> str | None:
    """Return what is wrong with the handler, or None."""
    sys.path[:] = [folder, *sys.path, *packages]
    # The handler loads the user's function later; it is checked here.
    processor = os.environ.get("PROCESSOR", "").replace(":", ".")
    problem = _problem(handler, folder)
    if problem is None and processor:
        problem = _problem(processor, folder) or _unfit(processor)
    return problem


def _problem(name: str, folder: str) -> str | None:
    """Return what is wrong with `module.function`."""
    module, _, function = name.rpartition(".")
    try:
        imported = importlib.import_module(module)
    except BaseException as error:  # noqa: BLE001  a module may raise anything, also SystemExit, and all of it is reported
        return f"{type(error).__name__}: {' '.join(str(error).split())}{_place(error, folder)}"
    if not callable(getattr(imported, function, None)):
        return f"{module} has no function {function!r}"
    return None


def _unfit(name: str) -> str | None:
    """Return why the user's function cannot be called as the worker calls it."""
    module, _, function = name.rpartition(".")
    try:
        signature = inspect.signature(getattr(sys.modules[module], function))
    except ValueError:
        # Of a type that is written in C, like dict.
        return None
    if _takes(signature, 1) or _takes(signature, 2):
        return None
    return f"{function}{signature} in {module}: a processor is called with (event) or (event, context)"


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def _place(error: BaseException, folder: str) -> str:
    """Return the line of the function's own code where an error happened."""
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((error.filename, error.lineno))
    root = Path(folder).resolve()
    # Only absolute paths are files; `<frozen os>` is none.
    paths = [(Path(file).resolve(), line) for file, line in places if Path(file).is_absolute()]
    own = [(path, line) for path, line in paths if path.is_relative_to(root)]
    return f" ({own[-1][0].relative_to(root)}:{own[-1][1]})" if own else ""


if __name__ == "__main__":
    if problem := main(*sys.argv[1:]):
        sys.stdout.write(json.dumps({"problem": problem}) + "\n")
        sys.exit(1)
