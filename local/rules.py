"""Rules that a stack keeps, checked on its synthesised graph; a finding names resource, rule, what is wrong, and mend.

Each rule rests on an AWS document, which is its `why`. The rules look at what would be deployed, not at how the program
makes it, so they hold for transforms and for resources that somebody adds to `__main__.py`, too.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from components.options.common import AcceptedFinding
from local.monitor import STACK_TYPE, Registration
from local.recording import Graph

Problem = tuple[Registration, str]
Check = Callable[[Graph], Iterator[Problem]]
Statement = Mapping[str, Any]

FUNCTION, QUEUE, TOPIC = "aws:lambda/function:Function", "aws:sqs/queue:Queue", "aws:sns/topic:Topic"
TABLE, BUCKET, LOG_GROUP = "aws:dynamodb/table:Table", "aws:s3/bucket:Bucket", "aws:cloudwatch/logGroup:LogGroup"
PERMISSION, EVENT_BUS = "aws:lambda/permission:Permission", "aws:cloudwatch/eventBus:EventBus"
HTTP_API, HTTP_STAGE = "aws:apigatewayv2/api:Api", "aws:apigatewayv2/stage:Stage"
REST_API, REST_STAGE = "aws:apigateway/restApi:RestApi", "aws:apigateway/stage:Stage"
ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"
ROLE, ROLE_POLICY, KEY = "aws:iam/role:Role", "aws:iam/rolePolicy:RolePolicy", "aws:kms/key:Key"
BUCKET_ENCRYPTION = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
MAPPING, SCHEDULE = "aws:lambda/eventSourceMapping:EventSourceMapping", "aws:scheduler/schedule:Schedule"
SUBSCRIPTION, EVENT_TARGET = "aws:sns/topicSubscription:TopicSubscription", "aws:cloudwatch/eventTarget:EventTarget"

# Policies of resources, by type: of what, and the input that says of which.
RESOURCE_POLICIES: Mapping[str, tuple[str, str]] = {
    "aws:sqs/queuePolicy:QueuePolicy": (QUEUE, "queueUrl"),
    "aws:sns/topicPolicy:TopicPolicy": (TOPIC, "arn"),
    "aws:s3/bucketPolicy:BucketPolicy": (BUCKET, "bucket"),
}

# With these somebody gets at what a key encrypts, or lets others get at it.
KEY_USES = ("kms:Decrypt", "kms:ReEncryptFrom", "kms:GenerateDataKey", "kms:CreateGrant")

# Actions that AWS lets nobody limit to a resource, or to one that is known before.
UNLIMITED: Mapping[str, str] = {
    "xray:PutTraceSegments": "X-Ray has no resources to name",
    "xray:PutTelemetryRecords": "X-Ray has no resources to name",
    **dict.fromkeys(
        (
            "ec2:CreateNetworkInterface",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSubnets",
            "ec2:DeleteNetworkInterface",
            "ec2:AssignPrivateIpAddresses",
            "ec2:UnassignPrivateIpAddresses",
        ),
        "Lambda connects a function to a VPC with them; denied to its code by lambda:SourceFunctionArn",
    ),
}

SECRET_NAME = re.compile(
    r"(^|_)(SECRET|PASSWORD|PASSWD|TOKEN|CREDENTIALS?|PRIVATE_?KEY|API_?KEY|ACCESS_?KEY)(_|$)", re.IGNORECASE
)
# Keys of AWS, private keys, tokens of GitHub and Slack, addresses with a password in them.
SECRET_VALUE = re.compile(
    r"A[KS]IA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY|gh[pousr]_\w{36}|xox[abprs]-|://[^/\s:@]+:[^/\s@]+@"
)
# Where a secret is kept, instead of what it is.
REFERENCE = re.compile(r"arn:aws[a-z-]*:(ssm|secretsmanager):|/")


@dataclass(frozen=True)
class Rule:
    """`check` yields a resource and what is wrong with it."""

    name: str
    why: str
    mend: str
    check: Check


@dataclass(frozen=True)
class Finding:
    """A resource that does not keep a rule. `accepted`: why the stack's owner lets it stand, if he does."""

    type: str
    name: str
    rule: str
    found: str
    mend: str
    why: str
    accepted: str | None = None


RULES: list[Rule] = []


def rule(name: str, *, mend: str, why: str) -> Callable[[Check], Check]:
    """Registers a check."""

    def register(check: Check) -> Check:
        RULES.append(Rule(name, why, mend, check))
        return check

    return register


