"""A sample of an event that fits a JSON Schema, to begin an event of one's own with."""

import json
from collections.abc import Mapping
from typing import Any

_BY_TYPE: Mapping[str, Any] = {"integer": 1, "number": 1, "boolean": True, "null": None, "string": "text", "array": []}
_FORMATS = {
    "date-time": "2026-01-01T12:00:00Z",
    "date": "2026-01-01",
    "time": "12:00:00Z",
    "email": "name@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def sample_of(schema: Any, depth: int = 8) -> Any:
    """Return a value by the schema's examples, defaults, types and bounds. A pattern or a combination may need more."""
    if not isinstance(schema, dict) or depth == 0:
        return {}
    given = [schema[name] for name in ("const", "default") if name in schema]
    given += [schema[name][0] for name in ("examples", "enum") if schema.get(name)]
    if given:
        return given[0]
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind or ("object" if "properties" in schema else "string")
    if kind == "object":
        return _object(schema, depth)
    if kind == "array":
        return [sample_of(schema.get("items"), depth - 1)] * schema.get("minItems", 0)
    return _scalar(schema, kind)


def _scalar(schema: Mapping[str, Any], kind: str) -> Any:
    if kind in ("integer", "number"):
        return schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
    text = _FORMATS.get(schema.get("format", ""), _BY_TYPE.get(kind, {}))
    return text.ljust(schema.get("minLength", 0), "x") if isinstance(text, str) else text


def samples(schemas: Mapping[str, Any]) -> dict[str, str]:
    """Return a sample for each schema, as JSON text."""
    return {name: json.dumps(sample_of(schema), indent=2) for name, schema in schemas.items()}


def _object(schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
    properties = schema.get("properties", {})
    wanted = [*schema.get("required", [])]
    for option in schema.get("anyOf", []) + schema.get("oneOf", []):
        wanted += option.get("required", [])
        break
    names = dict.fromkeys(wanted or properties)
    return {name: sample_of(properties.get(name, {}), depth - 1) for name in names}
