"""Made-up ids and outputs of resources for recorded graphs: one function per resource type.

They derive from names. Tests compare them with the emulator's.
"""

import hashlib
from collections.abc import Callable, Mapping

from local.arns import Inputs, Scope
from local.monitor import Created

Answer = Callable[[Scope, str, Inputs], Created]


def _id(name: str, length: int = 10) -> str:
    """Return an id like those of AWS, but derived from the name."""
    return hashlib.sha256(name.encode()).hexdigest()[:length]


def _named(_scope: Scope, name: str, _inputs: Inputs) -> Created:
    return Created(name, {"name": name})


def _made_up(_scope: Scope, name: str, _inputs: Inputs) -> Created:
    return Created(_id(name))


def _by(key: str) -> Answer:
    """Answer for types whose id is that of their owner."""
    return lambda _scope, _name, inputs: Created(str(inputs[key]))


def _bucket(scope: Scope, name: str, _inputs: Inputs) -> Created:
    domain = {"bucketDomainName": f"{name}.s3.amazonaws.com"}
    regional = {"bucketRegionalDomainName": f"{name}.s3.{scope.region}.amazonaws.com"}
    return Created(name, {"bucket": name, "region": scope.region, **domain, **regional})


def _queue(scope: Scope, name: str, _inputs: Inputs) -> Created:
    url = f"https://sqs.{scope.region}.amazonaws.com/{scope.account}/{name}"
    return Created(url, {"name": name, "url": url})


def _topic(scope: Scope, name: str, _inputs: Inputs) -> Created:
    return Created(scope.arn("sns", name), {"name": name})


def _subscription(_scope: Scope, name: str, inputs: Inputs) -> Created:
    arn = f"{inputs['topic']}:{_id(name)}"
    return Created(arn, {"arn": arn})


def _role(_scope: Scope, name: str, _inputs: Inputs) -> Created:
    return Created(name, {"name": name, "uniqueId": f"AROA{_id(name, 16).upper()}"})


def _role_policy(_scope: Scope, name: str, inputs: Inputs) -> Created:
    return Created(f"{inputs['role']}:{name}", {"name": name})


def _function(scope: Scope, name: str, inputs: Inputs) -> Created:
    arn = scope.arn("lambda", f"function:{name}")
    version = "1" if inputs.get("publish") else "$LATEST"
    qualified = {"qualifiedArn": f"{arn}:{version}", "version": version}
    return Created(name, {"name": name, "invokeArn": scope.invoke_arn(arn), **qualified})


def _function_alias(scope: Scope, name: str, inputs: Inputs) -> Created:
    arn = scope.arn("lambda", f"function:{inputs['functionName']}:{name}")
    return Created(arn, {"name": name, "arn": arn, "invokeArn": scope.invoke_arn(arn)})


def _layer(scope: Scope, _name: str, inputs: Inputs) -> Created:
    layer_arn = scope.arn("lambda", f"layer:{inputs['layerName']}")
    return Created(f"{layer_arn}:1", {"arn": f"{layer_arn}:1", "layerArn": layer_arn, "version": "1"})


def _mapping(scope: Scope, name: str, _inputs: Inputs) -> Created:
    uuid = _id(name, 32)
    return Created(uuid, {"uuid": uuid, "arn": scope.arn("lambda", f"event-source-mapping:{uuid}")})


def _api(scope: Scope, name: str, _inputs: Inputs) -> Created:
    api_id = _id(name)
    return Created(
        api_id,
        {
            "name": name,
            "apiEndpoint": f"https://{api_id}.execute-api.{scope.region}.amazonaws.com",
            "arn": f"arn:aws:apigateway:{scope.region}::/apis/{api_id}",
            "executionArn": scope.execution_arn(api_id),
        },
    )


