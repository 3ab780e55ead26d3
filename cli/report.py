"""`pipeline report`: the scheduled summary on demand, with the operator's own credentials."""

from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.table import Table

from cli.core.json_text import write_json
from cli.core.stack import Stack
from cli.core.terminal import TABLE, cell
from components.options.api import ApiPipelineConfig
from handlers.api.reader import EventReader
from handlers.api.report import Reporter
from handlers.api.summary import STATUSES, Report, Window, facts, failures, title
from local.errors import LocalError

LONGEST = timedelta(days=366)


def run_report(stack: str, since: datetime | None, until: datetime | None, *, as_json: bool) -> int:
    """Print the report from `since` (default: an hour before its end) until `until` (default: now)."""
    now = datetime.now(UTC)
    until = until or now
    since = since or until - timedelta(hours=1)
    if not now - LONGEST <= since < now:
        raise LocalError(f"--since must be in the past, {LONGEST.days} days ago at most")
    if not since < until <= now:
        raise LocalError("--until must be after --since and not in the future")
    counted = Stack(stack)
    config = counted.config_as(ApiPipelineConfig)
    if not config.storage.time_index:
        raise LocalError(f"stack {stack!r} has no time index (storage.time_index); its events cannot be counted")
    table, queue, dead_letter_queue = map(counted.output, ("table_name", "queue_url", "dead_letter_queue_url"))
    counted.aim_aws_clients()
    reporter = Reporter(
        EventReader(table, time_index_shards=config.storage.time_index_shards),
        queue_url=queue,
        dead_letter_queue_url=dead_letter_queue,
        items_expire_after_days=config.storage.items_expire_after_days,
        service=f"{counted.project.name}-{stack}",
    )
    report = reporter.report(Window("on demand", since, until))
    if as_json:
        write_json(report)
    else:
        show(report, Console())
    return 0


def show(report: Report, console: Console) -> None:
    """Print a report as tables."""
    for line in (title(report), *facts(report)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if report["by_type"]:
        by_type = Table("type", *STATUSES, title="By type", **TABLE)
        for name, counts in report["by_type"].items():
            by_type.add_row(cell(name), *(f"{counts[status]:,}" for status in STATUSES))
        console.print(by_type)
    if rows := failures(report):
        errors = Table("error", "events", title="Failures", **TABLE)
        for name, count in rows:
            errors.add_row(cell(name), f"{count:,}")
        console.print(errors)
