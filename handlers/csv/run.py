"""One run over one file: reads rows, writes outputs, and stores where it stopped."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handlers.csv import objects
from handlers.csv.columns import FileFormat
from handlers.csv.content import Content
from handlers.csv.engine import CsvEngine, blocks
from handlers.csv.files import File, FileItem, Progress
from handlers.csv.gzip_stream import GzipStream
from handlers.csv.json_lines import json_lines
from handlers.csv.objects import ObjectWriter, Source
from handlers.csv.parquet import ParquetWriter
from handlers.csv.settings import CsvWorkerSettings
from handlers.csv.text import OtherEncodingError
from handlers.shared.context import LambdaContext

# What is left of the function's time when it stops reading: for storing outputs and state.
# CsvWorkerOptions.timeout_seconds is at least twice this.
STORING_SECONDS = 20
# A person who waits sees how far a file is, and a run of 15 minutes costs 90 writes.
PROGRESS_SECONDS = 10
# Raise it when outputs or states change: files are then begun anew that a worker before the change has not finished.
FORMAT_OF_CHECKPOINTS = 5

PROCESSED, REJECTED, REPORTS, STATE = "processed/", "rejected/", "reports/", "state/"


@dataclass(frozen=True)
class Kind:
    """Format of an output."""

    ending: str
    content_type: str
    is_gzip: bool = False


_LINES = Kind(".jsonl", "application/jsonl")
_COMPRESSED_LINES = Kind(".jsonl.gz", "application/gzip", is_gzip=True)
# By `output.format`: of processed and of rejected rows. The latter hold lines as they came: there is no table of them.
KINDS: Mapping[str, tuple[Kind, Kind]] = {
    "jsonl": (_LINES, _LINES),
    "jsonl.gz": (_COMPRESSED_LINES, _COMPRESSED_LINES),
    "parquet": (Kind(".parquet", "application/vnd.apache.parquet"), _COMPRESSED_LINES),
}


class StaleCheckpointError(Exception):
    """A checkpoint was made by a worker that reads or writes otherwise than this one: the file is begun anew."""


class Run:
    """One run over one file that it has claimed. `item` is as the claim left it."""

    def __init__(self, settings: CsvWorkerSettings, file_format: FileFormat, file: File, item: FileItem) -> None:
        self._bucket = settings.bucket_name
        self._settings = settings
        self._format = file_format
        self.file = file
        self.item = item
        self._kinds = KINDS[settings.output_format]
        self._outputs = self._writers()
        self._gzips = self._streams()
        self._parquet = ParquetWriter() if settings.output_format == "parquet" else None
        self.engine = self._engine()
        self._must_be_skipped = False
        self._restarted = False
        self._source: Source | None = None

    def _engine(self, state: Mapping[str, Any] | None = None, encoding_position: int = 0) -> CsvEngine:
        encode = self._parquet.encode if self._parquet else json_lines
        return CsvEngine(self._format, state, encode, encoding_position, self.file.key)

    def _writers(self, states: Sequence[Any] = (None, None), rests: Sequence[bytes] = (b"", b"")) -> list[ObjectWriter]:
        return [
            ObjectWriter(
                self._bucket,
                self.output_key(prefix, kind.ending),
                kind.content_type,
                *saved,
            )
            for prefix, kind, *saved in zip((PROCESSED, REJECTED), self._kinds, states, rests, strict=True)
        ]

    def _streams(self, states: Sequence[Any] = (None, None)) -> list[GzipStream | None]:
        return [GzipStream(state) if kind.is_gzip else None for kind, state in zip(self._kinds, states, strict=True)]

    def output_key(self, prefix: str, ending: str) -> str:
        """Return the key of an output of the file."""
        item = self.item
        return self.file.output_key(prefix, item["started_at"], ending, item.get("generation", 0))

    @property
    def output_keys(self) -> list[str]:
        """The keys of the outputs, whether they are there or not."""
        return [output.key for output in self._outputs]

    @property
    def former_output_keys(self) -> list[str]:
        """The keys under which a worker of a former release may have stored outputs, if it began the file and died."""
        if self.item["attempts"] <= 1:
            return []
        generation = self.item.get("generation", 0)
        return [
            self.file.former_output_key(prefix, self._settings.input_prefix, kind.ending, generation)
            for prefix, kind in zip((PROCESSED, REJECTED), self._kinds, strict=True)
        ]

    def read(self, context: LambdaContext, tell: Callable[[Progress], None] | None = None) -> bool:
        """Reads until the file ends (True) or the time does (False). Calls `tell` with the progress from time to time.

        Raises FileError, SkippedError, UploadLostError, StaleCheckpointError, and the errors of `tell`.
        """
        self._restore()
        while True:
            try:
                return self._read_blocks(context, tell)
            except OtherEncodingError:
                self._restart()

    def _read_blocks(self, context: LambdaContext, tell: Callable[[Progress], None] | None) -> bool:
        content = self._open()
        told_at = time.monotonic()
        for block in blocks(self.engine, content.read):
            for output, stream, data in zip(self._outputs, self._gzips, (block.processed, block.rejected), strict=True):
                output.write(stream.write(data) if stream else data)
            if context.get_remaining_time_in_millis() < STORING_SECONDS * 1_000:
                return False
            if tell and time.monotonic() - told_at >= PROGRESS_SECONDS:
                tell(self._progress)
                told_at = time.monotonic()
        self.engine.counts.trailing_bytes = content.trailing_bytes
        return True

    def _restart(self) -> None:
        """Start again with the next encoding."""
        self.abort()
        self._outputs = self._writers()
        self._gzips = self._streams()
        self._parquet = ParquetWriter() if self._parquet else None
        self.engine = self._engine(encoding_position=self.engine.encoding_position + 1)
        self._must_be_skipped = False
        self._restarted = True

    def _open(self) -> Content:
        offset = self.engine.offset
        starts_at_offset = offset and not self._must_be_skipped
        self._source = source = Source(self.file, offset) if starts_at_offset else Source(self.file)
        content = Content(source.read, self._format.max_expansion, self.engine.encoding, is_start=not starts_at_offset)
        if not starts_at_offset:
            # A gzip file, or one that is converted to UTF-8, can only be read from its start.
            self._must_be_skipped = content.is_compressed or content.is_converted
            content.skip(offset)
        return content

    def _restore(self) -> None:
        if key := self.item.get("state_key"):
            state, rests = objects.get_state(self._bucket, key)
            if state.get("made_with") != self._made_with:
                raise StaleCheckpointError("the worker, the stack's columns or its output format have changed since")
            count = len(self._outputs)
            self._outputs = self._writers(state["outputs"], rests[:count])
            self._gzips = self._streams(state["gzips"])
            if self._parquet:
                self._parquet = ParquetWriter(state["parquet"], rests[count:])
            self.engine = self._engine(state["engine"])
            self._must_be_skipped = state["must_be_skipped"]

    @property
    def _made_with(self) -> str:
        """Fingerprint that a run must share with the run it resumes."""
        return repr((FORMAT_OF_CHECKPOINTS, self._settings.output_format, self._format))

    @property
    def has_progressed(self) -> bool:
        """Return True if this run has read more than the run before it."""
        before: int = self.item.get("offset", 0)
        return self._restarted or self.engine.offset > before

    @property
    def _progress(self) -> Progress:
        return {"rows_so_far": self.engine.rows, "bytes_so_far": self._source.offset if self._source else 0}

    @property
    def is_in_parts(self) -> bool:
        """Return True if the upload of any output has started."""
        return any(output.is_in_parts for output in self._outputs)

    def save(self) -> dict[str, Any]:
        """Stores where the run has come to; returns what the item has to say of it."""
        # A run that lost its lease must not overwrite what its successor stored.
        key = f"{STATE}{self.file.id}/{self.item['owner']}"
        state = {
            "engine": self.engine.state(),
            "outputs": [output.state() for output in self._outputs],
            "gzips": [stream and stream.state() for stream in self._gzips],
            "parquet": self._parquet.state() if self._parquet else None,
            "must_be_skipped": self._must_be_skipped,
            "made_with": self._made_with,
        }
        rests = [output.rest for output in self._outputs] + (self._parquet.rests if self._parquet else [])
        objects.put_state(self._bucket, key, state, rests)
        return {"state_key": key, "offset": self.engine.offset, "rows": self.engine.rows, **self._progress}

    def store_outputs(self) -> dict[str, str | None]:
        """Makes the outputs visible; returns their keys, None for one without rows."""
        columns = [check.column for check in self.engine.checks]
        ends = [stream.finish() if stream else b"" for stream in self._gzips]
        if self._parquet:
            ends[0] = self._parquet.finish(columns)
        keys = [output.key if output.finish(end) else None for output, end in zip(self._outputs, ends, strict=True)]
        return {"processed_key": keys[0], "rejected_key": keys[1]}

    def abort(self) -> None:
        """Gives up what has gone up."""
        for output in self._outputs:
            output.abort()
