"""Options that every variant has."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

# Retention periods that CloudWatch Logs accepts, up to a year:
# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
LogRetentionDays = Literal[1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365]


SECONDS_A_DAY = 86_400
MINUTES_A_DAY = 1_440


class Options(BaseModel):
    """Base of every group of options: frozen, and an unknown key is an error."""

    # Input may be a secret in the wrong place; components/config.py decides which values a message may show.
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)

    moved: ClassVar[Mapping[str, str]] = {}
    """Keys and values of earlier versions, with the forms that replace them."""

    @model_validator(mode="before")
    @classmethod
    def _no_earlier_form(cls, given: Any) -> Any:
        # Top-level values are text.
        if given is True or given == "true":
            raise ValueError("is a group of options: write {} instead of true")
        if given is False or given in ("false", "none"):
            raise ValueError("is a group of options: leave it out instead")
        for form in given if isinstance(given, Mapping) else (given,):
            if isinstance(form, str) and form in cls.moved:
                raise ValueError(f"{form} is now {cls.moved[form]}")
        return given


class Feature(Options):
    """A feature without options: `{}` turns it on, leaving it out turns it off."""


class QueueOptions(Options):
    """The queue in front of the worker, and its dead letters."""

    retention_days: Annotated[int, Field(ge=1, le=13)] = 4
    """Days that the queue keeps a message."""
    dead_letter_retention_days: Annotated[int, Field(ge=2, le=14)] = 14
    """Days that a message is kept, counted from when it was sent to the queue, once it is dead-lettered."""
    redrive_api: Feature | None = None
    """Routes that list dead letters and redrive them, for signed requests only (docs/dead-letters.md). Default: off."""

    moved: ClassVar[Mapping[str, str]] = {
        "max_receives": "worker.max_attempts: attempts are counted by the worker, not by SQS"
    }

    @property
    def is_fifo(self) -> bool:
        """Return True if messages of one group keep their order."""
        return False

    @model_validator(mode="after")
    def _dead_letters_are_kept_longer(self) -> Self:
        # A message keeps its age when SQS moves it:
        # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html
        if self.dead_letter_retention_days <= self.retention_days:
            raise ValueError(
                f"dead_letter_retention_days {self.dead_letter_retention_days} must be above "
                f"retention_days {self.retention_days}: a message keeps its age when it is dead-lettered",
            )
        return self


class BackoffOptions(Options):
    """Exponential back-off between attempts, with jitter."""

    base_seconds: Annotated[int, Field(ge=1, le=900)] = 2
    """Wait after the first failed attempt; it doubles with each further one."""
    # SQS hides a message for 12 hours in total, counted from its receipt.
    maximum_seconds: Annotated[int, Field(ge=1, le=42_000)] = 900
    """Longest wait."""

    @model_validator(mode="after")
    def _base_below_maximum(self) -> Self:
        if self.base_seconds > self.maximum_seconds:
            raise ValueError(f"base_seconds {self.base_seconds} is above maximum_seconds {self.maximum_seconds}")
        return self

    def seconds_until(self, attempts: int) -> int:
        """Return the longest total wait before the last of `attempts` attempts."""
        doubled = (self.base_seconds * 2 ** min(attempt, 16) for attempt in range(attempts - 1))
        return sum(min(seconds, self.maximum_seconds) for seconds in doubled)


# https://docs.aws.amazon.com/lambda/latest/dg/configuration-ephemeral-storage.html
FREE_STORAGE_MB = 512


# One poller runs so many batches at a time: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
BATCHES_A_POLLER = 10


class PollerOptions(Options):
    """Event pollers of the queue's own (Lambda's provisioned mode), billed by the hour.

    A poller runs up to 10 batches at the same time, and takes up to 100 messages and 1 MB a second.
    """

    # AWS's ranges for SQS: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-parameters.html
    minimum: Annotated[int, Field(ge=2, le=200)] = 2
    """Pollers that are always there."""
    maximum: Annotated[int, Field(ge=2, le=2_000)] = 200
    """Pollers during a flood: Lambda adds pollers for 1,000 batches a minute."""

    @model_validator(mode="after")
    def _minimum_below_maximum(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} is above maximum {self.maximum}")
        return self


class PolledOptions(Options):
    """A function that polls a queue, and the limits of one run."""

    batch_size: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Messages in one run at most; above 10 it needs `batching_window_seconds`."""
    batching_window_seconds: Annotated[int, Field(ge=0, le=300)] = 0
    """Time that Lambda waits for a batch to fill."""
    maximum_concurrency: Annotated[int, Field(ge=2, le=1_000)] = 100
    """Batches processed at the same time: a flood of events leaves the rest of the account its share of functions."""
    provisioned_pollers: PollerOptions | None = None
    """Pollers of the queue's own, instead of `maximum_concurrency`: they scale faster and further (docs/plan.md).
    Default: those that Lambda shares out."""
    memory_mb: Annotated[int, Field(ge=128, le=10_240)] = 512
    """Memory of the function; its share of CPU grows with it."""
    ephemeral_storage_mb: Annotated[int, Field(ge=512, le=10_240)] = FREE_STORAGE_MB
    """Size of the function's `/tmp`. What is above 512 MB is billed while the function runs."""
    timeout_seconds: Annotated[int, Field(ge=10, le=900)] = 30
    """Time limit of one run."""

    @model_validator(mode="after")
    def _large_batches_need_a_window(self) -> Self:
        # https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html (BatchSize)
        if self.batch_size > 10 and self.batching_window_seconds < 1:  # noqa: PLR2004  AWS's number
            raise ValueError(f"batch_size {self.batch_size} (above 10) needs batching_window_seconds of at least 1")
        return self

    @model_validator(mode="after")
    def _pollers_are_the_limit(self) -> Self:
        # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
        if self.provisioned_pollers and "maximum_concurrency" in self.model_fields_set:
            raise ValueError(
                "provisioned_pollers and maximum_concurrency do not go together: "
                f"provisioned_pollers.maximum limits batches, to {BATCHES_A_POLLER} a poller",
            )
        return self

    @property
    def batches_at_once(self) -> int:
        """The highest number of batches processed at the same time."""
        pollers = self.provisioned_pollers
        return BATCHES_A_POLLER * pollers.maximum if pollers else self.maximum_concurrency