def _http_stage(scope: Scope, name: str, inputs: Inputs) -> Created:
    api_id = inputs["apiId"]
    path = "" if name == "$default" else name
    return Created(
        name,
        {
            "name": name,
            "invokeUrl": f"https://{api_id}.execute-api.{scope.region}.amazonaws.com/{path}",
            "arn": f"arn:aws:apigateway:{scope.region}::/apis/{api_id}/stages/{name}",
            "executionArn": f"{scope.execution_arn(api_id)}/{name}",
        },
    )


def _rest_api(scope: Scope, name: str, _inputs: Inputs) -> Created:
    api_id = _id(name)
    return Created(
        api_id,
        {
            "name": name,
            "rootResourceId": _id(f"{name}/"),
            "arn": f"arn:aws:apigateway:{scope.region}::/restapis/{api_id}",
            "executionArn": scope.execution_arn(api_id),
        },
    )


def _rest_stage(scope: Scope, _name: str, inputs: Inputs) -> Created:
    api_id, stage = inputs["restApi"], inputs["stageName"]
    return Created(
        f"ags-{api_id}-{stage}",
        {
            "invokeUrl": f"https://{api_id}.execute-api.{scope.region}.amazonaws.com/{stage}",
            "arn": f"arn:aws:apigateway:{scope.region}::/restapis/{api_id}/stages/{stage}",
            "executionArn": f"{scope.execution_arn(api_id)}/{stage}",
        },
    )


def _named_id(_scope: Scope, name: str, _inputs: Inputs) -> Created:
    return Created(_id(name), {"name": name})


def _api_key(_scope: Scope, name: str, _inputs: Inputs) -> Created:
    return Created(_id(name), {"name": name, "value": _id(f"{name} value", 40)})


def _table(scope: Scope, name: str, inputs: Inputs) -> Created:
    stream = scope.arn("dynamodb", f"table/{name}/stream/2026-01-01T00:00:00.000")
    return Created(name, {"name": name, **({"streamArn": stream} if inputs.get("streamEnabled") else {})})


def _rule(scope: Scope, name: str, inputs: Inputs) -> Created:
    path = scope.rule_path(name, inputs.get("eventBusName"))
    return Created(path, {"name": name, "arn": scope.arn("events", f"rule/{path}")})


def _key(scope: Scope, name: str, _inputs: Inputs) -> Created:
    key_id = _id(name, 32)
    return Created(key_id, {"keyId": key_id, "arn": scope.arn("kms", f"key/{key_id}")})


def _alias(scope: Scope, _name: str, inputs: Inputs) -> Created:
    name = inputs["name"]
    return Created(name, {"name": name, "arn": scope.arn("kms", name)})


def _prefixed(prefix: str) -> Answer:
    """Answer for types of EC2, whose ids have a prefix."""
    return lambda _scope, name, _inputs: Created(f"{prefix}-{_id(name, 17)}")


def _security_group(_scope: Scope, name: str, _inputs: Inputs) -> Created:
    return Created(f"sg-{_id(name, 17)}", {"name": name})


def _endpoint(_scope: Scope, name: str, inputs: Inputs) -> Created:
    gateway = inputs.get("vpcEndpointType", "Gateway") == "Gateway"
    return Created(f"vpce-{_id(name, 17)}", {"prefixListId": f"pl-{_id(name, 17)}"} if gateway else {})


def _schedule(_scope: Scope, name: str, _inputs: Inputs) -> Created:
    return Created(f"default/{name}", {"name": name})


def _query_definition(scope: Scope, name: str, _inputs: Inputs) -> Created:
    query_id = _id(name, 32)
    return Created(query_id, {"arn": scope.arn("logs", f"query-definition:{query_id}"), "queryDefinitionId": query_id})


def _dashboard(scope: Scope, _name: str, inputs: Inputs) -> Created:
    name = inputs["dashboardName"]
    return Created(name, {"dashboardArn": f"arn:aws:cloudwatch::{scope.account}:dashboard/{name}"})


