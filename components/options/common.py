"""Options that every variant has."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

# Retention periods that CloudWatch Logs accepts, up to a year:
# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
LogRetentionDays = Literal[1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365]


class Options(BaseModel):
    """Base of every group of options: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class QueueOptions(Options):
    """The queue between API and worker, and its dead letters."""

    max_receives: Annotated[int, Field(ge=1, le=1_000)] = 5
    """Attempts before a message goes to the dead letters."""
    retention_days: Annotated[int, Field(ge=1, le=14)] = 4
    dead_letter_retention_days: Annotated[int, Field(ge=1, le=14)] = 14


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
            "email": "[^@ ]+@[^@ ]+",
            "https": "https://.+",
            "sqs": "arn:aws[a-z-]*:sqs:.+",
            "lambda": "arn:aws[a-z-]*:lambda:.+",
        }
        if not re.fullmatch(shapes[self.protocol], self.endpoint):
            raise ValueError(f"endpoint {self.endpoint!r} does not go with protocol {self.protocol!r}")
        return self


class NotificationOptions(Options):
    """Who is told of alerts."""

    subscriptions: tuple[Subscription, ...] = ()


class CommonOptions(Options):
    """What stands at the top of every stack file, whatever its variant."""

    environment: Literal["dev", "staging", "prod"] = "dev"
    tags: Mapping[str, str] = Field(default_factory=dict)
    tracing: bool = False
    """X-Ray active tracing of the functions."""
    logs: LogOptions
    notifications: NotificationOptions = NotificationOptions()
