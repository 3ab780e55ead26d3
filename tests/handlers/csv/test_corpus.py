"""Real-world files: every row is processed, or rejected with a reason."""

import csv
import dataclasses
import gzip
import io
import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.csv import content as content_module
from handlers.csv.checks import DatetimeCheck, instant_of
from handlers.csv.columns import Column, FileFormat
from handlers.csv.content import Content
from handlers.csv.engine import BLOCK_BYTES, CsvEngine, blocks
from handlers.csv.text import LONGEST_ROW_BYTES, FileError
from tests.handlers.csv.reading import read_all, read_file

SHIPPED = FileFormat(
    columns=(
        Column("name", required=True),
        Column("email", required=True, pattern=r"[^@\s]++@[^@\s.]++(?:\.[^@\s.]++)+"),
        Column("amount", "number", required=True),
        Column("date", "date", required=True),
        Column("quantity", "integer", required=True),
    ),
)
ANYTHING = FileFormat(columns=(Column("a"), Column("b")))
HEADER = "name,email,amount,date,quantity\n"
GOOD = "Ann,ann@example.com,12.50,2024-01-02,3\n"
FILE = gzip.compress((HEADER + GOOD).encode())
# https://www.rfc-editor.org/rfc/rfc1952 (2.3), https://www.rfc-editor.org/rfc/rfc1951 (3.2.4)
GZIP_START = b"\x1f\x8b\x08" + bytes(7)
GZIP_START_WITH_NAME = b"\x1f\x8b\x08\x08" + bytes(6)
EMPTY_BLOCK = b"\0\0\0\xff\xff"
GOOD_ROW = {"name": "Ann", "email": "ann@example.com", "amount": 12.5, "date": "2024-01-02", "quantity": 3}


class Result:
    """The output and the report of a file."""

    def __init__(self, data: bytes, file_format: FileFormat = SHIPPED) -> None:
        self.engine = CsvEngine(file_format)
        content = Content(io.BytesIO(data).read, file_format.max_expansion)
        processed, rejected = read_all(self.engine, content.read)
        self.report = self.engine.report()
        self.rows: list[dict[str, Any]] = list(map(json.loads, processed.splitlines()))
        self.rejected: list[dict[str, Any]] = list(map(json.loads, rejected.splitlines()))
        assert self.report["rows"] == self.report["processed"] + self.report["rejected"]
        assert (self.report["processed"], self.report["rejected"]) == (len(self.rows), len(self.rejected))

    @property
    def reasons(self) -> list[tuple[str | None, str]]:
        return [(error["column"], error["reason"]) for row in self.rejected for error in row["errors"]]


def read(text: str, file_format: FileFormat = SHIPPED) -> Result:
    return Result(text.encode(), file_format)


def refusal(data: bytes, file_format: FileFormat = SHIPPED) -> str:
    with pytest.raises(FileError) as caught:
        Result(data, file_format)
    return caught.value.reason


# Encodings


@pytest.mark.parametrize(
    ("encode", "name"),
    [
        (lambda text: text.encode("utf-8"), "utf-8"),
        (lambda text: text.encode("utf-8-sig"), "utf-8"),
        (lambda text: b"\xff\xfe" + text.encode("utf-16-le"), "utf-16-le"),
        (lambda text: b"\xfe\xff" + text.encode("utf-16-be"), "utf-16-be"),
    ],
    ids=["utf-8", "utf-8 with mark", "utf-16-le", "utf-16-be"],
)
def test_a_file_is_read_in_the_encoding_of_its_byte_order_mark(encode: Callable[[str], bytes], name: str) -> None:
    result = Result(encode(HEADER + GOOD.replace("Ann,", "Zoë 😀,")))
    assert result.rows == [{**GOOD_ROW, "name": "Zoë 😀"}]
    assert result.report["encoding"] == name


def test_latin_1_is_read_when_it_is_configured() -> None:
    data = (HEADER + GOOD.replace("Ann,", "Zoë,")).encode("iso-8859-1")
    assert Result(data, FileFormat(SHIPPED.columns, encodings=("iso-8859-1",))).rows == [{**GOOD_ROW, "name": "Zoë"}]


