"""The function that S3 invokes when an object arrives: stores its readings, records what is none, alerts at crossings.

Invoked asynchronously: Lambda tries a failed run again, twice, and then puts the event with the dead letters. So a run
that dies anywhere comes again with the same event, and the steps are such that this loses nothing and doubles nothing:
what was refused and what was read are written under keys that follow from the upload, so a repeat overwrites itself;
the alert state takes each reading once, and an alert is part of it until it is published (handlers/iot/alerting.py).
What is wrong with an object or a reading is recorded and ends there; only what a service refuses is tried again.
"""

import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from handlers.iot import notices, objects
from handlers.iot.alerting import Claim, DeviceState, advanced, earliest_told
from handlers.iot.contents import Contents, read
from handlers.iot.forms import Form, Objection
from handlers.iot.notices import NotPublishedError
from handlers.iot.object_text import decoded
from handlers.iot.objects import Upload
from handlers.iot.readings import Reading, Rejection, UnusableObjectError, not_after, timestamp_of
from handlers.iot.settings import IotWorkerSettings
from handlers.iot.silence import SILENCE_FILE, Silences, heard
from handlers.iot.table import ReadingTable, StoredState
from handlers.iot.thresholds import Alert, Thresholds
from handlers.shared import metrics
from handlers.shared.alerts import AlertTopic
from handlers.shared.backoff import backoff
from handlers.shared.context import LambdaContext
from handlers.shared.dynamodb import outside_errors
from handlers.shared.keys import has_suffix
from handlers.shared.log import logger, write_record

THRESHOLDS_FILE = Path(__file__).parents[2] / "thresholds.json"
SCHEMA_FILE = Path(__file__).parents[2] / "schema.json"
FORM_FILE = Path(__file__).parents[2] / "form.json"
SECONDS_A_DAY = 86_400

# A run publishes what it claimed within PUBLISH_SECONDS; the rest of the lease is for a call that may be under way.
LEASE_SECONDS = 120
PUBLISH_SECONDS = 60
# Rounds in a row in which other workers were quicker for every device.
STALLED_ROUNDS = 20
FAILED_ROUNDS = 3
# Of each kind, so many in the log line; the rest is in the records and the table.
LOGGED = 20


class ContendedError(Exception):
    """Other runs kept changing the state of a device, or have alerts of this object to publish. Lambda tries again."""


@dataclass(frozen=True)
class Outcome:
    """Result of an object, for the log and the metrics."""

    contents: Contents
    rejections_key: str
    alerts: Sequence[Alert]


class IotWorker:
    """Stores the readings of uploaded objects and publishes the alerts that they cause.

    `service` names the pipeline in alerts. `schema` is the JSON Schema of a reading; an empty one accepts all. `form`
    says where a value has its device, time and metrics.
    """

    def __init__(
        self,
        settings: IotWorkerSettings,
        thresholds: Thresholds,
        silences: Silences,
        service: str,
        schema: Mapping[str, Any],
        form: Form,
    ) -> None:
        self._settings = settings
        self._form = form
        self._objection = objection_of(schema) if schema else None
        self._service = service
        self._thresholds = thresholds
        self._silences = silences
        self._table = ReadingTable(settings.table_name)

    def handle(self, event: Mapping[str, Any], run: str) -> None:
        """Takes the objects of a notification. Raises what a service refused, so that Lambda tries again."""
        # What S3 sends when a notification is set up has no records.
        for record in event.get("Records", ()):
            upload = Upload.from_record(record)
            if has_suffix(upload.key, self._settings.suffixes):
                _report(upload, run, self._take(upload, run))
            else:
                _report_skipped(upload, run)

    def _take(self, upload: Upload, run: str) -> Outcome:
        contents = self._contents(upload)
        rejections_key = ""
        if contents.rejections:
            rejections_key = objects.put_rejections(self._settings.bucket_name, upload, contents.rejections)
        arrived_at = int(upload.arrived_at.timestamp())
        expires_at = arrived_at + self._settings.readings_expire_after_days * SECONDS_A_DAY
        self._table.put(contents.readings, upload.source, arrived_at, expires_at)
        not_before = earliest_told(upload.arrived_at, self._settings.max_alert_age_minutes)
        alerting = Alerting(
            self._table, self._thresholds, self._silences, self._publish, run, upload, expires_at, not_before
        )
        current = [not_after(reading, upload.arrived_at) for reading in contents.readings]
        return Outcome(contents, rejections_key, alerting.take(current))

    def _publish(self, alerts: Sequence[Alert]) -> list[Alert]:
        return notices.publish_alerts(AlertTopic.of(self._settings, self._service), alerts)

    def _contents(self, upload: Upload) -> Contents:
        settings = self._settings
        try:
            text = decoded(objects.chunks(upload), settings.max_object_bytes)
            latest = upload.arrived_at + timedelta(seconds=settings.max_ahead_seconds)
            objection = self._objection
            if settings.device_in_key:
                objection = of_the_keys_device(upload.key, objection)
            return read(
                text, latest=latest, maximum_readings=settings.max_readings, form=self._form, objection=objection
            )
        except UnusableObjectError as error:
            return Contents([], 0, [Rejection(None, str(error), "")])


