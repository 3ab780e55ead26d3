"""The rules: every shipped stack keeps all of them, except for what its own file accepts; each finds what breaks it."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pulumi_aws as aws
import pytest

from cli.check import accepted_findings
from components.options.common import AcceptedFinding
from local.monitor import Registration
from local.project import load_project
from local.recording import ACCOUNT, Graph, synthesise
from local.rules import RULES, Finding, findings
from local.rules.rights import UNLIMITED
from tests.graph_changes import (
    ELSEWHERE,
    QUEUE,
    STREAM,
    Change,
    added,
    alarm,
    alarm_of_the_queue,
    alarm_on_a_sum,
    all_of,
    allow,
    appended,
    by_iam,
    changed,
    dead_letters_of_a_schedule,
    dead_letters_of_a_stream,
    dead_letters_of_the_worker,
    dead_letters_to,
    everybody,
    federated,
    given,
    integration,
    invoked,
    kept,
    last_denied,
    method,
    named,
    narrowed,
    of_the_key,
    policy,
    policy_with_the_queue,
    reading,
    redrive_policy_of_its_own,
    route,
    service,
    tells_the_worker,
    told,
    told_of_its_name,
    unconditional,
    under_the_key,
    variable,
    without,
)
from tests.graphs import SAMPLES, STACKS, graph_of

ROOT = Path(__file__).parents[2]

A_KEY = "AKIAIOSFODNN7EXAMPLE"  # pragma: allowlist secret
# In pieces, so that a scan for secrets finds none in this file.
SECRETS = (
    "https" + "://shop:" + "hunter2" + "@shop.example",
    "sk_" + "live_" + 24 * "4",
    "github_" + "pat_" + 82 * "1",
    "eyJ" + 17 * "h" + ".eyJ" + 24 * "z" + ".c2ln",
    "redis" + "://:" + "hunter2" + "@cache.example:6379",
)
SECRET_NAMES = (
    *("DATABASE_PASSWORD", "PGPASSWORD", "MYSQL_PWD", "DB_PASS", "dbPassword", "SIGNING_KEY", "SECRET_KEY"),
    *("SECRET", "KEY_PASSPHRASE", "shopAPIKey", "apikey"),
)
ANOTHER = "999999999999"
ROLES = f"arn:aws:iam::{ACCOUNT}:role/*"
GITHUB = "token.actions.githubusercontent.com"
GITHUB_PROVIDER = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{GITHUB}"
TABLE_STREAM = f"arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/t/stream/2026-01-01T00:00:00.000"

EVERYBODY = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "x"}
EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}
EVERY_EVENT = {"Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": "x"}
ALL_BUT_ONE = {
    "Effect": "Allow",
    "NotPrincipal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
    "Action": "s3:GetObject",
    "Resource": "x",
}
OPEN_ENDPOINT = json.dumps({"Statement": {**EVERYTHING, "Principal": "*"}})
OWN_ADDRESSES = {"cidrBlocks": ["10.1.2.3/16", "10.0.0.0/8"], "ipv6CidrBlocks": ["2001:db8::/32"]}

SUBNET, PARAMETER, BUS = "aws:ec2/subnet:Subnet", "aws:ssm/parameter:Parameter", "aws:cloudwatch/eventBus:EventBus"
SCHEDULE, TARGET = "aws:scheduler/schedule:Schedule", "aws:cloudwatch/eventTarget:EventTarget"
SUBSCRIPTION = "aws:sns/topicSubscription:TopicSubscription"
SECURITY_GROUP_RULE = "aws:ec2/securityGroupRule:SecurityGroupRule"
NOTIFICATION = "aws:s3/bucketNotification:BucketNotification"
ROLE, ROLE_POLICY = "aws:iam/role:Role", "aws:iam/rolePolicy:RolePolicy"
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"


@cache
def accepted(name: str) -> tuple[AcceptedFinding, ...]:
    return accepted_findings(load_project(SAMPLES, name))


def wrong(change: Change, name: str) -> list[Finding]:
    """Return what is found in a shipped stack after a change, and not accepted by its file."""
    found = findings(changed(graph_of(name), change), accepted(name))
    return [finding for finding in found if finding.accepted is None]


@pytest.mark.parametrize("name", STACKS)
def test_every_shipped_stack_keeps_every_rule_except_accepted_findings(name: str) -> None:
    assert wrong(all_of(), name) == []


def test_only_the_open_stacks_accept_a_finding_namely_that_they_are_open() -> None:
    of_rules = {name: {one.rule for one in accepted(name)} for name in STACKS}
    assert {name: rules for name, rules in of_rules.items() if rules} == {
        "analytics": {"open-api"},
        "dev": {"open-api"},
    }


def test_stacks_with_a_key_and_a_network_keep_every_rule() -> None:
    own = {"encryption": {"customer_key": {}}, "network": {"vpc": {}}, "tracing": True}
    for name in ("csv", "iot"):
        assert findings(graph_of(name, own)) == []


# By rule, stack and resource found: changes that break the rule, each alone. A mapping is other inputs of the resource.
BROKEN: Mapping[tuple[str, str, str], list[Change | Mapping[str, Any]]] = {
    ("refused-request", "dev", "Function worker"): [{"memorySize": 64}, {"runtime": "python2.7x"}],
    ("time-for-a-batch", "dev", "EventSourceMapping worker"): [
        # An event that needs a second had half of one behind nine others, and opened the circuit.
        given("Function worker", timeout=10),
        {"batchSize": 30},
    ],
    ("encrypted-at-rest", "dev", "Queue queue"): [{"sqsManagedSseEnabled": None}],
    ("encrypted-at-rest", "dev", "Bucket bucket"): [
        without("BucketServerSideEncryptionConfiguration bucket"),
        given("BucketServerSideEncryptionConfiguration bucket", rules=[]),
    ],
    ("customer-key", "ingestion", "Queue queue-dead-letters"): [{"kmsMasterKeyId": None, "sqsManagedSseEnabled": True}],
    ("customer-key", "ingestion", "Queue queue"): [{"kmsMasterKeyId": "alias/aws/sqs"}],
    ("customer-key", "ingestion", "Topic alerts"): [
        {"kmsMasterKeyId": None},
        {"kmsMasterKeyId": f"arn:aws:kms:us-east-1:{ACCOUNT}:alias/aws/sns"},
    ],
    ("customer-key", "ingestion", "Table table"): [
        {"serverSideEncryption": None},
        {"serverSideEncryption": {"enabled": True}},
        {"serverSideEncryption": {"enabled": False, "kmsKeyArn": f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234abcd"}},
    ],
    ("customer-key", "ingestion", "LogGroup worker"): [{"kmsKeyId": None}],
    ("customer-key", "ingestion", "Function ingest"): [{"kmsKeyArn": None}],
    ("customer-key", "ingestion", "BucketServerSideEncryptionConfiguration bucket"): [
        {"rules": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}]},
        {
            "rules": [
                {"applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": "alias/aws/s3"}}
            ]
        },
        {"rules": [{"bucketKeyEnabled": True}]},
    ],
    ("customer-key", "ingestion", "EventBus outcomes"): [{"kmsKeyIdentifier": None}],
    ("customer-key", "ingestion", "Key key"): [{"enableKeyRotation": None}],
    # The dead letters of the bus are outside of the key, unless something else has its dead letters there, too.
    ("customer-key", "ingestion", "Queue outcomes-dead-letters"): [
        dead_letters_to("Function worker", "outcomes-dead-letters")
    ],
    ("key-users", "ingestion", "Key key"): [
        {"policy": None},
        *(
            policy("Key key", edit)
            for edit in (
                unconditional(1),
                unconditional(2),
                narrowed("Action", "kms:*"),
                narrowed("Action", "kms:Create*"),
                narrowed("Action", "KMS:decrypt"),
                narrowed("Action", ["kms:PutKeyPolicy", "kms:Decrypt"]),
                lambda statements: statements[0].update(Action="*", Principal={"AWS": [ACCOUNT]}),
                lambda statements: statements[0].update(NotAction="kms:PutKeyPolicy", Action=[]),
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
    ],
    ("tls-only", "dev", "Queue queue-dead-letters"): [without("QueuePolicy queue-dead-letters")],
    ("tls-only", "dev", "Bucket bucket"): [
        policy("BucketPolicy bucket", list.clear),
        policy("BucketPolicy bucket", lambda statements: statements[0]["Resource"].pop()),
        policy("BucketPolicy bucket", lambda statements: statements[0]["Resource"].pop(0)),
    ],
    ("tls-only", "dev", "Topic alerts"): [
        policy("TopicPolicy alerts", unconditional(0)),
        policy("TopicPolicy alerts", narrowed("Action", "sns:Subscribe")),
    ],
    ("tls-only", "dev", "Queue queue"): [
        policy("QueuePolicy queue", narrowed("Action", "sqs:SendMessage")),
        policy("QueuePolicy queue", narrowed("Resource", ["arn:aws:sqs:r:a:else"])),
        policy("QueuePolicy queue", narrowed("Principal", {"AWS": ACCOUNT})),
    ],
    ("log-retention", "dev", "LogGroup api-access"): [{"retentionInDays": None}],
    ("log-retention", "dev", "Function worker"): [{"loggingConfig": None}],
    ("no-wildcard-actions", "dev", "RolePolicy worker"): [
        policy("RolePolicy worker", narrowed("Action", [action]))
        for action in ("sqs:*", "sqs:Delete?essage", "?qs:DeleteMessage")
    ],
    ("no-wildcard-actions", "dev", "Permission api"): [{"action": "lambda:*"}],
    ("known-actions", "dev", "RolePolicy worker"): [
        policy("RolePolicy worker", allow([action], [f"arn:aws:sqs:us-east-1:{ACCOUNT}:queue"]))
        for action in ("sqs:SendMesage", "dynamodb:PartiQLUpsert", "states:StartExecutions", "ses:sendmail", "kms:")
    ],
    ("no-wildcard-resources", "dev", "RolePolicy worker"): [
        policy("RolePolicy worker", allow(["sqs:SendMessage"], ["*"])),
        policy("RolePolicy worker", allow(["sqs:SendMessage"], [f"arn:aws:sqs:us-east-1:{ACCOUNT}:queue-?"])),
        policy("RolePolicy worker", allow(["s3:GetObject"], ["arn:aws:s3:::*"])),
        # The names of the stack's things begin these, which are about others, too.
        policy("RolePolicy worker", allow(["sqs:SendMessage"], [f"arn:aws:sqs:us-east-1:{ACCOUNT}:pipeline-queue*"])),
        all_of(added(SUBNET, "s3", {}), policy("RolePolicy worker", allow(["s3:GetObject"], ["arn:aws:s3:::*"]))),
    ],
    ("no-wildcard-resources", "dev", "RolePolicy ingest"): [
        policy("RolePolicy ingest", allow(["dynamodb:Query"], [f"arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/*"]))
    ],
    ("no-public-access", "csv", "Bucket input"): [
        given("BucketPublicAccessBlock input", blockPublicAcls=False),
        given("BucketPublicAccessBlock input", blockPublicPolicy=False),
        given("BucketPublicAccessBlock input", ignorePublicAcls=False),
        given("BucketPublicAccessBlock input", restrictPublicBuckets=None),
    ],
    ("no-public-access", "csv", "Bucket output"): [without("BucketPublicAccessBlock output")],
    ("no-public-access", "dev", "Bucket bucket"): [
        given("BucketOwnershipControls bucket", rule={"objectOwnership": "ObjectWriter"})
    ],
    ("no-public-access", "ingestion", "Key key"): [policy("Key key", everybody("kms:Decrypt"))],
    ("no-public-access", "dev", "BucketPolicy bucket"): [
        policy("BucketPolicy bucket", edit)
        for edit in (
            appended(EVERYBODY),
            appended(ALL_BUT_ONE),
            everybody("s3:GetObject", Bool={"aws:SecureTransport": "true"}),
            everybody("s3:GetObject", StringLike={"aws:SourceAccount": "*"}),
            everybody("s3:GetObject", StringEquals={"aws:PrincipalOrgID": ["o-a1b2c3d4e5", "*"]}),
            everybody("s3:GetObject", ArnLike={"aws:SourceArn": "arn:aws:sns:*:*:*"}),
            everybody("s3:GetObject", StringNotEquals={"aws:SourceAccount": ACCOUNT}),
        )
    ],
    ("no-public-access", "dev", "Permission api"): [{"principal": "*"}],
    ("no-public-access", "dev", "Role worker"): [
        policy("Role worker", everybody("sts:AssumeRole"), "assumeRolePolicy"),
        federated(GITHUB_PROVIDER),
        federated(GITHUB_PROVIDER, StringEquals={f"{GITHUB}:aud": "sts.amazonaws.com"}),
        federated(GITHUB_PROVIDER, StringLike={f"{GITHUB}:sub": "*"}),
        federated(GITHUB_PROVIDER, StringLike={f"{GITHUB}:sub": ["repo:shop/orders:*", "repo:*"]}),
        federated(GITHUB_PROVIDER, StringNotEquals={f"{GITHUB}:sub": "repo:shop/orders:ref:refs/heads/main"}),
        federated("accounts.google.com", StringEquals={"accounts.google.com:aud": "66677788899"}),
    ],
    ("confused-deputy", "dev", "QueuePolicy queue"): [
        policy("QueuePolicy queue", edit)
        for edit in (
            service("lambda.amazonaws.com"),
            service("events.amazonaws.com", action="kms:DescribeKey"),
            service("s3.amazonaws.com", ArnLike={"aws:SourceArn": "arn:aws:s3:::a"}),
            *(
                service("events.amazonaws.com", **condition)
                for condition in (
                    {"StringLike": {"aws:SourceAccount": "*"}},
                    {"StringEquals": {"aws:SourceAccount": ANOTHER}},
                    {"StringEquals": {"aws:SourceAccount": [ACCOUNT, ANOTHER]}},
                    {"StringEquals": {"aws:SourceAccount": [ACCOUNT, "*"]}},
                    {"StringEquals": {"aws:SourceAccount": 1}},
                    {"StringEquals": {"aws:ResourceAccount": ACCOUNT}},
                    {"ArnLike": {"aws:SourceArn": f"arn:aws:events:us-east-1:{ANOTHER}:rule/*"}},
                    {"ArnLike": {"aws:SourceArn": f"arn:aws:events:u?:{ACCOUNT}:rule/*"}},
                    {"ArnLike": {"aws:ResourceArn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:queue"}},
                )
            ),
        )
    ],
    ("confused-deputy", "csv", "QueuePolicy queue"): [policy("QueuePolicy queue", unconditional(1))],
    ("confused-deputy", "ingestion", "Key key"): [
        policy("Key key", unconditional(3)),
        of_the_key(["kms:DescribeKey", "kms:Decrypt"]),
        of_the_key(["kms:Decrypt"]),
        of_the_key(
            ["kms:Decrypt"],
            Condition={"ArnLike": {"kms:EncryptionContext:aws:x": f"arn:aws:events:r:{ANOTHER}:event-bus/*"}},
        ),
    ],
    ("confused-deputy", "dev", "Role worker"): [
        policy("Role worker", service("scheduler.amazonaws.com"), "assumeRolePolicy")
    ],
    ("confused-deputy", "dev", "Permission api"): [
        {"sourceArn": None},
        {"sourceArn": f"arn:aws:execute-api:us-east-1:{ANOTHER}:api/*/*"},
    ],
    ("confused-deputy", "iot", "Permission worker"): [
        {"sourceAccount": None},
        {"sourceAccount": ANOTHER},
        {"sourceArn": None},
    ],
    ("queue-dead-letters", "dev", "Queue queue"): [{"redrivePolicy": None}],
    ("failed-events", "iot", "Function worker"): [
        without("FunctionEventInvokeConfig worker"),
        given("FunctionEventInvokeConfig worker", destinationConfig=None),
        given("FunctionEventInvokeConfig worker", qualifier="other"),
        told("worker", ":live"),
    ],
    ("failed-events", "dev", "Function worker"): [
        told("worker"),
        told("worker", ":live"),
        invoked(SCHEDULE),
        invoked(TARGET),
    ],
    ("failed-events", "ingestion", "Function worker"): [tells_the_worker("onSuccess"), tells_the_worker("onFailure")],
    ("failed-events", "dev", "EventSourceMapping reads"): [
        reading(TABLE_STREAM),
        reading(STREAM, destinationConfig={}),
        reading(STREAM, destinationConfig={"onFailure": {}}),
    ],
    ("undelivered-events", "dev", "EventTarget tell"): [
        added(TARGET, "tell", {"arn": "arn:aws:sns:r:a:t"}),
        added(TARGET, "tell", {"arn": "arn:aws:sns:r:a:t", "deadLetterConfig": {}}),
    ],
    ("undelivered-events", "dev", "Schedule nightly"): [
        added(SCHEDULE, "nightly", {"target": {"arn": "arn:aws:lambda:r:a:function:f"}})
    ],
    ("undelivered-events", "dev", "TopicSubscription pager"): [
        added(SUBSCRIPTION, "pager", {"protocol": "lambda", "endpoint": "arn:aws:lambda:r:a:function:f"})
    ],
    ("undelivered-events", "ingestion", "EventBus outcomes"): [
        all_of(given("EventBus outcomes", deadLetterConfig=None), without("Queue outcomes-dead-letters")),
        under_the_key("outcomes-dead-letters"),
    ],
    ("dead-letter-alarm", "dev", "Queue queue-dead-letters"): [
        without("MetricAlarm watch-dead-letters"),
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
        alarm_on_a_sum("visible - hidden"),
        alarm_on_a_sum("visible"),
        alarm_on_a_sum("hidden + hidden"),
        alarm_on_a_sum("IF(visible + hidden > 10, visible + hidden, 0)"),
        alarm_on_a_sum(of="visible", metricName="NumberOfMessagesSent"),
        alarm_on_a_sum(dimensions={"QueueName": "another"}),
        alarm_on_a_sum(of="both", dimensions={"QueueName": "another"}),
        alarm_on_a_sum(of="both", stat="Minimum"),
        alarm_on_a_sum(of="both", period=600),
    ],
    ("dead-letter-alarm", "ingestion", "Queue outcomes-dead-letters"): [
        without("MetricAlarm watch-outcomes-dead-letters")
    ],
    ("dead-letter-alarm", "dev", "Queue queue"): [
        dead_letters_of_the_worker,
        dead_letters_of_a_schedule,
        dead_letters_of_a_stream,
    ],
    ("alarm-actions", "iot", "MetricAlarm watch-dead-letters"): [
        {"alarmActions": None},
        {"alarmActions": []},
        {"actionsEnabled": False},
    ],
    ("no-secrets-in-plain-text", "dev", "Function worker"): [
        *(variable(name, "hunter2") for name in SECRET_NAMES),
        *(variable("SETTING", value) for value in (A_KEY, *SECRETS)),
        # None of these is where a secret is kept.
        *(variable("DB_PASS", value) for value in ("/hunter2", "arn:aws:ssm:hunter2", "/shop/db hunter2")),
    ],
    ("no-secrets-in-plain-text", "ingestion", "Parameter breaker"): [
        {"value": A_KEY},
        {"value": None, "insecureValue": A_KEY},
        {"name": "/shop/db-password"},
    ],
    ("open-api", "ingestion", "Route more"): [
        route("$default"),
        route("ANY /{proxy+}", "NONE"),
        route("ANY /health"),
        route("GET /health/all"),
    ],
    ("open-api", "ingestion", "Route api-get-events-id"): [{"authorizationType": None}],
    ("open-api", "ingestion", "Api api"): [{"target": "arn:aws:lambda:r:a:function:f"}, {"body": "{}"}],
    ("redrive-by-iam", "ingestion", "Route api-post-redrive-start"): [{"authorizationType": "JWT"}],
    ("redrive-by-iam", "ingestion", "Route more"): [
        *(route(key, "JWT", to="api-redrive") for key in ("$default", "ANY /{proxy+}", "POST /anything")),
        route("POST /redrive/all", "JWT", to="somewhere"),
    ],
    ("access-logs", "ingestion", "Stage api"): [{"accessLogSettings": None}],
    ("throttling", "ingestion", "Stage api"): [{"defaultRouteSettings": None}],
    ("throttling", "dev", "Stage api"): [{"defaultRouteSettings": {"throttlingBurstLimit": 5}}],
    ("endpoint-policies", "ingestion", "VpcEndpoint network-sqs"): [
        {"policy": None},
        {"policy": OPEN_ENDPOINT},
        *(
            policy("VpcEndpoint network-sqs", everybody("sqs:*", **condition))
            for condition in (
                {"StringEquals": {"aws:SourceVpc": "vpc-1a2b3c4d"}},
                {"StringEquals": {"aws:ResourceAccount": ACCOUNT}},
                {"StringLike": {"aws:PrincipalOrgID": "o-*"}},
            )
        ),
    ],
    ("closed-security-groups", "ingestion", "SecurityGroup network-endpoints"): [
        {"ingress": [{"cidrBlocks": ["0.0.0.0/0"]}]},
        {"egress": [{"ipv6CidrBlocks": ["::/0"]}]},
    ],
    ("closed-security-groups", "ingestion", "SecurityGroupIngressRule network-endpoints"): [{"cidrIpv6": "::/0"}],
    ("closed-security-groups", "ingestion", "SecurityGroupEgressRule network-s3"): [{"cidrIpv4": "0.0.0.0/0"}],
    ("closed-security-groups", "dev", "SecurityGroupRule old"): [
        added(SECURITY_GROUP_RULE, "old", {"type": kind, **ranges})
        for kind in ("ingress", "egress")
        for ranges in (
            {"cidrBlocks": ["10.0.0.0/16", "0.0.0.0/0"]},
            {"cidrBlocks": ["0.0.0.0/1", "128.0.0.0/1"]},
            {"cidrBlocks": ["10.0.0.0/7"]},
            {"ipv6CidrBlocks": ["::/0"]},
            {"ipv6CidrBlocks": ["0::/0"]},
            {"ipv6CidrBlocks": ["2001:d00::/31"]},
        )
    ],
    ("functions-in-vpc", "ingestion", "Function worker"): [{"vpcConfig": None}],
    ("functions-in-vpc", "dev", "Function worker"): [given("Function ingest", vpcConfig={"subnetIds": ["subnet-0a"]})],
    ("functions-in-vpc", "csv", "Function worker"): [added("aws:ec2/vpc:Vpc", "own", {})],
}


def cases() -> Iterator[Any]:
    for (rule, name, resource), changes in BROKEN.items():
        for number, each in enumerate(changes, 1):
            change = given(resource, **each) if isinstance(each, Mapping) else each
            yield pytest.param(rule, name, change, resource, id=f"{rule}, {name}, {resource}, {number}")


@pytest.mark.parametrize(("rule", "name", "change", "resource"), list(cases()))
def test_a_broken_rule_is_found_where_it_is_broken(rule: str, name: str, change: Change, resource: str) -> None:
    found = wrong(change, name)
    assert [(finding.rule, named(finding)) for finding in found] == [(rule, resource)]
    (finding,) = found
    assert finding.found
    assert finding.fix
    assert finding.why.startswith("https://docs.aws.amazon.com/")


def test_each_rule_has_a_stack_that_breaks_it() -> None:
    assert {rule for rule, _, _ in BROKEN} == {rule.name for rule in RULES}
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_a_queue_that_feeds_a_function_needs_the_key_even_if_it_has_a_buss_dead_letters() -> None:
    graph = graph_of("ingestion")
    plain = given("Queue queue", kmsMasterKeyId=None, sqsManagedSseEnabled=True)
    there = dead_letters_to("EventBus outcomes", "queue")
    found = {(finding.rule, named(finding)) for finding in findings(changed(graph, all_of(plain, there)))}
    assert ("customer-key", "Queue queue") in found


def test_a_queues_policy_does_not_cover_a_topic_of_the_same_name() -> None:
    def change(graph: Graph) -> Iterator[Registration]:
        queue = graph.find(QUEUE, "pipeline-queue").physical_name
        return added("aws:sns/topic:Topic", queue, {})(graph)

    (found,) = wrong(change, "dev")
    assert (found.rule, found.type) == ("tls-only", "aws:sns/topic:Topic")


def test_a_route_that_reaches_the_redrive_function_by_another_integration_is_found() -> None:
    (redrive,) = [each for each in graph_of("ingestion") if named(each) == "Integration api-redrive"]
    uri = redrive.inputs["integrationUri"].replace("/invocations", ":live/invocations")
    (found,) = wrong(all_of(integration(uri), route("$default", "JWT", to="more")), "ingestion")
    assert (found.rule, named(found)) == ("redrive-by-iam", "Route more")
    assert (
        wrong(all_of(integration("https://shop.example.com"), route("$default", "JWT", to="more")), "ingestion") == []
    )


def rest_api() -> Graph:
    api = {"kind": "rest", "auth": "api_key", "access_logs": True}
    return graph_of(config={"api": api, "queue": {"redrive_api": {}}})


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
def test_the_rules_of_http_apis_hold_for_rest_apis(change: Change, rule: str, resource: str | None) -> None:
    assert findings(rest_api()) == []
    after = changed(rest_api(), change)
    (found,) = findings(after)
    touched = [named(each) for each in after if each.custom and each not in rest_api().resources]
    assert (found.rule, [named(found)]) == (rule, [resource] if resource else touched)


def test_a_finding_names_a_method_by_verb_and_path() -> None:
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
def test_authorized_methods_of_a_rest_api_are_not_found(change: Change) -> None:
    assert findings(changed(rest_api(), change)) == []


REASON = "reads are public"


@pytest.mark.parametrize(
    ("resource", "reasons"),
    [
        ("pipeline-api-get-events", {"pipeline-api-get-events": REASON, "pipeline-api-post-events": None}),
        (None, {"pipeline-api-get-events": REASON, "pipeline-api-post-events": REASON}),
    ],
)
def test_an_accepted_finding_has_its_reason_and_the_others_stay_wrong(
    resource: str | None, reasons: Mapping[str, str | None]
) -> None:
    opened = all_of(*(given(f"Route api-{verb}-events", authorizationType="NONE") for verb in ("get", "post")))
    entry = AcceptedFinding(rule="open-api", resource=resource, reason=REASON)
    found = findings(changed(graph_of("ingestion"), opened), [entry])
    assert {finding.name: finding.accepted for finding in found} == reasons
    assert {finding.rule for finding in found} == {"open-api"}


@pytest.mark.parametrize("resource", ["pipeline-worker", None])
def test_a_finding_accepted_for_one_type_stays_wrong_for_another_of_the_same_name(resource: str | None) -> None:
    all_actions = policy("RolePolicy worker", narrowed("Action", "sqs:*"))
    graph = changed(graph_of("iot"), all_of(all_actions, given("Role worker", managedPolicyArns=[ADMINISTRATOR])))
    entry = AcceptedFinding(rule="no-wildcard-actions", resource=resource, type=ROLE_POLICY, reason=REASON)
    found = findings(graph, [entry])
    assert {finding.type: finding.accepted for finding in found} == {ROLE: None, ROLE_POLICY: REASON}
    assert {finding.rule for finding in found} == {"no-wildcard-actions"}


def test_a_stale_entry_with_a_type_is_found_and_names_the_type() -> None:
    entry = AcceptedFinding(rule="no-wildcard-actions", resource="pipeline-worker", type=ROLE_POLICY, reason=REASON)
    graph = changed(graph_of("iot"), given("Role worker", managedPolicyArns=[ADMINISTRATOR]))
    wildcard, stale = findings(graph, [entry])
    assert (wildcard.rule, wildcard.accepted) == ("no-wildcard-actions", None)
    assert stale.found == (f"no-wildcard-actions of pipeline-worker ({ROLE_POLICY}) is accepted, but was not found")


@pytest.mark.parametrize(
    ("rule", "resource"),
    [("open-api", "pipeline-api-get-events"), ("open-api", None), ("throttling", "pipeline-api-post-events")],
)
def test_a_stale_entry_is_found(rule: str, resource: str | None) -> None:
    opened = given("Route api-post-events", authorizationType="NONE")
    kept = AcceptedFinding(rule="open-api", resource="pipeline-api-post-events", reason=REASON)
    stale = AcceptedFinding(rule=rule, resource=resource, reason=REASON)
    graph = graph_of("ingestion") if resource is None else changed(graph_of("ingestion"), opened)
    *others, found = findings(graph, [stale] if resource is None else [kept, stale])
    assert [finding.accepted for finding in others] == ([] if resource is None else [REASON])
    assert (found.rule, found.accepted) == ("accepted-findings", None)
    assert found.found == f"{rule} of {resource or 'any resource'} is accepted, but was not found"


def test_an_endpoint_without_type_and_policy_is_found() -> None:
    def program() -> None:
        aws.ec2.VpcEndpoint("s3", vpc_id="vpc-1a2b3c4d", service_name="com.amazonaws.us-east-1.s3")

    (found,) = findings(synthesise(program=program))
    assert (found.rule, found.name) == ("endpoint-policies", "s3")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (given("Role worker", managedPolicyArns=[ADMINISTRATOR]), {"no-wildcard-actions"}),
        (
            given("Role worker", inlinePolicies=[{"name": "all", "policy": json.dumps({"Statement": EVERYTHING})}]),
            {"no-wildcard-actions", "no-wildcard-resources"},
        ),
        (
            policy("RolePolicy worker", appended({"Effect": "Allow", "NotAction": "iam:*"})),
            {"no-wildcard-actions"},
        ),
        (
            policy("RolePolicy worker", appended({"Effect": "Allow", "NotResource": "x"})),
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
        (added("aws:lambda/eventSourceMapping:EventSourceMapping", "kafka", {"topics": ["orders"]}), set()),
    ],
)
def test_resources_that_only_a_users_own_program_makes_are_understood(change: Change, found: set[str]) -> None:
    assert {finding.rule for finding in wrong(change, "dev")} == found


@pytest.mark.parametrize(
    "change",
    [
        variable("DATABASE_PASSWORD", f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:shop"),
        variable("API_KEY", "/shop/api-key"),
        variable("API_TOKEN_NAME", "shop"),
        variable("SECRETS", json.dumps({"token": f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:shop-AbC123"})),
        variable("COMPASS_KEYBOARD_BYPASS", "true"),
        variable("SHOP_URL", "https://shop.example:443/orders?at=12:30@home"),
        added(PARAMETER, "at", {"type": "String", "name": "/shop/api-key", "value": "/shop/key-v2"}),
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
        policy("QueuePolicy queue", appended({**EVERY_EVENT, "Effect": "Deny"})),
        policy("QueuePolicy queue", narrowed("Action", "*")),
        policy("QueuePolicy queue", narrowed("Resource", "*")),
        given("Permission api", principal=ACCOUNT, sourceArn=None),
        all_of(told("worker"), dead_letters_of_the_worker, alarm_of_the_queue),
        all_of(told("worker"), kept("")),
        all_of(told("worker"), kept("", qualifier="$LATEST")),
        all_of(told("worker", ":live"), kept("", qualifier="live")),
        all_of(told("worker", ":live"), kept(":live")),
        told_of_its_name,
        added(PARAMETER, "key", {"type": "SecureString", "value": A_KEY}),
        added("aws:kms/key:Key", "of-somebody-else", {"enableKeyRotation": True, "policy": '{"Statement": []}'}),
        added(BUS, "without-a-key", {}),
        *(
            added(SUBSCRIPTION, "ops", {"protocol": by, "endpoint": "a@example.com"})
            for by in ("email", "email-json", "sms")
        ),
        all_of(federated(GITHUB_PROVIDER), policy("Role worker", last_denied, "assumeRolePolicy")),
        federated(GITHUB_PROVIDER, StringLike={f"{GITHUB}:sub": "repo:shop/orders:*"}),
        alarm(threshold=0, comparisonOperator="GreaterThanThreshold"),
        alarm(unit="Count"),
        alarm_on_a_sum("hidden + visible"),
        alarm_on_a_sum(of="both", period=300),
        alarm(period=300),
        alarm(evaluationPeriods=1440, datapointsToAlarm=1),
        alarm(threshold=0.5, statistic=None, extendedStatistic="p99"),
        policy("RolePolicy worker", appended({**EVERYTHING, "Effect": "Deny"})),
        all_of(given("Queue queue", redrivePolicy=None), redrive_policy_of_its_own),
        all_of(policy_with_the_queue, without("QueuePolicy queue")),
        reading(STREAM, destinationConfig={"onFailure": {"destinationArn": ELSEWHERE}}),
        added(NOTIFICATION, "of-nobody", {"bucket": "b", "lambdaFunctions": [{"events": ["s3:ObjectCreated:*"]}]}),
        given("Queue queue-dead-letters", kmsMasterKeyId="alias/aws/sqs"),
        added(SECURITY_GROUP_RULE, "old", {"type": "ingress", **OWN_ADDRESSES}),
    ],
)
def test_a_correct_stack_has_no_finding(change: Change) -> None:
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
        policy("VpcEndpoint network-sqs", appended({**EVERYBODY, "Effect": "Deny"})),
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
def test_a_correct_hardened_stack_has_no_finding(change: Change) -> None:
    assert wrong(change, "ingestion") == []


def test_the_list_of_actions_that_cannot_be_limited_is_short_and_has_reasons() -> None:
    assert {action.partition(":")[0] for action in UNLIMITED} == {"xray", "ec2"}
    assert all(UNLIMITED.values())
