"""The function behind a bucket."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
from pulumi import Input, ResourceOptions

from components.bucket import Bucket
from components.function import Function, Size
from components.grants import Grant
from components.observability import Alarm, Panel
from components.options.iot import ReadingAlarmOptions, ReadingWorkerOptions
from components.queue import (
    VISIBLE,
    DeadLetterQueue,
    dead_letters_alarm,
    more_dead_letters_alarm,
    oldest_dead_letter_alarm,
    queue_metric,
)
from components.runtime import Runtime


@dataclass(frozen=True)
class Uploads:
    """The objects that a function is to be invoked for."""

    bucket: Bucket
    prefix: str


class UploadWorker(pulumi.ComponentResource):
    """A function that S3 invokes for each object that is created under a prefix.

    Asynchronously: Lambda keeps the event, tries a failed run again, and puts it with the dead letters in the end.
    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
    """

    def __init__(
        self,
        name: str,
        options: ReadingWorkerOptions,
        *,
        uploads: Uploads,
        dead_letters: DeadLetterQueue,
        handler: str,
        runtime: Runtime,
        grants: Iterable[Grant],
        environment: Mapping[str, Input[str]],
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__("datapipeline:index:UploadWorker", name, None, opts)
        child = ResourceOptions(parent=self)
        self.function = Function(
            name,
            handler=handler,
            runtime=runtime,
            size=Size(options.memory_mb, options.timeout_seconds, reserved_concurrency=options.reserved_concurrency),
            grants=[
                uploads.bucket.grant_read_announced(uploads.prefix),
                uploads.bucket.grant_see_missing(),
                dead_letters.grant_receive_failures(),
                *grants,
            ],
            environment=environment,
            opts=child,
        )
        self._subscribe(name, options, uploads, dead_letters)
        self._dead_letters = dead_letters
        self.register_outputs({"function": self.function.name})

    def _subscribe(
        self, name: str, options: ReadingWorkerOptions, uploads: Uploads, dead_letters: DeadLetterQueue
    ) -> None:
        """Have S3 invoke the function, and Lambda keep what it could not do."""
        on_failure = aws.lambda_.FunctionEventInvokeConfig(
            name,
            function_name=self.function.name,
            maximum_retry_attempts=options.retries,
            maximum_event_age_in_seconds=options.max_event_age_seconds,
            destination_config={"on_failure": {"destination": dead_letters.arn}},
            # Lambda looks at the role's rights when the destination is set.
            opts=ResourceOptions(parent=self, depends_on=[self.function]),
        )
        permission = aws.lambda_.Permission(
            name,
            action="lambda:InvokeFunction",
            function=self.function.name,
            principal="s3.amazonaws.com",
            source_arn=uploads.bucket.arn,
            # A bucket's ARN does not say whose it is, and another account can have the name after us.
            source_account=self.function.arn.apply(lambda arn: arn.split(":")[4]),
            opts=ResourceOptions(parent=self),
        )
        aws.s3.BucketNotification(
            name,
            bucket=uploads.bucket.name,
            lambda_functions=[
                {
                    "lambda_function_arn": self.function.arn,
                    "events": ["s3:ObjectCreated:*"],
                    # The function checks suffixes: S3 compares case, and would drop other objects silently.
                    "filter_prefix": uploads.prefix,
                }
            ],
            # S3 refuses a function that it may not invoke; and the first failed run must already have where to go.
            opts=ResourceOptions(parent=self, depends_on=[permission, on_failure]),
        )

    def alarms(self, options: ReadingAlarmOptions) -> dict[str, Alarm]:
        """The function's alarms, and alarms of its asynchronous invocation."""
        return {
            "dead-letters": dead_letters_alarm(self._dead_letters.name),
            "more-dead-letters": more_dead_letters_alarm(self._dead_letters.name),
            "oldest-dead-letter": oldest_dead_letter_alarm(
                self._dead_letters.name, self._dead_letters.retention_days, options
            ),
            "event-age": Alarm(
                "The worker does not keep up: uploads wait too long, or are tried again.",
                self.function.metric("AsyncEventAge", "Maximum"),
                threshold=options.event_age_seconds * 1_000,
                section="event-age",
                step="worker",
                severity="critical",
            ),
            # These events are neither processed nor dead-lettered: this number is the only trace of them.
            "undelivered": Alarm(
                "Lambda could not put failed events with the dead letters: uploads are not processed, and nobody has "
                "them.",
                self.function.metric("DestinationDeliveryFailures", "Sum"),
                threshold=1,
                section="undelivered",
                step="worker",
                severity="critical",
            ),
            **self.function.alarms("worker", options),
        }

    def panels(self) -> tuple[Panel, Panel]:
        """The age of the oldest waiting event, and the number of dead letters."""
        return (
            Panel("Age of the oldest event (ms)", [self.function.metric("AsyncEventAge", "Maximum")]),
            Panel("Dead letters", [queue_metric(VISIBLE, self._dead_letters.name)]),
        )
