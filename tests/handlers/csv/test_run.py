"""Runs over files in S3: encodings that turn out wrong, and files that are read in several runs."""

import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast
from unittest.mock import patch

import pytest

from handlers.csv import engine as engine_module
from handlers.csv.columns import Column, FileFormat
from handlers.csv.files import File, FileItem
from handlers.csv.run import Run
from handlers.csv.settings import CsvWorkerSettings
from handlers.shared import aws

pytestmark = pytest.mark.usefixtures("aws_in_process")

SETTINGS = CsvWorkerSettings(
    table_name="t",
    queue_url="q",
    dead_letter_queue_url="d",
    bucket_name="outputs",
    alerts_topic_arn="a",
    alerts_runbook="docs/alarms.md",
    notifications_topic_arn="n",
    input_prefix="raw/",
    output_format="jsonl",
    output_versions="all",
    suffixes=".csv",
    max_attempts=5,
    backoff_base_seconds=1,
    backoff_maximum_seconds=1,
    items_expire_after_days=1,
)


@dataclass
class Clock:
    """A context whose time is up after some blocks."""

    blocks: int
    aws_request_id: str = "request"

    def get_remaining_time_in_millis(self) -> int:
        self.blocks -= 1
        return 0 if self.blocks <= 0 else 900_000


@pytest.fixture
def upload() -> Callable[[bytes], File]:
    s3 = aws.client("s3")
    for bucket in ("inputs", "outputs"):
        s3.create_bucket(Bucket=bucket)

    def put(data: bytes) -> File:
        answer = s3.put_object(Bucket="inputs", Key="raw/a.csv", Body=data)
        return File("inputs", "raw/a.csv", "", answer["ETag"].strip('"'), len(data), {})

    return put


def read(
    file: File, file_format: FileFormat, blocks: int, settings: CsvWorkerSettings = SETTINGS
) -> tuple[list[Any], dict[str, Any], int]:
    """Read a file in runs of some blocks each. Return the processed rows, the report and the number of runs."""
    item: dict[str, Any] = {"owner": "run", "started_at": "2026-11-20T08:00:00.000000Z"}
    for number in range(1, 100):
        run = Run(settings, file_format, file, cast("FileItem", item))
        if run.read(Clock(blocks)):
            key = run.store_outputs()["processed_key"]
            lines = aws.client("s3").get_object(Bucket="outputs", Key=key)["Body"].read()
            lines = gzip.decompress(lines) if settings.output_format == "jsonl.gz" else lines
            return [list(json.loads(line).values()) for line in lines.splitlines()], run.engine.report(), number
        assert run.has_progressed
        item |= run.save()
    raise AssertionError("the file does not end")


COLUMNS = (Column("a"), Column("b"))


@pytest.mark.parametrize("blocks", [2, 1_000])
def test_a_wrong_encoding_is_replaced_and_its_rows_are_given_up(upload: Callable[[bytes], File], blocks: int) -> None:
    data = b"a,b\n" + b"1,xy\n" * 20 + b"2,\xe9\n" + b"3,z\n" * 20
    with patch.object(engine_module, "BLOCK_BYTES", 16):
        rows, report, runs = read(upload(data), FileFormat(COLUMNS, encodings=("utf-8", "windows-1252")), blocks)
    assert rows == [["1", "xy"]] * 20 + [["2", "é"]] + [["3", "z"]] * 20
    assert (report["rows"], report["encoding"], runs > 1) == (41, "windows-1252", blocks == 2)


@pytest.mark.parametrize("blocks", [2, 1_000])
@pytest.mark.parametrize("compress", [gzip.compress, bytes])
def test_a_converted_file_is_continued(
    upload: Callable[[bytes], File], blocks: int, compress: Callable[[bytes], bytes]
) -> None:
    data = compress("a,b\n".encode("iso2022_jp") + "1,日本\n".encode("iso2022_jp") * 20)
    with patch.object(engine_module, "BLOCK_BYTES", 30):
        rows, report, runs = read(upload(data), FileFormat(COLUMNS, encodings=("iso2022_jp",)), blocks)
    assert rows == [["1", "日本"]] * 20
    assert (report["encoding"], runs > 1) == ("iso2022_jp", blocks == 2)


@pytest.mark.parametrize("blocks", [2, 1_000])
def test_rows_name_the_upload_that_they_are_of(upload: Callable[[bytes], File], blocks: int) -> None:
    with patch.object(engine_module, "BLOCK_BYTES", 16):
        rows, _, _ = read(upload(b"a,b\n" + b"1,xy\n" * 20), FileFormat(COLUMNS, provenance=True), blocks)
    assert rows == [["1", "xy", "raw/a.csv", number] for number in range(1, 21)]


def test_bytes_after_a_gzip_file_are_in_the_report(upload: Callable[[bytes], File]) -> None:
    file = upload(gzip.compress(b"a,b\n1,x\n") + b"\0" * 9)
    assert read(file, FileFormat(COLUMNS), 1_000)[1]["trailing_bytes"] == 9


def test_compressed_rows_of_several_runs_are_one_gzip_member(upload: Callable[[bytes], File]) -> None:
    data = b"a,b\n" + b"".join(b"%d,xy\n" % number for number in range(2_000)) + b"1,2,3\n"
    file, outputs = upload(data), []
    with patch.object(engine_module, "BLOCK_BYTES", 512):
        for blocks in (3, 1_000):
            read(file, FileFormat(COLUMNS), blocks, replace(SETTINGS, output_format="jsonl.gz"))
            objects = aws.client("s3").list_objects_v2(Bucket="outputs", Prefix="")["Contents"]
            keys = sorted(each["Key"] for each in objects if each["Key"].endswith(".jsonl.gz"))
            outputs.append([aws.client("s3").get_object(Bucket="outputs", Key=key)["Body"].read() for key in keys])
    assert outputs[0] == outputs[1]
    for compressed, lines in zip(outputs[0], (2_000, 1), strict=True):
        member = zlib.decompressobj(16 + zlib.MAX_WBITS)
        assert member.decompress(compressed).count(b"\n") == lines
        assert (member.eof, member.unused_data) == (True, b"")
