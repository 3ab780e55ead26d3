"""Statistics: sums are exact, and none of them fails a file."""

import io
import itertools
import json
import math
import re
from decimal import Context, Decimal
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from handlers.csv import file_report
from handlers.csv import table as table_module
from handlers.csv.column_types import COLUMN_TYPES
from handlers.csv.columns import Column, FileFormat
from handlers.csv.distributions import Sample
from handlers.csv.engine import CsvEngine
from handlers.csv.statistics import ColumnStatistics
from tests.handlers.csv.reading import read_file


def test_a_sum_beyond_a_double_is_none_and_stands_as_text() -> None:
    statistics = ColumnStatistics("numbers", 10)
    statistics.add(["1e308"] * 10)
    assert (statistics.report()["sum"], statistics.report()["exact_sum"]) == (None, "1E+309")


def test_sums_that_overflow_both_ways_do_not_fail_a_file() -> None:
    statistics = ColumnStatistics("numbers", 10)
    for cells in (["1e308"] * 10, ["-1e308"] * 10, ["1e308", "1e308", "-1e308", "-1e308", "0.5"]):
        statistics.add(cells)
    report = statistics.report()
    assert (report["sum"], report.get("failure"), "exact_sum" in report) == (0.5, None, False)


amounts = st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**9), max_value=10**9)
numbers = st.one_of(
    amounts.map(str),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20).map(lambda n: f"{n:f}"),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["1e308", "-1e308", "5e-324", "0.1", "1e-400", "-0", "0.0000000000001", "12345678901234567890.12"]),
)


@given(columns=st.lists(st.lists(amounts.map(str), max_size=50) | st.lists(numbers, max_size=20), max_size=4))
def test_sums_of_decimals_are_exact_however_the_cells_come(columns: list[list[str]]) -> None:
    exact = Context(prec=2_000)
    right = Decimal()
    for cell in itertools.chain.from_iterable(columns):
        right = exact.add(right, Decimal(cell))
    statistics = ColumnStatistics("numbers", 10)
    for cells in columns:
        statistics.add(cells)
        again = ColumnStatistics("numbers", 10)
        again.restore(json.loads(json.dumps(statistics.state())))
        statistics = again
    report = statistics.report()
    assert Decimal(report.get("exact_sum") or repr(report["sum"])) == right
    assert report["sum"] == (float(right) if math.isfinite(float(right)) else None)


def test_a_statistic_that_fails_costs_no_row_and_is_named() -> None:
    file_format = FileFormat((Column("a", "number"), Column("b")))
    text = "a,b\n" + "1,x\n" * 3
    with patch.object(Sample, "add", side_effect=ZeroDivisionError("broken")):
        engine, processed, _ = read_file(io.BytesIO(text.encode()), file_format)
    engine = CsvEngine(file_format, json.loads(json.dumps(engine.state())))
    report = engine.report()
    assert (report["processed"], processed.count(b"\n"), report["distributions"]) == (3, 3, {})
    failure = report["columns"]["a"].pop("failure")
    assert report["columns"]["a"] == {"type": "number", "count": 3, "nulls": 0}
    assert re.fullmatch(r"ZeroDivisionError at csv/statistics.py:\d+: broken", failure)


def test_suggestions_and_distributions_that_fail_do_not_fail_a_file() -> None:
    engine, _, _ = read_file(io.BytesIO(b"a\n1\nx\n"), FileFormat((Column("a", "number"),)))
    with patch.object(file_report, "suggestions", side_effect=ZeroDivisionError("broken")):
        report = engine.report()
    assert (report["suggestions"], "ZeroDivisionError" in report["suggestions_failure"]) == ([], True)
    with patch.object(table_module, "distribution", side_effect=ZeroDivisionError("broken")):
        report = engine.report()
    assert (report["distributions"], "ZeroDivisionError" in report["columns"]["a"]["failure"]) == ({}, True)


def test_times_have_a_minimum_and_a_maximum_in_the_order_of_time_also_after_a_checkpoint() -> None:
    first, last = "2024-01-01T00:00:00.000000Z", "2024-01-01T00:00:00.0000001Z"
    one, two = ColumnStatistics("times", 1), ColumnStatistics("times", 1)
    assert (one.report()["min"], one.report()["max"]) == (None, None)
    one.add([last, ""])
    two.restore(json.loads(json.dumps(one.state())))
    two.add([first])
    assert (two.report()["min"], two.report()["max"]) == (first, last)
    assert COLUMN_TYPES["datetime"].statistics == "times"
