"""A sample event that satisfies a JSON Schema, for simple schemas."""

from collections.abc import Callable, Mapping
from typing import Any

from handlers.shared.schemas import compile_schemas

Schema = Mapping[str, Any]


def sample_event(schema: Schema) -> dict[str, Any] | None:
    """Return an event that satisfies a schema; None if none was found."""
    event = _sample(schema)
    if not isinstance(event, dict) or compile_schemas({"": schema})[""](event):
        return None
    return event


def _sample(schema: Schema) -> Any:
    given = [schema[key] for key in ("const", "default") if key in schema]
    given += [schema[key][0] for key in ("enum", "examples") if schema.get(key)]
    if given:
        return given[0]
    alternative: Schema = next((schema[key][0] for key in ("anyOf", "oneOf") if schema.get(key)), {})
    whole = {**schema, **alternative, "required": [*schema.get("required", []), *alternative.get("required", [])]}
    kind = whole.get("type", "object")
    return _KINDS[kind[0] if isinstance(kind, list) else kind](whole)


def _object(schema: Schema) -> dict[str, Any]:
    properties = schema.get("properties", {})
    return {name: _sample(properties.get(name, {"type": "string"})) for name in schema["required"]}


def _array(schema: Schema) -> list[Any]:
    return [_sample(schema.get("items", {"type": "string"})) for _ in range(schema.get("minItems", 0))]


def _text(schema: Schema) -> str:
    known = {"date-time": "2026-01-02T03:04:05Z", "date": "2026-01-02", "email": "ada@example.com"}
    text = known.get(schema.get("format", ""), "text")
    return text.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength", len(text) + 1_000)]


def _number(schema: Schema) -> Any:
    lowest = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
    return min(lowest, schema.get("maximum", lowest), schema.get("exclusiveMaximum", lowest + 1) - 1)


_KINDS: Mapping[str, Callable[[Schema], Any]] = {
    "object": _object,
    "array": _array,
    "string": _text,
    "integer": _number,
    "number": _number,
    "boolean": lambda _: True,
    "null": lambda _: None,
}
