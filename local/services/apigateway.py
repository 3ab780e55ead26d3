"""REST APIs."""

from typing import Any

from local.monitor import Created
from local.services import Clients, Inputs, creates
from local.services.apigatewayv2 import api_url


@creates("aws:apigateway/restApi:RestApi")
def rest_api(aws: Clients, name: str, inputs: Inputs) -> Created:
    inputs.get("name")
    request: dict[str, Any] = inputs.renamed(description="description", binaryMediaTypes="binaryMediaTypes")
    if "minimumCompressionSize" in inputs:
        request["minimumCompressionSize"] = int(inputs["minimumCompressionSize"])
    if "endpointConfiguration" in inputs:
        request["endpointConfiguration"] = {"types": [inputs["endpointConfiguration"]["types"]]}
    client = aws("apigateway")
    api_id = client.create_rest_api(name=name, tags=inputs.tags, **request)["id"]
    root = next(item["id"] for item in client.get_resources(restApiId=api_id)["items"] if item["path"] == "/")
    return Created(
        api_id,
        {
            "name": name,
            "rootResourceId": root,
            "arn": f"arn:aws:apigateway:{aws.region}::/restapis/{api_id}",
            "executionArn": aws.execution_arn(api_id),
        },
    )


@creates("aws:apigateway/resource:Resource")
def resource(aws: Clients, _name: str, inputs: Inputs) -> Created:
    request = inputs.renamed(restApiId="restApi", parentId="parentId", pathPart="pathPart")
    return Created(aws("apigateway").create_resource(**request)["id"])


@creates("aws:apigateway/response:Response")
def response(aws: Clients, _name: str, inputs: Inputs) -> Created:
    request = inputs.renamed(
        restApiId="restApiId",
        responseType="responseType",
        responseParameters="responseParameters",
        responseTemplates="responseTemplates",
        statusCode="statusCode",
    )
    aws("apigateway").put_gateway_response(**request)
    return Created(f"aggr-{inputs['restApiId']}-{inputs['responseType']}")


@creates("aws:apigateway/method:Method")
def method(aws: Clients, _name: str, inputs: Inputs) -> Created:
    aws("apigateway").put_method(
        **inputs.renamed(
            restApiId="restApi",
            resourceId="resourceId",
            httpMethod="httpMethod",
            authorizationType="authorization",
            authorizerId="authorizerId",
            apiKeyRequired="apiKeyRequired",  # pragma: allowlist secret
            requestParameters="requestParameters",
        ),
    )
    return Created(f"agm-{inputs['restApi']}-{inputs['resourceId']}-{inputs['httpMethod']}")


@creates("aws:apigateway/integration:Integration")
def integration(aws: Clients, _name: str, inputs: Inputs) -> Created:
    aws("apigateway").put_integration(
        **inputs.renamed(
            restApiId="restApi",
            resourceId="resourceId",
            httpMethod="httpMethod",
            type="type",
            integrationHttpMethod="integrationHttpMethod",
            uri="uri",
            timeoutInMillis="timeoutMilliseconds",
        ),
    )
    return Created(f"agi-{inputs['restApi']}-{inputs['resourceId']}-{inputs['httpMethod']}")


@creates("aws:apigateway/deployment:Deployment", ignores={"triggers": "a local deployment is made once"})
def deployment(aws: Clients, _name: str, inputs: Inputs) -> Created:
    request = inputs.renamed(restApiId="restApi", description="description")
    return Created(aws("apigateway").create_deployment(**request)["id"])


@creates("aws:apigateway/stage:Stage", ignores={"accessLogSettings": "the emulator writes no access logs"})
def stage(aws: Clients, _name: str, inputs: Inputs) -> Created:
    api_id, name = inputs["restApi"], inputs["stageName"]
    request = inputs.renamed(deploymentId="deployment", description="description", variables="variables")
    tracing = {"tracingEnabled": inputs["xrayTracingEnabled"]} if "xrayTracingEnabled" in inputs else {}
    aws("apigateway").create_stage(restApiId=api_id, stageName=name, tags=inputs.tags, **request, **tracing)
    return Created(
        f"ags-{api_id}-{name}",
        {
            "invokeUrl": f"{api_url(aws, api_id)}/{name}",
            "arn": f"arn:aws:apigateway:{aws.region}::/restapis/{api_id}/stages/{name}",
            "executionArn": f"{aws.execution_arn(api_id)}/{name}",
        },
    )


# https://docs.aws.amazon.com/apigateway/latest/api/API_MethodSetting.html
_SETTINGS = {
    "throttlingRateLimit": "throttling/rateLimit",
    "throttlingBurstLimit": "throttling/burstLimit",
    "loggingLevel": "logging/loglevel",
    "metricsEnabled": "metrics/enabled",
    "dataTraceEnabled": "logging/dataTrace",
}


@creates("aws:apigateway/methodSettings:MethodSettings")
def method_settings(aws: Clients, _name: str, inputs: Inputs) -> Created:
    api_id, stage_name, path = inputs["restApi"], inputs["stageName"], inputs["methodPath"]
    changes = [
        {"op": "replace", "path": f"/{path}/{_SETTINGS[key]}", "value": str(value)}
        for key, value in inputs["settings"].items()
    ]
    aws("apigateway").update_stage(restApiId=api_id, stageName=stage_name, patchOperations=changes)
    return Created(f"{api_id}-{stage_name}-{path}")


@creates("aws:apigateway/apiKey:ApiKey")
def api_key(aws: Clients, name: str, inputs: Inputs) -> Created:
    inputs.get("name")
    request = inputs.renamed(description="description", value="value")
    made = aws("apigateway").create_api_key(name=name, enabled=inputs.get("enabled", True), tags=inputs.tags, **request)
    return Created(made["id"], {"name": name, "value": made["value"]})


@creates("aws:apigateway/usagePlan:UsagePlan")
def usage_plan(aws: Clients, name: str, inputs: Inputs) -> Created:
    inputs.get("name")
    request: dict[str, Any] = inputs.renamed(
        description="description", throttle="throttleSettings", quota="quotaSettings"
    )
    stages = [{"apiId": entry["apiId"], "stage": entry["stage"]} for entry in inputs.get("apiStages", ())]
    made = aws("apigateway").create_usage_plan(name=name, apiStages=stages, tags=inputs.tags, **request)
    return Created(made["id"], {"name": name})


@creates("aws:apigateway/usagePlanKey:UsagePlanKey")
def usage_plan_key(aws: Clients, _name: str, inputs: Inputs) -> Created:
    made = aws("apigateway").create_usage_plan_key(
        **inputs.renamed(usagePlanId="usagePlanId", keyId="keyId", keyType="keyType"),
    )
    return Created(made["id"])
