"""The pictures in docs/images, from real runs.

make pictures                                          redrive.svg, cost.svg, cost-variants.svg and plan-*.svg
python -m benchmarks.drill --timeline .build/drill.json && make pictures      drill.svg, too
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

from benchmarks.plot import Chart
from cli.cost import PRICES, monthly_dollars, read_prices
from cli.cost_model import INGEST_MS, INGEST_MS_AN_EVENT, WORKER_MS, WORKER_MS_AN_EVENT, Traffic
from cli.cost_units import GB, LOG_BYTES_A_RUN
from cli.plan.advice import advise, course
from cli.plan.situation import Load, Situation
from components.config import load
from components.options.api import ApiPipelineConfig
from local.project import load_project
from local.recording import synthesise

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs/images"
SAMPLES = ROOT / "tests/samples"
TIMELINE = ROOT / ".build/drill.json"
COLUMNS = 80
WAIT_SECONDS = 60


def cost_chart() -> str:
    """Return the cost of a million events against their number a month, one by one and 100 to a request."""
    config = load(load_project(SAMPLES, "dev").config, file="Pulumi.dev.yaml", check_processor=False)
    if not isinstance(config, ApiPipelineConfig):
        raise TypeError("the sample stack dev must be of the variant api")
    graph, prices = synthesise(SAMPLES, "dev"), read_prices(str(PRICES))
    volumes = [10.0 ** (power / 4) for power in range(16, 37)]
    lines = {
        name: [
            (volume, monthly_dollars(prices, config, graph, Traffic(round(volume), size, 500)) / volume * 1_000_000)
            for volume in volumes
        ]
        for name, size in (("1 to a request", 1), ("100 to a request", 100))
    }
    return Chart("USD for a million events", "events a month", lines, logarithmic=True).svg()


LEAN: dict[str, Any] = {
    "api": {"track": False},
    "storage": {"results": "inline", "time_index": False},
    "worker": {"batch_size": 100, "batching_window_seconds": 1},
}


def bills_chart() -> str:
    """Return a month's bill against the events: of the stack dev, of a lean one, and of the naive pipeline."""
    prices = read_prices(str(PRICES))
    volumes = [10.0 ** (power / 4) for power in range(16, 37)]

    def of(size: int, options: dict[str, Any]) -> list[tuple[float, float]]:
        project = load_project(SAMPLES, "dev").with_config(options)
        config = load(project.config, file="Pulumi.dev.yaml", check_processor=False)
        if not isinstance(config, ApiPipelineConfig):
            raise TypeError("the sample stack dev must be of the variant api")
        graph = synthesise(SAMPLES, "dev", options)
        return [
            (volume, monthly_dollars(prices, config, graph, Traffic(round(volume), size, 500))) for volume in volumes
        ]

    lines = {
        "dev, 1 to a request": of(1, {}),
        "lean, 100 to a request": of(100, LEAN),
        "naive": [(volume, naive_dollars(prices, volume)) for volume in volumes],
    }
    return Chart("USD a month", "events a month", lines, logarithmic=True).svg()


def naive_dollars(prices: Mapping[str, Any], events: float) -> float:
    """Return what the calls of benchmarks/api.py's naive pipeline cost, and runs as long as ours of a single event.

    One request, one PutItem and one SendMessage an event; one receipt and one deletion, one PutObject, one UpdateItem.
    It has no alarms, no dashboard and no metrics.
    """
    used = {
        "api_gateway.http_requests": 1,
        "lambda.requests": 2,
        "lambda.gb_seconds": (INGEST_MS + INGEST_MS_AN_EVENT + WORKER_MS + WORKER_MS_AN_EVENT) / 1_000 / 2,
        "sqs.requests": 3,
        "dynamodb.write_units": 2,
        "s3.put_requests": 1,
        "cloudwatch.log_gb": 2 * LOG_BYTES_A_RUN / GB,
    }
    table = prices["prices"]
    return events * sum(float(each * table[unit]["usd"] / table[unit]["per"]) for unit, each in used.items())


