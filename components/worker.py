"""The function behind a queue."""

from collections.abc import Iterable, Mapping
from typing import TypedDict

import pulumi
import pulumi_aws as aws
from pulumi import Input, ResourceOptions

from components.function import Function, Size
from components.grants import Grant
from components.options.common import PolledOptions, StartOptions
from components.queue import Queue
from components.runtime import Runtime


class Worker(pulumi.ComponentResource):
    """Takes a queue's messages in batches; only failed messages return to the queue.

    Its options are the queue's `consumer`, so that timeouts and batching window agree on both sides.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
    """

    def __init__(
        self,
        name: str,
        queue: Queue,
        *,
        handler: str,
        runtime: Runtime,
        grants: Iterable[Grant],
        environment: Mapping[str, Input[str]],
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__("datapipeline:index:Worker", name, None, opts)
        options = queue.consumer
        self.function = Function(
            name,
            handler=handler,
            runtime=runtime,
            size=Size.of(options),
            grants=[queue.grant_consume(), *grants],
            environment=environment,
            start=options if isinstance(options, StartOptions) else None,
            opts=ResourceOptions(parent=self),
        )
        mapping = aws.lambda_.EventSourceMapping(
            name,
            event_source_arn=queue.arn,
            function_name=self.function.arn,
            batch_size=options.batch_size,
            # A FIFO queue accepts none.
            maximum_batching_window_in_seconds=options.batching_window_seconds or None,
            function_response_types=["ReportBatchItemFailures"],
            **_scaling(options),
            # The circuit breaker disables and enables it; `pulumi up` must not revert that.
            opts=ResourceOptions(parent=self, depends_on=[self.function], ignore_changes=["enabled"]),
        )
        self.mapping_id = mapping.uuid
        self.mapping_arn = mapping.arn
        self.register_outputs({"function": self.function.name})


class _Scaling(TypedDict, total=False):
    scaling_config: aws.lambda_.EventSourceMappingScalingConfigArgsDict
    provisioned_poller_config: aws.lambda_.EventSourceMappingProvisionedPollerConfigArgsDict


def _scaling(options: PolledOptions) -> _Scaling:
    """Return the limit on batches at the same time, in the one of two forms that AWS accepts."""
    if pollers := options.provisioned_pollers:
        return {"provisioned_poller_config": {"minimum_pollers": pollers.minimum, "maximum_pollers": pollers.maximum}}
    # Not reserved concurrency: a throttled poller spends receives, which dead-letters messages unprocessed.
    return {"scaling_config": {"maximum_concurrency": options.maximum_concurrency}}
