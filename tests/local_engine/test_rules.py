"""The rules: every shipped stack keeps all of them, and each of them sees what breaks it."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from local.monitor import Registration
from local.recording import Graph, synthesise
from local.rules import RULES, UNLIMITED, Finding, findings

ROOT = Path(__file__).parents[2]
A_KEY = "AKIAIOSFODNN7EXAMPLE"  # pragma: allowlist secret
A_URL = "https://shop:hunter2@shop.example"  # pragma: allowlist secret
STACKS = sorted(path.name.split(".")[1] for path in ROOT.glob("Pulumi.*.yaml"))
ACCOUNT = "123456789012"

Change = Callable[[Graph], Iterator[Registration]]


@cache
def stack(name: str) -> Graph:
    return synthesise(ROOT, name)


@pytest.mark.parametrize("name", STACKS)
def test_every_shipped_stack_keeps_every_rule(name: str) -> None:
    assert findings(stack(name)) == []


def test_a_stack_keeps_them_with_a_key_and_a_network_too() -> None:
    own = {"encryption": {"customer_key": True}, "network": {"vpc": "create"}, "tracing": True}
    for name in ("csv", "iot"):
        assert findings(synthesise(ROOT, name, own)) == []


def named(of: Registration | Finding) -> str:
    """Type and name, without what all have in common."""
    return f"{of.type.rsplit(':', 1)[1]} {of.name.removeprefix('pipeline-')}"


def given(resource: str, **inputs: Any) -> Change:
    """A resource with other inputs; None takes one away."""

    def change(graph: Graph) -> Iterator[Registration]:
        for each in graph:
            if named(each) == resource and each.custom:
                changed = {key: value for key, value in {**each.inputs, **inputs}.items() if value is not None}
                yield dataclasses.replace(each, inputs=changed)
            else:
                yield each

    return change


def without(resource: str) -> Change:
    return lambda graph: (each for each in graph if named(each) != resource)


def both(one: Change, other: Change) -> Change:
    return lambda graph: other(Graph(list(one(graph))))


def dead_letters_to(resource: str, queue: str) -> Change:
    """A resource that gives what fails for good to a queue of the stack."""

    def change(graph: Graph) -> Iterator[Registration]:
        name = graph.find("aws:sqs/queue:Queue", f"pipeline-{queue}").physical_name
        return given(resource, deadLetterConfig={"targetArn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:{name}"})(graph)

    return change


def under_the_key(queue: str) -> Change:
    """A queue that is encrypted with the stack's key."""

    def change(graph: Graph) -> Iterator[Registration]:
        (key,) = {each.inputs["kmsKeyArn"] for each in graph.of_type("aws:lambda/function:Function")}
        return given(f"Queue {queue}", kmsMasterKeyId=key, sqsManagedSseEnabled=None)(graph)

    return change


def policy(resource: str, edit: Callable[[list[Any]], object], key: str = "policy") -> Change:
    """A resource whose policy's statements are edited."""

    def change(graph: Graph) -> Iterator[Registration]:
        for each in graph:
            if named(each) == resource and each.custom:
                document = json.loads(each.inputs[key])
                edit(document["Statement"])
                yield dataclasses.replace(each, inputs={**each.inputs, key: json.dumps(document)})
            else:
                yield each

    return change


def added(kind: str, name: str, inputs: Mapping[str, Any]) -> Change:
    def change(graph: Graph) -> Iterator[Registration]:
        yield from graph
        first = next(each for each in graph if each.custom)
        yield dataclasses.replace(
            first, type=kind, name=f"pipeline-{name}", urn=f"urn:{name}", physical_name=name, inputs=inputs
        )

    return change


def variable(name: str, value: str) -> Change:
    """An environment variable more for the worker."""

    def change(graph: Graph) -> Iterator[Registration]:
        (worker,) = [each for each in graph if named(each) == "Function worker" and each.custom]
        environment = {"variables": {**worker.inputs["environment"]["variables"], name: value}}
        return given("Function worker", environment=environment)(graph)

    return change


