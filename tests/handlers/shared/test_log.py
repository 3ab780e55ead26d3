"""Log lines stay single lines of ASCII, whatever an attacker has written into them."""

import json
import logging

import pytest

from handlers.shared.log import MAXIMUM_FIELD, logger

HOSTILE = {
    "newlines": 'a\nb\r\n{"level":"INFO","message":"forged"}',
    "terminal": "\x1b[2J\x1b]0;title\x07\x9b31m\x7f\x08",
    "other ends of lines": "\x0b\x0c\x1c\x85\u2028\u2029",
    "half a pair": "\ud800",
    "nul": "\x00",
    "markup": "[red]x[/red]",
    "quotes": '","level":"DEBUG',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_log_line_is_one_line_of_json_with_any_text_in_its_fields(text: str) -> None:
    (handler,) = logger._logger.handlers
    error = ValueError(text)
    extra = {"correlation_id": text, "ids": [text], "reasons": {text: 1}}
    # Only formatted: pytest's capture of log lines cannot report half a surrogate pair.
    line = handler.format(
        logger._logger.makeRecord(
            "test", logging.ERROR, __file__, 1, "failed", (), (ValueError, error, None), extra=extra
        )
    )
    assert line.isascii()
    assert line.isprintable()
    said = json.loads(line)
    assert (said["message"], said["level"], said["correlation_id"], said["ids"]) == ("failed", "ERROR", text, [text])
    assert said["reasons"] == {text: 1}
    assert text in said["exception"]


def formatted(message: object, error: Exception | None = None) -> str:
    (handler,) = logger._logger.handlers
    raised = (type(error), error, error.__traceback__) if error else None
    return handler.format(logger._logger.makeRecord("test", logging.ERROR, __file__, 1, message, (), raised))


def test_an_error_that_holds_the_event_in_every_link_of_its_chain_makes_a_short_line() -> None:
    error = ValueError("second" + "x" * 900_000 + "the end")
    error.__cause__ = KeyError("first" + "x" * 900_000)
    line = formatted("failed", error)
    said = json.loads(line)
    assert len(line) < 2 * MAXIMUM_FIELD
    assert said["message"] == "failed"
    assert said["exception"].startswith("KeyError: 'first")
    assert said["exception"].endswith("the end")
    assert "characters left out" in said["exception"]


@pytest.mark.parametrize("message", ["é" * 900_000, json.dumps({"lines": ["x"] * 500_000}), {"lines": ["x"] * 500_000}])
def test_a_message_that_is_too_long_is_cut(message: object) -> None:
    assert len(formatted(message)) < MAXIMUM_FIELD * 7


def test_a_message_of_usual_size_is_kept_whole() -> None:
    assert json.loads(formatted("x" * 30_000))["message"] == "x" * 30_000
    assert json.loads(formatted('{"total": 7}'))["message"] == {"total": 7}


def test_a_message_of_a_hundred_thousand_levels_is_logged_as_text() -> None:
    assert json.loads(formatted("[" * 10_000))["message"].startswith("[[[")
