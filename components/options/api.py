"""Options of the `api` variant."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from components.options.common import (
    FREE_STORAGE_MB,
    SECONDS_A_DAY,
    AlarmOptions,
    BackoffOptions,
    CommonOptions,
    Feature,
    NotificationOptions,
    Options,
    PolledOptions,
    ProtectionOptions,
    QueueOptions,
    ReservedConcurrency,
    StartOptions,
)
from components.options.processor import Policy, ProcessorName, RequirementsFile, Variables
from components.options.requests import FieldPath, HeaderName, PlaceOptions, ThrottlingOptions
from components.options.schemas import EventSchemas
from components.options.secrets import Secrets
from components.options.webhooks import Webhooks

# Reserved by handlers/api/worker.py.
STORING_SECONDS = 5
# With a circuit breaker: detecting an outage takes an attempt or two.
LEAST_ATTEMPTS = 3
# A run that holds a message which SQS has deleted meanwhile (15 minutes), and a changed retention, which SQS applies
# within 15 minutes: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
LOST_MARGIN_SECONDS = 3_600


class JwtOptions(Options):
    """The tokens that `api.auth: jwt` accepts."""

    # Without query or fragment: https://openid.net/specs/openid-connect-core-1_0.html#IDToken
    issuer: Annotated[str, Field(pattern=r"^https://[^\s/?#]+(/[^\s?#]*)?$")]
    """The issuer's https URL, equal to the token's `iss`. API Gateway reads its configuration
    (`/.well-known/openid-configuration`) from the internet, also when the stack is deployed."""
    audience: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
    """Accepted values of the token's `aud`."""


# An Origin header as browsers send it, or one of API Gateway's three wildcards:
# https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-cors.html
Origin = Annotated[str, Field(pattern=r"^(\*|https?://\*|[a-z][a-z0-9+.-]*://[a-z0-9._-]+(:[0-9]{1,5})?)$")]


def _every_origin_alone(origins: tuple[str, ...]) -> tuple[str, ...]:
    if "*" in origins and len(origins) > 1:
        raise ValueError("'*' allows every origin: it cannot be combined with others")
    return origins


class CorsOptions(Options):
    """Web pages that may call the API."""

    allow_origins: Annotated[tuple[Origin, ...], Field(min_length=1), AfterValidator(_every_origin_alone)]
    """Origins as scheme://host[:port], without a path; or `*` alone."""
    # Includes the headers of a signed request: https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
    allow_headers: tuple[HeaderName, ...] = (
        "content-type",
        "authorization",
        "x-amz-date",
        "x-amz-security-token",
        "x-amz-content-sha256",
        "idempotency-key",
        "x-correlation-id",
    )
    """Request headers that web pages may send."""
    max_age_seconds: Annotated[int, Field(ge=0, le=86_400)] = 3_600
    """Time that browsers cache the answer to a preflight request."""


class StageOptions(Options):
    """The stage of an API."""

    throttling: ThrottlingOptions = ThrottlingOptions()
    """Request limits of the stage."""
    stage_name: Annotated[str, Field(pattern=r"^(\$default|[A-Za-z0-9_-]{1,128})$")] | None = None
    """Name of the stage. Default: `$default` (no path segment) for an HTTP API, `v1` for a REST API."""
    access_logs: bool | None = None
    """One log line per request, without bodies. Default: on for an HTTP API, off for a REST API, which needs a
    CloudWatch role shared by the whole account
    (https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-logging.html)."""


