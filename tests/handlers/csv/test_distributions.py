"""Distributions: a bounded sample of the values, the same whatever the blocks, and what is shown of it."""

import json
import math
from collections.abc import Sequence
from datetime import timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.csv.distributions import FEWEST_VALUES, Sample, distribution


def sampled(values: Sequence[str], sizes: Sequence[int], columns: int) -> list[str]:
    """Return the sample of values that come in parts of these sizes, with a checkpoint after each."""
    sample, start = Sample(columns), 0
    for size in (*sizes, len(values)):
        sample.add(values[start : start + size])
        start += size
        again = Sample(columns)
        again.restore(json.loads(json.dumps(sample.state())))
        sample = again
    return sample.values


@given(st.integers(0, 500), st.lists(st.integers(0, 50), max_size=10))
def test_a_sample_is_every_nth_value_however_the_values_come(count: int, sizes: list[int]) -> None:
    values = [str(number) for number in range(count)]
    found = sampled(values, sizes, columns=10_000)
    every = 2 ** max(0, math.ceil(math.log2(max(1, count) / FEWEST_VALUES)))
    assert found == values[::every]
    assert len(found) <= FEWEST_VALUES


@pytest.mark.parametrize(
    ("kind", "values", "shown"),
    [
        ("string", [], None),
        ("string", [str(number) for number in range(100)], None),
        ("string", ["x" * 64] * 100, None),
        ("string", ["a"] * 3 + ["b"] * 2, None),
        (
            "string",
            ["a"] * 15 + ["b"] * 5,
            {"sampled": 20, "values": [{"value": "a", "share": 0.75}, {"value": "b", "share": 0.25}]},
        ),
        ("boolean", ["true"], {"sampled": 1, "values": [{"value": "true", "share": 1.0}]}),
        (
            "integer",
            ["7", "7"],
            {
                "sampled": 2,
                "bins": [{"from": 7.0, "to": 7.0, "share": 1.0}],
                "quantiles": {"p5": 7.0, "p25": 7.0, "p50": 7.0, "p75": 7.0, "p95": 7.0},
            },
        ),
    ],
)
def test_the_distribution_of_few_values(kind: str, values: list[str], shown: object) -> None:
    assert distribution(kind, values) == shown


def test_bins_have_equal_widths_and_all_values() -> None:
    found = distribution("number", [str(number) for number in range(101)])
    assert found is not None
    assert [each["from"] for each in found["bins"]] == list(range(0, 100, 10))
    assert [round(each["share"] * 101) for each in found["bins"]] == [10] * 9 + [11]
    assert found["quantiles"] == {"p5": 5.0, "p25": 25.0, "p50": 50.0, "p75": 75.0, "p95": 95.0}


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("number", ["-1.7976931348623157e308", "1.7976931348623157e308", "0"]),
        ("number", ["5e-324", "0", "1e-323"]),
        ("number", ["1", "1.0000000000000002"]),
        ("integer", ["-9223372036854775808", "9223372036854775807"]),
        ("date", ["0001-01-01", "9999-12-31"]),
        ("date", ["2024-01-01", "2024-01-02"]),
        ("datetime", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]),
        ("datetime", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]),
        ("datetime", ["2024-01-01 00:00:00.123456789+00", "2024-01-01T00:00:00"]),
    ],
)
def test_extreme_values_have_a_distribution_that_is_json(kind: str, values: list[str]) -> None:
    found = distribution(kind, values)
    assert found is not None
    assert sum(each["share"] for each in found["bins"]) == pytest.approx(1)
    json.dumps(found, allow_nan=False)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
def test_all_numbers_are_in_bins(numbers: list[float]) -> None:
    found = distribution("number", [repr(number) for number in numbers])
    assert found is not None
    assert sum(each["share"] for each in found["bins"]) == pytest.approx(1)
    json.dumps(found, allow_nan=False)


zones = st.integers(-1_439, 1_439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.lists(st.datetimes(timezones=st.none() | zones), min_size=1, max_size=20))
def test_all_times_are_in_bins(times: list[object]) -> None:
    found = distribution("datetime", [str(time) for time in times])
    assert found is not None
    assert sum(each["share"] for each in found["bins"]) == pytest.approx(1)
