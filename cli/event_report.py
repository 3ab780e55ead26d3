"""`pipeline report`: the scheduled summary, on demand, with the operator's own credentials."""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.outputs import aim_at, find_outputs
from cli.report import STYLE
from components.config import load
from components.options.api import ApiPipelineConfig
from handlers.api.reader import EventReader
from handlers.api.report import Reporter
from handlers.api.summary import STATUSES, Report, Window, facts, failures, title
from local.errors import LocalError
from local.project import find_project, load_project


def run_report(stack: str, hours: float, *, as_json: bool) -> int:
    """Prints the report of the hours until now."""
    project = load_project(find_project(Path.cwd()), stack)
    config = load(project.config, file=f"Pulumi.{stack}.yaml")
    if not isinstance(config, ApiPipelineConfig):
        raise LocalError(f"stack {stack!r} is of the variant {config.variant!r}; this command needs one of 'api'")
    if not config.storage.time_index:
        raise LocalError(f"stack {stack!r} has no time index (storage.time_index); its events cannot be counted")
    outputs = find_outputs(stack)
    aim_at(stack)
    reporter = Reporter(
        EventReader(outputs["table_name"], time_index_shards=config.storage.time_index_shards),
        queue_url=outputs["queue_url"],
        dead_letter_queue_url=outputs["dead_letter_queue_url"],
        service=f"{project.name}-{stack}",
    )
    now = datetime.now(UTC)
    report = reporter.report(Window("on demand", now - timedelta(hours=hours), now))
    if as_json:
        sys.stdout.write(f"{json.dumps(report)}\n")
    else:
        show(report, Console())
    return 0


def show(report: Report, console: Console) -> None:
    """Prints a report as tables."""
    for line in (title(report), *facts(report)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if report["by_type"]:
        by_type = Table("type", *STATUSES, title="By type", **STYLE)
        for name, counts in report["by_type"].items():
            by_type.add_row(escape(name), *(f"{counts[status]:,}" for status in STATUSES))
        console.print(by_type)
    if rows := failures(report):
        errors = Table("error", "events", title="Failures", **STYLE)
        for name, count in rows:
            errors.add_row(escape(name), f"{count:,}")
        console.print(errors)
