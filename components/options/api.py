"""Options of the `api` variant."""

import ast
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import fastjsonschema
from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, ValidationInfo, model_validator

from components.options.common import (
    SECONDS_A_DAY,
    AlarmOptions,
    BackoffOptions,
    CommonOptions,
    NotificationOptions,
    Options,
    PolledOptions,
    ProtectionOptions,
    QueueOptions,
    StartOptions,
)

# Reserved by handlers/api/worker.py.
STORING_SECONDS = 5
# With a circuit breaker: an outage that is just being found out takes an attempt or two.
LEAST_ATTEMPTS = 3

type_name = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}").fullmatch


def _existing_processor(value: str) -> str:
    match = re.fullmatch(r"(processors(?:\.[a-z_][a-z0-9_]*)+):([A-Za-z_]\w*)", value)
    if match is None:
        raise ValueError("must name a function below processors/, like processors.orders:process")
    path = Path(match[1].replace(".", "/") + ".py")
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        names = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    except SyntaxError as error:
        raise ValueError(f"{path} is not Python: {error}") from error
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
    except (fastjsonschema.JsonSchemaDefinitionException, re.error, AttributeError, TypeError) as error:
        # The last two: fastjsonschema takes the shape of a schema's parts for granted.
        raise ValueError(f"{path} is not a JSON Schema: {error}") from error
    return schema


def _existing_schema(value: str) -> str:
    read_event_schema(Path(value))
    return value


ExistingSchema = Annotated[str, AfterValidator(_existing_schema)]


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
    | Annotated[ExistingSchema, Tag("kind:path")]
    | Annotated[tuple[Annotated[str, AfterValidator(_existing_type)], ...], Field(min_length=1), Tag("kind:types")],
    Discriminator(_kind_of_schemas),
]


class JwtOptions(Options):
    """Who issues the tokens that `api.auth: jwt` accepts."""

    # https://openid.net/specs/openid-connect-core-1_0.html#IDToken: neither query nor fragment
    issuer: Annotated[str, Field(pattern=r"^https://[^\s/?#]+(/[^\s?#]*)?$")]
    """The issuer's https address, as in the token's `iss`."""
    audience: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
    """Accepted values of the token's `aud`."""


class ThrottlingOptions(Options):
    """Requests that the stage lets through; more are answered with 429."""

    rate_per_second: Annotated[float, Field(gt=0, le=10_000)] = 100
    burst: Annotated[int, Field(ge=1, le=5_000)] = 200


# What a browser sends as Origin, which API Gateway compares, or one of its three wildcards:
# https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-cors.html
Origin = Annotated[str, Field(pattern=r"^(\*|https?://\*|[a-z][a-z0-9+.-]*://[a-z0-9._-]+(:[0-9]{1,5})?)$")]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#\$%&'*+.^_`|~-]+$")]


def _every_origin_alone(origins: tuple[str, ...]) -> tuple[str, ...]:
    if "*" in origins and len(origins) > 1:
        raise ValueError("'*' stands for every origin: it goes with no other")
    return origins


class CorsOptions(Options):
    """Which web pages may call the API."""

    allow_origins: Annotated[tuple[Origin, ...], Field(min_length=1), AfterValidator(_every_origin_alone)]
    """`*`, or scheme://host[:port] of each, without a path."""
    # With those of a signed request: https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
    allow_headers: tuple[HeaderName, ...] = (
        "content-type",
        "authorization",
        "x-amz-date",
        "x-amz-security-token",
        "x-amz-content-sha256",
        "idempotency-key",
        "x-correlation-id",
    )
    max_age_seconds: Annotated[int, Field(ge=0, le=86_400)] = 3_600


class StageOptions(Options):
    """The stage of an API."""

    throttling: ThrottlingOptions = ThrottlingOptions()
    stage_name: Annotated[str, Field(pattern=r"^(\$default|[A-Za-z0-9_-]{1,128})$")] | None = None
    """Default: `$default` (no path segment) of an HTTP API, `v1` of a REST API."""
    access_logs: bool | None = None
    """One log line a request, without bodies. Default: on with an HTTP API, off with a REST API, where they need a
    CloudWatch role that the whole account shares
    (https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-logging.html)."""


