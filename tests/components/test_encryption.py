"""The customer key: who may use it, what is under it, and what roles may do with it. All by equality."""

import json
import re
from collections.abc import Callable
from typing import Any

import pulumi_aws as aws
import pytest

from components.encryption import Key
from components.grants import Grant, policy_document
from components.options.common import CustomerKeyOptions
from local.recording import Graph, synthesise
from local.rules import findings

from .test_roles import statements

ACCOUNT = "123456789012"
BOTH = ["kms:Decrypt", "kms:GenerateDataKey"]
VARIANTS = ["dev", "analytics", "ingestion", "csv", "iot"]
# The functions of each stack, and the schedules of those that run by the clock.
ROLES = {
    "dev": {"pipeline-ingest", "pipeline-worker"},
    "analytics": {"pipeline-ingest", "pipeline-worker", "pipeline-report", "pipeline-report-schedule"},
    "ingestion": {
        "pipeline-ingest",
        "pipeline-worker",
        "pipeline-redrive",
        "pipeline-breaker",
        "pipeline-breaker-schedule",
    },
    "csv": {"pipeline-worker"},
    "iot": {"pipeline-worker", "pipeline-watcher", "pipeline-watcher-schedule"},
}
OPERATORS = "role/aws-reserved/sso.amazonaws.com/*AWSReservedSSO_Operator_*"


@pytest.fixture(params=VARIANTS)
def graph(request: pytest.FixtureRequest, graph_of: Callable[..., Graph]) -> Graph:
    return graph_of(request.param, encryption={"customer_key": {}})


def key_arn(graph: Graph) -> str:
    (alias,) = graph.of_type("aws:kms/alias:Alias")
    return f"arn:aws:kms:us-east-1:{ACCOUNT}:key/{alias.inputs['targetKeyId']}"


def encrypted_with(graph: Graph) -> dict[tuple[str, str], Any]:
    """The key of everything that can have one, by type and name."""
    found: dict[tuple[str, str], Any] = {}
    for each in graph:
        inputs = each.inputs
        match each.type.rsplit(":", 1)[1]:
            case "Queue" if each.custom:
                found["Queue", each.name] = inputs.get("kmsMasterKeyId"), "sqsManagedSseEnabled" in inputs
            case "Topic":
                found["Topic", each.name] = inputs.get("kmsMasterKeyId")
            case "Table" if each.custom:
                found["Table", each.name] = inputs.get("serverSideEncryption")
            case "BucketServerSideEncryptionConfiguration":
                found["Bucket", each.name] = inputs["rules"]
            case "LogGroup":
                found["LogGroup", each.name] = inputs.get("kmsKeyId")
            case "Function" if each.custom:
                found["Function", each.name] = inputs.get("kmsKeyArn")
            case "EventBus":
                found["EventBus", each.name] = inputs.get("kmsKeyIdentifier")
            case _:
                continue
    return found


def test_everything_that_can_be_is_encrypted_with_the_one_key(graph: Graph) -> None:
    key = key_arn(graph)
    rule = {
        "applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": key},
        "bucketKeyEnabled": True,
        "blockedEncryptionTypes": ["SSE-C"],
    }
    expected = {
        "Queue": (key, False),
        "Topic": key,
        "Table": {"enabled": True, "kmsKeyArn": key},
        "Bucket": [rule],
        "LogGroup": key,
        "Function": key,
        "EventBus": key,
    }
    found = encrypted_with(graph)
    # What the bus cannot encrypt is to be kept when the key does not work.
    assert found.pop(("Queue", "pipeline-outcomes-dead-letters"), (None, True)) == (None, True)
    assert set(expected) - {kind for kind, _ in found} <= {"EventBus"}
    assert found == {(kind, name): expected[kind] for kind, name in found}


def test_without_a_customer_key_there_is_none_and_keys_of_aws_encrypt(dev: Graph) -> None:
    assert not [each for each in dev if each.type.startswith("aws:kms/")]
    found = encrypted_with(dev)
    assert {found[each] for each in found if each[0] == "Queue"} == {(None, True)}
    assert not any(found[each] for each in found if each[0] in ("Topic", "Table", "LogGroup", "Function"))
    assert not [each for each in dev.of_type("aws:iam/rolePolicy:RolePolicy") if "kms:" in each.inputs["policy"]]


def test_the_key_rotates_has_the_stack_in_its_alias_and_is_deleted_late(graph_of: Callable[..., Graph]) -> None:
    graph = graph_of("csv", encryption={"customer_key": {}})
    (key,) = graph.of_type("aws:kms/key:Key")
    assert key.inputs["enableKeyRotation"] is True
    assert key.inputs["deletionWindowInDays"] == 30
    (alias,) = graph.of_type("aws:kms/alias:Alias")
    assert alias.inputs["name"] == "alias/datapipeline-csv-pipeline-key"