def findings(graph: Graph, accepted: Sequence[AcceptedFinding] = ()) -> list[Finding]:
    """What is wrong with a stack, by rule and resource; and what is accepted there and is not wrong (any more)."""
    found: list[Finding] = []
    met: set[AcceptedFinding] = set()
    for each in RULES:
        for resource, what in sorted(each.check(graph), key=lambda problem: problem[0].name):
            by = [one for one in accepted if one.rule == each.name and one.resource in (None, resource.name)]
            met.update(by)
            reason = by[0].reason if by else None
            found.append(Finding(resource.type, resource.name, each.name, what, each.mend, each.why, reason))
    return found + [_stale(one) for one in accepted if one not in met]


def _stale(one: AcceptedFinding) -> Finding:
    """Left where it is, it would accept what somebody breaks later on, unseen."""
    return Finding(
        type=STACK_TYPE,
        name="accepted_findings",
        rule="accepted-findings",
        found=f"{one.rule} of {one.resource or 'any resource'} is accepted, and nothing of it is found",
        mend="take the entry out of the stack file",
        why="https://docs.aws.amazon.com/securityhub/1.0/APIReference/API_Workflow.html",
    )


@rule(
    "encrypted-at-rest",
    mend="sqs_managed_sse_enabled or kms_master_key_id for a queue, a server-side encryption rule for a bucket",
    why="https://docs.aws.amazon.com/securityhub/latest/userguide/sqs-controls.html#sqs-1",
)
def _encrypted_at_rest(graph: Graph) -> Iterator[Problem]:
    # Tables and log groups are always encrypted; topics are by a key of the stack's own, or not kept at all.
    for queue in graph.of_type(QUEUE):
        if not (queue.inputs.get("sqsManagedSseEnabled") or queue.inputs.get("kmsMasterKeyId")):
            yield queue, "its messages are not encrypted"
    encrypted = {each.inputs["bucket"] for each in graph.of_type(BUCKET_ENCRYPTION) if each.inputs.get("rules")}
    for bucket in graph.of_type(BUCKET):
        if bucket.physical_name not in encrypted:
            yield bucket, "no rule says what its objects are encrypted with"


@rule(
    "customer-key",
    mend="make it below the component that has the key, so that components/encryption.py puts it under it",
    why="https://docs.aws.amazon.com/prescriptive-guidance/latest/encryption-best-practices/kms.html",
)
def _customer_key(graph: Graph) -> Iterator[Problem]:
    """Where something of a stack is under a key of its own, all its data is."""
    keys = graph.of_type(KEY)
    used: Mapping[str, Callable[[Mapping[str, Any]], object]] = {
        QUEUE: lambda inputs: inputs.get("kmsMasterKeyId"),
        TOPIC: lambda inputs: inputs.get("kmsMasterKeyId"),
        TABLE: lambda inputs: inputs.get("serverSideEncryption", {}).get("kmsKeyArn"),
        LOG_GROUP: lambda inputs: inputs.get("kmsKeyId"),
        FUNCTION: lambda inputs: inputs.get("kmsKeyArn"),
        EVENT_BUS: lambda inputs: inputs.get("kmsKeyIdentifier"),
        BUCKET_ENCRYPTION: lambda inputs: inputs["rules"][0]["applyServerSideEncryptionByDefault"].get(
            "kmsMasterKeyId"
        ),
    }
    data = [resource for resource in graph if resource.type in used]
    # A key that nothing here refers to is somebody else's: it says nothing about this stack's data.
    own = {key.urn for key in keys} & {urn for resource in data for urn in resource.dependencies}
    outside = _dead_letters_of_buses_alone(graph)
    for resource in data if own else ():
        if not used[resource.type](resource.inputs) and resource not in outside:
            yield resource, "the stack has a key of its own, and this is not encrypted with it"
    for key in keys:
        if not key.inputs.get("enableKeyRotation"):
            yield key, "it is never rotated"


@rule(
    "key-users",
    mend="a key policy that names who uses it (aws:PrincipalArn, kms:ViaService): components/encryption.py",
    why="https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-overview.html",
)
def _key_users(graph: Graph) -> Iterator[Problem]:
    for key in graph.of_type(KEY):
        # Without a policy, AWS gives it one that leaves everything to IAM.
        if "policy" not in key.inputs or any(map(_leaves_use_to_iam, _statements(key.inputs["policy"]))):
            yield key, "whoever may use all keys of the account may use this one"


