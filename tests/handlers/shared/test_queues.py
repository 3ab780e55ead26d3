"""Messages of SQS, on moto."""

from collections.abc import Iterable, Mapping
from typing import Any
from unittest.mock import patch

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from handlers.shared import aws, queues
from handlers.shared.backoff import backoff
from handlers.shared.queues import MAXIMUM_MESSAGE_BYTES, Message, Outgoing, backoff_seconds, batch_response

pytestmark = pytest.mark.usefixtures("aws_in_process")


def queue(name: str = "queue", **attributes: str) -> str:
    return str(aws.client("sqs").create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])


def received(url: str) -> list[dict[str, Any]]:
    """All visible messages; each is hidden by this."""
    found: list[dict[str, Any]] = []
    asked = {"MaxNumberOfMessages": 10, "AttributeNames": ["All"], "MessageAttributeNames": ["All"]}
    while messages := aws.client("sqs").receive_message(QueueUrl=url, **asked).get("Messages"):
        found += messages
    return found


def bodies(messages: Iterable[Mapping[str, Any]]) -> list[str]:
    return [message["Body"] for message in messages]


def test_messages_are_sent_ten_to_a_call_with_the_attributes_that_have_a_value() -> None:
    url = queue()
    with patch.object(aws.client("sqs"), "send_message_batch", wraps=aws.client("sqs").send_message_batch) as call:
        assert queues.send(url, [Outgoing(str(n), {"error": "e", "empty": ""}) for n in range(23)]) == [True] * 23
    assert sorted(len(each.kwargs["Entries"]) for each in call.call_args_list) == [3, 10, 10]
    messages = received(url)
    assert sorted(bodies(messages), key=int) == [str(n) for n in range(23)]
    assert {name for message in messages for name in message["MessageAttributes"]} == {"error"}


def test_messages_are_spread_over_calls_that_sqs_takes() -> None:
    url = queue()
    assert queues.send(url, [Outgoing("x" * 400_000, {}) for _ in range(5)]) == [True] * 5
    assert len(received(url)) == 5


def test_a_message_of_the_maximum_size_loses_its_attributes() -> None:
    url = queue(MaximumMessageSize=str(MAXIMUM_MESSAGE_BYTES))
    assert queues.send(url, [Outgoing("x" * MAXIMUM_MESSAGE_BYTES, {"error": "e"})]) == [True]
    (message,) = received(url)
    assert "MessageAttributes" not in message


def test_messages_of_a_group_keep_their_order_and_a_duplicate_is_dropped() -> None:
    url = queue("queue.fifo", FifoQueue="true")
    messages = [Outgoing(str(n), {}, "group", f"id-{n}") for n in range(15)]
    assert queues.send(url, messages) == [True] * 15
    assert queues.send(url, messages[:2]) == [True, True]
    found = received(url)
    assert bodies(found) == [str(n) for n in range(10)], "the rest of a group waits for messages in flight"
    assert queues.delete(url, [message["ReceiptHandle"] for message in found]) == [True] * 10
    assert bodies(received(url)) == [str(n) for n in range(10, 15)]


@pytest.mark.parametrize(("group", "arrived"), [("", [True, True]), ("group", [True, False])])
def test_a_refused_message_is_sent_again_once_unless_it_has_a_group(
    monkeypatch: pytest.MonkeyPatch, group: str, arrived: list[bool]
) -> None:
    monkeypatch.setattr(queues, "PAUSE_SECONDS", 0)
    url = queue("queue.fifo", FifoQueue="true") if group else queue()
    whole = aws.client("sqs").send_message_batch
    calls: list[int] = []

    def first_only(**request: Any) -> Any:
        calls.append(len(request["Entries"]))
        return whole(QueueUrl=url, Entries=request["Entries"][:1])

    with patch.object(aws.client("sqs"), "send_message_batch", first_only):
        assert queues.send(url, [Outgoing(str(n), {}, group, str(n)) for n in range(2)]) == arrived
    assert calls == ([2] if group else [2, 1])


def test_a_call_that_fails_is_reported_message_by_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "PAUSE_SECONDS", 0)
    assert queues.send("https://sqs.us-east-1.amazonaws.com/123456789012/none", [Outgoing("a", {})]) == [False]
    assert queues.delete("https://sqs.us-east-1.amazonaws.com/123456789012/none", ["handle"]) == [False]


def test_deleting_is_confirmed_for_each_message() -> None:
    url = queue()
    queues.send(url, [Outgoing(str(n), {}) for n in range(12)])
    handles = [message["ReceiptHandle"] for message in received(url)]
    assert queues.delete(url, [*handles, "no handle"]) == [True] * 12 + [False]
    assert queues.depth(url) == 0


def test_messages_come_back_after_their_delay() -> None:
    url = queue(VisibilityTimeout="600")
    queues.send(url, [Outgoing(str(n), {}) for n in range(12)])
    handles = [message["ReceiptHandle"] for message in received(url)]
    queues.return_after(url, {handle: 0 if position < 11 else 60 for position, handle in enumerate(handles)})
    assert len(received(url)) == 11
    with pytest.raises(ClientError):
        queues.return_after("https://sqs.us-east-1.amazonaws.com/123456789012/none", {"handle": 0})


def test_the_depth_counts_waiting_hidden_and_delayed_messages() -> None:
    url = queue()
    queues.send(url, [Outgoing(str(n), {}) for n in range(3)])
    aws.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=1)
    aws.client("sqs").send_message(QueueUrl=url, MessageBody="later", DelaySeconds=60)
    assert queues.depth(url) == 4


def test_a_record_of_lambda_is_read_as_a_message() -> None:
    record = {"messageId": "m", "receiptHandle": "r", "body": "b", "attributes": {"ApproximateReceiveCount": "2"}}
    assert Message.from_record(record) == Message("m", "r", "b", 2, "")
    grouped = {**record, "attributes": {"ApproximateReceiveCount": "1", "MessageGroupId": "g"}}
    assert Message.from_record(grouped) == Message("m", "r", "b", 1, "g")


def test_the_answer_to_lambda_names_the_messages_that_go_back() -> None:
    assert batch_response([]) == {"batchItemFailures": []}
    assert batch_response(["a", "b"]) == {"batchItemFailures": [{"itemIdentifier": "a"}, {"itemIdentifier": "b"}]}


@given(st.integers(1, 100_000), st.integers(1, 100), st.integers(1, 43_200))
def test_a_back_off_doubles_up_to_its_maximum_and_jitter_takes_off_at_most_half(
    attempt: int, base: int, maximum: int
) -> None:
    without_jitter = min(base * 2 ** min(attempt - 1, 16), maximum)
    assert without_jitter / 2 <= backoff(attempt, base, maximum) <= without_jitter
    assert 1 <= backoff_seconds(attempt, base, maximum) <= maximum


def test_messages_that_failed_together_do_not_come_back_together() -> None:
    assert len({backoff_seconds(10, 60, 900) for _ in range(100)}) > 10
