"""Compaction of the archive: fewer objects, the same events at every moment, whatever fails or dies."""

import gzip
import json
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from handlers.api import archive, compactor
from handlers.api.compactor import Compactor
from handlers.api.decisions import Delivery
from handlers.shared import aws
from handlers.shared.times import timestamp
from tests.api_pipeline import Time
from tests.aws_calls import tapped
from tests.crash_points import Killed, broken, points, record

from .test_archive import COUNTS, ENVELOPE, OLD, rows, stored

NOW = datetime.now(UTC)
SETTLED = timestamp(NOW - timedelta(hours=5))
LONG = Time(900)


@pytest.fixture
def bucket(aws_in_process: None) -> str:  # noqa: ARG001  moto answers
    aws.client("s3").create_bucket(Bucket="bucket")
    return "bucket"


def keep(bucket: str, *ids: str, received_at: str = SETTLED, status: str = "succeeded", minute: int = 0) -> None:
    """Archive events together, which were done so many minutes after they came."""
    outcome = {"status": status, "attempts": 1, "completed_at": f"{received_at[:14]}{minute:02}:00.000000Z"}
    events = [replace(ENVELOPE, id=each, received_at=received_at) for each in ids]
    archive.keep(bucket, [Delivery("m", "r", "", 1, envelope=each, stored=outcome) for each in events])


def history(bucket: str) -> None:
    """Seven objects: e-1 failed and was redriven, e-3 was archived twice, in different company."""
    keep(bucket, "e-1", "e-2", status="failed")
    keep(bucket, "e-1", minute=30)
    keep(bucket, "e-3")
    keep(bucket, "e-3", "e-4")
    for number in range(5, 8):
        keep(bucket, f"e-{number}")


ANSWER = [("order/paid", "failed", 1), ("order/paid", "succeeded", 6)]


def counted(bucket: str) -> list[Any]:
    """Ask the query of docs/archive.md."""
    database = sqlite3.connect(":memory:")
    columns = ("id", "type", "status", "completed_at")
    database.execute(f"CREATE TABLE archive ({', '.join(columns)})")
    lines = [tuple(line[name] for name in columns) for line in rows(stored(bucket))]
    database.executemany("INSERT INTO archive VALUES (?, ?, ?, ?)", lines)
    return database.execute(COUNTS).fetchall()


def compact(bucket: str) -> Mapping[str, int]:
    return Compactor(bucket).run(LONG, NOW)


def test_an_hour_becomes_one_object_that_has_each_line_once(bucket: str) -> None:
    history(bucket)
    before = {json.dumps(line) for line in rows(stored(bucket))}
    assert compact(bucket) == {"merged": 7, "into": 1}
    ((key, body),) = stored(bucket).items()
    assert key.startswith(f"{archive.folder(vars(replace(ENVELOPE, received_at=SETTLED)))}/")
    lines = [json.dumps(line) for line in rows({"": body})]
    assert (set(lines), len(lines)) == (before, 8)
    assert counted(bucket) == ANSWER
    assert compact(bucket) == {"merged": 0, "into": 0}


def test_what_comes_later_is_merged_with_it(bucket: str) -> None:
    history(bucket)
    compact(bucket)
    for number in range(10, 14):
        keep(bucket, f"e-{number}")
    assert compact(bucket) == {"merged": 5, "into": 1}
    assert len(stored(bucket)) == 1
    assert counted(bucket) == [ANSWER[0], ("order/paid", "succeeded", 10)]


def test_hours_that_are_not_over_old_ones_and_a_few_objects_are_left_alone(bucket: str) -> None:
    for hours in (1, 24 * 40):
        for number in range(6):
            keep(bucket, f"e-{number}", received_at=timestamp(NOW - timedelta(hours=hours)))
    for number in range(4):
        keep(bucket, f"e-{number}")
    assert compact(bucket) == {"merged": 0, "into": 0}
    assert len(stored(bucket)) == 16