def _leaves_use_to_iam(statement: Statement) -> bool:
    account = any(re.fullmatch(r"\d{12}|arn:[^:]+:iam::\d{12}:root", each) for each in _principals(statement))
    uses = any(fnmatchcase(use, action) for action in _listed(statement.get("Action", [])) for use in KEY_USES)
    return statement["Effect"] == "Allow" and account and uses and not statement.get("Condition")


@rule(
    "tls-only",
    mend="a policy that denies every request where aws:SecureTransport is false: components/policies.py",
    why="https://docs.aws.amazon.com/securityhub/latest/userguide/s3-controls.html#s3-5",
)
def _tls_only(graph: Graph) -> Iterator[Problem]:
    refused = {
        (_owner(policy), resource.rpartition(":")[2])
        for policy, statement in _resource_statements(graph)
        if statement["Effect"] == "Deny"
        and "*" in _principals(statement)
        and statement.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}}
        # A topic's policy cannot name all actions of SNS.
        and {"*", "s3:*", "sqs:*", "sns:publish"} & {one.lower() for one in _listed(statement.get("Action", []))}
        for resource in _listed(statement.get("Resource", []))
    }
    for resource in [*graph.of_type(QUEUE), *graph.of_type(BUCKET), *graph.of_type(TOPIC)]:
        name, owner = resource.physical_name, (resource.type, resource.physical_name)
        parts = {name, f"{name}/*"} if resource.type == BUCKET else {name}
        if not all({(owner, part), (owner, "*")} & refused for part in parts):
            yield resource, "it answers plain HTTP"


@rule(
    "log-retention",
    mend="retention_in_days for the log group, and the group's name in the function's logging_config",
    why="https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/Working-with-log-groups-and-streams.html",
)
def _log_retention(graph: Graph) -> Iterator[Problem]:
    groups = {group.physical_name for group in graph.of_type(LOG_GROUP)}
    for group in graph.of_type(LOG_GROUP):
        if not group.inputs.get("retentionInDays"):
            yield group, "what is written there is kept for ever"
    for function in graph.of_type(FUNCTION):
        if function.inputs.get("loggingConfig", {}).get("logGroup") not in groups:
            yield function, "it logs to a group that Lambda makes for it, which is kept for ever"


@rule(
    "no-wildcard-actions",
    mend="name the actions that are used",
    why="https://docs.aws.amazon.com/IAM/latest/UserGuide/best-practices.html#grant-least-privilege",
)
def _no_wildcard_actions(graph: Graph) -> Iterator[Problem]:
    for policy, statement in [*_role_statements(graph), *_resource_statements(graph)]:
        if statement["Effect"] != "Allow":
            continue
        for action in _listed(statement.get("Action", [])):
            if "*" in action:
                yield policy, f"it allows {action}"
        if "NotAction" in statement:
            yield policy, "it allows all actions but some"
    for permission in graph.of_type(PERMISSION):
        if "*" in permission.inputs["action"]:
            yield permission, f"it allows {permission.inputs['action']}"
    for role in graph.of_type(ROLE):
        for arn in role.inputs.get("managedPolicyArns", []):
            yield role, f"it has {arn}, which is about all resources there are"


@rule(
    "no-wildcard-resources",
    mend="name the resource; what AWS lets nobody limit stands with its reason in UNLIMITED of local/rules.py, "
    "an exception of your own in accepted_findings of the stack file",
    why="https://docs.aws.amazon.com/IAM/latest/UserGuide/best-practices.html#grant-least-privilege",
)
def _no_wildcard_resources(graph: Graph) -> Iterator[Problem]:
    parts = tuple(f"{arn}{separator}" for arn in graph.arns for separator in ":/")
    for policy, statement in _role_statements(graph):
        if statement["Effect"] != "Allow":
            continue
        if "NotResource" in statement:
            yield policy, "it allows something on all resources but some"
        limited = [action for action in _listed(statement.get("Action", [])) if action not in UNLIMITED]
        for resource in _listed(statement.get("Resource", [])) if limited else ():
            # `*` after something of this stack (`bucket/results/*`) is a part of that thing.
            if "*" in resource and not resource.startswith(parts):
                yield policy, f"it allows {', '.join(limited)} on {resource}"


