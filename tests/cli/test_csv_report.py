"""`pipeline csv report`: a report as tables and as a page. The page is safe, whatever a file put into the report."""

import io
import json
import re
import stat
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.csv_page import page
from cli.csv_report import FileReport
from handlers.csv.engine import CsvEngine, blocks
from tests.handlers.csv.test_presets import file_format

from .conftest import Command

COLUMNS: list[dict[str, Any]] = [
    {"name": "size"},
    {"name": "price", "type": "number"},
    {"name": "day", "type": "date"},
    {"name": "at", "type": "datetime"},
    {"name": "sold", "type": "boolean"},
]
ELEMENTS = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "ul", "li", "table", "thead", "tbody", "tr"),
    *("th", "td", "svg", "rect", "div", "figure", "figcaption"),
}
ATTRIBUTES = {
    *("lang", "charset", "http-equiv", "content", "name", "class", "x", "y", "width", "height", "fill", "viewbox"),
    *("role", "aria-label", "aria-hidden"),
}
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title></style><svg onload=alert(1)>",
    "&lt;b&gt;",
    "javascript:alert(1)",
    "a\u202evsc.exe\u2066",
    "\x1b]0;title\x07",
    "url(https://example.invalid/x)",
    "'--><!--",
    "\ud800",
]


class Elements(HTMLParser):
    """The elements, attributes and text of a page."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.values: set[str] = set()
        self.words = ""
        self.open: list[str] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        self.attributes |= {name for name, _ in attrs}
        self.values |= {value or "" for _, value in attrs}
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)


def report_on(text: str, **options: Any) -> dict[str, Any]:
    engine = CsvEngine(file_format(None, COLUMNS, **options))
    for _ in blocks(engine, io.BytesIO(text.encode()).read):
        pass
    return {"key": "raw/a.csv", "status": "succeeded", "duration_seconds": 1.5, **engine.report()}


def full() -> dict[str, Any]:
    rows = "".join(
        f"{'SML'[number % 3]},{number},2024-01-{number % 28 + 1:02},2024-01-01T00:00:{number % 60:02}Z,"
        f"{'yes' if number % 4 else ''}\n"
        for number in range(200)
    )
    return report_on("size,price,day,at,sold,zz\n".replace(",zz", "") + rows + "S,3,31.01.2024,,\n")


def page_of(report: dict[str, Any]) -> Elements:
    markup = page(FileReport.model_validate(report))
    assert markup.isascii() or markup.encode("utf-8", "backslashreplace")
    return Elements(markup)


def test_a_page_has_charts_of_reasons_nulls_and_distributions() -> None:
    found = page_of(full())
    assert set(found.elements) <= ELEMENTS
    assert found.open == []
    for heading in ("Rejected for", "Nulls in the processed rows", "Distributions", "Columns of the processed rows"):
        assert heading in found.words
    assert "201 rows: 200 processed (99.5 %), 1 rejected, in 1.50 s" in found.words
    # A stored report may have a rate that was rounded up.
    assert "(99.5 %)" in page_of(full() | {"success_rate": 1.0}).words
    assert "Suggestion: input.columns.day: {format: ['%d.%m.%Y']}" in found.words
    assert "p5 9, p25 49, p50 99, p75 149, p95 189" in found.words
    # A bar for each reason, null column, bin of price, day and at, and value of size and sold; and the rows' two.
    assert found.elements["rect"] == 2 + 1 + 1 + 3 * 10 + 3 + 1


def test_a_page_loads_and_runs_nothing() -> None:
    found = page_of(full())
    assert found.attributes <= ATTRIBUTES
    assert "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'" in found.values
    assert not re.search("https?:|url\\(|@import", page(FileReport.model_validate(full())))


def _poisoned(value: Any, poison: str) -> Any:
    """Return a report with a hostile text in place of every text, also of names."""
    if isinstance(value, str):
        return poison
    if isinstance(value, dict):
        known = {"distributions", "columns"}
        return {
            key: {f"{poison}{number}": _poisoned(each, poison) for number, each in enumerate(inner.values())}
            if key in known and isinstance(inner, dict)
            else _poisoned(inner, poison)
            for key, inner in value.items()
        }
    return [_poisoned(each, poison) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("poison", HOSTILE)
def test_a_text_of_a_file_is_text_on_the_page(poison: str) -> None:
    report = _poisoned(full() | {"error": "e", "reason": "r", "processed_key": "k", "completed_at": "now"}, poison)
    found, usual = page_of(report), page_of(full())
    assert set(found.elements) <= ELEMENTS
    assert found.attributes <= usual.attributes
    assert all(character.isprintable() or character == "\n" for character in found.words)
    if poison.isprintable():
        assert poison in found.words


@given(poison=st.text(max_size=20))
@settings(max_examples=50)
def test_no_text_adds_an_element_or_an_attribute(poison: str) -> None:
    report = full() | {"key": poison, "error": poison, "reason": poison, "unknown_columns": [poison]}
    found = page_of(report)
    assert set(found.elements) <= ELEMENTS
    assert found.attributes <= ATTRIBUTES


def test_a_page_of_many_columns_shows_the_first_ones() -> None:
    report = full()
    report["columns"] = {f"c{number}": report["columns"]["price"] for number in range(500)}
    found = page_of(report)
    assert "and 300 more columns" in found.words


def test_a_file_without_rows_has_a_page(tmp_path: Path, pipeline: Command) -> None:
    (tmp_path / "a.csv").write_text("%PDF-1.7\n")
    checked = pipeline("csv", "check", str(tmp_path / "a.csv"), "--json")
    (tmp_path / "a.json").write_text(checked.stdout)
    done = pipeline("csv", "report", str(tmp_path / "a.json"), "--html")
    assert (done.exit_code, done.stdout) == (1, f"{tmp_path / 'a.html'}\n")
    assert stat.S_IMODE((tmp_path / "a.html").stat().st_mode) == 0o600
    assert "not_csv: the file is not CSV; it is a PDF document" in Elements((tmp_path / "a.html").read_text()).words


def test_a_stored_report_is_printed_as_check_prints_it(tmp_path: Path, pipeline: Command) -> None:
    (tmp_path / "a.csv").write_text("name,email,amount,date,quantity\nAnn,ann@example.com,1,2024-01-02,3\n")
    checked = pipeline("csv", "check", str(tmp_path / "a.csv"), "--json")
    (tmp_path / "a.json").write_text(checked.stdout)
    printed = pipeline("csv", "report", str(tmp_path / "a.json"))
    again = pipeline("csv", "check", str(tmp_path / "a.csv"))
    assert printed.exit_code == 0
    assert re.sub(r"[0-9.]+ s\n", "", printed.stdout) == re.sub(r"[0-9.]+ s\n", "", again.stdout)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "must hold a JSON object"),
        ("{}", "is not the report on a CSV file: key: Field required"),
        (json.dumps({**full(), "rows": -1}), "rows: Input should be greater than or equal to 0"),
        (json.dumps({**full(), "success_rate": 2}), "success_rate: Input should be less than or equal to 1"),
    ],
)
def test_what_is_no_report_is_an_error_of_one_line(tmp_path: Path, pipeline: Command, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text)
    done = pipeline("csv", "report", str(tmp_path / "a.json"), "--html")
    assert (done.exit_code, done.stdout) == (1, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_page_does_not_overwrite_the_report(tmp_path: Path, pipeline: Command) -> None:
    path = tmp_path / "a.html"
    path.write_text(json.dumps(full()))
    done = pipeline("csv", "report", str(path), "--html")
    assert "the page would overwrite the report" in done.stderr
    assert json.loads(path.read_text()) == full()