# Taken out of the account's limit, of which Lambda keeps 100 unreserved; an account may have no more than 10 in all, so
# there is no default. https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html
ReservedConcurrency = Annotated[int, Field(ge=1, le=10_000)] | None


class StartOptions(Options):
    """Ways to avoid cold starts. Default: execution environments start on demand."""

    provisioned_concurrency: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Execution environments that are always ready, billed by the hour."""
    snap_start: bool = False
    """Start from a snapshot, billed while it is kept and for each start. In the minutes after the first deployment
    calls may fail until Lambda has made the snapshot; queued messages are retried, clients should retry, too."""

    @model_validator(mode="after")
    def _one_way_to_avoid_cold_starts(self) -> Self:
        # https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html (Supported features and limitations)
        if self.snap_start and self.provisioned_concurrency is not None:
            raise ValueError("snap_start and provisioned_concurrency do not go together: choose one")
        return self


class ProtectionOptions(Options):
    """Protection against data loss. `environment` sets the defaults; they are part of each variant's `storage`."""

    deletion_protection: bool
    """Reject requests to delete the table."""
    point_in_time_recovery: bool
    """Continuous backups of the table, which can restore any second of the last 35 days."""
    bucket_versioning: bool
    """Keep overwritten and deleted objects as noncurrent versions."""
    retain_data: bool
    """`pulumi destroy` leaves tables, buckets with their protection (policy, public access block, encryption,
    versioning, lifecycle) and the customer key in place. `false` also empties the buckets."""


class LogOptions(Options):
    """The functions' logs."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Lowest level that is logged. The pipeline's record of each request, batch, upload, watch and report, which saved
    queries read, is written at any level."""
    retention_days: LogRetentionDays
    """Days that CloudWatch keeps log events. `environment` sets the default."""


class Subscription(Options):
    """A subscriber of a topic. E-mail and HTTPS endpoints confirm the subscription to AWS themselves."""

    protocol: Literal["email", "https", "sqs", "lambda"]
    """How messages are delivered."""
    endpoint: Annotated[str, Field(min_length=3)]
    """An e-mail address, an https URL, or the ARN of a queue or function."""

    @model_validator(mode="after")
    def _endpoint_fits_protocol(self, info: ValidationInfo) -> Self:
        shapes = {
            "email": ("[^@ ]+@[^@ ]+", "an e-mail address"),
            "https": ("https://.+", "an https URL"),
            # Topics that are not FIFO do not deliver to queues that are.
            # https://docs.aws.amazon.com/sns/latest/dg/sns-fifo-topics.html
            "sqs": (
                r"arn:aws[a-z-]*:sqs:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,80}",
                "the ARN of a queue, and not a FIFO one,",
            ),
            "lambda": (
                r"arn:aws[a-z-]*:lambda:[a-z0-9-]+:\d{12}:function:[A-Za-z0-9_-]{1,64}(:[$A-Za-z0-9_-]{1,128})?",
                "the ARN of a function",
            ),
        }
        shape, words = shapes[self.protocol]
        if re.search("://[^/?#]*@", self.endpoint):
            # The message does not repeat the endpoint: it contains credentials.
            raise ValueError("endpoint contains a user name or a password in plain text: remove them from the address")
        if not re.fullmatch(shape, self.endpoint):
            # The message does not repeat the endpoint: a webhook's address is often its only credential.
            raise ValueError(f"endpoint must be {words} with protocol {self.protocol!r}")
        # Lambda permits the topic to invoke the function, which is done in the stack's region.
        region, stack_region = self.endpoint.split(":")[3:4], (info.context or {}).get("region")
        if self.protocol == "lambda" and stack_region not in (None, *region):
            raise ValueError(f"endpoint must be a function of the stack's region, {stack_region} (aws:region)")
        return self


