"""The part of `make bench` that sets the CSV engine beside other programs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import csv_peers
from benchmarks.figures import TINY, Rows

SIZE = replace(TINY, compared_rows=1_000)


def compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, missed: int, **peers: Any) -> tuple[int, Rows]:
    """Return the bad rows of a file of 1,000, and the figures, where the engine misses some."""
    bad = 1_000 - csv_peers.generate(tmp_path / "truth.csv", 1_000)["processed"]
    found = {"bad": bad - missed, "seconds": 0.5, "peak_mb": 40}
    monkeypatch.setattr(csv_peers, "run_engine", lambda _: found)
    monkeypatch.setattr(csv_peers, "run", lambda way, _: peers.get(way))
    return bad, csv_peers.measure(SIZE)


def test_a_program_that_is_not_installed_has_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    polars = {"bad": 3, "seconds": 0.25, "peak_mb": 100}
    bad, rows = compared(tmp_path, monkeypatch, missed=0, polars=polars)
    assert bad > 3
    assert rows == {
        "engine": {"rows_per_s": [2_000], "peak_mb": [40], "bad_found": [bad], "bad": [bad], "ratio_engine": [1]},
        "polars": {"rows_per_s": [4_000], "peak_mb": [100], "bad_found": [3], "bad": [bad], "ratio_engine": [0.5]},
    }


def test_a_bad_row_that_the_engine_misses_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="bad rows"):
        compared(tmp_path, monkeypatch, missed=1)


def test_without_their_environment_no_program_is_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(csv_peers, "PEERS_PYTHON", tmp_path / "none")
    assert csv_peers.run("duckdb", tmp_path) is None
