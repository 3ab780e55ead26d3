"""Options that every variant has."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

# Retention periods that CloudWatch Logs accepts, up to a year:
# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
LogRetentionDays = Literal[1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365]


SECONDS_A_DAY = 86_400


class Options(BaseModel):
    """Base of every group of options: frozen, and an unknown key is an error."""

    # What stands there may be a secret in the wrong place: components/config.py says what of it is shown.
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)


class QueueOptions(Options):
    """The queue between API and worker, and its dead letters."""

    retention_days: Annotated[int, Field(ge=1, le=13)] = 4
    dead_letter_retention_days: Annotated[int, Field(ge=2, le=14)] = 14
    redrive_api: bool = False
    """Routes that show dead letters and send them back, for signed requests only (docs/dead-letters.md)."""

    @property
    def is_fifo(self) -> bool:
        """Whether messages of one group keep their order."""
        return False

    @model_validator(mode="before")
    @classmethod
    def _attempts_are_the_workers(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and "max_receives" in given:
            raise ValueError("max_receives is now worker.max_attempts: attempts are counted by the worker, not by SQS")
        return given

    @model_validator(mode="after")
    def _dead_letters_are_kept_longer(self) -> Self:
        # A message keeps its age when SQS moves it:
        # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html
        if self.dead_letter_retention_days <= self.retention_days:
            raise ValueError(
                f"dead_letter_retention_days {self.dead_letter_retention_days} must be above "
                f"retention_days {self.retention_days}: a message does not get younger when it is moved",
            )
        return self


class BackoffOptions(Options):
    """How long a failed message waits: base, doubled at each attempt, at most the maximum; with jitter."""

    base_seconds: Annotated[int, Field(ge=1, le=900)] = 2
    # SQS hides a message for 12 hours in all, counted from its receipt.
    maximum_seconds: Annotated[int, Field(ge=1, le=42_000)] = 900

    @model_validator(mode="after")
    def _base_below_maximum(self) -> Self:
        if self.base_seconds > self.maximum_seconds:
            raise ValueError(f"base_seconds {self.base_seconds} is above maximum_seconds {self.maximum_seconds}")
        return self

    def seconds_until(self, attempts: int) -> int:
        """The longest that a message waits, all its waits together, before the last of so many attempts."""
        doubled = (self.base_seconds * 2 ** min(attempt, 16) for attempt in range(attempts - 1))
        return sum(min(seconds, self.maximum_seconds) for seconds in doubled)


class PolledOptions(Options):
    """How a function takes messages from its queue, and what one run may use."""

    batch_size: Annotated[int, Field(ge=1, le=10_000)] = 10
    batching_window_seconds: Annotated[int, Field(ge=0, le=300)] = 0
    maximum_concurrency: Annotated[int, Field(ge=2, le=1_000)] | None = None
    """Batches at work at once; without it, Lambda's own limit."""
    memory_mb: Annotated[int, Field(ge=128, le=10_240)] = 512
    timeout_seconds: Annotated[int, Field(ge=10, le=900)] = 30

    @model_validator(mode="after")
    def _large_batches_need_a_window(self) -> Self:
        # https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html (BatchSize)
        if self.batch_size > 10 and self.batching_window_seconds < 1:  # noqa: PLR2004  AWS's number
            raise ValueError(f"batch_size {self.batch_size} (above 10) needs batching_window_seconds of at least 1")
        return self


class StartOptions(Options):
    """How a function's environments get ready: each when it is first needed, unless one of these says else."""

    provisioned_concurrency: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Environments that are always ready, paid for by the hour."""
    snap_start: bool = False
    """Start from a snapshot, which is paid for while it is kept and at each start."""

    @model_validator(mode="after")
    def _one_way_to_get_ready(self) -> Self:
        # https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html (Supported features and limitations)
        if self.snap_start and self.provisioned_concurrency is not None:
            raise ValueError("snap_start and provisioned_concurrency do not go together: choose one")
        return self


class ProtectionOptions(Options):
    """How data is kept from getting lost. `environment` sets all of these; a variant's `storage` has them."""

    deletion_protection: bool
    """The table refuses to be deleted."""
    point_in_time_recovery: bool
    bucket_versioning: bool
    retain_data: bool
    """`pulumi destroy` leaves table and bucket where they are. `false` also empties the bucket."""


