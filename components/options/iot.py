"""Options of the `iot` variant."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from components.options.common import CommonOptions, FunctionAlarmOptions, Options, ProtectionOptions
from components.options.schemas import ExistingSchema

# Names that handlers/iot/readings.py accepts.
DeviceId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]
MetricName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")]
# Memory of the worker without an object, and for each megabyte of one: its bytes, its text (up to four bytes per
# character) and its readings. Measured by benchmarks/iot.py.
MEMORY_MB = 128
MEMORY_MB_A_MEGABYTE = 15

Severity = Literal["info", "warning", "critical"]


class LimitOptions(Options):
    """Limits of a metric. For a single device, `null` removes a limit that holds for all."""

    min: Decimal | None = None
    """Readings below it are out of bounds. Default: no lower limit."""
    max: Decimal | None = None
    """Readings above it are out of bounds. Default: no upper limit."""
    hysteresis: Annotated[Decimal, Field(ge=0)] = Decimal(0)
    """Distance inside the limit that ends an alert."""
    cooldown_minutes: Annotated[int, Field(ge=0, le=10_080)] = 15
    """Shortest time between two alerts, measured by the readings' own timestamps."""
    severity: Severity = "warning"
    """Severity of the alerts."""


class ThresholdOptions(LimitOptions):
    """Limits of a metric, and their overrides for single devices."""

    devices: Mapping[DeviceId, LimitOptions] = Field(default_factory=dict)
    """Overrides by device id."""

    def of_all(self) -> LimitOptions:
        """Return the limits of devices without overrides."""
        return LimitOptions(**{name: getattr(self, name) for name in LimitOptions.model_fields})

    def by_device(self) -> dict[str, LimitOptions]:
        """Return the limits of each device with overrides by its id, and those of all others under an empty id."""
        return {"": self.of_all(), **{device_id: self.of_device(device_id) for device_id in self.devices}}

    def of_device(self, device_id: str) -> LimitOptions:
        """Return the limits of a device: its overrides, and the common limits where it has none."""
        return self.of_all().model_copy(update=self.devices[device_id].model_dump(exclude_unset=True))

    @model_validator(mode="after")
    def _limits_leave_room(self) -> Self:
        everywhere = self.by_device()
        for device_id, limits in everywhere.items():
            where = f"devices.{device_id}: " if device_id else ""
            if limits.min is None or limits.max is None:
                continue
            if limits.min + limits.hysteresis > limits.max - limits.hysteresis:
                raise ValueError(
                    f"{where}min {limits.min} and max {limits.max} leave no room for a hysteresis of "
                    f"{limits.hysteresis} on both sides",
                )
        if all(limits.min is None and limits.max is None for limits in everywhere.values()):
            raise ValueError("needs min or max, or a device that has one")
        return self


class ReadingOptions(Options):
    """Limits of an upload. An upload beyond them is rejected as a whole, and recorded."""

    suffixes: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)] = (
        ".json",
        ".jsonl",
        ".gz",
    )
    """Key suffixes of the objects below `readings/` that are read."""
    max_object_mb: Annotated[int, Field(ge=1, le=256)] = 32
    """Size of the text, after decompression."""
    max_per_object: Annotated[int, Field(ge=1, le=1_000_000)] = 100_000
    """Readings in one object."""
    max_ahead_seconds: Annotated[int, Field(ge=0, le=86_400)] = 300
    """Tolerance for timestamps later than the time of the upload."""
    device_in_key: bool = False
    """Reject readings of devices other than the one in the key `readings/{device_id}/...`, so that write access to a
    prefix identifies the device."""
    reading_schema: Literal["none"] | ExistingSchema = "none"
    """Path of a JSON Schema that each reading, `{device_id, timestamp, metrics}`, must satisfy. `none`: no schema."""

    @model_validator(mode="after")
    def _suffixes_do_not_overlap(self) -> Self:
        for one in self.suffixes:
            for other in self.suffixes:
                # https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-how-to-filtering.html
                if one is not other and one.endswith(other):
                    raise ValueError(
                        f"S3 does not accept overlapping suffixes: {one!r} ends with {other!r}; remove one"
                    )
        return self


class ReadingWorkerOptions(Options):
    """The function that S3 invokes for each upload."""

    memory_mb: Annotated[int, Field(ge=128, le=10_240)] = 1_024
    """Memory of the function."""
    timeout_seconds: Annotated[int, Field(ge=10, le=900)] = 300
    """Time limit of one run."""
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
    event_age_seconds: Annotated[int, Field(ge=1)] = 900
    """Age of an event when its run starts."""


class IotPipelineConfig(CommonOptions):
    """A pipeline that reads sensor readings from a bucket."""

    variant: Literal["iot"]
    """The variant of the pipeline."""
    readings: ReadingOptions = ReadingOptions()
    """Limits of an upload."""
    thresholds: Mapping[MetricName, ThresholdOptions] = Field(default_factory=dict)
    """Limits by metric. Readings beyond them cause alerts."""
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

    def thresholds_json(self) -> str:
        """Return `{metric: {"": limits, device_id: limits}}` for handlers/iot/thresholds.py; numbers are exact text."""
        thresholds = {
            metric: {device_id: limits.model_dump(mode="json") for device_id, limits in options.by_device().items()}
            for metric, options in self.thresholds.items()
        }
        return json.dumps(thresholds, sort_keys=True)
