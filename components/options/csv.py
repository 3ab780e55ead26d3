"""Options of the `csv` variant."""

import json
import re
import unicodedata
from datetime import date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from components.options.api import ApiOptions, StageOptions
from components.options.common import (
    AlarmOptions,
    BackoffOptions,
    CommonOptions,
    NotificationOptions,
    Options,
    PolledOptions,
    ProtectionOptions,
    QueueOptions,
)

# handlers/csv/text.py reads these; tests/components/test_csv.py holds the two together.
CsvEncoding = Literal[
    "utf-8", "utf-16-le", "utf-16-be", "iso-8859-1", "iso-8859-15", "windows-1250", "windows-1251", "windows-1252"
]


# Suffixes of the keys that the pipeline takes for files.
SUFFIXES = (".csv", ".csv.gz")


# handlers/csv/columns.py normalises headers the same way; tests/test_contract.py holds the two together.
_SIGNS = str.maketrans({"%": " pct ", "#": " nr ", "€": " eur ", "$": " usd "})


def normalised(name: str) -> str:
    """Return a column's name trimmed, in NFC and in snake case, with the signs of units as words."""
    composed = unicodedata.normalize("NFC", name).translate(_SIGNS).strip()
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", composed)
    return re.sub(r"[^\w]+", "_", spaced).strip("_").lower()


