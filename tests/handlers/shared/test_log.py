"""Log lines stay single lines of ASCII, whatever an attacker has written into them."""

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
