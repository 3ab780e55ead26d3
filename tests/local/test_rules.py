"""The rules: every shipped stack keeps all of them, but for what its own file accepts; each sees what breaks it."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pulumi_aws as aws
import pytest

from cli.check import accepted_findings
from components.options.common import AcceptedFinding
from local.monitor import Registration
from local.project import load_project
from local.recording import Graph, synthesise
from local.rules import RULES, Finding, findings
from local.rules.rights import UNLIMITED

ROOT = Path(__file__).parents[2]
A_KEY = "AKIAIOSFODNN7EXAMPLE"  # pragma: allowlist secret
A_URL = "https://shop:hunter2@shop.example"  # pragma: allowlist secret
# In pieces, so that nobody who looks for secrets in this file finds one.
SECRETS = (
    "sk_" + "live_" + 24 * "4",
    "github_" + "pat_" + 82 * "1",
    "eyJ" + 17 * "h" + ".eyJ" + 24 * "z" + ".c2ln",
    "redis" + "://:" + "hunter2" + "@cache.example:6379",
)
STACKS = sorted(path.name.split(".")[1] for path in ROOT.glob("Pulumi.*.yaml"))
ACCOUNT, ANOTHER = "123456789012", "999999999999"
FUNCTION = "aws:lambda/function:Function"
NOTIFICATION = "aws:s3/bucketNotification:BucketNotification"
ROLES = f"arn:aws:iam::{ACCOUNT}:role/*"
GITHUB = "token.actions.githubusercontent.com"
GITHUB_PROVIDER = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{GITHUB}"

Change = Callable[[Graph], Iterator[Registration]]


@cache
def stack(name: str) -> Graph:
    return synthesise(ROOT, name)


@cache
def accepted(name: str) -> tuple[AcceptedFinding, ...]:
    return accepted_findings(load_project(ROOT, name))


def changed(graph: Graph, change: Change) -> Graph:
    return dataclasses.replace(graph, resources=list(change(graph)))


def wrong(change: Change, name: str) -> list[Finding]:
    """What is found in a shipped stack after a change, and not accepted by its file."""
    found = findings(changed(stack(name), change), accepted(name))
    return [finding for finding in found if finding.accepted is None]


@pytest.mark.parametrize("name", STACKS)
def test_every_shipped_stack_keeps_every_rule_but_what_its_file_accepts(name: str) -> None:
    assert wrong(all_of(), name) == []


def test_only_the_open_stacks_accept_something_and_that_is_that_they_are_open() -> None:
    of_rules = {name: {one.rule for one in accepted(name)} for name in STACKS}
    assert {name: rules for name, rules in of_rules.items() if rules} == {
        "analytics": {"open-api"},
        "dev": {"open-api"},
    }


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


def added(kind: str, name: str, inputs: Mapping[str, Any], after: tuple[str, ...] = ()) -> Change:
    """One resource more, which depends on others."""

    def change(graph: Graph) -> Iterator[Registration]:
        yield from graph
        first = next(each for each in graph if each.custom)
        yield dataclasses.replace(
            first,
            type=kind,
            name=f"pipeline-{name}",
            urn=f"urn:{kind}:{name}",
            physical_name=name,
            inputs=inputs,
            dependencies=tuple(each.urn for each in graph if each.custom and named(each) in after),
        )

    return change


def all_of(*changes: Change) -> Change:
    def change(graph: Graph) -> Iterator[Registration]:
        for each in changes:
            graph = changed(graph, each)
        yield from graph

    return change


def route(key: str, authorization: str | None = None, to: str = "api") -> Change:
    """A route more of an HTTP API."""
    inputs = {"routeKey": key, **({"authorizationType": authorization} if authorization else {})}
    return added("aws:apigatewayv2/route:Route", "more", inputs, after=(f"Integration {to}",))


def integration(uri: str) -> Change:
    return added("aws:apigatewayv2/integration:Integration", "more", {"integrationUri": uri})


def arn_of(graph: Graph, resource: str) -> str:
    return next(arn for arn, each in graph.arns.items() if named(each) == resource)


def told(name: str, version: str = "") -> Change:
    """A function is subscribed to a topic, and what cannot be delivered to it is kept."""

    def change(graph: Graph) -> Iterator[Registration]:
        arn = arn_of(graph, f"Function {name}") + version
        kept = json.dumps({"deadLetterTargetArn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:elsewhere"})
        inputs = {"protocol": "lambda", "endpoint": arn, "redrivePolicy": kept}
        return added("aws:sns/topicSubscription:TopicSubscription", "told", inputs)(graph)

    return change


def kept(version: str, **inputs: Any) -> Change:
    """What a version of the worker fails on is kept elsewhere."""

    def change(graph: Graph) -> Iterator[Registration]:
        name = arn_of(graph, "Function worker") + version
        elsewhere = {"onFailure": {"destination": f"arn:aws:sqs:us-east-1:{ACCOUNT}:elsewhere"}}
        config = {"functionName": name, "destinationConfig": elsewhere, **inputs}
        return added("aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig", "kept", config)(graph)

    return change


def tells_the_worker(outcome: str) -> Change:
    """What became of an event that another function was given is given to the worker."""

    def change(graph: Graph) -> Iterator[Registration]:
        (config,) = [each for each in graph if named(each) == "FunctionEventInvokeConfig breaker"]
        worker = {"destination": arn_of(graph, "Function worker")}
        destinations = {**config.inputs["destinationConfig"], outcome: worker}
        return given("FunctionEventInvokeConfig breaker", destinationConfig=destinations)(graph)

    return change


def dead_letters_of_the_worker(graph: Graph) -> Iterator[Registration]:
    """They go to a queue that has no alarm for them."""
    return given("Function worker", deadLetterConfig={"targetArn": arn_of(graph, "Queue queue")})(graph)


def invoked(kind: str) -> Change:
    """The worker is invoked by something that keeps what it cannot deliver."""

    def change(graph: Graph) -> Iterator[Registration]:
        kept = {"arn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:elsewhere"}
        target = {"arn": arn_of(graph, "Function worker"), "deadLetterConfig": kept}
        return added(kind, "invokes", {"target": target} if "schedule" in kind else target)(graph)

    return change


def dead_letters_of_a_schedule(graph: Graph) -> Iterator[Registration]:
    target = {"arn": f"arn:aws:sns:us-east-1:{ACCOUNT}:t", "deadLetterConfig": {"arn": arn_of(graph, "Queue queue")}}
    return added("aws:scheduler/schedule:Schedule", "nightly", {"target": target})(graph)


def dead_letters_of_a_stream(graph: Graph) -> Iterator[Registration]:
    return reading(STREAM, destinationConfig={"onFailure": {"destinationArn": arn_of(graph, "Queue queue")}})(graph)


def reading(arn: str, **inputs: Any) -> Change:
    """A function reads a stream or a queue."""
    return added("aws:lambda/eventSourceMapping:EventSourceMapping", "reads", {"eventSourceArn": arn, **inputs})


def variable(name: str, value: str) -> Change:
    """An environment variable more for the worker."""

    def change(graph: Graph) -> Iterator[Registration]:
        (worker,) = [each for each in graph if named(each) == "Function worker" and each.custom]
        environment = {"variables": {**worker.inputs["environment"]["variables"], name: value}}
        return given("Function worker", environment=environment)(graph)

    return change


def alarm(**inputs: Any) -> Change:
    """The alarm on the dead letters with other inputs."""
    return given("MetricAlarm watch-dead-letters", **inputs)


def allow(actions: list[str], resources: list[str]) -> Callable[[list[Any]], object]:
    return lambda statements: statements.append({"Effect": "Allow", "Action": actions, "Resource": resources})


def of_the_key(actions: list[str], **condition: Any) -> Change:
    """EventBridge may do something with the key."""
    statement = {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": actions}
    return policy("Key key", lambda statements: statements.append({**statement, "Resource": "*", **condition}))


def service(name: str, action: str = "sqs:SendMessage", **condition: Any) -> Callable[[list[Any]], object]:
    statement = {"Effect": "Allow", "Principal": {"Service": name}, "Action": action, "Resource": "x"}
    return lambda statements: statements.append({**statement, **({"Condition": condition} if condition else {})})


def unconditional(position: int) -> Callable[[list[Any]], object]:
    return lambda statements: statements[position].pop("Condition")


def everybody(action: str, **condition: Any) -> Callable[[list[Any]], object]:
    statement = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": action, "Resource": "*"}
    return lambda statements: statements.append({**statement, "Condition": condition})


def by_iam(**condition: Any) -> Callable[[list[Any]], object]:
    """Whoever IAM lets may do everything with a key, on a condition."""
    principal = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    statement = {"Effect": "Allow", "Principal": principal, "Action": "kms:*", "Resource": "*", "Condition": condition}
    return lambda statements: statements.append(statement)


def last_denied(statements: list[Any]) -> None:
    statements[-1]["Effect"] = "Deny"


def federated(provider: str, **condition: Any) -> Change:
    """Who has an account with an identity provider may take the worker's role."""
    principal = {"Federated": provider}
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRoleWithWebIdentity"}
    more = {**statement, **({"Condition": condition} if condition else {})}
    return policy("Role worker", lambda statements: statements.append(more), "assumeRolePolicy")