class ApiOptions(StageOptions, StartOptions):
    """The API in front of the pipeline, and what it accepts."""

    kind: Literal["http", "rest"] = "http"
    """HTTP API (cheaper, faster) or REST API (API keys, usage plan)."""
    auth: Literal["none", "iam", "jwt", "api_key"] = "none"
    """`iam` with both kinds, `jwt` with `http`, `api_key` with `rest`. `GET /health` is open always."""
    jwt: JwtOptions | None = None
    cors: CorsOptions | None = None
    max_batch: Annotated[int, Field(ge=1, le=500)] = 500
    """Events in one POST."""
    max_depth: Annotated[int, Field(ge=1, le=200)] = 64
    """Levels of nesting in one event."""
    track: bool = True
    """Record an event as `queued` when it is accepted. `false` saves that write: its item appears when it is done."""
    deduplicate: Literal["key", "content"] = "key"
    """`key`: events with the same idempotency key are one event. `content`: events with the same JSON are, too."""
    type_field: Annotated[str, Field(min_length=1, max_length=64)] = "event_type"
    """The field of an event that holds its type."""
    schemas: EventSchemas = "none"
    """`none`: any JSON object. A path: one JSON Schema for all. A list of types: `schemas/<type>.json` for each."""
    memory_mb: Annotated[int, Field(ge=128, le=10_240)] = 512
    timeout_seconds: Annotated[int, Field(ge=3, le=29)] = 29
    """Of the ingest function; API Gateway gives up after 30 seconds (HTTP) or 29 (REST)."""

    @property
    def writes_access_logs(self) -> bool:
        """What `access_logs` comes to."""
        return self.kind == "http" if self.access_logs is None else self.access_logs

    @model_validator(mode="after")
    def _auth_fits_kind(self) -> Self:
        allowed = {"http": ("none", "iam", "jwt"), "rest": ("none", "iam", "api_key")}[self.kind]
        if self.auth not in allowed:
            raise ValueError(
                f"auth {self.auth!r} does not go with kind {self.kind!r}: allowed are {', '.join(allowed)}"
            )
        if (self.auth == "jwt") != (self.jwt is not None):
            raise ValueError("auth 'jwt' and the group 'jwt' (issuer, audience) go together")
        if self.kind == "rest" and self.cors is not None:
            raise ValueError("cors goes with kind 'http' only")
        if self.kind == "rest" and self.stage_name == "$default":
            raise ValueError("stage_name of a REST API must be a name, '$default' is for kind 'http'")
        return self


class CircuitBreakerOptions(Options):
    """When the worker stops taking messages because what its processor calls is out (docs/circuit-breaker.md)."""

    failure_threshold: Annotated[int, Field(ge=1, le=100)] = 5
    """Events in a row, each another, that fail by an outage in one worker: then the circuit opens."""
    recovery_seconds: Annotated[int, Field(ge=1, le=3_600)] = 60
    """How long it stays open before the first probe, and after each probe that fails. Probes start at full minutes."""


# Names: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html (those that other services
# manage have a `!`), https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-su-create.html
# `my-secret` without the six characters passes for `my` with them: nothing in an ARN says where its name ends.
_secret_arn = re.compile(
    r"arn:aws[a-z-]*:(?:"
    r"secretsmanager:(?P<region>[a-z0-9-]+):[0-9]{12}:secret:[A-Za-z0-9/_+=.@!-]+-[A-Za-z0-9]{6}"
    r"|ssm:(?P<parameter_region>[a-z0-9-]+):[0-9]{12}:parameter(?:/[A-Za-z0-9_.-]+)+"
    r")"
).fullmatch
_key_arn = re.compile(r"arn:aws[a-z-]*:kms:([a-z0-9-]+):[0-9]{12}:key/[A-Za-z0-9-]+").fullmatch


def _arn_of_a_secret(value: str, info: ValidationInfo) -> str:
    match = _secret_arn(value)
    if match is None:
        raise ValueError(
            "must be the whole ARN of a secret, arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-XXXXXX, or of an SSM "
            "parameter, arn:aws:ssm:REGION:ACCOUNT:parameter/NAME; never the secret itself"
        )
    # Neither service looks into another region for what an ARN names.
    region, stack_region = match["region"] or match["parameter_region"], (info.context or {}).get("region")
    if stack_region not in (None, region):
        raise ValueError(
            f"is in {region}, and the stack in {stack_region} (aws:region): a function reads secrets of its own region"
        )
    return value


