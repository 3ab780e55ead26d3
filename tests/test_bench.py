"""Statistics, tables, plots and the page of `make bench`, on made-up figures. Measuring itself needs an emulator."""

import json
import re
import sys
import xml.etree.ElementTree as ET
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from benchmarks import bench
from benchmarks.figures import Figure, differences, from_json, rounded, summarise, to_json
from benchmarks.performance import COLUMNS, GOALS, blocks, goals_table, page, plots, table
from benchmarks.plot import BAR, NAMES, VALUES, WIDTH, Bars
from tests.graphs import ROOT

DOCUMENT, RESULTS, IMAGES = (ROOT / "docs" / name for name in ("performance.md", "performance.json", "images"))


def results(**parts: Any) -> dict[str, Any]:
    """Return made-up results: a part's rows, with a value per round."""
    return {
        "measured_on": "2026-01-02",
        "machine": {"cpu": "A CPU", "cores": 2, "system": "Linux x86_64", "python": "3.11.7", "load": 0.25},
        "rounds": 3,
        "cold_starts": 9,
        "parts": to_json({part: summarise(rows) for part, rows in parts.items()}),
    }


STARTS = {
    "tutorial, POST /events": {
        "imports_ms": [400, 402, 404],
        "clients_ms": [80],
        "first_call_ms": [50],
        "peak_mb": [79],
    },
    "api worker": {"imports_ms": [60], "clients_ms": [20], "first_call_ms": [30], "peak_mb": [26]},
}
SERVED = {
    f"{clients} clients": {"clients": [clients], "p50_ms": [clients * 10], "p90_ms": [clients * 20], "p99_ms": [500]}
    for clients in (1, 8, 32)
}


def test_a_figure_is_the_median_with_the_lowest_and_the_highest_value() -> None:
    assert Figure.of([3, 1, 10]) == Figure(3, 1, 10)
    assert Figure.of([1, 2]) == Figure(1.5, 1, 2)
    with pytest.raises(ValueError, match="at least one value"):
        Figure.of([])


@pytest.mark.parametrize(
    ("value", "expected"), [(123_456.0, 123_500), (0.0123461, 0.01235), (0.0, 0), (9.99999, 10), (-12_345.0, -12_340)]
)
def test_a_figure_has_four_digits(value: float, expected: float) -> None:
    assert rounded(value) == expected


def test_a_figure_shows_its_spread_where_there_is_one() -> None:
    assert Figure(137, 131, 152).text("{:.0f}") == "137 (131-152)"
    assert Figure(137, 136.9, 137.1).text("{:.0f}") == "137"


def test_figures_survive_their_json() -> None:
    figures = {"cold": summarise(STARTS)}
    assert from_json(json.loads(json.dumps(to_json(figures)))) == figures
    assert figures["cold"]["tutorial, POST /events"]["imports_ms"] == Figure(402, 400, 404)


def test_only_ratios_that_both_runs_have_are_compared() -> None:
    before = {"api": summarise({"a": {"ratio_cpu": [10], "cpu_us": [1]}, "gone": {"ratio_cpu": [1]}})}
    after = {"api": summarise({"a": {"ratio_cpu": [11], "cpu_us": [9]}, "new": {"ratio_cpu": [1]}})}
    (found,) = differences(before, after)
    assert (found.name, found.before, found.after, found.is_within) == ("api: a: ratio_cpu", 10, 11, True)


@pytest.mark.parametrize(("now", "is_within"), [(11.4, True), (11.6, False), (8.6, True), (8.4, False)])
def test_ratios_agree_within_fifteen_percent(now: float, is_within: bool) -> None:  # noqa: FBT001
    before, after = ({"csv": summarise({"a": {"ratio_bare": [value]}})} for value in (10.0, now))
    assert [each.is_within for each in differences(before, after)] == [is_within]
    told = bench.compared(before, after)
    assert told.startswith(f"{int(is_within)} of 1 ratios are within 15% of the earlier run")
    assert (f"csv: a: ratio_bare: 10 before, {now:g} now" in told) is not is_within


def test_a_first_run_has_nothing_to_compare_with() -> None:
    assert bench.compared({}, {"csv": summarise({"a": {"ratio_bare": [1]}})}).startswith("There is no earlier run")


def test_a_table_has_the_columns_that_were_measured() -> None:
    rows = summarise({"a": {"cpu_us": [1_234, 1_200, 1_300], "calls": [0.05]}, "b": {"cpu_us": [7]}})
    assert table("api", rows).splitlines() == [
        "| per event | CPU µs | AWS calls |",
        "| --- | ---: | ---: |",
        "| a | 1,234 (1,200-1,300) | 0.05 |",
        "| b | 7 | – |",  # noqa: RUF001  a dash
    ]


