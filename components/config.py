"""Every option of a stack and every default, as one tree of frozen models.

A stack file says only what differs. `environment` sets the safe defaults of its kind (ENVIRONMENT_DEFAULTS), and each of
them can be overridden. `load` raises ConfigError before anything is registered; the message has one line a problem and
names file, key, value and what is allowed.
"""

import ast
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import fastjsonschema
import pulumi
from pulumi.runtime.config import CONFIG, get_config_env
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    model_validator,
)

NAMESPACE = "datapipeline"

type_name = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}").fullmatch

# Retention periods that CloudWatch Logs accepts, up to a year:
# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
LogRetentionDays = Literal[1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365]

ENVIRONMENT_DEFAULTS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "dev": {
        "storage": {
            "deletion_protection": False,
            "point_in_time_recovery": False,
            "bucket_versioning": False,
            "retain_data": False,
        },
        "logs": {"retention_days": 14},
    },
    "staging": {
        "storage": {
            "deletion_protection": False,
            "point_in_time_recovery": True,
            "bucket_versioning": True,
            "retain_data": False,
        },
        "logs": {"retention_days": 30},
    },
    "prod": {
        "storage": {
            "deletion_protection": True,
            "point_in_time_recovery": True,
            "bucket_versioning": True,
            "retain_data": True,
        },
        "logs": {"retention_days": 365},
    },
}


class ConfigError(pulumi.RunError):
    """The config of a stack is wrong. One line a problem: file, key, value, what is allowed."""


class Options(BaseModel):
    """Base of every group of options: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _existing_processor(value: str) -> str:
    match = re.fullmatch(r"(processors(?:\.[a-z_][a-z0-9_]*)+):([A-Za-z_]\w*)", value)
    if match is None:
        raise ValueError("must name a function below processors/, like processors.orders:process")
    path = Path(match[1].replace(".", "/") + ".py")
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    names = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    if match[2] not in names:
        raise ValueError(f"{path} has no function {match[2]}; it has {', '.join(names) or 'none'}")
    return value


def _references(schema: object) -> list[str]:
    if isinstance(schema, dict):
        own = [schema["$ref"]] if isinstance(schema.get("$ref"), str) else []
        return own + [reference for value in schema.values() for reference in _references(value)]
    if isinstance(schema, list):
        return [reference for value in schema for reference in _references(value)]
    return []


def read_event_schema(path: Path) -> dict[str, Any]:
    """The JSON Schema (draft 4, 6 or 7) in a file. Raises ValueError with the reason when it is not one."""
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
    except (fastjsonschema.JsonSchemaDefinitionException, re.error) as error:
        raise ValueError(f"{path} is not a JSON Schema: {error}") from error
    return schema


def _existing_schema(value: str) -> str:
    read_event_schema(Path(value))
    return value


def _existing_type(value: str) -> str:
    if not type_name(value):
        raise ValueError("a type name has letters, digits, dot, hyphen and underscore, 64 at most")
    read_event_schema(Path("schemas") / f"{value}.json")
    return value


def _kind_of_schemas(value: object) -> str:
    if value == "none":
        return "kind:none"
    return "kind:path" if isinstance(value, str) else "kind:types"


EventSchemas = Annotated[
    Annotated[Literal["none"], Tag("kind:none")]
    | Annotated[str, AfterValidator(_existing_schema), Tag("kind:path")]
    | Annotated[tuple[Annotated[str, AfterValidator(_existing_type)], ...], Field(min_length=1), Tag("kind:types")],
    Discriminator(_kind_of_schemas),
]


class JwtOptions(Options):
    """Who issues the tokens that `api.auth: jwt` accepts."""

    issuer: Annotated[str, Field(pattern=r"^https://")]
    """The issuer's https address, as in the token's `iss`."""
    audience: Annotated[tuple[str, ...], Field(min_length=1)]
    """Accepted values of the token's `aud`."""


class ThrottlingOptions(Options):
    """Requests that the stage lets through; more are answered with 429."""

    rate_per_second: Annotated[float, Field(gt=0, le=10_000)] = 100
    burst: Annotated[int, Field(ge=1, le=5_000)] = 200


