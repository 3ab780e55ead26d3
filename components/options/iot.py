"""Options of the `iot` variant."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from components.options.api import ExistingSchema
from components.options.common import CommonOptions, FunctionAlarmOptions, Options, ProtectionOptions

# What handlers/iot/readings.py takes for names.
DeviceId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]
MetricName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")]
# What the worker takes without an object, and for each megabyte of one: its bytes, its text (four bytes a character if
# one of them needs four), its readings. Measured: benchmarks/iot.py.
MEMORY_MB = 128
MEMORY_MB_A_MEGABYTE = 15

Severity = Literal["info", "warning", "critical"]


class LimitOptions(Options):
    """When a metric of one device is out of bounds, where that differs; `null` takes a limit away."""

    min: Decimal | None = None
    max: Decimal | None = None
    hysteresis: Annotated[Decimal, Field(ge=0)] = Decimal(0)
    """So far back within a limit a reading must be before the metric has recovered."""
    cooldown_minutes: Annotated[int, Field(ge=0, le=10_080)] = 15
    """Between two alerts that the metric crossed the limit, by the readings' own times."""
    severity: Severity = "warning"


class ThresholdOptions(LimitOptions):
    """When a metric is out of bounds, and for whom something else holds."""

    devices: Mapping[DeviceId, LimitOptions] = Field(default_factory=dict)
    """What differs for single devices."""

    def of_all(self) -> LimitOptions:
        """What holds for every device that has nothing of its own."""
        return LimitOptions(**{name: getattr(self, name) for name in LimitOptions.model_fields})

    def by_device(self) -> dict[str, LimitOptions]:
        """What holds, under the device's id; for all others under an empty one."""
        return {"": self.of_all(), **{device_id: self.of_device(device_id) for device_id in self.devices}}

    def of_device(self, device_id: str) -> LimitOptions:
        """What holds for one device: what it has of its own, and the rest as for all."""
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
    """What is taken from an upload. More is refused as a whole, and recorded."""

    suffixes: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)] = (
        ".json",
        ".jsonl",
        ".gz",
    )
    """The objects below `readings/` that are taken, by the end of their key."""
    max_object_mb: Annotated[int, Field(ge=1, le=256)] = 32
    """Of text, also of what a gzip grows to."""
    max_per_object: Annotated[int, Field(ge=1, le=1_000_000)] = 100_000
    max_ahead_seconds: Annotated[int, Field(ge=0, le=86_400)] = 300
    """So far a device's clock may run ahead of the time of the upload."""
    device_in_key: bool = False
    """Reject readings of a device that the key `readings/{device_id}/...` does not name, so that rights on a prefix
    are an identity."""
    reading_schema: Literal["none"] | ExistingSchema = "none"
    """A JSON Schema (a path) that each reading must satisfy as well, as `{device_id, timestamp, metrics}`."""

    @model_validator(mode="after")
    def _suffixes_are_apart(self) -> Self:
        for one in self.suffixes:
            for other in self.suffixes:
                # https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-how-to-filtering.html
                if one is not other and one.endswith(other):
                    raise ValueError(f"S3 takes no suffixes of which one ends in the other: {one!r}, {other!r}")
        return self


class ReadingWorkerOptions(Options):
    """The function that S3 invokes for each upload."""

    memory_mb: Annotated[int, Field(ge=128, le=10_240)] = 1_024
    timeout_seconds: Annotated[int, Field(ge=10, le=900)] = 300
    retries: Annotated[int, Field(ge=0, le=2)] = 2
    """Of a run that failed, before its event goes to the dead letters."""
    max_event_age_seconds: Annotated[int, Field(ge=60, le=21_600)] = 21_600
    """After it an event goes to the dead letters, tried or not."""


class DeadLetterOptions(Options):
    """Events of runs that failed for good."""

    retention_days: Annotated[int, Field(ge=1, le=14)] = 14


class ReadingStorageOptions(ProtectionOptions):
    """Table and bucket."""

    readings_expire_after_days: Annotated[int, Field(ge=1, le=3_650)] = 90
    """From the upload, not from the reading's own time: what is uploaded late is kept as long."""
    uploads_expire_after_days: Annotated[int, Field(ge=1, le=3_650)] | None = 90
    rejected_expire_after_days: Annotated[int, Field(ge=1, le=3_650)] | None = 90
    """`null`: for good."""


class ReadingAlarmOptions(FunctionAlarmOptions):
    """When alarms ring; what each one watches is in docs/iot.md."""

    rejected_rate_percent: Annotated[float, Field(gt=0, le=100)] = 5
    event_age_seconds: Annotated[int, Field(ge=1)] = 900


class IotPipelineConfig(CommonOptions):
    """A pipeline that takes sensor readings from a bucket."""

    variant: Literal["iot"]
    readings: ReadingOptions = ReadingOptions()
    thresholds: Mapping[MetricName, ThresholdOptions] = Field(default_factory=dict)
    worker: ReadingWorkerOptions = ReadingWorkerOptions()
    dead_letters: DeadLetterOptions = DeadLetterOptions()
    storage: ReadingStorageOptions
    alarms: ReadingAlarmOptions = ReadingAlarmOptions()

    @model_validator(mode="after")
    def _memory_is_enough(self) -> Self:
        needed = MEMORY_MB + MEMORY_MB_A_MEGABYTE * self.readings.max_object_mb
        if self.worker.memory_mb < needed:
            raise ValueError(
                f"worker.memory_mb {self.worker.memory_mb} is too little for readings.max_object_mb "
                f"{self.readings.max_object_mb}: it takes {needed}",
            )
        return self

    def thresholds_json(self) -> str:
        """`{metric: {"": limits, device_id: limits}}` for handlers/iot/thresholds.py; numbers are exact text."""
        thresholds = {
            metric: {device_id: limits.model_dump(mode="json") for device_id, limits in options.by_device().items()}
            for metric, options in self.thresholds.items()
        }
        return json.dumps(thresholds, sort_keys=True)
