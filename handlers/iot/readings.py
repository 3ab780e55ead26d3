"""Readings, pure: what an object may hold, what a reading is, and how it is known again. Knows nothing of AWS.

An object is text in UTF-8, plain or gzipped, with JSON values: one reading, an array of readings, or one a line (JSON
Lines). A value that is no reading becomes a Rejection, and costs none of its neighbours.

Numbers are exact from the first byte to the table: they are read as Decimal, and one that DynamoDB cannot hold exactly
(38 digits, 1E-130 to 9.9E+125) is refused.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
"""

import hashlib
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow, Subnormal, Underflow
from typing import Any

MAXIMUM_METRICS = 100
# Of a value that was refused, so much is kept with the reason.
KEPT_CHARACTERS = 2_000
# A clock that was never set says 1970.
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)

DEVICE, TIMESTAMP, METRICS = "device_id", "timestamp", "metrics"

_GZIP = b"\x1f\x8b"
_BYTE_ORDER_MARK = "\ufeff"
_READ_BYTES = 1_048_576
_SMALLEST_WINDOW = 65_536

_device_id = re.compile(r"[A-Za-z0-9._:-]{1,128}").fullmatch
_metric_name = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}").fullmatch
_rfc_3339 = re.compile(
    r"(?P<seconds>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.(?P<fraction>[0-9]{1,9}))?"
    r"(?P<zone>Z|[+-][0-9]{2}:[0-9]{2})",
).fullmatch
_blank = re.compile(r"[ \t\r\n]*")

_EXACT = Context(
    prec=38,
    Emin=-130,
    Emax=125,
    traps=[Inexact, InvalidOperation, Overflow, Subnormal, Underflow],
)


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading. `metrics` maps names to exact numbers, at least one.

    `time_key` is the table's sort key: the time in UTC to the nanosecond, and a hash of everything else, so that two
    readings of one moment stand side by side and a repeat overwrites itself. Keys sort as their times do.
    """

    device_id: str
    time_key: str
    metrics: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class Rejection:
    """What stood at a place of an object (0 is its first value) that is no reading, and why. None: the whole object."""

    position: int | None
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Contents:
    """What an object holds: its readings, each once; how many stood in it again; and what is no reading."""

    readings: list[Reading]
    repeated: int
    rejections: list[Rejection]


Objection = Callable[[Reading], str | None]


class InvalidReadingError(Exception):
    """One value of an object is not a reading. The message names the field, and what is allowed."""


class UnusableObjectError(Exception):
    """An object as a whole is not what it must be: too large, too many readings, a broken gzip, nothing in it."""


def timestamp_of(time_key: str) -> str:
    """The time of a reading, RFC 3339 in UTC, without zeros that say nothing."""
    seconds, _, fraction = time_key.partition("Z#")[0].partition(".")
    fraction = fraction.rstrip("0")
    return f"{seconds}.{fraction}Z" if fraction else f"{seconds}Z"


def first_key(moment: datetime) -> str:
    """What sorts before every reading of a moment, and behind all earlier ones."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}000Z"


def not_after(reading: Reading, moment: datetime) -> Reading:
    """Return a reading as of a moment, if it is dated after it; readings keep their order.

    The state of alerts passes over what is older than the newest reading, so that one dated ahead would mute a device.
    """
    latest = first_key(moment)
    return replace(reading, time_key=f"{latest}#{reading.time_key}") if reading.time_key > latest else reading


def decoded(chunks: Iterable[bytes], maximum_bytes: int) -> str:
    """The text of an object, gunzipped when it is gzipped. Raises UnusableObjectError.

    It stops reading at `maximum_bytes`, also of what a gzip would grow to. A byte that is not UTF-8 becomes half a
    surrogate pair, which no field of a reading may hold: it costs its own reading only.
    """
    data = bytearray()
    for part in _gunzipped(chunks, maximum_bytes):
        data += part
        if len(data) > maximum_bytes:
            raise UnusableObjectError(f"the object holds more than {maximum_bytes} bytes (readings.max_object_mb)")
    return data.decode("utf-8", "surrogateescape").removeprefix(_BYTE_ORDER_MARK)