def test_invalid_utf_8_rejects_only_its_row() -> None:
    result = Result(HEADER.encode() + GOOD.encode() + b"Zo\xeb,z@example.com,1,2024-01-02,3\n" + GOOD.encode())
    assert result.rows == [GOOD_ROW, GOOD_ROW]
    assert result.reasons == [(None, "undecodable")]
    assert result.rejected[0]["raw"] == "Zo\udceb,z@example.com,1,2024-01-02,3"


def test_half_a_utf_16_character_at_the_end_rejects_the_last_row() -> None:
    data = b"\xff\xfe" + (HEADER + GOOD + GOOD.rstrip()).encode("utf-16-le")
    result = Result(data + b"\x41")
    assert result.rows == [GOOD_ROW]
    assert result.reasons == [(None, "undecodable")]


def test_utf_16_without_a_byte_order_mark_is_not_text_unless_configured() -> None:
    data = (HEADER + GOOD).encode("utf-16-le")
    assert refusal(data) == "not_text"
    assert Result(data, FileFormat(SHIPPED.columns, encodings=("utf-16-le",))).rows == [GOOD_ROW]


# Dialects


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_detected(delimiter: str) -> None:
    result = read((HEADER + GOOD).replace(",", delimiter))
    assert result.rows == [GOOD_ROW]
    assert result.report["delimiter"] == delimiter


def test_a_configured_delimiter_overrides_detection() -> None:
    assert read("a^b\n1^2,3\n", FileFormat(ANYTHING.columns, delimiter="^")).rows == [{"a": "1", "b": "2,3"}]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_common_line_end_is_accepted(end: str) -> None:
    assert read((HEADER + GOOD + GOOD).replace("\n", end)).rows == [GOOD_ROW, GOOD_ROW]
    assert read((HEADER + GOOD).replace("\n", end).removesuffix(end)).rows == [GOOD_ROW]


def test_quoted_cells_keep_delimiters_and_line_breaks() -> None:
    result = read('a,b\n"x,\r\ny\rz\n","say ""hi"""\n2,3\n', ANYTHING)
    assert result.rows == [{"a": "x,\r\ny\rz\n", "b": 'say "hi"'}, {"a": "2", "b": "3"}]


def test_line_numbers_include_quoted_line_breaks_and_blank_lines() -> None:
    result = read('a,b\n\n"1\n2",3\n\n4\n5,6\n7\n', ANYTHING)
    assert [(row["row"], row["line"], row["raw"]) for row in result.rejected] == [(2, 6, "4"), (4, 8, "7")]
    assert result.report["blank_lines"] == 2


def test_trailing_blank_lines_are_not_rows() -> None:
    result = read(HEADER + GOOD + "\n\r\n\n")
    assert (result.report["rows"], result.report["blank_lines"]) == (1, 3)


# Quotes


def test_an_unclosed_quote_rejects_its_line() -> None:
    result = read('a,b\n1,2\n"open,3\n4,5\n6,7\n', ANYTHING)
    assert [row["a"] for row in result.rows] == ["1", "4", "6"]
    assert result.reasons == [(None, "bad_quoting")]
    assert (result.rejected[0]["line"], result.rejected[0]["raw"]) == (3, '"open,3')


def test_text_after_a_closing_quote_rejects_its_line() -> None:
    result = read('a,b\n"x"y,1\n2,3\n', ANYTHING)
    assert [row["a"] for row in result.rows] == ["2"]
    assert result.reasons == [(None, "bad_quoting")]


def test_an_unclosed_quote_in_a_large_file_rejects_only_its_line() -> None:
    rows = LONGEST_ROW_BYTES // 10 + 50_000
    result = read('a,b\n"open,3\n' + "123456,78\n" * rows, ANYTHING)
    assert (result.report["processed"], result.report["rejected"]) == (rows, 1)


