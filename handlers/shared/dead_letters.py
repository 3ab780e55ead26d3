"""Dead letters: list, redrive or purge them, filtered by error type, age or id.

SQS's own redrive (StartMessageMoveTask) moves all messages or none.

Receiving a message hides it from others. A pass hides each message for as long as the pass may last, so that it sees
none twice, and makes the rest visible again when it ends, even by an error. If the function dies, they become visible
after that time.

A message is deleted only after SQS has confirmed that the queue has it. After a crash in between it is in both queues,
and the worker deduplicates it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handlers.shared import aws, queues
from handlers.shared.dynamodb import outside_errors
from handlers.shared.log import logger

# The longest time of a round, unless a service hangs. No round begins with less time left.
ROUND_SECONDS = 8
# Not zero: a short poll queries a subset of SQS's servers and can miss messages.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html
POLL_SECONDS = 1
# A function's answer is limited to 6 MB. A thousand errors of this length, at six bytes a character, stay far below.
ERROR_CHARACTERS = 400
TYPE_CHARACTERS = 100

UNKNOWN = "unknown"
SUCCEEDED_SINCE = "it has succeeded since; this message is left over"


@dataclass(frozen=True)
class Letter:
    """A dead-lettered message. `sent_at` (epoch seconds) is when SQS first received it."""

    message_id: str
    receipt_handle: str
    body: str
    attributes: Mapping[str, str]
    sent_at: float
    group: str
    """In a FIFO queue; else empty."""


@dataclass(frozen=True)
class Cause:
    """Why a message is dead, as recorded. `id` is that of its event or file, None if it has none."""

    id: str | None
    error_type: str
    error: str | None
    attempts: int | None = None
    """How often it was tried, None if that was not recorded."""


# Returns the causes of messages, in order. Raises `outside_errors`.
Explain = Callable[[Sequence[Letter]], list[Cause]]


@dataclass(frozen=True)
class Found:
    """A dead letter and its cause. `age_seconds` counts from when SQS first received it, as its retention does."""

    letter: Letter
    cause: Cause
    age_seconds: int

    def described(self) -> dict[str, Any]:
        """Return the letter as lists show it: without its body, and with a long error cut."""
        error = self.cause.error
        return {
            "message_id": self.letter.message_id,
            "id": self.cause.id,
            "age_seconds": self.age_seconds,
            "attempts": self.cause.attempts,
            "error_type": self.cause.error_type[:TYPE_CHARACTERS],
            "error": error and error[:ERROR_CHARACTERS],
        }


@dataclass(frozen=True)
class Wanted:
    """A filter of dead letters."""

    error_type: str | None = None
    min_age_seconds: int = 0
    max_age_seconds: int | None = None
    id: str | None = None
    """The id of the message, or of its event or file."""

    def fits(self, found: Found) -> bool:
        """Return True if a letter passes the filter."""
        return (
            self.error_type in (None, found.cause.error_type)
            and self.id in (None, found.letter.message_id, found.cause.id)
            and found.age_seconds >= self.min_age_seconds
            and (self.max_age_seconds is None or found.age_seconds <= self.max_age_seconds)
        )


@dataclass
class Pass:
    """The result of a pass over the dead letters.

    It is `complete` if it saw all letters that were there when it began. Otherwise its time was up, it reached its
    maximum, a service failed, or it was `held_back`. `remaining` is SQS's approximate count after the pass, None if SQS
    did not answer.
    """

    counts: dict[str, int]
    not_matching: int = 0
    """Letters that the filter left out."""
    complete: bool = False
    held_back: bool = False
    """Letters that this pass left in a FIFO queue may have kept back the rest of their groups, because SQS delivers a
    group in order. Another pass with the same filter gets no further."""
    remaining: int | None = None
    error: Exception | None = None
    """The error of a service that ended the pass. The counts cover the work before it."""

    @property
    def failed(self) -> int:
        """The number of letters that could not be moved or deleted."""
        return self.counts.get("not_sent", 0) + self.counts.get("not_deleted", 0)

    def described(self) -> dict[str, Any]:
        """Return everything but the error."""
        return {
            **self.counts,
            "not_matching": self.not_matching,
            "remaining": self.remaining,
            "complete": self.complete,
            "held_back": self.held_back,
        }


# The work of a pass on some letters, which it counts. Returns the letters that are gone.
Act = Callable[[Sequence[Found], Pass], Sequence[Found]]


class DeadLetters:
    """A queue of dead letters. A pass begins no round of ten messages after its `seconds`."""

    def __init__(self, url: str, explain: Explain) -> None:
        self._client = aws.client("sqs")
        self._url = url
        self._explain = explain

    def look(self, wanted: Wanted, maximum: int, seconds: float) -> tuple[list[dict[str, Any]], Pass]:
        """Return up to `maximum` descriptions. The letters stay."""
        seen: list[dict[str, Any]] = []

        def note(found: Sequence[Found], _: Pass) -> Sequence[Found]:
            # Not the letters themselves: a thousand bodies of a megabyte exceed the memory of a function.
            seen.extend(each.described() for each in found)
            return ()

        return seen, self._go_through(wanted, maximum, seconds, note, Pass({}))

    def find(self, wanted_id: str, seconds: float) -> tuple[Found | None, Pass]:
        """Return one letter, by its own id or that of its event or file."""
        seen: list[Found] = []

        def note(found: Sequence[Found], _: Pass) -> Sequence[Found]:
            seen.extend(found)
            return ()

        done = self._go_through(Wanted(id=wanted_id), 1, seconds, note, Pass({}))
        return (seen[0] if seen else None), done

    def redrive(self, queue_url: str, wanted: Wanted, maximum: int, seconds: float) -> Pass:
        """Move up to `maximum` letters back into their queue.

        Counts `redriven`, `not_sent` (refused by the queue, still here) and `not_deleted` (in the queue, and still
        here). Either failure ends the pass, because the next letters would fail, too.
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
        """Delete up to `maximum` letters. Counts `deleted` and `not_deleted`, which ends the pass."""

        def delete(found: Sequence[Found], done: Pass) -> Sequence[Found]:
            return self._delete(found, done, "deleted")

        return self._go_through(wanted, maximum, seconds, delete, Pass({"deleted": 0, "not_deleted": 0}))

    def depth(self) -> int | None:
        """Return SQS's approximate number of letters, None if SQS does not answer."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        try:
            answer = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=names)
        except outside_errors():
            # The result of a pass is worth reporting without this number, too.
            logger.exception("the dead letters were not counted")
            return None
        return sum(int(answer["Attributes"][name]) for name in names)

    def _go_through(self, wanted: Wanted, maximum: int, seconds: float, act: Act, done: Pass) -> Pass:
        held: dict[str, str] = {}
        try:
            self._rounds(wanted, maximum, seconds, act, done, held)
        except outside_errors() as error:
            logger.exception("a service did not answer; the pass over the dead letters ends here")
            done.error = error
        finally:
            self._show_again(held)
        done.remaining = self.depth()
        return done

    def _rounds(self, wanted: Wanted, maximum: int, seconds: float, act: Act, done: Pass, held: dict[str, str]) -> None:
        """Update `held`: the newest receipt handle, by message id, of each message that this pass hides."""
        deadline = time.monotonic() + seconds
        started_at = time.time()
        room = maximum
        while time.monotonic() < deadline:
            letters = self._receive(int(deadline - time.monotonic()) + ROUND_SECONDS)
            # Not those that a fast worker has dead-lettered again: one pass would move them again and again.
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
            MessageSystemAttributeNames=["SentTimestamp", "MessageGroupId"],
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
        except outside_errors():
            # They become visible on their own after the time that they were hidden for.
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
        group=system.get("MessageGroupId", ""),
    )


def _returning(letter: Letter) -> queues.Outgoing:
    """Return the original message: without the attributes that say why it is dead."""
    # In a FIFO queue the message needs a new deduplication id, or SQS drops it as a duplicate of minutes ago. The
    # letter's own id is new, and the same when the letter is sent again after a crash.
    return queues.Outgoing(letter.body, {}, letter.group, letter.message_id)


def recorded(letter: Letter, id_attribute: str) -> Cause | None:
    """Return the cause that a worker attached to its dead letter; SQS attaches none to those that it moves itself."""
    attributes = letter.attributes
    if "error_type" not in attributes:
        return None
    attempts = attributes.get("attempts", "")
    return Cause(
        attributes.get(id_attribute),
        attributes["error_type"],
        attributes.get("error"),
        int(attempts) if attempts.isdecimal() else None,
    )
