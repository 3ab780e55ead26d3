"""Rules of Pulumi's AWS provider: inputs that replace a resource, and inputs that the provider refuses together.

pulumi-aws wraps Terraform's provider, so `source` names a file below `internal/service` of
https://github.com/hashicorp/terraform-provider-aws: `ForceNew`, `RequiresReplace`, `ConflictsWith`, `ExactlyOneOf`,
`RequiredWith` and the ranges of `ValidateFunc`. Names are Pulumi's wire names.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

# Every type has it, and nothing moves to another region.
REGION = "region"


@dataclass(frozen=True)
class Rules:
    """The rules of a type. Groups of inputs are texts, with a space between the names."""

    source: str
    replacing: str = ""
    """Inputs whose change makes a new resource and deletes the old one."""
    conflicting: tuple[str, ...] = ()
    """At most one of each group."""
    exactly_one: tuple[str, ...] = ()
    """One of each group, and no more."""
    needs: Mapping[str, str] = field(default_factory=dict)
    """An input, and the inputs that must be there with it."""
    ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Least and greatest value of a number."""

    @property
    def replaces(self) -> frozenset[str]:
        """The inputs whose change replaces the resource."""
        return frozenset((*self.replacing.split(), REGION))


NAMES = "name namePrefix"

RULES: Mapping[str, Rules] = {
    "aws:apigateway/apiKey:ApiKey": Rules("apigateway/api_key.go", "value"),
    "aws:apigateway/deployment:Deployment": Rules("apigateway/deployment.go", "restApi triggers variables"),
    "aws:apigateway/integration:Integration": Rules(
        "apigateway/integration.go",
        "restApi resourceId httpMethod type credentials integrationHttpMethod passthroughBehavior",
        ranges={"timeoutMilliseconds": (50, 300_000)},
    ),
    "aws:apigateway/method:Method": Rules("apigateway/method.go", "restApi resourceId httpMethod"),
    "aws:apigateway/methodSettings:MethodSettings": Rules(
        "apigateway/method_settings.go", "restApi stageName methodPath"
    ),
    "aws:apigateway/resource:Resource": Rules("apigateway/resource.go", "restApi"),
    "aws:apigateway/response:Response": Rules("apigateway/gateway_response.go", "restApiId responseType"),
    "aws:apigateway/restApi:RestApi": Rules("apigateway/rest_api.go"),
    "aws:apigateway/stage:Stage": Rules("apigateway/stage.go", "restApi stageName"),
    "aws:apigateway/usagePlan:UsagePlan": Rules("apigateway/usage_plan.go"),
    "aws:apigateway/usagePlanKey:UsagePlanKey": Rules("apigateway/usage_plan_key.go", "keyId keyType usagePlanId"),
    "aws:apigatewayv2/api:Api": Rules("apigatewayv2/api.go", "protocolType"),
    "aws:apigatewayv2/authorizer:Authorizer": Rules(
        "apigatewayv2/authorizer.go", "apiId", ranges={"authorizerResultTtlInSeconds": (0, 3_600)}
    ),
    "aws:apigatewayv2/integration:Integration": Rules(
        "apigatewayv2/integration.go",
        "apiId integrationType integrationSubtype",
        ranges={"timeoutMilliseconds": (50, 30_000)},
    ),
    "aws:apigatewayv2/route:Route": Rules("apigatewayv2/route.go", "apiId"),
    "aws:apigatewayv2/stage:Stage": Rules("apigatewayv2/stage.go", "apiId name"),
    "aws:cloudwatch/dashboard:Dashboard": Rules("cloudwatch/dashboard.go", "dashboardName"),
    "aws:cloudwatch/eventBus:EventBus": Rules("events/bus.go", "name eventSourceName"),
    "aws:cloudwatch/eventRule:EventRule": Rules(
        "events/rule.go", f"{NAMES} eventBusName", conflicting=(NAMES, "isEnabled state")
    ),
    "aws:cloudwatch/eventTarget:EventTarget": Rules(
        "events/target.go", "eventBusName rule targetId", conflicting=("input inputPath inputTransformer",)
    ),
    "aws:cloudwatch/logGroup:LogGroup": Rules("logs/group.go", f"{NAMES} logGroupClass", conflicting=(NAMES,)),
    "aws:cloudwatch/metricAlarm:MetricAlarm": Rules(
        "cloudwatch/metric_alarm.go",
        "name",
        conflicting=(
            "metricName metricQueries",
            "namespace metricQueries",
            "dimensions metricQueries",
            "period metricQueries",
            "statistic extendedStatistic metricQueries",
            "threshold thresholdMetricId",
        ),
        ranges={"evaluationPeriods": (1, 2**31), "datapointsToAlarm": (1, 2**31)},
    ),
    "aws:cloudwatch/queryDefinition:QueryDefinition": Rules("logs/query_definition.go"),
    "aws:dynamodb/table:Table": Rules(
        "dynamodb/table.go",
        "name hashKey rangeKey localSecondaryIndexes importTable restoreSourceName restoreSourceTableArn "
        "restoreToLatestTime restoreDateTime restoreBackupArn",
    ),
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": Rules("ec2/vpc_default_security_group.go", "vpcId"),
    "aws:ec2/routeTable:RouteTable": Rules("ec2/vpc_route_table.go", "vpcId"),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": Rules(
        "ec2/vpc_route_table_association.go", "subnetId gatewayId", exactly_one=("subnetId gatewayId",)
    ),
    "aws:ec2/securityGroup:SecurityGroup": Rules(
        "ec2/vpc_security_group.go", f"{NAMES} description vpcId", conflicting=(NAMES,)
    ),
    "aws:ec2/subnet:Subnet": Rules(
        "ec2/vpc_subnet.go",
        "vpcId cidrBlock availabilityZone availabilityZoneId ipv4IpamPoolId ipv4NetmaskLength ipv6IpamPoolId "
        "ipv6Native ipv6NetmaskLength outpostArn",
        conflicting=("availabilityZone availabilityZoneId", "cidrBlock ipv4NetmaskLength"),
        needs={"ipv4NetmaskLength": "ipv4IpamPoolId"},
    ),
    "aws:ec2/vpc:Vpc": Rules(
        "ec2/vpc_.go",
        "cidrBlock ipv4IpamPoolId ipv4NetmaskLength",
        conflicting=("cidrBlock ipv4NetmaskLength", "assignGeneratedIpv6CidrBlock ipv6IpamPoolId"),
        needs={"ipv4NetmaskLength": "ipv4IpamPoolId"},
    ),
    "aws:ec2/vpcEndpoint:VpcEndpoint": Rules(
        "ec2/vpc_endpoint.go",
        "vpcId serviceName serviceRegion serviceNetworkArn resourceConfigurationArn vpcEndpointType",
        exactly_one=("serviceName serviceNetworkArn resourceConfigurationArn",),
    ),
    "aws:iam/role:Role": Rules(
        "iam/role.go", f"{NAMES} path", conflicting=(NAMES,), ranges={"maxSessionDuration": (3_600, 43_200)}
    ),
    "aws:iam/rolePolicy:RolePolicy": Rules("iam/role_policy.go", f"{NAMES} role", conflicting=(NAMES,)),
    "aws:kms/alias:Alias": Rules("kms/alias.go", NAMES, conflicting=(NAMES,)),
    "aws:kms/key:Key": Rules(
        "kms/key.go",
        "customerMasterKeySpec customKeyStoreId keyUsage multiRegion xksKeyId",
        needs={"rotationPeriodInDays": "enableKeyRotation", "xksKeyId": "customKeyStoreId"},
        ranges={"deletionWindowInDays": (7, 30), "rotationPeriodInDays": (90, 2_560)},
    ),
    "aws:lambda/alias:Alias": Rules("lambda/alias.go", "name functionName"),
    "aws:lambda/eventSourceMapping:EventSourceMapping": Rules(
        "lambda/event_source_mapping.go",
        "eventSourceArn startingPosition startingPositionTimestamp queues topics selfManagedEventSource "
        "amazonManagedKafkaEventSourceConfig selfManagedKafkaEventSourceConfig",
        conflicting=("eventSourceArn selfManagedKafkaEventSourceConfig",),
        exactly_one=("eventSourceArn selfManagedEventSource",),
        ranges={"parallelizationFactor": (1, 10), "tumblingWindowInSeconds": (0, 900)},
    ),
    "aws:lambda/function:Function": Rules(
        "lambda/function.go",
        "name packageType tenancyConfig",
        conflicting=("s3ObjectVersion code imageUri", "sourceKmsKeyArn imageUri"),
        exactly_one=("code imageUri s3Bucket",),
        needs={
            "s3Bucket": "s3Key",
            "s3Key": "s3Bucket",
            "replacementSecurityGroupIds": "replaceSecurityGroupsOnDestroy",
        },
        ranges={"memorySize": (128, 32_768), "timeout": (1, 900), "reservedConcurrentExecutions": (-1, 2**31)},
    ),
    "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig": Rules(
        "lambda/function_event_invoke_config.go",
        "functionName qualifier",
        ranges={"maximumEventAgeInSeconds": (60, 21_600), "maximumRetryAttempts": (0, 2)},
    ),
    "aws:lambda/layerVersion:LayerVersion": Rules(
        "lambda/layer_version.go",
        "code compatibleArchitectures compatibleRuntimes description layerName licenseInfo s3Bucket s3Key "
        "s3ObjectVersion sourceCodeHash",
        conflicting=("code s3Bucket", "code s3Key", "code s3ObjectVersion"),
    ),
    "aws:lambda/permission:Permission": Rules(
        "lambda/permission.go",
        "action eventSourceToken function functionUrlAuthType invokedViaFunctionUrl principal principalOrgId qualifier "
        "sourceAccount sourceArn statementId statementIdPrefix",
        conflicting=("statementId statementIdPrefix",),
    ),
    "aws:lambda/provisionedConcurrencyConfig:ProvisionedConcurrencyConfig": Rules(
        "lambda/provisioned_concurrency_config.go",
        "functionName qualifier",
        ranges={"provisionedConcurrentExecutions": (1, 2**31)},
    ),
    "aws:s3/bucket:Bucket": Rules(
        "s3/bucket.go",
        "bucket bucketPrefix bucketNamespace objectLockEnabled",
        conflicting=("bucket bucketPrefix", "acl grants"),
    ),
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": Rules(
        "s3/bucket_lifecycle_configuration.go", "bucket expectedBucketOwner"
    ),
    "aws:s3/bucketNotification:BucketNotification": Rules("s3/bucket_notification.go", "bucket"),
    "aws:s3/bucketObjectv2:BucketObjectv2": Rules(
        "s3/object.go",
        "bucket key",
        conflicting=("source content contentBase64", "etag kmsKeyId"),
        needs={"objectLockMode": "objectLockRetainUntilDate", "objectLockRetainUntilDate": "objectLockMode"},
    ),
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": Rules("s3/bucket_ownership_controls.go", "bucket"),
    "aws:s3/bucketPolicy:BucketPolicy": Rules("s3/bucket_policy.go", "bucket"),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": Rules("s3/bucket_public_access_block.go", "bucket"),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": Rules(
        "s3/bucket_server_side_encryption_configuration.go", "bucket expectedBucketOwner"
    ),
    "aws:s3/bucketVersioning:BucketVersioning": Rules("s3/bucket_versioning.go", "bucket expectedBucketOwner"),
    "aws:scheduler/schedule:Schedule": Rules("scheduler/schedule.go", f"{NAMES} groupName", conflicting=(NAMES,)),
    "aws:sns/topic:Topic": Rules("sns/topic.go", f"{NAMES} fifoTopic", conflicting=(NAMES,)),
    "aws:sns/topicPolicy:TopicPolicy": Rules("sns/topic_policy.go", "arn"),
    "aws:sns/topicSubscription:TopicSubscription": Rules(
        "sns/topic_subscription.go",
        "topic protocol endpoint",
        needs={"filterPolicyScope": "filterPolicy"},
    ),
    "aws:sqs/queue:Queue": Rules(
        "sqs/queue.go",
        f"{NAMES} fifoQueue",
        conflicting=(NAMES, "kmsMasterKeyId sqsManagedSseEnabled"),
        needs={"contentBasedDeduplication": "fifoQueue"},
        ranges={
            "delaySeconds": (0, 900),
            "kmsDataKeyReusePeriodSeconds": (60, 86_400),
            "maxMessageSize": (1_024, 1_048_576),
            "messageRetentionSeconds": (60, 1_209_600),
            "visibilityTimeoutSeconds": (0, 43_200),
        },
    ),
    "aws:sqs/queuePolicy:QueuePolicy": Rules("sqs/queue_policy.go", "queueUrl"),
    "aws:sqs/redriveAllowPolicy:RedriveAllowPolicy": Rules("sqs/queue_redrive_allow_policy.go", "queueUrl"),
    "aws:sqs/redrivePolicy:RedrivePolicy": Rules("sqs/queue_redrive_policy.go", "queueUrl"),
    "aws:ssm/parameter:Parameter": Rules(
        "ssm/parameter.go", "name dataType", exactly_one=("value insecureValue valueWo",)
    ),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": Rules(
        "ec2/vpc_security_group_egress_rule.go",
        "securityGroupId",
        exactly_one=("cidrIpv4 cidrIpv6 prefixListId referencedSecurityGroupId",),
    ),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": Rules(
        "ec2/vpc_security_group_ingress_rule.go",
        "securityGroupId",
        exactly_one=("cidrIpv4 cidrIpv6 prefixListId referencedSecurityGroupId",),
    ),
}


def refusals(kind: str, inputs: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the provider would refuse in the inputs of a resource."""
    rules = RULES.get(kind)
    if rules is None:
        return
    for group in rules.conflicting:
        if len(given := [name for name in group.split() if name in inputs]) > 1:
            yield f"{' and '.join(given)} do not go together"
    for group in rules.exactly_one:
        names = group.split()
        given = [name for name in names if name in inputs]
        if len(given) != 1:
            yield f"exactly one of {', '.join(names)} must be given, and not {' and '.join(given) or 'none'}"
    for name, needed in rules.needs.items():
        if inputs.get(name) and (missing := [each for each in needed.split() if not inputs.get(each)]):
            yield f"{name} needs {' and '.join(missing)}"
    for name, (least, most) in rules.ranges.items():
        value = inputs.get(name)
        if isinstance(value, int | float) and not least <= value <= most:
            yield f"{name} is {value}, and not from {least} to {most}"