def of_the_keys_device(key: str, others: Objection | None) -> Objection:
    """Return the objection to readings of a device that the key `readings/{device_id}/...` does not name."""
    _, _, rest = key.partition("/")
    device_id, slash, _ = rest.partition("/")

    def objection(reading: Reading) -> str | None:
        if not slash or reading.device_id != device_id:
            return "the key names another device; keys are readings/{device_id}/..."
        return others(reading) if others else None

    return objection


def objection_of(schema: Mapping[str, Any]) -> Objection:
    """Return a JSON Schema's objection to a reading as `{"device_id", "timestamp", "metrics": {name: number}}`."""
    from handlers.shared.schemas import compile_schemas  # noqa: PLC0415  a cold start without a schema does not pay for it

    validate = compile_schemas({"": schema})[""]

    def objection(reading: Reading) -> str | None:
        seen = {
            "device_id": reading.device_id,
            "timestamp": timestamp_of(reading.time_key),
            # Floats, as JSON Schema has them; what is stored is the exact number.
            "metrics": {name: float(number) for name, number in reading.metrics.items()},
        }
        return "; ".join(f"{problem['path']} {problem['message']}" for problem in validate(seen)) or None

    return objection


class Alerting:
    """Takes the readings of one object into the states of their devices, and publishes the alerts that follow.

    In rounds: decide and claim in one conditional write for each device, publish, and write that it is published.
    A device whose state somebody else changed meanwhile is read and decided again.

    `publish` publishes at most ten alerts and returns those that the topic took; `run` is the Claim's, and its source
    is the upload. Crossings of readings with a key before `not_before` are not told.
    """

    def __init__(
        self,
        table: ReadingTable,
        thresholds: Thresholds,
        silences: Silences,
        publish: Callable[[Sequence[Alert]], list[Alert]],
        run: str,
        upload: Upload,
        expires_at: int,
        not_before: str,
    ) -> None:
        self._table = table
        self._thresholds = thresholds
        self._silences = silences
        self._publish = publish
        self._run = run
        self._source = upload.id
        self._arrived_at = upload.arrived_at.timestamp()
        self._expires_at = expires_at
        self._not_before = not_before
        # What the table has, as far as we know.
        self._stored: dict[str, StoredState] = {}
        self._published: set[Alert] = set()

    def take(self, readings: Sequence[Reading]) -> Sequence[Alert]:
        """Returns the alerts that were published. Raises ContendedError and NotPublishedError."""
        left = self._by_device(readings)
        stalled = refused = failed = 0
        while left:
            try:
                written, missing = self._round(left)
                failed = 0
            except outside_errors():
                # An alert that is out must be marked as such if at all possible. Conditions find out what was written.
                failed += 1
                if failed == FAILED_ROUNDS:
                    raise
                logger.warning("the alert states were not read or written", exc_info=True)
                written = missing = 0
            stalled = 0 if written else stalled + 1
            refused = refused + 1 if missing else 0
            if refused == FAILED_ROUNDS:
                raise NotPublishedError(f"the topic did not take {missing} alerts, {FAILED_ROUNDS} times")
            if stalled == STALLED_ROUNDS:
                raise ContendedError(
                    f"the states of {len(left)} devices, {next(iter(left))} among them, stayed in other hands",
                )
            if left and (stalled or refused):
                time.sleep(backoff(stalled + refused, 0.04, 1))
        return list(self._published)

    def _by_device(self, readings: Sequence[Reading]) -> dict[str, Sequence[Reading]]:
        """Return the readings of each device, oldest first. A device without thresholds may still have an alert."""
        devices: defaultdict[str, list[Reading]] = defaultdict(list)
        for reading in readings:
            devices[reading.device_id].append(reading)
        return {
            device: sorted(of_device, key=lambda reading: reading.time_key) for device, of_device in devices.items()
        }

    def _round(self, left: dict[str, Sequence[Reading]]) -> tuple[int, int]:
        """One round over the devices that are left; takes out those that are done.

        Returns how many states were written, and how many alerts the topic did not take.
        """
        self._stored |= self._table.states(device for device in left if device not in self._stored)
        now = time.time()
        claim = Claim(self._run, self._source, now + LEASE_SECONDS)
        changes: dict[str, tuple[StoredState, DeviceState]] = {}
        for device, readings in list(left.items()):
            stored = self._stored[device]
            if stored.state.held_by_another(claim, now):
                del self._stored[device]
                continue
            state = stored.state.taken_over(claim, now, self._published)
            state = advanced(state, self._thresholds, readings, claim, self._not_before)
            hearing = heard(state.hearing, self._silences, device, self._arrived_at, now)
            state = replace(state, hearing=hearing)
            # A state that does not change would expire, and an open alert with it.
            is_halfway = stored.expires_at < (now + self._expires_at) / 2
            if state == stored.state and not stored.is_misplaced and not is_halfway:
                del left[device]
            else:
                changes[device] = (stored, state)
        written = self._table.replace_states(changes, self._expires_at)
        claimed: list[Alert] = []
        for device, (_, state) in changes.items():
            if device not in written:
                # Somebody was quicker.
                del self._stored[device]
                continue
            self._stored[device] = written[device]
            alerts = state.ours(claim)
            claimed += alerts
            if alerts:
                # Taken. What is left to write is that they are published.
                left[device] = ()
            else:
                del left[device]
        if claimed and time.time() < now + PUBLISH_SECONDS:
            self._published.update(self._publish(claimed))
        return len(written), len([alert for alert in claimed if alert not in self._published])


