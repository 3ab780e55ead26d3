"""The worker of uploaded files: what it stores, whom it tells, and which messages return."""

import gzip
import io
import json
import os
import re
import subprocess
import sys
from datetime import date
from typing import Any
from unittest.mock import patch
from urllib.parse import quote_plus

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from pyarrow import parquet  # type: ignore[import-untyped]

from handlers.csv import objects, run
from handlers.csv.file_table import FileTable
from handlers.csv.files import File, UnreadableNotificationError, read_notification
from handlers.shared import aws
from tests.graphs import SAMPLES

from .conftest import HEADER, ROOT, Files, Json, Time, rows


def notification(**facts: Any) -> str:
    """A notification of S3 about an object, for which these facts are told."""
    entity = {"key": "raw/a.csv", "size": 1, "eTag": "e", **facts}
    return json.dumps({"Records": [{"s3": {"bucket": {"name": "b"}, "object": entity}}]})


def test_a_file_ends_in_outputs_and_report_and_item_and_one_notification(files: Files) -> None:
    files.upload("raw/may.csv", HEADER + rows(100))
    assert files.drain() == 1
    processed, rejected, report, item = (
        files.lines("processed/"),
        files.lines("rejected/"),
        files.report(),
        files.item(),
    )
    assert [row["quantity"] for row in processed] == [number for number in range(100) if number % 7 != 6]
    assert [row["row"] for row in rejected] == [number + 1 for number in range(100) if number % 7 == 6]
    assert (report["status"], report["rows"], report["processed"], report["rejected"]) == ("succeeded", 100, 86, 14)
    assert report["reasons"] == [{"column": "quantity", "reason": "not_an_integer", "count": 14}]
    assert (item["status"], item["rows"], item["settled"]) == ("succeeded", "100", True)
    (told,) = files.told()
    assert (told["key"], told["status"], told["processed"]) == ("raw/may.csv", "succeeded", 86)
    assert told["report_key"] in files.objects("reports/")
    assert (files.told("alerts"), files.dead_letters(), files.uploads()) == ([], [], [])


@pytest.mark.parametrize(
    "key",
    [
        "raw/with space.csv",
        "raw/a+b%20c,d&e=f;g.csv",
        "raw/été/日本 ✓.csv",
        "raw/" + "x" * 991 + ".csv",
        "raw/" + "é/" * 320 + ".csv",
        "raw/UPPER.CSV",
        "raw/mixed.Csv.Gz",
        "raw/..//dots.csv",
        "raw/../../reports/dots.csv",
    ],
)
def test_keys_of_every_kind_are_read(files: Files, key: str) -> None:
    files.upload(key, HEADER + rows(3))
    files.drain()
    assert (files.item()["status"], files.item()["key"]) == ("succeeded", key)
    outputs = files.objects("")
    assert sorted(output.partition("/")[0] for output in outputs) == ["processed", "reports"]
    assert all(len(output.encode()) <= 1_024 for output in outputs)


# Of files, and of columns.
HOSTILE_NAMES = {
    "formula": "=cmd|' /C calc'!A0",
    "sum": "+1+1",
    "at": "@SUM(A1:A9)",
    "lines": "a\r\nSubject: b\n\nc",
    "terminal": "\x1b[2J\x1b]0;title\x07\x9b31m\x7f",
    "other directions": "a\u202evsc.\u2028\u2066b",
    "JSON": '","file":{"status":"succeeded","x":"',
    "template": "{{service}}${7*7}%s{0}",
    "markup": "<script>alert(1)</script>[red]",
    "long": "x" * 300,
}


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_the_names_of_a_file_and_its_columns_are_text_in_its_report_and_its_notices(files: Files, name: str) -> None:
    hostile = HOSTILE_NAMES[name]
    key = f"raw/{hostile}.csv"
    header = hostile.replace('"', '""')
    files.upload(key, f'"{header}"\n1\n')
    files.drain()
    report = files.report()
    assert (report["status"], report["reason"], report["key"]) == ("failed", "missing_columns", key)
    assert hostile.strip() in report["error"]
    assert set(files.objects("")) == {files.item()["report_key"]}
    ((subject, text),) = files.published()
    ((alert_subject, alert),) = files.published("alerts")
    assert subject == alert_subject
    assert subject.endswith(": a file failed: missing_columns")
    assert text.isascii()
    told = json.loads(text)["file"]
    assert (told["status"], told["key"], told["report_key"]) == ("failed", key, files.item()["report_key"])
    assert told["error"].isprintable()
    assert json.loads(alert)["file"]["reason"] == "missing_columns"
    assert json.dumps(hostile)[1:-1] not in alert
    (letter,) = files.dead_letters()
    assert letter["MessageAttributes"]["error"]["StringValue"].isprintable()


def test_the_same_version_twice_has_one_effect(files: Files) -> None:
    files.upload("raw/a.csv", HEADER + rows(10))
    records = files.receive()
    assert files.deliver(records) == []
    before = files.objects("")
    for record in records:
        files.send(record["body"])
    files.drain()
    assert files.objects("") == before
    assert len(files.told()) == 1


def test_a_new_version_is_a_new_run(files: Files) -> None:
    files.upload("raw/a.csv", HEADER + rows(10))
    files.drain()
    files.upload("raw/a.csv", HEADER + rows(11))
    files.drain()
    assert sorted(item["rows"] for item in files.items().values()) == ["10", "11"]
    assert len(files.objects("reports/")) == 2


