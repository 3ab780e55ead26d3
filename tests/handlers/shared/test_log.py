"""What a log line may hold: everything that an attacker can have written into it, and still be one line."""

import json
import logging

import pytest

from handlers.shared.log import logger

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
def test_whatever_a_client_writes_into_a_field_a_log_line_stays_one_line_of_json(text: str) -> None:
    (handler,) = logger._logger.handlers
    error = ValueError(text)
    extra = {"correlation_id": text, "ids": [text], "reasons": {text: 1}}
    # Formatted and not logged: pytest's own capture cannot report half a surrogate pair.
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
