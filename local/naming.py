"""Physical names as Pulumi's AWS provider makes them: the logical name and 7 hex digits.

The digits are not random but a digest of the resource's URN, so that a second run gives the same names, and two stacks
never share one.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from local.errors import LocalError

SUFFIX_LENGTH = 7

# The input that holds a type's physical name, and the maximum length on AWS.
NAMED: Mapping[str, tuple[str, int]] = {
    "aws:apigateway/apiKey:ApiKey": ("name", 1_024),
    "aws:apigateway/restApi:RestApi": ("name", 128),
    "aws:apigateway/usagePlan:UsagePlan": ("name", 128),
    "aws:apigatewayv2/api:Api": ("name", 128),
    "aws:apigatewayv2/authorizer:Authorizer": ("name", 128),
    "aws:apigatewayv2/stage:Stage": ("name", 128),
    "aws:cloudwatch/eventBus:EventBus": ("name", 256),
    "aws:cloudwatch/eventRule:EventRule": ("name", 64),
    "aws:cloudwatch/logGroup:LogGroup": ("name", 512),
    "aws:cloudwatch/metricAlarm:MetricAlarm": ("name", 255),
    "aws:cloudwatch/queryDefinition:QueryDefinition": ("name", 255),
    "aws:dynamodb/table:Table": ("name", 255),
    "aws:ec2/securityGroup:SecurityGroup": ("name", 255),
    "aws:iam/role:Role": ("name", 64),
    "aws:iam/rolePolicy:RolePolicy": ("name", 128),
    "aws:lambda/alias:Alias": ("name", 128),
    "aws:lambda/function:Function": ("name", 64),
    "aws:s3/bucket:Bucket": ("bucket", 63),
    "aws:scheduler/schedule:Schedule": ("name", 64),
    "aws:sns/topic:Topic": ("name", 256),
    "aws:ssm/parameter:Parameter": ("name", 1_011),
    "aws:sqs/queue:Queue": ("name", 80),
}


def physical_name(kind: str, name: str, urn: str, inputs: Mapping[str, Any]) -> str:
    """Return the program's name, or else the provider's. Raises LocalError for one that is too long."""
    if kind not in NAMED:
        return name
    key, longest = NAMED[kind]
    given = inputs.get(key)
    chosen = str(given) if given is not None else f"{name}-{hashlib.sha256(urn.encode()).hexdigest()[:SUFFIX_LENGTH]}"
    if given is None and key == "bucket":
        chosen = chosen.lower()
    if given is None and inputs.get("fifoQueue", inputs.get("fifoTopic")):
        chosen += ".fifo"
    if len(chosen) > longest:
        raise LocalError(f"the name {chosen!r} has {len(chosen)} characters; AWS allows {longest}")
    return chosen
