"""`pipeline openapi`: the API of a stack as an OpenAPI 3.1 document, from its routes, its config and its event schemas.

Paths are those that `components.api` deploys; limits and patterns are those that the functions check. A new route needs
an operation in OPERATIONS: tests compare both, and send requests that the document allows to a running pipeline.
Written by hand: docs/decisions/0008-openapi-by-hand.md. Most of this file is data.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from cli.core.json_text import write_json
from cli.core.stack import Stack
from cli.openapi_parts import CORRELATION_ID, TEXT, Json, answer_with, gateway_error, ref
from cli.openapi_webhooks import webhook_operations
from components.api import Route, is_open
from components.options.api import ApiOptions, ApiPipelineConfig
from components.options.csv import CsvPipelineConfig
from components.redrive import REDRIVE_ROUTES
from components.variants.api import event_schemas
from handlers.api import cloudevents, events, identity, listing
from handlers.shared import queues, redrive
from handlers.shared.bodies import FORM_TYPE
from local.errors import LocalError

# The version of the API itself. A change that breaks clients raises it.
API_VERSION = "1.0.0"
# The dialect in which fastjsonschema checks events, so that their schemas are included unchanged.
DIALECT = "http://json-schema.org/draft-07/schema#"

TIME: Json = {"type": "string", "format": "date-time"}
COUNT: Json = {"type": "integer", "minimum": 0}
ID: Json = {"type": "string", "pattern": f"^{events.ID_PATTERN}$"}
STATUS: Json = {"enum": list(listing.STATUSES)}
CLOUD_EVENT: Json = {
    "type": "object",
    "required": list(cloudevents.REQUIRED),
    "properties": {
        "specversion": {"const": cloudevents.SPECVERSION},
        **{
            name: {"type": "string" if name in cloudevents.REQUIRED else ["string", "null"], "pattern": f"^{pattern}$"}
            for name, (pattern, _) in cloudevents.PATTERNS.items()
        },
        "time": {**TIME, "type": ["string", "null"]},
        "data": {},
    },
    "additionalProperties": {"type": ["string", "integer", "boolean", "null"]},
    "propertyNames": {"pattern": "^[a-z0-9]{1,64}$"},
}

Auth = Literal["none", "iam", "jwt", "api_key"]

REDRIVE_TEXT = {**TEXT, "minLength": 1, "maxLength": redrive.MAXIMUM_TEXT_LENGTH}
REDRIVE_PARAMETERS: Mapping[str, Json] = {
    **{
        name: {"type": "integer", "minimum": lowest, "maximum": highest}
        for name, (lowest, highest) in redrive.NUMBERS.items()
    },
    **{name: {**REDRIVE_TEXT, "description": what} for name, what in redrive.TEXTS.items()},
}
EVENT_PARAMETERS: Mapping[str, Json] = {
    **{name: {**REDRIVE_TEXT, "description": what} for name, what in redrive.EVENT_TEXTS.items()},
    "field": {**REDRIVE_TEXT, "description": redrive.EVENT_TEXTS["field"], "pattern": r"^[^=]+=[\s\S]"},
}


def run_openapi(stack: str) -> int:
    """Print the document."""
    config = Stack(stack).config
    if isinstance(config, CsvPipelineConfig) and not config.queue.redrive_api:
        raise LocalError(f"stack {stack!r} is of the variant 'csv', which has no API without queue.redrive_api")
    if not isinstance(config, ApiPipelineConfig | CsvPipelineConfig):
        raise LocalError(f"stack {stack!r} is of the variant {config.variant!r}, which has no API")
    write_json(document(config), indent=2)
    return 0


def document(config: ApiPipelineConfig | CsvPipelineConfig) -> Json:
    """The OpenAPI document of a stack."""
    api = config.api
    operations: dict[Route, Json] = {}
    if isinstance(config, ApiPipelineConfig):
        output, description = "api_url", "Accepts events and reports their status."
        operations |= {route: operation(config) for route, operation in OPERATIONS.items()}
        operations |= webhook_operations(config.webhooks, api)
        schemas = _schemas(config)
    else:
        output, description = "redrive_api_url", "Shows dead letters and redrives them."
        schemas = _error_schemas(api)
    if config.queue.redrive_api:
        parameters = {**REDRIVE_PARAMETERS, **(EVENT_PARAMETERS if config.variant == "api" else {})}
        operations |= {route: operation(api, parameters) for route, operation in REDRIVE_OPERATIONS.items()}
        schemas |= _redrive_schemas(parameters)
    schemes: Json = {}
    paths: dict[str, Json] = {}
    for (method, path), operation in operations.items():
        auth = _auth(api, (method, path))
        scheme = _security_scheme(api, auth)
        operation["responses"] = _gateway_answers(api, auth) | operation["responses"]
        operation["security"] = [{name: []} for name in scheme]
        schemes |= scheme
        paths.setdefault(path, {})[method.lower()] = operation
        if method == "GET":
            paths[path]["head"] = _head(operation)
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": DIALECT,
        "info": {
            "title": "DataPipeline",
            "version": API_VERSION,
            "description": description,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [
            {
                "url": f"{{{output}}}",
                "variables": {
                    output: {
                        "default": "https://example.execute-api.us-east-1.amazonaws.com",
                        "description": "The stack's output of this name.",
                    },
                },
            },
        ],
        "paths": paths,
        "components": {"schemas": schemas, **({"securitySchemes": schemes} if schemes else {})},
    }


# Operations, one per route


def _submit(config: ApiPipelineConfig) -> Json:
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "description": f"With one event only; in a batch, put `{events.KEY_FIELD}` into each event. "
        "The key of a CloudEvent is its source and id.",
        "schema": {"type": "string", "pattern": f"^[!-~]([ -~]{{0,{identity.MAXIMUM_KEY_LENGTH - 2}}}[!-~])?$"},
    }
    field = {"anyOf": [TEXT, _list_of(TEXT, minItems=2)]}
    fields = {"type": "object", "additionalProperties": field}
    form = {FORM_TYPE: {"schema": {"allOf": [ref("Event"), fields]}}} if config.api.accept_forms else {}
    # Elsewhere a CloudEvent must also satisfy the schema of its type, or have a group.
    is_free = config.api.schemas == "none" and not config.queue.fifo
    batch = _list_of(CLOUD_EVENT, minItems=1, maxItems=config.api.max_batch)
    modes = {cloudevents.STRUCTURED_TYPE: CLOUD_EVENT, cloudevents.BATCH_TYPE: batch}
    cloud = {name: {"schema": schema} for name, schema in modes.items()} if is_free else {}
    result_link = {"description": "The path of the event.", "schema": {"type": "string"}}
    return {
        "operationId": "submitEvents",
        "summary": "Submit one event, or a batch of events",
        "description": (
            f"An event is at most {config.api.max_depth} levels deep and takes at most {queues.MAXIMUM_MESSAGE_BYTES} "
            "bytes, including what the server adds. An invalid event does not affect the others of its batch. "
            "A body may be compressed with gzip. CloudEvents 1.0 are accepted in structured, batched and binary mode."
        ),
        "parameters": [key, CORRELATION_ID],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ref("Submission")}, **form, **cloud},
        },
        "responses": {
            "202": {
                **answer_with("The event, or at least one of the batch, is in the queue.", "Accepted", "Results"),
                "headers": {"Location": result_link},
            },
            "400": answer_with("No event is valid.", "Error", "NothingAccepted"),
            "409": answer_with("The idempotency key was used with another event.", "Error"),
            "413": answer_with("Too many events, or a body or event too large.", "Error", *gateway_error(config.api)),
            "415": answer_with("A content type or encoding that is not supported.", "Error"),
            "503": answer_with("Nothing was accepted; retry.", "Error", "NothingAccepted"),
        },
    }


def _show(_config: ApiPipelineConfig) -> Json:
    return {
        "operationId": "showEvent",
        "summary": "Show an event's status and result",
        "parameters": [{"name": "id", "in": "path", "required": True, "schema": ID}, CORRELATION_ID],
        "responses": {
            "200": answer_with("The event.", "Shown"),
            "400": answer_with("A parameter or header is invalid.", "Error"),
            "404": answer_with("There is no event with this id.", "Error"),
            "503": answer_with("A service did not respond.", "Error"),
        },
    }


def _list(config: ApiPipelineConfig) -> Json:
    parameters = {
        "since": (TIME, f"Included. Default: {listing.DEFAULT_DAYS} days before `until`."),
        "until": (TIME, "Excluded. Default: now."),
        "type": (TEXT, "Events of this type only."),
        "status": (STATUS, "Events with this status only."),
        "limit": (
            {"type": "integer", "minimum": 1, "maximum": listing.MAXIMUM_LIMIT, "default": listing.DEFAULT_LIMIT},
            "A page can have fewer events although there is a next page.",
        ),
        "cursor": (TEXT, "The `cursor` of the previous page."),
    }
    found = {
        "200": answer_with("A page of the list.", "Page"),
        "400": answer_with("A parameter or header is invalid.", "Error"),
        "503": answer_with("A service did not respond.", "Error"),
    }
    missing = {"400": found["400"], "404": answer_with("The stack has no time index, which lists need.", "Error")}
    return {
        "operationId": "listEvents",
        "summary": "List events, newest first",
        "parameters": [
            *(
                {"name": name, "in": "query", "schema": schema, "description": description}
                for name, (schema, description) in parameters.items()
            ),
            CORRELATION_ID,
        ],
        "responses": found if config.storage.time_index else missing,
    }


def _health(_config: ApiPipelineConfig) -> Json:
    return {
        "operationId": "health",
        "summary": "Check that the API responds",
        "responses": {"200": answer_with("The API responds.", "Health")},
    }


def _preview(api: ApiOptions, parameters: Mapping[str, Json]) -> Json:
    given = [{"name": name, "in": "query", "schema": schema} for name, schema in parameters.items()]
    return {
        "operationId": "previewRedrive",
        "summary": "Show dead letters and leave them in place",
        "parameters": [*given, CORRELATION_ID],
        "responses": {
            "200": answer_with("The dead letters that match.", "DeadLetters"),
            "400": answer_with("A parameter or header is invalid.", "Error"),
            "403": _not_signed(api),
            "503": answer_with(
                "A service did not respond. Contains what was found before, if anything.", "Error", "DeadLetters"
            ),
        },
    }


def _redrive(api: ApiOptions, _: Mapping[str, Json]) -> Json:
    return {
        "operationId": "startRedrive",
        "summary": "Send dead letters back to their queue",
        "parameters": [CORRELATION_ID],
        "requestBody": {"required": True, "content": {"application/json": {"schema": ref("Redrive")}}},
        "responses": {
            "200": answer_with("The number of messages that were moved.", "Redriven"),
            "400": answer_with("The body or a header is invalid.", "Error"),
            "403": _not_signed(api),
            "413": answer_with("The body is too large.", "Error", *gateway_error(api)),
            "415": answer_with("A content type or encoding that is not supported.", "Error"),
            "503": answer_with(
                "A service did not respond. Contains what was done before, if anything.", "Error", "Redriven"
            ),
        },
    }


OPERATIONS: Mapping[Route, Callable[[ApiPipelineConfig], Json]] = {
    ("POST", "/events"): _submit,
    ("GET", "/events"): _list,
    ("GET", "/events/{id}"): _show,
    ("GET", "/health"): _health,
}
REDRIVE_OPERATIONS: Mapping[Route, Callable[[ApiOptions, Mapping[str, Json]], Json]] = {
    ("GET", "/redrive/preview"): _preview,
    ("POST", "/redrive/start"): _redrive,
}


def _head(operation: Json) -> Json:
    """The operation of `HEAD`: as of `GET`, with answers that have no body."""
    responses = {status: {"description": answer["description"]} for status, answer in operation["responses"].items()}
    return {**operation, "operationId": f"{operation['operationId']}Head", "responses": responses}


# Answers


def _not_signed(api: ApiOptions) -> Json:
    """Refused by the gateway; the function checks it, too."""
    return answer_with("The request is not signed, or the signer is not authorized.", "Error", *gateway_error(api))


def _gateway_answers(api: ApiOptions, auth: Auth) -> Json:
    (shape,) = gateway_error(api) or ("Error",)
    answers = {"429": answer_with("Too many requests for the limits of the stage.", shape)}
    if auth == "jwt":
        answers["401"] = answer_with("No token, or not one of the issuer for this audience.", shape)
    if auth != "none":
        answers["403"] = answer_with("The caller is not authorized.", shape)
    return answers


# Authentication


def _auth(api: ApiOptions, route: Route) -> Auth:
    if is_open(route):
        return "none"
    return "iam" if route in REDRIVE_ROUTES else api.auth


def _security_scheme(api: ApiOptions, auth: Auth) -> Json:
    match auth:
        case "none":
            return {}
        case "iam":
            # https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-swagger-extensions-authtype.html
            signed = {"type": "apiKey", "name": "Authorization", "in": "header"}
            return {"sigv4": {**signed, "x-amazon-apigateway-authtype": "awsSigv4"}}
        case "jwt":
            issuer = api.jwt.issuer if api.jwt else ""
            return {
                "jwt": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": f"Issued by {issuer}"}
            }
        case "api_key":
            return {"api_key": {"type": "apiKey", "name": "x-api-key", "in": "header"}}


# Schemas


def _object(required: Mapping[str, Json], optional: Mapping[str, Json] | None = None) -> Json:
    properties = {**required, **(optional or {})}
    return {"type": "object", "required": list(required), "properties": properties, "additionalProperties": False}


def _list_of(schema: Json, **limits: int) -> Json:
    return {"type": "array", "items": schema, **limits}


PROBLEMS = _list_of(_object({"path": TEXT, "message": TEXT}))
ERROR = _object({"code": TEXT, "message": TEXT, "details": PROBLEMS})


def _schemas(config: ApiPipelineConfig) -> Json:
    description = {
        "id": ID,
        "type": TEXT,
        "status": STATUS,
        "received_at": TIME,
        "completed_at": {"anyOf": [TIME, {"type": "null"}]},
        "attempts": COUNT,
        "error": {"type": ["string", "null"]},
    }
    result = {"result": {}} if config.storage.results == "inline" else {"result_url": {**TEXT, "format": "uri"}}
    results = _list_of({"anyOf": [ref("Result"), ref("Refusal")]}, minItems=1)
    counts = {"accepted": COUNT, "rejected": COUNT, "results": results}
    batch = _list_of(ref("Event"), minItems=1, maxItems=config.api.max_batch)
    wrapped = {"type": "object", "required": ["events"], "properties": {"events": batch}, "maxProperties": 1}
    looks_wrapped = {"required": ["events"], "properties": {"events": {"type": "array"}}, "maxProperties": 1}
    return {
        **_event_schemas(config),
        "Submission": {"anyOf": [{"allOf": [ref("Event"), {"not": looks_wrapped}]}, batch, wrapped]},
        "Accepted": _object({"id": ID, "status": STATUS, "duplicate": {"type": "boolean"}}),
        "Results": _object(counts),
        "Result": _object({"index": COUNT, "id": ID, "status": STATUS}, {"duplicate": {"const": True}}),
        "Refusal": _object({"index": COUNT, "status": {"const": "rejected"}, "errors": PROBLEMS}),
        "NothingAccepted": _object({**counts, "error": ERROR}),
        "Shown": _object(description, result),
        "Page": _object({"events": _list_of(_object(description)), "cursor": {"type": ["string", "null"]}}),
        "Health": _object({"status": {"const": "ok"}}),
        **_error_schemas(config.api),
    }


def _error_schemas(api: ApiOptions) -> Json:
    return {
        "Error": _object({"error": ERROR}),
        **{name: _object({"message": TEXT}) for name in gateway_error(api)},
    }


def _redrive_schemas(parameters: Mapping[str, Json]) -> Json:
    left = {
        "not_matching": COUNT,
        "by_error": {"type": "object", "additionalProperties": COUNT},
        "remaining": {"type": ["integer", "null"], "minimum": 0},
        "complete": {"type": "boolean"},
        "hidden": COUNT,
        "held_back": {"type": "boolean"},
    }
    letter = {
        "message_id": TEXT,
        "id": {"type": ["string", "null"]},
        "type": {"type": ["string", "null"]},
        "age_seconds": COUNT,
        "attempts": {"type": ["integer", "null"], "minimum": 0},
        "error_type": TEXT,
        "error": {"type": ["string", "null"]},
    }
    counts = dict.fromkeys(("redriven", "not_sent", "not_deleted"), COUNT)
    return {
        "Redrive": _object(
            {},
            {**parameters, "max_messages": {**parameters["max_messages"], "maximum": redrive.MAXIMUM_REDRIVEN}},
        ),
        "Redriven": _object({**counts, **left}, {"error": ERROR}),
        "DeadLetters": _object({"messages": _list_of(_object(letter)), **left}, {"error": ERROR}),
    }


def _event_schemas(config: ApiPipelineConfig) -> Json:
    """Return `Event`, which combines the server's own rules with the schema of the event's type, and these schemas."""
    key = {"type": ["string", "null"], "minLength": 1}
    fifo = config.queue.fifo
    group = _at_path(fifo.group_field) if fifo else {"properties": {}, "required": []}
    anything = {
        "type": "object",
        "properties": {events.KEY_FIELD: {**key, "description": "Printable characters."}, **group["properties"]},
        "required": group["required"],
        "description": "Any JSON object. Fields such as `id` are the client's own.",
    }
    given = event_schemas(config.api)
    named = {f"event.{event_type}" if event_type else "event": schema for event_type, schema in given.items()}
    own = {name: _moved(schema, name) for name, schema in named.items()}
    kinds = [
        {"allOf": [_of_type(config.api.type_field, event_type), ref(name)]} if event_type else ref(name)
        for event_type, name in zip(given, named, strict=True)
    ]
    return {"Event": {"allOf": [anything, *([{"anyOf": kinds}] if kinds else [])]}, **own}


def _at_path(path: str) -> Json:
    """Return the schema of an object with a group at a path."""
    name, _, rest = path.partition(".")
    text = {**TEXT, "pattern": f"^{events.GROUP_PATTERN}$"}
    inner = {"type": "object", **_at_path(rest)} if rest else {"anyOf": [text, {"type": "integer"}]}
    return {"properties": {name: inner}, "required": [name]}


def _of_type(type_field: str, event_type: str) -> Json:
    return {"type": "object", "required": [type_field], "properties": {type_field: {"const": event_type}}}


def _moved(schema: Json, name: str) -> Json:
    """Return an event schema for use inside the document: references into itself are redirected to its new place."""
    moved: Json = _redirected(schema, f"#/components/schemas/{name}")
    if moved.get("$schema") == DIALECT:
        del moved["$schema"]
    return moved


def _redirected(value: Any, place: str) -> Any:
    if isinstance(value, list):
        return [_redirected(inner, place) for inner in value]
    if not isinstance(value, dict):
        return value
    redirected = {name: _redirected(inner, place) for name, inner in value.items()}
    reference = value.get("$ref")
    if isinstance(reference, str) and (reference == "#" or reference.startswith("#/")):
        redirected["$ref"] = place + reference[1:]
    return redirected
