"""`pipeline replay`: events that failed for good, given to the worker of an `iot` pipeline again."""

import json
import sys
from collections.abc import Mapping
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

from cli.core.stack import Stack
from cli.core.terminal import inert

# As long as a function may run. Until then nobody else gets a message, and the answer is waited for.
LONGEST_RUN_SECONDS = 900
MESSAGES_A_CALL = 10

Message = Mapping[str, Any]


def run_replay(stack: str) -> int:
    """Invokes the worker with each dead letter; deletes those that it has taken. Returns 1 if any is left."""
    target = Stack(stack)
    target.aim_aws_clients()
    session = botocore.session.get_session()
    # Not tried again by the client: whether a run that was cut off has done its work, the message itself will show.
    config = Config(read_timeout=LONGEST_RUN_SECONDS + 10, retries={"total_max_attempts": 1})
    replay = Replay(
        session.create_client("sqs"),
        session.create_client("lambda", config=config),
        target.output("dead_letter_queue_url"),
        target.output("worker_name"),
    )
    return replay.run()


class Replay:
    """One pass over the dead letters, each of which is tried once."""

    def __init__(self, sqs: Any, functions: Any, queue_url: str, function: str) -> None:
        self._sqs = sqs
        self._functions = functions
        self._queue_url = queue_url
        self._function = function

    def run(self) -> int:
        """Returns the exit code."""
        done = 0
        left: list[Message] = []
        try:
            while messages := self._receive():
                for message in messages:
                    reason = self._refusal(message)
                    if reason is None:
                        self._sqs.delete_message(QueueUrl=self._queue_url, ReceiptHandle=message["ReceiptHandle"])
                        done += 1
                    else:
                        left.append(message)
                        sys.stderr.write(f"left: message {message['MessageId']}: {inert(reason)}\n")
        finally:
            self._show_again(left)
        sys.stdout.write(f"{done + len(left)} dead letters: {done} replayed and deleted, {len(left)} left\n")
        return 1 if left else 0

    def _receive(self) -> list[Message]:
        answer = self._sqs.receive_message(
            QueueUrl=self._queue_url,
            MaxNumberOfMessages=MESSAGES_A_CALL,
            VisibilityTimeout=MESSAGES_A_CALL * LONGEST_RUN_SECONDS,
            WaitTimeSeconds=1,
        )
        messages: list[Message] = answer.get("Messages", [])
        return messages

    def _refusal(self, message: Message) -> str | None:
        """Runs the worker on a message's event; says why that did not work, None when it did."""
        try:
            # https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
            event = json.loads(message["Body"])["requestPayload"]
        except (ValueError, TypeError, KeyError):
            return "it does not hold an event as Lambda puts it there"
        try:
            answer = self._functions.invoke(FunctionName=self._function, Payload=json.dumps(event).encode())
        except ClientError as error:
            return str(error)
        if "FunctionError" not in answer:
            return None
        said = json.loads(answer["Payload"].read() or b"{}")
        return f"{said.get('errorType', 'error')}: {said.get('errorMessage', 'the worker failed')}"

    def _show_again(self, messages: list[Message]) -> None:
        for message in messages:
            self._sqs.change_message_visibility(
                QueueUrl=self._queue_url,
                ReceiptHandle=message["ReceiptHandle"],
                VisibilityTimeout=0,
            )