class LogOptions(Options):
    """What the functions write, and for how long it is kept."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    retention_days: LogRetentionDays


class Subscription(Options):
    """Somebody who is told of alerts. E-mail and HTTPS subscribers confirm to AWS by themselves."""

    protocol: Literal["email", "https", "sqs", "lambda"]
    endpoint: Annotated[str, Field(min_length=3)]
    """An address, an https URL, or the ARN of a queue or function."""

    @model_validator(mode="after")
    def _endpoint_fits_protocol(self) -> Self:
        shapes = {
            "email": ("[^@ ]+@[^@ ]+", "an address"),
            "https": ("https://.+", "an https URL"),
            "sqs": ("arn:aws[a-z-]*:sqs:.+", "the ARN of a queue"),
            "lambda": ("arn:aws[a-z-]*:lambda:.+", "the ARN of a function"),
        }
        shape, words = shapes[self.protocol]
        if re.search("://[^/?#]*@", self.endpoint):
            # Not shown: the stack file, and its state, are no places for it.
            raise ValueError("endpoint has a user name or a password in its address, in plain: leave them out")
        if not re.fullmatch(shape, self.endpoint):
            # Nor this: the address of a webhook is often all that it asks for.
            raise ValueError(f"endpoint must be {words} with protocol {self.protocol!r}")
        return self


class NotificationOptions(Options):
    """Who is told of alerts."""

    subscriptions: tuple[Subscription, ...] = ()

    @property
    def to_machines(self) -> bool:
        """Whether anything that can fail for good is told: whoever gets an e-mail looks after it himself."""
        return any(subscription.protocol != "email" for subscription in self.subscriptions)

    @property
    def senders(self) -> tuple[str, ...]:
        """The services that put something into a queue for these: SNS, where it keeps what it cannot deliver."""
        return ("sns",) if self.to_machines else ()


class FunctionAlarmOptions(Options):
    """Thresholds of the alarms of functions."""

    error_rate_percent: Annotated[float, Field(gt=0, le=100)] = 5
    duration_percent_of_timeout: Annotated[int, Field(ge=1, le=100)] = 80


class AlarmOptions(FunctionAlarmOptions):
    """Thresholds; what each alarm watches is in docs/alarms.md."""

    oldest_message_seconds: Annotated[int, Field(ge=60)] = 900
    failed_message_rate_percent: Annotated[float, Field(gt=0, le=100)] = 5
    api_error_rate_percent: Annotated[float, Field(gt=0, le=100)] = 1
    api_latency_p95_ms: Annotated[int, Field(ge=1)] = 2_000


def _own_tags(tags: Mapping[str, str]) -> Mapping[str, str]:
    # https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html
    if reserved := [name for name in tags if name.lower().startswith("aws:")]:
        raise ValueError(f"names that begin with aws: are AWS's own; rename {', '.join(reserved)}")
    return tags


# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-arns
KeyUser = Annotated[str, Field(pattern=r"^(role|user)/[*?/]*[A-Za-z0-9+=,.@_-][A-Za-z0-9+=,.@_/*?-]*$")]


class EncryptionOptions(Options):
    """What data is encrypted with where it lies. It always is; without a key of the stack's own, with keys of AWS."""

    customer_key: bool = False
    """One KMS key of the stack's own for queues, topics, tables, buckets, log groups, the event bus of `outcomes` and
    the functions' environment. It rotates every year and costs a dollar a month, and its use by request:
    https://aws.amazon.com/kms/pricing/"""
    users: tuple[KeyUser, ...] = ()
    """Who besides the stack's own functions may use the key, as far as IAM lets them, too: who reads results or dead
    letters, who uploads files. `role/<name>` or `user/<name>` of the stack's account; `*` stands for anything."""
    deployers: tuple[KeyUser, ...] = ()
    """For whom alone DynamoDB, Lambda and EventBridge use the key: who deploys, looks at tables and functions, or makes
    rules on the event bus. Default: whomever IAM lets."""

    @model_validator(mode="after")
    def _who_uses_a_key_has_one(self) -> Self:
        if (self.users or self.deployers) and not self.customer_key:
            raise ValueError("users and deployers are of the customer key: customer_key must be true")
        return self


class ExistingVpcOptions(Options):
    """A network that is there already. Its subnets must lead to the services that the functions call."""

    # At most what Lambda takes: https://docs.aws.amazon.com/lambda/latest/api/API_VpcConfig.html
    subnet_ids: Annotated[
        tuple[Annotated[str, Field(pattern=r"^subnet-[0-9a-f]+$")], ...], Field(min_length=1, max_length=16)
    ]
    """Private subnets, best in two availability zones or more."""
    security_group_ids: Annotated[
        tuple[Annotated[str, Field(pattern=r"^sg-[0-9a-f]+$")], ...], Field(min_length=1, max_length=5)
    ]
    """What the functions may reach: HTTPS to those services."""


def _kind_of_vpc(value: object) -> str:
    return "kind:existing" if isinstance(value, Mapping | ExistingVpcOptions) else "kind:named"


class NetworkOptions(Options):
    """Where the functions run."""

    vpc: Annotated[
        Annotated[Literal["none", "create"], Tag("kind:named")] | Annotated[ExistingVpcOptions, Tag("kind:existing")],
        Discriminator(_kind_of_vpc),
    ] = "none"
    """`none`: in Lambda's own network. `create`: in a VPC of the stack's own without any way out but endpoints of the
    services that the functions call; each but S3 and DynamoDB is billed by the hour and zone:
    https://aws.amazon.com/privatelink/pricing/. Or the ids of subnets and security groups that are there already."""


class AcceptedFinding(Options):
    """A finding of `pipeline check` that is known, and stays (docs/security.md)."""

    rule: str
    """The name of a rule, as the finding has it."""
    resource: str | None = None
    """The name of a resource, as the finding has it. Default: of whatever name."""
    type: str | None = None
    """Its type, as the finding has it: `aws:sqs/queue:Queue`. Default: of whatever type, and much of a stack shares a
    name. An entry accepts all that the rule finds of what it names, also later on."""
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class CommonOptions(Options):
    """What stands at the top of every stack file, whatever its variant."""

    environment: Literal["dev", "staging", "prod"] = "dev"
    tags: Annotated[Mapping[str, str], AfterValidator(_own_tags)] = Field(default_factory=dict)
    tracing: bool = False
    """X-Ray active tracing of the functions."""
    logs: LogOptions
    notifications: NotificationOptions = NotificationOptions()
    encryption: EncryptionOptions = EncryptionOptions()
    network: NetworkOptions = NetworkOptions()
    storage: ProtectionOptions
    accepted_findings: tuple[AcceptedFinding, ...] = ()
    """Changes nothing that is deployed; `pipeline check` shows these with their reasons, and passes."""

    @property
    def message_senders(self) -> tuple[str, ...]:
        """Services that put messages into an encrypted queue on their own: `s3`, `sns`."""
        return self.notifications.senders

    @property
    def has_event_bus(self) -> bool:
        """Whether the pipeline has an event bus, which uses the customer key."""
        return False
