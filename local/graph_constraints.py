"""AWS's constraints on the inputs of a graph, for types whose inputs are named as the members of one request.

The local pipeline checks every request that it sends. This checks a graph without sending anything.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import botocore.session

from local.constraints import violations
from local.monitor import Registration
from local.naming import NAMED

# The service and the operation that makes a resource of the type, and the inputs that are named otherwise there.
REQUESTS: Mapping[str, tuple[str, str, Mapping[str, str]]] = {
    "aws:apigateway/integration:Integration": (
        "apigateway",
        "PutIntegration",
        {"restApi": "restApiId", "timeoutMilliseconds": "timeoutInMillis"},
    ),
    "aws:apigatewayv2/api:Api": ("apigatewayv2", "CreateApi", {}),
    "aws:apigatewayv2/integration:Integration": (
        "apigatewayv2",
        "CreateIntegration",
        {"timeoutMilliseconds": "timeoutInMillis"},
    ),
    "aws:apigatewayv2/route:Route": ("apigatewayv2", "CreateRoute", {}),
    "aws:cloudwatch/eventBus:EventBus": ("events", "CreateEventBus", {}),
    "aws:cloudwatch/logGroup:LogGroup": ("logs", "CreateLogGroup", {"name": "logGroupName"}),
    "aws:cloudwatch/metricAlarm:MetricAlarm": (
        "cloudwatch",
        "PutMetricAlarm",
        {"name": "AlarmName", "metricQueries": "Metrics"},
    ),
    "aws:dynamodb/table:Table": (
        "dynamodb",
        "CreateTable",
        {"name": "TableName", "attributes": "AttributeDefinitions"},
    ),
    "aws:iam/role:Role": ("iam", "CreateRole", {"name": "RoleName", "assumeRolePolicy": "AssumeRolePolicyDocument"}),
    "aws:iam/rolePolicy:RolePolicy": (
        "iam",
        "PutRolePolicy",
        {"name": "PolicyName", "role": "RoleName", "policy": "PolicyDocument"},
    ),
    "aws:kms/key:Key": ("kms", "CreateKey", {}),
    "aws:lambda/alias:Alias": ("lambda", "CreateAlias", {}),
    "aws:lambda/eventSourceMapping:EventSourceMapping": ("lambda", "CreateEventSourceMapping", {}),
    "aws:lambda/function:Function": ("lambda", "CreateFunction", {"name": "FunctionName"}),
    "aws:lambda/layerVersion:LayerVersion": ("lambda", "PublishLayerVersion", {}),
    "aws:lambda/permission:Permission": ("lambda", "AddPermission", {"function": "FunctionName"}),
    "aws:scheduler/schedule:Schedule": ("scheduler", "CreateSchedule", {}),
    "aws:sns/topic:Topic": ("sns", "CreateTopic", {}),
    "aws:ssm/parameter:Parameter": ("ssm", "PutParameter", {}),
}


def request_violations(resource: Registration) -> Iterator[str]:
    """Yield what AWS would refuse in the inputs of a resource, with the name of the request's member."""
    if resource.type not in REQUESTS:
        return
    service, operation, renamed = REQUESTS[resource.type]
    shape = _session().get_service_model(service).operation_model(operation).input_shape
    inputs = {**resource.inputs, "tags": dict(resource.tags)}
    if resource.type in NAMED:
        inputs[NAMED[resource.type][0]] = resource.physical_name
    given = {renamed.get(name, name): value for name, value in inputs.items()}
    yield from violations(shape, _as_members(shape, given))


@cache
def _session() -> botocore.session.Session:
    return botocore.session.Session()


def _as_members(shape: Any, value: Any) -> Any:
    """Return a value with a shape's members for the inputs of the same name in any case."""
    if shape.type_name == "structure" and isinstance(value, Mapping):
        names = {name.lower(): name for name in shape.members}
        return {
            names[key.lower()]: _as_members(shape.members[names[key.lower()]], item)
            for key, item in value.items()
            if key.lower() in names
        }
    if shape.type_name == "list":
        if isinstance(value, list):
            return [_as_members(shape.member, item) for item in value]
        if isinstance(value, Mapping) and shape.member.type_name == "structure":
            # Tags and dimensions: a map here, a list of pairs in some requests.
            pairs = ({"key": key, "name": key, "value": item} for key, item in value.items())
            return [_as_members(shape.member, pair) for pair in pairs]
    return value
