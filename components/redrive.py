"""The function that shows dead letters and redrives them, and its routes."""

from components.api import Backend, Route
from components.function import Function, Size
from components.grants import Grant
from components.options.api import ApiPipelineConfig
from components.options.csv import CsvPipelineConfig
from components.part import Part
from components.queue import Queue
from components.runtime import Runtime

REDRIVE_ROUTES: tuple[Route, ...] = (("GET", "/redrive/preview"), ("POST", "/redrive/start"))

# As long as API Gateway waits. The next request continues what is not done by then.
SIZE = Size(memory_mb=512, timeout_seconds=29)


def redrive_part(
    name: str,
    config: ApiPipelineConfig | CsvPipelineConfig,
    *,
    queue: Queue,
    read_table: Grant,
    runtime: Runtime,
) -> Part:
    """Routes that show dead letters and redrive them; they require signed requests, whatever `api.auth` says.

    `read_table`: the right to look up there why messages failed.
    """
    if not config.queue.redrive_api:
        return Part()
    function = Function(
        name,
        handler=f"handlers.{config.variant}.redrive.handler",
        runtime=runtime,
        size=SIZE,
        grants=[queue.grant_take_dead_letters(), queue.grant_send(), read_table],
        environment={},
        opts=runtime.opts,
    )
    return Part(
        functions=[function],
        backends=[Backend(function, REDRIVE_ROUTES, label="redrive", signed=True)],
        alarms=function.alarms("redrive", config.alarms),
    )
