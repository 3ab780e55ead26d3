"""The user's function: how it is found, and how it says no."""

import importlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from handlers.processor import Unavailable

Process = Callable[[Mapping[str, Any]], Any]

# Request Timeout and Too Many Requests: the server's own state, though they are numbered among the client's errors.
_OUTAGE_STATUSES = (408, 429)
_SERVER_ERROR = 500


class ProcessingTimeoutError(Exception):
    """A processor used up its share of the function's time. Transient, as far as anybody knows."""


class CircuitOpenError(Exception):
    """The circuit is open: the user's function was not run, and that is no attempt."""


def is_outage(error: BaseException) -> bool:
    """Whether an error of the user's function says that what it calls is out; others are the event's own.

    `OSError` is the base of the errors of connections: Python's own, urllib's and those of requests. Not an outage are
    a file that is not there, and an HTTP answer that blames the request.
    """
    if isinstance(error, Unavailable | ProcessingTimeoutError):
        return True
    if not isinstance(error, OSError):
        return False
    # urllib's HTTPError has the status itself, that of requests has the response.
    status = getattr(error, "code", None) or getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        return status in _OUTAGE_STATUSES or status >= _SERVER_ERROR
    return error.filename is None


def load_processor(name: str) -> Process:
    """The function `process(event) -> result` that `package.module:function` names."""
    module, _, function = name.partition(":")
    process: Process = getattr(importlib.import_module(module), function)
    return process


_holding: list[list[ProcessingTimeoutError]] = []


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises ProcessingTimeoutError in the block after `seconds`: one event that hangs does not take its batch along.

    Works in the main thread only, where Lambda runs handlers, and between two steps of Python: a call into C that does
    not come back is ended by Lambda's own timeout.
    """

    def stop(_signal: int, _frame: object) -> None:
        error = ProcessingTimeoutError(f"no result after {seconds:.1f} seconds")
        if not _holding:
            raise error
        _holding[-1].append(error)

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def time_limit_held() -> Iterator[None]:
    """A time limit that is reached in the block takes effect at its end.

    For calls of AWS: botocore takes whatever is raised in one for a broken connection, and tries again.
    """
    if threading.current_thread() is not threading.main_thread():
        # A limit is the main thread's.
        yield
        return
    reached: list[ProcessingTimeoutError] = []
    _holding.append(reached)
    try:
        yield
    finally:
        _holding.pop()
        if reached:
            raise reached[0]
