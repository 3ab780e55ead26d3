"""`pipeline console`: a stack in the browser, read and operated by the same functions as the commands.

Starlette and Jinja2 (requirements-console.txt), see docs/decisions/0014-console.md. Pages are rendered here; the page
asks for its changing part again while it is visible.
"""

from importlib.util import find_spec


def is_installed() -> bool:
    """Return True if the packages of requirements-console.txt are there."""
    return find_spec("starlette") is not None and find_spec("jinja2") is not None
