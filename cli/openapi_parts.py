"""Parts of the OpenAPI document that operations share."""

from typing import Any

from components.options.api import ApiOptions
from handlers.shared.http import CORRELATION_ID_PATTERN

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
CORRELATION_ID: Json = {
    "name": "X-Correlation-Id",
    "in": "header",
    "description": "Attached to the events and to every log line about them. Default: the id of the request.",
    "schema": {"type": "string", "pattern": f"^{CORRELATION_ID_PATTERN}$"},
}


def ref(name: str) -> Json:
    """Return a reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def answer_with(description: str, *schemas: str) -> Json:
    """Return a response whose body has one of these schemas."""
    schema = ref(schemas[0]) if len(schemas) == 1 else {"anyOf": [ref(name) for name in schemas]}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def gateway_error(api: ApiOptions) -> tuple[str, ...]:
    """Return the schema of API Gateway's errors where it is not ours: a REST API is configured to use ours."""
    return ("GatewayError",) if api.kind == "http" else ()
