"""The model of `pipeline cost` matches the calls that the worker makes for a file."""

from collections import Counter

import pytest

from cli.cost_csv import ITEM_BYTES, file_calls
from tests.crash_points import record

from .conftest import HEADER, Files, Time, rows

# How AWS bills a call.
UNITS = {
    "dynamodb:UpdateItem": "dynamodb.writes",
    "dynamodb:PutItem": "dynamodb.writes",
    "dynamodb:GetItem": "dynamodb.reads",
    "sqs:ChangeMessageVisibilityBatch": "sqs.requests",
    "s3:GetObject": "s3.get_requests",
    "s3:PutObject": "s3.put_requests",
    "s3:CreateMultipartUpload": "s3.put_requests",
    "s3:UploadPart": "s3.put_requests",
    "s3:CompleteMultipartUpload": "s3.put_requests",
    "sns:Publish": "sns.requests",
}
# S3 does not bill them.
FREE = {"s3:DeleteObject", "s3:AbortMultipartUpload"}


def counted(files: Files, time: Time) -> Counter[str]:
    """The calls of one delivery of what is in the queue."""
    records, answers = files.receive(), []
    calls = record(lambda: answers.append(files.worker().handle(records, time)))
    files.settle(records, answers[0])
    return Counter(UNITS[call] for call in calls if call not in FREE)


def sizes(files: Files) -> list[int]:
    return [len(body) for prefix in ("processed/", "rejected/") for body in files.objects(prefix).values()]


@pytest.mark.parametrize("versions", ["all", "latest"])
@pytest.mark.parametrize(("count", "in_parts"), [(3, False), (200, True)])
def test_a_file_of_one_run_asks_for_what_the_model_says(
    files: Files, count: int, versions: str, *, in_parts: bool
) -> None:
    files.settings = {"output_versions": versions}
    files.upload("raw/a.csv", HEADER + rows(count))
    calls = counted(files, Time())
    assert files.item()["status"] == "succeeded"
    assert (max(sizes(files)) > 500) is in_parts
    assert calls == file_calls(sizes(files))
    item = sum(len(name) + len(str(value)) for name, value in files.item().items())
    assert item < ITEM_BYTES


def test_a_file_of_two_runs_asks_for_what_the_model_says(files: Files) -> None:
    files.upload("raw/a.csv", HEADER + rows(400))
    calls = counted(files, Time(2)) + counted(files, Time())
    assert files.item()["status"] == "succeeded"
    assert calls == file_calls(sizes(files), runs=2)
