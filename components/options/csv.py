"""Options of the `csv` variant."""

import codecs
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

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
from components.options.csv_columns import ColumnOptions, normalised
from components.options.csv_presets import Preset, escape_style, with_preset

# Codecs that Python calls text encodings, but that are for single names, or for nothing at all.
_NO_ENCODINGS = ("idna", "punycode", "undefined")


def _is_encoding(name: str) -> str:
    try:
        codec = codecs.lookup(name)
    except LookupError as error:
        raise ValueError("is not an encoding that Python knows, such as utf-8, windows-1252 or shift_jis") from error
    if not codec._is_text_encoding or codec.name in _NO_ENCODINGS:  # noqa: SLF001  no public name tells them apart
        raise ValueError("is not an encoding of text")
    return name


CsvEncoding = Annotated[str, AfterValidator(_is_encoding)]

Suffix = Annotated[str, Field(pattern=r"^[^\s/]+$", max_length=100)]


class FooterOptions(Options):
    """Rows at the end of a file that are not data."""

    last_rows: Annotated[int, Field(ge=1, le=1_000)] | None = None
    """The number of these rows; blank lines do not count."""
    starts_with: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """What each of their lines begins with, such as `Total`. Such a line before other rows is rejected."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.last_rows is None) is not bool(self.starts_with):
            raise ValueError("needs last_rows or starts_with, and not both")
        return self


class CsvInputOptions(Options):
    """The objects that are read, and their format."""

    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_./-]*/$")] = "raw/"
    """Key prefix of the files in the input bucket."""
    suffixes: Annotated[tuple[Suffix, ...], Field(max_length=50)] = (".csv", ".csv.gz")
    """Suffixes of their keys, in upper or lower case. Other objects are skipped and reported. `[]`: every object."""
    columns: Annotated[tuple[ColumnOptions, ...], Field(min_length=1, max_length=5_000)]
    """Columns of the files."""
    preset: Preset | None = None
    """Defaults for files of a program: other keys here and of columns, which may still be set. Default: none."""
    unknown_columns: Literal["keep", "drop", "reject"] = "drop"
    """`keep` unknown columns as strings, `drop` them, or `reject` the file."""
    header: Literal["first", "find", "none"] = "first"
    """Line of the names. `find`: the first line with the names of all required columns. `none`: columns by position."""
    skip_lines: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Lines before the header that are not read, whatever they contain."""
    comment: Annotated[str, Field(min_length=1, max_length=20)] | None = None
    """Text at the start of lines that are not rows, such as `#`. Default: none."""
    footer: FooterOptions | None = None
    """Rows at the end of a file that are not data. Default: none."""
    delimiter: Annotated[str, Field(min_length=1, max_length=20)] | None = None
    """One or more characters. Default: detected from the header: comma, semicolon, tab or bar."""
    quote: Annotated[str, Field(min_length=1, max_length=1)] = '"'
    """Character around cells that contain a delimiter or a line end. It is doubled inside such a cell."""
    escape: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """Character before a quote, a delimiter, a line end or itself that is text, such as a backslash. Default: none."""
    quoting: Literal["standard", "none"] | None = None
    """`none`: quotes are text. Default: `standard`, but a tab-separated row that may be several rows is rejected."""
    skip_initial_space: bool = False
    """Ignore spaces after a delimiter, as in `"a", "b"`."""
    encodings: Annotated[tuple[CsvEncoding, ...], Field(max_length=10)] = ()
    """Encodings tried in this order for a whole file without a byte order mark. Default: UTF-8."""
    encoding: CsvEncoding | None = None
    """One encoding, instead of `encodings`."""
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

    @model_validator(mode="before")
    @classmethod
    def _preset_sets_defaults(cls, given: Any) -> Any:
        return with_preset(given) if isinstance(given, Mapping) else given

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
        if self.encoding and self.encodings:
            raise ValueError("encoding and encodings are both set; remove one")
        return self

    @model_validator(mode="after")
    def _characters_differ(self) -> Self:
        reserved = {"\n", "\r", "\0"}
        for key in ("quote", "escape", "delimiter", "comment"):
            characters = set(getattr(self, key) or "")
            if both := sorted(characters & reserved):
                raise ValueError(f"{key} must not be {both[0]!r}, which has a meaning of its own in CSV")
            if key != "comment":
                reserved |= characters
        if self.skip_initial_space and (self.delimiter or "").startswith(" "):
            raise ValueError("skip_initial_space does not go with a delimiter that begins with a space")
        if self.quoting == "none" and "quote" in self.model_fields_set:
            raise ValueError("quote has no meaning with quoting: none; remove one")
        if self.header == "find" and not any(column.required for column in self.columns):
            raise ValueError("header: find needs a column with required: true; the header is the line that has it")
        return self


class CsvOutputOptions(Options):
    """Format of the processed and rejected rows."""

    format: Literal["jsonl.gz", "jsonl", "parquet"] = "jsonl.gz"
    """JSON Lines, compressed or not; or Parquet, which accepts only numbers that a double represents exactly."""
    versions: Literal["all", "latest"] = "all"
    """`latest`: when an object is put again under its key and succeeds, the outputs of the one before are removed."""
    provenance: bool = False
    """Add the columns `_file` (the key of the upload) and `_row` (the row's number in it) to processed rows."""


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
        values = self.input.model_dump(
            mode="json", exclude={"prefix", "suffixes", "preset", "encoding", "encodings"}, exclude_none=True
        )
        values["escape_style"] = escape_style(self.input.preset)
        values["encodings"] = self.input.encodings or (self.input.encoding or "utf-8",)
        values["numbers"] = "double" if self.output.format == "parquet" else "text"
        values["provenance"] = self.output.provenance
        return json.dumps(values, sort_keys=True)
