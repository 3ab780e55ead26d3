"""`pipeline erase` on moto: afterwards nothing in any bucket, table or queue has the name, and all else is there."""

import gzip
import hashlib
import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import boto3
import pytest
from moto import mock_aws

from handlers.api import archive
from handlers.api import objects as api_objects
from handlers.api.decisions import Delivery
from handlers.api.events import Envelope
from handlers.csv.columns import Column, FileFormat
from handlers.csv.files import File
from handlers.csv.worker import CsvWorker
from handlers.iot import objects as iot_objects
from handlers.iot.objects import Upload
from handlers.iot.readings import Reading, Rejection, first_key
from handlers.iot.table import ReadingTable
from handlers.shared import aws, dead_letters
from tests.handlers.conftest import ENVIRONMENT
from tests.handlers.csv.test_run import SETTINGS, Clock

from .conftest import Command

NOW = datetime.now(UTC).replace(microsecond=0)


class Stack:
    """A stack's buckets, table, dead letters and log group."""

    def __init__(self, *keys: str, versions: bool) -> None:
        self.s3, self.sqs, self.dynamodb = boto3.client("s3"), boto3.client("sqs"), boto3.client("dynamodb")
        for name in ("inputs", "outputs"):
            self.s3.create_bucket(Bucket=name)
            if versions:
                self.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        attributes: Any = [{"AttributeName": key, "AttributeType": "S"} for key in keys]
        schema: Any = [
            {"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)
        ]
        self.dynamodb.create_table(
            TableName="t", BillingMode="PAY_PER_REQUEST", AttributeDefinitions=attributes, KeySchema=schema
        )
        self.dead = self.sqs.create_queue(QueueName="dead")["QueueUrl"]
        self.logs = boto3.client("logs")
        self.logs.create_log_group(logGroupName="worker")
        outputs = {
            "dead_letter_queue_url": self.dead,
            "table_name": "t",
            "bucket_name": "outputs",
            "input_bucket": "inputs",
            "output_bucket": "outputs",
            "log_groups": {"worker": "worker"},
        }
        self.environment = {"PIPELINE_OUTPUTS": json.dumps(outputs)}

    def everything(self) -> dict[str, str]:
        """Return all that is kept, by place: objects in all versions, items, and dead letters."""
        found = {}
        for bucket in ("inputs", "outputs"):
            listed = self.s3.list_object_versions(Bucket=bucket)
            for each in listed.get("Versions", []):
                name: Any = {"Bucket": bucket, "Key": each["Key"], "VersionId": each["VersionId"]}
                body = self.s3.get_object(**name)["Body"].read()
                text = gzip.decompress(body) if each["Key"].endswith(".gz") else body
                found[f"{bucket} {each['Key']} {each['VersionId']}"] = text.decode("latin-1")
            for mark in listed.get("DeleteMarkers", []):
                found[f"{bucket} {mark['Key']} {mark['VersionId']}"] = "deleted"
        for item in self.dynamodb.scan(TableName="t")["Items"]:
            found[f"item {sorted(map(str, item.items()))}"] = ""
        for letter in self.sqs.receive_message(QueueUrl=self.dead, MaxNumberOfMessages=10, VisibilityTimeout=0).get(
            "Messages", []
        ):
            found[f"letter {letter['MessageId']}"] = letter["Body"]
        return found

    def holding(self, name: str) -> list[str]:
        return [place for place, text in self.everything().items() if name in place or name in text]

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(each["message"]) for each in self.logs.filter_log_events(logGroupName="worker")["events"]]

    def bury(self, body: str) -> None:
        self.sqs.send_message(QueueUrl=self.dead, MessageBody=body)


@pytest.fixture(params=[True, False], ids=["with versions", "without"])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Stack]]:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(dead_letters, "POLL_SECONDS", 0)
    # moto answers botocore's clients only.
    monkeypatch.setattr(aws, "client", cache(aws.botocore_client))
    with mock_aws():
        yield lambda *keys: Stack(*keys, versions=request.param)


@pytest.fixture
def erase(pipeline: Command) -> Callable[..., tuple[int, Any]]:
    """Return the exit code and the JSON, or the error, of `pipeline erase`."""

    def run(stack: Stack, kind: str, name: str, *more: str) -> tuple[int, Any]:
        done = pipeline("erase", name, "--stack", kind, "--json", *more, env=stack.environment)
        return done.exit_code, json.loads(done.stdout) if done.stdout else done.stderr

    return run


Erase = Callable[..., tuple[int, Any]]


# Events


