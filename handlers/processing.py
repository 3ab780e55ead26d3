"""The user's function: how it is found, and how it says no."""

import importlib
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

Process = Callable[[Mapping[str, Any]], Any]


class Rejected(Exception):  # noqa: N818  the user's word for an outcome, not an accident
    """Raise it in a processor: this event can never succeed. It is `failed` at once, with the reason, and not retried.

    Any other exception is taken as transient: the event is tried again, later each time, `queue.max_receives` times.
    """


class ProcessingTimeoutError(Exception):
    """A processor used up its share of the function's time. Transient, as far as anybody knows."""


def load_processor(name: str) -> Process:
    """The function `process(event) -> result` that `package.module:function` names."""
    module, _, function = name.partition(":")
    process: Process = getattr(importlib.import_module(module), function)
    return process


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises ProcessingTimeoutError in the block after `seconds`: one event that hangs does not take its batch along.

    Works in the main thread only, where Lambda runs handlers, and between two steps of Python: a call into C that does
    not come back is ended by Lambda's own timeout.
    """

    def stop(_signal: int, _frame: object) -> None:
        raise ProcessingTimeoutError(f"no result after {seconds:.1f} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