class ApiOptions(StageOptions, StartOptions):
    """The API in front of the pipeline, and the events that it accepts."""

    kind: Literal["http", "rest"] = "http"
    """HTTP API (cheaper, faster) or REST API (API keys, usage plan)."""
    auth: Literal["none", "iam", "jwt", "api_key"] = "none"
    """`iam` with both kinds, `jwt` with `http`, `api_key` with `rest`. `GET /health` is always open. Outside `dev` it
    must be set, be it to `none`, which lets everybody submit and read events."""
    jwt: JwtOptions | None = None
    """Accepted tokens, required with `auth: jwt`."""
    cors: CorsOptions | None = None
    """Access from web pages, with `kind: http` only. Default: none."""
    max_batch: Annotated[int, Field(ge=1, le=500)] = 500
    """Events in one POST."""
    max_depth: Annotated[int, Field(ge=1, le=200)] = 64
    """Nesting levels in one event."""
    track: bool = True
    """Record an event as `queued` when it is accepted. `false` saves that write: the item appears at the end."""
    deduplicate: Literal["key", "content"] = "key"
    """`key`: events with the same idempotency key are duplicates. `content`: so are events with the same JSON."""
    idempotency: PlaceOptions | None = None
    """A field or header that is the idempotency key of events without one of their own. Default: none."""
    ignore_when_comparing: tuple[FieldPath, ...] = ()
    """Paths of fields that may differ between an event and its repeat, such as `sent_at`."""
    type_field: Annotated[str, Field(min_length=1, max_length=64)] = "event_type"
    """Field of an event that holds its type."""
    accept_forms: bool = False
    """Accept URL-encoded forms: one event, whose fields are strings, or lists of strings where a field is repeated."""
    schemas: EventSchemas = "none"
    """`none`: any JSON object. A path: one JSON Schema for all events. A list of types: `schemas/<type>.json` each.
    Deliveries of webhooks must satisfy them too, but may have other types, without a schema."""
    memory_mb: Annotated[int, Field(ge=128, le=10_240)] = 512
    """Memory of the ingest function."""
    timeout_seconds: Annotated[int, Field(ge=3, le=29)] = 29
    """Time limit of the ingest function; API Gateway times out after 30 seconds (HTTP) or 29 (REST)."""
    reserved_concurrency: ReservedConcurrency = None
    """Requests answered at the same time, at most; others are 503. Taken out of the account's limit. Default: no limit
    of its own beside `throttling`."""

    @property
    def writes_access_logs(self) -> bool:
        """The effective value of `access_logs`."""
        return self.kind == "http" if self.access_logs is None else self.access_logs

    @model_validator(mode="after")
    def _ready_environments_are_reserved(self) -> Self:
        # https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html
        reserved, ready = self.reserved_concurrency, self.provisioned_concurrency
        if reserved is not None and ready is not None and ready > reserved:
            raise ValueError(f"provisioned_concurrency {ready} is above reserved_concurrency {reserved}")
        return self

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
            raise ValueError("stage_name '$default' goes with kind 'http' only: name the stage of a REST API")
        return self


class CircuitBreakerOptions(Options):
    """A circuit breaker that pauses the worker while its processor reports an outage (docs/circuit-breaker.md)."""

    failure_threshold: Annotated[int, Field(ge=1, le=100)] = 10
    """Distinct events that must fail in one worker because of an outage before the circuit opens. They must be 80 % of
    the last ones, of which twice as many are counted."""
    recovery_seconds: Annotated[int, Field(ge=1, le=3_600)] = 60
    """Time until the first probe. After a failed one it grows to a tenth of the outage, one hour at most. Probes start
    on the minute."""
    key_field: FieldPath | None = None
    """Path of the field that names what an event depends on, such as `customer.id`: while nothing of one key succeeds,
    only its events are held back. Default: none, one circuit for all events."""
    key_failure_threshold: Annotated[int, Field(ge=1, le=100)] = 3
    """Attempts at events of one key, two at least, that must fail in a row in one worker before it is held back."""


class WorkerOptions(PolledOptions, StartOptions):
    """The function that processes events from the queue."""

    processor: ProcessorName = "processors.echo:process"
    """`module:function` of `process(event) -> result`, in a file below processors/."""
    requirements: RequirementsFile | None = None
    """A file with the packages that the processor imports, pinned with hashes (docs/processors.md). Default: none."""
    environment: Variables = Field(default_factory=dict)
    """Environment variables of the processor, by their names. Never secrets: those are named in `secrets`."""
    policy: Policy = Field(default_factory=dict)
    """Rights of the processor, by their purposes: `send_mail: {actions: [ses:SendEmail], resources: [ARN]}`."""
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 5
    """Attempts to process an event before it fails and its message is dead-lettered."""
    event_timeout_seconds: Annotated[int, Field(ge=1, le=895)] | None = None
    """Time limit for one event. Default: the function's remaining time, less 5 seconds."""
    secrets: Secrets = Field(default_factory=dict)
    """Locations of the secrets that the processor reads, by the names that it uses: an ARN, or `{arn, key_arn}` for a
    secret under a customer key (docs/security.md). Never the secrets themselves."""
    backoff: BackoffOptions = BackoffOptions()
    """Waits between attempts."""
    circuit_breaker: CircuitBreakerOptions | None = None
    """Pause processing during outages. Default: off."""

    @model_validator(mode="after")
    def _a_circuit_sets_the_concurrency(self) -> Self:
        # After an outage it raises the mapping's maximum concurrency in steps, which provisioned pollers exclude.
        if self.circuit_breaker and self.provisioned_pollers:
            raise ValueError(
                "circuit_breaker and provisioned_pollers do not go together: the circuit limits the worker's "
                "concurrency after an outage, and Lambda refuses that with provisioned pollers; choose one",
            )
        return self

    @model_validator(mode="after")
    def _snapshots_are_small(self) -> Self:
        # https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html (Supported features and limitations)
        if self.snap_start and self.ephemeral_storage_mb > FREE_STORAGE_MB:
            raise ValueError(
                f"snap_start and ephemeral_storage_mb {self.ephemeral_storage_mb} (above {FREE_STORAGE_MB}) do not go "
                "together: choose one"
            )
        return self


