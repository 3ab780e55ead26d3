"""Stack files, processors and schemas in the root belong to the user: no test of the project may depend on them."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What the project keeps in the same folders.
_OURS = {str(ROOT / name) for name in ("processors/__init__.py", "schemas/stack.schema.json", "schemas/outcome.json")}
_FOLDERS = tuple(str(ROOT / name) + os.sep for name in ("processors", "schemas"))
_STACK_FILE = str(ROOT / "Pulumi.")
# Tests of the user, and those that look at files as text.
_MAY_READ = ("tests/processors/", "tests/stacks/", "tests/test_habits.py", "tests/test_samples.py")


def belongs_to_the_user(path: str) -> bool:
    """Return True if a user may change or delete a file in the root."""
    if path.startswith(_STACK_FILE):
        return path.endswith(".yaml") and path != str(ROOT / "Pulumi.yaml")
    return path.startswith(_FOLDERS) and path not in _OURS and not path.endswith(".pyc")


def refuse_to_read_them() -> None:
    """Make a test fail that opens a file of the user."""

    def refuse(event: str, arguments: tuple[object, ...]) -> None:
        if event != "open" or not isinstance(arguments[0], str | Path):
            return
        test = os.environ.get("PYTEST_CURRENT_TEST", "")
        if test and not test.startswith(_MAY_READ) and belongs_to_the_user(str(arguments[0])):
            raise AssertionError(f"{arguments[0]} belongs to the user: let the test read tests/samples instead")

    sys.addaudithook(refuse)
