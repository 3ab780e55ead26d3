"""Options of the `iot` variant."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from components.options.common import (
    CommonOptions,
    FunctionAlarmOptions,
    Options,
    ProtectionOptions,
    ReservedConcurrency,
)
from components.options.schemas import ExistingSchema

# Names that handlers/iot/forms.py accepts.
DeviceId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]
MetricName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")]
# Memory of the worker without an object, and for each megabyte of one: its bytes, its text (up to four bytes per
# character) and its readings. Measured by benchmarks/iot.py.
MEMORY_MB = 128
MEMORY_MB_A_MEGABYTE = 15

# Names separated by dots, and paths separated by bars.
FieldPaths = Annotated[str, Field(pattern=r"^[^.|\s]+(\.[^.|\s]+)*( *\| *[^.|\s]+(\.[^.|\s]+)*)*$")]
Suffix = Annotated[str, Field(pattern=r"^\S+$")]
# Names that handlers/iot/forms.py knows.
TimeFormat = Literal["iso8601", "epoch_seconds", "epoch_milliseconds", "epoch_microseconds"]
LEVELS = ("warning", "critical")
# The state of a limit takes 200 bytes of an item's 400 KB, and each of its two pending alerts 350.
LIMITS_A_DEVICE = 400
# The watcher runs once a minute.
SilentMinutes = Annotated[int, Field(ge=1)]
MINUTES_A_DAY = 1_440


class LimitOptions(Options):
    """Limits of one level. For a single device, `null` removes a limit that holds for all."""

    min: Decimal | None = None
    """Readings below it are out of bounds. Default: no lower limit."""
    max: Decimal | None = None
    """Readings above it are out of bounds. Default: no upper limit."""
    hysteresis: Annotated[Decimal, Field(ge=0)] = Decimal(0)
    """Distance inside the limit that ends an alert."""
    cooldown_minutes: Annotated[int, Field(ge=0, le=10_080)] = 15
    """Shortest time between two alerts, measured by the readings' own timestamps."""


class LevelOptions(Options):
    """Limits of a metric by level. For a single device, `null` removes a level that holds for all."""

    warning: LimitOptions | None = None
    """Limits whose crossing causes alerts of the severity `warning`."""
    critical: LimitOptions | None = None
    """Limits whose crossing causes alerts of the severity `critical`. They are not inside those of `warning`."""

    def levels(self) -> dict[str, LimitOptions]:
        """Return the levels that are set."""
        return {level: limits for level in LEVELS if (limits := getattr(self, level)) is not None}


class ThresholdOptions(LevelOptions):
    """Limits of a metric, and their overrides for single devices."""

    devices: Mapping[DeviceId, LevelOptions] = Field(default_factory=dict)
    """Overrides by device id."""

    def by_device(self) -> dict[str, dict[str, LimitOptions]]:
        """Return the levels of each device with overrides by its id, and those of all others under an empty id."""
        return {"": self.levels(), **{device_id: self.of_device(device_id) for device_id in self.devices}}

    def of_device(self, device_id: str) -> dict[str, LimitOptions]:
        """Return the levels of a device: its overrides, and the common limits where it has none."""
        own, levels = self.devices[device_id], self.levels()
        for level in own.model_fields_set:
            overrides = getattr(own, level)
            if overrides is None:
                levels.pop(level, None)
            else:
                common = levels.get(level, LimitOptions())
                levels[level] = common.model_copy(update=overrides.model_dump(exclude_unset=True))
        return levels

    @model_validator(mode="after")
    def _limits_leave_room(self) -> Self:
        everywhere = self.by_device()
        for device_id, levels in everywhere.items():
            where = f"devices.{device_id}: " if device_id else ""
            for level, limits in levels.items():
                if limits.min is None or limits.max is None:
                    continue
                if limits.min + limits.hysteresis > limits.max - limits.hysteresis:
                    raise ValueError(
                        f"{where}{level}: min {limits.min} and max {limits.max} leave no room for a hysteresis of "
                        f"{limits.hysteresis} on both sides",
                    )
            _check_order(where, levels)
        all_limits = [limits for levels in everywhere.values() for limits in levels.values()]
        if all(limits.min is None and limits.max is None for limits in all_limits):
            raise ValueError("needs a level, warning or critical, with min or max")
        return self


def _check_order(where: str, levels: Mapping[str, LimitOptions]) -> None:
    """Raise ValueError if a metric would become critical before it causes a warning."""
    warning, critical = (levels.get(level, LimitOptions()) for level in LEVELS)
    if warning.max is not None and critical.max is not None and critical.max < warning.max:
        raise ValueError(f"{where}critical.max {critical.max} is below warning.max {warning.max}")
    if warning.min is not None and critical.min is not None and critical.min > warning.min:
        raise ValueError(f"{where}critical.min {critical.min} is above warning.min {warning.min}")