class CorsOptions(Options):
    """Which web pages may call the API."""

    allow_origins: Annotated[tuple[str, ...], Field(min_length=1)]
    allow_headers: tuple[str, ...] = ("content-type", "authorization", "idempotency-key", "x-correlation-id", "x-api-key")
    max_age_seconds: Annotated[int, Field(ge=0, le=86_400)] = 3_600


class ApiOptions(Options):
    """The API in front of the pipeline, and what it accepts."""

    kind: Literal["http", "rest"] = "http"
    """HTTP API (cheaper, faster) or REST API (API keys, usage plan)."""
    auth: Literal["none", "iam", "jwt", "api_key"] = "none"
    """`iam` with both kinds, `jwt` with `http`, `api_key` with `rest`. `GET /health` is open always."""
    jwt: JwtOptions | None = None
    throttling: ThrottlingOptions = ThrottlingOptions()
    cors: CorsOptions | None = None
    stage_name: Annotated[str, Field(pattern=r"^(\$default|[A-Za-z0-9_-]{1,128})$")] | None = None
    """Default: `$default` (no path segment) of an HTTP API, `v1` of a REST API."""
    access_logs: bool | None = None
    """One log line a request, without bodies. Default: on with `http`, off with `rest`, where they need a CloudWatch role
    that the whole account shares (https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-logging.html)."""
    max_batch: Annotated[int, Field(ge=1, le=500)] = 500
    """Events in one POST."""
    max_depth: Annotated[int, Field(ge=1, le=200)] = 64
    """Levels of nesting in one event."""
    track: bool = True
    """Record an event as `queued` when it is accepted. `false` saves that write: the item appears when it is processed."""
    deduplicate: Literal["key", "content"] = "key"
    """`key`: events with the same idempotency key are one event. `content`: events with the same JSON are, too."""
    type_field: Annotated[str, Field(min_length=1, max_length=64)] = "event_type"
    """The field of an event that holds its type."""
    schemas: EventSchemas = "none"
    """`none`: any JSON object. A path: one JSON Schema for every event. A list of types: `schemas/<type>.json` for each."""
    memory_mb: Annotated[int, Field(ge=128, le=10_240)] = 512
    timeout_seconds: Annotated[int, Field(ge=3, le=29)] = 29
    """Of the ingest function; API Gateway gives up after 30 seconds (HTTP) or 29 (REST)."""

    @property
    def writes_access_logs(self) -> bool:
        return self.kind == "http" if self.access_logs is None else self.access_logs

    @model_validator(mode="after")
    def _auth_fits_kind(self) -> Self:
        allowed = {"http": ("none", "iam", "jwt"), "rest": ("none", "iam", "api_key")}[self.kind]
        if self.auth not in allowed:
            raise ValueError(f"auth {self.auth!r} does not go with kind {self.kind!r}: allowed are {', '.join(allowed)}")
        if (self.auth == "jwt") != (self.jwt is not None):
            raise ValueError("auth 'jwt' and the group 'jwt' (issuer, audience) go together")
        if self.kind == "rest" and self.cors is not None:
            raise ValueError("cors goes with kind 'http' only")
        if self.kind == "rest" and self.stage_name == "$default":
            raise ValueError("stage_name of a REST API must be a name, '$default' is for kind 'http'")
        return self


class QueueOptions(Options):
    """The queue between API and worker, and its dead letters."""

    max_receives: Annotated[int, Field(ge=1, le=1_000)] = 5
    """Attempts before a message goes to the dead letters."""
    retention_days: Annotated[int, Field(ge=1, le=14)] = 4
    dead_letter_retention_days: Annotated[int, Field(ge=1, le=14)] = 14


class BackoffOptions(Options):
    """How long a failed message waits: base, doubled at each attempt, at most the maximum; with jitter."""

    base_seconds: Annotated[int, Field(ge=1, le=900)] = 2
    maximum_seconds: Annotated[int, Field(ge=1, le=43_200)] = 900

    @model_validator(mode="after")
    def _base_below_maximum(self) -> Self:
        if self.base_seconds > self.maximum_seconds:
            raise ValueError("base_seconds must not be above maximum_seconds")
        return self


