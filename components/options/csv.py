"""Options of the `csv` variant."""

import json
import re
from datetime import date, datetime
from typing import Annotated, Literal, Self

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

# handlers/csv/text.py reads these; tests/test_contract_csv.py holds the two together.
CsvEncoding = Literal[
    "utf-8", "utf-16-le", "utf-16-be", "iso-8859-1", "iso-8859-15", "windows-1250", "windows-1251", "windows-1252"
]


# Of the keys that are files.
SUFFIXES = (".csv", ".csv.gz")


class ColumnOptions(Options):
    """One column of the files. An empty cell is null."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,99}$")]
    """In snake case, as headers are read: `Order Date`, `orderDate` and `order_date` are `order_date`."""
    type: Literal["string", "integer", "number", "boolean", "date", "datetime"] = "string"
    required: bool = False
    """The header must have the column, and no cell of it may be empty."""
    aliases: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Other names that the column goes by."""
    min: float | str | None = None
    """Smallest number, first date or time, or fewest characters of a string."""
    max: float | str | None = None
    """Largest number, last date or time, or most characters of a string."""
    pattern: str | None = None
    """Regular expression (Python's) that strings match as a whole."""
    choices: tuple[str, ...] = ()
    """The only strings allowed."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"is not a regular expression: {error}") from error
        return value

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
    """Which objects are files, and how they are read."""

    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_./-]*/$")] = "raw/"
    """Of the keys that are files, in the input bucket."""
    columns: Annotated[tuple[ColumnOptions, ...], Field(min_length=1, max_length=5_000)]
    unknown_columns: Literal["keep", "drop", "reject"] = "drop"
    """`keep` them as strings, `drop` them, or `reject` the file."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """Default: comma, semicolon, tab or bar, whichever makes the header's names the configured ones."""
    encoding: CsvEncoding | None = None
    """Of files without a byte order mark. Default: UTF-8."""
    max_expansion: Annotated[int, Field(ge=2, le=1_100)] = 250
    """A gzip file of more than 64 MiB that grows to more than so many times its size is failed as a bomb."""

    @model_validator(mode="after")
    def _names_are_clear(self) -> Self:
        seen: dict[str, str] = {}
        for column in self.columns:
            for name in {column.name, *(alias.strip().lower() for alias in column.aliases)}:
                if seen.setdefault(name, column.name) != column.name or (
                    name == column.name and [other.name for other in self.columns].count(name) > 1
                ):
                    raise ValueError(f"two columns go by the name {name!r}")
        if self.delimiter in ('"', "\n", "\r", "\0"):
            raise ValueError(f"delimiter {self.delimiter!r} cannot be one")
        return self


class CsvOutputOptions(Options):
    """What is written of the processed and the rejected rows."""

    format: Literal["jsonl.gz", "jsonl", "parquet"] = "jsonl.gz"
    """JSON Lines, compressed or not; or Parquet, where a number must be one that a double gives back exactly."""


class CsvWorkerOptions(PolledOptions):
    """The function that reads the files. It gets the whole of a processor from 1,769 MB on, and uses no more."""

    batch_size: Annotated[int, Field(ge=1, le=10)] = 1
    """Messages of one run, each with one file as a rule; read one after the other."""
    memory_mb: Annotated[int, Field(ge=256, le=10_240)] = 1_769
    timeout_seconds: Annotated[int, Field(ge=60, le=900)] = 900
    """A file that takes longer is read in several runs."""
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 5
    """Runs without any progress before a file is failed."""
    backoff: BackoffOptions = BackoffOptions()


class CsvStorageOptions(ProtectionOptions):
    """How long things are kept. Without a number: for good."""

    items_expire_after_days: Annotated[int, Field(ge=1, le=3_650)] = 90
    """A file that is sent in again after that is a new file."""
    inputs_expire_after_days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    processed_expire_after_days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    rejected_expire_after_days: Annotated[int, Field(ge=1, le=36_500)] = 90
    reports_expire_after_days: Annotated[int, Field(ge=1, le=36_500)] = 365


class CsvAlarmOptions(AlarmOptions):
    """Thresholds; what each alarm watches is in docs/csv.md."""

    oldest_message_seconds: Annotated[int, Field(ge=60)] = 10_800
    """A file's message grows old while the file is read, run after run."""
    duration_percent_of_timeout: Annotated[int, Field(ge=1, le=100)] = 99
    """Runs over long files come near the timeout by design, and stop 20 seconds before it."""
    api_latency_p95_ms: Annotated[int, Field(ge=1)] = 25_000
    """Of the redrive API, whose requests go on for some 20 seconds where there are many dead letters."""


class CsvPipelineConfig(CommonOptions):
    """A pipeline that takes CSV files from a bucket."""

    variant: Literal["csv"]
    input: CsvInputOptions
    output: CsvOutputOptions = CsvOutputOptions()
    file_notifications: NotificationOptions = NotificationOptions()
    """Who is told of every file; `notifications` is who is told of trouble."""
    queue: QueueOptions = QueueOptions()
    redrive_api: StageOptions = StageOptions()
    """The HTTP API that `queue.redrive_api: true` makes; to be said with that only."""
    worker: CsvWorkerOptions = CsvWorkerOptions()
    storage: CsvStorageOptions
    alarms: CsvAlarmOptions = CsvAlarmOptions()

    @model_validator(mode="after")
    def _only_a_redrive_api_has_a_stage_and_alarms(self) -> Self:
        given = [f"alarms.{name}" for name in sorted(self.alarms.model_fields_set) if name.startswith("api_")]
        if "redrive_api" in self.model_fields_set:
            given.append("redrive_api")
        if given and not self.queue.redrive_api:
            raise ValueError(f"{given[0]} is about the API that queue.redrive_api makes, and that is false")
        return self

    @property
    def message_senders(self) -> tuple[str, ...]:
        """S3, which announces uploads in the queue, and SNS for either topic."""
        return tuple(sorted({"s3", *self.notifications.senders, *self.file_notifications.senders}))

    @property
    def api(self) -> ApiOptions:
        """All options of the redrive API: who signs gets in, and nothing of it takes events."""
        return ApiOptions(auth="iam", **dict(self.redrive_api))

    def format_json(self) -> str:
        """How files are read, for handlers/csv/columns.py."""
        values = self.input.model_dump(mode="json", exclude={"prefix"})
        values["numbers"] = "double" if self.output.format == "parquet" else "text"
        return json.dumps(values, sort_keys=True)