def read(text: str, *, latest: datetime, maximum_readings: int, objection: Objection | None = None) -> Contents:
    """What an object's text holds. Raises UnusableObjectError.

    `latest` is the latest time that a reading may have: a clock that runs ahead would make all that follows look late.
    `objection` says what else is wrong with a reading, if anything: what the stack's own schema asks for.
    """
    readings: dict[tuple[str, str], Reading] = {}
    rejections: list[Rejection] = []
    position = -1
    for position, (value, start, end) in enumerate(_values(text)):
        if position == maximum_readings:
            raise UnusableObjectError(
                f"the object holds more than {maximum_readings} readings (readings.max_per_object)"
            )
        try:
            reading = parsed(value, latest, objection)
        except InvalidReadingError as error:
            kept = text[start : min(end, start + KEPT_CHARACTERS)]
            rejections.append(Rejection(position, str(error), kept))
        else:
            readings[reading.device_id, reading.time_key] = reading
    if position < 0:
        raise UnusableObjectError("the object holds no reading")
    return Contents(list(readings.values()), position + 1 - len(readings) - len(rejections), rejections)


def parsed(value: object, latest: datetime, objection: Objection | None = None) -> Reading:
    """A value as JSON holds it, with every number a Decimal, as a reading. Raises InvalidReadingError."""
    if isinstance(value, InvalidReadingError):
        raise value
    if not isinstance(value, dict):
        raise InvalidReadingError(f"a reading is a JSON object, not {_shown(value)}")
    device_id = value.get(DEVICE)
    if not isinstance(device_id, str) or not _device_id(device_id):
        if DEVICE not in value:
            raise InvalidReadingError("device_id is missing")
        raise InvalidReadingError(
            f"device_id must be 1 to 128 letters, digits, dots, colons, hyphens, underscores, not {_shown(device_id)}",
        )
    if TIMESTAMP not in value:
        raise InvalidReadingError("timestamp is missing")
    moment = _moment(value[TIMESTAMP], latest)
    numbers = _numbers(value)
    content = "".join(f"\n{name}={numbers[name]}" for name in sorted(numbers))
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    reading = Reading(device_id, f"{moment}#{digest}", numbers)
    if objection and (reason := objection(reading)):
        raise InvalidReadingError(reason)
    return reading


def _gunzipped(chunks: Iterable[bytes], maximum_bytes: int) -> Iterator[bytes]:
    iterator = iter(chunks)
    head = b""
    for chunk in iterator:
        head += chunk
        if len(head) >= len(_GZIP):
            break
    if not head.startswith(_GZIP):
        yield head
        yield from iterator
        return
    yield from _members(head, iterator, maximum_bytes)


def _members(head: bytes, rest: Iterator[bytes], maximum_bytes: int) -> Iterator[bytes]:
    """What a gzip grows to, a piece at a time; several members in a row are one text, as gzip itself has it."""
    unzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    pending = head
    try:
        while pending or (pending := next(rest, b"")):
            if unzip.eof:
                unzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            yield unzip.decompress(pending, min(_READ_BYTES, maximum_bytes + 1))
            pending = unzip.unconsumed_tail or unzip.unused_data
    except zlib.error as error:
        raise UnusableObjectError(f"the object is not the gzip that it begins as: {error}") from error
    if not unzip.eof:
        raise UnusableObjectError("the gzip ends in the middle")


def _object(pairs: list[tuple[str, object]]) -> object:
    fields = dict(pairs)
    if len(fields) == len(pairs):
        return fields
    # JSON leaves open which one counts, and a measurement would be lost without a word.
    names = Counter(name for name, _ in pairs)
    return InvalidReadingError(f"a field stands twice: {_shown(next(name for name in names if names[name] > 1))}")


# Every number is a Decimal, so that a float in a value is NaN or an infinity.
_scan: Callable[[str, int], tuple[object, int]] = json.JSONDecoder(
    parse_float=Decimal,
    parse_int=Decimal,
    parse_constant=float,
    object_pairs_hook=_object,
).scan_once  # type: ignore[attr-defined]  # the scanner under raw_decode, which takes a place to begin at


