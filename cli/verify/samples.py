"""An event, a file and a reading that fit a stack's config."""

import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from components.options.csv import CsvInputOptions
from components.options.csv_columns import ColumnOptions
from components.options.iot import ReadingOptions
from handlers.iot.forms import EPOCHS

# A text of each format of JSON Schema that is often used.
FORMATS = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "verify@example.com",
    "idn-email": "verify@example.com",
    "uri": "https://example.com/",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def value_of(schema: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> Any:
    """Return a value that fits a JSON Schema of the usual kind: with its required fields, and no others."""
    root = schema if root is None else root
    if "$ref" in schema:
        return value_of(_referred(root, schema["$ref"]), root)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    parts = [*schema.get("allOf", ()), *(schema[key][0] for key in ("anyOf", "oneOf") if schema.get(key))]
    if parts:
        own = {name: each for name, each in schema.items() if name not in ("allOf", "anyOf", "oneOf")}
        return value_of(_merged([*parts, own]), root)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    return _of_type(kind[0] if isinstance(kind, list) else kind, schema, root)


def _merged(schemas: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one schema of several that all hold, as far as it takes to make up a value."""
    merged: dict[str, Any] = {}
    for schema in schemas:
        required = [*merged.get("required", ()), *schema.get("required", ())]
        properties = {**merged.get("properties", {}), **schema.get("properties", {})}
        merged |= schema
        merged |= {"required": required} if required else {}
        merged |= {"properties": properties} if properties else {}
    return merged


def _of_type(kind: str, schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    match kind:
        case "object":
            properties = schema.get("properties", {})
            return {name: value_of(properties.get(name, {}), root) for name in schema.get("required", ())}
        case "array":
            items = schema.get("items", {})
            each = items[0] if isinstance(items, list) else items
            return [value_of(each, root)] * int(schema.get("minItems", 0))
        case "integer" | "number":
            return _number(schema)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            text = FORMATS.get(schema.get("format", ""), "verify")
            return text.ljust(int(schema.get("minLength", 0)), "x")[: int(schema.get("maxLength", len(text) + 10**6))]


def _number(schema: Mapping[str, Any]) -> int:
    least = schema.get("minimum", schema.get("exclusiveMinimum"))
    most = schema.get("maximum", schema.get("exclusiveMaximum"))
    step = int(schema.get("multipleOf", 1)) or 1
    if isinstance(least, int | float) and not isinstance(least, bool):
        above = int(least) + (1 if "exclusiveMinimum" in schema or int(least) < least else 0)
        return -(-above // step) * step
    if isinstance(most, int | float) and most <= 1:
        return int(most) - ("exclusiveMaximum" in schema)
    return step


def _referred(root: Mapping[str, Any], reference: str) -> Mapping[str, Any]:
    found: Any = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        found = found[part] if part else found
    return dict(found)


# Files


def csv_file(options: CsvInputOptions) -> bytes:
    """Return a file with one row. Its row may be rejected, for a pattern that no made-up text fits."""
    text = io.StringIO()
    delimiter = options.delimiter or ","
    lines = ["skipped"] * options.skip_lines
    if options.header != "none":
        lines.append(delimiter.join(column.name for column in options.columns))
    lines.append(delimiter.join(_cell(column) for column in options.columns))
    if options.footer:
        lines += [delimiter.join(["end"] * len(options.columns))] * (options.footer.last_rows or 0)
    text.write("\r\n".join(lines) + "\r\n")
    encoding = options.encoding or (options.encodings[0] if options.encodings else "utf-8")
    return text.getvalue().encode(encoding)


def _cell(column: ColumnOptions) -> str:
    match column.type:
        case "integer" | "number" | "decimal":
            limits = [int(each) for each in (column.min, column.max) if isinstance(each, int | float)]
            return str(limits[0] if limits else 1)
        case "boolean":
            return "true"
        case "date":
            return str(column.min or column.max or "2026-01-01")
        case "datetime":
            return str(column.min or column.max or "2026-01-01T00:00:00Z")
        case "string":
            text = column.choices[0] if column.choices else "verify"
            return text.ljust(int(column.min or 0), "x")[: int(column.max or 10**6)]


# Readings


def reading(options: ReadingOptions, device: str, metric: str) -> bytes:
    """Return the text of one reading of a device, as of now."""
    now = datetime.now(UTC)
    style = options.time_formats[0]
    moment: object = f"{now:%Y-%m-%dT%H:%M:%SZ}" if style not in EPOCHS else int(now.timestamp() * EPOCHS[style])
    value: dict[str, Any] = {}
    paths = options.fields.paths()
    for name, content in (("device_id", device), ("timestamp", moment), ("metrics", {metric: 1})):
        put(value, paths[name][0], content)
    return json.dumps(value).encode()


def put(value: dict[str, Any], path: Sequence[str], content: object) -> None:
    """Put content at a path into a value, unless something is there."""
    *parents, last = path
    for name in parents:
        value = value.setdefault(name, {})
    value.setdefault(last, content)
