"""Environment settings of the csv variant's functions."""

from dataclasses import dataclass

from handlers.shared.settings import AlertSettings


@dataclass(frozen=True, kw_only=True)
class CsvWorkerSettings(AlertSettings):
    """Of the worker that takes uploaded CSV files."""

    table_name: str
    queue_url: str
    dead_letter_queue_url: str
    bucket_name: str
    """Of the outputs; the inputs' bucket comes with each notification."""
    notifications_topic_arn: str
    input_prefix: str
    output_format: str
    """`jsonl.gz`, `jsonl` or `parquet`."""
    output_versions: str
    """`latest`: the outputs of older versions of an object are removed. `all`: they are kept."""
    suffixes: str
    """Suffixes of the files, separated by spaces. Empty: every object is a file."""
    max_attempts: int
    """Runs of a file without progress before it is failed."""
    backoff_base_seconds: int
    backoff_maximum_seconds: int
    items_expire_after_days: int
