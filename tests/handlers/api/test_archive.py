"""The archive: a line for each completion, which agrees with the item, and the queries of docs/archive.md."""

import gzip
import json
import re
import sqlite3
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from handlers.api import archive
from handlers.api.archive import Archived, UnreadableObjectError
from handlers.api.decisions import Delivery
from handlers.api.events import Envelope
from handlers.processor import Rejected
from handlers.shared import aws
from handlers.shared.bodies import packed
from tests.api_pipeline import Pipeline, Time

ROOT = Path(__file__).parents[3]
PEERS_PYTHON = ROOT / ".build/peers/bin/python"
QUERIES = re.findall(r"```sql\n(.*?)```", (ROOT / "docs/archive.md").read_text(), re.DOTALL)
COUNTS, REDRIVEN, DUCKDB_VIEW = QUERIES[:3]
ENVELOPE = Envelope("e-1", "order/paid", "2026-11-21T08:30:00.000000Z", "192.0.2.1", "agent", "c-1", "f" * 64, {"n": 1})
DONE = {"status": "succeeded", "attempts": 1, "completed_at": "2026-11-21T08:30:01.000000Z"}
# As releases before 2026-12 wrote it.
OLD = {
    "id": "e-0",
    "type": "order/paid",
    "received_at": "2026-11-20T08:30:00.000000Z",
    "source_ip": "",
    "user_agent": "",
    "correlation_id": "",
    "data": {"amount": 1, "Amount": 2},
}


@pytest.fixture
def bucket(aws_in_process: None) -> str:  # noqa: ARG001  moto answers
    aws.client("s3").create_bucket(Bucket="bucket")
    return "bucket"


def done(event_id: str, stored: Mapping[str, Any] | None = None, **more: Any) -> Delivery:
    """Return a delivery of an event that is done."""
    envelope = replace(ENVELOPE, id=event_id, **more)
    return Delivery("m", "r", "", 1, envelope=envelope, stored={**DONE, **(stored or {})})


