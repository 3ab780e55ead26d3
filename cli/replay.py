"""`pipeline replay`: dead letters of an `iot` pipeline, given to its worker again."""

import json
from collections.abc import Mapping
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

from cli.core.json_text import write_json
from cli.core.signals import interrupt_on_signals
from cli.core.stack import Stack
from cli.core.terminal import write_lines

# As long as a function may run. Until then nobody else gets a message, and the answer is waited for.
LONGEST_RUN_SECONDS = 900
MESSAGES_A_CALL = 10

Message = Mapping[str, Any]


def run_replay(stack: str, *, as_json: bool) -> int:
    """Invoke the worker with each dead letter and delete those that succeed. Return 1 if any is left."""
    target = Stack(stack)
    target.aim_aws_clients()
    interrupt_on_signals()
    session = botocore.session.get_session()
    # Not tried again by the client: whether a run that was cut off has done its work, the message itself will show.
    config = Config(read_timeout=LONGEST_RUN_SECONDS + 10, retries={"total_max_attempts": 1})
    replay = Replay(
        session.create_client("sqs"),
        session.create_client("lambda", config=config),
        target.output("dead_letter_queue_url"),
        target.output("worker_name"),
    )
    return replay.run(as_json=as_json)


class Replay:
    """One pass over the dead letters, each of which is tried once."""

    def __init__(self, sqs: Any, functions: Any, queue_url: str, function: str) -> None:
        self._sqs = sqs
        self._functions = functions
        self._queue_url = queue_url
        self._function = function

    def run(self, *, as_json: bool) -> int:
        """Print what was done, and the reason of each message that is left. Return the exit code."""
        done = 0
        hidden: dict[str, Message] = {}
        reasons: dict[str, str] = {}
        try:
            while messages := self._receive():
                # Before the first is tried: a signal must not leave the others of the ten hidden for hours.
                hidden |= {message["MessageId"]: message for message in messages}
                for message in messages:
                    reason = self._refusal(message)
                    if reason is None:
                        self._sqs.delete_message(QueueUrl=self._queue_url, ReceiptHandle=message["ReceiptHandle"])
                        del hidden[message["MessageId"]]
                        done += 1
                    else:
                        reasons[message["MessageId"]] = reason
        finally:
            self._show_again(list(hidden.values()))
        if as_json:
            write_json({"replayed": done, "left": reasons})
        else:
            write_lines((f"left: message {each}: {reason}" for each, reason in reasons.items()), to_stderr=True)
            write_lines([f"{done + len(reasons)} dead letters: {done} replayed and deleted, {len(reasons)} left"])
        return 1 if reasons else 0

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
        """Run the worker on a message's event. Return why that failed, None when it succeeded."""
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