def allow(actions: list[str], resources: list[str]) -> Callable[[list[Any]], object]:
    return lambda statements: statements.append({"Effect": "Allow", "Action": actions, "Resource": resources})


def service(name: str, **condition: Any) -> Callable[[list[Any]], object]:
    statement = {"Effect": "Allow", "Principal": {"Service": name}, "Action": "sqs:SendMessage", "Resource": "x"}
    return lambda statements: statements.append({**statement, **({"Condition": condition} if condition else {})})


def unconditional(position: int) -> Callable[[list[Any]], object]:
    return lambda statements: statements[position].pop("Condition")


def everybody(action: str, **condition: Any) -> Callable[[list[Any]], object]:
    statement = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": action, "Resource": "*"}
    return lambda statements: statements.append({**statement, "Condition": condition})


def narrowed(key: str, value: object) -> Callable[[list[Any]], object]:
    """The first statement says less."""
    return lambda statements: statements[0].update({key: value})


EVERYBODY = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "x"}

BROKEN: list[tuple[str, str, Change, str]] = [
    ("encrypted-at-rest", "dev", given("Queue queue", sqsManagedSseEnabled=None), "Queue queue"),
    ("encrypted-at-rest", "dev", without("BucketServerSideEncryptionConfiguration bucket"), "Bucket bucket"),
    (
        "customer-key",
        "ingestion",
        given("Queue queue-dead-letters", kmsMasterKeyId=None, sqsManagedSseEnabled=True),
        "Queue queue-dead-letters",
    ),
    ("customer-key", "ingestion", given("Topic alerts", kmsMasterKeyId=None), "Topic alerts"),
    ("customer-key", "ingestion", given("Table table", serverSideEncryption=None), "Table table"),
    ("customer-key", "ingestion", given("LogGroup worker", kmsKeyId=None), "LogGroup worker"),
    ("customer-key", "ingestion", given("Function ingest", kmsKeyArn=None), "Function ingest"),
    (
        "customer-key",
        "ingestion",
        given(
            "BucketServerSideEncryptionConfiguration bucket",
            rules=[{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}],
        ),
        "BucketServerSideEncryptionConfiguration bucket",
    ),
    ("customer-key", "ingestion", given("EventBus outcomes", kmsKeyIdentifier=None), "EventBus outcomes"),
    ("customer-key", "ingestion", given("Key key", enableKeyRotation=None), "Key key"),
    # The dead letters of the bus are outside of the key, but not if they are those of something else, too.
    (
        "customer-key",
        "ingestion",
        dead_letters_to("Function worker", "outcomes-dead-letters"),
        "Queue outcomes-dead-letters",
    ),
    ("tls-only", "dev", without("QueuePolicy queue-dead-letters"), "Queue queue-dead-letters"),
    ("tls-only", "dev", policy("BucketPolicy bucket", list.clear), "Bucket bucket"),
    ("tls-only", "dev", policy("TopicPolicy alerts", unconditional(0)), "Topic alerts"),
    ("tls-only", "dev", policy("QueuePolicy queue", narrowed("Action", "sqs:SendMessage")), "Queue queue"),
    ("tls-only", "dev", policy("TopicPolicy alerts", narrowed("Action", "sns:Subscribe")), "Topic alerts"),
    ("tls-only", "dev", policy("QueuePolicy queue", narrowed("Resource", ["arn:aws:sqs:r:a:else"])), "Queue queue"),
    (
        "tls-only",
        "dev",
        policy("BucketPolicy bucket", lambda statements: statements[0]["Resource"].pop()),
        "Bucket bucket",
    ),
    ("log-retention", "dev", given("LogGroup api-access", retentionInDays=None), "LogGroup api-access"),
    ("log-retention", "dev", given("Function worker", loggingConfig=None), "Function worker"),
    (
        "no-wildcard-actions",
        "dev",
        policy("RolePolicy worker", lambda statements: statements[0].update(Action=["sqs:*"])),
        "RolePolicy worker",
    ),
    (
        "no-wildcard-resources",
        "dev",
        policy("RolePolicy worker", allow(["sqs:SendMessage"], ["*"])),
        "RolePolicy worker",
    ),
    (
        "no-wildcard-resources",
        "dev",
        policy("RolePolicy worker", allow(["s3:GetObject"], ["arn:aws:s3:::*"])),
        "RolePolicy worker",
    ),
    (
        "no-wildcard-resources",
        "dev",
        policy("RolePolicy ingest", allow(["dynamodb:Query"], [f"arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/*"])),
        "RolePolicy ingest",
    ),
    ("no-public-access", "csv", given("BucketPublicAccessBlock input", blockPublicPolicy=False), "Bucket input"),
    ("no-public-access", "csv", without("BucketPublicAccessBlock output"), "Bucket output"),
    (
        "no-public-access",
        "dev",
        given("BucketOwnershipControls bucket", rule={"objectOwnership": "ObjectWriter"}),
        "Bucket bucket",
    ),
    (
        "no-public-access",
        "dev",
        policy("BucketPolicy bucket", lambda statements: statements.append(EVERYBODY)),
        "BucketPolicy bucket",
    ),
    ("no-public-access", "ingestion", policy("Key key", everybody("kms:Decrypt")), "Key key"),
    ("no-public-access", "dev", policy("Role worker", everybody("sts:AssumeRole"), "assumeRolePolicy"), "Role worker"),
    *(
        (
            "no-public-access",
            "dev",
            policy("BucketPolicy bucket", everybody("s3:GetObject", **condition)),
            "BucketPolicy bucket",
        )
        for condition in (
            {"Bool": {"aws:SecureTransport": "true"}},
            {"StringLike": {"aws:SourceAccount": "*"}},
            {"StringEquals": {"aws:PrincipalOrgID": ["o-a1b2c3d4e5", "*"]}},
            {"ArnLike": {"aws:SourceArn": "arn:aws:sns:*:*:*"}},
            {"StringNotEquals": {"aws:SourceAccount": ACCOUNT}},
        )
    ),
    ("no-public-access", "dev", given("Permission api", principal="*"), "Permission api"),
    ("no-wildcard-actions", "dev", given("Permission api", action="lambda:*"), "Permission api"),
    (
        "confused-deputy",
        "dev",
        policy("QueuePolicy queue", service("events.amazonaws.com", StringLike={"aws:SourceAccount": "*"})),
        "QueuePolicy queue",
    ),
    ("confused-deputy", "csv", policy("QueuePolicy queue", unconditional(1)), "QueuePolicy queue"),
    (
        "confused-deputy",
        "dev",
        policy("QueuePolicy queue", service("s3.amazonaws.com", ArnLike={"aws:SourceArn": "arn:aws:s3:::a"})),
        "QueuePolicy queue",
    ),
    ("confused-deputy", "ingestion", policy("Key key", unconditional(3)), "Key key"),
    (
        "confused-deputy",
        "dev",
        policy("Role worker", service("scheduler.amazonaws.com"), "assumeRolePolicy"),
        "Role worker",
    ),
    ("confused-deputy", "dev", given("Permission api", sourceArn=None), "Permission api"),
    ("confused-deputy", "iot", given("Permission worker", sourceAccount=None), "Permission worker"),
    ("queue-dead-letters", "dev", given("Queue queue", redrivePolicy=None), "Queue queue"),
    ("failed-events", "iot", without("FunctionEventInvokeConfig worker"), "Function worker"),
    (
        "undelivered-events",
        "dev",
        added("aws:scheduler/schedule:Schedule", "nightly", {"target": {"arn": "arn:aws:lambda:r:a:function:f"}}),
        "Schedule nightly",
    ),
    (
        "undelivered-events",
        "dev",
        added("aws:cloudwatch/eventTarget:EventTarget", "tell", {"arn": "arn:aws:sns:r:a:t"}),
        "EventTarget tell",
    ),
    (
        "undelivered-events",
        "dev",
        added(
            "aws:sns/topicSubscription:TopicSubscription",
            "pager",
            {"protocol": "lambda", "endpoint": "arn:aws:lambda:r:a:function:f"},
        ),
        "TopicSubscription pager",
    ),
    (
        "undelivered-events",
        "ingestion",
        both(given("EventBus outcomes", deadLetterConfig=None), without("Queue outcomes-dead-letters")),
        "EventBus outcomes",
    ),
    ("undelivered-events", "ingestion", under_the_key("outcomes-dead-letters"), "EventBus outcomes"),
    ("dead-letter-alarm", "dev", without("MetricAlarm watch-dead-letters"), "Queue queue-dead-letters"),
    (
        "dead-letter-alarm",
        "ingestion",
        without("MetricAlarm watch-outcomes-dead-letters"),
        "Queue outcomes-dead-letters",
    ),
    ("dead-letter-alarm", "iot", given("MetricAlarm watch-dead-letters", alarmActions=None), "Queue dead-letters"),
    ("no-secrets-in-plain-text", "dev", variable("DATABASE_PASSWORD", "hunter2"), "Function worker"),
    ("no-secrets-in-plain-text", "dev", variable("SETTING", A_KEY), "Function worker"),
    ("no-secrets-in-plain-text", "dev", variable("SHOP_URL", A_URL), "Function worker"),
    ("no-secrets-in-plain-text", "ingestion", given("Parameter breaker", value=A_KEY), "Parameter breaker"),
    (
        "redrive-by-iam",
        "ingestion",
        given("Route api-post-redrive-start", authorizationType="NONE"),
        "Route api-post-redrive-start",
    ),
    *(
        ("closed-security-groups", "ingestion", change, f"{kind} {name}")
        for kind, name, change in (
            (
                "SecurityGroup",
                "network-endpoints",
                given("SecurityGroup network-endpoints", ingress=[{"cidrBlocks": ["0.0.0.0/0"]}]),
            ),
            (
                "SecurityGroup",
                "network-endpoints",
                given("SecurityGroup network-endpoints", egress=[{"ipv6CidrBlocks": ["::/0"]}]),
            ),
            (
                "SecurityGroupIngressRule",
                "network-endpoints",
                given("SecurityGroupIngressRule network-endpoints", cidrIpv6="::/0"),
            ),
            (
                "SecurityGroupEgressRule",
                "network-s3",
                given("SecurityGroupEgressRule network-s3", cidrIpv4="0.0.0.0/0"),
            ),
        )
    ),
    ("functions-in-vpc", "ingestion", given("Function worker", vpcConfig=None), "Function worker"),
]