def test_readers_count_the_same_wherever_it_fails_or_dies(bucket: str) -> None:
    def prepare() -> None:
        for key in stored(bucket):
            aws.client("s3").delete_object(Bucket=bucket, Key=key)
        history(bucket)

    prepare()
    calls = record(lambda: compact(bucket))
    assert calls == ["s3:ListObjectsV2"] * 2 + ["s3:GetObject"] * 7 + [
        "s3:ListObjectsV2",
        "s3:PutObject",
        "s3:DeleteObjects",
    ]
    for point in points(calls):
        prepare()
        with suppress(Killed, aws.client("s3").exceptions.ClientError), broken(point):
            compact(bucket)
        assert counted(bucket) == ANSWER, point
        compact(bucket)
        assert (counted(bucket), len(stored(bucket))) == (ANSWER, 1), point


@pytest.mark.parametrize("meanwhile", ["s3:GetObject", "s3:PutObject", "s3:DeleteObjects"])
def test_two_runs_at_once_lose_nothing(bucket: str, meanwhile: str) -> None:
    history(bucket)
    others: list[str] = []

    def call(name: str, _: Any, make: Any) -> Any:
        if name == meanwhile and not others:
            others.append(name)
            keep(bucket, "e-9")
            compact(bucket)
        return make()

    with tapped(call):
        compact(bucket)
    assert counted(bucket) == [ANSWER[0], ("order/paid", "succeeded", 7)]


def test_what_is_erased_while_it_merges_does_not_come_back(bucket: str) -> None:
    history(bucket)
    erased: list[str] = []

    def call(name: str, _: Any, make: Any) -> Any:
        answer = make()
        if name == "s3:GetObject" and not erased:
            erased.append(name)
            for key, body in stored(bucket).items():
                kept = [line for line in gzip.decompress(body).splitlines(keepends=True) if b'"e-3"' not in line]
                if not kept:
                    aws.client("s3").delete_object(Bucket=bucket, Key=key)
                elif len(kept) < len(gzip.decompress(body).splitlines()):
                    aws.client("s3").put_object(Bucket=bucket, Key=key, Body=gzip.compress(b"".join(kept)))
        return answer

    with tapped(call):
        assert compact(bucket) == {"merged": 0, "into": 0}
    assert compact(bucket)["into"] == 1
    assert counted(bucket) == [ANSWER[0], ("order/paid", "succeeded", 5)]


def test_damaged_and_foreign_objects_stay_as_they_are_and_old_lines_are_merged(bucket: str) -> None:
    history(bucket)
    folder = next(iter(stored(bucket))).rpartition("/")[0]
    strange = {
        "archive/other/a.jsonl.gz": b"1",
        f"{folder}/broken.jsonl.gz": gzip.compress(b'{"id": "e-1"}\n')[:-3],
        f"{folder}/notes.txt": b"2",
    }
    old = {**OLD, "id": "e-old", "received_at": SETTLED}
    # Without a line's end at its end, as another program might write it.
    for key, body in {**strange, f"{folder}/old.jsonl.gz": gzip.compress(json.dumps(old).encode())}.items():
        aws.client("s3").put_object(Bucket=bucket, Key=key, Body=body)
    assert compact(bucket) == {"merged": 8, "into": 1}
    found = stored(bucket)
    assert {key: found[key] for key in strange} == strange
    (merged,) = (body for key, body in found.items() if key not in strange)
    assert [line["data"] for line in rows({"": merged}) if line["id"] == "e-old"] == [OLD["data"]]


def test_it_merges_no_more_than_fits_into_memory_and_stops_in_time(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        keep(bucket, f"e-{number:02}")
    assert Compactor(bucket).run(Time(30), NOW) == {"merged": 0, "into": 0}
    a_line = len(gzip.decompress(next(iter(stored(bucket).values()))))
    monkeypatch.setattr(compactor, "MERGED_BYTES", 10 * a_line)
    assert compact(bucket) == {"merged": 20, "into": 2}
    assert counted(bucket) == [("order/paid", "succeeded", 20)]
