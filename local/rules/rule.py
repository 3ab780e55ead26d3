"""Rules and findings, and short names for resource types."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from local.monitor import Registration
from local.recording import Graph

Problem = tuple[Registration, str]
Check = Callable[[Graph], Iterator[Problem]]

FUNCTION, QUEUE, TOPIC = "aws:lambda/function:Function", "aws:sqs/queue:Queue", "aws:sns/topic:Topic"
TABLE, BUCKET, LOG_GROUP = "aws:dynamodb/table:Table", "aws:s3/bucket:Bucket", "aws:cloudwatch/logGroup:LogGroup"
PERMISSION, EVENT_BUS = "aws:lambda/permission:Permission", "aws:cloudwatch/eventBus:EventBus"
HTTP_API, HTTP_STAGE = "aws:apigatewayv2/api:Api", "aws:apigatewayv2/stage:Stage"
REST_API, REST_STAGE = "aws:apigateway/restApi:RestApi", "aws:apigateway/stage:Stage"
ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"
ROLE, ROLE_POLICY, KEY = "aws:iam/role:Role", "aws:iam/rolePolicy:RolePolicy", "aws:kms/key:Key"
INVOKE_CONFIG = "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig"
BUCKET_ENCRYPTION = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
MAPPING, SCHEDULE = "aws:lambda/eventSourceMapping:EventSourceMapping", "aws:scheduler/schedule:Schedule"
SUBSCRIPTION, EVENT_TARGET = "aws:sns/topicSubscription:TopicSubscription", "aws:cloudwatch/eventTarget:EventTarget"


@dataclass(frozen=True)
class Rule:
    """A rule. `check` yields resources and what is wrong with them."""

    name: str
    why: str
    fix: str
    check: Check


@dataclass(frozen=True)
class Finding:
    """A resource that breaks a rule. `accepted` is the reason if the stack file accepts it."""

    type: str
    name: str
    rule: str
    found: str
    fix: str
    why: str
    accepted: str | None = None


RULES: list[Rule] = []


def rule(name: str, *, fix: str, why: str) -> Callable[[Check], Check]:
    """Register a check."""

    def register(check: Check) -> Check:
        RULES.append(Rule(name, why, fix, check))
        return check

    return register
