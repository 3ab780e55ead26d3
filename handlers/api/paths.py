"""Fields of an event by path: `order.number` is the field `number` of the object `order`."""

from collections.abc import Iterable, Mapping
from typing import Any


def value_at(event: Mapping[str, Any], path: str) -> Any:
    """Return the value at a path, None if there is none. A field that is called like the whole path comes first."""
    if path in event:
        return event[path]
    value: Any = event
    for name in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def without(event: Mapping[str, Any], paths: Iterable[str]) -> Mapping[str, Any]:
    """Return the event without the fields at some paths."""
    for path in paths:
        event = _without(event, path)
    return event


def _without(event: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    name, _, rest = path.partition(".")
    if path in event or not rest:
        return {each: value for each, value in event.items() if each != path}
    inner = event.get(name)
    return {**event, name: _without(inner, rest)} if isinstance(inner, dict) else event


def text_of(value: object) -> str | None:
    """Return text or a number as text, None for any other value. A number without a fraction is written as whole."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return str(int(value)) if isinstance(value, int) or value.is_integer() else repr(value)
