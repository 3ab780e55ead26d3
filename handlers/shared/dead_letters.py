"""Dead letters: list, redrive or purge them, filtered by error, age, id, type or a field.

SQS's own redrive (StartMessageMoveTask) moves all messages or none.

Receiving a message hides it from others. A pass hides each message for `HIDDEN_SECONDS` and renews that while it goes
on, so that it sees none twice. When it ends, also by an error, it makes those that are left visible again. If its
process dies, they become visible by themselves after that time.

Ages and the beginning of a pass are by SQS's clock: the one of an operator's machine may be minutes off.

A message is deleted only after SQS has confirmed that the queue has it. After a crash in between it is in both queues,
and the worker deduplicates it.
"""

import time
from collections.abc import Callable, Sequence
from email.utils import parsedate_to_datetime
from typing import Any

from handlers.shared import aws, queues
from handlers.shared.dynamodb import outside_errors
from handlers.shared.letters import Explain, Found, Letter, Wanted, in_order
from handlers.shared.log import logger
from handlers.shared.passes import UNCONTROLLED, Act, Control, Pass, keep_nothing

# The longest time of a round, unless a service hangs. No round begins with less time left.
ROUND_SECONDS = 8
HIDDEN_SECONDS = 30
# Renewed when less is left: more than a round takes.
RENEWED_SECONDS = 15
# As many can be renewed in time, ten to a request.
MAXIMUM_HELD = 20_000
# Receives of one round of a standard queue, where a round before found many. Bodies have up to a megabyte each.
RECEIVES_AT_ONCE = 4
# Not zero: a short poll queries a subset of SQS's servers and can miss messages.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html
POLL_SECONDS = 1

VISIBLE = "ApproximateNumberOfMessages"
HIDDEN = "ApproximateNumberOfMessagesNotVisible"


class DeadLetters:
    """A queue of dead letters. A pass begins no round of messages after its `seconds`."""

    def __init__(self, url: str, explain: Explain) -> None:
        self._client = aws.client("sqs")
        self._url = url
        self._explain = explain

    @property
    def is_fifo(self) -> bool:
        """Whether the messages of a group have an order."""
        return queues.is_fifo(self._url)

    def look(
        self, wanted: Wanted, maximum: float, seconds: float, control: Control = UNCONTROLLED
    ) -> tuple[list[dict[str, Any]], Pass]:
        """Return up to `maximum` descriptions. The letters stay."""
        seen: list[dict[str, Any]] = []

        def note(found: Sequence[Found], _: Pass) -> Sequence[Found]:
            # Not the letters themselves: a thousand bodies of a megabyte exceed the memory of a function.
            seen.extend(each.described() for each in found)
            return ()

        return seen, self.go_through(wanted, maximum, seconds, note, Pass({}), control)

    def find(self, wanted_id: str, seconds: float, control: Control = UNCONTROLLED) -> tuple[Found | None, Pass]:
        """Return one letter, by its own id or that of its event or file."""
        seen: list[Found] = []

        def note(found: Sequence[Found], _: Pass) -> Sequence[Found]:
            seen.extend(found)
            return ()

        done = self.go_through(Wanted(id=wanted_id), 1, seconds, note, Pass({}), control)
        return (seen[0] if seen else None), done

    def redrive(
        self, queue_url: str, wanted: Wanted, maximum: float, seconds: float, control: Control = UNCONTROLLED
    ) -> Pass:
        """Move up to `maximum` letters back into their queue.

        Counts `redriven`, `not_sent` (refused by the queue, still here) and `not_deleted` (in the queue, and still
        here). Either failure ends the pass, because the next letters would fail, too.
        """
        moved: set[int] = set()

        def move(found: Sequence[Found], done: Pass) -> Sequence[Found]:
            # SQS's clock shows whole seconds: in the first one, the same body may be a letter that failed again since.
            first_second = (done.began_at or 0) - 1
            fresh = [
                each for each in found if each.letter.sent_at < first_second or hash(each.letter.body) not in moved
            ]
            moved.update(hash(each.letter.body) for each in fresh)
            arrived = queues.send(queue_url, [_returning(each.letter) for each in fresh])
            sent = [each for each, is_there in zip(fresh, arrived, strict=True) if is_there]
            done.counts["not_sent"] += len(fresh) - len(sent)
            return self._delete(sent, done, "redriven")

        counts = {"redriven": 0, "not_sent": 0, "not_deleted": 0}
        return self.go_through(wanted, maximum, seconds, move, Pass(counts), control)

    def purge(
        self,
        wanted: Wanted,
        maximum: float,
        seconds: float,
        control: Control = UNCONTROLLED,
        *,
        export: Callable[[Sequence[Found]], None] = keep_nothing,
    ) -> Pass:
        """Delete up to `maximum` letters, each after it was exported.

        Counts `deleted` and `not_deleted`, which ends the pass. What `export` raises ends it, too.
        """

        def delete(found: Sequence[Found], done: Pass) -> Sequence[Found]:
            export(found)
            return self._delete(found, done, "deleted")

        return self.go_through(wanted, maximum, seconds, delete, Pass({"deleted": 0, "not_deleted": 0}), control)

    def depth(self) -> int | None:
        """Return SQS's approximate number of letters, None if SQS does not answer."""
        counts = self._counts()
        return None if counts is None else sum(counts)

    def _counts(self) -> tuple[int, int] | None:
        """Return the approximate numbers of visible and of hidden letters, None if SQS does not answer."""
        try:
            answer = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=[VISIBLE, HIDDEN])
        except outside_errors():
            # The result of a pass is worth reporting without this number, too.
            logger.exception("the dead letters were not counted")
            return None
        return int(answer["Attributes"][VISIBLE]), int(answer["Attributes"][HIDDEN])

    def go_through(
        self,
        wanted: Wanted,
        maximum: float,
        seconds: float,
        act: Act,
        done: Pass,
        control: Control = UNCONTROLLED,
    ) -> Pass:
        """Act on up to `maximum` letters that a filter wants, ten or more at a time."""
        held = Held(self._url)
        done.began_at = control.began_at
        try:
            try:
                seen_all = self._rounds(wanted, maximum, seconds, act, done, control, held)
            except outside_errors() as error:
                logger.exception("a service did not answer; the pass over the dead letters ends here")
                done.error, seen_all = error, False
            counts = self._counts()
            done.remaining = None if counts is None else sum(counts)
            if seen_all:
                # Without a count nobody can say whether all were there to be seen.
                done.hidden = 0 if counts is None else max(0, counts[1] - len(held))
                done.held_back = bool(held) and self.is_fifo
                done.complete = counts is not None and not done.hidden and not done.held_back
        finally:
            held.show_again()
        return done

    def _rounds(
        self, wanted: Wanted, maximum: float, seconds: float, act: Act, done: Pass, control: Control, held: "Held"
    ) -> bool:
        """Return True if no letter is left that this pass has not seen, and that it can see."""
        begun = time.monotonic()
        at_once, room = 1, maximum
        while time.monotonic() < begun + seconds and len(held) < MAXIMUM_HELD:
            held.renew()
            letters, now = self._receive(at_once)
            if done.began_at is None:
                done.began_at = now + 1
            # Not those that a fast worker has dead-lettered again: one pass would move them again and again.
            old = {letter.message_id: letter for letter in letters if letter.sent_at <= done.began_at}
            new = [letter for letter in old.values() if letter not in held]
            held.add(letters)
            if not letters:
                return True
            if not room:
                return False
            at_once = self._receives(len(letters), control)
            matching = in_order([found for found in self._found(new, now) if wanted.fits(found)])
            done.not_matching += len(new) - len(matching)
            done.count(matching)
            chosen = matching[: int(min(room, len(matching)))]
            room -= len(chosen)
            for gone in act(chosen, done):
                held.forget(gone.letter)
            control.progress(done)
            if len(chosen) < len(matching) or done.failed or self._paced(begun, done, control, held):
                return False
        return False

    def _receives(self, found: int, control: Control) -> int:
        """Return how many receives the next round makes."""
        many = found >= queues.ENTRIES_A_CALL and not self.is_fifo
        return RECEIVES_AT_ONCE if many and control.a_second >= RECEIVES_AT_ONCE * queues.ENTRIES_A_CALL else 1

    def _paced(self, begun: float, done: Pass, control: Control, held: "Held") -> bool:
        """Wait until the pace allows the next round. Returns True when the pass is to stop."""
        while (pause := begun + done.done / control.a_second - time.monotonic()) > 0:
            if control.wait(min(pause, 1)):
                return True
            held.renew()
        return control.wait(0)

    def _receive(self, at_once: int = 1) -> tuple[list[Letter], float]:
        """Return letters, and the time on SQS's clock, in whole epoch seconds."""

        def receive(_: int) -> Any:
            return self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=queues.ENTRIES_A_CALL,
                VisibilityTimeout=HIDDEN_SECONDS,
                WaitTimeSeconds=POLL_SECONDS,
                MessageSystemAttributeNames=["SentTimestamp", "MessageGroupId", "DeadLetterQueueSourceArn"],
                MessageAttributeNames=["All"],
            )

        answers = aws.each(receive, range(at_once))
        date = answers[0]["ResponseMetadata"]["HTTPHeaders"]["date"]
        letters = [Letter.from_message(message) for answer in answers for message in answer.get("Messages", [])]
        return letters, parsedate_to_datetime(date).timestamp()

    def _found(self, letters: Sequence[Letter], now: float) -> list[Found]:
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


