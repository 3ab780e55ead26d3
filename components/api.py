"""The API in front of a pipeline: an HTTP API or a REST API, with the same functions behind the same routes."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.function import Function
from components.names import service_name
from components.observability import FEWEST_FOR_A_SHARE, Alarm, Metric, Panel, rate_of
from components.options.api import ApiOptions
from components.options.common import AlarmOptions, LogOptions
from components.options.requests import ThrottlingOptions

Route = tuple[str, str]

ROUTES: tuple[Route, ...] = (("POST", "/events"), ("GET", "/events"), ("GET", "/events/{id}"), ("GET", "/health"))
LIST: Route = ("GET", "/events")
HEALTH: Route = ("GET", "/health")
OPEN_ROUTES: tuple[Route, ...] = (HEALTH,)
# Open too: senders cannot authenticate to AWS. They sign their requests, and the function verifies the signature.
WEBHOOKS = "/webhooks/"
# Requests a second, and at once, below the API's own: a list reads up to a hundred items, and anybody may ask for
# health.
LOWER_THROTTLING: Mapping[Route, tuple[str, int, int]] = {
    LIST: ("list", 10, 20),
    ("HEAD", "/events"): ("list-head", 10, 20),
    HEALTH: ("health", 10, 20),
    ("HEAD", "/health"): ("health-head", 10, 20),
}

INTEGRATION_TIMEOUT_MS = 29_000

# What a REST API answers itself.
GATEWAY_ERROR = (
    '{"error": {"code": "$context.error.responseType", "message": $context.error.messageString, "details": []}}'
)
# The function of a REST API gets the exact bytes of a body, which signatures and binary events need: in text, bytes
# that are not UTF-8 would be replaced. A body below the minimum is not decompressed, and no request reaches this one.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-payload-encodings.html
# https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-enable-compression.html
BINARY_TYPES = ("*/*",)
MINIMUM_COMPRESSION_BYTES = 10_485_760

# One JSON line a request: from where, what, how long. No body, no query string, and nothing else that a client words:
# API Gateway does not say that it escapes what stands between these quotes.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-logging-variables.html
# https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-variables-for-access-logging.html
ACCESS_LOG: Mapping[str, str] = {
    "request_id": "$context.requestId",
    "time": "$context.requestTime",
    "source_ip": "$context.identity.sourceIp",
    "method": "$context.httpMethod",
    "status": "$context.status",
    "response_bytes": "$context.responseLength",
    "latency_ms": "$context.responseLatency",
    "error": "$context.error.responseType",
}
ROUTE_LOGGED = {"http": "$context.routeKey", "rest": "$context.resourcePath"}
# Who, where that is asked: role or user, subject of the token, id of the API key, which is not the key.
CALLER_LOGGED = {
    "iam": "$context.identity.userArn",
    "jwt": "$context.authorizer.claims.sub",
    "api_key": "$context.identity.apiKeyId",
}


def with_heads(routes: Sequence[Route]) -> tuple[Route, ...]:
    """Return the routes, and `HEAD` for each `GET` among them."""
    return (*routes, *(("HEAD", path) for method, path in routes if method == "GET"))


def is_open(route: Route) -> bool:
    """Return True for a route that needs no authentication, whatever the API's options say."""
    method, path = route
    return path.startswith(WEBHOOKS) or ("GET" if method == "HEAD" else method, path) in OPEN_ROUTES


@dataclass(frozen=True)
class Backend:
    """A function and the routes that lead to it.

    `label` tells its resources from another backend's. `signed`: its routes want a signature with AWS credentials,
    whatever the API's options say. `throttling` has the routes with limits of their own.
    """

    function: Function
    routes: tuple[Route, ...] = ROUTES
    label: str = ""
    signed: bool = False
    throttling: Mapping[Route, ThrottlingOptions] = field(default_factory=dict)

    @property
    def deployed(self) -> tuple[Route, ...]:
        """The routes, and `HEAD` for each `GET`: API Gateway does not answer it by itself."""
        return with_heads(self.routes)

    def named(self, name: str) -> str:
        """The name of one of its resources."""
        return f"{name}-{self.label}" if self.label else name


