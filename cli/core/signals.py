"""Signals that end a command."""

import signal


def interrupt_on_signals() -> None:
    """Raise KeyboardInterrupt on SIGINT, SIGTERM and SIGHUP.

    SIGINT too: shells start background jobs with SIGINT ignored, and Python leaves it ignored.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