def test_the_rows_behind_an_unclosed_quote_are_read_in_blocks_of_usual_size() -> None:
    # Four million rows at once took 4.2 GB of memory.
    source = io.BytesIO(b'a\n"open\n' + b"1\n" * (LONGEST_ROW_BYTES // 2 + 1))
    done = list(blocks(CsvEngine(ANYTHING), source.read))
    assert max(block.consumed for block in done) <= BLOCK_BYTES


# Characters


def test_a_row_with_nul_is_rejected() -> None:
    result = read("a,b\n1,x\0y\n2,3\n", ANYTHING)
    assert [row["a"] for row in result.rows] == ["2"]
    assert result.reasons == [(None, "nul")]
    assert result.rejected[0]["raw"] == "1,x\0y"


def test_control_characters_are_preserved() -> None:
    assert read("a,b\n\x01\x1f,\x7f\u2028\\\n", ANYTHING).rows == [{"a": "\x01\x1f", "b": "\x7f\u2028\\"}]


def test_a_binary_file_fails() -> None:
    assert refusal(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR") == "not_text"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"PK\x03\x04" + b"\0" * 26 + b"xl/workbook.xml", "an Excel workbook (xlsx)"),
        (b"PK\x03\x04\x14\0\x06\0", "a ZIP archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0", "an old Excel workbook (xls)"),
        (b"BZh91AY&SY\0", "compressed with bzip2"),
        (b"%PDF-1.7\n%\xe2\xe3", "a PDF document"),
        (b"\xef\xbb\xbf\r\n<!DOCTYPE html>\n<p>Sign in</p>", "an HTML page"),
        ("<HTML><body>".encode("utf-16"), "an HTML page"),
        (b'<?xml version="1.0"?>', "an XML document"),
        (b'{"text": 1, "number": 2}', "a JSON document"),
        (b'[\n  {"text": 1}]', "a JSON document"),
        (b'[{"text": 1}]', "a JSON document"),
    ],
)
def test_a_file_that_is_not_csv_is_named_for_what_it_is(data: bytes, kind: str) -> None:
    engine = CsvEngine(FileFormat((Column("text"),)))
    with pytest.raises(FileError, match=re.escape(kind)) as raised:
        engine.take(data, final=True)
    assert raised.value.reason == "not_csv"


@pytest.mark.parametrize("padding", [b"\x1a", b"\0" * 1_000, b"\x1a\0\0"])
@pytest.mark.parametrize("row", [b"a,1\r\n", b"a,1"])
def test_padding_at_the_end_is_reported_and_costs_no_row(row: bytes, padding: bytes) -> None:
    engine = CsvEngine(FileFormat((Column("text"), Column("n", "integer"))))
    engine.take(b"text,n\r\n" + row + padding, final=True)
    report = engine.report()
    assert (report["rows"], report["processed"], report["padding_characters"]) == (1, 1, len(padding))
    assert engine.offset == 8 + len(row) + len(padding)
    continued = CsvEngine(FileFormat((Column("text"), Column("n", "integer"))), engine.state())
    assert continued.report() == report


# Headers


def test_a_file_needs_a_header_but_no_rows() -> None:
    assert refusal(b"") == "empty_file"
    assert refusal(b"\xef\xbb\xbf") == "no_header"
    assert refusal(b"\n\r\n\n") == "no_header"
    result = read(HEADER)
    assert (result.report["rows"], result.report["success_rate"]) == (0, None)
    assert read(HEADER.rstrip()).report["rows"] == 0


def test_header_names_are_trimmed_converted_to_snake_case_and_matched_with_aliases() -> None:
    file_format = FileFormat((Column("order_date", "date", aliases=("Datum", "ordered on")), Column("http_code")))
    for header in (" Order Date ,HTTPCode", "orderDate,http-code", "DATUM,Http Code", "Ordered  On,http_code"):
        assert read(f"{header}\n2024-01-02,200\n", file_format).rows == [
            {"order_date": "2024-01-02", "http_code": "200"}
        ]


def test_a_header_without_required_columns_fails_and_names_them() -> None:
    with pytest.raises(FileError, match="lacks amount, quantity") as caught:
        read("name,email,date\n")
    assert caught.value.reason == "missing_columns"


@pytest.mark.parametrize(
    "text",
    ["Kunde;Betrag\nAlpha;12.50\n", "1,Lamp\n2,Chair\n"],
    ids=["other names", "headerless"],
)
@pytest.mark.parametrize("unknown_columns", ["drop", "keep"])
def test_a_header_with_none_of_the_configured_columns_fails(
    text: str, unknown_columns: Literal["drop", "keep"]
) -> None:
    assert refusal(text.encode(), FileFormat(ANYTHING.columns, unknown_columns)) == "no_known_columns"


def test_signs_of_units_tell_columns_apart() -> None:
    amounts = FileFormat((Column("usd", aliases=("Amount ($)",)), Column("eur", aliases=("Amount (€)",))))
    assert read("Amount ($)\n10\n", amounts).rows == [{"usd": "10", "eur": None}]
    assert read("AMOUNT €,amount_usd\n1,2\n", amounts).rows == [{"usd": "2", "eur": "1"}]
    shares = FileFormat(
        (Column("id"), Column("owned", aliases=("Ownership",)), Column("pct", aliases=("Ownership %",)))
    )
    assert read("Ownership %,Id\n51,A\n", shares).rows == [{"id": "A", "owned": None, "pct": "51"}]
    signs = FileFormat((Column("nr", aliases=("#",)), Column("share", aliases=("%",))))
    assert read("#,%\n1,5\n", signs).rows == [{"nr": "1", "share": "5"}]


def test_names_match_however_their_accents_are_composed() -> None:
    file_format = FileFormat((Column("size", aliases=("Gr\u00f6\u00dfe",)),))
    assert read("Gro\u0308\u00dfe\n1.80\n", file_format).rows == [{"size": "1.80"}]


def test_a_missing_optional_column_is_null() -> None:
    assert read("a\n1\n", ANYTHING).rows == [{"a": "1", "b": None}]


def test_duplicate_columns_fail() -> None:
    assert refusal(b"a,b,A\n1,2,3\n", ANYTHING) == "duplicate_columns"
    keeping = FileFormat(ANYTHING.columns, unknown_columns="keep")
    assert read("a,b,c,C,c_2,c\n1,2,3,4,5,6\n", keeping).rows == [
        {"a": "1", "b": "2", "c": "3", "c_3": "4", "c_2": "5", "c_4": "6"}
    ]
    assert read("a,b,c,C\n1,2,3,4\n", ANYTHING).rows == [{"a": "1", "b": "2"}]


def test_unknown_columns_are_kept_dropped_or_rejected() -> None:
    text = "a,Extra One,,b\n1,2,3,4\n"
    assert read(text, ANYTHING).rows == [{"a": "1", "b": "4"}]
    kept = read(text, FileFormat(ANYTHING.columns, unknown_columns="keep"))
    assert kept.rows == [{"a": "1", "b": "4", "extra_one": "2", "column_3": "3"}]
    assert refusal(text.encode(), FileFormat(ANYTHING.columns, unknown_columns="reject")) == "unknown_columns"


# Shapes


def test_short_and_long_rows_are_rejected() -> None:
    result = read("a,b\n1\n1,2,3\n1,2\n", ANYTHING)
    assert result.reasons == [(None, "too_few_cells"), (None, "too_many_cells")]
    assert len(result.rows) == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (b"1", "the row has 1 cells, fewer than the header's 2 (input.short_rows)"),
        (b"1,2,", "the row has 3 cells, more than the header's 2, all empty (input.long_rows)"),
        (b"1,2,3", "the row has 3 cells, more than the header's 2"),
        (b"1,\xff", "the row is not text in utf-8 (input.encodings)"),
        (
            b'"1"x,2',
            (
                "the quotes are not valid CSV: ',' expected after '\"'; if quotes are text in this file, set "
                "input.quoting to none"
            ),
        ),
    ],
)
def test_a_rejected_row_names_the_setting_that_would_decide(row: bytes, message: str) -> None:
    (rejected,) = Result(b"a,b\n" + row + b"\n", ANYTHING).rejected
    assert [error["message"] for error in rejected["errors"]] == [message]