@dataclass(frozen=True)
class ApiMetrics:
    """An API's CloudWatch dimensions, and its metrics for errors of the server and of clients.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-metrics.html
    https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-metrics-and-dimensions.html
    """

    dimensions: Mapping[str, Input[str]]
    server_errors: str
    client_errors: str

    def metric(self, name: str, statistic: str) -> Metric:
        """One of API Gateway's metrics of the API."""
        return Metric("AWS/ApiGateway", name, self.dimensions, statistic)

    def alarms(self, options: AlarmOptions) -> dict[str, Alarm]:
        """Alarms on errors and latency."""
        return {
            "api-errors": Alarm(
                "The API answers too many requests with a server error.",
                rate_of(self.metric(self.server_errors, "Sum"), self.metric("Count", "Sum")),
                threshold=options.api_error_rate_percent,
                section="api-errors",
                step="api",
                severity="critical",
            ),
            "api-refusals": Alarm(
                "The API refuses too many requests with a status of 400 to 499.",
                rate_of(
                    self.metric(self.client_errors, "Sum"), self.metric("Count", "Sum"), minimum=FEWEST_FOR_A_SHARE
                ),
                threshold=options.api_refusal_rate_percent,
                section="api-refusals",
                step="api",
                periods=2,
            ),
            "api-latency": Alarm(
                "The API is slow: 95 of 100 requests take less than this, 5 take longer.",
                self.metric("Latency", "p95"),
                threshold=options.api_latency_p95_ms,
                section="api-latency",
                step="api",
                periods=3,
            ),
        }

    def panels(self) -> tuple[Panel, Panel]:
        """The number of requests and their latency."""
        return (
            Panel("Requests", [self.metric("Count", "Sum"), self.metric(self.server_errors, "Sum")]),
            Panel("API latency (ms)", [self.metric("Latency", statistic) for statistic in ("p50", "p95")]),
        )