def narrowed(key: str, value: object) -> Callable[[list[Any]], object]:
    """The first statement says less."""
    return lambda statements: statements[0].update({key: value})


OWN_ADDRESSES = {"cidrBlocks": ["10.1.2.3/16", "10.0.0.0/8"], "ipv6CidrBlocks": ["2001:db8::/32"]}
TABLE_STREAM = f"arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/t/stream/2026-01-01T00:00:00.000"
STREAM = f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/s"
OPEN_ENDPOINT = json.dumps({"Statement": {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}})
EVERYBODY = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "x"}
EVERY_EVENT = {"Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": "x"}
ALL_BUT_ONE = {
    "Effect": "Allow",
    "NotPrincipal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
    "Action": "s3:GetObject",
    "Resource": "x",
}

BROKEN: list[tuple[str, str, Change, str]] = [
    ("encrypted-at-rest", "dev", given("Queue queue", sqsManagedSseEnabled=None), "Queue queue"),
    ("encrypted-at-rest", "dev", without("BucketServerSideEncryptionConfiguration bucket"), "Bucket bucket"),
    ("encrypted-at-rest", "dev", given("BucketServerSideEncryptionConfiguration bucket", rules=[]), "Bucket bucket"),
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
    *(
        (
            "customer-key",
            "ingestion",
            given("BucketServerSideEncryptionConfiguration bucket", rules=[rule]),
            "BucketServerSideEncryptionConfiguration bucket",
        )
        for rule in (
            {"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}},
            {"applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": "alias/aws/s3"}},
            {"bucketKeyEnabled": True},
        )
    ),
    ("customer-key", "ingestion", given("Queue queue", kmsMasterKeyId="alias/aws/sqs"), "Queue queue"),
    (
        "customer-key",
        "ingestion",
        given("Topic alerts", kmsMasterKeyId=f"arn:aws:kms:us-east-1:{ACCOUNT}:alias/aws/sns"),
        "Topic alerts",
    ),
    *(
        ("customer-key", "ingestion", given("Table table", serverSideEncryption=encryption), "Table table")
        for encryption in (
            {"enabled": True},
            {"enabled": False, "kmsKeyArn": f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234abcd"},
        )
    ),
    ("customer-key", "ingestion", given("EventBus outcomes", kmsKeyIdentifier=None), "EventBus outcomes"),
    ("customer-key", "ingestion", given("Key key", enableKeyRotation=None), "Key key"),
    ("key-users", "ingestion", given("Key key", policy=None), "Key key"),
    ("key-users", "ingestion", policy("Key key", unconditional(1)), "Key key"),
    ("key-users", "ingestion", policy("Key key", unconditional(2)), "Key key"),
    *(
        ("key-users", "ingestion", policy("Key key", narrowed("Action", action)), "Key key")
        for action in ("kms:*", "kms:Create*", ["kms:PutKeyPolicy", "kms:Decrypt"])
    ),
    *(
        ("key-users", "ingestion", policy("Key key", edit), "Key key")
        for edit in (
            lambda statements: statements[0].update(Action="*", Principal={"AWS": [ACCOUNT]}),
            lambda statements: statements[0].update(NotAction="kms:PutKeyPolicy", Action=[]),
            narrowed("Action", "KMS:decrypt"),
            everybody("kms:Decrypt", StringEquals={"kms:CallerAccount": ACCOUNT}),
            everybody("kms:Decrypt", StringEquals={"aws:PrincipalAccount": ACCOUNT}),
            everybody("kms:Decrypt", StringEquals={"aws:PrincipalOrgID": "o-a1b2c3d4e5"}),
            by_iam(Bool={"aws:SecureTransport": "true"}),
            by_iam(StringEquals={"kms:CallerAccount": ACCOUNT}),
            by_iam(ArnLike={"aws:PrincipalArn": "*"}),
            by_iam(ArnLike={"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:*"}),
            by_iam(ArnLike={"aws:PrincipalArn": [f"arn:aws:iam::{ACCOUNT}:user/ann", ROLES]}),
            by_iam(ArnNotLike={"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:user/ann"}),
            by_iam(StringLike={"kms:ViaService": "*"}),
            by_iam(Bool={"kms:GrantIsForAWSResource": "false"}),
        )
    ),
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
    ("tls-only", "dev", policy("QueuePolicy queue", narrowed("Principal", {"AWS": ACCOUNT})), "Queue queue"),
    *(
        ("tls-only", "dev", change, "Bucket bucket")
        for change in (
            policy("BucketPolicy bucket", lambda statements: statements[0]["Resource"].pop()),
            policy("BucketPolicy bucket", lambda statements: statements[0]["Resource"].pop(0)),
        )
    ),
    ("log-retention", "dev", given("LogGroup api-access", retentionInDays=None), "LogGroup api-access"),
    ("log-retention", "dev", given("Function worker", loggingConfig=None), "Function worker"),
    (
        "no-wildcard-actions",
        "dev",
        policy("RolePolicy worker", lambda statements: statements[0].update(Action=["sqs:*"])),
        "RolePolicy worker",
    ),
    *(
        ("no-wildcard-actions", "dev", policy("RolePolicy worker", narrowed("Action", [action])), "RolePolicy worker")
        for action in ("sqs:Delete?essage", "?qs:DeleteMessage")
    ),
    *(
        (
            "no-wildcard-resources",
            "dev",
            policy("RolePolicy worker", allow(["sqs:SendMessage"], [resource])),
            "RolePolicy worker",
        )
        for resource in ("*", f"arn:aws:sqs:us-east-1:{ACCOUNT}:queue-?")
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
    # The names of things are in these, and they are about others, too.
    (
        "no-wildcard-resources",
        "dev",
        policy("RolePolicy worker", allow(["sqs:SendMessage"], [f"arn:aws:sqs:us-east-1:{ACCOUNT}:pipeline-queue*"])),
        "RolePolicy worker",
    ),
    (
        "no-wildcard-resources",
        "dev",
        all_of(
            added("aws:ec2/subnet:Subnet", "s3", {}),
            policy("RolePolicy worker", allow(["s3:GetObject"], ["arn:aws:s3:::*"])),
        ),
        "RolePolicy worker",
    ),
    *(
        ("no-public-access", "csv", change, "Bucket input")
        for change in (
            given("BucketPublicAccessBlock input", blockPublicAcls=False),
            given("BucketPublicAccessBlock input", blockPublicPolicy=False),
            given("BucketPublicAccessBlock input", ignorePublicAcls=False),
            given("BucketPublicAccessBlock input", restrictPublicBuckets=None),
        )
    ),
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
    (
        "no-public-access",
        "dev",
        policy("BucketPolicy bucket", lambda statements: statements.append(ALL_BUT_ONE)),
        "BucketPolicy bucket",
    ),
    ("no-public-access", "dev", given("Permission api", principal="*"), "Permission api"),
    *(
        ("no-public-access", "dev", change, "Role worker")
        for change in (
            federated(GITHUB_PROVIDER),
            federated(GITHUB_PROVIDER, StringEquals={f"{GITHUB}:aud": "sts.amazonaws.com"}),
            federated(GITHUB_PROVIDER, StringLike={f"{GITHUB}:sub": "*"}),
            federated(GITHUB_PROVIDER, StringLike={f"{GITHUB}:sub": ["repo:shop/orders:*", "repo:*"]}),
            federated(GITHUB_PROVIDER, StringNotEquals={f"{GITHUB}:sub": "repo:shop/orders:ref:refs/heads/main"}),
            federated("accounts.google.com", StringEquals={"accounts.google.com:aud": "66677788899"}),
        )
    ),
    ("no-wildcard-actions", "dev", given("Permission api", action="lambda:*"), "Permission api"),
    *(
        ("confused-deputy", "dev", policy("QueuePolicy queue", edit), "QueuePolicy queue")
        for edit in (
            service("lambda.amazonaws.com"),
            service("events.amazonaws.com", StringLike={"aws:SourceAccount": "*"}),
            service("events.amazonaws.com", StringEquals={"aws:SourceAccount": ANOTHER}),
            service("events.amazonaws.com", StringEquals={"aws:SourceAccount": [ACCOUNT, ANOTHER]}),
            service("events.amazonaws.com", StringEquals={"aws:SourceAccount": 1}),
            service("events.amazonaws.com", ArnLike={"aws:SourceArn": f"arn:aws:events:us-east-1:{ANOTHER}:rule/*"}),
            service("events.amazonaws.com", ArnLike={"aws:SourceArn": f"arn:aws:events:u?:{ACCOUNT}:rule/*"}),
            service("events.amazonaws.com", ArnLike={"aws:ResourceArn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:queue"}),
            service("events.amazonaws.com", StringEquals={"aws:SourceAccount": [ACCOUNT, "*"]}),
            service("events.amazonaws.com", StringEquals={"aws:ResourceAccount": ACCOUNT}),
        )
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
    (
        "confused-deputy",
        "dev",
        given("Permission api", sourceArn=f"arn:aws:execute-api:us-east-1:{ANOTHER}:api/*/*"),
        "Permission api",
    ),
    *(
        ("confused-deputy", "ingestion", of_the_key(actions, **condition), "Key key")
        for actions, condition in (
            (["kms:DescribeKey", "kms:Decrypt"], {}),
            (["kms:Decrypt"], {}),
            (
                ["kms:Decrypt"],
                {"Condition": {"ArnLike": {"kms:EncryptionContext:aws:x": f"arn:aws:events:r:{ANOTHER}:event-bus/*"}}},
            ),
        )
    ),
    (
        "confused-deputy",
        "dev",
        policy("QueuePolicy queue", service("events.amazonaws.com", action="kms:DescribeKey")),
        "QueuePolicy queue",
    ),
    ("confused-deputy", "iot", given("Permission worker", sourceAccount=None), "Permission worker"),
    ("confused-deputy", "iot", given("Permission worker", sourceAccount=ANOTHER), "Permission worker"),
    ("confused-deputy", "iot", given("Permission worker", sourceArn=None), "Permission worker"),
    ("queue-dead-letters", "dev", given("Queue queue", redrivePolicy=None), "Queue queue"),
    ("failed-events", "iot", without("FunctionEventInvokeConfig worker"), "Function worker"),
    ("failed-events", "iot", given("FunctionEventInvokeConfig worker", destinationConfig=None), "Function worker"),
    ("failed-events", "iot", given("FunctionEventInvokeConfig worker", qualifier="other"), "Function worker"),
    ("failed-events", "iot", told("worker", ":live"), "Function worker"),
    ("failed-events", "dev", told("worker"), "Function worker"),
    *(
        ("failed-events", "ingestion", tells_the_worker(outcome), "Function worker")
        for outcome in ("onSuccess", "onFailure")
    ),
    ("failed-events", "dev", told("worker", ":live"), "Function worker"),
    ("failed-events", "dev", invoked("aws:scheduler/schedule:Schedule"), "Function worker"),
    ("failed-events", "dev", invoked("aws:cloudwatch/eventTarget:EventTarget"), "Function worker"),
    ("failed-events", "dev", reading(TABLE_STREAM), "EventSourceMapping reads"),
    ("failed-events", "dev", reading(STREAM, destinationConfig={}), "EventSourceMapping reads"),
    ("failed-events", "dev", reading(STREAM, destinationConfig={"onFailure": {}}), "EventSourceMapping reads"),
    (
        "undelivered-events",
        "dev",
        added("aws:cloudwatch/eventTarget:EventTarget", "tell", {"arn": "arn:aws:sns:r:a:t", "deadLetterConfig": {}}),
        "EventTarget tell",
    ),
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
        all_of(given("EventBus outcomes", deadLetterConfig=None), without("Queue outcomes-dead-letters")),
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
    ("dead-letter-alarm", "dev", dead_letters_of_the_worker, "Queue queue"),
    ("dead-letter-alarm", "dev", dead_letters_of_a_schedule, "Queue queue"),
    ("dead-letter-alarm", "dev", dead_letters_of_a_stream, "Queue queue"),
    *(
        ("dead-letter-alarm", "dev", change, "Queue queue-dead-letters")
        for change in (
            alarm(threshold=2),
            alarm(threshold=0),
            alarm(threshold=1, comparisonOperator="GreaterThanThreshold"),
            alarm(comparisonOperator="LessThanThreshold"),
            alarm(statistic="SampleCount"),
            alarm(statistic="Minimum"),
            alarm(period=86_400),
            alarm(evaluationPeriods=6),
            alarm(evaluationPeriods=1440, datapointsToAlarm=6),
            alarm(threshold=None),
            alarm(comparisonOperator=None),
            alarm(unit="Seconds"),
            alarm(namespace="Shop"),
            alarm(metricName="NumberOfMessagesSent"),
            alarm(dimensions={}),
            alarm(dimensions={"QueueName": "another"}),
        )
    ),
    *(
        ("alarm-actions", "iot", change, "MetricAlarm watch-dead-letters")
        for change in (alarm(alarmActions=None), alarm(alarmActions=[]), alarm(actionsEnabled=False))
    ),
    *(
        ("no-secrets-in-plain-text", "dev", variable(name, "hunter2"), "Function worker")
        for name in (
            *("DATABASE_PASSWORD", "PGPASSWORD", "MYSQL_PWD", "DB_PASS", "dbPassword", "SIGNING_KEY", "SECRET_KEY"),
            *("SECRET", "KEY_PASSPHRASE", "shopAPIKey", "apikey"),
        )
    ),
    *(
        ("no-secrets-in-plain-text", "dev", variable("DB_" + "PASSWORD", value), "Function worker")
        for value in ("/hunter2", "arn:aws:ssm:hunter2", "/shop/db hunter2")
    ),
    *(
        ("no-secrets-in-plain-text", "dev", variable("SETTING", value), "Function worker")
        for value in (A_KEY, A_URL, *SECRETS)
    ),
    *(
        ("no-secrets-in-plain-text", "ingestion", given("Parameter breaker", **inputs), "Parameter breaker")
        for inputs in ({"value": A_KEY}, {"value": None, "insecureValue": A_KEY}, {"name": "/shop/db-password"})
    ),
    *(
        ("open-api", "ingestion", change, "Route more")
        for change in (
            route("$default"),
            route("ANY /{proxy+}", "NONE"),
            route("ANY /health"),
            route("GET /health/all"),
        )
    ),
    ("open-api", "ingestion", given("Route api-get-events-id", authorizationType=None), "Route api-get-events-id"),
    ("open-api", "ingestion", given("Api api", target="arn:aws:lambda:r:a:function:f"), "Api api"),
    ("open-api", "ingestion", given("Api api", body="{}"), "Api api"),
    (
        "redrive-by-iam",
        "ingestion",
        given("Route api-post-redrive-start", authorizationType="JWT"),
        "Route api-post-redrive-start",
    ),
    *(
        ("redrive-by-iam", "ingestion", route(key, "JWT", to="api-redrive"), "Route more")
        for key in ("$default", "ANY /{proxy+}", "POST /anything")
    ),
    ("redrive-by-iam", "ingestion", route("POST /redrive/all", "JWT", to="somewhere"), "Route more"),
    ("access-logs", "ingestion", given("Stage api", accessLogSettings=None), "Stage api"),
    ("throttling", "ingestion", given("Stage api", defaultRouteSettings=None), "Stage api"),
    ("throttling", "dev", given("Stage api", defaultRouteSettings={"throttlingBurstLimit": 5}), "Stage api"),
    *(
        ("endpoint-policies", "ingestion", change, "VpcEndpoint network-sqs")
        for change in (
            given("VpcEndpoint network-sqs", policy=None),
            given("VpcEndpoint network-sqs", policy=OPEN_ENDPOINT),
            policy("VpcEndpoint network-sqs", everybody("sqs:*", StringEquals={"aws:SourceVpc": "vpc-1a2b3c4d"})),
            policy("VpcEndpoint network-sqs", everybody("sqs:*", StringEquals={"aws:ResourceAccount": ACCOUNT})),
            policy("VpcEndpoint network-sqs", everybody("sqs:*", StringLike={"aws:PrincipalOrgID": "o-*"})),
        )
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
    *(
        (
            "closed-security-groups",
            "dev",
            added("aws:ec2/securityGroupRule:SecurityGroupRule", "old", {"type": kind, **ranges}),
            "SecurityGroupRule old",
        )
        for kind in ("ingress", "egress")
        for ranges in (
            {"cidrBlocks": ["10.0.0.0/16", "0.0.0.0/0"]},
            {"cidrBlocks": ["0.0.0.0/1", "128.0.0.0/1"]},
            {"cidrBlocks": ["10.0.0.0/7"]},
            {"ipv6CidrBlocks": ["::/0"]},
            {"ipv6CidrBlocks": ["0::/0"]},
            {"ipv6CidrBlocks": ["2001:d00::/31"]},
        )
    ),
    ("functions-in-vpc", "ingestion", given("Function worker", vpcConfig=None), "Function worker"),
    ("functions-in-vpc", "dev", given("Function ingest", vpcConfig={"subnetIds": ["subnet-0a"]}), "Function worker"),
    ("functions-in-vpc", "iot", added("aws:ec2/vpc:Vpc", "own", {}), "Function worker"),
]


@pytest.mark.parametrize(("rule", "name", "change", "resource"), BROKEN)
def test_a_broken_rule_is_found_where_it_is_broken(rule: str, name: str, change: Change, resource: str) -> None:
    found = wrong(change, name)
    assert [(finding.rule, named(finding)) for finding in found] == [(rule, resource)]
    (finding,) = found
    assert finding.found
    assert finding.fix
    assert finding.why.startswith("https://docs.aws.amazon.com/")


def test_a_queue_that_feeds_a_function_is_under_the_key_though_a_bus_puts_its_dead_letters_there() -> None:
    graph = stack("ingestion")
    plain = given("Queue queue", kmsMasterKeyId=None, sqsManagedSseEnabled=True)
    there = dead_letters_to("EventBus outcomes", "queue")
    found = {(finding.rule, named(finding)) for finding in findings(changed(graph, all_of(plain, there)))}
    assert ("customer-key", "Queue queue") in found


def test_a_queues_policy_does_not_close_a_topic_of_its_name() -> None:
    def change(graph: Graph) -> Iterator[Registration]:
        queue = graph.find("aws:sqs/queue:Queue", "pipeline-queue").physical_name
        return added("aws:sns/topic:Topic", queue, {})(graph)

    (found,) = wrong(change, "dev")
    assert (found.rule, found.type) == ("tls-only", "aws:sns/topic:Topic")


def test_a_route_by_another_integration_leads_to_the_redrive_function_all_the_same() -> None:
    (redrive,) = [each for each in stack("ingestion") if named(each) == "Integration api-redrive"]
    uri = redrive.inputs["integrationUri"].replace("/invocations", ":live/invocations")
    (found,) = wrong(all_of(integration(uri), route("$default", "JWT", to="more")), "ingestion")
    assert (found.rule, named(found)) == ("redrive-by-iam", "Route more")
    assert (
        wrong(all_of(integration("https://shop.example.com"), route("$default", "JWT", to="more")), "ingestion") == []
    )


@cache
def rest_api() -> Graph:
    api = {"kind": "rest", "auth": "api_key", "access_logs": True}
    return synthesise(ROOT, "dev", {"api": api, "queue": {"redrive_api": True}})


def method(path: str, verb: str, authorization: str, resource: str, function: str = "ingest") -> Change:
    """A method more of a REST API, at `path` below a resource that is there, or at its root."""

    def change(graph: Graph) -> Iterator[Registration]:
        api = graph.of_type("aws:apigateway/stage:Stage")[0].inputs["restApi"]
        inputs = {"restApi": api, "httpMethod": verb}
        uri = (
            f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{graph.find(FUNCTION, f'pipeline-{function}').physical_name}"
        )
        part = added("aws:apigateway/resource:Resource", "part", {"restApi": api, "pathPart": path}, after=(resource,))
        at = ("Resource part",) if path else ()
        return all_of(
            *([part] if path else []),
            added("aws:apigateway/method:Method", "more", {**inputs, "authorization": authorization}, after=at),
            added("aws:apigateway/integration:Integration", "more", {**inputs, "uri": uri}, after=at),
        )(graph)

    return change


@pytest.mark.parametrize(
    ("change", "rule", "resource"),
    [
        (given("Method api-post-redrive-start", authorization="CUSTOM"), "redrive-by-iam", None),
        (method("{proxy+}", "ANY", "CUSTOM", "", function="redrive"), "redrive-by-iam", "Method more"),
        (method("", "POST", "CUSTOM", "", function="redrive"), "redrive-by-iam", "Method more"),
        (given("Method api-get-events-id", apiKeyRequired=False), "open-api", None),
        (given("RestApi api", body="{}"), "open-api", None),
        (method("{proxy+}", "ANY", "NONE", ""), "open-api", "Method more"),
        (method("", "GET", "NONE", ""), "open-api", "Method more"),
        (method("health", "GET", "NONE", "Resource api-events"), "open-api", "Method more"),
        (method("more", "GET", "NONE", "Resource api-health"), "open-api", "Method more"),
        (given("Stage api", accessLogSettings=None), "access-logs", None),
        (without("MethodSettings api"), "throttling", "Stage api"),
        (given("MethodSettings api", settings={"throttlingRateLimit": -1}), "throttling", "Stage api"),
        (given("MethodSettings api", settings={"loggingLevel": "INFO"}), "throttling", "Stage api"),
        (given("MethodSettings api", methodPath="events/POST"), "throttling", "Stage api"),
        (given("MethodSettings api", stageName="v2"), "throttling", "Stage api"),
    ],
)
def test_a_rest_api_is_looked_at_as_an_http_api_is(change: Change, rule: str, resource: str | None) -> None:
    assert findings(rest_api()) == []
    after = changed(rest_api(), change)
    (found,) = findings(after)
    touched = [named(each) for each in after if each.custom and each not in rest_api().resources]
    assert (found.rule, [named(found)]) == (rule, [resource] if resource else touched)


def test_a_method_is_called_by_verb_and_path() -> None:
    opened = [("", "", "GET /"), ("health", "Resource api-events", "GET /events/health")]
    for path, below, key in opened:
        (found,) = findings(changed(rest_api(), method(path, "GET", "NONE", below)))
        assert found.found == f"anybody may call {key}"


@pytest.mark.parametrize(
    "change",
    [
        method("{proxy+}", "ANY", "AWS_IAM", "", function="redrive"),
        method("{proxy+}", "ANY", "CUSTOM", ""),
        given("Method api-get-health", authorization="AWS_IAM"),
    ],
)
def test_methods_of_a_rest_api_that_ask_who_is_there_are_not_found(change: Change) -> None:
    assert findings(changed(rest_api(), change)) == []


REASON = "reads are public"


@pytest.mark.parametrize(
    ("resource", "reasons"),
    [
        ("pipeline-api-get-events", {"pipeline-api-get-events": REASON, "pipeline-api-post-events": None}),
        (None, {"pipeline-api-get-events": REASON, "pipeline-api-post-events": REASON}),
    ],
)
def test_what_is_accepted_says_why_and_the_rest_stays_wrong(
    resource: str | None, reasons: Mapping[str, str | None]
) -> None:
    opened = all_of(*(given(f"Route api-{verb}-events", authorizationType="NONE") for verb in ("get", "post")))
    entry = AcceptedFinding(rule="open-api", resource=resource, reason=REASON)
    found = findings(changed(stack("ingestion"), opened), [entry])
    assert {finding.name: finding.accepted for finding in found} == reasons
    assert {finding.rule for finding in found} == {"open-api"}


ROLE, ROLE_POLICY = "aws:iam/role:Role", "aws:iam/rolePolicy:RolePolicy"


@pytest.mark.parametrize("resource", ["pipeline-worker", None])
def test_what_is_accepted_of_one_type_stays_wrong_of_another_of_that_name(resource: str | None) -> None:
    all_actions = policy("RolePolicy worker", narrowed("Action", "sqs:*"))
    graph = changed(stack("iot"), all_of(all_actions, given("Role worker", managedPolicyArns=[ADMINISTRATOR])))
    entry = AcceptedFinding(rule="no-wildcard-actions", resource=resource, type=ROLE_POLICY, reason=REASON)
    found = findings(graph, [entry])
    assert {finding.type: finding.accepted for finding in found} == {ROLE: None, ROLE_POLICY: REASON}
    assert {finding.rule for finding in found} == {"no-wildcard-actions"}


def test_what_is_accepted_of_a_type_of_which_nothing_is_found_says_the_type() -> None:
    entry = AcceptedFinding(rule="no-wildcard-actions", resource="pipeline-worker", type=ROLE_POLICY, reason=REASON)
    graph = changed(stack("iot"), given("Role worker", managedPolicyArns=[ADMINISTRATOR]))
    wildcard, stale = findings(graph, [entry])
    assert (wildcard.rule, wildcard.accepted) == ("no-wildcard-actions", None)
    assert stale.found == (
        f"no-wildcard-actions of pipeline-worker ({ROLE_POLICY}) is accepted, and nothing of it is found"
    )


@pytest.mark.parametrize(
    ("rule", "resource"),
    [("open-api", "pipeline-api-get-events"), ("open-api", None), ("throttling", "pipeline-api-post-events")],
)
def test_what_is_accepted_and_not_there_is_found(rule: str, resource: str | None) -> None:
    opened = given("Route api-post-events", authorizationType="NONE")
    kept = AcceptedFinding(rule="open-api", resource="pipeline-api-post-events", reason=REASON)
    stale = AcceptedFinding(rule=rule, resource=resource, reason=REASON)
    graph = stack("ingestion") if resource is None else changed(stack("ingestion"), opened)
    *others, found = findings(graph, [stale] if resource is None else [kept, stale])
    assert [finding.accepted for finding in others] == ([] if resource is None else [REASON])
    assert (found.rule, found.accepted) == ("accepted-findings", None)
    assert found.found == f"{rule} of {resource or 'any resource'} is accepted, and nothing of it is found"


def test_an_endpoint_that_says_neither_type_nor_policy_is_found() -> None:
    def program() -> None:
        aws.ec2.VpcEndpoint("s3", vpc_id="vpc-1a2b3c4d", service_name="com.amazonaws.us-east-1.s3")

    (found,) = findings(synthesise(program=program))
    assert (found.rule, found.name) == ("endpoint-policies", "s3")


ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (given("Role worker", managedPolicyArns=[ADMINISTRATOR]), {"no-wildcard-actions"}),
        (
            given("Role worker", inlinePolicies=[{"name": "all", "policy": json.dumps({"Statement": EVERYTHING})}]),
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
        (
            given("Topic alerts", policy=json.dumps({"Statement": {**EVERYBODY, "Action": "sns:*"}})),
            {"no-wildcard-actions", "no-public-access"},
        ),
        (
            policy("QueuePolicy queue", narrowed("Effect", "Allow")),
            {"no-wildcard-actions", "no-public-access", "tls-only"},
        ),
        (given("Bucket bucket", policy=json.dumps({"Statement": EVERYBODY})), {"no-public-access"}),
        (added("aws:lambda/eventSourceMapping:EventSourceMapping", "kafka", {"topics": ["a"]}), set()),
    ],
)
def test_what_our_own_program_does_not_do_but_a_users_may_is_understood(change: Change, found: set[str]) -> None:
    assert {finding.rule for finding in wrong(change, "dev")} == found


def test_each_rule_has_a_stack_that_breaks_it() -> None:
    assert {rule for rule, *_ in BROKEN} == {rule.name for rule in RULES}
    assert len({rule.name for rule in RULES}) == len(RULES)


def told_of_its_name(graph: Graph) -> Iterator[Registration]:
    """A queue that is called like a function is told."""
    name = graph.find(FUNCTION, "pipeline-worker").physical_name
    endpoint = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{name}"
    inputs = {"protocol": "sqs", "endpoint": endpoint, "redrivePolicy": json.dumps({"deadLetterTargetArn": endpoint})}
    return added("aws:sns/topicSubscription:TopicSubscription", "told", inputs)(graph)


def alarm_of_the_queue(graph: Graph) -> Iterator[Registration]:
    """An alarm like that on the dead letters, on the queue that they come from."""
    (one,) = [each for each in graph if named(each) == "MetricAlarm watch-dead-letters"]
    queue = graph.find("aws:sqs/queue:Queue", "pipeline-queue").physical_name
    return added(one.type, "watch-queue", {**one.inputs, "dimensions": {"QueueName": queue}})(graph)


def policy_with_the_queue(graph: Graph) -> Iterator[Registration]:
    """What `aws.sqs.QueuePolicy` says, said by the queue itself."""
    document = graph.find("aws:sqs/queuePolicy:QueuePolicy", "pipeline-queue").inputs["policy"]
    return given("Queue queue", policy=document)(graph)


def redrive_policy_of_its_own(graph: Graph) -> Iterator[Registration]:
    """What `aws.sqs.RedrivePolicy` says of a queue that says nothing itself."""
    names = {each.name: each.physical_name for each in graph.of_type("aws:sqs/queue:Queue")}
    target = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{names['pipeline-queue-dead-letters']}"
    inputs = {
        "queueUrl": f"https://sqs.us-east-1.amazonaws.com/{ACCOUNT}/{names['pipeline-queue']}",
        "redrivePolicy": json.dumps({"deadLetterTargetArn": target, "maxReceiveCount": 5}),
    }
    return added("aws:sqs/redrivePolicy:RedrivePolicy", "queue", inputs)(graph)


@pytest.mark.parametrize(
    "change",
    [
        variable("DATABASE_PASSWORD", f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:shop"),
        variable("API_KEY", "/shop/api-key"),
        variable("API_TOKEN_NAME", "shop"),
        variable("SECRETS", json.dumps({"token": f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:shop-AbC123"})),
        variable("COMPASS_KEYBOARD_BYPASS", "true"),
        variable("SHOP_URL", "https://shop.example:443/orders?at=12:30@home"),
        added(
            "aws:ssm/parameter:Parameter", "at", {"type": "String", "name": "/shop/api-key", "value": "/shop/key-v2"}
        ),
        variable("API_TOKEN_ARN", "shop"),
        policy("RolePolicy worker", allow(["xray:PutTraceSegments"], ["*"])),
        policy("QueuePolicy queue", service("events.amazonaws.com", StringEquals={"aws:SourceAccount": ACCOUNT})),
        policy("QueuePolicy queue", service("events.amazonaws.com", StringEquals={"AWS:sourceaccount": int(ACCOUNT)})),
        *(
            policy("BucketPolicy bucket", everybody("s3:GetObject", **{operator: {f"aws:{key}": value}}))
            for operator, key, value in (
                ("StringEquals", "PrincipalAccount", ACCOUNT),
                ("StringEquals", "PrincipalOrgID", "o-a1b2c3d4e5"),
                ("ArnEquals", "PrincipalArn", f"arn:aws:iam::{ACCOUNT}:role/reader"),
                ("StringEquals", "SourceAccount", [ACCOUNT, "210987654321"]),
                ("StringLike", "SourceOrgID", "o-a1b2c3d4e5"),
                ("ArnLike", "SourceArn", f"arn:aws:sns:r:{ACCOUNT}:*"),
                ("StringEquals", "SourceVpc", "vpc-1a2b3c4d"),
                ("StringEquals", "SourceVpce", "vpce-1a2b3c4d"),
            )
        ),
        policy("QueuePolicy queue", lambda statements: statements.append({**EVERY_EVENT, "Effect": "Deny"})),
        policy("QueuePolicy queue", narrowed("Action", "*")),
        policy("QueuePolicy queue", narrowed("Resource", "*")),
        given("Permission api", principal=ACCOUNT, sourceArn=None),
        all_of(told("worker"), dead_letters_of_the_worker, alarm_of_the_queue),
        all_of(told("worker"), kept("")),
        all_of(told("worker"), kept("", qualifier="$LATEST")),
        all_of(told("worker", ":live"), kept("", qualifier="live")),
        all_of(told("worker", ":live"), kept(":live")),
        told_of_its_name,
        added("aws:ssm/parameter:Parameter", "key", {"type": "SecureString", "value": A_KEY}),
        added("aws:kms/key:Key", "of-somebody-else", {"enableKeyRotation": True, "policy": '{"Statement": []}'}),
        added("aws:cloudwatch/eventBus:EventBus", "without-a-key", {}),
        *(
            added("aws:sns/topicSubscription:TopicSubscription", "ops", {"protocol": by, "endpoint": "a@example.com"})
            for by in ("email", "email-json", "sms")
        ),
        all_of(federated(GITHUB_PROVIDER), policy("Role worker", last_denied, "assumeRolePolicy")),
        federated(GITHUB_PROVIDER, StringLike={f"{GITHUB}:sub": "repo:shop/orders:*"}),
        alarm(threshold=0, comparisonOperator="GreaterThanThreshold"),
        alarm(unit="Count"),
        alarm(period=300),
        alarm(evaluationPeriods=1440, datapointsToAlarm=1),
        alarm(threshold=0.5, statistic=None, extendedStatistic="p99"),
        policy("RolePolicy worker", lambda statements: statements.append({**EVERYTHING, "Effect": "Deny"})),
        all_of(given("Queue queue", redrivePolicy=None), redrive_policy_of_its_own),
        all_of(policy_with_the_queue, without("QueuePolicy queue")),
        reading(
            STREAM, destinationConfig={"onFailure": {"destinationArn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:elsewhere"}}
        ),
        added(NOTIFICATION, "of-nobody", {"bucket": "b", "lambdaFunctions": [{"events": ["s3:ObjectCreated:*"]}]}),
        given("Queue queue-dead-letters", kmsMasterKeyId="alias/aws/sqs"),
        added("aws:ec2/securityGroupRule:SecurityGroupRule", "old", {"type": "ingress", **OWN_ADDRESSES}),
    ],
)
def test_what_is_as_it_should_be_is_not_found(change: Change) -> None:
    assert wrong(change, "dev") == []


@pytest.mark.parametrize(
    "change",
    [
        given("FunctionEventInvokeConfig breaker", qualifier="$LATEST"),
        route("$default", "JWT"),
        route("GET /health", "NONE"),
        route("GET /redriven", "JWT"),
        route("$default", "AWS_IAM", to="api-redrive"),
        policy("VpcEndpoint network-sqs", everybody("sqs:*", StringEquals={"aws:PrincipalOrgID": "o-a1b2c3d4e5"})),
        policy("VpcEndpoint network-sqs", lambda statements: statements.append({**EVERYBODY, "Effect": "Deny"})),
        policy("VpcEndpoint network-sqs", narrowed("Condition", {"ArnLike": {"aws:PrincipalArn": ROLES}})),
        of_the_key(["kms:DescribeKey"]),
        of_the_key(["kms:Decrypt"], Condition={"StringEquals": {"aws:SourceAccount": ACCOUNT}}),
        *(
            policy("Key key", edit)
            for edit in (
                everybody("kms:Decrypt", ArnLike={"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/reader-*"}),
                everybody("kms:Decrypt", ArnLike={"aws:SourceArn": f"arn:aws:sns:us-east-1:{ACCOUNT}:*"}),
                everybody("kms:DescribeKey", StringEquals={"kms:CallerAccount": ACCOUNT}),
                by_iam(ArnEquals={"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:user/ann"}),
                by_iam(StringLike={"kms:ViaService": "dynamodb.*.amazonaws.com"}),
                by_iam(Bool={"kms:GrantIsForAWSResource": True}),
            )
        ),
    ],
)
def test_what_is_as_it_should_be_in_a_hardened_stack_is_not_found(change: Change) -> None:
    assert wrong(change, "ingestion") == []


def test_the_list_of_what_nobody_can_limit_is_short_and_has_reasons() -> None:
    assert {action.partition(":")[0] for action in UNLIMITED} == {"xray", "ec2"}
    assert all(UNLIMITED.values())
