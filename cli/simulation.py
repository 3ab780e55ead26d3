"""Devices that are not there: what they measure, what goes wrong, and what an `iot` pipeline is to make of it.

The same seed and start give the same bytes. Times are the simulation's own, five minutes between two readings, and a
device's name holds the seed: run again on the same day, a seed's readings are repeats. Another seed has other devices.

What a pipeline alerts of must not depend on which of a device's uploads is taken first, when some are taken at once. So
an excursion lasts for several uploads, and what is late or twice comes from between excursions. Nor must it depend on
when the watcher looks: a device either uploads well before it would be silent, or pauses for long enough to be found.
"""

import gzip
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import ceil, pi, sin
from typing import Any, TypeVar

from handlers.iot.alerting import Claim, DeviceState, advanced, earliest_told
from handlers.iot.contents import STANDARD_FORM, Contents, read
from handlers.iot.forms import EPOCHS, Form, Path
from handlers.iot.silence import SECONDS_A_MINUTE, Silences
from handlers.iot.thresholds import Thresholds
from local.errors import LocalError

# For tests; `pipeline simulate` begins at `recent_start`.
START = datetime(2020, 1, 1, tzinfo=UTC)
INTERVAL = timedelta(minutes=5)
READINGS_A_DAY = 288
READINGS_AN_UPLOAD = 5

# In readings: four uploads at the least, and as long until the next one.
EXCURSION_LENGTHS = (20, 26)
EXCURSION_GAP = 20
EXCURSION_SHARE = 0.03
EXCURSIONS = {"heat": ("temperature", 24.0), "frost": ("temperature", -45.0), "damp": ("humidity", 43.0)}

# Devices that pause for so long that they are found silent: three runs of the watcher after they are.
PAUSE_SHARE = 0.1
PAUSE_SECONDS = 3 * SECONDS_A_MINUTE
NO_SILENCE = Silences({})

SPIKE_SHARE, DROPOUT_SHARE, DUPLICATE_SHARE, LATE_SHARE = 0.02, 0.02, 0.03, 0.03
# Readings with a metric that cannot be used, beside those that can.
PARTIAL_SHARE = 0.04
UNUSABLE_METRICS: Sequence[tuple[str, object]] = (("probe", None), ("online", True), ("firmware", "1.2.3"))

Json = dict[str, Any]
Choice = TypeVar("Choice")


@dataclass(frozen=True)
class Upload:
    """One object. `device` is the number of its device, `at` the second of the simulation at which it is uploaded.

    `good` counts readings that were not sent before, `repeated` other readings, `bad` values that are no reading, and
    `partial` the good and repeated readings that have an unusable metric.
    """

    device: int
    at: float
    key: str
    body: bytes
    good: int
    repeated: int
    bad: int
    partial: int


@dataclass
class Summary:
    """The counts of what was sent, and of what must come of it.

    `alerts` counts those to expect, such as `critical crossed` and `silent`. `silent_afterwards`: devices that fall
    silent when nothing more is sent.
    """

    uploads: int = 0
    good: int = 0
    repeated: int = 0
    bad: int = 0
    partial: int = 0
    alerts: Counter[str] = field(default_factory=Counter)
    silent_afterwards: int = 0

    def add(self, upload: Upload) -> None:
        """Counts an upload."""
        self.uploads += 1
        self.good += upload.good
        self.repeated += upload.repeated
        self.bad += upload.bad
        self.partial += upload.partial


class Expectation:
    """The alerts that follow from uploads that are taken one after the other, by the worker's own rules.

    `started` is when the simulation began: uploads arrive `at` seconds later.
    """

    def __init__(
        self,
        thresholds: Thresholds,
        silences: Silences = NO_SILENCE,
        form: Form = STANDARD_FORM,
        *,
        started: datetime = START,
        max_alert_age_minutes: int = 0,
    ) -> None:
        self._thresholds = thresholds
        self._silences = silences
        self._form = form
        self._started = started
        self._max_alert_age_minutes = max_alert_age_minutes
        self._states: dict[str, DeviceState] = {}
        self._heard_at: dict[str, float] = {}
        self._claim = Claim("simulation", "simulation", 0)

    def add(self, upload: Upload, summary: Summary) -> None:
        """Counts the alerts of an upload."""
        readings = sorted(_contents(upload, self._form).readings, key=lambda each: each.time_key)
        if not readings:
            return
        device_id = readings[0].device_id
        before = self._states.get(device_id, DeviceState())
        not_before = earliest_told(self._started + timedelta(seconds=upload.at), self._max_alert_age_minutes)
        state = advanced(DeviceState(before.limits), self._thresholds, readings, self._claim, not_before)
        self._states[device_id] = state
        summary.alerts.update(f"{each.alert.severity} {each.alert.kind}" for each in state.pending)
        self._hear(device_id, upload.at, summary)

    def _hear(self, device_id: str, at: float, summary: Summary) -> None:
        after_seconds = self._silences.after_seconds(device_id)
        if after_seconds is None:
            return
        if at - self._heard_at.get(device_id, at) > after_seconds:
            summary.alerts.update(("silent", "returned"))
        self._heard_at[device_id] = at
        summary.silent_afterwards = len(self._heard_at)


