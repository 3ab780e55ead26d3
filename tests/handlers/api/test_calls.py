"""Calls of the user's function: what it may be, what it is given, and that whatever it does stays its own affair."""

import asyncio
import functools
import io
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from handlers.api.processing import Answer, ProcessingTimeoutError, adapted, call
from handlers.api.worker import log_like_the_pipeline
from handlers.processor import Context, Rejected
from handlers.shared.log import logger


@pytest.fixture(autouse=True)
def no_alarm_is_left() -> Iterator[None]:
    yield
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def called(function: Callable[..., Any], event: Mapping[str, Any] | None = None, seconds: float = 5) -> Answer:
    return call(adapted(function), event or {"n": 1}, Context(id="e-1", attempt=2), seconds)


def plain(event: Mapping[str, Any]) -> Any:
    return event["n"]


async def later(event: Mapping[str, Any]) -> Any:
    await asyncio.sleep(0)
    return event["n"]


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapped(*arguments: Any) -> Any:
        return function(*arguments)

    return wrapped


class Callable1:
    def __call__(self, event: Mapping[str, Any]) -> Any:
        return event["n"]


def several(factor: int, event: Mapping[str, Any]) -> Any:
    return factor * event["n"]


@pytest.mark.parametrize(
    "function",
    [plain, later, decorated(plain), decorated(later), functools.partial(several, 1), Callable1()],
    ids=["plain", "async", "decorated", "decorated async", "partial", "callable object"],
)
def test_a_processor_may_be_any_callable(function: Callable[..., Any]) -> None:
    assert called(function).result == "1"


def test_a_processor_may_be_a_type_that_does_not_tell_its_parameters() -> None:
    assert called(dict).result == '{"n": 1}'


def with_context(event: Mapping[str, Any], context: Context) -> Any:
    return [event["n"], context.id, context.attempt, context.max_attempts]


def with_default(event: Mapping[str, Any], factor: int = 3) -> Any:
    return factor * event["n"]


def with_optional_context(_event: Mapping[str, Any], context: Context | None = None) -> Any:
    return context and context.id


@pytest.mark.parametrize(
    ("function", "result"),
    [
        (with_context, '[1, "e-1", 2, 5]'),
        (decorated(with_context), '[1, "e-1", 2, 5]'),
        (with_default, "3"),
        (with_optional_context, '"e-1"'),
    ],
)
def test_a_processor_that_asks_for_the_context_gets_it(function: Callable[..., Any], result: str) -> None:
    assert called(function).result == result


def test_async_processors_share_one_event_loop() -> None:
    loops: set[int] = set()

    async def process(_event: Mapping[str, Any]) -> None:
        loops.add(id(asyncio.get_running_loop()))

    for _ in range(3):
        assert called(process).error is None
    assert len(loops) == 1


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("x"),
        asyncio.CancelledError(),
        SystemExit(1),
        KeyboardInterrupt(),
        GeneratorExit(),
        RecursionError(),
        Rejected("never"),
    ],
    ids=repr,
)
def test_whatever_a_processor_raises_is_its_answer(error: BaseException) -> None:
    def process(_event: Mapping[str, Any]) -> None:
        raise error

    answer = called(process)
    assert answer.error is error
    assert answer.is_permanent == isinstance(error, Rejected)


def test_a_stack_overflow_is_an_answer() -> None:
    def process(event: Mapping[str, Any]) -> Any:
        return process(event)

    assert isinstance(called(process).error, RecursionError)


def test_a_time_limit_is_not_swallowed_by_except_exception() -> None:
    def process(_event: Mapping[str, Any]) -> None:
        while True:
            try:
                time.sleep(1)
                raise ConnectionError("down")  # noqa: TRY301
            except Exception:  # noqa: BLE001, S112
                continue

    answer = called(process, seconds=0.1)
    assert isinstance(answer.error, ProcessingTimeoutError)
    assert answer.seconds < 2


def test_a_time_limit_that_is_caught_fires_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handlers.api.processing.REPEAT_SECONDS", 0.05)
    caught: list[BaseException] = []

    def process(_event: Mapping[str, Any]) -> None:
        while len(caught) < 3:
            try:
                time.sleep(5)
            except BaseException as error:  # noqa: BLE001
                caught.append(error)
        time.sleep(5)

    answer = called(process, seconds=0.05)
    assert isinstance(answer.error, ProcessingTimeoutError)
    assert len(caught) == 3


def test_an_async_processor_is_ended_by_the_time_limit() -> None:
    async def process(_event: Mapping[str, Any]) -> None:
        await asyncio.sleep(5)

    assert isinstance(called(process, seconds=0.1).error, ProcessingTimeoutError)
    assert called(later).result == "1"


def test_a_processor_cannot_change_its_event() -> None:
    event = {"list": [1]}

    def process(given: Any) -> None:
        given["list"].clear()

    called(process, event)
    assert event == {"list": [1]}


def test_a_processor_that_replaces_json_dumps_harms_nobody_else() -> None:
    def process(_event: Mapping[str, Any]) -> str:
        json.dumps = lambda *_arguments, **_options: 1 / 0  # type: ignore[assignment]
        return "done"

    assert called(process).result == '"done"'
    assert json.dumps({"n": 1}) == '{"n": 1}'


def test_a_processor_that_closes_standard_output_harms_nobody_else(capsys: pytest.CaptureFixture[str]) -> None:
    def process(_event: Mapping[str, Any]) -> None:
        sys.stdout.close()

    assert called(process).error is None
    print("still open")  # noqa: T201
    assert capsys.readouterr().out.endswith("still open\n")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_processor_that_exits_in_a_thread_harms_nobody_else() -> None:
    def process(_event: Mapping[str, Any]) -> str:
        thread = threading.Thread(target=sys.exit)
        thread.start()
        thread.join()
        return "done"

    assert called(process).result == '"done"'


def test_a_fork_that_comes_back_from_the_processor_ends_there(tmp_path: Any) -> None:
    stored = tmp_path / "stored"

    def process(_event: Mapping[str, Any]) -> int:
        return os.fork()

    answer = called(process)
    # Only the parent comes here; a child would write this too.
    with stored.open("a") as file:
        file.write(f"{os.getpid()}\n")
    os.waitpid(int(answer.result), 0)
    assert stored.read_text() == f"{os.getpid()}\n"


def test_what_a_processor_prints_and_logs_has_its_correlation_id(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = io.StringIO()
    own = logging.getLogger("test")
    monkeypatch.setattr(own.handlers[0], "stream", lines)
    monkeypatch.setattr(logging.root, "handlers", list(logging.root.handlers))
    monkeypatch.setattr(own, "propagate", own.propagate)
    before = logging.root.level
    log_like_the_pipeline("test")

    def process(event: Mapping[str, Any]) -> None:
        logging.getLogger("shop").info("charging %s", event["n"])
        print("printed", event["n"])  # noqa: T201
        sys.stdout.close()
        sys.stdout.buffer.write("gr\u00fc\u00dfe\n\xff".encode("latin-1"))
        print("\ud800", end="")  # noqa: T201

    logger.set_correlation_id("c-1")
    try:
        called(process)
    finally:
        logger.set_correlation_id(None)
        logging.root.setLevel(before)
    found = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert [line["message"] for line in found] == ["charging 1", "printed 1", "gr\ufffd\ufffde", "\ufffd\\ud800"]
    assert {line["correlation_id"] for line in found} == {"c-1"}
