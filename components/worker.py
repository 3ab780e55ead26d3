"""The function behind a queue."""

from collections.abc import Iterable, Mapping

import pulumi
import pulumi_aws as aws
from pulumi import Input, ResourceOptions

from components.function import Function, Runtime, Size
from components.grants import Grant
from components.options.common import PolledOptions, StartOptions
from components.queue import Queue


class Worker(pulumi.ComponentResource):
    """Takes a queue's messages in batches; only failed messages return to the queue.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
    """

    def __init__(
        self,
        name: str,
        options: PolledOptions,
        *,
        queue: Queue,
        handler: str,
        code: pulumi.Archive,
        runtime: Runtime,
        grants: Iterable[Grant],
        environment: Mapping[str, Input[str]],
        start: StartOptions | None = None,
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__("datapipeline:index:Worker", name, None, opts)
        self.function = Function(
            name,
            handler=handler,
            code=code,
            runtime=runtime,
            size=Size(options.memory_mb, options.timeout_seconds),
            grants=[queue.grant_consume(), *grants],
            environment=environment,
            start=start,
            opts=ResourceOptions(parent=self),
        )
        mapping = aws.lambda_.EventSourceMapping(
            name,
            event_source_arn=queue.arn,
            function_name=self.function.arn,
            batch_size=options.batch_size,
            # A FIFO queue refuses any.
            maximum_batching_window_in_seconds=options.batching_window_seconds or None,
            function_response_types=["ReportBatchItemFailures"],
            # Not reserved concurrency: a throttled poller spends receives, and messages end as dead letters unseen.
            scaling_config=None
            if options.maximum_concurrency is None
            else {"maximum_concurrency": options.maximum_concurrency},
            # The circuit breaker switches it off and on: that is no drift to be put right.
            opts=ResourceOptions(parent=self, depends_on=[self.function], ignore_changes=["enabled"]),
        )
        self.mapping_id = mapping.uuid
        self.mapping_arn = mapping.arn
        self.register_outputs({"function": self.function.name})
