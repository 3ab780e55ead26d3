"""Functions, their layers, and what triggers them."""

from collections.abc import Mapping
from typing import Any

from local.code import zip_bytes
from local.monitor import Created
from local.services import Clients, Inputs, creates


@creates(
    "aws:lambda/function:Function",
    ignores={"skipDestroy": "all functions go with the emulator"},
)
def function(aws: Clients, name: str, inputs: Inputs) -> Created:
    inputs.get("name")
    request = inputs.renamed(
        Architectures="architectures",
        Description="description",
        Handler="handler",
        KMSKeyArn="kmsKeyArn",
        Layers="layers",
        MemorySize="memorySize",
        Publish="publish",
        Role="role",
        Runtime="runtime",
        Timeout="timeout",
    )
    if "environment" in inputs:
        request["Environment"] = {"Variables": inputs["environment"].get("variables", {})}
    if "vpcConfig" in inputs:
        network = inputs["vpcConfig"]
        request["VpcConfig"] = {"SubnetIds": network["subnetIds"], "SecurityGroupIds": network["securityGroupIds"]}
    for key in ("tracingConfig", "ephemeralStorage", "loggingConfig", "deadLetterConfig", "snapStart"):
        if key in inputs:
            request[key[0].upper() + key[1:]] = pascal(inputs[key])
    client = aws("lambda")
    made = client.create_function(
        FunctionName=name, Code={"ZipFile": zip_bytes(inputs["code"])}, Tags=inputs.tags, **request
    )
    if "reservedConcurrentExecutions" in inputs:
        reserved = inputs["reservedConcurrentExecutions"]
        client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=reserved)
    arn = aws.arn("lambda", f"function:{name}")
    qualified = {"qualifiedArn": f"{arn}:{made['Version']}", "version": made["Version"]}
    return Created(name, {"name": name, "arn": arn, "invokeArn": aws.invoke_arn(arn), **qualified})


def pascal(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a flat mapping with its keys in the Lambda API's spelling."""
    return {key[0].upper() + key[1:]: item for key, item in value.items()}


@creates("aws:lambda/layerVersion:LayerVersion", ignores={"skipDestroy": "all layers go with the emulator"})
def layer_version(aws: Clients, _name: str, inputs: Inputs) -> Created:
    content = (
        {"ZipFile": zip_bytes(inputs["code"])}
        if "code" in inputs
        else {"S3Bucket": inputs["s3Bucket"], "S3Key": inputs["s3Key"]}
    )
    made = aws("lambda").publish_layer_version(
        LayerName=inputs["layerName"],
        Content=content,
        **inputs.renamed(
            CompatibleArchitectures="compatibleArchitectures",
            CompatibleRuntimes="compatibleRuntimes",
            Description="description",
        ),
    )
    arn = made["LayerVersionArn"]
    return Created(arn, {"arn": arn, "layerArn": made["LayerArn"], "version": str(made["Version"])})


@creates("aws:lambda/eventSourceMapping:EventSourceMapping")
def event_source_mapping(aws: Clients, _name: str, inputs: Inputs) -> Created:
    request = inputs.renamed(
        BatchSize="batchSize",
        Enabled="enabled",
        EventSourceArn="eventSourceArn",
        FunctionName="functionName",
        FunctionResponseTypes="functionResponseTypes",
        MaximumBatchingWindowInSeconds="maximumBatchingWindowInSeconds",
    )
    if "scalingConfig" in inputs:
        request["ScalingConfig"] = {"MaximumConcurrency": inputs["scalingConfig"]["maximumConcurrency"]}
    if "provisionedPollerConfig" in inputs:
        pollers = inputs["provisionedPollerConfig"]
        request["ProvisionedPollerConfig"] = {
            "MinimumPollers": pollers["minimumPollers"],
            "MaximumPollers": pollers["maximumPollers"],
        }
    if "filterCriteria" in inputs:
        filters = [{"Pattern": entry["pattern"]} for entry in inputs["filterCriteria"]["filters"]]
        request["FilterCriteria"] = {"Filters": filters}
    made = aws("lambda").create_event_source_mapping(**request)
    uuid = made["UUID"]
    return Created(uuid, {"uuid": uuid, "arn": aws.arn("lambda", f"event-source-mapping:{uuid}")})


@creates("aws:lambda/permission:Permission")
def permission(aws: Clients, name: str, inputs: Inputs) -> Created:
    statement = inputs.get("statementId", name)
    aws("lambda").add_permission(
        StatementId=statement,
        **inputs.renamed(
            Action="action",
            FunctionName="function",
            Principal="principal",
            Qualifier="qualifier",
            SourceAccount="sourceAccount",
            SourceArn="sourceArn",
        ),
    )
    return Created(statement)


@creates("aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig")
def function_event_invoke_config(aws: Clients, _name: str, inputs: Inputs) -> Created:
    request = inputs.renamed(
        FunctionName="functionName",
        MaximumEventAgeInSeconds="maximumEventAgeInSeconds",
        MaximumRetryAttempts="maximumRetryAttempts",
    )
    if "destinationConfig" in inputs:
        destinations = inputs["destinationConfig"]
        request["DestinationConfig"] = {
            new: {"Destination": destinations[key]["destination"]}
            for key, new in {"onSuccess": "OnSuccess", "onFailure": "OnFailure"}.items()
            if key in destinations
        }
    aws("lambda").put_function_event_invoke_config(**request)
    return Created(inputs["functionName"])


@creates("aws:lambda/alias:Alias")
def alias(aws: Clients, name: str, inputs: Inputs) -> Created:
    inputs.get("name")
    made = aws("lambda").create_alias(
        Name=name,
        **inputs.renamed(
            Description="description",
            FunctionName="functionName",
            FunctionVersion="functionVersion",
        ),
    )
    arn = made["AliasArn"]
    return Created(arn, {"name": name, "arn": arn, "invokeArn": aws.invoke_arn(arn)})


@creates("aws:lambda/provisionedConcurrencyConfig:ProvisionedConcurrencyConfig")
def provisioned_concurrency_config(aws: Clients, _name: str, inputs: Inputs) -> Created:
    aws("lambda").put_provisioned_concurrency_config(
        **inputs.renamed(
            FunctionName="functionName",
            ProvisionedConcurrentExecutions="provisionedConcurrentExecutions",
            Qualifier="qualifier",
        ),
    )
    return Created(f"{inputs['functionName']},{inputs['qualifier']}")
