"""The user's function: found, limited in time, and able to say no."""

import contextlib
import signal
import socket
import ssl
import time
import urllib.error
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from types import SimpleNamespace

import pytest

from handlers.api.processing import ProcessingTimeoutError, failure_of, is_outage, load_processor, time_limit
from handlers.processor import Context, Rejected, Unavailable
from tests.samples.processors import echo


@pytest.fixture(autouse=True)
def no_alarm_is_left() -> Iterator[None]:
    yield
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_processor_is_found_by_module_and_function() -> None:
    assert load_processor("tests.samples.processors.echo:process")({"n": 1}, Context()) == echo.process({"n": 1})


def test_a_processor_may_have_any_name_in_any_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "found_by_its_name.py").write_text("def double(event):\n    return event['n'] * 2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_processor("found_by_its_name:double")({"n": 4}, Context()) == 8


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("processors.missing:process", ModuleNotFoundError, r"processors\.missing"),
        ("tests.samples.processors.echo:missing", AttributeError, "missing"),
        ("tests.samples.processors.echo", AttributeError, "echo"),
    ],
)
def test_a_processor_that_does_not_exist_is_named(name: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        load_processor(name)


def test_what_runs_too_long_is_interrupted() -> None:
    started = time.monotonic()
    with pytest.raises(ProcessingTimeoutError, match=r"no result after 0\.1 seconds"), time_limit(0.05):
        time.sleep(10)
    assert 0.04 < time.monotonic() - started < 5


def loop_without_end() -> None:
    while True:
        pass


def test_an_endless_loop_is_interrupted() -> None:
    with pytest.raises(ProcessingTimeoutError), time_limit(0.05):
        loop_without_end()


def test_what_is_quick_enough_is_left_alone_also_afterwards() -> None:
    with time_limit(0.05):
        result = "quick"
    time.sleep(0.1)
    assert result == "quick"


@pytest.mark.parametrize("raised", [None, ValueError("own"), Rejected("no"), ProcessingTimeoutError("late")])
def test_the_handler_from_before_is_restored_however_the_block_ends(raised: Exception | None) -> None:
    calls = []

    def mine(number: int, _frame: object) -> None:
        calls.append(number)

    before = signal.signal(signal.SIGALRM, mine)
    try:
        with contextlib.suppress(ValueError, Rejected, ProcessingTimeoutError), time_limit(5):
            assert signal.getsignal(signal.SIGALRM) is not mine
            if raised is not None:
                raise raised
        assert signal.getsignal(signal.SIGALRM) is mine
        signal.raise_signal(signal.SIGALRM)
        assert calls == [signal.SIGALRM]
    finally:
        signal.signal(signal.SIGALRM, before)


def test_rejected_says_why_and_is_not_taken_for_a_timeout() -> None:
    assert str(Rejected("no such country")) == "no such country"
    assert not issubclass(Rejected, ProcessingTimeoutError)
    assert not issubclass(ProcessingTimeoutError, Rejected)


def http_error(status: int) -> urllib.error.HTTPError:
    return urllib.error.HTTPError("http://shop.example", status, "", Message(), None)


def of_requests(status: int) -> OSError:
    """As requests raises it: its RequestException is an OSError, with the response where there was one."""
    error = OSError(f"{status} for url")
    error.response = SimpleNamespace(status_code=status)  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("they said so"),
        ProcessingTimeoutError("no result"),
        ConnectionRefusedError(111, "refused"),
        TimeoutError(),
        socket.gaierror(-2, "no such host"),
        ssl.SSLError("handshake"),
        urllib.error.URLError(ConnectionResetError()),
        *(http_error(status) for status in (408, 429, 500, 503)),
        *(of_requests(status) for status in (429, 502)),
    ],
    ids=repr,
)
def test_an_outage_is_what_says_that_somebody_else_is_out(error: Exception) -> None:
    assert is_outage(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("not a number"),
        KeyError("amount"),
        Rejected("never"),
        SystemExit(1),
        FileNotFoundError(2, "no such file", "prices.csv"),
        PermissionError(13, "not yours", "prices.csv"),
        *(http_error(status) for status in (400, 404, 422)),
        of_requests(409),
    ],
    ids=repr,
)
def test_no_outage_is_what_the_event_or_the_processor_did(error: BaseException) -> None:
    assert not is_outage(error)


class UnreadableError(Exception):
    """An error of a library that fails when somebody looks at it."""

    def __str__(self) -> str:
        raise ValueError("nothing to say")


class UnreadableStatusError(OSError):
    @property
    def code(self) -> int:
        raise ValueError("no answer yet")


def test_an_error_that_cannot_be_read_is_a_failure_like_others() -> None:
    failure = failure_of(UnreadableError())
    assert (failure.type, failure.text) == (
        "UnreadableError",
        "UnreadableError: (its text cannot be read: ValueError)",
    )
    assert is_outage(UnreadableStatusError())
