"""Environment settings of the iot variant's functions."""

from dataclasses import dataclass

from handlers.shared.settings import AlertSettings


@dataclass(frozen=True, kw_only=True)
class IotWorkerSettings(AlertSettings):
    """Of the worker that takes uploaded readings."""

    table_name: str
    bucket_name: str
    max_object_bytes: int
    max_readings: int
    max_ahead_seconds: int
    readings_expire_after_days: int
    max_alert_age_minutes: int = 0
    """Age of a reading at its upload up to which it causes alerts of crossings. 0: any age."""
    suffixes: str = ""
    """Suffixes of the objects that are read, separated by spaces. Empty: all objects are read."""
    device_in_key: bool = False
    """Whether a reading's device must be the one that the key names: `readings/{device_id}/...`."""


@dataclass(frozen=True, kw_only=True)
class IotWatcherSettings(AlertSettings):
    """Settings of the watcher of silent devices."""

    table_name: str
