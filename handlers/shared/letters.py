"""Dead letters as values: the message, why it is dead, and filters. It contains no AWS code."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
    """In a FIFO or a fair queue; else empty."""
    moved_by_sqs: bool = False
    """SQS moved it here, after its last receive; no function sent it."""

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> "Letter":
        """Return the letter in a message of ReceiveMessage's answer."""
        system = message["Attributes"]
        return cls(
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
            moved_by_sqs="DeadLetterQueueSourceArn" in system,
        )


def _no_value(_path: str) -> str | None:
    return None


@dataclass(frozen=True)
class Cause:
    """Why a message is dead, as recorded. `id` is that of its event or file, None if it has none."""

    id: str | None
    error_type: str
    error: str | None
    attempts: int | None = None
    """How often it was tried, None if that was not recorded."""
    type: str | None = None
    """The type of its event; None if there is none."""
    received_at: str = ""
    """When its event was accepted; empty if it has none."""
    value_at: Callable[[str], str | None] = _no_value
    """Returns the text or number at a path of its event."""


# Returns the causes of messages, in order. Raises `outside_errors`.
Explain = Callable[[Sequence[Letter]], list[Cause]]


@dataclass(frozen=True)
class Found:
    """A dead letter and its cause. `age_seconds` counts from when SQS first received it, as its retention does."""

    letter: Letter
    cause: Cause
    age_seconds: int

    @property
    def error_type(self) -> str:
        """The error type as lists show it, where a long one is cut."""
        return self.cause.error_type[:TYPE_CHARACTERS]

    def described(self) -> dict[str, Any]:
        """Return the letter as lists show it: without its body, and with a long error cut."""
        error = self.cause.error
        return {
            "message_id": self.letter.message_id,
            "id": self.cause.id,
            "type": self.cause.type,
            "age_seconds": self.age_seconds,
            "attempts": self.cause.attempts,
            "error_type": self.error_type,
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
    type: str | None = None
    """The type of the event."""
    field: tuple[str, str] | None = None
    """A path of the event and the text or number there: `("customer.id", "42")`."""

    def fits(self, found: Found) -> bool:
        """Return True if a letter passes the filter."""
        cause = found.cause
        return (
            self.error_type in (None, cause.error_type)
            and self.id in (None, found.letter.message_id, cause.id)
            and self.type in (None, cause.type)
            and found.age_seconds >= self.min_age_seconds
            and (self.max_age_seconds is None or found.age_seconds <= self.max_age_seconds)
            and (self.field is None or cause.value_at(self.field[0]) == self.field[1])
        )


def is_field(text: str) -> bool:
    """Return True for a path and a value: `customer.id=42`."""
    path, _, value = text.partition("=")
    return bool(path and value)


def field_of(text: str) -> tuple[str, str]:
    """Return the path and the value of a text that `is_field`."""
    path, _, value = text.partition("=")
    return path, value


def in_order(found: Sequence[Found]) -> list[Found]:
    """Return letters so that those of a group of a FIFO queue stand in the order in which their events were accepted.

    They may lie in another one: an event that was redriven and failed again lies behind later events of its group.
    """
    places: dict[str, list[int]] = {}
    for place, each in enumerate(found):
        if each.letter.group:
            places.setdefault(each.letter.group, []).append(place)
    ordered = list(found)
    for of_group in places.values():
        group = sorted((found[place] for place in of_group), key=lambda each: each.cause.received_at)
        for place, each in zip(of_group, group, strict=True):
            ordered[place] = each
    return ordered


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
