"""The tables and plots of docs/performance.md, made from the figures of a run.

The page is written by hand, with marked places: `<!-- bench: cold -->` to `<!-- /bench -->` is replaced by what
`blocks` returns for `cold`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

from benchmarks.bill import LEAN_ROW
from benchmarks.figures import Figure, Figures, from_json
from benchmarks.plot import Bars, Chart

Parts = Mapping[str, Figures]
PAGE_COLUMNS = 100
NO_VALUE = "–"  # noqa: RUF001  a dash, in a table


@dataclass(frozen=True)
class Column:
    """A column of a table: its key in the figures, its heading, and the format of its values."""

    key: str
    heading: str
    form: str = "{:,.0f}"


@dataclass(frozen=True)
class Goal:
    """A goal of the project and the figure that shows it. `reason` says why it is missed, where it is."""

    name: str
    part: str
    row: str
    column: str
    goal: float
    form: str
    reason: str = ""
    is_maximum: bool = True

    def is_met(self, figure: Figure) -> bool:
        """Return True if the median is at the goal or better."""
        return figure.median <= self.goal if self.is_maximum else figure.median >= self.goal


COLUMNS: Mapping[str, Sequence[Column]] = {
    "cold": (
        Column("imports_ms", "imports"),
        Column("clients_ms", "clients"),
        Column("first_call_ms", "first call"),
        Column("total_ms", "together"),
        Column("ratio_tutorial", "ratio to the tutorial's", "{:.2f}"),
        Column("modules", "modules"),
        Column("peak_mb", "peak MB"),
    ),
    "api": (
        Column("cpu_us", "CPU µs"),
        Column("own_us", "of it outside calls"),
        Column("calls", "AWS calls", "{:.2f}"),
        Column("ratio_cpu", "naive CPU / ours", "{:.1f}"),
        Column("ratio_calls", "naive calls / ours", "{:.1f}"),
    ),
    "bill": (
        Column("usd", "USD per million events", "{:.2f}"),
        Column("storage_usd", "and to store them", "{:.2f}"),
    ),
    "csv": (
        Column("rows", "rows"),
        Column("rows_per_s", "rows per CPU second"),
        Column("ratio_baseline", "ratio to baseline", "{:.1f}"),
        Column("ratio_bare", "ratio to bare", "{:.1f}"),
        Column("peak_mb", "peak MB"),
    ),
    "csv_peers": (
        Column("rows_per_s", "rows per CPU second"),
        Column("ratio_engine", "CPU / engine's", "{:.2f}"),
        Column("peak_mb", "peak MB"),
        Column("bad_found", "bad rows found"),
        Column("bad", "of"),
    ),
    "iot": (
        Column("readings_per_s", "readings per CPU second"),
        Column("ratio_naive", "ratio to naive", "{:.1f}"),
        Column("calls", "AWS calls per reading", "{:.3f}"),
        Column("peak_mb", "peak MB"),
        Column("idle_mb", "MB before"),
    ),
    "load": (
        Column("events_per_s", "events per second"),
        Column("p50_ms", "p50 ms"),
        Column("p90_ms", "p90 ms"),
        Column("p99_ms", "p99 ms"),
    ),
}
"""The columns of each part's table."""

PLOTS = {
    "cold": ("performance-cold.svg", "CPU time of a cold start by function"),
    "api": ("performance-api.svg", "CPU time per event"),
    "csv_peers": ("performance-csv-peers.svg", "CSV rows per CPU second"),
    "memory": ("performance-memory.svg", "Peak memory"),
    "load": ("performance-load.svg", "Latency of a request by number of clients"),
}
"""The plot of each place of the page, and its text."""

FIRST_HEADING = {
    "cold": "CPU ms above bare Python",
    "api": "per event",
    "bill": "sample stack dev",
    "csv": "",
    "csv_peers": "",
    "iot": "object",
    "load": "",
}

GOALS: Sequence[Goal] = (
    Goal(
        "cold start of ingest to its first accepted event, over the tutorial's",
        "cold",
        "api ingest, POST /events",
        "ratio_tutorial",
        0.20,
        "{:.2f}",
        "half is imports of the standard library and Powertools' Logger; TLS is much of the rest",
    ),
    Goal(
        "cold start of ingest to `GET /health`, over the tutorial's",
        "cold",
        "api ingest, GET /health",
        "ratio_tutorial",
        0.10,
        "{:.2f}",
        "nothing of AWS is imported; what is left is the standard library, Powertools' Logger and our own modules",
    ),
    Goal(
        "ingest, CPU µs per event outside AWS calls, 100 to a request, no schema",
        "api",
        "ingest, 100 to a request",
        "own_us",
        30,
        "{:.0f}",
        "the item of a tracked event is half of it (the row with `track: false` has none), and the threads of parallel "
        "calls count",
    ),
    Goal("worker, AWS calls per event, batches of 100", "api", "worker, batches of 100", "calls", 0.05, "{:.2f}"),
    Goal(
        "variable cost of a million events, lean configuration, USD",
        "bill",
        LEAN_ROW,
        "usd",
        0.90,
        "{:.2f}",
        "0.63 is the one write; the worker's read, logs and SQS are the rest",
    ),
    Goal(
        "CSV rows per CPU second, defaults",
        "csv",
        "engine",
        "rows_per_s",
        550_000,
        "{:,.0f}",
        "an absolute speed depends on the machine: compare the ratio to the baseline in the same run",
        is_maximum=False,
    ),
    Goal(
        "CSV engine over the common approach",
        "csv",
        "engine",
        "ratio_baseline",
        5,
        "{:.1f}",
        "runs scatter by a tenth around it; the engine is 4 to 6 % slower than before its options for real files",
        is_maximum=False,
    ),
    Goal("CSV worker, peak MB, largest file", "csv", "worker, jsonl.gz, large file", "peak_mb", 100, "{:.0f}"),
)


