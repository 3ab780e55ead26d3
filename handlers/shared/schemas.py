"""JSON Schemas, compiled, and their problems as JSON Pointers."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import fastjsonschema

FULLY_EXPLAINED_BYTES = 16_384
LISTED_PROBLEMS = 20
# Of a problem's path and message, in characters. Each can be 14 bytes of an answer: an escape within an escape.
MAXIMUM_PATH_LENGTH = 200
MAXIMUM_PROBLEM_LENGTH = 500
_list_place = re.compile(r"\[([0-9]+)\]").match

Problem = dict[str, str]
Validate = Callable[[Mapping[str, Any]], list[Problem]]


def compile_schemas(schemas: Mapping[str, Mapping[str, Any]]) -> dict[str, Validate]:
    """A validator for each JSON Schema (draft 4, 6, 7).

    It answers with every problem of an event of usual size, and with the first of a large one: a list of 100,000 items
    can have as many problems, and nobody reads them.
    """
    return {event_type: _validator(schema) for event_type, schema in schemas.items()}


def _validator(schema: Mapping[str, Any]) -> Validate:
    first = fastjsonschema.compile(dict(schema), use_default=False)
    every = fastjsonschema.compile(dict(schema), use_default=False, fast_fail=False)

    def validate(event: Mapping[str, Any]) -> list[Problem]:
        try:
            return refused(event)
        except OverflowError:
            # fastjsonschema's `multipleOf` divides, and an integer can be larger than any float.
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
        raise RuntimeError("an event is refused, and then it is not")

    return validate


def _problem(error: fastjsonschema.JsonSchemaValueException, event: Mapping[str, Any]) -> Problem:
    name = error.name or ""
    # `data.lines[0].price`, where a field's own dots and brackets look the same: the event tells which it is, and where
    # two places are written alike, the value does.
    places = list(_places(event, name.removeprefix("data")))
    exact = [pointer for pointer, value in places if value is error.value]
    pointer = (exact or [pointer for pointer, _ in places] or [""])[0]
    while len(pointer) > MAXIMUM_PATH_LENGTH:
        # What is around it: half a name would be another place.
        pointer = pointer.rpartition("/")[0]
    return {"path": pointer, "message": error.message.removeprefix(name).strip()[:MAXIMUM_PROBLEM_LENGTH]}


def _places(value: object, name: str, pointer: str = "") -> Iterator[tuple[str, object]]:
    """Every place below a value that fastjsonschema writes as `name`, as a JSON Pointer, and what stands there."""
    if not name:
        yield pointer, value
    elif isinstance(value, dict):
        for field, inner in value.items():
            if name.startswith(f".{field}"):
                written = field.replace("~", "~0").replace("/", "~1")
                yield from _places(inner, name[len(field) + 1 :], f"{pointer}/{written}")
    elif isinstance(value, list) and (match := _list_place(name)) and int(match[1]) < len(value):
        yield from _places(value[int(match[1])], name[match.end() :], f"{pointer}/{match[1]}")
