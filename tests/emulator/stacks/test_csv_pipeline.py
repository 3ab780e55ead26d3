"""The csv stack as it ships, in the emulator: a file is put, and everything else happens by itself."""

import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet  # type: ignore[import-untyped]

from handlers.csv.files import File
from tests.graphs import SAMPLES

from .conftest import ROOT, Client, Start

HEADER = "name,email,amount,date,quantity\n"
GOOD = "Ann,ann@example.com,12.50,2024-01-02,3\n"


@pytest.fixture(scope="module")
def files(start: Start) -> Iterator[Client]:
    # With versions, as in staging and prod; tests/emulator/csv has none.
    with start(
        "csv",
        output={"format": "jsonl"},
        storage={"bucket_versioning": True},
        worker={"max_attempts": 2, "backoff": {"base_seconds": 1}},
        queue={"redrive_api": {}},
        redrive_api={"stage_name": "ops", "throttling": {"rate_per_second": 5, "burst": 10}},
    ) as client:
        yield client


def put(files: Client, key: str, content: bytes) -> None:
    files.aws("s3").put_object(Bucket=files.outputs["input_bucket"], Key=key, Body=content)


def report(files: Client, name: str) -> Any:
    """The report of a file as soon as it is there."""
    s3, bucket = files.aws("s3"), files.outputs["output_bucket"]
    mark = File(files.outputs["input_bucket"], f"raw/{name}", "", "", 0, {}).key_mark

    def keys() -> list[str]:
        found = s3.list_objects_v2(Bucket=bucket, Prefix="reports/").get("Contents", [])
        return [each["Key"] for each in found if f"/{mark}-" in each["Key"]]

    found = files.until(keys)
    return json.loads(s3.get_object(Bucket=bucket, Key=found[0])["Body"].read())


@pytest.mark.parametrize("name", ["a b+ü.csv", "two\nlines.csv"])
def test_a_file_that_is_put_ends_in_outputs_and_report(files: Client, name: str) -> None:
    put(files, f"raw/{name}", (HEADER + GOOD + GOOD.replace("12.50", "1,2")).encode())
    found = report(files, name)
    assert (found["status"], found["rows"], found["processed"], found["rejected"]) == ("succeeded", 2, 1, 1)
    assert found["key"] == f"raw/{name}"
    processed = files.aws("s3").get_object(Bucket=files.outputs["output_bucket"], Key=found["processed_key"])
    assert json.loads(processed["Body"].read())["amount"] == 12.5


def test_a_gzipped_file_of_many_megabytes_goes_up_in_parts(files: Client) -> None:
    count = 100_000
    put(files, "raw/large.csv.gz", gzip.compress((HEADER + GOOD * count).encode(), 1))
    found = report(files, "large.csv.gz")
    assert (found["processed"], found["rejected"]) == (count, 0)
    head = files.aws("s3").head_object(Bucket=files.outputs["output_bucket"], Key=found["processed_key"])
    assert head["ContentLength"] == count * len(
        '{"name":"Ann","email":"ann@example.com","amount":12.50,"date":"2024-01-02","quantity":3}\n'
    )
    assert head["ETag"].strip('"').endswith("-2")


def test_the_same_content_again_is_another_version_and_no_other_file(files: Client) -> None:
    put(files, "raw/twice.csv", (HEADER + GOOD).encode())
    first = report(files, "twice.csv")
    put(files, "raw/twice.csv", (HEADER + GOOD).encode())

    def items() -> list[Any]:
        found = files.aws("dynamodb").scan(TableName=files.outputs["table_name"])["Items"]
        return [item for item in found if item["key"]["S"] == "raw/twice.csv" and "status" in item]

    files.until(lambda: [each["sequencer"]["S"] > first["sequencer"] for each in items()] == [True])
    s3, bucket = files.aws("s3"), files.outputs["output_bucket"]
    versions = s3.list_object_versions(Bucket=files.outputs["input_bucket"], Prefix="raw/twice.csv")["Versions"]
    assert len({each["VersionId"] for each in versions}) == 2
    folder = first["processed_key"].rpartition("-")[0]
    assert s3.list_objects_v2(Bucket=bucket, Prefix=folder)["KeyCount"] == 1