class SecretOptions(Options):
    """A secret that is there already, and the key that it is under when that is not one of AWS."""

    arn: Annotated[str, AfterValidator(_arn_of_a_secret)]
    """Of a secret in Secrets Manager, with the six characters at its end, or of an SSM SecureString."""
    key_arn: str | None = None
    """Of the customer key that the secret is under: arn:aws:kms:REGION:ACCOUNT:key/ID. Default: a key of AWS."""

    @property
    def service(self) -> str:
        """`secretsmanager` or `ssm`."""
        return self.arn.split(":")[2]

    @property
    def region(self) -> str:
        """Where it is; its key is there, too."""
        return self.arn.split(":")[3]

    @model_validator(mode="after")
    def _key_is_one_and_near(self) -> Self:
        if self.key_arn is not None:
            match = _key_arn(self.key_arn)
            if match is None or match[1] != self.region:
                raise ValueError(f"key_arn must be the ARN of a key, arn:aws:kms:{self.region}:ACCOUNT:key/ID")
        return self


def _secret_from_arn(value: object) -> object:
    return value if isinstance(value, Mapping | SecretOptions) else {"arn": value}


# Each word begins with a letter, so that no two names are one in the name of a policy's statement.
SecretName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(_[a-z][a-z0-9]*)*$", max_length=64)]
Secret = Annotated[SecretOptions, BeforeValidator(_secret_from_arn, json_schema_input_type=str | SecretOptions)]


def _each_secret_once(secrets: Mapping[str, SecretOptions]) -> Mapping[str, SecretOptions]:
    names: dict[str, str] = {}
    for name, secret in secrets.items():
        if (other := names.setdefault(secret.arn, name)) != name:
            raise ValueError(f"{other} and {name} are one secret; it has one name")
    return secrets


# What is left for secrets of the 10,240 characters that the policies of a role may have, and of the 4 KB of a
# function's environment; all else takes up to 4,000 and 1,100 (tests/components/test_secrets.py).
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
SECRETS_POLICY_CHARACTERS = 6_200
SECRETS_ENVIRONMENT_CHARACTERS = 2_900


def _secrets_fit(secrets: Mapping[str, SecretOptions]) -> Mapping[str, SecretOptions]:
    # The numbers are of what stands around names and ARNs: in a statement to read, in one to decrypt, in JSON.
    policy = sum(100 + len(name) + len(secret.arn) for name, secret in secrets.items()) + sum(
        202 + len(name) + len(secret.region) + len(secret.arn) + len(secret.key_arn)
        for name, secret in secrets.items()
        if secret.key_arn
    )
    environment = sum(8 + len(name) + len(secret.arn) for name, secret in secrets.items())
    for taken, left, where in (
        (policy, SECRETS_POLICY_CHARACTERS, "the policies of a role"),
        (environment, SECRETS_ENVIRONMENT_CHARACTERS, "a function's environment"),
    ):
        if taken > left:
            raise ValueError(
                f"their names and ARNs take {taken} characters of {where}, where {left} are left for them: make them "
                "fewer or shorter; one secret may hold several values as JSON"
            )
    return secrets


class WorkerOptions(PolledOptions, StartOptions):
    """The function behind the queue and how it takes messages."""

    processor: Annotated[str, AfterValidator(_existing_processor)] = "processors.echo:process"
    """`module:function` of `process(event) -> result`, a file below processors/."""
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 5
    """Calls of the processor with an event before it is failed and its message goes to the dead letters."""
    event_timeout_seconds: Annotated[int, Field(ge=1, le=895)] | None = None
    """The longest that one event may take. Default: all the time that the function has left, less 5 seconds."""
    secrets: Annotated[
        Mapping[SecretName, Secret],
        Field(max_length=10),
        AfterValidator(_each_secret_once),
        AfterValidator(_secrets_fit),
    ] = Field(default_factory=dict)
    """Secrets that the processor reads, by the names that it knows them by: where each is, not what it is. An ARN, or
    `{arn, key_arn}` for one under a customer key (docs/security.md)."""
    backoff: BackoffOptions = BackoffOptions()
    circuit_breaker: CircuitBreakerOptions | None = None
    """`{}` switches it on with its defaults."""


class StorageOptions(ProtectionOptions):
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
    reports_expire_after_days: Annotated[int, Field(ge=1, le=36_500)] = 365


class FifoOptions(Options):
    """A FIFO queue: events of one group are processed in the order in which they were accepted (docs/fifo.md)."""

    group_field: Annotated[str, Field(min_length=1, max_length=64)]
    """The field of an event that holds its group: text, 1 to 128 characters of ASCII without spaces."""


class EventQueueOptions(QueueOptions):
    """The queue between API and worker, and its dead letters."""

    fifo: FifoOptions | None = None
    """Default: a standard queue, without an order and without its limits."""

    @property
    def is_fifo(self) -> bool:
        """Whether events of one group keep their order."""
        return self.fifo is not None


