"""`pipeline replay` of an api stack, on moto: what it sends, what the worker makes of it, and how it goes on."""

import gzip
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli import replay_archive
from cli.archived_events import ArchiveReader, Selection
from cli.replay_archive import Replay, run_replay_archive, selection
from cli.replay_journal import open_journal
from handlers.api.events import Envelope
from handlers.api.reader import EventReader
from handlers.shared import aws, queues
from handlers.shared.times import timestamp
from local.errors import LocalError
from tests.api_pipeline import Pipeline, Runs, Time
from tests.crash_points import record

HOUR = timedelta(hours=1)
OTHER_ID = "11111111-1111-4111-8111-111111111111"
Run = Callable[..., int]


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def stack(pipeline: Pipeline, tmp_path: Path) -> Any:
    config = SimpleNamespace(queue=SimpleNamespace(fifo=None, fair=None), lost_after_seconds=86_400)
    return SimpleNamespace(
        name="shop",
        directory=tmp_path,
        config_as=lambda _: config,
        config=config,
        aim_aws_clients=lambda: None,
        output=lambda name: pipeline.outputs[name],
    )


@pytest.fixture
def replay(stack: Any) -> Run:
    """Run the command on all that was received in the last hour, or with another selection, and answer yes."""

    def run(
        *types: str, resume: bool = False, dry_run: bool = False, as_json: bool = False, rate: int = 100_000
    ) -> int:
        wanted = None if resume else selection(datetime.now(UTC) - HOUR, None, types)
        return run_replay_archive(stack, wanted, rate=rate, dry_run=dry_run, sure=True, as_json=as_json)

    return run


def post(pipeline: Pipeline, *names: str, **more: Any) -> dict[str, str]:
    """Return the ids of events by their names, which are their types, too."""
    events = [{"event_type": name[0], "name": name, **more} for name in names]
    return dict(zip(names, (each["id"] for each in pipeline.post(events).body["results"]), strict=True))


def shown(pipeline: Pipeline, event_id: str) -> tuple[str, Any]:
    body = pipeline.shown(event_id).body
    return body["status"], body["attempts"]


def test_what_is_done_is_processed_again_under_its_id_once_for_each_replay(pipeline: Pipeline, replay: Run) -> None:
    ids = post(pipeline, "a1", "a2", "b1")
    runs = Runs("a2")
    pipeline.drain(pipeline.worker(runs.process))
    first = pipeline.shown(ids["a1"]).body
    runs.failing = ()
    for number in (2, 3):
        assert replay() == 0
        # SQS delivers each message twice.
        records = pipeline.receive()
        assert len(records) == 3
        for _ in range(2):
            pipeline.worker(runs.process).handle(records, Time())
        pipeline.settle(records, {"batchItemFailures": []})
        assert set(runs.values()) == {number}
    assert {shown(pipeline, each) for each in ids.values()} == {("succeeded", 1)}
    last = pipeline.shown(ids["a1"]).body
    assert last["received_at"] == first["received_at"]
    assert last["completed_at"] > first["completed_at"]


def test_while_it_waits_the_event_is_queued_and_its_first_result_stays(pipeline: Pipeline, replay: Run) -> None:
    (event_id,) = post(pipeline, "a1").values()
    pipeline.drain(pipeline.worker(Runs().process))
    assert replay() == 0
    (message,) = pipeline.receive()
    worker = pipeline.worker(Runs().process)
    worker._reopened([Envelope.from_message(message["body"])], worker._table.read([event_id]))
    body = pipeline.shown(event_id).body
    assert (body["status"], body["attempts"], body["completed_at"]) == ("queued", 0, None)
    assert body["result_url"]