def table(part: str, figures: Figures) -> str:
    """Return a part's table in Markdown. A column of which no row has a value is left out."""
    columns = [column for column in COLUMNS[part] if any(column.key in row for row in figures.values())]
    lines = [
        _line([FIRST_HEADING[part], *(column.heading for column in columns)]),
        _line(["---", *("---:" for _ in columns)]),
    ]
    for name, row in figures.items():
        cells = [row[column.key].text(column.form) if column.key in row else NO_VALUE for column in columns]
        lines.append(_line([name, *cells]))
    return "\n".join(lines)


def goals_table(parts: Parts) -> str:
    """Return the goals with their measured values."""
    lines = [_line(["goal", "", "measured", "met", "why not"]), _line(["---", "---:", "---:", "---", "---"])]
    for goal in GOALS:
        figure = parts.get(goal.part, {}).get(goal.row, {}).get(goal.column)
        bound = ("at most " if goal.is_maximum else "at least ") + goal.form.format(goal.goal)
        if figure is None:
            lines.append(_line([goal.name, bound, NO_VALUE, "not measured", ""]))
        elif goal.is_met(figure):
            lines.append(_line([goal.name, bound, figure.text(goal.form), "yes", ""]))
        else:
            lines.append(_line([goal.name, bound, figure.text(goal.form), "**no**", goal.reason or "not known"]))
    return "\n".join(lines)


def machine_line(results: Mapping[str, Any]) -> str:
    """Return where and when the figures were measured."""
    machine = results["machine"]
    text = (
        f"Measured on {results['measured_on']}: {machine['cpu']}, {machine['cores']} cores, {machine['system']}, "
        f"Python {machine['python']}, load average {machine['load']:.1f} at the start. Figures are medians of "
        f"{results['rounds']} rounds ({results['cold_starts']} for cold starts), with the lowest and highest in "
        f"parentheses where they differ."
    )
    return fill(text, PAGE_COLUMNS)


def blocks(results: Mapping[str, Any]) -> dict[str, str]:
    """Return the generated places of the page, by name."""
    parts = from_json(results["parts"])
    shown = {part: table(part, parts[part]) if part in parts else "Not measured." for part in COLUMNS}
    shown["memory"] = ""
    drawn = plots(results)
    for name, (file, text) in PLOTS.items():
        if file in drawn:
            shown[name] = f"{shown[name]}\n\n![{text}](images/{file})".strip()
    return {"machine": machine_line(results), "goals": goals_table(parts), **shown}


def page(text: str, results: Mapping[str, Any]) -> str:
    """Return the page with its generated places replaced. Raises ValueError when one is missing."""
    for name, block in blocks(results).items():
        before, begin, rest = text.partition(f"<!-- bench: {name} -->\n")
        _, end, after = rest.partition("<!-- /bench -->")
        if not begin or not end:
            raise ValueError(f"docs/performance.md has no place <!-- bench: {name} --> to <!-- /bench -->")
        text = f"{before}{begin}\n{block}\n\n{end}{after}"
    return text


def plots(results: Mapping[str, Any]) -> dict[str, str]:
    """Return the plots of the parts that were measured, by file name."""
    parts = from_json(results["parts"])
    made = {
        f"performance-{part.replace('_', '-')}.svg": draw(parts[part])
        for part, draw in {
            "cold": _cold_plot,
            "api": _api_plot,
            "csv_peers": _csv_plot,
            "load": _load_plot,
        }.items()
        if parts.get(part)
    }
    if memory := _memory_rows(parts):
        made["performance-memory.svg"] = Bars("Peak memory, MB", ("MB",), memory).svg()
    return made


def _cold_plot(figures: Figures) -> str:
    keys = {"imports_ms": "imports", "clients_ms": "clients", "first_call_ms": "first call"}
    rows = {name: [row[key].median for key in keys] for name, row in figures.items()}
    return Bars("Cold start, CPU ms above bare Python", list(keys.values()), rows).svg()


def _api_plot(figures: Figures) -> str:
    rows = {name: [row["cpu_us"].median] for name, row in figures.items()}
    return Bars("CPU µs per event", ("CPU",), rows).svg()


def _csv_plot(figures: Figures) -> str:
    rows = {
        name: [row["rows_per_s"].median]
        for name, row in sorted(figures.items(), key=lambda item: -item[1]["rows_per_s"].median)
    }
    return Bars("CSV rows per CPU second", ("rows",), rows).svg()


def _load_plot(figures: Figures) -> str:
    lines = {
        f"p{percent}": [(row["clients"].median, row[f"p{percent}_ms"].median) for row in figures.values()]
        for percent in (50, 90, 99)
    }
    ticks = [row["clients"].median for row in figures.values()]
    return Chart("Latency of a request in the emulator, ms", "clients", lines, logarithmic=True, ticks=ticks).svg()


def _memory_rows(parts: Parts) -> dict[str, Sequence[float]]:
    """Return the peak memory of each function's start, and of the workers with their largest inputs."""
    shown = {"csv": ("worker, jsonl.gz, large file", "worker, parquet, large file"), "iot": ("100,000 of 100 devices",)}
    rows: dict[str, Sequence[float]] = {name: [row["peak_mb"].median] for name, row in parts.get("cold", {}).items()}
    for part, names in shown.items():
        for name in names:
            if name in parts.get(part, {}):
                rows[f"{part}: {name}"] = [parts[part][name]["peak_mb"].median]
    return rows


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
