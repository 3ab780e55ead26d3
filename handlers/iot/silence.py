"""Silence: a device that stops uploading causes an alert, and another one when it is back. Contains no AWS code.

The time at which an upload arrives counts, not the time of its readings: a device with a slow clock is not silent, and
an upload that is processed late counts as of its arrival.

The worker records when a device was last heard. The watcher looks at a device when it is due, decides that it is
silent, and publishes the alerts of silences and of returns; the worker only records a return. So the alerts of a device
stay in order, and those of many devices become one message.

An alert is part of the device's state from the decision until it is known to be published. Meanwhile `due_at` is the
end of a lease: a watcher that runs beside the one that publishes leaves the alert alone, and the first run after the
lease publishes what a watcher that died left behind. A device is in one of these states:

    heard      not silent, nothing pending    due_at: when it can be silent at the earliest
    falling    silent, `silent` pending       due_at: the end of the lease
    silent     silent, nothing pending        due_at: none, until the next upload
    returning  not silent, `returned` pending due_at: now, or the end of a lease

A device that returns before its silence is known to be published has both alerts pending, in this order.
"""

import json
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any, Literal, Self

SILENCE_FILE = Path(__file__).parents[2] / "silence.json"
SECONDS_A_MINUTE = 60

SilenceAlertKind = Literal["silent", "returned"]
SILENCE_ALERT_KINDS: tuple[SilenceAlertKind, ...] = ("silent", "returned")


@dataclass(frozen=True, slots=True)
class SilenceAlert:
    """An alert about a device: `silent`, last heard at `heard_at`, or `returned`, heard again then (epoch seconds)."""

    kind: SilenceAlertKind
    heard_at: float


@dataclass(frozen=True, slots=True)
class Hearing:
    """Time at which a device was last heard, and whether it is silent. Times are epoch seconds.

    `pending`: alerts that are decided and not known to be published, in their order. `due_at`: when the watcher looks
    at the device; None: not before its next upload.
    """

    heard_at: float
    silent: bool = False
    due_at: int | None = None
    pending: tuple[SilenceAlert, ...] = ()

    @classmethod
    def from_stored(cls, given: Mapping[str, Any]) -> Self:
        """Of what `to_stored` returned, by way of JSON."""
        return cls(**{**given, "pending": tuple(SilenceAlert(**each) for each in given["pending"])})

    def to_stored(self) -> dict[str, object]:
        """Return values for JSON."""
        pending = [asdict(each) for each in self.pending]
        return {"heard_at": self.heard_at, "silent": self.silent, "due_at": self.due_at, "pending": pending}


class Silences:
    """After how many seconds without an upload a device is silent.

    `after_seconds` is by device; an empty id is for all devices without their own, and None stands for never. An empty
    mapping: silence is switched off, and there is no watcher.
    """

    def __init__(self, after_seconds: Mapping[str, int | None]) -> None:
        self._after_seconds = after_seconds

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read `{"": minutes, device: minutes}`."""
        return cls({device: minutes and minutes * SECONDS_A_MINUTE for device, minutes in json.loads(text).items()})

    @property
    def switched_on(self) -> bool:
        """Return True if there is a watcher."""
        return bool(self._after_seconds)

    def after_seconds(self, device_id: str) -> int | None:
        """Return the seconds after which a device is silent; None: never."""
        return self._after_seconds.get(device_id, self._after_seconds.get(""))


def heard(hearing: Hearing | None, silences: Silences, device_id: str, arrived_at: float, now: float) -> Hearing | None:
    """Return what is known of a device after an upload.

    A silent device is back if the upload is newer than the last one, and so recent that the device is not still silent:
    an upload that waited for hours is no return.
    """
    after_seconds = silences.after_seconds(device_id)
    if not silences.switched_on:
        return None
    if hearing is None:
        return _armed(Hearing(arrived_at), after_seconds)
    is_newer = arrived_at > hearing.heard_at
    hearing = replace(hearing, heard_at=max(arrived_at, hearing.heard_at))
    if hearing.silent and is_newer and (after_seconds is None or arrived_at + after_seconds > now):
        alert = SilenceAlert("returned", arrived_at)
        # The watcher publishes it; a lease that runs is left to the watcher that has it.
        due_at = hearing.due_at if hearing.pending else int(now)
        return replace(hearing, silent=False, due_at=due_at, pending=(*hearing.pending, alert))
    if after_seconds is None and not hearing.silent and not hearing.pending:
        return None
    return hearing


def watched(
    hearing: Hearing | None, silences: Silences, device_id: str, now: float, lease_until: int
) -> Hearing | None:
    """Return what is known of a device after the watcher looked at it. A device that is not due stays as it is.

    If alerts are pending then, the caller has the lease for the first one until `lease_until`.
    """
    if hearing is None or hearing.due_at is None or hearing.due_at > now:
        return hearing
    if hearing.pending:
        return replace(hearing, due_at=lease_until)
    after_seconds = silences.after_seconds(device_id)
    if after_seconds is None or hearing.heard_at + after_seconds > now:
        return _armed(hearing, after_seconds)
    alert = SilenceAlert("silent", hearing.heard_at)
    return replace(hearing, silent=True, due_at=lease_until, pending=(alert,))


def told(
    hearing: Hearing | None, silences: Silences, device_id: str, published: Container[SilenceAlert], now: float
) -> Hearing | None:
    """Return what is known of a device after alerts were published. An alert that was added meanwhile is due now."""
    if hearing is None or not any(each in published for each in hearing.pending):
        return hearing
    left = tuple(each for each in hearing.pending if each not in published)
    hearing = replace(hearing, pending=left)
    if left:
        return replace(hearing, due_at=int(now))
    if hearing.silent:
        return replace(hearing, due_at=None)
    return _armed(hearing, silences.after_seconds(device_id))


def _armed(hearing: Hearing, after_seconds: int | None) -> Hearing | None:
    """Return a device that is heard, due when it can be silent; None if it is not watched."""
    return None if after_seconds is None else replace(hearing, due_at=ceil(hearing.heard_at + after_seconds))
