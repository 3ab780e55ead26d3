"""The logger of all functions: one JSON object a line, `service` and level from the environment (Powertools)."""

import json
import logging
from collections.abc import Mapping
from typing import Any

from aws_lambda_powertools import Logger

# In characters. An error's text can hold the whole event, once for each error in its chain.
MAXIMUM_LINE = 32_768
MAXIMUM_FIELD = 8_192


def _dumps(value: object) -> str:
    # ASCII only. Powertools' own serializer writes half surrogate pairs, which no stream accepts, and control
    # characters, which change a terminal or break lines.
    return json.dumps(value, default=str, separators=(",", ":"))


def _line(record: Mapping[str, Any]) -> str:
    """Return a log line. If it is too long, its long fields are cut in the middle: a traceback ends with the error."""
    line = _dumps(record)
    return line if len(line) <= MAXIMUM_LINE else _dumps({name: _shortened(value) for name, value in record.items()})


def _shortened(value: object) -> object:
    text = value if isinstance(value, str) else _dumps(value)
    if len(text) <= MAXIMUM_FIELD:
        return value
    half = MAXIMUM_FIELD // 2
    return f"{text[:half]} ... {len(text) - 2 * half} characters left out ... {text[-half:]}"


def _parsed(text: Any) -> Any:
    """Return the JSON in a message. Raises ValueError, also for levels too deep to parse, which logging would raise."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("too many levels") from None


# Without Powertools' second copy of each traceback.
logger = Logger(json_serializer=_line, json_deserializer=_parsed, serialize_stacktrace=False)


def write_record(message: str, **fields: Any) -> None:
    """Write a line, of level INFO, at any `logs.level`.

    For what saved queries, reports on requests and the `pipeline` command read: one line a request, batch or run.
    """
    plain = logging.getLogger(logger.name)
    file, number, function, _ = plain.findCaller(stacklevel=2)
    plain.handle(plain.makeRecord(plain.name, logging.INFO, file, number, message, (), None, function, fields))