def test_an_unreadable_file_is_reported_and_with_the_dead_letters(files: Client) -> None:
    put(files, "raw/picture.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    assert report(files, "picture.csv")["reason"] == "not_text"
    files.until(lambda: files.depth(files.outputs["dead_letter_queue_url"]) == 1)
    files.until(lambda: files.depth(files.outputs["queue_url"]) == 0)
    # And its dead letter over the API, to signed requests only.
    assert files.request("GET", "/redrive/preview")[0] == 403
    assert files.request("POST", "/redrive/start", {})[0] == 403
    status, shown = files.signed("GET", "/redrive/preview?error_type=not_text")
    assert (status, [message["error_type"] for message in shown["messages"]]) == (200, ["not_text"])
    assert files.signed("POST", "/redrive/start", {"error_type": "other"})[1]["not_matching"] == 1


def test_a_file_that_failed_comes_through_once_its_cause_is_gone_and_it_is_sent_back_over_the_api(
    files: Client,
) -> None:
    assert files.api_url.endswith("/ops")
    s3, bucket = files.aws("s3"), files.outputs["input_bucket"]
    policy = s3.get_bucket_policy(Bucket=bucket)["Policy"]
    reading = ["s3:GetObject", "s3:GetObjectVersion"]
    refusal = {"Effect": "Deny", "Principal": "*", "Action": reading, "Resource": f"arn:aws:s3:::{bucket}/raw/*"}
    statements = [*json.loads(policy)["Statement"], refusal]
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({**json.loads(policy), "Statement": statements}))
    put(files, "raw/later.csv", (HEADER + GOOD).encode())
    found = report(files, "later.csv")
    assert (found["status"], found["reason"]) == ("failed", "gave_up")
    s3.put_bucket_policy(Bucket=bucket, Policy=policy)
    shown = files.until(lambda: files.signed("GET", "/redrive/preview?error_type=gave_up")[1]["messages"])
    assert [message["id"] for message in shown] == [found["id"]]
    moved = files.signed("POST", "/redrive/start", {"error_type": "gave_up", "max_messages": 1.0})
    assert (moved[0], moved[1]["redriven"]) == (200, 1)
    files.until(lambda: report(files, "later.csv")["status"] == "succeeded")


def test_only_objects_below_the_prefix_start_the_pipeline_and_none_of_them_vanishes(files: Client) -> None:
    for key in ("processed/a.csv", "a.csv", "rawer/a.csv", "raw/folder/"):
        put(files, key, b"" if key.endswith("/") else (HEADER + GOOD).encode())
    for key in ("raw/a.txt", "raw/UPPER.CSV", "raw/last.Csv.GZ"):
        put(files, key, (HEADER + GOOD).encode())
    assert report(files, "UPPER.CSV")["status"] == report(files, "last.Csv.GZ")["status"] == "succeeded"
    other = report(files, "a.txt")
    assert (other["status"], other["reason"]) == ("skipped", "unknown_suffix")
    assert other["error"] == "the key ends in none of .csv .csv.gz (input.suffixes)"
    items = files.aws("dynamodb").scan(TableName=files.outputs["table_name"])["Items"]
    # The others say when an alert was published.
    items = [item for item in items if not item["id"]["S"].startswith("alert#")]
    assert all(item["key"]["S"].startswith("raw/") for item in items)
    assert "raw/folder/" not in {item["key"]["S"] for item in items}


def test_a_stack_that_writes_parquet_does_so(start: Start) -> None:
    with start("csv", output={"format": "parquet"}) as files:
        put(files, "raw/a.csv", (HEADER + GOOD + GOOD.replace("12.50", "0.1000000000000000055")).encode())
        found = report(files, "a.csv")
        assert [(reason["reason"], reason["count"]) for reason in found["reasons"]] == [("not_exact", 1)]
        stored = files.aws("s3").get_object(Bucket=files.outputs["output_bucket"], Key=found["processed_key"])
        assert parquet.read_table(io.BytesIO(stored["Body"].read())).to_pylist() == [
            {
                "name": "Ann",
                "email": "ann@example.com",
                "amount": 12.5,
                "date": date(2024, 1, 2),
                "quantity": 3,
            }
        ]


def command(files: Client, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {
        **os.environ,
        **files.up.environment(),
        "PYTHONPATH": str(ROOT),
        "PIPELINE_OUTPUTS": json.dumps(dict(files.outputs)),
    }
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=SAMPLES,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_upload_waits_for_the_report_and_prints_it(files: Client, tmp_path: Path) -> None:
    path = tmp_path / "good.csv"
    path.write_text(HEADER + GOOD)
    done = command(files, "upload", str(path))
    assert (done.returncode, done.stderr.replace("waiting for the worker", "").strip()) == (0, "")
    assert "raw/good.csv: succeeded" in done.stdout
    assert "1 rows: 1 processed (100 %), 0 rejected" in done.stdout
    again = command(files, "upload", str(path))
    assert "the same content was uploaded before; this is the report of " in again.stderr
    assert "csv reprocess --key raw/good.csv --stack csv" in again.stderr
    done = command(files, "csv", "reprocess", "--key", "raw/good.csv")
    assert (done.returncode, done.stdout) == (0, "raw/good.csv\n1 files will be read again\n")
    files.until(lambda: report(files, "good.csv")["generation"] == 1)
    path.write_text(HEADER + GOOD + "x\n")
    done = command(files, "upload", str(path), "--key", "raw/other name.csv", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["rejected"] == 1


def test_upload_says_what_is_wrong_in_one_line(files: Client, tmp_path: Path) -> None:
    missing = command(files, "upload", str(tmp_path / "none.csv"))
    assert (missing.returncode, missing.stderr) == (1, f"error: {tmp_path / 'none.csv'}: there is no such file\n")
    other = tmp_path / "a.txt"
    other.write_text(HEADER)
    assert (
        "must begin with raw/ and end with .csv or .csv.gz (input.suffixes)"
        in command(files, "upload", str(other)).stderr
    )