class Held:
    """The letters that a pass hides: the newest receipt handle of each, by message id."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._handles: dict[str, str] = {}
        self._renew_at = float("inf")

    def __len__(self) -> int:
        """Return how many are hidden."""
        return len(self._handles)

    def __contains__(self, letter: Letter) -> bool:
        """Return True for a letter that this pass has received before."""
        return letter.message_id in self._handles

    def add(self, letters: Sequence[Letter]) -> None:
        """Take note of letters that were received just now."""
        self._handles.update({letter.message_id: letter.receipt_handle for letter in letters})
        self._renew_at = min(self._renew_at, time.monotonic() + HIDDEN_SECONDS - RENEWED_SECONDS)

    def forget(self, letter: Letter) -> None:
        """Forget a letter that is gone."""
        del self._handles[letter.message_id]

    def renew(self) -> None:
        """Hide all for longer, when it is time to. Raises `outside_errors`."""
        if self._handles and time.monotonic() >= self._renew_at:
            queues.return_after(self._url, dict.fromkeys(self._handles.values(), HIDDEN_SECONDS))
            self._renew_at = time.monotonic() + HIDDEN_SECONDS - RENEWED_SECONDS

    def show_again(self) -> None:
        """Make all visible."""
        try:
            queues.return_after(self._url, dict.fromkeys(self._handles.values(), 0))
        except outside_errors():
            # They become visible by themselves after the time that they were hidden for.
            logger.exception("the visibility of messages was not changed")


def _returning(letter: Letter) -> queues.Outgoing:
    """Return the original message: without the attributes that say why it is dead."""
    # In a FIFO queue the message needs a new deduplication id, or SQS drops it as a duplicate of minutes ago. The
    # letter's own id is new, and the same when the letter is sent again after a crash.
    return queues.Outgoing(letter.body, {}, letter.group, letter.message_id)