def stored(bucket: str) -> dict[str, bytes]:
    keys = [found["Key"] for found in aws.client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])]
    return {key: aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


def rows(objects: Mapping[str, bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for body in objects.values() for line in gzip.decompress(body).splitlines()]


def test_events_are_archived_by_type_and_hour_and_the_same_completions_overwrite_themselves(bucket: str) -> None:
    later = done("e-2", received_at="2026-11-21T09:00:00.000000Z")
    for batch in ([done("e-1"), later, done("e-3")], [done("e-3"), done("e-1"), later]):
        archive.keep(bucket, batch)
    found = stored(bucket)
    assert sorted(key.rpartition("/")[0] for key in found) == [
        "archive/type=order%2Fpaid/dt=2026-11-21/hour=08",
        "archive/type=order%2Fpaid/dt=2026-11-21/hour=09",
    ]
    assert sorted(line["id"] for line in rows(found)) == ["e-1", "e-2", "e-3"]


def test_a_second_completion_of_an_event_overwrites_nothing(bucket: str) -> None:
    archive.keep(bucket, [done("e-1", {"status": "failed"})])
    archive.keep(bucket, [done("e-1", {"completed_at": "2026-11-22T00:00:00.000000Z"})])
    assert sorted(line["status"] for line in rows(stored(bucket))) == ["failed", "succeeded"]


def test_a_line_has_everything_of_the_event_and_can_be_read_back(bucket: str) -> None:
    body = packed(b'{"Amount": 1}')
    archive.keep(bucket, [done("e-1", headers={"x-topic": "paid"}, body=body, data={"amount": 1, "Amount": [2]})])
    ((_, found),) = stored(bucket).items()
    (line,) = rows({"": found})
    assert line["data"] == '{"amount":1,"Amount":[2]}'
    outcome = {**DONE, "error": None, "error_type": None}
    assert line.keys() == vars(ENVELOPE).keys() | outcome.keys()
    (read,) = archive.lines(found)
    envelope = replace(ENVELOPE, headers={"x-topic": "paid"}, body=body, data={"amount": 1, "Amount": [2]})
    assert read == Archived(vars(envelope), outcome)


def test_a_line_of_an_earlier_release_is_read(bucket: str) -> None:  # noqa: ARG001  nothing of AWS is asked
    assert list(archive.lines(gzip.compress(json.dumps(OLD).encode()))) == [Archived(OLD, {})]


@pytest.mark.parametrize(
    "body",
    [b"", b"no gzip", gzip.compress(b'{"data": {}}\n')[:-9], gzip.compress(b"[1]"), gzip.compress(b'{"id": "e-1"}')],
    ids=["empty", "plain", "cut off", "a list", "without data"],
)
def test_an_object_that_is_none_of_the_archive_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableObjectError):
        list(archive.lines(body))


def process(event: Mapping[str, Any]) -> str:
    if event["does"] == "reject":
        raise Rejected("never")
    if event["does"] == "fail":
        raise RuntimeError("not now")
    return "done"


def archived(pipeline: Pipeline) -> list[dict[str, Any]]:
    return rows(pipeline.objects("archive/"))


def test_a_line_says_what_the_item_says(pipeline: Pipeline) -> None:
    kinds = ("succeed", "reject", "fail")
    ids = {each: pipeline.post({"event_type": "a/b", "does": each}).body["id"] for each in kinds}
    pipeline.drain(pipeline.worker(process))
    found = {line["id"]: line for line in archived(pipeline)}
    assert found.keys() == set(ids.values())
    for event_id, line in found.items():
        shown = pipeline.shown(event_id).body
        assert {name: line[name] for name in ("status", "attempts", "completed_at", "error")} == {
            name: shown[name] for name in ("status", "attempts", "completed_at", "error")
        }
    assert [(found[ids[each]]["status"], found[ids[each]]["attempts"]) for each in kinds] == [
        ("succeeded", 1),
        ("failed", 1),
        ("failed", 3),
    ]


def test_events_whose_line_is_refused_come_back_and_are_archived_without_a_second_run(pipeline: Pipeline) -> None:
    runs: list[str] = []

    def counted(event: Mapping[str, Any]) -> str:
        runs.append(event["does"])
        return process(event)

    for kind in ("succeed", "reject"):
        pipeline.post({"does": kind})
    records = pipeline.receive()
    worker, s3 = pipeline.worker(counted), aws.client("s3")
    put = s3.put_object

    def full(**given: Any) -> Any:
        if given["Key"].startswith("archive/"):
            raise s3.exceptions.ClientError({"Error": {"Code": "SlowDown"}}, "PutObject")
        return put(**given)

    with patch.object(s3, "put_object", full):
        assert len(pipeline.deliver(worker, records)) == 2
    assert archived(pipeline) == []
    pipeline.show_again(records)
    pipeline.drain(worker)
    assert sorted(line["status"] for line in archived(pipeline)) == ["failed", "succeeded"]
    assert sorted(runs) == ["reject", "succeed"]


def test_an_event_that_was_archived_when_accepted_counts_as_queued_until_it_is_done(pipeline: Pipeline) -> None:
    pipeline.settings = {"archive": True, "archive_accepted": True}

    def counts() -> list[Any]:
        database = sqlite3.connect(":memory:")
        database.execute("CREATE TABLE archive (id, type, status, completed_at)")
        lines = [tuple(line[name] for name in ("id", "type", "status", "completed_at")) for line in archived(pipeline)]
        database.executemany("INSERT INTO archive VALUES (?, ?, ?, ?)", lines)
        return database.execute(COUNTS).fetchall()

    pipeline.post([{"event_type": "order", "does": each} for each in ("succeed", "reject")])
    assert counts() == [("order", "queued", 2)]
    pipeline.drain(pipeline.worker(process))
    assert counts() == [("order", "failed", 1), ("order", "succeeded", 1)]


def tell_a_history(pipeline: Pipeline) -> tuple[str, str]:
    """Two orders succeed, one is rejected; of two refunds that fail, one is redriven. Each line is there twice."""
    events = [{"event_type": "order", "does": each} for each in ("succeed", "succeed", "reject")]
    pipeline.post(events)
    (rejected, redriven) = (pipeline.post({"event_type": "refund", "does": "reject", "n": n}).body["id"] for n in "12")
    records = pipeline.receive()
    worker = pipeline.worker(process)
    worker.handle(records, Time())
    pipeline.settle(records, worker.handle(records[::-1], Time()))
    for record in records[:3]:
        worker.handle([record], Time())
    pipeline.request("POST", "/redrive/start", {"id": redriven})
    pipeline.drain(pipeline.worker(lambda _: "fixed"))
    return rejected, redriven


ANSWERS = [("order", "failed", 1), ("order", "succeeded", 2), ("refund", "failed", 1), ("refund", "succeeded", 1)]


def test_the_documented_queries_count_events_and_find_redriven_ones(pipeline: Pipeline) -> None:
    _, redriven = tell_a_history(pipeline)
    found = archived(pipeline)
    assert len(found) > 6
    database = sqlite3.connect(":memory:")
    columns = ("id", "type", "status", "completed_at", "data")
    database.execute(f"CREATE TABLE archive ({', '.join(columns)})")
    lines = [tuple(line[name] for name in columns) for line in found]
    database.executemany("INSERT INTO archive VALUES (?, ?, ?, ?, ?)", lines)
    assert database.execute(COUNTS).fetchall() == ANSWERS
    ((found_id, times, last),) = database.execute(REDRIVEN).fetchall()
    assert (found_id, times) == (redriven, 2)
    assert last == pipeline.shown(redriven).body["completed_at"]


@pytest.mark.skipif(not PEERS_PYTHON.exists(), reason="`make peers` installs DuckDB")
def test_duckdb_reads_lines_of_all_releases_as_documented(pipeline: Pipeline, tmp_path: Path) -> None:
    tell_a_history(pipeline)
    pipeline.post({"event_type": "mixed", "does": "succeed", "amount": 1, "Amount": 2})
    pipeline.drain(pipeline.worker(process))
    old = gzip.compress(json.dumps(OLD).encode())
    for key, body in {**pipeline.objects("archive/"), "archive/type=order%2Fpaid/old.jsonl.gz": old}.items():
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(body)
    view = DUCKDB_VIEW.replace("s3://BUCKET", str(tmp_path))
    cases = "SELECT data->>'$.amount', data->>'$.Amount' FROM archive WHERE data LIKE '%Amount%' GROUP BY ALL"
    script = (
        "import duckdb, json, sys\nduckdb.sql(sys.argv[1])\n"
        "print(json.dumps([duckdb.sql(query).fetchall() for query in sys.argv[2:]], default=str))"
    )
    command = [str(PEERS_PYTHON), "-c", script, view, COUNTS, REDRIVEN, cases]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    counts, redriven, amounts = json.loads(run.stdout)
    new = [["mixed", "succeeded", 1], *map(list, ANSWERS), ["order/paid", None, 1]]
    assert (sorted(counts, key=str), len(redriven), amounts) == (sorted(new, key=str), 1, [["1", "2"]])
