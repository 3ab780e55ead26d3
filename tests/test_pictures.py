"""The pictures of the docs: current where they do not depend on a run, small, and without anything from elsewhere."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks import pictures
from benchmarks.bill import dollars
from benchmarks.plot import Chart
from tests.graphs import ROOT, SAMPLES

IMAGES = sorted((ROOT / "docs/images").glob("*.svg"))
SCREENSHOTS = sorted((ROOT / "docs/images").glob("*.png"))
LARGEST_BYTES, LARGEST_SCREENSHOT_BYTES = 40_000, 150_000


def test_the_charts_of_a_burst_are_what_the_plan_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SAMPLES)
    for name, drawn in pictures.plan_charts().items():
        assert (ROOT / f"docs/images/{name}.svg").read_text() == drawn, "run: make pictures"


def test_the_cost_charts_are_what_the_model_says() -> None:
    assert (ROOT / "docs/images/cost.svg").read_text() == pictures.cost_chart(), "run: make pictures"
    assert (ROOT / "docs/images/cost-variants.svg").read_text() == pictures.bills_chart(), "run: make pictures"


def test_the_lean_bill_in_the_docs_is_the_models() -> None:
    bill = dollars(pictures.LEAN, 100)
    text = (ROOT / "docs/cost.md").read_text().replace("\n", " ")
    assert f"cost the lean one {bill['usd']:.2f} USD, and {bill['storage_usd']:.2f} USD for keeping" in text


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_a_picture_is_small_and_loads_nothing(image: Path) -> None:
    text = image.read_text()
    assert len(text) < LARGEST_BYTES
    assert re.findall(r"url\((?!#)|<image|<script|@import|@font-face", text) == []
    assert ET.fromstring(text).tag.endswith("svg")  # noqa: S314  our own file


@pytest.mark.parametrize("image", SCREENSHOTS, ids=lambda image: image.name)
def test_a_screenshot_is_small(image: Path) -> None:
    content = image.read_bytes()
    assert content.startswith(b"\x89PNG\r\n")
    assert len(content) < LARGEST_SCREENSHOT_BYTES


def test_every_picture_is_shown_in_a_document_that_names_its_command() -> None:
    texts = [path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]]
    for image in [*IMAGES, *SCREENSHOTS]:
        shown = [text for text in texts if f"images/{image.name}" in text]
        command = "make bench" if image.name.startswith("performance-") else "make pictures"
        assert any(command in text for text in shown), image.name


def test_a_chart_has_its_lines_inside_its_axes_and_shades_its_spans() -> None:
    chart = Chart("depth", "seconds", {"a": [(0, 0), (10, 70)], "b": [(0, 5), (10, 35)]}, [(2, 4, "fault <x>")])
    drawn = chart.svg()
    lines = re.findall(r'points="([^"]+)"', drawn)
    places = [tuple(map(float, point.split(","))) for line in lines for point in line.split()]
    assert len(lines) == 2
    assert all(64 <= x <= 744 and 34 <= y <= 256 for x, y in places)
    assert places[0] == (64, 256)
    assert "fault &lt;x&gt;" in drawn
    assert drawn.count("<rect") == 1


def test_a_logarithmic_chart_has_a_tick_for_each_power() -> None:
    drawn = Chart("t", "x", {"a": [(10, 1), (10_000, 1_000)]}, logarithmic=True).svg()
    assert [text for text in re.findall(r">([\dkM]+)<", drawn) if text in ("10", "100", "1k", "10k", "1")].count(
        "1k"
    ) == 2


def test_the_labels_of_shaded_spans_do_not_meet_and_the_lines_are_below_them() -> None:
    spans = [(0, 1, "a" * 30), (1, 2, "b" * 30), (2, 9, "c"), (9, 10, "d")]
    drawn = Chart("t", "seconds", {"a": [(0, 0), (10, 10)]}, spans).svg()
    labels = re.findall(r'<text x="([\d.]+)" y="(\d+)" font-size="10"[^>]*>(\w+)<', drawn)
    assert [(label[0], int(y)) for _, y, label in labels] == [("a", 38), ("b", 51), ("c", 64), ("d", 38)]
    highest = min(float(point.partition(",")[2]) for point in re.findall(r'points="([^"]+)"', drawn)[0].split())
    assert highest > 64
