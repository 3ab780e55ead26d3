"""A Lambda function with its role, the policy its grants add up to, and its log group."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.encryption import Key
from components.grants import Grant, merged_environment, policy_document, services_called
from components.observability import METRICS_NAMESPACE, Alarm, Metric, Panel, rate_of
from components.options.common import FREE_STORAGE_MB, FunctionAlarmOptions, LogOptions, PolledOptions, StartOptions
from components.package import ARCHITECTURE, RUNTIME
from components.runtime import Runtime


@dataclass(frozen=True)
class Size:
    """Memory, time and concurrency limits of a function."""

    memory_mb: int
    timeout_seconds: int
    ephemeral_storage_mb: int = FREE_STORAGE_MB
    """Size of `/tmp`."""
    reserved_concurrency: int | None = None
    """How many run at the same time, at most; None is without a limit of the function's own."""

    @classmethod
    def of(cls, options: PolledOptions) -> Self:
        """Return the size of a function that polls a queue."""
        return cls(options.memory_mb, options.timeout_seconds, options.ephemeral_storage_mb)


def role_policy(
    name: str, role: aws.iam.Role, grants: Iterable[Grant], key: Key | None, *, opts: ResourceOptions
) -> aws.iam.RolePolicy:
    """Policy of a role. With a customer key it includes the key's use, and the key's policy names the role."""
    if key is not None:
        key.used_by(role.arn)
    document = policy_document(grants, key_arn=None if key is None else key.arn)
    return aws.iam.RolePolicy(name, role=role.id, policy=document, opts=opts)


class Function(pulumi.ComponentResource):
    """A Lambda function that can do what its grants say and nothing else.

    `handler` is `package.module.function` inside `code`. The environment is the grants' and `environment` together.
    `arn` and `invoke_arn` are of what is to be invoked: the function, or, where `start` asks for environments that are
    ready, an alias of its newest version, which `qualifier` then names.
    """

    def __init__(
        self,
        name: str,
        *,
        handler: str,
        runtime: Runtime,
        size: Size,
        grants: Iterable[Grant],
        environment: Mapping[str, Input[str]],
        start: StartOptions | None = None,
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__("datapipeline:index:Function", name, None, opts)
        start = start or StartOptions()
        versioned = start.snap_start or start.provisioned_concurrency is not None
        child = ResourceOptions(parent=self)
        log_group = aws.cloudwatch.LogGroup(name, retention_in_days=runtime.logs.retention_days, opts=child)
        grants = [*grants, _grant_logs(log_group), *_grants_tracing(tracing=runtime.tracing)]
        network = runtime.network
        ways = [] if network is None else network.ways_to(services_called(grants))
        grants += [] if network is None else [_INTERFACES]
        role = aws.iam.Role(name, assume_role_policy=_ASSUMED_BY_LAMBDA, opts=child)
        policy = role_policy(name, role, grants, runtime.key, opts=child)
        variables = merged_environment(
            [*grants, Grant((), (), environment), Grant((), (), _powertools(runtime.service, runtime.logs))],
        )
        function = aws.lambda_.Function(
            name,
            runtime=RUNTIME,
            architectures=[ARCHITECTURE],
            handler=handler,
            code=runtime.sources.archive(handler),
            layers=runtime.layers,
            role=role.arn,
            memory_size=size.memory_mb,
            timeout=size.timeout_seconds,
            # Always, because AWS keeps the last size of a function that no longer names one.
            ephemeral_storage={"size": size.ephemeral_storage_mb},
            reserved_concurrent_executions=size.reserved_concurrency,
            environment={"variables": variables},
            logging_config={"log_format": "Text", "log_group": log_group.name},
            publish=versioned or None,
            snap_start={"apply_on": "PublishedVersions"} if start.snap_start else None,
            tracing_config={"mode": "Active" if runtime.tracing else "PassThrough"},
            vpc_config=None
            if network is None
            else {"subnet_ids": network.subnet_ids, "security_group_ids": network.security_group_ids},
            # Without the policy an event source mapping can be created before the role may read its queue; without the
            # ways out the first events would wait for calls that get no answer.
            opts=ResourceOptions(parent=self, depends_on=[policy, *ways]),
        )
        self.name = function.name
        self.log_group_name = log_group.name
        self.arn = function.arn
        self.invoke_arn = function.invoke_arn
        self.role_name = role.name
        self.qualifier: Output[str] | None = None
        if versioned:
            alias = self._alias(name, function, start.provisioned_concurrency)
            self.arn, self.invoke_arn, self.qualifier = alias.arn, alias.invoke_arn, alias.name
        self.timeout_seconds = size.timeout_seconds
        self.register_outputs({"name": self.name, "arn": self.arn})

    def metric(self, name: str, statistic: str) -> Metric:
        """One of Lambda's metrics of the function."""
        return Metric("AWS/Lambda", name, {"FunctionName": self.name}, statistic)

    def alarms(self, label: str, options: FunctionAlarmOptions) -> dict[str, Alarm]:
        """Alarms on errors, throttles and duration; `label` is the function's name in them."""
        return {
            f"{label}-errors": Alarm(
                f"Too many runs of the {label} function end in an error.",
                rate_of(self.metric("Errors", "Sum"), self.metric("Invocations", "Sum")),
                threshold=options.error_rate_percent,
                section="errors",
                step=label,
                severity="critical",
            ),
            f"{label}-throttles": Alarm(
                f"Lambda refuses to run the {label} function: the concurrency limit is reached.",
                self.metric("Throttles", "Sum"),
                threshold=1,
                section="throttles",
                step=label,
                severity="critical",
            ),
            f"{label}-duration": Alarm(
                f"Runs of the {label} function come near its timeout.",
                self.metric("Duration", "Maximum"),
                threshold=self.timeout_seconds * 1_000 * options.duration_percent_of_timeout / 100,
                section="duration",
                step=label,
            ),
        }

    def _alias(
        self, name: str, function: aws.lambda_.Function, provisioned_concurrency: int | None
    ) -> aws.lambda_.Alias:
        """Alias of the newest version: only versions can have provisioned concurrency; each deployment makes a new one.

        https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html
        """
        child = ResourceOptions(parent=self)
        alias = aws.lambda_.Alias(name, function_name=function.name, function_version=function.version, opts=child)
        if provisioned_concurrency is not None:
            aws.lambda_.ProvisionedConcurrencyConfig(
                name,
                function_name=function.name,
                qualifier=alias.name,
                provisioned_concurrent_executions=provisioned_concurrency,
                opts=child,
            )
        return alias


def functions_panel(functions: Sequence[Function]) -> Panel:
    """Runs of functions, errors and throttled runs."""
    names = ("Invocations", "Errors", "Throttles")
    return Panel("Functions", [function.metric(name, "Sum") for function in functions for name in names])


_ASSUMED_BY_LAMBDA = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"},
        ],
    },
)


