"""ARNs and addresses that follow from a name, shared by the emulator's resources and recorded ones."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Inputs = Mapping[str, Any]


@dataclass(frozen=True)
class Scope:
    """An account and a region."""

    account: str
    region: str

    def arn(self, service: str, resource: str) -> str:
        """Return the ARN of a resource (`table/events`) of a service."""
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"

    def execution_arn(self, api_id: str) -> str:
        """Return the source ARN of a permission for an API, without stage and route."""
        return self.arn("execute-api", api_id)

    def rule_path(self, name: str, bus: str | None) -> str:
        """Return the path of a rule in ids and ARNs: below its bus, unless that is the default one."""
        return name if bus in (None, "default") else f"{bus}/{name}"

    def invoke_arn(self, function_arn: str) -> str:
        """Return the URI of an API's integration with a function."""
        return f"arn:aws:apigateway:{self.region}:lambda:path/2015-03-31/functions/{function_arn}/invocations"


# The ARN of a resource, for types whose ARN follows from the name.
ARNS: Mapping[str, Callable[[Scope, str], str]] = {
    "aws:cloudwatch/eventBus:EventBus": lambda scope, name: scope.arn("events", f"event-bus/{name}"),
    "aws:cloudwatch/logGroup:LogGroup": lambda scope, name: scope.arn("logs", f"log-group:{name}"),
    "aws:cloudwatch/metricAlarm:MetricAlarm": lambda scope, name: scope.arn("cloudwatch", f"alarm:{name}"),
    "aws:dynamodb/table:Table": lambda scope, name: scope.arn("dynamodb", f"table/{name}"),
    "aws:iam/role:Role": lambda scope, name: f"arn:aws:iam::{scope.account}:role/{name}",
    "aws:lambda/function:Function": lambda scope, name: scope.arn("lambda", f"function:{name}"),
    "aws:s3/bucket:Bucket": lambda _scope, name: f"arn:aws:s3:::{name}",
    "aws:scheduler/schedule:Schedule": lambda scope, name: scope.arn("scheduler", f"schedule/default/{name}"),
    "aws:sns/topic:Topic": lambda scope, name: scope.arn("sns", name),
    "aws:ssm/parameter:Parameter": lambda scope, name: scope.arn("ssm", f"parameter/{name.removeprefix('/')}"),
    "aws:sqs/queue:Queue": lambda scope, name: scope.arn("sqs", name),
}
