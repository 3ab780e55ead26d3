"""Where an unexpected error was raised."""

import traceback
from pathlib import Path

_HANDLERS = Path(__file__).parents[1]


def described(error: BaseException) -> str:
    """Return an error's type, place in the handlers and message: `TypeError at csv/plan.py:42: ...`."""
    places = [
        f" at {Path(frame.filename).relative_to(_HANDLERS)}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(_HANDLERS)
    ]
    return f"{type(error).__name__}{places[-1] if places else ''}: {error}"
