"""Topics and their subscriptions."""

from local.monitor import Created
from local.services import Clients, Inputs, creates
from local.services.iam import pairs

_ATTRIBUTES = {"DisplayName": "displayName", "KmsMasterKeyId": "kmsMasterKeyId", "Policy": "policy"}
_SUBSCRIPTION = {
    "FilterPolicy": "filterPolicy",
    "FilterPolicyScope": "filterPolicyScope",
    "RawMessageDelivery": "rawMessageDelivery",
    "RedrivePolicy": "redrivePolicy",
}


@creates("aws:sns/topic:Topic")
def topic(aws: Clients, name: str, inputs: Inputs) -> Created:
    inputs.get("name")
    attributes = inputs.renamed(**_ATTRIBUTES)
    arn = aws("sns").create_topic(Name=name, Attributes=attributes, Tags=pairs(inputs.tags))["TopicArn"]
    return Created(arn, {"name": name, "arn": arn})


@creates("aws:sns/topicPolicy:TopicPolicy")
def topic_policy(aws: Clients, _name: str, inputs: Inputs) -> Created:
    aws("sns").set_topic_attributes(TopicArn=inputs["arn"], AttributeName="Policy", AttributeValue=inputs["policy"])
    return Created(inputs["arn"])


@creates("aws:sns/topicSubscription:TopicSubscription")
def topic_subscription(aws: Clients, _name: str, inputs: Inputs) -> Created:
    given = inputs.renamed(**_SUBSCRIPTION)
    arn = aws("sns").subscribe(
        TopicArn=inputs["topic"],
        Protocol=inputs["protocol"],
        Endpoint=inputs["endpoint"],
        Attributes={key: str(value).lower() if isinstance(value, bool) else value for key, value in given.items()},
        ReturnSubscriptionArn=True,
    )["SubscriptionArn"]
    return Created(arn, {"arn": arn})
