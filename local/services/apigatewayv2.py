"""HTTP APIs."""

from typing import Any

from local.monitor import Created
from local.services import Clients, Inputs, creates
from local.services.lambda_ import pascal


def api_url(aws: Clients, api_id: str) -> str:
    """Return the address of an API. It has a path, because names below `localhost` do not resolve everywhere."""
    return f"{aws.endpoint}/_aws/execute-api/{api_id}"


@creates("aws:apigatewayv2/api:Api")
def api(aws: Clients, name: str, inputs: Inputs) -> Created:
    inputs.get("name")
    request: dict[str, Any] = inputs.renamed(Description="description", ProtocolType="protocolType")
    if "corsConfiguration" in inputs:
        request["CorsConfiguration"] = pascal(inputs["corsConfiguration"])
    api_id = aws("apigatewayv2").create_api(Name=name, Tags=inputs.tags, **request)["ApiId"]
    return Created(
        api_id,
        {
            "name": name,
            "apiEndpoint": api_url(aws, api_id),
            "arn": f"arn:aws:apigateway:{aws.region}::/apis/{api_id}",
            "executionArn": aws.execution_arn(api_id),
        },
    )


@creates("aws:apigatewayv2/integration:Integration")
def integration(aws: Clients, _name: str, inputs: Inputs) -> Created:
    made = aws("apigatewayv2").create_integration(
        **inputs.renamed(
            ApiId="apiId",
            IntegrationMethod="integrationMethod",
            IntegrationType="integrationType",
            IntegrationUri="integrationUri",
            PayloadFormatVersion="payloadFormatVersion",
            TimeoutInMillis="timeoutMilliseconds",
        ),
    )
    return Created(made["IntegrationId"])


@creates("aws:apigatewayv2/route:Route")
def route(aws: Clients, _name: str, inputs: Inputs) -> Created:
    made = aws("apigatewayv2").create_route(
        **inputs.renamed(
            ApiId="apiId",
            AuthorizationScopes="authorizationScopes",
            AuthorizationType="authorizationType",
            AuthorizerId="authorizerId",
            RouteKey="routeKey",
            Target="target",
        ),
    )
    return Created(made["RouteId"])


@creates("aws:apigatewayv2/authorizer:Authorizer")
def authorizer(aws: Clients, name: str, inputs: Inputs) -> Created:
    inputs.get("name")
    jwt = inputs["jwtConfiguration"]
    made = aws("apigatewayv2").create_authorizer(
        Name=name,
        JwtConfiguration={"Issuer": jwt["issuer"], "Audience": jwt["audiences"]},
        **inputs.renamed(ApiId="apiId", AuthorizerType="authorizerType", IdentitySource="identitySources"),
    )
    return Created(made["AuthorizerId"], {"name": name})


@creates("aws:apigatewayv2/stage:Stage")
def stage(aws: Clients, name: str, inputs: Inputs) -> Created:
    inputs.get("name")
    api_id = inputs["apiId"]
    request: dict[str, Any] = inputs.renamed(AutoDeploy="autoDeploy", Description="description")
    if "defaultRouteSettings" in inputs:
        request["DefaultRouteSettings"] = pascal(inputs["defaultRouteSettings"])
    if "routeSettings" in inputs:
        routes = [dict(route) for route in inputs["routeSettings"]]
        request["RouteSettings"] = {route.pop("routeKey"): pascal(route) for route in routes}
    if "accessLogSettings" in inputs:
        request["AccessLogSettings"] = pascal(inputs["accessLogSettings"])
    aws("apigatewayv2").create_stage(ApiId=api_id, StageName=name, Tags=inputs.tags, **request)
    return Created(
        name,
        {
            "name": name,
            "invokeUrl": f"{api_url(aws, api_id)}/{'' if name == '$default' else name}",
            "arn": f"arn:aws:apigateway:{aws.region}::/apis/{api_id}/stages/{name}",
            "executionArn": f"{aws.execution_arn(api_id)}/{name}",
        },
    )
