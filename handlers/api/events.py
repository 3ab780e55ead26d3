"""Events: what a client may submit, the envelope around it, and its id. It contains no AWS code."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from handlers.api.paths import text_of, value_at
from handlers.shared.bodies import is_packed
from handlers.shared.errors import BadRequestError, TooLargeError
from handlers.shared.problems import MAXIMUM_PROBLEM_LENGTH, Problem, Validate
from handlers.shared.queues import MAXIMUM_MESSAGE_BYTES
from handlers.shared.strict_json import without_repeated_names
from handlers.shared.times import is_timestamp, timestamp

# Percent-encoded, as in the archive's keys: S3 limits a key to 1,024 bytes.
MAXIMUM_TYPE_BYTES = 512
DEFAULT_TYPE = "default"
# Readers of the archive, whose keys hold the type, read this one as NULL.
# https://docs.aws.amazon.com/athena/latest/ug/partitions.html
NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
KEY_FIELD = "idempotency_key"

# In characters, for each of the server's fields in a message. The longest is the user agent, but for the key: that of a
# CloudEvent is its source and its id.
MAXIMUM_FIELD_LENGTH = 512
MAXIMUM_CLOUD_KEY_LENGTH = 1_024 + 1 + 256

ID_PATTERN = "[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}"
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html (MessageGroupId)
GROUP_PATTERN = "[!-~]{1,128}"

MICROSECONDS = 1_000_000
_CONTAINERS = (dict, list)

# Made once: `json.dumps` makes an encoder for each call.
as_text = json.JSONEncoder(separators=(",", ":")).encode

is_id = re.compile(ID_PATTERN).fullmatch
# What is not percent-encoded.
_is_plain = re.compile(rf"[A-Za-z0-9_.~-]{{1,{MAXIMUM_TYPE_BYTES}}}").fullmatch
_is_group = re.compile(GROUP_PATTERN).fullmatch
_fingerprint = re.compile(r"([0-9a-f]{64})?").fullmatch


@dataclass(frozen=True)
class Submission:
    """The events of one request. `batch` is True if the client sent a list, and gets one."""

    events: list[Any]
    batch: bool
    cloud: bool = False
    """They are CloudEvents."""


@dataclass(frozen=True)
class Envelope:
    """An accepted event: the client's JSON object as `data`, and the server's fields.

    `fingerprint` is the hash of `data` if the event has an idempotency key, else empty; so is the key. For a webhook it
    is the hash of the key: senders change details of an event when they send it again.
    """

    id: str
    type: str
    received_at: str
    source_ip: str
    user_agent: str
    correlation_id: str
    fingerprint: str
    data: Mapping[str, Any]
    idempotency_key: str = ""
    headers: Mapping[str, str] | None = None
    """Of a webhook's request: those that the processor is given, by lower-case name."""
    body: str | None = None
    """Of a webhook's request: its exact bytes, compressed, in base64."""
    replay: str | None = None
    """The time at which a replay began that sends the event again; it is processed even if it is done."""
    resent: bool | None = None
    """It was sent again for a message that was lost. There may be two such messages: the worker runs one at a time."""

    def to_message(self, data_text: str = "") -> str:
        """Return the body of the event's message: JSON in ASCII, so that SQS accepts every character.

        `data_text` is `data` as `as_text` writes it, where that is known already.
        """
        rest = {name: value for name, value in vars(self).items() if value is not None and name != "data"}
        return f'{as_text(rest)[:-1]},"data":{data_text or as_text(self.data)}}}'

    @classmethod
    def from_message(cls, body: str) -> "Envelope":
        """Return the event in a message. Raises UnreadableMessageError."""
        try:
            given = json.loads(body)
            # Unknown fields are ignored, and those with a default may be missing: while a deployment is under way,
            # ingest and worker are of different versions.
            envelope = cls(**{name: given[name] for name in _NAMES if name in given or name in _NEEDED})
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise UnreadableMessageError(f"the message is not an event of this pipeline: {error}"[:300]) from error
        if problem := envelope.problem():
            raise UnreadableMessageError(f"the message is not an event of this pipeline: {problem}")
        return envelope

    def problem(self) -> str | None:
        """Return why ingest cannot have sent this. Such a message must not fail its batch."""
        for name, value in vars(self).items():
            usable = _USABLE.get(name, _is_short_text)(value)
            if not usable:
                return f"{name} has the wrong type, is too long, or is not printable"
        forms = (is_id(self.id), is_type(self.type), is_timestamp(self.received_at), _fingerprint(self.fingerprint))
        if not all(forms):
            return "id, type, received_at or fingerprint has the wrong format"
        return None


