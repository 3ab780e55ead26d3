"""The SQS edge: messages as Lambda delivers them, and batches of messages to send, delete, or return later.

Calls take ten entries; SQS bills each as one request for every 64 KB.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from handlers.shared import aws
from handlers.shared.backoff import backoff, patient
from handlers.shared.log import logger

ENTRIES_A_CALL = 10
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
MAXIMUM_MESSAGE_BYTES = 1_048_576
SEND_ATTEMPTS = 2
PAUSE_SECONDS = 0.1

Attributes = Mapping[str, str]


@dataclass(frozen=True)
class Message:
    """A message that Lambda delivers. `receives` counts this delivery, too.

    https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html#example-standard-queue-message-event
    """

    id: str
    receipt_handle: str
    body: str
    receives: int
    group: str = ""
    """In a FIFO or a fair queue; else empty."""

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Return the message in one of the `Records` of an event."""
        system = record["attributes"]
        return cls(
            record["messageId"],
            record["receiptHandle"],
            record["body"],
            int(system["ApproximateReceiveCount"]),
            system.get("MessageGroupId", ""),
        )


def batch_response(message_ids: Iterable[str]) -> dict[str, Any]:
    """Return the answer to Lambda that puts these messages back into the queue; the others are deleted.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
    """
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in message_ids]}


def backoff_seconds(attempt: int, base_seconds: int, maximum_seconds: int) -> int:
    """Return the whole seconds, at least one, until a message is delivered again after a failed attempt."""
    return max(1, round(backoff(attempt, base_seconds, maximum_seconds)))


def patient_seconds(receives: int, base_seconds: int) -> int:
    """Return the whole seconds, at least one, until a message is delivered again after what is no attempt."""
    return max(1, round(patient(receives, base_seconds)))


@dataclass(frozen=True)
class Outgoing:
    """A message to send: its body and its attributes, all of them text.

    For a FIFO queue it has a group, and an id by which SQS drops a duplicate within five minutes. In a standard queue a
    group makes no order: SQS delivers messages of other groups first while those of one take more than their share.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues.html
    """

    body: str
    attributes: Attributes
    group: str = ""
    deduplication_id: str = ""

    @property
    def size(self) -> int:
        """Bytes as SQS counts them: the body, and each attribute's name, type and value."""
        # Events are ASCII already, and need no copy to be counted.
        size = len(self.body) if self.body.isascii() else len(self.body.encode())
        if not self.attributes:
            return size
        return size + sum(len(f"{name}String{value}".encode()) for name, value in self.attributes.items() if value)


def is_fifo(queue_url: str) -> bool:
    """Return True if the messages of a group have an order: the names of FIFO queues end so, and no others."""
    return queue_url.endswith(".fifo")


def send(queue_url: str, messages: Sequence[Outgoing]) -> list[bool]:
    """Send messages. Returns for each whether SQS has stored it. Refused messages are retried once.

    To a FIFO queue they are sent in order, and not retried: a refused one would come behind its successors.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
    """
    client = aws.client("sqs")
    sent = [False] * len(messages)
    ordered = is_fifo(queue_url)

    def send_call(positions: Sequence[int]) -> list[int]:
        entries = [_entry(position, messages[position], ordered=ordered) for position in positions]
        try:
            answer = client.send_message_batch(QueueUrl=queue_url, Entries=entries)
        except aws.errors() as error:
            # The other calls may have succeeded, so the result says it for each message.
            logger.warning("the queue did not take messages", extra={"queue": queue_url, "reason": str(error)})
            return []
        return [int(entry["Id"]) for entry in answer.get("Successful", [])]

    for attempt in range(1 if ordered else SEND_ATTEMPTS):
        missing = [position for position, done in enumerate(sent) if not done]
        if not missing:
            break
        if attempt:
            time.sleep(backoff(attempt, PAUSE_SECONDS, PAUSE_SECONDS))
        calls = _calls(messages, missing)
        for arrived in map(send_call, calls) if ordered else aws.each(send_call, calls):
            for position in arrived:
                sent[position] = True
    return sent


def receive(queue_url: str, hidden_seconds: int) -> dict[str, Any] | None:
    """Return one message as Lambda delivers it, hidden from others for a time; None if no message is visible."""
    answer = aws.client("sqs").receive_message(
        QueueUrl=queue_url,
        VisibilityTimeout=hidden_seconds,
        # Without a wait SQS asks some of its servers only.
        WaitTimeSeconds=1,
        MessageSystemAttributeNames=["ApproximateReceiveCount", "MessageGroupId"],
    )
    for message in answer.get("Messages", []):
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
        }
    return None


def delete(queue_url: str, handles: Sequence[str]) -> list[bool]:
    """Delete messages by receipt handle. Returns for each whether SQS has confirmed it."""
    client = aws.client("sqs")

    def delete_call(entries: list[tuple[int, str]]) -> list[int]:
        try:
            answer = client.delete_message_batch(
                QueueUrl=queue_url,
                Entries=[{"Id": str(position), "ReceiptHandle": handle} for position, handle in entries],
            )
        except aws.errors() as error:
            logger.warning("messages were not deleted", extra={"queue": queue_url, "reason": str(error)})
            return []
        return [int(entry["Id"]) for entry in answer.get("Successful", [])]

    answers = aws.each(delete_call, aws.chunks(list(enumerate(handles)), ENTRIES_A_CALL))
    gone = {position for answer in answers for position in answer}
    return [position in gone for position in range(len(handles))]


def return_after(queue_url: str, delays: Mapping[str, int]) -> None:
    """Set how many seconds messages stay hidden, by receipt handle, before they are delivered again."""
    client = aws.client("sqs")

    def change(handles: Sequence[str]) -> None:
        client.change_message_visibility_batch(
            QueueUrl=queue_url,
            Entries=[
                {"Id": str(position), "ReceiptHandle": handle, "VisibilityTimeout": delays[handle]}
                for position, handle in enumerate(handles)
            ],
        )

    aws.each(change, aws.chunks(list(delays), ENTRIES_A_CALL))


def depth(queue_url: str) -> int:
    """Return the approximate number of messages in a queue, including those in flight and delayed."""
    names = [f"ApproximateNumberOfMessages{state}" for state in ("", "NotVisible", "Delayed")]
    answer = aws.client("sqs").get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)
    return sum(int(answer["Attributes"][name]) for name in names)


def _entry(position: int, message: Outgoing, *, ordered: bool) -> dict[str, Any]:
    if message.size > MAXIMUM_MESSAGE_BYTES:
        # A body close to the maximum leaves no room for attributes. They only repeat facts that the item has.
        message = replace(message, attributes={})
    attributes = {
        name: {"DataType": "String", "StringValue": value} for name, value in message.attributes.items() if value
    }
    entry = {"Id": str(position), "MessageBody": message.body, "MessageAttributes": attributes}
    if message.group:
        entry["MessageGroupId"] = message.group
    if ordered:
        # A standard queue refuses it.
        entry["MessageDeduplicationId"] = message.deduplication_id
    return entry


def _calls(messages: Sequence[Outgoing], positions: Sequence[int]) -> list[list[int]]:
    """Return positions in runs that fit one call: ten entries, and together the maximum size of one message."""
    calls: list[list[int]] = []
    room = 0
    for position in positions:
        message = messages[position]
        if not calls or len(calls[-1]) == ENTRIES_A_CALL or message.size > room:
            calls.append([])
            room = MAXIMUM_MESSAGE_BYTES
        calls[-1].append(position)
        room -= message.size
    return calls
