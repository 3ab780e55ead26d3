"""The counts of a file's rows."""

import pytest

from cli.file_report import percent
from handlers.csv.counts import Counts


@pytest.mark.parametrize(
    ("rows", "processed", "rate"),
    [
        (1, 1, 1.0),
        (3, 2, 0.666666),
        (10_000_000, 9_999_999, 0.999999),
        (10_000_000, 1, 0.0),
        (100, 29, 0.29),
        (0, 0, None),
    ],
)
def test_the_success_rate_is_1_only_where_all_rows_were_processed(
    rows: int, processed: int, rate: float | None
) -> None:
    assert Counts(rows=rows, processed=processed).report()["success_rate"] == rate


@pytest.mark.parametrize(
    ("share", "shown"),
    [(1, "100 %"), (9_999_999 / 10_000_000, "99.99 %"), (0.29, "29 %"), (2 / 3, "66.66 %"), (1e-9, "0 %")],
)
def test_a_share_is_shown_as_100_percent_only_where_it_is_all(share: float, shown: str) -> None:
    assert percent(share) == shown