def test_a_goal_is_met_missed_with_its_reason_or_not_measured() -> None:
    worker, speed = (goal for goal in GOALS if goal.name in ("worker, AWS calls per event, batches of 100", SPEED))
    parts = from_json(results(api={worker.row: {"calls": [0.05]}}, csv={speed.row: {"rows_per_s": [549_900]}})["parts"])
    lines = {line.split(" | ")[0].removeprefix("| "): line.split(" | ")[1:] for line in goals_table(parts).splitlines()}
    assert lines[worker.name] == ["at most 0.05", "0.05", "yes", " |"]
    assert lines[speed.name][:3] == ["at least 550,000", "549,900", "**no**"]
    assert lines[speed.name][3] == f"{speed.reason} |"
    others = [line for name, line in lines.items() if name in {goal.name for goal in GOALS} - {worker.name, speed.name}]
    assert {line[2] for line in others} == {"not measured"}
    assert len(others) == len(GOALS) - 2


SPEED = "CSV rows per CPU second, defaults"


def test_the_page_is_written_between_its_markers_and_again() -> None:
    places = [f"<!-- bench: {name} -->\nbefore it\n<!-- /bench -->\n" for name in blocks(results())]
    given = results(cold=STARTS, load=SERVED)
    written = page("# Title\n" + "\nby hand\n".join(places), given)
    assert page(written, given) == written
    assert "before it" not in written
    assert written.count("by hand") == len(places) - 1
    assert "A CPU, 2 cores, Linux x86_64, Python 3.11.7" in written
    assert "| api worker | 60 | 20 | 30 | 26 |" in written
    assert "Not measured." in written


def test_a_page_without_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match="no place <!-- bench: machine -->"):
        page("# Title\n", results())


def test_a_bar_is_as_long_as_its_parts_together() -> None:
    drawn = Bars("t", ("one", "other"), {"long": [30, 10], "short <x>": [4, 4]}).svg()
    found = [
        (float(x), int(y), float(width))
        for x, y, width in re.findall(r'<rect x="([\d.]+)" y="(\d+)" width="([\d.]+)"', drawn)
    ]
    whole = WIDTH - NAMES - VALUES
    assert found == [
        (NAMES, 34, whole * 0.75),
        (NAMES + whole * 0.75, 34, whole * 0.25),
        (NAMES, 34 + BAR, whole / 10),
        (NAMES + whole / 10, 34 + BAR, whole / 10),
    ]
    assert [text in drawn for text in (">40<", ">8<", ">one<", "short &lt;x&gt;")] == [True] * 4


def test_the_plots_show_what_was_measured() -> None:
    drawn = plots(results(cold=STARTS, load=SERVED))
    assert drawn.keys() == {"performance-cold.svg", "performance-load.svg", "performance-memory.svg"}
    assert all(ET.fromstring(plot).tag.endswith("svg") for plot in drawn.values())  # noqa: S314  our own
    assert ">532<" in drawn["performance-cold.svg"]
    assert drawn["performance-load.svg"].count("<polyline") == 3
    assert plots(results()) == {}


def test_each_part_can_be_measured() -> None:
    assert [
        part for part in COLUMNS if not callable(getattr(import_module(f"benchmarks.{part}"), "measure", None))
    ] == []


# What is committed


def test_page_and_plots_are_those_of_the_committed_figures() -> None:
    committed = json.loads(RESULTS.read_text())
    assert DOCUMENT.read_text() == page(DOCUMENT.read_text(), committed), "run: python -m benchmarks.bench --render"
    assert {path.name: path.read_text() for path in IMAGES.glob("performance-*.svg")} == plots(committed)


def test_a_goal_that_the_committed_figures_miss_has_a_reason() -> None:
    assert "not known" not in goals_table(from_json(json.loads(RESULTS.read_text())["parts"]))


# The command


def measured_in_turn(monkeypatch: pytest.MonkeyPatch, **parts: Any) -> None:
    """Let the command find these rows, and one row without values in all other parts."""
    monkeypatch.setattr(bench, "run_part", lambda part, _size: parts.get(part, {}))


def test_all_parts_replace_json_page_and_plots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "performance.md").write_text(DOCUMENT.read_text())
    rows = {"api worker": {**STARTS["api worker"], "ratio_tutorial": [0.2, 0.21, 0.19]}}
    measured_in_turn(monkeypatch, cold=rows)
    drawn = Bars("t", ("a",), {"x": [1]}).svg()
    monkeypatch.setattr(bench, "plots", lambda _results: {"performance-cold.svg": drawn})
    bench.run(list(COLUMNS), "full", tmp_path)
    first = json.loads((tmp_path / "performance.json").read_text())
    assert first["parts"]["cold"]["api worker"]["ratio_tutorial"] == {"median": 0.2, "low": 0.19, "high": 0.21}
    assert (first["rounds"], first["machine"]["python"]) == (3, sys.version.split()[0])
    assert "| api worker | 60 | 20 | 30 | 0.20 (0.19-0.21) | 26 |" in (tmp_path / "performance.md").read_text()
    assert (tmp_path / "images/performance-cold.svg").read_text() == drawn
    assert "no earlier run" in capsys.readouterr().out
    rows["api worker"]["ratio_tutorial"] = [0.3]
    bench.run(list(COLUMNS), "full", tmp_path)
    assert "cold: api worker: ratio_tutorial: 0.2 before, 0.3 now" in capsys.readouterr().out


def test_some_parts_are_printed_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured_in_turn(monkeypatch, cold=STARTS)
    bench.run(["cold"], "full", tmp_path)
    assert "| api worker | 60 | 20 | 30 | 26 |" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
