"""The dead letters: looked at, sent back into their queue, or deleted. Some of them: by what went wrong, and by age.

SQS moves dead letters back by itself (StartMessageMoveTask), all or none. Here somebody says which.

Whoever looks at a message takes it: SQS hides it from others. A pass hides each message for as long as the pass may
last, so that it meets none twice, and shows what it leaves there again at its end, however it ends. When the function
dies instead, they come back after that time.

A message is deleted only after SQS has confirmed that the queue has it. A crash in between leaves it in both, and the
worker makes two messages of one event one effect.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from handlers.shared import aws, queues
from handlers.shared.dynamodb import TableError
from handlers.shared.log import logger

OutsideError = (BotoCoreError, ClientError, TableError)

# One round takes so long at most, unless a service hangs: no round begins when less is left.
ROUND_SECONDS = 8
# Not zero: a short poll asks a part of SQS's servers and can miss messages.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html
POLL_SECONDS = 1
# An answer of a function takes 6 MB; a thousand messages of this, at six bytes a character, stay far below.
ERROR_CHARACTERS = 400
TYPE_CHARACTERS = 100

UNKNOWN = "unknown"
SUCCEEDED_SINCE = "it has succeeded since; this message is left over"


@dataclass(frozen=True)
class Letter:
    """A message with the dead letters. `sent_at` (epoch seconds) is when SQS first got it."""

    message_id: str
    receipt_handle: str
    body: str
    attributes: Mapping[str, str]
    sent_at: float
    receives: int
    group: str
    """Of a FIFO queue; else empty."""


@dataclass(frozen=True)
class Cause:
    """Why a message is dead, as far as anybody took it down. `id`: of its event or file, None when it has none."""

    id: str | None
    error_type: str
    error: str | None


# The causes of messages, in order. Raises OutsideError.
Explain = Callable[[Sequence[Letter]], list[Cause]]


@dataclass(frozen=True)
class Found:
    """A dead letter and what is known of it. `age_seconds` is since SQS first got it: what its retention counts by."""

    letter: Letter
    cause: Cause
    age_seconds: int

    def described(self) -> dict[str, Any]:
        """As lists show it: not the message itself, and of a long error its beginning."""
        error = self.cause.error
        return {
            "message_id": self.letter.message_id,
            "id": self.cause.id,
            "age_seconds": self.age_seconds,
            "receive_count": self.letter.receives,
            "error_type": self.cause.error_type[:TYPE_CHARACTERS],
            "error": error and error[:ERROR_CHARACTERS],
        }


@dataclass(frozen=True)
class Wanted:
    """Which dead letters a pass is about: all but those that one of these excludes."""

    error_type: str | None = None
    min_age_seconds: int = 0
    id: str | None = None
    """Of the message, or of its event or file."""

    def fits(self, found: Found) -> bool:
        """Whether a letter is one of them."""
        return (
            self.error_type in (None, found.cause.error_type)
            and self.id in (None, found.letter.message_id, found.cause.id)
            and found.age_seconds >= self.min_age_seconds
        )


@dataclass
class Pass:
    """What a pass over the dead letters came to.

    `complete`: all that lay there when it began were looked at. Else its time was up, it had as many as it was asked
    for, something went wrong, or it was `held_back`. `remaining`: how many lie there after it, by SQS's count, which is
    approximate; None when SQS did not say.
    """

    counts: dict[str, int]
    not_matching: int = 0
    """Looked at, and left alone."""
    complete: bool = False
    held_back: bool = False
    """In a FIFO queue, where what a pass leaves there may have kept back the rest of its group: another pass like this
    one gets no further. There is no way past them: SQS hands out a group's messages only after those before them."""
    remaining: int | None = None
    error: Exception | None = None
    """What a service raised. It ended the pass, and the counts say what was done before."""

    @property
    def failed(self) -> int:
        """How many letters could not be dealt with."""
        return self.counts.get("not_sent", 0) + self.counts.get("not_deleted", 0)

    def described(self) -> dict[str, Any]:
        """All of it but the error."""
        return {
            **self.counts,
            "not_matching": self.not_matching,
            "remaining": self.remaining,
            "complete": self.complete,
            "held_back": self.held_back,
        }


# Does to letters what a pass is for, and counts it. Returns those of them that are gone for good.
Act = Callable[[Sequence[Found], Pass], Sequence[Found]]


