"""The watcher of devices that fall silent."""

from components.function import Size
from components.notifications import Notifications
from components.observability import Alarm, counts_panel, own_metric
from components.options.iot import IotPipelineConfig
from components.part import Part
from components.reading_table import ReadingTable
from components.runtime import Runtime
from components.scheduled_function import ScheduledFunction, Timetable

# Alerts have a lease of two minutes (handlers/iot/watcher.py): a run must end before.
SIZE = Size(memory_mb=1_024, timeout_seconds=60)


def silence_part(
    name: str, config: IotPipelineConfig, *, table: ReadingTable, alerts: Notifications, runtime: Runtime
) -> Part:
    """A function that looks each minute which devices are silent, if `silence` is configured."""
    if config.silence is None:
        return Part()
    watcher = ScheduledFunction(
        name,
        {"every-minute": Timetable("rate(1 minute)", stopped_after_seconds=300)},
        handler="handlers.iot.watcher.handler",
        runtime=runtime,
        size=SIZE,
        grants=[table.grant_find_due(), table.grant_keep_states(), alerts.grant_alert(config.alarms.runbook)],
        environment={},
        opts=runtime.opts,
    )
    incomplete = Alarm(
        "The watcher does not get through all devices in a minute: silences are noticed late. Raise after_minutes.",
        own_metric("IncompleteWatches", runtime.service, "Sum"),
        threshold=1,
        section="watcher-incomplete",
        step="watcher",
    )
    return Part(
        functions=[watcher.function],
        alarms={"watcher-incomplete": incomplete, **watcher.alarms("watcher", config.alarms)},
        panels=[counts_panel("Silent devices", runtime.service, "Silences", "Returns")],
    )