class NotificationOptions(Options):
    """The subscribers of a topic."""

    subscriptions: tuple[Subscription, ...] = ()
    """Subscribers of the topic."""

    @property
    def to_machines(self) -> bool:
        """Return True if any subscriber is not an e-mail address; SNS dead-letters failed deliveries only for these."""
        return any(subscription.protocol != "email" for subscription in self.subscriptions)

    @property
    def senders(self) -> tuple[str, ...]:
        """The services that write to a queue for these subscribers: SNS, which dead-letters failed deliveries."""
        return ("sns",) if self.to_machines else ()


class FunctionAlarmOptions(Options):
    """Alarm thresholds that every variant has."""

    error_rate_percent: Annotated[float, Field(gt=0, le=100)] = 5
    """Share of failed runs."""
    duration_percent_of_timeout: Annotated[int, Field(ge=1, le=100)] = 80
    """Longest run, relative to the function's timeout."""
    runbook: Annotated[str, Field(pattern=r"^[^\s#]+$", max_length=500)] = "docs/alarms.md"
    """Where alarms and alerts say what to do: the address of your copy of docs/alarms.md, for a link that mail programs
    open. Each adds its section."""
    dead_letter_age_percent_of_retention: Annotated[int, Field(ge=1, le=99)] = 75
    """Age of the oldest dead letter, relative to the time after which SQS deletes it: the retention of dead letters,
    less that of the queue, whose time counts for what SQS moves."""
    heartbeat_minutes: Annotated[int, Field(ge=5, le=2_880)] | None = None
    """Ring when nothing came in for so long: no event accepted, file read or reading stored. Whole hours above a day.
    Default: no traffic is no alarm."""

    @field_validator("heartbeat_minutes")
    @classmethod
    def _whole_hours_above_a_day(cls, minutes: int | None) -> int | None:
        if minutes is not None and minutes > MINUTES_A_DAY and minutes % 60:
            raise ValueError(f"{minutes} is above a day ({MINUTES_A_DAY}) and not a whole number of hours")
        return minutes


class AlarmOptions(FunctionAlarmOptions):
    """Alarm thresholds; docs/alarms.md explains each alarm."""

    oldest_message_seconds: Annotated[int, Field(ge=60)] = 900
    """Age of the oldest message in the queue."""
    failed_message_rate_percent: Annotated[float, Field(gt=0, le=100)] = 5
    """Share of messages that the worker returns to the queue."""
    api_error_rate_percent: Annotated[float, Field(gt=0, le=100)] = 1
    """Share of requests answered with a 5xx status."""
    api_latency_p95_ms: Annotated[int, Field(ge=1)] = 2_000
    """95th percentile of the API's latency."""
    api_refusal_rate_percent: Annotated[float, Field(gt=0, le=100)] = 25
    """Share of requests answered with a 4xx status, of at least 10 in 5 minutes, twice."""
    rejected_rate_percent: Annotated[float, Field(gt=0, le=100)] = 25
    """Share of events that are rejected, of at least 10 in 5 minutes, twice; in a csv stack of rows, once."""


def _own_tags(tags: Mapping[str, str]) -> Mapping[str, str]:
    # https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html
    if reserved := [name for name in tags if name.lower().startswith("aws:")]:
        raise ValueError(f"AWS reserves names that begin with aws:; rename {', '.join(reserved)}")
    return tags


# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-arns
KeyUser = Annotated[str, Field(pattern=r"^(role|user)/[*?/]*[A-Za-z0-9+=,.@_-][A-Za-z0-9+=,.@_/*?-]*$")]


class CustomerKeyOptions(Options):
    """A KMS key of the stack's own, and the principals that may use it."""

    users: tuple[KeyUser, ...] = ()
    """Principals besides the stack's own functions that may use the key, if IAM allows it, too: those that read results
    or dead letters, or upload files. `role/<name>` or `user/<name>` of the stack's account; `*` is a wildcard."""
    deployers: tuple[KeyUser, ...] = ()
    """The only principals on whose behalf DynamoDB, Lambda and EventBridge use the key: those that deploy, inspect
    tables and functions, or create rules on the event bus. Default: every principal that IAM allows."""


