"""Rules for APIs: authorization, throttling and access logs."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from local.monitor import Registration
from local.recording import Graph
from local.rules.rule import HTTP_API, HTTP_STAGE, REST_API, REST_STAGE, Problem, rule


@rule(
    "open-api",
    fix="api.auth in the stack file, or an authorization type on the route or method",
    why="https://docs.aws.amazon.com/securityhub/latest/userguide/apigateway-controls.html#apigateway-8",
)
def _open_api(graph: Graph) -> Iterator[Problem]:
    for route in _routes(graph):
        if route.open and route.key not in ("GET /health", "HEAD /health") and not _verifies_a_signature(graph, route):
            yield route.resource, f"anybody may call {route.key}"
    for api in [*graph.of_type(HTTP_API), *graph.of_type(REST_API)]:
        if api.inputs.get("body"):
            yield api, "its routes are in an OpenAPI document, which no rule checks for authorization"


@rule(
    "redrive-by-iam",
    fix="authorization_type AWS_IAM, as in components/api.py, on each route to the redrive function",
    why="https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-access-control-iam.html",
)
def _redrive_by_iam(graph: Graph) -> Iterator[Problem]:
    routes = list(_routes(graph))
    redriving = {route.leads_to for route in routes if route.redrives} - {None}
    for route in routes:
        if (route.redrives or route.leads_to in redriving) and route.authorization != "AWS_IAM":
            yield (
                route.resource,
                f"callers without rights to operate the stack can redrive its dead letters by {route.key}",
            )


@rule(
    "access-logs",
    fix="access_log_settings of the stage: api.access_logs (csv: redrive_api.access_logs) in the stack file",
    why="https://docs.aws.amazon.com/securityhub/latest/userguide/apigateway-controls.html#apigateway-9",
)
def _access_logs(graph: Graph) -> Iterator[Problem]:
    for stage in [*graph.of_type(HTTP_STAGE), *graph.of_type(REST_STAGE)]:
        if not stage.inputs.get("accessLogSettings"):
            yield stage, "nothing records who called it, and from where"


@rule(
    "throttling",
    fix="a rate limit for all routes of the stage: api.throttling (csv: redrive_api.throttling) in the stack file",
    why="https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-throttling.html",
)
def _throttling(graph: Graph) -> Iterator[Problem]:
    limited = {
        (each.inputs["restApi"], each.inputs["stageName"])
        for each in graph.of_type("aws:apigateway/methodSettings:MethodSettings")
        # -1 means no limit.
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
            yield stage, "its only limit is that of the whole account"


@dataclass(frozen=True)
class _Route:
    """A route of an HTTP API or a method of a REST API (`GET /health`, `$default`), and the function behind it."""

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


def _verifies_a_signature(graph: Graph, route: _Route) -> bool:
    """Return True for a webhook's route to a function that has its secrets, with which it verifies requests."""
    webhook = re.fullmatch("(?:POST|GET|HEAD) /webhooks/([a-z0-9-]+)", route.key)
    for function in graph.of_type("aws:lambda/function:Function") if webhook else ():
        if webhook and function.physical_name == route.leads_to:
            variables = function.inputs.get("environment", {}).get("variables", {})
            return bool(json.loads(variables.get("WEBHOOKS", "{}")).get(webhook[1], {}).get("secrets"))
    return False


def _routes(graph: Graph) -> Iterator[_Route]:
    # Only AWS knows the ids, so a route's integration is found among its dependencies.
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
    """Return the name of the function that an integration invokes, or the URI if it invokes none."""
    match = re.search(":function:([^:/]+)", uri or "")
    return match[1] if match else uri