class OutcomeOptions(Options):
    """Outcome events on an EventBridge bus of the pipeline's own: docs/outcomes.md. `{}` turns them on."""


class ApiPipelineConfig(CommonOptions):
    """A pipeline that takes events over HTTP."""

    variant: Literal["api"]
    api: ApiOptions = ApiOptions()
    queue: EventQueueOptions = EventQueueOptions()
    worker: WorkerOptions = WorkerOptions()
    storage: StorageOptions
    alarms: AlarmOptions = AlarmOptions()
    outcomes: OutcomeOptions | None = None
    """Tell an event bus what became of each event. Default: nobody is told."""
    reports: tuple[Literal["hourly", "daily"], ...] = ()
    """Summaries of the last full hour, the last full day in UTC, or both: to `reports/` and to the reports topic."""
    report_notifications: NotificationOptions = NotificationOptions()
    """Who is told of reports; `notifications` is who is told of trouble."""
    fault_injection: bool = False
    """Let faults be switched on for game days, with `pipeline faults`: docs/faults.md. Never in `prod`."""

    @property
    def message_senders(self) -> tuple[str, ...]:
        """SNS, for either topic."""
        return tuple(sorted({*self.notifications.senders, *self.report_notifications.senders}))

    @property
    def has_event_bus(self) -> bool:
        """Whether outcomes are published."""
        return self.outcomes is not None

    @model_validator(mode="after")
    def _reports_have_an_index(self) -> Self:
        if self.reports and not self.storage.time_index:
            raise ValueError("reports read the time index: storage.time_index must be true")
        if len(set(self.reports)) < len(self.reports):
            raise ValueError(f"reports names one twice: {', '.join(self.reports)}")
        if self.report_notifications.subscriptions and not self.reports:
            raise ValueError("report_notifications has subscriptions, and reports is empty: nobody would be told")
        return self

    @model_validator(mode="after")
    def _a_fifo_queue_has_small_batches(self) -> Self:
        # https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html (both parameters)
        worker = self.worker
        if self.queue.fifo and (worker.batch_size > 10 or worker.batching_window_seconds):  # noqa: PLR2004  AWS's number
            raise ValueError(
                "queue.fifo takes worker.batch_size up to 10 and no worker.batching_window_seconds; given are "
                f"{worker.batch_size} and {worker.batching_window_seconds}",
            )
        return self

    @model_validator(mode="after")
    def _an_event_fits_into_a_run(self) -> Self:
        allowed = self.worker.timeout_seconds - STORING_SECONDS
        if (self.worker.event_timeout_seconds or 0) > allowed:
            raise ValueError(
                f"worker.event_timeout_seconds {self.worker.event_timeout_seconds} is above {allowed}: "
                f"worker.timeout_seconds {self.worker.timeout_seconds} less {STORING_SECONDS} for storing results",
            )
        return self

    @model_validator(mode="after")
    def _a_circuit_needs_attempts_to_open_by(self) -> Self:
        if self.worker.circuit_breaker and self.worker.max_attempts < LEAST_ATTEMPTS:
            raise ValueError(
                f"worker.circuit_breaker needs worker.max_attempts of at least {LEAST_ATTEMPTS}, given is "
                f"{self.worker.max_attempts}: events on their last attempt fail for good while the circuit opens",
            )
        return self

    @model_validator(mode="after")
    def _no_faults_in_production(self) -> Self:
        if self.fault_injection and self.environment == "prod":
            raise ValueError("fault_injection true does not go with environment 'prod': use a stack of its own for it")
        return self

    @model_validator(mode="after")
    def _messages_outlast_their_attempts(self) -> Self:
        retention_seconds = self.queue.retention_days * SECONDS_A_DAY
        waits = self.worker.backoff.seconds_until(self.worker.max_attempts)
        if waits >= retention_seconds:
            raise ValueError(
                f"worker.max_attempts {self.worker.max_attempts} with worker.backoff takes up to {waits} seconds, and "
                f"queue.retention_days {self.queue.retention_days} keeps a message for {retention_seconds}",
            )
        if self.storage.items_expire_after_days <= self.queue.dead_letter_retention_days:
            raise ValueError(
                f"storage.items_expire_after_days {self.storage.items_expire_after_days} must be above "
                f"queue.dead_letter_retention_days {self.queue.dead_letter_retention_days}: it tells of the message",
            )
        return self
