"""JSON Schemas, compiled, and their problems as JSON Pointers."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import fastjsonschema
from fastjsonschema.draft04 import CodeGeneratorDraft04

from handlers.shared.problems import MAXIMUM_PATH_LENGTH, MAXIMUM_PROBLEM_LENGTH, Problem, Validate

FULLY_EXPLAINED_BYTES = 16_384
LISTED_PROBLEMS = 20
_list_place = re.compile(r"\[([0-9]+)\]").match


def _is_idn_email(text: str) -> bool:
    local, _, domain = text.partition("@")
    return bool(local) and "@" not in domain and "." in domain[1:-1]


def _is_email(text: str) -> bool:
    local = text.partition("@")[0]
    return _is_idn_email(text) and not local.startswith(".") and not local.endswith(".") and ".." not in local


# The library's own expressions take quadratic time: 16 seconds for an address of 80,000 characters.
LINEAR_FORMATS: dict[str, Callable[[str], bool]] = {"email": _is_email, "idn-email": _is_idn_email}


def _distinct(items: list[Any]) -> int:
    """Return how many different JSON values a list has."""
    return len({_hashable(item) for item in items})


def _hashable(value: object) -> object:
    """Return what is equal for equal JSON values only, with a hash that a client cannot choose.

    Multiples of 2**61 - 1 all have the hash 0: a set of 50,000 takes a minute. The hashes of texts are random.
    """
    match value:
        case bool():
            return bool, value
        case int():
            return int, str(value)
        case float():
            return int, str(int(value)) if value.is_integer() else repr(value)
        case dict():
            return frozenset((name, _hashable(inner)) for name, inner in value.items())
        case list():
            return tuple(_hashable(inner) for inner in value)
    return value


def _generate_unique_items(generator: Any) -> None:
    """Write the check of `uniqueItems`, in place of the library's own."""
    if generator._definition["uniqueItems"]:  # noqa: SLF001
        generator._extra_imports_objects["distinct"] = _distinct  # noqa: SLF001
        generator.create_variable_is_list()
        with generator.l("if {variable}_is_list and distinct({variable}) < len({variable}):"):
            generator.exc("{name} must contain unique items", rule="uniqueItems")


CodeGeneratorDraft04.generate_unique_items = _generate_unique_items  # type: ignore[method-assign]


def compile_schemas(schemas: Mapping[str, Mapping[str, Any]]) -> dict[str, Validate]:
    """Return a validator for each JSON Schema (draft 4, 6, 7).

    It returns every problem of an event of usual size, but only the first one of a large event: a list of 100,000 items
    can have as many problems.
    """
    return {event_type: _validator(schema) for event_type, schema in schemas.items()}


def _validator(schema: Mapping[str, Any]) -> Validate:
    first = fastjsonschema.compile(dict(schema), formats=LINEAR_FORMATS, use_default=False)
    every = fastjsonschema.compile(dict(schema), formats=LINEAR_FORMATS, use_default=False, fast_fail=False)

    def validate(event: Mapping[str, Any]) -> list[Problem]:
        try:
            return refused(event)
        except OverflowError:
            # fastjsonschema divides for `multipleOf`, and an integer can be larger than any float.
            return [{"path": "", "message": "has an integer that is too large for its schema"}]

    def refused(event: Mapping[str, Any]) -> list[Problem]:
        try:
            first(event)
        except fastjsonschema.JsonSchemaValueException as error:
            problems = [error] if len(json.dumps(event)) > FULLY_EXPLAINED_BYTES else explained(event)
            return [_problem(each, event) for each in problems[:LISTED_PROBLEMS]]
        return []

    def explained(event: Mapping[str, Any]) -> list[fastjsonschema.JsonSchemaValueException]:
        try:
            every(event)
        except fastjsonschema.JsonSchemaValuesException as error:
            return list(error.errors)
        raise RuntimeError("the two validators of a schema disagree about an event")

    return validate


def _problem(error: fastjsonschema.JsonSchemaValueException, event: Mapping[str, Any]) -> Problem:
    name = error.name or ""
    # A name such as `data.lines[0].price` does not escape dots and brackets in the names of fields. The event shows
    # which fields exist, and the value decides between two places with the same name.
    places = list(_places(event, name.removeprefix("data")))
    exact = [pointer for pointer, value in places if value is error.value]
    pointer = (exact or [pointer for pointer, _ in places] or [""])[0]
    while len(pointer) > MAXIMUM_PATH_LENGTH:
        # The enclosing place: half a name would be another place.
        pointer = pointer.rpartition("/")[0]
    return {"path": pointer, "message": error.message.removeprefix(name).strip()[:MAXIMUM_PROBLEM_LENGTH]}


def _places(value: object, name: str, pointer: str = "") -> Iterator[tuple[str, object]]:
    """Yield every place below a value that fastjsonschema writes as `name`: its JSON Pointer and its value."""
    if not name:
        yield pointer, value
    elif isinstance(value, dict):
        for field, inner in value.items():
            if name.startswith(f".{field}"):
                written = field.replace("~", "~0").replace("/", "~1")
                yield from _places(inner, name[len(field) + 1 :], f"{pointer}/{written}")
    elif isinstance(value, list) and (match := _list_place(name)) and int(match[1]) < len(value):
        yield from _places(value[int(match[1])], name[match.end() :], f"{pointer}/{match[1]}")
