"""The processor's result as JSON text."""

import dataclasses
import math
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from json import dumps
from typing import Any
from uuid import UUID


class ResultError(Exception):
    """A result that can never be stored. The message names the path and the type."""


def to_json(result: object) -> str:
    """Return a processor's result as JSON text.

    Besides JSON's own types a result may hold dataclasses, pydantic models, enums (by value), tuples and sets (as
    arrays), dates and times (ISO 8601), UUIDs, and Decimals (as text, which keeps every digit).

    Raises:
        ResultError: a value is of another type, is no JSON number, or refers to itself.
    """
    try:
        return dumps(_plain(result, "result"))
    except RecursionError:
        raise ResultError("result: nested too deeply, or refers to itself") from None


def _plain(value: Any, path: str) -> Any:  # noqa: C901, PLR0911  one case a type
    match value:
        case Enum():
            return _plain(value.value, path)
        case None | bool() | str():
            return value
        case int():
            return _whole(value, path)
        case float():
            if not math.isfinite(value):
                raise ResultError(f"{path}: float {value} is no JSON number")
            return value
        case Decimal() | UUID():
            return str(value)
        case datetime() | date() | time():
            return value.isoformat()
        case Mapping():
            return _members(value, path)
        case list() | tuple():
            return [_plain(each, f"{path}[{position}]") for position, each in enumerate(value)]
        case set() | frozenset():
            # In a fixed order, so that a repeat stores the same bytes.
            return sorted((_plain(each, f"{path}{{}}") for each in value), key=dumps)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {name: _plain(each, f"{path}.{name}") for name, each in named}
    if callable(dump := getattr(value, "model_dump", None)) and not isinstance(value, type):
        return _plain(dump(mode="json"), path)
    raise ResultError(f"{path}: {type(value).__name__} cannot be stored as JSON")


def _whole(value: int, path: str) -> int:
    try:
        # Python refuses to write very long ones.
        str(value)
    except ValueError:
        raise ResultError(f"{path}: int of {value.bit_length()} bits is too long for JSON") from None
    return value


def _members(value: Mapping[Any, Any], path: str) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, each in value.items():
        name = key.value if isinstance(key, Enum) else key
        if isinstance(name, bool) or not isinstance(name, str | int | UUID | date):
            raise ResultError(f"{path}: a key of type {type(key).__name__} cannot be stored as JSON")
        name = str(name)
        if name in plain:
            raise ResultError(f"{path}.{name}: two keys ({type(key).__name__} and another type) have this name as JSON")
        plain[name] = _plain(each, f"{path}.{name}")
    return plain
