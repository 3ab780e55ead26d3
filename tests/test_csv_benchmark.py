"""The table of `make bench-csv` that sets the engine beside other programs."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import csv_peers


def compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, missed: int, **peers: Any
) -> tuple[list[str], list[list[str]]]:
    """Return what is wrong, and the table's lines, of a file of 1,000 rows in which the engine misses bad rows."""
    bad = 1_000 - csv_peers.generate(tmp_path / "truth.csv", 1_000)["processed"]
    found = {"bad": bad - missed, "seconds": 0.5, "peak_mb": 40}
    monkeypatch.setattr(csv_peers, "measure_engine", lambda _: found)
    monkeypatch.setattr(csv_peers, "measure", lambda way, _: peers.get(way))
    wrong = csv_peers.compare(tmp_path, 1_000, repeats=1)
    return wrong, [line.split() for line in capsys.readouterr().out.splitlines()[1:]]


def test_a_program_that_is_not_installed_says_so_in_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    polars = {"bad": 3, "seconds": 0.25, "peak_mb": 100}
    wrong, lines = compared(tmp_path, monkeypatch, capsys, missed=0, polars=polars)
    bad = lines[0][-1]
    assert (wrong, int(bad) > 3) == ([], True)
    assert lines == [
        ["engine", "1000", "2000", "40", bad, bad],
        ["duckdb", "not", "installed:", "run", "make", "peers"],
        ["polars", "1000", "4000", "100", "3", bad],
        ["frictionless", "not", "installed:", "run", "make", "peers"],
    ]


def test_a_bad_row_that_the_engine_misses_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (wrong,), _ = compared(tmp_path, monkeypatch, capsys, missed=1)
    assert "bad rows" in wrong


def test_without_their_environment_no_program_is_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(csv_peers, "PEERS_PYTHON", tmp_path / "none")
    assert csv_peers.measure("duckdb", tmp_path) is None