class ArchiveOptions(Options):
    """The archive: what became of each event, with the event (docs/archive.md)."""

    accepted: Feature | None = None
    """Archive events also when they are accepted, so that `pipeline replay` can send those again whose messages are
    lost, as by a purge. It costs an S3 request for each request and type. Default: off."""
    compaction: Feature | None = None
    """Merge the small objects of hours that are over, in a function that runs each hour and may delete from the
    archive. Default: off. Its alarms cost 0.70 USD a month."""


class StorageOptions(ProtectionOptions):
    """Storage and retention of events, results, the archive and reports."""

    results: Literal["object", "inline"] = "object"
    """`object`: in S3, `results/YYYY/MM/DD/{id}.json`. `inline`: in the event's item, 350 KB at most."""
    archive: ArchiveOptions | None = None
    """Append what became of each batch's events, with the events, as gzipped JSON Lines to
    `archive/type=…/dt=…/hour=…/` (docs/archive.md). Default: off."""
    time_index: bool = True
    """Serve `GET /events`. `false` saves one index write per event; the route then answers 404. Items have the keys of
    the index all the same, so that one that is made later has all of them."""
    time_index_shards: Annotated[int, Field(ge=1, le=64)] = 8
    """Partitions that the events of a day are spread over; each takes about 1,000 events a second. There may be more
    later, not fewer."""
    items_expire_after_days: Annotated[int, Field(ge=1, le=3_650)] = 90
    """Days that an event's item is kept after its last change, and duplicates are detected."""
    results_expire_after_days: Annotated[int, Field(ge=1, le=3_650)] = 90
    """Days that results in S3 are kept."""
    archive_expires_after_days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    """Days that the archive is kept. Default: forever."""
    reports_expire_after_days: Annotated[int, Field(ge=1, le=36_500)] = 365
    """Days that reports are kept."""

    @property
    def archives_accepted(self) -> bool:
        """Return True if events are archived before they are done, too."""
        return self.archive is not None and self.archive.accepted is not None


class FifoOptions(Options):
    """A FIFO queue: events of a group are processed in the order of their acceptance (docs/fifo.md)."""

    group_field: FieldPath
    """Path of the field that holds an event's group, such as `customer.id`: a number, or a string of 1 to 128 ASCII
    characters without spaces."""


class FairOptions(Options):
    """A fair queue: while events of one group take more than their share of the worker, those of others come first.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues.html
    """

    group_field: FieldPath
    """Path of the field that names whom an event belongs to, such as `customer.id`. An event may lack it."""


class EventQueueOptions(QueueOptions):
    """The queue between API and worker, and its dead letters."""

    reconciler: Feature | None = None
    """A function that looks each five minutes at what SQS itself moved to the dead letters, and makes those events
    `failed`: a worker that cannot start cannot say so. With the time index it also counts events whose messages are
    lost (docs/dead-letters.md). Default: off. Its alarms cost 0.80 USD a month."""
    fifo: FifoOptions | None = None
    """Process events in order. Default: a standard queue, without ordering."""
    fair: FairOptions | None = None
    """Let a flood of one customer's events not delay those of the others (docs/plan.md). Default: first come, first
    served."""

    @model_validator(mode="after")
    def _a_fifo_queue_is_not_fair(self) -> Self:
        if self.fifo and self.fair:
            raise ValueError("fair goes with a standard queue only: the groups of a fifo queue take turns anyway")
        return self

    @property
    def is_fifo(self) -> bool:
        """Return True if events of one group keep their order."""
        return self.fifo is not None


class ReportOptions(Options):
    """Scheduled summaries of events (docs/reports.md)."""

    schedules: Annotated[tuple[Literal["hourly", "daily"], ...], Field(min_length=1)] = ("hourly", "daily")
    """Reports of the last full hour, the last full day in UTC, or both."""

    @model_validator(mode="before")
    @classmethod
    def _no_list(cls, given: Any) -> Any:
        if isinstance(given, list):
            raise ValueError("a list is now {schedules: [hourly, daily]}; leave it out for none")  # noqa: TRY004  pydantic's
        return given

    @model_validator(mode="after")
    def _schedules_are_distinct(self) -> Self:
        if len(set(self.schedules)) < len(self.schedules):
            raise ValueError(f"schedules has a duplicate: {', '.join(self.schedules)}; remove it")
        return self


