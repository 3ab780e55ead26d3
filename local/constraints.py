"""AWS's constraints on requests, from botocore's service models: enums, patterns, lengths and ranges.

botocore itself checks types, required members and minima only, and an emulator takes what AWS refuses.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from botocore.model import OperationModel, Shape

from local.errors import LocalError


def refuse_violations(params: Mapping[str, Any], model: OperationModel, **_event: object) -> None:
    """Check a request before it is sent, as a handler of botocore's. Raises LocalError for what AWS would refuse."""
    found = list(violations(model.input_shape, params)) if model.input_shape else []
    if found:
        service = model.service_model.service_name
        raise LocalError(f"AWS would refuse {service}.{model.name}: {'; '.join(found)}")


def violations(shape: Any, value: Any, path: str = "") -> Iterator[str]:
    """Yield what is wrong with a value, with its path (`Rules[0].Status`).

    `shape` is one of botocore's, whose stubs do not tell by `type_name` which members a shape has.
    """
    match shape.type_name:
        case "structure" if isinstance(value, Mapping):
            yield from _members(shape, value, path)
        case "list" if isinstance(value, list | tuple):
            yield from _size(shape, len(value), path, "items")
            for position, member in enumerate(value):
                yield from violations(shape.member, member, f"{path}[{position}]")
        case "map" if isinstance(value, Mapping):
            yield from _size(shape, len(value), path, "entries")
            for key, member in value.items():
                yield from violations(shape.key, key, f"key {key!r} of {path}")
                yield from violations(shape.value, member, f"{path}[{key!r}]")
        case "string" if isinstance(value, str):
            yield from _size(shape, len(value), path, "characters")
            yield from _text(shape, value, path)
        case "blob" if isinstance(value, bytes):
            yield from _size(shape, len(value), path, "bytes")
        case "integer" | "long" | "float" | "double" if not isinstance(value, bool):
            yield from _size(shape, value, path, "")


def _members(shape: Any, value: Mapping[str, Any], path: str) -> Iterator[str]:
    for name in value.keys() & shape.members.keys():
        yield from violations(shape.members[name], value[name], f"{path}.{name}" if path else name)


def _size(shape: Shape, size: float, path: str, unit: str) -> Iterator[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    counted = f"has {size} {unit}" if unit else f"is {size}"
    if least is not None and size < least:
        yield f"{path} {counted}, below {least}"
    if most is not None and size > most:
        yield f"{path} {counted}, above {most}"


def _text(shape: Shape, value: str, path: str) -> Iterator[str]:
    allowed = shape.metadata.get("enum")
    if allowed and value not in allowed:
        yield f"{path} is {value!r}, and not one of {', '.join(allowed)}"
    pattern = shape.metadata.get("pattern")
    if pattern and not _compiled(pattern).fullmatch(value):
        yield f"{path} is {value!r}, and does not match {pattern}"


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(_in_python(pattern), re.DOTALL)


def _in_python(pattern: str) -> str:
    """Return a pattern of the models, which are Java's, for Python's `re`."""
    for java, python in _JAVA:
        pattern = pattern.replace(java, python)
    return pattern


# The classes of characters that the models use and Python does not know.
_JAVA = (
    ("\\p{Alnum}", "a-zA-Z0-9"),
    ("\\p{Graph}", "\\x21-\\x7e"),
    ("\\p{Print}", "\\x20-\\x7e"),
    ("\\p{L}", "\\w"),
    ("\\p{Z}", "\\s"),
    ("\\p{N}", "\\d"),
)
