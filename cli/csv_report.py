"""`pipeline csv report`: a stored report, printed as tables or written as a page with charts."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.console import Console

from cli.core.json_text import STDIN, parse_object, read_text
from cli.core.private_file import private_file
from cli.core.terminal import write_lines
from cli.csv_page import page
from cli.file_report import show_report
from local.errors import LocalError

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Scalar = float | int | str | None


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Reason(_Model):
    """Why rows were rejected."""

    column: str | None
    reason: str
    count: Count


class ColumnReport(_Model):
    """The statistics of a column."""

    type: str
    count: Count
    nulls: Count
    distinct: Count | None = None
    distinct_is_approximate: bool = False
    duplicates: Count | None = None
    failure: str | None = None
    sum: float | int | None = None
    exact_sum: str | None = None
    avg: float | None = None
    min: Scalar = None
    max: Scalar = None


class Bin(_Model):
    """A range of values. JSON calls its start `from`."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    start: Annotated[float | str, Field(alias="from")]
    end: Annotated[float | str, Field(alias="to")]
    share: Share


class ValueShare(_Model):
    """A value and how often it occurs."""

    value: str
    share: Share


class Distribution(_Model):
    """The distribution of a column's values."""

    sampled: Count
    bins: tuple[Bin, ...] = ()
    values: tuple[ValueShare, ...] = ()
    quantiles: dict[str, float] = {}


class Assumption(_Model):
    """A setting that the file decided."""

    setting: str
    value: Any
    reason: str


class Suggestion(_Model):
    """A setting that would let more of the file pass."""

    setting: str
    values: tuple[Any, ...]
    reason: str


class FileReport(_Model):
    """The report on a file, as `pipeline csv check --json` prints it and the worker stores it."""

    key: str
    status: str
    rows: Count
    processed: Count
    rejected: Count
    success_rate: Share | None
    rows_read: Count | None = None
    duration_seconds: float = 0
    completed_at: str | None = None
    reason: str | None = None
    error: str | None = None
    output_bucket: str | None = None
    processed_key: str | None = None
    rejected_key: str | None = None
    blank_lines: Count = 0
    comment_lines: Count = 0
    footer_rows: Count = 0
    repeated_headers: Count = 0
    byte_order_marks: Count = 0
    padding_characters: Count = 0
    trailing_bytes: Count = 0
    encoding: str | None = None
    delimiter: str | None = None
    reasons: tuple[Reason, ...]
    missing_columns: tuple[str, ...] = ()
    unknown_columns: tuple[str, ...] = ()
    assumptions: tuple[Assumption, ...] = ()
    suggestions: tuple[Suggestion, ...] = ()
    suggestions_failure: str | None = None
    columns: dict[str, ColumnReport]
    distributions: dict[str, Distribution] = {}


def run_csv_report(file: str, *, as_html: bool) -> int:
    """Print a report, or write a page beside it and print where. Return 1 if the file failed or has rejected rows."""
    report = read_report(file)
    if as_html:
        write_lines([str(_write_page(report, file))])
    else:
        show_report(report.model_dump(exclude_none=False), Console())
    return int(report.status != "succeeded" or report.rejected > 0)


def _write_page(report: FileReport, file: str) -> Path:
    path = Path("report.html" if file == STDIN else file).with_suffix(".html")
    if path == Path(file):
        raise LocalError(f"{file}: the page would overwrite the report; rename the report")
    with private_file(path, overwrite=True) as html:
        html.write(page(report).encode(errors="backslashreplace"))
    return path


def read_report(file: str) -> FileReport:
    """Return the report in a file. Raises LocalError."""
    text, name = read_text(file)
    try:
        return FileReport.model_validate(parse_object(text, name))
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise LocalError(f"{name} is not the report on a CSV file: {place}: {error.errors()[0]['msg']}") from error
