"""Every AWS call of the CSV worker, made to fail and made to be the last, before and after it took effect.

Whatever happens, and after redelivery: every row of the file is in the outputs once, the item and the report say so,
and those who are to know have been told at least once.
"""

import json
from collections.abc import Callable
from contextlib import suppress

import pytest

from cli.csv_reprocess import run_csv_reprocess
from handlers.csv import objects, parquet
from local.errors import LocalError
from tests.crash_points import Killed, Point, broken, points, record
from tests.graphs import SAMPLES

from .conftest import HEADER, Files, Time, rows

COUNT = 90
GOOD = [number for number in range(COUNT) if number % 7 != 6]
BAD = [number + 1 for number in range(COUNT) if number % 7 == 6]
CONTENT = HEADER + rows(COUNT)


def attempt(files: Files, point: Point, time: Time) -> None:
    """One delivery, with one of the worker's calls broken."""
    records = files.receive()
    with suppress(Killed):
        with broken(point):
            answer = files.worker().handle(records, time)
        files.settle(records, answer)
    files.show_again(records)


def delivered(files: Files, time: Time) -> Callable[[], object]:
    records = files.receive()
    return lambda: files.worker().handle(records, time)


def check_all_is_there_once(files: Files, point: Point, calls: list[str]) -> None:
    item, told = files.item(), files.told()
    assert (item["status"], item["rows"], item["settled"]) == ("succeeded", str(COUNT), True), point
    assert [row["quantity"] for row in files.lines("processed/")] == GOOD, point
    assert [row["row"] for row in files.lines("rejected/")] == BAD, point
    assert (files.report()["processed"], files.report()["rejected"]) == (len(GOOD), len(BAD)), point
    # Only where the function was broken between telling and taking down that it told, it may tell again.
    telling = "sns:Publish" in calls and point.position >= calls.index("sns:Publish")
    assert 1 <= len(told) <= (2 if telling else 1), point
    assert {notice["id"] for notice in told} == {item["id"]}, point
    assert (files.dead_letters(), files.told("alerts")) == ([], []), point


def test_a_file_of_one_run_is_stored_once_wherever_the_worker_fails_or_dies(files: Files) -> None:
    files.upload("raw/a.csv", CONTENT)
    calls = record(delivered(files, Time()))
    assert calls[:3] == ["dynamodb:UpdateItem", "sqs:ChangeMessageVisibilityBatch", "s3:GetObject"]
    assert {"s3:CreateMultipartUpload", "s3:UploadPart", "s3:CompleteMultipartUpload", "s3:PutObject"} < set(calls)
    ending = ["dynamodb:UpdateItem", "dynamodb:GetItem", "dynamodb:UpdateItem", "sns:Publish", "dynamodb:UpdateItem"]
    assert calls[-5:] == ending
    for point in points(calls):
        files.clear()
        files.upload("raw/a.csv", CONTENT)
        attempt(files, point, Time())
        files.drain()
        check_all_is_there_once(files, point, calls)


def test_a_corrected_file_replaces_the_outputs_of_the_one_before_wherever_the_worker_fails_or_dies(
    files: Files,
) -> None:
    def upload_again() -> None:
        files.clear()
        files.upload("raw/a.csv", HEADER + rows(10))
        files.drain()
        files.upload("raw/a.csv", CONTENT)
        files.told()

    upload_again()
    calls = record(delivered(files, Time()))
    assert calls.count("s3:DeleteObject") == 2
    first = len(calls) - 1 - calls[::-1].index("s3:PutObject")
    for point in points(calls):
        if point.position >= first:
            upload_again()
            attempt(files, point, Time())
            files.drain()
            assert [row["quantity"] for row in files.lines("processed/")] == GOOD, point
            assert [row["row"] for row in files.lines("rejected/")] == BAD, point
            by_rows = {item["rows"]: item for item in files.items().values()}
            assert by_rows["10"]["superseded_by"] == by_rows[str(COUNT)]["id"], point
            assert files.pointer("raw/a.csv")["file_id"] == by_rows[str(COUNT)]["id"], point
            assert {notice["rows"] for notice in files.told()} == {COUNT}, point


@pytest.fixture
def reprocess(files: Files, monkeypatch: pytest.MonkeyPatch) -> Callable[[], object]:
    """Return `pipeline csv reprocess --key raw/a.csv`, in this process."""
    monkeypatch.setenv("PIPELINE_OUTPUTS", json.dumps(dict(files.outputs)))
    monkeypatch.chdir(SAMPLES)
    return lambda: run_csv_reprocess("csv", "raw/a.csv", None, None, dry_run=False, as_json=True)


@pytest.fixture
def read_by_a_wrong_rule(files: Files) -> Callable[[], None]:
    """Return what has a file read by a rule that rejects nearly all of it, and fixes the rule."""
    right = json.loads(files.columns)
    columns = [{**each, "max": 3} if each["name"] == "quantity" else each for each in right["columns"]]

    def read() -> None:
        files.clear()
        files.columns = json.dumps({**right, "columns": columns})
        files.upload("raw/a.csv", CONTENT)
        files.drain()
        assert files.item()["processed"] == "4"
        files.told()
        files.columns = json.dumps(right)

    return read


