"""`pipeline csv check`: check a local file with the code that runs on AWS, before uploading it."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.progress import Progress

from cli.core.json_text import write_json
from cli.core.private_file import private_file
from cli.core.stack import Stack
from cli.core.terminal import label
from cli.csv_rows import RejectedRows
from cli.file_report import show_report
from components.options.csv import CsvPipelineConfig
from handlers.csv.columns import FileFormat
from handlers.csv.content import Content
from handlers.csv.engine import CsvEngine, blocks
from handlers.csv.text import FileError, OtherEncodingError
from local.errors import LocalError


def run_csv_check(file: str, stack: str, rejected_file: str | None, *, as_json: bool) -> int:
    """Print a file's report. Return 1 if the file fails or has rejected rows."""
    config = Stack(stack).config_as(CsvPipelineConfig)
    path = Path(file)
    file_format = FileFormat.from_json(config.format_json())
    engine, rows = CsvEngine(file_format), RejectedRows()
    started = time.perf_counter()
    status, reason, error = "succeeded", None, None
    console, errors = Console(), Console(stderr=True)
    if rejected_file and Path(rejected_file).exists() and path.exists() and Path(rejected_file).samefile(path):
        raise LocalError(f"--rejected {rejected_file} is the file to check, and would be overwritten: name another")
    with ExitStack() as stack_of_files:
        try:
            source = stack_of_files.enter_context(path.open("rb"))
        except OSError as problem:
            raise LocalError(f"{problem.filename}: {problem.strerror}") from problem
        rejected = None
        if rejected_file:
            rejected = stack_of_files.enter_context(private_file(Path(rejected_file), overwrite=True))
        progress = stack_of_files.enter_context(
            Progress(console=errors, transient=True, disable=not errors.is_terminal),
        )
        task = progress.add_task(label(path.name), total=path.stat().st_size)
        try:
            while not _read(
                engine, file_format, source, rejected, rows, lambda read: progress.update(task, completed=read)
            ):
                engine, rows = CsvEngine(file_format, encoding_position=engine.encoding_position + 1), RejectedRows()
        except FileError as problem:
            status, reason, error = "failed", problem.reason, str(problem)
    report = {
        "key": file,
        "status": status,
        "reason": reason,
        "error": error,
        "duration_seconds": round(time.perf_counter() - started, 3),
        **engine.report(has_outputs=status != "failed"),
    }
    if as_json:
        write_json(report)
    else:
        show_report(report, console, rows.table(engine, file_format))
    return int(status == "failed" or engine.rejected > 0)


def _read(
    engine: CsvEngine,
    file_format: FileFormat,
    source: BinaryIO,
    rejected: BinaryIO | None,
    rows: RejectedRows,
    show: Callable[[int], None],
) -> bool:
    """Read a file. Return False if it is not in the engine's encoding. Raises FileError."""
    source.seek(0)
    if rejected:
        rejected.seek(0)
        rejected.truncate()
    content = Content(source.read, file_format.max_expansion, engine.encoding)
    try:
        for block in blocks(engine, content.read):
            show(source.tell())
            rows.add(block.rejected)
            if rejected:
                rejected.write(block.rejected)
    except OtherEncodingError:
        return False
    engine.counts.trailing_bytes = content.trailing_bytes
    return True
