"""The form of readings: where a value has its device, time and metrics. Contains no AWS code.

Numbers stay exact up to the table: they are read as Decimal, and a number that DynamoDB cannot hold exactly (38 digits,
1E-130 to 9.9E+125) is rejected.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
"""

import hashlib
import json
import re
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow, Subnormal, Underflow
from typing import Any, Self

from handlers.iot.readings import EARLIEST, BadMetric, InvalidReadingError, Reading, shown

MAXIMUM_METRICS = 100
ISO_8601 = "iso8601"
# Epoch units in a second, by name.
EPOCHS = {"epoch_seconds": 1, "epoch_milliseconds": 1_000, "epoch_microseconds": 1_000_000}
NANOSECONDS_A_SECOND = 1_000_000_000
REASONS = 3

Path = tuple[str, ...]

is_device_id = re.compile(r"[A-Za-z0-9._:-]{1,128}").fullmatch
_metric_name = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}").fullmatch
# RFC 3339, and what common formatters write instead: `+0100` and `+01` (strftime), a space (`str` of a datetime).
_rfc_3339 = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ](?P<clock>[0-9]{2}:[0-9]{2}:[0-9]{2})(?:[.,](?P<fraction>[0-9]{1,9}))?"
    r"(?P<zone>[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)",
).fullmatch
# The grammar of JSON numbers, at a length that cannot be used to waste time.
_number_text = re.compile(r"-?(?:0|[1-9][0-9]{0,199})(?:\.[0-9]{1,199})?(?:[eE][+-]?[0-9]{1,3})?").fullmatch