class EncryptionOptions(Options):
    """Encryption at rest. Data is always encrypted; without a customer key, with AWS keys."""

    customer_key: CustomerKeyOptions | None = None
    """One KMS key for queues, topics, tables, buckets, log groups, the event bus of `outcomes` and the functions'
    environment. It rotates every year and is billed by the month and by request: https://aws.amazon.com/kms/pricing/
    Default: keys of AWS."""

    moved: ClassVar[Mapping[str, str]] = {
        key: f"customer_key.{key}: {{customer_key: {{{key}: [...]}}}}" for key in ("users", "deployers")
    }


class VpcOptions(Options):
    """A VPC of the stack's own, or the ids of an existing one with a route to the services that the functions call."""

    # Limits of Lambda: https://docs.aws.amazon.com/lambda/latest/api/API_VpcConfig.html
    subnet_ids: Annotated[
        tuple[Annotated[str, Field(pattern=r"^subnet-[0-9a-f]+$")], ...], Field(min_length=1, max_length=16)
    ] = ()
    """Existing private subnets, ideally in two availability zones or more. Default: a VPC of the stack's own. After
    `pulumi destroy`, or when `vpc` is removed, the functions' network interfaces may stay (docs/security.md)."""
    security_group_ids: Annotated[
        tuple[Annotated[str, Field(pattern=r"^sg-[0-9a-f]+$")], ...], Field(min_length=1, max_length=5)
    ] = ()
    """Existing security groups of the functions, which must allow HTTPS to those services; required with subnets."""

    moved: ClassVar[Mapping[str, str]] = {"create": "{}: a VPC of the stack's own"}

    @model_validator(mode="after")
    def _subnets_and_groups_go_together(self) -> Self:
        if bool(self.subnet_ids) != bool(self.security_group_ids):
            raise ValueError("subnet_ids and security_group_ids go together: give both for an existing VPC, or neither")
        return self


class NetworkOptions(Options):
    """The network that the functions run in."""

    vpc: VpcOptions | None = None
    """`{}`: a VPC of the stack's own, whose only ways out are endpoints of the services that the functions call; each
    but S3 and DynamoDB is billed by the hour and zone: https://aws.amazon.com/privatelink/pricing/. Or the ids of
    existing subnets and security groups. Default: Lambda's own network."""


class AcceptedFinding(Options):
    """An accepted finding of `pipeline check` (docs/security.md)."""

    rule: str
    """Name of the rule, as the finding shows it."""
    resource: str | None = None
    """Name of the resource, as the finding shows it. Default: every resource."""
    type: str | None = None
    """Type of the resource, as the finding shows it: `aws:sqs/queue:Queue`. Default: every type. Many resources of a
    stack share a name, and an entry also accepts later findings that it matches."""
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
    """Why the finding is accepted; `pipeline check` shows it."""


class CommonOptions(Options):
    """Top-level options of every stack file."""

    environment: Literal["dev", "staging", "prod"] = "dev"
    """Sets the defaults of data protection and log retention."""
    tags: Annotated[Mapping[str, str], AfterValidator(_own_tags)] = Field(default_factory=dict)
    """Tags of every resource."""
    tracing: bool = False
    """X-Ray active tracing of the functions."""
    logs: LogOptions
    """Logs of the functions."""
    notifications: NotificationOptions = NotificationOptions()
    """Subscribers of alerts and alarms."""
    encryption: EncryptionOptions = EncryptionOptions()
    """Encryption at rest."""
    network: NetworkOptions = NetworkOptions()
    """Network of the functions."""
    storage: ProtectionOptions
    """Protection and retention of the data."""
    allow_data_loss: tuple[str, ...] = ()
    """Names of queues, tables, buckets, topics, the key and the event bus that a deployment may delete with their data.
    A change that would delete any other stops `pulumi preview` with an error that names it. Remove it afterwards.
    Likewise names of options whose change would hide stored data (docs/changes.md)."""
    accepted_findings: tuple[AcceptedFinding, ...] = ()
    """Findings that `pipeline check` reports with their reasons instead of failing. They change nothing deployed."""

    @property
    def message_senders(self) -> tuple[str, ...]:
        """Services that send messages to an encrypted queue themselves: `s3`, `sns`."""
        return self.notifications.senders

    @property
    def has_event_bus(self) -> bool:
        """Return True if the pipeline has an event bus, which uses the customer key."""
        return False