def plan_charts() -> dict[str, str]:
    """Return the queue of the lean stack around a burst, as it is and with what `pipeline plan` advises."""
    load = Load(500, burst=20, events_per_request=100, event_seconds=0.05)
    at = Situation(load_project(SAMPLES, "dev").with_config(LEAN), load, {})
    courses = {"as it is": course(at), "with the changes": course(advise(at).changed)}
    charts = {
        "plan-waiting": ("Events that wait", "waiting"),
        "plan-age": ("Age of the oldest event (s)", "age_seconds"),
    }
    return {
        name: Chart(
            title,
            "seconds",
            {
                label: [
                    (each.seconds, float(getattr(each, value)))
                    for each in played.samples[:: len(played.samples) // 200]
                ]
                for label, played in courses.items()
            },
            [(60, 360, "20 times the rate")],
        ).svg()
        for name, (title, value) in charts.items()
    }


def drill_chart(timeline: Path) -> str:
    """Return backlog and throughput of a drill over time, from the file of its option --timeline."""
    told = json.loads(timeline.read_text())
    samples = told["samples"]
    lines = {
        "orders in the queue": [(each["seconds"], each["backlog"]) for each in samples],
        "orders done in 10 seconds": [
            (later["seconds"], 10 * max(0, later["done"] - earlier["done"]) / (later["seconds"] - earlier["seconds"]))
            for earlier, later in zip(samples, samples[10:], strict=False)
        ],
    }
    shaded = [(span["from"], span["to"], span["mode"]) for span in told["faults"] if span["mode"] != "none"]
    return Chart(f"{told['events']:,} orders, with faults", "seconds", lines, shaded).svg()


class Recording:
    """A terminal session: commands and what they print."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # As in an activated environment: messages suggest commands by their names, not by paths of this machine.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        own = {"PYTHONPATH": str(folder), "COLUMNS": str(COLUMNS), "FORCE_COLOR": "1", "PATH": path}
        self.environment = {**os.environ, **own}
        self._console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115, PTH123  as long as the process

    def show(self, text: str) -> None:
        """Add a text that a program printed."""
        self._console.print(Text.from_ansi(text.rstrip("\n")), soft_wrap=False)

    def comment(self, text: str) -> None:
        """Add an explanation."""
        self._console.print(Text(f"# {text}", style="italic bright_black"))

    def run(self, command: str) -> None:
        """Run a shell command and add it with its output."""
        self._console.print(Text.assemble(("$ ", "green"), (command, "bold")))
        done = subprocess.run(  # noqa: S602  our own commands
            command, shell=True, cwd=self._folder, env=self.environment, capture_output=True, text=True, check=True
        )
        if done.stdout.strip():
            self.show(done.stdout)

    def svg(self, title: str) -> str:
        """Return the session as SVG, without fonts that a reader's browser would load from elsewhere."""
        drawn = self._console.export_svg(title=title, theme=DIMMED_MONOKAI, unique_id="recording")
        drawn = re.sub(r"@font-face \{.*?\}\n", "", drawn, flags=re.DOTALL)
        return re.sub(r"[ \t]+$", "", drawn.replace("Fira Code, monospace", "monospace"), flags=re.MULTILINE)


@contextmanager
def local_shop(recording: Recording, folder: Path) -> Iterator[Path]:
    """Run the stack shop; yields the file of its live view."""
    seen = folder / "live.txt"
    command = [sys.executable, "-W", "ignore", "-m", "cli.main", "local", "--stack", "shop", "--no-console"]
    with (
        seen.open("w") as live,
        subprocess.Popen(  # noqa: S603  ourselves
            command, cwd=folder, env=recording.environment, stdout=subprocess.DEVNULL, stderr=live
        ) as local,
    ):
        try:
            wait_for(seen, "Ctrl-C stops it")
            yield seen
        finally:
            local.terminate()


def wait_for(seen: Path, text: str, count: int = 1) -> None:
    """Wait until the live view shows a text. Raises TimeoutError."""
    deadline = time.monotonic() + WAIT_SECONDS
    while seen.read_text().count(text) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the live view does not show {text!r}:\n{seen.read_text()}")
        time.sleep(0.1)


def redrive_session() -> str:
    """Return the tutorial's failure and redrive, recorded."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each in ("handlers", "components", "local", "cli", "testing", "__main__.py", "Pulumi.yaml"):
            (folder / each).symlink_to(ROOT / each)
        (folder / "processors").mkdir()
        (folder / "processors/__init__.py").touch()
        recording = Recording(folder)
        recording.run("pipeline new shop")
        with local_shop(recording, folder) as seen:
            recording.comment("In another terminal, `pipeline local --stack shop` runs.")
            recording.run("""echo '{"event_type": "shop", "amount": 0}' > zero.jsonl""")
            recording.run("pipeline send zero.jsonl --stack shop")
            wait_for(seen, "Rejected: amount must be above 0")
            wait_for(seen, "failed    shop")
            recording.comment("The live view shows the failure with its traceback:")
            recording.show(seen.read_text().partition("console --stack shop\n")[2].strip("\n"))
            recording.run("pipeline dead-letters list --stack shop")
            before = len(seen.read_text())
            recording.comment("Fix the function. It is reloaded on save.")
            recording.run("sed -i 's/<= 0/< 0/' processors/shop.py")
            wait_for(seen, "reloaded pipeline-worker")
            recording.run("pipeline dead-letters redrive --stack shop")
            wait_for(seen, "succeeded shop")
            recording.comment("The live view:")
            recording.show(seen.read_text()[before:].strip("\n"))
            recording.run("pipeline events --stack shop")
    return recording.svg("pipeline: from a failure to its redrive")


def main() -> int:
    """Write the pictures."""
    IMAGES.mkdir(exist_ok=True)
    (IMAGES / "cost.svg").write_text(cost_chart(), encoding="utf-8")
    (IMAGES / "cost-variants.svg").write_text(bills_chart(), encoding="utf-8")
    for name, drawn in plan_charts().items():
        (IMAGES / f"{name}.svg").write_text(drawn, encoding="utf-8")
    if TIMELINE.is_file():
        (IMAGES / "drill.svg").write_text(drill_chart(TIMELINE), encoding="utf-8")
    (IMAGES / "redrive.svg").write_text(redrive_session(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
