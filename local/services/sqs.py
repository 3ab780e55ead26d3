"""Queues and their policies."""

from local.monitor import Created
from local.services import Clients, Inputs, creates

_ATTRIBUTES = {
    "ContentBasedDeduplication": "contentBasedDeduplication",
    "DeduplicationScope": "deduplicationScope",
    "DelaySeconds": "delaySeconds",
    "FifoQueue": "fifoQueue",
    "FifoThroughputLimit": "fifoThroughputLimit",
    "KmsDataKeyReusePeriodSeconds": "kmsDataKeyReusePeriodSeconds",
    "KmsMasterKeyId": "kmsMasterKeyId",
    "MaximumMessageSize": "maxMessageSize",
    "MessageRetentionPeriod": "messageRetentionSeconds",
    "Policy": "policy",
    "ReceiveMessageWaitTimeSeconds": "receiveWaitTimeSeconds",
    "RedriveAllowPolicy": "redriveAllowPolicy",
    "RedrivePolicy": "redrivePolicy",
    "SqsManagedSseEnabled": "sqsManagedSseEnabled",
    "VisibilityTimeout": "visibilityTimeoutSeconds",
}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@creates("aws:sqs/queue:Queue")
def queue(aws: Clients, name: str, inputs: Inputs) -> Created:
    inputs.get("name")
    attributes = {key: _text(value) for key, value in inputs.renamed(**_ATTRIBUTES).items()}
    url = aws("sqs").create_queue(QueueName=name, Attributes=attributes, tags=inputs.tags)["QueueUrl"]
    return Created(url, {"name": name, "url": url, "arn": aws.arn("sqs", name)})


def _set(attribute: str, key: str) -> None:
    @creates(f"aws:sqs/{key}:{attribute}")
    def attach(aws: Clients, _name: str, inputs: Inputs) -> Created:
        url = inputs["queueUrl"]
        value = inputs["policy" if attribute == "QueuePolicy" else key]
        aws("sqs").set_queue_attributes(QueueUrl=url, Attributes={attribute.removeprefix("Queue"): value})
        return Created(url)


for _attribute, _key in (
    ("QueuePolicy", "queuePolicy"),
    ("RedrivePolicy", "redrivePolicy"),
    ("RedriveAllowPolicy", "redriveAllowPolicy"),
):
    _set(_attribute, _key)
