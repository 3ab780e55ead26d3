"""JSON that people and other programs hand to a command, and JSON that a command prints.

Reading is strict: no NaN, no Infinity, no number beyond a float, no duplicate keys. The API refuses these, too.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any, NoReturn

from handlers.shared.strict_json import without_repeated_names
from local.errors import LocalError

STDIN = "-"


def read_text(file: str) -> tuple[str, str]:
    """Return a file's text and what to call it in messages; `-` is standard input. Raises LocalError."""
    if file == STDIN:
        return sys.stdin.read(), "standard input"
    try:
        return Path(file).read_text(encoding="utf-8-sig"), file
    except (OSError, UnicodeDecodeError) as error:
        raise LocalError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from error


def parse(text: str, source: str) -> Any:
    """Return the one JSON value of a text. Raises LocalError that names the source."""
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=without_repeated_names)
    except (ValueError, RecursionError) as error:
        raise LocalError(f"{source} is not JSON: {_described(error)}") from error


def parse_object(text: str, source: str) -> dict[str, Any]:
    """Return the JSON object of a text. Raises LocalError."""
    value = parse(text, source)
    if not isinstance(value, dict):
        raise LocalError(f"{source} must hold a JSON object")
    return value


def parse_values(text: str, source: str) -> list[Any]:
    """Return the items of a JSON array, one value, or the values of JSON Lines. Raises LocalError with the line."""
    if not text.strip():
        raise LocalError(f"{source} is empty")
    try:
        whole = parse(text, source)
    except LocalError:
        lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
        if len(lines) == 1:
            raise
        return [parse(line, f"{source}, line {number}") for number, line in lines]
    return whole if isinstance(whole, list) else [whole]


def write_json(value: Any, *, indent: int | None = None) -> None:
    """Print a value as JSON, on one line unless `indent` is given."""
    sys.stdout.write(f"{json.dumps(value, indent=indent)}\n")
    sys.stdout.flush()


def _described(error: Exception) -> str:
    """Return the message of an error; of a one-line text without the line, which the caller names."""
    if isinstance(error, json.JSONDecodeError) and "\n" not in error.doc:
        return f"{error.msg}: column {error.colno}"
    return str(error)


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")
