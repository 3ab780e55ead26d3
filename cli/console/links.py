"""Addresses of resources in AWS's own console."""

from urllib.parse import quote

# By the type of a resource: the address below the region's console. `{id}` is Pulumi's id of the resource, `{quoted}`
# the same as one part of an address.
_PLACES = {
    "aws:apigateway/restApi:RestApi": "apigateway/main/apis/{id}/resources?api={id}&region={region}",
    "aws:apigatewayv2/api:Api": "apigateway/main/api-detail?api={id}&region={region}",
    "aws:cloudwatch/eventBus:EventBus": "events/home?region={region}#/eventbus/{quoted}",
    "aws:cloudwatch/metricAlarm:MetricAlarm": "cloudwatch/home?region={region}#alarmsV2:alarm/{quoted}",
    "aws:dynamodb/table:Table": "dynamodbv2/home?region={region}#table?name={id}",
    "aws:lambda/function:Function": "lambda/home?region={region}#/functions/{id}",
    "aws:s3/bucket:Bucket": "s3/buckets/{id}?region={region}",
    "aws:scheduler/schedule:Schedule": "scheduler/home?region={region}#schedules/{id}",
    "aws:sns/topic:Topic": "sns/v3/home?region={region}#/topic/{id}",
    "aws:sqs/queue:Queue": "sqs/v3/home?region={region}#/queues/{quoted}",
}


def console_link(kind: str, resource_id: str, region: str) -> str | None:
    """Return the address of a resource; None for a type without a page."""
    place = _PLACES.get(kind)
    if place is None:
        return None
    path = place.format(id=resource_id, quoted=quote(resource_id, safe=""), region=region)
    return f"https://{region}.console.aws.amazon.com/{path}"