def test_a_cell_may_have_a_megabyte() -> None:
    cell = "x" * 1_000_000
    assert read(f'a,b\n{cell},1\n"{cell}\n{cell}",2\n', ANYTHING).rows == [
        {"a": cell, "b": "1"},
        {"a": f"{cell}\n{cell}", "b": "2"},
    ]


def test_an_overlong_line_is_rejected_and_the_rest_is_read() -> None:
    result = read("a,b\n1,2\n" + "x" * (3 * LONGEST_ROW_BYTES) + "\n3,4\n5\n", ANYTHING)
    assert [row["a"] for row in result.rows] == ["1", "3"]
    assert result.reasons == [(None, "row_too_long"), (None, "too_few_cells")]
    assert [(row["row"], row["line"]) for row in result.rejected] == [(2, 3), (4, 5)]
    assert refusal(b"x" * (2 * LONGEST_ROW_BYTES), ANYTHING) == "no_header"


def test_five_thousand_columns_are_read() -> None:
    names = [f"c{number}" for number in range(5_000)]
    file_format = FileFormat(tuple(Column(name, "integer") for name in names))
    result = read(",".join(names) + "\n" + "\n".join(",".join(["7"] * 5_000) for _ in range(20)), file_format)
    assert result.report["processed"] == 20
    assert result.rows[19]["c4999"] == 7