def _report(upload: Upload, run: str, outcome: Outcome) -> None:
    contents = outcome.contents
    metrics.emit(
        {
            "Objects": 1,
            "Received": len(contents.readings) + contents.repeated + contents.rejected_readings,
            "Stored": len(contents.readings),
            "Repeated": contents.repeated,
            "Rejected": contents.rejected_readings,
            "Partial": contents.partial_readings,
            "Devices": len(contents.devices),
            "DevicesWithBadMetrics": len(contents.devices_with_bad_metrics),
            "Alerts": len(outcome.alerts),
        },
        [(datetime.now(UTC) - upload.arrived_at).total_seconds() * 1_000],
    )
    write_record(
        "object",
        correlation_id=run,
        object=upload.key,
        version=upload.version,
        readings=len(contents.readings),
        repeated=contents.repeated,
        rejected=contents.rejected_readings,
        partial=contents.partial_readings,
        rejections=outcome.rejections_key,
        alerts=[asdict(alert) for alert in outcome.alerts[:LOGGED]],
    )


def _report_skipped(upload: Upload, run: str) -> None:
    if upload.key.endswith("/"):
        return
    metrics.emit({"Skipped": 1})
    logger.warning(
        "the object is not read: its key has none of readings.suffixes",
        extra={"correlation_id": run, "object": upload.key, "version": upload.version},
    )


@cache
def _worker() -> IotWorker:
    settings = IotWorkerSettings.from_environment()
    thresholds = Thresholds.from_json(THRESHOLDS_FILE.read_text())
    silences = Silences.from_json(SILENCE_FILE.read_text())
    schema = json.loads(SCHEMA_FILE.read_text())
    form = Form.from_json(FORM_FILE.read_text())
    return IotWorker(settings, thresholds, silences, os.environ["POWERTOOLS_SERVICE_NAME"], schema, form)


def handler(event: Mapping[str, Any], context: LambdaContext) -> None:
    """The Lambda entry point."""
    _worker().handle(event, context.aws_request_id)