def _is_short_text(value: object, maximum: int = MAXIMUM_FIELD_LENGTH) -> bool:
    return isinstance(value, str) and len(value) <= maximum and value.isprintable()


def _are_headers(value: object) -> bool:
    return value is None or (isinstance(value, dict) and all(isinstance(each, str) for each in value.values()))


# Of Envelope. Read once: `fields` is slow, and each message asks.
_NAMES = tuple(field.name for field in fields(Envelope))
_NEEDED = frozenset(field.name for field in fields(Envelope) if field.default is MISSING)
_USABLE: Mapping[str, Callable[[object], bool]] = {
    "data": lambda value: isinstance(value, dict),
    "idempotency_key": lambda value: _is_short_text(value, MAXIMUM_CLOUD_KEY_LENGTH),
    "headers": _are_headers,
    "body": lambda value: value is None or (isinstance(value, str) and is_packed(value)),
    "replay": lambda value: value is None or (isinstance(value, str) and is_timestamp(value)),
    "resent": lambda value: value is None or isinstance(value, bool),
}


class UnreadableMessageError(Exception):
    """A message is not an event as `Envelope.to_message` writes it."""


class InvalidEventError(Exception):
    """An event is invalid. `problems` is a list of `{"path", "message"}`."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems[0]["message"])
        self.problems = problems


class EventTooLargeError(InvalidEventError):
    """An event does not fit into a message."""


def read_body(text: str, max_batch: int) -> Submission:
    """Return the events in a request's body: one object, an array, or `{"events": [...]}`.

    Raises BadRequestError for any other body, TooLargeError for too many events.
    """
    if not text.strip():
        raise BadRequestError("empty_body", "the body is empty; send one JSON object, or an array of them")
    body = parse_json(text)
    if isinstance(body, dict) and set(body) == {"events"} and isinstance(body["events"], list):
        body = body["events"]
    if isinstance(body, dict):
        return Submission([body], batch=False)
    return Submission(read_batch(body, max_batch), batch=True)


def read_batch(body: object, max_batch: int) -> list[Any]:
    """Return the events of a batch. Raises BadRequestError for what is no batch, TooLargeError for too many events."""
    if not isinstance(body, list):
        wanted = "a batch is a JSON array" if isinstance(body, dict) else "an event is a JSON object"
        raise BadRequestError("not_an_object", f"{wanted}, not {_kind(body)}")
    if not body:
        raise BadRequestError("empty_batch", "the batch has no events")
    if len(body) > max_batch:
        raise TooLargeError("too_many_events", f"the batch has {len(body)} events; allowed are {max_batch}")
    return body


def parse_json(text: str) -> Any:
    """Return a JSON value. Raises BadRequestError, also for a duplicate key and for numbers that JSON does not have."""
    try:
        return json.loads(
            text, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=without_repeated_names
        )
    except RecursionError as error:
        raise BadRequestError("too_deep", "the body is nested too deeply") from error
    except ValueError as error:
        raise BadRequestError("invalid_json", f"the body is not JSON: {error}"[:300]) from error


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def _kind(value: object) -> str:
    names = {type(None): "null", str: "text", bool: "a truth value", int: "a number", float: "a number", list: "a list"}
    return names.get(type(value), "an object")


def check(event: object, *, max_depth: int, type_field: str, validators: Mapping[str, Validate]) -> tuple[str, str]:
    """Return the type of a valid event, and the event as text.

    Raises InvalidEventError with all problems of the first check that fails.

    `validators` has a function for each type, or one for all types under `""`. Without any, each object is valid.
    """
    if not isinstance(event, dict):
        raise InvalidEventError([{"path": "", "message": f"an event is a JSON object, not {_kind(event)}"}])
    text = check_form(event, max_depth)
    return _checked_type(event, type_field, validators), text


def check_form(event: Mapping[str, Any], max_depth: int) -> str:
    """Return an object as text, as it stands in its message.

    Raises InvalidEventError for one that is too deep or too large, or cannot be stored as text.
    """
    if not _is_at_most(event, max_depth):
        raise InvalidEventError([{"path": "", "message": f"is nested more than {max_depth} levels deep"}])
    text = as_text(event)
    # Surrogates are escaped, whole pairs as well as halves.
    if "\\ud" in text and _has_half_a_pair(event):
        raise InvalidEventError([{"path": "", "message": "has text with half a surrogate pair"}])
    if len(text) > MAXIMUM_MESSAGE_BYTES:
        # Checked before the schema, which would read all of it.
        raise _too_large(len(text))
    return text


def _has_half_a_pair(event: Mapping[str, Any]) -> bool:
    try:
        json.dumps(event, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def group(event: Mapping[str, Any], path: str) -> str:
    """Return the group of an event in a FIFO queue: text or a number. Raises InvalidEventError."""
    given = text_of(value_at(event, path))
    if given is not None and _is_group(given):
        return given
    message = "a number, or text of 1 to 128 characters of ASCII without spaces; events of one group keep their order"
    raise InvalidEventError([{"path": f"/{path.replace('.', '/')}", "message": f"must be {message}"}])


def tenant(event: Mapping[str, Any], path: str) -> str:
    """Return the group of an event in a fair queue: the text or number at a path, empty without one.

    Fairness refuses no event: a text that SQS does not take as a group is hashed.
    """
    given = text_of(value_at(event, path)) or ""
    return given if not given or _is_group(given) else sha256(given.encode("utf-8", "surrogatepass")).hexdigest()


def _checked_type(event: Mapping[str, Any], type_field: str, validators: Mapping[str, Validate]) -> str:
    given = event.get(type_field)
    usable = isinstance(given, str) and is_type(given)
    event_type = str(given) if usable else DEFAULT_TYPE
    if not validators:
        return event_type
    validate = validators.get("") or (validators.get(event_type) if usable else None)
    if validate is None:
        known = ", ".join(sorted(validators))
        message = (
            f"unknown event type {given!r}; known: {known}" if type_field in event else f"is missing; known: {known}"
        )
        raise InvalidEventError([{"path": f"/{type_field}", "message": message[:MAXIMUM_PROBLEM_LENGTH]}])
    satisfy(event, validate)
    return event_type


def satisfy(event: Mapping[str, Any], validate: Validate) -> None:
    """Raise InvalidEventError if an event does not satisfy its schema."""
    # The key is about delivery, so a schema need not allow it.
    if problems := validate({field: value for field, value in event.items() if field != KEY_FIELD}):
        raise InvalidEventError(problems)


def _is_at_most(event: Mapping[str, Any], max_depth: int) -> bool:
    # Objects and lists with something in them; what parses JSON makes no subclasses.
    level: list[Any] = [event]
    for _ in range(max_depth):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) in _CONTAINERS and inner
        ]
        if not level:
            return True
    return False


def message_of(envelope: Envelope, data_text: str = "") -> str:
    """Return the envelope's message. Raises EventTooLargeError if it exceeds the limit of SQS."""
    message = envelope.to_message(data_text)
    if len(message) > MAXIMUM_MESSAGE_BYTES:
        raise _too_large(len(message))
    return message


def _too_large(size: int) -> EventTooLargeError:
    text = f"is too large: {size} bytes as a message, allowed are {MAXIMUM_MESSAGE_BYTES}"
    return EventTooLargeError([{"path": "", "message": text}])


def is_type(text: str) -> bool:
    """Return True if a text can be the type of an event."""
    if text == NULL_PARTITION or _is_plain(text):
        return text != NULL_PARTITION
    return text.isprintable() and 0 < len(quote(text, safe="")) <= MAXIMUM_TYPE_BYTES


def received_times(count: int) -> list[str]:
    """Return the times of a request's events, a microsecond apart, so that they keep their order."""
    now = datetime.now(UTC)
    if now.microsecond + count > MICROSECONDS:
        return [timestamp(now + timedelta(microseconds=position)) for position in range(count)]
    second = timestamp(now)[: -len("123456Z")]
    return [f"{second}{now.microsecond + position:06}Z" for position in range(count)]
