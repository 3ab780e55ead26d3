"""Readings: the values that the other modules of this room pass around. Contains no AWS code."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal

# A device whose clock was never set reports 1970.
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading. `metrics` maps names to exact numbers, at least one.

    `time_key` is the table's sort key: the time in UTC to the nanosecond, then a hash of the metrics. Two readings of
    the same moment are two items, and a repeat overwrites itself. Keys sort by time.
    """

    device_id: str
    time_key: str
    metrics: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class Rejection:
    """A part of an object that was rejected, and the reason.

    `position` counts the values of the object from 0; None: the whole object. `metrics` names the metrics that were
    rejected from a reading that was kept; empty: all of the reading was rejected.
    """

    position: int | None
    reason: str
    text: str
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BadMetric:
    """A metric of a reading that cannot be used, and the reason."""

    name: str
    reason: str


class InvalidReadingError(Exception):
    """A value of an object is not a reading. The message names the field and says what is allowed."""


class UnusableObjectError(Exception):
    """An object as a whole cannot be read: too large, too many readings, a broken gzip, empty, or deleted."""


def timestamp_of(time_key: str) -> str:
    """Return the time of a reading in RFC 3339 and UTC, without trailing zeros."""
    seconds, _, fraction = time_key.partition("Z#")[0].partition(".")
    fraction = fraction.rstrip("0")
    return f"{seconds}.{fraction}Z" if fraction else f"{seconds}Z"


def first_key(moment: datetime) -> str:
    """Return a key that sorts before every reading of a moment and after all earlier ones."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}000Z"


def not_after(reading: Reading, moment: datetime) -> Reading:
    """Return a reading as of a moment if it is dated later; the order of readings does not change.

    Alert states ignore what is older than the newest reading, so a reading dated ahead would mute its device.
    """
    latest = first_key(moment)
    return replace(reading, time_key=f"{latest}#{reading.time_key}") if reading.time_key > latest else reading


def shown(value: object) -> str:  # noqa: PLR0911  one return per kind of value
    """Return a value for a message: one short line of ASCII."""
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
            shown = json.dumps(value[:_SHOWN_CHARACTERS])
            return (
                shown
                if len(value) <= _SHOWN_CHARACTERS
                else f"{shown} and {len(value) - _SHOWN_CHARACTERS} characters more"
            )
        case _:
            return str(value)[:_SHOWN_CHARACTERS]
