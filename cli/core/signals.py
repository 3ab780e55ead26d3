"""Signals that end a command."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupt_on_signals() -> None:
    """Raise KeyboardInterrupt on SIGINT, SIGTERM and SIGHUP.

    SIGINT too: shells start background jobs with SIGINT ignored, and Python leaves it ignored.
    """
    for number in ENDING:
        signal.signal(number, signal.default_int_handler)


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Set an event on the first SIGINT, SIGTERM or SIGHUP; the next one raises KeyboardInterrupt.

    For work that ends well by itself once it sees the event.
    """
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        if stopped.is_set():
            signal.default_int_handler(number, frame)
        stopped.set()

    before = {number: signal.signal(number, stop) for number in ENDING}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
