"""Both kinds of API, and who may call them."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from local.recording import Graph

OPEN = {"GET /health", "HEAD /health"}
ROUTES = {"POST /events", "GET /events", "GET /events/{id}", "HEAD /events", "HEAD /events/{id}", *OPEN}
REDRIVE = {"GET /redrive/preview", "HEAD /redrive/preview", "POST /redrive/start"}


def routes(graph: Graph) -> dict[str, str]:
    return {
        route.inputs["routeKey"]: route.inputs["authorizationType"]
        for route in graph.of_type("aws:apigatewayv2/route:Route")
    }


PATHS = {
    "events": "/events",
    "events-id": "/events/{id}",
    "health": "/health",
    "redrive-preview": "/redrive/preview",
    "redrive-start": "/redrive/start",
}


def methods(graph: Graph) -> dict[str, tuple[str, bool]]:
    """Route -> (authorization, key required). That the paths are put together so, the emulator shows."""
    found = {}
    for method in graph.of_type("aws:apigateway/method:Method"):
        inputs = method.inputs
        path = PATHS[method.name.split("-", 3)[3]]
        found[f"{inputs['httpMethod']} {path}"] = (inputs["authorization"], inputs["apiKeyRequired"])
    parts = {resource.inputs["pathPart"] for resource in graph.of_type("aws:apigateway/resource:Resource")}
    assert parts == {part for route in found for part in route.split("/")[1:]}
    return found


def test_an_http_api_has_these_routes_and_all_lead_to_the_ingest_function(dev: Graph) -> None:
    assert routes(dev) == dict.fromkeys(ROUTES, "NONE")
    integrations = dev.of_type("aws:apigatewayv2/integration:Integration")
    assert [integration.inputs["payloadFormatVersion"] for integration in integrations] == ["2.0"]
    ingest = dev.find("aws:lambda/function:Function", "pipeline-ingest").physical_name
    assert f":function:{ingest}/" in integrations[0].inputs["integrationUri"]


def test_iam_closes_every_route_but_health(graph_of: Callable[..., Graph]) -> None:
    expected = {route: "NONE" if route in OPEN else "AWS_IAM" for route in ROUTES}
    assert routes(graph_of(api={"auth": "iam"})) == expected


def test_jwt_closes_every_route_but_health_and_knows_issuer_and_audience(graph_of: Callable[..., Graph]) -> None:
    jwt = {"issuer": "https://issuer.example", "audience": ["pipeline"]}
    graph = graph_of(api={"auth": "jwt", "jwt": jwt})
    assert routes(graph) == {route: "NONE" if route in OPEN else "JWT" for route in ROUTES}
    authorizer = graph.of_type("aws:apigatewayv2/authorizer:Authorizer")[0].inputs
    assert authorizer["jwtConfiguration"] == {"issuer": "https://issuer.example", "audiences": ["pipeline"]}


@pytest.mark.parametrize(
    ("api", "route", "caller"),
    [
        ({}, "$context.routeKey", set()),
        ({"auth": "iam"}, "$context.routeKey", {"$context.identity.userArn"}),
        (
            {"auth": "jwt", "jwt": {"issuer": "https://issuer.example", "audience": ["shop"]}},
            "$context.routeKey",
            {"$context.authorizer.claims.sub"},
        ),
        ({"kind": "rest", "auth": "iam"}, "$context.resourcePath", {"$context.identity.userArn"}),
        ({"kind": "rest", "auth": "api_key"}, "$context.resourcePath", {"$context.identity.apiKeyId"}),
    ],
)
def test_access_logs_say_who_what_and_how_long_in_no_words_of_a_client(
    graph_of: Callable[..., Graph], api: dict[str, Any], route: str, caller: set[str]
) -> None:
    graph = graph_of(api={**api, "access_logs": True})
    (stage,) = [each for each in graph if each.type.endswith("stage:Stage")]
    assert set(json.loads(stage.inputs["accessLogSettings"]["format"]).values()) == caller | {
        route,
        "$context.requestId",
        "$context.requestTime",
        "$context.identity.sourceIp",
        "$context.httpMethod",
        "$context.status",
        "$context.responseLength",
        "$context.responseLatency",
        "$context.error.responseType",
    }


def test_lists_and_health_have_a_throttle_of_their_own_below_the_apis(graph_of: Callable[..., Graph]) -> None:
    stage = graph_of().find("aws:apigatewayv2/stage:Stage", "pipeline-api").inputs
    own = {"throttlingRateLimit": 10, "throttlingBurstLimit": 20}
    routes = ("GET /events", "GET /health", "HEAD /events", "HEAD /health")
    assert stage["routeSettings"] == [{"routeKey": route, **own} for route in routes]
    few = {"throttling": {"rate_per_second": 3, "burst": 4}}
    stage = graph_of(api=few).find("aws:apigatewayv2/stage:Stage", "pipeline-api").inputs
    assert {(each["throttlingRateLimit"], each["throttlingBurstLimit"]) for each in stage["routeSettings"]} == {(3, 4)}
    settings = graph_of(api={"kind": "rest"}).of_type("aws:apigateway/methodSettings:MethodSettings")
    assert {each.name: (each.inputs["methodPath"], each.inputs["settings"]) for each in settings} == {
        "pipeline-api": ("*/*", {"throttlingRateLimit": 100, "throttlingBurstLimit": 200}),
        "pipeline-api-list": ("~1events/GET", own),
        "pipeline-api-list-head": ("~1events/HEAD", own),
        "pipeline-api-health": ("~1health/GET", own),
        "pipeline-api-health-head": ("~1health/HEAD", own),
    }


def test_access_logs_are_in_groups_that_use_up_no_policy_of_the_account(graph_of: Callable[..., Graph]) -> None:
    for api in ({"access_logs": True}, {"kind": "rest", "access_logs": True}):
        group = graph_of(api=api).find("aws:cloudwatch/logGroup:LogGroup", "pipeline-api-access")
        assert group.inputs["name"] == "/aws/vendedlogs/datapipeline-dev-pipeline-api-access"


def test_throttling_cors_and_access_logs_are_as_configured(graph_of: Callable[..., Graph]) -> None:
    api = {
        "throttling": {"rate_per_second": 7, "burst": 9},
        "cors": {"allow_origins": ["https://shop.example"]},
        "stage_name": "v2",
    }
    graph = graph_of(api=api)
    stage = graph.of_type("aws:apigatewayv2/stage:Stage")[0].inputs
    assert stage["defaultRouteSettings"] == {"throttlingRateLimit": 7, "throttlingBurstLimit": 9}
    assert graph.outputs["api_url"].endswith("/v2")
    cors = graph.of_type("aws:apigatewayv2/api:Api")[0].inputs["corsConfiguration"]
    assert cors["allowOrigins"] == ["https://shop.example"]
    assert cors["allowMethods"] == ["GET", "POST"]
    signed = ["authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"]
    assert sorted(cors["allowHeaders"]) == sorted([*signed, "content-type", "idempotency-key", "x-correlation-id"])
    assert json.loads(stage["accessLogSettings"]["format"])["route"] == "$context.routeKey"


def test_cors_is_closed_unless_configured(dev: Graph) -> None:
    assert "corsConfiguration" not in dev.of_type("aws:apigatewayv2/api:Api")[0].inputs


@pytest.mark.parametrize(
    ("auth", "expected"),
    [("none", ("NONE", False)), ("iam", ("AWS_IAM", False)), ("api_key", ("NONE", True))],
)
def test_a_rest_api_has_the_same_routes(
    graph_of: Callable[..., Graph],
    auth: str,
    expected: tuple[str, bool],
) -> None:
    graph = graph_of(api={"kind": "rest", "auth": auth})
    found = methods(graph)
    assert found == {route: ("NONE", False) if route in OPEN else expected for route in ROUTES}
    assert graph.outputs["api_url"].endswith("/v1")


JWT = {"issuer": "https://issuer.example", "audience": ["pipeline"]}


@pytest.mark.parametrize("api", [{"auth": "none"}, {"auth": "iam"}, {"auth": "jwt", "jwt": JWT}])
def test_redrive_wants_a_signature_whatever_an_http_api_wants_else(
    graph_of: Callable[..., Graph], api: dict[str, object]
) -> None:
    plain, graph = graph_of(api=api), graph_of(api=api, queue={"redrive_api": {}})
    assert routes(graph) == {**routes(plain), **dict.fromkeys(REDRIVE, "AWS_IAM")}
    assert leads_to_redrive(graph) == REDRIVE
    authorizers = {
        route.inputs["routeKey"]
        for route in graph.of_type("aws:apigatewayv2/route:Route")
        if "authorizerId" in route.inputs
    }
    assert not authorizers & REDRIVE


def leads_to_redrive(graph: Graph) -> set[str]:
    function = graph.find("aws:lambda/function:Function", "pipeline-redrive").physical_name
    integrations = {
        integration.name: integration.inputs["integrationUri"]
        for integration in graph.of_type("aws:apigatewayv2/integration:Integration")
    }
    (name,) = (name for name, uri in integrations.items() if f":function:{function}/" in uri)
    by_urn = {route.inputs["routeKey"]: route.dependencies for route in graph.of_type("aws:apigatewayv2/route:Route")}
    return {
        route
        for route, dependencies in by_urn.items()
        if any(
            graph.by_urn(urn).type.endswith(":Integration") and graph.by_urn(urn).name == name for urn in dependencies
        )
    }


@pytest.mark.parametrize("auth", ["none", "iam", "api_key"])
def test_redrive_wants_a_signature_whatever_a_rest_api_wants_else(graph_of: Callable[..., Graph], auth: str) -> None:
    api = {"kind": "rest", "auth": auth}
    plain, graph = graph_of(api=api), graph_of(api=api, queue={"redrive_api": {}})
    assert methods(graph) == {**methods(plain), **dict.fromkeys(REDRIVE, ("AWS_IAM", False))}
    function = graph.find("aws:lambda/function:Function", "pipeline-redrive").physical_name
    leading = {
        integration.name.removeprefix("pipeline-api-")
        for integration in graph.of_type("aws:apigateway/integration:Integration")
        if f":function:{function}/" in integration.inputs["uri"]
    }
    assert leading == {"get-redrive-preview", "head-redrive-preview", "post-redrive-start"}

    def triggers(of: Graph) -> dict[str, str]:
        return dict(of.of_type("aws:apigateway/deployment:Deployment")[0].inputs["triggers"])

    assert triggers(plain)["definition"] != triggers(graph)["definition"]


def test_a_csv_stack_has_an_api_for_redrive_only_when_it_is_asked_for(graph_of: Callable[..., Graph]) -> None:
    assert graph_of("csv").of_type("aws:apigatewayv2/api:Api") == []
    graph = graph_of("csv", queue={"redrive_api": {}})
    assert routes(graph) == dict.fromkeys(REDRIVE, "AWS_IAM")
    assert set(graph.outputs) - set(graph_of("csv").outputs) == {"redrive_api_url"}


def test_the_stage_of_a_csv_stack_s_redrive_api_is_as_its_options_say(graph_of: Callable[..., Graph]) -> None:
    on: dict[str, Any] = {"queue": {"redrive_api": {}}}
    stage = graph_of("csv", **on).find("aws:apigatewayv2/stage:Stage", "pipeline-redrive-api").inputs
    assert stage["name"] == "$default"
    assert stage["defaultRouteSettings"] == {"throttlingRateLimit": 100, "throttlingBurstLimit": 200}
    assert "accessLogSettings" in stage
    said = {"throttling": {"rate_per_second": 2, "burst": 3}, "stage_name": "ops", "access_logs": False}
    graph = graph_of("csv", **on, redrive_api=said)
    stage = graph.find("aws:apigatewayv2/stage:Stage", "pipeline-redrive-api").inputs
    assert stage["name"] == "ops"
    assert stage["defaultRouteSettings"] == {"throttlingRateLimit": 2, "throttlingBurstLimit": 3}
    assert "accessLogSettings" not in stage
    assert graph.outputs["redrive_api_url"].endswith("/ops")
    assert routes(graph) == dict.fromkeys(REDRIVE, "AWS_IAM")


def test_an_api_key_comes_with_a_usage_plan_and_only_its_id_is_an_output(graph_of: Callable[..., Graph]) -> None:
    graph = graph_of(api={"kind": "rest", "auth": "api_key", "throttling": {"rate_per_second": 3, "burst": 4}})
    plan = graph.of_type("aws:apigateway/usagePlan:UsagePlan")[0].inputs
    assert plan["throttleSettings"] == {"rateLimit": 3, "burstLimit": 4}
    assert plan["apiStages"][0]["stage"] == "v1"
    assert graph.outputs["api_key_id"] == graph.of_type("aws:apigateway/usagePlanKey:UsagePlanKey")[0].inputs["keyId"]


def test_a_rest_api_hands_on_the_exact_bytes_of_bodies_and_answers_errors_in_our_shape(
    graph_of: Callable[..., Graph],
) -> None:
    graph = graph_of(api={"kind": "rest"})
    api = graph.of_type("aws:apigateway/restApi:RestApi")[0].inputs
    # All bodies are base64, and none is large enough to be decompressed: API Gateway takes 10 MB.
    assert (api["binaryMediaTypes"], api["minimumCompressionSize"]) == (["*/*"], str(10 * 1024 * 1024))
    # A validator would refuse what is not JSON, such as forms and CloudEvents in binary mode.
    post = graph.find("aws:apigateway/method:Method", "pipeline-api-post-events").inputs
    assert not {"requestModels", "requestValidatorId"} & set(post)
    answers = graph.of_type("aws:apigateway/response:Response")
    assert sorted(answer.inputs["responseType"] for answer in answers) == ["DEFAULT_4XX", "DEFAULT_5XX"]
    assert all('{"error": {"code"' in answer.inputs["responseTemplates"]["application/json"] for answer in answers)


def test_a_change_of_routes_or_auth_makes_a_new_deployment_of_a_rest_api(graph_of: Callable[..., Graph]) -> None:
    def trigger(auth: str) -> str:
        graph = graph_of(api={"kind": "rest", "auth": auth})
        deployment = graph.of_type("aws:apigateway/deployment:Deployment")[0]
        waits_for = {graph.by_urn(urn).type for urn in deployment.dependencies}
        assert {"aws:apigateway/method:Method", "aws:apigateway/integration:Integration"} <= waits_for
        return str(deployment.inputs["triggers"]["definition"])

    assert trigger("none") != trigger("iam")
    assert trigger("none") == trigger("none")