# Cells


def cell(column_type: Any, text: str, **conditions: Any) -> Any:
    """Return a cell's value in the output, or the reason of its rejection."""
    out = io.StringIO()
    csv.writer(out).writerows([["a", "b"], [text, "x"]])
    result = read(out.getvalue(), FileFormat((Column("a", column_type, **conditions), Column("b"))))
    return result.rows[0]["a"] if result.rows else result.reasons[0][1]


@pytest.mark.parametrize(
    "text",
    [
        "1,234.50",
        "1_000",
        " 1",
        "1 ",
        "NaN",
        "nan",
        "inf",
        "-Infinity",
        "0x10",
        "1e",
        "e5",
        ".",
        "+",
        "--1",
        "١٢",
        "1\n",
        "1.2.3",
    ],
)
def test_invalid_numbers_are_rejected_and_never_read_as_zero(text: str) -> None:
    assert cell("number", text) == "not_a_number"
    assert cell("integer", text) == "not_an_integer"


@pytest.mark.parametrize(
    ("text", "value"),
    [("1.5", 1.5), ("-0.50", -0.5), ("+7", 7), ("007", 7), (".5", 0.5), ("5.", 5), ("1E3", 1000.0), ("00.10", 0.1)],
)
def test_numbers_are_read(text: str, value: float) -> None:
    assert cell("number", text) == value


def test_a_number_keeps_its_digits() -> None:
    data = f"a,b\n0.1000000000000000055511151231257827,1\n{10**17 + 1},2\n".encode()
    processed, _ = read_all(CsvEngine(FileFormat((Column("a", "number"), Column("b")))), io.BytesIO(data).read)
    assert b'"a":0.1000000000000000055511151231257827,' in processed
    assert b'"a":100000000000000001.0,' in processed


def test_every_number_is_written_so_that_readers_infer_no_integers() -> None:
    data = b"a,b\n40,1\n-0,2\n1E5,3\n,4\n2.50,5\n"
    processed, _ = read_all(
        CsvEngine(FileFormat((Column("a", "number"), Column("b", "integer")))), io.BytesIO(data).read
    )
    assert [line.split(b",")[0] for line in processed.splitlines()] == [
        b'{"a":40.0',
        b'{"a":-0.0',
        b'{"a":1E5',
        b'{"a":null',
        b'{"a":2.50',
    ]


@pytest.mark.parametrize(
    ("column_type", "text"),
    [
        ("number", "1e999"),
        ("number", "1e-99999999999999999999"),
        ("number", "-1e400"),
        ("number", "9" * 400),
        ("integer", str(2**63)),
        ("integer", str(-(2**63) - 1)),
        ("integer", "9" * 5_000),
    ],
)
def test_numbers_beyond_64_bits_are_out_of_range(column_type: str, text: str) -> None:
    assert cell(column_type, text) == "out_of_range"


def test_the_smallest_and_largest_integers_are_read() -> None:
    assert cell("integer", str(2**63 - 1)) == 2**63 - 1
    assert cell("integer", str(-(2**63))) == -(2**63)
    assert cell("integer", "3.0") == "not_an_integer"
    assert cell("integer", "-0") == 0


@pytest.mark.parametrize(
    "text",
    ["20240115", "2024-02-30", "2023-02-29", "2024-1-5", "15.01.2024", "2024-01-15T00:00", "2024-W03-1", "0000-01-01"],
)
def test_invalid_dates_are_rejected(text: str) -> None:
    assert cell("date", text) == "not_a_date"