def event(event_id: str) -> Envelope:
    return Envelope(
        event_id, "order", f"{NOW:%Y-%m-%dT%H:%M:%S}.000000Z", "", "", "", "", {"who": f"person of {event_id}"}
    )


@pytest.fixture
def shop(make: Callable[..., Stack]) -> tuple[Stack, list[str]]:
    """A stack with events in each place: the first two were archived together, and again by themselves."""
    stack, ids = make("id"), [str(uuid.uuid4()) for _ in range(3)]
    events = [event(each) for each in ids]
    done = {"status": "succeeded", "completed_at": events[0].received_at}
    deliveries = [Delivery("m", "r", "", 1, envelope=each, stored=done) for each in events]
    for batch in (deliveries[:2], deliveries[:1], deliveries[2:]):
        archive.keep("outputs", batch)
    for each in events:
        key = api_objects.result_key(each)
        for _ in range(2):
            api_objects.put_result("outputs", key, json.dumps({"of": each.id}))
        item = {"id": each.id, "type": each.type, "status": "succeeded", "received_at": each.received_at}
        stack.dynamodb.put_item(TableName="t", Item={name: {"S": value} for name, value in item.items()})
        stack.bury(each.to_message())
    return stack, ids


def test_an_event_is_erased_everywhere_and_no_other_one(shop: tuple[Stack, list[str]], erase: Erase) -> None:
    stack, (gone, *others) = shop
    before = {other: len(stack.holding(other)) for other in others}
    assert erase(stack, "dev", gone, "--dry-run")[1]["erased"]["archive"] == 2
    assert len(stack.records()) == 0
    code, said = erase(stack, "dev", gone, "--yes")
    assert (code, said["complete"], said["left"]) == (0, True, [])
    assert {name: said["erased"][name] for name in ("archive", "dead letters", "items")} == {
        "archive": 2,
        "dead letters": 1,
        "items": 1,
    }
    assert stack.holding(gone) == []
    assert {other: len(stack.holding(other)) for other in others} == before
    began, ended = stack.records()
    assert (began["message"], ended["message"]) == ("data is being erased", "data was erased")
    assert (ended["caller"], ended["complete"]) == ("arn:aws:sts::123456789012:user/moto", True)
    assert ended["name_sha256"] == hashlib.sha256(gone.encode()).hexdigest()
    assert gone not in json.dumps(stack.records())
    assert erase(stack, "dev", gone, "--yes") == (1, f"error: stack 'dev' keeps nothing of '{gone}'\n")


def test_an_event_whose_item_has_expired_is_found_in_the_archive(shop: tuple[Stack, list[str]], erase: Erase) -> None:
    stack, (gone, *_) = shop
    stack.dynamodb.delete_item(TableName="t", Key={"id": {"S": gone}})
    assert erase(stack, "dev", gone, "--yes")[0] == 0
    assert stack.holding(gone) == []


def test_an_event_that_is_not_done_is_not_erased(shop: tuple[Stack, list[str]], erase: Erase) -> None:
    stack, (waiting, *_) = shop
    stack.dynamodb.update_item(
        TableName="t",
        Key={"id": {"S": waiting}},
        UpdateExpression="SET #status = :status",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":status": {"S": "retrying"}},
    )
    before = stack.everything()
    code, error = erase(stack, "dev", waiting, "--yes")
    assert (code, error) == (
        1,
        f"error: event {waiting} is retrying: its message is in the queue; erase it when it is done\n",
    )
    assert stack.everything() == before


@pytest.mark.parametrize(("kind", "name"), [("dev", ""), ("dev", "a"), ("dev", "order"), ("iot", ""), ("iot", "../x")])
def test_what_is_no_id_erases_nothing(shop: tuple[Stack, list[str]], erase: Erase, kind: str, name: str) -> None:
    stack, _ = shop
    before = stack.everything()
    code, error = erase(stack, kind, name, "--yes")
    assert (code, f"error: {name!r} is no id of " in error) == (1, True)
    assert stack.everything() == before


def test_an_event_that_names_another_one_is_not_erased_with_it(shop: tuple[Stack, list[str]], erase: Erase) -> None:
    stack, (gone, other, _) = shop
    stack.bury(replace(event(other), data={"about": gone}).to_message())
    assert erase(stack, "dev", gone, "--yes")[0] == 0
    assert [place.split()[0] for place in stack.holding(gone)] == ["letter"]


