"""What webhooks add to a stack: routes, exact rights, throttles, alarms. Nothing of what their secrets are."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from components.config import ConfigError
from components.options.secrets import SECRETS_CHARACTERS
from components.options.webhooks import WEBHOOKS_CHARACTERS
from components.webhooks import COUNTS
from handlers.api.counts import WEBHOOK_COUNTS
from handlers.api.settings import IngestSettings
from handlers.api.webhooks import Webhook
from local.recording import Graph
from local.rules import findings

from .test_network import services
from .test_secrets import KEY, SIGNING, TOKEN, allowed, statements

GITHUB = {"signature": "github", "secrets": [TOKEN]}
META = {
    "signature": "hmac",
    "secrets": [SIGNING, {"arn": SIGNING + "/next", "key_arn": KEY}],
    "hmac": {"header": "X-Hub-Signature-256", "prefix": "sha256="},
    "type": {"field": "object"},
    "idempotency": {"header": "X-Id"},
    "headers": ["X-Region"],
    "challenge": {"parameter": "hub.challenge", "token_parameter": "hub.verify_token", "token": SIGNING + "/token"},
    "throttling": {"rate_per_second": 3, "burst": 4},
    "max_body_bytes": 1_000,
}
BOTH = {"github": GITHUB, "meta2-ads": META}


def environment(graph: Graph, function: str = "pipeline-ingest") -> dict[str, str]:
    found: dict[str, str] = graph.find("aws:lambda/function:Function", function).inputs["environment"]["variables"]
    return found


def test_ingest_may_read_just_these_secrets_and_no_other_role_changes(graph_of: Callable[..., Graph]) -> None:
    options: dict[str, Any] = {"queue": {"redrive_api": {}}, "worker": {"circuit_breaker": {}}, "reports": {}}
    plain, graph = graph_of(**options), graph_of(**options, webhooks=BOTH)
    decrypt = {
        "kms:ViaService": "ssm.us-east-1.amazonaws.com",
        "kms:EncryptionContext:PARAMETER_ARN": SIGNING + "/next",
    }
    expected = [
        allowed("ReadTheSecretOfTheWebhookGithub", "secretsmanager:GetSecretValue", TOKEN),
        allowed("ReadTheSecretOfTheWebhookMeta2Ads", "ssm:GetParameter", SIGNING),
        allowed("ReadTheSecretSecondOfTheWebhookMeta2Ads", "ssm:GetParameter", SIGNING + "/next"),
        allowed("DecryptTheSecretSecondOfTheWebhookMeta2Ads", "kms:Decrypt", KEY, **decrypt),
        allowed("ReadTheSecretTokenOfTheWebhookMeta2Ads", "ssm:GetParameter", SIGNING + "/token"),
    ]
    for policy in (each.name for each in plain.of_type("aws:iam/rolePolicy:RolePolicy")):
        before, after = statements(plain, policy), statements(graph, policy)
        assert [each for each in after if each not in before] == (expected if policy == "pipeline-ingest" else [])
        assert [each for each in after if each in before] == before
    for function in ("pipeline-worker", "pipeline-redrive", "pipeline-report"):
        assert environment(graph, function) == environment(plain, function)


def test_the_function_is_told_exactly_what_the_options_say(graph_of: Callable[..., Graph]) -> None:
    settings = IngestSettings.from_environment(environment(graph_of(webhooks=BOTH)))
    told = {name: Webhook(**fields) for name, fields in json.loads(settings.webhooks).items()}
    assert told == {
        "github": Webhook(signature="github", secrets=[TOKEN], max_body_bytes=262_144),
        "meta2-ads": Webhook(
            signature="hmac",
            secrets=[SIGNING, SIGNING + "/next"],
            max_body_bytes=1_000,
            header="X-Hub-Signature-256",
            prefix="sha256=",
            type_field="object",
            key_header="X-Id",
            headers=["X-Region"],
            challenge_parameter="hub.challenge",
            token_parameter="hub.verify_token",
            token=SIGNING + "/token",
        ),
    }
    assert environment(graph_of()).get("WEBHOOKS") is None


POSTS = {"POST /webhooks/github", "POST /webhooks/meta2-ads"}
ADDED = {*POSTS, "GET /webhooks/meta2-ads", "HEAD /webhooks/meta2-ads"}


@pytest.mark.parametrize("auth", ["none", "iam"])
def test_their_routes_are_open_and_lead_to_ingest_and_all_others_stay_as_they_are(
    graph_of: Callable[..., Graph], auth: str
) -> None:
    def routes(**options: Any) -> dict[str, str]:
        graph = graph_of(api={"auth": auth}, **options)
        assert len(graph.of_type("aws:apigatewayv2/integration:Integration")) == 1
        return {
            each.inputs["routeKey"]: each.inputs["authorizationType"]
            for each in graph.of_type("aws:apigatewayv2/route:Route")
        }

    assert routes(webhooks=BOTH) == {**routes(), **dict.fromkeys(ADDED, "NONE")}


@pytest.mark.parametrize("auth", ["iam", "api_key"])
def test_a_rest_api_has_them_too_and_other_routes_stay_as_they_are(graph_of: Callable[..., Graph], auth: str) -> None:
    def methods(**options: Any) -> dict[str, Any]:
        found = graph_of(api={"kind": "rest", "auth": auth}, **options).of_type("aws:apigateway/method:Method")
        names = ("authorization", "apiKeyRequired")
        return {each.name: [each.inputs.get(name) for name in names] for each in found}

    labels = ("post-webhooks-github", "post-webhooks-meta2-ads", "get-webhooks-meta2-ads", "head-webhooks-meta2-ads")
    added = {f"pipeline-api-{label}": ["NONE", False] for label in labels}
    assert methods(webhooks=BOTH) == {**methods(), **added}

    def definition(**options: Any) -> str:
        deployment = graph_of(api={"kind": "rest"}, **options).of_type("aws:apigateway/deployment:Deployment")[0]
        return str(deployment.inputs["triggers"]["definition"])

    assert definition() != definition(webhooks=BOTH)


@pytest.mark.parametrize("kind", ["http", "rest"])
def test_their_urls_are_an_output(graph_of: Callable[..., Graph], kind: str) -> None:
    outputs = graph_of(api={"kind": kind}, webhooks=BOTH).outputs
    assert outputs["webhook_urls"] == {name: f"{outputs['api_url']}/webhooks/{name}" for name in BOTH}
    assert "webhook_urls" not in graph_of(api={"kind": kind}).outputs


def test_each_has_its_own_throttle(graph_of: Callable[..., Graph]) -> None:
    limits = {"github": (100, 200), "meta2-ads": (3, 4)}
    stage = graph_of(webhooks=BOTH).find("aws:apigatewayv2/stage:Stage", "pipeline-api").inputs
    found = {
        each["routeKey"]: (each["throttlingRateLimit"], each["throttlingBurstLimit"])
        for each in stage["routeSettings"]
        if "/webhooks/" in each["routeKey"]
    }
    assert found == {route: limits[route.rpartition("/")[2]] for route in ADDED}
    settings = graph_of(api={"kind": "rest"}, webhooks=BOTH).of_type("aws:apigateway/methodSettings:MethodSettings")
    assert {
        each.inputs["methodPath"]: (
            each.inputs["settings"]["throttlingRateLimit"],
            each.inputs["settings"]["throttlingBurstLimit"],
        )
        for each in settings
        if "webhooks" in each.inputs["methodPath"]
    } == {
        f"~1webhooks~1{path.rpartition('/')[2]}/{method}": limits[path.rpartition("/")[2]]
        for method, path in (route.split(" ") for route in ADDED)
    }


def test_each_has_a_graph_and_an_alarm_on_forged_requests(graph_of: Callable[..., Graph]) -> None:
    plain, graph = graph_of(), graph_of(webhooks=BOTH, alarms={"forged_webhook_requests": 3})
    known = {each.name for each in plain.of_type("aws:cloudwatch/metricAlarm:MetricAlarm")}
    added = [each for each in graph.of_type("aws:cloudwatch/metricAlarm:MetricAlarm") if each.name not in known]
    assert {
        each.name: (each.inputs["metricName"], each.inputs["dimensions"], each.inputs["threshold"]) for each in added
    } == {
        f"pipeline-watch-webhook-{name}-forged": (
            WEBHOOK_COUNTS["forged"],
            {"service": "datapipeline-dev", "webhook": name},
            3,
        )
        for name in BOTH
    }
    assert set(COUNTS) == set(WEBHOOK_COUNTS.values())
    dashboard = graph.of_type("aws:cloudwatch/dashboard:Dashboard")[0].inputs["dashboardBody"]
    for name in BOTH:
        watched = {
            tuple(metric[:-1])
            for widget in json.loads(dashboard)["widgets"]
            if widget["properties"]["title"] == f"Webhook {name}"
            for metric in widget["properties"]["metrics"]
        }
        dimensions = ("service", "datapipeline-dev", "webhook", name)
        assert watched == {("DataPipeline", count, *dimensions) for count in COUNTS}


def test_in_a_network_ingest_reaches_the_services_of_its_secrets(graph_of: Callable[..., Graph]) -> None:
    network: dict[str, Any] = {"vpc": {}}
    plain, graph = graph_of(network=network), graph_of(network=network, webhooks=BOTH)
    assert services(graph).keys() - services(plain).keys() == {"secretsmanager", "ssm"}


@pytest.mark.parametrize("kind", ["http", "rest"])
def test_a_route_of_a_webhook_is_no_open_api_unless_its_function_has_no_secret(
    graph_of: Callable[..., Graph], kind: str
) -> None:
    graph = graph_of(api={"kind": kind, "auth": "iam"}, webhooks=BOTH)

    def opened() -> set[str]:
        return {each.found.rpartition("anybody may call ")[2] for each in findings(graph) if each.rule == "open-api"}

    assert opened() == set()
    variables = environment(graph)
    variables["WEBHOOKS"] = json.dumps({"github": {"signature": "github", "secrets": []}})
    assert opened() == ADDED


HEADERS = ["x" * 30]


def test_the_most_secrets_fit_into_policy_and_environment(graph_of: Callable[..., Graph]) -> None:
    # With one digit for a name: see check_characters.
    length = (SECRETS_CHARACTERS - 10) // 10 - len(SIGNING) - len(KEY) - 1
    arns = [f"{SIGNING}/{number}{'x' * (length - 1)}" for number in range(10)]
    webhooks = {
        f"hook-{letter}": {**GITHUB, "secrets": [{"arn": arn, "key_arn": KEY}], "headers": HEADERS}
        for letter, arn in zip("abcdefghij", arns, strict=True)
    }
    config: dict[str, Any] = {
        "api": {"accept_forms": True, "idempotency": {"field": "a" * 128}},
        "queue": {"fifo": {"group_field": "b" * 128}},
        "worker": {"max_attempts": 3},
        "encryption": {"customer_key": {}},
        "tracing": True,
        "network": {"vpc": {}},
        "fault_injection": {},
    }
    graph = graph_of(**config, webhooks=webhooks)
    assert len(environment(graph)["WEBHOOKS"]) > 0.95 * WEBHOOKS_CHARACTERS
    policy = graph.find("aws:iam/rolePolicy:RolePolicy", "pipeline-ingest").inputs["policy"]
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html (without white space)
    assert len(json.dumps(json.loads(policy), separators=(",", ":"))) < 10_240
    # https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
    assert sum(len(name) + len(value) for name, value in environment(graph).items()) < 4_096


@pytest.mark.parametrize(
    ("webhooks", "said"),
    [
        ({"GitHub": GITHUB}, "webhooks.GitHub"),
        ({"a/b": GITHUB}, "webhooks.a/b"),
        ({"shop-2": GITHUB}, "webhooks.shop-2"),
        ({"g": {"signature": "github"}}, "webhooks.g.secrets"),
        ({"g": {**GITHUB, "secrets": []}}, "webhooks.g.secrets"),
        ({"g": {**GITHUB, "secrets": ["hunter2"]}}, "must be the whole ARN of a secret"),
        ({"g": {**GITHUB, "secrets": TOKEN}}, "webhooks.g.secrets: must be a list"),
        ({"g": {**GITHUB, "secrets": [TOKEN, TOKEN]}}, "secrets has a duplicate"),
        ({"g": {**GITHUB, "signature": "hunter2"}}, "webhooks.g.signature: Input should be 'github'"),
        ({"g": {**GITHUB, "hmac": {"header": "X-A", "prefix": "hunter2 "}}}, "webhooks.g.hmac.prefix"),
        ({"g": {**GITHUB, "signature": "hmac"}}, "signature 'hmac' and the group 'hmac'"),
        ({"g": {**GITHUB, "hmac": {"header": "X-A"}}}, "signature 'hmac' and the group 'hmac'"),
        ({"g": {**GITHUB, "tolerance_seconds": 60}}, "'github' signs no time"),
        ({"g": {**GITHUB, "type": {}}}, "needs either field or header"),
        ({"g": {**GITHUB, "challenge": {"parameter": "c", "token": SIGNING}}}, "token_parameter and token go together"),
        ({"g": {**GITHUB, "max_body_bytes": 2_000_000}}, "webhooks.g.max_body_bytes"),
        ({f"g{letter}": {**GITHUB, "secrets": [TOKEN]} for letter in "abcdefghijk"}, "there are 11 secrets"),
        ({"g": {**GITHUB, "secrets": [f"{SIGNING}/{'x' * 900}/{n}" for n in range(2)]}}, "characters together"),
        ({name: {**GITHUB, "headers": ["x" * 400]} for name in ("a", "b", "c", "d", "e", "f")}, "take "),
    ],
)
def test_a_webhook_that_cannot_be_safe_is_refused(
    graph_of: Callable[..., Graph], webhooks: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        graph_of(webhooks=webhooks)
    assert said in str(raised.value)
    assert "hunter2" not in str(raised.value)