class HttpApi(pulumi.ComponentResource):
    """An HTTP API (API Gateway v2) with payload format 2.0."""

    def __init__(
        self,
        name: str,
        options: ApiOptions,
        logs: LogOptions,
        backends: Sequence[Backend],
        *,
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__("datapipeline:index:HttpApi", name, None, opts)
        child = ResourceOptions(parent=self)
        cors = _cors(options, backends)
        api = aws.apigatewayv2.Api(name, protocol_type="HTTP", cors_configuration=cors, opts=child)
        authorization = self._authorization(name, options, api)
        permissions = _allow_invocation(name, backends, api.execution_arn, child)
        routes = [
            route
            for backend in backends
            for route in self._routes(
                name,
                api,
                backend,
                {"authorization_type": "AWS_IAM"} if backend.signed else authorization,
                permissions[backend.label],
            )
        ]
        stage = aws.apigatewayv2.Stage(
            name,
            api_id=api.id,
            name=options.stage_name or "$default",
            auto_deploy=True,
            default_route_settings={
                "throttling_rate_limit": options.throttling.rate_per_second,
                "throttling_burst_limit": options.throttling.burst,
            },
            route_settings=[
                {"route_key": " ".join(route), "throttling_rate_limit": rate, "throttling_burst_limit": burst}
                for route, _, rate, burst in _own_throttling(options, backends)
            ]
            or None,
            access_log_settings=_access_logs(name, options, logs, child),
            # API Gateway refuses settings of a route that is not there yet.
            opts=ResourceOptions(parent=self, depends_on=routes),
        )
        self.url = stage.invoke_url.apply(lambda url: url.rstrip("/"))
        self.metrics = ApiMetrics({"ApiId": api.id}, "5xx", "4xx")
        self.key_id: Output[str] | None = None
        self.register_outputs({"url": self.url})

    def _routes(
        self,
        name: str,
        api: aws.apigatewayv2.Api,
        backend: Backend,
        authorization: dict[str, Input[str]],
        permission: pulumi.Resource,
    ) -> list[aws.apigatewayv2.Route]:
        child = ResourceOptions(parent=self)
        integration = aws.apigatewayv2.Integration(
            backend.named(name),
            api_id=api.id,
            integration_type="AWS_PROXY",
            integration_method="POST",
            integration_uri=backend.function.invoke_arn,
            payload_format_version="2.0",
            timeout_milliseconds=INTEGRATION_TIMEOUT_MS,
            # Without it the first requests to a new alias would fail.
            opts=ResourceOptions(parent=self, depends_on=[permission]),
        )
        return [
            aws.apigatewayv2.Route(
                f"{name}-{_label(method, path)}",
                api_id=api.id,
                route_key=f"{method} {path}",
                target=Output.concat("integrations/", integration.id),
                **({"authorization_type": "NONE"} if is_open((method, path)) else authorization),
                opts=child,
            )
            for method, path in backend.deployed
        ]

    def _authorization(self, name: str, options: ApiOptions, api: aws.apigatewayv2.Api) -> dict[str, Input[str]]:
        if options.jwt is not None:
            authorizer = aws.apigatewayv2.Authorizer(
                name,
                api_id=api.id,
                authorizer_type="JWT",
                identity_sources=["$request.header.Authorization"],
                jwt_configuration={"issuer": options.jwt.issuer, "audiences": list(options.jwt.audience)},
                opts=ResourceOptions(parent=self),
            )
            return {"authorization_type": "JWT", "authorizer_id": authorizer.id}
        return {"authorization_type": "AWS_IAM" if options.auth == "iam" else "NONE"}


class RestApi(pulumi.ComponentResource):
    """A REST API (API Gateway v1): API keys with a usage plan."""

    def __init__(
        self,
        name: str,
        options: ApiOptions,
        logs: LogOptions,
        backends: Sequence[Backend],
        *,
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__("datapipeline:index:RestApi", name, None, opts)
        child = ResourceOptions(parent=self)
        api = aws.apigateway.RestApi(
            name,
            endpoint_configuration={"types": "REGIONAL"},
            binary_media_types=list(BINARY_TYPES),
            minimum_compression_size=str(MINIMUM_COMPRESSION_BYTES),
            opts=child,
        )
        answers = self._error_answers(name, api)
        permissions = _allow_invocation(name, backends, api.execution_arn, child)
        methods = self._methods(name, options, api, backends)
        deployment = aws.apigateway.Deployment(
            name,
            rest_api=api.id,
            # A REST API serves a snapshot: a change of routes or auth must make a new one.
            triggers={
                "definition": _definition_hash(options, backends),
                **{backend.named("integration"): backend.function.invoke_arn for backend in backends},
            },
            opts=ResourceOptions(parent=self, depends_on=[*methods, *answers, *permissions.values()]),
        )
        stage = aws.apigateway.Stage(
            name,
            rest_api=api.id,
            deployment=deployment.id,
            stage_name=options.stage_name or "v1",
            access_log_settings=_access_logs(name, options, logs, child),
            opts=child,
        )
        aws.apigateway.MethodSettings(
            name,
            rest_api=api.id,
            stage_name=stage.stage_name,
            method_path="*/*",
            settings={
                "throttling_rate_limit": options.throttling.rate_per_second,
                "throttling_burst_limit": options.throttling.burst,
            },
            opts=child,
        )
        for (method, path), label, rate, burst in _own_throttling(options, backends):
            aws.apigateway.MethodSettings(
                f"{name}-{label}",
                rest_api=api.id,
                stage_name=stage.stage_name,
                method_path=_method_path(method, path),
                settings={"throttling_rate_limit": rate, "throttling_burst_limit": burst},
                opts=child,
            )
        self.key_id = self._key(name, options, api, stage) if options.auth == "api_key" else None
        self.url = stage.invoke_url.apply(lambda url: url.rstrip("/"))
        self.metrics = ApiMetrics({"ApiName": api.name, "Stage": stage.stage_name}, "5XXError", "4XXError")
        self.register_outputs({"url": self.url})

    def _error_answers(self, name: str, api: aws.apigateway.RestApi) -> list[pulumi.Resource]:
        """The gateway's own refusals, in the shape that the function answers with."""
        return [
            aws.apigateway.Response(
                f"{name}-{kind.lower().replace('_', '-')}",
                rest_api_id=api.id,
                response_type=kind,
                response_templates={"application/json": GATEWAY_ERROR},
                opts=ResourceOptions(parent=self),
            )
            for kind in ("DEFAULT_4XX", "DEFAULT_5XX")
        ]

    def _methods(
        self,
        name: str,
        options: ApiOptions,
        api: aws.apigateway.RestApi,
        backends: Sequence[Backend],
    ) -> list[pulumi.Resource]:
        child = ResourceOptions(parent=self)
        resources: dict[str, Output[str]] = {"": api.root_resource_id}
        for path in _paths(backends):
            parent, _, part = path.rpartition("/")
            resource = aws.apigateway.Resource(
                f"{name}-{_label('', path)}",
                rest_api=api.id,
                parent_id=resources[parent],
                path_part=part,
                opts=child,
            )
            resources[path] = resource.id
        made: list[pulumi.Resource] = []
        for backend, (method, path) in ((each, route) for each in backends for route in each.deployed):
            closed = not is_open((method, path))
            signed = backend.signed or (closed and options.auth == "iam")
            label = f"{name}-{_label(method, path)}"
            route = aws.apigateway.Method(
                label,
                rest_api=api.id,
                resource_id=resources[path],
                http_method=method,
                authorization="AWS_IAM" if signed else "NONE",
                api_key_required=closed and not signed and options.auth == "api_key",
                request_parameters={"method.request.path.id": True} if path.endswith("{id}") else None,
                opts=child,
            )
            integration = aws.apigateway.Integration(
                label,
                rest_api=api.id,
                resource_id=resources[path],
                http_method=route.http_method,
                type="AWS_PROXY",
                integration_http_method="POST",
                uri=backend.function.invoke_arn,
                timeout_milliseconds=INTEGRATION_TIMEOUT_MS,
                opts=child,
            )
            made += [route, integration]
        return made

    def _key(
        self,
        name: str,
        options: ApiOptions,
        api: aws.apigateway.RestApi,
        stage: aws.apigateway.Stage,
    ) -> Output[str]:
        """One key and its plan. Only the key's id is an output; its value stays with API Gateway."""
        child = ResourceOptions(parent=self)
        key = aws.apigateway.ApiKey(name, opts=child)
        plan = aws.apigateway.UsagePlan(
            name,
            api_stages=[{"api_id": api.id, "stage": stage.stage_name}],
            throttle_settings={
                "rate_limit": options.throttling.rate_per_second,
                "burst_limit": options.throttling.burst,
            },
            opts=child,
        )
        aws.apigateway.UsagePlanKey(name, key_id=key.id, key_type="API_KEY", usage_plan_id=plan.id, opts=child)
        return key.id


def _own_throttling(options: ApiOptions, backends: Sequence[Backend]) -> Iterator[tuple[Route, str, float, int]]:
    """Yield the routes with a throttle of their own, its name, and its requests a second and at once."""
    for backend, route in ((each, route) for each in backends for route in each.deployed):
        method, path = route
        if route in LOWER_THROTTLING:
            label, rate, burst = LOWER_THROTTLING[route]
            yield route, label, min(options.throttling.rate_per_second, rate), min(options.throttling.burst, burst)
        elif own := backend.throttling.get(("GET" if method == "HEAD" else method, path)):
            yield route, _label(method, path), own.rate_per_second, own.burst


def _method_path(method: str, path: str) -> str:
    """Return how settings of a stage name a method: all slashes of the path are `~1`.

    https://docs.aws.amazon.com/cli/latest/reference/apigateway/update-stage.html and get-stages.html
    """
    return f"{path.replace('/', '~1')}/{method}"


def _label(method: str, path: str) -> str:
    parts = [method.lower(), *(part.strip("{}") for part in path.split("/"))]
    return "-".join(part for part in parts if part)


def _paths(backends: Sequence[Backend]) -> list[str]:
    """The paths of all routes and those above them, parents first."""
    found: set[str] = set()
    for _, path in (route for backend in backends for route in backend.routes):
        parts = path.split("/")
        found |= {"/".join(parts[:end]) for end in range(2, len(parts) + 1)}
    return sorted(found)


def _cors(options: ApiOptions, backends: Sequence[Backend]) -> aws.apigatewayv2.ApiCorsConfigurationArgsDict | None:
    if options.cors is None:
        return None
    return {
        "allow_origins": list(options.cors.allow_origins),
        "allow_headers": list(options.cors.allow_headers),
        "allow_methods": sorted({method for backend in backends for method, _ in backend.routes}),
        "expose_headers": ["location"],
        "max_age": options.cors.max_age_seconds,
    }


def _access_logs(
    name: str, options: ApiOptions, logs: LogOptions, child: ResourceOptions
) -> aws.apigatewayv2.StageAccessLogSettingsArgsDict | None:
    """Access-log settings of a stage. Both kinds of API take them in the same shape."""
    if not options.writes_access_logs:
        return None
    group = aws.cloudwatch.LogGroup(
        f"{name}-access",
        # API Gateway notes each log group of another name in one policy of the account, for ever; it takes about fifty.
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/AWS-logs-and-resource-policy.html
        name=f"/aws/vendedlogs/{service_name()}-{name}-access",
        retention_in_days=logs.retention_days,
        opts=child,
    )
    caller = {"caller": CALLER_LOGGED[options.auth]} if options.auth in CALLER_LOGGED else {}
    logged = json.dumps({**ACCESS_LOG, "route": ROUTE_LOGGED[options.kind], **caller})
    return {"destination_arn": group.arn, "format": logged}


def _allow_invocation(
    name: str, backends: Sequence[Backend], execution_arn: Output[str], child: ResourceOptions
) -> dict[str, pulumi.Resource]:
    """Let the API invoke the functions. Returns the permissions by the backends' labels."""
    return {
        backend.label: aws.lambda_.Permission(
            backend.named(name),
            action="lambda:InvokeFunction",
            function=backend.function.name,
            qualifier=backend.function.qualifier,
            principal="apigateway.amazonaws.com",
            source_arn=Output.concat(execution_arn, "/*/*"),
            opts=child,
        )
        for backend in backends
    }


def _definition_hash(options: ApiOptions, backends: Sequence[Backend]) -> str:
    routes = [[backend.label, backend.deployed, backend.signed] for backend in backends]
    definition = [
        routes,
        OPEN_ROUTES,
        GATEWAY_ERROR,
        BINARY_TYPES,
        MINIMUM_COMPRESSION_BYTES,
        options.model_dump(mode="json"),
    ]
    return hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()