@rule(
    "no-public-access",
    mend="block_public_acls and its three like, object ownership BucketOwnerEnforced, and nothing allowed to everybody",
    why="https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html",
)
def _no_public_access(graph: Graph) -> Iterator[Problem]:
    flags = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
    blocked = {
        each.inputs["bucket"]
        for each in graph.of_type("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock")
        if all(each.inputs.get(flag) is True for flag in flags)
    }
    owned = {
        each.inputs["bucket"]
        for each in graph.of_type("aws:s3/bucketOwnershipControls:BucketOwnershipControls")
        if each.inputs["rule"]["objectOwnership"] == "BucketOwnerEnforced"
    }
    for bucket in graph.of_type(BUCKET):
        if bucket.physical_name not in blocked:
            yield bucket, "public access to it is not blocked"
        if bucket.physical_name not in owned:
            yield bucket, "objects in it can have access lists of their own"
    for policy, statement in _trusting_statements(graph):
        if _allows_everybody(statement, _CALLERS):
            yield policy, "it allows something to everybody"
    for permission in graph.of_type(PERMISSION):
        if permission.inputs["principal"] == "*":
            yield permission, "it allows everybody to invoke the function"


@rule(
    "confused-deputy",
    mend="aws:SourceAccount, or a source ARN with the account in it",
    why="https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html",
)
def _confused_deputy(graph: Graph) -> Iterator[Problem]:
    """Where a service acts for somebody, it is said for whom: it would do so for any account's resources otherwise."""
    for policy, statement in _trusting_statements(graph):
        # Only functions of this account get the role, from whoever may pass it to them:
        # https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_passrole.html
        services = _principals(statement, "Service") - {"lambda.amazonaws.com"}
        if statement["Effect"] == "Allow" and services and not _names_account(statement.get("Condition", {})):
            yield policy, f"it serves {', '.join(sorted(services))} whoever it acts for"
    for permission in graph.of_type(PERMISSION):
        inputs = permission.inputs
        source = str(inputs.get("sourceArn", ""))
        if inputs["principal"].endswith(".amazonaws.com") and not (
            (source and inputs.get("sourceAccount")) or _ACCOUNT_IN_ARN.match(source)
        ):
            yield permission, f"it serves {inputs['principal']} whoever it acts for"


@rule(
    "queue-dead-letters",
    mend="redrive_policy",
    why="https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html#events-sqs-queueconfig",
)
def _queue_dead_letters(graph: Graph) -> Iterator[Problem]:
    redriven = {queue.physical_name for queue in graph.of_type(QUEUE) if "redrivePolicy" in queue.inputs}
    for policy in graph.of_type("aws:sqs/redrivePolicy:RedrivePolicy"):
        redriven.add(policy.inputs["queueUrl"].rpartition("/")[2])
    fed = {_of_arn(mapping.inputs.get("eventSourceArn", "")) for mapping in graph.of_type(MAPPING)}
    for queue in graph.of_type(QUEUE):
        if ("sqs", queue.physical_name) in fed and queue.physical_name not in redriven:
            yield queue, "it gives its function a message that fails again and again"


@rule(
    "failed-events",
    mend="an on_failure destination in an aws.lambda_.FunctionEventInvokeConfig, or dead_letter_config; "
    "for a stream, in its event source mapping",
    why="https://docs.aws.amazon.com/lambda/latest/dg/invocation-retries.html",
)
def _failed_events(graph: Graph) -> Iterator[Problem]:
    kept = {
        _of_arn(each.inputs["functionName"])[1]
        for each in graph.of_type("aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig")
        if "onFailure" in each.inputs.get("destinationConfig", {})
    }
    asynchronous = _invoked_asynchronously(graph)
    for function in graph.of_type(FUNCTION):
        if function.physical_name in asynchronous - kept and "deadLetterConfig" not in function.inputs:
            yield function, "it is invoked asynchronously, and events that it fails on are lost"
    for mapping in graph.of_type(MAPPING):
        service, _ = _of_arn(mapping.inputs.get("eventSourceArn", ""))
        if service in ("dynamodb", "kinesis") and "onFailure" not in mapping.inputs.get("destinationConfig", {}):
            yield mapping, "records of the stream that the function fails on are lost"