class DeviceSilenceOptions(Options):
    """Silence of a single device."""

    after_minutes: SilentMinutes | None
    """Minutes without an upload after which the device is silent. `null`: the device is not watched."""


class SilenceOptions(Options):
    """Alerts when a device stops uploading, and when it is back."""

    after_minutes: SilentMinutes | None
    """Minutes without an upload after which a device is silent. `null`: only devices in `devices` are watched."""
    devices: Mapping[DeviceId, DeviceSilenceOptions] = Field(default_factory=dict)
    """Overrides by device id."""

    def by_device(self) -> dict[str, int | None]:
        """Return the minutes of each device with an override by its id, and those of all others under an empty id."""
        overrides = {device_id: options.after_minutes for device_id, options in self.devices.items()}
        return {"": self.after_minutes, **overrides}

    @model_validator(mode="after")
    def _watches_a_device(self) -> Self:
        if not any(self.by_device().values()):
            raise ValueError("watches no device: set after_minutes, or remove silence")
        return self


class FieldOptions(Options):
    """Paths of fields, such as `dev.id`. Of `device_id | dev.id`, the first that leads to more than null is used."""

    device_id: FieldPaths = "device_id"
    """Path of the device id."""
    timestamp: FieldPaths = "timestamp"
    """Path of the time."""
    metrics: FieldPaths = "metrics"
    """Path of the object of metrics. A reading without one is flat: each of its other fields is a metric."""

    def paths(self) -> dict[str, list[list[str]]]:
        """Return the paths of each field, each as a list of names."""
        return {
            name: [path.strip().split(".") for path in paths.split("|")] for name, paths in self.model_dump().items()
        }


class ReadingOptions(Options):
    """Form and limits of readings and uploads."""

    suffixes: tuple[Suffix, ...] = (".json", ".jsonl", ".gz")
    """Key suffixes, in upper or lower case, of the objects below `readings/` that are read. `[]`: all are read."""
    partial: bool = True
    """Keep a reading without its unusable metrics, which are recorded. `false`: reject the whole reading."""
    fields: FieldOptions = FieldOptions()
    """Where a reading has its device, time and metrics."""
    metric_names: Mapping[Annotated[str, Field(min_length=1)], MetricName | None] = Field(default_factory=dict)
    """New names of metrics by their name in the reading. `null` drops a field."""
    time_formats: Annotated[tuple[TimeFormat, ...], Field(min_length=1)] = ("iso8601",)
    """Accepted times. Of several epoch units, the first that gives a time between 2000 and the upload is used."""
    numbers_as_text: bool = False
    """Accept strings that are JSON numbers, such as `"21.5"`, as numbers."""
    max_object_mb: Annotated[int, Field(ge=1, le=256)] = 32
    """Size of the text, after decompression."""
    max_per_object: Annotated[int, Field(ge=1, le=1_000_000)] = 100_000
    """Readings in one object."""
    max_ahead_seconds: Annotated[int, Field(ge=0, le=86_400)] = 300
    """Tolerance for timestamps later than the time of the upload."""
    max_alert_age_minutes: Annotated[int, Field(ge=1, le=5_256_000)] | None = 2_880
    """Age of a reading at its upload up to which it causes alerts of crossings; recoveries are told at any age. `null`:
    no limit."""
    device_in_key: bool = False
    """Reject readings of devices other than the one in the key `readings/{device_id}/...`, so that write access to a
    prefix identifies the device."""
    reading_schema: Literal["none"] | ExistingSchema = "none"
    """Path of a JSON Schema that each reading, `{device_id, timestamp, metrics}`, must satisfy. `none`: no schema."""


class ReadingWorkerOptions(Options):
    """The function that S3 invokes for each upload."""

    memory_mb: Annotated[int, Field(ge=128, le=10_240)] = 1_024
    """Memory of the function."""
    timeout_seconds: Annotated[int, Field(ge=10, le=900)] = 300
    """Time limit of one run."""
    reserved_concurrency: ReservedConcurrency = None
    """Uploads read at the same time, at most; others wait, up to `max_event_age_seconds`. Taken out of the account's
    limit. Default: no limit of its own."""
    retries: Annotated[int, Field(ge=0, le=2)] = 2
    """Retries of a failed run before its event is dead-lettered."""
    max_event_age_seconds: Annotated[int, Field(ge=60, le=21_600)] = 21_600
    """Age at which an event is dead-lettered, even without an attempt."""


class DeadLetterOptions(Options):
    """Events whose retries are exhausted."""

    retention_days: Annotated[int, Field(ge=1, le=14)] = 14
    """Days that dead letters are kept."""


