"""The readings of an object, and what was rejected. Contains no AWS code."""

from dataclasses import dataclass, field
from datetime import datetime

from handlers.iot.forms import Form, Objection, joined
from handlers.iot.object_text import values
from handlers.iot.readings import InvalidReadingError, Reading, Rejection, UnusableObjectError

# Length at which a rejected text is cut.
KEPT_CHARACTERS = 2_000

STANDARD_FORM = Form()


@dataclass(frozen=True, slots=True)
class Contents:
    """Contents of an object.

    `readings` has each reading once, and `repeated` counts those that were in the object again.
    `devices_with_bad_metrics`: devices that have a reading in it that was kept without some of its metrics.
    """

    readings: list[Reading]
    repeated: int
    rejections: list[Rejection]
    devices_with_bad_metrics: set[str] = field(default_factory=set)

    @property
    def devices(self) -> set[str]:
        """The devices of the readings."""
        return {reading.device_id for reading in self.readings}

    @property
    def rejected_readings(self) -> int:
        """The number of values that were rejected as a whole."""
        return sum(not rejection.metrics for rejection in self.rejections)

    @property
    def partial_readings(self) -> int:
        """The number of readings that were kept without some of their metrics."""
        return len(self.rejections) - self.rejected_readings


def read(
    text: str,
    *,
    latest: datetime,
    maximum_readings: int,
    form: Form = STANDARD_FORM,
    objection: Objection | None = None,
) -> Contents:
    """Return what an object's text holds. Raises UnusableObjectError.

    `latest` is the latest time that a reading may have: a clock that runs ahead would make all that follows look late.
    `objection` returns what else is wrong with a reading, such as what the stack's own schema says.
    """
    readings: dict[tuple[str, str], Reading] = {}
    rejections: list[Rejection] = []
    devices_with_bad_metrics: set[str] = set()
    rejected = 0
    position = -1
    for position, (value, start, end) in enumerate(values(text)):
        if position == maximum_readings:
            raise UnusableObjectError(
                f"the object holds more than {maximum_readings} readings (readings.max_per_object)"
            )
        try:
            reading, bad = form.parsed(value, latest, objection)
        except InvalidReadingError as error:
            rejections.append(Rejection(position, str(error), text[start : min(end, start + KEPT_CHARACTERS)]))
            rejected += 1
            continue
        readings[reading.device_id, reading.time_key] = reading
        if bad:
            names = tuple(each.name for each in bad)
            rejections.append(Rejection(position, joined(bad), text[start : min(end, start + KEPT_CHARACTERS)], names))
            devices_with_bad_metrics.add(reading.device_id)
    if position < 0:
        raise UnusableObjectError("the object holds no reading")
    repeated = position + 1 - len(readings) - rejected
    return Contents(list(readings.values()), repeated, rejections, devices_with_bad_metrics)
