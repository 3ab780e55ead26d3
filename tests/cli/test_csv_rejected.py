"""`pipeline csv rejected`: the rows come back as a file that is read as the upload was."""

import io
import json
from typing import Any

import pytest

from cli.csv_rejected import lines_before, write
from components.options.csv import CsvPipelineConfig
from handlers.csv.columns import FileFormat
from local.errors import LocalError
from tests.components.test_csv import loaded
from tests.handlers.csv.reading import read_file

COLUMNS = [{"name": "n", "type": "integer", "required": True}, {"name": "text"}]


def read(config: CsvPipelineConfig, data: bytes) -> tuple[dict[str, Any], list[Any], list[Any]]:
    engine, *outputs = read_file(io.BytesIO(data), FileFormat.from_json(config.format_json()))
    processed, rejected = ([json.loads(line) for line in each.splitlines()] for each in outputs)
    return engine.report(), processed, rejected


@pytest.mark.parametrize(
    ("given", "data"),
    [
        ({}, b"n,text\n1,a\nx,b\n2\n3,c,d\ny,e\n"),
        ({}, b"Text;N\r\na;1\r\nb;x\r\nc,d;y\r\n2\r\n"),
        ({}, b'sep=;\nn;text\nx;"a ""b"";\r\nc"\n1;b\ny;c\n'),
        ({}, b'n,text\nx,"never closed\n1,a\n2,"b" c\n'),
        ({}, b"n,text\rx,a\r1,b\ry,c\r"),
        ({"header": "none"}, b"1;a\nx;b\n2;c\ny;d\n"),
        ({"header": "none", "delimiter": "||"}, b"1||a\nx||b\ny\n"),
        ({"header": "find"}, b"A report\n\nof,us\nn,text\n1,a\nx,b\n"),
        ({"skip_lines": 2, "comment": "#"}, b"A report\nof us\n# yes\nn,text\n1,a\n# no\nx,b\n"),
        ({"footer": {"last_rows": 2}}, b"n,text\n1,a\nx,b\ny,c\n2,d\ntotal,2\nend\n"),
        ({"footer": {"starts_with": ["Total"]}}, b"n,text\nTotal,9\nx,a\n1,b\nTotal,9\n"),
        ({"encodings": ["windows-1252"]}, "n,text\n1,\u00e9\nx,\u00e9\u20ac\n".encode("windows-1252")),
        ({"encodings": ["utf-8", "windows-1252"]}, "n,text\n1,\u00e9\nx,\u00e9\u20ac\n".encode("windows-1252")),
        ({}, "n\ttext\n1\t\u00e9\nx\t\u00e9\n".encode("utf-16")),
        ({"encodings": ["utf-8"]}, b"n,text\n1,\xff\nx,\xfe\n2,a\n"),
        ({"quoting": "none"}, b'n,text\nx,it"s\n1,a"b\ny,"\n'),
        ({"escape": "\\"}, b'n,text\nx,"a \\" b"\n1,a\ny,c\\,d\n'),
    ],
)
def test_rows_that_nobody_corrected_are_rejected_again_and_no_other_is(given: dict[str, Any], data: bytes) -> None:
    config = loaded(input={"columns": COLUMNS, **given})
    report, processed, rejected = read(config, data)
    assert processed
    assert rejected
    file = io.BytesIO()
    footer = config.input.footer.last_rows or 0 if config.input.footer else 0
    assert write(file, lines_before(report, config.input, "k"), rejected, footer) == (len(rejected), 0)
    _, none, again = read(config, file.getvalue())
    assert none == []
    assert [(row["raw"], [error["column"] for error in row["errors"]]) for row in again] == [
        (row["raw"], [error["column"] for error in row["errors"]]) for row in rejected
    ]


def test_corrected_rows_are_processed() -> None:
    config = loaded(input={"columns": COLUMNS})
    report, processed, rejected = read(config, b'text;n\na;1\n"b\nc";x2\nd;x3\n')
    file = io.BytesIO()
    write(file, lines_before(report, config.input, "k"), rejected, 0)
    assert file.getvalue().decode("utf-8-sig") == 'sep=;\ntext;n\n"b\nc";x2\nd;x3\n'
    _, corrected, rejected = read(config, file.getvalue().replace(b";x", b";"))
    assert [*processed, *corrected] == [{"n": n, "text": text} for n, text in enumerate(["a", "b\nc", "d"], 1)]
    assert rejected == []


def test_what_cannot_be_written_is_said() -> None:
    config = loaded(input={"columns": COLUMNS})
    cut = {"raw": "x" * 10, "errors": [{"column": None, "reason": "row_too_long", "message": ""}]}
    file = io.BytesIO()
    assert write(file, [], [cut], 0) == (0, 1)
    assert file.getvalue() == b""
    with pytest.raises(LocalError, match=r"csv reprocess --key raw/a\.csv"):
        list(lines_before({"delimiter": ","}, config.input, "raw/a.csv"))
    with pytest.raises(LocalError, match="too long"):
        list(lines_before({"delimiter": ",", "header": "x" * 100_000}, config.input, "raw/a.csv"))