def test_times_have_one_spelling_and_keep_their_digits() -> None:
    assert cell("date", "2024-02-29") == "2024-02-29"
    for text, written in {
        "2024-02-29T23:59:59Z": "2024-02-29T23:59:59.000000Z",
        "2024-02-29 10:00": "2024-02-29T10:00:00.000000Z",
        "2024-02-29T10:00:00.123456+05:30": "2024-02-29T04:30:00.123456Z",
        "2024-02-29 10:00:00.5+00": "2024-02-29T10:00:00.500000Z",
        "2024-02-29 10:00+0530": "2024-02-29T04:30:00.000000Z",
        "2024-02-29T10:00:00.123456789-03:00": "2024-02-29T13:00:00.123456789Z",
        "2024-02-29T10:00:00.123456700Z": "2024-02-29T10:00:00.1234567Z",
        "2024-02-29T10:00:00.123456Z": "2024-02-29T10:00:00.123456Z",
        "0001-01-01T00:00:00Z": "0001-01-01T00:00:00.000000Z",
    }.items():
        assert cell("datetime", text) == written
        assert cell("datetime", written) == written
    for text in ("2024-02-29 10:00:00+00", "2024-02-29 10:00+0530", "2024-02-29T10:00:00.123456789-03:00"):
        assert cell("datetime", text, max="2024-02-29T03:00:00Z") == "too_large"
    for text in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-00:01"):
        assert cell("datetime", text) == "out_of_range"
    for text in (
        "2024-02-29T10:00:00.1234567890Z",
        "2024-02-29T10:00:00+1",
        "2024-02-29T10:00:00+00:0",
        "2024-02-30T10:00:00Z",
        "2024-02-29T25:00:00Z",
        "2024-02-29",
        "yesterday",
        "2024-02-29T10:00:00+99:00",
    ):
        assert cell("datetime", text) == "not_a_datetime"


offsets = st.sampled_from(["", "Z", "+00", "-00:00", "+0000", "+05:30", "-11", "+1245"])


@given(
    moment=st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(str),  # noqa: DTZ001  with any offset in UTC
    offset=offsets,
    more=st.sampled_from(["", "1", "120"]),
    separator=st.sampled_from("T "),
    seconds=st.booleans(),
)
def test_a_time_is_the_same_instant_in_its_spelling(
    *, moment: str, offset: str, more: str, separator: str, seconds: bool
) -> None:
    digits = more if "." in moment else ""
    text = (moment + digits if seconds else moment[:16]).replace(" ", separator) + offset
    reading = DatetimeCheck(Column("t", "datetime")).read([text, text])
    assert reading.problems == {}
    written = reading.changed.get(0, text)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.(\d{6}|\d{6,8}[1-9])Z", written)
    assert instant_of(written) == instant_of(text)
    assert written[26:-1] == (digits.rstrip("0") if seconds else "")
    assert DatetimeCheck(Column("t", "datetime")).read([written]).changed == {}


def test_booleans_are_read() -> None:
    assert [cell("boolean", text) for text in ("true", "Yes", "1", "FALSE", "no", "0")] == [True] * 3 + [False] * 3
    assert cell("boolean", "maybe") == "not_a_boolean"


def test_an_empty_cell_is_null_unless_the_column_is_required() -> None:
    for column_type in ("string", "integer", "number", "boolean", "date", "datetime"):
        assert cell(column_type, "") is None
        assert cell(column_type, "", required=True) == "required"


def test_a_required_cell_must_not_be_empty_even_if_the_pattern_allows_it() -> None:
    assert cell("string", "", required=True, pattern="x*") == "required"


def test_both_limits_apply() -> None:
    limits = {"min": 1, "max": 10}
    assert [cell("integer", text, **limits) for text in ("0", "1", "10", "11")] == ["too_small", 1, 10, "too_large"]
    assert [cell("number", text, **limits) for text in ("0.99", "1.0", "10.01")] == ["too_small", 1.0, "too_large"]
    assert [cell("string", text, **limits, required=True) for text in ("x", "x" * 11)] == ["x", "too_long"]
    assert cell("string", "x", min=2) == "too_short"
    days = {"min": "2024-01-01", "max": "2024-12-31"}
    assert [cell("date", text, **days) for text in ("2023-12-31", "2024-01-01", "2025-01-01")] == [
        "too_small",
        "2024-01-01",
        "too_large",
    ]
    assert cell("datetime", "2024-01-01T00:00:00+02:00", min="2024-01-01T00:00:00Z") == "too_small"


@pytest.mark.parametrize("low", [1.0, 0.5])
def test_limits_of_integers_may_be_floats_as_the_options_write_them(low: float) -> None:
    file_format = FileFormat((Column("a", "integer", min=low, max=10.0), Column("b")))
    result = read("a,b\n5,x\n,x\n+7,x\n0,x\n11,x\nx,x\n", file_format)
    assert [row["a"] for row in result.rows] == [5, None, 7]
    assert result.reasons == [("a", "too_small"), ("a", "too_large"), ("a", "not_an_integer")]


