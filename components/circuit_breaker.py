"""The circuit breaker: it pauses a worker while the processor's downstream is out."""

from collections.abc import Iterable, Mapping, Sequence

import pulumi
import pulumi_aws as aws
from pulumi import Input, ResourceOptions

from components.function import Size
from components.grants import Grant, policy_document
from components.observability import Alarm, counts_panel, own_metric
from components.options.api import ApiPipelineConfig, WorkerOptions
from components.part import Part
from components.queue import Queue
from components.runtime import Runtime
from components.scheduled_function import ScheduledFunction, Timetable
from components.table import Table
from components.worker import Worker

HANDLER = "handlers.api.worker.handler"
# The item that handlers/api/circuit.py keeps.
CIRCUIT_ITEM = "circuit#processor"

KEY_COUNTS = ("CircuitKeysOpened", "CircuitKeysHeld")

# Allowed by the policy that CircuitBreaker creates later; the worker's network must lead to both services before.
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
        options: WorkerOptions,
        *,
        worker: Worker,
        parameter_name: str,
        runtime: Runtime,
        grants: Iterable[Grant],
        environment: Mapping[str, Input[str]],
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__("datapipeline:index:CircuitBreaker", name, None, opts)
        child = ResourceOptions(parent=self)
        parameter = aws.ssm.Parameter(name, name=parameter_name, type="String", value=worker.mapping_id, opts=child)
        finds = Grant(("ssm:GetParameter",), (parameter.arn,), why="find the event source mapping")
        # An update can point a mapping at another function, which would then take the queue's messages.
        of_the_worker = {"ArnLikeIfExists": {"lambda:FunctionArn": worker.function.arn}}
        # A policy of its own: the worker's first one is there before the mapping is.
        aws.iam.RolePolicy(
            f"{name}-pause",
            role=worker.function.role_name,
            policy=policy_document(
                [
                    finds,
                    Grant(
                        ("lambda:UpdateEventSourceMapping",),
                        (worker.mapping_arn,),
                        condition=of_the_worker,
                        why="pause the worker",
                    ),
                ],
                key_arn=None,
            ),
            opts=child,
        )
        self.scheduled = ScheduledFunction(
            name,
            {"every-minute": Timetable("rate(1 minute)", stopped_after_seconds=300)},
            handler="handlers.api.breaker.handler",
            runtime=runtime,
            size=Size.of(options),
            grants=[
                *grants,
                finds,
                Grant(
                    ("lambda:GetEventSourceMapping", "lambda:UpdateEventSourceMapping"),
                    (worker.mapping_arn,),
                    condition=of_the_worker,
                    why="pause the worker and end the pause",
                ),
            ],
            environment=environment,
            opts=child,
        )
        self.register_outputs({"function": self.scheduled.function.name})


def guarded_worker(
    name: str,
    config: ApiPipelineConfig,
    grants: Sequence[Grant],
    *,
    queue: Queue,
    table: Table,
    runtime: Runtime,
    environment: Mapping[str, Input[str]],
) -> tuple[Worker, Part]:
    """The worker of the queue, with a circuit breaker if its options have one.

    `grants` and `environment` are for the code that processes events, in the worker and in the breaker's probes.
    """
    breaker = config.worker.circuit_breaker
    if breaker is None:
        worker = Worker(
            f"{name}-worker",
            queue,
            handler=HANDLER,
            runtime=runtime,
            grants=grants,
            environment=environment,
            opts=runtime.opts,
        )
        return worker, Part()
    parameter_name = mapping_parameter_name(runtime.service, name)
    environment = {
        **environment,
        "CIRCUIT_FAILURE_THRESHOLD": str(breaker.failure_threshold),
        "CIRCUIT_RECOVERY_SECONDS": str(breaker.recovery_seconds),
        "CIRCUIT_KEY_FAILURE_THRESHOLD": str(breaker.key_failure_threshold),
        **({} if breaker.key_field is None else {"CIRCUIT_KEY_FIELD": breaker.key_field}),
        "MAXIMUM_CONCURRENCY": str(config.worker.maximum_concurrency),
        "MAPPING_PARAMETER": parameter_name,
    }
    keeps = table.grant_keep(CIRCUIT_ITEM)
    worker = Worker(
        f"{name}-worker",
        queue,
        handler=HANDLER,
        runtime=runtime,
        grants=[*grants, keeps, CALLED_BY_WORKER],
        environment=environment,
        opts=runtime.opts,
    )
    circuit = CircuitBreaker(
        f"{name}-breaker",
        config.worker,
        worker=worker,
        parameter_name=parameter_name,
        runtime=runtime,
        grants=[queue.grant_consume(), *grants, keeps],
        environment=environment,
        opts=runtime.opts,
    )
    return worker, _breaker_part(circuit.scheduled, config, service=runtime.service)


def _breaker_part(scheduled: ScheduledFunction, config: ApiPipelineConfig, *, service: str) -> Part:
    opened = Alarm(
        "The circuit is open: what the processor calls is out, and the worker takes no messages.",
        own_metric("CircuitOpen", service, "Maximum"),
        threshold=1,
        section="circuit-open",
        step="worker",
        severity="critical",
        period_seconds=60,
        latched=True,
    )
    held = Alarm(
        "Events of a key are held back: what the processor calls for it is out.",
        own_metric("CircuitKeysHeld", service, "Maximum"),
        threshold=1,
        section="circuit-keys",
        step="worker",
        periods=3,
        latched=True,
    )
    breaker = config.worker.circuit_breaker
    by_key = breaker is not None and breaker.key_field is not None
    return Part(
        functions=[scheduled.function],
        alarms={
            "circuit-open": opened,
            **({"circuit-keys": held} if by_key else {}),
            **scheduled.alarms("breaker", config.alarms),
        },
        panels=[counts_panel("Circuit", service, "CircuitOpened", "CircuitClosed", *(KEY_COUNTS if by_key else ()))],
    )
