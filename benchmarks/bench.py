"""All figures of the project in one run: JSON, tables and plots.

    make bench                                what docs/performance.md shows
    make bench ONLY="cold api"                some parts: their tables are printed, and nothing is written
    .venv/bin/python -W ignore -m benchmarks.bench --render        the page and the plots again, from the JSON

It writes docs/performance.json, the marked places of docs/performance.md and docs/images/performance-*.svg. At the end
it compares the ratios with those of the JSON that it replaces: on another machine they should agree within 15 %.
Absolute figures do not carry over. Missing or wrong results are errors.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.figures import FULL, TINY, TOLERANCE, Rows, Size, differences, from_json, summarise, to_json
from benchmarks.performance import COLUMNS, page, plots, table

ROOT = Path(__file__).parents[1]
SIZES = {"full": FULL, "tiny": TINY}
# The processors' service name, and the namespace of metrics, of functions that run in the benchmark's own process.
ENVIRONMENT = {"POWERTOOLS_SERVICE_NAME": "benchmark", "POWERTOOLS_METRICS_NAMESPACE": "DataPipeline"}


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    models = [line.partition(": ")[2] for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
    }


def run_part(part: str, size: str) -> Rows:
    """Measure one part in a process of its own, so that none finds what another has left."""
    with tempfile.NamedTemporaryFile("r", suffix=".json") as file:
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.bench", "--size", size, "--part", part]
        subprocess.run(  # noqa: S603  our own command
            [*command, "--into", file.name], cwd=ROOT, env={**os.environ, **ENVIRONMENT}, check=True
        )
        rows: Rows = json.load(file)
    return rows


def run(parts: Sequence[str], size: str, folder: Path) -> None:
    """Measure parts and compare their ratios with the JSON.

    All parts together replace the JSON, the page and the plots, so that each figure there is of one run. Fewer are
    printed.
    """
    file = folder / "performance.json"
    before = from_json(json.loads(file.read_text())["parts"]) if file.exists() else {}
    used = SIZES[size]
    results = {
        "measured_on": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "rounds": used.rounds,
        "cold_starts": used.cold_starts,
    }
    measured = {}
    for part in parts:
        started = time.monotonic()
        measured[part] = summarise(run_part(part, size))
        say(f"{part}: {time.monotonic() - started:.0f} s")
    if set(parts) == set(COLUMNS):
        results["parts"] = to_json(measured)
        file.write_text(json.dumps(results, indent=1) + "\n")
        render(results, folder)
        say(f"written: {file}, performance.md and its plots")
    else:
        say("\n\n".join(["", *(table(part, figures) for part, figures in measured.items()), ""]))
    say(compared(before, measured))


def say(text: str) -> None:
    """Print at once: a part takes a minute."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def render(results: Mapping[str, Any], folder: Path) -> None:
    """Write the page and the plots."""
    document = folder / "performance.md"
    document.write_text(page(document.read_text(), results))
    (folder / "images").mkdir(exist_ok=True)
    for name, plot in plots(results).items():
        (folder / "images" / name).write_text(plot)


def compared(before: Mapping[str, Any], measured: Mapping[str, Any]) -> str:
    """Return how the ratios changed, as lines."""
    found = list(differences(before, measured))
    if not found:
        return "There is no earlier run to compare with."
    apart = [each for each in found if not each.is_within]
    lines = [f"{each.name}: {each.before:g} before, {each.after:g} now" for each in apart]
    agree = len(found) - len(apart)
    return "\n".join([f"{agree} of {len(found)} ratios are within {TOLERANCE:.0%} of the earlier run", *lines])


def measure(part: str, size: Size) -> Rows:
    """Measure one part in this process."""
    rows: Rows = import_module(f"benchmarks.{part}").measure(size)
    return rows


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(COLUMNS)}; all if none is given")
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--folder", type=Path, default=ROOT / "docs")
    parser.add_argument("--render", action="store_true")
    parser.add_argument("--part", choices=COLUMNS, help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := [part for part in options.parts if part not in COLUMNS]:
        parser.error(f"unknown parts: {', '.join(unknown)}")
    if options.part:
        options.into.write_text(json.dumps(measure(options.part, SIZES[options.size])))
    elif options.render:
        render(json.loads((options.folder / "performance.json").read_text()), options.folder)
    else:
        run(options.parts or list(COLUMNS), options.size, options.folder)


if __name__ == "__main__":
    main()