class ColumnOptions(Options):
    """One column of the files. An empty cell is null."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,99}$")]
    """Name in snake case. Headers are converted: `Order Date`, `orderDate` and `order_date` are all `order_date`."""
    type: Literal["string", "integer", "number", "boolean", "date", "datetime"] = "string"
    """Type of the cells."""
    required: bool = False
    """The header must contain the column, and none of its cells may be empty."""
    aliases: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Other names of the column in headers."""
    min: float | str | None = None
    """Smallest number, earliest date or time, or shortest string."""
    max: float | str | None = None
    """Largest number, latest date or time, or longest string."""
    pattern: str | None = None
    """Python regular expression that must match the whole string."""
    choices: tuple[str, ...] = ()
    """Allowed strings. Default: all."""
    null_values: tuple[str, ...] | None = None
    """Cells that are null, besides empty ones. Default: `input.null_values`."""
    format: tuple[Annotated[str, Field(pattern="%")], ...] = ()
    """Formats of dates and times as in Python's `strptime`, such as `%d.%m.%Y`. ISO 8601 is always read."""
    decimal: Literal[".", ","] | None = None
    """Decimal separator of numbers. Default: a point."""
    group: Literal[".", ",", " ", "'", "_"] | None = None
    """Separator between groups of three digits. Default: none."""
    strip: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Texts removed at both ends of a number, such as `€`, `%` or a space. `(12.50)` is then -12.50."""
    true_values: tuple[str, ...] = ()
    """Cells of booleans that are true, besides true, yes, t, y and 1."""
    false_values: tuple[str, ...] = ()
    """Cells of booleans that are false, besides false, no, f, n and 0."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"is not a regular expression: {error}") from error
        return value

    @field_validator("format", "null_values", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _spellings_fit_the_type(self) -> Self:
        types = {
            "format": ("date", "datetime"),
            **dict.fromkeys(("decimal", "group", "strip"), ("number", "integer")),
            **dict.fromkeys(("true_values", "false_values"), ("boolean",)),
        }
        for key, allowed in types.items():
            if getattr(self, key) and self.type not in allowed:
                raise ValueError(
                    f"column {self.name!r}: {key} goes with type {' or '.join(allowed)}, not {self.type!r}"
                )
        if self.group and self.group == (self.decimal or "."):
            raise ValueError(f"column {self.name!r}: decimal and group are both {self.group!r}; set the other one, too")
        if both := sorted({*self.true_values} & {*self.false_values}):
            raise ValueError(f"column {self.name!r}: {both[0]!r} is in true_values and in false_values; remove one")
        return self

    @model_validator(mode="after")
    def _conditions_fit_the_type(self) -> Self:
        if (self.pattern is not None or self.choices) and self.type != "string":
            raise ValueError(f"column {self.name!r}: pattern and choices go with type 'string', not {self.type!r}")
        if self.type == "boolean" and (self.min is not None or self.max is not None):
            raise ValueError(f"column {self.name!r}: min and max do not go with type 'boolean'")
        for key, limit in (("min", self.min), ("max", self.max)):
            if limit is not None and not self._is_limit(limit):
                example = {"date": "'2024-01-31'", "datetime": "'2024-01-31T12:30:00Z'"}.get(self.type, "a number")
                raise ValueError(f"column {self.name!r}: {key} {limit!r} must be {example} with type {self.type!r}")
        return self

    def _is_limit(self, limit: float | str) -> bool:
        if self.type not in ("date", "datetime"):
            return not isinstance(limit, str)
        if not isinstance(limit, str):
            return False
        try:
            if self.type == "date":
                return date.fromisoformat(limit).isoformat() == limit
            datetime.fromisoformat(limit)
        except ValueError:
            return False
        return True


class CsvInputOptions(Options):
    """The objects that are read, and their format."""

    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_./-]*/$")] = "raw/"
    """Key prefix of the files in the input bucket."""
    columns: Annotated[tuple[ColumnOptions, ...], Field(min_length=1, max_length=5_000)]
    """Columns of the files."""
    unknown_columns: Literal["keep", "drop", "reject"] = "drop"
    """`keep` unknown columns as strings, `drop` them, or `reject` the file."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """Default: detected from the header: comma, semicolon, tab or bar."""
    encoding: CsvEncoding | None = None
    """Encoding of files without a byte order mark. Default: UTF-8."""
    line_ending: Literal["header", "any"] = "header"
    """What ends a row. `header`: what ends the header line, so a lone CR elsewhere is text. `any`: CR, LF and CR LF."""
    short_rows: Literal["reject", "pad"] = "reject"
    """Rows with fewer cells than the header. `pad`: the missing cells are null."""
    long_rows: Literal["reject", "drop_empty_cells"] = "reject"
    """Rows with more cells than the header. `drop_empty_cells`: accepted if the additional cells are empty."""
    empty_rows: Literal["skip", "reject"] = "skip"
    """Rows of nothing but delimiters. `skip`: they count as blank lines."""
    null_values: tuple[str, ...] = ()
    """Cells that are null in all columns, besides empty ones, such as `NA`, `NULL` or `-`."""
    max_expansion: Annotated[int, Field(ge=2, le=1_100)] = 250
    """Largest expansion factor of a gzip file that unpacks to more than 64 MiB; above it, the file fails."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        owners: dict[str, ColumnOptions] = {}
        for column in self.columns:
            for name in (column.name, *column.aliases):
                # A name of other signs only has no normalised form, so only the exact name claims a header.
                owner = owners.setdefault(normalised(name) or name, column)
                if owner is not column:
                    raise ValueError(
                        f"columns {owner.name!r} and {column.name!r} would both claim the header {name!r}; "
                        "rename one, or remove the alias"
                    )
        if self.delimiter in ('"', "\n", "\r", "\0"):
            raise ValueError(f"delimiter must not be {self.delimiter!r}, which has a meaning of its own in CSV")
        return self


class CsvOutputOptions(Options):
    """Format of the processed and rejected rows."""

    format: Literal["jsonl.gz", "jsonl", "parquet"] = "jsonl.gz"
    """JSON Lines, compressed or not; or Parquet, which accepts only numbers that a double represents exactly."""