@rule(
    "undelivered-events",
    mend="dead_letter_config for a schedule's target, a rule's and a bus with a key; redrive_policy for a subscription",
    why="https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html",
)
def _undelivered_events(graph: Graph) -> Iterator[Problem]:
    edges = [
        *((each, "deadLetterConfig" in each.inputs["target"]) for each in graph.of_type(SCHEDULE)),
        *((each, "deadLetterConfig" in each.inputs) for each in graph.of_type(EVENT_TARGET)),
        *(
            (each, "redrivePolicy" in each.inputs)
            for each in graph.of_type(SUBSCRIPTION)
            # People look for themselves.
            if each.inputs["protocol"] not in ("email", "email-json", "sms")
        ),
    ]
    for edge, kept in edges:
        if not kept:
            yield edge, "what cannot be delivered is lost"
    # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-encryption-event-bus-dlq.html
    keys = {queue.physical_name: queue.inputs.get("kmsMasterKeyId") for queue in graph.of_type(QUEUE)}
    for bus in graph.of_type(EVENT_BUS):
        if key := bus.inputs.get("kmsKeyIdentifier"):
            kept_with = [keys.get(name) for name in _dead_letter_targets([bus])]
            if not kept_with:
                yield bus, "events that it cannot encrypt or decrypt are lost"
            elif key in kept_with:
                yield bus, "its dead letters are under its own key, and cannot be put there when that does not work"


@rule(
    "dead-letter-alarm",
    mend="an alarm on AWS/SQS ApproximateNumberOfMessagesVisible of this QueueName, at 1 message: "
    "dead_letters_alarm of components/observability.py",
    why="https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html",
)
def _dead_letter_alarm(graph: Graph) -> Iterator[Problem]:
    watched = [alarm.inputs.get("dimensions") for alarm in graph.of_type(ALARM) if _rings_at_first_message(alarm)]
    targets = set(_dead_letter_targets(graph))
    for queue in graph.of_type(QUEUE):
        # With another dimension besides, it is a metric that SQS does not have.
        if queue.physical_name in targets and {"QueueName": queue.physical_name} not in watched:
            yield queue, "no alarm rings when the first dead letter is there"


def _rings_at_first_message(alarm: Registration) -> bool:
    inputs = alarm.inputs
    if (inputs.get("namespace"), inputs.get("metricName")) != ("AWS/SQS", "ApproximateNumberOfMessagesVisible"):
        return False
    # How many values there were says nothing of what they were, and of another unit there are none:
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    if inputs.get("statistic") == "SampleCount" or inputs.get("unit", "Count") != "Count":
        return False
    # At 1, and not at 0, where it would ring always.
    match inputs["comparisonOperator"]:
        case "GreaterThanOrEqualToThreshold":
            return bool(0 < inputs["threshold"] <= 1)
        case "GreaterThanThreshold":
            return bool(0 <= inputs["threshold"] < 1)
    return False


@rule(
    "alarm-actions",
    mend="alarm_actions with the topic of alerts, and actions_enabled as it is by default",
    why="https://docs.aws.amazon.com/controltower/latest/controlreference/cloudwatch-rules.html",
)
def _alarm_actions(graph: Graph) -> Iterator[Problem]:
    for alarm in graph.of_type(ALARM):
        if not alarm.inputs.get("alarmActions") or alarm.inputs.get("actionsEnabled") is False:
            yield alarm, "it tells nobody"


@rule(
    "no-secrets-in-plain-text",
    mend="keep it in Secrets Manager or as an SSM SecureString, and give the function the name or ARN",
    why="https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html",
)
def _no_secrets_in_plain_text(graph: Graph) -> Iterator[Problem]:
    for function in graph.of_type(FUNCTION):
        for name, value in function.inputs.get("environment", {}).get("variables", {}).items():
            named = SECRET_NAME.search(name) and not REFERENCE.match(value) and not name.endswith(("_ARN", "_NAME"))
            if named or SECRET_VALUE.search(value):
                yield function, f"the variable {name} looks like a secret"
    for parameter in graph.of_type("aws:ssm/parameter:Parameter"):
        if parameter.inputs["type"] != "SecureString" and SECRET_VALUE.search(str(parameter.inputs.get("value", ""))):
            yield parameter, "its value looks like a secret"