class WorkerOptions(Options):
    """The function behind the queue and how it takes messages."""

    processor: Annotated[str, AfterValidator(_existing_processor)] = "processors.echo:process"
    """`module:function` of `process(event) -> result`, a file below processors/."""
    batch_size: Annotated[int, Field(ge=1, le=10_000)] = 10
    batching_window_seconds: Annotated[int, Field(ge=0, le=300)] = 0
    maximum_concurrency: Annotated[int, Field(ge=2, le=1_000)] | None = None
    """Batches at work at once; without it, Lambda's own limit."""
    memory_mb: Annotated[int, Field(ge=128, le=10_240)] = 512
    timeout_seconds: Annotated[int, Field(ge=10, le=900)] = 30
    backoff: BackoffOptions = BackoffOptions()

    @model_validator(mode="after")
    def _large_batches_need_a_window(self) -> Self:
        # https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html (BatchSize)
        if self.batch_size > 10 and self.batching_window_seconds < 1:  # noqa: PLR2004  AWS's number
            raise ValueError("batch_size above 10 needs batching_window_seconds of at least 1")
        return self


class StorageOptions(Options):
    """Where events, results and the archive are kept, and for how long."""

    results: Literal["object", "inline"] = "object"
    """`object`: S3 `results/YYYY/MM/DD/{id}.json`. `inline`: in the item, 350 KB at most."""
    archive: bool = False
    """Append each batch's events as gzipped JSON Lines to `archive/type=…/dt=…/hour=…/`."""
    time_index: bool = True
    """Serve `GET /events`. `false` saves one index write an event; the route then answers 404."""
    time_index_shards: Annotated[int, Field(ge=1, le=64)] = 8
    """Partitions a day is spread over; each takes about 1,000 events a second."""
    items_expire_after_days: Annotated[int, Field(ge=1, le=3_650)] = 90
    results_expire_after_days: Annotated[int, Field(ge=1, le=3_650)] = 90
    archive_expires_after_days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    """Default: the archive is kept."""
    deletion_protection: bool
    """The table refuses to be deleted."""
    point_in_time_recovery: bool
    bucket_versioning: bool
    retain_data: bool
    """`pulumi destroy` leaves table and bucket where they are. `false` also empties the bucket."""


class LogOptions(Options):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    retention_days: LogRetentionDays


class AlarmOptions(Options):
    """Thresholds; what each alarm watches is in docs/alarms.md."""

    oldest_message_seconds: Annotated[int, Field(ge=60)] = 900
    error_rate_percent: Annotated[float, Field(gt=0, le=100)] = 5
    failed_message_rate_percent: Annotated[float, Field(gt=0, le=100)] = 5
    duration_percent_of_timeout: Annotated[int, Field(ge=1, le=100)] = 80
    api_error_rate_percent: Annotated[float, Field(gt=0, le=100)] = 1
    api_latency_p95_ms: Annotated[int, Field(ge=1)] = 2_000


class Subscription(Options):
    """Somebody who is told of alerts. E-mail and HTTPS subscribers confirm to AWS by themselves."""

    protocol: Literal["email", "https", "sqs", "lambda"]
    endpoint: Annotated[str, Field(min_length=3)]
    """An address, an https URL, or the ARN of a queue or function."""

    @model_validator(mode="after")
    def _endpoint_fits_protocol(self) -> Self:
        shapes = {"email": "[^@ ]+@[^@ ]+", "https": "https://.+", "sqs": "arn:aws[a-z-]*:sqs:.+", "lambda": "arn:aws[a-z-]*:lambda:.+"}
        if not re.fullmatch(shapes[self.protocol], self.endpoint):
            raise ValueError(f"endpoint {self.endpoint!r} does not go with protocol {self.protocol!r}")
        return self


class NotificationOptions(Options):
    subscriptions: tuple[Subscription, ...] = ()


class ApiPipelineConfig(Options):
    """A pipeline that takes events over HTTP."""

    variant: Literal["api"]
    environment: Literal["dev", "staging", "prod"] = "dev"
    tags: Mapping[str, str] = Field(default_factory=dict)
    tracing: bool = False
    """X-Ray active tracing of the functions."""
    api: ApiOptions = ApiOptions()
    queue: QueueOptions = QueueOptions()
    worker: WorkerOptions = WorkerOptions()
    storage: StorageOptions
    logs: LogOptions
    alarms: AlarmOptions = AlarmOptions()
    notifications: NotificationOptions = NotificationOptions()