def _powertools(service: str, logs: LogOptions) -> dict[str, Input[str]]:
    return {
        "POWERTOOLS_SERVICE_NAME": service,
        "POWERTOOLS_METRICS_NAMESPACE": METRICS_NAMESPACE,
        "POWERTOOLS_LOG_LEVEL": logs.level,
    }


def _grant_logs(group: aws.cloudwatch.LogGroup) -> Grant:
    resources = (pulumi.Output.concat(group.arn, ":*"),)
    return Grant(("logs:CreateLogStream", "logs:PutLogEvents"), resources, why="write logs", used_by_lambda=True)


def _grants_tracing(*, tracing: bool) -> list[Grant]:
    # X-Ray has no resources to name: https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsx-ray.html
    return [Grant(("xray:PutTraceSegments", "xray:PutTelemetryRecords"), ("*",), why="send traces")] if tracing else []


# Lambda connects a function to a VPC with the function's own role, and these actions take no resource that is known
# before. The code must not use them: a request that it makes carries the function's ARN, one of Lambda does not.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html#configuration-vpc-permissions
_INTERFACES = Grant(
    (
        "ec2:CreateNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSubnets",
        "ec2:DeleteNetworkInterface",
        "ec2:AssignPrivateIpAddresses",
        "ec2:UnassignPrivateIpAddresses",
    ),
    ("*",),
    condition={"Null": {"lambda:SourceFunctionArn": "true"}},
    why="be connected to the network",
    used_by_lambda=True,
)


def log_groups(pipeline: str, functions: Iterable[Function]) -> Output[dict[str, str]]:
    """Return the log groups of functions by their names (`worker`), for `pipeline logs`."""
    groups = {
        function.pulumi_resource_name.removeprefix(f"{pipeline}-"): function.log_group_name for function in functions
    }
    return Output.all(**groups)