def test_patterns_match_the_whole_cell_and_choices_are_exact() -> None:
    assert cell("string", "ab1", pattern="[a-z]+") == "pattern"
    assert cell("string", "ab\n", pattern="[a-z]+") == "pattern"
    assert cell("string", "", pattern="[a-z]+") is None
    assert [cell("string", text, choices=("red", "blue")) for text in ("red", "Red")] == ["red", "choices"]
    assert cell("string", "red", choices=("red",), pattern="b.*") == "pattern"


def test_a_rejected_row_lists_all_its_problems() -> None:
    result = read(HEADER + ",nomail,x,y,z\n")
    assert result.reasons == [
        ("name", "required"),
        ("email", "pattern"),
        ("amount", "not_a_number"),
        ("date", "not_a_date"),
        ("quantity", "not_an_integer"),
    ]
    assert result.report["reasons"][0] == {"column": "amount", "reason": "not_a_number", "count": 1}


# Compression


def test_gzip_is_recognised_by_its_content_and_may_have_several_members() -> None:
    data = gzip.compress((HEADER + GOOD).encode()) + gzip.compress(GOOD.encode()) + b"\0" * 20
    assert Result(data).rows == [GOOD_ROW, GOOD_ROW]


@pytest.mark.parametrize("cut", [1, 8, 9, 40])
def test_truncated_gzip_fails(cut: int) -> None:
    assert refusal(gzip.compress((HEADER + GOOD * 50).encode())[:-cut]) == "gzip_truncated"


def test_corrupt_gzip_fails() -> None:
    data = bytearray(gzip.compress((HEADER + GOOD * 50).encode()))
    data[-6] ^= 0xFF
    assert refusal(bytes(data)) == "gzip_corrupt"
    assert refusal(gzip.compress(HEADER.encode()) + b"\x1f\x8bnot another member of it") == "gzip_corrupt"


@pytest.mark.parametrize("rest", [b"\0" * 20, b"not another member", b"\0\x1a", b"\x1f"])
def test_bytes_after_a_gzip_file_are_reported_and_cost_no_row(rest: bytes) -> None:
    for members in (1, 2):
        file = io.BytesIO(gzip.compress((HEADER + GOOD).encode()) * (members - 1) + gzip.compress(b"") + rest)
        if members == 1:
            file = io.BytesIO(gzip.compress((HEADER + GOOD).encode()) + rest)
        engine, _, rejected = read_file(file, SHIPPED)
        report = engine.report()
        assert (report["rows"], report["processed"], rejected) == (1, 1, b"")
        assert report["trailing_bytes"] == len(rest)


def test_a_gzip_bomb_fails() -> None:
    bomb = gzip.compress((HEADER + GOOD).encode() + (b"x" * 999 + b"\n") * 100_000, 9)
    assert refusal(bomb) == "expands_too_much"


@pytest.mark.parametrize(
    ("start", "repeated"),
    [
        (FILE, gzip.compress(b"")),
        (FILE, gzip.compress(b"\n")),
        (FILE, bytes(999)),
        (FILE, b"x" * 999),
        (FILE + GZIP_START, EMPTY_BLOCK),
        (FILE + GZIP_START_WITH_NAME, b"x" * 999),
    ],
    ids=["empty members", "tiny members", "padding", "other bytes", "empty blocks", "a long name"],
)
def test_a_gzip_that_holds_next_to_nothing_fails_before_it_is_read_to_its_end(
    start: bytes, repeated: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_module, "OVERHEAD_FREE_BYTES", 2**18)
    source = io.BytesIO(start + repeated * (2**22 // len(repeated)))
    content = Content(source.read, SHIPPED.max_expansion)
    with pytest.raises(FileError, match="less than half of its own size") as refused:
        content.skip(2**22)
    assert refused.value.reason == "gzip_corrupt"
    assert source.tell() < 2**20


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a,b" + ",c" * 100_000 + "\n1,2\n", 1),
        ("a,b\n" + "\r" * 1_000_000 + "\n1,2\n" + "\r" * 1_000_000, 2),
        ("a,b\n1," + "0" * 1_000_000 + "x\n1," + "0" * 1_000_000 + "1\n", 2),
    ],
    ids=["equal names", "carriage returns", "zeros"],
)
@pytest.mark.parametrize("kind", ["number", "integer"])
def test_what_took_quadratic_time_is_read_in_linear_time(
    text: str, rows: int, kind: Literal["number", "integer"]
) -> None:
    """Each took minutes to hours."""
    result = read(text, FileFormat((Column("a"), Column("b", kind))))
    assert result.report["rows"] == rows
    assert [row.get("b") for row in result.rows] == ([1] if "0x" in text else [2] if "c" not in text else [])