# With a second variant this becomes a union with Field(discriminator="variant").
PipelineConfig = ApiPipelineConfig

_ADAPTER: TypeAdapter[PipelineConfig] = TypeAdapter(PipelineConfig)


def load(raw: Mapping[str, Any], *, file: str) -> PipelineConfig:
    """The config of a stack.

    `raw` maps `datapipeline:<key>` to the value as Pulumi hands it over: a string, and JSON text for lists and maps.
    Keys of other namespaces are not looked at. `file` is the stack file's name, for messages. Raises ConfigError.
    """
    prefix = f"{NAMESPACE}:"
    values = {key.removeprefix(prefix): _decoded(value) for key, value in raw.items() if key.startswith(prefix)}
    try:
        return _ADAPTER.validate_python(with_environment_defaults(values))
    except ValidationError as error:
        raise ConfigError("\n".join(_lines(error, file))) from error


def load_stack() -> PipelineConfig:
    """The config of the stack that Pulumi is running. Raises ConfigError."""
    return load({**get_config_env(), **CONFIG.get()}, file=f"Pulumi.{pulumi.get_stack()}.yaml")


def with_environment_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with the defaults of its environment below them."""
    merged = dict(values)
    environment = values.get("environment", "dev")
    # An unknown environment is reported by validation; its groups need some defaults to be looked at.
    for group, defaults in ENVIRONMENT_DEFAULTS.get(environment, ENVIRONMENT_DEFAULTS["dev"]).items():
        given = merged.get(group, {})
        if isinstance(given, Mapping):
            merged[group] = {**defaults, **given}
    return merged


def _decoded(value: object) -> object:
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _lines(error: ValidationError, file: str) -> list[str]:
    lines = []
    for problem in error.errors():
        path = [str(part) for part in problem["loc"] if not str(part).startswith("kind:")]
        key = f"{NAMESPACE}:{'.'.join(path)}" if path else NAMESPACE
        message = problem["msg"].removeprefix("Value error, ")
        given = problem["input"]
        if problem["type"] == "missing":
            lines.append(f"{file}: {key} is missing")
        elif problem["type"] == "extra_forbidden":
            lines.append(f"{file}: {key} = {given!r}: unknown key; allowed here: {', '.join(_allowed_keys(path[:-1]))}")
        elif isinstance(given, Mapping):
            lines.append(f"{file}: {key}: {message}")
        else:
            lines.append(f"{file}: {key} = {given!r}: {message}")
    return lines


def _allowed_keys(path: list[str]) -> list[str]:
    """The keys of the group of options at a path."""
    model: Any = PipelineConfig
    for part in path:
        if part.isdigit():
            continue
        annotation = model.model_fields[part].annotation
        model = next(candidate for candidate in _models(annotation) if issubclass(candidate, Options))
    return sorted(model.model_fields)


def _models(annotation: Any) -> list[type]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models(part)]


def stack_file_schema() -> dict[str, Any]:
    """The JSON Schema of a stack file, for editors: `schemas/stack.schema.json` is this, written out."""
    config = _ADAPTER.json_schema()
    definitions = config.pop("$defs", {})
    for group, model in (("storage", "StorageOptions"), ("logs", "LogOptions")):
        # What an environment sets need not stand in a stack file.
        optional = ENVIRONMENT_DEFAULTS["dev"][group]
        definitions[model]["required"] = [key for key in definitions[model].get("required", []) if key not in optional]
    properties = {f"{NAMESPACE}:{key}": value for key, value in config["properties"].items()}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A stack file of DataPipeline",
        "type": "object",
        "properties": {
            "config": {
                "type": "object",
                "properties": properties,
                "required": [f"{NAMESPACE}:variant"],
                "patternProperties": {f"^(?!{NAMESPACE}:)": True},
                "additionalProperties": False,
            },
        },
        "required": ["config"],
        "$defs": definitions,
    }