@rule(
    "open-api",
    mend="api.auth in the stack file, or an authorization type on the route or method",
    why="https://docs.aws.amazon.com/securityhub/latest/userguide/apigateway-controls.html#apigateway-8",
)
def _open_api(graph: Graph) -> Iterator[Problem]:
    for route in _routes(graph):
        if route.open and route.key != "GET /health":
            yield route.resource, f"anybody may call {route.key}"
    for api in [*graph.of_type(HTTP_API), *graph.of_type(REST_API)]:
        if api.inputs.get("body"):
            yield api, "its routes stand in an OpenAPI document, where no rule looks who may call them"


@rule(
    "redrive-by-iam",
    mend="authorization_type AWS_IAM, as components/api.py has it, on each route that leads there",
    why="https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-access-control-iam.html",
)
def _redrive_by_iam(graph: Graph) -> Iterator[Problem]:
    routes = list(_routes(graph))
    redriving = {route.leads_to for route in routes if route.redrives} - {None}
    for route in routes:
        if (route.redrives or route.leads_to in redriving) and route.authorization != "AWS_IAM":
            yield route.resource, f"by {route.key}, whoever may not operate the stack can put its dead letters back"


@rule(
    "access-logs",
    mend="access_log_settings of the stage: api.access_logs in the stack file",
    why="https://docs.aws.amazon.com/securityhub/latest/userguide/apigateway-controls.html#apigateway-9",
)
def _access_logs(graph: Graph) -> Iterator[Problem]:
    for stage in [*graph.of_type(HTTP_STAGE), *graph.of_type(REST_STAGE)]:
        if not stage.inputs.get("accessLogSettings"):
            yield stage, "nobody can see later on who called it"


@rule(
    "throttling",
    mend="a rate limit for all routes of the stage: api.throttling in the stack file",
    why="https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-throttling.html",
)
def _throttling(graph: Graph) -> Iterator[Problem]:
    limited = {
        (each.inputs["restApi"], each.inputs["stageName"])
        for each in graph.of_type("aws:apigateway/methodSettings:MethodSettings")
        # -1 is no limit.
        if each.inputs["methodPath"] == "*/*" and each.inputs["settings"].get("throttlingRateLimit", -1) != -1
    }
    stages = [
        *(
            (stage, "throttlingRateLimit" in stage.inputs.get("defaultRouteSettings", {}))
            for stage in graph.of_type(HTTP_STAGE)
        ),
        *(
            (stage, (stage.inputs["restApi"], stage.inputs["stageName"]) in limited)
            for stage in graph.of_type(REST_STAGE)
        ),
    ]
    for stage, has_limit in stages:
        if not has_limit:
            yield stage, "it lets as many requests through as the whole account may have"


@rule(
    "closed-security-groups",
    mend="name another security group, a prefix list or the network's own addresses",
    why="https://docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html",
)
def _closed_security_groups(graph: Graph) -> Iterator[Problem]:
    for resource in graph:
        if "securitygroup" in resource.type.lower():
            inputs = resource.inputs
            for each in (inputs, *inputs.get("ingress", []), *inputs.get("egress", [])):
                ranges = {
                    *(each.get("cidrIpv4"), each.get("cidrIpv6")),
                    *each.get("cidrBlocks", []),
                    *each.get("ipv6CidrBlocks", []),
                }
                if ranges & {"0.0.0.0/0", "::/0"}:
                    yield resource, "it is open to all addresses there are"


@rule(
    "functions-in-vpc",
    mend="make it with components/function.py, which puts all functions into the stack's network",
    why="https://docs.aws.amazon.com/securityhub/latest/userguide/lambda-controls.html#lambda-3",
)
def _functions_in_vpc(graph: Graph) -> Iterator[Problem]:
    functions = graph.of_type(FUNCTION)
    connected = [function for function in functions if function.inputs.get("vpcConfig", {}).get("subnetIds")]
    if connected or graph.of_type("aws:ec2/vpc:Vpc"):
        for function in functions:
            if function not in connected:
                yield function, "the stack has a network, and this runs outside of it"


@rule(
    "endpoint-policies",
    mend="a policy that allows only where aws:PrincipalAccount or aws:PrincipalOrgID is yours: components/network.py",
    why="https://docs.aws.amazon.com/vpc/latest/privatelink/vpc-endpoints-access.html",
)
def _endpoint_policies(graph: Graph) -> Iterator[Problem]:
    for endpoint in graph.of_type("aws:ec2/vpcEndpoint:VpcEndpoint"):
        # Without a policy, AWS gives it one that allows everything to everybody.
        if "policy" not in endpoint.inputs or any(
            _allows_everybody(statement, _PRINCIPALS) for statement in _statements(endpoint.inputs["policy"])
        ):
            yield endpoint, "it serves credentials of any account, so data can leave by it"