@pytest.mark.parametrize("key", ["raw/../../etc/passwd", "raw/./..", "raw//a", "../processed/x.csv", "raw/\x00.csv"])
def test_a_key_is_a_name_and_no_part_of_the_keys_of_outputs(key: str) -> None:
    (file,) = read_notification(notification(key=quote_plus(key)))
    assert file.key == key
    output = file.output_key("processed/", "2026-11-21T08:00:00.000000Z", ".jsonl", 2)
    assert re.fullmatch(rf"processed/2026/11/21/[0-9a-f]{{16}}-{file.id}-2\.jsonl", output)
    other = File(file.bucket, f"{key}x", "", file.etag, 0, {})
    assert other.key_mark != file.key_mark == File(file.bucket, key, "v", "other", 1, {}).key_mark


def test_of_a_name_that_stands_twice_in_a_notification_the_last_counts() -> None:
    # As S3 and every other reader of its notifications has it: the sender is S3, held by the queue's policy.
    (file,) = read_notification(notification().replace('"key": "raw/a.csv"', '"key": "raw/a.csv", "key": "raw/b.csv"'))
    assert file.key == "raw/b.csv"


def test_several_files_in_one_message_are_all_read(files: Files) -> None:
    for number in range(3):
        files.upload(f"raw/{number}.csv", HEADER + rows(number + 1))
    records = [record for body in files.receive() for record in json.loads(body["body"])["Records"]]
    files.clear_queue()
    files.send({"Records": records})
    files.drain()
    assert sorted(item["rows"] for item in files.items().values()) == ["1", "2", "3"]


def test_s3s_test_message_is_passed_over(files: Files) -> None:
    files.send({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"})
    assert files.drain() == 1
    assert (files.items(), files.dead_letters()) == ({}, [])


@pytest.mark.parametrize(
    "body",
    [
        *("", "no json", "[]", "null", "{}", '{"Records": [{}]}', '{"Records": 1}', "[" * 10_000),
        notification().replace('"size": 1', '"size": 1' + "0" * 4_400),
        notification(size=10**400),
        notification(size=-1),
        notification(key="raw/\ud800.csv"),
        notification(key="raw/%FF.csv"),
        notification(versionId="\ud800"),
    ],
)
def test_a_message_that_is_no_notification_goes_to_the_dead_letters_at_once_with_an_alert(
    files: Files,
    body: str,
) -> None:
    with pytest.raises(UnreadableNotificationError):
        read_notification(body)
    record = {
        "messageId": "m",
        "receiptHandle": "r",
        "body": body or " ",
        "attributes": {"ApproximateReceiveCount": "1"},
    }
    assert files.worker().handle([record], Time()) == {"batchItemFailures": []}
    (letter,) = files.dead_letters()
    assert letter["Body"] == record["body"]
    assert letter["MessageAttributes"]["error_type"]["StringValue"] == "unreadable"
    (alert,) = files.told("alerts")
    assert alert == {"id": "m"}
    assert letter["MessageAttributes"]["error"]["StringValue"].startswith("the message is not ")


def test_an_object_that_was_deleted_is_skipped(files: Files) -> None:
    files.upload("raw/a.csv", HEADER)
    files.root("s3").delete_object(Bucket=files.outputs["input_bucket"], Key="raw/a.csv")
    assert files.drain() == 1
    assert (files.item()["status"], files.report()["reason"]) == ("skipped", "missing")
    assert (files.told("alerts"), files.dead_letters()) == ([], [])


def test_an_object_that_was_replaced_is_skipped_for_the_new_one(files: Files) -> None:
    files.upload("raw/a.csv", HEADER)
    files.upload("raw/a.csv", HEADER + rows(2))
    files.drain()
    assert sorted((item["status"], item.get("reason")) for item in files.items().values()) == [
        ("skipped", "superseded"),
        ("succeeded", None),
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty_file"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not_text"),
        (b"name,email\n1,2\n", "missing_columns"),
        (gzip.compress((HEADER + rows(2_000)).encode())[:-20], "gzip_truncated"),
    ],
)
def test_an_unreadable_file_fails_at_once_with_its_reason_and_a_notice_and_a_dead_letter(
    files: Files,
    content: bytes,
    reason: str,
) -> None:
    files.upload("raw/a.csv", content)
    assert files.drain() == 1
    assert (files.item()["status"], files.item()["reason"], files.report()["reason"]) == ("failed", reason, reason)
    assert [told["reason"] for told in files.told("alerts")] == [reason]
    assert [told["status"] for told in files.told()] == ["failed"]
    (letter,) = files.dead_letters()
    assert letter["MessageAttributes"]["error_type"]["StringValue"] == reason
    assert (files.objects("processed/"), files.objects("rejected/"), files.uploads()) == ({}, {}, [])


def test_a_failed_file_that_is_redriven_is_tried_again(files: Files) -> None:
    files.upload("raw/a.csv", b"no,such,columns\n")
    files.drain()
    (letter,) = files.dead_letters()
    files.columns = json.dumps({"columns": [{"name": "no", "aliases": [], "choices": []}]})
    files.send(letter["Body"])
    files.drain()
    item = files.item()
    assert (item["status"], item["generation"], item.get("reason")) == ("succeeded", "1", None)
    assert json.loads(files.objects("reports/")[item["report_key"]])["status"] == "succeeded"
    # Its success does not look like a repeat of the notice of its failure.
    told = [(each["id"], each["status"], each["generation"]) for each in files.told()]
    assert told == [(item["id"], "failed", 0), (item["id"], "succeeded", 1)]


