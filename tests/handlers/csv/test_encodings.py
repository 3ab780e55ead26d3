"""Encodings: tried in order for a whole file, and resumed after any block."""

import io
import json
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.csv import engine as engine_module
from handlers.csv.columns import Column, FileFormat
from handlers.csv.content import Content
from handlers.csv.encodings import Conversion, encoding_named
from handlers.csv.engine import CsvEngine, blocks
from handlers.csv.text import FileError
from tests.handlers.csv.reading import read_file

COLUMNS = (Column("a"), Column("b"))
CONVERTED = [
    "shift_jis",
    "gb18030",
    "big5",
    "euc_kr",
    "iso2022_jp",
    "utf-7",
    "utf-32",
    "utf-16",
    "cp037",
    "cp437",
    "hz",
]


def outcome(data: bytes, *encodings: str) -> tuple[list[list[Any]], list[str], dict[str, Any]]:
    """Return the rows, the raw text of the rejected ones, and the report."""
    engine, processed, rejected = read_file(io.BytesIO(data), FileFormat(COLUMNS, encodings=encodings))
    rows = [list(json.loads(line).values()) for line in processed.split(b"\n") if line]
    return rows, [json.loads(line)["raw"] for line in rejected.splitlines()], engine.report()


@pytest.mark.parametrize(
    ("data", "encoding", "cell"),
    [
        ("a,b\n1,é\n".encode(), "utf-8", "é"),
        (b"a,b\n1,\xe9\n", "windows-1252", "é"),
        (b"a,b\n1,\x81\n", "iso-8859-1", "\x81"),
        ("\ufeffa,b\n1,é\n".encode("utf-16-le"), "utf-16-le", "é"),
    ],
)
def test_the_first_encoding_that_reads_the_whole_file_is_used(data: bytes, encoding: str, cell: str) -> None:
    rows, rejected, report = outcome(data, "utf-8", "windows-1252", "latin-1")
    assert (rows, rejected, report["encoding"]) == ([["1", cell]], [], encoding)


def test_the_report_says_which_encodings_were_refused() -> None:
    assert outcome(b"a,b\n1,\xe9\n", "utf-8", "cp1252")[2]["assumptions"] == [
        {"setting": "input.encodings", "value": "windows-1252", "reason": "the file is not in utf-8"},
        {
            "setting": "input.delimiter",
            "value": ",",
            "reason": "of the delimiters tried, it yields most of the configured columns",
        },
    ]


def test_an_error_late_in_the_file_changes_the_encoding_of_its_start() -> None:
    data = b"a,b\n" + b"1,x\xc2\xa9\n" * 100_000 + b"2,\xe9\n"
    rows, rejected, report = outcome(data, "utf-8", "windows-1252")
    assert (rows[0], rows[-1], rejected) == (["1", "x\u00c2\u00a9"], ["2", "é"], [])
    assert report["processed"] == 100_001


def test_a_file_in_none_of_the_encodings_is_read_in_the_first() -> None:
    rows, rejected, report = outcome("a,b\n1,é\n2,".encode() + b"\x81\n", "utf-8", "windows-1252")
    assert (rows, rejected) == ([["1", "é"]], ["2,\udc81"])
    assert report["assumptions"][0]["reason"] == (
        "the file is in none of utf-8, windows-1252; rows that are not in the first one are rejected"
    )


def test_utf_16_without_a_mark_may_be_one_of_the_encodings() -> None:
    rows, _, report = outcome("a,b\n1,x\n".encode("utf-16-le"), "utf-8", "utf-16-le")
    assert (rows, report["encoding"]) == ([["1", "x"]], "utf-16-le")


@pytest.mark.parametrize("encoding", CONVERTED)
def test_any_encoding_of_python_is_read(encoding: str) -> None:
    cell = "x" if encoding in ("cp037", "cp437", "euc_kr") else "日本~+"
    rows, rejected, report = outcome(f"a,b\n1,{cell}\n2,\n".encode(encoding), encoding)
    assert (rows, rejected) == ([["1", cell], ["2", None]], [])
    assert report["encoding"] == ("utf-16-le" if encoding == "utf-16" else encoding)


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xff\xfe"])
def test_a_byte_order_mark_has_precedence_over_a_converted_encoding(mark: bytes) -> None:
    name = "utf-8" if mark[0] == 0xEF else "utf-16-le"
    rows, _, report = outcome(mark + "a,b\n1,日\n".encode(name), "shift_jis")
    assert (rows, report["encoding"]) == ([["1", "日"]], name)


def test_invalid_bytes_of_a_converted_encoding_reject_their_row_and_are_shown() -> None:
    rows, rejected, _ = outcome("a,b\n1,日\n2,".encode("shift_jis") + b"\xff\xc3\n3,x\n", "shift_jis")
    assert (rows, rejected) == ([["1", "日"], ["3", "x"]], ["2,\udcff\uff83"])
    # As UTF-8, the two bytes would be a character.
    assert outcome(b"a,b\n1,\xc3\xa9\n", "ascii")[1] == ["1,\udcc3\udca9"]


def test_bytes_that_a_codec_refuses_altogether_fail_the_file() -> None:
    with pytest.raises(FileError, match="the file cannot be decoded"):
        Conversion(io.BytesIO(b"\xff" * 80).read, encoding_named("idna")).read(100)


texts = st.lists(st.sampled_from(["a", "日", "本,", "~{", "+", "1,x\n", "\n", '"']), max_size=40).map("".join)


@given(
    body=texts,
    encoding=st.sampled_from(["shift_jis", "gb18030", "iso2022_jp", "utf-7", "utf-32-le", "utf-16-be"]),
    size=st.integers(1, 40),
    broken=st.booleans(),
)
def test_a_file_is_resumed_in_any_encoding(body: str, encoding: str, size: int, *, broken: bool) -> None:
    data = ("a,b\n" + body).encode(encoding) + (b"\xff" if broken else b"")
    file_format = FileFormat(COLUMNS, encodings=(encoding,))
    with patch.object(engine_module, "BLOCK_BYTES", size):
        engine, *whole = read_file(io.BytesIO(data), file_format)
        processed, rejected, state = b"", b"", None
        while True:
            continued = CsvEngine(file_format, json.loads(json.dumps(state)))
            content = Content(io.BytesIO(data).read, 250, continued.encoding)
            content.skip(continued.offset)
            block = next(blocks(continued, content.read), None)
            if block is None:
                break
            processed, rejected, state = processed + block.processed, rejected + block.rejected, continued.state()
    assert [processed, rejected] == whole
    assert continued.report() == engine.report()