class CsvWorkerOptions(PolledOptions):
    """The function that reads the files. It uses one vCPU, which Lambda provides from 1,769 MB on."""

    batch_size: Annotated[int, Field(ge=1, le=10)] = 1
    """Messages in one run, usually one file each, read one after the other."""
    memory_mb: Annotated[int, Field(ge=256, le=10_240)] = 1_769
    """Memory of the function."""
    timeout_seconds: Annotated[int, Field(ge=60, le=900)] = 900
    """Time limit of one run. A file that takes longer is read in several runs."""
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 5
    """Runs without progress before a file fails."""
    backoff: BackoffOptions = BackoffOptions()
    """Waits between attempts."""


class CsvStorageOptions(ProtectionOptions):
    """Protection and retention of files, rows and reports."""

    items_expire_after_days: Annotated[int, Field(ge=1, le=3_650)] = 90
    """Days that a file's item is kept. A file that is uploaded again later is a new file."""
    inputs_expire_after_days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    """Days that uploaded files are kept. Default: forever."""
    processed_expire_after_days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    """Days that processed rows are kept. Default: forever."""
    rejected_expire_after_days: Annotated[int, Field(ge=1, le=36_500)] = 90
    """Days that rejected rows are kept."""
    reports_expire_after_days: Annotated[int, Field(ge=1, le=36_500)] = 365
    """Days that reports are kept."""


class CsvAlarmOptions(AlarmOptions):
    """Alarm thresholds; docs/csv.md explains each alarm."""

    oldest_message_seconds: Annotated[int, Field(ge=60)] = 10_800
    """Age of the oldest message in the queue. A file's message stays there while the file is read, run after run."""
    duration_percent_of_timeout: Annotated[int, Field(ge=1, le=100)] = 99
    """Longest run, relative to the timeout. Runs over long files stop 20 seconds before the timeout by design."""
    api_latency_p95_ms: Annotated[int, Field(ge=1)] = 25_000
    """95th percentile of the redrive API's latency. With many dead letters a request takes about 20 seconds."""


class CsvPipelineConfig(CommonOptions):
    """A pipeline that reads CSV files from a bucket."""

    variant: Literal["csv"]
    """The variant of the pipeline."""
    input: CsvInputOptions
    """The files that are read."""
    output: CsvOutputOptions = CsvOutputOptions()
    """The rows that are written."""
    file_notifications: NotificationOptions = NotificationOptions()
    """Subscribers that get a message for every file; `notifications` has those of alerts and alarms."""
    queue: QueueOptions = QueueOptions()
    """The queue of the uploads."""
    redrive_api: StageOptions = StageOptions()
    """The stage of the HTTP API that `queue.redrive_api: {}` adds; only allowed with it."""
    worker: CsvWorkerOptions = CsvWorkerOptions()
    """The function that reads the files."""
    storage: CsvStorageOptions
    """Protection and retention of the data."""
    alarms: CsvAlarmOptions = CsvAlarmOptions()
    """Alarm thresholds."""

    @model_validator(mode="after")
    def _only_a_redrive_api_has_a_stage_and_alarms(self) -> Self:
        given = [f"alarms.{name}" for name in sorted(self.alarms.model_fields_set) if name.startswith("api_")]
        if "redrive_api" in self.model_fields_set:
            given.append("redrive_api")
        if given and not self.queue.redrive_api:
            raise ValueError(f"{given[0]} needs the API that queue.redrive_api adds: set it to {{}}, or leave this out")
        return self

    @property
    def message_senders(self) -> tuple[str, ...]:
        """S3, which sends upload notifications to the queue, and SNS for either topic."""
        return tuple(sorted({"s3", *self.notifications.senders, *self.file_notifications.senders}))

    @property
    def api(self) -> ApiOptions:
        """All options of the redrive API, which requires signed requests."""
        return ApiOptions(auth="iam", **dict(self.redrive_api))

    def format_json(self) -> str:
        """Return the file format for handlers/csv/columns.py."""
        values = self.input.model_dump(mode="json", exclude={"prefix"})
        values["numbers"] = "double" if self.output.format == "parquet" else "text"
        return json.dumps(values, sort_keys=True)