def test_a_failed_files_own_message_that_comes_again_changes_nothing(files: Files) -> None:
    files.upload("raw/a.csv", b"")
    records = files.receive()
    files.deliver(records)
    assert files.worker().handle(records, Time()) == {"batchItemFailures": []}
    assert (len(files.dead_letters()), len(files.told())) == (1, 1)


def test_gzip_and_plain_output(files: Files) -> None:
    files.settings = {"output_format": "jsonl"}
    files.upload("raw/a.csv.gz", gzip.compress((HEADER + rows(500)).encode()))
    files.drain()
    assert [row["quantity"] for row in files.lines("processed/")] == [n for n in range(500) if n % 7 != 6]
    assert all(key.endswith(".jsonl") for key in [*files.objects("processed/"), *files.objects("rejected/")])


def test_parquet_output_has_the_rows_with_their_types_and_lines_of_what_was_rejected(files: Files) -> None:
    files.write_parquet()
    files.upload("raw/a.csv", HEADER + rows(500) + "Zoë,z@example.com,9007199254740993,2024-01-02,1\n")
    files.drain()
    ((key, body),) = files.objects("processed/").items()
    assert key.endswith(".parquet")
    head = files.root("s3").head_object(Bucket=files.outputs["output_bucket"], Key=key)
    assert head["ContentType"] == "application/vnd.apache.parquet"
    found = parquet.ParquetFile(io.BytesIO(body))
    assert found.metadata.num_row_groups > 1
    assert [str(field.type) for field in found.schema_arrow] == ["string", "string", "double", "date32[day]", "int64"]
    assert found.read().to_pylist() == [
        {
            "name": f"Name {number}",
            "email": f"user{number}@example.com",
            "amount": number + 0.25,
            "date": date(2024, 1, 2),
            "quantity": number,
        }
        for number in range(500)
        if number % 7 != 6
    ]
    assert files.lines("rejected/")[-1]["errors"][0]["reason"] == "not_exact"
    assert [files.item()[name] for name in ("processed", "rejected")] == ["429", "72"]


def test_parquet_of_a_file_without_good_rows_is_no_object(files: Files) -> None:
    files.write_parquet()
    files.upload("raw/a.csv", HEADER + "x,y,z,0,0\n")
    files.drain()
    assert (files.item()["status"], files.objects("processed/")) == ("succeeded", {})


# Files that take more than one run


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(("blocks_a_run", "output_format"), [(1, "jsonl.gz"), (3, "jsonl.gz"), (2, "parquet")])
def test_a_file_too_long_for_one_run_goes_on_where_it_was(
    files: Files,
    blocks_a_run: int,
    output_format: str,
    *,
    compressed: bool,
) -> None:
    if output_format == "parquet":
        files.write_parquet()
    content = (HEADER + rows(400)).encode()
    name, content = ("a.csv.gz", gzip.compress(content)) if compressed else ("a.csv", content)
    files.upload(f"raw/{name}", content)
    files.drain()
    whole, report = files.objects("processed/") | files.objects("rejected/"), files.report()
    files.clear()
    files.upload(f"raw/{name}", content)
    runs = files.drain(lambda: Time(blocks_a_run))
    assert runs > 3
    assert files.objects("processed/") | files.objects("rejected/") == whole
    changing = {"started_at", "completed_at", "duration_seconds", "uploaded_at", "sequencer"}
    assert {k: v for k, v in files.report().items() if k not in changing} == {
        k: v for k, v in report.items() if k not in changing
    }
    assert (len(files.told()), files.uploads()) == (1, [])


