"""`pipeline csv check`: a file on this disk through the very code that runs on AWS, before anyone uploads it."""

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from cli.report import show_report
from components.config import load
from components.options.csv import CsvPipelineConfig
from handlers.csv.columns import FileFormat
from handlers.csv.content import Content
from handlers.csv.engine import CsvEngine, blocks
from handlers.csv.text import FileError
from local.errors import LocalError
from local.project import find_project, load_project


def csv_config(stack: str) -> CsvPipelineConfig:
    """The config of a stack. Raises LocalError when it is of another variant, ConfigError when it is wrong."""
    project = load_project(find_project(Path.cwd()), stack)
    config = load(project.config, file=f"Pulumi.{stack}.yaml")
    if not isinstance(config, CsvPipelineConfig):
        raise LocalError(f"stack {stack!r} is of the variant {config.variant!r}; this command needs one of 'csv'")
    return config


def run_csv_check(file: str, stack: str, rejected_file: str | None, *, as_json: bool) -> int:
    """Prints a file's report. Returns 1 when the file fails or has rejected rows."""
    config = csv_config(stack)
    path = Path(file)
    engine = CsvEngine(FileFormat.from_json(config.format_json()))
    started = time.perf_counter()
    status, reason, error = "succeeded", None, None
    console, errors = Console(), Console(stderr=True)
    with ExitStack() as stack_of_files:
        try:
            source = stack_of_files.enter_context(path.open("rb"))
            rejected = stack_of_files.enter_context(Path(rejected_file).open("wb")) if rejected_file else None
        except OSError as problem:
            raise LocalError(f"{problem.filename}: {problem.strerror}") from problem
        progress = stack_of_files.enter_context(
            Progress(console=errors, transient=True, disable=not errors.is_terminal),
        )
        task = progress.add_task(path.name, total=path.stat().st_size)
        try:
            for block in blocks(engine, Content(source.read, config.input.max_expansion).read):
                progress.update(task, completed=source.tell())
                if rejected:
                    rejected.write(block.rejected)
        except FileError as problem:
            status, reason, error = "failed", problem.reason, str(problem)
    report = {
        "key": file,
        "status": status,
        "reason": reason,
        "error": error,
        "duration_seconds": round(time.perf_counter() - started, 3),
        **engine.report(),
    }
    if as_json:
        sys.stdout.write(f"{json.dumps(report)}\n")
    else:
        show_report(report, console)
    return int(status == "failed" or engine.rejected > 0)