def _values(text: str) -> Iterator[tuple[object, int, int]]:
    """The JSON values of a text with their places in it; for what is not JSON an InvalidReadingError, as the value.

    One walk serves one value, an array, and lines: values stand one after the other, with white space between them, or
    commas in an array. What cannot be read costs the rest of its line.
    """
    position = _after_blank(text, 0)
    window, left_out = max(_SMALLEST_WINDOW, len(text) // 64), 0
    in_array = text[position : position + 1] == "["
    if in_array:
        position += 1
    while True:
        position = _after_blank(text, position)
        if position == len(text):
            if in_array:
                yield InvalidReadingError("not JSON: the array has no end"), left_out + position, left_out + position
            return
        if in_array and text[position] == "]":
            in_array = False
            position += 1
            continue
        value, end = _value(text, position)
        yield value, left_out + position, left_out + end
        position = end
        if position > window:
            # An error counts the lines before its place, which took quadratic time in all.
            text, position, left_out = text[position:], 0, left_out + position
        if in_array:
            position = _after_blank(text, position)
            if text[position : position + 1] == ",":
                position += 1


def _after_blank(text: str, position: int) -> int:
    match = _blank.match(text, position)
    return match.end() if match else position


def _value(text: str, position: int) -> tuple[object, int]:
    try:
        return _scan(text, position)
    except (StopIteration, ValueError, InvalidOperation, RecursionError) as error:
        newline = text.find("\n", position)
        return InvalidReadingError(f"not JSON: {_why(error)}"), len(text) if newline < 0 else newline


def _why(error: Exception) -> str:
    match error:
        case json.JSONDecodeError():
            return error.msg
        case RecursionError():
            return "too many levels"
        case InvalidOperation():
            return "a number is too large"
        case _:
            return "no value"


def _moment(value: object, latest: datetime) -> str:
    """A timestamp in UTC with nine digits of a second: `2026-11-21T08:46:09.120000000Z`."""
    match = _rfc_3339(value) if isinstance(value, str) else None
    if match is None:
        raise InvalidReadingError(
            f"timestamp must be RFC 3339 with its zone, like 2026-11-21T08:46:09Z, not {_shown(value)}"
        )
    try:
        zone = "+00:00" if match["zone"] == "Z" else match["zone"]
        moment = datetime.fromisoformat(match["seconds"] + zone).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidReadingError(f"timestamp is no time that there is: {_shown(value)}") from None
    if not EARLIEST <= moment <= latest:
        what = "before 2000" if moment < EARLIEST else "ahead of the clock by more than readings.max_ahead_seconds"
        raise InvalidReadingError(f"timestamp is {what}: {_shown(value)}")
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{(match['fraction'] or '').ljust(9, '0')}Z"


def _numbers(value: Mapping[str, Any]) -> dict[str, Decimal]:
    """The metrics of a reading: those in `metrics`, or of a flat reading every field that is not its device or time."""
    if METRICS in value:
        metrics = value[METRICS]
        if isinstance(metrics, InvalidReadingError):
            raise metrics
        if not isinstance(metrics, dict):
            raise InvalidReadingError(f"metrics must be an object of names and numbers, not {_shown(metrics)}")
        if beside := sorted(value.keys() - {DEVICE, TIMESTAMP, METRICS}):
            raise InvalidReadingError(
                f"{_shown(beside[0])} stands beside metrics; allowed are device_id, timestamp, metrics"
            )
    else:
        metrics = {name: number for name, number in value.items() if name not in (DEVICE, TIMESTAMP)}
    if not 1 <= len(metrics) <= MAXIMUM_METRICS:
        raise InvalidReadingError(f"a reading has 1 to {MAXIMUM_METRICS} metrics, not {len(metrics)}")
    return {_name(name): _number(name, number) for name, number in metrics.items()}


def _name(name: str) -> str:
    if not _metric_name(name):
        raise InvalidReadingError(
            "a metric's name must be a letter and up to 63 letters, digits, underscores, dots or hyphens, "
            f"not {_shown(name)}",
        )
    return name


def _number(name: str, value: object) -> Decimal:
    if not isinstance(value, Decimal):
        raise InvalidReadingError(f"{name} must be a number, not {_shown(value)}")
    try:
        # Equal numbers become the same digits: 1.50 and 1.5 are one reading.
        exact = _EXACT.normalize(value)
    except ArithmeticError:
        raise InvalidReadingError(
            f"{name} has more than 38 digits, or is too large or too small to be kept exactly: {_shown(value)}",
        ) from None
    return exact or Decimal(0)


def _shown(value: object) -> str:  # noqa: PLR0911  one a kind of value
    """A value for a message: short, in one line, and without its content where that is long."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case float():
            return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
        case dict():
            return "an object"
        case list():
            return "an array"
        case str():
            shown = json.dumps(value[:60])
            return shown if len(value) <= 60 else f"{shown} and {len(value) - 60} characters more"  # noqa: PLR2004
        case _:
            return str(value)[:60]
