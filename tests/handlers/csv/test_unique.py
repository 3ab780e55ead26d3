"""Unique columns: exact in memory, an estimate beyond it, and the same after a checkpoint."""

import json
from typing import Any

import pytest

from handlers.csv import unique
from handlers.csv.columns import Column, FileFormat
from handlers.csv.engine import CsvEngine
from handlers.csv.unique import UniqueValues


def read(columns: tuple[Column, ...], *blocks: str) -> tuple[list[list[Any]], list[tuple[int, str, str]], Any]:
    """Return the rows, the rejected ones with column and reason, and the report. Each block has its own engine."""
    processed, rejected, state = b"", b"", None
    for number, text in enumerate(blocks, 1):
        engine = CsvEngine(FileFormat(columns), state and json.loads(json.dumps(state)))
        block = engine.take(text.encode(), final=number == len(blocks))
        processed, rejected, state = processed + block.processed, rejected + block.rejected, engine.state()
    errors = [(each["row"], error) for each in map(json.loads, rejected.splitlines()) for error in each["errors"]]
    rows = [list(json.loads(line).values()) for line in processed.splitlines()]
    return rows, [(row, error["column"], error["reason"]) for row, error in errors], engine.report()["columns"]


A, B = Column("a", unique=True), Column("b", "integer", unique=True)


@pytest.mark.parametrize("quote", ["", '"'])
def test_the_later_row_of_a_value_is_rejected_also_in_another_run(quote: str) -> None:
    rows, rejected, report = read((A, B), "a,b\nx,1\nx,2\n", f"{quote}y{quote},1\nz,3\nx,+3\n,\ny,\n,4\n")
    assert rows == [["x", 1], ["z", 3], ["y", None], [None, 4]]
    assert rejected == [
        (2, "a", "not_unique"),
        (3, "b", "not_unique"),
        (5, "a", "not_unique"),
        (5, "b", "not_unique"),
    ]
    assert [report[name]["duplicates"] for name in "ab"] == [2, 2]
    assert report["a"]["duplicates_are_exact"] is True
    assert "duplicates_estimate" not in report["a"]


def test_a_rejected_row_leaves_its_values_to_others() -> None:
    rows, rejected, _ = read((A, B), "a,b\nx,no\nx,1\ny,1\ny,2\n")
    assert rows == [["x", 1], ["y", 2]]
    assert rejected == [(1, "b", "not_an_integer"), (3, "b", "not_unique")]


@pytest.mark.parametrize(
    ("column_type", "same", "other"),
    [
        ("number", ["1.0", "1", "+1.00", "100e-2"], "1.0000000000000000000000000000001"),
        ("number", ["0", "-0.0", "0e5"], "1e-300"),
        ("number", ["1" * 100 + ".0", "1" * 100], "1" * 99 + "2"),
        ("integer", ["7", "+07", "007"], "8"),
        ("boolean", ["yes", "1", "true"], "no"),
        ("date", ["2024-01-02", "2024-01-02"], "2024-01-03"),
        (
            "datetime",
            ["9999-12-31T00:00:00.000001Z", "9999-12-31T00:00:00.000001"],
            "9999-12-31T00:00:00.000002Z",
        ),
        (
            "datetime",
            ["2024-01-02T00:00:00Z", "2024-01-02 01:00:00.000+01", "2024-01-02T00:00"],
            "2024-01-02T00:00:00.000000001Z",
        ),
        ("string", ["x", "x"], "X"),
    ],
)
def test_values_are_compared_not_their_spellings(column_type: str, same: list[str], other: str) -> None:
    _, rejected, _ = read((Column("a", column_type, unique=True),), "a\n" + "\n".join([*same, other]))
    assert [row for row, *_ in rejected] == list(range(2, len(same) + 1))


def test_memory_is_bounded_and_the_report_says_that_the_number_is_an_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unique, "MOST_DIGESTS", 2_000)
    values = [f"v{number}" for number in range(20_000)]
    text = "\n".join(["a", *values, *values])
    rows, rejected, report = read((A,), text)
    # Without a single row that is rejected for nothing, some duplicates are found.
    assert rows[:20_000] == [[value] for value in values]
    assert 0 < len(rejected) == report["a"]["duplicates"] < 2_000
    assert report["a"]["duplicates_are_exact"] is False
    assert report["a"]["duplicates_estimate"] == pytest.approx(20_000, rel=0.15)


def test_the_state_continues_beyond_the_bound() -> None:
    whole, first, second = (UniqueValues(A, 100) for _ in range(3))
    for number in range(2_000):
        if number == 1_000:
            second.restore(json.loads(json.dumps(first.state())))
        for values in (whole, first if number < 1_000 else second):
            digest = values.digest(f"{number % 700}")
            if not (digest and values.has(digest)):
                values.add(digest)
    assert second.report() == whole.report()
    assert second.state() == whole.state()
    assert len(whole._digests) <= 100