def test_an_object_of_the_archive_that_cannot_be_read_is_named(shop: tuple[Stack, list[str]], erase: Erase) -> None:
    stack, (gone, *_) = shop
    folder = f"archive/type=order/dt={NOW:%Y-%m-%d}/hour={NOW:%H}"
    stack.s3.put_object(Bucket="outputs", Key=f"{folder}/broken", Body=b"broken")
    code, said = erase(stack, "dev", gone, "--yes")
    assert (code, said["complete"], said["left"]) == (1, False, [f"{folder}/broken, which cannot be read"])
    assert stack.holding(gone) == []


def test_what_cannot_be_seen_or_recorded_is_not_called_erased(shop: tuple[Stack, list[str]], erase: Erase) -> None:
    stack, (gone, *_) = shop
    hidden = stack.sqs.receive_message(QueueUrl=stack.dead, MaxNumberOfMessages=10, VisibilityTimeout=600)["Messages"]
    code, said = erase(stack, "dev", gone, "--yes")
    assert (code, said["complete"]) == (1, False)
    assert said["left"] == ["dead letters that another command, a console or the reconciler hides"]
    for letter in hidden:
        stack.sqs.change_message_visibility(
            QueueUrl=stack.dead, ReceiptHandle=letter["ReceiptHandle"], VisibilityTimeout=0
        )
    stack.logs.delete_log_group(logGroupName="worker")
    before = stack.everything()
    code, error = erase(stack, "dev", gone, "--yes")
    assert (code, error[:66]) == (1, "error: who erases cannot be recorded, so nothing was deleted: An e")
    assert stack.everything() == before
    code, error = erase(stack, "dev", gone)
    assert (code, error) == (
        1,
        "error: erase deletes data permanently and there is no terminal to ask at; confirm with --yes\n",
    )


# Files


def read_files(stack: Stack, uploads: Sequence[tuple[str, bytes]]) -> None:
    """Upload files and have the worker read each."""
    sns, topic = boto3.client("sns"), "files"
    settings = replace(
        SETTINGS,
        table_name="t",
        bucket_name="outputs",
        queue_url=stack.sqs.create_queue(QueueName="alive")["QueueUrl"],
        dead_letter_queue_url=stack.dead,
        alerts_topic_arn=sns.create_topic(Name=topic)["TopicArn"],
        notifications_topic_arn=sns.create_topic(Name=topic)["TopicArn"],
    )
    worker = CsvWorker(settings, FileFormat((Column("who", required=True), Column("n", "integer"))), "shop")
    for key, data in uploads:
        answer = stack.s3.put_object(Bucket="inputs", Key=key, Body=data)
        entity = {"key": quote_plus(key), "size": len(data), "eTag": answer["ETag"].strip('"')}
        if "VersionId" in answer:
            entity["versionId"] = answer["VersionId"]
        body = json.dumps({"Records": [{"s3": {"bucket": {"name": "inputs"}, "object": entity}}]})
        attributes = {"ApproximateReceiveCount": "1"}
        record = {"messageId": str(uuid.uuid4()), "receiptHandle": "r", "body": body, "attributes": attributes}
        assert worker.handle([record], Clock(1_000)) == {"batchItemFailures": []}


def test_an_upload_is_erased_with_all_that_followed_from_it_in_every_version(
    make: Callable[..., Stack], erase: Erase
) -> None:
    stack = make("id")
    rows = b"who,n\nann,1\nann,x\n"
    uploads = [
        ("raw/ann.csv", rows),
        ("raw/ann.csv", rows + b"ann,2\n"),
        ("raw/ann.csv", b"no header of ours\n"),
        ("raw/ann.csv.csv", rows.replace(b"ann", b"bob")),
        ("raw/ann.csv/bob.csv", rows.replace(b"ann", b"bob")),
    ]
    read_files(stack, uploads)
    file = File("inputs", "raw/ann.csv", "", hashlib.md5(rows).hexdigest(), 0, {})  # noqa: S324  as S3 marks an object
    stack.s3.put_object(Bucket="outputs", Key=f"state/{file.id}/run", Body=b"ann")
    # A former release stored outputs below the name of the upload.
    former = file.former_output_key("processed/", "raw/", ".jsonl.gz", 3)
    stack.s3.put_object(Bucket="outputs", Key=former, Body=gzip.compress(b"ann"))
    stack.s3.delete_object(Bucket="inputs", Key="raw/ann.csv")
    of_bob = len(stack.holding("bob"))
    assert of_bob == 9
    code, said = erase(stack, "csv", "raw/ann.csv", "--yes")
    assert (code, said["complete"]) == (0, True)
    left = stack.everything()
    others = {*stack.holding("ann.csv.csv"), *stack.holding("ann.csv/bob")}
    assert ({*stack.holding("ann")} - others, len(stack.holding("bob"))) == (set(), of_bob), left
    assert erase(stack, "csv", "raw/ann.csv", "--yes")[0] == 1