class ApiAlarmOptions(AlarmOptions):
    """Alarm thresholds; docs/alarms.md explains each alarm."""

    forged_webhook_requests: Annotated[int, Field(ge=1)] = 10
    """Forged requests to one webhook within five minutes."""


class ApiPipelineConfig(CommonOptions):
    """A pipeline that accepts events over HTTP."""

    variant: Literal["api"]
    """The variant of the pipeline."""
    api: ApiOptions = ApiOptions()
    """The API that accepts events."""
    queue: EventQueueOptions = EventQueueOptions()
    """The queue between API and worker."""
    webhooks: Webhooks = Field(default_factory=dict)
    """Webhooks by their names: `github` adds `POST /webhooks/github`, which accepts its sender's requests only
    (docs/webhooks.md)."""
    worker: WorkerOptions = WorkerOptions()
    """The function that processes events."""
    storage: StorageOptions
    """Storage and retention of events, results, the archive and reports."""
    alarms: ApiAlarmOptions = ApiAlarmOptions()
    """Alarm thresholds."""
    outcomes: Feature | None = None
    """Publish outcomes of events to an EventBridge bus of the pipeline's own (docs/outcomes.md). Default: off."""
    reports: ReportOptions | None = None
    """Write scheduled summaries to `reports/`, and publish them to the reports topic. Default: off."""
    report_notifications: NotificationOptions = NotificationOptions()
    """Subscribers of reports; `notifications` has those of alerts and alarms."""
    fault_injection: Feature | None = None
    """Faults for game days, switched with `pipeline faults` (docs/faults.md). Not allowed in `prod`. Default: off."""

    @property
    def lost_after_seconds(self) -> int:
        """The age at which no queue can hold an event's message any more, counted from when it was sent.

        A waiting message is in the queue, also while it is hidden, backs off or the circuit is open; SQS deletes it
        there after the retention. Just before, the worker may have moved it to the dead letters, where its age begins
        anew. https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html
        """
        days = self.queue.retention_days + self.queue.dead_letter_retention_days
        return days * SECONDS_A_DAY + LOST_MARGIN_SECONDS

    @property
    def finds_stuck_events(self) -> bool:
        """Return True if the reconciler counts events whose messages are lost, before their items expire."""
        kept_seconds = self.storage.items_expire_after_days * SECONDS_A_DAY
        return self.queue.reconciler is not None and self.storage.time_index and kept_seconds > self.lost_after_seconds

    @property
    def message_senders(self) -> tuple[str, ...]:
        """SNS, for either topic."""
        return tuple(sorted({*self.notifications.senders, *self.report_notifications.senders}))

    @property
    def has_event_bus(self) -> bool:
        """Return True if outcomes are published."""
        return self.outcomes is not None

    @model_validator(mode="after")
    def _nobody_opens_an_api_by_saying_nothing(self) -> Self:
        if self.environment != "dev" and "auth" not in self.api.model_fields_set:
            raise ValueError(
                f"api.auth must be set in environment {self.environment!r}: iam, jwt or api_key; "
                "or none, with which everybody can submit and read events"
            )
        return self

    @model_validator(mode="after")
    def _reports_have_an_index(self) -> Self:
        if self.reports and not self.storage.time_index:
            raise ValueError("reports read the time index: storage.time_index must be true")
        if self.report_notifications.subscriptions and not self.reports:
            raise ValueError("report_notifications needs reports: turn them on, or remove the subscriptions")
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
                f"{self.worker.max_attempts}: events on their last attempt fail permanently while the circuit opens",
            )
        return self

    @model_validator(mode="after")
    def _no_faults_in_production(self) -> Self:
        if self.fault_injection and self.environment == "prod":
            raise ValueError("fault_injection is not allowed with environment 'prod': use another stack for game days")
        return self

    @model_validator(mode="after")
    def _messages_outlast_their_attempts(self) -> Self:
        retention_seconds = self.queue.retention_days * SECONDS_A_DAY
        waits = self.worker.backoff.seconds_until(self.worker.max_attempts)
        if waits >= retention_seconds:
            raise ValueError(
                f"worker.max_attempts {self.worker.max_attempts} with worker.backoff takes up to {waits} seconds, and "
                f"queue.retention_days {self.queue.retention_days} keeps a message for {retention_seconds} only",
            )
        if self.storage.items_expire_after_days <= self.queue.dead_letter_retention_days:
            raise ValueError(
                f"storage.items_expire_after_days {self.storage.items_expire_after_days} must be above "
                f"queue.dead_letter_retention_days {self.queue.dead_letter_retention_days}, or the item expires "
                "before the dead letter that it describes",
            )
        return self