def test_a_file_that_goes_on_returns_by_its_visibility_and_is_not_counted_as_a_failure(
    files: Files,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files.upload("raw/a.csv", HEADER + rows(400))
    records = files.receive()
    assert files.deliver(records, Time(1)) == [records[0]["messageId"]]
    (again,) = files.receive()
    assert again["messageId"] == records[0]["messageId"]
    metrics = next(json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line)
    assert (metrics["FilesContinued"], metrics["BatchItemFailures"]) == ([1.0], [0.0])
    assert files.item()["status"] == "processing"
    assert files.objects("processed/") == {}


def test_a_file_that_another_run_reads_is_left_alone(files: Files) -> None:
    files.upload("raw/a.csv", HEADER + rows(10))
    records = files.receive()
    file = read_notification(records[0]["body"])[0]
    table = files.worker()._table
    assert (
        table.claim(file, "other", now=0, until=2**40, started_at="2026-11-20T00:00:00.000000Z", expires_at=2**40)
        is not None
    )
    assert files.deliver(records) == [records[0]["messageId"]]
    assert files.objects("") == {}
    assert files.item()["owner"] == "other"


def test_a_run_that_lost_its_lease_writes_no_more_of_the_file(files: Files) -> None:
    files.upload("raw/a.csv", HEADER + rows(10))
    records = files.receive()
    put_report = objects.put_report

    def overtaken(*args: Any) -> None:
        put_report(*args)
        files.root("dynamodb").update_item(
            TableName=files.outputs["table_name"],
            Key={"id": {"S": files.item()["id"]}},
            UpdateExpression="SET #owner = :other",
            ExpressionAttributeNames={"#owner": "owner"},
            ExpressionAttributeValues={":other": {"S": "other"}},
        )

    with patch.object(objects, "put_report", overtaken):
        assert files.deliver(records) == [records[0]["messageId"]]
    assert (files.item()["status"], files.told()) == ("processing", [])


# Failures


class BrokenBody:
    """A connection that breaks after some bytes."""

    def __init__(self, body: Any, after: int) -> None:
        self._body = body
        self._left = after

    def read(self, size: int) -> bytes:
        if self._left <= 0:
            raise ReadTimeoutError(endpoint_url="s3")
        data: bytes = self._body.read(min(size, self._left))
        self._left -= len(data)
        return data


def test_a_connection_that_breaks_is_made_again_where_it_broke(files: Files) -> None:
    files.upload("raw/a.csv", HEADER + rows(400))
    client = aws.client("s3")
    get_object, ranges = client.get_object, []

    def breaking(**request: Any) -> Any:
        ranges.append(request.get("Range"))
        answer = get_object(**request)
        return {**answer, "Body": BrokenBody(answer["Body"], 5_000)}

    with patch.object(client, "get_object", breaking):
        files.drain()
    assert files.item()["rows"] == "400"
    assert [row["quantity"] for row in files.lines("processed/")] == [n for n in range(400) if n % 7 != 6]
    assert ranges[:3] == [None, "bytes=5000-", "bytes=10000-"]


def test_a_service_that_does_not_answer_is_tried_again_until_the_attempts_are_used_up(files: Files) -> None:
    files.upload("raw/a.csv", HEADER + rows(10))
    client = aws.client("s3")
    get_object, calls = client.get_object, []

    def refusing(**request: Any) -> Any:
        calls.append(request["Key"])
        if len(calls) < 3:
            raise ClientError({"Error": {"Code": "SlowDown"}}, "GetObject")
        return get_object(**request)

    with patch.object(client, "get_object", refusing):
        assert files.drain() == 3
    assert (files.item()["status"], files.item()["error"], files.item()["attempts"]) == ("succeeded", True, "3")
    files.clear()
    files.settings = {"max_attempts": 2}
    calls.clear()
    files.upload("raw/b.csv", HEADER + rows(10))
    with patch.object(client, "get_object", refusing):
        assert files.drain() == 2
    assert (files.item()["status"], files.item()["reason"]) == ("failed", "gave_up")
    assert "SlowDown" in files.report()["error"]
    assert len(files.dead_letters()) == 1


def test_an_unexpected_error_returns_the_file_at_once_with_its_type_and_place(files: Files) -> None:
    files.settings = {"max_attempts": 2}
    files.upload("raw/a.csv", HEADER + rows(10))
    with patch.object(run, "json_lines", side_effect=ZeroDivisionError("broken")):
        records = files.receive()
        assert len(files.deliver(records)) == 1
        assert files.item()["lease_until"] == "0"
        assert re.fullmatch(r"ZeroDivisionError at csv/engine.py:\d+: broken", files.item()["error"])
        files.show_again(records)
        assert files.drain() == 1
    assert (files.item()["status"], files.item()["reason"]) == ("failed", "gave_up")
    assert "2 runs ended without progress: ZeroDivisionError at csv/engine.py:" in files.report()["error"]
    assert len(files.dead_letters()) == 1


def test_a_file_that_kills_the_function_each_time_is_given_up(files: Files) -> None:
    files.settings = {"max_attempts": 3}
    files.upload("raw/a.csv", HEADER + rows(10))
    for _ in range(3):
        records = files.receive()
        with patch.object(objects, "put_report", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
            files.deliver(records)
        files.show_again(records)
    # It came as far as to store its outputs.
    assert len(files.objects("processed/")) == len(files.objects("rejected/")) == 1
    assert files.drain() == 1
    assert (files.item()["status"], files.item()["reason"]) == ("failed", "gave_up")
    assert {key.partition("/")[0] for key in files.objects("")} == {"reports"}
    (told,) = files.told()
    for counts in (files.report(), told):
        assert (counts["rows"], counts["processed"], counts["rejected"]) == (0, 0, 0)


def test_a_file_that_fails_or_is_skipped_counts_no_rows_and_says_how_many_were_read(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.upload("raw/cut.csv.gz", gzip.compress((HEADER + rows(4_000)).encode())[:-1_000])
    files.drain()
    report, item = files.report(), files.item()
    assert (report["status"], report["reason"]) == ("failed", "gzip_truncated")
    nothing: Json = {"rows": 0, "processed": 0, "rejected": 0, "success_rate": None, "reasons": [], "columns": {}}
    assert {name: report[name] for name in nothing} == nothing
    assert 0 < report["rows_read"] < 4_000
    assert (item["rows"], item["processed"], item["rejected"], item["success_rate"]) == ("0", "0", "0", True)
    (counted,) = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "RowsProcessed" in line]
    assert (counted["FilesFailed"], counted["RowsProcessed"], counted["RowsRejected"]) == ([1], [0], [0])
    assert (files.uploads(), set(files.objects(""))) == ([], {item["report_key"]})


def test_a_checkpoint_whose_upload_is_gone_is_started_anew(files: Files) -> None:
    files.upload("raw/a.csv", HEADER + rows(400))
    records = files.receive()
    files.deliver(records, Time(4))
    assert files.uploads()
    for upload in files.uploads():
        files.root("s3").abort_multipart_upload(
            Bucket=files.outputs["output_bucket"], Key=upload["Key"], UploadId=upload["UploadId"]
        )
    files.show_again(records)
    files.drain()
    assert files.item()["status"] == "succeeded"
    assert [row["quantity"] for row in files.lines("processed/")] == [n for n in range(400) if n % 7 != 6]


@pytest.mark.parametrize("first_blocks", [1, 4])
def test_a_checkpoint_of_a_stack_that_has_changed_since_is_started_anew(files: Files, first_blocks: int) -> None:
    files.upload("raw/a.csv", HEADER + rows(400))
    records = files.receive()
    files.deliver(records, Time(first_blocks))
    files.show_again(records)
    files.write_parquet()
    files.drain()
    assert files.item()["status"] == "succeeded"
    (key,) = files.objects("processed/")
    assert key.endswith(".parquet")
    assert [row["quantity"] for row in files.lines("processed/")] == [n for n in range(400) if n % 7 != 6]
    assert len(files.told()) == 1


def test_the_id_of_a_file_is_that_of_its_key_and_content() -> None:
    def made(**changes: str) -> str:
        given: dict[str, Any] = {"bucket": "b", "key": "k", "version": "", "etag": "e", **changes}
        return File(size=0, record={}, **given).id

    ids = [made(), made(etag="f"), made(bucket="c"), made(key="l"), made(bucket="bk", key="")]
    assert len(set(ids)) == len(ids)
    assert made(version="v") == made()


def test_a_key_has_a_pointer_to_the_outputs_of_its_newest_version_that_succeeded(files: Files) -> None:
    files.settings = {"output_versions": "all"}
    files.upload("raw/a.csv", HEADER + rows(10))
    files.drain()
    (first,) = files.items().values()
    assert files.pointer("raw/a.csv").items() >= {
        ("file_id", first["id"]),
        ("processed_key", first["processed_key"]),
        ("rejected_key", first["rejected_key"]),
        ("report_key", first["report_key"]),
    }
    files.upload("raw/a.csv", b"no,such,columns\n")
    files.drain()
    assert files.pointer("raw/a.csv")["file_id"] == first["id"]
    files.upload("raw/a.csv", HEADER + rows(11))
    files.drain()
    (second,) = [item for item in files.items().values() if item.get("rows") == "11"]
    assert files.pointer("raw/a.csv")["file_id"] == second["id"]
    assert files.items()[first["id"]]["superseded_by"] == second["id"]
    assert len(files.objects("processed/")) == 2


def test_the_latest_version_wins_whatever_the_order_in_which_versions_are_processed(files: Files) -> None:
    files.upload("raw/a.csv", HEADER + rows(3))
    files.drain()
    (message,) = [json.dumps({"Records": [record]}) for record in _announced(files, "raw/a.csv", rows(4))]
    files.clear_queue()
    files.upload("raw/a.csv", HEADER + rows(5))
    files.drain()
    current = files.pointer("raw/a.csv")
    files.told()
    # The bucket keeps no versions: an older one is gone by the time that its notification comes.
    files.send(message)
    files.drain()
    assert files.pointer("raw/a.csv") == current
    assert set(files.objects("processed/")) == {current["processed_key"]}
    assert [told["status"] for told in files.told()] == ["skipped"]


def _announced(files: Files, key: str, content: str) -> list[Any]:
    files.upload(key, HEADER + content)
    (record,) = files.receive()
    return json.loads(record["body"])["Records"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("kept", ["all", "latest"])
def test_an_older_content_that_is_put_again_is_current_again(files: Files, kept: str) -> None:
    files.settings = {"output_versions": kept}
    for count in (3, 5, 3):
        files.upload("raw/a.csv", HEADER + rows(count))
        files.drain()
    pointer = files.pointer("raw/a.csv")
    assert len(files.lines(pointer["processed_key"])) == 3
    (first,) = [item for item in files.items().values() if item["rows"] == "3"]
    assert (pointer["file_id"], first["superseded_by"]) == (first["id"], "")
    assert len(files.objects("processed/")) == (1 if kept == "latest" else 2)
    # An old notification that is delivered once more changes nothing.
    before = files.objects("")
    files.drain()
    assert files.objects("") == before


def test_what_is_current_and_what_it_supersedes_is_in_item_and_report_and_notice(files: Files) -> None:
    files.settings = {"output_versions": "all"}
    files.upload("raw/a.csv", HEADER + rows(3))
    files.drain()
    first = files.item()
    files.upload("raw/a.csv", HEADER + rows(5))
    files.drain()
    (second,) = [item for item in files.items().values() if item["id"] != first["id"]]
    one, two = files.told()
    assert (one["is_current"], one["generation"], "supersedes" in one) == (True, 0, False)
    assert (two["is_current"], two["supersedes"]) == (True, first["id"])
    assert one["sequencer"] < two["sequencer"]
    assert one["uploaded_at"] <= two["uploaded_at"]
    was = files.items()[first["id"]]
    assert (was["is_current"], was["superseded_by"]) == (False, second["id"])
    assert (second["is_current"], second["supersedes"]) == (True, first["id"])
    report = json.loads(files.objects("reports/")[second["report_key"]])
    named = ("is_current", "supersedes", "generation", "sequencer", "uploaded_at")
    assert {name: report[name] for name in named} == {name: two[name] for name in named}
    # The one before, told of last: its notification comes again to a table that does not know it any more.
    files.root("dynamodb").delete_item(TableName=files.outputs["table_name"], Key={"id": {"S": first["id"]}})
    files.root("s3").put_object(Bucket=files.outputs["input_bucket"], Key="raw/a.csv", Body=(HEADER + rows(3)).encode())
    (late,) = files.receive()
    body = json.loads(late["body"])
    body["Records"][0]["s3"]["object"]["sequencer"] = one["sequencer"]
    files.deliver([{**late, "body": json.dumps(body)}])
    (told,) = files.told()
    assert (told["status"], told["is_current"], told["superseded_by"]) == ("succeeded", False, second["id"])
    assert files.pointer("raw/a.csv")["file_id"] == second["id"]


def test_a_content_that_is_put_again_is_one_file_and_its_later_put_counts(files: Files) -> None:
    files.upload("raw/a.csv", HEADER + rows(3))
    files.drain()
    before, first = files.objects(""), files.item()
    files.upload("raw/a.csv", HEADER + rows(3))
    files.drain()
    assert (files.objects(""), len(files.told())) == (before, 1)
    assert files.item()["sequencer"] == files.pointer("raw/a.csv")["sequencer"] > first["sequencer"]


def test_an_object_that_was_gone_and_is_put_again_is_read(files: Files) -> None:
    files.upload("raw/a.csv", HEADER + rows(3))
    files.root("s3").delete_object(Bucket=files.outputs["input_bucket"], Key="raw/a.csv")
    files.drain()
    assert (files.item()["status"], files.item()["is_current"]) == ("skipped", False)
    files.upload("raw/a.csv", HEADER + rows(3))
    files.drain()
    assert (files.item()["status"], files.item()["generation"], files.item()["is_current"]) == ("succeeded", "1", True)
    assert [(told["status"], told["generation"]) for told in files.told()] == [("skipped", 0), ("succeeded", 1)]


def command(files: Files, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `pipeline csv` as a user runs it."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PIPELINE_OUTPUTS": json.dumps(dict(files.outputs)),
    }
    line = [sys.executable, "-m", "cli.main", "csv", *arguments]
    return subprocess.run(line, cwd=SAMPLES, env=environment, capture_output=True, text=True, timeout=120, check=False)


def reprocess(files: Files, *arguments: str) -> Json:
    """Return the output of `pipeline csv reprocess`."""
    done = command(files, "reprocess", "--json", *arguments)
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout) if done.stdout else done.stderr


@pytest.mark.parametrize("kept", ["all", "latest"])
def test_uploads_are_read_again_after_a_rule_was_fixed_and_their_former_outputs_go(files: Files, kept: str) -> None:
    files.settings = {"output_versions": kept}
    right = files.columns
    columns = json.loads(right)
    files.columns = json.dumps({**columns, "columns": [{**each, "required": False} for each in columns["columns"]]})
    for key in ("raw/a.csv", "raw/b/b.csv", "raw/b/c.txt"):
        files.upload(key, HEADER + ",,,,\n" * 3 + ",a@example.com,,,\n" + rows(3))
        files.drain()
    before = {item["key"]: item for item in files.items().values()}
    assert before["raw/a.csv"]["processed"] == "4"
    files.told()
    files.columns = right
    assert reprocess(files, "--prefix", "raw/b/", "--dry-run") == {"dry_run": True, "keys": ["raw/b/b.csv"]}
    assert files.drain() == 0
    assert reprocess(files, "--key", "raw/a.csv") == {"dry_run": False, "keys": ["raw/a.csv"]}
    records = files.receive()
    assert files.deliver(records) == []
    item = {item["key"]: item for item in files.items().values()}["raw/a.csv"]
    assert (item["status"], item["processed"], item["rejected"], item["generation"]) == ("succeeded", "3", "1", "1")
    assert (item["sequencer"], item["is_current"]) == (before["raw/a.csv"]["sequencer"], True)
    assert files.pointer("raw/a.csv")["processed_key"] == item["processed_key"]
    (told,) = files.told()
    assert (told["id"], told["generation"], told["processed"]) == (item["id"], 1, 3)
    outputs = {*files.objects("processed/"), *files.objects("rejected/")}
    assert outputs == {item["processed_key"], item["rejected_key"], before["raw/b/b.csv"]["processed_key"]}
    assert {before["raw/a.csv"]["report_key"], item["report_key"]} < {*files.objects("reports/")}
    # The same request, delivered twice, has one effect.
    files.send(records[0]["body"])
    files.drain()
    assert files.told() == []
    # A rule that no file fits: what was current before stays.
    files.columns = json.dumps({**columns, "columns": [{"name": "zz"}]})
    assert reprocess(files, "--since", "1h")["keys"] == ["raw/a.csv", "raw/b/b.csv"]
    files.drain()
    assert [(told["status"], told["is_current"]) for told in files.told()] == [("failed", False)] * 2
    assert {*files.objects("processed/"), *files.objects("rejected/")} == outputs
    files.columns = right
    assert reprocess(files, "--key", "raw/a.csv")["keys"] == ["raw/a.csv"]
    files.drain()
    assert files.pointer("raw/a.csv")["generation"] == "3"
    assert not outputs & {*files.objects("processed/"), *files.objects("rejected/")} - {
        before["raw/b/b.csv"]["processed_key"]
    }


def test_uploads_whose_messages_are_lost_are_read_when_they_are_announced_again(files: Files) -> None:
    purge = {"QueueUrl": files.outputs["queue_url"]}
    files.upload("raw/begun.csv", HEADER + rows(400))
    files.worker().handle(files.receive(), Time(3))
    assert files.item()["status"] == "processing"
    files.upload("raw/unread.csv", HEADER + rows(3))
    files.root("sqs").purge_queue(**purge)
    # The lease of the run that died ends with its function's time.
    files.show_again([])
    assert reprocess(files, "--prefix", "raw/")["keys"] == ["raw/begun.csv", "raw/unread.csv"]
    files.drain()
    found = {item["key"]: (item["status"], int(item["rows"])) for item in files.items().values()}
    assert found == {"raw/begun.csv": ("succeeded", 400), "raw/unread.csv": ("succeeded", 3)}


def test_the_files_of_a_day_are_listed_by_status_with_their_outcome(files: Files) -> None:
    files.upload("raw/a.csv", HEADER + rows(7))
    files.upload("raw/b\x1b.csv", b"no,such,columns\n")
    files.drain()
    by_key = {item["key"]: item for item in files.items().values()}
    bad, good = by_key["raw/b\x1b.csv"], by_key["raw/a.csv"]
    done = command(files, "files")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    times = [line[:20] for line in lines]
    assert times == sorted(times, reverse=True)
    assert {line[20:] for line in lines} == {
        f"  {bad['id']}  failed      raw/b\\x1b.csv  missing_columns",
        f"  {good['id']}  succeeded   raw/a.csv  6 of 7 rows processed, 1 rejected",
    }
    (line,) = command(files, "files", "--status", "succeeded", "--json").stdout.splitlines()
    found = json.loads(line)
    assert (found["key"], found["processed"], found["report_key"]) == ("raw/a.csv", 6, good["report_key"])
    assert "owner" not in found
    nothing = command(files, "files", "--day", "2020-02-29", "--status", "failed")
    assert (nothing.returncode, nothing.stderr) == (1, "no file was begun on 2020-02-29 (UTC) and is failed\n")
    assert "choose one of processing, succeeded" in command(files, "files", "--status", "done").stderr


def test_reprocess_says_what_it_needs(files: Files) -> None:
    assert "needs --key, --prefix or --since" in reprocess(files)
    assert "leave --prefix and --since out" in reprocess(files, "--key", "raw/a.csv", "--since", "1h")
    assert "must begin with raw/" in reprocess(files, "--prefix", "processed/")
    assert reprocess(files, "--key", "raw/none.csv") == {"dry_run": False, "keys": []}


def test_a_file_that_is_put_again_after_its_item_has_expired_replaces_its_outputs(files: Files) -> None:
    files.upload("raw/a.csv", HEADER + rows(10))
    files.drain()
    reprocess(files, "--key", "raw/a.csv")
    files.drain()
    assert files.pointer("raw/a.csv")["generation"] == "1"
    files.root("dynamodb").delete_item(TableName=files.outputs["table_name"], Key={"id": {"S": files.item()["id"]}})
    files.upload("raw/a.csv", HEADER + rows(10))
    files.drain()
    pointer = files.pointer("raw/a.csv")
    assert (pointer["generation"], files.item()["is_current"]) == ("0", True)
    assert {*files.objects("processed/")} == {pointer["processed_key"]} == {files.item()["processed_key"]}


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_running_file_shows_its_progress(files: Files, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(run, "PROGRESS_SECONDS", 0)
    content = (HEADER + rows(500)).encode()
    files.upload(f"raw/{name}", gzip.compress(content) if name.endswith("gz") else content)
    records = files.receive()
    seen = []

    class Looking(Time):
        def get_remaining_time_in_millis(self) -> int:
            seen.append(next(iter(files.items().values()), {}))
            return super().get_remaining_time_in_millis()

    files.deliver(records, Looking(6))
    # It asks before the claim, and after each block, of which it tells then.
    assert ["rows_so_far" in item for item in seen[:4]] == [False, False, True, True]
    assert 0 < int(seen[2]["rows_so_far"]) < int(seen[3]["rows_so_far"]) < 500
    item = files.item()
    assert (item["status"], item["rows_so_far"]) == ("processing", item["rows"])
    assert 0 < int(item["bytes_so_far"]) <= int(item["size"])
    (shown,) = command(files, "files").stdout.splitlines()
    share = "100 %" if name.endswith("gz") else r"\d\d(\.\d+)? %"
    assert re.search(rf"processing  raw/{name}  {item['rows']} rows so far, {share} of its bytes$", shown), shown
    files.show_again(records)
    files.drain()
    assert (files.item()["status"], "rows_so_far" in files.item()) == ("succeeded", False)


def test_a_progress_that_cannot_be_recorded_does_not_stop_a_file(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "PROGRESS_SECONDS", 0)
    files.upload("raw/a.csv", HEADER + rows(100))
    error = ClientError({"Error": {"Code": "ThrottlingException", "Message": ""}}, "UpdateItem")
    with patch.object(FileTable, "progress", side_effect=error) as told:
        assert files.drain() == 1
    assert told.call_count > 1
    assert (files.item()["status"], files.item()["rows"]) == ("succeeded", "100")


@pytest.mark.parametrize("output_format", ["jsonl.gz", "jsonl"])
def test_rejected_rows_are_corrected_and_uploaded_again(files: Files, output_format: str) -> None:
    files.settings = {"output_format": output_format}
    files.upload("raw/a.csv", HEADER + rows(20))
    files.drain()
    done = command(files, "rejected", "--key", "raw/a.csv")
    assert (done.returncode, done.stderr.partition(":")[0]) == (
        0,
        "2 rows; correct them, and upload them under another key",
    )
    assert done.stdout.removeprefix("\ufeff") == HEADER + rows(1, 6) + rows(1, 13)
    files.upload("raw/fix.csv", done.stdout.replace(",x\n", ",7\n"))
    files.drain()
    assert len(files.lines("processed/")) == 20
    assert {item["status"] for item in files.items().values()} == {"succeeded"}
    nothing = command(files, "rejected", "--key", "raw/fix.csv")
    assert (nothing.returncode, nothing.stderr) == (1, "no row of raw/fix.csv was rejected\n")
    unknown = command(files, "rejected", "--key", "raw/none.csv")
    assert (unknown.returncode, "'raw/none.csv' has succeeded" in unknown.stderr) == (1, True)


def store_as_a_former_release(files: Files, item: Json) -> list[str]:
    """Move the outputs of a file to the keys of former releases. Return these keys."""
    file = File(item["bucket"], item["key"], "", item["etag"], 0, {})
    moved = {}
    for name in ("processed", "rejected"):
        key = file.former_output_key(f"{name}/", "raw/", ".jsonl.gz")
        target = {"Bucket": files.outputs["output_bucket"], "Key": key}
        files.root("s3").put_object(**target, Body=files.objects(item[f"{name}_key"])[item[f"{name}_key"]])
        files.root("s3").delete_object(**{**target, "Key": item[f"{name}_key"]})
        moved[f"{name}_key"] = key
    for item_id in (item["id"], f"current:{item['bucket']}/{item['key']}"):
        files.root("dynamodb").update_item(
            TableName=files.outputs["table_name"],
            Key={"id": {"S": item_id}},
            UpdateExpression=f"SET {', '.join(f'{name} = :{name}' for name in moved)}",
            ExpressionAttributeValues={f":{name}": {"S": key} for name, key in moved.items()},
        )
    return list(moved.values())


@pytest.mark.parametrize("again", ["corrected", "reprocessed"])
def test_outputs_that_a_former_release_stored_by_name_are_superseded(files: Files, again: str) -> None:
    files.settings = {"output_versions": "latest"}
    files.upload("raw/a/b.csv", HEADER + rows(10))
    files.drain()
    former = store_as_a_former_release(files, files.item())
    assert former[0] == f"processed/a/b.csv/{files.item()['id']}.jsonl.gz"
    if again == "corrected":
        files.upload("raw/a/b.csv", HEADER + rows(20))
    else:
        reprocess(files, "--key", "raw/a/b.csv")
    files.drain()
    pointer = files.pointer("raw/a/b.csv")
    left = {*files.objects("processed/"), *files.objects("rejected/")}
    assert left == {pointer["processed_key"], pointer["rejected_key"]}
    assert not left & {*former}


def test_outputs_of_a_worker_of_a_former_release_that_died_before_it_said_so_are_removed(files: Files) -> None:
    files.upload("raw/a.csv", HEADER + rows(10))
    records = files.receive()
    with patch.object(objects, "put_report", side_effect=TimeoutError("the table")):
        files.deliver(records)
    item = files.item()
    assert item["status"] == "processing"
    file = File(item["bucket"], item["key"], "", item["etag"], 0, {})
    former = file.former_output_key("processed/", "raw/", ".jsonl.gz")
    files.root("s3").put_object(Bucket=files.outputs["output_bucket"], Key=former, Body=b"")
    files.show_again(records)
    files.drain()
    assert set(files.objects("processed/")) == {files.item()["processed_key"]}
    assert files.item()["status"] == "succeeded"


def test_an_object_of_another_suffix_is_reported_and_not_read(files: Files) -> None:
    files.upload("raw/a.txt", HEADER + rows(3))
    files.drain()
    assert (files.item()["status"], files.item()["reason"]) == ("skipped", "unknown_suffix")
    assert files.report()["error"] == "the key ends in none of .csv .csv.gz (input.suffixes)"
    (told,) = files.told()
    assert (told["key"], told["reason"], told["rows"]) == ("raw/a.txt", "unknown_suffix", 0)
    assert (files.told("alerts"), files.dead_letters()) == ([], [])
    files.clear()
    files.settings = {"suffixes": ""}
    files.upload("raw/a", HEADER + rows(3))
    files.drain()
    assert files.item()["status"] == "succeeded"


def test_what_may_help_is_in_the_item_and_the_notice(files: Files) -> None:
    files.upload("raw/a.csv", HEADER + "Ann,ann@example.com,1,31.01.2024,3\n")
    files.drain()
    expected = ['input.columns.date: {"format": ["%d.%m.%Y"]} (1 cells in date are rejected, such as \'31.01.2024\')']
    assert files.report()["suggestions"][0]["setting"] == "input.columns.date"
    (told,) = files.told()
    assert (told["suggestions"], [each["S"] for each in files.item()["suggestions"]]) == (expected, expected)
