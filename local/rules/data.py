"""Rules for data: encryption in transit and at rest, retention of logs, and secrets."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from local.monitor import Registration
from local.recording import Graph
from local.rules.failures import dead_letter_targets, of_arn
from local.rules.rule import (
    BUCKET,
    BUCKET_ENCRYPTION,
    EVENT_BUS,
    FUNCTION,
    KEY,
    LOG_GROUP,
    MAPPING,
    QUEUE,
    TABLE,
    TOPIC,
    Problem,
    rule,
)
from local.rules.statements import (
    CALLERS,
    Statement,
    allows_everybody,
    conditions,
    listed,
    owner_of,
    principals,
    resource_statements,
    statements,
)

# Actions that decrypt data, or let others do so.
KEY_USES = ("kms:decrypt", "kms:reencryptfrom", "kms:generatedatakey", "kms:creategrant")


# Condition keys that name the user of a key, or a service, with the values that do. `role/*` and `*` name nobody.
# https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html
KEY_USERS: Mapping[str, re.Pattern[str]] = {
    "aws:principalarn": re.compile(r"arn:[^:*?]+:(iam|sts)::\d{12}:[^*?]+/[^*?]"),
    "aws:sourcearn": re.compile(r"arn:[^:*?]+:[^:*?]+:[^:*?]*:\d{12}:"),
    "kms:viaservice": re.compile("[^*?]"),
    "kms:grantisforawsresource": re.compile("true", re.IGNORECASE),
}


# The alias of AWS managed keys: one per account and service, with a policy that cannot be changed.
# https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#aws-managed-cmk
AWS_MANAGED_KEY = "alias/aws/"


# Words in a name in capitals, also PGPASSWORD. PASS and PWD count only at the end: elsewhere they mean other things.
SECRET_NAME = re.compile(
    r"(^|_)(SECRET|TOKEN|CREDENTIALS?|(PRIVATE|API|ACCESS|SIGNING)_?KEY)(_|$)|PASS(WORD|WD|PHRASE)(_|$)|_(PASS|PWD)$"
)


# AWS keys, private keys, tokens of GitHub, Slack and Stripe, JSON Web Tokens, and URLs with a password.
SECRET_VALUE = re.compile(
    r"A[KS]IA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY|gh[pousr]_\w{36}|github_pat_\w{22}|xox[abprs]-"
    r"|[rs]k_live_\w{16}|\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.|://[^/\s:@]*:[^/\s@]+@"
)


# A reference to a secret: an ARN, or the path of a parameter, which has at least two parts.
REFERENCE = re.compile(
    r"arn:aws[a-z-]*:(ssm|secretsmanager):[a-z0-9-]+:\d{12}:(parameter|secret)[:/]\S+|(/[\w.-]+){2,}"
)


@rule(
    "encrypted-at-rest",
    fix="sqs_managed_sse_enabled or kms_master_key_id for a queue, a server-side encryption rule for a bucket",
    why="https://docs.aws.amazon.com/securityhub/latest/userguide/sqs-controls.html#sqs-1",
)
def _encrypted_at_rest(graph: Graph) -> Iterator[Problem]:
    # Tables and log groups are always encrypted, and topics do not store messages.
    for queue in graph.of_type(QUEUE):
        if not (queue.inputs.get("sqsManagedSseEnabled") or queue.inputs.get("kmsMasterKeyId")):
            yield queue, "its messages are not encrypted"
    encrypted = {each.inputs["bucket"] for each in graph.of_type(BUCKET_ENCRYPTION) if each.inputs.get("rules")}
    for bucket in graph.of_type(BUCKET):
        if bucket.physical_name not in encrypted:
            yield bucket, "no rule sets the encryption of its objects"


@rule(
    "customer-key",
    fix="create it as a child of the component with the key, so that components/encryption.py applies the key",
    why="https://docs.aws.amazon.com/prescriptive-guidance/latest/encryption-best-practices/kms.html",
)
def _customer_key(graph: Graph) -> Iterator[Problem]:
    """If anything in a stack uses a customer key, all its data must."""
    keys = graph.of_type(KEY)
    used: Mapping[str, Callable[[Mapping[str, Any]], str | None]] = {
        QUEUE: lambda inputs: inputs.get("kmsMasterKeyId"),
        TOPIC: lambda inputs: inputs.get("kmsMasterKeyId"),
        TABLE: lambda inputs: _key_of_table(inputs.get("serverSideEncryption", {})),
        LOG_GROUP: lambda inputs: inputs.get("kmsKeyId"),
        FUNCTION: lambda inputs: inputs.get("kmsKeyArn"),
        EVENT_BUS: lambda inputs: inputs.get("kmsKeyIdentifier"),
        BUCKET_ENCRYPTION: lambda inputs: _key_of_bucket(inputs["rules"]),
    }
    data = [resource for resource in graph if resource.type in used]
    # A key that no data of this stack uses is for something else.
    own = {key.urn for key in keys} & {urn for resource in data for urn in resource.dependencies}
    outside = _dead_letters_of_buses_alone(graph)
    for resource in data if own else ():
        key_of = used[resource.type](resource.inputs)
        if (not key_of or AWS_MANAGED_KEY in key_of) and resource not in outside:
            yield resource, "the stack has a key of its own, but this is not encrypted with it"
    for key in keys:
        if not key.inputs.get("enableKeyRotation"):
            yield key, "it is never rotated"


def _key_of_table(encryption: Mapping[str, Any]) -> str | None:
    return encryption.get("kmsKeyArn") if encryption.get("enabled") else None


def _key_of_bucket(rules: Sequence[Mapping[str, Any]]) -> str | None:
    # A rule may be about bucket keys only.
    keys = (each.get("applyServerSideEncryptionByDefault", {}).get("kmsMasterKeyId") for each in rules)
    return next(filter(None, keys), None)


def _dead_letters_of_buses_alone(graph: Graph) -> list[Registration]:
    """Return the queues that hold nothing but the dead letters of event buses, which a broken key must not affect."""
    buses = graph.of_type(EVENT_BUS)
    others = [each for each in graph if each.type != EVENT_BUS]
    feeding = {of_arn(mapping.inputs.get("eventSourceArn", ""))[1] for mapping in graph.of_type(MAPPING)}
    alone = {*dead_letter_targets(buses)} - {*dead_letter_targets(others)} - feeding
    return [queue for queue in graph.of_type(QUEUE) if queue.physical_name in alone]


@rule(
    "key-users",
    fix="a key policy that names its users (aws:PrincipalArn, kms:ViaService), as in components/encryption.py",
    why="https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-overview.html",
)
def _key_users(graph: Graph) -> Iterator[Problem]:
    for key in graph.of_type(KEY):
        # The default policy of AWS leaves everything to IAM.
        if "policy" not in key.inputs or any(map(_leaves_use_to_iam, statements(key.inputs["policy"]))):
            yield key, "everybody who may use all keys of the account may use this one"


def _leaves_use_to_iam(statement: Statement) -> bool:
    account = any(re.fullmatch(r"\d{12}|arn:[^:]+:iam::\d{12}:root", each) for each in principals(statement))
    # Everybody of an account or an organisation. Without such a condition, no-public-access finds it.
    everybody = "*" in principals(statement) and not allows_everybody(statement, CALLERS)
    actions = [action.lower() for action in listed(statement.get("Action", []))]
    uses = "NotAction" in statement or any(fnmatchcase(use, action) for action in actions for use in KEY_USES)
    named = any(
        key in KEY_USERS and all(map(KEY_USERS[key].match, values))
        for key, values in conditions(statement.get("Condition", {}))
    )
    return statement["Effect"] == "Allow" and (account or everybody) and uses and not named


@rule(
    "tls-only",
    fix="a policy that denies every request where aws:SecureTransport is false: components/policies.py",
    why="https://docs.aws.amazon.com/securityhub/latest/userguide/s3-controls.html#s3-5",
)
def _tls_only(graph: Graph) -> Iterator[Problem]:
    refused = {
        (owner_of(policy), resource.rpartition(":")[2])
        for policy, statement in resource_statements(graph)
        if statement["Effect"] == "Deny"
        and "*" in principals(statement)
        and statement.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}}
        # A topic's policy cannot name all actions of SNS.
        and {"*", "s3:*", "sqs:*", "sns:publish"} & {one.lower() for one in listed(statement.get("Action", []))}
        for resource in listed(statement.get("Resource", []))
    }
    for resource in [*graph.of_type(QUEUE), *graph.of_type(BUCKET), *graph.of_type(TOPIC)]:
        name, owner = resource.physical_name, (resource.type, resource.physical_name)
        parts = {name, f"{name}/*"} if resource.type == BUCKET else {name}
        if not all({(owner, part), (owner, "*")} & refused for part in parts):
            yield resource, "it accepts plain HTTP"


@rule(
    "log-retention",
    fix="retention_in_days for the log group, and the group's name in the function's logging_config",
    why="https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/Working-with-log-groups-and-streams.html",
)
def _log_retention(graph: Graph) -> Iterator[Problem]:
    groups = {group.physical_name for group in graph.of_type(LOG_GROUP)}
    for group in graph.of_type(LOG_GROUP):
        if not group.inputs.get("retentionInDays"):
            yield group, "its logs are kept for ever"
    for function in graph.of_type(FUNCTION):
        if function.inputs.get("loggingConfig", {}).get("logGroup") not in groups:
            yield function, "it logs to a group that Lambda creates, whose logs are kept for ever"


@rule(
    "no-secrets-in-plain-text",
    fix="keep it in Secrets Manager or as an SSM SecureString, and give the function the name or ARN",
    why="https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html",
)
def _no_secrets_in_plain_text(graph: Graph) -> Iterator[Problem]:
    for function in graph.of_type(FUNCTION):
        for name, value in function.inputs.get("environment", {}).get("variables", {}).items():
            if _is_secret(name, str(value)):
                yield function, f"the variable {name} looks like a secret"
    for parameter in graph.of_type("aws:ssm/parameter:Parameter"):
        inputs = parameter.inputs
        value = inputs.get("value") or inputs.get("insecureValue", "")
        if inputs["type"] != "SecureString" and _is_secret(inputs.get("name", parameter.name), str(value)):
            yield parameter, "it looks like a secret"


def _is_secret(name: str, value: str) -> bool:
    # dbPassword and /shop/db-password become DB_PASSWORD and SHOP_DB_PASSWORD.
    words = re.sub("[^A-Z0-9]+", "_", re.sub("(?<=[a-z0-9])(?=[A-Z])", "_", name).upper())
    named = SECRET_NAME.search(words) and not words.endswith(("_ARN", "_NAME"))
    return bool((named and not REFERENCE.fullmatch(value)) or SECRET_VALUE.search(value))