@dataclass(frozen=True)
class _Route:
    """A route of an HTTP API, or a method of a REST API: `GET /health`, `$default`; and the function behind it."""

    resource: Registration
    key: str
    authorization: str
    api_key: bool
    leads_to: str | None

    @property
    def open(self) -> bool:
        return self.authorization == "NONE" and not self.api_key

    @property
    def redrives(self) -> bool:
        return re.search("/redrive(/|$)", self.key) is not None


def _routes(graph: Graph) -> Iterator[_Route]:
    # Ids are known to AWS only: what a route refers to, it depends on.
    uris = {
        each.urn: each.inputs.get("integrationUri")
        for each in graph.of_type("aws:apigatewayv2/integration:Integration")
    }
    for route in graph.of_type("aws:apigatewayv2/route:Route"):
        inputs = route.inputs
        uri = next((uris[urn] for urn in route.dependencies if urn in uris), None)
        yield _Route(
            route, inputs["routeKey"], inputs.get("authorizationType", "NONE"), api_key=False, leads_to=_function(uri)
        )
    for api in graph.of_type(HTTP_API):
        if target := api.inputs.get("target"):
            yield _Route(api, api.inputs.get("routeKey", "$default"), "NONE", api_key=False, leads_to=_function(target))
    paths: dict[str, str] = {}
    for part in graph.of_type("aws:apigateway/resource:Resource"):
        paths[part.urn] = f"{_above(part, paths)}/{part.inputs['pathPart']}"

    def place(each: Registration) -> tuple[str, str, str]:
        return each.inputs["restApi"], each.inputs["httpMethod"], _above(each, paths) or "/"

    behind = {place(each): each.inputs.get("uri") for each in graph.of_type("aws:apigateway/integration:Integration")}
    for method in graph.of_type("aws:apigateway/method:Method"):
        _, verb, path = place(method)
        yield _Route(
            method,
            f"{verb} {path}",
            method.inputs["authorization"],
            api_key=bool(method.inputs.get("apiKeyRequired")),
            leads_to=_function(behind.get(place(method))),
        )


def _above(each: Registration, paths: Mapping[str, str]) -> str:
    return next((paths[urn] for urn in each.dependencies if urn in paths), "")


def _function(uri: str | None) -> str | None:
    """The name of the function that an integration invokes, by whatever version; what else it leads to, as it is."""
    match = re.search(":function:([^:/]+)", uri or "")
    return match[1] if match else uri


def _statements(document: str | None) -> list[Statement]:
    statements = json.loads(document)["Statement"] if document else []
    return [statements] if isinstance(statements, dict) else statements


def _role_statements(graph: Graph) -> Iterator[tuple[Registration, Statement]]:
    documents = [(policy, policy.inputs["policy"]) for policy in graph.of_type(ROLE_POLICY)]
    documents += [
        (role, inline.get("policy")) for role in graph.of_type(ROLE) for inline in role.inputs.get("inlinePolicies", [])
    ]
    for policy, document in documents:
        for statement in _statements(document):
            yield policy, statement


def _resource_statements(graph: Graph) -> Iterator[tuple[Registration, Statement]]:
    for policy in graph:
        if policy.type in (*RESOURCE_POLICIES, QUEUE, TOPIC, BUCKET):
            for statement in _statements(policy.inputs.get("policy")):
                yield policy, statement


def _trusting_statements(graph: Graph) -> Iterator[tuple[Registration, Statement]]:
    """All that say who may do something: policies of resources and of keys, and who may take a role."""
    yield from _resource_statements(graph)
    for kind, key in ((KEY, "policy"), (ROLE, "assumeRolePolicy")):
        for resource in graph.of_type(kind):
            for statement in _statements(resource.inputs.get(key)):
                yield resource, statement


def _owner(policy: Registration) -> tuple[str, str]:
    """Type and name of what a policy is about, which is named by name, by ARN or by URL; or has its policy with it."""
    if policy.type not in RESOURCE_POLICIES:
        return policy.type, policy.physical_name
    kind, key = RESOURCE_POLICIES[policy.type]
    return kind, re.split("[:/]", policy.inputs[key])[-1]


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _principals(statement: Statement, kind: str = "AWS") -> set[str]:
    principal = statement.get("Principal", {})
    if isinstance(principal, str):
        principal = {"AWS": principal}
    return set(_listed(principal.get(kind, [])))