def test_rows_that_are_compressed_one_by_one_are_read() -> None:
    assert len(Result(gzip.compress(HEADER.encode()) + gzip.compress(GOOD.encode()) * 9_000).rows) == 9_000


# Line ends


def test_a_lone_cr_is_text_when_the_header_line_ends_otherwise() -> None:
    text = 'a,b\r\n1,x\ry\r\n2,"p\rq"\r\n3,z\r\r\n'
    result = read(text, ANYTHING)
    assert [row["b"] for row in result.rows] == ["x\ry", "p\rq", "z"]
    result = read(text, dataclasses.replace(ANYTHING, line_ending="any"))
    assert [row["b"] for row in result.rows] == ["x", "p\rq", "z"]
    assert [(each["raw"], each["errors"][0]["reason"]) for each in result.rejected] == [("y", "too_few_cells")]


def test_a_lone_cr_in_a_rejected_row_is_shown_as_it_was() -> None:
    assert [each["raw"] for each in read("a,b\n1,x\ry,z\n", ANYTHING).rejected] == ["1,x\ry,z"]


def test_a_lone_cr_is_text_after_a_checkpoint() -> None:
    file_format = FileFormat((Column("a"), Column("b")))
    first = CsvEngine(file_format)
    first.take(b"a,b\n1,2\n", final=False)
    continued = CsvEngine(file_format, first.state())
    block = continued.take(b"3,x\ry\n", final=True)
    assert json.loads(block.processed) == {"a": "3", "b": "x\ry"}


# Rows of other widths


@pytest.mark.parametrize("more", ["", '4,"q"\n'], ids=["without quotes", "with quotes"])
def test_rows_of_nothing_but_delimiters_are_blank_lines(more: str) -> None:
    text = 'a,b\n1,x\n,\n,,,\n  \n"",""\n2,\n' + more
    result = read(text, ANYTHING)
    assert [row["a"] for row in result.rows] == ["1", None, "2", *(["4"] if more else [])]
    assert (result.report["blank_lines"], result.rejected) == (3, [])
    rejected = read(text, dataclasses.replace(ANYTHING, empty_rows="reject")).rejected
    assert [(each["row"], each["errors"][0]["reason"]) for each in rejected] == [(n, "empty_row") for n in (2, 3, 4)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("rows", [[b",", b"1,x"], [b"1,x", b","]], ids=["first", "last"])
def test_a_block_without_quotes_loses_its_empty_rows(rows: list[bytes], end: bytes) -> None:
    engine = CsvEngine(ANYTHING)
    engine.take(b"a,b" + end, final=False)
    block = engine.take(b"".join(row + end for row in rows), final=True)
    assert [json.loads(line) for line in block.processed.splitlines()] == [{"a": "1", "b": "x"}]
    assert (engine.rows, engine.report()["blank_lines"]) == (1, 1)


def test_short_rows_are_padded_and_long_rows_lose_empty_cells_by_option() -> None:
    text = "a,b\n1\n2,x,,\n3,x,y\n"
    assert [each["row"] for each in read(text, ANYTHING).rejected] == [1, 2, 3]
    lenient = dataclasses.replace(ANYTHING, short_rows="pad", long_rows="drop_empty_cells")
    result = read(text, lenient)
    assert result.rows == [{"a": "1", "b": None}, {"a": "2", "b": "x"}]
    assert result.reasons == [(None, "too_many_cells")]


@pytest.mark.parametrize("line", ["sep=|", "SEP=|", '"sep=|"'])
@pytest.mark.parametrize("delimiter", [None, ","])
def test_a_sep_line_of_excel_sets_the_delimiter(line: str, delimiter: str | None) -> None:
    file_format = dataclasses.replace(ANYTHING, delimiter=delimiter)
    result = read(f"{line}\r\na|b\r\n1|x,\n", file_format)
    assert (result.rows, result.report["delimiter"], result.report["rows"]) == ([{"a": "1", "b": "x,"}], "|", 1)


def test_a_sep_line_alone_is_no_header() -> None:
    assert refusal(b"sep=;\r\n") == "no_header"