_EXACT = Context(
    prec=38,
    Emin=-130,
    Emax=125,
    traps=[Inexact, InvalidOperation, Overflow, Subnormal, Underflow],
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Objection = Callable[[Reading], str | None]


@dataclass(frozen=True, slots=True)
class Form:
    """Places of device, time and metrics in a reading, and the accepted values.

    The first path of a field at which a value has something other than null is used. `metric_names` renames metrics;
    None drops one.
    `partial`: an unusable metric is rejected alone, and the others of its reading are kept.
    """

    device_id: Sequence[Path] = (("device_id",),)
    timestamp: Sequence[Path] = (("timestamp",),)
    metrics: Sequence[Path] = (("metrics",),)
    metric_names: Mapping[str, str | None] = field(default_factory=dict)
    time_formats: Sequence[str] = (ISO_8601,)
    numbers_as_text: bool = False
    partial: bool = True
    known_fields: Mapping[Path, frozenset[str]] = field(init=False)
    """By the path of an object, the names of its fields that are fields of the form or lead to them."""
    metric_groups: Sequence[Path] = field(init=False)
    """Paths of the objects, other than the reading itself, that hold an object of metrics."""

    def __post_init__(self) -> None:
        """Derive what every reading needs."""
        known: dict[Path, set[str]] = {(): set()}
        for path in (*self.device_id, *self.timestamp, *self.metrics):
            for position, name in enumerate(path):
                known.setdefault(path[:position], set()).add(name)
        object.__setattr__(self, "known_fields", {path: frozenset(names) for path, names in known.items()})
        object.__setattr__(self, "metric_groups", sorted({path[:-1] for path in self.metrics} - {()}))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `IotPipelineConfig.form_json` wrote: field names as keys, paths as lists of names."""
        given: dict[str, Any] = json.loads(text)
        paths = {name: tuple(map(tuple, given[name])) for name in ("device_id", "timestamp", "metrics")}
        return cls(**{**given, **paths})

    def parsed(
        self, value: object, latest: datetime, objection: Objection | None = None
    ) -> tuple[Reading, Sequence[BadMetric]]:
        """Return a JSON value as a reading, and its unusable metrics. Raises InvalidReadingError."""
        if isinstance(value, InvalidReadingError):
            raise value
        if not isinstance(value, dict):
            raise InvalidReadingError(f"a reading is a JSON object, not {shown(value)}")
        device_id = self._device(value)
        moment = self._moment(value, latest)
        numbers, bad = self._numbers(value)
        if not numbers:
            raise InvalidReadingError(joined(bad))
        content = "".join([f"\n{name}={numbers[name]}" for name in sorted(numbers)])
        digest = hashlib.sha256(content.encode()).hexdigest()[:16]
        reading = Reading(device_id, f"{moment}#{digest}", numbers)
        if objection and (reason := objection(reading)):
            raise InvalidReadingError(reason)
        return reading, bad

    def _device(self, value: Mapping[str, Any]) -> str:
        device_id, path = _found(value, self.device_id)
        if isinstance(device_id, Decimal) and device_id.as_tuple().exponent == 0:
            # A number without a point: 17 is the device "17".
            device_id = str(device_id)
        if device_id is None:
            raise InvalidReadingError(f"{_named(self.device_id)} is missing")
        if not isinstance(device_id, str) or not is_device_id(device_id):
            raise InvalidReadingError(
                f"{'.'.join(path)} must be 1 to 128 letters, digits, dots, colons, hyphens, underscores, "
                f"not {shown(device_id)}",
            )
        return device_id

    def _moment(self, value: Mapping[str, Any], latest: datetime) -> str:
        """Return the time in UTC with nine digits of a second: `2026-11-21T08:46:09.120000000Z`."""
        stamp, path = _found(value, self.timestamp)
        name = ".".join(path)
        if stamp is None:
            raise InvalidReadingError(f"{_named(self.timestamp)} is missing")
        if isinstance(stamp, str) and ISO_8601 in self.time_formats and (match := _rfc_3339(stamp)):
            moment, nanoseconds = _iso_moment(name, stamp, match)
        else:
            moment, nanoseconds = self._epoch_moment(name, stamp, latest)
        if not EARLIEST <= moment <= latest:
            what = "before 2000" if moment < EARLIEST else "ahead of the clock by more than readings.max_ahead_seconds"
            raise InvalidReadingError(f"{name} is {what}: {shown(stamp)}")
        # Several times faster than strftime.
        return f"{moment.isoformat()[:19]}.{nanoseconds}Z"

    def _epoch_moment(self, name: str, stamp: object, latest: datetime) -> tuple[datetime, str]:
        """Return the moment of an epoch time: the first configured unit that gives a plausible one."""
        number = _from_text(stamp) if self.numbers_as_text else stamp
        units = [EPOCHS[unit] for unit in self.time_formats if unit in EPOCHS]
        if not isinstance(number, Decimal) or not units:
            raise InvalidReadingError(f"{name} must be {_allowed(self.time_formats)}, not {shown(stamp)}")
        moments = [moment for unit in units if (moment := _since_epoch(number, unit))]
        if not moments:
            raise InvalidReadingError(f"{name} is not a possible time: {shown(stamp)}")
        return next((each for each in moments if EARLIEST <= each[0] <= latest), moments[0])

    def _numbers(self, value: Mapping[str, Any]) -> tuple[dict[str, Decimal], list[BadMetric]]:
        """Return the metrics that can be used, and those that cannot."""
        metrics, bad = self._candidates(value)
        if bad and not metrics:
            raise InvalidReadingError(joined(bad))
        if not 1 <= len(metrics) <= MAXIMUM_METRICS:
            raise InvalidReadingError(f"a reading has 1 to {MAXIMUM_METRICS} metrics, not {len(metrics)}")
        numbers: dict[str, Decimal] = {}
        for given, number in metrics.items():
            name = self.metric_names.get(given, given) if self.metric_names else given
            if name is None:
                continue
            if name in numbers or not _metric_name(name):
                bad.append(BadMetric(given, _name_problem(name, given, numbers)))
                continue
            try:
                numbers[name] = _exact(name, _from_text(number) if self.numbers_as_text else number)
            except InvalidReadingError as error:
                bad.append(BadMetric(given, str(error)))
        if bad and not self.partial:
            raise InvalidReadingError(joined(bad))
        if not numbers and not bad:
            raise InvalidReadingError("readings.metric_names drops every metric of the reading")
        return numbers, bad

    def _candidates(self, value: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[BadMetric]]:
        """Return the fields that are metrics, and the fields beside them that are not.

        A value without an object of metrics is flat: each of its other fields is a metric.
        """
        known = self.known_fields[()]
        metrics, path = _found(value, self.metrics)
        name = ".".join(path) or _named(self.metrics)
        beside = self._beside(value, name) if self.metric_groups else []
        if metrics is None:
            return {name: each for name, each in value.items() if name not in known}, beside
        if isinstance(metrics, InvalidReadingError):
            raise metrics
        if not isinstance(metrics, dict):
            raise InvalidReadingError(f"{name} must be an object of names and numbers, not {shown(metrics)}")
        if path in self.known_fields:
            metrics = {name: each for name, each in metrics.items() if name not in self.known_fields[path]}
        return metrics, beside if value.keys() <= known else [*self._unknown(value, (), name), *beside]

    def _beside(self, value: Mapping[str, Any], metrics: str) -> list[BadMetric]:
        """Return the fields of nested objects that are beside an object of metrics."""
        groups = ((path, _found(value, (path,))[0]) for path in self.metric_groups)
        return [
            each for path, group in groups if isinstance(group, dict) for each in self._unknown(group, path, metrics)
        ]

    def _unknown(self, group: Mapping[str, Any], path: Path, metrics: str) -> list[BadMetric]:
        return [
            BadMetric(
                name,
                f"{shown('.'.join((*path, name)))} is beside {metrics}; move it inside, or drop it with "
                "readings.metric_names",
            )
            for name in sorted(group.keys() - self.known_fields[path])
            if self.metric_names.get(name, "") is not None
        ]


def _from_text(value: object) -> object:
    return Decimal(value) if isinstance(value, str) and _number_text(value) else value


def _found(value: Mapping[str, Any], paths: Sequence[Path]) -> tuple[Any, Path]:
    """Return the first value other than null that one of the paths leads to, and its path; None if there is none."""
    for path in paths:
        found: Any = value
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        if found is not None:
            return found, path
    return None, ()


def _named(paths: Sequence[Path]) -> str:
    return " or ".join(".".join(path) for path in paths)


def joined(bad: Sequence[BadMetric]) -> str:
    """Return the reasons of a reading's bad metrics as one: the first few, so that a record stays small."""
    more = [f"and {len(bad) - REASONS} more unusable metrics"] if len(bad) > REASONS else []
    return "; ".join([*(each.reason for each in bad[:REASONS]), *more])


def _iso_moment(name: str, stamp: str, match: "re.Match[str]") -> tuple[datetime, str]:
    try:
        zone = "+00:00" if match["zone"] in "Zz" else match["zone"]
        moment = datetime.fromisoformat(f"{match['date']}T{match['clock']}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidReadingError(f"{name} is not a possible time: {shown(stamp)}") from None
    return moment, (match["fraction"] or "").ljust(9, "0")


def _since_epoch(number: Decimal, units_a_second: int) -> tuple[datetime, str] | None:
    """Return a moment and the nanoseconds of its second; None for a year that does not exist."""
    if number.adjusted() > 18 or number < 0:  # noqa: PLR2004  digits of the year 9999 in microseconds
        return None
    seconds, nanoseconds = divmod(int(number * (NANOSECONDS_A_SECOND // units_a_second)), NANOSECONDS_A_SECOND)
    try:
        return _EPOCH + timedelta(seconds=seconds), f"{nanoseconds:09}"
    except OverflowError:
        return None


def _allowed(time_formats: Sequence[str]) -> str:
    iso = ["RFC 3339 with its zone, like 2026-11-21T08:46:09Z"] if ISO_8601 in time_formats else []
    return " or ".join([*iso, *(f"{name.replace('_', ' ')}" for name in time_formats if name in EPOCHS)])


def _name_problem(name: str, given: str, others: Container[str]) -> str:
    if name in others:
        return f"{shown(given)} is a second value of the metric {name}"
    return (
        "a metric's name must be a letter and up to 63 letters, digits, underscores, dots or hyphens, "
        f"not {shown(name)}"
    )


def _exact(name: str, value: object) -> Decimal:
    if not isinstance(value, Decimal):
        raise InvalidReadingError(f"{name} must be a number, not {shown(value)}")
    try:
        # Equal numbers become the same digits: 1.50 and 1.5 are one reading.
        exact = _EXACT.normalize(value)
    except ArithmeticError:
        raise InvalidReadingError(
            f"{name} has more than 38 digits, or is too large or too small to be kept exactly: {shown(value)}",
        ) from None
    return exact or Decimal(0)