class ReadingStorageOptions(ProtectionOptions):
    """Protection and retention of readings and uploads."""

    readings_expire_after_days: Annotated[int, Field(ge=1, le=3_650)] = 90
    """Days that a reading is kept, counted from its upload, not from its own timestamp."""
    uploads_expire_after_days: Annotated[int, Field(ge=1, le=3_650)] | None = 90
    """Days that uploads are kept. `null`: forever."""
    rejected_expire_after_days: Annotated[int, Field(ge=1, le=3_650)] | None = 90
    """Days that rejected readings are kept. `null`: forever."""


class ReadingAlarmOptions(FunctionAlarmOptions):
    """Alarm thresholds; docs/iot.md explains each alarm."""

    rejected_rate_percent: Annotated[float, Field(gt=0, le=100)] = 5
    """Share of rejected readings."""
    bad_metric_devices_percent: Annotated[float, Field(gt=0, le=100)] = 5
    """Share of devices that sent unusable metrics, counted in each upload."""
    skipped_objects: Annotated[int, Field(ge=1)] = 1
    """Objects whose key has none of `readings.suffixes`."""
    event_age_seconds: Annotated[int, Field(ge=1)] = 900
    """Age of an event when its run starts."""


class IotPipelineConfig(CommonOptions):
    """A pipeline that reads sensor readings from a bucket."""

    variant: Literal["iot"]
    """The variant of the pipeline."""
    readings: ReadingOptions = ReadingOptions()
    """Form and limits of readings and uploads."""
    thresholds: Mapping[MetricName, ThresholdOptions] = Field(default_factory=dict)
    """Limits by metric. Readings beyond them cause alerts."""
    silence: SilenceOptions | None = None
    """Alerts about devices that stop uploading. Default: silence causes no alert."""
    worker: ReadingWorkerOptions = ReadingWorkerOptions()
    """The function that reads uploads."""
    dead_letters: DeadLetterOptions = DeadLetterOptions()
    """Events whose retries are exhausted."""
    storage: ReadingStorageOptions
    """Protection and retention of the data."""
    alarms: ReadingAlarmOptions = ReadingAlarmOptions()
    """Alarm thresholds."""

    @model_validator(mode="after")
    def _memory_is_enough(self) -> Self:
        needed = MEMORY_MB + MEMORY_MB_A_MEGABYTE * self.readings.max_object_mb
        if self.worker.memory_mb < needed:
            raise ValueError(
                f"worker.memory_mb {self.worker.memory_mb} is too little for readings.max_object_mb "
                f"{self.readings.max_object_mb}: set at least {needed}",
            )
        return self

    @model_validator(mode="after")
    def _states_fit_into_an_item(self) -> Self:
        devices = {"", *(device_id for options in self.thresholds.values() for device_id in options.devices)}
        for device_id in sorted(devices):
            count = sum(
                (limits.min is not None) + (limits.max is not None)
                for options in self.thresholds.values()
                for limits in (
                    options.of_device(device_id) if device_id in options.devices else options.levels()
                ).values()
            )
            if count > LIMITS_A_DEVICE:
                raise ValueError(
                    f"thresholds: {device_id or 'a device'} has {count} limits; the state of a device has room for "
                    f"{LIMITS_A_DEVICE}",
                )
        return self

    @model_validator(mode="after")
    def _silent_devices_are_remembered(self) -> Self:
        kept_minutes = self.storage.readings_expire_after_days * MINUTES_A_DAY
        for device_id, minutes in self.silence.by_device().items() if self.silence else ():
            if minutes is not None and minutes >= kept_minutes:
                where = f"silence.devices.{device_id}" if device_id else "silence"
                raise ValueError(
                    f"{where}.after_minutes {minutes} must be below the {kept_minutes} minutes of "
                    f"storage.readings_expire_after_days, after which a silent device is forgotten",
                )
        return self

    def silence_json(self) -> str:
        """Return `{"": minutes, device_id: minutes}` for handlers/iot/silence.py; `{}`: silence is switched off."""
        return json.dumps(self.silence.by_device() if self.silence else {}, sort_keys=True)

    def form_json(self) -> str:
        """Return the form of readings for handlers/iot/forms.py."""
        readings = self.readings
        names = {"metric_names", "time_formats", "numbers_as_text", "partial"}
        return json.dumps({**readings.fields.paths(), **readings.model_dump(include=names)}, sort_keys=True)

    def thresholds_json(self) -> str:
        """Return `{metric: {"": levels, device_id: levels}}` for handlers/iot/thresholds.py; numbers are exact text."""
        thresholds = {
            metric: {
                device_id: {level: limits.model_dump(mode="json") for level, limits in levels.items()}
                for device_id, levels in options.by_device().items()
            }
            for metric, options in self.thresholds.items()
        }
        return json.dumps(thresholds, sort_keys=True)