def test_it_says_what_it_does_before_it_does_it(
    pipeline: Pipeline, replay: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    post(pipeline, "a1", "a2", "b1")
    pipeline.drain(pipeline.worker(Runs("a2").process))
    assert replay(dry_run=True) == 0
    text = capsys.readouterr().out
    lines = [line.strip() for line in text.splitlines() if not line.startswith("{")]
    assert lines[:3] == ["1 a: failed", "1 a: succeeded", "1 b: succeeded"]
    assert lines[3].startswith("2 succeeded: they are processed again; the new outcome and result replace the old ones")
    assert pipeline.receive() == []
    assert replay("b", dry_run=True, as_json=True) == 0
    *_, answer = capsys.readouterr().out.splitlines()
    assert json.loads(answer)["events"] == [{"type": "b", "state": "succeeded", "events": 1}]


def test_an_event_that_its_item_calls_queued_is_processed_once_whether_its_message_is_there_or_not(
    pipeline: Pipeline, replay: Run
) -> None:
    ids = post(pipeline, "a1", "a2")
    pipeline.drain(pipeline.worker(Runs().process))
    table, dynamodb = pipeline.outputs["table_name"], pipeline.root("dynamodb")
    # The table is restored from a backup of an hour ago.
    for event_id in ids.values():
        dynamodb.update_item(
            TableName=table,
            Key={"id": {"S": event_id}},
            UpdateExpression="SET #status = :queued",
            ExpressionAttributeNames={"#status": "status"},
            ExpressionAttributeValues={":queued": {"S": "queued"}},
        )
    assert (replay(), replay()) == (0, 0)
    runs = Runs()
    pipeline.drain(pipeline.worker(runs.process))
    assert runs == {"a1": 1, "a2": 1}


def test_an_event_whose_item_expired_is_processed_once_and_can_be_read(pipeline: Pipeline, replay: Run) -> None:
    (event_id,) = post(pipeline, "a1").values()
    pipeline.drain(pipeline.worker(Runs().process))
    past = {":past": {"N": "1"}}
    pipeline.root("dynamodb").update_item(
        TableName=pipeline.outputs["table_name"],
        Key={"id": {"S": event_id}},
        UpdateExpression="SET expires_at = :past",
        ExpressionAttributeValues=past,
    )
    assert replay() == 0
    runs = Runs()
    records = pipeline.receive()
    for _ in range(2):
        pipeline.worker(runs.process).handle(records, Time())
    assert (runs, shown(pipeline, event_id)) == ({"a1": 1}, ("succeeded", 1))


def test_an_archive_of_an_earlier_release_is_replayed_with_what_the_items_say(pipeline: Pipeline, replay: Run) -> None:
    keyed = pipeline.post({"event_type": "a", "name": "a1"}, Idempotency_Key="k").body["id"]
    (gone,) = post(pipeline, "a2").values()
    runs = Runs()
    pipeline.drain(pipeline.worker(runs.process))
    for key, body in pipeline.objects("archive/").items():
        lines = [json.loads(line) for line in gzip.decompress(body).splitlines()]
        kept = ("id", "type", "received_at", "source_ip", "user_agent", "correlation_id")
        old = [{**{name: line[name] for name in kept}, "data": json.loads(line["data"])} for line in lines]
        put(pipeline, key, gzip.compress("\n".join(map(json.dumps, old)).encode()))
    pipeline.root("dynamodb").delete_item(TableName=pipeline.outputs["table_name"], Key={"id": {"S": gone}})
    assert replay() == 0
    pipeline.drain(pipeline.worker(runs.process))
    assert runs == {"a1": 2, "a2": 2}
    repeat = pipeline.post({"event_type": "a", "name": "a1"}, Idempotency_Key="k").body
    assert (repeat["id"], repeat["duplicate"]) == (keyed, True)


def put(pipeline: Pipeline, key: str, body: bytes) -> None:
    pipeline.root("s3").put_object(Bucket=pipeline.outputs["bucket_name"], Key=key, Body=body)


def test_what_cannot_be_read_is_named_and_the_rest_is_sent(
    pipeline: Pipeline, replay: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    post(pipeline, "a1")
    pipeline.drain(pipeline.worker(Runs().process))
    ((key, body),) = pipeline.objects("archive/").items()
    folder = key.rpartition("/")[0]
    foreign = json.loads(gzip.decompress(body)) | {"id": "../../etc", "data": "{}"}
    bad = {
        "archive/readme.txt": b"hello",
        "archive/other/x.jsonl.gz": body,
        f"{folder}/notes.txt": b"",
        f"{folder}/0.jsonl.gz": body[:-4],
        f"{folder}/1.jsonl.gz": b"",
        f"{folder}/2.jsonl.gz": gzip.compress(json.dumps(foreign).encode()),
        f"{folder}/3.jsonl.gz": gzip.compress(json.dumps(foreign | {"id": ""}).encode()),
        f"{folder}/4.jsonl.gz": gzip.compress(json.dumps(foreign | {"id": OTHER_ID, "source_ip": 5}).encode()),
    }
    for name, content in bad.items():
        put(pipeline, name, content)
    put(pipeline, "archive/", b"")
    capsys.readouterr()
    assert replay() == 1
    said = capsys.readouterr().err
    names = {"archive/other/" if "other" in name else name for name in bad}
    assert {line.split(": ")[1] for line in said.splitlines() if line.startswith("left out")} == names
    assert len(pipeline.receive()) == 1


def test_a_type_that_the_archive_does_not_have_is_refused_and_an_empty_time_is_not(
    pipeline: Pipeline, replay: Run, stack: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(LocalError, match=r"no events of type 'a'; it has none: storage\.archive is off"):
        replay("a")
    post(pipeline, "a1")
    pipeline.drain(pipeline.worker(Runs().process))
    pipeline.post({"event_type": "x/ü%", "name": "x"})
    pipeline.drain(pipeline.worker(Runs().process))
    with pytest.raises(LocalError, match=r"no events of type 'z'; it has a, x/ü%$"):
        replay("z")
    assert replay("x/ü%") == 0
    assert len(pipeline.receive()) == 1
    long_ago = datetime.now(UTC) - 90 * 24 * HOUR
    nothing = selection(long_ago, long_ago + HOUR, ())
    assert run_replay_archive(stack, nothing, rate=1, dry_run=False, sure=False, as_json=False) == 0
    assert "nothing was archived" in capsys.readouterr().err
    assert list(stack.directory.glob(".pipeline/*")) == []


def test_a_replay_that_nobody_confirms_sends_nothing(pipeline: Pipeline, stack: Any, monkeypatch: Any) -> None:
    post(pipeline, "a1")
    pipeline.drain(pipeline.worker(Runs().process))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: False))
    wanted = selection(datetime.now(UTC) - HOUR, None, ())
    with pytest.raises(LocalError, match="confirm with --yes"):
        run_replay_archive(stack, wanted, rate=1, dry_run=False, sure=False, as_json=False)
    assert pipeline.receive() == []


@contextmanager
def killed_at(monkeypatch: pytest.MonkeyPatch, number: int, *, before: bool) -> Iterator[None]:
    """End the process at the sending of batch `number`, before the queue took it or before it was noted."""
    send, calls = queues.send, Counter[str]()

    def dying(url: str, messages: Sequence[queues.Outgoing]) -> list[bool]:
        calls["sent"] += 1
        if calls["sent"] == number and before:
            raise Killed
        sent = send(url, messages)
        if calls["sent"] == number:
            raise Killed
        return sent

    with monkeypatch.context() as patched, suppress(Killed):
        patched.setattr(queues, "send", dying)
        yield


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_replay_that_is_killed_goes_on_and_each_event_runs_once(
    pipeline: Pipeline, replay: Run, monkeypatch: pytest.MonkeyPatch, number: int, *, before: bool
) -> None:
    monkeypatch.setattr(replay_archive, "EVENTS_A_BATCH", 2)
    post(pipeline, "a1", "a2", "a3", "b1", "b2")
    pipeline.drain(pipeline.worker(Runs().process))
    with killed_at(monkeypatch, number, before=before):
        replay()
    # What is new in the archive meanwhile, and what the first part of the replay wrote to it, changes nothing.
    runs = Runs()
    pipeline.drain(pipeline.worker(runs.process))
    with pytest.raises(LocalError, match="is unfinished"):
        replay()
    assert replay(resume=True) == 0
    pipeline.drain(pipeline.worker(runs.process))
    assert runs == {"a1": 1, "a2": 1, "a3": 1, "b1": 1, "b2": 1}
    with pytest.raises(LocalError, match="no replay of stack 'shop' is unfinished"):
        replay(resume=True)


def test_a_line_that_was_cut_off_is_sent_again(tmp_path: Path) -> None:
    wanted = Selection("2026-01-01", "2026-01-02", ("a",))
    with open_journal(tmp_path, "shop") as journal:
        journal.begin("run", wanted)
        journal.add("hour=1", ["1", "2"])
        journal.add("hour=2", ["3"])
    (path,) = (tmp_path / ".pipeline").iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    assert path.stat().st_mode & 0o077 == 0
    with open_journal(tmp_path, "shop") as journal:
        assert (journal.run, journal.wanted, journal.sent, journal.hour, journal.ids) == (
            "run",
            wanted,
            2,
            "hour=1",
            {"1", "2"},
        )
        journal.add("hour=2", ["3"])
        with pytest.raises(LocalError, match="runs here already"), open_journal(tmp_path, "shop"):
            pass
    with open_journal(tmp_path, "shop") as journal:
        assert (journal.sent, journal.hour, journal.ids) == (3, "hour=2", {"3"})
        journal.end()
    assert not path.exists()


def test_a_worker_that_fails_them_all_ends_the_replay(
    pipeline: Pipeline, replay: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_archive, "EVENTS_A_BATCH", 1)
    monkeypatch.setattr(replay_archive, "PROGRESS_SECONDS", -1)
    monkeypatch.setattr(replay_archive, "MAXIMUM_DEAD_LETTERS", 2)
    names = [f"a{number}" for number in range(6)]
    ids = post(pipeline, *names)
    pipeline.drain(pipeline.worker(Runs().process))
    broken, send = pipeline.worker(Runs(*names).process), queues.send

    def worked(url: str, messages: Sequence[queues.Outgoing]) -> list[bool]:
        sent = send(url, messages)
        if url == pipeline.outputs["queue_url"]:
            pipeline.drain(broken)
        return sent

    with monkeypatch.context() as patched:
        patched.setattr(queues, "send", worked)
        with pytest.raises(LocalError, match="there are 3 new dead letters; look at them first; 3 events were sent"):
            replay()
    states = Counter(shown(pipeline, each)[0] for each in ids.values())
    assert states == {"failed": 3, "succeeded": 3}
    # Nothing is lost: fixed, redriven and resumed, all have succeeded.
    pipeline.request("POST", "/redrive/start", {})
    assert replay(resume=True) == 0
    pipeline.drain(pipeline.worker(Runs().process))
    assert {shown(pipeline, each)[0] for each in ids.values()} == {"succeeded"}


def test_it_keeps_its_rate_and_ends_at_a_signal(
    pipeline: Pipeline, replay: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(pipeline, "a1", "a2", "a3", "a4")
    pipeline.drain(pipeline.worker(Runs().process))
    now, waits = [0.0], list[float]()

    class Stopped:
        def wait(self, seconds: float) -> bool:
            waits.append(seconds)
            now[0] += seconds
            return len(waits) == 2

    @contextmanager
    def stopping() -> Iterator[Stopped]:
        yield Stopped()

    with monkeypatch.context() as patched:
        patched.setattr(replay_archive, "stop_on_signals", stopping)
        patched.setattr(replay_archive, "time", SimpleNamespace(monotonic=lambda: now[0]))
        with pytest.raises(LocalError, match="stopped by a signal; 2 events were sent, --resume continues"):
            replay(rate=1)
    assert waits == [1, 1]
    assert replay(resume=True) == 0
    assert len(pipeline.receive()) == 4


def test_a_queue_that_takes_nothing_ends_it_and_nothing_is_taken_for_sent(
    pipeline: Pipeline, replay: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(pipeline, "a1", "a2")
    pipeline.drain(pipeline.worker(Runs().process))
    with monkeypatch.context() as patched:
        patched.setattr(queues, "send", lambda _, messages: [True] + [False] * (len(messages) - 1))
        with pytest.raises(LocalError, match="the queue did not take 1 of 2 events; 1 events were sent"):
            replay()
    assert replay(resume=True) == 0
    assert len(pipeline.receive()) == 1


def sent_by_a_replay(pipeline: Pipeline, folder: Path, **options: Any) -> tuple[list[queues.Outgoing], str]:
    """The messages that a replay of the last hour sends, and its run."""
    reader = ArchiveReader(aws.client("s3"), pipeline.outputs["bucket_name"])
    table = EventReader(pipeline.outputs["table_name"], time_index_shards=0)
    wanted = selection(datetime.now(UTC) - HOUR, None, ())
    sent: list[queues.Outgoing] = []

    def send(messages: Sequence[queues.Outgoing]) -> list[bool]:
        sent.extend(messages)
        return [True] * len(messages)

    with open_journal(folder, "replay") as journal:
        journal.begin(timestamp(datetime.now(UTC)), wanted)
        Replay(reader, table, wanted, **options).send(journal, send, lambda _: True)
        return sent, journal.run


def test_events_of_a_fifo_queue_go_in_the_order_of_their_acceptance(pipeline: Pipeline, tmp_path: Path) -> None:
    names = [f"{kind}{number}" for number in range(5) for kind in "ba"]
    for name in names:
        post(pipeline, name, group=name[1])
        pipeline.drain(pipeline.worker(Runs().process))
    sent, run = sent_by_a_replay(pipeline, tmp_path, group_field="group", events_a_batch=3)
    told = [json.loads(message.body)["data"]["name"] for message in sent]
    # Hours keep their order; so do all events within one.
    assert told == names
    assert [message.group for message in sent] == [name[1] for name in names]
    assert {message.deduplication_id.endswith(f"-{run}") for message in sent} == {True}


def test_events_of_a_fair_queue_go_into_the_groups_of_their_tenants(pipeline: Pipeline, tmp_path: Path) -> None:
    post(pipeline, "one", group="acme")
    post(pipeline, "two", group="of two words")
    pipeline.drain(pipeline.worker(Runs().process))
    sent, _ = sent_by_a_replay(pipeline, tmp_path, fair_field="group")
    assert {json.loads(message.body)["data"]["name"]: message.group for message in sent} == {
        "one": "acme",
        "two": sha256(b"of two words").hexdigest(),
    }


def test_it_calls_what_docs_archive_names_the_rights_of(pipeline: Pipeline, replay: Run) -> None:
    post(pipeline, "a1")
    pipeline.drain(pipeline.worker(Runs().process))
    calls = set(record(replay))
    rights = {"s3:ListObjectsV2": "s3:ListBucket", "sqs:SendMessageBatch": "sqs:SendMessage"}
    documented = (Path(__file__).parents[3] / "docs/archive.md").read_text().partition("## Rights")[2]
    names = {part.strip("`,;.") for part in documented.split() if part.startswith("`") and ":" in part}
    assert {rights.get(call, call) for call in calls} == {name for name in names if not name.startswith("kms:")}


def test_events_that_a_purge_lost_are_sent_again_if_they_were_archived_when_accepted(
    pipeline: Pipeline, replay: Run
) -> None:
    pipeline.settings = {"archive_accepted": True}
    ids = post(pipeline, "a1", "a2")
    keyed = pipeline.post({"event_type": "a", "name": "a3"}, Idempotency_Key="k").body["id"]
    pipeline.root("sqs").purge_queue(QueueUrl=pipeline.outputs["queue_url"])
    assert pipeline.receive() == []
    assert {shown(pipeline, each) for each in (*ids.values(), keyed)} == {("queued", 0)}
    assert replay() == 0
    runs = Runs()
    pipeline.drain(pipeline.worker(runs.process))
    assert runs == {"a1": 1, "a2": 1, "a3": 1}
    assert {shown(pipeline, each) for each in (*ids.values(), keyed)} == {("succeeded", 1)}


def test_an_archive_that_does_not_answer_refuses_no_event(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline.settings = {"archive_accepted": True}
    s3 = aws.client("s3")

    def full(**_: Any) -> None:
        raise s3.exceptions.ClientError({"Error": {"Code": "SlowDown"}}, "PutObject")

    monkeypatch.setattr(s3, "put_object", full)
    (event_id,) = post(pipeline, "a1").values()
    assert shown(pipeline, event_id) == ("queued", 0)
    assert len(pipeline.receive()) == 1