@pytest.mark.parametrize(("rule", "name", "change", "resource"), BROKEN)
def test_a_broken_rule_is_found_where_it_is_broken(rule: str, name: str, change: Change, resource: str) -> None:
    found = findings(Graph(list(change(stack(name)))))
    assert [(finding.rule, named(finding)) for finding in found] == [(rule, resource)]
    (finding,) = found
    assert finding.found
    assert finding.mend
    assert finding.why.startswith("https://docs.aws.amazon.com/")


def test_a_queue_that_feeds_a_function_is_under_the_key_though_a_bus_puts_its_dead_letters_there() -> None:
    graph = stack("ingestion")
    plain = given("Queue queue", kmsMasterKeyId=None, sqsManagedSseEnabled=True)
    there = dead_letters_to("EventBus outcomes", "queue")
    found = {(finding.rule, named(finding)) for finding in findings(Graph(list(both(plain, there)(graph))))}
    assert ("customer-key", "Queue queue") in found


def test_redrive_of_a_rest_api_is_for_iam_alone() -> None:
    rest = synthesise(ROOT, "dev", {"api": {"kind": "rest", "auth": "api_key"}, "queue": {"redrive_api": True}})
    assert findings(rest) == []
    opened = given("Method api-post-redrive-start", authorization="NONE", apiKeyRequired=True)
    (found,) = findings(Graph(list(opened(rest))))
    assert (found.rule, named(found)) == ("redrive-by-iam", "Method api-post-redrive-start")


ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
EVERYTHING = json.dumps({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}})


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (given("Role worker", managedPolicyArns=[ADMINISTRATOR]), {"no-wildcard-actions"}),
        (
            given("Role worker", inlinePolicies=[{"name": "all", "policy": EVERYTHING}]),
            {"no-wildcard-actions", "no-wildcard-resources"},
        ),
        (
            policy(
                "RolePolicy worker", lambda statements: statements.append({"Effect": "Allow", "NotAction": "iam:*"})
            ),
            {"no-wildcard-actions"},
        ),
        (
            policy("RolePolicy worker", lambda statements: statements.append({"Effect": "Allow", "NotResource": "x"})),
            {"no-wildcard-resources"},
        ),
        (
            given("Queue queue", policy=json.dumps({"Statement": {**EVERYBODY, "Action": "sqs:*"}})),
            {"no-wildcard-actions", "no-public-access"},
        ),
        (added("aws:lambda/eventSourceMapping:EventSourceMapping", "kafka", {"topics": ["a"]}), set()),
    ],
)
def test_what_our_own_program_does_not_do_but_a_users_may_is_understood(change: Change, found: set[str]) -> None:
    assert {finding.rule for finding in findings(Graph(list(change(stack("dev")))))} == found