_FUNCTION_ARN = re.compile(r"arn:[^:]+:lambda:[^:]*:[^:]*:function:([^:]+)")
_ACCOUNT_IN_ARN = re.compile(r"arn:[^:*]*:[^:*]*:[^:*]*:\d{12}:")


# What AWS itself says about a caller, that names an account, an organisation, somebody, or a network.
_PRINCIPALS = {"aws:principalaccount", "aws:principalarn", "aws:principalorgid"}
_CALLERS = {
    *_PRINCIPALS,
    *(f"aws:{key}" for key in ("sourceaccount", "sourcearn", "sourceorgid", "sourcevpc", "sourcevpce")),
    "kms:calleraccount",
}


def _conditions(condition: Mapping[str, Mapping[str, str | list[str]]]) -> Iterator[tuple[str, list[str]]]:
    """Keys and what they have to be like; one of the values is enough for AWS."""
    for operator, pairs in condition.items():
        if operator in ("StringEquals", "StringLike", "ArnEquals", "ArnLike"):
            for key, given in pairs.items():
                yield key.lower(), _listed(given)


def _names_account(condition: Mapping[str, Mapping[str, str | list[str]]]) -> bool:
    return any(
        all((key == "aws:sourceaccount" and value.isdigit()) or _ACCOUNT_IN_ARN.match(value) for value in values)
        for key, values in _conditions(condition)
    )


def _allows_everybody(statement: Statement, callers: set[str]) -> bool:
    """Whether whoever there is may do something, and no condition says who it has to be."""
    named = any(
        key in callers and all(not re.search("[*?]", value) or _ACCOUNT_IN_ARN.match(value) for value in values)
        for key, values in _conditions(statement.get("Condition", {}))
    )
    everybody = "*" in _principals(statement) or "NotPrincipal" in statement
    return statement["Effect"] == "Allow" and everybody and not named


def _of_arn(arn: str) -> tuple[str, str]:
    """Service and name; a function's without its version."""
    if function := _FUNCTION_ARN.match(arn):
        return "lambda", function[1]
    parts = arn.split(":")
    return parts[2] if len(parts) > 2 else "", parts[-1]  # noqa: PLR2004  arn:partition:service


def _invoked_asynchronously(graph: Graph) -> set[str]:
    """The functions that S3, SNS, EventBridge or Scheduler invoke, which wait for no answer."""
    targets = [
        *(
            each["lambdaFunctionArn"]
            for notification in graph.of_type("aws:s3/bucketNotification:BucketNotification")
            for each in notification.inputs.get("lambdaFunctions", [])
        ),
        *(each.inputs["endpoint"] for each in graph.of_type(SUBSCRIPTION)),
        *(each.inputs["target"]["arn"] for each in graph.of_type(SCHEDULE)),
        *(each.inputs["arn"] for each in graph.of_type(EVENT_TARGET)),
    ]
    return {name for service, name in map(_of_arn, targets) if service == "lambda"}


def _dead_letters_of_buses_alone(graph: Graph) -> list[Registration]:
    """The queues for what event buses cannot encrypt, as a key does not work, and for nothing else."""
    buses = graph.of_type(EVENT_BUS)
    others = [each for each in graph if each.type != EVENT_BUS]
    feeding = {_of_arn(mapping.inputs.get("eventSourceArn", ""))[1] for mapping in graph.of_type(MAPPING)}
    alone = {*_dead_letter_targets(buses)} - {*_dead_letter_targets(others)} - feeding
    return [queue for queue in graph.of_type(QUEUE) if queue.physical_name in alone]


def _dead_letter_targets(resources: Iterable[Registration]) -> Iterator[str]:
    """The queues that something is put into when it failed for good."""
    for resource in resources:
        inputs = resource.inputs
        if policy := inputs.get("redrivePolicy"):
            yield _of_arn(json.loads(policy)["deadLetterTargetArn"])[1]
        for given in (inputs.get("deadLetterConfig"), _mapping(inputs.get("target")).get("deadLetterConfig")):
            if given:
                yield _of_arn(given.get("arn") or given["targetArn"])[1]
        if destination := _mapping(inputs.get("destinationConfig")).get("onFailure"):
            yield _of_arn(destination["destination"])[1]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