class DeadLetters:
    """A queue of dead letters. A pass begins no round of ten messages when its `seconds` are over."""

    def __init__(self, url: str, explain: Explain) -> None:
        self._client = aws.client("sqs")
        self._url = url
        self._explain = explain

    def look(self, wanted: Wanted, maximum: int, seconds: float) -> tuple[list[dict[str, Any]], Pass]:
        """Describes up to `maximum` of them, and leaves them there."""
        seen: list[dict[str, Any]] = []

        def note(found: Sequence[Found], _: Pass) -> Sequence[Found]:
            # Not the letters themselves: a thousand bodies of a megabyte are more than a function holds.
            seen.extend(each.described() for each in found)
            return ()

        return seen, self._go_through(wanted, maximum, seconds, note, Pass({}))

    def find(self, wanted_id: str, seconds: float) -> tuple[Found | None, Pass]:
        """The whole of one letter, by its own id or that of its event or file."""
        seen: list[Found] = []

        def note(found: Sequence[Found], _: Pass) -> Sequence[Found]:
            seen.extend(found)
            return ()

        done = self._go_through(Wanted(id=wanted_id), 1, seconds, note, Pass({}))
        return (seen[0] if seen else None), done

    def redrive(self, queue_url: str, wanted: Wanted, maximum: int, seconds: float) -> Pass:
        """Moves up to `maximum` of them back into their queue.

        Counts `redriven`; `not_sent`: the queue did not take them, they are still here; `not_deleted`: they are in the
        queue, and still here. Either ends the pass: the next ones would fare no better.
        """

        def move(found: Sequence[Found], done: Pass) -> Sequence[Found]:
            messages = [_returning(each.letter) for each in found]
            arrived = queues.send(queue_url, messages)
            sent = [each for each, is_there in zip(found, arrived, strict=True) if is_there]
            done.counts["not_sent"] += len(found) - len(sent)
            return self._delete(sent, done, "redriven")

        counts = {"redriven": 0, "not_sent": 0, "not_deleted": 0}
        return self._go_through(wanted, maximum, seconds, move, Pass(counts))

    def purge(self, wanted: Wanted, maximum: int, seconds: float) -> Pass:
        """Deletes up to `maximum` of them. Counts `deleted` and `not_deleted`, which ends the pass."""

        def delete(found: Sequence[Found], done: Pass) -> Sequence[Found]:
            return self._delete(found, done, "deleted")

        return self._go_through(wanted, maximum, seconds, delete, Pass({"deleted": 0, "not_deleted": 0}))

    def depth(self) -> int | None:
        """How many there are, by SQS's approximate count; None when it does not say."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        try:
            answer = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=names)
        except OutsideError:
            # What a pass has done is done, and to be told without this number, too.
            logger.exception("the dead letters were not counted")
            return None
        return sum(int(answer["Attributes"][name]) for name in names)

    def _go_through(self, wanted: Wanted, maximum: int, seconds: float, act: Act, done: Pass) -> Pass:
        held: dict[str, str] = {}
        try:
            self._rounds(wanted, maximum, seconds, act, done, held)
        except OutsideError as error:
            logger.exception("a service did not answer; the pass over the dead letters ends here")
            done.error = error
        finally:
            self._show_again(held)
        done.remaining = self.depth()
        return done

    def _rounds(self, wanted: Wanted, maximum: int, seconds: float, act: Act, done: Pass, held: dict[str, str]) -> None:
        """`held` is kept: the newest receipt handle, by message id, of each message that this pass hides."""
        deadline = time.monotonic() + seconds
        started_at = time.time()
        room = maximum
        while time.monotonic() < deadline:
            letters = self._receive(int(deadline - time.monotonic()) + ROUND_SECONDS)
            # Not what a quick worker has put back in the meantime: one pass would move it again and again.
            old = [letter for letter in letters if letter.sent_at <= started_at]
            new = [letter for letter in old if letter.message_id not in held]
            held.update({letter.message_id: letter.receipt_handle for letter in letters})
            if not letters:
                done.held_back = bool(held) and self._url.endswith(".fifo")
                done.complete = not done.held_back
                return
            if not room:
                return
            matching = [found for found in self._found(new) if wanted.fits(found)]
            done.not_matching += len(new) - len(matching)
            chosen = matching[:room]
            room -= len(chosen)
            for gone in act(chosen, done):
                del held[gone.letter.message_id]
            if len(chosen) < len(matching) or done.failed:
                return

    def _receive(self, hidden_seconds: int) -> list[Letter]:
        answer = self._client.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=queues.ENTRIES_A_CALL,
            VisibilityTimeout=hidden_seconds,
            WaitTimeSeconds=POLL_SECONDS,
            MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount", "MessageGroupId"],
            MessageAttributeNames=["All"],
        )
        return [_letter(message) for message in answer.get("Messages", [])]

    def _found(self, letters: Sequence[Letter]) -> list[Found]:
        now = time.time()
        return [
            Found(letter, cause, max(0, int(now - letter.sent_at)))
            for letter, cause in zip(letters, self._explain(letters), strict=True)
        ]

    def _delete(self, found: Sequence[Found], done: Pass, counted_as: str) -> Sequence[Found]:
        deleted = queues.delete(self._url, [each.letter.receipt_handle for each in found])
        gone = [each for each, is_gone in zip(found, deleted, strict=True) if is_gone]
        done.counts[counted_as] += len(gone)
        done.counts["not_deleted"] += len(found) - len(gone)
        return gone

    def _show_again(self, held: Mapping[str, str]) -> None:
        try:
            queues.return_after(self._url, dict.fromkeys(held.values(), 0))
        except OutsideError:
            # They come back all the same, after the time that they were hidden for.
            logger.exception("the visibility of messages was not changed")


def _letter(message: Mapping[str, Any]) -> Letter:
    system = message["Attributes"]
    return Letter(
        message_id=message["MessageId"],
        receipt_handle=message["ReceiptHandle"],
        body=message["Body"],
        attributes={
            name: value["StringValue"]
            for name, value in message.get("MessageAttributes", {}).items()
            if "StringValue" in value
        },
        sent_at=int(system["SentTimestamp"]) / 1_000,
        receives=int(system["ApproximateReceiveCount"]),
        group=system.get("MessageGroupId", ""),
    )


def _returning(letter: Letter) -> queues.Outgoing:
    """A letter as the message that it was: without attributes, which say why it was dead."""
    # In a FIFO queue an id of its own, or SQS would take it for the message that it had minutes ago; and the same id
    # when the letter is sent a second time after a crash.
    return queues.Outgoing(letter.body, {}, letter.group, letter.message_id)


# Why messages are dead. A worker that gives a message up puts the cause beside it; of a message that SQS moved after
# its last attempt, the table says what that attempt ran into.


def recorded(letter: Letter, id_attribute: str) -> Cause | None:
    """The cause that stands beside a message."""
    attributes = letter.attributes
    if "error_type" not in attributes:
        return None
    return Cause(attributes.get(id_attribute), attributes["error_type"], attributes.get("error"))