def test_each_rule_has_a_stack_that_breaks_it() -> None:
    assert {rule for rule, *_ in BROKEN} == {rule.name for rule in RULES}
    assert len({rule.name for rule in RULES}) == len(RULES)


@pytest.mark.parametrize(
    "change",
    [
        variable("DATABASE_PASSWORD", f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:shop"),
        variable("API_KEY", "/shop/api-key"),
        variable("API_TOKEN_NAME", "shop"),
        policy("RolePolicy worker", allow(["xray:PutTraceSegments"], ["*"])),
        policy("QueuePolicy queue", service("events.amazonaws.com", StringEquals={"aws:SourceAccount": ACCOUNT})),
        policy("BucketPolicy bucket", everybody("s3:GetObject", StringEquals={"aws:PrincipalOrgID": "o-a1b2c3d4e5"})),
        policy(
            "BucketPolicy bucket", everybody("s3:GetObject", ArnLike={"aws:SourceArn": f"arn:aws:sns:r:{ACCOUNT}:*"})
        ),
        policy("BucketPolicy bucket", everybody("s3:GetObject", StringEquals={"aws:SourceVpce": "vpce-1a2b3c4d"})),
        added("aws:ssm/parameter:Parameter", "key", {"type": "SecureString", "value": A_KEY}),
        added("aws:kms/key:Key", "of-somebody-else", {"enableKeyRotation": True}),
        added("aws:cloudwatch/eventBus:EventBus", "without-a-key", {}),
        added("aws:sns/topicSubscription:TopicSubscription", "ops", {"protocol": "email", "endpoint": "a@example.com"}),
    ],
)
def test_what_is_as_it_should_be_is_not_found(change: Change) -> None:
    assert findings(Graph(list(change(stack("dev"))))) == []


def test_the_list_of_what_nobody_can_limit_is_short_and_has_reasons() -> None:
    assert {action.partition(":")[0] for action in UNLIMITED} == {"xray", "ec2"}
    assert all(UNLIMITED.values())