def recent_start(*, devices: int, count: int, now: datetime) -> datetime:
    """Return the midnight that lets the last of `count` uploads end before `now`."""
    readings = (-(-count // devices) + 1) * READINGS_AN_UPLOAD
    return (now - readings * INTERVAL).replace(hour=0, minute=0, second=0, microsecond=0)


def device_name(seed: int, number: int) -> str:
    """Return the id of a simulated device."""
    return f"sim-{seed}-{number:04}"


def uploads(
    *,
    devices: int,
    count: int,
    seed: int,
    bad_share: float,
    rate: float = 1,
    form: Form = STANDARD_FORM,
    silences: Silences = NO_SILENCE,
    start: datetime = START,
) -> Iterator[Upload]:
    """Yield the uploads of devices that take turns, in every way of writing a reading that the stack accepts.

    `count` is the number of turns, `rate` of them a second; a device that pauses misses its own. `bad_share`: malformed
    payloads for each good one. Raises LocalError if
    devices upload so seldom that it depends on moments whether they are found silent.
    """
    simulated = [_Device(number, seed, bad_share, form, start) for number in range(devices)]
    for device in simulated:
        after_seconds = silences.after_seconds(device.name)
        if after_seconds is None or count <= devices:
            continue
        interval = devices / rate
        if interval > after_seconds / 2:
            raise LocalError(
                f"each device uploads every {interval:.0f} seconds, and {device.name} is silent after {after_seconds}: "
                f"use a larger --rate, or fewer --devices, so that it uploads every {after_seconds // 2} at least",
            )
        device.plan_pause(after_seconds, interval, turns=count // devices)
    for number in range(count):
        device = simulated[number % devices]
        if number // devices not in device.pause:
            yield device.upload(number / rate, last=number + devices >= count)


@dataclass
class _Device:
    number: int
    seed: int
    bad_share: float
    form: Form
    start: datetime
    taken: int = 0
    sent: int = 0
    held_back: list[Json] = field(default_factory=list)
    before: list[Json] = field(default_factory=list)
    pause: range = range(0)
    """The turns that the device misses."""

    def __post_init__(self) -> None:
        self.name = device_name(self.seed, self.number)
        self._random = random.Random(f"{self.seed}/{self.number}")  # noqa: S311  it is to be the same again
        self._base = {"temperature": self._random.uniform(16, 20), "humidity": self._random.uniform(46, 50)}
        self._phase = self._random.uniform(0, 2 * pi)
        # A sensor that ages: degrees and percent in a thousand readings, and no more than two in all.
        self._drift = self._random.uniform(-1, 1)
        self._excursion = ""
        self._excursion_left = 0
        self._calm_left = READINGS_AN_UPLOAD

    def plan_pause(self, after_seconds: int, interval: float, *, turns: int) -> None:
        """Let some devices pause, if there are turns enough before and after it."""
        # Its own numbers, so that the other ones do not depend on whether silence is configured.
        choice = random.Random(f"{self.seed}/{self.number}/pause")  # noqa: S311  it is to be the same again
        missed = ceil((after_seconds + PAUSE_SECONDS) / interval)
        if choice.random() < PAUSE_SHARE and missed + 2 <= turns:
            first = choice.randint(1, turns - missed - 1)
            self.pause = range(first, first + missed)

    def upload(self, at: float, *, last: bool) -> Upload:
        late, self.held_back = self.held_back, []
        good = [self._next()]
        for _ in range(READINGS_AN_UPLOAD - 1):
            reading = self._next()
            fate = 1.0 if self._excursion_left else self._random.random()
            if fate < DROPOUT_SHARE:
                continue
            if fate < DROPOUT_SHARE + LATE_SHARE and not last:
                self.held_back.append(reading)
            else:
                good.append(reading)
        good += late
        twice = [reading for reading in self.before if self._random.random() < DUPLICATE_SHARE]
        self.before = good
        bad = [self._bad() for _ in range(self._bad_count(len(good)))]
        upload = self._packed(at, good, twice, bad)
        self.sent += 1
        return upload

    def _next(self) -> Json:
        moment = self.start + self.taken * INTERVAL
        day = sin(2 * pi * self.taken / READINGS_A_DAY + self._phase)
        drift = max(-2.0, min(2.0, self._drift * self.taken / 1_000))
        values = {
            "temperature": self._base["temperature"] + 3 * day + drift + self._random.gauss(0, 0.2),
            "humidity": self._base["humidity"] - 3 * day + drift + self._random.gauss(0, 0.2),
        }
        self.taken += 1
        self._advance_excursion()
        if self._excursion_left:
            metric, difference = EXCURSIONS[self._excursion]
            values[metric] += difference
        elif self._random.random() < SPIKE_SHARE:
            # A glitch, which stays within what is allowed.
            values["temperature"] += 2
        metrics: Json = {name: round(value, 2) for name, value in values.items()}
        if self.form.partial and self._random.random() < PARTIAL_SHARE:
            name, unusable = self._random.choice(UNUSABLE_METRICS)
            metrics[name] = unusable
        return {"device_id": self.name, "timestamp": f"{moment:%Y-%m-%dT%H:%M:%SZ}", "metrics": metrics}

    def _advance_excursion(self) -> None:
        if self._excursion_left:
            self._excursion_left -= 1
            self._calm_left = EXCURSION_GAP
        elif self._calm_left:
            self._calm_left -= 1
        elif self._random.random() < EXCURSION_SHARE:
            self._excursion = self._random.choice(list(EXCURSIONS))
            self._excursion_left = self._random.randint(*EXCURSION_LENGTHS)

    def _bad_count(self, good: int) -> int:
        expected = good * self.bad_share
        return int(expected) + (self._random.random() < expected % 1)

    def _bad(self) -> str:
        """A payload that is no reading, as text without a line break."""
        good = {
            "device_id": self.name,
            "timestamp": f"{self.start + self.taken * INTERVAL:%Y-%m-%dT%H:%M:%SZ}",
            "metrics": {"temperature": 20.5},
        }
        text = json.dumps(good)
        kinds = [
            "{}",
            text.replace("20.5", '"20.5 C"'),
            text.replace("20.5", "Infinity"),
            text.replace("20.5", '{"inside": 20.5}'),
            text.replace("Z", ""),
            text.replace("20.5", "null"),
            json.dumps({**good, "timestamp": "9999-01-01T00:00:00Z"}),
            json.dumps({**good, "device_id": ""}),
            json.dumps({"timestamp": good["timestamp"], "metrics": good["metrics"]}),
        ]
        return self._random.choice(kinds)

    def _packed(self, at: float, good: Sequence[Json], twice: Sequence[Json], bad: Sequence[str]) -> Upload:
        texts = [self._written(reading) for reading in [*good, *twice]] + list(bad)
        form = self._random.choice(["array", "lines", "gzip"])
        if form == "array":
            body, suffix = f"[{','.join(texts)}]".encode(), "json"
        else:
            # Something that never was JSON costs no more than its line.
            if bad:
                texts[-1] = texts[-1][: len(texts[-1]) // 2] or "{"
            body, suffix = "".join(f"{text}\n" for text in texts).encode(), "jsonl"
        if form == "gzip":
            body, suffix = gzip.compress(body, mtime=0), "jsonl.gz"
        key = f"readings/{self.name}/{self.sent:06}.{suffix}"
        partial = sum(any(name in reading["metrics"] for name, _ in UNUSABLE_METRICS) for reading in [*good, *twice])
        return Upload(self.number, at, key, body, len(good), len(twice), len(bad), partial)

    def _written(self, reading: Json) -> str:
        """Return a reading as the firmware of this device writes it: nested or flat, with its own fields and clock."""
        firmware = self.number // 2
        written: Json = {}
        _put(written, _nth(self.form.device_id, firmware), reading["device_id"])
        _put(written, _nth(self.form.timestamp, firmware), self._clock(reading["timestamp"], firmware))
        if self.number % 2:
            written |= reading["metrics"]
        else:
            _put(written, _nth(self.form.metrics, firmware), reading["metrics"])
        return json.dumps(written)

    def _clock(self, timestamp: str, firmware: int) -> str | int:
        units = EPOCHS.get(_nth(self.form.time_formats, firmware))
        return int(datetime.fromisoformat(timestamp).timestamp()) * units if units else timestamp


def _nth(choices: Sequence[Choice], number: int) -> Choice:
    return choices[number % len(choices)]


def _put(written: Json, path: Path, value: Any) -> None:
    *groups, name = path
    for group in groups:
        written = written.setdefault(group, {})
    written[name] = value


def _contents(upload: Upload, form: Form) -> Contents:
    body = gzip.decompress(upload.body) if upload.key.endswith(".gz") else upload.body
    return read(body.decode(), latest=datetime.now(UTC), maximum_readings=len(body), form=form)
