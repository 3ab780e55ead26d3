"""What a processor's secrets add to a stack: exact rights, where each is, the ways there. Nothing of what they are."""

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from components.config import ConfigError
from components.options.secrets import SECRETS_CHARACTERS
from local.recording import Graph
from local.rules import findings

from .test_network import services

ACCOUNT = "us-east-1:123456789012"
TOKEN = f"arn:aws:secretsmanager:{ACCOUNT}:secret:shop/payments-AbC123"
SIGNING = f"arn:aws:ssm:{ACCOUNT}:parameter/shop/signing"
KEY = f"arn:aws:kms:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
PLAIN = {"payments_token": TOKEN, "signing_key": SIGNING}
UNDER_A_KEY = {name: {"arn": arn, "key_arn": KEY} for name, arn in PLAIN.items()}


def statements(graph: Graph, role: str) -> list[dict[str, Any]]:
    document = json.loads(graph.find("aws:iam/rolePolicy:RolePolicy", role).inputs["policy"])
    found: list[dict[str, Any]] = document["Statement"]
    return found


def allowed(sid: str, action: str, resource: str, **condition: str) -> dict[str, Any]:
    statement = {"Sid": sid, "Effect": "Allow", "Action": [action], "Resource": [resource]}
    return {**statement, "Condition": {"StringEquals": condition}} if condition else statement


READ_TOKEN = allowed("ReadTheSecretPaymentsToken", "secretsmanager:GetSecretValue", TOKEN)
READ_SIGNING = allowed("ReadTheSecretSigningKey", "ssm:GetParameter", SIGNING)
DECRYPT_TOKEN = allowed(
    "DecryptTheSecretPaymentsToken",
    "kms:Decrypt",
    KEY,
    **{"kms:ViaService": "secretsmanager.us-east-1.amazonaws.com", "kms:EncryptionContext:SecretARN": TOKEN},
)
DECRYPT_SIGNING = allowed(
    "DecryptTheSecretSigningKey",
    "kms:Decrypt",
    KEY,
    **{"kms:ViaService": "ssm.us-east-1.amazonaws.com", "kms:EncryptionContext:PARAMETER_ARN": SIGNING},
)


@pytest.mark.parametrize(
    ("secrets", "expected"),
    [
        (PLAIN, [READ_TOKEN, READ_SIGNING]),
        (UNDER_A_KEY, [READ_TOKEN, DECRYPT_TOKEN, READ_SIGNING, DECRYPT_SIGNING]),
        (
            {"payments_token": PLAIN["payments_token"], "signing_key": UNDER_A_KEY["signing_key"]},
            [READ_TOKEN, READ_SIGNING, DECRYPT_SIGNING],
        ),
    ],
    ids=["under keys of AWS", "under a customer key", "one of each"],
)
@pytest.mark.parametrize("encryption", [{}, {"customer_key": {}}])
def test_worker_and_breaker_may_read_just_these_secrets_and_nobody_else_any(
    graph_of: Callable[..., Graph], secrets: dict[str, Any], expected: list[dict[str, Any]], encryption: dict[str, Any]
) -> None:
    def made(**worker: Any) -> Graph:
        options = {"circuit_breaker": {}, **worker}
        return graph_of(
            worker=options, encryption=encryption, reports={"schedules": ["daily"]}, queue={"redrive_api": {}}
        )

    plain, graph = made(), made(secrets=secrets)
    for policy in (each.name for each in plain.of_type("aws:iam/rolePolicy:RolePolicy")):
        before, after = statements(plain, policy), statements(graph, policy)
        added = expected if policy in ("pipeline-worker", "pipeline-breaker") else []
        assert [each for each in after if each not in before] == added
        # The stack's own key is not what others' secrets are under: its rights stay as they are.
        assert [each for each in after if each in before] == before


def test_both_functions_are_told_where_the_secrets_are_and_nobody_what_they_are(graph_of: Callable[..., Graph]) -> None:
    graph = graph_of(worker={"circuit_breaker": {}, "secrets": UNDER_A_KEY})
    told = {
        function.name: function.inputs["environment"]["variables"].get("SECRETS")
        for function in graph.of_type("aws:lambda/function:Function")
    }
    assert {name: told[name] and json.loads(told[name]) for name in told} == {
        "pipeline-ingest": None,
        "pipeline-worker": PLAIN,
        "pipeline-breaker": PLAIN,
    }