def test_a_file_that_is_being_read_and_a_key_of_no_upload_are_errors(make: Callable[..., Stack], erase: Erase) -> None:
    stack = make("id")
    read_files(stack, [("raw/ann.csv", b"who\nann\n")])
    (item,) = [each for each in stack.dynamodb.scan(TableName="t")["Items"] if "status" in each]
    stack.dynamodb.update_item(
        TableName="t",
        Key={"id": item["id"]},
        UpdateExpression="SET #status = :status, lease_until = :until",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":status": {"S": "processing"}, ":until": {"N": f"{NOW.timestamp() + 600:.0f}"}},
    )
    before = stack.everything()
    assert "is being read: erase it when it is done" in erase(stack, "csv", "raw/ann.csv", "--yes")[1]
    assert "they begin with raw/ (input.prefix)" in erase(stack, "csv", "processed/ann.csv", "--yes")[1]
    assert stack.everything() == before


# Devices


def readings(*devices: str) -> bytes:
    at = f"{NOW - timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}"
    lines = [json.dumps({"device_id": each, "timestamp": at, "metrics": {"t": 1}}) for each in devices]
    return "\n".join(lines).encode()


def test_a_device_is_erased_and_uploads_with_other_devices_are_named(make: Callable[..., Stack], erase: Erase) -> None:
    stack = make("device_id", "time_key")
    table = ReadingTable("t")
    for device in ("ann", "ann-2"):
        table.put([Reading(device, f"{first_key(NOW)}#0", {"t": Decimal(1)})], "readings/x#1", 1, 2**40)
        stack.dynamodb.put_item(TableName="t", Item={"device_id": {"S": device}, "time_key": {"S": "state"}})
    for key, body in {
        "readings/1.jsonl": readings("ann") + b'\n{"device_id": "ann", "timestamp": "then"}',
        "readings/2.jsonl": readings("ann", "ann-2"),
        "readings/3.jsonl": readings("ann-2"),
        "readings/4.jsonl": b"\x1f\x8bbroken",
        "readings/": b"",
    }.items():
        stack.s3.put_object(Bucket="inputs", Key=key, Body=body)
    upload = Upload("inputs", "readings/1.jsonl", "", "", NOW, "u1")
    iot_objects.put_rejections("inputs", upload, [Rejection(1, "no time", '{"device_id": "ann"}')])
    both = [Rejection(0, "no", '{"device_id": "ann-2"}'), Rejection(1, "no", '{"device_id": "ann"}')]
    iot_objects.put_rejections("inputs", replace(upload, key="readings/2.jsonl", id="u2"), both)
    code, said = erase(stack, "iot", "ann", "--yes")
    assert (code, said["complete"]) == (1, False)
    assert said["erased"] == {"rejected": 2, "uploads": 1, "items": 2}
    assert said["left"] == [
        "upload readings/2.jsonl has readings of other devices, too, so it stays until it expires",
        "1 uploads that cannot be read, so that their devices are unknown, stay until they expire",
    ]
    left = stack.holding('"ann"') + stack.holding("'ann'")
    assert [place.split()[1] for place in left] == ["readings/2.jsonl"]
    assert len(stack.holding("ann-2")) == 5


def test_uploads_below_a_device_s_own_prefix_are_the_device_s(
    make: Callable[..., Stack], pipeline: Command, tmp_path: Path
) -> None:
    stack = make("device_id", "time_key")
    for key in ("readings/ann/1.jsonl", "readings/ann/broken.gz", "readings/ann-2/1.jsonl"):
        stack.s3.put_object(Bucket="inputs", Key=key, Body=b"\x1f\x8b" if key.endswith("gz") else readings("ann"))
    (tmp_path / "Pulumi.yaml").write_text("name: cold\nruntime: python\n")
    options = "{datapipeline:variant: iot, datapipeline:environment: dev, datapipeline:readings: {device_in_key: true}}"
    (tmp_path / "Pulumi.cold.yaml").write_text(f"config: {options}\n")
    done = pipeline("erase", "ann", "--stack", "cold", "--yes", env=stack.environment, cwd=tmp_path)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.split("\n") == [
        "        0  rejected erased",
        "        2  uploads erased",
        "        0  items erased",
        "",
    ]
    assert [place.split()[1] for place in stack.holding("ann")] == ["readings/ann-2/1.jsonl"]
