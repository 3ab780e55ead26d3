"""Options that name JSON Schema files."""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import fastjsonschema
from pydantic import AfterValidator, Discriminator, Field, Tag

_type_name = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}").fullmatch


def _references(schema: object) -> list[str]:
    if isinstance(schema, dict):
        own = [schema["$ref"]] if isinstance(schema.get("$ref"), str) else []
        return own + [reference for value in schema.values() for reference in _references(value)]
    if isinstance(schema, list):
        return [reference for value in schema for reference in _references(value)]
    return []


def read_event_schema(path: Path) -> dict[str, Any]:
    """Return the JSON Schema (draft 4, 6 or 7) in a file. Raises ValueError if the file does not hold a valid one."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        schema = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(schema, dict):
        raise ValueError(f"{path} must hold a JSON object, a JSON Schema")  # noqa: TRY004  pydantic turns ValueErrors into messages
    if remote := [reference for reference in _references(schema) if not reference.startswith("#")]:
        raise ValueError(f"{path}: $ref may only point into its own file (#/...), not to {remote[0]}")
    try:
        fastjsonschema.compile(schema, use_default=False)
    except (fastjsonschema.JsonSchemaDefinitionException, re.error, AttributeError, TypeError) as error:
        # fastjsonschema raises the last two when a keyword has a value of the wrong type.
        raise ValueError(f"{path} is not a JSON Schema: {error}") from error
    return schema


def _existing_schema(value: str) -> str:
    read_event_schema(Path(value))
    return value


ExistingSchema = Annotated[str, AfterValidator(_existing_schema)]


def _existing_type(value: str) -> str:
    if not _type_name(value):
        raise ValueError("a type name has letters, digits, dot, hyphen and underscore, 64 at most")
    read_event_schema(Path("schemas") / f"{value}.json")
    return value


def _kind_of_schemas(value: object) -> str:
    if value == "none":
        return "kind:none"
    return "kind:path" if isinstance(value, str) else "kind:types"


EventSchemas = Annotated[
    Annotated[Literal["none"], Tag("kind:none")]
    | Annotated[ExistingSchema, Tag("kind:path")]
    | Annotated[tuple[Annotated[str, AfterValidator(_existing_type)], ...], Field(min_length=1), Tag("kind:types")],
    Discriminator(_kind_of_schemas),
]