def test_a_private_network_leads_to_the_services_that_keep_them_and_not_to_their_keys(
    graph_of: Callable[..., Graph],
) -> None:
    private: dict[str, Any] = {"vpc": {}}
    graph = graph_of(worker={"secrets": UNDER_A_KEY}, network=private)
    added = {"secretsmanager": "Interface", "ssm": "Interface"}  # pragma: allowlist secret
    assert services(graph) == {**services(graph_of(network=private)), **added}
    worker = graph.find("aws:lambda/function:Function", "pipeline-worker")
    waits_for = {graph.by_urn(urn).name for urn in worker.dependencies}
    for service in added:
        # Whose secrets these are, a policy of theirs says: the endpoint asks for this account's functions only.
        policy = graph.find("aws:ec2/vpcEndpoint:VpcEndpoint", f"pipeline-network-{service}").inputs["policy"]
        (statement,) = json.loads(policy)["Statement"]
        assert (statement["Effect"], statement["Action"], statement["Resource"]) == ("Allow", "*", "*")
        assert statement["Condition"] == {"StringEquals": {"aws:PrincipalAccount": "123456789012"}}
        assert f"pipeline-network-{service}" in waits_for


@pytest.mark.parametrize("stack", ["dev", "ingestion"])
def test_references_to_secrets_keep_every_rule(graph_of: Callable[..., Graph], stack: str) -> None:
    secrets = {**UNDER_A_KEY, "database_password": f"arn:aws:secretsmanager:{ACCOUNT}:secret:rds!cluster-1a-AbC123"}
    graph = graph_of(stack, api={"auth": "iam"}, worker={"secrets": secrets, "circuit_breaker": {}})
    assert findings(graph) == []


# The largest stack: whatever adds a right or a variable of worker or breaker function.
LARGEST: dict[str, Any] = {
    "api": {"auth": "iam"},
    "queue": {"redrive_api": {}, "fifo": {"group_field": "customer_id"}},
    "storage": {"archive": {}},
    "encryption": {"customer_key": {}},
    "network": {"vpc": {}},
    "outcomes": {},
    "fault_injection": {},
    "tracing": True,
}


def sizes(graph: Graph) -> tuple[int, int]:
    """The characters of the breaker function's policies and environment: the worker's are shorter."""
    policies = [
        json.dumps({"Version": "2012-10-17", "Statement": statements(graph, name)}, separators=(",", ":"))
        for name in ("pipeline-breaker", "pipeline-breaker-pause")
    ]
    function = graph.find("aws:lambda/function:Function", "pipeline-breaker")
    return sum(map(len, policies)), sum(map(len, itertools.chain(*function.inputs["environment"]["variables"].items())))


def long_secrets(service: str, characters: int, *, under_a_key: bool) -> dict[str, Any]:
    """The most secrets that a processor may have, whose names and ARNs have so many characters together."""
    before, after = {"secretsmanager": ("secret:", "-AbC123"), "ssm": ("parameter/", "")}[service]
    found: dict[str, Any] = {}
    for number in range(10):
        name = f"payments_token_{chr(97 + number)}"
        length = (characters + number) // 10 - len(name) - len(KEY) * under_a_key
        arn = f"arn:aws:{service}:{ACCOUNT}:{before}{chr(97 + number)}".ljust(length - len(after), "x") + after
        found[name] = {"arn": arn, "key_arn": KEY} if under_a_key else arn
    return found


@pytest.mark.parametrize("service", ["secretsmanager", "ssm"])
@pytest.mark.parametrize("under_a_key", [False, True])
def test_the_longest_secrets_allowed_fit_into_policies_and_environment(
    graph_of: Callable[..., Graph], service: str, *, under_a_key: bool
) -> None:
    def secrets(characters: int) -> dict[str, Any]:
        return {"secrets": long_secrets(service, characters, under_a_key=under_a_key)}

    policies, environment = sizes(graph_of(worker={"circuit_breaker": {}, **secrets(SECRETS_CHARACTERS)}, **LARGEST))
    assert policies <= 10_240
    assert environment <= 4_096
    longer = SECRETS_CHARACTERS + 1
    with pytest.raises(ConfigError, match=rf"worker\.secrets: names and ARNs have {longer} characters together, and"):
        graph_of(worker=secrets(longer))
