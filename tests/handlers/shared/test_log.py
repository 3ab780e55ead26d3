"""Log lines stay single lines of ASCII, whatever an attacker has written into them."""

import json
import logging
import re
from pathlib import Path

import pytest

from components.queries import EVENT_QUERIES
from handlers.shared.log import MAXIMUM_FIELD, logger, write_record

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


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING", "ERROR"])
def test_a_record_is_written_at_any_level_and_names_its_place(level: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(level, logger=logger.name):
        caplog.handler.setLevel(0)
        logger.info("a line")
        write_record("batch", events=[{"id": "a"}], status=200)
    # The level holds for other lines.
    shown = [each.getMessage() for each in caplog.records]
    assert shown == (["a line"] if level in ("DEBUG", "INFO") else []) + ["batch"]
    (handler,) = logger._logger.handlers
    line = json.loads(handler.format(caplog.records[-1]))
    assert (line["level"], line["message"], line["events"], line["status"]) == ("INFO", "batch", [{"id": "a"}], 200)
    assert line["location"].startswith("test_a_record_is_written_at_any_level_and_names_its_place:")


@pytest.mark.parametrize("query", [query for query in EVENT_QUERIES.values() if "message = " in query])
def test_each_line_that_a_saved_query_reads_is_a_record(query: str) -> None:
    (message,) = re.findall('message = "([a-z]+)"', query)
    writing = [
        file.name
        for file in (Path(__file__).parents[3] / "handlers").rglob("*.py")
        if re.search(rf'(write_record|logger\.\w+)\(\s*"{message}"', text := file.read_text())
        and not re.search(rf'logger\.\w+\(\s*"{message}"', text)
    ]
    assert writing
