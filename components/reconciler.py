"""The scheduled function that notes in the table what SQS has moved to the dead letters."""

from components.function import Size
from components.notifications import Notifications
from components.observability import Alarm, own_metric
from components.options.api import ApiPipelineConfig
from components.options.common import SECONDS_A_DAY
from components.part import Part
from components.queue import Queue
from components.runtime import Runtime
from components.scheduled_function import ScheduledFunction, Timetable
from components.table import Table

# It ends before the next run begins: two would hide letters from each other.
SIZE = Size(memory_mb=512, timeout_seconds=240)
EVERY_MINUTES = 5
STOPPED_AFTER_SECONDS = 900


def reconciler_part(
    name: str,
    config: ApiPipelineConfig,
    *,
    queue: Queue,
    table: Table,
    alerts: Notifications,
    adds: Part,
    runtime: Runtime,
) -> Part:
    """Events whose messages SQS gave up become `failed`, which is told; those whose messages are lost are counted.

    `adds`: what else is told of outcomes.

    It may look at dead letters and show them again, and has no right to delete one.
    """
    if config.queue.reconciler is None:
        return Part()
    scheduled = ScheduledFunction(
        name,
        {"every-5-minutes": Timetable(f"rate({EVERY_MINUTES} minutes)", STOPPED_AFTER_SECONDS)},
        handler="handlers.api.reconciler.handler",
        runtime=runtime,
        size=SIZE,
        grants=[
            queue.grant_look_at_dead_letters(),
            table.grant_read(),
            table.grant_complete(),
            *([table.grant_list()] if config.finds_stuck_events else []),
            alerts.grant_alert(config.alarms.runbook),
            *adds.outcome_grants,
        ],
        environment={
            "TIME_INDEX_SHARDS": str(config.storage.time_index_shards),
            "ITEMS_EXPIRE_AFTER_DAYS": str(config.storage.items_expire_after_days),
            **({"LOST_AFTER_SECONDS": str(config.lost_after_seconds)} if config.finds_stuck_events else {}),
        },
        opts=runtime.opts,
    )
    retention_seconds = config.queue.dead_letter_retention_days * SECONDS_A_DAY
    # SQS's own age leaves out messages that were received three times, which the looks of this function soon are.
    oldest = Alarm(
        "A dead letter expires soon, and its data is lost: redrive it.",
        own_metric("OldestDeadLetterSeconds", runtime.service, "Maximum"),
        threshold=retention_seconds * config.alarms.dead_letter_age_percent_of_retention / 100,
        section="oldest-dead-letter",
        step="dead letters",
        severity="critical",
    )
    stuck = Alarm(
        "Events wait for messages that are lost: nothing processes them.",
        own_metric("StuckEvents", runtime.service, "Maximum"),
        threshold=1,
        section="stuck-events",
        step="queue",
        severity="critical",
        latched=True,
    )
    return Part(
        functions=[scheduled.function],
        alarms={
            **scheduled.alarms("reconciler", config.alarms),
            "oldest-dead-letter": oldest,
            **({"stuck-events": stuck} if config.finds_stuck_events else {}),
        },
    )
