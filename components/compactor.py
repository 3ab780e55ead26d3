"""The scheduled function that merges the small objects of the archive."""

from components.bucket import Bucket
from components.function import Size
from components.options.api import ApiPipelineConfig
from components.part import Part
from components.runtime import Runtime
from components.scheduled_function import ScheduledFunction, Timetable

# What it merges at once is in memory several times. It ends before the next run begins.
SIZE = Size(memory_mb=1_024, timeout_seconds=900)
# Reports are at five past.
EXPRESSION = "cron(35 * * * ? *)"
STOPPED_AFTER_SECONDS = 2 * 3_600


def compactor_part(name: str, config: ApiPipelineConfig, *, bucket: Bucket, prefix: str, runtime: Runtime) -> Part:
    """Small objects of the archive, which is below `prefix`, become one for each type and hour."""
    if config.storage.archive is None or config.storage.archive.compaction is None:
        return Part()
    scheduled = ScheduledFunction(
        name,
        {"hourly": Timetable(EXPRESSION, STOPPED_AFTER_SECONDS)},
        handler="handlers.api.compactor.handler",
        runtime=runtime,
        size=SIZE,
        grants=[bucket.grant_list(), bucket.grant_read(prefix), bucket.grant_write(prefix), bucket.grant_merge(prefix)],
        environment={},
        opts=runtime.opts,
    )
    return Part(functions=[scheduled.function], alarms=scheduled.alarms("compactor", config.alarms))