ANSWERS: Mapping[str, Answer] = {
    "aws:apigateway/apiKey:ApiKey": _api_key,
    "aws:apigateway/deployment:Deployment": _made_up,
    "aws:apigateway/integration:Integration": _made_up,
    "aws:apigateway/method:Method": _made_up,
    "aws:apigateway/methodSettings:MethodSettings": _made_up,
    "aws:apigateway/resource:Resource": _made_up,
    "aws:apigateway/response:Response": _made_up,
    "aws:apigateway/restApi:RestApi": _rest_api,
    "aws:apigateway/stage:Stage": _rest_stage,
    "aws:apigateway/usagePlan:UsagePlan": _named_id,
    "aws:apigateway/usagePlanKey:UsagePlanKey": _made_up,
    "aws:apigatewayv2/api:Api": _api,
    "aws:apigatewayv2/authorizer:Authorizer": _named_id,
    "aws:apigatewayv2/integration:Integration": _made_up,
    "aws:apigatewayv2/route:Route": _made_up,
    "aws:apigatewayv2/stage:Stage": _http_stage,
    "aws:cloudwatch/dashboard:Dashboard": _dashboard,
    "aws:cloudwatch/eventBus:EventBus": _named,
    "aws:cloudwatch/eventRule:EventRule": _rule,
    "aws:cloudwatch/eventTarget:EventTarget": _made_up,
    "aws:cloudwatch/logGroup:LogGroup": _named,
    "aws:cloudwatch/metricAlarm:MetricAlarm": _named,
    "aws:cloudwatch/queryDefinition:QueryDefinition": _query_definition,
    "aws:dynamodb/table:Table": _table,
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": _prefixed("sg"),
    "aws:ec2/routeTable:RouteTable": _prefixed("rtb"),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": _prefixed("rtbassoc"),
    "aws:ec2/securityGroup:SecurityGroup": _security_group,
    "aws:ec2/subnet:Subnet": _prefixed("subnet"),
    "aws:ec2/vpc:Vpc": _prefixed("vpc"),
    "aws:ec2/vpcEndpoint:VpcEndpoint": _endpoint,
    "aws:iam/role:Role": _role,
    "aws:iam/rolePolicy:RolePolicy": _role_policy,
    "aws:kms/alias:Alias": _alias,
    "aws:kms/key:Key": _key,
    "aws:lambda/alias:Alias": _function_alias,
    "aws:lambda/eventSourceMapping:EventSourceMapping": _mapping,
    "aws:lambda/function:Function": _function,
    "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig": _by("functionName"),
    "aws:lambda/layerVersion:LayerVersion": _layer,
    "aws:lambda/permission:Permission": _made_up,
    "aws:lambda/provisionedConcurrencyConfig:ProvisionedConcurrencyConfig": _by("functionName"),
    "aws:s3/bucket:Bucket": _bucket,
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": _by("bucket"),
    "aws:s3/bucketNotification:BucketNotification": _by("bucket"),
    "aws:s3/bucketObjectv2:BucketObjectv2": _by("key"),
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": _by("bucket"),
    "aws:s3/bucketPolicy:BucketPolicy": _by("bucket"),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": _by("bucket"),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": _by("bucket"),
    "aws:s3/bucketVersioning:BucketVersioning": _by("bucket"),
    "aws:scheduler/schedule:Schedule": _schedule,
    "aws:ssm/parameter:Parameter": _named,
    "aws:sns/topic:Topic": _topic,
    "aws:sns/topicPolicy:TopicPolicy": _by("arn"),
    "aws:sns/topicSubscription:TopicSubscription": _subscription,
    "aws:sqs/queue:Queue": _queue,
    "aws:sqs/queuePolicy:QueuePolicy": _by("queueUrl"),
    "aws:sqs/redriveAllowPolicy:RedriveAllowPolicy": _by("queueUrl"),
    "aws:sqs/redrivePolicy:RedrivePolicy": _by("queueUrl"),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": _prefixed("sgr"),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": _prefixed("sgr"),
}
