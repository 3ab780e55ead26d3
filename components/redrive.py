"""The function that shows dead letters and sends them back, and its routes."""

import pulumi
from pulumi import ResourceOptions

from components.api import Backend, Route
from components.function import Function, Runtime, Size
from components.grants import Grant
from components.queue import Queue

REDRIVE_ROUTES: tuple[Route, ...] = (("GET", "/redrive/preview"), ("POST", "/redrive/start"))

# As long as API Gateway waits. What is not done by then is for the next request.
SIZE = Size(memory_mb=512, timeout_seconds=29)


def redrive_backend(
    name: str,
    *,
    handler: str,
    code: pulumi.Archive,
    runtime: Runtime,
    queue: Queue,
    read_table: Grant,
    opts: ResourceOptions,
) -> Backend:
    """The backend of an API with the routes of redrive; they want signed requests, however open the API is else.

    `read_table`: to learn there what went wrong.
    """
    function = Function(
        name,
        handler=handler,
        code=code,
        runtime=runtime,
        size=SIZE,
        grants=[queue.grant_take_dead_letters(), queue.grant_send(), read_table],
        environment={},
        opts=opts,
    )
    return Backend(function, REDRIVE_ROUTES, label="redrive", signed=True)
