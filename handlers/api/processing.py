"""Calls of the user's function: how it is found, what it is given, and what its answer comes to."""

import copy
import importlib
import inspect
import io
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any, cast

from handlers.api.decisions import ERROR_CHARACTERS, Failure
from handlers.api.events import UnreadableMessageError
from handlers.api.results import ResultError, to_json
from handlers.processor import Context, Rejected, SecretError, Unavailable
from handlers.shared.log import logger
from handlers.shared.text import printable

# A call of the user's function with an event and its context.
Process = Callable[[Mapping[str, Any], Context], Any]

# Request Timeout and Too Many Requests describe the server's state, though they are among the client errors.
_OUTAGE_STATUSES = (408, 429)
_SERVER_ERROR = 500
# A time limit that a processor catches fires again after this many seconds.
REPEAT_SECONDS = 1.0
# What a processor may have replaced and the worker needs.
_DUMPS, _LOADS = json.dumps, json.loads


class ProcessingTimeoutError(BaseException):
    """A processor used up its time. It is no Exception, so that `except Exception` does not swallow it."""


class CircuitOpenError(Exception):
    """The circuit is open: the user's function was not called. The event returns after `seconds`."""

    def __init__(self, text: str, seconds: int = 0) -> None:
        super().__init__(text)
        self.seconds = seconds


@dataclass(frozen=True)
class Answer:
    """What a call of the user's function came to: `result` as JSON text, or the `error` that it raised."""

    seconds: float
    result: str = ""
    error: BaseException | None = None
    cut_short: bool = False
    """The time limit ended it early: other events of the batch had used the time. It says nothing about the event."""
    trial_wait_seconds: int = 0
    """Not 0: the call was to find out whether an outage is over. If not, the event returns after so many seconds."""

    @property
    def is_permanent(self) -> bool:
        """Return True if no other attempt can succeed."""
        return isinstance(self.error, Rejected | ResultError)

    @property
    def is_outage(self) -> bool:
        """Return True if a service that the function calls is down."""
        return self.error is not None and not self.cut_short and is_outage(self.error)

    @property
    def is_attempt(self) -> bool:
        """Return False for a failure that is not the event's: of the pipeline's own services, or of a trial."""
        return not (isinstance(self.error, SecretError) or (self.trial_wait_seconds and self.is_outage))


def is_outage(error: BaseException) -> bool:
    """Return True if an error says that a service which the function calls is down.

    `OSError` is the base of connection errors: Python's own, urllib's and those of requests. A missing file is no
    outage, nor is an HTTP answer that blames the request.
    """
    if isinstance(error, Unavailable | ProcessingTimeoutError):
        return True
    if not isinstance(error, OSError):
        return False
    try:
        # urllib's HTTPError has the status itself, that of requests has the response.
        status = getattr(error, "code", None) or getattr(getattr(error, "response", None), "status_code", None)
    except BaseException:  # noqa: BLE001  the user's own class, which answers with what it likes
        status = None
    if isinstance(status, int):
        return status in _OUTAGE_STATUSES or status >= _SERVER_ERROR
    return error.filename is None


def load_processor(name: str) -> Process:
    """Return the function that `package.module:function` names, ready to be called with an event and a context."""
    module, _, function = name.partition(":")
    return adapted(getattr(importlib.import_module(module), function))


def adapted(function: Callable[..., Any]) -> Process:
    """Return a user's function as a `Process`: with or without a context, plain or `async`."""
    takes_context = _takes_context(function)

    def process(event: Mapping[str, Any], context: Context) -> Any:
        answer = function(event, context) if takes_context else function(event)
        return _awaited(answer) if inspect.isawaitable(answer) else answer

    return process


def _takes_context(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        # Of a type that is written in C, like dict.
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positional = [each for each in parameters if each.kind in kinds]
    # A second parameter with a default is the function's own affair, unless it is called `context`.
    return len(positional) > 1 and (positional[1].name == "context" or positional[1].default is inspect.Parameter.empty)


_runners: list[Any] = []


def _awaited(answer: Any) -> Any:
    """Run an `async` function's answer, on one event loop for all events: its clients may live longer than an event."""
    import asyncio  # noqa: PLC0415  functions that are not `async` do not pay for it

    async def wait() -> Any:
        return await answer

    if not _runners:
        _runners.append(asyncio.Runner())
    return _runners[0].run(wait())


def call(process: Process, event: Mapping[str, Any], context: Context, seconds: float) -> Answer:
    """Call the user's function and return what it came to, whatever it raises; `seconds` is its time limit."""
    started = time.monotonic()
    pid = os.getpid()
    printed = _LoggedLines()
    try:
        with redirect_stdout(_Output(printed)), time_limit(seconds):
            result = to_json(process(copy.deepcopy(event), context))
        answer = Answer(time.monotonic() - started, result)
    except BaseException as error:  # noqa: BLE001  whatever the user's function raises is the answer of this event alone
        answer = Answer(time.monotonic() - started, error=error)
    finally:
        if os.getpid() != pid:
            # A fork that came back from the user's function: the events are its parent's.
            os._exit(0)
        json.dumps, json.loads = _DUMPS, _LOADS
        printed.write(b"\n")
    return answer


def failure_of(error: BaseException) -> Failure:
    """Return the name and text of an error, in what every service stores: printable characters, no surrogates."""
    # These speak for themselves; of others the type says more than the text.
    own_words = isinstance(error, Rejected | ResultError | UnreadableMessageError | CircuitOpenError)
    name = type(error).__name__
    try:
        said = str(error)
    except BaseException as second:  # noqa: BLE001  the user's own class, which answers with what it likes
        said = f"(its text cannot be read: {type(second).__name__})"
    return Failure(name, printable(said if own_words else f"{name}: {said}", ERROR_CHARACTERS))


class _LoggedLines(io.RawIOBase):
    """Standard output while the user's function runs: each line becomes a log line with its correlation id."""

    def __init__(self) -> None:
        self._rest = b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        written = bytes(data)
        *lines, self._rest = (self._rest + written).split(b"\n")
        for line in lines:
            if line:
                logger.info(line.decode(errors="replace"))
        return len(written)


class _Output(io.TextIOWrapper):
    """The text above those lines, for `print`; `sys.stdout.buffer` takes bytes."""

    def __init__(self, lines: _LoggedLines) -> None:
        # A raw file does: nothing is kept back.
        super().__init__(cast("Any", lines), "utf-8", "backslashreplace", write_through=True)

    def close(self) -> None:
        """A function may close standard output; it is not its own."""


_holding: list[list[ProcessingTimeoutError]] = []


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise ProcessingTimeoutError in the block after `seconds`, and again each second while the block goes on.

    It works in the main thread only, where Lambda runs handlers, and between two steps of Python: Lambda's own timeout
    ends a call into C that does not return.
    """

    def stop(_signal: int, _frame: object) -> None:
        error = ProcessingTimeoutError(f"no result after {seconds:.1f} seconds")
        if not _holding:
            raise error
        _holding[-1].append(error)

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, REPEAT_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def time_limit_held() -> Iterator[None]:
    """Delay a time limit that is reached in the block until its end.

    For calls of AWS: botocore takes whatever is raised in one for a broken connection, and retries.
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
