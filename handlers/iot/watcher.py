"""The function that runs each minute and finds the devices that have fallen silent.

It queries an index for the devices that are due, so it never scans the table, and reads their states. Each write of a
state is conditional: of watchers and workers that race for a device one wins. handlers/iot/silence.py decides.
"""

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import islice
from math import ceil

from handlers.iot import notices
from handlers.iot.settings import IotWatcherSettings
from handlers.iot.silence import (
    SILENCE_ALERT_KINDS,
    SILENCE_FILE,
    SilenceAlert,
    Silences,
    told,
    watched,
)
from handlers.iot.table import ReadingTable, StoredState
from handlers.shared import metrics
from handlers.shared.alerts import AlertTopic
from handlers.shared.backoff import backoff
from handlers.shared.context import LambdaContext
from handlers.shared.dynamodb import outside_errors
from handlers.shared.log import logger, write_record

# Longer than a run may take (components/variants/iot.py). The first run after it publishes what a dead run left.
LEASE_SECONDS = 120
# The rest of the minute is for publishing, and for recording that. The next run finds the devices that are left.
CLAIM_SECONDS = 25
DEVICES_A_ROUND = 1_000
# Attempts to record that alerts are out, while workers change the same states.
RECORD_ROUNDS = 8
LOGGED = 20


class NotRecordedError(Exception):
    """The table could not be told that alerts are out. They are published again after their lease."""


@dataclass
class Watch:
    """The devices of one run whose first alert it is to publish.

    `complete`: the run looked at all devices that were due. `failure`: why it did not, if the table refused.
    """

    claimed: dict[str, StoredState] = field(default_factory=dict)
    complete: bool = True
    failure: Exception | None = None


class Watcher:
    """Publishes the alerts of devices that fall silent, and of those that are back.

    `service` names the pipeline in alerts.
    """

    def __init__(self, settings: IotWatcherSettings, silences: Silences, service: str) -> None:
        self._topic = AlertTopic.of(settings, service)
        self._silences = silences
        self._service = service
        self._table = ReadingTable(settings.table_name)

    def run(self, run_id: str) -> None:
        """Look at the devices that are due. Raises what the table refused, NotPublishedError and NotRecordedError."""
        watch = self._claim(time.time())
        published: dict[str, SilenceAlert] = {}
        for kind in SILENCE_ALERT_KINDS:
            alerts = {
                device: alert
                for device, stored in watch.claimed.items()
                if (alert := first_alert(stored)) and alert.kind == kind
            }
            devices = notices.publish_silences(self._topic, kind, alerts)
            # Recorded before the next message, so that a run that dies then repeats nothing.
            self._record({device: watch.claimed[device] for device in devices}, alerts)
            published |= {device: alerts[device] for device in devices}
        _report(run_id, watch, published)
        if watch.failure is not None:
            raise watch.failure
        if missing := len(watch.claimed) - len(published):
            raise notices.NotPublishedError(f"the topic did not take the alerts of {missing} devices")

    def _claim(self, now: float) -> Watch:
        """Decide about the devices that are due; return those with an alert that is now this run's to publish."""
        watch = Watch()
        try:
            for devices in _chunks(self._table.due(now), DEVICES_A_ROUND):
                if time.time() > now + CLAIM_SECONDS:
                    watch.complete = False
                    break
                watch.claimed |= self._decide(devices, now)
        except outside_errors() as error:
            # What is claimed is published nevertheless: a table that throttles each run must not hold alerts back.
            watch.complete, watch.failure = False, error
        return watch

    def _decide(self, devices: Iterable[str], now: float) -> dict[str, StoredState]:
        """Write the states that change, each if nobody else was quicker. Returns those with an alert to publish."""
        lease_until = ceil(now + LEASE_SECONDS)
        changes = {}
        for device, stored in self._table.states(devices).items():
            hearing = watched(stored.state.hearing, self._silences, device, now, lease_until)
            # The index may still have an item that has expired.
            if stored.revision and (hearing != stored.state.hearing or stored.is_misplaced):
                changes[device] = (stored, replace(stored.state, hearing=hearing))
        return {
            device: stored
            for device, stored in self._table.replace_states(changes).items()
            # One that only moves in the index may have an alert that another run is about to publish.
            if first_alert(stored) and stored.state.hearing != changes[device][0].state.hearing
        }

    def _record(self, known: dict[str, StoredState], published: Mapping[str, SilenceAlert]) -> None:
        """Write of the devices in `known` that their alerts are out. Another writer may be quicker than we are."""
        left = set(known)
        for attempt in range(RECORD_ROUNDS):
            if not left:
                return
            time.sleep(backoff(attempt, 0.04, 1) if attempt else 0)
            try:
                known |= self._table.states(left - known.keys())
                changes = {}
                for device in left:
                    stored, alert = known.pop(device), published[device]
                    hearing = told(stored.state.hearing, self._silences, device, (alert,), time.time())
                    if hearing != stored.state.hearing:
                        changes[device] = (stored, replace(stored.state, hearing=hearing))
                left = changes.keys() - self._table.replace_states(changes).keys()
            except outside_errors():
                # An alert that is out must be recorded if at all possible. Conditions find out what was written.
                logger.warning("the states of silent devices were not written", exc_info=True)
        if left:
            raise NotRecordedError(f"the states of {len(left)} devices, {min(left)} among them, were not written")


def first_alert(stored: StoredState) -> SilenceAlert | None:
    """Return the alert of a device that is to be published first, None if there is none."""
    hearing = stored.state.hearing
    return hearing.pending[0] if hearing is not None and hearing.pending else None


def _chunks(devices: Iterable[str], size: int) -> Iterator[list[str]]:
    devices = iter(devices)
    while chunk := list(islice(devices, size)):
        yield chunk


def _report(run_id: str, watch: Watch, published: Mapping[str, SilenceAlert]) -> None:
    if not watch.claimed and watch.complete:
        return
    kinds = Counter(alert.kind for alert in published.values())
    metrics.emit(
        {"Silences": kinds["silent"], "Returns": kinds["returned"], "IncompleteWatches": int(not watch.complete)}
    )
    alerts = [{"kind": alert.kind, "device_id": device} for device, alert in islice(published.items(), LOGGED)]
    facts = {"complete": watch.complete, "alerts": alerts, "more_alerts": len(published) - len(alerts)}
    write_record("watch", correlation_id=run_id, **facts)


@cache
def _watcher() -> Watcher:
    silences = Silences.from_json(SILENCE_FILE.read_text())
    return Watcher(IotWatcherSettings.from_environment(), silences, os.environ["POWERTOOLS_SERVICE_NAME"])


def handler(_event: Mapping[str, object], context: LambdaContext) -> None:
    """The Lambda entry point."""
    _watcher().run(context.aws_request_id)