def allowed(sid: str, principal: dict[str, str], action: list[str], **condition: Any) -> dict[str, Any]:
    given = {"Sid": sid, "Effect": "Allow", "Principal": principal, "Action": action, "Resource": "*"}
    return {**given, "Condition": condition} if condition else given


def statements_of_key(graph: Graph) -> list[dict[str, Any]]:
    (key,) = graph.of_type("aws:kms/key:Key")
    document = json.loads(key.inputs["policy"])
    assert document.keys() == {"Version", "Statement"}
    return list(document["Statement"])


@pytest.mark.parametrize("stack", VARIANTS)
def test_the_keys_policy_names_exactly_who_uses_it(graph_of: Callable[..., Graph], stack: str) -> None:
    graph = graph_of(stack, encryption={"customer_key": {}})
    account = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    roles = {
        role.name: f"arn:aws:iam::{ACCOUNT}:role/{role.physical_name}" for role in graph.of_type("aws:iam/role:Role")
    }
    assert roles.keys() == ROLES[stack]
    ours = {"aws:SourceAccount": ACCOUNT}
    deployed = ["dynamodb", "lambda", *(["events"] if stack == "ingestion" else [])]
    events = {"Service": "events.amazonaws.com"}
    buses = {"kms:EncryptionContext:aws:events:event-bus:arn": f"arn:aws:events:us-east-1:{ACCOUNT}:event-bus/*"}
    bus = [
        allowed("EventBusLooks", events, ["kms:DescribeKey"]),
        allowed("EventBus", events, BOTH, ArnLike=buses),
    ]
    uploads = [allowed("MessagesS3", {"Service": "s3.amazonaws.com"}, BOTH, StringEquals=ours)]
    administrators, *others = statements_of_key(graph)
    assert administrators == allowed("Administrators", account, administrators["Action"])
    assert others == [
        allowed(
            "Deployers",
            account,
            [
                "kms:CreateGrant",
                "kms:Encrypt",
                "kms:Decrypt",
                "kms:ReEncryptFrom",
                "kms:ReEncryptTo",
                "kms:GenerateDataKey",
                "kms:GenerateDataKeyWithoutPlaintext",
            ],
            StringEquals={"kms:ViaService": [f"{service}.us-east-1.amazonaws.com" for service in deployed]},
        ),
        allowed("Functions", account, BOTH, ArnEquals={"aws:PrincipalArn": sorted(roles.values())}),
        allowed(
            "Logs",
            {"Service": "logs.us-east-1.amazonaws.com"},
            [
                "kms:Encrypt",
                "kms:Decrypt",
                "kms:ReEncryptFrom",
                "kms:ReEncryptTo",
                "kms:GenerateDataKey",
                "kms:GenerateDataKeyWithoutPlaintext",
                "kms:DescribeKey",
            ],
            ArnLike={"kms:EncryptionContext:aws:logs:arn": f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:*"},
        ),
        allowed(
            "Alarms",
            {"Service": "cloudwatch.amazonaws.com"},
            BOTH,
            StringEquals=ours,
            ArnLike={"aws:SourceArn": f"arn:aws:cloudwatch:us-east-1:{ACCOUNT}:alarm:*"},
        ),
        *(uploads if stack == "csv" else []),
        *(bus if stack == "ingestion" else []),
    ]


# Cryptographic operations, and grants of them:
# https://docs.aws.amazon.com/kms/latest/developerguide/kms-cryptography.html#cryptographic-operations
USES = re.compile(
    "kms:(\\*|Encrypt|Decrypt|ReEncrypt|GenerateData|GenerateMac|GenerateRandom|Sign|Verify|DeriveShared|CreateGrant)"
)


def test_who_administers_the_key_cannot_use_it(graph_of: Callable[..., Graph]) -> None:
    graph = graph_of("csv", encryption={"customer_key": {}})
    administers, *others = statements_of_key(graph)
    actions = administers["Action"]
    assert [action for action in actions if USES.match(action) or "*" in action] == []
    # Without these nobody could manage, mend or delete it: https://docs.aws.amazon.com/kms/latest/APIReference/API_PutKeyPolicy.html
    assert {"kms:PutKeyPolicy", "kms:GetKeyPolicy", "kms:DescribeKey", "kms:ScheduleKeyDeletion"} <= set(actions)
    for statement in others:
        assert statement["Condition"]


def test_users_of_the_key_are_who_the_stack_file_names(graph_of: Callable[..., Graph]) -> None:
    graph = graph_of("csv", encryption={"customer_key": {"users": [OPERATORS]}})
    users = [each for each in statements_of_key(graph) if each["Sid"] == "Users"]
    account = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    assert users == [
        allowed("Users", account, BOTH, ArnLike={"aws:PrincipalArn": [f"arn:aws:iam::{ACCOUNT}:{OPERATORS}"]})
    ]
    assert findings(graph) == []


def test_deployers_can_be_named_too(graph_of: Callable[..., Graph]) -> None:
    graph = graph_of("csv", encryption={"customer_key": {"deployers": ["role/deploy"]}})
    (deployers,) = [each for each in statements_of_key(graph) if each["Sid"] == "Deployers"]
    services = ["dynamodb.us-east-1.amazonaws.com", "lambda.us-east-1.amazonaws.com"]
    assert deployers["Condition"] == {
        "StringEquals": {"kms:ViaService": services},
        "ArnLike": {"aws:PrincipalArn": [f"arn:aws:iam::{ACCOUNT}:role/deploy"]},
    }


def test_a_role_that_the_keys_policy_came_too_early_for_is_an_error() -> None:
    def program() -> None:
        key = Key("key", CustomerKeyOptions(), senders=[], event_bus=False, retain=False)
        first = aws.iam.Role("first", assume_role_policy="{}")
        key.used_by(first.arn)
        second = aws.iam.Role("second", assume_role_policy="{}")
        key.arn.apply(lambda _: key.used_by(second.arn))

    with pytest.raises(Exception, match="the key's policy is made without it"):
        synthesise(program=program)


def test_sns_may_use_the_key_where_it_keeps_what_it_could_not_deliver(graph_of: Callable[..., Graph]) -> None:
    told = {"subscriptions": [{"protocol": "https", "endpoint": "https://ops.example.com"}]}
    for stack, options in (
        ("dev", "notifications"),
        ("analytics", "report_notifications"),
        ("iot", "notifications"),
        ("csv", "file_notifications"),
    ):
        graph = graph_of(stack, encryption={"customer_key": {}}, **{options: told})
        assert statements_of_key(graph)[-1] == {
            "Sid": "MessagesSns",
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": BOTH,
            "Resource": "*",
            "Condition": {"ArnLike": {"aws:SourceArn": f"arn:aws:sns:us-east-1:{ACCOUNT}:*"}},
        }
        assert {finding.rule for finding in findings(graph)} <= {"open-api"}


def test_roles_get_what_their_grants_need_of_the_key_and_nothing_else_changes(
    graph_of: Callable[..., Graph],
) -> None:
    # Not ingestion, whose network adds statements with conditions.
    for stack in (stack for stack in VARIANTS if stack != "ingestion"):
        plain, graph = graph_of(stack), graph_of(stack, encryption={"customer_key": {}})
        for role in (policy.name for policy in plain.of_type("aws:iam/rolePolicy:RolePolicy")):
            before, after = granted(plain, role), granted(graph, role)
            if role == "pipeline-breaker-pause":
                # A parameter that is no secret, and an event source mapping.
                assert [actions for actions, _ in after] == [actions for actions, _ in before]
                continue
            assert [actions for actions, _ in after[:-1]] == [actions for actions, _ in before]
            assert after[-1] == (BOTH, [key_arn(graph)])


def granted(graph: Graph, role: str) -> list[Any]:
    """Actions and resources of each statement of a role; their conditions are the concern of other tests."""
    document = json.loads(graph.find("aws:iam/rolePolicy:RolePolicy", role).inputs["policy"])
    return [(statement["Action"], statement["Resource"]) for statement in document["Statement"]]


NEEDED = {
    "sqs:SendMessage": BOTH,
    "sqs:ReceiveMessage": ["kms:Decrypt"],
    "sqs:DeleteMessage": [],
    "sqs:ChangeMessageVisibility": [],
    "sns:Publish": BOTH,
    "s3:PutObject": BOTH,
    "s3:GetObject": ["kms:Decrypt"],
    "s3:ListBucket": [],
    "s3:DeleteObject": [],
    "dynamodb:PutItem": ["kms:Decrypt"],
    "logs:PutLogEvents": [],
}


def test_each_action_needs_this_of_the_key() -> None:
    def program() -> None:
        for action in NEEDED:
            document = policy_document([Grant((action,), ("arn",), why="do")], key_arn="key")
            aws.iam.RolePolicy(action.replace(":", "-"), role="role", policy=document)

    graph = synthesise(program=program)
    for action, needed in NEEDED.items():
        own, key = ([action], ["arn"]), (needed, ["key"])
        assert statements(graph, action.replace(":", "-")) == ([own, key] if needed else [own])


def test_an_action_that_nobody_has_thought_of_is_refused_with_the_place_to_say_it() -> None:
    with pytest.raises(ValueError, match=r"components/grants\.py does not say what sqs:PurgeQueue needs"):
        policy_document([Grant(("sqs:PurgeQueue",), ("arn",))], key_arn="key")