def check_the_file_was_read_again_once(files: Files, point: Point) -> None:
    item, told = files.item(), files.told()
    assert (item["status"], item["generation"], item["settled"]) == ("succeeded", "1", True), point
    assert [row["quantity"] for row in files.lines("processed/")] == GOOD, point
    assert [row["row"] for row in files.lines("rejected/")] == BAD, point
    current = files.pointer("raw/a.csv")
    assert (current["generation"], current["processed_key"]) == ("1", item["processed_key"]), point
    assert {(notice["generation"], notice["processed"]) for notice in told} == {(1, len(GOOD))}, point
    assert (files.dead_letters(), files.uploads()) == ([], []), point


def test_a_file_is_read_again_once_wherever_the_command_fails_or_dies_and_is_repeated(
    files: Files, reprocess: Callable[[], object], read_by_a_wrong_rule: Callable[[], None]
) -> None:
    read_by_a_wrong_rule()
    calls = record(reprocess)
    assert calls == ["s3:ListObjectVersions", "dynamodb:BatchGetItem", "sqs:SendMessageBatch"]
    for point in points(calls):
        read_by_a_wrong_rule()
        with suppress(Killed, LocalError), broken(point):
            reprocess()
        reprocess()
        files.drain()
        check_the_file_was_read_again_once(files, point)


def test_a_file_that_is_read_again_replaces_its_outputs_once_wherever_the_worker_fails_or_dies(
    files: Files, reprocess: Callable[[], object], read_by_a_wrong_rule: Callable[[], None]
) -> None:
    read_by_a_wrong_rule()
    reprocess()
    calls = record(delivered(files, Time()))
    # The claim of what is done, its item, and the claim of the next generation.
    assert calls[:3] == ["dynamodb:UpdateItem", "dynamodb:GetItem", "dynamodb:UpdateItem"]
    assert calls.count("s3:DeleteObject") == 2
    for point in points(calls):
        # In between it is read as any file.
        if point.position < 5 or point.position >= len(calls) - 10:
            read_by_a_wrong_rule()
            reprocess()
            attempt(files, point, Time())
            files.drain()
            check_the_file_was_read_again_once(files, point)


def test_a_file_of_several_runs_is_stored_once_wherever_the_worker_fails_or_dies(files: Files) -> None:
    files.upload("raw/a.csv", CONTENT)
    first = record(delivered(files, Time(2)))
    assert first[-3:] == ["s3:PutObject", "dynamodb:UpdateItem", "sqs:ChangeMessageVisibilityBatch"]
    last = record(delivered(files, Time()))
    assert files.item()["status"] == "succeeded"
    for number, calls in enumerate((first, last)):
        for point in points(calls):
            files.clear()
            files.upload("raw/a.csv", CONTENT)
            if number:
                files.deliver(files.receive(), Time(2))
            attempt(files, point, Time(2) if number == 0 else Time())
            files.drain()
            check_all_is_there_once(files, point, calls)


def test_the_end_of_a_parquet_file_is_written_once_wherever_the_worker_fails_or_dies(
    files: Files,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Few parts, but one before the checkpoint.
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 1_000)
    monkeypatch.setattr(objects, "SMALLEST_PART_BYTES", 1_000)
    files.write_parquet()
    files.upload("raw/a.csv", CONTENT)
    files.deliver(files.receive(), Time(2))
    calls = record(delivered(files, Time()))
    # From the checkpoint before the end to the report: all else is the same for every format.
    checkpoint = calls.index("s3:PutObject")
    report = len(calls) - 1 - calls[::-1].index("s3:PutObject")
    assert {"s3:UploadPart", "s3:CompleteMultipartUpload"} < set(calls[checkpoint:report])
    assert "s3:CreateMultipartUpload" not in calls
    for point in points(calls):
        if checkpoint <= point.position < report:
            files.clear()
            files.upload("raw/a.csv", CONTENT)
            files.deliver(files.receive(), Time(2))
            attempt(files, point, Time())
            files.drain()
            check_all_is_there_once(files, point, calls)


def test_a_file_that_fails_is_told_of_and_with_the_dead_letters_wherever_the_worker_fails_or_dies(files: Files) -> None:
    files.upload("raw/a.csv", b"no,such,columns\n")
    calls = record(delivered(files, Time()))
    assert "sqs:SendMessageBatch" in calls
    for point in points(calls):
        files.clear()
        files.upload("raw/a.csv", b"no,such,columns\n")
        attempt(files, point, Time())
        files.drain()
        assert (files.item()["status"], files.item()["reason"], files.item()["settled"]) == (
            "failed",
            "missing_columns",
            True,
        ), point
        assert files.report()["status"] == "failed", point
        for left in (files.dead_letters(), files.told(), files.told("alerts")):
            assert 1 <= len(left) <= 2, point
        assert files.objects("processed/") == {}, point


def test_a_message_that_is_no_notification_is_with_the_dead_letters_wherever_the_worker_fails_or_dies(
    files: Files,
) -> None:
    files.send("no notification")
    for point in points(record(delivered(files, Time()))):
        files.clear()
        files.send("no notification")
        attempt(files, point, Time())
        files.drain()
        for left in (files.dead_letters(), files.told("alerts")):
            assert 1 <= len(left) <= 2, point
