"""What pauses a worker while its downstream is out: the right to, and the function that looks after it each minute."""

from collections.abc import Iterable, Mapping

import pulumi
import pulumi_aws as aws
from pulumi import Input, ResourceOptions

from components.function import Runtime, Size
from components.grants import Grant, policy_document
from components.options.common import PolledOptions
from components.scheduled_function import ScheduledFunction, Timetable
from components.worker import Worker

# What the worker does by the policy that CircuitBreaker makes: its network must lead there before.
CALLED_BY_WORKER = Grant(("ssm:GetParameter", "lambda:UpdateEventSourceMapping"), (), in_later_policy=True)


def mapping_parameter_name(service: str, name: str) -> str:
    """The SSM parameter that names the worker's event source mapping to the worker.

    A name of our own making: the mapping needs the function, so the function cannot be told the mapping's id, nor the
    name of anything that is made after it.
    """
    # Not the project's name first: SSM keeps names that begin with aws or ssm to itself.
    return f"/datapipeline/{service}/{name}/event-source-mapping"


class CircuitBreaker(pulumi.ComponentResource):
    """Lets a worker switch its own event source mapping off, and has a function look each minute.

    `grants` and `environment` are the worker's own: the function runs the worker's code on a probe.
    """

    def __init__(
        self,
        name: str,
        options: PolledOptions,
        *,
        worker: Worker,
        parameter_name: str,
        code: pulumi.Archive,
        runtime: Runtime,
        grants: Iterable[Grant],
        environment: Mapping[str, Input[str]],
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__("datapipeline:index:CircuitBreaker", name, None, opts)
        child = ResourceOptions(parent=self)
        parameter = aws.ssm.Parameter(name, name=parameter_name, type="String", value=worker.mapping_id, opts=child)
        finds = Grant(("ssm:GetParameter",), (parameter.arn,), why="find the event source mapping")
        # A policy of its own: the worker's first one is there before the mapping is.
        aws.iam.RolePolicy(
            f"{name}-pause",
            role=worker.function.role_name,
            policy=policy_document(
                [finds, Grant(("lambda:UpdateEventSourceMapping",), (worker.mapping_arn,), why="pause the worker")],
                key_arn=None,
            ),
            opts=child,
        )
        self.scheduled = ScheduledFunction(
            name,
            {"every-minute": Timetable("rate(1 minute)", stopped_after_seconds=300)},
            handler="handlers.api.breaker.handler",
            code=code,
            runtime=runtime,
            size=Size(options.memory_mb, options.timeout_seconds),
            grants=[
                *grants,
                finds,
                Grant(
                    ("lambda:GetEventSourceMapping", "lambda:UpdateEventSourceMapping"),
                    (worker.mapping_arn,),
                    why="pause the worker and end the pause",
                ),
            ],
            environment=environment,
            opts=child,
        )
        self.register_outputs({"function": self.scheduled.function.name})
